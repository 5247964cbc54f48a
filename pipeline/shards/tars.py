"""The members of tar shards: their names and where their bytes lie, without reading the bytes.

Knows nothing of audio. Not by `tarfile`, which takes a damaged header for the end of the archive, accepts one that was
cut short, stops between archives laid end to end, and keeps every member it met.
"""

import contextlib
import gzip
import io
import zlib
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO, NamedTuple, TypeVar, cast

from pipeline import store
from pipeline.config import ReadConfig
from pipeline.errors import RecordingError
from pipeline.patience import ShortReadError
from pipeline.records import without_query
from pipeline.shards.tarheaders import BLOCK, DAMAGED, TRUNCATED, Header, described
from pipeline.storage_errors import storage_reason

T = TypeVar("T")

COMPRESSED = (".tar.gz", ".tgz")
READ_AHEAD = 8 * 1024  # a member's end, its .json and .txt and the next header in one request
# Where headers come so often that seeking saves little, what lies between is read, too. A request to a store takes as
# long as a megabyte, and seven times the CPU of reading a 100 kB member through; a seek on a disk takes almost nothing.
NUM_TRIED = 16
MEAN_GAP, READ_THROUGH = 64 * 2**10, 256 * 2**10
REMOTE_GAP, REMOTE_THROUGH = 512 * 2**10, 4 * 2**20
STEP = 2**20  # of what is read only to get past it
MAX_ZEROS = 2**20  # after the end mark: writers fill up to 10 kB, tapes up to some hundred

_PLAIN = (b"0", b"\0", b"7")
_WITHOUT_DATA = {b"1": "a link", b"2": "a link", b"3": "a device", b"4": "a device", b"5": "", b"6": "a pipe"}
_NOTES = b"DNV"  # GNU tar's lists of names and volume labels: no file of the archive


class Member(NamedTuple):
    name: str
    start: int  # its first byte; of a compressed shard, in what it unpacks to
    size: int
    odd: str | None = None  # what it is where it is no plain file, "a link"; its bytes are then not to be used


def members(files: Any, path: str, config: ReadConfig) -> Iterator[Member]:
    """All but folders, in their order; `RecordingError` for what is damaged or breaks a limit, after what was not.

    A member whose last bytes are missing is not among them.
    """
    return (member for member, _ in walk(files, path, config, lambda member: False))


def walk(
    files: Any, path: str, config: ReadConfig, wanted: Callable[[Member], bool]
) -> Iterator[tuple[Member, bytes | None]]:
    """`members`, with the bytes of those that are wanted: for small ones, which the same request fetches."""
    with contextlib.closing(_open(files, path, config)) as source:
        for number, member in enumerate(_headers(source), 1):
            if number > config.max_members:
                raise RecordingError(f"more than {config.max_members} files in a shard (read.max_members)")
            content = source.take(member.start, member.size) if wanted(member) else None
            whole = source.reaches(member.start + member.size) if content is None else len(content) == member.size
            if not whole:
                raise RecordingError(TRUNCATED, f"it ends within {member.name}")
            if member.odd != "":
                yield member, content


def unpacked(files: Any, path: str, config: ReadConfig) -> BinaryIO:
    """A gzipped shard as a stream that refuses to unpack more than it may, and says what is wrong by
    `RecordingError`, after what could be unpacked.
    """
    return cast(BinaryIO, io.BufferedReader(_Unpacked(files, path, config), 2**17))


def is_compressed(path: str) -> bool:
    return without_query(path).lower().endswith(COMPRESSED)


class _Ranges:
    """A file by ranges: what is asked for and a little more, so that a shard is not fetched for its headers."""

    def __init__(self, files: Any, path: str, deadline_s: float) -> None:
        self._deadline_s = deadline_s
        # Its own cache would fetch blocks of 5 MiB.
        self._file = _asked(lambda: files.open(path, "rb", cache_type="none"), deadline_s)
        self._size = int(_asked(lambda: self._file.seek(0, io.SEEK_END), deadline_s))
        self._is_remote = not store.is_local(files)
        self._window, self._first = b"", 0
        self._ahead, self._num_reads = READ_AHEAD, 0

    def take(self, start: int, length: int) -> bytes:
        """Fewer only at the end."""
        at = start - self._first
        if at < 0 or at + length > len(self._window):
            gap, through = (REMOTE_GAP, REMOTE_THROUGH) if self._is_remote else (MEAN_GAP, READ_THROUGH)
            if self._num_reads == NUM_TRIED and start < NUM_TRIED * gap:
                self._ahead = through
            self._window, self._first, at = self._read(start, max(length, self._ahead)), start, 0
        return self._window[at : at + length]

    def reaches(self, end: int) -> bool:
        return end <= self._size

    def close(self) -> None:
        self._file.close()

    def _read(self, start: int, length: int) -> bytes:
        self._num_reads += 1

        def attempt() -> bytes:
            self._file.seek(start)
            data = bytes(self._file.read(length))
            if self._is_remote and len(data) < min(length, self._size - start):
                raise ShortReadError(f"{len(data)} of {min(length, self._size - start)} bytes")
            return data

        return _asked(attempt, self._deadline_s) if start < self._size else b""


