"""An evaluation as a whole: what is refused, what is told, what is done again, and that figures are of the rows."""

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from jiwer import process_words

from pipeline import config as configuration
from pipeline.config import ScoreConfig
from pipeline.errors import UsageError
from pipeline.evaluation.evaluate import Asked, evaluate
from pipeline.evaluation.names import named
from pipeline.evaluation.output import plain
from pipeline.evaluation.results import Report
from pipeline.progress import Progress
from pipeline.records import Recording
from pipeline.run import clear, find
from pipeline.store import Folder
from pipeline.write import read_parts
from tests.evaluation.made_runs import PHONEMES, failed, heard, in_phones, made
from tests.evaluation.test_references import delimited

WORDS = ("zero", "one", "two", "three", "four")


def recordings(num: int = 12, wrong: int = 4) -> list[Recording]:
    """Each of three words, some of them heard wrongly, and one that failed."""
    said = [f"{WORDS[n % 5]} {WORDS[n // 5 % 5]} end" for n in range(num)]
    done = [heard(f"r{n}", text, text.replace("end", "and") if n % wrong == 0 else text) for n, text in enumerate(said)]
    return [*done, failed("broken", "lost words")]


def speakers(num: int = 12) -> dict[str, list[str]]:
    return {"speaker": [f"s{n % 6}" for n in range(num)] + ["s0"]}


