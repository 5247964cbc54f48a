"""This node's copies of language models: of remote files, and KenLM binaries of ARPA files, each made once.

Several processes may ask for one at a time: one makes it, under a lock, the others wait; none ever sees half of it.
Knows nothing of what is in a model.
"""

import contextlib
import errno
import fcntl
import hashlib
import os
import uuid
from collections.abc import Callable
from pathlib import Path

from pipeline import store
from pipeline.cache import cache_folder
from pipeline.errors import UsageError
from pipeline.lm.arpa import read_arpa
from pipeline.lm.binary import write_binary
from pipeline.lm.recognise import kind_of

CONVERSION = 1  # to be raised when a binary of an ARPA would differ from what an older program made
VERSIONS_OF_FILES = (
    "ETag",
    "etag",
    "md5",
    "mtime",
    "LastModified",
    "last_modified",
    "updated",
    "created",
    "version_id",
)


def directory() -> Path:
    return cache_folder() / "lm"


def local_copy(location: str) -> Path:
    """The file of a path or URL on this machine."""
    files, path = store.locate(os.path.expanduser(location))
    try:
        info = files.info(path)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise UsageError(f"language model {location}: no such file") from error
    except PermissionError as error:
        raise UsageError(f"language model {location}: permission denied") from error
    if info["type"] == "directory":
        raise UsageError(f"language model {location}: a directory; give the file in it")
    if store.is_local(files):
        return Path(path)

    def fetch(target: Path) -> None:
        files.get_file(path, str(target))
        if info.get("size") not in (None, target.stat().st_size):
            raise UsageError(
                f"language model {location}: {target.stat().st_size:,} of {info['size']:,} bytes arrived; try again"
            )

    version = [str(info[name]) for name in VERSIONS_OF_FILES if name in info]
    return cached(Path(path).name, (location, info.get("size"), version), fetch)


def binary_of(location: str, path: Path) -> Path:
    """The file itself where it is a KenLM binary, else a binary made of it."""
    if kind_of(location, path) == "binary":
        return path

    def convert(target: Path) -> None:
        words, orders = read_arpa(path, location)
        write_binary(target, words, orders, location)

    state = path.stat()
    key = (str(path.resolve()), state.st_size, state.st_mtime_ns, CONVERSION)
    return cached(f"{path.name}.binary", key, convert)


def cached(name: str, key: object, make: Callable[[Path], None]) -> Path:
    """The file that `make` writes, made once for a key."""
    digest = hashlib.sha256(repr(key).encode()).hexdigest()[:16]
    path = directory() / f"{digest}-{name[-100:]}"  # the name only helps people
    if path.exists():
        return path
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = open(path.parent / f".{digest}.lock", "wb")  # noqa: SIM115
    except OSError as error:
        raise UsageError(f"{path.parent}: {error.strerror}; name another folder in NIGHTSHIFT_CACHE") from error
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # let go when this process dies
        if path.exists():
            return path
        for left in path.parent.glob(f".{digest}.*.tmp"):  # by a process that died
            left.unlink(missing_ok=True)
        temporary = path.parent / f".{digest}.{uuid.uuid4().hex}.tmp"
        try:
            make(temporary)
            with open(temporary, "rb") as file:
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                raise
            raise UsageError(f"{path.parent}: {error.strerror}; name another folder in NIGHTSHIFT_CACHE") from error
        finally:
            with contextlib.suppress(FileNotFoundError):
                temporary.unlink()
    return path
