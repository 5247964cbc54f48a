"""Decoding against tones, whose right answer is known in every container, and against bytes that are not audio.

It does not know perceptual quality: a lossy codec is held to the frequency and the length, a lossless one to the wave.
What ffmpeg's libraries read is in `test_libav`.
"""

import contextlib
import dataclasses
import io
import itertools
import struct
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import soundfile
import soxr
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.config import ReadConfig
from pipeline.errors import RecordingError
from pipeline.read import audio as module
from pipeline.read import sndfile
from pipeline.read.guard import Decoded, Limits
from pipeline.records import WHOLE, AudioArray, Cut

RATES = (8_000, 16_000, 22_050, 44_100, 48_000)
LIMITS = Limits.of(ReadConfig())
TONE_HZ = 440.0


def decoded(data: bytes, cut: Cut = WHOLE, limits: Limits = LIMITS) -> Decoded:
    sound = module.decode(io.BytesIO(data), limits, cut)
    return Decoded(np.concatenate(list(sound.blocks)), sound.declared_s)


def decode(data: bytes, cut: Cut = WHOLE, limits: Limits = LIMITS) -> AudioArray:
    return decoded(data, cut, limits).audio


def within(limit_s: float) -> Limits:
    return dataclasses.replace(LIMITS, max_duration_s=limit_s)


def tone(rate: int, seconds: float = 1.0, hertz: float = TONE_HZ) -> npt.NDArray[np.float64]:
    return 0.5 * np.sin(2 * np.pi * hertz * np.arange(int(seconds * rate)) / rate)


def encode(sound: npt.NDArray[Any], rate: int, container: str = "WAV", subtype: str | None = None) -> bytes:
    file = io.BytesIO()
    channels = sound.shape[1] if sound.ndim == 2 else 1
    with soundfile.SoundFile(file, "w", rate, channels, subtype, format=container) as writer:
        for start in range(0, len(sound), 2**16):  # libsndfile's Vorbis encoder crashes on much more
            writer.write(sound[start : start + 2**16])
    return file.getvalue()


def in_units(audio: npt.NDArray[np.float32] | npt.NDArray[np.int16]) -> npt.NDArray[np.float32]:
    return (audio / 32_768 if audio.dtype == np.int16 else audio).astype(np.float32)


def loudest_hertz(audio: npt.NDArray[np.float32]) -> float:
    spectrum = np.abs(np.fft.rfft(audio * np.hanning(len(audio))))
    return float(np.argmax(spectrum) * 16_000 / len(audio))


def reason(data: bytes, cut: Cut = WHOLE, limits: Limits = LIMITS) -> str:
    with pytest.raises(RecordingError) as caught:
        decode(data, cut, limits)
    return caught.value.reason


@pytest.mark.parametrize("channels", [1, 2, 6])
@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("container", ["WAV", "FLAC"])
def test_lossless_audio_of_any_rate_is_the_same_wave_at_16_khz(container: str, rate: int, channels: int) -> None:
    sound = np.repeat(tone(rate)[:, None], channels, axis=1)
    audio = decode(encode(sound, rate, container))
    as_it_was = rate == 16_000 and channels == 1  # nothing to do: it stays as it is, in half the memory
    assert (audio.dtype, audio.ndim, audio.flags.c_contiguous) == (np.int16 if as_it_was else np.float32, 1, True)
    assert abs(len(audio) - 16_000) <= 1
    inside = slice(400, 15_600)  # the resampling filter rings where a sound begins and ends
    np.testing.assert_allclose(in_units(audio)[inside], tone(16_000)[inside], atol=1e-3)


@pytest.mark.parametrize("container", ["WAV", "FLAC"])
def test_what_stays_16_bits_are_the_samples_of_the_file_and_not_others(container: str) -> None:
    samples = np.random.default_rng(0).integers(-32_768, 32_768, 5_000, dtype=np.int16)
    np.testing.assert_array_equal(decode(encode(samples, 16_000, container, "PCM_16")), samples)


