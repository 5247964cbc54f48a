"""Bytes that are too many to hold: read in ranges, ahead of who reads them, on either side of a pipe.

Knows nothing of stores or of audio.
"""

import io
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Protocol

FIRST = 2**18  # bytes of a first range: a header, or where a seek looks whether it went far enough
MOST = 2**23  # of one that goes on where the last ended; each doubles up to here, as latency then hardly counts
NUM_AHEAD = 2  # ranges on their way while one is decoded
NUM_KEPT = 4  # by the reader: an MP4 with its index at the end is read in two places by turns


class Blob(Protocol):
    @property
    def size(self) -> int: ...

    def read_at(self, start: int, length: int) -> bytes:
        """So many bytes from there, fewer only at the end; raises what the store raises."""


class Ahead:
    """A blob for somebody who mostly goes on where he stopped: the next ranges are then fetched before he asks."""

    def __init__(self, blob: Blob) -> None:
        self._blob = blob
        self.size, self.num_bytes = blob.size, 0  # and how many were asked for
        self._threads: ThreadPoolExecutor | None = None
        self._coming: deque[Future[bytes]] = deque()  # the ranges from `_next` on, one after the other
        self._asked = 0  # where the last of them ends
        self._next = -1  # where the range ends that was given out last
        self._length = FIRST

    def read(self, start: int) -> bytes:
        """Some bytes from there, at least one."""
        if start != self._next:
            self._forget()
            self._length = FIRST
            self.num_bytes += self._length
            piece = self._read(start, self._length)
            self._asked = start + len(piece)
        else:
            self._fill()
            piece = self._coming.popleft().result()
            self._fill()
        self._next = start + len(piece)
        return piece

    def close(self) -> None:
        """Without waiting for what is on its way."""
        self._forget()
        if self._threads is not None:
            self._threads.shutdown(wait=False, cancel_futures=True)

    def _fill(self) -> None:
        if self._threads is None:
            self._threads = ThreadPoolExecutor(NUM_AHEAD, "read-ahead")
        while len(self._coming) < NUM_AHEAD and self._asked < self._blob.size:
            self._length = min(2 * self._length, MOST)
            self.num_bytes += self._length
            self._coming.append(self._threads.submit(self._read, self._asked, self._length))
            self._asked = min(self._asked + self._length, self._blob.size)

    def _read(self, start: int, length: int) -> bytes:
        length = min(length, self._blob.size - start)
        piece = self._blob.read_at(start, length)
        if len(piece) != length:
            raise OSError(f"it ended at byte {start + len(piece)} of {self._blob.size}")
        return piece

    def _forget(self) -> None:
        for future in self._coming:
            future.cancel()
        self._coming.clear()


class Ranges(io.RawIOBase):
    """The other side: a file that asks for what is read of it."""

    def __init__(self, size: int, ask: Callable[[int], bytes]) -> None:
        self._size, self._ask = size, ask  # `ask` gives some bytes from there on
        self._position = 0
        self._kept: deque[tuple[int, bytes]] = deque(maxlen=NUM_KEPT)  # (start, bytes), the last used last

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        origin = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        if origin + offset < 0:
            raise OSError(f"seek to {origin + offset}")
        self._position = origin + offset
        return self._position

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # typeshed has no name for its type
        """As `RawIOBase` has it, but always to the end of the buffer or of the file: decoders do not ask again."""
        view = memoryview(buffer).cast("B")
        filled = 0
        while filled < len(view) and self._position < self._size:
            start, piece = self._piece()
            within = self._position - start
            count = min(len(view) - filled, len(piece) - within)
            view[filled : filled + count] = memoryview(piece)[within : within + count]
            filled += count
            self._position += count
        return filled

    def _piece(self) -> tuple[int, bytes]:
        """What holds the byte at the present position."""
        for index in range(len(self._kept) - 1, -1, -1):
            start, piece = self._kept[index]
            if start <= self._position < start + len(piece):
                if index != len(self._kept) - 1:
                    del self._kept[index]
                    self._kept.append((start, piece))
                return start, piece
        found = (self._position, self._ask(self._position))
        self._kept.append(found)
        return found
