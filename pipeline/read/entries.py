"""A recording before it is read: where its bytes are, how much audio they may be, and which of them belong together.

What every source yields, whatever its input looks like.
"""

import posixpath
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

import pyarrow as pa

from pipeline import store

# Bytes per audio second by extension, to estimate durations before anything is decoded: 16 kHz mono for the
# lossless ones, the bit rates speech is commonly kept at for the others.
BYTES_PER_SECOND = {
    **dict.fromkeys((".wav", ".aif", ".aiff", ".au", ".w64", ".caf", ".sph"), 32_000),
    ".flac": 17_000,
    **dict.fromkeys((".mp3", ".ogg", ".oga", ".m4a", ".mp4", ".aac", ".webm", ".mkv"), 8_000),
    ".opus": 4_000,
}
UNKNOWN_BYTES_PER_SECOND = 16_000
UNKNOWN_DURATION_S = 10.0  # where not even a size is known


@dataclass(slots=True)
class Entry:
    """One recording of an input: where its bytes are and what is known of it before it is read."""

    id: str
    uri: str
    row: int | None = None
    size: int | None = None  # bytes, compressed
    duration_s: float | None = None
    reference: str | None = None
    columns: dict[str, Any] = field(default_factory=dict)

    @property
    def seconds(self) -> float:
        """Its duration, or what its size suggests."""
        if self.duration_s is not None:
            return self.duration_s
        if self.size is None:
            return UNKNOWN_DURATION_S
        extension = posixpath.splitext(self.uri)[1].lower()
        return self.size / BYTES_PER_SECOND.get(extension, UNKNOWN_BYTES_PER_SECOND)


@dataclass(frozen=True)
class Piece:
    """Recordings that one unit must hold together, because reading one of them means reading all."""

    entries: list[Entry]
    shard: str | None = None  # units do not mix shards; None: loose files, which mix freely


class Source(Protocol):
    description: str  # what the input was taken for
    schema: pa.Schema  # of the passed-through columns

    def pieces(self) -> Iterator[Piece]: ...


def is_audio(path: str) -> bool:
    return posixpath.splitext(path)[1].lower() in BYTES_PER_SECOND


def url_of(files: Any, path: str) -> str:
    return path if store.is_local(files) else str(files.unstrip_protocol(path))
