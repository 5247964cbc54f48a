"""Whatever people call a recording, a path, a URL, bytes, an array, a row of a data set, to 16 kHz mono.

Knows nothing of models. Files and bytes are decoded in the read stage's guarded process; arrays are trusted.
"""

import math
import os
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.config import ReadConfig
from pipeline.errors import RecordingError, StageError, UsageError
from pipeline.read.audio import MIN_RATE
from pipeline.read.reader import Reader, guard_of
from pipeline.records import SAMPLE_RATE, AudioArray, FloatArray, Recording, without_query
from pipeline.text.batch import as_array, is_tensor
from pipeline.unit import Unit

READING = ReadConfig(storage_deadline_s=30.0)  # somebody is waiting, who can ask again himself
PCM = (np.dtype(np.int16), np.dtype(np.int32))  # whose full scale is that of the type


@dataclass(frozen=True)
class Heard:
    """A recording that is ready for a model."""

    name: str  # in messages
    audio: FloatArray  # (N,)
    stride: tuple[int, int] | None = None  # samples at either end that are context alone
    rest: Mapping[str, Any] = field(default_factory=dict)  # what else was in its dictionary


def hear(given: Any, name: str, max_channels: int = 2) -> Heard:
    """Of arrays of several channels, of which the first axis is, the mean; files are mixed whatever they hold."""
    if isinstance(given, str | os.PathLike):
        uri = os.fspath(given)
        name = f"{name} ({without_query(uri)})"
        return Heard(name, _refused(name, lambda: _of_file(uri, name)))
    if isinstance(given, bytes | bytearray | memoryview):
        return Heard(name, _refused(name, lambda: _of_bytes(bytes(given))))
    if isinstance(given, Mapping):
        return _of_mapping(given, name, max_channels)
    if hasattr(given, "get_all_samples"):  # torchcodec's decoder, which is what `datasets` puts in a row
        samples = given.get_all_samples()
        return Heard(name, _at_16k(_mono(samples.data, name, max_channels), samples.sample_rate, name))
    if isinstance(given, np.ndarray) or is_tensor(given):
        return Heard(name, _mono(given, name, max_channels))
    if hasattr(given, "read"):
        return hear(_read(given, name), name, max_channels)
    numbers = "; samples are given as a numpy array" if isinstance(given, int | float | list) else ""
    raise UsageError(
        f"{name}: a recording is a path, a URL, bytes, a file, an array, a tensor, or a dictionary with 'array' and "
        f"'sampling_rate', not {type(given).__name__}{numbers}"
    )


def is_one(given: Any) -> bool:
    """A recording, not several."""
    kinds = (str, bytes, bytearray, memoryview, os.PathLike, Mapping, np.ndarray)
    several = hasattr(given, "__iter__") or (hasattr(given, "__getitem__") and hasattr(given, "__len__"))
    marked = hasattr(given, "get_all_samples") or hasattr(given, "read")
    return isinstance(given, kinds) or marked or is_tensor(given) or not several


def _of_mapping(given: Mapping[str, Any], name: str, max_channels: int) -> Heard:
    rest = dict(given)
    if {"array", "raw"}.isdisjoint(rest):
        return _of_row(given, name, max_channels)
    stride, samples = rest.pop("stride", None), rest.pop("raw", None)
    if samples is None:
        path, samples = rest.pop("path", None), rest.pop("array", None)
        name = name if path is None else f"{name} ({without_query(str(path))})"
    rate = rest.pop("sampling_rate", None)
    if samples is None or rate is None:
        raise UsageError(f"{name}: a dictionary needs 'array' or 'raw', and 'sampling_rate'; it has {', '.join(given)}")
    audio = _at_16k(_mono(samples, name, max_channels), rate, name)
    return Heard(name, audio, None if stride is None else _stride(stride, len(audio), rate, name), rest)


def _of_row(row: Mapping[str, Any], name: str, max_channels: int) -> Heard:
    """A row of a data set, by its column `audio`, or what that holds where audio is not decoded: bytes, else a path."""
    for key in ("audio", "bytes", "path"):
        if row.get(key) is not None:
            path = row.get("path") if key == "bytes" else None
            return hear(row[key], name if path is None else f"{name} ({path})", max_channels)
    raise UsageError(
        f"{name}: a dictionary needs 'array' or 'raw' with 'sampling_rate', or 'audio'; "
        f"it has {', '.join(map(str, row)) or 'nothing'}"
    )


