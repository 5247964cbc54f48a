"""Decoding against tones, whose right answer is known in every container, and against bytes that are not audio.

It does not know perceptual quality: a lossy codec is held to the frequency and the length, a lossless one to the wave.
"""

import contextlib
import io
import struct
import tracemalloc
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import soundfile

from pipeline.errors import RecordingError
from pipeline.read.audio import decode

RATES = (8_000, 16_000, 22_050, 44_100, 48_000)
LIMIT_S = 600.0
TONE_HZ = 440.0


def tone(rate: int, seconds: float = 1.0, hertz: float = TONE_HZ) -> npt.NDArray[np.float64]:
    return 0.5 * np.sin(2 * np.pi * hertz * np.arange(int(seconds * rate)) / rate)


def encode(sound: npt.NDArray[np.floating], rate: int, container: str = "WAV", subtype: str | None = None) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, sound, rate, format=container, subtype=subtype)
    return file.getvalue()


def in_units(audio: npt.NDArray[np.float32] | npt.NDArray[np.int16]) -> npt.NDArray[np.float32]:
    return (audio / 32_768 if audio.dtype == np.int16 else audio).astype(np.float32)


def loudest_hertz(audio: npt.NDArray[np.float32]) -> float:
    spectrum = np.abs(np.fft.rfft(audio * np.hanning(len(audio))))
    return float(np.argmax(spectrum) * 16_000 / len(audio))


def reason(data: bytes, limit_s: float = LIMIT_S) -> str:
    with pytest.raises(RecordingError) as caught:
        decode(data, limit_s)
    return caught.value.reason


@pytest.mark.parametrize("channels", [1, 2, 6])
@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("container", ["WAV", "FLAC"])
def test_lossless_audio_of_any_rate_is_the_same_wave_at_16_khz(container: str, rate: int, channels: int) -> None:
    sound = np.repeat(tone(rate)[:, None], channels, axis=1)
    audio = decode(encode(sound, rate, container), LIMIT_S)
    as_it_was = rate == 16_000 and channels == 1  # nothing to do: it stays as it is, in half the memory
    assert (audio.dtype, audio.ndim, audio.flags.c_contiguous) == (np.int16 if as_it_was else np.float32, 1, True)
    assert abs(len(audio) - 16_000) <= 1
    inside = slice(400, 15_600)  # the resampling filter rings where a sound begins and ends
    np.testing.assert_allclose(in_units(audio)[inside], tone(16_000)[inside], atol=1e-3)


@pytest.mark.parametrize("container", ["WAV", "FLAC"])
def test_what_stays_16_bits_are_the_samples_of_the_file_and_not_others(container: str) -> None:
    samples = np.random.default_rng(0).integers(-32_768, 32_768, 5_000, dtype=np.int16)
    np.testing.assert_array_equal(decode(encode(samples, 16_000, container, "PCM_16"), LIMIT_S), samples)


@pytest.mark.parametrize(("rate", "channels"), [(16_000, 1), (16_000, 2), (44_100, 2), (8_000, 1)])
def test_the_blocks_that_audio_is_read_in_cannot_be_heard(
    monkeypatch: pytest.MonkeyPatch, rate: int, channels: int
) -> None:
    """Bit for bit, though a resampler looks across their borders; also where a block is a sample, or the last empty."""
    sound = np.random.default_rng(0).normal(0, 0.1, (3_001, channels)).astype(np.float32)
    data = encode(sound, rate, subtype="FLOAT")
    whole = decode(data, LIMIT_S)
    for frames in (1, 7, 1_000, 3_000, 3_001, 3_002):
        monkeypatch.setattr("pipeline.read.audio.BLOCK_FRAMES", frames)
        np.testing.assert_array_equal(decode(data, LIMIT_S), whole)


def test_a_long_recording_is_held_once_as_what_it_becomes_and_never_as_what_it_was() -> None:
    """Three hours of 44.1 kHz stereo are 3.8 GB; what is kept of them is 0.7 GB, and once more while it is joined."""
    data = encode(np.zeros((44_100 * 200, 2), np.int16), 44_100, "FLAC")
    tracemalloc.start()
    try:
        audio = decode(data, LIMIT_S)
        assert tracemalloc.get_traced_memory()[1] < 2 * audio.nbytes + 2**25
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize(
    ("container", "subtype", "rates"),
    [
        ("OGG", "VORBIS", RATES),
        ("OGG", "OPUS", (8_000, 16_000, 48_000)),  # the codec has no others
        ("MP3", None, RATES),
    ],
)
def test_lossy_audio_keeps_its_length_and_pitch(
    container: str, subtype: str | None, rates: tuple[int, ...], channels: int
) -> None:
    for rate in rates:
        sound = np.repeat(tone(rate)[:, None], channels, axis=1)
        audio = decode(encode(sound, rate, container, subtype), LIMIT_S)
        assert len(audio) == pytest.approx(16_000, abs=1_600), rate  # codecs pad to whole frames
        assert loudest_hertz(audio) == pytest.approx(TONE_HZ, abs=2), rate


def test_a_tone_above_the_new_nyquist_frequency_does_not_fold_back() -> None:
    audio = decode(encode(tone(48_000, hertz=10_000), 48_000), LIMIT_S)
    assert np.abs(audio[400:-400]).max() < 1e-3


def test_channels_are_averaged_not_summed_or_dropped() -> None:
    channels = np.random.default_rng(0).uniform(-1, 1, (1000, 6)).astype(np.float32)
    audio = decode(encode(channels, 16_000, subtype="FLOAT"), LIMIT_S)
    np.testing.assert_allclose(audio, channels.mean(axis=1), atol=1e-6)


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "ALAW"])
def test_every_sample_width_has_the_same_scale(subtype: str) -> None:
    audio = decode(encode(tone(16_000), 16_000, subtype=subtype), LIMIT_S)
    np.testing.assert_allclose(audio, tone(16_000), atol=0.02)


