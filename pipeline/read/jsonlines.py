"""JSON-lines manifests as a source: one object per line with a path to audio.

Checks every line before anything starts. Knows nothing of what the paths lead to, beyond the size of local files.
"""

import json
import os
import posixpath
from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from pipeline import store
from pipeline.config import ReadConfig
from pipeline.errors import UsageError
from pipeline.read.columns import PATH_COLUMNS, Columns, duration_of, text_of, value_of
from pipeline.read.entries import Entry, Piece, url_of
from pipeline.records import without_query


class JsonLines:
    """A manifest with one JSON object per line; paths in it are relative to its folder."""

    def __init__(self, files: Any, path: str, config: ReadConfig) -> None:
        self.description = "a JSON-lines manifest"
        self._files, self._path, self._config = files, path, config
        self._names: Columns | None = None
        self.schema = self._scan()

    def pieces(self) -> Iterator[Piece]:
        assert self._names is not None
        for number, record in self._records():
            path = record[self._names.path]
            uri = self._uri(number, path)
            columns = {name: self._as_column(record.get(name), self.schema.field(name)) for name in self.schema.names}
            yield Piece(
                [
                    Entry(
                        id=text_of(value_of(record, self._names.id)) or without_query(path),
                        uri=uri,
                        size=self._size(uri),
                        duration_s=duration_of(value_of(record, self._names.duration)),
                        reference=text_of(value_of(record, self._names.reference)),
                        columns=columns,
                    )
                ]
            )

    def _records(self) -> Iterator[tuple[int, dict[str, Any]]]:
        with self._files.open(self._path, "rb") as lines:
            for number, line in enumerate(lines, 1):
                if not line.strip():
                    continue
                try:
                    record = json.loads(line)
                except ValueError as error:  # not JSON, not UTF-8, or a number of thousands of digits
                    raise UsageError(f"{self._path} line {number}: not JSON ({error})") from error
                if not isinstance(record, dict):
                    raise UsageError(f"{self._path} line {number}: not a JSON object")
                if record.get("offset"):
                    raise UsageError(f"{self._path} line {number}: segments of a file (offset) are not supported yet")
                yield number, record

    def _scan(self) -> pa.Schema:
        """A first pass: every line is checked before the run starts, and the columns' types are found."""
        types: dict[str, set[type]] = {}
        for number, record in self._records():
            try:
                json.dumps(record, ensure_ascii=False).encode()
            except UnicodeEncodeError as error:
                raise UsageError(f"{self._path} line {number}: half a character (a lone surrogate)") from error
            for name, value in record.items():
                types.setdefault(name, set()).add(_type(value))
            names = Columns.choose(record, self._config)
            self._names = self._names or names
            if self._names is None or self._names.path not in record:
                raise UsageError(f"{self._path} line {number}: no path to audio (one of {', '.join(PATH_COLUMNS)})")
            self._uri(number, record[self._names.path])
            self._names = self._names.merged(names)
        if self._names is None:
            raise UsageError(f"{self._path}: an empty manifest")
        self._names.check(self._config, self._path)
        passed = [name for name in types if name not in self._names.used()]
        return pa.schema([pa.field(name, _arrow_type(types[name])) for name in passed])

    def _uri(self, number: int, path: Any) -> str:
        if not isinstance(path, str):
            raise UsageError(f"{self._path} line {number}: {path!r} is not a path")
        if "://" not in path:
            return url_of(self._files, posixpath.join(posixpath.dirname(self._path), path))
        try:
            store.locate(path)
        except UsageError as error:
            raise UsageError(f"{self._path} line {number}: {error}") from error
        return path

    def _size(self, uri: str) -> int | None:
        """Known for local files alone: in object storage each would cost a request. None too where it is missing."""
        files, path = store.locate(uri)
        try:
            return os.path.getsize(path) if store.is_local(files) else None
        except (OSError, ValueError):  # a path with a null byte in it
            return None

    @staticmethod
    def _as_column(value: Any, column: pa.Field) -> Any:
        if value is not None and pa.types.is_floating(column.type):
            return float(value)
        if value is None or not pa.types.is_string(column.type) or isinstance(value, str):
            return value
        return json.dumps(value, ensure_ascii=False)


def _arrow_type(types: set[type]) -> pa.DataType:
    known = types - {type(None)}
    if known == {bool}:
        return pa.bool_()
    if known == {int}:
        return pa.int64()
    if known and known <= {int, float}:
        return pa.float64()
    return pa.string()  # text as it is; anything nested or mixed as JSON


def _type(value: Any) -> type:
    """What its column must hold it as; an integer of more than 64 bits only fits as text."""
    return str if isinstance(value, int) and not -(2**63) <= value < 2**63 else type(value)
