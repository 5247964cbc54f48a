"""A recording in overlapping chunks, each as if it were alone, and which of their frames count.

The arithmetic is transformers': lengths are rounded to whole frames, and what a chunk shares with its neighbours is
context. Knows nothing of what computes the chunks.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from pipeline.errors import UsageError
from pipeline.records import SAMPLE_RATE
from pipeline.text.batch import as_array

MOST_S = 1e9  # beyond any recording; numbers of samples stay exact


class Chunk(NamedTuple):
    """Samples of a recording, and how many at either end are context alone."""

    start: int
    stop: int
    left: int = 0
    right: int = 0

    def kept(self, samples_per_frame: int) -> slice:
        """Of its frames those that count. Halves are rounded to even numbers, as Python does."""
        num_samples = self.stop - self.start
        num_frames = round(num_samples * (1 / samples_per_frame))
        left, right = (round(side / num_samples * num_frames) for side in (self.left, self.right))
        return slice(left, num_frames - right)


@dataclass(frozen=True)
class Chunking:
    """In samples."""

    size: int
    left: int
    right: int

    @classmethod
    def of(cls, chunk_s: float, stride_s: float | Sequence[float] | None, samples_per_frame: int) -> "Chunking":
        """Of seconds: without a stride a sixth of the chunk at either end."""
        if not is_time(chunk_s):
            raise UsageError(f"chunk_length_s is a number of seconds from 0 on, not {chunk_s!r}")
        stride_s = chunk_s / 6 if stride_s is None else stride_s
        given = as_array(stride_s)
        if given.shape not in ((), (2,)) or not all(map(is_time, given.flat)):
            raise UsageError(f"stride_length_s is a number of seconds, or two of them, from 0 on, not {stride_s!r}")
        sides = np.broadcast_to(given, 2).tolist()
        size, left, right = (
            round(seconds * SAMPLE_RATE / samples_per_frame) * samples_per_frame for seconds in (float(chunk_s), *sides)
        )
        if size <= left + right:
            raise UsageError(
                f"chunk_length_s = {chunk_s:g} leaves nothing between strides of {sides[0]:g} and {sides[1]:g} s"
            )
        return cls(size, left, right)

    def chunks(self, num_samples: int, min_samples: int = 1) -> Iterator[Chunk]:
        """All of a recording. An end too short to be heard is left out where something else is there."""
        for start in range(0, num_samples, self.size - self.left - self.right):
            stop = min(start + self.size, num_samples)
            is_last = start + self.size >= num_samples
            left = self.left if start else 0
            if start == 0 or stop - start >= min_samples:
                yield Chunk(start, stop, left, 0 if is_last else self.right)
            if is_last:
                return


def is_time(given: Any) -> bool:
    """In seconds; NumPy's numbers are such, too."""
    return isinstance(given, int | float | np.integer | np.floating) and bool(0 <= given <= MOST_S)
