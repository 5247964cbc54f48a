"""Rows of Parquet shards: only the audio column, only where the rows are, in one pass.

A row may name a file instead of holding one. Knows nothing of the other columns.
"""

import os
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterator
from contextlib import closing
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.config import ReadConfig
from pipeline.errors import RecordingError
from pipeline.read.blob import Ahead, Ranges
from pipeline.read.loads import Load, Loads
from pipeline.read.loose import Wanted, open_local
from pipeline.read.ranged import RemoteBlob, UnreadableError
from pipeline.records import Recording
from pipeline.shards.arrow_columns import audio_column
from pipeline.shards.place import Place, check, check_local, folder_of, leads_to
from pipeline.storage_errors import storage_reason

ROWS_AT_ONCE = 64  # of a Parquet shard, where they are small
BYTES_AT_ONCE = 2**24  # else so many bytes of it
STREAM_BYTES = 2**22  # of a column are read at once: without, pyarrow reads a row group's column whole

Cells = Iterator[tuple[int, Any]]


def load_rows(uri: str, recordings: list[Recording], config: ReadConfig, linked: list[Wanted]) -> Loads:
    """Each row's bytes; what rows name instead is added to `linked`."""
    by_row: dict[int, list[Recording]] = defaultdict(list)
    for recording in recordings:
        assert recording.row is not None
        by_row[recording.row].append(recording)
    try:
        place = Place.of(uri, config)
        with closing(_opened(place, recordings[0].version, config)) as file:
            for row, cell in _cells(file, set(by_row)):
                data, path = _bytes_or_path(cell)
                if data is None and path:
                    linked.append(Wanted(leads_to(place.files, folder_of(place.path), path), by_row.pop(row)))
                else:
                    nothing = RecordingError("no audio in its row")
                    yield Load.of(by_row.pop(row), nothing if data is None else data)
        fault = RecordingError("row missing from its shard")
    except UnreadableError as error:
        fault = error.reason
    except (OSError, ValueError, pa.ArrowException, RecordingError) as error:
        fault = _damage(error)
    yield from (Load.of(found, fault) for found in by_row.values())


def _opened(place: Place, version: str | None, config: ReadConfig) -> Any:
    if place.is_local:
        descriptor, now = open_local(place)
        file = os.fdopen(descriptor, "rb")
        try:
            check_local(place, version, now, config)
        except BaseException:
            file.close()
            raise
        return file
    info = place.info()
    check(place, version, info, config)
    return AheadFile(RemoteBlob(place._replace(etag=info.get("ETag")), 0, info["size"]))


class AheadFile(Ranges):
    """A file of a store, fetched ahead of who reads on."""

    def __init__(self, blob: RemoteBlob) -> None:
        self._ahead = Ahead(blob)
        super().__init__(blob.size, self._ahead.read)

    def close(self) -> None:
        self._ahead.close()
        super().close()


def _cells(file: BinaryIO, rows: set[int]) -> Cells:
    """The wanted rows' cells, in order."""
    shard = pq.ParquetFile(file, buffer_size=STREAM_BYTES, pre_buffer=False)
    column = audio_column(shard.schema_arrow)  # by the rules by which the rows were listed
    first, in_order = 0, sorted(rows)
    for group in range(shard.num_row_groups):
        end = first + shard.metadata.row_group(group).num_rows
        num_before = bisect_left(in_order, end)
        if num_before and in_order[num_before - 1] >= first:
            yield from _group_cells(shard, group, column, range(first, in_order[num_before - 1] + 1), rows)
        first = end


def _group_cells(shard: pq.ParquetFile, group: int, column: str, span: range, rows: set[int]) -> Cells:
    row = span.start
    for batch in shard.iter_batches(_rows_at_once(shard, group, column), row_groups=[group], columns=[column]):
        for cell in batch.column(0):
            if row in rows:
                yield row, cell.as_py()
            row += 1
        if row >= span.stop:
            return


def _rows_at_once(shard: pq.ParquetFile, group: int, column: str) -> int:
    metadata = shard.metadata.row_group(group)
    leaves = (metadata.column(number) for number in range(metadata.num_columns))
    num_bytes = sum(leaf.total_uncompressed_size for leaf in leaves if leaf.path_in_schema.split(".")[0] == column)
    fitting = BYTES_AT_ONCE * int(metadata.num_rows) // max(int(num_bytes), 1)
    return max(1, min(ROWS_AT_ONCE, fitting))


def _damage(error: Exception) -> RecordingError:
    # pyarrow raises plain OSErrors too, on damaged pages, but without a number: the system gave none.
    is_ours = isinstance(error, RecordingError)
    from_system = isinstance(error, OSError) and (type(error) is not OSError or error.errno is not None)
    return storage_reason(error) if is_ours or from_system else RecordingError("shard not readable", str(error))


def _bytes_or_path(cell: Any) -> tuple[bytes | None, str | None]:
    if isinstance(cell, dict):
        return cell.get("bytes"), cell.get("path")
    return (cell, None) if isinstance(cell, bytes) else (None, cell)
