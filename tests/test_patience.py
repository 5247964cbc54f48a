"""Asking again: what may pass until it is there, what does not pass once, and every retry is counted."""

import asyncio
import contextlib
import errno
import http.server
import itertools
import socket
import threading
import time
from collections.abc import Callable, Iterator

import aiohttp
import botocore.exceptions as boto
import pytest
from fsspec.exceptions import FSTimeoutError
from s3fs.errors import translate_boto_error

from pipeline import patience, store
from pipeline.patience import ShortReadError, briefly, is_temporary, num_retried, patiently, telling, within
from pipeline.storage_errors import storage_reason
from pipeline.store import locate, opened, read_ranges

BODY = bytes(range(256)) * 40


def answer(code: str, status: int) -> OSError:
    """What s3fs makes of an answer of S3."""
    response = {"Error": {"Code": code, "Message": ""}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return translate_boto_error(boto.ClientError(response, "GetObject"))


def over_http(status: int) -> aiohttp.ClientResponseError:
    return aiohttp.ClientResponseError(None, (), status=status)


@pytest.mark.parametrize(
    "error",
    [
        answer("SlowDown", 503),
        answer("503", 503),  # of a HEAD
        answer("InternalError", 500),
        answer("InternalError", 200),  # of CompleteMultipartUpload, whose answer begins before it is done
        answer("RequestTimeout", 400),
        answer("ConditionalRequestConflict", 409),
        boto.EndpointConnectionError(endpoint_url="http://nowhere"),
        boto.ConnectTimeoutError(endpoint_url="http://nowhere"),
        boto.ReadTimeoutError(endpoint_url="http://nowhere"),
        boto.ConnectionClosedError(endpoint_url="http://nowhere"),
        boto.IncompleteReadError(actual_bytes=1, expected_bytes=2),
        aiohttp.ClientPayloadError("Response payload is not completed"),
        aiohttp.ServerDisconnectedError(),
        aiohttp.ConnectionTimeoutError(),
        over_http(429),
        over_http(502),
        FSTimeoutError(),
        TimeoutError(),
        ConnectionResetError(),
        socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution"),
        OSError(errno.ENETUNREACH, "Network is unreachable"),
        ShortReadError("5 of 6 bytes"),
    ],
    ids=repr,
)
def test_what_may_pass_is_asked_again(error):
    assert is_temporary(error)


@pytest.mark.parametrize(
    "error",
    [
        answer("AccessDenied", 403),
        answer("403", 403),
        answer("ExpiredToken", 400),
        answer("RequestTimeTooSkewed", 403),
        answer("NoSuchKey", 404),
        answer("NoSuchBucket", 404),
        answer("PreconditionFailed", 412),
        answer("NotImplemented", 501),
        boto.NoCredentialsError(),
        boto.SSLError(endpoint_url="https://nowhere", error="certificate verify failed"),
        over_http(403),
        over_http(410),
        FileNotFoundError("http://nowhere/x"),
        PermissionError(errno.EACCES, "Permission denied"),
        OSError(errno.ENOSPC, "No space left on device"),
        ValueError("a bug"),
    ],
    ids=repr,
)
def test_what_does_not_pass_is_said_at_once(error):
    assert not is_temporary(error)


def test_a_body_cut_off_passes_although_its_cause_speaks_of_400():
    """aiohttp's own parser numbers its complaints like answers."""
    error = aiohttp.ClientPayloadError("Response payload is not completed")
    error.__cause__ = aiohttp.http_exceptions.ContentLengthError("Not enough data")
    assert is_temporary(error)


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "FIRST_WAIT_S", 0.001)


def failing(times: int, error: Exception) -> Callable[[], str]:
    calls = itertools.count(1)

    def action() -> str:
        if next(calls) <= times:
            raise error
        return "there"

    return action


@pytest.mark.usefixtures("hasty")
def test_every_retry_is_counted_and_no_first_try():
    before = num_retried()
    assert patiently(failing(5, answer("SlowDown", 503)), 60) == "there"
    assert num_retried() - before == 5
    assert patiently(failing(0, ValueError()), 60) == "there"
    assert num_retried() - before == 5


def test_when_the_time_is_up_the_last_error_is_raised(monkeypatch):
    """With waits as they are: the deadline ends them."""
    errors = [answer("SlowDown", 503) for _ in range(1000)]
    tries = iter(errors)

    def action() -> None:
        raise next(tries)

    with pytest.raises(OSError) as caught:  # noqa: PT011
        patiently(action, 0.5)
    assert errors.index(caught.value) == len(errors) - len(list(tries)) - 1 > 0


