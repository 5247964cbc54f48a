"""Several streams made at the same time and taken one after the other: listing many shards of a store.

Knows nothing of what flows.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from queue import Queue
from threading import Event
from typing import Any, Generic, TypeVar

T = TypeVar("T")
U = TypeVar("U")

# Streams at the same time, of shards in a store: each makes some requests of 20 ms, one after the other.
REMOTE_SHARDS = 16
NUM_QUEUED = 4  # items that each stream may be ahead

_END = object()


def in_order(
    subjects: Iterable[T], stream: Callable[[T], Iterator[U]], num_at_once: int
) -> Iterator[tuple[T, Iterator[U]]]:
    """Each subject with its stream, in their order. Up to so many streams run ahead, in threads of their own.

    What a stream raises is raised where it is taken; none need be taken to its end. The threads end with this
    generator, closed or not.
    """
    if num_at_once == 1:
        yield from ((subject, stream(subject)) for subject in subjects)
        return
    left = iter(subjects)
    waiting: deque[_Stream[T, U]] = deque()
    closed = Event()
    with ThreadPoolExecutor(num_at_once, "list") as threads:
        try:
            while True:
                for subject in left:
                    waiting.append(_Stream(subject))
                    threads.submit(waiting[-1].fill, stream, closed)
                    if len(waiting) == num_at_once:
                        break
                if not waiting:
                    return
                yield waiting[0].subject, waiting[0]
                waiting.popleft().drain()
        finally:
            closed.set()
            for one in waiting:  # their threads may wait for room
                one.drain()


class _Stream(Generic[T, U]):
    """What waits between a thread and its taker."""

    def __init__(self, subject: T) -> None:
        self.subject = subject
        self._queue: Queue[Any] = Queue(NUM_QUEUED)
        self._ended = False

    def __iter__(self) -> Iterator[U]:
        return self

    def __next__(self) -> U:
        item = self._next()
        if item is _END:
            raise StopIteration
        if isinstance(item, _Raised):
            raise item.error
        return item  # type: ignore[no-any-return]

    def drain(self) -> None:
        while self._next() is not _END:
            pass

    def _next(self) -> Any:
        item = _END if self._ended else self._queue.get()
        self._ended = item is _END
        return item

    def fill(self, stream: Callable[[T], Iterator[U]], closed: Event) -> None:
        try:
            for item in stream(self.subject):
                if closed.is_set():
                    break
                self._queue.put(item)
        except BaseException as error:  # it is the taker's, whatever it is
            self._queue.put(_Raised(error))
        finally:
            self._queue.put(_END)


class _Raised:
    def __init__(self, error: BaseException) -> None:
        self.error = error
