"""Rows that name audio -> entries: which column means what, where the paths lead, which columns pass through.

Each row is checked as it passes, in one walk. Knows nothing of how rows are written down.
"""

import io
import posixpath
from array import array
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from pipeline.config import ReadConfig
from pipeline.errors import RecordingError, UsageError
from pipeline.records import WHOLE, Cut, without_query
from pipeline.shards.arrow_columns import PATH_COLUMNS
from pipeline.shards.place import folder_of
from pipeline.sources.columns import (
    Columns,
    ColumnTypes,
    channel_of,
    cut_of,
    duration_of,
    flat,
    number_of,
    shown,
    text_of,
    value_of,
)
from pipeline.sources.entries import Entry, Piece
from pipeline.sources.found import File, Found
from pipeline.sources.located import Located
from pipeline.sources.textfile import name_of, text_file

ROWS_BETWEEN = 10_000  # two words of progress
CHANNEL = "channel"  # where its values are whole numbers; a name is metadata

Row = tuple[int, dict[str, Any]]  # its line and its values; None for what is empty


class Format(NamedTuple):
    """How rows are written down: what such a file is called, what its name ends in, and its rows."""

    noun: str
    endings: tuple[str, ...]
    rows: Callable[[io.BufferedReader, str, ReadConfig], Iterator[Row]]  # of a stream that errors call by this name


class TableFiles:
    """Files of rows as a source, one or several; paths in one are relative to its folder."""

    def __init__(self, found: Found, config: ReadConfig, form: Format) -> None:
        self._files: list[File] = list(found.listed) if found.is_one_file else found.ending(*form.endings)
        if not self._files:
            raise UsageError(f"{found.url}: no {form.noun} there ({', '.join(form.endings)})")
        self._found, self._config, self._form = found, config, form
        self._table = Table(found, config)

    @property
    def description(self) -> str:
        number, noun = len(self._files), self._form.noun
        return (f"a {noun}" if number == 1 else f"{number:,} {noun}s") + self._table.left_out

    @property
    def schema(self) -> pa.Schema:
        return self._table.schema

    def pieces(self) -> Iterator[Piece]:
        for file in self._files:
            with text_file(self._found, file.path, self._config) as stream:
                rows = self._form.rows(stream, name_of(self._found, file.path), self._config)
                yield from self._table.pieces(file.path, rows, folder_of(file.path))
        self._table.finish()


