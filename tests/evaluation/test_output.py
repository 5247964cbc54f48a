"""What an evaluation must not do to what is there: write over it, delete it for nothing, mix two into one; and what it
must not leave unsaid."""

import json
from collections.abc import Sequence

import pytest

from pipeline.config import ScoreConfig
from pipeline.evaluation import confusions
from pipeline.evaluation.results import Report
from pipeline.lock import LOCK, Lock
from pipeline.report import comparing
from pipeline.report.page import ids_on_comparison_page
from pipeline.run import Run
from pipeline.store import Folder
from tests.evaluation.made_runs import PHONEMES, heard, in_phones, made
from tests.evaluation.test_evaluate import WORDS, done, recordings, refusal, run, speakers, tree_of, undrawn
from tests.evaluation.test_references import delimited

__all__ = ["run", "undrawn"]  # fixtures


@pytest.mark.usefixtures("undrawn")
def test_references_that_are_refused_cost_no_report(run, tmp_path):
    done(run)
    before = tree_of(run)
    rows = [{"id": one.id, "text": one.reference} for one in recordings()]
    for name, content, told in (
        ("nobody.csv", [{"id": "x", "text": "x"}], "none of its 1 ids is that of a recording"),
        ("twice.csv", [*rows, {"id": "r0", "text": "other"}], "references differ for 1 of its ids"),
        ("nameless.csv", [{"text": "x"}], "no column with ids"),
    ):
        (tmp_path / name).write_bytes(delimited(content))
        assert told in refusal(run, references=str(tmp_path / name))
        assert tree_of(run) == before


def test_an_out_that_is_a_file_or_has_anybody_elses_figures_is_refused(run, tmp_path):
    (tmp_path / "file").write_text("mine")
    assert refusal(run, out=tmp_path / "file") == f"{tmp_path}/file is a file: give a directory by --out"
    (tmp_path / "out").mkdir()
    (tmp_path / "out/evaluation.json").write_text(json.dumps({"accuracy": 1.0}))
    assert "is not an evaluation and not empty (it holds evaluation.json)" in refusal(run, out=tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["evaluation.json"]


@pytest.mark.usefixtures("undrawn")
def test_of_two_at_once_one_is_refused_and_what_a_killed_one_leaves_is_taken_over(run):
    out = Folder(str(run / "evaluation"))
    with Lock(out):
        assert "evaluation is being written by another driver" in refusal(run)
        left = out.read(LOCK)
    assert not (run / "evaluation/run").exists()
    out.publish(LOCK, left)
    assert done(run).evaluations[0].coverage.num_scored == 12
    assert LOCK not in out.names()


@pytest.mark.usefixtures("undrawn")
def test_recordings_of_no_group_are_told(tmp_path, capsys):
    made(tmp_path / "run", recordings(), columns={"speaker": [None, None, *speakers()["speaker"][2:]]})
    (one,) = done(tmp_path / "run", group="speaker").evaluations
    told = "2 of 12 recordings have no speaker, and are resampled each by itself"
    assert one.warnings == (told,) and f"warning: {told}" in capsys.readouterr().err
    assert one.num_resampled == 8
    assert done(tmp_path / "run").evaluations[0].warnings == ()


@pytest.mark.usefixtures("undrawn")
def test_confusions_that_had_to_be_forgotten_are_told(run, monkeypatch):
    monkeypatch.setattr(confusions, "MAX_PAIRS", 2)
    made(run.parent / "many", [heard(f"r{n}", "end", word) for n, word in enumerate(WORDS)])
    (one,) = done(run.parent / "many").evaluations
    assert [f"confusions of {what} were" in one.warnings[n] for n, what in enumerate(("words", "characters"))] == [
        True
    ] * 2
    assert "any of them may be up to 1 more frequent than is told" in one.warnings[0]
    (one,) = done(run).evaluations
    assert one.warnings == ()  # one confusion of words, and none of characters too many


def test_a_comparison_asks_for_the_sound_of_what_it_shows_alone(run, tmp_path, monkeypatch):
    made(tmp_path / "other", recordings(wrong=100))
    asked_for = []

    def sounds(run: Run, ids: Sequence[str]) -> dict[str, object]:
        asked_for.append(list(ids))
        return {}

    monkeypatch.setattr("pipeline.report.audio.sounds", sounds)
    monkeypatch.setattr("pipeline.report.page.evaluation_page", lambda *_: "")
    monkeypatch.setattr(comparing, "MOST_PAIRS", 1)
    monkeypatch.setattr(comparing, "FEWEST_PAIRS", 1)
    report = done(run, tmp_path / "other", out=tmp_path / "out", with_audio=True)
    assert isinstance(report, Report) and len(report.comparisons[0].most_different) == 2
    assert asked_for[-1] == ids_on_comparison_page(report) == ["r4"]


def test_figures_that_follow_from_others_are_kept_with_them(run):
    (one,) = done(run).evaluations
    kept = json.loads((run / "evaluation/evaluation.json").read_text())["evaluations"][0]
    assert kept["words"]["rate"] == kept["rates"]["wer"]["value"] == 3 / 36
    assert kept["speed"]["times_real_time"] == one.speed.times_real_time
    worked_s = sum(kept["speed"]["stage_s"].values())
    assert kept["speed"]["audio_hours_per_compute_hour"] == kept["speed"]["audio_s"] / worked_s
    assert "of all workers together" in (run / "evaluation/report.html").read_text()


@pytest.mark.parametrize("content", ["{}", "[]", "what?", '{"name": "a model"}'])
def test_a_run_json_of_anybody_elses_is_no_run(content, tmp_path):
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs/run.json").write_text(content)
    told = refusal(tmp_path / "theirs", out=tmp_path / "out")
    assert told == f"{tmp_path}/theirs: its run.json is not that of a run, or of an early version"


@pytest.mark.usefixtures("undrawn")
def test_counts_of_phones_are_among_the_figures(run, tmp_path):
    pytest.importorskip("phonemizer", reason="phonemizer is not installed")
    assert done(run).evaluations[0].phones is None
    rows = [in_phones("a", "hello", "h ə l oʊ"), in_phones("b", "hello", "h ə l l")]
    made(tmp_path / "phones", rows, score=ScoreConfig(language="en-us"), vocabulary=PHONEMES)
    (one,) = done(tmp_path / "phones").evaluations
    assert one.rates.per is not None and one.phones is not None
    assert (one.phones.rate, one.phones.num_reference) == (one.rates.per.value, 8)
