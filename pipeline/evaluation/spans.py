"""Alignments read again, compiled: every step of them, and what of the texts was confused.

Knows nothing of how they were found.
"""

import numpy as np
import numpy.typing as npt

from pipeline.compiled import entry, inner
from pipeline.evaluation.levenshtein import DELETED, EQUAL, INSERTED, SYMBOLS
from pipeline.evaluation.tokens import SPACE, Texts, decode

Numbers = npt.NDArray[np.int64]

NINE = 57
FITS = -1  # no row whose alignment is not of its texts


@entry
def num_steps(alignments: Texts, with_equal: bool) -> Numbers:
    """Of each alignment."""
    nums = np.zeros(len(alignments.starts), np.int64)
    for row in range(len(nums)):
        i = alignments.starts[row]
        while i < alignments.ends[row]:
            kind, length, i = _next_run(alignments, i)
            if with_equal or kind != EQUAL:
                nums[row] += length
    return nums


@entry
def expand(alignments: Texts, offsets: Numbers, codes: npt.NDArray[np.uint8]) -> None:
    """Write the place of each step's symbol among all, at its row's offset."""
    for row in range(len(alignments.starts)):
        i, at = alignments.starts[row], offsets[row]
        while i < alignments.ends[row]:
            kind, length, i = _next_run(alignments, i)
            codes[at : at + length] = kind
            at += length


@entry
def add_up_confidences(
    alignments: Texts, offsets: Numbers, confidences: npt.NDArray[np.float64], sums: npt.NDArray[np.float64]
) -> int:
    """Of the words heard, whose confidences lie from each row's offset: by confidence, in bins of equal width, add how
    many, their confidences and how many are right to sums (3, bins). NaN is not known, and not counted.

    The row whose words are not as many as its confidences, or FITS.
    """
    num_bins = sums.shape[1]
    for row in range(len(alignments.starts)):
        i, at = alignments.starts[row], offsets[row]
        while i < alignments.ends[row]:
            kind, length, i = _next_run(alignments, i)
            if kind == DELETED:
                continue
            if at + length > offsets[row + 1]:
                return row
            for confidence in confidences[at : at + length]:
                if not np.isnan(confidence):
                    place = min(max(int(confidence * num_bins), 0), num_bins - 1)
                    sums[0, place] += 1.0
                    sums[1, place] += confidence
                    sums[2, place] += kind == EQUAL
            at += length
        if at != offsets[row + 1]:
            return row
    return FITS


@entry
def confused_words(said: Texts, heard: Texts, alignments: Texts, spans: Numbers) -> int:
    """Fill (errors, 4) where each wrong word is, in what was said and in what was heard; of nothing an empty span.

    The row whose alignment is not of its texts, or FITS; likewise below.
    """
    num = 0
    for row in range(len(said.starts)):
        i, j, a = said.starts[row], heard.starts[row], alignments.starts[row]
        while a < alignments.ends[row]:
            kind, length, a = _next_run(alignments, a)
            for _ in range(length):
                first, after, other, behind = i, i, j, j
                if kind != INSERTED:
                    after = _end_of_word(said, row, i)
                    i = after + 1
                if kind != DELETED:
                    behind = _end_of_word(heard, row, j)
                    j = behind + 1
                if kind != EQUAL:
                    spans[num, 0], spans[num, 1], spans[num, 2], spans[num, 3] = first, after, other, behind
                    num += 1
        if not (_is_read(said, row, i) and _is_read(heard, row, j)):
            return row
    return FITS


@entry
def confused_points(said: Texts, heard: Texts, alignments: Texts, pairs: Numbers) -> int:
    """Fill (errors, 2) of each wrong character the code point said and that heard, plus one; 0 where there is none."""
    num = 0
    for row in range(len(said.starts)):
        i, j, a = said.starts[row], heard.starts[row], alignments.starts[row]
        while a < alignments.ends[row]:
            kind, length, a = _next_run(alignments, a)
            for _ in range(length):
                if (kind != INSERTED and i >= said.ends[row]) or (kind != DELETED and j >= heard.ends[row]):
                    return row
                point, other = -1, -1
                if kind != INSERTED:
                    point, i = decode(said.data, i)
                if kind != DELETED:
                    other, j = decode(heard.data, j)
                if kind != EQUAL:
                    pairs[num, 0], pairs[num, 1] = point + 1, other + 1
                    num += 1
        if i != said.ends[row] or j != heard.ends[row]:
            return row
    return FITS


@entry
def cut(data: npt.NDArray[np.uint8], starts: Numbers, offsets: Numbers) -> npt.NDArray[np.uint8]:
    """What begins at each start, one after the other."""
    pieces = np.empty(offsets[-1], np.uint8)
    for k in range(len(starts)):
        length = offsets[k + 1] - offsets[k]
        pieces[offsets[k] : offsets[k + 1]] = data[starts[k] : starts[k] + length]
    return pieces


@inner
def _next_run(alignments: Texts, i: int) -> tuple[int, int, int]:
    """Its kind and length, and where the next begins."""
    length = 0
    while alignments.data[i] <= NINE:
        length = 10 * length + int(alignments.data[i]) - 48
        i += 1
    kind = 0
    while SYMBOLS[kind] != alignments.data[i]:
        kind += 1
    return kind, length, i + 1


@inner
def _end_of_word(texts: Texts, row: int, i: int) -> int:
    """Behind the end of the text where no word begins."""
    if i >= texts.ends[row] or texts.data[i] == SPACE:
        return int(texts.ends[row]) + 1
    while i < texts.ends[row] and texts.data[i] != SPACE:
        i += 1
    return i


@inner
def _is_read(texts: Texts, row: int, i: int) -> bool:
    """Whether the next word would begin behind the end of the text."""
    return bool(i == texts.ends[row] + (texts.ends[row] > texts.starts[row]))