class _Stream:
    """What a compressed file unpacks to, forwards."""

    def __init__(self, stream: BinaryIO, max_bytes: int, refusal: RecordingError) -> None:
        self._stream, self._max_bytes, self._refusal = stream, max_bytes, refusal
        self._place = 0
        self._taken, self._first = b"", 0  # what was taken last may be taken again

    def take(self, start: int, length: int) -> bytes:
        if start == self._first and length == len(self._taken):
            return self._taken
        self.reaches(start)
        self._taken, self._first = self._stream.read(length), start
        self._place += len(self._taken)
        return self._taken

    def reaches(self, end: int) -> bool:
        if end > self._max_bytes:  # known before a byte of it is unpacked
            raise self._refusal
        while self._place < end and (skipped := len(self._stream.read(min(end - self._place, STEP)))):
            self._place += skipped
        return self._place >= end

    def close(self) -> None:
        self._stream.close()


class _Unpacked(io.RawIOBase):
    def __init__(self, files: Any, path: str, config: ReadConfig) -> None:
        self._config = config
        self._file = _asked(lambda: store.opened(files, path, config.storage_deadline_s), config.storage_deadline_s)
        self._gzip = gzip.GzipFile(fileobj=self._file)
        self._left = _max_unpacked(config)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        try:
            data = self._gzip.read1(len(buffer))  # `read` would lose what comes before the damage
        except EOFError as error:
            raise RecordingError(TRUNCATED, "its gzip data ends early") from error
        except (gzip.BadGzipFile, zlib.error) as error:
            raise RecordingError("damaged gzip data", str(error)) from error
        except Exception as error:
            raise storage_reason(error) from error
        self._left -= len(data)
        if self._left < 0:
            raise _too_much(self._config)
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        self._file.close()
        super().close()


def _open(files: Any, path: str, config: ReadConfig) -> _Ranges | _Stream:
    if is_compressed(path):
        return _Stream(unpacked(files, path, config), _max_unpacked(config), _too_much(config))
    return _Ranges(files, path, config.storage_deadline_s)


def _asked(action: Callable[[], T], deadline_s: float) -> T:
    """What a store answers, or why it does not."""
    try:
        return store.patiently(action, deadline_s)
    except Exception as error:  # of as many kinds as there are stores
        raise storage_reason(error) from error


def _max_unpacked(config: ReadConfig) -> int:
    return int(config.max_unpacked_gb * 10**9)


def _too_much(config: ReadConfig) -> RecordingError:
    return RecordingError(f"unpacks to more than {config.max_unpacked_gb:g} GB (read.max_unpacked_gb)")


def _headers(source: _Ranges | _Stream) -> Iterator[Member]:
    """What the headers tell, folders too (`odd` is then empty); whether the bytes are there is not checked."""
    place, for_all = 0, dict[str, bytes]()
    while True:
        header = described(source, place, for_all)
        if header is not None:
            member = _member(header)
            yield member
            place = member.start + -(-member.size // BLOCK) * BLOCK
            continue
        next_place = _after_zeros(source, place)
        if next_place is None:
            return
        place, for_all = next_place, {}


def _member(header: Header) -> Member:
    name = header.name.decode("utf-8", "backslashreplace")  # names that differ stay different
    if header.kind in _WITHOUT_DATA:
        return Member(name, header.next, 0, _WITHOUT_DATA[header.kind])
    if header.kind == b"\0" and name.endswith("/"):  # a folder, before tar had a kind for it
        return Member(name, header.next, 0, "")
    if header.kind in _NOTES:
        return Member(name, header.next, header.size, "")
    if header.sparse:
        return Member(name, header.next, header.size, "a sparse file")
    odd = None if header.kind in _PLAIN else f"of the unknown kind {header.kind!r}"
    return Member(name, header.next, header.size, odd)


def _after_zeros(source: _Ranges | _Stream, place: int) -> int | None:
    """Where the next of archives laid end to end begins; None at the end of the file."""
    for start in range(place, place + MAX_ZEROS, BLOCK):
        block = source.take(start, BLOCK)
        if block.strip(b"\0"):
            return start
        if len(block) < BLOCK:
            return None
    raise RecordingError(DAMAGED, f"more than {MAX_ZEROS} zeros from byte {place} on")
