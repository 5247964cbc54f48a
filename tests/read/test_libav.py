"""What ffmpeg's libraries read: made here with PyAV's encoders, held to the sound that went in and to PyAV's own words.

It does not know how hostile bytes are kept from doing harm; `test_guard` does. That nothing else is opened, it knows.
"""

import dataclasses
import io
import socket
import threading
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.read import audio as module
from pipeline.read import libav
from pipeline.read.reader import SHORT_S
from pipeline.records import AudioArray, Cut
from tests.read.test_audio import LIMITS, decode, decoded, encode, in_units, loudest_hertz, reason, tone, within

LOSSLESS = [("matroska", "flac"), ("mp4", "alac"), ("mov", "pcm_s16le"), ("wv", "wavpack"), ("tta", "tta")]
LOSSY = [
    ("mp4", "aac"),
    ("3gp", "aac"),
    ("matroska", "aac"),
    ("adts", "aac"),
    ("mpegts", "aac"),
    ("flv", "aac"),
    ("webm", "libopus"),
    ("ogg", "libopus"),
    ("avi", "libmp3lame"),
    ("ac3", "ac3"),
]
VIDEO = {"mp4": "mpeg4", "matroska": "mpeg4", "webm": "libvpx", "mpegts": "mpeg2video", "avi": "mpeg4"}


def made(
    kind: tuple[str, str],
    sound: npt.NDArray[Any],
    rate: int,
    video: bool = False,
    options: dict[str, str] | None = None,
) -> bytes:
    """Sound (frames, channels), maybe with 25 pictures a second."""
    container, codec = kind
    file = io.BytesIO()
    layout = "mono" if sound.shape[1] == 1 else "stereo"
    with av.open(file, "w", format=container, options=options or {}) as output:
        pictures: Any = None
        if video:
            pictures = output.add_stream(VIDEO[container], rate=25)
            pictures.width, pictures.height, pictures.pix_fmt = 64, 48, "yuv420p"
        stream: Any = output.add_stream(codec, rate=rate, layout=layout)
        for second, start in enumerate(range(0, len(sound), rate)):
            for number in range(25 if video else 0):
                picture = av.VideoFrame(64, 48, "yuv420p")
                picture.pts = second * 25 + number
                output.mux(pictures.encode(picture))
            samples = np.ascontiguousarray(sound[start : start + rate], np.float32).reshape(1, -1)
            frame = av.AudioFrame.from_ndarray(samples, format="flt", layout=layout)
            frame.sample_rate, frame.pts, frame.time_base = rate, start, Fraction(1, rate)
            output.mux(stream.encode(frame))
        if video:
            output.mux(pictures.encode(None))
        output.mux(stream.encode(None))
    return file.getvalue()


def by_pyav(data: bytes) -> npt.NDArray[np.float32]:
    """The whole, as PyAV decodes it when asked the plainest way."""
    with av.open(io.BytesIO(data)) as container:
        resampler = av.AudioResampler("fltp", rate=container.streams.audio[0].rate)
        frames = [out for frame in container.decode(audio=0) for out in resampler.resample(frame)]
        return np.concatenate([frame.to_ndarray() for frame in frames], axis=1).T  # (frames, channels)


def read_all(data: bytes, first: int = 0) -> AudioArray:
    """At its own rate: (frames, channels)."""
    track = libav.open_track(io.BytesIO(data))
    assert track is not None
    return np.concatenate(list(track.read(first, 2**40, False)))


NOISE = np.random.default_rng(0).normal(0, 0.1, (16_000 * 5 + 123, 2)).astype(np.float32)


@pytest.mark.parametrize("kind", LOSSLESS)
def test_lossless_sound_is_the_sound_that_went_in(kind: tuple[str, str]) -> None:
    audio, declared_s = decoded(made(kind, NOISE, 16_000))
    bits = 8 if kind[1] in ("wavpack", "tta") else 16  # what their encoders take first
    np.testing.assert_allclose(audio, NOISE.mean(axis=1), atol=1.1 / 2 ** (bits - 1))
    assert declared_s == pytest.approx(len(NOISE) / 16_000, abs=2e-3)


@pytest.mark.parametrize("kind", LOSSY)
def test_lossy_sound_keeps_its_length_and_pitch(kind: tuple[str, str]) -> None:
    rate = 48_000 if "opus" in kind[1] else 44_100
    audio, declared_s = decoded(made(kind, np.repeat(tone(rate, 3.0)[:, None], 2, axis=1), rate))
    assert len(audio) == pytest.approx(48_000, abs=1_600)
    assert loudest_hertz(in_units(audio)) == pytest.approx(440, abs=1)
    assert declared_s is None or len(audio) / 16_000 == pytest.approx(declared_s, abs=0.05)


