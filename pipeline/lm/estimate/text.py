"""Text files as blocks of bytes that end between words, checked to be UTF-8; knows nothing of what a word is for.

Plain or gzip, by their content; local, by glob or by URL; `-` is standard input.
"""

import gzip
import sys
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO

from pipeline import store
from pipeline.errors import UsageError

BLOCK_BYTES = 4 << 20
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
GZIP_MAGIC = b"\x1f\x8b"


@dataclass(frozen=True)
class Block:
    """Whole words; a line may go on in the next block, but every file ends with a line end."""

    data: bytes
    location: str
    first_line: int  # the line that the block begins in, from 1

    def line_of(self, position: int) -> int:
        return self.first_line + self.data.count(b"\n", 0, position)


def expand(patterns: Sequence[str]) -> list[str]:
    """The files that paths, globs and URLs name, those of one glob in the order of their names."""
    locations: list[str] = []
    for pattern in patterns:
        if pattern == "-":
            locations.append(pattern)
            continue
        files, path = store.locate(pattern)
        if files.isfile(path):
            locations.append(pattern)
        elif files.isdir(path):
            raise UsageError(f"{pattern}: a folder; name its files, as in '{pattern.rstrip('/')}/*.txt'")
        elif any(sign in pattern for sign in "*?[") and (found := sorted(files.glob(path))):
            found = [name for name in found if files.isfile(name)]
            locations += found if store.is_local(files) else [files.unstrip_protocol(name) for name in found]
        else:
            raise UsageError(f"{pattern}: no such text file")
    return locations


def blocks(locations: Sequence[str]) -> Iterator[Block]:
    for location in locations:
        with _opened(location) as file:
            yield from _blocks(file, "standard input" if location == "-" else location)


@contextmanager
def _opened(location: str) -> Iterator[IO[bytes] | gzip.GzipFile]:
    if location == "-":
        yield sys.stdin.buffer
        return
    files, path = store.locate(location)
    try:
        opened = files.open(path, "rb")
    except OSError as error:
        raise UsageError(f"{location}: cannot be read: {error.strerror or error}") from error
    with opened as file:
        magic = file.read(len(GZIP_MAGIC))
        file.seek(0)
        if magic != GZIP_MAGIC:
            yield file
            return
        with gzip.open(file) as unpacked:
            yield unpacked


def _blocks(file: IO[bytes] | gzip.GzipFile, location: str) -> Iterator[Block]:
    rest, line = b"", 1  # rest: the beginning of a word that ends in the next block
    ended = True  # whether the last line did
    for number, data in enumerate(_read(file, location)):
        if number == 0:
            data = data.removeprefix(BYTE_ORDER_MARK)
        end = max(data.rfind(b"\n"), data.rfind(b" "), data.rfind(b"\t")) + 1
        if not end:
            rest += data
            continue
        block = Block(rest + data[:end], location, line)
        rest = data[end:]
        _check(block)
        yield block
        line += block.data.count(b"\n")
        ended = block.data.endswith(b"\n")
    if rest or not ended:
        block = Block(rest + b"\n", location, line)
        _check(block)
        yield block


def _read(file: IO[bytes] | gzip.GzipFile, location: str) -> Iterator[bytes]:
    try:
        while data := file.read(BLOCK_BYTES):
            yield data
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise UsageError(f"{location}: a damaged gzip file ({error}); fetch or pack it again") from error


def _check(block: Block) -> None:
    try:
        block.data.decode()
    except UnicodeDecodeError as error:
        raise UsageError(
            f"{block.location}: line {block.line_of(error.start)} is not UTF-8 ({error.reason}); "
            "convert it, with iconv for instance"
        ) from error
    if (position := block.data.find(b"\0")) >= 0:
        raise UsageError(
            f"{block.location}: line {block.line_of(position)} holds a NUL byte; "
            "text must be UTF-8 with one sentence per line"
        )
