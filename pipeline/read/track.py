"""What a library found in a file before it decodes any of it.

Knows nothing of either library.
"""

import re
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from pipeline.records import AudioArray

BLOCK_SAMPLES = 2**17  # of all channels together: half a MB, which a processor's cache holds


_PAGE = re.compile(rb"OggS\0([\0-\7])")  # and its flags: 2 is for the first of a stream, 4 for the last


class Track(NamedTuple):
    rate: int  # Hz
    num_channels: int
    num_frames: int | None  # that are there; None: only decoding tells
    declared: float | None  # frames by the header, cut off or not; None: it makes no claim
    is_pcm16: bool
    read: Callable[[int, int, bool], Iterator[AudioArray]]  # from a frame to before another, int16 or float32: (T, C)


def is_chained(file: Any) -> bool:
    """Whether the last page of an Ogg file is of another stream than the first: one was put behind the other."""
    file.seek(0)
    head = file.read(18)
    tail, last = _last_page(file)
    return last >= 0 and tail[last + 14 : last + 18] != head[14:18]


def has_another_link(file: Any, start: int) -> bool:
    """Whether, from there on, an Ogg page begins a stream after one that does not."""
    position = file.tell()
    try:
        file.seek(max(0, start))
        piece, has_begun = b"", False
        while more := file.read(2**20):
            piece = piece[-5:] + more
            for page in _PAGE.finditer(piece):
                if has_begun and page[1][0] & 2:
                    return True
                has_begun = has_begun or not page[1][0] & 2
        return False
    finally:
        file.seek(position)


def last_page_ends(file: Any) -> bool:
    """Whether an Ogg stream says that it ends where it ends; one that was cut off does not."""
    tail, last = _last_page(file)
    return last >= 0 and bool(tail[last + 5] & 4)


def _last_page(file: Any) -> tuple[bytes, int]:
    """The end of a file, and where in it the header of the last page begins; -1: nowhere."""
    file.seek(max(0, file.seek(0, 2) - 2**16))  # no page is longer
    tail = file.read(2**16)
    return tail, tail.rfind(b"OggS", 0, len(tail) - 14)
