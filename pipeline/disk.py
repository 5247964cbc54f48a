"""Files on a local disk that are there whole or not at all, whoever is killed while they are written.

Knows nothing of object storage.
"""

import contextlib
import errno
import os
import uuid
from collections.abc import Iterator

NO_HARD_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)


def publish(path: str, data: bytes) -> None:
    """Write a file, or replace it."""
    with _written_beside(path, data) as temporary:
        os.replace(temporary, path)


def create(path: str, data: bytes) -> None:
    """Write a file that must not be there: FileExistsError."""
    with _written_beside(path, data) as temporary:
        try:
            os.link(temporary, path)
        except OSError as error:
            if error.errno not in NO_HARD_LINKS:
                raise
            with open(path, "xb"):  # whoever is killed now leaves an empty file
                pass
            os.replace(temporary, path)


def is_half_written(name: str) -> bool:
    """Whether a writer was killed before it could put this file into place."""
    return name.startswith(".") and name.endswith(".tmp")


@contextlib.contextmanager
def _written_beside(path: str, data: bytes) -> Iterator[str]:
    """A temporary file with the data, on the disk."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    temporary = os.path.join(os.path.dirname(path), f".{os.path.basename(path)}.{uuid.uuid4().hex}.tmp")
    try:
        with open(temporary, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        yield temporary
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
