"""Which words, phones and characters were taken for which others, counted over the scored rows of a run, part by part.

Knows nothing of how texts were aligned.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.evaluation.buffers import large, texts_of
from pipeline.evaluation.results import Confusion, Confusions
from pipeline.evaluation.rows import Level

if TYPE_CHECKING:
    from pipeline.evaluation.tokens import Texts

# Some 50 bytes each, four times as much while they are counted: under 1 GB. A corpus of a million has fewer.
MAX_PAIRS = 4_000_000
MIN_WAITING = 1 << 17  # pairs to be counted together, at least: each time costs a pass over all
ROWS_AT_ONCE = 1 << 16
CHARS = "char_alignment"
SCHEMA = pa.schema([("said", pa.large_string()), ("heard", pa.large_string()), ("num", pa.int64())])


@dataclass(frozen=True)
class Tally:
    """Pairs of what was said and what was heard, and how often."""

    pairs: pa.Table  # of SCHEMA; the same pair may be there several times, to be added
    num_distinct: int = 0  # when they were last added up
    num_missed: int = 0  # how many of any pair may be missing, at the most, because rare pairs had to be forgotten

    def __add__(self, other: "Tally") -> "Tally":
        both = Tally(
            pa.concat_tables([self.pairs, other.pairs]),
            max(self.num_distinct, other.num_distinct),
            self.num_missed + other.num_missed,
        )
        return both.settled() if len(both.pairs) > 2 * both.num_distinct + MIN_WAITING else both

    def settled(self) -> "Tally":
        """Every pair once; of too many the most frequent half."""
        if len(self.pairs) == self.num_distinct:
            return self
        pairs = _added(self.pairs)
        if len(pairs) <= MAX_PAIRS:
            return Tally(pairs, len(pairs), self.num_missed)
        kept = _most_frequent(pairs, MAX_PAIRS // 2 + 1)
        return Tally(kept[:-1], len(kept) - 1, self.num_missed + kept["num"][-1].as_py())

    def top(self, num: int) -> Confusions:
        """Of each kind the most frequent, at the most so many; as texts go where they are as frequent."""
        pairs = self.settled().pairs
        is_inserted, is_deleted = pc.equal(pairs["said"], ""), pc.equal(pairs["heard"], "")
        kinds = (pc.invert(pc.or_(is_inserted, is_deleted)), is_deleted, is_inserted)
        return Confusions(
            *(
                tuple(
                    Confusion(one["said"], one["heard"], one["num"])
                    for one in _most_frequent(pairs.filter(kind), num).to_pylist()
                )
                for kind in kinds
            )
        )


NOTHING = Tally(SCHEMA.empty_table())


@dataclass(frozen=True)
class Counts:
    """Add those of all parts: `sum(parts, Counts())`."""

    words: Tally = NOTHING  # or phones
    chars: Tally = NOTHING  # of words

    def __add__(self, other: "Counts") -> "Counts":
        return Counts(self.words + other.words, self.chars + other.chars)


def count(table: pa.Table, level: Level = Level.WORDS) -> Counts:
    """Of scored rows, as `rows.SCHEMA` has them; those without alignments count nothing."""
    _compile()
    return _count(table, level)


@cache
def _compile() -> None:
    from pipeline.compiled import one_at_a_time

    with one_at_a_time():
        _count(pa.table({name: ["1S" if "alignment" in name else "a"] for name in _columns(Level.WORDS)}), Level.WORDS)


def _columns(level: Level) -> list[str]:
    return [level.said, level.heard, level.alignment, *([CHARS] if level is Level.WORDS else [])]


def _count(table: pa.Table, level: Level) -> Counts:
    scored = table.select(_columns(level)).drop_null()
    counts = Counts()
    for first in range(0, len(scored), ROWS_AT_ONCE):
        columns = [large(column) for column in scored.slice(first, ROWS_AT_ONCE).columns]
        said, heard, words, *chars = (texts_of(column) for column in columns)
        counts += Counts(_words(said, heard, words), _chars(said, heard, *chars) if chars else NOTHING)
    return counts


def _words(said: "Texts", heard: "Texts", alignments: "Texts") -> Tally:
    from pipeline.evaluation.spans import confused_words

    spans = _filled(confused_words, 4, said, heard, alignments)
    return _tally(_cut(said.data, spans[:, 0], spans[:, 1]), _cut(heard.data, spans[:, 2], spans[:, 3]))


def _chars(said: "Texts", heard: "Texts", alignments: "Texts") -> Tally:
    """Counted as numbers first: there are many, and few different."""
    from pipeline.evaluation.spans import confused_points

    points = _filled(confused_points, 2, said, heard, alignments)
    both = pc.value_counts(pa.array(points[:, 0] << 32 | points[:, 1]))
    pairs = both.field("values").to_numpy()
    columns = [
        pa.array([chr(point - 1) if point else "" for point in side.tolist()], pa.large_string())
        for side in (pairs >> 32, pairs & 0xFFFFFFFF)
    ]
    return Tally(pa.table([*columns, both.field("counts")], schema=SCHEMA))


def _filled(
    find: Callable[..., int], width: int, said: "Texts", heard: "Texts", alignments: "Texts"
) -> npt.NDArray[np.int64]:
    from pipeline.evaluation.spans import FITS, num_steps

    found = np.empty((int(num_steps(alignments, False).sum()), width), np.int64)
    row = find(said, heard, alignments, found)
    if row != FITS:
        raise ValueError(f"scored row {row}: its alignment is not of its texts")
    return found


def _cut(data: npt.NDArray[np.uint8], starts: npt.NDArray[np.int64], ends: npt.NDArray[np.int64]) -> pa.Array:
    from pipeline.evaluation.spans import cut

    offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(ends - starts)])
    pieces = cut(data, starts, offsets)
    return pa.LargeStringArray.from_buffers(len(starts), pa.py_buffer(offsets), pa.py_buffer(pieces))


def _tally(said: pa.Array, heard: pa.Array) -> Tally:
    pairs = pa.table([said, heard, np.ones(len(said), np.int64)], schema=SCHEMA)
    return Tally(pairs).settled()


def _added(pairs: pa.Table) -> pa.Table:
    """The same pair once. By a number each: with two strings to group by it takes three times as long."""
    (said, said_at), (heard, heard_at) = (_numbered(pairs[side]) for side in ("said", "heard"))
    sums = (
        pa.table({"pair": said_at << 32 | heard_at, "num": pairs["num"]}).group_by("pair").aggregate([("num", "sum")])
    )
    pair = sums["pair"].to_numpy()
    return pa.table([said.take(pair >> 32), heard.take(pair & 0xFFFFFFFF), sums["num_sum"]], schema=SCHEMA)


def _numbered(strings: pa.ChunkedArray) -> tuple[pa.Array, npt.NDArray[np.int64]]:
    """The different ones, and which of them each is."""
    encoded = strings.combine_chunks().dictionary_encode()
    return encoded.dictionary, encoded.indices.to_numpy().astype(np.int64)


def _most_frequent(pairs: pa.Table, num: int) -> pa.Table:
    keys = [("num", "descending"), ("said", "ascending"), ("heard", "ascending")]
    return pairs.take(pc.select_k_unstable(pairs, num, keys))
