"""Rows of 32-bit numbers, more than memory holds, sorted by some of their columns: runs on disk, merged in blocks.

Knows nothing of n-grams but that equal ones may be added up: then the last column is their count.
"""

import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pipeline.compiled import entry
from pipeline.errors import UsageError

Rows = npt.NDArray[np.uint32]  # (N, columns)
MAX_COUNT = (1 << 31) - 1  # the bit above marks n-grams that are left out
DIGIT_BITS = 11  # three digits to a column; histograms of all three stay in the first-level cache


class Sorter:
    """Takes rows in any order, and gives them out once sorted by the columns of `key`, the most significant first."""

    def __init__(
        self, path: Path, key: Sequence[int], num_columns: int, memory: int, pool: Executor, combine: bool = False
    ) -> None:
        self._path, self._num_columns, self._pool, self._combine = path, num_columns, pool, combine
        self._key = np.array(key, np.int64)
        # A third each for the rows that arrive, those that are being sorted, and what sorting needs beside them.
        self._capacity = max(1, memory // (3 * 4 * num_columns))
        self._file = path.open("wb")
        self._runs: list[int] = []  # numbers of rows
        self._arriving = np.empty((0, num_columns), np.uint32)
        self._num_arrived = 0
        self._sorting: Future[None] | None = None

    def add(self, rows: Rows) -> None:
        """Copies what it is given. A full buffer is sorted and written in the background."""
        while len(rows):
            self._make_room(len(rows))
            num = min(len(rows), len(self._arriving) - self._num_arrived)
            self._arriving[self._num_arrived : self._num_arrived + num] = rows[:num]
            self._num_arrived += num
            rows = rows[num:]

    def _make_room(self, num: int) -> None:
        """Buffers grow with their content up to the capacity, so that small texts cost little memory."""
        if self._num_arrived < len(self._arriving):
            return
        if self._num_arrived == self._capacity:
            self._spill()
            self._arriving = np.empty((self._capacity, self._num_columns), np.uint32)
            return
        grown = np.empty((min(self._capacity, max(4096, 2 * self._num_arrived + num)), self._num_columns), np.uint32)
        grown[: self._num_arrived] = self._arriving[: self._num_arrived]
        self._arriving = grown

    def _spill(self) -> None:
        if self._sorting is not None:
            self._sorting.result()
        rows, self._arriving = self._arriving[: self._num_arrived], np.empty((0, self._num_columns), np.uint32)
        self._num_arrived = 0
        self._sorting = self._pool.submit(self._sort_and_write, rows)

    def _sort_and_write(self, rows: Rows) -> None:
        rows = self._sorted(rows)
        self._file.write(rows.data)
        self._runs.append(len(rows))

    def _sorted(self, rows: Rows) -> Rows:
        rows = sort_rows(rows, np.empty_like(rows), self._key)
        if self._combine:
            num = combine_equal(rows, self._key)
            if num < 0:
                raise UsageError(f"the text holds one n-gram more than {MAX_COUNT:,} times; give less text")
            rows = rows[:num]
        return rows

    def finish(self) -> None:
        """Everything to disk, no memory held."""
        if self._num_arrived:
            self._spill()
        if self._sorting is not None:
            self._sorting.result()
        self._arriving = np.empty((0, self._num_columns), np.uint32)
        self._file.close()

    def blocks(self, memory: int) -> Iterator[Rows]:
        """All rows in order, once; the file is gone afterwards. Equal rows never fall into different blocks."""
        self.finish()
        row_bytes = 4 * self._num_columns
        # Of every run a block, all of them together once more, and once more to sort in.
        per_run = max(1, memory // (3 * row_bytes * max(1, len(self._runs))))
        with self._path.open("rb") as file:
            starts = np.cumsum([0, *self._runs]) * row_bytes
            runs = [_Run(file.fileno(), int(start), num) for start, num in zip(starts, self._runs, strict=False)]
            while True:
                for run in runs:
                    run.refill(per_run, self._num_columns)
                runs = [run for run in runs if len(run.rows)]
                if not runs:
                    break
                yield self._next_block(runs)
        self._path.unlink()

    def _next_block(self, runs: list["_Run"]) -> Rows:
        """What cannot come after anything that is still on disk, in order."""
        lasts = [run.rows[-1] for run in runs if run.num_left]
        limit = min(lasts, key=lambda row: tuple(row[self._key])) if lasts else None
        parts = [run.take_up_to(limit, self._key) for run in runs]
        # The runs are sorted: sorting again what was cut from them costs the same few passes as merging, in less code.
        return parts[0] if len(parts) == 1 else self._sorted(np.concatenate(parts))


class _Run:
    """One sorted run in a file, and the block of it that is in memory."""

    def __init__(self, file: int, start: int, num: int) -> None:
        self._file, self._position, self.num_left = file, start, num
        self.rows: Rows = np.empty((0, 0), np.uint32)

    def refill(self, num_rows: int, num_columns: int) -> None:
        if len(self.rows) or not self.num_left:
            return
        num = min(num_rows, self.num_left)
        self.rows = read_rows(self._file, self._position, num, num_columns)
        self._position += self.rows.nbytes
        self.num_left -= num

    def take_up_to(self, limit: Rows | None, key: npt.NDArray[np.int64]) -> Rows:
        num = len(self.rows) if limit is None else num_up_to(self.rows, limit, key)
        taken, self.rows = self.rows[:num], self.rows[num:]
        return taken


def sliced(blocks: Iterable[Rows], num: int) -> Iterator[Rows]:
    """The same rows in blocks of at most `num`."""
    for block in blocks:
        for start in range(0, len(block), num):
            yield block[start : start + num]


def read_rows(file: int, position: int, num: int, num_columns: int) -> Rows:
    rows = np.empty((num, num_columns), np.uint32)
    buffer, done = rows.data.cast("B"), 0
    while done < len(buffer):  # one call reads at most 2 GiB
        read = os.preadv(file, [buffer[done:]], position + done)
        if not read:
            raise EOFError("a temporary file of build-lm has been cut short")
        done += read
    return rows


@entry
def sort_rows(rows: Rows, scratch: Rows, key: npt.NDArray[np.int64]) -> Rows:
    """Least significant digit first, whole rows moved each time: 4 ns per row and digit, where numpy.lexsort of packed
    rows took ten times as long. Digits in which all rows agree cost nothing. The result is one of the two arrays."""
    num, num_columns = rows.shape
    size = 1 << DIGIT_BITS
    mask = np.uint32(size - 1)
    counts = np.empty((3, size), np.int64)
    for column in key[::-1]:
        counts[:] = 0
        for i in range(num):
            value = rows[i, column]
            counts[0, value & mask] += 1
            counts[1, (value >> np.uint32(DIGIT_BITS)) & mask] += 1
            counts[2, value >> np.uint32(2 * DIGIT_BITS)] += 1
        for digit in range(3):
            shift = np.uint32(digit * DIGIT_BITS)
            if num == 0 or counts[digit, (rows[0, column] >> shift) & mask] == num:
                continue
            places = counts[digit]
            total = 0
            for value in range(size):
                here = places[value]
                places[value] = total
                total += here
            for i in range(num):
                value = (rows[i, column] >> shift) & mask
                place = places[value]
                places[value] = place + 1
                for c in range(num_columns):
                    scratch[place, c] = rows[i, c]
            rows, scratch = scratch, rows
    return rows


@entry
def combine_equal(rows: Rows, key: npt.NDArray[np.int64]) -> int:
    """Add up the last column of neighbours with one key, in place; how many rows are left, -1 for too large a sum."""
    num, num_columns = rows.shape
    last = num_columns - 1
    left = 0
    for i in range(num):
        equal = left > 0
        for column in key:
            if not equal:
                break
            equal = rows[left - 1, column] == rows[i, column]
        if equal:
            count = np.int64(rows[left - 1, last]) + np.int64(rows[i, last])
            if count > MAX_COUNT:
                return -1
            rows[left - 1, last] = np.uint32(count)
        else:
            for c in range(num_columns):
                rows[left, c] = rows[i, c]
            left += 1
    return left


@entry
def num_up_to(rows: Rows, limit: Rows, key: npt.NDArray[np.int64]) -> int:
    """How many of the sorted rows do not come after `limit`."""
    low, high = 0, len(rows)
    while low < high:
        middle = (low + high) // 2
        after = False
        for column in key:
            if rows[middle, column] != limit[column]:
                after = rows[middle, column] > limit[column]
                break
        if after:
            high = middle
        else:
            low = middle + 1
    return low
