"""SIGKILL of parts of a run, and of all of it, at random moments: nothing lost, nothing doubled, nobody blamed."""

import json
import zlib
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from pipeline.demo.sample import write_corpus
from tests import corpora
from tests.faults.runs import HERE, ON_RAY, calm, check_nothing_else_is_left, command, num_commits, rows, started
from tests.faults.victims import Killer
from tests.test_object_storage import upload

pytestmark = pytest.mark.faults
KILLS = 17  # of each kind of corpus: 204 in all
MAX_STARTS = 60  # bounds a test whose runs make no progress


def kill_again_and_again(
    argv_of: Callable[..., list[str]], outs: str, killer: Killer, num_kills: int, log: Path
) -> list[str]:
    """Start, kill, start again, until a run is complete after so many kills; every output that was completed."""
    complete: list[str] = []
    for _ in range(MAX_STARTS):
        out = f"{outs}/{len(complete)}"
        code = killer.accompany(started(argv_of(out), log), partial(num_commits, out), num_kills)
        if code is not None:
            assert code == 0, log.read_text()[-4000:]
            complete.append(out)
            if killer.kills.total() >= num_kills:
                return complete
    raise AssertionError(f"not complete after {MAX_STARTS} starts:\n{log.read_text()[-4000:]}")


@pytest.mark.parametrize(
    ("address", "num_kills", "share_of_ends"),
    [
        pytest.param(HERE, 4, 1.0, id="here"),
        pytest.param(HERE, 12, 1.0, id="here-longer", marks=pytest.mark.slow),
        pytest.param(ON_RAY, 2, 0.6, id="ray", marks=pytest.mark.ray),
        pytest.param(ON_RAY, 8, 0.6, id="ray-longer", marks=[pytest.mark.ray, pytest.mark.slow]),
    ],
)
@pytest.mark.timeout(600)
def test_a_run_that_is_killed_again_and_again_ends_as_an_undisturbed_one(
    address, num_kills, share_of_ends, sample, tmp_path, record_property
):
    """Failed recordings and kept emissions among what must be as if nothing had been."""
    write_corpus(tmp_path / "corpus", num_recordings=34)

    def argv_of(out: Path | str, *where: str) -> list[str]:
        manifest, keys = tmp_path / "corpus" / "manifest.jsonl", ("--set", "read.unit_s=2", "--set", "encode.actors=1")
        return command(manifest, out, sample / "model", *keys, "--keep-emissions", *(where or address))

    calm(argv_of(tmp_path / "calm", *HERE))
    expected = rows(tmp_path / "calm")
    assert len(expected) == 38
    killer = Killer(20260101, share_of_ends, share_of_nodes=0.0)
    for out in kill_again_and_again(argv_of, str(tmp_path / "out"), killer, num_kills, tmp_path / "log"):
        assert rows(out) == expected
        check_nothing_else_is_left(out)
    record_property("kills survived", json.dumps(killer.kills))


def check(
    argv_of: Callable[..., list[str]], folder: Path, outs: str, killer: Killer, record: Callable[..., None]
) -> None:
    """Runs whose parts are killed against an undisturbed one."""
    calm(argv_of(folder / "calm", *HERE))
    expected = rows(folder / "calm")
    assert len(expected) == len(corpora.clips())
    assert {row["error"] for row in expected} == {None}
    num_lost = num_doubled = 0
    for out in kill_again_and_again(argv_of, outs, killer, KILLS, folder / "log"):
        found = Counter(row["id"] for row in rows(out))
        num_lost += sum(row["id"] not in found for row in expected)
        num_doubled += sum(count - 1 for count in found.values())
        assert rows(out) == expected
        check_nothing_else_is_left(out)
    record("kills survived", json.dumps(killer.kills))
    record("recordings lost, doubled", f"{num_lost}, {num_doubled}")


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.timeout(900)
@pytest.mark.parametrize("kind", corpora.KINDS)
def test_runs_of_every_source_survive_the_killing_of_their_parts(kind, sample, tmp_path, record_property):
    source = corpora.write(kind, tmp_path / "corpus", corpora.clips())

    def argv_of(out: Path | str, *where: str) -> list[str]:
        return command(source, out, sample / "model", "--set", "read.unit_s=1", *(where or ON_RAY))

    check(argv_of, tmp_path, str(tmp_path / "out"), Killer(zlib.crc32(kind.encode())), record_property)


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.timeout(900)
@pytest.mark.parametrize("kind", ["webdataset", "parquet"])
def test_runs_from_and_to_a_store_survive_the_killing_of_their_parts(kind, sample, tmp_path, s3, record_property):
    """The requests of what was killed may still arrive."""
    source = upload(corpora.write(kind, tmp_path / "corpus", corpora.clips()), f"{s3.url}/corpus")

    def argv_of(out: Path | str, *where: str) -> list[str]:
        return command(source, out, sample / "model", "--set", "read.unit_s=1", *(where or ON_RAY))

    check(argv_of, tmp_path, f"{s3.url}/out", Killer(zlib.crc32(f"s3 {kind}".encode())), record_property)
