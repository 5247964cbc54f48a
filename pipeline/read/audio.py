"""Audio bytes to 16 kHz mono float32, by libsndfile and soxr.

Knows nothing of files, and is not to be trusted with them either: `guard` runs it in a process of its own, because
what it decodes is somebody else's bytes.
"""

import io
from typing import Any

import numpy as np

from pipeline.errors import RecordingError
from pipeline.records import SAMPLE_RATE, FloatArray

MIN_RATE, MAX_RATE = 1_000, 768_000  # Hz; a rate outside is a damaged header (1,092,676 Hz was seen in the wild)
MAX_CHANNELS = 64
UNKNOWN_FRAMES = 2**40  # a FLAC that was streamed does not tell its length, and libsndfile then claims 2**63 frames
BLOCK_FRAMES = 2**20


def decode(data: bytes, max_duration_s: float) -> FloatArray:
    """The whole recording, channels averaged; `RecordingError` where it is not audio or breaks a limit."""
    import soundfile

    if not data:
        raise RecordingError("empty file")
    try:
        with soundfile.SoundFile(io.BytesIO(data)) as file:
            _check_header(file.samplerate, file.channels, file.frames, max_duration_s)
            rate = file.samplerate
            samples = _read(file, int(max_duration_s * rate) + 1)  # one more than allowed: headers may claim less
    except soundfile.LibsndfileError as error:
        raise _reason(data, error) from error
    return _to_mono_16k(samples, rate, max_duration_s)  # (num_samples,)


def _read(file: Any, max_frames: int) -> FloatArray:
    """The frames that are there, up to a limit: (num_frames, channels)."""
    if file.frames < UNKNOWN_FRAMES:
        return file.read(max_frames, dtype="float32", always_2d=True)  # type: ignore[no-any-return]
    file.seekable = lambda: False  # else soundfile seeks after every read, which fails without a length
    blocks = [np.empty((0, file.channels), np.float32)]
    while max_frames > 0 and len(block := file.read(BLOCK_FRAMES, dtype="float32", always_2d=True)):
        blocks.append(block)
        max_frames -= len(block)
    return np.concatenate(blocks)


def _to_mono_16k(samples: FloatArray, rate: int, max_duration_s: float) -> FloatArray:
    import soxr

    num_frames, channels = samples.shape
    if num_frames == 0:
        raise RecordingError("no samples")
    if num_frames > max_duration_s * rate:
        raise _too_long(max_duration_s)
    # A product with 1/channels is 20 times as fast as mean(axis=1) on 44.1 kHz stereo.
    mono = samples @ np.full(channels, 1 / channels, np.float32) if channels > 1 else samples[:, 0]
    if not np.isfinite(mono).all():
        raise RecordingError("samples that are not numbers", "NaN or infinite samples")
    if rate != SAMPLE_RATE:
        mono = soxr.resample(mono, rate, SAMPLE_RATE, quality="HQ")
        if not len(mono):
            raise RecordingError("no samples", f"{num_frames} at {rate} Hz, less than one at {SAMPLE_RATE} Hz")
    return np.ascontiguousarray(mono, dtype=np.float32)


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
