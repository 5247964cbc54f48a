"""Fills budgets: which of the recordings that wait are computed together.

Knows nothing of what is computed; a recording is as large as it is long.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass
class Budget:
    """How much is computed at once. It only ever shrinks: what was too much once would be too much again."""

    size: int

    def halve(self, refused: int) -> None:
        """After so much has turned out to be too much."""
        self.size = max(1, min(self.size, refused) // 2)


class Queue(Generic[T]):
    """What waits, the largest first, so that a batch's recordings are alike and those too large are met early."""

    def __init__(self, items: Iterable[T], size: Callable[[T], int]) -> None:
        self._size = size
        self._items = deque(sorted(items, key=size, reverse=True))

    def batches(self, budget: Budget) -> Iterator[list[T]]:
        """Batches that keep within the budget, as it is at that moment; what is larger than it comes alone."""
        while self._items:
            yield self._take(budget.size)

    def _take(self, room: int) -> list[T]:
        batch = [self._items.popleft()]
        room -= self._size(batch[0])
        while self._items and self._size(self._items[0]) <= room:
            batch.append(self._items.popleft())
            room -= self._size(batch[-1])
        return batch

    def put_back(self, batch: list[T]) -> None:
        """A batch that could not be computed: its recordings are next again."""
        self._items.extendleft(reversed(batch))
