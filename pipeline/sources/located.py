"""Where the paths in a table lead: beside the table, to an absolute path, or to a URL.

Knows nothing of what the table is; whether a file is there is found out when it is read.
"""

import os
import posixpath
from collections.abc import Iterable
from itertools import islice
from typing import NamedTuple

from pipeline import store
from pipeline.errors import RecordingError
from pipeline.shards.place import beside, leads_to
from pipeline.sources.found import Found

NUM_TRIED = 10  # paths that are looked for before it is given up to find where they count from


class Where(NamedTuple):
    """A file that a table names, as far as is known without a request to a store."""

    uri: str
    size: int | None = None  # of local files alone, as is the version
    version: str | None = None
    error: RecordingError | None = None


class Located:
    """A path of a table -> where it leads."""

    def __init__(self, found: Found, folder: str) -> None:
        self._found, self._folder = found, folder
        self._is_local = store.is_local(found.files)
        self._path, self._where = "", Where("")

    def __call__(self, path: str) -> Where:
        """`UsageError` for a URL that no store is known for, or with credentials in it."""
        if path != self._path:  # the segments of a file follow one another
            self._where, self._path = self._find(path), path
        return self._where

    def _find(self, path: str) -> Where:
        if "\0" in path:
            return Where(path.replace("\0", "\\0"), error=RecordingError("null byte in the path"))
        if "://" in path:
            files, there = store.locate(path)
            return _local(path, there) if store.is_local(files) else Where(path)
        uri = leads_to(self._found.files, self._folder, path)
        return _local(uri, uri) if self._is_local or path.startswith("/") else Where(uri)


def base_of(found: Found, folder: str, paths: Iterable[str]) -> str:
    """Where relative paths count from that meant the working directory of whoever wrote them, as Kaldi's and Lhotse's.

    The table's folder or the nearest above it, else the working directory of now, below which one of the first few is
    found; where none is, the table's folder.
    """
    relative = list(islice((path for path in paths if "://" not in path and not path.startswith("/")), NUM_TRIED))
    folders = [folder]
    while len(folders) < 32 and posixpath.dirname(folders[-1]) not in ("", "/", folders[-1]):
        folders.append(posixpath.dirname(folders[-1]))
    if store.is_local(found.files):
        folders.append(os.getcwd())
    for path in relative:
        for one in folders:
            if "\0" not in path and found.files.exists(beside(found.files, one, path)):
                return one
    return folder


def _local(uri: str, path: str) -> Where:
    try:
        info = os.stat(path)
    except OSError:  # it fails when it is read
        return Where(uri)
    return Where(uri, info.st_size, store.version_of({"size": info.st_size, "mtime": info.st_mtime}))