class Table:
    """What the rows of an input have in common, and what they are as entries."""

    def __init__(self, found: Found, config: ReadConfig) -> None:
        self._found, self._config = found, config
        self._names: Columns | None = None
        self._used: frozenset[str] = frozenset()
        self._seen: set[str] = set()
        self._has_channels: bool | None = None  # None until a row says
        self._has_ends: bool | None = None  # likewise; whether start and end are numbers, and make a segment
        self._types = ColumnTypes()
        self._num_rows = 0
        self._listed = array("q")  # of the files that rows name, where there are others: 8 bytes for each row
        self._num_left_out = 0

    @property
    def left_out(self) -> str:
        """What a description adds, after the last row."""
        number = self._num_left_out
        return f"; audio files beside it that it does not list, left out: {number:,}" if number else ""

    @property
    def schema(self) -> pa.Schema:
        return self._types.schema([*self._used])

    def pieces(self, path: str, rows: Iterable[Row], folder: str) -> Iterator[Piece]:
        """Of one file; relative paths in it count from the folder."""
        name, located = name_of(self._found, path), Located(self._found, folder)
        for number, record in rows:
            try:
                entry = self._entry(record, located)
            except UsageError as error:
                raise UsageError(f"{name} line {number}: {error}") from error
            if self._found.beside is not None:
                self._listed.append(_mark(entry.uri))
            yield Piece([entry])
            self._num_rows += 1
            if self._num_rows % ROWS_BETWEEN == 0:
                self._found.tell(f"listing the input: {self._num_rows:,} rows")

    def finish(self) -> None:
        """After the last row."""
        name = name_of(self._found, self._found.listed[0].path)
        if self._names is None:
            raise UsageError(f"{name}: an empty manifest")
        self._names.check(self._config, name)
        if (beside := self._found.beside) is not None:
            there = np.fromiter((_mark(self._found.url_of(file)) for file in beside), np.int64, len(beside))
            self._num_left_out = int(np.isin(there, np.array(self._listed), invert=True).sum())

    def _entry(self, record: dict[str, Any], located: Located) -> Entry:
        names = self._understood(record)
        path = record[names.path]
        if not isinstance(path, str) or not path:
            raise UsageError(f"{shown(path)} is not a path")
        where = located(path)
        cut, error = WHOLE, where.error
        try:
            cut = self._cut(record, names)
        except RecordingError as fault:
            error = error or fault
        columns = {name: flat(value) for name, value in record.items() if name not in self._used}
        self._types.see(columns)
        return Entry(
            id=text_of(value_of(record, names.id)) or _named(without_query(path), cut),
            uri=where.uri,
            size=where.size,
            duration_s=cut.length_s or duration_of(value_of(record, names.duration)),
            reference=text_of(value_of(record, names.reference)),
            columns=columns,
            cut=cut,
            version=where.version,
            error=error,
        )

    def _understood(self, record: dict[str, Any]) -> Columns:
        """Which columns mean what, with what this row has and the ones before it lacked."""
        channel = record.get(CHANNEL)
        if self._has_channels is None and channel is not None:
            self._has_channels = channel_of(channel) is not None
            self._seen.clear()  # to choose anew
        if self._names is None or not record.keys() <= self._seen:
            self._seen |= record.keys()
            names = Columns.choose(record, self._config)
            self._names = self._names.merged(names) if self._names else names
            self._settle()
        names = self._names
        if self._has_ends is None and names and names.start and not names.offset:
            ends = [record.get(names.start), value_of(record, names.end)]
            if None not in ends:
                self._has_ends = None not in map(number_of, ends)
                self._settle()
        if self._names is None or self._names.path not in record:
            raise UsageError(f"no path to audio (one of {', '.join(PATH_COLUMNS)})")
        return self._names

    def _settle(self) -> None:
        """Which columns are not passed through."""
        used = self._names.used() if self._names else []
        ends = [self._names.start, self._names.end] if self._names and self._has_ends else []
        self._used = frozenset([*used, *filter(None, ends), *[CHANNEL] * bool(self._has_channels)])

    def _cut(self, record: dict[str, Any], names: Columns) -> Cut:
        return cut_in(record, names, bool(self._has_channels), bool(self._has_ends))


def _mark(uri: str) -> int:
    """The same for other spellings of it."""
    return hash(posixpath.normpath(uri))


def cut_in(record: dict[str, Any], names: Columns, has_channels: bool, has_ends: bool) -> Cut:
    """What of its file a row is."""
    channel = None
    if has_channels and (value := record.get(CHANNEL)) is not None:
        channel = channel_of(value)
        if channel is None:
            raise RecordingError("channel is not a whole number", shown(value))
    offset = value_of(record, names.offset)
    if has_ends and offset is None:
        return _between(value_of(record, names.start), value_of(record, names.end), channel)
    return Cut(channel=channel) if offset is None else cut_of(offset, value_of(record, names.duration), channel)


def _between(start: Any, end: Any, channel: int | None) -> Cut:
    """From a start to an end; of a row without either, all there is."""
    if start is None and end is None:
        return Cut(channel=channel)
    start_s, end_s = number_of(start), number_of(end)
    if end_s is None:
        raise RecordingError("segment without a valid end", shown(end))
    # Rounded, because differences of decimal fractions are none.
    return cut_of(start, None if start_s is None else round(end_s - start_s, 6), channel)


def _named(path: str, cut: Cut) -> str:
    """What is not named has the name of its file; a segment or a channel, with what of the file it is."""
    if cut == WHOLE:
        return path
    name = path
    if cut[:2] != WHOLE[:2]:
        end = "" if cut.length_s is None else _plain(cut.offset_s + cut.length_s)
        name = f"{name}:{_plain(cut.offset_s)}-{end}"
    return name if cut.channel is None else f"{name}:{cut.channel}"


def _plain(seconds: float) -> str:
    return f"{seconds:.3f}".rstrip("0").rstrip(".")
