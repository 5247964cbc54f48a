"""The wall between the run and what decodes somebody else's bytes: whatever happens behind it costs one recording."""

import contextlib
import dataclasses
import os
import platform
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pipeline.config import ReadConfig
from pipeline.errors import RecordingError
from pipeline.read.blob import FIRST, MOST
from pipeline.read.child import ORPHAN_S
from pipeline.read.guard import MOST_READS, SPARE_READS, Guard, Limits
from pipeline.records import Cut
from tests.read.test_audio import decoded, encode, tone
from tests.read.test_libav import made

BAD = "tests.read.bad_decoders:decode"
TIMEOUT_S = 1.5
LIMITS = Limits.of(ReadConfig(max_memory_gb=1.0, decode_timeout_s=TIMEOUT_S))


@pytest.fixture(scope="module")
def guard() -> Iterator[Guard]:
    guard = Guard(dataclasses.replace(LIMITS, max_duration_s=100.0), BAD)
    yield guard
    guard.stop()


@pytest.fixture(scope="module")
def real() -> Iterator[Guard]:
    guard = Guard(Limits.of(ReadConfig()))
    yield guard
    guard.stop()


def fails(guard: Guard, order: bytes) -> tuple[str, str | None]:
    with pytest.raises(RecordingError) as caught:
        guard.decode(order)
    return caught.value.reason, caught.value.detail


@pytest.mark.parametrize(
    ("order", "reason", "detail"),
    [
        (b"segfault", "crashed the audio decoder", "SIGSEGV"),
        (b"abort", "crashed the audio decoder", "SIGABRT"),
        (b"exit", "crashed the audio decoder", "exit code 3"),
        (b"loop", "decoding took over 1.5 s (read.decode_timeout_s)", None),
        (b"hog", "needs too much memory (read.max_memory_gb)", None),
        (b"claim", "needs too much memory (read.max_memory_gb)", None),
        (b"reason", "a reason", "a detail"),
        (b"unicode", "damaged audio", "UnicodeDecodeError: "),
        (b"surrogate", "damaged audio", "RuntimeError: a lone surrogate"),
        (b"nothing", "damaged audio", "TypeError: "),
        (b"unprintable", "crashed the audio decoder", "exit code 1"),
        (b"garble \0", "crashed the audio decoder", "its answer makes no sense"),
        (b"garble f\xff\xff", "crashed the audio decoder", "its answer makes no sense"),
        (b"bug", "fault of the decoder's own", "NameError: name 'nothing' is not defined"),
        (b"failure", "crashed the audio decoder", "its answer makes no sense"),
        (b"flood", "crashed the audio decoder", "its answer makes no sense"),
        (b"halfway", "half of a reason", None),
        (b"halfway loop", "decoding took over 1.5 s (read.decode_timeout_s)", None),
        (b"hangup", "crashed the audio decoder", "it closed its pipe"),
        (b"halfway kill", "crashed the audio decoder", "SIGKILL"),
    ],
)
def test_a_decoder_that_misbehaves_costs_its_recording_and_no_other(
    guard: Guard, order: bytes, reason: str, detail: str | None
) -> None:
    told, told_detail = fails(guard, order)
    assert told == reason
    assert (told_detail or "").startswith(detail or "")
    assert len(guard.decode(b"work").audio) == 1


def test_what_a_library_prints_is_not_taken_for_samples(guard: Guard, capfd: pytest.CaptureFixture[str]) -> None:
    assert len(guard.decode(b"print").audio) == 1
    assert len(guard.decode(b"").audio) == 1
    assert capfd.readouterr() == ("", "")


def test_samples_arrive_as_they_left(real: Guard) -> None:
    """More than a pipe holds at once, both ways; both libraries, which may open no file by then."""
    for rate, dtype in ((44_100, np.float32), (16_000, np.int16)):
        for container in ("WAV", "FLAC", "MP3", "OGG"):
            data = encode(tone(rate, 40.0), rate, container)
            audio, declared_s = real.decode(data)
            assert audio.dtype == (dtype if container in ("WAV", "FLAC") else np.float32)
            assert declared_s == 40.0
            np.testing.assert_array_equal(audio, decoded(data).audio)
    for kind in (("mp4", "aac"), ("ogg", "libopus"), ("adts", "aac"), ("matroska", "flac")):
        data = made(kind, tone(48_000, 3.0)[:, None], 48_000)
        for cut in (Cut(), Cut(1.0, 1.0, 0)):
            there, here = real.decode(data, cut), decoded(data, cut)
            assert there.declared_s == here.declared_s
            np.testing.assert_array_equal(there.audio, here.audio)
    assert real.num_channels(encode(np.zeros((100, 3)), 16_000)) == 3
    assert fails(real, b"not audio at all") == ("not audio", None)