def test_real_recordings_have_the_length_their_publisher_states(shared_data: Path) -> None:
    for name, seconds in (("stereo.wav", 1.0), ("stereo.mp3", 1.0), ("stereo.sph", 1.0), ("mono_c0.wav", 0.5)):
        audio = decode((shared_data / "formats" / name).read_bytes(), LIMIT_S)
        assert len(audio) == pytest.approx(seconds * 16_000, abs=200), name
        assert np.abs(audio).max() > 0.001, name


FLAC = encode(np.random.default_rng(0).normal(0, 0.1, 16_000), 16_000, "FLAC")
WAV = encode(tone(16_000, 0.1), 16_000)


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")  # infinity minus infinity, in the downmix
@pytest.mark.parametrize(
    ("data", "expected"),
    [
        pytest.param(b"", "empty file", id="empty"),
        pytest.param(b"this is a text file that somebody named .wav", "not audio", id="text"),
        pytest.param(bytes(1000), "not audio", id="zeros"),
        pytest.param(np.random.default_rng(0).bytes(5000), "not audio", id="noise"),
        pytest.param(FLAC[: len(FLAC) // 2], "damaged audio", id="half a FLAC"),
        pytest.param(WAV[:36], "damaged audio", id="a WAV header alone"),
        pytest.param(encode(tone(16_000, 0), 16_000), "no samples", id="WAV without samples"),
        pytest.param(encode(tone(48_000, 1e-4)[:1], 48_000), "no samples", id="less than a sample at 16 kHz"),
        pytest.param(encode(np.array([0, np.nan]), 16_000, subtype="FLOAT"), "samples that are not numbers", id="NaN"),
        pytest.param(
            encode(np.array([0, np.inf]), 16_000, subtype="FLOAT"), "samples that are not numbers", id="infinity"
        ),
        pytest.param(
            encode(np.array([0, 1e300]), 16_000, subtype="DOUBLE"), "samples that are not numbers", id="overflow"
        ),
        pytest.param(
            encode(np.array([[np.inf, -np.inf]]), 16_000, subtype="FLOAT"), "samples that are not numbers", id="inf-inf"
        ),
        pytest.param(encode(tone(16_000), 1_092_676), "implausible sample rate", id="rate too high"),
        pytest.param(encode(tone(16_000), 100), "implausible sample rate", id="rate too low"),
        pytest.param(encode(np.zeros((10, 100)), 16_000), "too many channels", id="channels"),
        pytest.param(b"\0\0\0\x20ftypM4A " + bytes(100), "format not supported", id="MP4"),
        pytest.param(b"\x1aE\xdf\xa3" + bytes(100), "format not supported", id="Matroska"),
    ],
)
def test_what_is_not_a_recording_fails_with_a_reason_that_can_be_counted(data: bytes, expected: str) -> None:
    assert reason(data) == expected


def test_a_recording_over_the_limit_fails_and_one_at_the_limit_does_not() -> None:
    assert reason(encode(tone(8_000, 1.01), 8_000), limit_s=1.0) == "longer than 1 s (read.max_duration_s)"
    assert len(decode(encode(tone(8_000, 1.0), 8_000), 1.0)) == 16_000


@pytest.mark.parametrize("container", ["AU", "RF64"])
def test_a_header_that_claims_terabytes_costs_no_memory(container: str) -> None:
    data = bytearray(encode(tone(16_000, 0.1), 16_000, container))
    if container == "AU":
        struct.pack_into(">I", data, 8, 2**31 - 1)  # all that its 32 bits can say
    else:
        struct.pack_into("<QQQ", data, 20, 2**42, 2**42, 2**41)  # bytes of the file, bytes of audio, samples
    tracemalloc.start()
    try:
        with contextlib.suppress(RecordingError):
            assert len(decode(bytes(data), LIMIT_S)) <= 1_600  # what is really there
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


def test_details_are_the_same_on_every_run() -> None:
    """A detail with a memory address in it would make equal failures look different."""
    with pytest.raises(RecordingError) as caught:
        decode(WAV[:36], LIMIT_S)
    assert caught.value.detail
    assert "0x" not in caught.value.detail


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("awful.wav", "implausible sample rate"),
        ("bad.wav", "damaged audio"),
        ("evil.wav", "damaged audio"),
        ("null.wav", "no samples"),
    ],
)
def test_files_made_to_break_decoders_fail_like_any_other(shared_data: Path, name: str, expected: str) -> None:
    assert reason((shared_data / "hostile" / name).read_bytes()) == expected


def test_a_streamed_flac_that_does_not_tell_its_length_is_read(tmp_path: Path) -> None:
    """Encoders that write to a pipe leave the number of samples at zero, and libsndfile then claims 2**63."""
    wave = np.sin(np.arange(16_000 * 3, dtype=np.float32) / 7) / 2
    path = tmp_path / "a.flac"
    soundfile.write(path, wave, 16_000)
    data = bytearray(path.read_bytes())
    assert data[:4] == b"fLaC"
    assert data[4] & 0x7F == 0  # the block with the lengths comes first
    data[21] &= 0xF0  # the low four bits of this byte and the next four bytes are the number of samples
    data[22:26] = bytes(4)
    assert soundfile.info(io.BytesIO(bytes(data))).frames > 2**40
    np.testing.assert_allclose(in_units(decode(bytes(data), 600.0)), wave, atol=1e-4)
    with pytest.raises(RecordingError, match="longer than 2 s"):
        decode(bytes(data), 2.0)
