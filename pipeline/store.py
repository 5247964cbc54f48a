"""Files by URL, local or in object storage: the few operations a run needs of a file system, through fsspec.

Knows nothing of runs. Credentials never pass through here: fsspec's backends find them where they look, and a URL with
credentials in it is refused.
"""

import contextlib
import functools
import os
import posixpath
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, BinaryIO
from urllib.parse import urlsplit

import fsspec

from pipeline import disk
from pipeline.errors import UsageError
from pipeline.patience import (
    ShortReadError,
    answered,
    code_of,
    count_retried,
    failed,
    pause,
    status_of,
    telling_more,
    until,
    waits,
    within,
)
from pipeline.patience import is_temporary as is_temporary
from pipeline.patience import num_retried as num_retried
from pipeline.patience import patiently as patiently
from pipeline.records import without_query
from pipeline.storage_errors import StorageError, sentence, without_secrets

DEADLINE_S = 300.0  # for what knows no `read.storage_deadline_s`
ETAG: ContextVar[str | None] = ContextVar("ETAG", default=None)  # that an object of S3 must still have to be read
THREADS = 16  # of requests to a store whose client knows no others


@functools.lru_cache(maxsize=64)
def filesystem(protocol: str) -> Any:
    """One file system object per protocol and process; listings are never cached, because runs change them."""
    if protocol in ("s3", "s3a"):
        from pipeline.s3 import s3  # takes a third of a second

        return s3()
    if protocol in ("http", "https"):
        from pipeline.web import web  # likewise

        return web()
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
        raise UsageError(f"{without_secrets(without_query(url))}: {without_secrets(str(error))}") from error
    return files, files._strip_protocol(url if protocol else path)


def absolute(url: str) -> str:
    """The same place, whatever the working directory."""
    files, path = locate(url)
    return path if is_local(files) else files.unstrip_protocol(path)


def overlap(one: str, other: str) -> bool:
    """Whether two URLs are one place or one lies inside the other, however they are spelt."""
    first, second = _real(one), _real(other)
    return first[: len(second)] == second or second[: len(first)] == first


def same(one: str, other: str) -> bool:
    """Whether two URLs are one place."""
    return _real(one) == _real(other)


def _real(url: str) -> list[str]:
    """The steps to a place: its store, then folder by folder, without `..`, and on a local disk without links."""
    files, path = locate(url)
    path = os.path.realpath(path) if is_local(files) else posixpath.normpath(path)
    kind = files.protocol if isinstance(files.protocol, str) else files.protocol[0]
    return [kind, *(step for step in path.split("/") if step)]


def is_local(files: Any) -> bool:
    return "file" in files.protocol  # a name, or a tuple of them


def store_of(files: Any, path: str) -> str | None:
    """What is away as a whole when it is away: a web server, or all that a client of another kind asks."""
    if is_local(files):
        return None
    protocol = files.protocol if isinstance(files.protocol, str) else files.protocol[0]
    return f"{protocol}://{urlsplit(path).netloc}" if protocol in ("http", "https") else str(protocol)


def knows_ranges(files: Any, path: str) -> bool:
    """Whether parts of a file can be had, as far as that is known."""
    return bool(files.knows_ranges(path)) if hasattr(files, "knows_ranges") else True


@contextlib.contextmanager
def as_it_was(etag: str | None) -> Iterator[None]:
    """Inside, an object of S3 that is another by now is refused (`is_refusal`): its ranges would not fit together."""
    token = ETAG.set(etag)
    try:
        yield
    finally:
        ETAG.reset(token)


def version_of(info: dict[str, Any]) -> str:
    """What of a file's listing changes with its contents: its size, and its etag or time."""
    mark = info.get("ETag") or info.get("etag") or info.get("mtime") or info.get("LastModified") or ""
    return f"{info['size']} {mark}".replace('"', "").strip()