@pytest.mark.parametrize(("rate", "channels"), [(16_000, 1), (16_000, 2), (44_100, 2), (8_000, 1)])
def test_the_blocks_that_audio_is_read_in_cannot_be_heard(
    monkeypatch: pytest.MonkeyPatch, rate: int, channels: int
) -> None:
    """Bit for bit, though a resampler looks across their borders; also where a block is a sample, or the last empty."""
    sound = np.random.default_rng(0).normal(0, 0.1, (3_001, channels)).astype(np.float32)
    data = encode(sound, rate, subtype="FLOAT")
    whole = decode(data)
    for frames in (1, 7, 1_000, 3_000, 3_001, 3_002):
        monkeypatch.setattr(sndfile, "BLOCK_SAMPLES", frames * channels)
        np.testing.assert_array_equal(decode(data), whole)


def test_a_long_recording_is_never_held_whole() -> None:
    """Three hours of 44.1 kHz stereo are 3.8 GB, and what is kept of them, 0.7 GB, is the other process's."""
    data = encode(np.zeros((44_100 * 200, 2), np.int16), 44_100, "FLAC")
    tracemalloc.start()
    try:
        assert sum(map(len, module.decode(io.BytesIO(data), LIMITS).blocks)) == 200 * 16_000
        assert tracemalloc.get_traced_memory()[1] < 2**22
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
        audio = decode(encode(sound, rate, container, subtype))
        assert len(audio) == pytest.approx(16_000, abs=1_600), rate  # codecs pad to whole frames
        assert loudest_hertz(audio) == pytest.approx(TONE_HZ, abs=2), rate


def test_a_tone_above_the_new_nyquist_frequency_does_not_fold_back() -> None:
    audio = decode(encode(tone(48_000, hertz=10_000), 48_000))
    assert np.abs(audio[400:-400]).max() < 1e-3


def test_channels_are_averaged_not_summed_or_dropped() -> None:
    channels = np.random.default_rng(0).uniform(-1, 1, (1000, 6)).astype(np.float32)
    audio = decode(encode(channels, 16_000, subtype="FLOAT"))
    np.testing.assert_allclose(audio, channels.mean(axis=1), atol=1e-6)


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "ALAW"])
def test_every_sample_width_has_the_same_scale(subtype: str) -> None:
    audio = decode(encode(tone(16_000), 16_000, subtype=subtype))
    np.testing.assert_allclose(audio, tone(16_000), atol=0.02)


def test_real_recordings_have_the_length_their_publisher_states(shared_data: Path) -> None:
    for name, seconds in (("stereo.wav", 1.0), ("stereo.mp3", 1.0), ("stereo.sph", 1.0), ("mono_c0.wav", 0.5)):
        audio = decode((shared_data / "formats" / name).read_bytes())
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
        pytest.param(
            encode(tone(16_000), 1_092_676), "sample rate over 768000 Hz (read.max_rate_hz)", id="rate too high"
        ),
        pytest.param(encode(tone(16_000), 100), "implausible sample rate", id="rate too low"),
        pytest.param(encode(np.zeros((10, 100)), 16_000), "more than 64 channels (read.max_channels)", id="channels"),
        pytest.param(
            encode(np.array([0, 1e30]), 16_000, subtype="FLOAT"), "samples out of all proportion", id="too loud"
        ),
    ],
)
def test_what_is_not_a_recording_fails_with_a_reason_that_can_be_counted(data: bytes, expected: str) -> None:
    assert reason(data) == expected


def test_a_recording_over_the_limit_fails_and_one_at_the_limit_does_not() -> None:
    assert reason(encode(tone(8_000, 1.01), 8_000), limits=within(1.0)) == "longer than 1 s (read.max_duration_s)"
    assert len(decode(encode(tone(8_000, 1.0), 8_000), limits=within(1.0))) == 16_000


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
            assert len(decode(bytes(data))) <= 1_600  # what is really there
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


def test_details_are_the_same_on_every_run() -> None:
    """A detail with a memory address in it would make equal failures look different."""
    with pytest.raises(RecordingError) as caught:
        decode(WAV[:36])
    assert caught.value.detail
    assert "0x" not in caught.value.detail


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("awful.wav", "sample rate over 768000 Hz (read.max_rate_hz)"),
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
    np.testing.assert_allclose(in_units(decode(bytes(data))), wave, atol=1e-4)
    with pytest.raises(RecordingError, match="longer than 2 s"):
        decode(bytes(data), limits=within(2.0))


