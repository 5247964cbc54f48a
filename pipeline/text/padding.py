"""How recordings that differ in length become one array: cut, filled up, and masked where they were filled up.

Knows nothing of what the rows are: samples, or frames of features.
"""

import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from pipeline.text.batch import ArgumentError

LONGEST, MAX_LENGTH, DO_NOT_PAD = "longest", "max_length", "do_not_pad"
SIDES = ("right", "left")


@dataclass(frozen=True)
class Padding:
    """What a caller asks for, in the ecosystem's words."""

    strategy: str = LONGEST  # up to the longest of a batch, to `max_length`, or not at all
    max_length: int | None = None  # rows; only `truncate` cuts what is longer
    truncate: bool = False
    multiple_of: int | None = None  # lengths that are filled up to, or cut to, are rounded up to one
    side: str = "right"  # where what fills up goes
    value: float | None = 0.0  # what it is

    def __post_init__(self) -> None:
        if self.max_length is None and (self.truncate or self.strategy == MAX_LENGTH):
            asked = "truncation=True" if self.truncate else "padding='max_length'"
            raise ArgumentError(f"{asked} needs a max_length")
        if self.max_length is not None and self.max_length < 0:
            raise ArgumentError(f"max_length is {self.max_length}; it cannot be negative")
        if self.multiple_of is not None and self.multiple_of < 1:
            raise ArgumentError(f"pad_to_multiple_of is {self.multiple_of}; it must be positive")
        side_of("padding_side", self.side)
        if self.value is None and self.strategy != DO_NOT_PAD:
            raise ArgumentError(
                "padding_value is None: set it to what recordings are to be filled up with, such as 0.0"
            )

    @classmethod
    def asked(cls, padding: Any, max_length: Any, truncation: Any, multiple_of: Any, **rest: Any) -> Self:
        """From a call's arguments."""
        return cls(strategy_of(padding), _whole(max_length), bool(truncation), _whole(multiple_of), **rest)

    @property
    def pads(self) -> bool:
        return self.strategy != DO_NOT_PAD

    def kept(self, num_rows: int) -> int:
        """The rows of a recording that are not cut off its end."""
        return min(num_rows, self._rounded(self.max_length or 0)) if self.truncate else num_rows

    def widths(self, kept: Sequence[int]) -> list[int]:
        """The rows that each recording has in the end, all as many unless some are longer than what is asked for."""
        if not self.pads or not kept:
            return list(kept)
        least = max(kept) if self.strategy == LONGEST else self.max_length or 0
        return [max(num_rows, self._rounded(least)) for num_rows in kept]

    def place(self, num_rows: int, width: int) -> slice:
        """Where in a row of that width the recording itself is."""
        return slice(0, num_rows) if self.side == "right" else slice(width - num_rows, width)

    def _rounded(self, length: int) -> int:
        return length if self.multiple_of is None else -(-length // self.multiple_of) * self.multiple_of


def padded(arrays: Sequence[np.ndarray[Any, Any]], padding: Padding, value: float | None) -> list[np.ndarray[Any, Any]]:
    """Arrays (N, ...) cut and filled up. (L, ...) each"""
    kept = [padding.kept(len(array)) for array in arrays]
    widths = padding.widths(kept)
    made = [
        np.full((width, *array.shape[1:]), value or 0, array.dtype) for array, width in zip(arrays, widths, strict=True)
    ]
    for row, array, num_rows in zip(made, arrays, kept, strict=True):
        row[padding.place(num_rows, len(row))] = array[:num_rows]
    return made


def strategy_of(padding: Any) -> str:
    return choice("padding", padding, {True: LONGEST, False: DO_NOT_PAD}, (LONGEST, MAX_LENGTH, DO_NOT_PAD))


def side_of(name: str, side: Any) -> str:
    if side not in SIDES:
        raise ArgumentError(f"{name} is 'right' or 'left', not {side!r}")
    return str(side)


def choice(name: str, asked: Any, meant: Mapping[bool, str], known: tuple[str, ...]) -> str:
    """One of the `known` words, for which True and False may stand; an enum of transformers is as good as its value."""
    asked = meant[asked] if isinstance(asked, bool) else str(getattr(asked, "value", asked))
    if asked not in known:
        raise ArgumentError(f"{name} is True, False, or one of {', '.join(known)}, not {asked!r}")
    return str(asked)


def _whole(number: Any) -> int | None:
    try:
        return None if number is None else operator.index(number)
    except TypeError as error:
        raise ArgumentError(f"max_length and pad_to_multiple_of are whole numbers, not {number!r}") from error
