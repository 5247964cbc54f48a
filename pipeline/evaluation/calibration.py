"""Whether confidences are what they say: of the words that are 80 % sure, are 80 % right?

Knows nothing of how confidences come about.
"""

from dataclasses import dataclass, field
from functools import cache

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.evaluation.buffers import large, texts_of
from pipeline.evaluation.results import Bin, Calibration
from pipeline.evaluation.rows import Level

NUM_BINS = 10  # of equal width

Floats = npt.NDArray[np.float64]


def _nothing() -> Floats:
    return np.zeros((3, NUM_BINS))


@dataclass(frozen=True, eq=False)
class Counts:
    """By confidence, sums (3, NUM_BINS): how many, their confidences, and how far they are right.

    Add those of all parts: `sum(parts, Counts())`.
    """

    words: Floats = field(default_factory=_nothing)
    recordings: Floats = field(default_factory=_nothing)  # the share of what was heard in each that is right

    def __add__(self, other: "Counts") -> "Counts":
        return Counts(self.words + other.words, self.recordings + other.recordings)

    def calibration(self) -> Calibration | None:
        """Of words, or where no word has a confidence of recordings, or of nothing."""
        for of, sums in (("words", self.words), ("recordings", self.recordings)):
            if sums[0].any():
                bins = tuple(_bin(place, *column) for place, column in enumerate(sums.T.tolist()))
                return Calibration(of, bins, float(np.abs(sums[2] - sums[1]).sum() / sums[0].sum()))
        return None


def count(table: pa.Table, level: Level = Level.WORDS) -> Counts:
    """Of scored rows, as `rows.SCHEMA` has them; those that were not compared count nothing. Phones have no confidences
    there: theirs are of recordings alone.
    """
    names = [level.alignment, "word_confidences", "confidence", *level.counts]
    compared = table.select(names).filter(pc.is_valid(table[level.alignment]))
    recordings = _sums(*_recordings(compared, level))
    if level is not Level.WORDS:
        return Counts(recordings=recordings)
    _compile()
    return Counts(_words(compared), recordings)


@cache
def _compile() -> None:
    from pipeline.compiled import one_at_a_time

    with one_at_a_time():
        _words(pa.table({"word_alignment": ["1="], "word_confidences": pa.array([[0.5]], pa.list_(pa.float32()))}))


def _words(table: pa.Table) -> Floats:
    """Of the words heard."""
    from pipeline.evaluation.spans import FITS, add_up_confidences

    told = table.filter(pc.is_valid(table["word_confidences"]))
    lists, sums = told["word_confidences"].combine_chunks(), _nothing()
    confidences, offsets = _floats(lists.flatten()), np.zeros(len(told) + 1, np.int64)
    np.cumsum(pc.list_value_length(lists).to_numpy(), out=offsets[1:])
    for array in (confidences, offsets):
        array.setflags(write=False)  # numba compiles the same once more for arrays that can be written
    if add_up_confidences(texts_of(large(told["word_alignment"])), offsets, confidences, sums) != FITS:
        raise ValueError("word_confidences are not those of the words that word_alignment aligns")
    return sums


def _recordings(table: pa.Table, level: Level) -> tuple[Floats, Floats]:
    """Of recordings in which something was heard."""
    hits, substitutions, _, insertions = (_floats(table[name]) for name in level.counts)
    heard = hits + substitutions + insertions
    return _floats(table["confidence"])[heard > 0], hits[heard > 0] / heard[heard > 0]


def _sums(confidences: Floats, right: Floats) -> Floats:
    known = ~np.isnan(confidences)
    confidences, right = confidences[known], right[known]
    bins = np.clip((confidences * NUM_BINS).astype(np.int64), 0, NUM_BINS - 1)
    return np.stack([np.bincount(bins, weights, NUM_BINS) for weights in (np.ones(len(bins)), confidences, right)])


def _bin(place: int, num: float, confidence: float, right: float) -> Bin:
    low, high = place / NUM_BINS, (place + 1) / NUM_BINS
    if not num:
        return Bin(low, high, 0, (low + high) / 2, 0.0)
    return Bin(low, high, int(num), confidence / num, right / num)


def _floats(column: pa.Array | pa.ChunkedArray) -> Floats:
    """NaN for null."""
    return np.asarray(column.cast(pa.float64()).to_numpy(zero_copy_only=False))
