"""Audio by ffmpeg's libraries (PyAV): Opus, M4A, MP4, WebM, Matroska, video with sound, and what only they know.

Knows nothing of limits, of cuts in seconds, or of what the samples are for.
"""

import contextlib
import itertools
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import av
import av.subtitles.stream  # PyAV itself imports it late, when the process may open no file
import numpy as np

from pipeline.errors import RecordingError
from pipeline.read.track import BLOCK_SAMPLES, Track, has_another_link, is_chained, last_page_ends
from pipeline.records import AudioArray, FloatArray

# Containers that hold sound. None that name other files or addresses (hls, dash, concat, sdp, rtsp, image sequences),
# no subtitles, none that take any bytes for samples.
FORMATS = (
    "mov,matroska,ogg,aac,loas,asf,avi,flv,mpegts,mpeg,mxf,rm,amr,ac3,eac3,dts,truehd,mp3,flac,wav,w64,aiff,au,caf,voc,"
    "nistsphere,ape,wv,tta,tak,mpc,mpc8,shn,dsf,iff,oma,qcp,xwma"
)
# What claims a length; for the rest, ffmpeg guesses one from the bit rate.
THAT_CLAIM = ("mov", "asf", "avi", "flac", "wav", "w64", "aiff", "au", "caf", "voc", "nistsphere", "ape", "wv", "tta")
DURATION = re.compile(r"(\d+):(\d+):(\d+\.?\d*)")
PREROLL_S = 0.5  # decoded before a cut and thrown away: Opus asks for 0.08 s, AAC for two frames
SCALES = {"u1": (2.0**7, 2.0**7), "i2": (0, 2.0**15), "i4": (0, 2.0**31), "i8": (0, 2.0**63), "f8": (0, 1.0)}


def _is_audio_decoder(name: str) -> bool:
    try:
        return bool(av.Codec(name, "r").type == "audio")
    except av.codec.codec.UnknownCodecError:  # it only encodes
        return False


AUDIO_CODECS = ",".join(sorted(filter(_is_audio_decoder, av.codecs_available)))


def open_track(file: Any) -> Track | None:
    """The default sound, else the first. None where it is not a format of these."""
    try:
        opened = _open(file)
    except av.FFmpegError as error:
        if _is_known(file):
            raise _damaged(error) from error
        return None
    codec = opened.stream.codec_context
    rate, channels = codec.sample_rate, codec.layout.nb_channels
    if not rate or not channels:
        raise RecordingError("damaged audio", "neither sample rate nor channels")
    declared = _declared(file, opened)

    def read(first: int, last: int, as_int16: bool) -> Iterator[AudioArray]:
        assert not as_int16
        try:
            yield from _blocks(file, opened, first, last, declared is not None)
        except av.FFmpegError as error:
            raise _damaged(error) from error

    return Track(rate, channels, None, declared, False, read)


class _Opened(NamedTuple):
    container: Any
    stream: Any
    is_chained: bool  # Ogg streams one behind the other, of which ffmpeg tells the length and the times of the first


def _open(file: Any) -> _Opened:
    file.seek(0)
    chained = file.read(4) == b"OggS" and is_chained(file)
    file.seek(0)
    options = {
        "format_whitelist": FORMATS,
        "protocol_whitelist": "none",
        "codec_whitelist": AUDIO_CODECS,  # no video decoder sees a byte, not even to find out about it
    }
    container = av.open(file, "r", container_options=options, metadata_errors="replace", io_open=_refuse)
    streams = container.streams.audio
    if not streams:
        raise RecordingError("no audio in it")
    stream = next((each for each in streams if each.disposition & av.stream.Disposition.default), streams[0])
    if stream.codec_context is None:
        raise RecordingError("format not supported", "a codec that is not known")
    for other in container.streams:
        if other is not stream:
            other.discard = av.stream.Discard.all  # where the container allows, its bytes are not even read
    stream.codec_context.thread_count = 1
    return _Opened(container, stream, chained)


def _refuse(url: str, flags: int, options: dict[str, str]) -> Any:
    raise RecordingError("names another file", "what it names is not opened")


def _is_known(file: Any) -> bool:
    """Whether its first bytes are those of a container that nothing else reads."""
    file.seek(0)
    head = file.read(8)
    return head[4:] == b"ftyp" or head[:4] in (b"\x1aE\xdf\xa3", b"OggS")


def _declared(file: Any, opened: _Opened) -> float | None:
    """Frames by the header."""
    container, stream, is_chained = opened
    rate = stream.codec_context.sample_rate
    kind = container.format.name.partition(",")[0]
    if kind == "matroska":
        return _declared_by_matroska(container, stream, rate)
    if stream.duration is not None and (kind in THAT_CLAIM or (kind == "ogg" and not is_chained and _ends(file))):
        return float(stream.duration * stream.time_base * rate)
    return None


