"""The characters and words of UTF-8 text, compiled: what `" ".join(text.split())` has, as numbers to be compared.

Knows nothing of what they are compared with.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.compiled import entry, inner

Points = npt.NDArray[np.int32]

SPACE = 32
MIX = np.uint64(0x9E3779B97F4A7C15)
SPREAD = np.uint64(29)
TABLE_ROOM = 2  # places in the table for each word, at least


class Texts(NamedTuple):
    """N texts within one buffer. The same bytes may be several texts."""

    data: npt.NDArray[np.uint8]
    starts: npt.NDArray[np.int64]  # (N,)
    ends: npt.NDArray[np.int64]


class Room(NamedTuple):
    """For a pair of texts, one after the other."""

    points: Points  # code points, white space collapsed
    starts: Points  # of each word, its first point
    ends: Points  # and the one behind its last
    hashes: npt.NDArray[np.uint64]  # of each word
    words: Points  # the same number for the same word
    table: Points  # a word's place among the words plus one, by its hash; as long as a power of two


@entry
def make_room(most: int) -> Room:
    """For two texts of so many bytes together."""
    size = 4
    while size < TABLE_ROOM * most:
        size *= 2
    return Room(
        np.empty(most, np.int32),
        np.empty(most, np.int32),
        np.empty(most, np.int32),
        np.empty(most, np.uint64),
        np.empty(most, np.int32),
        np.empty(size, np.int32),
    )


@inner
def is_space(point: int) -> bool:
    """As `str.isspace`."""
    if point < 0x85:
        return point == 32 or 9 <= point <= 13 or 28 <= point <= 31
    if point < 0x2000:
        return point == 0x85 or point == 0xA0 or point == 0x1680
    if point > 0x3000:
        return False
    return point <= 0x200A or point in (0x2028, 0x2029, 0x202F, 0x205F, 0x3000)


@inner
def decode(data: npt.NDArray[np.uint8], i: int) -> tuple[int, int]:
    """The code point at a byte of valid UTF-8, and where the next begins."""
    lead = int(data[i])
    if lead < 0x80:
        return lead, i + 1
    if lead < 0xE0:
        return (lead & 0x1F) << 6 | data[i + 1] & 0x3F, i + 2
    if lead < 0xF0:
        return (lead & 0x0F) << 12 | (data[i + 1] & 0x3F) << 6 | data[i + 2] & 0x3F, i + 3
    high = (lead & 0x07) << 18 | (data[i + 1] & 0x3F) << 12
    return high | (data[i + 2] & 0x3F) << 6 | data[i + 3] & 0x3F, i + 4


@inner
def read(texts: Texts, row: int, room: Room, num_points: int, num_words: int) -> tuple[int, int]:
    """Put a text behind what is there; how many points and words there are then."""
    i, end = texts.starts[row], texts.ends[row]
    first, in_word, hashed = num_points, False, MIX
    while i < end:
        point, i = decode(texts.data, i)
        if is_space(point):
            if in_word:
                room.ends[num_words], room.hashes[num_words] = num_points, hashed
                num_words += 1
                in_word = False
            continue
        if not in_word:
            if num_points > first:
                room.points[num_points] = SPACE
                num_points += 1
            room.starts[num_words] = num_points
            in_word, hashed = True, MIX
        room.points[num_points] = point
        num_points += 1
        hashed = (hashed ^ np.uint64(point)) * MIX
        hashed ^= hashed >> SPREAD
    if in_word:
        room.ends[num_words], room.hashes[num_words] = num_points, hashed
        num_words += 1
    return num_points, num_words


@inner
def name_words(room: Room, num_words: int) -> None:
    """The same word gets the same number, another word another; a hash only says where to look."""
    size = 4
    while size < TABLE_ROOM * num_words:
        size *= 2
    room.table[:size] = 0
    for word in range(num_words):
        place = np.int64(room.hashes[word] & np.uint64(size - 1))
        while room.table[place] and not _is_same(room, room.table[place] - 1, word):
            place = (place + 1) & (size - 1)
        if not room.table[place]:
            room.table[place] = word + 1
        room.words[word] = room.table[place]


@inner
def _is_same(room: Room, a: int, b: int) -> bool:
    length = int(room.ends[a] - room.starts[a])
    if room.hashes[a] != room.hashes[b] or room.ends[b] - room.starts[b] != length:
        return False
    i, j = room.starts[a], room.starts[b]
    k = 0
    while k < length and room.points[i + k] == room.points[j + k]:
        k += 1
    return k == length
