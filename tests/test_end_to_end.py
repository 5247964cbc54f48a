"""Whole runs: through Ray and in one process, resumed, retried, and with a recording that kills."""

import dataclasses
import json
import shutil
from functools import partial
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from pipeline import config as configuration
from pipeline.carry import Stage
from pipeline.drive import Request, drive
from pipeline.errors import UsageError
from pipeline.lock import Lock
from pipeline.progress import Progress
from pipeline.run import find
from pipeline.store import Folder
from pipeline.write import read_parts
from tests.doubles import Deadly


@pytest.fixture
def request_of(sample, tmp_path):
    def make(*overrides: str, source: Path = sample / "corpus/manifest.jsonl", **options: bool) -> Request:
        keys = [f'encode.model="{sample / "model"}"', "read.unit_s=10", "run.address=here", *overrides]
        return Request(str(source), str(tmp_path / "out"), configuration.load(None, keys), **options)

    return make


def run(request: Request, **how):
    with Progress(log_every_s=1000) as progress:
        return drive(request, progress, **how)


def rows(out: Path) -> list[dict[str, object]]:
    return sorted(read_parts(find(str(out))).to_pylist(), key=lambda row: row["id"])


def test_every_recording_of_the_manifest_is_a_row(request_of, sample, tmp_path):
    result = run(request_of())
    listed = [json.loads(line) for line in (sample / "corpus/manifest.jsonl").read_text().splitlines()]
    found = {row["id"]: row for row in rows(tmp_path / "out")}
    assert sorted(found) == sorted(entry["audio_filepath"] for entry in listed)
    assert result.complete
    assert result.tally.failures == {
        "read: not audio": 1,
        "read: empty file": 1,
        "read: damaged audio": 1,
        "read: missing file": 1,
    }
    for entry in listed:
        row = found[entry["audio_filepath"]]
        assert row["speaker"] == entry.get("speaker")
        if row["status"] == "ok":
            assert row["reference"] == entry["text"]
            assert abs(row["duration_s"] - entry["duration"]) < 0.1
            assert row["text"] == " ".join(word["word"] for word in row["words"])
            assert all(0 <= w["start_s"] < w["end_s"] <= row["duration_s"] + 0.03 for w in row["words"])


def test_any_parquet_reader_sees_each_recording_once(request_of, tmp_path):
    run(request_of())
    assert pq.read_table(tmp_path / "out/data").num_rows == len(rows(tmp_path / "out"))
    left = {path.name for path in (tmp_path / "out").iterdir()}
    assert left == {"run.json", "manifest", "data", "commits", "summary.json"}


def test_a_transcript_does_not_depend_on_its_unit(request_of, tmp_path):
    """What else is in the batch, and how it was cut, must not show."""
    run(request_of())
    one_way = rows(tmp_path / "out")
    run(request_of("read.unit_s=1000", overwrite=True))
    assert rows(tmp_path / "out") == one_way


@pytest.mark.ray
def test_ray_gives_what_one_process_gives(request_of, tmp_path, ray_here):
    run(request_of())
    alone = rows(tmp_path / "out")
    shutil.rmtree(tmp_path / "out")
    run(request_of("run.address=local", "encode.actors=2"))
    assert rows(tmp_path / "out") == alone


def test_a_finished_run_does_nothing_more(request_of, tmp_path):
    run(request_of())
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out/data").iterdir()}
    run(request_of())
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out/data").iterdir()} == before


def test_resume_reads_no_committed_unit_again(request_of, sample, tmp_path):
    run(request_of())
    whole = rows(tmp_path / "out")
    commits = sorted((tmp_path / "out/commits").iterdir())
    commits[1].unlink()
    kept = {path: path.read_bytes() for path in commits if path != commits[1]}
    run(request_of())
    assert rows(tmp_path / "out") == whole
    assert {path: path.read_bytes() for path in kept} == kept


