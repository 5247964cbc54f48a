"""Small audio files in every format, and damaged copies of them, from one seed.

Knows nothing of what becomes of them.
"""

import io
from collections.abc import Iterator

import av
import numpy as np
import soundfile

from pipeline.demo.sample import babble

SECONDS = 0.5
BY_SOUNDFILE = {  # extension: format, subtype, sample rate, channels
    "wav": ("WAV", "PCM_16", 16_000, 1),
    "float.wav": ("WAV", "FLOAT", 16_000, 2),
    "flac": ("FLAC", "PCM_16", 16_000, 1),
    "24.flac": ("FLAC", "PCM_24", 44_100, 2),
    "mp3": ("MP3", "MPEG_LAYER_III", 44_100, 2),
    "ogg": ("OGG", "VORBIS", 22_050, 1),
    "aiff": ("AIFF", "PCM_16", 16_000, 1),
    "au": ("AU", "ULAW", 8_000, 1),
    "sph": ("NIST", "PCM_16", 8_000, 1),
    "w64": ("W64", "PCM_16", 16_000, 1),
    "caf": ("CAF", "ALAC_16", 16_000, 1),
}
BY_AV = {  # extension: container, codec, sample rate
    "opus": ("ogg", "libopus", 48_000),
    "m4a": ("mp4", "aac", 44_100),
    "aac": ("adts", "aac", 44_100),
    "webm": ("webm", "libopus", 48_000),
    "mkv": ("matroska", "flac", 16_000),
    "mp2": ("mp2", "mp2", 44_100),
}


def whole_files() -> dict[str, bytes]:
    """One sound in every format, by extension."""
    sound = babble(np.random.default_rng(1), SECONDS, 48_000)
    found = {}
    for extension, (container, codec, rate, channels) in BY_SOUNDFILE.items():
        file = io.BytesIO()
        samples = np.repeat(_at(sound, rate)[:, None], channels, axis=1)
        soundfile.write(file, samples, rate, format=container, subtype=codec)
        found[extension] = file.getvalue()
    for extension, (container, codec, rate) in BY_AV.items():
        found[extension] = _by_av(_at(sound, rate), container, codec, rate)
    return found


def _at(sound: np.ndarray, rate: int) -> np.ndarray:
    return sound[np.arange(int(SECONDS * rate)) * 48_000 // rate]


def _by_av(sound: np.ndarray, container: str, codec: str, rate: int) -> bytes:
    file = io.BytesIO()
    with av.open(file, "w", format=container) as out:
        stream = out.add_stream(codec, rate=rate, layout="mono")
        stream.format = stream.codec.audio_formats[0]
        frame = av.AudioFrame.from_ndarray(sound[None], "fltp", "mono")
        frame.rate, frame.pts = rate, 0
        to_codec = av.AudioResampler(stream.format, "mono", rate)
        for ready in (*to_codec.resample(frame), None):
            out.mux(stream.encode(ready))
    return file.getvalue()


def damaged(whole: dict[str, bytes], number: int, seed: int) -> Iterator[tuple[str, bytes]]:
    """So many damaged copies, by name: all formats and all kinds of damage in turn."""
    rng = np.random.default_rng(seed)
    extensions = list(whole)
    for count in range(number):
        extension = extensions[count % len(extensions)]
        other = whole[extensions[int(rng.integers(len(extensions)))]]
        kind = KINDS[count // len(extensions) % len(KINDS)]
        yield f"{count:06d}-{kind.__name__}.{extension}", kind(whole[extension], other, rng)


# ---- kinds of damage: a file and another one -> what is left of the file


def cut_off(data: bytes, other: bytes, rng: np.random.Generator) -> bytes:
    return data[: int(rng.integers(len(data)))]


def flipped(data: bytes, other: bytes, rng: np.random.Generator) -> bytes:
    return _with(data, rng.integers(len(data), size=rng.integers(1, 20)), rng)


def flipped_header(data: bytes, other: bytes, rng: np.random.Generator) -> bytes:
    return _with(data, rng.integers(min(len(data), 200), size=rng.integers(1, 6)), rng)


def extreme_field(data: bytes, other: bytes, rng: np.random.Generator) -> bytes:
    """A number in the header as large or as small as it gets."""
    at, width = int(rng.integers(min(len(data), 200))), int(rng.choice([1, 2, 4, 8]))
    return data[:at] + bytes([int(rng.choice([0x00, 0x7F, 0x80, 0xFF]))]) * width + data[at + width :]


def zeroed(data: bytes, other: bytes, rng: np.random.Generator) -> bytes:
    at, length = int(rng.integers(len(data))), int(rng.integers(1, 4096))
    return data[:at] + bytes(min(length, len(data) - at)) + data[at + length :]


def with_a_hole(data: bytes, other: bytes, rng: np.random.Generator) -> bytes:
    at = int(rng.integers(len(data)))
    return data[:at] + data[at + int(rng.integers(1, 2048)) :]


def with_noise_in_it(data: bytes, other: bytes, rng: np.random.Generator) -> bytes:
    at = int(rng.integers(len(data)))
    return data[:at] + rng.bytes(int(rng.integers(1, 2048))) + data[at:]


def spliced(data: bytes, other: bytes, rng: np.random.Generator) -> bytes:
    """The beginning of one format and the end of another."""
    return data[: int(rng.integers(len(data)))] + other[int(rng.integers(len(other))) :]


def twice(data: bytes, other: bytes, rng: np.random.Generator) -> bytes:
    return data + data[int(rng.integers(len(data))) :]


KINDS = (cut_off, flipped, flipped_header, extreme_field, zeroed, with_a_hole, with_noise_in_it, spliced, twice)


def _with(data: bytes, places: np.ndarray, rng: np.random.Generator) -> bytes:
    changed = bytearray(data)
    for place in places:
        changed[place] ^= int(rng.integers(1, 256))
    return bytes(changed)
