"""What lies at an input's URL: one file, or the files below a folder or of a glob, sorted by name.

Knows nothing of what they are; `recognise` does.
"""

import os
import posixpath
import re
import stat
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial, reduce
from itertools import islice, pairwise
from typing import Any, NamedTuple

import fsspec.utils
import pyarrow as pa
import pyarrow.compute as pc

from pipeline import store
from pipeline.errors import UsageError
from pipeline.records import without_query
from pipeline.sources.entries import url_of
from pipeline.storage_errors import as_usage, sentence

Tell = Callable[[str], None]  # of long work: what it is at

FILES_AT_ONCE = 10_000  # into columns, and between two words of progress
DEADLINE_S = 300.0  # as read.storage_deadline_s


class NothingThere(UsageError):
    """There is no such file, folder or bucket."""


class File(NamedTuple):
    path: str  # on its file system
    size: int  # 0 where the store does not tell
    version: str  # as `store.version_of` has it; empty where the store does not tell


class Files:
    """Files by name, in Arrow columns: 90 bytes and the name each, where fsspec's own listing takes a kilobyte."""

    SCHEMA = pa.schema([("path", pa.string()), ("size", pa.int64()), ("version", pa.string())])

    def __init__(self, table: pa.Table) -> None:
        self._table = table

    @classmethod
    def of(cls, files: Iterable[File], tell: Tell = lambda text: None) -> "Files":
        """Held as they come, a few at a time."""
        left = iter(files)
        batches: list[pa.RecordBatch] = []
        num_files = 0
        while some := list(islice(left, FILES_AT_ONCE)):
            _refuse_unnamed(some)
            columns = [
                pa.array(values, field.type) for values, field in zip(zip(*some, strict=True), cls.SCHEMA, strict=True)
            ]
            batches.append(pa.RecordBatch.from_arrays(columns, schema=cls.SCHEMA))
            num_files += len(some)
            tell(f"listing the input: {num_files:,} files")
        table = pa.Table.from_batches(batches, cls.SCHEMA)
        return cls(table if _is_sorted(batches) else table.sort_by("path"))

    def __len__(self) -> int:
        return int(self._table.num_rows)

    def __iter__(self) -> Iterator[File]:
        for batch in self._table.to_batches(FILES_AT_ONCE):
            yield from map(File, *(column.to_pylist() for column in batch.columns))

    def __getitem__(self, number: int) -> File:
        return File(*(column[number].as_py() for column in self._table.columns))

    def ending(self, *endings: str) -> "Files":
        """Those whose name ends like this, in either case and whatever query follows it."""
        return self._where(lambda paths: [pc.ends_with(pc.ascii_lower(paths), ending) for ending in endings])

    def below(self, folder: str) -> "Files":
        return self._where(lambda paths: [pc.starts_with(paths, f"{folder.rstrip('/')}/")])

    def named(self, name: str) -> "Files":
        """Those with this base name, at any depth."""
        return self._where(lambda paths: [pc.equal(paths, name), pc.ends_with(paths, f"/{name}")])

    def outside(self, folders: set[str]) -> "Files":
        """Those that lie directly in none of the folders."""
        return Files.of(file for file in self if posixpath.dirname(file.path) not in folders)

    def endings(self) -> dict[str, int]:
        """What their names end in, in lower case, and how many do; empty for names without a dot."""
        last = pc.replace_substring_regex(_names(self._table["path"]), r"(?s)^(?:.*/)?[^/]*?(\.[^./]*)?$", r"\1")
        counts = pc.value_counts(pc.ascii_lower(last)).to_pylist()
        return {one["values"]: one["counts"] for one in counts}

    def _where(self, masks_of: Callable[[pa.Array], list[pa.Array]]) -> "Files":
        """Those of which one of the masks is true; a batch at a time, and one that is all of it as it is: to copy a
        million names takes 100 MB.
        """
        batches = []
        for batch in self._table.to_batches(FILES_AT_ONCE):
            mask = reduce(pc.or_, masks_of(_names(batch.column("path"))))
            batches.append(batch if pc.all(mask).as_py() else batch.filter(mask))
        found = pa.Table.from_batches(batches, self.SCHEMA)
        return self if found.num_rows == len(self) else Files(found)


