"""How often chance alone makes the errors of a slice as many more than all others' as they are: by resampling units.

A unit is what errors come with, a recording or all of a speaker's. Knows nothing of columns, or of how many slices are
looked at.

Under the null hypothesis which units are in the slice has nothing to do with their errors.

- Where each unit is in the slice or outside it, other units are drawn in the place of those in it, as many (a
  permutation test). That is right however errors are spread, but supposes that the slice's units would vary as others
  do; recordings of a second do not. So what is compared is not the excess but the excess over what it may vary by, as
  the units of either side show it, and at least what so many words would make all units vary. A speaker who lies wholly
  in a slice counts as one unit there, however much was said.
- Where units are on both sides, a speaker heard with noise and without, each one's part in the excess is as likely
  above zero as below: signs are flipped. Of few errors that says too much (ten recordings that happen to have none are
  all on one side), so it is never taken for less likely than with each recording as a unit.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from math import erfc, sqrt

import numpy as np
import numpy.typing as npt

from pipeline.intervals import FEWEST_GROUPS

Floats = npt.NDArray[np.float64]
Numbers = npt.NDArray[np.int64]

DRAWN = 10_000_000  # units drawn in all: half a second
FEWEST_LIMIT = 500  # beyond so many, at least, p is that of the normal distribution: the limit, and never less here
AT_ONCE = 1_000_000  # units in memory
ROUNDING = 1e-7  # sums in another order are equal that differ by less


@dataclass(frozen=True)
class Units:
    """Sums over units; of several sets of them, arrays."""

    num: Numbers
    surplus: Floats  # errors over those that their words would have at the rate of all
    squares: Floats  # of each unit's surplus
    words: Floats
    words_squares: Floats

    @classmethod
    def of(cls, several: Sequence["Units"]) -> "Units":
        """One after the other."""
        return cls(*(np.concatenate([getattr(one, each.name) for one in several]) for each in fields(cls)))

    def at(self, chosen: npt.NDArray[np.bool_]) -> "Units":
        return Units(*(getattr(self, each.name)[chosen] for each in fields(self)))

    def __sub__(self, other: "Units") -> "Units":
        return Units(*(getattr(self, each.name) - getattr(other, each.name) for each in fields(self)))


def excess_over_spread(inside: Units, all_units: Units) -> Floats:
    """The rate inside less that outside, in what it may vary by; above all others where there is no word to tell."""
    outside = all_units - inside
    with np.errstate(divide="ignore", invalid="ignore"):
        excess = inside.surplus / inside.words - outside.surplus / outside.words
        variance = _variance(inside, all_units) + _variance(outside, all_units)
        score: Floats = np.where(excess == 0, 0.0, excess / np.sqrt(variance))
    return np.where((inside.words > 0) & (outside.words > 0), score, np.inf)


def _variance(side: Units, all_units: Units) -> Floats:
    """Of a side's rate: as its units differ among each other, but at least as all do.

    All units' variance is shared out by words or by their squares, whichever is more: errors come word by word or with
    the recording, and in between.
    """
    among = (side.squares - side.surplus**2 / side.num) * side.num / np.maximum(side.num - 1, 1)
    by_words, by_squares = side.words / all_units.words, side.words_squares / all_units.words_squares
    found: Floats = np.maximum(among, all_units.squares * np.maximum(by_words, by_squares)) / side.words**2
    return found


class Permutations:
    """Of units that are in a slice or outside it."""

    def __init__(self, counts: Numbers) -> None:
        """Of errors and words: (units, 2)."""
        errors, words = counts.T.astype(np.float64)
        surplus = errors - words * (errors.sum() / max(words.sum(), 1))
        self._rows = np.stack([surplus, surplus**2, words, words**2])  # (4, units)
        self._all = Units(np.int64(len(errors)), *self._rows.sum(axis=1))  # type: ignore[arg-type]

    def sums(self, codes: Numbers, num: int) -> Units:
        """By slice; of code -1 units are in none."""
        surplus, squares, words, words_squares = (
            np.bincount(codes + 1, weights=row, minlength=num + 1)[1:].astype(np.float64) for row in self._rows
        )
        return Units(np.bincount(codes + 1, minlength=num + 1)[1:], surplus, squares, words, words_squares)

    def p(self, slices: Units, num_resamples: int, rng: np.random.Generator) -> Floats:
        """Of each slice; NaN where on one side there are too few, or no words."""
        found, reached = np.full(len(slices.num), np.nan), np.zeros(len(slices.num), np.int64)
        scores = excess_over_spread(slices, self._all)
        fewer = np.minimum(slices.num, self._all.num - slices.num)
        limit = max(FEWEST_LIMIT, DRAWN // num_resamples)
        has_p = (fewer >= FEWEST_GROUPS) & np.isfinite(scores)
        is_drawn = has_p & (fewer <= limit)
        for at in np.flatnonzero(has_p & (fewer > limit)):
            found[at] = erfc(scores[at] / sqrt(2)) / 2
        sizes, place = np.unique(fewer[is_drawn], return_inverse=True)
        for drawn in self._drawn(sizes, num_resamples, rng) if len(sizes) else ():
            for at, column in zip(np.flatnonzero(is_drawn), place, strict=True):
                chosen = Units(fewer[at], *drawn[:, :, column])
                inside = chosen if slices.num[at] == fewer[at] else self._all - chosen
                least = scores[at] - ROUNDING * max(1.0, abs(scores[at]))
                reached[at] += (excess_over_spread(inside, self._all) >= least).sum()
        found[is_drawn] = _share(reached[is_drawn], num_resamples)
        return found

    def _drawn(self, sizes: Numbers, num_resamples: int, rng: np.random.Generator) -> Iterator[Floats]:
        """Sums (4, some, sizes) over random units, as many as a slice has: the first so many of a random order.

        An order of all units is good for several, one after the other.
        """
        num, longest = self._rows.shape[1], int(sizes[-1])
        per_order, starts = num // longest, np.concatenate([[0], sizes[:-1]])
        at_once = min(max(1, AT_ONCE // num), -(-num_resamples // per_order))
        done = 0
        while done < num_resamples:
            orders = rng.permuted(np.tile(np.arange(num, dtype=np.int32), (at_once, 1)), axis=1)
            orders = orders[:, : per_order * longest].reshape(-1, longest)[: num_resamples - done]
            between = [np.add.reduceat(values[orders], starts, axis=1) for values in self._rows]
            yield np.cumsum(between, axis=2)
            done += len(orders)


def p_by_signs(parts: Floats, num_resamples: int, rng: np.random.Generator) -> Floats:
    """Of slices, from the parts (units, slices) that units have in their excess."""
    num, observed = len(parts), parts.sum(axis=0)
    reached = np.zeros(parts.shape[1], np.int64)
    for start in range(0, num_resamples, max(1, AT_ONCE // num)):
        size = (min(max(1, AT_ONCE // num), num_resamples - start), num)
        signs = rng.integers(0, 2, size, dtype=np.int8).astype(np.float64) * 2 - 1
        reached += (signs @ parts >= observed - ROUNDING * np.abs(parts).sum(axis=0)).sum(axis=0)
    return _share(reached, num_resamples)


def _share(reached: Numbers, num_resamples: int) -> Floats:
    """Of resamples with as much or more; what was observed is one of them, so that it is never 0."""
    shares: Floats = (reached + 1) / (num_resamples + 1)
    return shares
