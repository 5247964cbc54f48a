"""Whole files: small ones as their bytes, of a store many at once, large ones to be read in ranges.

Knows nothing of shards.
"""

import os
import stat
from collections import defaultdict
from collections.abc import Iterator
from typing import Any, NamedTuple

from pipeline import store
from pipeline.config import ReadConfig
from pipeline.errors import RecordingError
from pipeline.patience import status_of
from pipeline.read.blob import Blob
from pipeline.read.loads import MOST_SENT, Load, Loads, in_parts
from pipeline.read.ranged import BLOCK_BYTES, Held, LocalBlob, RemoteBlob, pread
from pipeline.records import Recording
from pipeline.shards.place import Place, check, check_local, listed_size
from pipeline.storage_errors import storage_reason

WHOLE_BYTES = 2**25  # a larger file is read in ranges: 17 minutes of 16 kHz WAV
GUESSES = (2**20, 2**23, WHOLE_BYTES)  # how much is asked for of a file whose size is not known, then of a longer one
GROUP_BYTES, GROUP_FILES = 2**25, 128  # of one round of concurrent requests
NOT_SATISFIABLE = 416  # how stores answer who asks an empty file for its first bytes


class Wanted(NamedTuple):
    """A file, and the recordings that are in it."""

    uri: str
    recordings: list[Recording]
    version: str | None = None  # when it was listed

    @property
    def size(self) -> int | None:
        return listed_size(self.version)


def load_files(wanted: list[Wanted], config: ReadConfig) -> Loads:
    """Each file once; from a local disk one by one, from a store, where each request takes its time, many at once."""
    remote: dict[Any, list[tuple[Place, Wanted]]] = defaultdict(list)
    for one in wanted:
        try:
            place = Place.of(one.uri, config)
            if place.is_local:
                yield Load.of(one.recordings, _local(place, one, config))
            else:
                remote[place.files].append((place, one))
        except RecordingError as error:
            yield Load.of(one.recordings, error)
    for files in remote.values():
        yield from _remote(files, config)


def _local(place: Place, wanted: Wanted, config: ReadConfig) -> bytes | Blob:
    descriptor, now = open_local(place)
    try:
        check_local(place, wanted.version, now, config)
        return from_disk(descriptor, 0, now.st_size, MOST_SENT if in_parts(wanted.recordings) else WHOLE_BYTES)
    finally:
        os.close(descriptor)


