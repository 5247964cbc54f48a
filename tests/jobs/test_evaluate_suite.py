"""`nightshift evaluate --suite`: its table is what the rows say, and what goes wrong is said before hours of work."""

import json
import shutil
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jiwer
import pyarrow.parquet as pq
import pytest

import pipeline.session
from jobs.__main__ import main
from pipeline import drive as driver
from pipeline.evaluation import evaluate as evaluation
from pipeline.run import find
from pipeline.suite import runs as suite_runs
from pipeline.write import read_parts
from tests.suite.made import write_base, write_inputs, write_lm, write_suite

MODELS = {"base": {"model": "models/base"}}
CELLS = {"base-greedy": "base", "base-lm": "base-lm"}  # and where their runs are


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("material")
    write_inputs(folder)
    write_base(folder / "models")
    write_lm(folder / "lm.arpa")
    return folder


@pytest.fixture(scope="module")
def suite(material: Path) -> Path:
    """Of one model."""
    return write_suite(
        material / "suite.toml", models=MODELS, evaluate={"baseline": "base-lm", "price": 2.5, "worst": 3}
    )


@pytest.fixture(scope="module")
def whole(suite: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the command leaves. Not to be written to."""
    out = tmp_path_factory.mktemp("whole") / "out"
    assert main(["evaluate", "--suite", str(suite), "--out", str(out)]) == 0
    return out


@pytest.fixture
def evaluate(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """The command in this process: exit code, stdout, stderr."""

    def run(suite: Path, out: Path | None, *flags: str) -> tuple[int, str, str]:
        code = main(["evaluate", "--suite", str(suite), *(["--out", str(out)] if out else []), *flags])
        return (code, *capsys.readouterr())

    return run


def rows(run: Path) -> list[dict[str, Any]]:
    return read_parts(find(str(run))).to_pylist()


def wer(rows: list[dict[str, Any]]) -> float:
    return jiwer.wer([row["reference"] for row in rows], [row["text"] for row in rows])


def test_the_table_is_what_jiwer_finds_in_the_parts(whole):
    figures = json.loads((whole / "evaluation.json").read_text())
    table = figures["by_dataset"]
    assert list(table) == ["clean", "shards", "stereo", "all together", "mean of datasets"]
    assert [one["name"] for one in figures["evaluations"]] == ["base-lm", "base-greedy"]  # the baseline comes first
    for name, folder in CELLS.items():
        scored = [row for row in rows(whole / "runs" / folder) if row["status"] == "ok" and row["reference"]]
        of = {dataset: [row for row in scored if row["dataset"] == dataset] for dataset in ("clean", "shards")}
        assert {dataset: len(some) for dataset, some in of.items()} == {"clean": 3, "shards": 3}
        for dataset, some in of.items():
            assert table[dataset][name]["value"] == pytest.approx(wer(some))
        assert table["stereo"][name]["value"] is None  # it has no references
        assert table["all together"][name]["value"] == pytest.approx(wer(scored))
        assert table["mean of datasets"][name]["value"] == pytest.approx(sum(map(wer, of.values())) / 2)
    assert table["shards"]["base-lm"] != table["shards"]["base-greedy"]  # that they are not one run twice


def test_all_together_is_the_headline_of_each_run_with_its_interval(whole):
    figures = json.loads((whole / "evaluation.json").read_text())
    for one in figures["evaluations"]:
        together = figures["by_dataset"]["all together"][one["name"]]
        assert together == one["rates"]["wer"]
        assert together["interval"] is not None
        slices = {part["value"]: part["rate"]["value"] for part in one["slices"] if part["column"] == "dataset"}
        assert slices == {name: figures["by_dataset"][name][one["name"]]["value"] for name in ("clean", "shards")}


def test_each_run_is_told_by_its_model_and_decoder_and_what_is_paid_for(whole):
    figures = json.loads((whole / "evaluation.json").read_text())
    told = {one["name"]: (Path(one["model"]).name, one["decoder"]) for one in figures["evaluations"]}
    assert told == {"base-greedy": ("base", "greedy"), "base-lm": ("base", "native, lm.arpa")}
    assert {one["speed"]["price_per_hour"] for one in figures["evaluations"]} == {2.5}
    assert {len(one["worst"]) for one in figures["evaluations"]} == {3}
    assert [(pair["first"], pair["second"]) for pair in figures["comparisons"]] == [("base-lm", "base-greedy")]
    page = (whole / "report.html").read_text()
    assert all(name in page for name in ("clean", "shards", "mean of datasets", "base-greedy/report.html"))


def test_again_it_does_nothing_but_show_the_same(whole, suite, evaluate, monkeypatch):
    """No Ray is started for that, no row is scored, nothing decoded; and with --json stdout is one object."""
    before = {path: path.stat().st_mtime_ns for path in whole.rglob("*.parquet")}
    for module in (pipeline.session, driver, evaluation):
        monkeypatch.setattr(module, "ray_session", None)
    code, stdout, stderr = evaluate(suite, whole, "--json", "--address", "local")
    assert code == 0, stderr
    figures = json.loads((whole / "evaluation.json").read_text())
    assert json.loads(stdout) == {name: value for name, value in figures.items() if name != "nightshift"}
    assert {path: path.stat().st_mtime_ns for path in whole.rglob("*.parquet")} == before
    lines = [line.split(" ", 1)[1] for line in stderr.splitlines()]
    assert [line for line in lines if line.endswith(" of 2")] == ["base-greedy: 1 of 2", "base-lm: 2 of 2"]


def test_flags_come_before_what_the_file_says(whole, suite, evaluate, tmp_path):
    out = Path(shutil.copytree(whole, tmp_path / "out"))
    flags = ("--price", "4", "--worst", "1", "--group", "speaker", "--slice", "take", "--no-audio", "--json")
    code, stdout, stderr = evaluate(suite, out, *flags)
    assert code == 0, stderr
    for one in json.loads(stdout)["evaluations"]:
        assert (one["speed"]["price_per_hour"], len(one["worst"]), one["resampled"]) == (4.0, 1, "speaker")
        assert {part["column"] for part in one["slices"]} >= {"dataset", "take"}
        assert "speaker" not in {part["column"] for part in one["slices"]}
    assert "data:audio" in (whole / "base-lm" / "report.html").read_text()
    assert "data:audio" not in (out / "base-lm" / "report.html").read_text()


def test_the_table_is_printed_before_the_comparisons(whole, suite, evaluate, tmp_path):
    figures = json.loads((whole / "evaluation.json").read_text())["by_dataset"]
    code, stdout, _ = evaluate(suite, Path(shutil.copytree(whole, tmp_path / "out")))
    assert code == 0
    lines = stdout.splitlines()
    table = lines[lines.index("Word error rates by dataset:") + 1 :]
    assert table[0].split() == ["base-lm", "base-greedy"]
    for line, (name, rates) in zip(table[1:6], figures.items(), strict=True):
        assert line.startswith(name)
        for rate in rates.values():
            assert ("undefined" if rate["value"] is None else f"{rate['value']:.2%}") in line
    assert any("beside base-lm" in line for line in table[6:])


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--suite", "SUITE"], "say with --out where the runs of the suite and their evaluation go"),
        (["--suite", "SUITE", "--out", "OUT", "RUN"], "SUITE says what is evaluated: leave out RUN"),
        (["--suite", "SUITE", "--out", "OUT", "--set", "encode.device=cpu"], "--config and --set are not for suites"),
        (["--suite", "SUITE", "--out", "OUT", "--price", "-1"], "evaluate.price must be zero or above"),
        (["--suite", "gone.toml", "--out", "OUT"], "suite gone.toml: No such file or directory"),
    ],
)
def test_what_cannot_be_meant_is_one_clear_line(arguments, told, suite, tmp_path, capsys):
    places = {"SUITE": str(suite), "OUT": str(tmp_path / "out")}
    assert main(["evaluate", *(places.get(argument, argument) for argument in arguments)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("nightshift: ") and told.replace("SUITE", str(suite)) in line
    assert not (tmp_path / "out").exists()


def test_other_files_where_it_would_write_are_refused_before_anything_is_transcribed(suite, evaluate, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "notes.txt").write_text("mine")
    code, _, stderr = evaluate(suite, tmp_path / "out")
    assert code == 2
    assert "is not an evaluation and not empty (it holds notes.txt)" in stderr.splitlines()[-1]
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["notes.txt"]


def test_references_that_are_no_table_are_refused_before_anything_is_transcribed(material, evaluate, tmp_path):
    (material / "names.csv").write_text("id,name\na,b\n")
    for name, told in (("gone.csv", "no such file"), ("names.csv", "no column with references")):
        suite = write_suite(material / "with.toml", models=MODELS, evaluate={"references": name})
        code, _, stderr = evaluate(suite, tmp_path / "out")
        assert code == 2 and told in stderr.splitlines()[-1]
        assert not (tmp_path / "out").exists()


def test_another_suite_s_runs_are_refused_with_what_to_do(material, whole, suite, evaluate):
    """Not with --overwrite, which here scores anew and deletes no run."""
    datasets = {"clean": {"input": "clean/manifest.jsonl"}, "stereo": {"input": "stereo"}}
    other = write_suite(material / "other.toml", models=MODELS, datasets=datasets)
    code, _, stderr = evaluate(other, whole, "--overwrite")
    assert code == 2
    last = stderr.splitlines()[-1]
    assert "datasets.shards: " in last and "reference_column = sentence -> " in last
    assert last.endswith("give another directory by --out, or delete that one")
    assert len(rows(whole / "runs" / "base")) == 9


def test_an_interrupted_one_says_so_and_the_same_command_goes_on(whole, suite, evaluate, tmp_path, monkeypatch):
    drive, done = suite_runs.drive, []

    def interrupted(request, progress):
        if done:
            raise KeyboardInterrupt
        done.append(drive(request, progress))
        return done[-1]

    out = tmp_path / "out"
    monkeypatch.setattr(suite_runs, "drive", interrupted)
    code, stdout, stderr = evaluate(suite, out, "--json")
    assert (code, stdout) == (1, "")
    assert stderr.splitlines()[-1].startswith("nightshift: interrupted; what is committed is kept")
    monkeypatch.setattr(suite_runs, "drive", drive)
    commits = {path: path.read_bytes() for path in (out / "runs" / "base" / "commits").iterdir()}
    code, stdout, _ = evaluate(suite, out, "--json")
    assert code == 0
    expected = json.loads((whole / "evaluation.json").read_text())
    assert json.loads(stdout)["by_dataset"] == expected["by_dataset"]
    assert {path: path.read_bytes() for path in commits} == commits


def test_one_that_is_not_complete_is_not_evaluated(suite, evaluate, tmp_path, monkeypatch):
    """A table over what happened to be done would look like one over all of it."""
    drive = suite_runs.drive

    def incomplete(request, progress):
        drive(request, progress)
        next((tmp_path / "out" / "runs" / "base" / "commits").iterdir()).unlink()
        return driver.summarise(find(request.target), find(request.target).manifest.units(), [])

    monkeypatch.setattr(suite_runs, "drive", incomplete)
    code, stdout, stderr = evaluate(suite, tmp_path / "out")
    assert (code, stdout) == (1, "")
    assert f"{tmp_path}/out/runs/base is not complete; what is committed is kept" in stderr.splitlines()[-1]
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["runs"]


def test_more_failures_than_were_allowed_are_an_exit_code(material, whole, evaluate, tmp_path):
    out = Path(shutil.copytree(whole, tmp_path / "out"))
    run = {"address": "here", "max_failed_share": 0.1}
    strict = write_suite(material / "strict.toml", models=MODELS, run=run)
    code, stdout, stderr = evaluate(strict, out)
    assert code == 1
    assert "11.11% of the recordings failed, more than run.max_failed_share=0.1" in stderr
    assert "Word error rates by dataset:" in stdout


@pytest.mark.ray
def test_on_ray_all_of_it_is_one_session_and_gives_the_same(material, whole, ray_here, evaluate, tmp_path, monkeypatch):
    """Encoders are elsewhere here: that none works twice is told by the seconds in the commits."""
    session, opened, within = pipeline.session.ray_session, [], []

    @contextmanager
    def counted(config):
        opened.append(len(within))
        within.append(config)
        with session(config) as nodes:
            yield nodes
        within.pop()

    for module in (pipeline.session, driver, evaluation):
        monkeypatch.setattr(module, "ray_session", counted)
    out = tmp_path / "out"
    suite = write_suite(material / "ray.toml", models=MODELS, run=None, encode={"actors": 1, "threads": 1})
    code, stdout, stderr = evaluate(suite, out, "--address", "local", "--json")
    assert code == 0, stderr
    assert json.loads(stdout)["evaluations"]  # while a session is open, what is printed goes elsewhere
    assert len(opened) > 4 and opened.count(0) == 1  # the runs and their scoring, all within the first
    for folder in CELLS.values():
        assert sorted(map(str, rows(out / "runs" / folder))) == sorted(map(str, rows(whole / "runs" / folder)))
        stages = {name for commit in find(str(out / "runs" / folder)).commits().values() for name in commit.stage_s}
        assert ("encode" in stages, "load" in stages) == (folder == "base", folder == "base-lm")
    tables = [json.loads((place / "evaluation.json").read_text())["by_dataset"] for place in (out, whole)]
    assert {dataset: tables[0][dataset]["base-lm"] for dataset in tables[0]} == {
        dataset: tables[1][dataset]["base-lm"] for dataset in tables[1]
    }
    assert pq.read_table(out / "base-lm" / "data").num_rows == 9
