"""Runs from and to a real S3 server: what counts, what is refused, and whatever the store does, the same rows."""

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

import jobs.__main__ as jobs
from pipeline import config as configuration
from pipeline import patience, store
from pipeline import run as runs
from pipeline.commit import file_name
from pipeline.drive import drive
from pipeline.errors import RecordingError, UsageError
from pipeline.lock import LOCK, Lock
from pipeline.patience import num_retried
from pipeline.progress import Progress
from pipeline.request import Request
from pipeline.run import Run, find
from pipeline.shards.place import Place
from pipeline.storage_errors import StorageError
from pipeline.store import Folder
from pipeline.summary import Summary
from pipeline.unit import Unit
from pipeline.write import Writer, read_parts
from tests import corpora
from tests.chaos import Chaos, Fault, chaos
from tests.object_store import Bucket, use
from tests.test_run import finished, prepared, written


@pytest.fixture(params=["ceph", "rclone"])
def bucket(request: pytest.FixtureRequest) -> Bucket:
    """On every server there is, with and without conditional writes."""
    return request.getfixturevalue(request.param)


@pytest.fixture
def proxy(s3: Bucket, monkeypatch: pytest.MonkeyPatch) -> Iterator[Chaos]:
    """Between this process and the store from now on; waits are short, so that tests are."""
    monkeypatch.setattr(patience, "FIRST_WAIT_S", 0.02)
    with chaos(s3.server.endpoint, emulates_conditions=not s3.server.has_conditional_writes) as proxy:
        use(proxy.endpoint, monkeypatch)
        yield proxy
        proxy.fault = None


def upload(local: Path, url: str) -> str:
    files, path = store.locate(url)
    files.put(str(local), path, recursive=local.is_dir())
    return url


def request_of(sample: Path, source: str, target: str, *overrides: str, **options: bool) -> Request:
    keys = [f'encode.model="{sample / "model"}"', "read.unit_s=4", "run.address=here", *overrides]
    return Request(source, target, configuration.load(None, keys), **options)


def run(request: Request) -> Summary:
    with Progress(log_every_s=1000) as progress:
        return drive(request, progress)


def rows(url: str, *but: str) -> list[dict[str, object]]:
    """Of a run, sorted by id, without what tells where the audio lay."""
    table = sorted(read_parts(find(url)).to_pylist(), key=lambda row: row["id"])
    return [{name: value for name, value in row.items() if name not in ("uri", *but)} for row in table]


# ---- files


def test_of_many_who_create_an_object_one_does(ceph, start_together):
    """Where the server promises it; `Lock` finds out where it does not."""
    for round_number in range(5):
        folder = Folder(f"{ceph.url}/{round_number}")
        wrote = start_together(8, lambda number, folder=folder: folder.create("marker", str(number).encode()))
        assert sum(wrote) == 1
        assert folder.read("marker") == str(wrote.index(True)).encode()


@pytest.fixture
def start_together():
    """Run something in many threads at the same moment -> its results."""

    def start(number: int, action):
        barrier = threading.Barrier(number)

        def one(index: int):
            barrier.wait()
            return action(index)

        with ThreadPoolExecutor(number) as threads:
            return list(threads.map(one, range(number)))

    return start


def test_a_write_that_arrived_although_its_answer_did_not_is_not_anothers(s3, proxy):
    folder = Folder(f"{s3.url}/run")
    proxy.fault = Fault("lost", at_most=1)
    assert folder.create("marker", b"mine")
    assert proxy.faults == {"lost": 1}
    assert not folder.create("marker", b"another's")
    assert folder.read("marker") == b"mine"


def test_a_conflict_of_two_writes_is_tried_again(s3, proxy):
    """Amazon's answer while another's write of the same key is under way."""
    proxy.fault = Fault("conflict", at_most=2)
    assert Folder(f"{s3.url}/run").create("marker", b"mine")
    assert proxy.faults == {"conflict": 2}