def open_local(place: Place) -> tuple[int, os.stat_result]:
    """A file descriptor, and what is known of the file; `RecordingError` where it is none."""
    try:
        descriptor = os.open(place.path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # a pipe nobody writes to blocks
    except (OSError, ValueError) as error:  # a path with a null byte in it
        raise storage_reason(error) from error
    now = os.fstat(descriptor)
    if stat.S_ISREG(now.st_mode):
        return descriptor, now
    os.close(descriptor)
    is_folder = stat.S_ISDIR(now.st_mode)
    raise storage_reason(IsADirectoryError()) if is_folder else RecordingError("a device or pipe, not a file")


def from_disk(descriptor: int, start: int, size: int, most_held: int) -> bytes | Blob:
    """Bytes of a file on a disk, held or to be read in ranges, by a descriptor of their own."""
    try:
        if size <= most_held:
            return pread(descriptor, start, size)
        return LocalBlob(os.dup(descriptor), start, size)
    except OSError as error:
        raise storage_reason(error) from error


def _remote(wanted: list[tuple[Place, Wanted]], config: ReadConfig) -> Loads:
    """Those of one store: first what is small or may be, in rounds, then one by one what turned out to be large."""
    large = [(place, one) for place, one in wanted if (one.size or 0) > WHOLE_BYTES]
    asked = [(place, one) for place, one in wanted if (one.size or 0) <= WHOLE_BYTES]
    for guess in GUESSES:
        longer: list[tuple[Place, Wanted]] = []
        for group in _groups(asked, guess):
            for (place, one), data in zip(group, _heads(group, guess), strict=True):
                if one.size is None and isinstance(data, bytes) and len(data) > guess:
                    # Without ranges it would be sent from its first byte again for each guess.
                    (longer if place.knows_ranges else large).append((place, one))
                else:
                    yield Load.of(one.recordings, _complete(place, one, data, config))
        asked = longer
    for place, one in large + asked:
        yield Load.of(one.recordings, _as_it_is(place, one, config))


def _groups(wanted: list[tuple[Place, Wanted]], guess: int) -> Iterator[list[tuple[Place, Wanted]]]:
    group: list[tuple[Place, Wanted]] = []
    num_bytes = 0
    for place, one in wanted:
        size = one.size or guess
        if group and (num_bytes + size > GROUP_BYTES or len(group) == GROUP_FILES):
            yield group
            group, num_bytes = [], 0
        group.append((place, one))
        num_bytes += size
    if group:
        yield group


def _heads(group: list[tuple[Place, Wanted]], guess: int) -> list[bytes | Exception]:
    """A byte more of each than it should have, to see whether it has more."""
    (place, _), *_ = group
    paths = [place.path for place, _ in group]
    ends = [(one.size or guess) + 1 for _, one in group]
    return store.read_ranges(place.files, paths, [0] * len(group), ends, place.deadline_s, may_be_short=True)


def _complete(
    place: Place, wanted: Wanted, data: bytes | Exception, config: ReadConfig
) -> bytes | Blob | RecordingError:
    """The bytes of a file as they came, if those are all; else it is looked at closely."""
    if isinstance(data, Exception) and status_of(data) != NOT_SATISFIABLE:
        return storage_reason(data)
    if isinstance(data, bytes) and wanted.size in (None, len(data)):
        return data
    return _as_it_is(place, wanted, config)


def _as_it_is(place: Place, wanted: Wanted, config: ReadConfig) -> bytes | Blob | RecordingError:
    try:
        info = place.info()
        check(place, wanted.version, info, config)
        if info["size"] is None:
            return _without_size(place)
        return from_store(place._replace(etag=info.get("ETag")), 0, info["size"], WHOLE_BYTES)
    except RecordingError as error:
        return error


def from_store(place: Place, start: int, size: int, most_held: int) -> bytes | Blob:
    """Bytes of a file in a store, held or to be read in ranges."""
    if size <= most_held:
        data = place.read(start, start + size)
        if len(data) != size:
            raise RecordingError("storage error", f"{len(data)} of {size} bytes from {start}")
        return data
    head = place.read(start, start + BLOCK_BYTES) if place.knows_ranges else b""
    if place.knows_ranges:  # still: its answer has shown it
        return RemoteBlob(place, start, size, head)
    return Held(place.read(start, start + size))


def in_ranges(place: Place, start: int, size: int | None) -> bytes | Blob:
    """A file, or a part of one, of which only the first bytes are fetched before more are asked for."""
    if not place.is_local:
        size = place.info()["size"] if size is None else size
        return _without_size(place) if size is None else from_store(place, start, size, BLOCK_BYTES)
    descriptor, now = open_local(place)
    try:
        return from_disk(descriptor, start, now.st_size if size is None else size, 0)
    finally:
        os.close(descriptor)


def _without_size(place: Place) -> bytes | Blob:
    """In one request: one for what comes after the end would be refused."""
    start, end = ([0], [WHOLE_BYTES + 1]) if place.knows_ranges else (None, None)
    (data,) = store.read_ranges(place.files, [place.path], start, end, place.deadline_s, may_be_short=True)
    if isinstance(data, Exception):
        raise storage_reason(data) from data
    if len(data) > WHOLE_BYTES and place.knows_ranges:
        raise RecordingError("storage error", f"over {WHOLE_BYTES} bytes, and its server does not tell how many")
    return data if len(data) <= WHOLE_BYTES else Held(data)
