"""Lines of n-grams in ARPA, compiled: bytes to word ids and weights.

Knows nothing of files; stops at the first fault and says of what kind it is.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.compiled import entry
from pipeline.lm.vocabulary import ENTRY, Bytes, Ints, find_word, hash_bytes, hash_encoded, insert_hashed

# Why `parse` stopped: the bytes or the room ran out, a section ended, or a fault.
MORE, SECTION, BAD_NUMBER, POSITIVE, WRONG_LENGTH, UNKNOWN_WORD, BAD_BACKOFF, BACKOFF_OF_LONGEST = range(8)
TAB, NEWLINE, RETURN, SPACE, BACKSLASH = 9, 10, 13, 32, 92
PLUS, MINUS, POINT, DIGIT, SMALL_E, LARGE_E = 43, 45, 46, 48, 101, 69
MOST_DIGITS = 18  # that fit in 64 bits; more do not change a number in single precision
EXACT_POWERS = 10.0 ** np.arange(23)  # of ten, without rounding: one division then rounds once

Floats = npt.NDArray[np.float32]


class Vocabulary(NamedTuple):
    """Words by their hashes, as compiled code finds them."""

    ints: Ints
    buckets: int

    @classmethod
    def of(cls, words: Sequence[bytes], ids: Sequence[int]) -> "Vocabulary":
        buckets = 2 * len(words) + 1
        ints = np.zeros(ENTRY * buckets, np.uint32)
        insert_hashed(ints, 0, buckets, hash_encoded(words), np.asarray(ids, np.int64))
        return cls(ints, buckets)


class Stop(NamedTuple):
    why: int
    rows: int  # n-grams that were read
    lines: int  # before the one that the reader stopped at
    at: int  # the first byte of that line
    start: int  # the bytes of the field at fault
    end: int


@entry
def _field_end(text: Bytes, at: int) -> int:
    while text[at] != SPACE and text[at] != TAB and text[at] != NEWLINE and text[at] != RETURN:
        at += 1
    return at


@entry
def _skip_spaces(text: Bytes, at: int) -> int:
    while text[at] == SPACE or text[at] == TAB or text[at] == RETURN:
        at += 1
    return at


@entry
def number(text: Bytes, start: int, end: int) -> float:
    """A decimal number, nan where it is none."""
    at, negative = start, False
    if at < end and (text[at] == MINUS or text[at] == PLUS):
        negative = text[at] == MINUS
        at += 1
    if end - at == 3 and text[at] | 32 == 105 and text[at + 1] | 32 == 110 and text[at + 2] | 32 == 102:  # inf
        return -np.inf if negative else np.inf
    mantissa, digits, exponent, seen, after_point = 0, 0, 0, False, False
    while at < end:
        digit: int = text[at] - DIGIT
        if 0 <= digit <= 9:
            seen = True
            if digits < MOST_DIGITS:
                mantissa = 10 * mantissa + digit
                digits += mantissa > 0
                exponent -= after_point
            elif not after_point:
                exponent += 1
        elif text[at] == POINT and not after_point:
            after_point = True
        else:
            break
        at += 1
    if seen and at < end and (text[at] == SMALL_E or text[at] == LARGE_E):
        at += 1
        sign, shift, seen = 1, 0, False
        if at < end and (text[at] == MINUS or text[at] == PLUS):
            sign = -1 if text[at] == MINUS else 1
            at += 1
        while at < end and DIGIT <= text[at] < DIGIT + 10:
            seen = True
            if shift < 9999:
                shift = 10 * shift + text[at] - DIGIT
            at += 1
        exponent += sign * shift
    if not seen or at < end:
        return np.nan
    value = np.float64(mantissa)
    while exponent < 0:
        step = min(-exponent, 22)
        value /= EXACT_POWERS[step]
        exponent += step
        if value == 0:
            break
    while exponent > 0 and value != 0 and value != np.inf:
        step = min(exponent, 22)
        value *= EXACT_POWERS[step]
        exponent -= step
    return -value if negative else value


@entry
def parse(
    text: Bytes,
    at: int,
    end: int,
    longest: bool,
    vocabulary: Vocabulary,
    words: npt.NDArray[np.uint32],
    log10: Floats,
    backoff: Floats,
) -> Stop:
    """Whole lines text[at:end] to rows of `words` (N, order) and its weights, until these are full."""
    order = words.shape[1]
    row, lines = 0, 0
    while at < end and row < len(words):
        start = _skip_spaces(text, at)
        if text[start] == NEWLINE:
            at = start + 1
            lines += 1
            continue
        if text[start] == BACKSLASH:
            return Stop(SECTION, row, lines, at, at, at)
        stop = _field_end(text, start)
        value = number(text, start, stop)
        if np.isnan(value):
            return Stop(BAD_NUMBER, row, lines, at, start, stop)
        if value > 0:
            return Stop(POSITIVE, row, lines, at, start, stop)
        log10[row] = value
        for place in range(order):
            start = _skip_spaces(text, stop)
            if text[start] == NEWLINE:
                return Stop(WRONG_LENGTH, row, lines, at, start, start)
            stop = _field_end(text, start)
            word = find_word(vocabulary.ints, 0, vocabulary.buckets, hash_bytes(text, start, stop))
            if word < 0:
                return Stop(UNKNOWN_WORD, row, lines, at, start, stop)
            words[row, place] = word
        start = _skip_spaces(text, stop)
        backoff[row] = 0
        if text[start] != NEWLINE:
            stop = _field_end(text, start)
            after = _skip_spaces(text, stop)
            if text[after] != NEWLINE:
                return Stop(WRONG_LENGTH, row, lines, at, start, stop)
            value = number(text, start, stop)
            if not np.isfinite(value):
                return Stop(BAD_BACKOFF, row, lines, at, start, stop)
            if longest and value != 0:
                return Stop(BACKOFF_OF_LONGEST, row, lines, at, start, stop)
            backoff[row] = value
            start = after
        at = start + 1
        lines += 1
        row += 1
    return Stop(MORE, row, lines, at, at, at)