def test_retry_failed_does_just_those_again(request_of, sample, tmp_path):
    corpus = tmp_path / "corpus"
    shutil.copytree(sample / "corpus", corpus)
    request = request_of(source=corpus / "manifest.jsonl")
    run(request)
    before = {row["id"]: row for row in rows(tmp_path / "out")}
    shutil.copy(corpus / "000.flac", corpus / "missing.flac")  # the network disk is back
    run(request)
    assert {row["id"]: row for row in rows(tmp_path / "out")} == before  # a failed recording counts as done
    result = run(dataclasses.replace(request, retry_failed=True))
    after = {row["id"]: row for row in rows(tmp_path / "out")}
    assert after["missing.flac"]["text"] == before["000.flac"]["text"]
    assert result.tally.num_failed == 3
    assert {key: row for key, row in after.items() if key != "missing.flac"} == {
        key: row for key, row in before.items() if key != "missing.flac"
    }
    assert pq.read_table(tmp_path / "out/data").num_rows == len(after)


@pytest.mark.ray
def test_a_recording_that_kills_its_encoder_is_a_row_and_the_rest_are_done(
    request_of, sample, tmp_path, ray_here, monkeypatch
):
    monkeypatch.setattr("pipeline.drive.PASSES", 1)  # each is an encoder that starts anew, and so is each strike
    monkeypatch.setattr("pipeline.isolate.STRIKES", 2)
    run(request_of())
    undisturbed = {row["id"]: row for row in rows(tmp_path / "out")}
    shutil.rmtree(tmp_path / "out")

    def with_a_killer(config, run, pools) -> list[Stage]:
        read, encode, *rest = request.stages(config, run, pools)
        killer = Stage("deadly", partial(Deadly, "003.ogg", tmp_path), encode.pool)
        return [read, killer, encode, *rest]

    request = request_of("run.address=local", "encode.actors=1")
    result = run(request, make_stages=with_a_killer)
    found = {row["id"]: row for row in rows(tmp_path / "out")}
    assert result.complete
    assert found["003.ogg"]["error"] == "deadly: killed its process"
    assert {k: r for k, r in found.items() if k != "003.ogg"} == {
        k: r for k, r in undisturbed.items() if k != "003.ogg"
    }


def test_a_second_driver_stops_and_the_first_goes_on(request_of, tmp_path):
    with (
        Lock(Folder(str(tmp_path / "out"))),
        pytest.raises(UsageError, match=r"being written by another driver \(process \d+"),
    ):
        run(request_of())
    assert run(request_of()).complete


def test_a_full_disk_stops_the_run_and_the_same_command_goes_on(request_of, tmp_path, monkeypatch):
    publish, written = Folder.publish, []

    def fills_up(self, name, data):
        if name.startswith("part-"):
            written.append(name)
            if len(written) == 3:
                raise OSError(28, "No space left on device")
        publish(self, name, data)

    monkeypatch.setattr(Folder, "publish", fills_up)
    with pytest.raises(OSError, match="No space left"):
        run(request_of())
    assert len(find(str(tmp_path / "out")).commits()) == 2
    result = run(request_of())
    assert result.complete
    assert len(written) == result.num_units + 1


def test_summary_is_the_sum_of_the_rows(request_of, tmp_path):
    result = run(request_of())
    found = rows(tmp_path / "out")
    ok = [row for row in found if row["status"] == "ok"]
    assert result.tally.num_ok == len(ok)
    assert result.tally.audio_s == pytest.approx(sum(row["duration_s"] for row in ok))
    for kind, counts in (("word", result.tally.words), ("char", result.tally.chars)):
        for name in ("hits", "substitutions", "deletions", "insertions"):
            assert getattr(counts, name) == sum(row[f"{kind}_{name}"] or 0 for row in found)
    saved = json.loads((tmp_path / "out/summary.json").read_text())
    assert saved["wer"] == result.tally.words.rate
    assert saved["complete"] is True
