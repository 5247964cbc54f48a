"""Audio by libsndfile: WAV, FLAC, MP3, Ogg Vorbis, AIFF, AU, SPH, W64, CAF and their kind.

Knows nothing of limits, of cuts in seconds, or of what the samples are for.
"""

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import soundfile

from pipeline.errors import RecordingError
from pipeline.read.track import BLOCK_SAMPLES, Track, has_another_link, last_page_ends
from pipeline.records import AudioArray

UNKNOWN_FRAMES = 2**40  # a FLAC that was streamed does not tell its length, and libsndfile then claims 2**63 frames
UNKNOWN_LENGTH = 2**63 - 1  # bytes; how libsndfile has it
NOT_MINE = (1, 4)  # libsndfile's numbers for a format, and an encoding in it, that it does not know

# What libsndfile notes where a header claims another length than there is: WAV, AIFF, AU, W64, SVX; WVE; RF64.
_CLAIMS = (
    re.compile(r"(?:data|SSND|BODY|riff|Data Size) *: (?P<claim>\d+) \(should be (?P<there>\d+)\)"),
    re.compile(r"Data length (?P<claim>\d+) should be (?P<there>\d+)"),
    re.compile(r"frame count (?P<there>\d+) does not match value from 'ds64' chunk of (?P<claim>\d+)"),
)
# The header frame of an MP3: four bytes, silence, and how many bytes there are, where it tells that and the frames.
_MEASURE = re.compile(
    rb"(?P<sync>\xff[\xe0-\xff]).{2,38}?"
    rb"(?:(?:Xing|Info)...[\x03\x07\x0b\x0f]....(?P<xing>....)|VBRI.{6}(?P<vbri>....)).{100}",
    re.DOTALL,
)
_FRAME = re.compile(rb"\xff[\xe2\xe3\xf2\xf3\xfa\xfb]")  # begins one of an MP3
_MANY_FRAMES = 10  # in `_SOME_BYTES`, which hold at least 11 and, of anything else, 1 or 2 that look like one
_SOME_BYTES = 2**14
_THAT_CLAIM = {"MP3", "WAV", "WAVEX", "RF64", "W64", "AIFF", "AU", "SVX", "WVE", "CAF", "FLAC", "SDS"}


class _Opened(NamedTuple):
    file: Any
    start: int | None  # where to begin, of an MP3 that is read without knowing its length
    sound: Any
    went_on_at: int | None = None  # where libsndfile believes the file to be; None: where it is

    @classmethod
    def of(cls, file: Any, start: int | None = None) -> "_Opened":
        file.seek(0)
        return cls(file, start, soundfile.SoundFile(file if start is None else _Endless(file, start)))


_last_mp3: _Opened | None = None  # to seek in one, all frames before are looked at; a next cut goes on from there


def open_track(file: Any) -> Track | None:
    """None where the format is not one of libsndfile's."""
    global _last_mp3
    last, _last_mp3 = _last_mp3, None
    try:
        if last is not None and last.file is file:
            return _track(last)
        opened = _Opened.of(file)
        if opened.sound.format == "MP3" and (start := _unmeasured(file)) is not None:
            opened = _Opened.of(file, start)
        return _track(opened)
    except soundfile.LibsndfileError as error:
        if error.code in NOT_MINE or "unimplemented" in error.error_string:
            return None
        raise _damaged(error) from error


def _track(opened: _Opened) -> Track:
    def read(first: int, last: int, as_int16: bool) -> Iterator[AudioArray]:
        return _blocks(opened, first, last, "int16" if as_int16 else "float32")

    sound = opened.sound
    num_frames = sound.frames if sound.frames < UNKNOWN_FRAMES else None
    return Track(sound.samplerate, sound.channels, num_frames, _declared(opened), sound.subtype == "PCM_16", read)


