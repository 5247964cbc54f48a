"""Files too large to hold, or of which only parts are wanted, as the decoder asks for them: in ranges.

Knows nothing of audio, nor of what will be asked for next (`blob.Ahead`).
"""

import os
import threading
from collections.abc import Iterator
from itertools import groupby

from pipeline.errors import RecordingError
from pipeline.shards.place import Place
from pipeline.storage_errors import storage_reason

BLOCK_BYTES = 2**18  # what is kept, and fetched at least: headers, and the ends of one cut and the start of the next
NUM_KEPT = 128  # of them: 32 MB


class UnreadableError(OSError):
    """In the middle of a file the store gave up; not a `RecordingError`, which would be the decoder's last word."""

    def __init__(self, reason: RecordingError) -> None:
        super().__init__(reason)
        self.reason = reason


class Held:
    """Bytes that are there, for cuts of which each needs a few: the decoder's process is not sent all each time."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.size = self.num_held = len(data)

    def read_at(self, start: int, length: int) -> bytes:
        return self._data[start : start + length]

    def close(self) -> None:
        pass


class LocalBlob:
    """A file, or a part of one, by an open file descriptor, which it closes."""

    num_held = 2**20  # none; but counted so, it limits how many files are open ahead of need

    def __init__(self, descriptor: int, start: int, size: int) -> None:
        self._descriptor, self._start, self.size = descriptor, start, size

    def read_at(self, start: int, length: int) -> bytes:
        length = min(length, self.size - start)
        try:
            data = pread(self._descriptor, self._start + start, length)
        except OSError as error:
            raise UnreadableError(storage_reason(error)) from error
        return _all_of(data, length, start)

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


class RemoteBlob:
    """A file in a store, or a part of one, by blocks, the last of which are kept: cuts of one file share them."""

    num_held = BLOCK_BYTES  # until the decoder reads, and it reads one at a time

    def __init__(self, place: Place, start: int, size: int, head: bytes = b"") -> None:
        self._place, self._start, self.size = place, start, size
        self._kept = {0: head} if len(head) == BLOCK_BYTES else {}  # by number, the last used last
        self._lock = threading.Lock()

    def read_at(self, start: int, length: int) -> bytes:
        end = min(start + length, self.size)
        numbers = range(start // BLOCK_BYTES, -(-end // BLOCK_BYTES))
        found = self._found(numbers)
        for run in _runs([number for number in numbers if number not in found]):
            fetched = self._fetched(run)
            found |= fetched
            self._keep(fetched)
        first = numbers.start * BLOCK_BYTES
        return b"".join(found[number] for number in numbers)[start - first : end - first]

    def close(self) -> None:
        pass

    def _found(self, numbers: range) -> dict[int, bytes]:
        with self._lock:
            found = {number: self._kept.pop(number) for number in numbers if number in self._kept}
            self._kept |= found
            return found

    def _keep(self, fetched: dict[int, bytes]) -> None:
        with self._lock:
            self._kept |= fetched
            for number in list(self._kept)[:-NUM_KEPT]:
                del self._kept[number]

    def _fetched(self, run: range) -> dict[int, bytes]:
        start, end = run.start * BLOCK_BYTES, min(run.stop * BLOCK_BYTES, self.size)
        try:
            data = self._place.read(self._start + start, self._start + end)
        except RecordingError as error:
            raise UnreadableError(error) from error
        data = _all_of(data, end - start, start)
        return {run.start + n: data[n * BLOCK_BYTES : (n + 1) * BLOCK_BYTES] for n in range(len(run))}


Ranged = Held | LocalBlob | RemoteBlob


def pread(descriptor: int, start: int, length: int) -> bytes:
    """All of these bytes that the file has: the system may return fewer at a time."""
    data = os.pread(descriptor, length, start)
    while 0 < len(data) < length and (more := os.pread(descriptor, length - len(data), start + len(data))):
        data += more
    return data


def _runs(numbers: list[int]) -> Iterator[range]:
    """What follows on each other."""
    for _, run in groupby(enumerate(numbers), lambda pair: pair[1] - pair[0]):
        (_, first), *rest = run
        yield range(first, first + len(rest) + 1)


def _all_of(data: bytes, length: int, start: int) -> bytes:
    if len(data) != length:
        raise UnreadableError(RecordingError("storage error", f"{len(data)} of {length} bytes from {start}"))
    return data
