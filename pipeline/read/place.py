"""A file that recordings lie in: whether it is still what was listed, and why it cannot be read.

Knows nothing of what is in it.
"""

import os
from typing import Any, NamedTuple

from pipeline import store
from pipeline.config import ReadConfig
from pipeline.errors import UsageError
from pipeline.records import without_query
from pipeline.storage_errors import storage_reason as storage_reason


class Place(NamedTuple):
    """Where a file lies."""

    uri: str
    files: Any
    path: str  # on them
    deadline_s: float  # of requests for it

    @classmethod
    def of(cls, uri: str, config: ReadConfig) -> "Place":
        """`RecordingError` for what is no address: a table or a shard's row may name anything."""
        try:
            files, path = store.locate(uri)
        except UsageError as error:
            raise storage_reason(error) from error
        return cls(uri, files, path, config.storage_deadline_s)

    @property
    def is_local(self) -> bool:
        return store.is_local(self.files)

    def info(self) -> dict[str, Any]:
        """Size and version as they are now; `RecordingError` where there is no such file or no way to it."""
        try:
            found: dict[str, Any] = store.patiently(lambda: self.files.info(self.path), self.deadline_s)
        except Exception as error:  # of as many kinds as there are stores
            raise storage_reason(error) from error
        if found["type"] == "directory":
            raise storage_reason(IsADirectoryError())
        return found

    def head(self, start: int, length: int) -> bytes:
        """The first bytes of a part of the file, or the whole file from a web server that knows no ranges."""
        try:
            options = {"start": start, "end": start + length}
            return bytes(store.patiently(lambda: self.files.cat_file(self.path, **options), self.deadline_s))
        except Exception as error:
            raise storage_reason(error) from error

    def read(self, start: int, end: int) -> bytes:
        """These bytes, or those of them that the file has, in concurrent requests."""
        starts = list(range(start, end, PART_BYTES))
        ends = [*starts[1:], end]
        parts = store.read_ranges(self.files, [self.path] * len(starts), starts, ends, self.deadline_s)
        return b"".join(_given(part) for part in parts)


def _given(part: bytes | Exception) -> bytes:
    if isinstance(part, Exception):
        raise storage_reason(part) from part
    return part


PART_BYTES = 2 * 2**20  # of one request: some 25 ms at 80 MB/s, as much as its way takes


def check(place: Place, was: str | None, info: dict[str, Any], config: ReadConfig) -> bool:
    """Whether a file is what was listed, as far as that is known."""
    now = store.version_of(info)
    if not was or was == now:
        return True
    if config.changed == "refuse":
        raise UsageError(
            f"{without_query(place.uri)} is not what was listed: it was {_in_words(was)} and is {_in_words(now)}. "
            "Go on with it as it is now by --set read.changed=reread, or begin anew by --overwrite"
        )
    return False


def check_local(place: Place, was: str | None, now: os.stat_result, config: ReadConfig) -> bool:
    """Likewise. Of a link, listings may have the time of the link itself."""
    if not was or was == store.version_of({"size": now.st_size, "mtime": os.lstat(place.path).st_mtime}):
        return True
    return check(place, was, {"size": now.st_size, "mtime": now.st_mtime}, config)


def listed_size(version: str | None) -> int | None:
    """The part of a version that is known without asking."""
    size = version.partition(" ")[0] if version else ""
    return int(size) if size.isdecimal() else None


def _in_words(version: str) -> str:
    size, _, mark = version.partition(" ")
    return f"{size} bytes ({mark})" if mark else f"{size} bytes"
