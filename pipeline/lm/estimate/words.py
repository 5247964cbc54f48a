"""Bytes of text -> word ids, by a compiled tokeniser over a hash table that keeps every word's bytes.

Words are what stands between ASCII white space; ids count up from 3 by first appearance. Knows nothing of sentences
but that they end with a line.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.compiled import entry
from pipeline.errors import UsageError
from pipeline.lm.estimate.text import Block

UNK, BOS, EOS = 0, 1, 2
SPECIAL = ("<unk>", "<s>", "</s>")

_DONE, _FULL, _SPECIAL = 0, 1, 2  # why the tokeniser stopped

Ids = npt.NDArray[np.uint32]


class _Table(NamedTuple):
    """Open addressing: a slot holds a word's id plus one, and its hash beside it, so that most misses end there."""

    slots: npt.NDArray[np.uint32]
    hashes: npt.NDArray[np.uint64]
    text: npt.NDArray[np.uint8]  # all words, one after the other
    ends: npt.NDArray[np.int64]  # ends[id]: the end of a word in `text`, where the next begins
    frequencies: npt.NDArray[np.int64]  # by id


class Words:
    """The vocabulary, as it grows."""

    def __init__(self, skip_symbols: bool = False) -> None:
        self._skip_symbols = skip_symbols
        self._table = _empty_table(1 << 12, 1 << 16)
        self._num = 0
        for word in SPECIAL:
            self._ids(Block(word.encode() + b" ", "", 1), skip_symbols=True)
        self._table.frequencies[:] = 0

    def __len__(self) -> int:
        return self._num

    def ids(self, block: Block) -> Ids:
        """One id per word, and EOS for every line end."""
        return self._ids(block, self._skip_symbols)

    def frequencies(self) -> npt.NDArray[np.int64]:
        """How often each word occurs, index = id; zeros for the three special ones."""
        return self._table.frequencies[: self._num]

    def strings(self) -> list[str]:
        """Index = id."""
        text, ends = self._table.text[: self._text_used()].tobytes(), self._table.ends[: self._num].tolist()
        return [text[start:end].decode() for start, end in zip([0, *ends], ends, strict=False)]

    def _ids(self, block: Block, skip_symbols: bool) -> Ids:
        data = np.frombuffer(block.data, np.uint8)
        ids = np.empty(len(data), np.uint32)
        position = num_ids = 0
        while True:
            reason, position, num_ids, self._num = _tokenise(
                data, position, ids, num_ids, self._table, self._num, skip_symbols
            )
            if reason == _DONE:
                return ids[:num_ids]
            if reason == _SPECIAL:
                word = block.data[position:].split(maxsplit=1)[0].decode()
                raise UsageError(
                    f"{block.location}: line {block.line_of(position)} holds {word}, which means something to language "
                    "models; remove it, or set --skip-symbols to take it for a space"
                )
            self._grow(longest=len(data))

    def _grow(self, longest: int) -> None:
        """Room for twice as many words, or for more letters, whichever has run out."""
        old, used = self._table, self._text_used()
        text_size = len(old.text) if used + longest <= len(old.text) else 2 * used + longest
        num_slots = 2 * len(old.slots) if self._num == len(old.ends) else len(old.slots)
        new = _empty_table(num_slots, text_size)
        new.text[:used] = old.text[:used]
        new.ends[: self._num] = old.ends[: self._num]
        new.frequencies[: self._num] = old.frequencies[: self._num]
        _rehash(old.slots, old.hashes, new.slots, new.hashes)
        self._table = new

    def _text_used(self) -> int:
        return int(self._table.ends[self._num - 1]) if self._num else 0


def _empty_table(num_slots: int, text_size: int) -> _Table:
    return _Table(
        np.zeros(num_slots, np.uint32),
        np.zeros(num_slots, np.uint64),
        np.empty(text_size, np.uint8),
        np.zeros(num_slots // 2, np.int64),  # at most half of the slots are taken
        np.zeros(num_slots // 2, np.int64),
    )


@entry
def _tokenise(
    data: npt.NDArray[np.uint8],
    position: int,
    ids: Ids,
    num_ids: int,
    table: _Table,
    num: int,
    skip_symbols: bool,
) -> tuple[int, int, int, int]:
    """Goes on at `position`; returns why it stopped and where, the number of ids written, and of words known."""
    slots, hashes, text, ends, frequencies = table
    mask = np.uint64(len(slots) - 1)
    length = len(data)
    while position < length:
        byte = data[position]
        if byte <= 32 and (byte == 32 or 9 <= byte <= 13):
            if byte == 10:
                ids[num_ids] = EOS
                num_ids += 1
            position += 1
            continue
        end = position
        hashed = np.uint64(0xCBF29CE484222325)  # FNV-1a, mixed once more at the end for its low bits
        while end < length:
            byte = data[end]
            if byte <= 32 and (byte == 32 or 9 <= byte <= 13):
                break
            hashed = (hashed ^ np.uint64(byte)) * np.uint64(0x100000001B3)
            end += 1
        hashed ^= hashed >> np.uint64(32)
        size = end - position
        slot = np.int64(hashed & mask)
        while slots[slot]:
            if hashes[slot] == hashed:
                word = np.int64(slots[slot]) - 1
                start = ends[word - 1] if word else 0
                if ends[word] - start == size:
                    equal = True
                    for i in range(size):
                        if text[start + i] != data[position + i]:
                            equal = False
                            break
                    if equal:
                        break
            slot = (slot + 1) & np.int64(mask)
        if slots[slot]:
            word = np.int64(slots[slot]) - 1
        else:
            start = ends[num - 1] if num else 0
            if num >= len(ends) or start + size > len(text):
                return _FULL, position, num_ids, num
            word = np.int64(num)
            num += 1
            for i in range(size):
                text[start + i] = data[position + i]
            ends[word] = start + size
            slots[slot] = num
            hashes[slot] = hashed
        if word > EOS:
            ids[num_ids] = word
            num_ids += 1
            frequencies[word] += 1
        elif not skip_symbols:
            return _SPECIAL, position, num_ids, num
        position = end
    return _DONE, position, num_ids, num


@entry
def _rehash(slots: Ids, hashes: npt.NDArray[np.uint64], new_slots: Ids, new_hashes: npt.NDArray[np.uint64]) -> None:
    mask = np.uint64(len(new_slots) - 1)
    for old in range(len(slots)):
        if slots[old]:
            slot = np.int64(hashes[old] & mask)
            while new_slots[slot]:
                slot = (slot + 1) & np.int64(mask)
            new_slots[slot] = slots[old]
            new_hashes[slot] = hashes[old]
