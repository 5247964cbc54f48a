"""Shards of rows with audio in them (Parquet, Arrow) as a source: what each row becomes, and where units may be cut.

Knows nothing of how a format stores its rows.
"""

import posixpath
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, NamedTuple

import pyarrow as pa

from pipeline import store
from pipeline.config import ReadConfig
from pipeline.errors import RecordingError, UsageError
from pipeline.records import without_query
from pipeline.shards.arrow_columns import audio_column, holds, passes, plain
from pipeline.shards.damage import DAMAGES, damage_of
from pipeline.shards.place import Place, folder_of
from pipeline.shards.rows import Damage, Rows, Shard
from pipeline.shards.shardfile import ShardFile
from pipeline.sources.columns import (
    END_COLUMNS,
    OFFSET_COLUMNS,
    START_COLUMNS,
    Columns,
    duration_of,
    text_of,
    value_of,
)
from pipeline.sources.entries import Entry, Piece
from pipeline.sources.found import File, Found
from pipeline.sources.inorder import REMOTE_SHARDS, in_order
from pipeline.sources.located import Located
from pipeline.sources.passes import is_full
from pipeline.sources.table import CHANNEL, cut_in


class _Known(NamedTuple):
    """What is known of a shard before its rows: which columns mean what, and which pass through."""

    names: Columns
    passed: pa.Schema
    has_channels: bool = False  # whether the column `channel` says which of a file's is meant
    has_ends: bool = False  # whether a start and an end say which part of it


