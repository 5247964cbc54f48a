"""The recordings by what they have in common: rates by slice, and the slices that are worse than chance would have it.

Knows nothing of where values come from (`derived`), or of how chance is reckoned (`chance`).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.evaluation import derived
from pipeline.evaluation.chance import Floats, Permutations, Units, p_by_signs
from pipeline.evaluation.derived import Codes, Labels
from pipeline.evaluation.results import Rate, Slice
from pipeline.evaluation.scores import Errors, Scores
from pipeline.intervals import FEWEST_GROUPS, Groups, Numbers, interval, ratio, resampled
from pipeline.records import ErrorCounts

NUM_RESAMPLES = 10_000  # for p
# Of many slices more, because no p can be less than one in so many; but only of those that are this rare in the others,
# or a thousand slices would take minutes.
RESAMPLES_PER_SLICE, RARE = 50, 0.002
MAX_DRAWN = 1_000  # of more groups some are drawn as one, put together at random: 2 % of an interval's width
SURE = 0.05


def slices(scores: Scores, groups: Groups, columns: Sequence[str] | None = None, seed: int = 0) -> tuple[Slice, ...]:
    """By column, then as values go; `derived.warnings(scores, columns)` tells what is odd about those asked for."""
    found = [labels for labels in derived.labels(scores, columns) if labels.values]
    if not found:
        return ()
    rng = np.random.default_rng(seed)
    drawn = _put_together(groups, rng)
    errors = scores.errors
    by_group, chars = (_ByGroup.of(some, drawn, found) for some in (errors, scores.chars))
    chances = _chances(errors, groups, found, by_group.parts(), rng)
    made: dict[str, Sequence[Any]] = {
        "column": [labels.column for labels in found for _ in labels.values],
        "value": [value for labels in found for value in labels.values],
        "num_recordings": _sums(found, None).astype(np.int64).tolist(),
        "audio_s": _sums(found, np.nan_to_num(scores.duration_s)).tolist(),
        "errors": _error_counts(errors, found),
        "chars": _error_counts(scores.chars, found),
        "rate": by_group.rates(seed),
        "cer": chars.rates(seed),
        "excess": _known(by_group.excess()),
        "p": _known(chances),
        "p_corrected": _known(holm(chances)),
    }
    return tuple(Slice(**dict(zip(made, one, strict=True))) for one in zip(*made.values(), strict=True))


def worst_slices(slices: Sequence[Slice]) -> tuple[Slice, ...]:
    """All that are worse than all other recordings, and probably not by chance; the worst first."""
    sure = [one for one in slices if one.p_corrected is not None and one.p_corrected < SURE and (one.excess or 0) > 0]
    return tuple(sorted(sure, key=lambda one: one.excess or 0.0, reverse=True))


def holm(chances: Floats) -> Floats:
    """Corrected for how many there are: that any of them is below 0.05 by chance has a chance of 0.05 (Holm, 1979).

    NaN has not been looked at, and stays that.
    """
    known = np.flatnonzero(~np.isnan(chances))
    order = known[np.argsort(chances[known], kind="stable")]
    corrected = np.full(len(chances), np.nan)
    corrected[order] = np.maximum.accumulate(chances[order] * np.arange(len(order), 0, -1)).clip(max=1)
    return corrected


# ---- counts


def _sums(found: Sequence[Labels], weights: Numbers | Floats | None) -> Floats:
    """By slice; of no weights how many recordings there are."""
    of_each = [np.bincount(one.codes + 1, weights=weights, minlength=len(one.values) + 1)[1:] for one in found]
    return np.concatenate(of_each).astype(np.float64)


def _error_counts(errors: Errors, found: Sequence[Labels]) -> list[ErrorCounts]:
    columns = [_sums(found, column).astype(np.int64).tolist() for column in errors]
    return [ErrorCounts(*counts) for counts in zip(*columns, strict=True)]


def _known(values: Floats) -> list[float | None]:
    return [None if np.isnan(value) else float(value) for value in values]


# ---- groups


@dataclass(frozen=True)
class _ByGroup:
    """Sums over the recordings that a group has in a slice."""

    errors: Floats  # (groups, slices); so below
    totals: Floats
    all_errors: Floats  # (groups, 1): in whatever slice
    all_totals: Floats

    @classmethod
    def of(cls, errors: Errors, groups: Groups, found: Sequence[Labels]) -> "_ByGroup":
        counts = np.stack([errors.num_errors, errors.num_reference], axis=1)
        tables = []
        for labels in found:
            width = len(labels.values) + 1
            pairs = Groups(groups.codes * width + labels.codes + 1, groups.num * width)
            tables.append(pairs.sums(counts).reshape(-1, width, 2)[:, 1:].astype(np.float64))
        table = np.concatenate(tables, axis=1)  # (groups, slices, 2)
        everywhere = groups.sums(counts).astype(np.float64)
        return cls(table[:, :, 0], table[:, :, 1], everywhere[:, :1], everywhere[:, 1:])

    def rates(self, seed: int) -> list[Rate]:
        """With an interval where there are enough groups to divide by."""
        values = _known(ratio(self.errors.sum(axis=0), self.totals.sum(axis=0)))
        enough = np.count_nonzero(self.totals, axis=0) >= FEWEST_GROUPS
        columns = np.concatenate([self.errors, self.totals], axis=1).astype(np.int64)
        errors, totals = np.split(resampled(columns, seed=seed).T, 2)  # (slices, B) each
        return [
            Rate(value, interval(ratio(errors[at], totals[at])) if enough[at] else None)
            for at, value in enumerate(values)
        ]

    def excess(self) -> Floats:
        """NaN where there is nothing to divide by on either side."""
        errors, totals = self.errors.sum(axis=0), self.totals.sum(axis=0)
        return ratio(errors, totals) - ratio(self.all_errors.sum() - errors, self.all_totals.sum() - totals)

    def parts(self) -> Floats:
        """What each group adds to the excess of each slice: (groups, slices); no numbers where that is none."""
        rate = self.all_errors.sum() / max(self.all_totals.sum(), 1)
        inside, everywhere = self.errors - rate * self.totals, self.all_errors - rate * self.all_totals
        totals = self.totals.sum(axis=0)
        with np.errstate(divide="ignore", invalid="ignore"):
            parts: Floats = inside / totals - (everywhere - inside) / (self.all_totals.sum() - totals)
        return parts


def _put_together(groups: Groups, rng: np.random.Generator) -> Groups:
    """At most `MAX_DRAWN` groups, of about as many each."""
    if groups.num <= MAX_DRAWN:
        return groups
    return Groups((rng.permutation(groups.num) % MAX_DRAWN)[groups.codes], MAX_DRAWN)


@dataclass(frozen=True)
class _Sides:
    """Where the groups are, of a column with S values."""

    codes: Codes  # (groups,) the value of each, or one of them
    num_inside: Numbers  # (S,) groups that have recordings of that value
    num_outside: Numbers  # (S,) and of others
    is_mixed: npt.NDArray[np.bool_]  # (S,) some have both

    @classmethod
    def of(cls, labels: Labels, groups: Groups) -> "_Sides":
        codes, num = np.empty(groups.num, np.int64), len(labels.values)
        codes[groups.codes] = labels.codes
        if groups.num == len(labels.codes):  # a million recordings of fifty values would be a large table
            num_inside = np.bincount(codes + 1, minlength=num + 1)[1:]
            return cls(codes, num_inside, groups.num - num_inside, np.zeros(num, np.bool_))
        is_in = np.zeros((groups.num, num + 1), np.bool_)
        is_in[groups.codes, labels.codes + 1] = True
        is_in_others = ~is_in | (is_in.sum(axis=1, keepdims=True) > 1)  # every group is in one at least
        each = (is_in.sum(axis=0), is_in_others.sum(axis=0), (is_in & is_in_others).any(axis=0))
        return cls(codes, *(column[1:] for column in each))


# ---- chance


def _chances(
    errors: Errors, groups: Groups, found: Sequence[Labels], parts: Floats, rng: np.random.Generator
) -> Floats:
    """p of each slice, NaN where it holds or leaves out too few groups."""
    counts = np.stack([errors.num_errors, errors.num_reference], axis=1)
    told = counts.sum(axis=1) > 0  # the others tell nothing
    if not told.all():
        counts, groups, found = counts[told], groups.at(told), [replace(one, codes=one.codes[told]) for one in found]
    sides = [_Sides.of(labels, groups) for labels in found]
    inside, outside, is_mixed = (
        np.concatenate([getattr(side, name) for side in sides]) for name in ("num_inside", "num_outside", "is_mixed")
    )
    by_groups, by_recordings = Permutations(groups.sums(counts)), Permutations(counts)
    groups_of = Units.of([by_groups.sums(side.codes, len(side.num_inside)) for side in sides])
    recordings_of = Units.of([by_recordings.sums(labels.codes, len(labels.values)) for labels in found])
    chances = np.full(len(inside), np.nan)

    def look(at: npt.NDArray[np.bool_], num_resamples: int) -> None:
        whole, mixed = at & ~is_mixed, at & is_mixed
        chances[whole] = by_groups.p(groups_of.at(whole), num_resamples, rng)
        if mixed.any():
            alone = by_recordings.p(recordings_of.at(mixed), num_resamples, rng)
            chances[mixed] = np.maximum(alone, p_by_signs(parts[:, mixed], num_resamples, rng))

    look(np.isfinite(parts).all(axis=0) & (np.minimum(inside, outside) >= FEWEST_GROUPS), NUM_RESAMPLES)
    if (num_resamples := RESAMPLES_PER_SLICE * len(inside)) > NUM_RESAMPLES:
        look(chances < RARE, num_resamples)
    return chances
