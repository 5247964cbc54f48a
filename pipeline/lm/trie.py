"""KenLM's trie, plain, quantised, array-compressed or both: bit-packed records, from the newest word to the oldest.

A record holds a word, its weights (a probability and a backoff, or their places in tables of floats) and where the
records of the words before it begin; those end where the next record's begin. Of array-compressed pointers (Raj and
Whittaker 2003) a record holds the low bits, and a sorted array, for each value of the high bits, the first record that
has it. Knows nothing of the header, nor of words.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.compiled import inner
from pipeline.lm.kenlm_header import Header
from pipeline.lm.memory import float32, uint32, uint64
from pipeline.lm.tables import NO_EXTENSION, Backoffs, Lengths, StateWords, Tables, settle
from pipeline.lm.vocabulary import EIGHT, FOUR, ONE, ZERO, Longs, U

# Columns of `Layout.levels`, bytes and bits: where the records start; how many; bits of one, of its word, its pointer.
START, COUNT, WIDTH, WORD_BITS, NEXT_BITS = range(5)
# Bits of a place in the tables of probabilities and backoffs, and where these start; 0: weights are not quantised.
PROB_BITS, BACKOFF_BITS, PROBS, BACKOFFS = range(5, 9)
# The array of pointers' high bits: where it starts, and its length; 0: pointers are not compressed.
ARRAY, ARRAY_LENGTH = 9, 10
NUM_WORDS = 11  # of the vocabulary
NUM_COLUMNS = 12
PLACES = [START, PROBS, BACKOFFS, ARRAY]

VERSION_OF_QUANTISATION, VERSION_OF_ARRAYS = 2, 0
UNIGRAM = 16  # bytes: probability, backoff, first record of 2-grams
PADDING = 8  # bytes after each level, so that any of its bits can be read as part of 64
PLAIN_PROB_BITS, PLAIN_BACKOFF_BITS = U(31), U(32)  # the sign of a probability is known
ROW = U(8 * NUM_COLUMNS)  # bytes of one row of the levels
THREE, SIXTEEN = U(3), U(16)
IN_BYTE, SIGN, NONE = U(7), U(0x80000000), U(0xFFFFFFFFFFFFFFFF)
FEW = U(8)  # records that are searched one by one


@dataclass(frozen=True)
class Layout:
    """In bytes from the start of the file."""

    vocabulary: int  # the sorted hashes; before them stands how many there are
    unigrams: int
    levels: Longs  # (order - 1, NUM_COLUMNS) of 2-grams, 3-grams, ...
    size: int  # all but the words

    def at(self, address: int) -> Longs:
        """`levels` of a file that is mapped there."""
        levels = self.levels.copy()
        levels[:, PLACES] += np.uint64(address)
        return levels


class Damaged(Exception):
    """A field that no trie can have; its message says which."""


def layout(header: Header, data: npt.NDArray[np.uint8]) -> Layout:
    """Raises IndexError where the file ends before all settings are read."""
    counts, order = header.counts, header.order
    at = header.size + 8 + 8 * counts[0]
    levels = np.zeros((order - 1, NUM_COLUMNS), np.uint64)
    if header.is_quantised:
        at = _place_quantised(levels, data, at)
    unigrams = at
    at += (counts[0] + 2) * UNIGRAM  # one more for an <unk> that was not counted, one for the last one's end
    array_bits = 0
    if header.is_array_compressed and order > 2:
        version, array_bits = int(data[at]), int(data[at + 1])
        if version != VERSION_OF_ARRAYS:
            raise Damaged(f"version {version} of array-compressed pointers, not {VERSION_OF_ARRAYS}")
    word_bits = counts[0].bit_length()
    for level, count in enumerate(counts[1:]):
        middle = level < order - 2
        next_bits = counts[level + 2].bit_length() if middle else 0
        if middle and header.is_array_compressed:
            chopped = _chopped_bits(count + 1, counts[level + 2], array_bits)
            length = (counts[level + 2] >> (next_bits - chopped)) + 1
            next_bits -= chopped
            levels[level, [ARRAY, ARRAY_LENGTH]] = -(-at // 8) * 8 + 8, length
            at += 8 * (1 + length) + 7
        bits = int(levels[level, PROB_BITS]) or int(PLAIN_PROB_BITS)
        if middle:
            bits += int(levels[level, BACKOFF_BITS]) or int(PLAIN_BACKOFF_BITS)
        width = word_bits + bits + next_bits
        levels[level, [START, COUNT, WIDTH, WORD_BITS, NEXT_BITS]] = at, count, width, word_bits, next_bits
        levels[level, NUM_WORDS] = counts[0]
        at += ((1 + count) * width + 7) // 8 + PADDING
    return Layout(header.size + 8, unigrams, levels, at)


def _place_quantised(levels: Longs, data: npt.NDArray[np.uint8], at: int) -> int:
    """Fills in the columns of quantised weights; where their tables end."""
    version, prob_bits, backoff_bits = (int(byte) for byte in data[at : at + 3])
    if version != VERSION_OF_QUANTISATION:
        raise Damaged(f"version {version} of quantisation, not {VERSION_OF_QUANTISATION}")
    if not (0 < prob_bits <= 25 and 0 < backoff_bits <= 25):
        raise Damaged(f"{prob_bits} and {backoff_bits} bits of quantisation, not 1 to 25")
    at += 8
    for level in range(len(levels)):
        levels[level, [PROB_BITS, PROBS]] = prob_bits, at
        at += 4 << prob_bits
        if level < len(levels) - 1:
            levels[level, [BACKOFF_BITS, BACKOFFS]] = backoff_bits, at
            at += 4 << backoff_bits
    return at


def _chopped_bits(records: int, last: int, most: int) -> int:
    """How many high bits of pointers up to `last` an array replaces: the smallest file, as KenLM reckons it."""
    bits = last.bit_length()
    return min(range(min(bits, most) + 1), key=lambda chopped: (last >> (bits - chopped)) * 64 - records * chopped)


@inner
def column(row: np.uint64, number: int) -> np.uint64:
    return U(uint64(row + U(8 * number)))


@inner
def read(start: np.uint64, bit: np.uint64, bits: np.uint64) -> np.uint64:
    """Up to 57 bits, so many bits after an address."""
    return (U(uint64(start + (bit >> THREE))) >> (bit & IN_BYTE)) & ((ONE << bits) - ONE)


@inner
def as_float(bits: np.uint64) -> np.float32:
    return np.uint32(bits).view(np.float32)


@inner
def find(row: np.uint64, first: np.uint64, end: np.uint64, word: np.uint64) -> np.uint64:
    """The record of a word among the sorted records from `first` to before `end`, or NONE.

    Words are nearly uniform, because a trie numbers them by their hashes: interpolation finds them in few steps.
    """
    start, width, bits = column(row, START), column(row, WIDTH), column(row, WORD_BITS)
    lowest, above = ZERO, column(row, NUM_WORDS)  # the words from `first` to before `end` are in this range
    while end - first > FEW:
        share = np.float64(word - lowest) / np.float64(above - lowest)
        pivot = min(first + U(share * np.float64(end - first)), end - ONE)
        found = read(start, pivot * width, bits)
        if found < word:
            first, lowest = pivot + ONE, found + ONE
        elif found > word:
            end, above = pivot, found
        else:
            return pivot
        if word < lowest or word >= above or first > end:
            return NONE
    while first < end:
        found = read(start, first * width, bits)
        if found >= word:
            return first if found == word else NONE
        first += ONE
    return NONE


@inner
def last_not_above(array: np.uint64, length: np.uint64, value: np.uint64) -> np.uint64:
    """Where in a sorted array, whose first is 0, the last element is that is not above a value."""
    low, high = ZERO, length
    while high - low > ONE:
        middle = (low + high) >> ONE
        if uint64(array + EIGHT * middle) <= value:
            low = middle
        else:
            high = middle
    return low


@inner
def pointers(row: np.uint64, record: np.uint64, bit: np.uint64) -> tuple[np.uint64, np.uint64]:
    """The records of the next level that belong to this one: the first, and the one after the last."""
    start, next_bits, width = column(row, START), column(row, NEXT_BITS), column(row, WIDTH)
    first, end = read(start, bit, next_bits), read(start, bit + width, next_bits)
    length = column(row, ARRAY_LENGTH)
    if length != ZERO:
        array = column(row, ARRAY)
        high = last_not_above(array, length, record)
        first |= high << next_bits
        while high + ONE < length and uint64(array + EIGHT * (high + ONE)) <= record + ONE:
            high += ONE
        end |= high << next_bits
    return first, min(end, column(row + ROW, COUNT))  # a damaged pointer must not lead out of the file


@inner
def advance_trie(
    tables: Tables, words: StateWords, backoffs: Backoffs, lengths: Lengths, source: int, word: int, target: int
) -> np.float32:
    at = U(tables.unigrams) + SIXTEEN * U(word)
    value = float32(at)
    matched, kept = 0, 0
    words[target, 0] = word
    backoffs[target, 0] = float32(at + FOUR)
    if uint32(at + FOUR) != NO_EXTENSION:
        kept = 1
    row = U(tables.levels)
    first, end = uint64(at + EIGHT), min(uint64(at + EIGHT + SIXTEEN), column(row, COUNT))
    for level in range(lengths[source]):
        if first >= end:
            break
        record = find(row, first, end, U(words[source, level]))
        if record == NONE:
            break
        matched = level + 1
        start, bit = column(row, START), record * column(row, WIDTH) + column(row, WORD_BITS)
        prob_bits, backoff_bits = column(row, PROB_BITS), column(row, BACKOFF_BITS)
        if level == tables.order - 2:
            if prob_bits == ZERO:
                value = as_float(read(start, bit, PLAIN_PROB_BITS) | SIGN)
            else:
                value = float32(column(row, PROBS) + FOUR * read(start, bit, prob_bits))
            break
        if prob_bits == ZERO:
            value = as_float(read(start, bit, PLAIN_PROB_BITS) | SIGN)
            backoff = read(start, bit + PLAIN_PROB_BITS, PLAIN_BACKOFF_BITS)
            bit += PLAIN_PROB_BITS + PLAIN_BACKOFF_BITS
        else:
            backoff = U(uint32(column(row, BACKOFFS) + FOUR * read(start, bit, backoff_bits)))
            value = float32(column(row, PROBS) + FOUR * read(start, bit + backoff_bits, prob_bits))
            bit += backoff_bits + prob_bits
        backoffs[target, level + 1] = as_float(backoff)
        if backoff != U(NO_EXTENSION):
            kept = level + 2
        first, end = pointers(row, record, bit)
        row += ROW
    return settle(words, backoffs, lengths, source, target, value, matched, kept)
