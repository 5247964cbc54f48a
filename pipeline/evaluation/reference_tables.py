"""Tables of references, by path or URL: Parquet, CSV, TSV and JSON lines as ids, texts and whatever else they have.

Knows nothing of runs, or of what is wrong with ids and texts.
"""

import hashlib
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline import store
from pipeline.config import ReadConfig
from pipeline.errors import UsageError
from pipeline.evaluation.references import COLUMN, References, checked
from pipeline.records import without_query
from pipeline.shards.arrow_columns import PATH_COLUMNS, passes, plain
from pipeline.shards.damage import DAMAGES, damage_of
from pipeline.sources import common_voice, delimited, jsonlines
from pipeline.sources.columns import ID_COLUMNS, REFERENCE_COLUMNS, ColumnTypes, column_of, fitted, flat, text_of
from pipeline.sources.found import Found, find
from pipeline.sources.table import Row
from pipeline.sources.textfile import name_of, text_file

BLOCK_BYTES = 2**24
ENDINGS = {"parquet": (".parquet",), "jsonlines": jsonlines.ENDINGS, "csv": delimited.ENDINGS}


@dataclass(frozen=True)
class Table:
    """Where references are, to be read when they are first asked for, and once."""

    url: str
    config: ReadConfig

    @property
    def place(self) -> str:
        """Whatever the working directory, and without what only lets one in."""
        return without_query(store.absolute(self.url))

    @cached_property
    def content(self) -> str:
        return content_of(self.url, self.config)

    @cached_property
    def read(self) -> References:
        return read(self.url, self.config)


def content_of(url: str, config: ReadConfig) -> str:
    """A hash of all that the table is."""
    found, content = find(url, deadline_s=config.storage_deadline_s), hashlib.sha256()
    for file in found.listed:
        with text_file(found, file.path, config) as stream:
            while block := stream.read(BLOCK_BYTES):
                content.update(block)
    return content.hexdigest()[:16]


def read(url: str, config: ReadConfig) -> References:
    """The references of one file, or of several that a glob or folder names."""
    found = find(url, deadline_s=config.storage_deadline_s)
    parts = [part for file in found.listed if len(part := _read_file(found, file.path, config))]
    if not parts:
        raise UsageError(f"{found.url}: no references in it")
    try:
        table = pa.concat_tables(parts, promote_options="permissive")
    except pa.ArrowException as error:
        raise UsageError(f"{found.url}: the columns of its files do not fit each other: {error}") from error
    return checked(found.url, table)


def _read_file(found: Found, path: str, config: ReadConfig) -> pa.Table:
    kind, name = _kind(found, path, config), name_of(found, path)
    with text_file(found, path, config) as stream:
        if kind == "parquet":
            return _of_parquet(stream, name, config)
        if kind == "jsonlines":
            rows: Iterable[Row] = jsonlines.records(stream, name)
        elif kind == "common-voice":
            rows = common_voice.rows_of(stream, name)
        else:
            understood, key = partial(_header, config=config), partial(_id_place, config=config)
            rows = delimited.rows_after(stream, name, understood, key)
        return _of_rows(rows, name, config)


def _kind(found: Found, path: str, config: ReadConfig) -> str:
    """By what its name ends in, unless read.source says it."""
    if config.source in (*ENDINGS, "common-voice"):
        return config.source
    name = name_of(found, path)
    for kind, endings in ENDINGS.items():
        if name.lower().endswith(endings):
            return kind
    known = ", ".join(ending for endings in ENDINGS.values() for ending in endings)
    raise UsageError(
        f"{name}: references are a table whose name ends in one of {known}; of another name, say what it is by "
        f"--set read.source=parquet, csv, jsonlines or common-voice"
    )


