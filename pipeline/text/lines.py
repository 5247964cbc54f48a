"""Small text files that a user gives, by path or URL, as numbered lines; what is wrong with one is told by its line.

Knows nothing of what the lines mean.
"""

import gzip
import os
import re
import zlib
from collections.abc import Iterator

from pipeline import store
from pipeline.errors import UsageError
from pipeline.storage_errors import as_usage, storage_reason, without_secrets
from pipeline.text.foreign import foreign

GZIP_MAGIC = b"\x1f\x8b"
BYTE_ORDER_MARK = "\ufeff"
_OTHER_ENCODINGS = {b"\xff\xfe": "UTF-16", b"\xfe\xff": "UTF-16"}
SPACES = " \t\r\f\v"  # of ASCII alone, as between the words of a language model
_SPACE = re.compile(f"[{SPACES}]+")


def contents(location: str, what: str) -> bytes:
    """`what` the file is, for the message where it cannot be read."""
    named = f"{what} {without_secrets(location)}"
    with as_usage(named):  # of a store's faults those that are no OSError
        files, path = store.locate(os.path.expanduser(location))
        try:
            return bytes(files.cat_file(path))
        except OSError as error:
            fault = storage_reason(error)
            raise UsageError(": ".join(filter(None, (named, fault.reason, fault.detail)))) from error


def unpacked(data: bytes, name: str) -> bytes:
    """As it is where it is not gzipped."""
    if not data.startswith(GZIP_MAGIC):
        return data
    try:
        return gzip.decompress(data)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise UsageError(f"{name}: a damaged gzip file ({error}); fetch or pack it again") from error


def numbered(data: bytes, name: str) -> Iterator[tuple[int, str]]:
    """The lines from 1, unpacked where they are gzipped, without a byte order mark and what ends them."""
    data = unpacked(data, name)
    if (kind := foreign(data)) is not None:
        raise UsageError(f"{name}: {kind}, where lines of text are expected; give another file")
    if (encoding := _OTHER_ENCODINGS.get(data[:2])) is not None:
        raise UsageError(f"{name}: {encoding}, not UTF-8; convert it, with iconv for instance")
    try:
        text = data.decode().removeprefix(BYTE_ORDER_MARK)
    except UnicodeDecodeError as error:
        if b"\0" in data:
            raise UsageError(f"{name}: a binary file, where lines of text are expected; give another file") from error
        line = data.count(b"\n", 0, error.start) + 1
        raise UsageError(
            f"{name} line {line}: not UTF-8 ({error.reason}); convert it, with iconv for instance"
        ) from error
    for number, line_text in enumerate(text.split("\n"), 1):
        if "\0" in line_text:
            raise UsageError(f"{name} line {number}: a NUL byte; it should be a text file in UTF-8")
        yield number, line_text.removesuffix("\r")


def pieces(text: str) -> list[str]:
    """What stands between white space."""
    return [piece for piece in _SPACE.split(text) if piece]
