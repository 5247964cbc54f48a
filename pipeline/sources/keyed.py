"""A table looked up by key in memory that does not grow with it, where it is sorted and so are the keys asked for.

Knows nothing of what it holds. Kaldi sorts its files, so that a directory of ten million utterances is read line by
line; others are held.
"""

from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

from pipeline.errors import UsageError

T = TypeVar("T")


class Keyed(Generic[T]):
    """What `rows` yields, key by key; each key once."""

    def __init__(self, rows: Callable[[], Iterator[tuple[str, T]]], name: str) -> None:
        self._rows, self._name = rows, name
        self._all: dict[str, T] | None = None
        self._asked_for: dict[str, T] = {}  # of those that are held
        self._left: Iterator[tuple[str, T]] = iter(())
        self._next: tuple[str, T] | None = None
        self._place = 0  # of the next
        self._used = bytearray()  # of those that are not held, by their place: whether they were asked for
        self._asked = ""
        self.num_rows = 0
        self._check()

    @property
    def num_used(self) -> int:
        """Keys that were asked for, each counted once."""
        return self._used.count(1) if self._all is None else len(self._asked_for)

    def get(self, key: str) -> T | None:
        if self._all is None and key < self._asked:
            self._hold()
        if self._all is not None:
            if key in self._all:
                self._asked_for[key] = self._all.pop(key)
            return self._asked_for.get(key)
        self._asked = key
        while self._next is not None and self._next[0] < key:
            self._next = next(self._left, None)
            self._place += 1
        if self._next is None or self._next[0] != key:
            return None
        self._used[self._place] = 1
        return self._next[1]

    def _check(self) -> None:
        """One pass for every row's sake, and to see whether they are sorted."""
        last = None
        for key, _ in self._rows():
            if last is not None and key <= last:
                self._hold()
                return
            last = key
            self.num_rows += 1
        self._used = bytearray(self.num_rows)
        self._left = self._rows()
        self._next = next(self._left, None)

    def _hold(self) -> None:
        self._left = iter(())
        self._all = {}
        for place, (key, value) in enumerate(self._rows()):
            if key in self._all or key in self._asked_for:
                raise UsageError(f"{self._name}: {key} twice")
            was_used = place < len(self._used) and self._used[place]
            (self._asked_for if was_used else self._all)[key] = value
        self.num_rows = len(self._all) + len(self._asked_for)
