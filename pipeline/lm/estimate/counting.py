"""Word ids -> n-grams with the counts that Kneser-Ney smoothing wants; knows nothing of probabilities.

The highest order counts occurrences. A lower order's adjusted count is the number of different words seen before an
n-gram, or, where <s> begins it and nothing can come before, its occurrences (Heafield et al. 2013, section 3.2).
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.compiled import entry
from pipeline.lm.estimate.sorting import Rows, Sorter, sliced
from pipeline.lm.estimate.words import BOS, EOS, Ids

DROPPED = np.uint32(1 << 31)  # set in the count of an n-gram that the model leaves out, but that the others count with
SLICE = 1 << 14  # rows adjusted at a time


class Windows:
    """The stream of ids -> one row per word and sentence end: the n-gram that ends there, and its count of one.

    Sentences begin with as many <s> as it takes.
    """

    def __init__(self, order: int) -> None:
        self._history = np.full(order - 1, BOS, np.uint32)

    def rows(self, ids: Ids) -> Rows:
        rows = np.empty((len(ids), len(self._history) + 2), np.uint32)
        _windows(ids, self._history, rows)
        return rows


@dataclass
class Adjusted:
    """What is known when all n-grams have been adjusted, besides the rows themselves; indexed by order."""

    unigrams: Rows  # (num_words, 1): adjusted count by id, with the DROPPED bit
    num_with_count: npt.NDArray[np.int64]  # (order + 1, 5): n-grams with the adjusted counts 1 to 4
    num_seen: npt.NDArray[np.int64]  # (order + 1,)
    num_kept: npt.NDArray[np.int64]  # (order + 1,)


def suffix_key(order: int) -> list[int]:
    """Columns of words such that n-grams with one ending are neighbours."""
    return list(range(order - 1, -1, -1))


def context_key(order: int) -> list[int]:
    """Columns of words such that n-grams with one context are neighbours, and the contexts in their suffix order."""
    return [*range(order - 2, -1, -1), order - 1]


def adjust(
    blocks: Iterable[Rows], order: int, thresholds: list[int], allowed: npt.NDArray[np.bool_], sorters: list[Sorter]
) -> Adjusted:
    """Rows (words, count) of the highest order in suffix order -> rows (words, adjusted count) to each order's sorter.

    `sorters` are those of order 2 and up. An n-gram is left out where it occurs too rarely, or holds a word that is
    not allowed; it still counts in all sums, so that what it had goes to the backoff.
    """
    adjusted = Adjusted(
        np.zeros((len(allowed), 1), np.uint32),
        np.zeros((order + 1, 5), np.int64),
        np.zeros(order + 1, np.int64),
        np.zeros(order + 1, np.int64),
    )
    state = np.zeros((3, order + 1), np.int64)  # the latest row's words, and of its endings the two kinds of counts
    out = np.empty((order + 1, SLICE, order + 1), np.uint32)
    limits = np.array(thresholds, np.int64)
    nothing = np.zeros((1, order + 1), np.uint32)

    def give(rows: Rows, last: bool) -> None:
        filled = np.zeros(order + 1, np.int64)
        _adjust(
            rows,
            last,
            state,
            limits,
            allowed,
            out,
            filled,
            adjusted.num_with_count,
            adjusted.num_seen,
            adjusted.num_kept,
        )
        unigrams = out[1, : filled[1]]
        adjusted.unigrams[unigrams[:, 0], 0] = unigrams[:, 1]
        for length, sorter in enumerate(sorters, start=2):
            sorter.add(out[length, : filled[length], : length + 1])

    for rows in sliced(blocks, SLICE - 1):
        give(rows, last=False)
    give(nothing, last=True)
    return adjusted


@entry
def _windows(ids: Ids, history: Ids, rows: Rows) -> None:
    """`history` holds the words before the first id, and afterwards those before the next."""
    num_history = len(history)
    for i in range(len(ids)):
        for c in range(num_history):
            rows[i, c] = history[c]
        rows[i, num_history] = ids[i]
        rows[i, num_history + 1] = 1
        if ids[i] == EOS:
            history[:] = BOS
        else:
            for c in range(num_history - 1):
                history[c] = history[c + 1]
            history[num_history - 1] = ids[i]


@entry
def _adjust(
    rows: Rows,
    last: bool,
    state: npt.NDArray[np.int64],
    thresholds: npt.NDArray[np.int64],
    allowed: npt.NDArray[np.bool_],
    out: Rows,
    filled: npt.NDArray[np.int64],
    num_with_count: npt.NDArray[np.int64],
    num_seen: npt.NDArray[np.int64],
    num_kept: npt.NDArray[np.int64],
) -> None:
    """An ending of the latest row is complete when a row comes that does not share it.

    state[0]: the latest row's words, and in front the length of its longest true n-gram, that with one <s> at most, or
    0 before the first row; state[1]: adjusted counts so far by length of ending; state[2]: occurrences so far.
    """
    order = len(state[0]) - 1
    for i in range(len(rows)):
        longest = state[0, 0]
        shared = 0
        if not last:
            while shared < longest and rows[i, order - 1 - shared] == state[0, order - shared]:
                shared += 1
        for length in range(shared + 1, longest + 1):
            first = state[0, order - length + 1]
            count = state[2, length] if length == order or first == BOS else state[1, length]
            dropped = state[2, length] <= thresholds[length]
            for c in range(length):
                word = state[0, order - length + 1 + c]
                out[length, filled[length], c] = word
                dropped = dropped or not allowed[word]
            num_seen[length] += 1
            if count < 5:
                num_with_count[length, count] += 1
            if dropped:
                out[length, filled[length], length] = np.uint32(count) | DROPPED
            else:
                out[length, filled[length], length] = count
                num_kept[length] += 1
            filled[length] += 1
        if last:
            break
        longest = order
        while longest > 1 and rows[i, order - longest] == BOS and rows[i, order - longest + 1] == BOS:
            longest -= 1
        state[0, 0] = longest
        for c in range(order):
            state[0, c + 1] = rows[i, c]
        state[1, shared + 1 :] = 0
        state[2, shared + 1 :] = 0
        for length in range(max(shared, 1), longest):
            state[1, length] += 1
        for length in range(1, longest + 1):
            state[2, length] += rows[i, order]
