"""Rows of an Arrow stream, as `datasets` saves them: all but the audio itself, and where in the file that lies.

Knows nothing of how a dataset is laid out.
"""

from collections.abc import Iterator

import pyarrow as pa

from pipeline.records import Span
from pipeline.shards.arrow_columns import holds, records_of
from pipeline.shards.arrow_stream import Batch, batches, schema_of
from pipeline.shards.damage import DAMAGES, damage_of
from pipeline.shards.rows import Audio, Damage, Rows
from pipeline.shards.shardfile import ShardFile


class ArrowShard:
    """An open Arrow stream. Its audio lies there as it is, so that each row's is a range of the file."""

    def __init__(self, file: ShardFile, url: str) -> None:
        self._file, self._url = file, url
        self.schema: pa.Schema = schema_of(file)

    def rows(self, audio: str, columns: list[str]) -> Iterator[Rows | Damage]:
        first = 0
        try:
            for batch in batches(self._file, self.schema):
                batch.fetch([*columns, audio], but_for=_content(batch.rows.column(audio)))
                together = range(first, first + batch.rows.num_rows)
                yield Rows(first, together, records_of(batch.rows, columns), list(_places(batch, audio, first)))
                first = together.stop
        except DAMAGES as error:
            yield Damage(first, damage_of(error, self._url, f"from row {first} on: "))


def _content(column: pa.Array) -> pa.Array | None:
    """Of a column with audio, the part that holds the bytes."""
    if holds(column.type) == "path":
        return None
    return column.field("bytes") if pa.types.is_struct(column.type) else column


def _places(batch: Batch, audio: str, first: int) -> Iterator[Audio]:
    column = batch.rows.column(audio)
    content = _content(column)
    paths = _paths(column)
    if content is None:
        yield from (Audio(path=path) for path in paths)
        return
    has_bytes = content.is_valid().to_pylist()
    if pa.types.is_struct(column.type):
        has_bytes = [one and other for one, other in zip(has_bytes, column.is_valid().to_pylist(), strict=True)]
    for number, (start, end) in enumerate(batch.ranges(content)):
        if has_bytes[number]:
            yield Audio(end - start, Span(paths[number] or f"row {first + number}", start))
        else:
            yield Audio(path=paths[number])


def _paths(column: pa.Array) -> list[str | None]:
    if not pa.types.is_struct(column.type):
        return [path or None for path in column.to_pylist()] if holds(column.type) == "path" else [None] * len(column)
    if column.type.get_field_index("path") < 0:
        return [None] * len(column)
    valid = column.is_valid().to_pylist()
    return [
        (path or None) if there else None for path, there in zip(column.field("path").to_pylist(), valid, strict=True)
    ]
