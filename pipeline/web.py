"""Files of web servers through fsspec's own client, but never more of them than was asked for, and within the deadline.

Knows nothing of what is read. A server that knows no ranges sends a file from its first byte on, however often it is
asked: of several ranges the whole up to the last of them is then read once.
"""

import io
from collections import defaultdict
from typing import Any
from urllib.parse import urlsplit

from aiohttp import ClientTimeout
from fsspec.implementations.http import HTTPFileSystem

from pipeline.patience import status_of, timely

TIMEOUT_S = 30.0  # to connect, and without a byte
MOST_BYTES = 2**28  # of a file without ranges: two hours of 16 kHz WAV. It is held in memory, three at a time at most
PARTIAL = 206  # the status of an answer that is the range that was asked for


class NoRangesError(OSError):
    """A part of a file was asked for, and its web server would send the whole."""


class Web(HTTPFileSystem):  # type: ignore[misc]
    """Its ranges may be shorter than asked for where the file ends, and are never longer."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._without_ranges: set[str] = set()  # hosts

    def knows_ranges(self, url: str) -> bool:
        """As far as its host has shown; what has not been asked is thought to."""
        return urlsplit(url).netloc not in self._without_ranges

    async def _info(self, url: str, **options: Any) -> dict[str, Any]:
        try:
            return dict(await timely(super()._info(url, **options)))
        except FileNotFoundError as error:  # as fsspec calls whatever went wrong, a server that is away included
            if error.__cause__ is None or status_of(error.__cause__) in (404, 410):
                raise
            raise error.__cause__ from None

    async def _cat_file(self, url: str, start: int | None = None, end: int | None = None, **options: Any) -> bytes:
        return await timely(self._part(url, start or 0, end))

    async def _cat_ranges(
        self, paths: list[str], starts: list[int] | None, ends: list[int] | None, **options: Any
    ) -> list[bytes | Exception]:
        if starts is None or ends is None:
            return list(await super()._cat_ranges(paths, starts, ends, **options))
        found: list[bytes | Exception] = [NoRangesError()] * len(paths)
        asked = [n for n, url in enumerate(paths) if starts[n] == 0 or self.knows_ranges(url)]
        some = ([values[n] for n in asked] for values in (paths, starts, ends))
        for number, part in zip(asked, await super()._cat_ranges(*some, **options), strict=True):
            found[number] = part
        left: dict[str, list[int]] = defaultdict(list)
        for number, part in enumerate(found):
            if isinstance(part, NoRangesError):
                left[paths[number]].append(number)
        for url, numbers in left.items():  # one by one: each may be large
            try:
                whole = await self._cat_file(url, 0, max(ends[number] for number in numbers))
            except Exception as error:  # of each of its parts
                found = [error if number in numbers else part for number, part in enumerate(found)]
                continue
            for number in numbers:
                found[number] = whole[starts[number] : ends[number]]
        return found

    async def _part(self, url: str, start: int, end: int | None) -> bytes:
        if end is not None and end <= start:
            return b""
        is_part = start > 0 or end is not None
        headers = {"Accept-Encoding": "identity"}  # else a range is one of what it was packed to
        if is_part:
            headers["Range"] = f"bytes={start}-" if end is None else f"bytes={start}-{end - 1}"
        session, host = await self.set_session(), urlsplit(url).netloc
        async with session.get(self.encode_url(url), headers=headers) as answer:
            self._raise_not_found_for_status(answer, url)
            if is_part and answer.status == PARTIAL:
                self._without_ranges.discard(host)
            elif start > 0:
                self._without_ranges.add(host)
                raise NoRangesError
            is_whole, length = answer.status != PARTIAL, answer.content_length
            most = MOST_BYTES + 1 if end is None else end - start
            if is_whole and most > MOST_BYTES:
                most = MOST_BYTES + 1
                if length is not None and length > MOST_BYTES:
                    raise NoRangesError
            data = io.BytesIO()
            async for piece in answer.content.iter_any():
                data.write(piece[: most - data.tell()])
                if data.tell() == most:
                    break
            if is_whole and data.tell() == most != length:  # there is more of it
                if is_part:
                    self._without_ranges.add(host)
                if most > MOST_BYTES:
                    raise NoRangesError
            return data.getvalue()


def web() -> Web:
    timeout = ClientTimeout(sock_connect=TIMEOUT_S, sock_read=TIMEOUT_S)
    return Web(use_listings_cache=False, skip_instance_cache=True, client_kwargs={"timeout": timeout})
