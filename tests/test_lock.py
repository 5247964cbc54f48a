"""One driver per run: the second stops, a dead one's place can be taken, and one that lost its place finds out."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import pipeline.lock
from pipeline.errors import UsageError
from pipeline.lock import LOCK, STALE_S, Lock, _here, held_by
from pipeline.store import Folder


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(str(tmp_path))


def write_lock(folder: Folder, **changes: Any) -> None:
    """A lock as a living driver of another host would have left it just now."""
    life = {"token": "theirs", "host": "elsewhere", "pid": 1, "beat": time.time()} | changes
    folder.publish(LOCK, json.dumps(life).encode())


@contextlib.contextmanager
def holder_elsewhere(folder: Folder) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the lock until it is killed."""
    script = f"""
import time
from pipeline.lock import Lock
from pipeline.store import Folder
with Lock(Folder({folder.url!r})):
    print("held", flush=True)
    time.sleep(60)
"""
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
    finally:
        process.kill()
        process.wait()


def is_lost(lock: Lock) -> bool:
    try:
        lock.check()
    except UsageError as error:
        return "another driver took over" in str(error)
    return False


def test_a_second_driver_of_this_process_is_refused_while_the_first_works(folder: Folder) -> None:
    with Lock(folder):
        with pytest.raises(UsageError, match=f"another driver \\(process {os.getpid()} on {socket.gethostname()}"):
            Lock(folder).__enter__()
        assert held_by(folder) == f"process {os.getpid()} on {socket.gethostname()}"
    assert held_by(folder) is None
    with Lock(folder):
        pass
    assert folder.names() == []


def test_the_lock_is_let_go_when_the_run_fails(folder: Folder) -> None:
    with pytest.raises(ZeroDivisionError), Lock(folder):
        raise ZeroDivisionError
    assert folder.names() == []


def test_another_process_is_respected_while_it_lives_and_replaced_when_it_was_killed(folder: Folder) -> None:
    with holder_elsewhere(folder) as process:
        with pytest.raises(UsageError, match=f"process {process.pid} "):
            Lock(folder).__enter__()
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert folder.exists(LOCK)
        assert held_by(folder) is None
        with Lock(folder):
            assert held_by(folder) == f"process {os.getpid()} on {socket.gethostname()}"


@pytest.mark.parametrize("content", [b"", b'{"token": "th', b"[]", b"{}", b"\xff\xfe\x00"])
def test_a_lock_whose_writer_died_half_way_holds_nobody_up(folder: Folder, content: bytes) -> None:
    folder.publish(LOCK, content)
    assert held_by(folder) is None
    with Lock(folder):
        assert held_by(folder) is not None


def test_another_host_is_believed_until_it_has_been_silent_for_long(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_lock(folder, beat=time.time() - STALE_S / 2)
    with pytest.raises(UsageError, match="on elsewhere"):
        Lock(folder).__enter__()
    monkeypatch.setattr(pipeline.lock, "WATCH_S", 0.1)
    write_lock(folder, beat=time.time() - STALE_S - 1)
    with Lock(folder):
        pass


@pytest.mark.parametrize("wrong_by", [-600, 600])
def test_another_host_with_a_wrong_clock_is_believed_as_long_as_it_beats(
    folder: Folder, monkeypatch: pytest.MonkeyPatch, wrong_by: float
) -> None:
    """S3 lets clocks differ by a quarter of an hour."""
    monkeypatch.setattr(pipeline.lock, "WATCH_S", 3.0)
    done = threading.Event()

    def beat() -> None:
        while not done.wait(0.05):
            write_lock(folder, beat=time.time() + wrong_by)

    write_lock(folder, beat=time.time() + wrong_by)
    beating = threading.Thread(target=beat)
    beating.start()
    try:
        with pytest.raises(UsageError, match="is being written by another driver"):
            Lock(folder).__enter__()
    finally:
        done.set()
        beating.join()
    monkeypatch.setattr(pipeline.lock, "WATCH_S", 0.1)
    with Lock(folder):  # it is silent now, whatever its clock says
        pass


def test_a_dead_driver_with_our_process_id_is_dead(folder: Folder) -> None:
    """In a container every driver is process 1, and the restarted one must not wait for itself."""
    write_lock(folder, **_here(), pid=os.getpid())
    with Lock(folder):
        pass


def test_a_holder_gives_signs_of_life(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline.lock, "BEAT_S", 0.02)
    with Lock(folder) as lock:
        first = json.loads(folder.read(LOCK))["beat"]
        deadline = time.monotonic() + 60
        while json.loads(folder.read(LOCK))["beat"] == first and time.monotonic() < deadline:
            time.sleep(0.01)
        assert json.loads(folder.read(LOCK))["beat"] > first
        assert not is_lost(lock)


@pytest.mark.parametrize("taken_over", [True, False])
def test_a_holder_that_lost_its_lock_notices_and_leaves_the_new_one_alone(
    folder: Folder, monkeypatch: pytest.MonkeyPatch, taken_over: bool
) -> None:
    monkeypatch.setattr(pipeline.lock, "BEAT_S", 0.02)
    with Lock(folder) as lock:
        write_lock(folder) if taken_over else folder.delete([LOCK])
        assert is_lost(lock)
    assert folder.exists(LOCK) == taken_over


def test_a_holder_that_slept_through_its_end_leaves_the_new_lock_alone(folder: Folder) -> None:
    """Between two beats it does not know yet, as after a laptop was closed and opened again."""
    with Lock(folder):
        write_lock(folder)
    assert json.loads(folder.read(LOCK))["token"] == "theirs"


def test_a_store_that_is_away_for_a_moment_does_not_end_the_signs_of_life(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Backends raise kinds of their own, botocore's among them; a thread that died of one would lose the lock."""
    monkeypatch.setattr(pipeline.lock, "BEAT_S", 0.02)
    publish, num_calls = Folder.publish, 0

    def flaky(self: Folder, name: str, data: bytes) -> None:
        nonlocal num_calls
        num_calls += 1
        if num_calls <= 2:
            raise RuntimeError("could not connect to the endpoint")
        publish(self, name, data)

    monkeypatch.setattr(Folder, "publish", flaky)
    with Lock(folder) as lock:
        deadline = time.monotonic() + 60
        while num_calls < 4 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert num_calls >= 4
        assert not is_lost(lock)


def test_a_store_that_lets_everybody_write_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """There a lock waits whether another writes after it, and who is written over stops."""
    folder = Folder("memory://lenient/run")

    def lenient(self: Folder, name: str, data: bytes) -> bool:
        self.publish(name, data)
        return True

    def another_writes(seconds: float) -> None:
        write_lock(folder)

    monkeypatch.setattr(Folder, "create", lenient)
    monkeypatch.setattr("pipeline.lock.time.sleep", another_writes)
    with pytest.raises(UsageError, match="another driver started on this run at the same moment"):
        Lock(folder).__enter__()
    folder.delete([LOCK])


def test_a_place_that_cannot_be_written_to_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match=f"cannot write to {tmp_path}/file/run"):
        Lock(Folder(f"{tmp_path}/file/run")).__enter__()