def _read(file: Any, name: str) -> bytes:
    """What is left of an open file, which stays open."""
    data = file.read()
    if not isinstance(data, bytes | bytearray | memoryview):
        raise UsageError(f"{name}: a file of text, not of bytes; open it with mode='rb'")
    return bytes(data)


def _of_file(uri: str, name: str) -> AudioArray:
    recording = Recording(name, uri)
    try:
        Reader(READING, lambda unit: unit)(Unit(0, [recording]))
    except StageError as error:
        raise UsageError(f"{name}: {error.message}") from error
    if recording.audio is None:
        raise RecordingError((recording.error or "").removeprefix("read: "), recording.error_detail)
    if recording.truncated:
        warnings.warn(f"{name}: it ends before its header says; what there is of it is heard", stacklevel=2)
    return recording.audio


def _of_bytes(data: bytes) -> AudioArray:
    return guard_of(READING).decode(data).audio


def _refused(name: str, read: Any) -> FloatArray:
    """What is read, as floats, or why it cannot be, with the name of the recording."""
    try:
        return _as_float(read(), name)
    except RecordingError as error:
        raise refusal(name, error) from error


def refusal(name: str, error: RecordingError) -> UsageError:
    return UsageError(f"{name}: {error.reason}{f' ({error.detail})' if error.detail else ''}")


def _mono(samples: Any, name: str, max_channels: int) -> FloatArray:
    """(N,) or (channels, N) -> (N,)."""
    audio = _as_float(as_array(samples), name)
    if audio.ndim == 1:
        return audio
    if audio.ndim == 2 and len(audio) <= max_channels:
        mean: FloatArray = audio.mean(axis=0)
        return mean
    wanted = "(samples,)" if max_channels == 1 else "(samples,) or, of one or two channels, (channels, samples)"
    raise UsageError(
        f"{name}: an array of shape {audio.shape} where {wanted} is wanted; what soundfile reads is to be "
        "transposed, more channels are to be mixed"
    )


def _as_float(samples: npt.NDArray[Any], name: str) -> FloatArray:
    """Of int16 exactly what the encode stage makes of it; in one piece that torch may write to, as it asks for."""
    if samples.dtype in PCM:
        scaled: FloatArray = (samples * (1 / -float(np.iinfo(samples.dtype).min))).astype(np.float32)
        return scaled
    if not np.issubdtype(samples.dtype, np.floating):
        raise UsageError(f"{name}: samples are floats from -1 to 1, int16 or int32, not {samples.dtype}")
    return np.require(samples, np.float32, ("C", "W"))


def _at_16k(audio: FloatArray, rate: Any, name: str) -> FloatArray:
    hertz = _hertz(rate, name)
    if hertz == SAMPLE_RATE:
        return audio
    import soxr

    resampled: FloatArray = soxr.resample(audio, hertz, SAMPLE_RATE, quality="HQ")
    return resampled


def _hertz(rate: Any, name: str) -> float:
    """Of a number, or of an array of one."""
    try:
        hertz = float(rate)
    except (TypeError, ValueError):
        hertz = 0.0
    if not MIN_RATE <= hertz < math.inf:
        raise UsageError(f"{name}: a sampling_rate is a number of Hz from {MIN_RATE} on, not {rate!r}")
    return hertz


def _stride(stride: Any, num_samples: int, rate: Any, name: str) -> tuple[int, int]:
    """Given in samples as they came; here in those at 16 kHz."""
    sides = as_array(stride)
    if sides.shape != (2,) or sides.dtype.kind not in "iuf" or not (np.isfinite(sides) & (sides >= 0)).all():
        raise UsageError(f"{name}: a stride is two numbers of samples from 0 on, not {stride!r}")
    left, right = (round(float(side) * (SAMPLE_RATE / _hertz(rate, name))) for side in sides)
    if left + right > num_samples:
        raise UsageError(f"{name}: a stride of {stride!r} is too large for {num_samples} samples at 16 kHz")
    return left, right
