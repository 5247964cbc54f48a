"""The wall between the run and what decodes somebody else's bytes: whatever happens behind it costs one recording."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import numpy as np
import pytest

from pipeline.errors import RecordingError
from pipeline.read.audio import decode as decode_here
from pipeline.read.guard import ORPHAN_S, Guard
from tests.read.test_audio import encode, tone

BAD = "tests.read.bad_decoders:decode"
TIMEOUT_S = 2.0


@pytest.fixture(scope="module")
def shared_guard() -> Iterator[Guard]:
    guard = Guard(max_memory_gb=1.0, timeout_s=TIMEOUT_S, decode=BAD)
    yield guard
    guard.stop()


@pytest.fixture
def guard(shared_guard: Guard) -> Guard:
    """Already started: an import of some tenths of a second is no part of a recording's time here."""
    shared_guard.decode(b"", 1.0)
    return shared_guard


def fails(guard: Guard, order: bytes) -> tuple[str, str | None]:
    with pytest.raises(RecordingError) as caught:
        guard.decode(order, 1.0)
    return caught.value.reason, caught.value.detail


@pytest.mark.parametrize(
    ("order", "reason", "detail"),
    [
        (b"segfault", "crashed the audio decoder", "SIGSEGV"),
        (b"abort", "crashed the audio decoder", "SIGABRT"),
        (b"exit", "crashed the audio decoder", "exit code 3"),
        (b"loop", "decoding took over 2 s (read.decode_timeout_s)", None),
        (b"hog", "needs too much memory (read.max_memory_gb)", None),
        (b"claim", "needs too much memory (read.max_memory_gb)", None),
        (b"reason", "a reason", "a detail"),
        (b"unicode", "damaged audio", "UnicodeDecodeError: "),
        (b"surrogate", "damaged audio", "RuntimeError: a lone surrogate"),
        (b"nothing", "damaged audio", "AttributeError: "),
        (b"unprintable", "crashed the audio decoder", "exit code 1"),
    ],
)
def test_a_decoder_that_misbehaves_costs_its_recording_and_no_other(
    guard: Guard, order: bytes, reason: str, detail: str | None
) -> None:
    told, told_detail = fails(guard, order)
    assert told == reason
    assert (told_detail or "").startswith(detail or "")
    assert len(guard.decode(b"work", 1.0)) == 1


def test_what_a_library_prints_is_not_taken_for_samples(guard: Guard) -> None:
    assert len(guard.decode(b"print", 1.0)) == 1
    assert len(guard.decode(b"", 1.0)) == 1


def test_samples_arrive_as_they_left() -> None:
    """More than a pipe holds at once, both ways."""
    guard = Guard(max_memory_gb=4.0, timeout_s=60.0)
    try:
        for rate, dtype in ((44_100, np.float32), (16_000, np.int16)):
            data = encode(tone(rate, 10.0), rate, subtype="PCM_16")
            audio = guard.decode(data, 60.0)
            assert audio.dtype == dtype
            np.testing.assert_array_equal(audio, decode_here(data, 60.0))
        assert fails(guard, b"not audio at all") == ("not audio", "Format not recognised.")
    finally:
        guard.stop()


def test_one_child_serves_many_recordings(guard: Guard) -> None:
    assert len({int(guard.decode(b"", 1.0)[0]) for _ in range(5)}) == 1


def test_credentials_of_the_parent_stay_with_the_parent(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "HF_TOKEN", "GOOGLE_APPLICATION_CREDENTIALS"):
        monkeypatch.setenv(name, "hunter2")
    guard = Guard(max_memory_gb=1.0, timeout_s=30.0, decode=BAD)
    try:
        environment = guard.decode(b"environment", 1.0).tobytes().decode("utf-32")
    finally:
        guard.stop()
    assert "PATH=" in environment
    assert "hunter2" not in environment


@pytest.mark.parametrize("order", ["", "wait", "loop"])
def test_the_child_ends_with_its_parent(order: str) -> None:
    """A killed worker leaves nothing behind, no traceback and no process, not even one in an endless loop."""
    script = f"""
import time
from pipeline.read.guard import Guard
guard = Guard(1.0, {TIMEOUT_S}, {BAD!r})
print(int(guard.decode(b"", 1.0)[0]), flush=True)
if {order!r}:
    guard.decode({order.encode()!r}, 1.0)
time.sleep(60)
"""
    parent = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert parent.stdout is not None
        assert parent.stderr is not None
        child = int(parent.stdout.readline())
        time.sleep(0.2)
        assert alive(child)
    finally:
        parent.send_signal(signal.SIGKILL)
        parent.wait()
    deadline = time.monotonic() + TIMEOUT_S + ORPHAN_S + 5
    while alive(child) and time.monotonic() < deadline:
        time.sleep(0.05)
    try:
        assert not alive(child)
        assert parent.stderr.read() == ""
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)


def alive(pid: int) -> bool:
    """Neither gone nor a zombie that waits for somebody to ask after it."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
