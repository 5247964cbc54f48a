"""A recording before it is read: where its bytes are, how much audio they may be, and which of them belong together.

What every source yields, whatever its input looks like.
"""

import posixpath
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

import pyarrow as pa

from pipeline import store
from pipeline.errors import RecordingError
from pipeline.records import WHOLE, Cut, Span

# Bytes per audio second by extension, to estimate durations before anything is decoded: 16 kHz mono for the
# lossless ones, the bit rates speech is commonly kept at for the others.
BYTES_PER_SECOND = {
    **dict.fromkeys(
        [
            ".wav",
            ".wave",
            ".aif",
            ".aiff",
            ".aifc",
            ".au",
            ".snd",
            ".w64",
            ".rf64",
            ".bwf",
            ".caf",
            ".sph",
            ".nist",
            ".voc",
        ],
        32_000,
    ),
    **dict.fromkeys([".flac", ".wv", ".ape", ".tta"], 17_000),
    **dict.fromkeys(
        [
            ".mp3",
            ".mp2",
            ".mpga",
            ".ogg",
            ".oga",
            ".m4a",
            ".m4b",
            ".aac",
            ".ac3",
            ".eac3",
            ".dts",
            ".wma",
            ".mka",
            ".weba",
        ],
        8_000,
    ),
    **dict.fromkeys([".opus", ".spx", ".amr", ".awb", ".gsm", ".3ga"], 4_000),
    # with pictures
    **dict.fromkeys(
        [
            ".mp4",
            ".m4v",
            ".mov",
            ".webm",
            ".mkv",
            ".avi",
            ".ts",
            ".mts",
            ".m2ts",
            ".mpg",
            ".mpeg",
            ".vob",
            ".wmv",
            ".asf",
            ".ogv",
            ".flv",
        ],
        100_000,
    ),
    **dict.fromkeys([".3gp", ".3g2", ".f4v", ".mxf"], 100_000),
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
    span: Span | None = None  # where in a tar shard; `size` is then given
    cut: Cut = WHOLE
    version: str | None = None  # of the file or shard, as `store.version_of` has it
    error: RecordingError | None = None  # why it cannot be read, where listing found out
    num_channels: int = 1  # that share its bytes, each an entry of its own

    @property
    def seconds(self) -> float:
        """Its duration, or what its size suggests."""
        if self.duration_s is not None:
            return self.duration_s
        if self.cut.length_s is not None:
            return self.cut.length_s
        if self.size is None:
            return UNKNOWN_DURATION_S
        extension = posixpath.splitext(self.span.member if self.span else self.uri)[1].lower()
        return self.size / BYTES_PER_SECOND.get(extension, UNKNOWN_BYTES_PER_SECOND) / self.num_channels


@dataclass(frozen=True)
class Piece:
    """Recordings that one unit must hold together, because reading one of them means reading all."""

    entries: list[Entry]
    shard: str | None = None  # units do not mix shards; None: loose files, which mix freely


class Source(Protocol):
    """An input, recognised."""

    @property
    def description(self) -> str:
        """What it was taken for: "12 audio files", "3 WebDataset shards"."""

    @property
    def schema(self) -> pa.Schema:
        """Of the passed-through columns: complete once `pieces` has been walked."""

    def pieces(self) -> Iterator[Piece]:
        """Walked once. What makes the input as a whole unusable is a `UsageError`; what is wrong with one recording,
        or one shard of many, is an entry with an `error`.
        """


def is_audio(path: str) -> bool:
    return posixpath.splitext(path)[1].lower() in BYTES_PER_SECOND


def url_of(files: Any, path: str) -> str:
    return path if store.is_local(files) else str(files.unstrip_protocol(path))