def test_the_parent_believes_no_header(guard: Guard) -> None:
    """Neither that there is more than comes, nor that there is less."""
    for claim in (b"0.5", b"14000", b"1e300", b"-5", b"inf", b"nan"):
        audio, declared_s = guard.decode(b"promise " + claim)
        assert (len(audio), audio.base) == (16_000, None)
        assert declared_s == (None if claim == b"nan" else float(claim))


def test_one_child_serves_many_recordings(guard: Guard) -> None:
    assert len({int(guard.decode(b"").audio[0]) for _ in range(5)}) == 1


def test_a_child_that_something_else_killed_costs_nothing(guard: Guard) -> None:
    """A machine out of memory kills what it likes; the recording was not at fault."""
    child = guard.start()
    guard.decode(b"")
    child.kill()
    child.wait()
    assert guard.decode(b"").audio[0] != child.pid

    class Killing(Stored):
        def read_at(self, start: int, length: int) -> bytes:
            if not self.asked:
                child.kill()
            return super().read_at(start, length)

    child = guard.start()
    guard.decode(b"")
    assert guard.decode(Killing(b"work")).audio[0] != child.pid


def test_a_decoder_that_cannot_start_is_no_fault_of_a_recording() -> None:
    with pytest.raises(RuntimeError, match="does not start: exit code 1"):
        Guard(LIMITS, "tests.read.no_such_module:decode").decode(b"")


def test_credentials_of_the_parent_stay_with_the_parent(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "HF_TOKEN", "GOOGLE_APPLICATION_CREDENTIALS"):
        monkeypatch.setenv(name, "hunter2")
    guard = Guard(LIMITS, BAD)
    try:
        environment = guard.decode(b"environment").audio.tobytes().decode("utf-32")
    finally:
        guard.stop()
    assert "PATH=" in environment
    assert "hunter2" not in environment


@pytest.fixture
def own() -> Iterator[Guard]:
    """A guard whose child nobody else uses."""
    guard = Guard(LIMITS, BAD)
    yield guard
    guard.stop()


@pytest.mark.skipif(platform.machine() != "x86_64", reason="elsewhere only descriptors are counted")
def test_a_decoder_that_was_taken_over_reaches_nothing(own: Guard, tmp_path: Path) -> None:
    """No file (its parent's environment is one), no socket, no program, no process; also once it closed what it had."""
    secret = tmp_path / "secret"
    secret.write_text("hunter2")
    with socket.create_server(("127.0.0.1", 0)) as server:
        me = os.getpid()
        orders = [f"open {path}" for path in (secret, f"/proc/{me}/environ", "/dev/null")]
        orders += [f"connect {server.getsockname()[1]}", f"remove {secret}", "fork", f"execute {sys.executable}"]
        orders += [f"signal {me}", f"trace {me}", f"raise {me}"]
        for _ in range(2):
            for order in orders:
                reason, detail = fails(own, order.encode())
                assert (reason, "Operation not permitted" in (detail or "")) == ("damaged audio", True), (order, detail)
            own.decode(b"close")
    assert secret.exists()
    own.decode(b"thread")


def test_a_decoder_has_few_rights_where_system_calls_cannot_be_forbidden(own: Guard) -> None:
    own.decode(b"")
    pid = own.start().pid
    for what, most in ((resource.RLIMIT_CORE, 0), (resource.RLIMIT_FSIZE, 0)):
        assert resource.prlimit(pid, what) == (most, most)
    assert resource.prlimit(pid, resource.RLIMIT_NOFILE)[1] == len(os.listdir(f"/proc/{pid}/fd"))
    assert "NoNewPrivs:\t1\n" in Path(f"/proc/{pid}/status").read_text()


