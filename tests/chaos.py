"""A proxy before an S3 server that makes things go wrong, on request and from one seed, and counts what it did.

Knows nothing of S3 but its error bodies, and of conditional writes as much as a server without them lacks.
"""

import asyncio
import contextlib
import random
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Literal

from aiohttp import ClientSession, TCPConnector, web
from yarl import URL

from tests.object_store import free_port

HOP_BY_HOP = {"transfer-encoding", "content-length", "connection", "keep-alive", "expect"}
TRICKLE_S = 0.05  # between two bytes
XML = '<?xml version="1.0" encoding="UTF-8"?><Error><Code>{}</Code><Message>{}</Message></Error>'

ERRORS = {
    "slowdown": (503, "SlowDown", "Come back later."),
    "e500": (500, "InternalError", "Something broke."),
    "denied": (403, "AccessDenied", "Not for you."),
    "conflict": (409, "ConditionalRequestConflict", "Another write of this key is under way."),
}

Concerns = Callable[[web.Request], bool]


@dataclass
class Fault:
    """What goes wrong with which share of the requests."""

    # trickle: a byte now and then; denied: 403; conflict: 409; lost: done, but answered with 500
    kind: Literal["slowdown", "e500", "denied", "conflict", "lost", "reset", "truncate", "stall", "trickle"]
    share: float = 1.0
    concerns: Concerns = lambda request: True
    at_most: int = 1_000_000_000  # then all is well
    stall_s: float = 3600.0


@dataclass
class Chaos:
    """Started by `chaos`; may be told otherwise at any time."""

    backend: str
    seed: int = 7
    emulates_conditions: bool = False  # If-None-Match: *, for a server that ignores it
    fault: Fault | None = None
    refusal: tuple[int, str, str] | None = None  # every request is answered so: status, code, message
    requests: Counter[str] = field(default_factory=Counter)  # by method
    faults: Counter[str] = field(default_factory=Counter)  # by kind
    port: int = field(default_factory=free_port)

    def __post_init__(self) -> None:
        self._rng = random.Random(self.seed)
        self._keys: set[str] = set()
        self._writing: dict[str, asyncio.Lock] = {}
        self._open: set[asyncio.Transport] = set()
        self._loop = asyncio.new_event_loop()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def num_requests(self) -> int:
        return self.requests.total()

    @property
    def num_faults(self) -> int:
        return self.faults.total()

    def go_away(self) -> None:
        """Refuse connections, and cut those that are open, until `come_back`."""
        self._call(self._site_down())

    def come_back(self) -> None:
        self._call(self._site_up())

    def away_for(self, seconds: float) -> threading.Thread:
        """Away from now on, and back by itself: when the thread ends."""

        def leave() -> None:
            self.go_away()
            time.sleep(seconds)
            self.come_back()

        thread = threading.Thread(target=leave, name="away")
        thread.start()
        return thread

    # ---- the server

    def _call(self, coroutine) -> None:
        asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(30)

    async def _start(self) -> None:
        connector = TCPConnector(limit=128, force_close=True)
        plain = ["User-Agent", "Accept", "Content-Type", "Accept-Encoding"]  # what is signed comes from the client
        self._session = ClientSession(connector=connector, auto_decompress=False, skip_auto_headers=plain)
        application = web.Application(client_max_size=2**31)
        application.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await self._site_up()

    async def _stop(self) -> None:
        await self._runner.cleanup()
        await self._session.close()
        stalled = asyncio.all_tasks() - {asyncio.current_task()}
        for task in stalled:
            task.cancel()
        await asyncio.gather(*stalled, return_exceptions=True)

    async def _site_up(self) -> None:
        self._site = web.TCPSite(self._runner, "127.0.0.1", self.port, reuse_address=True)
        await self._site.start()

    async def _site_down(self) -> None:
        await self._site.stop()
        for transport in list(self._open):
            transport.abort()
        self._open.clear()

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        self._open.add(request.transport)
        self.requests[request.method] += 1
        body = await request.read()
        if self.refusal is not None:
            return _error(request, *self.refusal)
        fault = self._fault_of(request)
        if fault is not None:
            self.faults[fault.kind] += 1
            if fault.kind in ERRORS:
                return _error(request, *ERRORS[fault.kind])
            if fault.kind == "reset" or (fault.kind == "stall" and request.method != "GET"):
                return await _cut(request, fault.stall_s if fault.kind == "stall" else 0.0)
        if not self.emulates_conditions:
            answer = await self._forwarded(request, body)
        else:
            answer = await self._conditionally(request, body)
        if fault is not None and fault.kind == "lost":
            return _error(request, 500, "InternalError", "It is done, but nobody tells you.")
        if fault is not None and fault.kind in ("truncate", "stall"):
            return await _half(request, answer, fault.stall_s if fault.kind == "stall" else 0.0)
        if fault is not None and fault.kind == "trickle":
            return await _trickled(request, answer)
        return answer

    def _fault_of(self, request: web.Request) -> Fault | None:
        fault = self.fault
        if fault is None or not fault.concerns(request) or self.faults[fault.kind] >= fault.at_most:
            return None
        if fault.kind in ("truncate", "trickle") and request.method != "GET":
            return None
        return fault if self._rng.random() < fault.share else None

    async def _forwarded(self, request: web.Request, body: bytes) -> web.Response:
        headers = {name: value for name, value in request.headers.items() if name.lower() not in HOP_BY_HOP}
        url = URL(f"{self.backend}{request.raw_path}", encoded=True)
        async with self._session.request(
            request.method, url, headers=headers, data=body or None, allow_redirects=False
        ) as answer:
            data = await answer.read()
            kept = {name: value for name, value in answer.headers.items() if name.lower() not in HOP_BY_HOP}
            if request.method == "HEAD" and "Content-Length" in answer.headers:
                kept["Content-Length"] = answer.headers["Content-Length"]
            return web.Response(status=answer.status, headers=kept, body=data or None)

    async def _conditionally(self, request: web.Request, body: bytes) -> web.Response:
        """What went through here is remembered, and not written over where a request says so."""
        path = request.path
        async with self._writing.setdefault(path, asyncio.Lock()):
            if request.method == "PUT" and request.headers.get("If-None-Match") == "*" and path in self._keys:
                return _error(request, 412, "PreconditionFailed", "At least one of the pre-conditions did not hold")
            answer = await self._forwarded(request, body)
            if answer.status < 300 and request.method == "PUT":
                self._keys.add(path)
            if answer.status < 300 and request.method == "DELETE":
                self._keys.discard(path)
            if answer.status < 300 and request.method == "POST" and "delete" in request.query:
                gone = re.findall(r"<Key>([^<]*)</Key>", body.decode())
                self._keys -= {f"{path.rstrip('/')}/{key}" for key in gone}
            return answer


