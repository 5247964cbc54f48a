"""What an estimation can be told, and what it tells when it is done; knows nothing of how it is done."""

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.errors import UsageError
from pipeline.lm.ngrams import Order

MAX_ORDER = 6  # what KenLM is built for
LEAST_MEMORY = 1 << 20
WHEN_DEGENERATE = (0.5, 1.0, 1.5)  # the discounts that lmplz falls back to


@dataclass(frozen=True)
class EstimateOptions:
    order: int = 4
    prune: tuple[int, ...] = (
        0,
    )  # per order: n-grams seen this often or less are left out; the last holds for the rest
    allowed_words: frozenset[str] | None = None  # n-grams with other words are left out
    limit_vocab: int | None = None  # as are those without the most frequent words, this many
    discount_fallback: bool = False  # fixed discounts where the counts of counts allow none
    skip_symbols: bool = False  # <s>, </s> and <unk> in the text count as spaces
    memory: int = 4 << 30  # bytes for sorting; the vocabulary and the interpreter come on top
    temp: str | None = None  # folder for sorted runs; the system's own where there is none

    def __post_init__(self) -> None:
        if not 2 <= self.order <= MAX_ORDER:
            raise UsageError(f"--order must be from 2 to {MAX_ORDER}, not {self.order}")
        told = " ".join(map(str, self.prune))
        if not 0 < len(self.prune) <= self.order:
            raise UsageError(
                f"--prune {told}: give one count per order, at most {self.order}; the last holds for the rest"
            )
        if min(self.prune) < 0 or list(self.prune) != sorted(self.prune):
            raise UsageError(
                f"--prune {told}: the counts must not be negative and must not fall from one order to the next"
            )
        if self.limit_vocab is not None and self.limit_vocab < 1:
            raise UsageError(f"--limit-vocab must be at least 1, not {self.limit_vocab}")
        if self.memory < LEAST_MEMORY:
            raise UsageError(f"--memory must be at least {LEAST_MEMORY >> 20}MB, not {self.memory} bytes")

    def thresholds(self) -> list[int]:
        """Index = order; the zeroth is of no n-gram."""
        return [0, *self.prune, *[self.prune[-1]] * (self.order - len(self.prune))]


@dataclass(frozen=True)
class Discounts:
    """What is taken from counts of one, of two, and of three or more, in one order."""

    one: float
    two: float
    more: float
    fallback: bool = False  # not from this text

    def amounts(self) -> tuple[float, float, float, float]:
        """Index = count, up to three."""
        return 0.0, self.one, self.two, self.more


@dataclass(frozen=True)
class OrderCounts:
    num_seen: int  # different n-grams in the text
    num_kept: int  # of them in the model
    discounts: Discounts


@dataclass(frozen=True)
class Estimate:
    """A model on its way into a file; its pieces lie in the temporary folder it was estimated in."""

    words: Sequence[str]  # index = word id
    orders: list[Order]
    num_words: int  # in the text, without sentence ends
    num_sentences: int
    counts: list[OrderCounts]  # index = order - 1
