"""Files by URL, local or in object storage: the few operations a run needs of a file system, through fsspec.

Knows nothing of runs. Credentials never pass through here: fsspec's backends find them where they look, and a URL with
credentials in it is refused.
"""

import contextlib
import functools
import os
import posixpath
import uuid
from dataclasses import dataclass
from typing import Any

import fsspec

from pipeline.errors import UsageError


@functools.lru_cache(maxsize=64)
def filesystem(protocol: str) -> Any:
    """One file system object per protocol and process; listings are never cached, because runs change them."""
    if protocol == "s3" and ("AWS_ENDPOINT_URL" in os.environ or "AWS_ENDPOINT_URL_S3" in os.environ):
        # Stores other than Amazon's may send the checksum of the whole object with a part of it (rclone does).
        os.environ.setdefault("AWS_RESPONSE_CHECKSUM_VALIDATION", "when_required")
    return fsspec.filesystem(protocol, use_listings_cache=False)


def locate(url: str) -> tuple[Any, str]:
    """The file system of a URL or local path, and the path on it."""
    protocol, path = fsspec.core.split_protocol(url)
    if protocol and "@" in path.partition("/")[0]:
        host = path.partition("/")[0].rpartition("@")[2]
        raise UsageError(f"{protocol}://{host}: no credentials in URLs, because runs keep them; use the environment")
    try:
        files = filesystem(protocol or "file")
    except (ValueError, ImportError, TypeError, OSError) as error:  # the last two: a protocol inside another's file
        raise UsageError(f"{url}: {error}") from error
    return files, files._strip_protocol(url if protocol else path)


def absolute(url: str) -> str:
    """The same place, whatever the working directory."""
    files, path = locate(url)
    return path if is_local(files) else files.unstrip_protocol(path)


def overlap(one: str, other: str) -> bool:
    """Whether two URLs are one place or one lies inside the other, however they are spelt."""
    first, second = _real(one), _real(other)
    return first[: len(second)] == second or second[: len(first)] == first


def _real(url: str) -> list[str]:
    """The steps to a place: its store, then folder by folder, without `..`, and on a local disk without links."""
    files, path = locate(url)
    path = os.path.realpath(path) if is_local(files) else posixpath.normpath(path)
    kind = files.protocol if isinstance(files.protocol, str) else files.protocol[0]
    return [kind, *(step for step in path.split("/") if step)]


def is_local(files: Any) -> bool:
    return "file" in files.protocol  # a name, or a tuple of them


def is_temporary(name: str) -> bool:
    """Whether `Folder.publish` was killed before it could rename this file."""
    return name.startswith(".") and name.endswith(".tmp")


@dataclass(frozen=True)
class Folder:
    """A folder by URL. Travels to other processes as its URL, so that no credential is ever pickled."""

    url: str

    def __post_init__(self) -> None:
        if any(sign in self.url for sign in "*?[") and not is_local(self.files):
            # fsspec's backends expand them when they delete: `run*` would take the neighbours with it.
            raise UsageError(f"{self.url}: no *, ? or [ in the name of a folder in object storage")

    def path(self, name: str = "") -> str:
        root = locate(self.url)[1].rstrip("/")
        return f"{root}/{name}" if name else root

    @property
    def files(self) -> Any:
        return locate(self.url)[0]

    def sub(self, name: str) -> "Folder":
        return Folder(f"{self.url.rstrip('/')}/{name}")

    def exists(self, name: str = "") -> bool:
        return bool(self.files.exists(self.path(name)))

    def names(self) -> list[str]:
        """What lies directly in the folder, sorted; nothing where there is no folder."""
        with contextlib.suppress(FileNotFoundError):
            return sorted(os.path.basename(path.rstrip("/")) for path in self.files.ls(self.path(), detail=False))
        return []

    def sizes(self) -> dict[str, int]:
        """The sizes of the files directly in the folder."""
        with contextlib.suppress(FileNotFoundError):
            infos = self.files.ls(self.path(), detail=True)
            return {os.path.basename(info["name"]): info["size"] for info in infos if info["type"] == "file"}
        return {}

    def read(self, name: str) -> bytes:
        return bytes(self.files.cat_file(self.path(name)))

    def read_all(self, names: list[str]) -> dict[str, bytes]:
        """Many small files at once: concurrently where the store is remote."""
        if not names:
            return {}
        # Not `cat`, which takes a * or [ in a name for a pattern.
        found = self.files.cat_ranges([self.path(name) for name in names], None, None, on_error="raise")
        return dict(zip(names, map(bytes, found), strict=True))

    def publish(self, name: str, data: bytes) -> None:
        """Write a file whole or not at all: a rename on a local disk, one PUT in object storage."""
        path = self.path(name)
        if not is_local(self.files):
            self.files.pipe_file(path, data)
            return
        os.makedirs(os.path.dirname(path), exist_ok=True)
        temporary = os.path.join(os.path.dirname(path), f".{os.path.basename(path)}.{uuid.uuid4().hex}.tmp")
        try:
            with open(temporary, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary)
            raise

    def create(self, name: str, data: bytes) -> bool:
        """Write a small file unless it is there; whether this call wrote it. Atomic where the store can be."""
        path = self.path(name)
        if is_local(self.files):
            os.makedirs(os.path.dirname(path), exist_ok=True)
            try:
                with open(path, "xb") as file:
                    file.write(data)
            except FileExistsError:
                return False
            return True
        try:
            self.files.pipe_file(path, data, mode="create")  # a conditional write where the backend has one
        except FileExistsError:
            return False
        except OSError:
            if self.exists(name):  # some stores refuse without saying why
                return False
            raise
        return True

    def delete(self, names: list[str]) -> None:
        """Remove files or folders; one that is gone already is no fault."""
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                self.files.rm(self.path(name), recursive=True)
