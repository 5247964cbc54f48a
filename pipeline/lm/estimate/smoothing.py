"""Adjusted counts -> each n-gram's discounted share of its context, and what the context has left for shorter ones.

The first two terms of interpolated modified Kneser-Ney: u(w|h) = (a(hw) - D) / sum of a(h.), and the backoff b(h) that
holds all that was taken. Knows nothing of the lower orders that the backoff is given to.
"""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pipeline.compiled import entry
from pipeline.lm.estimate.counting import DROPPED
from pipeline.lm.estimate.options import Discounts
from pipeline.lm.estimate.sorting import MAX_COUNT, Rows, Sorter, sliced
from pipeline.lm.estimate.words import BOS, UNK

SLICE = 1 << 18  # rows smoothed at a time, at least
Floats = npt.NDArray[np.float64]


def smooth_unigrams(counts: Rows, discounts: Discounts) -> tuple[Floats, npt.NDArray[np.bool_]]:
    """Adjusted counts (num_words, 1) -> probabilities by id and which words are kept. <s> has probability one.

    What was taken is spread evenly over all words that are kept, <unk> among them and <s> not.
    """
    adjusted = counts[:, 0].astype(np.int64) & MAX_COUNT
    kept = (counts[:, 0] & DROPPED) == 0
    kept[[UNK, BOS]] = True
    total = max(int(adjusted.sum()), 1)
    shares = np.where(kept, adjusted - np.array(discounts.amounts())[np.minimum(adjusted, 3)], 0.0) / total
    probabilities = shares + (1.0 - shares.sum()) / (int(kept.sum()) - 1)
    probabilities[BOS] = 1.0
    return probabilities, kept


def smooth(blocks: Iterable[Rows], order: int, discounts: Discounts, shares: Sorter, backoffs: Path) -> None:
    """Rows (words, adjusted count) in context order -> rows (words, u, b of the context) to the sorter `shares`, and
    rows (words of the context, b), in suffix order, to the file `backoffs`; u and b as the bits of 32-bit floats."""
    amounts = np.array(discounts.amounts())
    rest = np.empty((0, order + 1), np.uint32)  # of a context that may go on in the next block

    def give(rows: Rows, last: bool) -> int:
        out = np.empty((len(rows), order + 2), np.uint32)
        contexts = np.empty((len(rows), order), np.uint32)
        num_done, num_out, num_contexts = _smooth(
            rows,
            last,
            amounts,
            out,
            out[:, order:].view(np.float32),
            contexts,
            contexts[:, order - 1 :].view(np.float32),
        )
        shares.add(out[:num_out])
        file.write(contexts[:num_contexts].data)
        return int(num_done)

    with backoffs.open("wb") as file:
        for block in sliced(blocks, SLICE):
            rows = np.concatenate([rest, block]) if len(rest) else block
            rest = rows[give(rows, last=False) :].copy()
        give(rest, last=True)


@entry
def _smooth(
    rows: Rows,
    last: bool,
    discounts: Floats,
    out: Rows,
    out_floats: npt.NDArray[np.float32],
    contexts: Rows,
    backoffs: npt.NDArray[np.float32],
) -> tuple[int, int, int]:
    """How many rows belong to complete contexts, and how many rows of both kinds they gave."""
    order = rows.shape[1] - 1
    begin = num_out = num_contexts = 0
    while begin < len(rows):
        end, total, taken, num_here = begin, 0.0, 0.0, 0
        while end < len(rows):
            same = True
            for c in range(order - 2, -1, -1):
                if rows[end, c] != rows[begin, c]:
                    same = False
                    break
            if not same:
                break
            count = np.int64(rows[end, order]) & MAX_COUNT
            total += count
            if rows[end, order] & DROPPED:
                taken += count
            else:
                taken += discounts[count if count < 3 else 3]
                num_here += 1
            end += 1
        if end == len(rows) and not last:
            break
        if num_here:
            backoff = np.float32(taken / total)
            for c in range(order - 1):
                contexts[num_contexts, c] = rows[begin, c]
            backoffs[num_contexts, 0] = backoff
            num_contexts += 1
            for i in range(begin, end):
                if rows[i, order] & DROPPED:
                    continue
                for c in range(order):
                    out[num_out, c] = rows[i, c]
                count = np.int64(rows[i, order])
                out_floats[num_out, 0] = (count - discounts[count if count < 3 else 3]) / total
                out_floats[num_out, 1] = backoff
                num_out += 1
        begin = end
    return begin, num_out, num_contexts