def test_a_delete_that_the_store_refuses_is_not_taken_for_done(ceph):
    """It is refused in an answer that says 200."""
    folder, files = Folder(f"{ceph.url}/run"), store.filesystem("s3")
    folder.publish("part", b"1")
    policy = """{"Version": "2012-10-17", "Statement":
        [{"Effect": "Deny", "Principal": "*", "Action": "s3:DeleteObject", "Resource": "*"}]}"""
    files.call_s3("put_bucket_policy", Bucket=ceph.name, Policy=policy)
    try:
        with pytest.raises(StorageError, match="access denied"):
            folder.delete(["part"])
    finally:
        files.call_s3("delete_bucket_policy", Bucket=ceph.name)


def test_an_object_that_trickles_is_not_read_to_the_end(s3, proxy, monkeypatch):
    """A byte now and then is no stall: here for eight seconds, or a night."""
    monkeypatch.setattr(patience, "LEAST_S", 0.1)
    Folder(f"{s3.url}/run").publish("part", bytes(160))
    files, path = store.locate(f"{s3.url}/run/part")
    proxy.fault = Fault("trickle")
    (found,) = store.read_ranges(files, [path], None, None, 0.3)
    assert isinstance(found, patience.TooSlowError)
    with pytest.raises(patience.TooSlowError), store.opened(files, path, 0.3) as file:
        file.read()
    proxy.fault = None
    assert store.read_ranges(files, [path], None, None, 60) == [bytes(160)]


def test_an_object_that_changes_between_two_of_its_ranges_is_not_mixed(ceph):
    files, path = store.locate(f"{ceph.url}/x.wav")
    files.pipe_file(path, bytes(2**20))
    place = Place(f"{ceph.url}/x.wav", files, path, 5.0, files.info(path)["ETag"])
    assert place.read(0, 2**19) == bytes(2**19)
    files.pipe_file(path, b"x" * 2**20)
    with pytest.raises(RecordingError, match="changed while it was read"):
        place.read(2**19, 2**20)


# ---- locks


def drivers_at_once(url: str, num_rounds: int) -> list[tuple[str, str]]:
    """Two processes that try for the same lock at the same moment, over and over; what each says each time."""
    script = """
import sys
from pipeline.errors import RecordingError, UsageError
from pipeline.lock import Lock
from pipeline.store import Folder
Folder(sys.argv[1]).names()  # connected
print("ready", flush=True)
for place in sys.stdin:
    try:
        with Lock(Folder(place.strip())):
            print("won", flush=True)
            sys.stdin.readline()
    except UsageError as error:
        print(error, flush=True)
        sys.stdin.readline()
"""
    command = [sys.executable, "-c", script, url]
    both = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    told = []
    try:
        assert [process.stdout.readline() for process in both] == ["ready\n"] * 2  # type: ignore[union-attr]
        for number in range(num_rounds):
            for process in both:
                print(f"{url}/{number}", file=process.stdin, flush=True)
            told.append(tuple(process.stdout.readline().strip() for process in both))  # type: ignore[union-attr]
            for process in both:
                print("go on", file=process.stdin, flush=True)
    finally:
        for process in both:
            process.kill()
            process.wait()
    return told  # type: ignore[return-value]


def check_one_won_each_time(told: list[tuple[str, str]]) -> None:
    for both in told:
        assert sorted(word == "won" for word in both) == [False, True], both
        (sentence,) = [word for word in both if word != "won"]
        assert "is being written by another driver" in sentence or "another driver started on this run" in sentence


def test_of_two_drivers_that_start_at_once_one_wins(ceph):
    check_one_won_each_time(drivers_at_once(f"{ceph.url}/runs", 20))


def test_of_two_drivers_that_start_at_once_one_wins_without_conditional_writes_too(rclone):
    """There each waits whether another has written after it."""
    check_one_won_each_time(drivers_at_once(f"{rclone.url}/runs", 1))


