"""The file that a model goes into: its format by its name, there whole or not at all, local or by URL.

Knows nothing of how the n-grams were made.
"""

import contextlib
import errno
import os
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

from pipeline import store
from pipeline.errors import UsageError
from pipeline.lm.arpa_writer import write_arpa
from pipeline.lm.binary import write_binary
from pipeline.lm.estimate.options import Estimate

ARPA = (".arpa", ".arpa.gz")
BINARY = (".bin", ".binary")


class Output:
    """Made before the work begins, so that a name that cannot be written costs nobody an hour."""

    def __init__(self, location: str, overwrite: bool = False) -> None:
        self.location = location
        self._files, self._path = store.locate(location)
        if not location.endswith((*ARPA, *BINARY)):
            raise UsageError(f"{location}: the name of a language model ends in {', '.join((*ARPA, *BINARY))}")
        if self._files.isdir(self._path):
            raise UsageError(f"{location}: a folder; name a file")
        if not overwrite and self._files.exists(self._path):
            raise UsageError(f"{location} exists; set --overwrite to replace it")
        with self._unfinished() as path:
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.touch()
            except OSError as error:
                told = "its folder is a file" if isinstance(error, FileExistsError) else error.strerror
                raise UsageError(f"{location}: cannot be written: {told}") from error

    def write(self, model: Estimate) -> int:
        """The number of bytes written."""
        with self._unfinished() as path:
            with told_of_room(self.location, "free some and try again"):
                if self.location.endswith(BINARY):
                    write_binary(path, model.words, model.orders)
                else:
                    write_arpa(path, model.words, model.orders)
            size = path.stat().st_size
            if store.is_local(self._files):
                with path.open("rb") as file:
                    os.fsync(file.fileno())
                os.replace(path, self._path)
            else:
                self._files.put_file(str(path), self._path)
        return size

    @contextlib.contextmanager
    def _unfinished(self) -> Iterator[Path]:
        """A name beside the file's own, or for object storage in a temporary folder."""
        with contextlib.ExitStack() as stack:
            if store.is_local(self._files):
                target = Path(self._path)
                path = target.with_name(f".{uuid.uuid4().hex}.tmp-{target.name}")
                stack.callback(_unlink, path)
            else:
                folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="nightshift-build-lm-"))
                path = Path(folder) / Path(self._path).name
            yield path


@contextlib.contextmanager
def told_of_room(place: str, advice: str) -> Iterator[None]:
    """Disks that are full, or that nothing may be written to, are the user's to mend."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS, errno.ENOENT, errno.ENOTDIR):
            raise UsageError(f"{place}: {error.strerror}; {advice}") from error
        raise


def _unlink(path: Path) -> None:
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        path.unlink()
