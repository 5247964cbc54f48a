"""Loads on their way to the decoder, fetched by a thread while the ones before them are decoded.

Bounded by the bytes that wait, not by their number alone: a load may be 2 kB or 32 MB. Knows nothing of where they
come from.
"""

import threading
from collections import deque
from collections.abc import Generator
from typing import NamedTuple

from pipeline.errors import RecordingError
from pipeline.patience import stopped_by
from pipeline.read.blob import Blob
from pipeline.read.ranged import Held, Ranged
from pipeline.records import WHOLE, Recording

AHEAD_BYTES = 2**26  # that wait; half as much may be with the thread, and again in the decoder
AHEAD_LOADS = 256  # small ones: each is also an object
MOST_SENT = 2**20  # to the decoder's process for a part of a file; more is served in ranges


class Load(NamedTuple):
    """What was fetched at once, and the recordings that are in it: several cuts of one file, for instance."""

    recordings: list[Recording]
    data: bytes | Blob | RecordingError

    @classmethod
    def of(cls, recordings: list[Recording], data: bytes | Blob | RecordingError) -> "Load":
        in_order = sorted(recordings, key=lambda recording: recording.cut.offset_s)  # read on rather than back
        if isinstance(data, bytes) and len(data) > MOST_SENT and in_parts(recordings):
            data = Held(data)
        return cls(in_order, data)

    @property
    def num_bytes(self) -> int:
        """What it holds in memory."""
        if isinstance(self.data, bytes):
            return len(self.data)
        return self.data.num_held if isinstance(self.data, Ranged) else 0

    def close(self) -> None:
        if isinstance(self.data, Ranged):
            self.data.close()


Loads = Generator[Load, None, None]


def in_parts(recordings: list[Recording]) -> bool:
    """Whether more may be fetched than the decoder needs to see at once."""
    return len(recordings) > 1 or recordings[0].cut[:2] != WHOLE[:2]


def ahead(loads: Loads) -> Loads:
    """The same loads. The thread that fetches them ends with this generator, closed or not."""
    shelf = _Shelf()
    thread = threading.Thread(target=shelf.fill, args=(loads,), name="fetch", daemon=True)
    thread.start()
    try:
        while (load := shelf.take()) is not None:
            yield load
    finally:
        shelf.close()
        thread.join()


class _Shelf:
    """What waits between the thread and its reader."""

    def __init__(self) -> None:
        self._waiting: deque[Load] = deque()
        self._num_bytes = 0
        self._changed = threading.Condition()
        self._filled = self._closed = False
        self._stop = threading.Event()  # for who waits for a store meanwhile
        self._error: BaseException | None = None

    def fill(self, loads: Loads) -> None:
        try:
            with stopped_by(self._stop):
                for load in loads:
                    if not self._put(load):
                        load.close()
                        break
                loads.close()
        except BaseException as error:  # it is the reader's, whatever it is
            self._error = error
        with self._changed:
            self._filled = True
            self._changed.notify_all()

    def take(self) -> Load | None:
        """The next one, or None after the last; what the thread raised is raised here."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._filled)
            if not self._waiting:
                if self._error is not None:
                    raise self._error
                return None
            load = self._waiting.popleft()
            self._num_bytes -= load.num_bytes
            self._changed.notify_all()
            return load

    def close(self) -> None:
        self._stop.set()
        with self._changed:
            self._closed = True
            self._changed.notify_all()
            for load in self._waiting:
                load.close()
            self._waiting.clear()

    def _put(self, load: Load) -> bool:
        """Whether it was still wanted. One that is larger than the shelf waits until the shelf is empty."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._has_room(load))
            if not self._closed:
                self._waiting.append(load)
                self._num_bytes += load.num_bytes
                self._changed.notify_all()
            return not self._closed

    def _has_room(self, load: Load) -> bool:
        if not self._waiting:
            return True
        return len(self._waiting) < AHEAD_LOADS and self._num_bytes + load.num_bytes <= AHEAD_BYTES
