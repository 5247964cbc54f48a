"""Words to ids and back, as KenLM's files keep them: by a 64-bit hash of the UTF-8 bytes, the words apart at the end.

Knows nothing of n-grams.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from pipeline.compiled import entry

UNKNOWN = "<unk>"
SHOUTED_UNKNOWN = "<UNK>"  # which KenLM takes for the same
U = np.uint64
ZERO, ONE, FOUR, EIGHT = U(0), U(1), U(4), U(8)
HALF, HALF_MASK = U(32), U(0xFFFFFFFF)
MURMUR, MURMUR_SHIFT = U(0xC6A4A7935BD1E995), U(47)
ENTRY = 3  # 32-bit integers in one entry of the vocabulary's hash table: the hash in two halves, the id

Bytes = npt.NDArray[np.uint8]
Ints = npt.NDArray[np.uint32]
Longs = npt.NDArray[np.uint64]


@entry
def hash_bytes(text: Bytes, start: int, end: int) -> np.uint64:
    """MurmurHash64A, seed 0, of text[start:end]."""
    length = end - start
    digest = U(length) * MURMUR
    at = start
    for _ in range(length // 8):
        block = ZERO
        for byte in range(8):
            block |= U(text[at + byte]) << U(8 * byte)
        block *= MURMUR
        block ^= block >> MURMUR_SHIFT
        block *= MURMUR
        digest = (digest ^ block) * MURMUR
        at += 8
    if at < end:
        block = ZERO
        for byte in range(end - at):
            block |= U(text[at + byte]) << U(8 * byte)
        digest = (digest ^ block) * MURMUR
    digest ^= digest >> MURMUR_SHIFT
    digest *= MURMUR
    return digest ^ (digest >> MURMUR_SHIFT)


@entry
def hash_all(text: Bytes, ends: npt.NDArray[np.int64]) -> Longs:
    """Of words that follow each other directly, by where each ends."""
    hashes = np.empty(len(ends), np.uint64)
    start = 0
    for number in range(len(ends)):
        hashes[number] = hash_bytes(text, start, ends[number])
        start = ends[number]
    return hashes


def hash_words(words: Sequence[str]) -> Longs:
    return hash_encoded([_encoded(word) for word in words])


def _encoded(word: str) -> bytes:
    try:
        return word.encode("utf-8", "surrogateescape")  # bytes of a file that are no UTF-8
    except UnicodeEncodeError:
        return word.encode("utf-8", "surrogatepass")  # in no file, so it will not be found


def hash_encoded(encoded: Sequence[bytes]) -> Longs:
    ends = np.cumsum(np.fromiter(map(len, encoded), np.int64, len(encoded)), dtype=np.int64)
    return np.asarray(hash_all(np.frombuffer(b"".join(encoded), np.uint8), ends))


@entry
def find_word(ints: Ints, start: int, buckets: int, key: np.uint64) -> np.int64:
    """The id of a word by its hash in a probing model's table, or -1."""
    slot = np.int64(key % U(buckets))
    for _ in range(buckets):  # a damaged table may be full
        at = start + ENTRY * slot
        found = U(ints[at]) | U(ints[at + 1]) << HALF
        if found == key:
            return np.int64(ints[at + 2])
        if found == ZERO:
            break
        slot += 1
        if slot == buckets:
            slot = np.int64(0)
    return np.int64(-1)


@entry
def find_hashed(ints: Ints, start: int, buckets: int, hashes: Longs) -> npt.NDArray[np.int64]:
    """Ids of words by their hashes in a probing model's table, 0 for unknown."""
    ids = np.zeros(len(hashes), np.int64)
    for number in range(len(hashes)):
        found = find_word(ints, start, buckets, hashes[number])
        if found > 0:
            ids[number] = found
    return ids


@entry
def insert_hashed(ints: Ints, start: int, buckets: int, hashes: Longs, ids: npt.NDArray[np.int64]) -> None:
    """Words into an empty table that has more buckets than there are words."""
    for number in range(len(hashes)):
        key = hashes[number]
        slot = np.int64(key % U(buckets))
        while ints[start + ENTRY * slot] != 0 or ints[start + ENTRY * slot + 1] != 0:
            slot += 1
            if slot == buckets:
                slot = np.int64(0)
        at = start + ENTRY * slot
        ints[at] = np.uint32(key & HALF_MASK)
        ints[at + 1] = np.uint32(key >> HALF)
        ints[at + 2] = np.uint32(ids[number])


def find_sorted(sorted_hashes: Longs, hashes: Longs) -> npt.NDArray[np.int64]:
    """Ids of words by their hashes in a trie's sorted vocabulary, 0 for unknown."""
    places = np.searchsorted(sorted_hashes, hashes)
    known = places < len(sorted_hashes)
    known[known] = sorted_hashes[places[known]] == hashes[known]
    return np.where(known, places + 1, 0).astype(np.int64)
