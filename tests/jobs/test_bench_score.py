"""`nightshift bench score`: both sides must do the same work on what a transcription could have left."""

import json
import sys
from pathlib import Path

import jiwer
import pyarrow as pa
import pytest

from jobs import bench_score, bench_score_jiwer
from jobs.__main__ import main
from jobs.bench_score_material import PASSED, Wanted, drawn, run_of
from jobs.bench_score_measure import measured
from pipeline.commit import Tally
from pipeline.errors import StageError
from pipeline.records import SCHEMA, from_table
from pipeline.run import Run
from pipeline.write import read_parts

WANTED = Wanted(num=300, num_words=20, num_per_part=70, seed=1)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return run_of(tmp_path_factory.mktemp("made"), WANTED)


def test_the_material_is_a_run_as_the_stages_would_have_left_it(made: Run) -> None:
    """Else something easier than a run would be measured."""
    rows = read_parts(made)
    assert rows.schema.equals(pa.schema([*SCHEMA, *PASSED]))
    commits = made.commits()
    assert [commit.tally.num_recordings for commit in commits.values()] == [70, 70, 70, 70, 20]
    for commit in commits.values():
        recordings = from_table(made.read_part(commit))
        expected = Tally.of(recordings)
        assert commit.tally.words == expected.words and commit.tally.chars == expected.chars
        assert commit.tally.failures == expected.failures and commit.tally.num_scored == expected.num_scored
        assert commit.tally.audio_s == pytest.approx(expected.audio_s)
        listed = made.manifest.unit(commit.unit)
        assert [(one.id, one.reference) for one in listed.recordings] == [(one.id, one.reference) for one in recordings]
    assert all(len(text.split()) == 20 for text in rows["reference"].to_pylist())
    for row in rows.to_pylist():
        assert row["text"] is None or [word["word"] for word in row["words"]] == row["text"].split()


def test_errors_are_as_many_as_meant_and_differ_by_speaker_and_noise() -> None:
    """Recordings that are right, or all alike, would be less work to align and to slice."""
    (rows,) = drawn(Wanted(num=20_000, num_words=20, num_per_part=1, seed=2))
    errors = {name: sum(rows[f"word_{name}"].drop_null().to_pylist()) for name in bench_score_jiwer.KINDS}
    num = len(rows["word_hits"].drop_null()) * 20
    assert 0.08 < (num - errors["hits"] + errors["insertions"]) / num < 0.17
    assert 0.01 < errors["deletions"] / num < 0.04 and 0.005 < errors["insertions"] / num < 0.03
    assert 0 < rows["text"].null_count < 100
    by_noise = rows.group_by("noise").aggregate([("word_hits", "mean")]).sort_by("word_hits_mean")
    assert by_noise["noise"].to_pylist() == ["babble", "street", "car", "office", "none"]


def test_the_same_seed_makes_the_same_texts_whatever_the_parts(made: Run, tmp_path: Path) -> None:
    """Sides are compared over runs of other parts, too."""
    other = run_of(tmp_path, Wanted(300, 20, 1000, 1))
    assert read_parts(other).equals(read_parts(made))
    again = (tmp_path / "made.json").stat().st_mtime_ns
    assert run_of(tmp_path, Wanted(300, 20, 1000, 1)).id == other.id
    assert (tmp_path / "made.json").stat().st_mtime_ns == again
    assert run_of(tmp_path, Wanted(30, 20, 1000, 3)).id != other.id


def test_the_rivals_figures_are_jiwers(made: Run) -> None:
    """A rival that counted something else would be no rival."""
    found = bench_score_jiwer.main(made.folder.path())
    rows = [row for row in read_parts(made).to_pylist() if row["status"] == "ok"]
    for name, process in (("words", jiwer.process_words), ("chars", jiwer.process_characters)):
        told = process([row["reference"] for row in rows], [row["text"] for row in rows])
        assert found[name] == {kind: getattr(told, kind) for kind in bench_score_jiwer.KINDS}
        low, high = found["intervals"]["wer" if name == "words" else "cer"]
        assert low < getattr(told, "wer" if name == "words" else "cer") < high
    loud = [row for row in rows if row["noise"] == "babble"]
    assert found["slices"]["noise"]["babble"] == pytest.approx(
        jiwer.wer([row["reference"] for row in loud], [row["text"] for row in loud])
    )
    assert set(found["seconds"]) == set(found["cpu_seconds"]) == set(bench_score_jiwer.PARTS)


