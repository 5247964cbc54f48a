"""CSV and TSV as a source: a path or URL and text per row, comma, semicolon or tab between them.

Knows nothing of what the columns mean; `table` does.
"""

import csv
import io
import itertools
import posixpath
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any

from pipeline.config import ReadConfig
from pipeline.errors import UsageError
from pipeline.records import without_query
from pipeline.shards.arrow_columns import PATH_COLUMNS
from pipeline.sources.columns import Columns
from pipeline.sources.entries import is_audio
from pipeline.sources.found import Found
from pipeline.sources.table import Format, Row, TableFiles
from pipeline.sources.textfile import first_line, numbered

ENDINGS = (".csv", ".tsv", ".csv.gz", ".tsv.gz")
DELIMITERS = "\t;,"  # in this order where more than one would do
MAX_FIELD = 2**24  # characters; the csv module's own limit is a transcript of two hours
WITHOUT_HEADER = ("path", "text")  # what the columns of a table without a header are


def lists_audio(found: Found, path: str, config: ReadConfig) -> bool:
    """Whether a table has a column of paths, by its first line."""
    first = first_line(found, path, config)
    try:
        return bool(first and dialect(first, "", config))
    except UsageError:
        return False


def recognised(found: Found, config: ReadConfig) -> bool:
    """A table by its own name, or a glob of them."""
    return 0 < len(found.listed) == len(found.ending(*ENDINGS))


def rows_of(stream: io.BufferedReader, name: str, config: ReadConfig) -> Iterator[Row]:
    """The rows of a table of audio as values by column."""
    return rows_after(stream, name, partial(dialect, config=config), partial(_path_column, config=config))


def rows_after(
    stream: io.BufferedReader,
    name: str,
    understood: Callable[[str, str], tuple[str, list[str] | None]],
    key: Callable[[list[str]], int],
) -> Iterator[Row]:
    """Rows as values by column, where the first line is understood as `dialect` does, and `key` says which of the
    columns names things. An empty cell is no value.
    """
    lines = numbered(stream, name)
    csv.field_size_limit(MAX_FIELD)  # of the process: the module has no other
    first, skipped = "", 0
    for number, first in lines:
        if first.strip():
            break
        skipped = number
    if not first.strip():
        return
    delimiter, header = understood(first, f"{name} line {skipped + 1}")
    # A space after each delimiter is one of them, unless it is a tab.
    spaced = delimiter != "\t" and f"{delimiter} " in first
    taken: list[str] = []  # the lines of the row of now
    source = _taking(itertools.chain([first], (line for _, line in lines)), taken)
    rest = csv.reader(source, delimiter=delimiter, strict=True, skipinitialspace=spaced)
    named = key(header or fields_of(first, delimiter))
    numbered_rows = _numbered_rows(rest, skipped, name, delimiter)
    yield from checked(_unswallowed(numbered_rows, taken, delimiter, named, name), header, name)


Delimited = partial(TableFiles, form=Format("table", ENDINGS, rows_of))


def dialect(first: str, where: str, config: ReadConfig) -> tuple[str, list[str] | None]:
    """What separates the columns, and their names where the first line has none: in it one of them is a path's."""
    split = split_line(first, where)
    for delimiter, fields in split.items():
        if Columns.choose(dict.fromkeys(name.strip() for name in fields), config):
            return delimiter, None
    for delimiter, fields in split.items():
        if len(fields) <= len(WITHOUT_HEADER) and (is_audio(without_query(fields[0])) or "://" in fields[0]):
            return delimiter, list(WITHOUT_HEADER[: len(fields)])
    raise UsageError(
        f"{where}: no header with a path to audio (one of {', '.join(PATH_COLUMNS)}, between commas, semicolons or "
        "tabs); without a header there may only be the path, or the path and the text"
    )


def checked(rows: Iterable[tuple[int, list[str]]], header: list[str] | None, name: str) -> Iterator[Row]:
    """Rows as values by column, the first of them the header unless that is known; as many fields as it has in each."""
    for number, fields in rows:
        if header is None:
            header = [column.strip() for column in fields]
            if doubled := next((column for column in header if header.count(column) > 1), None):
                raise UsageError(f"{name} line {number}: two columns are called {doubled}")
            if header.count("") > 1:
                raise UsageError(f"{name} line {number}: two columns without a name")
            continue
        if not any(fields):  # as spreadsheets leave them at the end
            continue
        if len(fields) != len(header):
            message = f"{len(fields)} fields, where the columns are {', '.join(header)}; quote what holds a delimiter"
            raise UsageError(f"{name} line {number}: {message}")
        values: dict[str, Any] = {column: field or None for column, field in zip(header, fields, strict=True)}
        yield number, values


def _numbered_rows(reader: Any, skipped: int, name: str, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Rows with the lines on which they begin."""
    while True:
        number = skipped + reader.line_num + 1
        try:
            yield number, next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            hint = "; a TSV without quotes, as Common Voice's: --source common-voice" if delimiter == "\t" else ""
            raise UsageError(f"{name} line {number}: not CSV ({error}){hint}") from error


def _unswallowed(
    rows: Iterable[tuple[int, list[str]]], taken: list[str], delimiter: str, path: int, name: str
) -> Iterator[tuple[int, list[str]]]:
    """Rows, none of which is several: where quotes are text like any other, one that opens takes the rows after it.

    With tabs no row spans lines, because most tables with tabs are never quoted; else none of its lines is a row.
    """
    for number, fields in rows:
        ending = _ending(fields, path)
        for line in taken[1:]:
            one = fields_of(line.replace("\r", ""), delimiter)
            is_row = path < len(one) == len(fields) and (
                is_audio(one[path]) or _ending(one, path) == ending is not None
            )
            if delimiter == "\t" or is_row:
                raise UsageError(
                    f"{name} line {number}: a quote sign opens a field of {len(taken):,} lines. Where quotes are part "
                    "of the text, write each twice and the text in quotes; of a .tsv as Common Voice's: --source "
                    "common-voice; where the field is meant, save the table as CSV without line breaks in it"
                )
        taken.clear()
        yield number, fields


def _ending(fields: list[str], column: int) -> str | None:
    """What a path ends in; None for what is none, because there is a space in what has no ending."""
    if column >= len(fields):
        return None
    path = without_query(fields[column].strip())
    ending = posixpath.splitext(path)[1].lower()
    return ending if ending or (path and not any(map(str.isspace, path))) else None


def _path_column(header: list[str], config: ReadConfig) -> int:
    names = [name.strip() for name in header]
    chosen = Columns.choose(dict.fromkeys(names), config)
    return names.index(chosen.path) if chosen else 0


def split_line(line: str, where: str) -> dict[str, list[str]]:
    """A table's first line as each delimiter would divide it."""
    if "\r" in line.rstrip("\r\n"):
        raise UsageError(f"{where}: lines that end in CR alone; save it with LF or CRLF")
    return {delimiter: fields_of(line, delimiter) for delimiter in DELIMITERS}


def fields_of(line: str, delimiter: str) -> list[str]:
    return next(csv.reader([line], delimiter=delimiter, skipinitialspace=delimiter != "\t"))


def _taking(lines: Iterable[str], taken: list[str]) -> Iterator[str]:
    for line in lines:
        taken.append(line)
        yield line
