"""A file that recordings lie in: where it lies, whether it is still what was listed, and why it cannot be read.

Knows nothing of what is in it.
"""

import os
import posixpath
from typing import Any, NamedTuple

from pipeline import store
from pipeline.config import ReadConfig
from pipeline.errors import RecordingError, UsageError
from pipeline.records import without_query
from pipeline.storage_errors import storage_reason

PART_BYTES = 2 * 2**20  # of one request: some 25 ms at 80 MB/s, as much as its way takes


class Place(NamedTuple):
    """Where a file lies."""

    uri: str
    files: Any
    path: str  # on them
    deadline_s: float  # of requests for it
    etag: str | None = None  # what it must still have to be read

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

    @property
    def knows_ranges(self) -> bool:
        """Whether parts of it can be had, as far as that is known."""
        return store.knows_ranges(self.files, self.path)

    def info(self) -> dict[str, Any]:
        """Size and version as they are now; `RecordingError` where there is no such file or no way to it."""
        try:
            at = store.store_of(self.files, self.path)
            found: dict[str, Any] = store.patiently(lambda: self.files.info(self.path), self.deadline_s, at)
        except Exception as error:  # of as many kinds as there are stores
            raise storage_reason(error) from error
        if found["type"] == "directory":
            raise storage_reason(IsADirectoryError())
        return found

    def read(self, start: int, end: int) -> bytes:
        """These bytes, or those of them that the file has, in concurrent requests."""
        step = PART_BYTES if self.knows_ranges else max(1, end - start)
        starts = list(range(start, end, step))
        ends = [*starts[1:], end]
        with store.as_it_was(self.etag):
            parts = store.read_ranges(self.files, [self.path] * len(starts), starts, ends, self.deadline_s)
        return b"".join(_given(part) for part in parts)


def _given(part: bytes | Exception) -> bytes:
    if isinstance(part, Exception):
        if store.is_refusal(part):
            raise RecordingError("changed while it was read") from part
        raise storage_reason(part) from part
    return part


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
    try:
        listed = os.lstat(place.path)
    except OSError as error:  # removed since it was opened
        raise storage_reason(error) from error
    if not was or was == store.version_of({"size": now.st_size, "mtime": listed.st_mtime}):
        return True
    return check(place, was, {"size": now.st_size, "mtime": now.st_mtime}, config)


def listed_size(version: str | None) -> int | None:
    """The part of a version that is known without asking."""
    size = version.partition(" ")[0] if version else ""
    return int(size) if size.isdecimal() else None


def _in_words(version: str) -> str:
    size, _, mark = version.partition(" ")
    return f"{size} bytes ({mark})" if mark else f"{size} bytes"


def folder_of(path: str) -> str:
    """Of a table or a shard of rows: where the relative paths in it count from."""
    return posixpath.dirname(without_query(path))


def beside(files: Any, folder: str, path: str) -> str:
    """On their file system. The keys of stores have no `.` or `..`; web servers and disks know what they mean."""
    joined = posixpath.join(folder, path)
    return joined if store.is_local(files) or "://" in folder else posixpath.normpath(joined)


def leads_to(files: Any, folder: str, path: str) -> str:
    """Where a path in a table or in a shard's row leads: beside it, or where it says, if it is absolute or a URL."""
    if "://" in path or path.startswith("/"):
        return path
    joined = beside(files, folder, path)
    return joined if store.is_local(files) else str(files.unstrip_protocol(joined))
