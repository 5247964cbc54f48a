"""Tar shards for tests: real ones by `tarfile`, and stores that count what is asked of them."""

import io
import tarfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pipeline.config import ReadConfig
from pipeline.errors import RecordingError
from pipeline.shards import tars
from pipeline.shards.tars import Member


def tar_bytes(files: Iterable[tuple[str, bytes]], kind: Any = tarfile.PAX_FORMAT, mode: Any = "w") -> bytes:
    """An archive of these files in their order; of mode "w:gz" a compressed one."""
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode=mode, format=kind) as archive:
        for name, data in files:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return held.getvalue()


def write_tar(path: Path, *files: tuple[str, bytes]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(tar_bytes(files, mode="w:gz" if path.suffix in (".gz", ".tgz") else "w"))
    return path


class CountingFile(io.BytesIO):
    """Counts what is read of it, and tells it after it was closed."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self.num_bytes = self.num_reads = 0

    def read(self, size: int | None = -1) -> bytes:
        data = super().read(size)
        self.num_bytes += len(data)
        self.num_reads += 1
        return data

    def close(self) -> None:
        pass


class HugeFile(io.RawIOBase):
    """Zeros, with something between them: as much as no test wants to write."""

    def __init__(self, size: int, there: dict[int, bytes]) -> None:
        self._size, self._there, self._place = size, there, 0

    def seek(self, offset: int, whence: int = 0) -> int:
        self._place = self._size + offset if whence == io.SEEK_END else offset
        return self._place

    def read(self, size: int = -1) -> bytes:
        end = min(self._place + size, self._size)
        data = bytearray(end - self._place)
        for start, part in self._there.items():
            first, last = max(start, self._place), min(start + len(part), end)
            if first < last:
                data[first - self._place : last - self._place] = part[first - start : last - start]
        self._place = end
        return bytes(data)


class OneFile:
    """A store with one file in it."""

    protocol = "test"

    def __init__(self, file: Any) -> None:
        self.file = file

    def open(self, path: str, mode: str = "rb", **options: Any) -> Any:
        self.file.seek(0)
        return self.file


def listed(data: bytes | Any, name: str = "a.tar", config: ReadConfig | None = None) -> list[Member]:
    return list(tars.members(store_of(data), name, config or ReadConfig()))


def listed_until(
    data: bytes | Any, name: str = "a.tar", config: ReadConfig | None = None
) -> tuple[list[Member], RecordingError | None]:
    """What could be listed, and why no more."""
    found: list[Member] = []
    try:
        found.extend(tars.members(store_of(data), name, config or ReadConfig()))
    except RecordingError as error:
        return found, error
    return found, None


def store_of(data: bytes | Any) -> OneFile:
    return OneFile(CountingFile(data) if isinstance(data, bytes) else data)
