"""Files that are there whole or not at all, whoever is killed and whoever else is writing."""

import errno
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest

from pipeline.errors import UsageError
from pipeline.store import Folder, absolute, locate, overlap

OLD, NEW = b"old" * 1_000_000, b"new" * 1_000_000  # large enough to be killed in the middle of


@pytest.fixture(params=["local", "memory", "ceph"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Folder]:
    if request.param == "local":
        yield Folder(str(tmp_path / "run [1]" / "x"))
        return
    if request.param == "ceph":
        yield Folder(f"{request.getfixturevalue('ceph').url}/x")
        return
    yield Folder("memory://store/x")
    files = fsspec.filesystem("memory")
    for name in files.ls("/", detail=False):
        files.rm(name, recursive=True)


def test_a_writer_that_is_killed_leaves_the_old_file_or_the_new(tmp_path: Path) -> None:
    """Killed at a moment of chance, over and over, while it replaces one by the other."""
    script = f"""
from pipeline.store import Folder
folder = Folder({str(tmp_path)!r})
folder.publish("file", b"old" * 1_000_000)
print("ready", flush=True)
while True:
    folder.publish("file", b"new" * 1_000_000)
    folder.publish("file", b"old" * 1_000_000)
"""
    for attempt in range(5):
        writer = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)
        assert writer.stdout is not None
        writer.stdout.readline()
        time.sleep(0.05 + 0.013 * attempt)
        writer.send_signal(signal.SIGKILL)
        writer.wait()
        assert (tmp_path / "file").read_bytes() in (OLD, NEW)
    assert all(name == "file" or name.startswith(".") for name in os.listdir(tmp_path))  # what a sweep may delete


def test_readers_never_see_a_file_half_written(tmp_path: Path) -> None:
    folder, done = Folder(str(tmp_path)), threading.Event()
    folder.publish("file", OLD)

    def write() -> None:
        for data in (NEW, OLD) * 10:
            folder.publish("file", data)
        done.set()

    writer = threading.Thread(target=write)
    writer.start()
    while not done.is_set():
        assert folder.read("file") in (OLD, NEW)
    writer.join()
    assert folder.names() == ["file"]


def test_a_write_that_fails_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Folder(str(tmp_path))
    folder.publish("file", b"old")

    def full(number: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        folder.publish("file", b"new")
    assert folder.read("file") == b"old"
    assert os.listdir(tmp_path) == ["file"]


def test_of_many_who_create_a_file_one_does(tmp_path: Path) -> None:
    folder, barrier = Folder(str(tmp_path / "deep")), threading.Barrier(8)
    wrote: list[int] = []

    def create(number: int) -> None:
        barrier.wait()
        if folder.create("lock", str(number).encode()):
            wrote.append(number)

    threads = [threading.Thread(target=create, args=[number]) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [str(number).encode() for number in wrote] == [folder.read("lock")]


def test_a_file_that_is_created_is_whole_whoever_is_killed(tmp_path: Path) -> None:
    """A commit half-written would count."""
    script = f"""
import itertools
from pipeline.store import Folder
for number in itertools.count():
    Folder({str(tmp_path)!r}).create(f"file-{{number}}", b"new" * 1_000_000)
    print("one more", flush=True)
"""
    for attempt in range(3):
        writer = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)
        assert writer.stdout is not None
        writer.stdout.readline()
        time.sleep(0.05 + 0.021 * attempt)
        writer.send_signal(signal.SIGKILL)
        writer.wait()
    whole = [path for path in tmp_path.iterdir() if not path.name.startswith(".")]
    assert whole and all(path.read_bytes() == NEW for path in whole)


def test_a_disk_without_hard_links_creates_files_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_links(*_: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", no_links)
    folder = Folder(str(tmp_path))
    assert folder.create("marker", b"mine")
    assert not folder.create("marker", b"another's")
    assert folder.read("marker") == b"mine" and folder.names() == ["marker"]


def test_a_local_disk_and_a_store_are_used_alike(folder: Folder) -> None:
    assert folder.names() == []
    assert not folder.exists("a")
    folder.publish("a", b"1")
    folder.publish("a", b"2")
    assert folder.create("b", b"3")
    assert not folder.create("b", b"4")
    assert folder.create("b", b"3")  # what is there is what was to be
    folder.sub("sub").publish("c", b"5")
    assert folder.names() == ["a", "b", "sub"]
    assert folder.read_all(["a", "b"]) == {"a": b"2", "b": b"3"}
    assert folder.read_all([]) == {}
    assert folder.read("b") == b"3"
    assert folder.sizes() == {"a": 1, "b": 1}
    folder.delete(["a", "sub", "gone"])
    assert folder.names() == ["b"]
    assert not folder.sub("sub").exists("c")
    with pytest.raises(FileNotFoundError):
        folder.read("a")
    with pytest.raises(FileNotFoundError):
        folder.read_all(["b", "a"])


def test_patterns_in_object_storage_are_refused_because_a_delete_would_follow_them() -> None:
    with pytest.raises(UsageError, match=r"memory://runs\*: no \*"):
        Folder("memory://runs*")


def test_a_place_is_the_same_from_every_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert absolute("x/y") == absolute(f"file://{tmp_path}/x/y") == f"{tmp_path}/x/y"
    assert absolute("memory://x/y") == "memory:///x/y"


@pytest.mark.parametrize("url", ["nosuch://bucket/x", "zip://inside::archive.zip"])
def test_a_protocol_nobody_speaks_is_named(url: str) -> None:
    with pytest.raises(UsageError) as caught:
        locate(url)
    assert str(caught.value).startswith(f"{url}: ")


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("s3://bucket/run", "s3://bucket/run/", True),
        ("s3://bucket/run", "s3a://bucket/run/new", True),
        ("s3://bucket/run", "s3://bucket/run2", False),
        ("s3://bucket/run", "s3://other/run", False),
        ("s3://bucket/a/../run", "s3://bucket/run", True),
        ("memory://run", "memory:///run/", True),
        ("memory://run", "/run", False),
        ("/a/run", "file:///a", True),
    ],
)
def test_places_that_overlap(one, other, same):
    assert overlap(one, other) is overlap(other, one) is same


@pytest.mark.parametrize("url", ["HTTPS://h/it's?sig=SECRET", "x::https://h/a b?y=SECRET", " https://me:SECRET@h/?a"])
def test_what_signs_a_url_is_not_told(url: str) -> None:
    with pytest.raises(UsageError) as caught:
        locate(url)
    assert "SECRET" not in str(caught.value)