@pytest.mark.parametrize("deadline_s", [0.0, 60.0])
def test_what_does_not_pass_is_tried_once(deadline_s):
    before = num_retried()
    with pytest.raises(ZeroDivisionError):
        patiently(lambda: 1 // 0, deadline_s)
    assert num_retried() == before


@pytest.mark.usefixtures("hasty")
def test_one_request_among_many_gives_up_so_that_the_deadline_is_kept():
    before, error = num_retried(), answer("SlowDown", 503)

    async def refused() -> None:
        raise error

    with pytest.raises(OSError) as caught:  # noqa: PT011
        asyncio.run(briefly(refused))
    assert caught.value is error
    assert num_retried() - before == patience.NUM_BRIEF


@pytest.mark.usefixtures("hasty")
def test_a_long_wait_is_told_once(monkeypatch):
    monkeypatch.setattr(patience, "TELL_AFTER_S", 0.0)
    told: list[str] = []
    with telling(told.append):
        patiently(failing(3, answer("SlowDown", 503)), 60)
    patiently(failing(3, answer("SlowDown", 503)), 60)
    assert len(told) == 1
    assert "(SlowDown)" in told[0] and "read.storage_deadline_s" in told[0]


@pytest.fixture(autouse=True)
def nothing_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "_away_since", {})


@pytest.mark.usefixtures("hasty")
def test_what_waits_inside_another_wait_shares_its_deadline():
    """Each with its own, three of them inside each other wait three times as long, and for each file anew."""
    tries = 0
    error = answer("SlowDown", 503)

    async def request() -> None:
        nonlocal tries
        tries += 1
        raise error

    for deadlines in ((0.0, 60.0), (60.0, 0.0)):
        tries = 0
        outer, inner = deadlines
        with pytest.raises(OSError), within(time.monotonic() + outer):  # noqa: PT011
            patiently(lambda inner=inner: asyncio.run(briefly(request)), inner)
        assert tries == 1


def test_a_store_that_was_away_for_a_whole_deadline_is_not_waited_for_as_long_again(monkeypatch):
    """A hundred large files at five minutes each are a night."""
    now = 1000.0
    monkeypatch.setattr(patience, "BRIEF_S", 1.0)
    monkeypatch.setattr(time, "monotonic", lambda: now)

    def pause(seconds: float) -> None:
        nonlocal now
        now += seconds + 0.001

    monkeypatch.setattr(patience, "pause", pause)

    def waited(times: int, at: str) -> float:
        began = now
        with contextlib.suppress(ConnectionResetError):
            patiently(failing(times, ConnectionResetError()), 300.0, at)
        return round(now - began)

    assert waited(10**9, "s3") == 300
    assert waited(10**9, "s3") == waited(10**9, "s3") == 1
    assert waited(10**9, "https://elsewhere") == 300
    assert waited(0, "s3") == 0  # it is back
    assert waited(10**9, "s3") == 300


def test_that_the_time_was_out_is_not_told_in_place_of_what_was_wrong(monkeypatch):
    monkeypatch.setattr(patience, "LEAST_S", 0.05)
    errors: list[Exception] = [ConnectionRefusedError(111, "refused")]

    async def request() -> None:
        if errors:
            raise errors.pop()
        await asyncio.sleep(60)

    with pytest.raises(ConnectionRefusedError):
        patiently(lambda: asyncio.run(patience.timely(request())), 0.2)


# ---- the same over HTTP