def _blocks(opened: _Opened, first: int, last: int, dtype: str) -> Iterator[AudioArray]:
    global _last_mp3
    most = max(1, BLOCK_SAMPLES // opened.sound.channels)
    try:
        opened, skipped = _sought(opened, first)
        sound = opened.sound
        sound.seekable = lambda: False  # else soundfile seeks after every read, which fails without a length
        while skipped < first and len(block := sound.read(min(most, first - skipped), dtype=dtype)):
            skipped += len(block)
        while len(block := sound.read(min(most, last - first), dtype=dtype, always_2d=True)):
            first += len(block)
            yield block
    except soundfile.LibsndfileError as error:
        raise _damaged(error) from error
    if first < last and _goes_on(opened):
        raise RecordingError("damaged audio", "it goes on after what can be read of it")
    if sound.format == "MP3":
        _last_mp3 = opened._replace(went_on_at=opened.file.tell())


def _sought(opened: _Opened, first: int) -> tuple[_Opened, int]:
    """Ready to read from that frame on, or from the beginning; and which it is."""
    if not first:
        return opened if opened.went_on_at is None else _Opened.of(opened.file, opened.start), 0
    if opened.went_on_at is not None:
        opened.file.seek(opened.went_on_at)
    try:
        opened.sound.seek(first)
    except soundfile.LibsndfileError:  # not every encoding can, GSM for one
        return _Opened.of(opened.file, opened.start), 0
    return opened, first


def _goes_on(opened: _Opened) -> bool:
    """Whether libsndfile ended without a word where the file does not: at another rate, another stream, at noise."""
    file = opened.file
    if opened.sound.format == "OGG":
        return has_another_link(file, file.tell() - 2**17)  # it may have read ahead
    with _kept_place(file):
        return opened.sound.format == "MP3" and opened.start is not None and _has_frames(file)


def _has_frames(file: Any) -> bool:
    """Whether frames of an MP3 come next, maybe after a tag, or anywhere from here on."""
    piece = file.read(_SOME_BYTES)
    if piece[:3] == b"ID3":
        file.seek(_tag_size(piece) - len(piece), io.SEEK_CUR)
        piece = file.read(_SOME_BYTES)
    is_first = True
    while piece:
        if len(_FRAME.findall(piece)) >= _MANY_FRAMES or (is_first and _FRAME.match(piece)):
            return True
        is_first, piece = False, file.read(_SOME_BYTES)
    return False


def _tag_size(head: bytes) -> int:
    """Of an ID3 tag, with its header."""
    return 10 + sum((byte & 127) << shift for byte, shift in zip(head[6:10], (21, 14, 7, 0), strict=True))


def _damaged(error: soundfile.LibsndfileError) -> RecordingError:
    return RecordingError("damaged audio", str(error.error_string))  # its str() names the memory address of our buffer


def _declared(opened: _Opened) -> float | None:
    """Frames by the header. Of what was cut off, libsndfile counts what is left."""
    file, sound = opened.file, opened.sound
    if sound.frames >= UNKNOWN_FRAMES or opened.start is not None:
        return None
    if sound.format == "OGG":
        with _kept_place(file):
            return float(sound.frames) if last_page_ends(file) else None
    if sound.format == "NIST":
        with _kept_place(file):
            file.seek(0)
            found = re.search(rb"sample_count -i (\d+)", file.read(1024))
        return float(found[1]) if found else None
    for pattern in _CLAIMS:
        for noted in pattern.finditer(sound.extra_info):
            claim, there = int(noted["claim"]), int(noted["there"])
            return sound.frames * claim / there if 0 < there < claim and _is_told(claim) else None
    return float(sound.frames) if sound.format in _THAT_CLAIM else None


def _is_told(num_bytes: int) -> bool:
    """Who writes to a pipe fills in the most that 31 or 32 bits can say, or a little less."""
    return num_bytes % 2**31 < 2**31 - 2**17


def _unmeasured(file: Any) -> int | None:
    """Where to begin an MP3 whose header does not tell how much there is, or tells it of a part; else None.

    libsndfile takes every frame of such a file to be as long as the first, or the part for the whole, and stops
    there: half an hour into an hour of variable rate, or after the first of several files put one behind the other.
    """
    with _kept_place(file):
        size = file.seek(0, io.SEEK_END)
        file.seek(0)
        head = file.read(10)
        first = _tag_size(head) if head[:3] == b"ID3" and len(head) == 10 else 0
        file.seek(first)
        frame = file.read(2**12)
        found = _MEASURE.search(frame)
        if found is None:
            return first
        num_bytes = int.from_bytes(found["xing"] or found["vbri"], "big")
        file.seek(first + found.start() + num_bytes)
        if size - first <= 1.02 * num_bytes + 2**16 and not _has_frames(file):  # with tags at its end
            return None
    after = frame.find(found["sync"], found.end())
    return first + after if after > 0 else first


class _Endless(io.RawIOBase):
    """A file that does not tell its length: libsndfile then looks at all of an MP3 for its frames."""

    def __init__(self, file: Any, start: int) -> None:
        self._file, self._start, self._at_end = file, start, False

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at_end = whence == io.SEEK_END
        if not self._at_end:
            self._file.seek(*((self._start + offset,) if whence == io.SEEK_SET else (offset, whence)))
        return self.tell()

    def tell(self) -> int:
        return UNKNOWN_LENGTH if self._at_end else self._file.tell() - self._start

    def readinto(self, buffer: Any) -> int:
        return int(self._file.readinto(buffer))


@contextmanager
def _kept_place(file: Any) -> Iterator[None]:
    """libsndfile goes on where it was."""
    position = file.tell()
    try:
        yield
    finally:
        file.seek(position)
