"""Common Voice as a source: a table of clips, tab-separated and never quoted, with the clips in a folder beside it.

Knows nothing of what the columns mean; `table` does.
"""

import io
import posixpath
from collections.abc import Iterator

import pyarrow as pa

from pipeline.config import ReadConfig
from pipeline.errors import UsageError
from pipeline.shards.place import folder_of
from pipeline.sources.delimited import checked
from pipeline.sources.entries import Piece, is_audio, url_of
from pipeline.sources.found import Found
from pipeline.sources.table import Row, Table
from pipeline.sources.textfile import first_line, name_of, numbered, text_file

COLUMNS = {"client_id", "path", "sentence"}  # that every table of clips has had
CLIPS = "clips"
ENDING = ".mp3"  # of clips that a table names without one, as the first releases do


def recognised(found: Found, config: ReadConfig) -> bool:
    return bool(_tables(found, config))


class CommonVoice:
    """One table of a Common Voice corpus; the id of a recording is its clip's name."""

    def __init__(self, found: Found, config: ReadConfig) -> None:
        tables = _tables(found, config)
        if not tables:
            raise UsageError(f"{found.url}: no Common Voice table (a .tsv with {', '.join(sorted(COLUMNS))})")
        if len(tables) > 1:
            names = ", ".join(posixpath.relpath(table, found.root) for table in tables)
            raise UsageError(
                f"{found.url} holds several Common Voice tables ({names}): give one of them as the input, such as "
                f"{url_of(found.files, tables[0])}"
            )
        self._path = tables[0]
        self._found, self._config = found, config
        self._table = Table(found, config)
        self.description = f"the Common Voice table {posixpath.basename(self._path)}"

    @property
    def schema(self) -> pa.Schema:
        return self._table.schema

    def pieces(self) -> Iterator[Piece]:
        name, clips = name_of(self._found, self._path), posixpath.join(folder_of(self._path), CLIPS)
        with text_file(self._found, self._path, self._config) as stream:
            rows = map(_with_ending, rows_of(stream, name))
            yield from self._table.pieces(self._path, rows, clips)
        self._table.finish()


def _tables(found: Found, config: ReadConfig) -> list[str]:
    """What looks like a table of clips: the input itself, or what lies at the top of it."""
    tables = [file.path for file in found.ending(".tsv") if found.is_one_file or _is_at_top(found, file.path)]
    return [path for path in tables if set(first_line(found, path, config).strip("\r\n").split("\t")) >= COLUMNS]


def _is_at_top(found: Found, path: str) -> bool:
    return posixpath.dirname(path) == found.root.rstrip("/")


def rows_of(stream: io.BufferedReader, name: str) -> Iterator[Row]:
    """Of any table that has tabs between its columns and no quotes around what is in them."""
    return checked(_split(numbered(stream, name)), None, name)


def _split(lines: Iterator[tuple[int, str]]) -> Iterator[tuple[int, list[str]]]:
    return ((number, line.rstrip("\r\n").split("\t")) for number, line in lines if line.strip())


def _with_ending(row: Row) -> Row:
    path = row[1]["path"]
    if path and not is_audio(path):
        row[1]["path"] = f"{path}{ENDING}"
    return row