@dataclass(frozen=True)
class Found:
    """Files by name, without hidden ones: those below the root that begin with a dot, or lie in a folder that does."""

    url: str  # as it was given, but for a query; for messages
    files: Any  # their file system
    root: str  # the folder that ids are relative to
    listed: Files
    is_one_file: bool  # whether the URL names a file, and not a folder or glob
    tell: Tell
    beside: Files | None = None  # audio in the same folder as the tables that are `listed`

    def ending(self, *endings: str) -> list[File]:
        return list(self.listed.ending(*endings))

    def named(self, name: str) -> list[File]:
        """Files with this base name, at any depth."""
        return list(self.listed.named(name))

    def url_of(self, file: File) -> str:
        return url_of(self.files, file.path)

    def relative(self, file: File) -> str:
        """Its path below the root: what ids are made of."""
        return without_query(file.path).removeprefix(f"{self.root.rstrip('/')}/")


def find(
    url: str, leave_out: str | None = None, tell: Tell = lambda text: None, deadline_s: float = DEADLINE_S
) -> Found:
    """What lies there, without what lies below the path `leave_out`."""
    files, path = store.locate(url)
    url = without_query(url)
    walk = partial(_walk, files, deadline_s)
    with as_usage(url):
        try:
            if is_pattern(files, path):
                matching = Files.of(_visible(_matching(walk, path), _literal_folder(path), leave_out), tell)
                if not len(matching):
                    raise UsageError(
                        f"{url}: nothing matches (a glob names files: for all below folders, end it in **)"
                    )
                root = os.path.commonpath([posixpath.dirname(matching[number].path) for number in (0, -1)])
                return Found(url, files, root, matching, False, tell)
            info = store.patiently(partial(files.info, path), deadline_s)
            if info["type"] == "directory" or (_is_web(path) and path.endswith("/")):
                return Found(url, files, path, Files.of(_visible(walk(path), path, leave_out), tell), False, tell)
            if info["type"] != "file":
                raise UsageError(f"{url}: neither a file nor a folder")
            return Found(url, files, posixpath.dirname(without_query(path)), Files.of([_file(info)]), True, tell)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise NothingThere(sentence(error, url) or f"{url}: no such file, folder or bucket") from error


def is_pattern(files: Any, path: str) -> bool:
    """Whether it is a glob; what exists just so is none, nor is the query of a web address."""
    return any(sign in path for sign in ("*[" if _is_web(path) else "*?[")) and not files.exists(path)


def _is_web(path: str) -> bool:
    return path.startswith(("http://", "https://"))


def _matching(walk: Callable[..., Iterator[File]], pattern: str) -> Iterator[File]:
    """The files that a glob names."""
    literal, folder = _literal(pattern), _literal_folder(pattern)
    rest = pattern[len(folder) + 1 :]
    depth = None if "**" in rest else rest.count("/") + 1
    matches = re.compile(fsspec.utils.glob_translate(pattern)).match
    try:
        yield from (file for file in walk(folder, depth, literal) if matches(file.path))
    except (FileNotFoundError, NotADirectoryError):
        return


def _literal(pattern: str) -> str:
    """What comes before its first sign."""
    return pattern[: min(pattern.index(sign) for sign in "*?[" if sign in pattern)]


def _literal_folder(pattern: str) -> str:
    return _literal(pattern).rpartition("/")[0]


def _walk(
    files: Any, deadline_s: float, folder: str, depth: int | None = None, prefix: str | None = None
) -> Iterator[File]:
    """All files below a folder, down to a depth, as far as they begin with the prefix where that saves work."""
    if store.is_local(files):
        yield from _walk_local(folder, depth)
    elif "s3" in files.protocol:
        yield from _walk_s3(files, deadline_s, prefix or f"{folder.rstrip('/')}/", depth)
    else:
        infos = store.patiently(partial(files.find, folder, maxdepth=depth, detail=True), deadline_s)
        yield from (_file(info) for info in infos.values() if info["type"] == "file")