NOISE = np.random.default_rng(1).normal(0, 0.1, (30_011, 2)).astype(np.float32)
SEEKABLE = {
    "WAV": encode(NOISE, 16_000, "WAV"),
    "FLAC": encode(NOISE, 16_000, "FLAC"),
    "AIFF": encode(NOISE, 16_000, "AIFF"),
    "W64": encode(NOISE, 16_000, "W64"),
    "CAF": encode(NOISE, 16_000, "CAF"),
    "NIST": encode(NOISE, 16_000, "NIST"),
    "MP3": encode(NOISE, 16_000, "MP3"),
    "OGG": encode(NOISE, 16_000, "OGG"),
}


@settings(max_examples=25)
@given(
    container=st.sampled_from(sorted(SEEKABLE)),
    edges=st.lists(st.floats(0.0, 1.8), min_size=1, max_size=4, unique=True),
    channel=st.sampled_from([None, 0, 1]),
)
def test_cuts_that_touch_are_the_whole_file_in_pieces(container: str, edges: list[float], channel: int | None) -> None:
    """No sample twice and none lost at a border, wherever it falls between two samples; the oracle reads it whole."""
    data = SEEKABLE[container]
    samples, _ = soundfile.read(io.BytesIO(data), dtype="float32")  # (30_011, 2)
    whole = samples.mean(axis=1) if channel is None else samples[:, channel]
    starts = [0.0, *sorted({edge for edge in edges if edge * 16_000 > 1})]
    cuts = [Cut(start, end - start, channel) for start, end in itertools.pairwise(starts)]
    cuts = [cut for cut in cuts if round((cut.offset_s + cut.length_s) * 16_000) > round(cut.offset_s * 16_000)]
    pieces = [in_units(decode(data, cut)) for cut in (*cuts, Cut(starts[-1], None, channel))]
    # MP3 and Vorbis decode a block from the one before; libsndfile goes back for it.
    np.testing.assert_allclose(np.concatenate(pieces), whole, atol=1e-6 if container not in ("MP3", "OGG") else 1e-4)


