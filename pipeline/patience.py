"""Asking a store again while it fails for the moment: which faults pass, how long to wait, how often it was needed.

Knows nothing of files and of what is asked.
"""

import asyncio
import contextlib
import errno
import itertools
import math
import random
import socket
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextvars import ContextVar
from typing import TypeVar

T = TypeVar("T")

FIRST_WAIT_S, LONGEST_WAIT_S = 0.2, 10.0  # at most so long before the first retry and before any
NUM_BRIEF, BRIEF_S = 10, 15.0  # retries of one request: at 30 % refused, one in 500,000 is refused throughout
LEAST_S = 5.0  # that a request may take which was begun before the deadline, however short before
TICK_S = 0.2  # how often a request that is under way is looked at

# By the names of stores, where the status alone would not say it, or is not there.
TEMPORARY_CODES = {
    "SlowDown",
    "Throttling",
    "ThrottlingException",
    "RequestLimitExceeded",
    "TooManyRequests",
    "RequestTimeout",
    "RequestTimeoutException",
    "InternalError",
    "ServiceUnavailable",
    "IncompleteBody",
    "XAmzContentSHA256Mismatch",
    "BadDigest",
    "ConditionalRequestConflict",  # 409: another is writing this very object, and whether it will be there is open
    "OperationAborted",
    "NoSuchUpload",  # completed already, by a request whose answer was lost; the whole upload is made again
}
TEMPORARY_STATUS = {408, 425, 429, 500, 502, 503, 504, 509, 529}
TEMPORARY_ERRNO = {
    errno.ECONNREFUSED,
    errno.ECONNRESET,
    errno.ECONNABORTED,
    errno.EPIPE,
    errno.ETIMEDOUT,
    errno.EHOSTUNREACH,
    errno.ENETUNREACH,
    errno.ENETDOWN,
}
# Kinds of libraries that need not be installed, by their own names and those of what they derive from.
TEMPORARY_KINDS = {
    "HTTPClientError",  # botocore: a connection cut, a time-out
    "ConnectionError",  # botocore and requests: no connection
    "IncompleteReadError",  # botocore: a body shorter than announced
    "ResponseParserError",  # botocore: some refuse with what is no XML
    "ClientConnectionError",  # aiohttp: the same as with botocore
    "ClientPayloadError",
    "IncompleteRead",  # urllib3
    "TransportError",  # httpx
    "NewConnectionError",
}
# Among those, faults of the set-up, which do not pass.
LASTING_KINDS = {"SSLError", "ClientSSLError", "ClientConnectorCertificateError", "OfflineModeIsEnabled"}

TELL_AFTER_S = 10.0  # what passes sooner is not worth a line

_lock = threading.Lock()
_num_retried = 0
_tell: list[Callable[[str], None]] = []
_away_since: dict[str, float] = {}  # by store: when it first failed, of those from which nothing has come since
# Of a context, because asyncio's tasks have that of the thread that asks for them.
_stops: ContextVar[float] = ContextVar("_stops", default=math.inf)
_stopped: ContextVar[threading.Event | None] = ContextVar("_stopped", default=None)


class ShortReadError(OSError):
    """Fewer bytes came than were asked for, and nothing else was said to be wrong."""


class TooSlowError(OSError):
    """The deadline came before the end of an answer."""


# Of Python's own and ours.
TEMPORARY_FAULTS = (TimeoutError, ConnectionError, socket.gaierror, ShortReadError, TooSlowError)


class StoppedError(Exception):
    """Nobody waits for it any more."""


def num_retried() -> int:
    """How many requests this process has made again so far, because a store had failed for the moment."""
    return _num_retried


def count_retried(number: int = 1) -> None:
    global _num_retried
    with _lock:
        _num_retried += number


def waits() -> Iterator[float]:
    """Before each retry any time up to a limit that doubles, so that many who were refused do not come back at once."""
    for number in itertools.count():
        yield random.uniform(0, min(LONGEST_WAIT_S, FIRST_WAIT_S * 2 ** min(number, 16)))


@contextlib.contextmanager
def telling(tell: Callable[[str], None]) -> Iterator[None]:
    """Inside, whoever waits long for a store says so: an address that is wrong looks like a store that is away."""
    _tell.append(tell)
    try:
        yield
    finally:
        _tell.remove(tell)


def until(deadline_s: float, at: str | None) -> float:
    """When to give up what is begun now.

    A store that was away for a whole deadline is not waited for as long by whatever is asked of it next: of a thousand
    files each would wait its five minutes.
    """
    now = time.monotonic()
    since = _away_since.get(at, now) if at is not None else now
    return max(since + deadline_s, now + min(deadline_s, BRIEF_S))


@contextlib.contextmanager
def within(stops: float) -> Iterator[float]:
    """Inside, nothing is waited for after this time, nor after that of another such block around it."""
    token = _stops.set(min(stops, _stops.get()))
    try:
        yield _stops.get()
    finally:
        _stops.reset(token)