class Web(http.server.ThreadingHTTPServer):
    """Serves BODY; `answers` are, first of all, what it does instead."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answers: list[int | str] = []
        self.knows_ranges = True
        self.num_requests = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/x.wav"


class _Handler(http.server.BaseHTTPRequestHandler):
    server: Web
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.server.num_requests += 1
        instead = self.server.answers.pop(0) if self.server.answers else 200
        if isinstance(instead, int) and instead != 200:
            self.send_response(instead)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        body, wanted = BODY, self.headers.get("Range")
        if wanted and self.server.knows_ranges:
            first, last = wanted.removeprefix("bytes=").split("-")
            body = BODY[int(first) : int(last or len(BODY)) + 1]
        self.send_response(206 if body is not BODY else 200)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Accept-Ranges", "bytes")
        self.end_headers()
        if instead == "trickle":
            for number in range(len(body)):
                self.wfile.write(body[number : number + 1])
                time.sleep(0.05)
        elif self.command == "GET":
            self.wfile.write(body[: len(body) // 2] if instead == "half" else body)
        if instead == "half":
            self.close_connection = True

    do_HEAD = do_GET

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def web() -> Iterator[Web]:
    store.filesystem.cache_clear()
    with Web() as server:
        threading.Thread(target=server.serve_forever, args=[0.01], daemon=True).start()
        yield server
        server.shutdown()


@pytest.mark.usefixtures("hasty")
def test_a_web_server_that_fails_for_the_moment_is_asked_again(web):
    files, path = locate(web.url)
    web.answers = [503, "half", 500, 429]
    before = num_retried()
    assert read_ranges(files, [path], None, None, 60) == [BODY]
    assert num_retried() - before == 4


@pytest.mark.usefixtures("hasty")
def test_only_what_failed_is_asked_again_and_each_answer_keeps_its_place(web):
    files, path = locate(web.url)
    web.answers = [503, "half", 404]
    starts, ends = [0, 10, 20, 30, 40], [5, 15, 25, 35, 45]
    found = read_ranges(files, [path] * 5, starts, ends, 60)
    assert web.num_requests == 7
    missing = [part for part in found if isinstance(part, FileNotFoundError)]
    assert len(missing) == 1
    assert all(found[n] == BODY[starts[n] : ends[n]] for n in range(5) if found[n] is not missing[0])


def test_a_web_server_without_ranges_does_not_give_other_bytes_for_them(web):
    files, path = locate(web.url)
    web.knows_ranges = False
    assert read_ranges(files, [path], [100], [200], 60) == [BODY[100:200]]


def test_what_a_web_server_refuses_for_good_comes_back_as_it_is(web):
    files, path = locate(web.url)
    web.answers = [403]
    (found,) = read_ranges(files, [path], None, None, 60)
    assert isinstance(found, aiohttp.ClientResponseError) and found.status == 403
    assert web.num_requests == 1


def test_a_range_over_the_end_is_shorter(web, tmp_path):
    (tmp_path / "x.wav").write_bytes(BODY)
    for url in (web.url, str(tmp_path / "x.wav")):
        files, path = locate(url)
        assert read_ranges(files, [path], [len(BODY) - 5], [len(BODY) + 5], 60) == [BODY[-5:]]


@pytest.mark.usefixtures("hasty")
def test_a_file_that_is_read_on_and_on_gets_over_failures(web):
    files, path = locate(web.url)
    with opened(files, path, 60) as file:
        assert file.read(4) == BODY[:4]
        web.answers = ["half", 503]
        file.seek(5000)
        assert file.read() == BODY[5000:]
    assert opened(*locate(__file__), 60).read()


def test_a_web_server_that_trickles_is_not_read_to_the_end(web, monkeypatch):
    """A byte now and then is no stall: here for eight seconds, on the web for ever."""
    monkeypatch.setattr(patience, "LEAST_S", 0.1)
    files, path = locate(web.url)
    web.answers = ["trickle"]
    (found,) = read_ranges(files, [path], [0], [160], 0.2)
    assert isinstance(found, patience.TooSlowError) and is_temporary(found)
    assert read_ranges(files, [path], [0], [160], 60) == [BODY[:160]]
    with opened(files, path, 2.0) as file:
        web.answers = ["trickle"] * 9
        with pytest.raises(patience.TooSlowError):
            file.read(100)


def test_of_a_web_server_without_ranges_a_file_is_read_once_for_all_its_ranges(web):
    files, path = locate(web.url)
    web.knows_ranges = False
    starts = list(range(0, 10_000, 1000))
    ends = [start + 50 for start in starts]
    assert read_ranges(files, [path] * 10, starts, ends, 60) == [BODY[n : n + 50] for n in starts]
    assert not store.knows_ranges(files, path)
    web.num_requests = 0
    assert read_ranges(files, [path] * 10, starts, ends, 60) == [BODY[n : n + 50] for n in starts]
    assert web.num_requests == 2  # for the first, which begins where the file does, and for all others
    web.knows_ranges = True
    assert read_ranges(files, [path], [0], [50], 60) == [BODY[:50]]
    assert store.knows_ranges(files, path)


def test_more_of_a_file_without_ranges_than_can_be_held_is_not_read(web, monkeypatch):
    monkeypatch.setattr("pipeline.web.MOST_BYTES", 1000)
    files, path = locate(web.url)
    assert len(read_ranges(files, [path], [0], [2000], 60)[0]) == 2000
    web.knows_ranges = False
    for start, end in ((0, 1001), (900, 1001)):
        (found,) = read_ranges(files, [path], [start], [end], 60)
        assert storage_reason(found).reason == "server knows no ranges"
    assert read_ranges(files, [path], [900], [1000], 60) == [BODY[900:1000]]


def test_a_web_server_that_sends_nothing_is_not_waited_for_for_ever(monkeypatch):
    monkeypatch.setattr("pipeline.web.TIMEOUT_S", 0.2)
    store.filesystem.cache_clear()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        files, path = locate(f"http://127.0.0.1:{silent.getsockname()[1]}/x.wav")
        (found,) = read_ranges(files, [path], None, None, 0.0)
    store.filesystem.cache_clear()
    assert isinstance(found, Exception) and is_temporary(found)
