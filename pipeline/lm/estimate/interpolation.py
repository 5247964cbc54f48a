"""Each order's shares with the probabilities of the order below -> its probabilities: p(w|h) = u(w|h) + b(h) p(w|h').

Both lie in suffix order, in which an n-gram's own ending is found by walking beside it. Knows nothing of counts.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pipeline.compiled import entry
from pipeline.lm.estimate.smoothing import Floats
from pipeline.lm.estimate.sorting import Rows, read_rows, sliced
from pipeline.lm.ngrams import Order, Piece

PIECE_ROWS = 1 << 18


class Beside:
    """A file of rows (words, value, ...) in suffix order, walked beside longer n-grams in the same order."""

    def __init__(self, path: Path, num_words: int, num_columns: int) -> None:
        self._blocks = file_blocks(path, num_columns)
        self._num_words = num_words
        self._block: Rows = np.empty((0, num_columns), np.uint32)
        self._place = 0

    def values(self, rows: Rows, missing: float) -> Floats:
        """For each row the value of its last words, `missing` where the file has none. Rows must come in order."""
        values = np.full(len(rows), missing)
        done = 0
        while done < len(rows):
            if self._place == len(self._block):
                block = next(self._blocks, None)
                if block is None:
                    break
                self._block, self._place = block, 0
            found = self._block[:, self._num_words : self._num_words + 1].view(np.float32)
            done, self._place = _walk(rows, done, self._block, self._place, found, self._num_words, values)
        return values


def interpolate(blocks: Iterable[Rows], order: int, lower: Path, backoffs: Path | None, out: Path) -> None:
    """Rows (words, u, b of the context) in suffix order -> the file `out` of rows (words, p, b of the n-gram itself).

    `lower` holds such rows of the order below, `backoffs` rows (words, b); the highest order has none.
    """
    endings = Beside(lower, order - 1, order + 1)
    own = Beside(backoffs, order, order + 1) if backoffs else None
    with out.open("wb") as file:
        for rows in sliced(blocks, PIECE_ROWS):
            rows = rows.copy()
            floats = rows[:, order:].view(np.float32)  # (N, 2)
            shorter = endings.values(rows, missing=np.nan)
            assert not np.isnan(shorter).any(), f"a {order}-gram is kept without its ending"
            floats[:, 0] = floats[:, 0] + floats[:, 1].astype(np.float64) * shorter
            floats[:, 1] = own.values(rows, missing=1.0) if own else 1.0
            file.write(rows.data)


def write_unigrams(out: Path, probabilities: Floats, kept: npt.NDArray[np.bool_], backoffs: Path) -> None:
    """Rows (word, p, b) as `interpolate` writes them, of the words that are kept."""
    own = np.ones(len(kept), np.float32)
    for rows in file_blocks(backoffs, 2):
        own[rows[:, 0]] = rows[:, 1].view(np.float32)
    rows = np.empty((int(kept.sum()), 3), np.uint32)
    rows[:, 0] = np.flatnonzero(kept)
    rows[:, 1] = probabilities[kept].astype(np.float32).view(np.uint32)
    rows[:, 2] = own[kept].view(np.uint32)
    out.write_bytes(rows.data)


def file_blocks(path: Path, num_columns: int) -> Iterator[Rows]:
    with path.open("rb") as file:
        num = path.stat().st_size // (4 * num_columns)
        for start in range(0, num, PIECE_ROWS):
            yield read_rows(file.fileno(), 4 * num_columns * start, min(PIECE_ROWS, num - start), num_columns)


def order_of(path: Path, order: int, num: int, new_ids: npt.NDArray[np.uint32]) -> Order:
    """The n-grams of a file that `interpolate` wrote, with the ids that are left when words were dropped."""

    def pieces() -> Iterator[Piece]:
        for rows in file_blocks(path, order + 2):
            floats = rows[:, order:].view(np.float32)  # (N, 2): p, b
            # A backoff of nothing is -99 by the custom of ARPA files; adding zero leaves no negative zeros.
            logs = np.log10(np.maximum(floats.astype(np.float64), 1e-99)).astype(np.float32) + np.float32(0)
            yield Piece(new_ids[rows[:, :order]], logs[:, 0].copy(), logs[:, 1].copy())

    return Order(order, num, pieces)


@entry
def _walk(
    rows: Rows,
    done: int,
    table: Rows,
    place: int,
    found: npt.NDArray[np.float32],
    num_words: int,
    values: Floats,
) -> tuple[int, int]:
    """Fills `values` from row `done` on; returns the row and the place in the table it came to an end at."""
    shift = rows.shape[1] - 2 - num_words  # of the last words of a row against those of the table
    while done < len(rows) and place < len(table):
        comparison = 0
        for c in range(num_words - 1, -1, -1):
            if rows[done, shift + c] != table[place, c]:
                comparison = 1 if rows[done, shift + c] > table[place, c] else -1
                break
        if comparison == 0:
            values[done] = found[place, 0]
            done += 1
        elif comparison > 0:
            place += 1
        else:
            done += 1
    return done, place
