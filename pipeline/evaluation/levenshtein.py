"""Pairs of texts aligned with the fewest errors, compiled; of several ways the one that rapidfuzz, and so jiwer, takes.

The matrix of distances is kept as differences between neighbours, 64 to a machine word (Myers 1999, Hyyrö 2003).
Knows nothing of Arrow, or of what rates are made.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.compiled import entry, inner
from pipeline.evaluation.rows import ALIGNMENT_SYMBOLS
from pipeline.evaluation.tokens import Points, Texts, make_room, name_words, read

Bits = npt.NDArray[np.uint64]

EQUAL, SUBSTITUTED, DELETED, INSERTED = range(4)  # in the order of ALIGNMENT_SYMBOLS
SYMBOLS = np.frombuffer(ALIGNMENT_SYMBOLS.encode(), np.uint8)
WORDS = 0  # the first level; characters are the second
LAST_POINT = 0x10FFFF

NONE, ONE, ALL, TOP = np.uint64(0), np.uint64(1), np.uint64(0xFFFF_FFFF_FFFF_FFFF), np.uint64(63)

# Where rapidfuzz no longer keeps the whole matrix but divides the texts, and other ties are broken.
DIVIDED_CELLS, DIVIDED_ROWS, DIVIDED_COLUMNS = 1 << 22, 10, 65


class Told(NamedTuple):
    """What is found of N pairs."""

    counts: npt.NDArray[np.int32]  # (N, 2, 4) of words and characters, by what happened to them
    ends: npt.NDArray[np.int32]  # (2, N + 1) of each pair's alignment, where it ends
    told: npt.NDArray[np.uint8]  # (2, room) the alignments, one after the other
    is_divided: npt.NDArray[np.bool_]  # (2, N) too large, nothing found: jiwer is to be asked


class Work(NamedTuple):
    seen: Points  # (code points and more) what a token is called in the pair at hand; 0 where it is not there
    names: Points  # (tokens heard)
    kinds: npt.NDArray[np.uint8]  # (tokens) of runs, the last first
    lengths: Points


@entry
def align_rows(references: Texts, texts: Texts, is_missing: npt.NDArray[np.bool_], seen: Points, found: Told) -> None:
    """Fill what is found of words, and where there is room for two levels, of characters. `seen` is zeros, one for each
    code point.
    """
    num_levels = len(found.ends)
    most = 2
    for row in range(len(is_missing)):
        most = max(most, references.ends[row] - references.starts[row] + texts.ends[row] - texts.starts[row] + 2)
    if most > len(seen):  # more words than there are code points
        seen = np.zeros(most, np.int32)
    room, work = (
        make_room(most),
        Work(seen, np.empty(most, np.int32), np.empty(most, np.uint8), np.empty(most, np.int32)),
    )
    matrix, masks = np.empty(1 << 10, np.uint64), np.empty(1 << 10, np.uint64)
    for row in range(len(is_missing)):
        for level in range(num_levels):
            found.ends[level, row + 1] = found.ends[level, row]
        if is_missing[row]:
            continue
        said_points, said_words = read(references, row, room, 0, 0)
        num_points, num_words = read(texts, row, room, said_points, said_words)
        name_words(room, num_words)
        for level in range(num_levels):
            tokens = room.words if level == WORDS else room.points
            num_said, num = (said_words, num_words) if level == WORDS else (said_points, num_points)
            before, behind = _trim(tokens, num_said, num)
            columns, rows = num_said - before - behind, num - num_said - before - behind
            blocks = (columns + 63) // 64
            if columns * rows >= DIVIDED_CELLS and columns >= DIVIDED_COLUMNS and rows >= DIVIDED_ROWS:
                found.is_divided[level, row] = True
                continue
            said, heard = tokens[before : num_said - behind], tokens[num_said + before : num - behind]
            num_names = _name(heard, work)
            matrix, masks = _at_least(matrix, 2 * (rows + 1) * blocks), _at_least(masks, (num_names + 1) * blocks)
            _mark(said, num_names, work, masks)
            for i in range(rows):
                work.seen[heard[i]] = 0
            _fill(rows, blocks, work.names, masks, matrix)
            num_runs = _walk(said, heard, matrix, work, before, behind)
            _tell(work, num_runs, found, level, row)


@entry
def _at_least(bits: Bits, size: int) -> Bits:
    return bits if len(bits) >= size else np.empty(2 * size, np.uint64)


@inner
def _trim(tokens: Points, num_said: int, num: int) -> tuple[int, int]:
    """How many are the same at the beginning, and of the rest at the end."""
    shorter, before, behind = min(num_said, num - num_said), 0, 0
    while before < shorter and tokens[before] == tokens[num_said + before]:
        before += 1
    while behind < shorter - before and tokens[num_said - 1 - behind] == tokens[num - 1 - behind]:
        behind += 1
    return before, behind


@inner
def _name(heard: Points, work: Work) -> int:
    """Number what was heard from 1; how many different there are."""
    num_names = 0
    for i in range(len(heard)):
        if not work.seen[heard[i]]:
            num_names += 1
            work.seen[heard[i]] = num_names
        work.names[i] = work.seen[heard[i]]
    return num_names


@inner
def _mark(said: Points, num_names: int, work: Work, masks: Bits) -> None:
    """Of everything heard, in which columns it was said. What was not heard is in row 0, which nobody reads."""
    blocks = (len(said) + 63) // 64
    masks[: (num_names + 1) * blocks] = NONE
    for j in range(len(said)):
        masks[work.seen[said[j]] * blocks + (j >> 6)] |= ONE << np.uint64(j & 63)


@inner
def _fill(rows: int, blocks: int, names: Points, masks: Bits, matrix: Bits) -> None:
    """Row by row, of every column whether the distance is one more than in the column before, or one less."""
    for block in range(blocks):
        matrix[2 * block], matrix[2 * block + 1] = ALL, NONE
    at = 2 * blocks
    for row in range(rows):
        mask = names[row] * blocks
        more_carry, less_carry = ONE, NONE
        for block in range(blocks):
            more, less = matrix[at - 2 * blocks], matrix[at - 2 * blocks + 1]
            same = masks[mask + block] | less_carry
            diagonal = (((same & more) + more) ^ more) | same | less
            down_more, down_less = less | ~(diagonal | more), diagonal & more
            shifted_more, shifted_less = (down_more << ONE) | more_carry, (down_less << ONE) | less_carry
            more_carry, less_carry = down_more >> TOP, down_less >> TOP
            matrix[at], matrix[at + 1] = shifted_less | ~(diagonal | shifted_more), shifted_more & diagonal
            at += 2


@inner
def _walk(said: Points, heard: Points, matrix: Bits, work: Work, before: int, behind: int) -> int:
    """From the end of both texts to their beginning; the number of runs.

    Of several best ways it takes what is deleted first, then what is substituted, inserted, and equal.
    """
    blocks, column, row, run = (len(said) + 63) // 64, len(said), len(heard), 0
    work.kinds[0], work.lengths[0] = EQUAL, behind
    while row or column:
        kind = INSERTED
        if column:
            at, bit = 2 * (row * blocks + ((column - 1) >> 6)), np.uint64((column - 1) & 63)
            if not row or (matrix[at] >> bit) & ONE:
                kind = DELETED
            elif not (matrix[at - 2 * blocks + 1] >> bit) & ONE:
                kind = EQUAL if said[column - 1] == heard[row - 1] else SUBSTITUTED
        column -= kind != INSERTED
        row -= kind != DELETED
        if kind != work.kinds[run]:
            run += 1
            work.kinds[run], work.lengths[run] = kind, 0
        work.lengths[run] += 1
    if work.kinds[run] != EQUAL:
        run += 1
        work.kinds[run], work.lengths[run] = EQUAL, 0
    work.lengths[run] += before
    return run + 1


@inner
def _tell(work: Work, num_runs: int, found: Told, level: int, row: int) -> None:
    """Count the runs and write them, the first first."""
    end = found.ends[level, row]
    for run in range(num_runs - 1, -1, -1):
        kind, length = work.kinds[run], work.lengths[run]
        if not length:
            continue
        found.counts[row, level, kind] += length
        limit = 10
        while limit <= length:
            limit *= 10
        while limit > 1:
            limit //= 10
            found.told[level, end] = 48 + length // limit % 10
            end += 1
        found.told[level, end] = SYMBOLS[kind]
        end += 1
    found.ends[level, row + 1] = end
