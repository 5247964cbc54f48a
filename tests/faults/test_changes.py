"""An input that is not what it seemed: recordings that are in it twice, shards that change while a run is stopped."""

import json
import shutil
from pathlib import Path

import pytest

from pipeline import config as configuration
from pipeline.drive import drive
from pipeline.errors import UsageError
from pipeline.progress import Progress
from pipeline.request import Request
from pipeline.run import find
from tests import corpora
from tests.faults.runs import rows

pytestmark = pytest.mark.faults

CLIPS = corpora.clips()[:12]
OTHERS = [clip._replace(samples=clip.samples[::-1]) for clip in CLIPS]  # by the same names, and as long
SHARDS = {
    "files": "clip-11.flac",
    "parquet": "train-00002-of-00003.parquet",
    "webdataset": "shard-000002.tar",
    "nemo-tarred": "audio_2.tar",
    "shar": "recording.000002.tar",
    "jsonlines": "session-2.flac",
    "kaldi": "session-2.wav",
    "datasets": "data-00002-of-00003.arrow",
}


def request_of(source: Path, out: Path, sample: Path, changed: str = "refuse") -> Request:
    keys = [f'encode.model="{sample / "model"}"', "read.unit_s=2", "run.address=here", f"read.changed={changed}"]
    return Request(str(source), str(out), configuration.load(None, keys))


def run(request: Request):
    with Progress(log_every_s=1000) as progress:
        return drive(request, progress)


@pytest.mark.parametrize("kind", SHARDS)
def test_a_shard_that_changes_while_a_run_is_stopped_is_refused_or_read_as_told(kind, sample, tmp_path):
    """Else a run would hold two versions of an input, or what lies at the old places in a new file."""
    source = corpora.write(kind, tmp_path / "corpus", CLIPS)
    anew = corpora.write(kind, tmp_path / "changed", OTHERS)
    request = request_of(source, tmp_path / "out", sample)
    run(request)
    before = {row["id"]: row for row in rows(tmp_path / "out")}
    run(request_of(anew, tmp_path / "of-changed", sample))
    of_changed = {row["id"]: row for row in rows(tmp_path / "of-changed")}

    there = find(str(tmp_path / "out"))
    for unit, commit in there.commits().items():
        if any(row["uri"].endswith(SHARDS[kind]) for row in there.read_part(commit).to_pylist()):
            (tmp_path / "out" / "commits" / f"{unit:06d}.json").unlink()
    kept = {row["id"] for row in rows(tmp_path / "out")}
    assert 0 < len(kept) < len(before)
    shutil.copy(tmp_path / "changed" / SHARDS[kind], tmp_path / "corpus" / SHARDS[kind])

    with pytest.raises(UsageError, match=rf"{SHARDS[kind]} is not what was listed: .*--set read.changed=reread"):
        run(request)
    assert {row["id"] for row in rows(tmp_path / "out")} == kept
    assert run(request_of(source, tmp_path / "out", sample, changed="reread")).complete
    after = {row["id"]: row for row in rows(tmp_path / "out")}
    assert after.keys() == before.keys()
    told = ("status", "error_detail", "text", "duration_s")
    for name, row in after.items():
        expected = of_changed[name] if name not in kept and row["uri"].endswith(SHARDS[kind]) else before[name]
        assert {key: row[key] for key in told} == {key: expected[key] for key in told}
    assert any(after[name]["text"] != before[name]["text"] for name in after)


@pytest.mark.parametrize("kind", ["parquet", "jsonlines"])
def test_a_recording_that_is_there_twice_is_two_rows_and_told(kind, sample, tmp_path, capsys):
    source = corpora.write(kind, tmp_path / "corpus", CLIPS)
    if kind == "parquet":
        shutil.copy(source / "train-00000-of-00003.parquet", source / "train-00003-of-00003.parquet")
    else:
        lines = source.read_text().splitlines(keepends=True)
        source.write_text("".join(lines + lines[:4]))
    result = run(request_of(source, tmp_path / "out", sample))
    found = {row["id"]: row for row in rows(tmp_path / "out")}
    doubled = [name for name in found if name.endswith("#2")]
    assert len(rows(tmp_path / "out")) == len(found) == 16
    assert len(doubled) == 4
    assert all(found[name]["text"] == found[name.removesuffix("#2")]["text"] for name in doubled)
    assert result.num_doubled_ids == json.loads((tmp_path / "out" / "summary.json").read_text())["num_doubled_ids"] == 4
    assert "got a number after a #: 4 (" in " ".join(capsys.readouterr().err.split())
