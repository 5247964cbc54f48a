"""What a library found in a file before it decodes any of it.

Knows nothing of either library.
"""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from pipeline.records import AudioArray

BLOCK_SAMPLES = 2**17  # of all channels together: half a MB, which a processor's cache holds


class Track(NamedTuple):
    rate: int  # Hz
    num_channels: int
    num_frames: int | None  # that are there; None: only decoding tells
    declared: float | None  # frames by the header, cut off or not; None: it makes no claim
    is_pcm16: bool
    read: Callable[[int, int, bool], Iterator[AudioArray]]  # from a frame to before another, int16 or float32: (T, C)


def last_page_ends(file: Any) -> bool:
    """Whether an Ogg stream says that it ends where it ends; one that was cut off does not."""
    file.seek(max(0, file.seek(0, 2) - 2**16))  # no page is longer
    tail = file.read(2**16)
    last = tail.rfind(b"OggS")
    return 0 <= last < len(tail) - 5 and bool(tail[last + 5] & 4)