def read_ranges(
    files: Any,
    paths: list[str],
    starts: list[int] | None,
    ends: list[int] | None,
    deadline_s: float,
    may_be_short: bool = False,
) -> list[bytes | Exception]:
    """Ranges of files, or whole files, concurrently where the store is remote; what fails for the moment again.

    A range is shorter than asked for only where its file ends; who expects that of most says so.
    """
    # A whole file from S3 in one request, which otherwise asks for its size first; of others what was asked for, and
    # not the 5 MB after it.
    options: dict[str, Any] = {"max_concurrency": 1} if "s3" in files.protocol else {}
    options |= {} if files.async_impl else {"cache_type": "none"}
    found: list[bytes | Exception] = [b""] * len(paths)
    wanted, short = list(range(len(paths))), set[int]()
    stores = [store_of(files, path) for path in paths]
    patience = {at: until(deadline_s, at) for at in set(stores)}
    with within(max(patience.values(), default=0.0)) as stops:
        for wait_s in waits():
            some_starts = None if starts is None else [starts[number] for number in wanted]
            some_ends = None if ends is None else [ends[number] for number in wanted]
            parts = _ranges_at_once(files, [paths[number] for number in wanted], some_starts, some_ends, options)
            again = []
            for number, part in zip(wanted, parts, strict=True):
                start, end = starts[number] if starts else 0, ends[number] if ends else None
                if isinstance(part, Exception):
                    if is_temporary(part):
                        again.append(number)
                    last = found[number]
                    part = telling_more(last if isinstance(last, Exception) else None, part)
                elif end is not None and len(part) < end - start and number not in short and not may_be_short:
                    short.add(number)  # the end of its file, or cut off on the way: asked once more, the same is true
                    again.append(number)
                found[number] = part
            _note(found, wanted, stores)
            now = time.monotonic()
            again = [number for number in again if now < min(stops, patience[stores[number]])]
            if not again:
                break
            pause(min(wait_s, stops - now))
            count_retried(len(again))
            wanted = again
    return found


def _note(found: list[bytes | Exception], asked: list[int], stores: list[str | None]) -> None:
    """Which stores answered, and of which nothing came."""
    are_away = {number for number in asked if isinstance(part := found[number], Exception) and is_temporary(part)}
    there = {stores[number] for number in asked if number not in are_away}
    for at in there:
        answered(at)
    for at in {stores[number] for number in are_away} - there:
        failed(at)


def _ranges_at_once(
    files: Any, paths: list[str], starts: list[int] | None, ends: list[int] | None, options: dict[str, Any]
) -> list[Any]:
    """In one request for each; by threads where the store's own client would make one after the other."""
    if files.async_impl or is_local(files) or len(paths) < 2:
        # Not `cat`, which takes a * or [ in a name for a pattern.
        return list(files.cat_ranges(paths, starts, ends, on_error="return", **options))
    each = [[path, starts and starts[number], ends and ends[number]] for number, path in enumerate(paths)]
    with ThreadPoolExecutor(min(len(paths), THREADS), "store") as threads:
        parts = threads.map(lambda one: files.cat_ranges(*([part] for part in one), on_error="return", **options), each)
        return [part for (part,) in parts]


def opened(files: Any, path: str, deadline_s: float) -> BinaryIO:
    """A file to read, each of whose blocks is asked for patiently."""
    if is_local(files):
        return open(path, "rb")
    at = store_of(files, path)
    file: Any = patiently(lambda: files.open(path, "rb"), deadline_s, at)
    if (cache := getattr(file, "cache", None)) is not None:  # one that holds nothing yet is false
        # Files of web servers have a way of their own, which waits for ever for what trickles.
        fetch = partial(files.cat_file, path) if hasattr(files, "knows_ranges") else cache.fetcher
        size = file.size

        def whole(start: int, end: int) -> bytes:
            data = bytes(fetch(start, end))
            if size is not None and len(data) < min(end, size) - start:
                raise ShortReadError(f"{len(data):,} of {min(end, size) - start:,} bytes")
            return data

        cache.fetcher = lambda start, end: patiently(lambda: whole(start, end), deadline_s, at)
    return file  # type: ignore[no-any-return]


