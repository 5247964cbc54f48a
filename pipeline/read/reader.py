"""The read stage: fetches the bytes of a unit's recordings and turns them into 16 kHz mono.

Knows nothing of what an input looks like (`sources`) or of audio formats (`audio`, behind `guard`).
"""

import os
import posixpath
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline import store
from pipeline.config import ReadConfig
from pipeline.errors import RecordingError, UsageError
from pipeline.read.guard import Guard
from pipeline.read.parquet import audio_column
from pipeline.records import SAMPLE_RATE, Recording
from pipeline.unit import Unit

ROWS_AT_ONCE = 64  # of a Parquet shard: some MB of compressed audio

_guards: dict[tuple[float, float], Guard] = {}  # one child per process: Ray builds a stage anew for every task


class Reader:
    """A unit's id -> its recordings with audio, or failed with the reason."""

    def __init__(self, config: ReadConfig, load: Callable[[Unit], Unit]) -> None:
        self._config = config
        self._load = load  # fills in a unit's recordings, from the manifest of a run for instance
        limits = (config.max_memory_gb, config.decode_timeout_s)
        if limits not in _guards:
            _guards[limits] = Guard(*limits)
        self._guard = _guards[limits]

    def __call__(self, unit: Unit) -> Unit:
        unit = self._load(unit)
        cpu_before = self._guard.cpu_s
        for recording, data in _fetch(unit.pending()):
            try:
                if isinstance(data, Exception):
                    raise _storage_reason(data) from data
                recording.audio = self._guard.decode(data, self._config.max_duration_s)
                recording.duration_s = len(recording.audio) / SAMPLE_RATE
            except RecordingError as error:
                recording.fail("read", error)
        unit.stage_cpu_s["read"] = self._guard.cpu_s - cpu_before
        return unit


def _fetch(recordings: list[Recording]) -> Iterator[tuple[Recording, bytes | Exception]]:
    """Each recording once, with its bytes or with what went wrong."""
    loose: list[Recording] = []
    by_shard: dict[str, list[Recording]] = defaultdict(list)
    for recording in recordings:
        if recording.row is None:
            loose.append(recording)
        else:
            by_shard[recording.uri].append(recording)
    yield from _fetch_files([(recording, recording.uri) for recording in loose])
    for uri, rows in by_shard.items():
        yield from _fetch_rows(uri, rows)


def _fetch_files(wanted: list[tuple[Recording, str]]) -> Iterator[tuple[Recording, bytes | Exception]]:
    """Loose files: one by one from a local disk, all at once from a store, where each request takes its time."""
    remote: dict[Any, list[tuple[Recording, str]]] = defaultdict(list)
    for recording, uri in wanted:
        try:
            files, path = store.locate(uri)
        except UsageError as error:  # a shard's row may name anything
            yield recording, error
            continue
        if store.is_local(files):
            yield recording, _local_bytes(path)
        else:
            remote[files].append((recording, path))
    for files, located in remote.items():
        # Not `cat`, which takes a * or [ in a name for a pattern.
        found = files.cat_ranges([path for _, path in located], None, None, on_error="return")
        yield from ((recording, data) for (recording, _), data in zip(located, found, strict=True))


def _local_bytes(path: str) -> bytes | Exception:
    try:
        with open(path, "rb") as file:
            return file.read()
    except (OSError, ValueError) as error:  # a path with a null byte in it
        return error


def _fetch_rows(uri: str, recordings: list[Recording]) -> Iterator[tuple[Recording, bytes | Exception]]:
    """Rows of a Parquet shard: only the row groups that hold them, only the audio column, in one pass."""
    by_row = {recording.row: recording for recording in recordings}
    linked: list[tuple[Recording, str]] = []  # rows that name a file instead of holding one
    try:
        for row, cell in _cells(uri, by_row.keys()):
            data, path = _bytes_or_path(cell)
            if data is None and path:
                linked.append((by_row.pop(row), _beside(uri, path)))
            else:
                yield by_row.pop(row), data if data is not None else RecordingError("no audio in its row")
    except (OSError, pa.ArrowException, UsageError) as error:
        # pyarrow raises OSError too on damaged pages, but without a number: the system gave none.
        from_system = isinstance(error, OSError) and error.errno is not None
        damage = error if from_system else RecordingError("shard not readable", str(error))
        yield from ((recording, damage) for recording in by_row.values())
    else:
        gone = RecordingError("row missing from its shard")
        yield from ((recording, gone) for recording in by_row.values())
    yield from _fetch_files(linked)


def _cells(uri: str, wanted: Any) -> Iterator[tuple[int, Any]]:
    rows = set(wanted)
    files, path = store.locate(uri)
    with files.open(path, "rb") as file:
        shard = pq.ParquetFile(file)
        column = audio_column(shard.schema_arrow, uri)
        first = 0
        for group in range(shard.num_row_groups):
            num_rows = shard.metadata.row_group(group).num_rows
            if any(first <= row < first + num_rows for row in rows):
                last = max(row for row in rows if row < first + num_rows)
                yield from _group_cells(shard, group, column, range(first, last + 1), rows)
            first += num_rows


def _group_cells(
    shard: pq.ParquetFile, group: int, column: str, span: range, rows: set[int]
) -> Iterator[tuple[int, Any]]:
    row = span.start
    for batch in shard.iter_batches(ROWS_AT_ONCE, row_groups=[group], columns=[column]):
        for cell in batch.column(0):
            if row in rows:
                yield row, cell.as_py()
            row += 1
        if row >= span.stop:
            return


def _bytes_or_path(cell: Any) -> tuple[bytes | None, str | None]:
    if isinstance(cell, dict):
        return cell.get("bytes"), cell.get("path")
    return (cell, None) if isinstance(cell, bytes) else (None, cell)


def _beside(shard: str, path: str) -> str:
    if "://" in path or os.path.isabs(path):
        return path
    return posixpath.join(posixpath.dirname(shard), path)


def _storage_reason(error: Exception) -> RecordingError:
    if isinstance(error, RecordingError):
        return error
    if isinstance(error, FileNotFoundError):
        return RecordingError("missing file")
    if isinstance(error, PermissionError):
        return RecordingError("permission denied")
    if isinstance(error, IsADirectoryError):
        return RecordingError("a folder, not a file")
    return RecordingError("storage error", f"{type(error).__name__}: {error}")