ALLOCATES = "import sys, time; held = b'x' * int(sys.argv[1]); time.sleep(1.5)"


def test_the_memory_of_children_counts_and_a_side_that_fails_is_no_result() -> None:
    """A local Ray is all children."""
    half = f"import subprocess, sys; held = b'x' * (150 << 20); subprocess.run([sys.executable, '-c', {ALLOCATES!r}, "
    done = measured([sys.executable, "-c", f"{half} str(150 << 20)]); print('done', file=sys.stderr)"])
    assert 300 << 20 < done.peak_bytes < 500 << 20
    assert done.wall_s > 1.5
    assert [line for _, line in done.told] == ["done"] and done.told[0][0] == pytest.approx(done.wall_s, abs=1.0)
    with pytest.raises(StageError) as caught:
        measured([sys.executable, "-c", "print(1); raise SystemExit('broken')"])
    assert caught.value.trace == "broken"


def test_every_second_of_the_command_is_in_a_phase() -> None:
    told = [
        (1.0, "08:00:00 checking the settings"),
        (1.5, "08:00:00 5 recordings of /run, with its own references"),
        (2.0, "08:00:01 scoring /run"),
        (3.0, "08:00:02 12.00 h of 24.00 h of audio | scoring"),
        (5.0, "08:00:04 run: reading what was counted"),
        (5.5, "nightshift: warning: run: slices are few"),
        (6.0, "08:00:05 run: slices"),
    ]
    found = bench_score.by_phase(told, 7.0)
    assert found == {"start": 1.0, "settings": 1.0, "scoring": 3.0, "gathering": 1.0, "slices": 1.0}


def test_both_sides_are_told_and_can_be_read_by_programs(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the real command, whose words the phases are recognised by."""
    arguments = ["bench", "score", "--num", "200", "--per-part", "70", "--work", str(tmp_path)]
    assert main(arguments) == 0
    *shown, last = capsys.readouterr().out.splitlines()
    figures = json.loads(last)
    (ours,), rival = figures["here"], figures["jiwer"]
    assert ours["words"] == rival["words"] and ours["chars"] == rival["chars"] and rival["words"]["hits"] > 3000
    assert set(ours["seconds"]) == {"start", *bench_score.PHASES.values()} - {"starting Ray"}
    assert sum(ours["seconds"].values()) == pytest.approx(ours["wall_s"])
    assert ours["times"]["loop"] == pytest.approx(rival["seconds"]["loop"] / ours["wall_s"])
    assert ours["times"]["script"] == pytest.approx(rival["wall_s"] / ours["wall_s"])
    assert min(ours["peak_bytes"], rival["peak_bytes"]) > 50 << 20
    assert any("jiwer, its loop alone" in line for line in shown)

    def other(run: Run) -> bench_score.Side:
        return bench_score.Side("jiwer", 1.0, 1.0, 1, {"loop": 1.0}, {}, {"hits": 1}, {})

    monkeypatch.setattr(bench_score, "_there", other)
    monkeypatch.setattr(bench_score, "_here", lambda run, out, address: bench_score.Side("a", 1, 1, 1, {}, {}, {}, {}))
    assert main(arguments) == 1
    assert "other counts than jiwer's" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "told"), [(["--num", "0"], "--num must be"), (["--per-part", "0"], "--per-part")]
)
def test_options_that_cannot_be(capsys: pytest.CaptureFixture[str], arguments: list[str], told: str) -> None:
    assert main(["bench", "score", *arguments]) == 2
    assert told in capsys.readouterr().err
