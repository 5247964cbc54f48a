"""What was heard aligned with what was said, word by word and character by character, just as jiwer aligns it.

Knows nothing of where texts come from, of how they were normalised, or of what rates are made.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.evaluation.buffers import Strings, is_null, large, strings_of, texts_of
from pipeline.evaluation.scores import Errors

if TYPE_CHECKING:
    from pipeline.evaluation.tokens import Texts

PART_BYTES = 1 << 23  # of texts aligned at a time: some 0.1 s, and four times as much memory at the most
SYMBOL_OF = {"equal": "=", "substitute": "S", "delete": "D", "insert": "I"}  # jiwer's words for them
RUN = re.compile(r"(\d+)(\D)")


@dataclass(frozen=True)
class Aligned:
    """Of N pairs. Where either text is null, counts are zero and alignments null."""

    words: Errors
    chars: Errors
    word_alignment: pa.Array  # (N,) strings, see `rows.ALIGNMENT_SYMBOLS`
    char_alignment: pa.Array


@dataclass(frozen=True)
class _Pairs:
    said: "Texts"
    heard: "Texts"
    is_missing: npt.NDArray[np.bool_]

    def parts(self) -> Iterator["_Pairs"]:
        sizes = self.said.ends - self.said.starts + self.heard.ends - self.heard.starts
        bounds = np.flatnonzero(np.diff(np.cumsum(sizes) // PART_BYTES)) + 1
        for first, last in zip([0, *bounds], [*bounds, len(sizes)], strict=True):
            here = slice(first, last)
            said, heard = (
                texts._replace(starts=texts.starts[here], ends=texts.ends[here]) for texts in (self.said, self.heard)
            )
            yield _Pairs(said, heard, self.is_missing[here])


@dataclass(frozen=True)
class _Found:
    counts: npt.NDArray[np.int32]  # (N, levels, 4)
    alignments: list[pa.Array]  # (levels) of (N,)


def align(references: Strings, texts: Strings) -> Aligned:
    """Pairs of normalised texts; white space of any kind and number counts as one space between words."""
    said, heard = large(references), large(texts)
    if len(said) != len(heard):
        raise ValueError(f"{len(said):,} references and {len(heard):,} texts")
    found = _aligned(_Pairs(texts_of(said), texts_of(heard), is_null(said) | is_null(heard)), 2)
    return Aligned(_errors(found.counts[:, 0]), _errors(found.counts[:, 1]), *found.alignments)


def oracle(references: Strings, nbests: Strings) -> Errors:
    """Word errors of the alternative that has the fewest, the first of several such.

    Zeros where there is no reference, or no list of alternatives, or nothing in it.
    """
    said, lists = large(references), nbests.combine_chunks() if isinstance(nbests, pa.ChunkedArray) else nbests
    if len(said) != len(lists):
        raise ValueError(f"{len(said):,} references and {len(lists):,} lists of alternatives")
    heard, of = large(lists.flatten()), pc.list_parent_indices(lists).to_numpy()
    is_missing = is_null(heard) | is_null(said)[of]
    found = _aligned(_Pairs(texts_of(said, of), texts_of(heard), is_missing), 1)
    there = np.flatnonzero(~is_missing)
    best_first = there[np.lexsort((found.counts[there, 0, 1:].sum(axis=1), of[there]))]
    best = best_first[np.diff(of[best_first], prepend=-1) > 0]
    counts = np.zeros((len(said), 4), np.int32)
    counts[of[best]] = found.counts[best, 0]
    return _errors(counts)


def runs(alignment: str) -> list[tuple[str, int]]:
    """Its symbols, in order, and how many of each."""
    return [(symbol, int(num)) for num, symbol in RUN.findall(alignment)]


def steps(alignments: Strings) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.uint8]]:
    """Where each alignment begins (N + 1,) among the words or characters of all; and of each of these the place of its
    symbol in `rows.ALIGNMENT_SYMBOLS`. A null has none.
    """
    _compile_steps()
    return _steps(alignments)


def _steps(alignments: Strings) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.uint8]]:
    from pipeline.evaluation.spans import expand, num_steps

    texts = texts_of(large(alignments))
    offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(num_steps(texts, True))])
    codes = np.empty(offsets[-1], np.uint8)
    expand(texts, offsets, codes)
    return offsets, codes


@cache
def _compile_steps() -> None:
    from pipeline.compiled import one_at_a_time

    with one_at_a_time():
        _steps(pa.array(["1="]))


def _errors(counts: npt.NDArray[np.int32]) -> Errors:
    return Errors(*(counts[:, kind].astype(np.int64) for kind in range(4)))


def _aligned(pairs: _Pairs, num_levels: int) -> _Found:
    _compile()
    parts = [_align_part(part, num_levels) for part in pairs.parts()]
    alignments = [pa.concat_arrays([part.alignments[level] for part in parts]) for level in range(num_levels)]
    return _Found(np.concatenate([part.counts for part in parts]), alignments)


@cache
def _compile() -> None:
    from pipeline.compiled import one_at_a_time

    nothing = texts_of(large(pa.array([""])))
    with one_at_a_time():
        _align_part(_Pairs(nothing, nothing, np.zeros(1, np.bool_)), 2)


def _align_part(pairs: _Pairs, num_levels: int) -> _Found:
    from pipeline.evaluation.levenshtein import LAST_POINT, Told, align_rows

    num = len(pairs.is_missing)
    sizes = pairs.said.ends - pairs.said.starts + pairs.heard.ends - pairs.heard.starts
    found = Told(
        np.zeros((num, num_levels, 4), np.int32),
        np.zeros((num_levels, num + 1), np.int32),
        np.empty((num_levels, 2 * sizes.sum()), np.uint8),  # a run takes two bytes a word at the most: "1S"
        np.zeros((num_levels, num), np.bool_),
    )
    align_rows(pairs.said, pairs.heard, pairs.is_missing, np.zeros(LAST_POINT + 1, np.int32), found)
    alignments = []
    for level in range(num_levels):
        told = found.told[level, : found.ends[level, -1]].copy()
        alignment = strings_of(found.ends[level], told, pairs.is_missing)
        rows = np.flatnonzero(found.is_divided[level])
        alignments.append(_asked(pairs, rows, level, found.counts, alignment) if len(rows) else alignment)
    return _Found(found.counts, alignments)


def _asked(
    pairs: _Pairs, rows: npt.NDArray[np.intp], level: int, counts: npt.NDArray[np.int32], alignment: pa.Array
) -> pa.Array:
    """Have jiwer count the rows that are too large; the alignments with theirs."""
    import jiwer

    process, told = (jiwer.process_words, jiwer.process_characters)[level], []
    for row in rows:
        said, heard = (
            " ".join(texts.data[texts.starts[row] : texts.ends[row]].tobytes().decode().split())
            for texts in (pairs.said, pairs.heard)
        )
        made = process(said, heard)
        counts[row, level] = made.hits, made.substitutions, made.deletions, made.insertions
        lengths = (
            (max(chunk.ref_end_idx - chunk.ref_start_idx, chunk.hyp_end_idx - chunk.hyp_start_idx), chunk.type)
            for chunk in made.alignments[0]
        )
        told.append("".join(f"{length}{SYMBOL_OF[kind]}" for length, kind in lengths))
    chosen = np.zeros(len(alignment), np.bool_)
    chosen[rows] = True
    return pc.replace_with_mask(alignment, pa.array(chosen), pa.array(told, pa.string()))