class RowShards:
    """A source of shards of rows, each opened once; of a store several at the same time."""

    def __init__(
        self,
        found: Found,
        config: ReadConfig,
        shards: list[File],
        open_shard: Callable[[ShardFile, str], Shard],  # the URL is for errors
        constants: Callable[[File], dict[str, str]] = lambda shard: {},  # columns of one value throughout a shard
    ) -> None:
        self._found, self._config, self._shards, self._open = found, config, shards, open_shard
        self._constants = constants
        self._num_rows = 0  # that could be listed
        self._damage: RecordingError | None = None  # why the first could not
        self.schema = pa.schema([])

    def pieces(self) -> Iterator[Piece]:
        num_at_once = 1 if store.is_local(self._found.files) else REMOTE_SHARDS
        for number, (shard, events) in enumerate(in_order(self._shards, self._listed, num_at_once)):
            self._found.tell(f"listing the input: {number:,} of {len(self._shards):,} shards")
            known = next(events)
            if isinstance(known, Damage):
                yield self._damaged(shard, known)
            elif isinstance(known, _Known):
                self._add(known.passed, shard)
                yield from self._pieces(shard, known, events)
        if self._damage is not None and not self._num_rows:
            fault = self._damage.reason + (f": {self._damage.detail}" if self._damage.detail else "")
            raise UsageError(f"{without_query(self._found.url)}: none of its shards can be read ({fault})")

    def _listed(self, shard: File) -> Iterator[_Known | Rows | Damage]:
        """What a shard has to say, first how it looks; in a thread of its own where the shard is remote."""
        url = self._found.url_of(shard)
        try:
            place = Place(url, self._found.files, shard.path, self._config.storage_deadline_s)
            size = shard.size if shard.version else place.info()["size"]  # some web servers tell no size in a listing
            with ShardFile(place, size or 0) as file:
                rows = self._open(file, url)
                known = self._known(rows.schema, url)
                yield known
                wanted = dict.fromkeys([*known.passed.names, *known.names.used(), *[CHANNEL] * known.has_channels])
                wanted |= dict.fromkeys([known.names.start or "", known.names.end or ""] if known.has_ends else [])
                yield from rows.rows(known.names.path, [name for name in wanted if name != known.names.path])
        except DAMAGES as error:
            yield Damage(0, damage_of(error, url))

    def _known(self, schema: pa.Schema, url: str) -> _Known:
        column = audio_column(schema)
        names = Columns.choose(dict.fromkeys(schema.names), self._config, path=column)
        assert names is not None
        names.check(self._config, without_query(url))
        has_channels = has_ends = False
        if holds(schema.field(column).type) == "path":  # may be of segments; beside audio it tells where that was from
            offset, start, end = (_first(schema, usual) for usual in (OFFSET_COLUMNS, START_COLUMNS, END_COLUMNS))
            names = replace(names, offset=offset, start=start, end=end)
            has_channels = CHANNEL in schema.names and pa.types.is_integer(schema.field(CHANNEL).type)
            has_ends = offset is None and all(name and _is_number(schema.field(name).type) for name in (start, end))
        used = {*names.used(), *[CHANNEL] * has_channels, *[names.start, names.end] * has_ends}
        fields = [pa.field(f.name, plain(f.type)) for f in schema if f.name not in used and passes(f.type)]
        return _Known(names, pa.schema(fields), has_channels, has_ends)

    def _add(self, passed: pa.Schema, shard: File) -> None:
        constants = [pa.field(name, pa.string()) for name in self._constants(shard) if name not in passed.names]
        try:
            both = [self.schema, pa.schema([*passed, *constants])]
            self.schema = pa.unify_schemas(both, promote_options="permissive")
        except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
            url = without_query(self._found.url_of(shard))
            raise UsageError(f"{url}: its columns do not fit those of the shards before it: {error}") from error

    def _pieces(self, shard: File, known: _Known, events: Iterator[Any]) -> Iterator[Piece]:
        """Rows that are read together in as many pieces as reading them so often is worth; the others one by one."""
        piece: list[Entry] = []
        together, piece_s = range(0), 0.0
        for event in events:
            if piece and (isinstance(event, Damage) or event.together != together):
                yield Piece(piece, shard.path)
                piece = []
            if isinstance(event, Damage):
                yield self._damaged(shard, event)
                continue
            together = event.together
            for entry in self._entries(shard, known, event):
                if entry.row is None or entry.span is not None or entry.error is not None:
                    yield Piece([entry], shard.path if together and entry.row is not None else None)
                    continue
                if is_full(len(piece), piece_s, entry.seconds, len(together)):
                    yield Piece(piece, shard.path)
                    piece = []
                piece_s = entry.seconds + (piece_s if piece else 0.0)
                piece.append(entry)
        if piece:
            yield Piece(piece, shard.path)

    def _entries(self, shard: File, known: _Known, rows: Rows) -> Iterator[Entry]:
        self._num_rows += len(rows.records)
        names = known.names
        constants = self._constants(shard)
        located = Located(self._found, folder_of(shard.path))
        for row, (record, audio) in enumerate(zip(rows.records, rows.audio, strict=True), rows.first):
            entry = Entry(
                id=text_of(value_of(record, names.id)) or f"{self._stem(shard)}:{row}",
                uri=self._found.url_of(shard),
                row=row,
                size=audio.size,
                duration_s=duration_of(value_of(record, names.duration)),
                reference=text_of(value_of(record, names.reference)),
                columns=constants | {name: record[name] for name in known.passed.names},
                span=audio.span,
                version=shard.version or None,
            )
            if audio.path is not None:
                _link(entry, located, audio.path, known, record)
            elif audio.size is None:
                entry.error = RecordingError("no audio in its row")
            yield entry

    def _damaged(self, shard: File, damage: Damage) -> Piece:
        """One entry for all that cannot be listed."""
        self._damage = self._damage or damage.error
        name = f"{self._stem(shard)}:{damage.first}+" if damage.first else self._stem(shard)
        url = self._found.url_of(shard)
        return Piece([Entry(name, url, version=shard.version or None, error=damage.error)], shard.path)

    def _stem(self, shard: File) -> str:
        return posixpath.splitext(self._found.relative(shard))[0]


def _first(schema: pa.Schema, usual: tuple[str, ...]) -> str | None:
    return next((name for name in schema.names if name.lower() in usual), None)


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind))


def _link(entry: Entry, located: Located, path: str, known: _Known, record: dict[str, Any]) -> None:
    """Make it the file that its row names, or a segment or a channel of it."""
    entry.row = entry.version = None
    try:
        where = located(path)
        entry.uri, entry.version, entry.size, entry.error = where.uri, where.version, where.size, where.error
        entry.cut = cut_in(record, known.names, known.has_channels, known.has_ends)
        entry.duration_s = entry.cut.length_s if known.has_ends else entry.duration_s
    except UsageError as error:
        entry.error = RecordingError("not a place to read from", str(error))
    except RecordingError as error:
        entry.error = entry.error or error