@contextlib.contextmanager
def stopped_by(event: threading.Event) -> Iterator[None]:
    """Inside, whatever is waited for ends with a `StoppedError` soon after the event was set."""
    token = _stopped.set(event)
    try:
        yield
    finally:
        _stopped.reset(token)


def pause(seconds: float) -> None:
    event = _stopped.get()
    if event is None:
        time.sleep(seconds)
    elif event.wait(seconds):
        raise StoppedError


def answered(at: str | None) -> None:
    """A store is there, whether or not it does what it was asked for."""
    if at is not None:
        _away_since.pop(at, None)


def failed(at: str | None) -> None:
    if at is not None:
        _away_since.setdefault(at, time.monotonic())


def patiently(action: Callable[[], T], deadline_s: float, at: str | None = None) -> T:
    """The action's result. While its error is a temporary one it is done again, for so many seconds.

    `at` names the store, where it is known.
    """
    began, silent = time.monotonic(), True
    last: Exception | None = None
    with within(until(deadline_s, at)) as stops:
        for wait_s in waits():
            try:
                result = action()
            except Exception as error:
                if not is_temporary(error):
                    answered(at)
                    raise
                failed(at)
                last = telling_more(last, error)
                left_s = stops - time.monotonic()
                if left_s <= 0:
                    raise last from last.__cause__
                if silent and time.monotonic() - began > TELL_AFTER_S:
                    silent = False
                    for tell in _tell:
                        tell(
                            f"a store does not answer as it should ({code_of(last) or type(last).__name__}): it is "
                            f"asked for another {left_s:.0f} s (read.storage_deadline_s)"
                        )
            else:
                answered(at)
                return result
            pause(min(wait_s, left_s))
            count_retried()
    raise AssertionError("waits do not end")


async def briefly(action: Callable[[], Awaitable[T]]) -> T:
    """Likewise one request among the many that an action may need, so that the others need not be made again."""
    ends: float | None = None
    last: Exception | None = None
    for number, wait_s in enumerate(waits(), 1):
        try:
            return await timely(action())
        except Exception as error:
            if not is_temporary(error):
                raise
            # From the first failure on: what stalls may have taken longer than this until its time was out.
            ends = ends or min(time.monotonic() + BRIEF_S, _stops.get())
            last = telling_more(last, error)
            left_s = ends - time.monotonic()
            if number > NUM_BRIEF or left_s <= 0:
                raise last from last.__cause__
        await timely(asyncio.sleep(min(wait_s, left_s)))
        count_retried()
    raise AssertionError("waits do not end")


async def timely(request: Awaitable[T]) -> T:
    """One request, cut when the time for it is out: a store that sends a byte now and then never stalls."""
    limit, stopped = max(_stops.get(), time.monotonic() + LEAST_S), _stopped.get()
    task = asyncio.ensure_future(request)
    try:
        while not task.done():
            left_s = limit - time.monotonic()
            if left_s <= 0:
                raise TooSlowError("the deadline came before the end of an answer")
            if stopped is not None and stopped.is_set():
                raise StoppedError
            await asyncio.wait({task}, timeout=min(left_s, TICK_S))
        return task.result()
    finally:
        if not task.done():
            task.cancel()
            await asyncio.wait({task}, timeout=TICK_S)  # until it has let go of its connection


def telling_more(last: Exception | None, error: Exception) -> Exception:
    """Of two faults in turn the one to be told: that the time was out is no reason where there was one before."""
    return last if last is not None and isinstance(error, TooSlowError) else error


def is_temporary(error: BaseException) -> bool:
    """Whether a request that failed like this may succeed when it is made again just so."""
    if (code := code_of(error)) in TEMPORARY_CODES:
        return True
    if (status := status_of(error)) is not None:
        return status in TEMPORARY_STATUS
    if code is not None:
        return code.isdigit() and int(code) in TEMPORARY_STATUS  # of an answer without a body
    kinds = {kind.__name__ for kind in type(error).__mro__}
    if kinds & LASTING_KINDS:
        return False
    if isinstance(error, TEMPORARY_FAULTS) or kinds & TEMPORARY_KINDS:
        return True
    return isinstance(error, OSError) and error.errno in TEMPORARY_ERRNO


def code_of(error: BaseException) -> str | None:
    """The store's own name for what is wrong, as S3 has them, from the error or from what s3fs made it of."""
    for one in (error, error.__cause__):
        response = getattr(one, "response", None)
        if isinstance(response, dict) and response.get("Error", {}).get("Code"):
            return str(response["Error"]["Code"])
    return None


def status_of(error: BaseException) -> int | None:
    """The HTTP status of the store's answer, if there was one: of botocore, aiohttp, requests, httpx and gcsfs."""
    response = getattr(error, "response", None) or getattr(error.__cause__, "response", None)
    if isinstance(response, dict):
        status = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    else:
        carriers = ((response, "status_code"), (error, "status"), (error, "code"))
        status = next((found for carrier, name in carriers if (found := getattr(carrier, name, None))), None)
    return int(status) if str(status).isdigit() and 100 <= int(status) < 600 else None
