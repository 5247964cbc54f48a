"""A store for tests: it counts what is asked of it, and how much of that at the same time."""

import asyncio
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

import fsspec
from fsspec.asyn import AsyncFileSystem
from fsspec.spec import AbstractBufferedFile

PROTOCOL = "counting"
WAIT_S = 0.002  # an answer's way
GIVE_UP_S = 20.0  # on requests that a test awaits: whoever makes them all at once needs a moment, however slow


class Sized:
    """A file of so many bytes, none of which is kept: the one at n is n % 251."""

    def __init__(self, size: int) -> None:
        self.size = size

    def __getitem__(self, span: slice) -> bytes:
        start, end, _ = span.indices(self.size)
        cycle = bytes(range(251))
        shift = start % 251
        return (cycle * ((end - start) // 251 + 2))[shift : shift + max(0, end - start)]


class Counting(AsyncFileSystem):  # type: ignore[misc]
    protocol = PROTOCOL
    cachable = False
    contents: ClassVar[dict[str, bytes | Sized]] = {}
    etags: ClassVar[Counter[str]] = Counter()
    errors: ClassVar[dict[str, list[Exception]]] = {}  # for the next requests for a file
    asked: ClassVar[list[tuple[str, int, int]]] = []  # path, first byte, number of bytes
    num_infos = num_served = num_now = most_at_once = 0
    num_awaited = 0  # requests that must be under way at the same time before the first is answered

    @classmethod
    def clear(cls) -> None:
        for kept in (cls.contents, cls.etags, cls.errors, cls.asked):
            kept.clear()
        cls.num_infos = cls.num_served = cls.num_now = cls.most_at_once = cls.num_awaited = 0

    @classmethod
    async def _way(cls) -> None:
        """Of an answer. Who waits for more requests than are ever made waits once."""
        cls.num_now += 1
        cls.most_at_once = max(cls.most_at_once, cls.num_now)
        try:
            ends = time.monotonic() + GIVE_UP_S
            await asyncio.sleep(WAIT_S)
            while cls.most_at_once < cls.num_awaited:
                if time.monotonic() > ends:
                    cls.num_awaited = 0
                await asyncio.sleep(WAIT_S)
        finally:
            cls.num_now -= 1

    async def _cat_file(self, path: str, start: int | None = None, end: int | None = None, **options: Any) -> bytes:
        cls, path = type(self), self._strip_protocol(path)
        await cls._way()
        if cls.errors.get(path):
            raise cls.errors[path].pop(0)
        if path not in cls.contents:
            raise FileNotFoundError(path)
        data = cls.contents[path][slice(start, end)]
        cls.asked.append((path, start or 0, len(data)))
        cls.num_served += len(data)
        return data

    async def _info(self, path: str, **options: Any) -> dict[str, Any]:
        cls, path = type(self), self._strip_protocol(path)
        cls.num_infos += 1
        if path not in cls.contents:
            raise FileNotFoundError(path)
        content = cls.contents[path]
        size = len(content) if isinstance(content, bytes) else content.size
        return {"name": path, "size": size, "type": "file", "ETag": f'"{cls.etags[path]}"'}

    def _open(self, path: str, mode: str = "rb", **options: Any) -> Any:
        return _File(self, path, mode, **{"block_size": 2**16, **options})


class _File(AbstractBufferedFile):  # type: ignore[misc]
    def _fetch_range(self, start: int, end: int) -> bytes:
        return bytes(self.fs.cat_file(self.path, start=start, end=end))


@contextmanager
def counting_store() -> Iterator[type[Counting]]:
    """The one store there is, empty."""
    fsspec.register_implementation(PROTOCOL, Counting, clobber=True)
    Counting.clear()
    yield Counting
    Counting.clear()