@pytest.fixture
def run(tmp_path) -> Path:
    made(tmp_path / "run", recordings(), columns=speakers())
    return tmp_path / "run"


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a page, which takes most of the time."""
    monkeypatch.setattr("pipeline.report.page.evaluation_page", lambda *_: "")


def asked(*given: Path | str, out: Path | None = None, overrides: tuple[str, ...] = (), **options: Any) -> Asked:
    config = configuration.load(None, ["run.address=here", *overrides])
    found = named([str(one) for one in given])
    return Asked(found, str(out or f"{found[0].url}/evaluation"), config, **{"with_audio": False, **options})


def done(*given: Path | str, **options: Any) -> Report:
    with Progress(log_every_s=1000) as progress:
        return evaluate(asked(*given, **options), progress)


def refusal(*given: Path | str, **options: Any) -> str:
    with pytest.raises(UsageError) as caught:
        done(*given, **options)
    return str(caught.value)


def tree_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# ---- figures


def test_figures_are_those_of_the_rows(run, tmp_path):
    report = done(run, group="speaker", slices=("speaker",), price_per_hour=2.0, num_worst=2)
    (one,) = report.evaluations
    rows = [row for row in read_parts(find(str(run))).to_pylist() if row["status"] == "ok"]
    jiwers = process_words([row["reference"] for row in rows], [row["text"] for row in rows])
    rates = one.rates
    assert (rates.wer.value, rates.mer.value, rates.wil.value) == (jiwers.wer, jiwers.mer, pytest.approx(jiwers.wil))
    assert dataclasses.astuple(one.words) == (
        jiwers.hits,
        jiwers.substitutions,
        jiwers.deletions,
        jiwers.insertions,
    )
    assert rates.wer.interval is not None and rates.wer.interval.low < jiwers.wer < rates.wer.interval.high
    assert (one.resampled, one.num_resampled, one.is_complete, one.warnings) == ("speaker", 6, True, ())
    assert (one.normalizer, one.references, one.decoder) == ("none", "of the run", "greedy")
    assert (one.coverage.num_scored, one.coverage.num_failed_with_reference, one.coverage.num_words_failed) == (
        12,
        1,
        2,
    )
    assert rates.failed_as_empty is not None and rates.failed_as_empty.value == (3 + 2) / (36 + 2)
    assert [(part.value, part.num_recordings) for part in one.slices] == [(f"s{n}", 2) for n in range(6)]
    assert [(c.said, c.heard, c.count) for c in one.confusions.substitutions] == [("end", "and", 3)]
    assert [example.id for example in one.worst] == ["r0", "r4"]
    assert one.worst[0].columns == {"speaker": "s0"}
    assert one.calibration is not None and one.calibration.of == "words"
    kept = json.loads((run / "evaluation/evaluation.json").read_text())
    assert kept["evaluations"] == plain(report)["evaluations"]
    assert kept["evaluations"][0]["rates"]["wer"]["interval"].keys() == {"low", "high"}
    assert (run / "evaluation/report.html").read_text().startswith("<!DOCTYPE html>")
    assert find(str(run / "evaluation/run")).info()["evaluated"] == str(run)


def test_several_runs_are_put_beside_the_first_by_what_both_have(tmp_path, run, capsys):
    better = [*recordings(wrong=100)[2:], heard("new", "zero", "zero")]
    better[3] = heard("r5", "another reference", "another")
    made(tmp_path / "better", better, columns={"speaker": [*speakers()["speaker"][2:], "s9"]})
    report = done(run, f"best={tmp_path / 'better'}", out=tmp_path / "out")
    assert [one.name for one in report.evaluations] == ["run", "best"]
    (pair,) = report.comparisons
    assert (pair.first, pair.second) == ("run", "best")
    assert (pair.num_common, pair.num_only_first, pair.num_only_second, pair.num_references_differ) == (10, 2, 1, 1)
    assert pair.difference.value == pytest.approx(0 - 2 / 27)
    assert [found.first.id for found in pair.most_different] == ["r4", "r8"]
    told = "best beside run: 9 recordings are compared by words, and left out are 2 more of run, 1 more of best, "
    assert f"{told}1 scored against other references" in capsys.readouterr().err
    pages = sorted(str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*.html"))
    assert pages == ["best/report.html", "report.html", "run/report.html"]
    assert "best/report.html" in (tmp_path / "out/report.html").read_text()


@pytest.mark.usefixtures("undrawn")
def test_what_did_not_change_is_not_scored_again(run, capsys):
    first = done(run)
    commit = run / "evaluation/run/commits/000000.json"
    before = commit.read_bytes()
    assert done(run) == first
    assert "scored anew" not in capsys.readouterr().err
    assert commit.read_bytes() == before
    assert done(run, overwrite=True) == first
    assert commit.read_bytes() != before  # its seconds, at least
    other = done(run, overrides=("score.normalizer=basic",))
    assert "other than before (score.normalizer), and so run is scored anew" in capsys.readouterr().err
    assert other.evaluations[0].normalizer.startswith("basic (unicode ")
    assert other.evaluations[0].rates == first.evaluations[0].rates


def test_a_run_that_went_on_is_scored_anew(tmp_path, capsys):
    """And what was there of it before is told to be a part."""
    made(tmp_path / "run", recordings(), done=lambda unit: unit != 1)
    report = done(tmp_path / "run")
    (one,) = report.evaluations
    assert (one.is_complete, one.coverage.num_recordings) == (False, 11)
    (warning,) = one.warnings
    assert warning == f"{tmp_path}/run is not complete: 6 of its 7 units are done, and only those are evaluated"
    assert f"warning: {warning}" in capsys.readouterr().err
    assert warning in (tmp_path / "run/evaluation/report.html").read_text()
    shutil.move(tmp_path / "run/evaluation", tmp_path / "kept")
    clear(Folder(str(tmp_path / "run")))
    made(tmp_path / "run", recordings())
    shutil.move(tmp_path / "kept", tmp_path / "run/evaluation")
    (one,) = done(tmp_path / "run").evaluations
    assert "other than before (scored), and so run is scored anew" in capsys.readouterr().err
    assert (one.is_complete, one.coverage.num_recordings, one.warnings) == (True, 13, ())


@pytest.mark.usefixtures("undrawn")
def test_references_of_a_table_and_what_is_odd_about_them(tmp_path, capsys):
    bare = [dataclasses.replace(one, reference=None) for one in recordings()]
    made(tmp_path / "run", bare)
    rows = [{"id": one.id, "text": one.reference, "age": n} for n, one in enumerate(recordings())]
    table = tmp_path / "table.csv"
    table.write_bytes(delimited([*rows[2:], rows[5], {"id": "elsewhere", "text": "x", "age": 1}]))
    told = refusal(tmp_path / "run")
    assert "not one of its 13 recordings has a reference: give a table of ids and texts by --references FILE" in told
    assert not (tmp_path / "run/evaluation").exists()
    (one,) = done(tmp_path / "run", references=str(table), slices=("age",)).evaluations
    odd = [
        f"{table}: 1 ids are there more than once, with the same text (r5)",
        f"{table}: 1 of its 12 references have no recording in the run (elsewhere)",
        f"{table}: 2 of 13 recordings have no reference in it and are in no rate (r0, r1)",
    ]
    assert list(one.warnings)[:3] == odd
    assert (one.references, one.coverage.num_scored, one.coverage.num_without_reference) == (str(table), 10, 2)
    assert {part.column for part in one.slices} == {"age"}
    table.write_bytes(delimited(rows))
    capsys.readouterr()
    (one,) = done(tmp_path / "run", references=str(table)).evaluations
    assert "other than before (references)" in capsys.readouterr().err
    assert (one.warnings, one.coverage.num_scored, one.coverage.num_failed_with_reference) == ((), 12, 1)
    table.unlink()
    (again,) = done(tmp_path / "run", references=str(table)).evaluations
    assert "is gone: references are what was in it when it was joined" in capsys.readouterr().err
    assert again == one
    told = refusal(tmp_path / "run", references=str(table), overrides=("score.normalizer=basic",))
    assert "no such file" in told
    assert "no such file" in refusal(tmp_path / "run", out=tmp_path / "elsewhere", references=str(table))


@pytest.mark.usefixtures("undrawn")
def test_ids_that_were_doubled_are_told(tmp_path):
    same = [heard("a", "x", "x"), heard("a", "x", "x")]
    run = made(tmp_path / "run", same[:1])
    info = json.loads((tmp_path / "run/run.json").read_text()) | {"num_doubled_ids": 3, "doubled_ids": ["a", "b"]}
    (tmp_path / "run/run.json").write_text(json.dumps(info))
    (one,) = done(run.folder.url).evaluations
    assert one.warnings == (f"{tmp_path}/run: 3 recordings have the id of another, and a number behind it (a, b)",)


@pytest.mark.usefixtures("undrawn")
def test_nothing_but_phones_and_no_language_to_say_them_in(tmp_path):
    made(tmp_path / "run", [in_phones("a", "hello", "h ə")], vocabulary=PHONEMES)
    (one,) = done(tmp_path / "run").evaluations
    assert (one.rates.wer.value, one.rates.per, one.coverage.num_scored) == (None, None, 0)
    (warning,) = one.warnings
    assert warning.startswith("references are not compared: the model writes phonemes, and score.language")


@pytest.mark.parametrize("rows", [[failed("a", "x y"), failed("b", None)], [heard("a", "", ""), failed("b", "x")]])
def test_a_run_that_says_nothing_has_a_report(rows, tmp_path):
    made(tmp_path / "one", rows, columns={"speaker": ["s", "t"]})
    made(tmp_path / "other", rows)
    report = done(tmp_path / "one", tmp_path / "other", out=tmp_path / "out", slices=("duration_s",))
    for one in report.evaluations:
        assert one.rates.wer.value is None
        assert one.coverage.num_recordings == 2


@pytest.mark.usefixtures("undrawn")
def test_settings_without_effect_are_told(run, capsys):
    done(run, overrides=("read.id_column=x", "encode.batch_s=3", "read.storage_deadline_s=9"))
    told = capsys.readouterr().err
    assert "warning: read.id_column, encode.batch_s without effect: an evaluation compares texts that are th" in told


# ---- what is refused


def test_columns_that_are_not_there_are_told_with_those_that_are(run):
    assert "run: resampling by sex: there is no such column; the run has passed through speaker" in refusal(
        run, group="sex"
    )
    assert "run: cannot slice by sex: there is no such column, only duration_s, " in refusal(run, slices=("sex",))


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize(
    "out", ["run", "run/data", "run/evaluation2", "run/evaluation/deeper", ".", "link/x", "run/x/.."]
)
def test_no_run_is_written_into(run, tmp_path, monkeypatch, out, overwrite):
    (tmp_path / "link").symlink_to(run)
    monkeypatch.chdir(tmp_path)
    before = tree_of(run)
    told = refusal("run", out=Path(out), overwrite=overwrite)
    assert "is the run" in told and "give another directory by --out" in told
    assert tree_of(run) == before


@pytest.mark.parametrize("overwrite", [False, True])
def test_what_is_anybody_elses_is_not_written_over(run, tmp_path, overwrite):
    made(tmp_path / "out/run", recordings(2))
    before = tree_of(tmp_path / "out")
    assert "out is not an evaluation and not empty (it holds run)" in refusal(run, out=tmp_path / "out")
    (tmp_path / "out/evaluation.json").write_text('{\n "nightshift": "0.1.0"}')
    told = refusal(run, out=tmp_path / "out", overwrite=overwrite)
    assert "out/run is a run, and not its evaluation: give another directory by --out" in told
    (tmp_path / "out/evaluation.json").unlink()
    assert tree_of(tmp_path / "out") == before
    for name, content in (("report.html", "mine"), ("thesis.tex", "mine"), ("run/run.json", "{}"), ("x/run.json", "?")):
        path = tmp_path / "others" / name
        path.parent.mkdir(parents=True)
        path.write_text(content)
        assert f"(it holds {name.partition('/')[0]})" in refusal(run, out=tmp_path / "others", overwrite=overwrite)
        assert path.read_text() == content
        shutil.rmtree(tmp_path / "others")


@pytest.mark.usefixtures("undrawn")
def test_beside_the_runs_is_a_place_and_what_was_killed_goes_on(run, tmp_path):
    (tmp_path / "runs").mkdir()
    shutil.move(run, tmp_path / "runs/a")
    (tmp_path / "name/manifest").mkdir(parents=True)
    (tmp_path / "name/lock.json").write_text("{}")
    assert done(f"name={tmp_path}/runs/a", out=tmp_path).evaluations[0].coverage.num_scored == 12
    assert (tmp_path / "evaluation.json").exists()


@pytest.mark.usefixtures("undrawn")
def test_what_is_no_run_is_refused(run, tmp_path):
    assert f"{tmp_path}/nowhere: no run there" in refusal(tmp_path / "nowhere", out=tmp_path / "out")
    done(run)
    assert "is the scored rows of a run: give the run itself" in refusal(run / "evaluation/run", out=tmp_path / "out")
    made(tmp_path / "begun", recordings(), done=lambda unit: False)
    assert "nothing of it is done yet; go on with the run first" in refusal(tmp_path / "begun")


# ---- names


def test_runs_are_called_by_the_last_step_and_equal_names_by_one_more(tmp_path, monkeypatch):
    for folder in ("a/run", "b/run", "c/b/run", "x=y", "lr=0.1/run"):
        made(tmp_path / folder, [heard("a", "x", "x")])
    monkeypatch.chdir(tmp_path)

    def names(*given: str) -> list[str]:
        return [one.name for one in named(given)]

    assert names("a/run/") == names("a/run/.") == names("a/../a/run") == ["run"]
    assert names("a/run", "b/run") == ["a-run", "b-run"]
    assert names("b/run", "c/b/run", "a/run") == ["b-run", "b-run-2", "a-run"]
    assert names("best=a/run", "b/run") == ["best", "run"]
    assert names("run=a/run", "b/run") == ["run", "b-run"]
    assert names("x=y") == ["x=y"]  # a run of that name is there
    assert names("y=x=y", "lr=0.1/run") == ["y", "run"]
    assert names("s3://bucket/runs/one", "two=s3://bucket/two") == ["one", "two"]
    assert named(["a/run"])[0].url == str(tmp_path / "a/run")


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (("a/run", "./a/run"), "is given twice"),
        (("n=a/run", "n=b/run"), "two runs are called n"),
        (("=a/run",), "NAME=RUN"),
        (("n=",), "NAME=RUN"),
        ((".hidden=a/run",), "NAME=RUN"),
        (("report.html=a/run",), "NAME=RUN"),
    ],
)
def test_names_that_cannot_be_are_refused(given, told):
    with pytest.raises(UsageError, match=told):
        named(given)


@pytest.mark.usefixtures("undrawn")
def test_a_normaliser_that_is_not_there_is_refused_and_that_of_the_run_is_taken(tmp_path):
    made(tmp_path / "run", recordings(), score=ScoreConfig(normalizer="unicode"))
    assert "score.normalizer = bassic" in refusal(tmp_path / "run", overrides=("score.normalizer=bassic",))
    assert done(tmp_path / "run").evaluations[0].normalizer.startswith("unicode (unicode ")
    (one,) = done(tmp_path / "run", overrides=("score.normalizer=none",)).evaluations
    assert one.normalizer == "none"
