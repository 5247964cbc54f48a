"""`nightshift evaluate` as it is typed: figures on stdout, one clear line for what cannot be done, exit codes."""

import json
import re
from pathlib import Path

import pytest

from jobs.__main__ import main
from pipeline.config import ScoreConfig
from tests.evaluation.made_runs import failed, heard, made
from tests.evaluation.test_evaluate import recordings, speakers
from tests.imported import imported


@pytest.fixture
def run(tmp_path) -> Path:
    made(tmp_path / "run", recordings(24), columns=speakers(24))
    return tmp_path / "run"


@pytest.fixture
def evaluate(capsys):
    """In this process: exit code, stdout, stderr."""

    def evaluated(*arguments: str | Path):
        code = main(["evaluate", *map(str, arguments), "--address", "here"])
        return (code, *capsys.readouterr())

    return evaluated


def line(stdout: str, name: str) -> str:
    (found,) = re.findall(rf"^{re.escape(name)}  +(.*)$", stdout, re.MULTILINE)
    return found


def test_one_run_is_told_on_a_screen_with_the_path_of_its_report(run, evaluate):
    """Sound that cannot be read any more is no reason to fail."""
    code, stdout, stderr = evaluate(run, "--group", "speaker", "--price", "3", "--worst", "2")
    assert code == 0
    rate = r"8.33% \(\d+\.\d\d% to \d+\.\d\d%\)"
    assert re.fullmatch(rate, line(stdout, "word error rate"))
    assert line(stdout, "recordings scored") == "24 of 25"
    assert line(stdout, "  failed") == "1, 1 of them with a reference"
    assert line(stdout, "  failed as if silent") == "10.81%"  # 6 of 72 words, and 2 that were lost
    assert line(stdout, "normalizer") == "none"
    assert "95 % intervals, by resampling 6 values of speaker: of fewer than 15 they are too narrow." in stdout
    assert f"\nReport:  {run}/evaluation/report.html\n" in stdout
    assert f"Figures: {run}/evaluation/evaluation.json\n" in stdout
    assert "missing file" in (run / "evaluation/report.html").read_text()
    assert "Traceback" not in stderr and "scoring" in stderr


def test_several_runs_are_columns_and_each_is_compared_with_the_first(run, tmp_path, evaluate):
    made(tmp_path / "worse", recordings(24, wrong=1), score=ScoreConfig(normalizer="basic"), columns=speakers(24))
    out = tmp_path / "out"
    code, stdout, _ = evaluate(run, f"bad={tmp_path / 'worse'}", "--out", out, "--no-audio", "--slice", "speaker")
    assert code == 0
    assert stdout.splitlines()[0].split() == ["run", "bad"]
    assert re.split("  +", line(stdout, "normalizer"))[0] == "none"
    assert "basic (unicode" in line(stdout, "normalizer")
    assert "\nbad beside run, by 24 recordings that both have scored:\n" in stdout
    assert re.match(r"\+25\.00 \(\+\d+\.\d\d to \+\d+\.\d\d\)", line(stdout, "difference"))
    assert line(stdout, "p") == "< 0.001 by bootstrap, unknown by matched pairs"  # of 18 segments
    assert (out / "bad/report.html").exists()


def test_what_has_no_interval_or_nothing_in_common_is_told(run, tmp_path, evaluate):
    made(tmp_path / "few", [heard("x", "a b", "a c"), heard("y", "a", "a")])
    code, stdout, _ = evaluate(run, tmp_path / "few", "--out", tmp_path / "out", "--no-audio")
    assert code == 0
    assert "In brackets 95 % intervals, by resampling 24 recordings.\n" in stdout
    assert "No intervals of few, by resampling 2 recordings: it takes 5 or more.\n" in stdout
    assert "few beside run: no recording has words that both have scored alike.\n" in stdout
    code, stdout, _ = evaluate(tmp_path / "few", "--no-audio")
    assert "No intervals, by resampling 2 recordings: it takes 5 or more.\n" in stdout and "brackets" not in stdout


def test_json_is_one_object_on_the_last_line(run, evaluate):
    code, stdout, _ = evaluate(run, "--json", "--no-audio", "--set", "score.normalizer=unicode")
    assert code == 0
    (told,) = stdout.splitlines()
    kept = json.loads((run / "evaluation/evaluation.json").read_text())
    assert json.loads(told) == {name: value for name, value in kept.items() if name != "nightshift"}
    assert kept["evaluations"][0]["normalizer"].startswith("unicode (")


def test_what_is_incomplete_or_says_nothing_is_an_exit_code(tmp_path, evaluate, monkeypatch):
    monkeypatch.setattr("pipeline.report.page.evaluation_page", lambda *_: "")
    made(tmp_path / "part", recordings(), done=lambda unit: unit != 2)
    code, _, stderr = evaluate(tmp_path / "part")
    assert code == 1
    assert stderr.splitlines()[-1] == "nightshift: part: not complete, and these are the figures of a part"
    assert "warning: " in stderr and "6 of its 7 units are done, and only those are evaluated" in stderr
    made(tmp_path / "silent", [failed("a", "x")])
    code, stdout, stderr = evaluate(tmp_path / "silent")
    assert code == 1
    assert line(stdout, "word error rate") == "undefined"
    assert stderr.splitlines()[-1] == "nightshift: silent: not one recording was scored"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ((), "give one run or several (nightshift evaluate RUN...), or --suite FILE"),
        (("a", "b"), "say with --out where the evaluation of 2 runs goes"),
        (("a", "--price", "-1"), "--price must be zero or above and finite, not -1.0"),
        (("a", "--price", "nan"), "--price must be zero or above and finite, not nan"),
        (("a", "--worst", "-1"), "--worst must be zero or above, not -1"),
        (("a", "--out", "out"), "no run there"),
        (("a", "--out", ""), "--out is empty"),
        (("a", "--references", ""), "--references is empty"),
        (("a", "--group", ""), "--group is empty"),
        (("a", "--set", "score.normaliser=basic"), "unknown configuration key score.normaliser; did you mean"),
    ],
)
def test_what_cannot_be_is_one_clear_line(arguments, told, tmp_path, monkeypatch, evaluate):
    monkeypatch.chdir(tmp_path)
    code, stdout, stderr = evaluate(*arguments)
    assert (code, stdout) == (2, "")
    assert stderr.splitlines()[-1].startswith("nightshift: ") and told in stderr and "Traceback" not in stderr
    assert not any(tmp_path.iterdir())


def test_an_interruption_is_told_and_what_is_done_stays(run, evaluate, monkeypatch):
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("pipeline.evaluation.evaluate.slices", interrupted)
    code, _, stderr = evaluate(run)
    assert code == 1
    assert stderr.splitlines()[-1].startswith("nightshift: interrupted; what is committed is kept")
    assert (run / "evaluation/run/summary.json").exists()
    assert not (run / "evaluation/evaluation.json").exists()


def test_scored_rows_are_a_run_whose_state_can_be_looked_at(run, evaluate, capsys):
    evaluate(run, "--no-audio")
    assert main(["status", str(run / "evaluation/run")]) == 0
    assert "24 with a reference, texts compared as they are" in capsys.readouterr().out


def test_an_evaluation_needs_neither_torch_nor_ray_nor_a_reader_of_audio(tmp_path):
    made(tmp_path / "run", [heard("a", "x", "x")])
    arguments = ["evaluate", str(tmp_path / "run"), "--no-audio"]
    modules, printed = imported(arguments)
    assert "word error rate" in printed  # also where nobody says `here`: of one unit there is nothing to share
    assert not {"torch", "ray", "soundfile"} & modules
