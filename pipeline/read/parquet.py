"""Parquet shards as a source: audio in a column, or paths to it.

Reads everything but the audio column; a shard's row groups decide where its units may be cut.
"""

import posixpath
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.config import ReadConfig
from pipeline.errors import UsageError
from pipeline.read.columns import PATH_COLUMNS, Columns, duration_of, text_of, value_of
from pipeline.read.entries import Entry, Piece, url_of

MAX_PIECE_S = 1800.0  # half an hour decoded is 115 MB in one task


class ParquetFiles:
    """Parquet with audio in it, or paths to audio; a shard's row groups decide where its units may be cut."""

    # A row group can only be read from its start, so cutting one into n pieces reads it n/2 times over. Eight is the
    # compromise between that and long units, as long as a piece is no longer than MAX_PIECE_S.
    MAX_CUTS = 8

    def __init__(self, files: Any, root: str, paths: list[str], config: ReadConfig) -> None:
        self._files, self._root, self._paths, self._config = files, root, paths, config
        with self._open(paths[0]) as first:
            self._column = audio_column(first.schema_arrow, url_of(files, paths[0]))
            self._names_files = is_path(first.schema_arrow.field(self._column).type)
            self._names = Columns.choose(dict.fromkeys(first.schema_arrow.names), config, path=self._column)
        assert self._names is not None
        self._names.check(config, paths[0])
        self.schema = self._passed_schema()
        self.description = f"{len(paths)} Parquet files"

    def pieces(self) -> Iterator[Piece]:
        assert self._names is not None
        wanted = [name for name in (*self.schema.names, *self._names.used()) if name != self._column]
        for path in self._paths:
            with self._open(path) as shard:
                present = [name for name in dict.fromkeys(wanted) if name in shard.schema_arrow.names]
                first_row = 0
                for group in range(shard.num_row_groups):
                    table = self._read(path, shard, group, present)
                    num_rows = shard.metadata.row_group(group).num_rows
                    mean_size = self._mean_size(shard, group)
                    entries = [
                        self._entry(path, first_row + number, record, mean_size)
                        for number, record in enumerate(table.to_pylist() if present else [{}] * num_rows)
                    ]
                    first_row += num_rows
                    yield from self._cut(entries, path)

    def _cut(self, entries: list[Entry], path: str) -> Iterator[Piece]:
        """A row group in as many pieces as reading it so often is worth; rows that name files are free."""
        if entries and entries[0].size is None:
            yield from (Piece([entry]) for entry in entries)
            return
        most_rows = max(1, int(MAX_PIECE_S * len(entries) / max(sum(entry.seconds for entry in entries), 1e-9)))
        num_rows = min(-(-len(entries) // self.MAX_CUTS), most_rows)
        for start in range(0, len(entries), max(num_rows, 1)):
            yield Piece(entries[start : start + num_rows], shard=path)

    def _entry(self, path: str, row: int, record: dict[str, Any], mean_size: int | None) -> Entry:
        names = self._names
        assert names is not None
        own_id = value_of(record, names.id)
        stem = posixpath.splitext(posixpath.relpath(path, self._root))[0]
        return Entry(
            id=f"{stem}:{row}" if own_id is None else str(own_id),
            uri=url_of(self._files, path),
            row=row,
            size=mean_size,
            duration_s=duration_of(value_of(record, names.duration)),
            reference=text_of(value_of(record, names.reference)),
            columns={name: record.get(name) for name in self.schema.names},
        )

    def _passed_schema(self) -> pa.Schema:
        assert self._names is not None
        schemas = []
        for path in self._paths:
            with self._open(path) as shard:
                if self._column not in shard.schema_arrow.names:
                    raise UsageError(f"{path}: no column {self._column}, which the other shards have")
                used = {*self._names.used(), self._column}
                schemas.append(pa.schema([f for f in shard.schema_arrow if f.name not in used]))
        try:
            return pa.unify_schemas(schemas, promote_options="permissive").remove_metadata()
        except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
            raise UsageError(f"{self._root}: the shards' columns do not fit together: {error}") from error

    def _mean_size(self, shard: pq.ParquetFile, group: int) -> int | None:
        """Bytes of audio per row of a row group; None where the rows only name files."""
        metadata = shard.metadata.row_group(group)
        leaves = [metadata.column(number) for number in range(metadata.num_columns)]
        audio = [leaf for leaf in leaves if leaf.path_in_schema.split(".")[0] == self._column]
        no_bytes = any(leaf.path_in_schema == f"{self._column}.bytes" and _all_null(leaf) for leaf in audio)
        if self._names_files or no_bytes:
            return None
        return int(sum(leaf.total_compressed_size for leaf in audio)) // max(int(metadata.num_rows), 1)

    def _open(self, path: str) -> pq.ParquetFile:
        try:
            return pq.ParquetFile(self._files.open(path, "rb"), pre_buffer=False)
        except (pa.ArrowInvalid, OSError) as error:
            raise UsageError(f"{path}: not a readable Parquet file ({' '.join(str(error).split())})") from error

    @staticmethod
    def _read(path: str, shard: pq.ParquetFile, group: int, columns: list[str]) -> pa.Table:
        try:
            return shard.read_row_group(group, columns=columns)
        except (pa.ArrowException, OSError) as error:
            raise UsageError(f"{path}: row group {group} is not readable ({' '.join(str(error).split())})") from error


def _all_null(leaf: Any) -> bool:
    statistics = leaf.statistics
    return bool(statistics is not None and statistics.has_null_count and statistics.null_count == leaf.num_values)


def audio_column(schema: pa.Schema, url: str) -> str:
    """The column of a Parquet shard that holds audio, embedded or by path."""
    for field_ in schema:
        if pa.types.is_struct(field_.type) and field_.type.get_field_index("bytes") >= 0:
            return str(field_.name)
    for holds in (_is_bytes, is_path):  # where a table has both, the path only says where the bytes came from
        for name in (*PATH_COLUMNS, "bytes"):
            if name in schema.names and holds(schema.field(name).type):
                return name
    raise UsageError(f"{url}: no column with audio (columns: {', '.join(schema.names)})")


def _is_bytes(kind: pa.DataType) -> bool:
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def is_path(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))