def _walk_local(folder: str, depth: int | None, above: frozenset[tuple[int, int]] = frozenset()) -> Iterator[File]:
    """In the order of their whole names; of one folder at a time no more than the names are held.

    Links to folders are followed, but not to one that they lie in (`above`): nothing is there that is not listed.
    """
    try:
        info = os.stat(folder or "/")
        if (info.st_dev, info.st_ino) in above:
            return
        with os.scandir(folder or "/") as entries:
            names = sorted(entry.name + "/" * _is_folder(entry) for entry in entries if not entry.name.startswith("."))
    except PermissionError as error:
        raise UsageError(f"{folder}: permission denied") from error
    above |= {(info.st_dev, info.st_ino)}
    for name in names:
        path = f"{folder.rstrip('/')}/{name}"
        if not name.endswith("/"):
            yield from _local_file(path)
        elif depth is None or depth > 1:
            yield from _walk_local(path[:-1], None if depth is None else depth - 1, above)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself, or to where nobody may look: it fails as a file
        return False


def _local_file(path: str) -> list[File]:
    """Files and links to them; broken links too, so that they become failed rows."""
    try:
        info = os.stat(path)
    except OSError:
        return [File(path, 0, "")]
    known = {"name": path, "size": info.st_size, "mtime": info.st_mtime}
    return [_file(known)] if stat.S_ISREG(info.st_mode) else []


def _walk_s3(files: Any, deadline_s: float, prefix: str, depth: int | None) -> Iterator[File]:
    """Page by page of a thousand keys, which come sorted; keys that stand for a folder are none."""
    bucket, slash, key = prefix.partition("/")
    if not slash:
        raise UsageError(f"s3://{prefix}*: no pattern in the name of a bucket")
    more: dict[str, Any] = {"Delimiter": "/"} if depth == 1 else {}
    while True:
        ask = partial(files.call_s3, "list_objects_v2", files.req_kw, Bucket=bucket, Prefix=key, **more)
        page = store.patiently(ask, deadline_s)
        for info in page.get("Contents", ()):
            if not info["Key"].endswith("/"):
                yield _file({**info, "name": f"{bucket}/{info['Key']}", "size": info["Size"]})
        if not page.get("IsTruncated"):
            return
        more["ContinuationToken"] = page["NextContinuationToken"]


def _file(info: dict[str, Any]) -> File:
    known = info["size"] is not None
    return File(info["name"], info["size"] or 0, store.version_of(info) if known else "")


def _visible(files: Iterable[File], root: str, leave_out: str | None) -> Iterator[File]:
    below = None if leave_out is None else f"{leave_out}/"
    start = len(root.rstrip("/"))
    for file in files:
        hidden = "/." in file.path and "/." in file.path[start:]
        if not hidden and (below is None or not file.path.startswith(below)):
            yield file


def _names(paths: pa.Array) -> pa.Array:
    """Without the queries of web addresses, which may be signed and end in anything."""
    if len(paths) and _is_web(paths[0].as_py()):
        return pc.replace_substring_regex(paths, r"(?s)\?.*", "")
    return paths


def _refuse_unnamed(files: list[File]) -> None:
    """A file name must be fit for the manifest; names in another encoding carry lone surrogates."""
    for file in files:
        if not file.path.isascii():
            try:
                file.path.encode()
            except UnicodeEncodeError as error:
                name = file.path.encode("utf-8", "replace").decode()
                raise UsageError(f"{name}: its name is not UTF-8; rename it") from error


def _is_sorted(batches: list[pa.RecordBatch]) -> bool:
    within = (pc.all(pc.less_equal(batch["path"][:-1], batch["path"][1:])).as_py() for batch in batches)
    between = (one["path"][-1].as_py() <= other["path"][0].as_py() for one, other in pairwise(batches))
    return all(within) and all(between)
