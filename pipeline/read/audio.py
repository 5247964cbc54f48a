"""Audio bytes to 16 kHz mono, by libsndfile and soxr.

Knows nothing of files, and is not to be trusted with them either: `guard` runs it in a process of its own, because
what it decodes is somebody else's bytes.
"""

import io
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from pipeline.errors import RecordingError
from pipeline.records import SAMPLE_RATE, AudioArray

MIN_RATE, MAX_RATE = 1_000, 768_000  # Hz; a rate outside is a damaged header (1,092,676 Hz was seen in the wild)
MAX_CHANNELS = 64
UNKNOWN_FRAMES = 2**40  # a FLAC that was streamed does not tell its length, and libsndfile then claims 2**63 frames
BLOCK_FRAMES = 2**20


def decode(data: bytes, max_duration_s: float) -> AudioArray:
    """The whole recording, channels averaged; `RecordingError` where it is not audio or breaks a limit.

    What is 16 kHz mono of 16 bits already stays that: half the memory on every way that it goes.
    """
    import soundfile

    if not data:
        raise RecordingError("empty file")
    try:
        with soundfile.SoundFile(io.BytesIO(data)) as file:
            _check_header(file.samplerate, file.channels, file.frames, max_duration_s)
            as_it_is = (file.samplerate, file.channels, file.subtype) == (SAMPLE_RATE, 1, "PCM_16")
            blocks = _blocks(file, max_duration_s, "int16" if as_it_is else "float32")
            mono: list[Any] = list(blocks if as_it_is else _to_mono_16k(blocks, file.channels, file.samplerate))
    except soundfile.LibsndfileError as error:
        raise _reason(data, error) from error
    return np.concatenate(mono).reshape(-1)  # (num_samples,)


def _blocks(file: Any, max_duration_s: float, dtype: str) -> Iterator[AudioArray]:
    """The frames that are there, block by block, so that only the result is ever held whole: (frames, channels)."""
    limit = max_duration_s * file.samplerate
    left = file.frames if file.frames < UNKNOWN_FRAMES else int(limit) + 1  # headers may also claim less than there is
    file.seekable = lambda: False  # else soundfile seeks after every read, which fails without a length
    num_frames = 0
    while left > 0 and len(block := file.read(min(left, BLOCK_FRAMES), dtype=dtype, always_2d=True)):
        num_frames += len(block)
        left -= len(block)
        if num_frames > limit:
            raise _too_long(max_duration_s)
        yield block
    if not num_frames:
        raise RecordingError("no samples")


def _to_mono_16k(blocks: Iterable[AudioArray], channels: int, rate: int) -> Iterator[AudioArray]:
    import soxr

    # Bit for bit what resampling the whole would give.
    resampler = soxr.ResampleStream(rate, SAMPLE_RATE, 1, dtype="float32", quality="HQ")
    share = np.full(channels, 1 / channels, np.float32)
    num_frames = num_samples = 0
    for block in blocks:
        # A product with 1/channels is 20 times as fast as mean(axis=1) on 44.1 kHz stereo.
        mono = block @ share if channels > 1 else block[:, 0]
        if not np.isfinite(mono).all():
            raise RecordingError("samples that are not numbers", "NaN or infinite samples")
        if rate != SAMPLE_RATE:
            mono = resampler.resample_chunk(mono)
        num_frames += len(block)
        num_samples += len(mono)
        yield mono
    if rate != SAMPLE_RATE:
        rest = resampler.resample_chunk(np.empty(0, np.float32), last=True)
        if not num_samples + len(rest):
            raise RecordingError("no samples", f"{num_frames} at {rate} Hz, less than one at {SAMPLE_RATE} Hz")
        yield rest


def _check_header(rate: int, channels: int, num_frames: int, max_duration_s: float) -> None:
    """Limits before the first sample is decoded: a small file may unpack to hours, a header may claim terabytes."""
    if not MIN_RATE <= rate <= MAX_RATE:
        raise RecordingError("implausible sample rate", f"{rate} Hz")
    if channels > MAX_CHANNELS:
        raise RecordingError("too many channels", f"{channels}")
    if max_duration_s * rate < num_frames < UNKNOWN_FRAMES:
        raise _too_long(max_duration_s, f"{num_frames / rate:.0f} s by its header")


def _too_long(max_duration_s: float, detail: str | None = None) -> RecordingError:
    return RecordingError(f"longer than {max_duration_s:g} s (read.max_duration_s)", detail)


def _reason(data: bytes, error: Any) -> RecordingError:
    detail = str(error.error_string)  # its str() names the memory address of our buffer
    if data[4:8] == b"ftyp" or data[:4] == b"\x1aE\xdf\xa3":
        return RecordingError("format not supported", "MP4, M4A, WebM or Matroska")
    if "not recognised" in detail or "unknown format" in detail.lower():
        return RecordingError("not audio", detail)
    return RecordingError("damaged audio", detail)