def test_a_store_that_goes_away_does_not_lose_the_lock(s3, proxy, monkeypatch):
    monkeypatch.setattr("pipeline.lock.BEAT_S", 0.1)
    folder = Folder(f"{s3.url}/run")
    with Lock(folder) as lock:
        proxy.away_for(1.0).join()
        before = folder.read(LOCK)
        ends = time.monotonic() + 60
        while folder.read(LOCK) == before and time.monotonic() < ends:
            time.sleep(0.05)
        assert folder.read(LOCK) != before
        lock.check()
    assert not folder.exists(LOCK)


# ---- commits


def test_parts_and_commits_lie_in_the_store_and_are_swept_there(bucket):
    run = prepared(f"{bucket.url}/out")
    written(run, failing="r3")
    assert len(read_parts(run)) == 6
    (unit,) = runs.pending_units(run.manifest.units(), run.commits(), retry_failed=True)
    Writer(run)(finished(run.load(unit)))
    assert run.commit_of(unit.id).attempt == 1
    assert run.commits()[unit.id].tally.num_failed == 0
    run.sweep(run.commits())
    names = run.folder.sub("commits").names()
    assert file_name(unit.id, 1) in names and file_name(unit.id, 0) not in names
    assert sorted(run.folder.sub("data").names()) == sorted(commit.part for commit in run.commits().values())
    assert run.commit_of(unit.id).attempt == 1
    runs.clear(run.folder)
    assert run.folder.names() in ([], ["commits", "data", "manifest"])  # rclone keeps empty folders


def test_a_task_that_is_done_twice_is_committed_once(bucket):
    run = prepared(f"{bucket.url}/out")
    first = Writer(run)(finished(run.load(Unit(0)))).commit
    assert first is not None
    again = Writer(run)(finished(run.load(Unit(0)))).commit
    assert again == first
    late = replace(first, written_at=first.written_at + 100)  # of a worker that was thought dead
    assert run.commit(late) in (first, late)  # a store without conditional writes takes it, and the part is the same
    assert run.commits()[0].part == first.part


def test_another_drivers_commit_is_not_written_over(ceph):
    run = prepared(f"{ceph.url}/out")
    mine = Writer(run)(finished(run.load(Unit(0)))).commit
    assert mine is not None
    assert run.commit(replace(mine, sha256="other bytes")) == mine
    with pytest.raises(UsageError, match="another driver is writing here"):
        Run(run.folder, "another").commit(replace(mine, run="another"))
    assert run.commit_of(0) == mine


def test_a_commit_that_does_not_count_makes_room(bucket):
    """Of another run, or of a part that is gone: swept at the start, as a run does."""
    run = prepared(f"{bucket.url}/out")
    written(run)
    other = Run(run.folder, "another")
    assert other.commits() == {}
    run.folder.sub("data").delete([run.commits()[1].part])
    assert 1 not in run.commits()
    run.sweep(run.commits())
    assert run.folder.sub("commits").names() == [file_name(n, 0) for n in range(len(run.manifest.units())) if n != 1]
    Writer(run)(finished(run.load(Unit(1))))
    assert len(read_parts(run)) == 6


def test_commits_through_a_store_whose_answers_get_lost(s3, proxy):
    proxy.fault = Fault("lost", 0.3)
    run = prepared(f"{s3.url}/out", num_recordings=12)
    written(run, failing="r3")
    for unit in runs.pending_units(run.manifest.units(), run.commits(), retry_failed=True):
        Writer(run)(finished(run.load(unit)))
    run.sweep(run.commits())
    assert [row["id"] for row in read_parts(run).to_pylist()] == [f"r{number}" for number in range(12)]
    assert proxy.num_faults > 0


# ---- whole runs


