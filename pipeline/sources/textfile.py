"""Text files of tables: line by line, unpacked where they are gzipped, with faults that name file and line.

Knows nothing of what the lines mean.
"""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pipeline import store
from pipeline.config import ReadConfig
from pipeline.errors import RecordingError, UsageError
from pipeline.patience import status_of
from pipeline.records import without_query
from pipeline.shards.tars import unpacked
from pipeline.sources.entries import url_of
from pipeline.sources.found import Found
from pipeline.storage_errors import storage_reason

MAX_LINE_BYTES = 2**26  # a longer line is none of a table: 64 MiB is a transcript of years
BLOCK_BYTES = 2**20


def name_of(found: Found, path: str) -> str:
    """A file as messages call it: a presigned URL's query is as good as a password."""
    return without_query(url_of(found.files, path))


def is_gzipped(path: str) -> bool:
    return without_query(path).lower().endswith(".gz")


@contextmanager
def text_file(found: Found, path: str, config: ReadConfig) -> Iterator[io.BufferedReader]:
    """An open table. What is wrong with the file, while it is open, is a `UsageError`."""
    name = name_of(found, path)
    try:
        if is_gzipped(path):
            opened: Any = unpacked(found.files, path, config)
        else:
            opened = store.opened(found.files, path, config.storage_deadline_s)
        with opened if isinstance(opened, io.BufferedReader) else io.BufferedReader(opened, BLOCK_BYTES) as stream:
            yield stream
    except Exception as error:
        of_a_store = store.is_temporary(error) or status_of(error) is not None  # which have kinds of their own
        if not of_a_store and not isinstance(error, (RecordingError, OSError)):
            raise
        fault = storage_reason(error)
        raise UsageError(f"{name}: {fault.reason}{f' ({fault.detail})' if fault.detail else ''}") from error


def lines_of(stream: io.BufferedReader, name: str) -> Iterator[tuple[int, bytes]]:
    """The lines from 1, as they are and end."""
    number = 0
    while line := stream.readline(MAX_LINE_BYTES + 1):
        number += 1
        if len(line) > MAX_LINE_BYTES:
            raise UsageError(f"{name} line {number}: longer than {MAX_LINE_BYTES:,} bytes: not a table")
        yield number, line


def numbered(stream: io.BufferedReader, name: str) -> Iterator[tuple[int, str]]:
    """The lines from 1, as they end; without a byte order mark."""
    for number, line in lines_of(stream, name):
        text = decoded(line, f"{name} line {number}")
        yield number, text.removeprefix("\ufeff") if number == 1 else text


def decoded(data: bytes, where: str) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        is_16 = data.startswith((b"\xff\xfe", b"\xfe\xff"))
        raise UsageError(f"{where}: {'UTF-16, ' if is_16 else ''}not UTF-8; save it as UTF-8") from error


def first_line(found: Found, path: str, config: ReadConfig) -> str:
    """The first line with anything in it; empty where the file is, or cannot be read as text."""
    try:
        with text_file(found, path, config) as stream:
            return next((line for _, line in numbered(stream, "") if line.strip()), "")
    except UsageError:  # whoever reads the whole of it says what is wrong
        return ""