def test_what_lies_in_the_working_directory_is_not_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A corpus may hold a file that is called like a library."""
    (tmp_path / "soxr.py").write_text("open('executed', 'w')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", ["", ".", *sys.path])
    guard = Guard(LIMITS)
    try:
        assert len(guard.decode(encode(tone(8_000), 8_000)).audio) == 16_000
    finally:
        guard.stop()
    assert not (tmp_path / "executed").exists()


def test_a_start_that_somebody_ends_is_tried_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    for name in ("SIGTERM", "SIGSEGV"):
        (tmp_path / name).mkdir()
    guard = Guard(LIMITS, "tests.read.bad_starts:decode")
    try:
        assert len(guard.decode(b"").audio) == 1
    finally:
        guard.stop()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("order", [b"segfault", b"loop", b""])
def test_nobody_waits_for_what_a_child_leaves_behind(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, order: bytes
) -> None:
    """It holds the pipes, whose end would tell that the child is gone."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    (tmp_path / "leave").mkdir()
    guard = Guard(LIMITS, "tests.read.bad_starts:decode")
    try:
        if order:
            fails(guard, order)
        else:
            guard.decode(order)
    finally:
        guard.stop()
    assert not (tmp_path / "outlived").exists()


def test_a_recording_larger_than_the_memory_names_that_limit(own: Guard) -> None:
    assert fails(own, bytes(2**30)) == ("needs too much memory (read.max_memory_gb)", None)
    assert len(own.decode(b"").audio) == 1


class Stored:
    """Bytes in ranges, which remembers what was asked for."""

    def __init__(
        self, data: bytes, fail_at: int | None = None, error: Exception | None = None, wait_s: float = 0.0
    ) -> None:
        self.data, self.size, self.fail_at, self.error, self.wait_s = data, len(data), fail_at, error, wait_s
        self.asked: list[tuple[int, int]] = []

    def read_at(self, start: int, length: int) -> bytes:
        self.asked.append((start, length))
        assert 0 <= start < self.size and 0 < length <= MOST
        time.sleep(self.wait_s)
        if self.error is not None and start + length > (self.fail_at or 0):
            raise self.error
        return self.data[start : start + length]


@pytest.fixture(scope="module")
def ranges() -> Iterator[Guard]:
    guard = Guard(LIMITS, "tests.read.bad_decoders:read_twice")
    yield guard
    guard.stop()


MP3 = encode(np.random.default_rng(0).normal(0, 0.1, 44_100 * 40), 44_100, "MP3")
DATA = np.random.default_rng(0).bytes(3 * MOST)


@settings(max_examples=30)
@given(
    size=st.integers(1, len(DATA)),
    start=st.floats(0, 1),
    length=st.integers(0, len(DATA)),
    end=st.integers(1, FIRST * 2),
)
@example(size=len(DATA), start=0.0, length=len(DATA), end=1)
@example(size=FIRST, start=0.0, length=FIRST, end=FIRST)
def test_a_file_read_in_ranges_is_the_same_file(ranges: Guard, size: int, start: float, length: int, end: int) -> None:
    data, first, end = DATA[:size], int(start * size), min(end, size)
    audio, position = ranges.decode(Stored(data), Cut(first, length, end))
    wanted = data[first : first + length] + data[size - end :]
    np.testing.assert_array_equal(audio, np.frombuffer(wanted, np.uint8))
    assert position == size - end


def test_what_is_sent_in_ranges_decodes_like_what_is_sent_at_once(real: Guard) -> None:
    video = made(("mp4", "aac"), np.repeat(tone(44_100, 5.0)[:, None], 2, axis=1), 44_100, video=True)
    loud = np.random.default_rng(0).normal(0, 0.1, 48_000 * 40)
    for data in (video, encode(loud, 48_000, "FLAC"), encode(loud, 48_000, "MP3"), encode(loud, 48_000, "WAV")):
        for cut in (Cut(), Cut(3.0, 1.0)):
            at_once, in_ranges = real.decode(data, cut), real.decode(Stored(data), cut)
            assert at_once.declared_s == in_ranges.declared_s
            np.testing.assert_array_equal(at_once.audio, in_ranges.audio)
    assert real.num_channels(Stored(video)) == 2


@settings(max_examples=10)
@given(starts=st.lists(st.floats(0, 39), min_size=2, max_size=5), is_measured=st.booleans())
def test_the_cuts_of_a_file_do_not_depend_on_those_before(real: Guard, starts: list[float], is_measured: bool) -> None:
    """An MP3 is kept open from cut to cut, in whichever order they come. Its decoder rounds by how many frames it
    decoded before, which a seek does not reset: by up to 5e-8, a five-hundredth of what 16 bits can tell apart.
    """
    data = MP3 if is_measured else MP3[MP3.index(MP3[:2], 4) :]
    stored = Stored(data)
    for start in starts:
        alone = decoded(data, Cut(start, 0.3)).audio
        np.testing.assert_allclose(real.decode(stored, Cut(start, 0.3)).audio, alone, rtol=0, atol=1e-6)