@pytest.mark.parametrize("kind", ["webdataset", "jsonlines"])
def test_from_the_store_and_into_it(s3, sample, tmp_path, kind):
    """The rows are those of the same corpus on a local disk."""
    source = corpora.write(kind, tmp_path / kind, corpora.clips()[:8])
    run(request_of(sample, str(source), str(tmp_path / "calm")))
    upload(tmp_path / kind, f"{s3.url}/corpus")
    below = source.relative_to(tmp_path / kind)
    result = run(request_of(sample, f"{s3.url}/corpus/{below}".removesuffix("/."), f"{s3.url}/out"))
    assert result.complete and result.tally.num_ok == 8
    assert rows(f"{s3.url}/out") == rows(str(tmp_path / "calm"))
    assert Folder(f"{s3.url}/out").names() == ["commits", "data", "manifest", "run.json", "summary.json"]


@pytest.mark.parametrize(
    "fault",
    [Fault("slowdown", 0.3), Fault("truncate", 0.3), Fault("stall", 0.1, at_most=4)],
    ids=lambda fault: fault.kind,
)
def test_a_store_that_fails_changes_no_row(s3, proxy, sample, calm, monkeypatch, record_property, fault):
    monkeypatch.setattr("pipeline.s3.READ_TIMEOUT_S", 1.0)
    store.filesystem.cache_clear()
    source, expected = calm
    upload(source, f"{s3.url}/corpus")
    before, proxy.fault = num_retried(), fault
    proxy.requests.clear()
    result = run(request_of(sample, f"{s3.url}/corpus", f"{s3.url}/out"))
    assert rows(f"{s3.url}/out") == expected
    assert proxy.num_faults > 0
    retried = num_retried() - before
    assert result.complete and 0 < result.num_retried <= retried
    record_property("store", f"{proxy.num_requests} requests, {proxy.num_faults} failed, {retried} retried")


@pytest.fixture(scope="module")
def calm(sample, tmp_path_factory) -> tuple[Path, list[dict[str, object]]]:
    """A corpus, and the rows of a run that nothing has disturbed."""
    folder = tmp_path_factory.mktemp("calm")
    source = corpora.write("parquet", folder / "corpus", corpora.clips()[:6])
    run(request_of(sample, str(source), str(folder / "out")))
    return source, rows(str(folder / "out"))


def test_a_store_that_goes_away_and_comes_back(s3, proxy, sample, calm):
    source, expected = calm
    upload(source, f"{s3.url}/corpus")
    proxy.requests.clear()

    away = []

    def from_the_twentieth_on(request: object) -> bool:
        if proxy.num_requests >= 20 and not away:
            away.append(proxy.away_for(2.0))
        return False

    proxy.fault = Fault("slowdown", concerns=from_the_twentieth_on)
    result = run(request_of(sample, f"{s3.url}/corpus", f"{s3.url}/out"))
    assert away
    away[0].join()
    assert result.complete and result.num_retried > 0
    assert rows(f"{s3.url}/out") == expected


def test_a_bucket_that_becomes_read_only_stops_the_run_which_goes_on_later(s3, proxy, sample, calm, capsys):
    """By the command itself, for its exit codes."""
    source, expected = calm
    upload(source, f"{s3.url}/corpus")
    out = f"{s3.url}/out"
    command = ["transcribe", f"{s3.url}/corpus", out, "--model", str(sample / "model"), "--address", "here"]
    command += ["--set", "read.unit_s=2"]
    second_part = "/data/part-000001-"
    proxy.fault = Fault("denied", concerns=lambda request: request.method == "PUT" and second_part in request.path)
    assert jobs.main(command) == 1
    told = capsys.readouterr().err.splitlines()[-1]
    assert told.startswith(f"nightshift: {out}/data: access denied: ")
    assert told.endswith("; what is committed is kept, and the same command goes on")
    assert Folder(f"{out}/commits").names() == [file_name(0, 0)]
    first = Folder(f"{out}/commits").read(file_name(0, 0))
    assert jobs.main(["status", out]) == 1
    assert "1 of " in capsys.readouterr().out
    proxy.fault = None
    assert jobs.main(command) == 0
    assert Folder(f"{out}/commits").read(file_name(0, 0)) == first
    assert rows(out) == expected