@pytest.mark.parametrize(
    "kind", [("mp4", "aac"), ("matroska", "flac"), ("webm", "libopus"), ("mpegts", "aac"), ("avi", "libmp3lame")]
)
def test_a_video_is_its_sound(kind: tuple[str, str]) -> None:
    rate = 48_000 if "opus" in kind[1] else 44_100
    sound = np.repeat(tone(rate, 1.0)[:, None], 2, axis=1)
    audio = decode(made(kind, sound, rate, video=True))
    assert len(audio) == pytest.approx(16_000, abs=1_600)
    assert loudest_hertz(in_units(audio)) == pytest.approx(440, abs=2)


def test_a_video_without_sound_says_so() -> None:
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as output:
        stream: Any = output.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        output.mux(stream.encode(av.VideoFrame(64, 48, "yuv420p")))
        output.mux(stream.encode(None))
    assert reason(file.getvalue()) == "no audio in it"


def test_of_several_sounds_the_default_one_is_taken() -> None:
    """A film's second language must not depend on which library looks first."""
    file = io.BytesIO()
    with av.open(file, "w", format="matroska") as output:
        streams: list[Any] = [output.add_stream("flac", rate=16_000, layout="mono") for _ in range(3)]
        for stream, disposition in zip(streams, (0, 1, 1), strict=True):
            stream.disposition = disposition
        for number, stream in enumerate(streams):
            frame = av.AudioFrame.from_ndarray(np.full((1, 16_000), 0.1 * number, np.float32), "flt", "mono")
            frame.sample_rate, frame.pts, frame.time_base = 16_000, 0, Fraction(1, 16_000)
            output.mux(stream.encode(frame))
        for stream in streams:
            output.mux(stream.encode(None))
    np.testing.assert_allclose(decode(file.getvalue()), np.full(16_000, 0.1), atol=1e-3)


CUT = {kind: made(kind, NOISE, 16_000) for kind in LOSSLESS if kind[0] != "matroska"}  # that counts in milliseconds
OPUS = made(("ogg", "libopus"), np.repeat(NOISE, 3, axis=0), 48_000)


@settings(max_examples=20)
@given(kind=st.sampled_from(sorted(CUT)), edge_s=st.floats(0.001, 4.9), channel=st.sampled_from([None, 0, 1]))
def test_cuts_that_touch_are_the_whole_in_pieces(kind: tuple[str, str], edge_s: float, channel: int | None) -> None:
    whole = by_pyav(CUT[kind])
    wanted = whole.mean(axis=1) if channel is None else whole[:, channel]
    pieces = [decode(CUT[kind], Cut(0.0, edge_s, channel)), decode(CUT[kind], Cut(edge_s, None, channel))]
    np.testing.assert_allclose(np.concatenate(pieces), wanted, atol=1e-6)


@settings(max_examples=20)
@given(edge_s=st.floats(0.001, 4.9))
def test_a_cut_of_opus_is_to_the_sample_where_it_should_be(edge_s: float) -> None:
    """Its decoder goes on from what it heard before: half a second is decoded for that and thrown away."""
    first = round(edge_s * 48_000)
    np.testing.assert_allclose(read_all(OPUS, first), by_pyav(OPUS)[first:], atol=1e-4)


@pytest.mark.parametrize("kind", [*LOSSY, ("matroska", "flac"), ("ogg", "flac"), ("mpeg", "mp2")])
def test_a_cut_is_where_it_was_asked_for(kind: tuple[str, str]) -> None:
    """A tone that rises tells the time. Containers count in milliseconds, some streams not at all."""
    rate = 48_000 if "opus" in kind[1] or kind[1] == "ac3" else 44_100
    time_s = np.arange(rate * 12) / rate
    rising = 0.5 * np.sin(2 * np.pi * (100 * time_s + 25 * time_s**2))  # 50 Hz higher with each second
    data = made(kind, np.repeat(rising[:, None], 2, axis=1), rate)
    whole = decode(data)
    for at_s in (0.3, 5.0, 7.777, 11.5):
        cut = in_units(decode(data, Cut(at_s, 0.25)))
        assert len(cut) == 4_000
        begin = round(at_s * 16_000)
        lags = range(-20, 21)  # a little over a millisecond
        inside = slice(300, -300)
        errors = [np.abs(cut - whole[begin + lag : begin + lag + 4_000])[inside].max() for lag in lags]
        assert min(errors) < 0.08, at_s


def test_what_is_before_a_cut_is_not_read() -> None:
    class Counted(io.BytesIO):
        num_read = 0

        def read(self, size: int | None = -1) -> bytes:
            piece = super().read(size)
            self.num_read += len(piece)
            return piece

    sound = np.random.default_rng(0).normal(0, 0.1, (44_100 * 60, 1))
    for kind in (("mp4", "alac"), ("matroska", "flac")):
        file = Counted(made(kind, sound, 44_100))
        assert sum(map(len, module.decode(file, LIMITS, Cut(50.0, 1.0)).blocks)) == 16_000
        assert file.num_read < len(file.getvalue()) / 4, kind


