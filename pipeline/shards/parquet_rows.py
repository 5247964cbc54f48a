"""Rows of a Parquet file: everything but the audio column, row group by row group.

Knows nothing of what a row becomes.
"""

from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.shards.arrow_columns import holds, records_of
from pipeline.shards.damage import DAMAGES, damage_of
from pipeline.shards.rows import ROWS_AT_ONCE, Audio, Damage, Rows
from pipeline.shards.shardfile import ShardFile


class ParquetShard:
    """An open Parquet file."""

    def __init__(self, file: ShardFile, url: str) -> None:
        # Buffered in advance: the chunks of one row group's columns in one request each, and of neighbours in one.
        self._file, self._url = pq.ParquetFile(file, pre_buffer=True), url
        self.schema: pa.Schema = self._file.schema_arrow

    def rows(self, audio: str, columns: list[str]) -> Iterator[Rows | Damage]:
        first = 0
        for group in range(self._file.num_row_groups):
            num_rows = self._file.metadata.row_group(group).num_rows
            try:
                yield from self._group(group, range(first, first + num_rows), audio, columns)
            except DAMAGES as error:
                rows = f"rows {first} to {first + num_rows - 1}: "
                yield Damage(first, damage_of(error, self._url, rows))
            first += num_rows

    def _group(self, group: int, together: range, audio: str, columns: list[str]) -> Iterator[Rows]:
        size, named_by = self._audio(group, audio)
        leaves = [*columns, named_by] if named_by else columns
        first, batches = together.start, self._batches(group, leaves, len(together))
        for num_rows, batch in batches:
            where = [Audio(size)] * num_rows
            if named_by:
                where = [Audio(path=_path(cell)) for cell in batch.column(audio).to_pylist()]
            records = records_of(batch, columns) if columns else [{} for _ in range(num_rows)]
            yield Rows(first, range(0) if size is None else together, records, where)
            first += num_rows

    def _batches(self, group: int, leaves: list[str], num_rows: int) -> Iterator[tuple[int, Any]]:
        """Parts of a row group; where no column is wanted, how many rows they have."""
        if not leaves:
            starts = range(0, num_rows, ROWS_AT_ONCE)
            yield from ((min(ROWS_AT_ONCE, num_rows - start), None) for start in starts)
            return
        for batch in self._file.iter_batches(ROWS_AT_ONCE, row_groups=[group], columns=leaves):
            yield batch.num_rows, batch

    def _audio(self, group: int, audio: str) -> tuple[int | None, str | None]:
        """Of a row group's audio: the bytes per row, or which leaf has the paths instead; neither where it has none."""
        metadata = self._file.metadata.row_group(group)
        columns = (metadata.column(number) for number in range(metadata.num_columns))
        leaves = {leaf.path_in_schema: leaf for leaf in columns if leaf.path_in_schema.split(".")[0] == audio}
        if holds(self.schema.field(audio).type) == "path":
            return None, audio
        content = leaves.get(f"{audio}.bytes") or leaves.get(audio)
        if content is None or not _all_null(content):
            return sum(leaf.total_compressed_size for leaf in leaves.values()) // max(metadata.num_rows, 1), None
        return None, f"{audio}.path" if f"{audio}.path" in leaves else None


def _path(cell: Any) -> str | None:
    path = cell.get("path") if isinstance(cell, dict) else cell
    return path or None


def _all_null(leaf: Any) -> bool:
    statistics = leaf.statistics
    return bool(statistics is not None and statistics.has_null_count and statistics.null_count == leaf.num_values)