@dataclass(frozen=True)
class Folder:
    """A folder by URL. Travels to other processes as its URL, so that no credential is ever pickled.

    What a store refuses for the moment is asked again until `deadline_s` have passed; what it refuses for good is a
    `StorageError`, except that something is not there.
    """

    url: str
    deadline_s: float = DEADLINE_S

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
        return replace(self, url=f"{self.url.rstrip('/')}/{name}")

    def exists(self, name: str = "") -> bool:
        return bool(self._patiently(self.files.exists, self.path(name)))

    def names(self) -> list[str]:
        """What lies directly in the folder, sorted; nothing where there is no folder."""
        with contextlib.suppress(FileNotFoundError):
            paths = self._patiently(self.files.ls, self.path(), detail=False)
            return sorted(os.path.basename(path.rstrip("/")) for path in paths)
        return []

    def sizes(self) -> dict[str, int]:
        """The sizes of the files directly in the folder."""
        with contextlib.suppress(FileNotFoundError):
            infos = self._patiently(self.files.ls, self.path(), detail=True)
            return {os.path.basename(info["name"]): info["size"] for info in infos if info["type"] == "file"}
        return {}

    def size(self, name: str) -> int | None:
        """Of one file; None where there is none."""
        with contextlib.suppress(FileNotFoundError):
            return int(self._patiently(self.files.info, self.path(name))["size"])
        return None

    def read(self, name: str) -> bytes:
        return self.read_all([name])[name]

    def read_all(self, names: list[str]) -> dict[str, bytes]:
        """Many small files at once: concurrently where the store is remote."""
        found = {}
        paths = [self.path(name) for name in names]
        for name, data in zip(names, read_ranges(self.files, paths, None, None, self.deadline_s), strict=True):
            if isinstance(data, Exception):
                self._explain(data)
                raise data
            found[name] = data
        return found

    def publish(self, name: str, data: bytes) -> None:
        """Write a file whole or not at all: a rename on a local disk, one PUT in object storage."""
        if is_local(self.files):
            disk.publish(self.path(name), data)
        else:
            self._patiently(self.files.pipe_file, self.path(name), data)

    def create(self, name: str, data: bytes) -> bool:
        """Write a small file, whole, unless another is there; whether it holds this data now.

        Of several who do so one succeeds, where the store has conditional writes; another lets each of them.
        """
        path = self.path(name)
        try:
            if is_local(self.files):
                disk.create(path, data)
            else:
                self._patiently(self.files.pipe_file, path, data, mode="create")
        except OSError as error:
            if isinstance(error, FileExistsError) or is_refusal(error):
                with contextlib.suppress(FileNotFoundError):  # the other has removed it since
                    return self.read(name) == data  # its own, perhaps: a try that arrived, although its answer did not
                return False
            if code_of(error) not in ("NotImplemented", "501"):
                raise
            self.publish(name, data)
        return True

    def delete(self, names: list[str]) -> None:
        """Remove files or folders; one that is gone already is no fault."""
        together = set(names) & self.sizes().keys() if len(names) > 1 and not is_local(self.files) else set()
        if together:  # a thousand in one request, where one by one each takes three
            self._patiently(self.files.rm, [self.path(name) for name in sorted(together)])
        for name in names:
            if name in together:
                continue
            with contextlib.suppress(FileNotFoundError):
                self._patiently(self.files.rm, self.path(name), recursive=True)

    def _patiently(self, operation: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        try:
            action = partial(operation, *arguments, **options)
            return patiently(action, self.deadline_s, store_of(self.files, self.path()))
        except Exception as error:
            self._explain(error)
            raise

    def _explain(self, error: Exception) -> None:
        if (known := sentence(error, self.url)) is not None and not is_refusal(error):
            raise StorageError(known) from error


def is_refusal(error: BaseException) -> bool:
    """Of a conditional write. s3fs makes FileExistsError of it only where the store's words are Amazon's."""
    return code_of(error) in ("PreconditionFailed", "412") or status_of(error) == 412
