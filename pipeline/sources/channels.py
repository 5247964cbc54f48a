"""A recording for each channel of a file: what `read.channels = "each"` makes of what a source lists.

A file of one channel stays one recording under its own id; of more, `a` becomes `a:0`, `a:1` and so on. Knows nothing
of formats: the guarded decoder counts, from the first bytes of each file.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from typing import Any

from pipeline.config import ReadConfig
from pipeline.errors import RecordingError
from pipeline.read.blob import Blob
from pipeline.read.fetch import fetch
from pipeline.read.guard import Guard, Limits
from pipeline.read.loose import in_ranges
from pipeline.read.ranged import UnreadableError
from pipeline.records import Recording
from pipeline.shards import tars
from pipeline.shards.place import Place
from pipeline.sources.entries import Entry, Piece

WINDOW = 256  # entries that are looked into before the first of them is given out
NUM_AT_ONCE = 32  # requests to a store

_Key = tuple[Any, ...]  # of what is decoded as one: a file, a member, a row


def expand(pieces: Iterable[Piece], config: ReadConfig) -> Iterator[Piece]:
    """The same pieces, lazily and in their order. What names a channel, or cannot be looked into, stays as it is."""
    if config.channels != "each":
        yield from pieces
        return
    guard = Guard(Limits.of(config))
    known: dict[_Key, int] = {}
    try:
        with ThreadPoolExecutor(NUM_AT_ONCE, "probe") as threads:
            for window in _windows(pieces):
                wanted = {_key(entry): entry for piece in window for entry in piece.entries if _is_open(entry)}
                counted = {key: known[key] for key in wanted.keys() & known.keys()}
                left = {key: entry for key, entry in wanted.items() if key not in known}
                known = counted | _counted(left, guard, threads, config)
                yield from (Piece([o for e in piece.entries for o in _each(e, known)], piece.shard) for piece in window)
    finally:
        guard.stop()


def _windows(pieces: Iterable[Piece]) -> Iterator[list[Piece]]:
    window: list[Piece] = []
    for piece in pieces:
        window.append(piece)
        if sum(len(one.entries) for one in window) >= WINDOW:
            yield window
            window = []
    yield window


def _is_open(entry: Entry) -> bool:
    return entry.cut.channel is None and entry.error is None


def _key(entry: Entry) -> _Key:
    return entry.uri, entry.row, entry.span


def _each(entry: Entry, known: dict[_Key, int]) -> list[Entry]:
    count = known.get(_key(entry)) if _is_open(entry) else None
    if count is None:
        return [entry]
    cuts = [entry.cut._replace(channel=channel) for channel in range(count)]
    if count == 1:
        return [replace(entry, cut=cuts[0])]
    return [replace(entry, id=f"{entry.id}:{cut.channel}", cut=cut, num_channels=count) for cut in cuts]


def _counted(
    wanted: dict[_Key, Entry], guard: Guard, threads: ThreadPoolExecutor, config: ReadConfig
) -> dict[_Key, int]:
    """How many channels each has; none for what cannot be looked into, which fails when it is read."""
    counts: dict[_Key, int | None] = {}
    passes: dict[str, list[Entry]] = defaultdict(list)
    ranged = []
    for entry in wanted.values():
        if entry.row is not None or (entry.span is not None and tars.is_compressed(entry.uri)):
            passes[entry.uri].append(entry)
        else:
            ranged.append(entry)
    heads = threads.map(lambda entry: _head(entry, config), ranged)
    for entry, data in zip(ranged, heads, strict=True):
        counts[_key(entry)] = _count(guard, data)
    for entries in passes.values():
        recordings = [Recording("", e.uri, e.row, span=e.span, size=e.size) for e in entries]
        with closing(fetch(recordings, config)) as fetched:
            for recording, data in fetched:
                counts[recording.uri, recording.row, recording.span] = _count(guard, data)
    return {key: count for key, count in counts.items() if count is not None}


def _head(entry: Entry, config: ReadConfig) -> bytes | Blob | RecordingError:
    """What begins with the file's first bytes and can be asked for more."""
    try:
        return in_ranges(Place.of(entry.uri, config), entry.span.start if entry.span else 0, entry.size)
    except RecordingError as error:
        return error


def _count(guard: Guard, data: bytes | Blob | RecordingError) -> int | None:
    try:
        return None if isinstance(data, RecordingError) else guard.num_channels(data)
    except (RecordingError, UnreadableError):
        return None