@contextlib.contextmanager
def chaos(backend: str, **options: object) -> Iterator[Chaos]:
    proxy = Chaos(backend, **options)  # type: ignore[arg-type]
    thread = threading.Thread(target=proxy._loop.run_forever, name="chaos", daemon=True)
    thread.start()
    proxy._call(proxy._start())
    try:
        yield proxy
    finally:
        proxy._call(proxy._stop())
        proxy._loop.call_soon_threadsafe(proxy._loop.stop)
        thread.join()


def _error(request: web.Request, status: int, code: str, message: str) -> web.Response:
    if request.method == "HEAD":
        return web.Response(status=status)
    return web.Response(status=status, text=XML.format(code, message), content_type="application/xml")


async def _cut(request: web.Request, after_s: float) -> web.Response:
    await asyncio.sleep(after_s)
    if request.transport is not None:
        request.transport.abort()
    return web.Response(status=500)


async def _half(request: web.Request, whole: web.Response, after_s: float) -> web.StreamResponse:
    """The headers of the whole and half of the body; then the end, or for a while nothing."""
    answer, body = await _begun(request, whole)
    await answer.write(body[: len(body) // 2])
    await _cut(request, after_s)
    return answer


async def _trickled(request: web.Request, whole: web.Response) -> web.StreamResponse:
    answer, body = await _begun(request, whole)
    for number in range(len(body)):
        await answer.write(body[number : number + 1])
        await asyncio.sleep(TRICKLE_S)
    return answer


async def _begun(request: web.Request, whole: web.Response) -> tuple[web.StreamResponse, bytes]:
    body = bytes(whole.body or b"")  # type: ignore[arg-type]
    kept = {name: value for name, value in whole.headers.items() if name.lower() not in HOP_BY_HOP}
    answer = web.StreamResponse(status=whole.status, headers=kept | {"Content-Length": str(len(body))})
    await answer.prepare(request)
    return answer, body
