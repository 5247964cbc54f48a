"""Labels of texts made as long as each other, or as long as asked, at most.

Knows no tokenizer: what pads, and on which side, is told.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from pipeline.text.batch import ArgumentError
from pipeline.text.padding import DO_NOT_PAD, LONGEST, MAX_LENGTH, choice, side_of, strategy_of

TRUNCATIONS = ("longest_first", "only_first", "only_second", "do_not_truncate")
UNLIMITED = int(1e30)  # what files have for the length of a model that takes any
WITHOUT_LIMIT = int(1e20)


@dataclass(frozen=True)
class Fit:
    """How long labels are to be, in the words of the calls."""

    padding: str = DO_NOT_PAD
    truncate: bool = False
    max_length: int | None = None
    multiple: int | None = None  # a padded length is one of this number
    side: str = "right"  # where padding goes

    @classmethod
    def asked(cls, padding: Any, truncation: Any, max_length: int | None, model_max_length: int, **rest: Any) -> "Fit":
        """A maximum alone truncates; without one, that of the model counts, if it has one."""
        if truncation is None:
            truncation = max_length is not None and padding is False
        padding = strategy_of(padding)
        truncation = choice("truncation", truncation, {True: TRUNCATIONS[0], False: TRUNCATIONS[-1]}, TRUNCATIONS)
        truncate = truncation in TRUNCATIONS[:2]
        if max_length is None and (truncate or padding == MAX_LENGTH):
            if model_max_length > WITHOUT_LIMIT:
                padding, truncate = DO_NOT_PAD if padding == MAX_LENGTH else padding, False
            else:
                max_length = model_max_length
        fit = cls(padding, truncate, max_length, **rest)
        if (
            truncation != TRUNCATIONS[-1]
            and padding != DO_NOT_PAD
            and fit.multiple
            and (max_length or 0) % fit.multiple
        ):
            raise ArgumentError(f"max_length {max_length} is not a multiple of pad_to_multiple_of {fit.multiple}")
        return fit

    def __post_init__(self) -> None:
        side_of("padding_side", self.side)

    def truncated(self, ids: list[int], side: str) -> list[int]:
        if not self.truncate or not self.max_length or len(ids) <= self.max_length:
            return ids
        return ids[-self.max_length :] if side == "left" else ids[: self.max_length]

    def over(self, every: list[list[int]]) -> "Fit":
        """The same, with a length, for these."""
        length = max(map(len, every), default=0) if self.padding == LONGEST else self.max_length
        if self.padding == DO_NOT_PAD or length is None:
            return replace(self, padding=DO_NOT_PAD)
        return replace(self, max_length=length + (-length % self.multiple if self.multiple else 0))

    def padded(self, values: list[int], padding: int) -> list[int]:
        missing = (self.max_length or 0) - len(values) if self.padding != DO_NOT_PAD else 0
        extra = [padding] * missing
        return extra + values if self.side == "left" else values + extra


def padded(rows: Mapping[str, list[list[int]]], fit: Fit, values: Mapping[str, int]) -> dict[str, Any]:
    """Those entries that have a padding value made as long as the labels are to be; the others as they are."""
    fit = fit.over(rows["input_ids"])
    return {
        name: [fit.padded(row, values[name]) for row in every] if name in values else list(every)
        for name, every in rows.items()
    }
