"""Writing KenLM's probing format, which KenLM itself and this program map without reading.

Equal to `build_binary probing` byte for byte where <unk> is listed and each n-gram's newer words are listed too; knows
nothing of where the n-grams come from.
"""

import mmap
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pipeline.compiled import entry
from pipeline.errors import UsageError
from pipeline.lm import probing
from pipeline.lm.kenlm_header import MAX_ORDER, header_size, write_header
from pipeline.lm.ngrams import Order
from pipeline.lm.probing import BUCKETS, LONGEST_ENTRY, MIDDLE_ENTRY, SIGN, START, combine
from pipeline.lm.tables import NO_EXTENSION
from pipeline.lm.vocabulary import HALF, HALF_MASK, ONE, UNKNOWN, ZERO, Ints, Longs, U, hash_words, insert_hashed

MULTIPLIERS = (1.5, 3.0, 6.0, 12.0)  # buckets per entry: KenLM's default, more where blanks are many
DONE, NO_CONTEXT, FULL = range(3)
INT = 4  # bytes of the integers that the file is written in
MIDDLE_INTS, LONGEST_INTS, TWO = U(MIDDLE_ENTRY // INT), U(LONGEST_ENTRY // INT), U(2)
ZERO_BACKOFF = np.uint32(0)  # bits of +0.0, which says that n-grams of the file begin with these words

Floats = npt.NDArray[np.float32]


class _Full(Exception):
    """More blanks than the tables have room for."""


def write_binary(path: Path, words: Sequence[str], orders: Sequence[Order], name: str | None = None) -> None:
    """words[0] is <unk>; every n-gram's older words are an n-gram of the order below.

    `name` is what the user calls the model, where that is not the path.
    """
    fault = f"language model {name or path}"
    if not 2 <= len(orders) <= MAX_ORDER:
        raise UsageError(f"{fault}: KenLM's format has orders 2 to {MAX_ORDER}, not {len(orders)}")
    if not words or words[0] != UNKNOWN or orders[0].num != len(words):
        raise ValueError(f"the first order must hold every word once, {UNKNOWN} first")
    try:
        for multiplier in MULTIPLIERS:
            with suppress(_Full):
                _write(path, words, orders, np.float32(multiplier), fault)
                return
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    path.unlink()
    raise UsageError(
        f"{fault}: too many n-grams end in words that are no n-gram of the order below; "
        "prune so that an n-gram goes only with all longer ones that end in it"
    )


def _write(path: Path, words: Sequence[str], orders: Sequence[Order], multiplier: np.float32, fault: str) -> None:
    counts = [order.num for order in orders]
    layout = probing.layout(header_size(len(counts)), counts, multiplier)
    with _zeroed(path, layout.size) as data:
        ints, floats = data.view(np.uint32), data.view(np.float32)
        vocabulary, unigrams = layout.vocabulary // INT, layout.unigrams // INT
        levels = layout.levels // np.array([INT, 1], np.uint64)
        ints[vocabulary - 1] = len(words)
        hashes, ids = hash_words(words[1:]), np.arange(1, len(words))
        insert_hashed(ints, vocabulary, layout.vocabulary_buckets, hashes, ids)
        _write_unigrams(floats[unigrams:][: 2 * len(words)].reshape(-1, 2), orders[0])
        used = np.zeros(len(levels), np.uint64)
        for order in orders[1:]:
            num = 0
            for piece in order.pieces():
                num += len(piece.words)
                if num > order.num:
                    break
                status, row = _insert(ints, floats, unigrams, levels, used, *piece)
                if status == FULL:
                    raise _Full
                if status == NO_CONTEXT:
                    ngram = [words[word] for word in piece.words[row]]
                    raise UsageError(
                        f"{fault}: the {order.order}-gram '{' '.join(ngram)}' is listed, but '{' '.join(ngram[:-1])}' "
                        f"is not among the {order.order - 1}-grams: KenLM's format needs the context of every n-gram"
                    )
            if num != order.num:
                raise ValueError(f"{num:,} {order.order}-grams or more where {order.num:,} were announced")
        header = write_header(counts, float(multiplier))
        data[: len(header)] = np.frombuffer(header, np.uint8)
    with open(path, "ab") as file:
        for start in range(0, len(words), 1 << 16):
            file.write(b"".join(word.encode("utf-8", "surrogateescape") + b"\0" for word in words[start:][: 1 << 16]))


@contextmanager
def _zeroed(path: Path, size: int) -> Iterator[npt.NDArray[np.uint8]]:
    """A new file of zeros, mapped for writing and on the disk at the end."""
    with open(path, "w+b") as file:
        if hasattr(os, "posix_fallocate"):  # a full disk is an error here; on writing to a map, it kills
            os.posix_fallocate(file.fileno(), 0, size)
        else:  # macOS
            file.truncate(size)
        mapped = mmap.mmap(file.fileno(), size)
        yield np.frombuffer(mapped, np.uint8)
        mapped.flush()


def _write_unigrams(unigrams: Floats, order: Order) -> None:
    """unigrams (num_words, 2): probability, backoff."""
    at = 0
    for piece in order.pieces():
        rows = unigrams[at : at + len(piece.words)]
        rows[:, 0] = piece.log10
        rows[:, 1] = np.where(piece.backoff == 0, np.float32(-0.0), piece.backoff)  # until it is seen as a context
        at += len(piece.words)
    if at != len(unigrams):
        raise ValueError(f"{at:,} words in the first order where there should be {len(unigrams):,}")


@entry
def _slot(
    ints: Ints, start: np.uint64, buckets: np.uint64, stride: np.uint64, key: np.uint64
) -> tuple[np.uint64, bool]:
    """Where a key is, or should be put, and whether it is there. The table is never full."""
    slot = key % buckets
    while True:
        at = start + slot * stride
        found = U(ints[at]) | (U(ints[at + ONE]) << HALF)
        if found == key or found == ZERO:  # noqa: SIM109
            return at, found == key
        slot += ONE
        if slot == buckets:
            slot = ZERO


@entry
def _insert(
    ints: Ints,
    floats: Floats,
    unigrams: int,
    levels: Longs,
    used: Longs,
    words: npt.NDArray[np.uint32],
    log10: Floats,
    backoff: Floats,
) -> tuple[int, int]:
    """n-grams, one order after the other, and what follows for shorter ones: the probability of their newer words loses
    its sign, because a longer n-gram ends in them; a zero backoff of their older words becomes positive, because a
    longer one begins with them.

    Newer words that are no n-gram themselves get a blank: the probability that backing off would give them.
    """
    order = words.shape[1]
    keys = np.empty(order, np.uint64)  # of the newest 1, 2, ... words
    blanks = np.empty(order, np.uint64)
    top = order - 2
    longest = top == len(levels) - 1
    for row in range(len(words)):
        keys[0] = words[row, order - 1]
        for newer in range(1, order):
            keys[newer] = combine(keys[newer - 1], U(words[row, order - 1 - newer]))
        used[top] += ONE
        if used[top] >= levels[top, BUCKETS]:
            return FULL, row
        stride = LONGEST_INTS if longest else MIDDLE_INTS
        at = _vacant(ints, levels[top, START], levels[top, BUCKETS], stride, keys[order - 1])
        _put(ints, at, keys[order - 1])
        floats[at + TWO] = log10[row]
        ints[at + TWO] |= SIGN
        if not longest:
            floats[at + TWO + ONE] = backoff[row]
            if backoff[row] == 0:
                ints[at + TWO + ONE] = NO_EXTENSION

        basis = order - 1  # words of the longest n-gram there is that ends this one
        below = U(unigrams) + TWO * keys[0]
        while basis > 1:
            level = basis - 2
            at, there = _slot(ints, levels[level, START], levels[level, BUCKETS], MIDDLE_INTS, keys[basis - 1])
            if there:
                below = at + TWO
                break
            used[level] += ONE
            if used[level] >= levels[level, BUCKETS]:
                return FULL, row
            _put(ints, at, keys[basis - 1])
            ints[at + TWO + ONE] = NO_EXTENSION
            blanks[basis] = at + TWO
            basis -= 1
        value = -abs(floats[below])
        ints[below] &= ~SIGN

        for length in range(basis, order - 1):  # words of the context that a blank of one more is backed off from
            at = _backoff_place(ints, unigrams, levels, words, row, length)
            if at != ZERO:
                if floats[at] == 0:
                    ints[at] = ZERO_BACKOFF
                value += floats[at]
            at = blanks[length + 1]
            floats[at] = value
            ints[at] &= ~SIGN

        at = _backoff_place(ints, unigrams, levels, words, row, order - 1)
        if at == ZERO:
            return NO_CONTEXT, row
        if floats[at] == 0:
            ints[at] = ZERO_BACKOFF
    return DONE, 0


@entry
def _backoff_place(
    ints: Ints, unigrams: int, levels: Longs, words: npt.NDArray[np.uint32], row: int, length: int
) -> np.uint64:
    """Where the backoff stands of so many words before the newest of a row, or 0."""
    newest = words.shape[1] - 2
    key = U(words[row, newest])
    if length == 1:
        return U(unigrams) + TWO * key + ONE
    for older in range(1, length):
        key = combine(key, U(words[row, newest - older]))
    at, there = _slot(ints, levels[length - 2, START], levels[length - 2, BUCKETS], MIDDLE_INTS, key)
    return at + TWO + ONE if there else ZERO


@entry
def _vacant(ints: Ints, start: np.uint64, buckets: np.uint64, stride: np.uint64, key: np.uint64) -> np.uint64:
    """The first free place for a key, even where it is there already: of doubles the first counts."""
    slot = key % buckets
    while ints[start + slot * stride] != 0 or ints[start + slot * stride + ONE] != 0:
        slot += ONE
        if slot == buckets:
            slot = ZERO
    return start + slot * stride


@entry
def _put(ints: Ints, at: np.uint64, key: np.uint64) -> None:
    ints[at] = np.uint32(key & HALF_MASK)
    ints[at + ONE] = np.uint32(key >> HALF)