@pytest.mark.parametrize("kind", [("mp4", "aac"), ("ogg", "libopus"), ("adts", "aac")])
def test_cuts_and_limits_say_what_is_wrong(kind: tuple[str, str]) -> None:
    data = made(kind, np.repeat(tone(48_000, 3.0)[:, None], 2, axis=1), 48_000)
    assert reason(data, Cut(4.0)) == "begins after the end of its audio"
    assert reason(data, Cut(channel=2)) == "no channel of that number (read.channels)"
    assert reason(data, limits=within(2.0)) == "longer than 2 s (read.max_duration_s)"
    assert len(decode(data, Cut(1.0, 1.5), within(2.0))) == 24_000
    assert reason(data, limits=dataclasses.replace(LIMITS, max_channels=1)).endswith("(read.max_channels)")
    assert reason(data, limits=dataclasses.replace(LIMITS, max_rate_hz=8_000)).endswith("(read.max_rate_hz)")
    assert module.num_channels(io.BytesIO(data), LIMITS) == 2


@pytest.mark.parametrize("kind", [("matroska", "aac"), ("webm", "libopus"), ("mp4", "aac"), ("tta", "tta")])
def test_sound_that_was_cut_off_tells_how_long_it_was(kind: tuple[str, str]) -> None:
    """PyAV ends without a word where the bytes do."""
    sound = np.random.default_rng(0).normal(0, 0.1, (48_000 * 4, 1))
    # An MP4 with its index at the end cannot be read without it; one that is made to be streamed can.
    data = made(kind, sound, 48_000, options={"movflags": "frag_keyframe+empty_moov"} if kind[0] == "mp4" else None)
    audio, declared_s = decoded(data[: len(data) * 6 // 10])
    assert 1.5 < len(audio) / 16_000 < 2.7
    assert declared_s is None or declared_s == pytest.approx(4.0, abs=0.05)
    assert declared_s is not None or kind[0] == "mp4"


def test_damage_in_the_middle_is_not_passed_over() -> None:
    """Words after it would have wrong times, or be missing without a word."""
    for kind in (("matroska", "flac"), ("mp4", "aac"), ("adts", "aac")):
        data = bytearray(made(kind, NOISE, 16_000))
        data[len(data) // 2 : len(data) // 2 + 3_000] = bytes(3_000)
        assert reason(bytes(data)) == "damaged audio", kind


def links(*numbers: int, subtype: str = "OPUS", channels: int = 1) -> list[bytes]:
    """Ogg streams of 5 s, each of other noise and with another number."""
    shape = (48_000 * 5, channels)
    return [encode(np.random.default_rng(n).normal(0, 0.1, shape), 48_000, "OGG", subtype) for n in numbers]


@pytest.mark.parametrize("subtype", ["OPUS", "VORBIS"])
def test_ogg_streams_one_behind_the_other_are_read_all(subtype: str) -> None:
    """As radio is recorded; a library that stops at the end of the first does not say so."""
    first, second = links(1, 2, subtype=subtype)
    audio, declared_s = decoded(first + second)
    assert (len(audio), declared_s) == (pytest.approx(160_000, abs=100), None)
    np.testing.assert_allclose(audio[: 16_000 * 4], decode(first)[: 16_000 * 4], atol=1e-3)
    for cut, seconds in ((Cut(4.0), 6.0), (Cut(4.0, 3.0), 3.0), (Cut(6.0), 4.0), (Cut(6.0, 2.0), 2.0)):
        wanted = audio[int(cut.offset_s * 16_000) :][: int(seconds * 16_000)]
        found = decode(first + second, cut)
        assert len(found) == pytest.approx(seconds * 16_000, abs=100)
        inside = slice(200, min(len(found), len(wanted)) - 200)
        np.testing.assert_allclose(found[inside], wanted[inside], atol=1e-3)


def test_ogg_streams_of_one_number_are_read_all_or_not_at_all() -> None:
    """What tells them apart is in the middle of the file, where nobody looks who does not read it all."""
    (opus,), (vorbis,) = links(1), links(1, subtype="VORBIS")
    assert len(decode(opus + opus)) == 160_000
    assert reason(opus + opus, Cut(4.0)) == "damaged audio"
    assert len(decode(opus + opus, Cut(3.0, 1.0))) == 16_000
    assert reason(vorbis + vorbis) == reason(vorbis + vorbis, Cut(4.0)) == "damaged audio"
    assert len(decode(vorbis + vorbis, Cut(3.0, 1.0))) == 16_000


@pytest.mark.parametrize("subtype", ["OPUS", "VORBIS"])
def test_an_ogg_stream_behind_another_of_other_channels_is_not_passed_over(subtype: str) -> None:
    (mono,), (stereo,) = links(1, subtype=subtype), links(2, subtype=subtype, channels=2)
    assert reason(mono + stereo) == reason(mono + stereo, Cut(4.0)) == "damaged audio"
    assert reason(stereo + mono) == "damaged audio"


@pytest.mark.parametrize("rate", [8_000, 16_000, 44_100])
@pytest.mark.parametrize("kind", [("matroska", "libmp3lame"), ("matroska", "aac"), *LOSSY])
def test_a_whole_file_is_hardly_shorter_than_its_header_tells(kind: tuple[str, str], rate: int) -> None:
    """Else it would be called truncated: encoders begin with silence, which some containers count and decoders cut."""
    if "opus" in kind[1] or (kind[1] == "ac3" and rate < 32_000):
        rate = 48_000
    if kind[0] == "flv" and rate < 11_025:
        rate = 11_025
    audio, declared_s = decoded(made(kind, tone(rate, 2.345)[:, None], rate))
    assert declared_s is None or declared_s - len(audio) / 16_000 < SHORT_S


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        pytest.param(b"\0\0\0\x20ftypM4A " + bytes(100), "damaged audio", id="MP4"),
        pytest.param(made(("mp4", "aac"), NOISE, 16_000)[:-2_000], "damaged audio", id="MP4 without its index"),
        pytest.param(b"\x1aE\xdf\xa3" + bytes(100), "damaged audio", id="Matroska"),
        pytest.param(b"\xff\xf1\x50\x80" + bytes(1_000), "not audio", id="AAC"),
        pytest.param(b"1\n00:00:01,000 --> 00:00:02,000\nsubtitles\n\n" * 50, "not audio", id="subtitles"),
        pytest.param(b"GIF89a" + bytes(500), "not audio", id="picture"),
    ],
)
def test_what_is_not_sound_fails_with_a_reason_that_can_be_counted(data: bytes, expected: str) -> None:
    assert reason(data) == expected


@pytest.mark.parametrize("path_or_url", ["path", "url"])
def test_nothing_that_a_file_names_is_opened(tmp_path: Path, path_or_url: str) -> None:
    """Playlists would read any file of the worker, or ask its network for what is kept there."""
    (tmp_path / "secret.wav").write_bytes(encode(tone(16_000), 16_000))
    (tmp_path / "secret.ts").write_bytes(made(("mpegts", "aac"), NOISE, 16_000))
    asked = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:

        def listen() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                asked.set()
                connection.close()

        threading.Thread(target=listen, daemon=True).start()
        base = str(tmp_path) if path_or_url == "path" else f"http://127.0.0.1:{server.getsockname()[1]}"
        for name in ("secret.wav", "secret.ts"):
            for text in (
                f"#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\n{base}/{name}\n#EXT-X-ENDLIST\n",
                f"ffconcat version 1.0\nfile '{base}/{name}'\n",
                "<?xml version='1.0'?><MPD><Period><AdaptationSet><Representation id='1'>"
                f"<BaseURL>{base}/{name}</BaseURL></Representation></AdaptationSet></Period></MPD>",
                f"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=audio {base} RTP/AVP 0\n",
                f"[playlist]\nFile1={base}/{name}\n",
            ):
                assert reason(text.encode()) == "not audio", text
        server.shutdown(socket.SHUT_RDWR)
    assert not asked.is_set()


def test_a_script_would_be_followed_if_nobody_forbade_it(tmp_path: Path) -> None:
    """Else the test before this one could not fail."""
    (tmp_path / "secret.ts").write_bytes(made(("mpegts", "aac"), NOISE, 16_000))
    script = f"ffconcat version 1.0\nfile '{tmp_path}/secret.ts'\n".encode()
    with av.open(io.BytesIO(script), options={"safe": "0", "protocol_whitelist": "file"}) as container:
        assert container.streams.audio


def test_real_opus_files_have_the_length_their_publisher_states(shared_data: Path) -> None:
    for name, seconds in (("stereo.opus", 1.0), ("mono_c0.opus", 0.5)):
        audio = decode((shared_data / "formats" / name).read_bytes())
        assert len(audio) == pytest.approx(seconds * 16_000, abs=200), name
        assert np.abs(audio).max() > 0.001, name


def test_opus_sounds_the_same_to_another_decoder() -> None:
    samples, _ = soundfile.read(io.BytesIO(OPUS), dtype="float32")
    np.testing.assert_allclose(read_all(OPUS), samples, atol=0.01)