def _declared_by_matroska(container: Any, stream: Any, rate: int) -> float | None:
    """It tells how long all of it is; most who write it add a tag with the length of each track."""
    if found := DURATION.fullmatch(stream.metadata.get("DURATION", "")):
        return (int(found[1]) * 3600 + int(found[2]) * 60 + float(found[3])) * rate
    alone = len(container.streams) == 1 and container.duration is not None
    return container.duration / av.time_base * rate if alone else None


def _ends(file: Any) -> bool:
    position = file.tell()
    try:
        return last_page_ends(file)
    finally:
        file.seek(position)


def _blocks(file: Any, opened: _Opened, first: int, last: int, is_declared: bool) -> Iterator[AudioArray]:
    codec = opened.stream.codec_context
    setup = (codec.sample_rate, codec.layout.nb_channels)
    frames, position = _from(file, opened, first, is_declared)
    skipped = position  # by a seek
    fifo, held = av.AudioFifo(), 0  # a step of numpy for each 20 ms would cost as much as their decoding
    for frame in frames:
        if (frame.sample_rate, frame.layout.nb_channels) != setup:
            raise RecordingError("sample rate or channels change midway")
        frame.pts = None  # gaps are not filled
        fifo.write(frame)
        held += frame.samples
        is_last = position + held >= last
        if is_last or held * setup[1] >= BLOCK_SAMPLES:
            yield _samples(fifo.read())[max(0, first - position) : last - position]
            position, held = position + held, 0
        if is_last:
            return
    if skipped and opened.container.format.name == "ogg" and not opened.is_chained and has_another_link(file, 0):
        raise RecordingError("damaged audio", "it goes on after what can be read of it")  # ffmpeg passes over it
    if held:
        yield _samples(fifo.read())[max(0, first - position) :]


def _from(file: Any, opened: _Opened, first: int, is_declared: bool) -> tuple[Iterator[Any], int]:
    """What is decoded from some frame on that is not after the first that is wanted, and which it is."""
    stream = opened.stream
    rate, origin = stream.codec_context.sample_rate, stream.start_time or 0
    # Of FLAC in Ogg, ffmpeg tells wrong times after a seek to its last seconds.
    is_ogg_flac = (opened.container.format.name, stream.codec_context.name) == ("ogg", "flac")
    if first > PREROLL_S * rate and not (is_ogg_flac or opened.is_chained):
        with contextlib.suppress(av.FFmpegError):  # not every format can; see below
            opened.container.seek(origin + int((first / rate - PREROLL_S) / stream.time_base), stream=stream)
            frames = _frames(opened, is_declared, is_joined=True)
            head = next(frames, None)
            if head is None:
                return iter(()), first
            position = first + 1 if head.pts is None else round((head.pts - origin) * stream.time_base * rate)
            if position <= first:
                return itertools.chain([head], frames), position
        opened = _open(file)  # it cannot go there, or does not tell where it went: through all of it
    return _frames(opened, is_declared, is_joined=not is_declared), 0


def _frames(opened: _Opened, is_declared: bool, is_joined: bool) -> Iterator[Any]:
    """Until the end, or until what cannot be decoded, if nothing after it can: then a header must tell of the rest.

    Who joins a stream midway may find the end of a packet there, and its beginning where he leaves. An Ogg file that
    tells its length has its last page, so that what fails is no cut.
    """
    failure: Exception | None = None
    num_failed, found = 0, False
    may_be_cut = is_declared and opened.container.format.name != "ogg"
    try:
        for packet in opened.container.demux(opened.stream):
            try:
                frames = packet.decode()
            except av.FFmpegError as error:
                failure, num_failed = failure or error, num_failed + 1
                continue
            if failure is not None and frames and packet.size:
                if found or not is_joined:
                    raise _damaged(failure)
                failure, num_failed = None, 0
            found = found or bool(frames)
            yield from frames
    except av.FFmpegError as error:
        failure, num_failed = failure or error, num_failed + 2  # not a packet alone, but all that is left
    if failure is not None and not (found and (may_be_cut or num_failed <= 1)):
        raise _damaged(failure)


def _samples(frame: Any) -> FloatArray:
    """(frames, channels)."""
    samples: Any = frame.to_ndarray()  # (channels, frames), or (1, both) where channels take turns
    samples = samples.T if frame.format.is_planar else samples.reshape(-1, frame.layout.nb_channels)
    if samples.dtype != np.float32:
        middle, peak = SCALES[samples.dtype.str[1:]]
        samples = (samples.astype(np.float32) - np.float32(middle)) / np.float32(peak)
    found: FloatArray = samples
    return found


def _damaged(error: Exception) -> RecordingError:
    return RecordingError("damaged audio", f"{type(error).__name__}: {getattr(error, 'strerror', error)}")
