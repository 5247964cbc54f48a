"""KenLM's probing model: a hash table per order, found by a hash of the words from the newest to the oldest.

Knows nothing of the header, nor of words.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.compiled import inner
from pipeline.lm.memory import float32, uint32, uint64
from pipeline.lm.tables import NO_EXTENSION, Backoffs, Lengths, StateWords, Tables, settle
from pipeline.lm.vocabulary import EIGHT, FOUR, ONE, ZERO, Longs, U

START, BUCKETS = 0, 1  # columns of `Layout.levels`
ROW = U(16)  # bytes of one row of it
VOCABULARY_ENTRY, UNIGRAM, MIDDLE_ENTRY, LONGEST_ENTRY = 12, 8, 16, 12  # bytes, of which 8 are the key
MIDDLE, LONGEST = U(MIDDLE_ENTRY), U(LONGEST_ENTRY)
SIGN = np.uint32(0x80000000)
NEWER_FACTOR, WORD_FACTOR = U(8978948897894561157), U(17894857484156487943)


@dataclass(frozen=True)
class Layout:
    """In bytes from the start of the file; all are multiples of four."""

    vocabulary: int  # the table of words; before it stand its version and the number of words
    vocabulary_buckets: int
    unigrams: int
    levels: Longs  # (order - 1, 2): START and number of BUCKETS of the tables of 2-grams, 3-grams, ...
    size: int  # all but the words

    def at(self, address: int) -> Longs:
        """`levels` of a file that is mapped there."""
        return self.levels + np.array([address, 0], np.uint64)


def layout(header_size: int, counts: Sequence[int], multiplier: np.float32) -> Layout:
    vocabulary = header_size + 8
    unigrams = vocabulary + buckets(counts[0], multiplier) * VOCABULARY_ENTRY
    at = unigrams + (counts[0] + 1) * UNIGRAM  # one more, for an <unk> that was not counted
    levels = np.zeros((len(counts) - 1, 2), np.uint64)
    for level, count in enumerate(counts[1:]):
        levels[level] = at, buckets(count, multiplier)
        at += buckets(count, multiplier) * (LONGEST_ENTRY if level == len(levels) - 1 else MIDDLE_ENTRY)
    return Layout(vocabulary, buckets(counts[0], multiplier), unigrams, levels, at)


def buckets(entries: int, multiplier: np.float32) -> int:
    # KenLM multiplies in single precision: in double, tables of more than 16 million entries would differ.
    return max(entries + 1, int(multiplier * np.float32(entries)))


@inner
def combine(newer: np.uint64, word: np.uint64) -> np.uint64:
    """The key of an n-gram from the key of its newer words and its oldest word; of one word it is the id."""
    return (newer * NEWER_FACTOR) ^ ((ONE + word) * WORD_FACTOR)


@inner
def find(start: np.uint64, num_buckets: np.uint64, entry: np.uint64, key: np.uint64) -> np.uint64:
    """The address of an entry's probability, or 0."""
    slot = key % num_buckets
    for _ in range(num_buckets):  # a damaged table may be full
        at = start + slot * entry
        found = uint64(at)
        if found == key:
            return at + EIGHT
        if found == ZERO:
            break
        slot += ONE
        if slot == num_buckets:
            slot = ZERO
    return ZERO


@inner
def advance_probing(
    tables: Tables, words: StateWords, backoffs: Backoffs, lengths: Lengths, source: int, word: int, target: int
) -> np.float32:
    key = U(word)
    at = U(tables.unigrams) + EIGHT * key
    bits = uint32(at)  # a set sign says: no n-gram of the file ends in these words with one more before them
    value = -abs(float32(at))
    matched, kept = 0, 0
    words[target, 0] = word
    backoffs[target, 0] = float32(at + FOUR)
    if uint32(at + FOUR) != NO_EXTENSION:
        kept = 1
    row = U(tables.levels)
    for level in range(lengths[source]):
        if bits & SIGN:
            break
        key = combine(key, U(words[source, level]))
        start, num_buckets = uint64(row), uint64(row + EIGHT)
        row += ROW
        if level == tables.order - 2:
            at = find(start, num_buckets, LONGEST, key)
            if at != ZERO:
                value = float32(at)
                matched = level + 1
            break
        at = find(start, num_buckets, MIDDLE, key)
        if at == ZERO:
            break
        bits = uint32(at)
        value = -abs(float32(at))
        matched = level + 1
        backoffs[target, level + 1] = float32(at + FOUR)
        if uint32(at + FOUR) != NO_EXTENSION:
            kept = level + 2
    return settle(words, backoffs, lengths, source, target, value, matched, kept)