def test_segments_of_a_long_mp3_read_it_once(real: Guard) -> None:
    """To find a frame of one, all before it are looked at: an hour's 500 segments would cost 500 half hours."""
    stored = Stored(MP3)
    for start in range(0, 40, 2):
        real.decode(stored, Cut(float(start), 2.0))
    assert sum(length for _, length in stored.asked) < 3 * len(MP3)


def test_a_cut_far_into_a_large_file_asks_for_little_of_it(real: Guard) -> None:
    stored = Stored(encode(np.random.default_rng(0).normal(0, 0.1, 16_000 * 900), 16_000, "FLAC"))
    assert len(real.decode(stored, Cut(800.0, 2.0)).audio) == 32_000
    assert sum(length for _, length in stored.asked) < stored.size / 4
    assert len(stored.asked) < 10


def test_ranges_grow_and_are_fetched_ahead(ranges: Guard) -> None:
    """Large ones, since each costs a round trip; the next is on its way while one is read, and none comes twice."""
    stored = Stored(DATA)
    ranges.decode(stored, Cut(0.0, len(DATA) - 1, 1))
    lengths = [length for _, length in sorted(stored.asked)]
    assert lengths[0] == FIRST
    assert max(lengths) == MOST
    assert sum(lengths) == len(DATA)


@pytest.mark.parametrize(
    "error",
    [ConnectionError("gone"), TimeoutError("late"), EOFError("short"), RecordingError("changed"), BrokenPipeError()],
)
def test_a_store_that_fails_is_no_fault_of_the_decoder(ranges: Guard, error: Exception) -> None:
    """Its own words come through, and the next recording finds a decoder that waits for nothing."""
    for fail_at in (0, FIRST + 1, len(DATA) - 1):
        with pytest.raises(type(error)) as caught:
            ranges.decode(Stored(DATA, fail_at, error), Cut(0.0, len(DATA), 1))
        assert caught.value is error
    assert len(ranges.decode(b"abc", Cut(0.0, 2, 1)).audio) == 3


def test_a_file_that_shrank_is_an_error_of_the_store(ranges: Guard) -> None:
    stored = Stored(DATA[:1000])
    stored.size = 2000
    with pytest.raises(OSError, match="ended at byte 1000 of 2000"):
        ranges.decode(stored, Cut(0.0, 2000, 1))


def test_a_file_that_is_read_over_and_over_is_given_up(own: Guard) -> None:
    """Each range is small and soon there; together they would be the traffic of a corpus."""
    stored = Stored(b"restless".ljust(2**22))
    with pytest.raises(RecordingError, match="makes its decoder read it over and over"):
        own.decode(stored)
    assert sum(length for _, length in stored.asked) < 2 * (MOST_READS * stored.size + SPARE_READS)
    assert len(own.decode(b"").audio) == 1


def test_the_time_of_a_slow_store_is_not_the_decoders() -> None:
    guard = Guard(dataclasses.replace(LIMITS, timeout_s=1.0), "tests.read.bad_decoders:read_twice")
    try:
        slow = Stored(DATA[: FIRST * 3], wait_s=1.3)  # more than its deadline, and together than an orphan's
        assert len(guard.decode(slow, Cut(0.0, slow.size, 1)).audio) == slow.size + 1
    finally:
        guard.stop()


@pytest.mark.parametrize("order", ["", "wait", "loop"])
def test_the_child_ends_with_its_parent(order: str) -> None:
    """A killed worker leaves nothing behind, no traceback and no process, not even one in an endless loop."""
    script = f"""
import time
from pipeline.read.guard import Guard
from pipeline.read.guard import Limits
guard = Guard(Limits(1.0, 1, 1, 1.0, {TIMEOUT_S}), {BAD!r})
print(int(guard.decode(b"").audio[0]), flush=True)
if {order!r}:
    guard.decode({order.encode()!r})
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
    deadline = time.monotonic() + TIMEOUT_S + ORPHAN_S + 60
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
