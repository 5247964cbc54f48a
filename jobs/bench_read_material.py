"""Files in every format for `bench read`, and the plainest code that decodes each.

Knows nothing of time.
"""

import io
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from pipeline.records import SAMPLE_RATE


@dataclass(frozen=True)
class Format:
    """A format, who writes it, and who decodes it bare."""

    name: str
    rate: int
    channels: int
    decoder: Literal["soundfile + soxr", "PyAV"]
    container: str  # as the library that writes it calls it
    codec: str  # likewise
    options: dict[str, Any] = field(default_factory=dict, hash=False)


FORMATS = (
    Format("wav-16k", 16_000, 1, "soundfile + soxr", "WAV", "PCM_16"),
    Format("flac-16k", 16_000, 1, "soundfile + soxr", "FLAC", "PCM_16"),
    Format("flac-44k-stereo", 44_100, 2, "soundfile + soxr", "FLAC", "PCM_16"),
    Format("mp3-44k-stereo", 44_100, 2, "soundfile + soxr", "MP3", "MPEG_LAYER_III"),
    Format("vorbis-44k", 44_100, 1, "soundfile + soxr", "OGG", "VORBIS"),
    Format("opus-48k", 48_000, 1, "PyAV", "ogg", "libopus"),
    Format("m4a-44k-stereo", 44_100, 2, "PyAV", "mp4", "aac"),
    Format("webm-48k", 48_000, 1, "PyAV", "webm", "libopus"),
)


def encoded(form: Format, seconds: float) -> bytes:
    """Made-up speech as a file of this format."""
    sound = _sound(form.rate, form.channels, seconds)
    return _by_av(form, sound) if form.decoder == "PyAV" else _by_soundfile(form, sound)


@lru_cache(maxsize=1)
def _sound(rate: int, channels: int, seconds: float) -> npt.NDArray[np.float32]:
    """(num_frames, channels)"""
    from pipeline.demo.sample import babble

    rng = np.random.default_rng(0)
    return np.stack([babble(rng, seconds, rate) for _ in range(channels)], axis=1)


def _by_soundfile(form: Format, sound: npt.NDArray[np.float32]) -> bytes:
    import soundfile

    file = io.BytesIO()
    with soundfile.SoundFile(file, "w", form.rate, form.channels, form.codec, format=form.container) as out:
        for start in range(0, len(sound), 2**16):  # libsndfile's Vorbis encoder overflows its stack on long ones
            out.write(sound[start : start + 2**16])
    return file.getvalue()


def _by_av(form: Format, sound: npt.NDArray[np.float32]) -> bytes:
    import av

    file = io.BytesIO()
    layout = "stereo" if form.channels == 2 else "mono"
    with av.open(file, "w", format=form.container) as out:
        stream: Any = out.add_stream(form.codec, rate=form.rate, layout=layout)
        for start in range(0, len(sound), 2**16):
            frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(sound[start : start + 2**16].T), "fltp", layout)
            frame.rate, frame.pts = form.rate, start
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return file.getvalue()


def bare(form: Format, data: bytes) -> npt.NDArray[np.float32]:
    """The whole file, channels averaged, at 16 kHz."""
    return _bare_av(data) if form.decoder == "PyAV" else _bare_soundfile(data)


def _bare_soundfile(data: bytes) -> npt.NDArray[np.float32]:
    import soundfile
    import soxr

    samples, rate = soundfile.read(io.BytesIO(data), dtype="float32", always_2d=True)  # (num_frames, channels)
    mono = (
        samples @ np.full(samples.shape[1], 1 / samples.shape[1], np.float32) if samples.shape[1] > 1 else samples[:, 0]
    )
    resampled: npt.NDArray[np.float32] = soxr.resample(mono, rate, SAMPLE_RATE) if rate != SAMPLE_RATE else mono
    return resampled


def _bare_av(data: bytes) -> npt.NDArray[np.float32]:
    import av

    with av.open(io.BytesIO(data), "r") as container:
        # A second of samples at a time: frame by frame, as packets hold them, it takes a third longer.
        resampler = av.AudioResampler("flt", "mono", SAMPLE_RATE, frame_size=SAMPLE_RATE)
        frames = [out for frame in container.decode(audio=0) for out in resampler.resample(frame)]
        frames += resampler.resample(None)
        return np.concatenate([frame.to_ndarray()[0] for frame in frames])
