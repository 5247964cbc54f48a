"""Whole runs of every kind of corpus from and to a store that fails, at length: every recording once, the same rows."""

import json
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from jobs.__main__ import main
from pipeline import store
from pipeline.lock import LOCK
from pipeline.patience import num_retried
from pipeline.run import find
from pipeline.store import Folder
from tests import corpora
from tests.chaos import Chaos, Fault, chaos
from tests.faults.runs import HERE, ON_RAY, calm, command, started
from tests.object_store import Bucket, use
from tests.test_object_storage import check_one_won_each_time, drivers_at_once, rows, upload

pytestmark = [pytest.mark.faults, pytest.mark.slow, pytest.mark.timeout(900)]
FAULTS = {
    "slowdown": Fault("slowdown", 0.3),
    "e500": Fault("e500", 0.3),
    "lost": Fault("lost", 0.3),
    "reset": Fault("reset", 0.3),
    "truncate": Fault("truncate", 0.3),
    "stall": Fault("stall", 0.01),  # each of them costs the 30 s until it is cut
}


@pytest.fixture(params=["ceph", "rclone"])
def s3(request: pytest.FixtureRequest) -> Bucket:
    return request.getfixturevalue(request.param)


@pytest.fixture
def proxy(s3: Bucket, monkeypatch: pytest.MonkeyPatch) -> Iterator[Chaos]:
    with chaos(s3.server.endpoint, emulates_conditions=not s3.server.has_conditional_writes) as proxy:
        use(proxy.endpoint, monkeypatch)
        yield proxy
        proxy.fault = None


@pytest.fixture(scope="module")
def undisturbed(sample, tmp_path_factory) -> dict[str, tuple[Path, Path, list[dict[str, Any]]]]:
    """Of a kind of corpus: its folder, what a run of it is given, and the rows of a calm run."""
    made: dict[str, tuple[Path, Path, list[dict[str, Any]]]] = {}

    class Made(dict[str, Any]):
        def __missing__(self, kind: str) -> Any:
            folder = tmp_path_factory.mktemp(kind)
            source = corpora.write(kind, folder / "corpus", corpora.clips())
            calm(command(source, folder / "out", sample / "model", "--set", "read.unit_s=4", *HERE))
            self[kind] = (folder / "corpus", source.relative_to(folder / "corpus"), rows(str(folder / "out")))
            return self[kind]

    return Made(made)


def sent(s3: Bucket, folder: Path, below: Path) -> str:
    """A corpus, in the store."""
    return f"{upload(folder, f'{s3.url}/corpus')}/{below}".removesuffix("/.")


def swept(out: str) -> None:
    """Parts and commits of the units, each once, and nothing else."""
    run = find(out)
    assert sorted(run.folder.sub("data").names()) == sorted(commit.part for commit in run.commits().values())
    assert len(run.folder.sub("commits").names()) == len(run.manifest.units()) == len(run.commits())
    assert not run.folder.exists(LOCK)


@pytest.mark.parametrize("kind", corpora.KINDS)
def test_every_kind_of_corpus_lies_in_a_store_that_throttles(s3, proxy, sample, undisturbed, record_property, kind):
    folder, below, expected = undisturbed[kind]
    source, out, log = sent(s3, folder, below), f"{s3.url}/out", folder.parent / "log"
    proxy.requests.clear()
    proxy.fault = FAULTS["slowdown"]
    process = started(command(source, out, sample / "model", "--set", "read.unit_s=4", *HERE), log)
    assert process.wait() == 0, log.read_text()[-4000:]
    proxy.fault = None
    told(record_property, proxy, out)
    assert rows(out) == expected
    swept(out)


@pytest.mark.parametrize("fault", FAULTS)
def test_whatever_the_store_does_the_rows_are_the_same(s3, proxy, sample, undisturbed, record_property, fault):
    folder, below, expected = undisturbed["webdataset"]
    source, out, log = sent(s3, folder, below), f"{s3.url}/out", folder.parent / "log"
    proxy.requests.clear()
    proxy.fault = FAULTS[fault]
    process = started(command(source, out, sample / "model", "--set", "read.unit_s=4", *HERE), log)
    assert process.wait() == 0, log.read_text()[-4000:]
    proxy.fault = None
    told(record_property, proxy, out)
    assert rows(out) == expected
    swept(out)


def told(record_property: Any, proxy: Chaos, out: str) -> None:
    """What the run says of its retries is what the proxy knows, but for what came after the summary."""
    retried = json.loads(Folder(out).read("summary.json"))["num_retried"]
    record_property("store", f"{proxy.num_requests} requests, {proxy.num_faults} failed, {retried} told as retried")
    assert proxy.num_faults > 0
    assert 0.8 * proxy.num_faults - 5 <= retried <= proxy.num_faults