@settings(max_examples=15)
@given(
    rate=st.sampled_from([8_000, 22_050, 44_100, 48_000]), offset_s=st.floats(0, 1.3), length_s=st.floats(0.001, 0.2)
)
def test_a_cut_is_resampled_alone(rate: int, offset_s: float, length_s: float) -> None:
    data = encode(NOISE[:, 0].repeat(rate // 8_000)[: int(1.6 * rate)], rate, subtype="FLOAT")
    samples, _ = soundfile.read(io.BytesIO(data), dtype="float32")
    cut = samples[round(offset_s * rate) : round((offset_s + length_s) * rate)]
    np.testing.assert_array_equal(decode(data, Cut(offset_s, length_s)), soxr.resample(cut, rate, 16_000, "HQ"))


class Counted(io.BytesIO):
    num_read = 0

    def readinto(self, buffer: object) -> int:
        num_read = super().readinto(buffer)  # type: ignore[arg-type]
        self.num_read += num_read
        return num_read


@pytest.mark.parametrize("container", ["WAV", "FLAC", "OGG"])
def test_what_is_before_a_cut_is_not_read(container: str) -> None:
    """Else the segments of a day cost a day each."""
    data = encode(np.random.default_rng(0).normal(0, 0.1, 16_000 * 240), 16_000, container)
    file = Counted(data)
    blocks = list(module.decode(file, LIMITS, Cut(200.0, 1.0)).blocks)
    assert sum(map(len, blocks)) == 16_000
    assert file.num_read < 2**18 < len(data) / 3


def test_a_cut_of_what_cannot_be_sought_in_is_read_up_to() -> None:
    data = encode(tone(8_000, 2.0), 8_000, "WAV", "GSM610")
    with pytest.raises(soundfile.LibsndfileError), soundfile.SoundFile(io.BytesIO(data)) as file:
        file.seek(4_000)
    samples, _ = soundfile.read(io.BytesIO(data), dtype="float32")
    np.testing.assert_array_equal(decode(data, Cut(0.7, 0.5)), soxr.resample(samples[5_600:9_600], 8_000, 16_000, "HQ"))


def test_a_cut_of_16_bits_and_one_channel_stays_16_bits() -> None:
    samples = np.random.default_rng(0).integers(-32_768, 32_768, (5_000, 2), dtype=np.int16)
    audio = decode(encode(samples, 16_000, subtype="PCM_16"), Cut(0.1, 0.1, 1))
    assert audio.dtype == np.int16
    np.testing.assert_array_equal(audio, samples[1_600:3_200, 1])


@pytest.mark.parametrize(
    ("cut", "expected"),
    [
        (Cut(1.0), "begins after the end of its audio"),
        (Cut(1e9), "begins after the end of its audio"),
        (Cut(-1.0), "no segment of its audio"),
        (Cut(float("nan")), "no segment of its audio"),
        (Cut(1e300), "no segment of its audio"),
        (Cut(0.0, 0.0), "no segment of its audio"),
        (Cut(0.0, -1.0), "no segment of its audio"),
        (Cut(0.0, float("inf")), "no segment of its audio"),
        (Cut(0.0, 1e-9), "no samples"),
        (Cut(channel=1), "no channel of that number (read.channels)"),
        (Cut(channel=-1), "no channel of that number (read.channels)"),
    ],
)
@pytest.mark.parametrize("container", ["WAV", "FLAC", "MP3", "OGG"])
def test_a_cut_that_is_not_there_says_so(container: str, cut: Cut, expected: str) -> None:
    assert reason(encode(tone(16_000), 16_000, container), cut) == expected


def test_limits_are_those_of_the_cut_and_of_the_options() -> None:
    data = encode(np.zeros((16_000 * 10, 2), np.int16), 16_000, "FLAC")
    assert len(decode(data, Cut(4.0, 2.0), within(2.0))) == 32_000
    assert len(decode(data, Cut(9.0), within(2.0))) == 16_000
    assert reason(data, Cut(4.0, 2.1), within(2.0)) == "longer than 2 s (read.max_duration_s)"
    assert reason(data, Cut(4.0), within(2.0)) == "longer than 2 s (read.max_duration_s)"
    few = dataclasses.replace(LIMITS, max_channels=1)
    assert reason(data, limits=few) == "more than 1 channels (read.max_channels)"
    slow = dataclasses.replace(LIMITS, max_rate_hz=8_000)
    assert reason(data, limits=slow) == "sample rate over 8000 Hz (read.max_rate_hz)"


def test_channels_are_counted_without_decoding() -> None:
    for channels in (1, 2, 6):
        assert module.num_channels(io.BytesIO(encode(np.zeros((100, channels)), 16_000)), LIMITS) == channels
    with pytest.raises(RecordingError, match="not audio"):
        module.num_channels(io.BytesIO(b"text" * 100), LIMITS)


@pytest.mark.parametrize("container", ["WAV", "AIFF", "AU", "W64", "RF64", "NIST", "MP3"])
def test_audio_that_was_cut_off_tells_how_long_it_was(container: str) -> None:
    """An upload that broke off is otherwise a recording like any other: libsndfile counts what is there."""
    data = encode(np.random.default_rng(0).normal(0, 0.1, 48_000), 16_000, container)
    audio, declared_s = decoded(data)
    assert declared_s == len(audio) / 16_000 == 3.0
    audio, declared_s = decoded(data[: len(data) // 2])
    assert len(audio) / 16_000 == pytest.approx(1.5, abs=0.2)
    assert declared_s == pytest.approx(3.0, abs=0.01)
    assert decoded(data[: len(data) // 2], Cut(1.0)).declared_s == pytest.approx(2.0, abs=0.01)
    assert decoded(data[: len(data) // 2], Cut(0.0, 0.5)).declared_s == 0.5


def test_an_ogg_file_without_its_last_page_claims_nothing() -> None:
    data = encode(np.random.default_rng(0).normal(0, 0.1, 48_000), 16_000, "OGG")
    assert decoded(data).declared_s == 3.0
    assert decoded(data[: len(data) // 2]).declared_s is None


def test_a_wav_that_was_written_to_a_pipe_claims_nothing() -> None:
    """Its header holds the most that 32 bits can say, for want of knowing better."""
    for claim in (2**31 - 1, 2**32 - 1):
        data = bytearray(encode(tone(16_000), 16_000))
        assert data[36:40] == b"data"
        struct.pack_into("<I", data, 40, claim)
        audio, declared_s = decoded(bytes(data))
        assert (len(audio), declared_s) == (16_000, None)


def mp3_of_changing_rate() -> tuple[bytes, int]:
    """Silence, which takes few bytes, then noise, which takes many; and where its first frame of sound is."""
    sound = np.concatenate([np.zeros(44_100 * 6), np.random.default_rng(0).normal(0, 0.2, 44_100 * 6)])
    data = encode(sound, 44_100, "MP3")
    assert b"Xing" in data[:100]
    return data, data.index(data[:2], 4)


def test_an_mp3_of_variable_rate_without_a_measure_is_read_to_its_end() -> None:
    """libsndfile takes all of its frames to be like the first, and stops too early or expects too much."""
    data, after = mp3_of_changing_rate()
    whole = decode(data)
    assert len(whole) == 12 * 16_000
    audio, declared_s = decoded(data[after:])
    assert declared_s is None
    assert len(audio) == pytest.approx(12 * 16_000, abs=1_600)  # it also held how much silence the encoder adds
    late = decode(data[after:], Cut(11.0, 0.5))
    inside = slice(200, -200)  # the resampling filter rings at either end
    np.testing.assert_allclose(late[inside], audio[11 * 16_000 : 11 * 16_000 + 8_000][inside], atol=1e-3)


def test_mp3s_one_behind_the_other_are_read_all() -> None:
    """As advertisements are put into podcasts: the header of the first tells of the first only."""
    data, _ = mp3_of_changing_rate()
    audio, declared_s = decoded(data * 3)
    assert declared_s is None
    assert len(audio) == pytest.approx(36 * 16_000, abs=4_800)


def test_tags_around_an_mp3_change_nothing() -> None:
    data, _ = mp3_of_changing_rate()
    tag = b"ID3\x04\0\0\0\0\x02\0" + bytes(256)
    assert decoded(tag + data + b"TAG" + bytes(125)).declared_s == 12.0
    np.testing.assert_array_equal(decode(tag + data + b"TAG" + bytes(125)), decode(data))


@pytest.mark.parametrize("num_files", [2, 3, 6])
@pytest.mark.parametrize("tag", [b"", b"ID3\x04\0\0\0\0\x02\0" + bytes(256)])
def test_short_mp3s_one_behind_the_other_are_read_all(num_files: int, tag: bytes) -> None:
    """Behind a short one, the rest is no more than the tags that other files end with."""
    parts = [encode(tone(24_000, 3.0, 300.0 * (n + 1)), 24_000, "MP3") for n in range(num_files)]
    audio, declared_s = decoded(tag.join(parts))
    assert declared_s is None
    assert len(audio) == pytest.approx(num_files * 48_000, abs=num_files * 2_000)
    for number in range(num_files):
        part = audio[int((number + 0.5) * len(audio) / num_files) - 8_000 :][:16_000]
        assert loudest_hertz(part) == pytest.approx(300.0 * (number + 1), abs=2)


@pytest.mark.parametrize(("rate", "channels"), [(48_000, 1), (44_100, 2), (22_050, 1)])
@pytest.mark.parametrize("seconds", [2.0, 20.0])
def test_an_mp3_behind_one_of_another_kind_is_not_passed_over(rate: int, channels: int, seconds: float) -> None:
    """libsndfile ends where the first does, as if that were all."""
    first = encode(tone(44_100, 20.0), 44_100, "MP3")
    second = encode(np.repeat(tone(rate, seconds)[:, None], channels, axis=1), rate, "MP3")
    for data in (first + second, first[first.index(first[:2], 4) :] + second, first + bytes(2_000) + second):
        assert reason(data) == "damaged audio"
        assert len(decode(data, Cut(1.0, 1.0))) == 16_000


def test_noise_in_an_mp3_without_a_measure_is_not_its_end() -> None:
    data, after = mp3_of_changing_rate()
    data = data[after:]
    middle = len(data) // 2
    noise = np.random.default_rng(0).bytes(30_000).replace(b"\xff", b"\0")
    assert reason(data[:middle] + noise + data[middle:]) == "damaged audio"


def test_pictures_behind_an_mp3_are_not_taken_for_sound() -> None:
    """Tags at the end hold covers of a quarter of a megabyte, and their bytes look like frames now and then."""
    data, after = mp3_of_changing_rate()
    tag = b"APETAGEX" + np.random.default_rng(0).bytes(250_000)
    assert len(decode(data + tag)) == pytest.approx(12 * 16_000, abs=1_600)
    assert len(decode(data[after:] + tag)) == pytest.approx(12 * 16_000, abs=1_600)
