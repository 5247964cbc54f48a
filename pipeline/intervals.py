"""How sure a rate is: bootstrap intervals over recordings, because the words of one recording fail together.

Or over groups of recordings, such as those of a speaker, where those fail together. Knows nothing of what is counted.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

Numbers = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

NUM_RESAMPLES = 2000  # the ends move by about 2 % of the interval's width from one seed to the next
FEWEST_GROUPS = 5  # of fewer an interval would say little
# Of fewer, intervals are too narrow and p is too small: of 5, 10 and 15 speakers 80, 88 and 90 % of intervals hold
# what 95 % should (of 50, 92 %), and p is below 0.05 in 14, 10 and 8 of 100 pairs of systems that err as often (of 50,
# in 6).
FEW_GROUPS = 15
CHUNK = 4_000_000  # drawn counts in memory at a time
FEW_CELLS = 2000  # up to here nothing is compiled: half a second
RARE = 64  # drawing so many one by one takes as long as drawing how often


class Interval(NamedTuple):
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.low:.2%} to {self.high:.2%}"


@dataclass(frozen=True, eq=False)
class Groups:
    """What is resampled: N recordings in groups that are drawn whole."""

    codes: Numbers  # (N,) the number of its group
    num: int

    @classmethod
    def each(cls, num: int) -> "Groups":
        """Every recording for itself."""
        return cls(np.arange(num), num)

    @classmethod
    def of(cls, values: pa.Array | pa.ChunkedArray | Sequence[Any]) -> "Groups":
        """Recordings of equal value; one without, such as an empty cell of a table, is a group of its own."""
        column = values if isinstance(values, pa.ChunkedArray) else pa.chunked_array([pa.array(values)])
        distinct, codes = encoded(comparable(column))
        is_text = pa.types.is_large_string(distinct.type)
        alone = (codes < 0) | (codes == (distinct.index("").as_py() if is_text else -1))
        used, codes[~alone] = np.unique(codes[~alone], return_inverse=True)
        codes[alone] = len(used) + np.arange(alone.sum())
        return cls(codes, len(used) + int(alone.sum()))

    def num_with(self, totals: Numbers) -> int:
        """How many have something to divide by: with the others a rate does not vary."""
        return int(np.count_nonzero(np.bincount(self.codes, weights=totals)))

    def at(self, chosen: npt.NDArray[np.bool_] | npt.NDArray[np.intp]) -> "Groups":
        """Of some of the recordings."""
        used, codes = np.unique(self.codes[chosen], return_inverse=True)
        return Groups(codes, len(used))

    def sums(self, columns: Numbers) -> Numbers:
        """(N, K) by recording -> (num, K) by group."""
        sums = [np.bincount(self.codes, weights=column, minlength=self.num) for column in columns.T]
        return np.stack(sums, axis=1).astype(np.int64)  # exact: doubles hold whole numbers to 2^53


def comparable(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """What is behind dictionaries and extension types; of numbers one zero, and null for what is none (NaN)."""
    while pa.types.is_dictionary(column.type) or isinstance(column.type, pa.BaseExtensionType):
        is_extension = isinstance(column.type, pa.BaseExtensionType)
        column = column.cast(column.type.storage_type if is_extension else column.type.value_type)
    if not pa.types.is_floating(column.type):
        return column
    numbers = column.cast(pa.float32()) if column.type == pa.float16() else column
    return pc.if_else(pc.is_nan(numbers), None, pc.add(numbers, pa.scalar(0, numbers.type)))


def encoded(column: pa.ChunkedArray) -> tuple[pa.Array, Numbers]:
    """The different values, and which of them each is; -1: none. Not in one array first, which 2 GB of text are not."""
    wide = column.cast(pa.large_string()) if pa.types.is_string(column.type) else column
    chunks = wide.dictionary_encode().chunks  # of one dictionary
    codes = [chunk.indices.fill_null(-1).to_numpy(zero_copy_only=False) for chunk in chunks]
    distinct = chunks[0].dictionary if chunks else pa.array([], wide.type)
    return distinct, np.concatenate([np.empty(0, np.int64), *codes])


def bootstrap(
    errors: Numbers, totals: Numbers, groups: Groups | None = None, level: float = 0.95, seed: int = 0
) -> Interval:
    """Of sum(errors) / sum(totals), by resampling recordings or groups of them: the percentile interval.

    For the difference of two rates over the same recordings give the difference of their errors.
    """
    return interval(resampled_rate(errors, totals, groups, seed), level)


def resampled_rate(errors: Numbers, totals: Numbers, groups: Groups | None = None, seed: int = 0) -> Floats:
    """(B,) sum(errors) / sum(totals) of resamples."""
    return ratio(*resampled(np.stack([errors, totals], axis=1), groups, seed).T)


def resampled(columns: Numbers, groups: Groups | None = None, seed: int = 0) -> Floats:
    """The sums (B, K) of columns (N, K) over resamples of N recordings, or of the groups that they are in.

    Recordings with equal numbers are one cell, and how often each cell is drawn is one draw from a multinomial
    distribution: a million recordings of twenty words are some hundred cells. Where cells are many, the rare ones are
    drawn one by one, by compiled code.
    """
    rows = columns if groups is None else groups.sums(columns)
    rng = np.random.default_rng(seed)
    cells, counts = _cells(rows)
    if len(cells) <= FEW_CELLS:
        return _drawn(cells, counts, rng, None).astype(np.float64)
    rare = counts <= RARE
    items = np.ascontiguousarray(np.repeat(cells[rare], counts[rare], axis=0).T)
    return _drawn(cells[~rare], counts[~rare], rng, items).astype(np.float64)


def interval(values: Floats, level: float = 0.95) -> Interval:
    """Of what came out of resamples; those in which there was nothing to divide by (NaN) are left out."""
    tail = 100 * (1 - level) / 2
    low, high = np.percentile(values[~np.isnan(values)], [tail, 100 - tail])
    return Interval(float(low), float(high))


def p_value(differences: Floats) -> float:
    """Of no difference, two-sided: twice the share of resamples on the rarer side of zero, zero itself being on both.

    The resample at hand is one more on either side, so that p is never 0. At 0.05 it is where zero is the end of the
    95 % interval, and 1 where all resamples are zero.
    """
    differences = differences[~np.isnan(differences)]
    rarer = min((differences <= 0).sum(), (differences >= 0).sum())
    return min(1.0, 2 * (int(rarer) + 1) / (len(differences) + 1))


def ratio(errors: Floats, totals: Floats) -> Floats:
    """NaN where there is nothing to divide by."""
    ratios: Floats = np.divide(errors, totals, out=np.full(len(totals), np.nan), where=totals != 0)
    return ratios


def _cells(rows: Numbers) -> tuple[Numbers, Numbers]:
    """The different ones among rows (N, K), and how many there are of each."""
    keys, span = np.zeros(len(rows), np.int64), 1
    for column in rows.T:
        low = int(column.min())
        width = int(column.max()) - low + 1
        if span * width > np.iinfo(np.int64).max:
            keys = np.unique(keys, return_inverse=True)[1]
            span = int(keys.max()) + 1
        keys, span = keys * width + (column - low), span * width
    if span > len(rows):
        _, first, counts = np.unique(keys, return_index=True, return_counts=True)
        return rows[first], counts
    counts, row = np.bincount(keys), np.empty(span, np.int64)  # the same in a tenth of the time
    row[keys] = np.arange(len(rows))
    cells = np.flatnonzero(counts)
    return rows[row[cells]], counts[cells]


def _drawn(cells: Numbers, counts: Numbers, rng: np.random.Generator, items: Numbers | None) -> Numbers:
    """The sums (B, K) of resamples of cells, each there `counts` times, and of items (K, M), each there once."""
    sums = np.empty((NUM_RESAMPLES, cells.shape[1]), np.int64)
    seeds = rng.integers(2**64, size=NUM_RESAMPLES, dtype=np.uint64)
    weights = counts
    if items is not None:
        from pipeline.compiled import one_at_a_time
        from pipeline.resampling import BLOCK, add_drawn

        with one_at_a_time():
            add_drawn(items, np.zeros((0, 1), np.int64), seeds, sums)
        starts = np.arange(0, items.shape[1], BLOCK)
        weights = np.append(counts, np.minimum(BLOCK, items.shape[1] - starts))
    num = int(weights.sum())
    per_chunk = max(1, CHUNK // len(weights))
    for start in range(0, NUM_RESAMPLES, per_chunk):
        part = slice(start, min(start + per_chunk, NUM_RESAMPLES))
        # How often each is drawn: (B, cells and blocks), instead of which are: the sums are then one product.
        drawn = rng.multinomial(num, weights / num, size=part.stop - part.start)
        # In doubles, which are exact to 2^53: numpy has no fast product of whole numbers.
        sums[part] = drawn[:, : len(counts)].astype(np.float64) @ cells.astype(np.float64)
        if items is not None:
            add_drawn(items, np.ascontiguousarray(drawn[:, len(counts) :]), seeds[part], sums[part])
    return sums