@pytest.mark.ray
@pytest.mark.parametrize("address", [HERE, pytest.param(ON_RAY, marks=pytest.mark.ray)], ids=["here", "ray"])
def test_a_store_that_is_away_for_half_a_minute(
    s3, proxy, sample, undisturbed, tmp_path, ray_folder, record_property, address
):
    folder, below, expected = undisturbed["webdataset"]
    source, out, log = sent(s3, folder, below), f"{s3.url}/out", tmp_path / "log"
    proxy.requests.clear()
    argv = command(source, out, sample / "model", "--set", "read.unit_s=2", *address)
    process = started(argv, log, ray_folder)
    ends = time.monotonic() + 240
    direct = Folder(f"{out}/commits")
    while not direct.names() and process.poll() is None and time.monotonic() < ends:
        time.sleep(0.1)
    proxy.away_for(30.0).join()
    assert process.wait() == 0, log.read_text()[-4000:]
    assert rows(out) == expected
    swept(out)
    record_property("requests", proxy.num_requests)


@pytest.mark.parametrize("moment", range(6))
def test_a_run_that_is_killed_in_the_middle_of_its_requests(s3, proxy, sample, undisturbed, tmp_path, moment):
    """In a store that throttles, after so many commits; the second start ends as an undisturbed run."""
    folder, below, expected = undisturbed["parquet"]
    source, out, log = sent(s3, folder, below), f"{s3.url}/out", tmp_path / "log"
    argv = command(source, out, sample / "model", "--set", "read.unit_s=2", *HERE)
    proxy.fault = Fault("lost", 0.1)
    process = started(argv, log)
    ends = time.monotonic() + 240
    while len(Folder(f"{out}/commits").names()) <= moment and process.poll() is None and time.monotonic() < ends:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    before = Folder(f"{out}/commits").names()
    assert len(before) > moment
    kept = Folder(f"{out}/commits").read_all(before)
    assert subprocess.run(argv, capture_output=True).returncode == 0
    assert Folder(f"{out}/commits").read_all(before) == kept
    assert rows(out) == expected
    swept(out)


def test_a_listing_of_many_pages_gets_over_a_refusal_of_each(s3, proxy):
    """Had a refusal of one page meant that of all, 30 % would leave one listing in three of three pages."""
    files = store.filesystem("s3")
    files.pipe({f"{s3.name}/many/{number:05d}": b"" for number in range(3500)})
    proxy.fault, before = Fault("slowdown", 0.3), num_retried()
    names = Folder(f"{s3.url}/many").names()
    assert names == [f"{number:05d}" for number in range(3500)]
    assert num_retried() - before == proxy.num_faults


def test_a_large_object_that_is_written_in_parts_arrives_whole(s3, proxy):
    """Over 100 MB: each part by itself, and the last word on them, may get lost."""
    whole = bytes(range(256)) * 450_000
    proxy.fault = Fault("lost", 0.3)
    folder = Folder(f"{s3.url}/run")
    folder.publish("large", whole)
    assert proxy.num_faults > 0
    proxy.fault = None
    assert folder.sizes() == {"large": len(whole)}
    assert folder.read("large") == whole


def test_a_second_command_on_a_run_stops_with_a_sentence(s3, proxy, sample, undisturbed, capsys):
    """Started while the first, in a process of its own, is held up at its first commit."""
    folder, below, expected = undisturbed["webdataset"]
    source, out = sent(s3, folder, below), f"{s3.url}/out"
    argv = command(source, out, sample / "model", *HERE)
    held_up = threading.Event()

    def is_commit(request: web.Request) -> bool:
        if request.method == "PUT" and "/commits/" in request.path:
            held_up.set()
            return True
        return False

    proxy.fault = Fault("slowdown", concerns=is_commit)
    first = subprocess.Popen(argv, stderr=subprocess.DEVNULL)
    try:
        assert held_up.wait(120)
        assert main(argv[argv.index("transcribe") :]) == 2
        told = capsys.readouterr().err.splitlines()[-1]
        assert f"{out} is being written by another driver (process {first.pid} on" in told
        proxy.fault = None
        assert first.wait(120) == 0
    finally:
        first.kill()
        first.wait()
    assert rows(out) == expected


def test_of_two_drivers_that_start_at_once_one_wins_a_hundred_times(ceph):
    check_one_won_each_time(drivers_at_once(f"{ceph.url}/runs", 100))


def test_without_conditional_writes_one_wins_too(rclone):
    check_one_won_each_time(drivers_at_once(f"{rclone.url}/runs", 10))