def _of_parquet(stream: io.BufferedReader, name: str, config: ReadConfig) -> pa.Table:
    try:
        file = pq.ParquetFile(stream)
        names = [field.name for field in file.schema_arrow if passes(field.type)]
        at_id, at_reference = _named(names, config, name)
        table = file.read([name for name in file.schema_arrow.names if name in names])
        table = table.cast(pa.schema([pa.field(field.name, plain(field.type)) for field in table.schema]))
        ids, texts = (_as_text(table[column]) for column in (at_id, at_reference))
        for column in (ids, texts):
            column.validate(full=True)  # that they are UTF-8
    except DAMAGES as error:
        fault = damage_of(error, name)
        raise UsageError(f"{name}: {fault.reason}{f' ({fault.detail})' if fault.detail else ''}") from error
    return _table(ids, texts, table.drop_columns([at_id, at_reference]))


def _table(ids: pa.ChunkedArray, texts: pa.ChunkedArray, others: pa.Table) -> pa.Table:
    columns = {f"{COLUMN}{name}": others[name] for name in others.column_names}
    return pa.table({"id": ids, "reference": texts, **columns})


def _as_text(column: pa.ChunkedArray) -> pa.ChunkedArray:
    if pa.types.is_string(column.type):
        return column
    return pa.chunked_array([pa.array(map(text_of, column.to_pylist()), pa.string())])


def _of_rows(rows: Iterable[Row], name: str, config: ReadConfig) -> pa.Table:
    """A cell for each column of each row; where a row has none of it, null."""
    cells: dict[str, list[Any]] = {}
    types, num = ColumnTypes(), 0
    for number, row in rows:
        try:
            record = {column: flat(value) for column, value in row.items()}
        except UsageError as error:
            raise UsageError(f"{name} line {number}: {error}") from error
        types.see(record)
        for column, value in record.items():
            column_cells = cells.setdefault(column, [])
            column_cells += [None] * (num - len(column_cells))
            column_cells.append(value)
        num += 1
    for column_cells in cells.values():
        column_cells += [None] * (num - len(column_cells))
    if not num:
        return pa.table({})
    at_id, at_reference = _named(list(cells), config, name)
    ids, texts = (pa.chunked_array([pa.array(map(text_of, cells[at]), pa.string())]) for at in (at_id, at_reference))
    fields = types.schema([at_id, at_reference])
    columns = [pa.array([fitted(value, field) for value in cells[field.name]], field.type) for field in fields]
    return _table(ids, texts, pa.Table.from_arrays(columns, schema=fields))


def _header(line: str, where: str, config: ReadConfig) -> tuple[str, None]:
    """What separates the columns, by the first line."""
    split = delimited.split_line(line, where)
    for delimiter, fields in split.items():
        names = [field.strip() for field in fields]
        if _id_column(names, config) and _reference_column(names, config):
            return delimiter, None
    names = [field.strip() for field in max(split.values(), key=len)]
    _named(names, config, where)
    raise AssertionError  # it has refused them


def _id_place(names: list[str], config: ReadConfig) -> int:
    names = [name.strip() for name in names]
    return names.index(_id_column(names, config) or "")


def _named(names: Sequence[str], config: ReadConfig, where: str) -> tuple[str, str]:
    """The columns of ids and of references."""
    found = _id_column(names, config), _reference_column(names, config)
    told = (("ids", "id_column", ID_COLUMNS), ("references", "reference_column", REFERENCE_COLUMNS))
    for column, (what, option, usual) in zip(found, told, strict=True):
        if column is None:
            wanted = getattr(config, option)
            looked = f"column {wanted} (read.{option})" if wanted else f"column with {what} ({', '.join(usual)})"
            more = "" if wanted else f"; --set read.{option}=... names another"
            raise UsageError(f"{where}: no {looked}; there are {', '.join(names)}{more}")
    at_id, at_reference = found
    assert at_id is not None and at_reference is not None
    if at_id == at_reference or len(set(names)) < len(names):
        doubled = next((name for name in names if names.count(name) > 1), at_id)
        raise UsageError(f"{where}: the column {doubled} is there twice, or asked to be two things")
    return at_id, at_reference


def _id_column(names: Sequence[str], config: ReadConfig) -> str | None:
    """What is not named has the name of its file, as in an input."""
    return column_of(names, config.id_column, (*ID_COLUMNS, *PATH_COLUMNS))


def _reference_column(names: Sequence[str], config: ReadConfig) -> str | None:
    return column_of(names, config.reference_column, REFERENCE_COLUMNS)
