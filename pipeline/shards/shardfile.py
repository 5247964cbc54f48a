"""A shard as a file to be read here and there: exactly what is asked for, because what lies between is audio.

Knows nothing of what is in it.
"""

import io
import os

from pipeline.shards.place import Place


class ShardFile(io.RawIOBase):
    """Read where pyarrow likes, which asks one by one; each time of a store is a request, and made patiently."""

    def __init__(self, place: Place, size: int) -> None:
        self._place, self.size, self._at = place, size, 0
        self._descriptor = os.open(place.path, os.O_RDONLY | os.O_CLOEXEC) if place.is_local else None

    def read_at(self, start: int, length: int) -> bytes:
        """Fewer only at the end."""
        end = min(start + length, self.size)
        if end <= start:
            return b""
        if self._descriptor is None:
            return self._place.read(start, end)
        parts = [os.pread(self._descriptor, end - start, start)]
        while parts[-1] and sum(map(len, parts)) < end - start:  # 2 GB are the most that Linux reads at once
            parts.append(os.pread(self._descriptor, end - start - sum(map(len, parts)), start + sum(map(len, parts))))
        return b"".join(parts)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._at = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self.size}[whence]
        return self._at

    def read(self, size: int | None = -1) -> bytes:
        data = self.read_at(self._at, self.size - self._at if size is None or size < 0 else size)
        self._at += len(data)
        return data

    def close(self) -> None:
        if self._descriptor is not None and not self.closed:
            os.close(self._descriptor)
        super().close()
