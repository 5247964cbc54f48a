"""`nightshift demo`: what it prints is what was found, it starts afresh, and it deletes nobody else's files."""

import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from jobs import demo as job
from jobs import demo_show
from jobs.__main__ import main
from pipeline.demo import bundled
from pipeline.demo.sample import babble, write_corpus, write_model
from pipeline.demo.samples import MOST_S, differences, samples
from pipeline.evaluation.results import Example
from pipeline.evaluation.worst import example
from pipeline.store import Folder
from pipeline.suite import runs as suite_runs
from tests.evaluation import scored_rows
from tests.suite.made import SMALL, write_lm, write_suite

CELLS = {"demo-greedy": "demo-greedy", "demo-lm": "demo"}  # and where their runs are


def write_input(folder: Path, num: int, num_long: int) -> None:
    """Recordings of seven voices, some more that are long, four that cannot be read, and one of these with a
    reference.
    """
    write_corpus(folder / "audio", num)
    lines = [json.loads(line) for line in (folder / "audio" / "manifest.jsonl").read_text().splitlines()]
    (folder / "audio" / "manifest.jsonl").unlink()
    for number, line in enumerate(lines[:num]):
        line["speaker"] = f"voice-{number % 7}"
    lines[num]["text"] = "WHAT NOBODY CAN READ"
    for number in range(num_long):
        sound = babble(np.random.default_rng(number), MOST_S + 1, 8_000)
        soundfile.write(folder / "audio" / f"long{number}.flac", sound, 8_000)
        lines.append({"audio_filepath": f"long{number}.flac", "text": "LONG " * 60})  # no speaker: one of its own
    told = (json.dumps(line | {"audio_filepath": f"audio/{line['audio_filepath']}"}) + "\n" for line in lines)
    (folder / "manifest.jsonl").write_text("".join(told))


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("material")
    write_model(root / "model", SMALL)
    write_lm(root / "lm.arpa")
    for name, num, num_long in (("flac", 8, 0), ("manifest", 9, 2)):
        write_input(root / name, num, num_long)
    write_suite(
        root / "suite.toml",
        datasets={name: {"input": name} for name in ("flac", "manifest")},
        models={"demo": {"model": "model"}},
        decoders={"lm": {"lm": "lm.arpa"}, "greedy": {"decoder": "greedy"}},
        evaluate={"baseline": "demo-greedy", "group": "speaker", "no_audio": True},
        **dict.fromkeys(("read", "run")),
    )
    return root


@pytest.fixture(autouse=True)
def bundle(material: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """This material in place of what is bundled."""
    monkeypatch.setattr(bundled, "SUITE", material / "suite.toml")


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Two of torch's, where other tests want the CPUs too, spend half of them on waiting for each other."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(job, "MAX_THREADS", 1)
        yield


@pytest.fixture(scope="module")
def shown(material: Path, tmp_path_factory: pytest.TempPathFactory) -> job.Demo:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(bundled, "SUITE", material / "suite.toml")
        return job.demo(job.suite("here"), str(tmp_path_factory.mktemp("demo") / "out"))


@pytest.fixture(scope="module")
def out(shown: job.Demo) -> Path:
    """Where all of it is. Not to be written to."""
    return Path(shown.page).parent


def rows(run: Path) -> list[dict[str, Any]]:
    """As any reader of Parquet finds them."""
    found: list[dict[str, Any]] = pq.read_table(run / "data").to_pylist()
    return sorted(found, key=lambda row: str(row["id"]))


def test_the_tables_show_the_figures_the_failures_the_samples_and_the_page(shown, out, capsys):
    demo_show.demo(shown)
    printed, found = capsys.readouterr().out, json.loads((out / "evaluation.json").read_text())
    assert [one["name"] for one in found["evaluations"]] == list(CELLS)
    for told, rate in (("word error rate", "wer"), ("character error rate", "cer")):
        (first, *_) = re.findall(rf"^{told} .*$", printed, re.MULTILINE)
        for one in found["evaluations"]:
            value, interval = one["rates"][rate].values()
            assert f"{value:.2%} ({interval['low']:.2%} to {interval['high']:.2%})" in first
    (long,) = re.findall(r"^  in 2 recordings of 60 to 300 s  +(\S+) +(\S+)$", printed, re.MULTILINE)
    assert len(set(long)) == 2  # without intervals, which of two say nothing; and they are not one run twice
    assert "by resampling 9 values of speaker: of fewer" in printed
    transcribed = [row["duration_s"] for row in rows(out / "runs" / "demo") if row["status"] == "ok"]
    failures = [row["error"] for row in rows(out / "runs" / "demo") if row["status"] == "failed"]
    assert len(failures) == 8
    for reason in set(failures):
        assert re.search(rf"^  {reason} +{failures.count(reason)}$", printed, re.MULTILINE), reason
    audio = f"{len(transcribed)} ({sum(transcribed) / 60:.1f} min of audio)"
    for name, figure in (("recordings", "27"), ("transcribed", audio), ("failed", "8")):
        assert re.search(rf"^{name} +{re.escape(figure)}$", printed, re.MULTILINE), name
    texts = {name: {row["id"]: row["text"] for row in rows(out / "runs" / run)} for name, run in CELLS.items()}
    assert len(shown.samples) == 3
    for heard in shown.samples:
        assert f"\n{heard[0].id}: " in printed
        assert [one.text for one in heard] == [texts[name][one.id] for name, one in zip(CELLS, heard, strict=True)]
    assert printed.endswith(f"\nReport: {out}/report.html\n") and (out / "report.html").exists()


def test_a_demo_that_is_there_or_was_interrupted_starts_afresh(shown, material, out, tmp_path, capsys, monkeypatch):
    """Also one of another model: a change of what is bundled must not leave figures of what was. And as JSON, one
    object on stdout.
    """
    target = Path(shutil.copytree(out, tmp_path / "out"))
    old = {path: path.read_bytes() for path in target.rglob("run.json")}
    for path in old:
        told = json.loads(path.read_text())
        told["settings"]["encode.model"] = "contents of another"
        path.write_text(json.dumps(told))
    (target / "runs/demo/mine.txt").write_text("mine")
    drive = suite_runs.drive

    def interrupted(request, progress):
        if request.target.endswith("demo-greedy"):
            raise KeyboardInterrupt
        return drive(request, progress)

    command = ["demo", f"{target}/", "--address", "here", "--json"]
    monkeypatch.setattr(suite_runs, "drive", interrupted)
    assert main(command) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.splitlines()[-1] == "nightshift: interrupted; the same command starts afresh"
    monkeypatch.setattr(suite_runs, "drive", drive)
    assert main(command) == 0
    told = json.loads(capsys.readouterr().out)
    assert {path for path, data in old.items() if path.read_bytes() == data} == set()
    assert len(old) == 4
    expected = json.loads(json.dumps(shown.as_dict()))
    for one, before in zip(told["evaluations"], expected["evaluations"], strict=True):
        assert {name: one[name] for name in ("rates", "coverage", "worst")} == {
            name: before[name] for name in ("rates", "coverage", "worst")
        }
    assert (told["samples"], told["by_dataset"]) == (expected["samples"], expected["by_dataset"])
    assert told["report"] == f"{target}/report.html"
    assert (target / "runs/demo/mine.txt").read_text() == "mine"


@pytest.mark.parametrize(
    "there",
    ["file", "folder/notes.txt", "runs", "runs/demo", "runs/demo/notes.txt", "runs/mine/a.txt", "demo-lm/a.txt"],
)
def test_nothing_is_deleted_that_is_not_a_demo_s(there, tmp_path, capsys):
    target = tmp_path / "out"
    held = target / there
    held.parent.mkdir(parents=True)
    held.write_text("mine")
    for where in (target, held) if there == "file" else (target,):
        assert main(["demo", str(where), "--address", "here"]) == 2
        last = capsys.readouterr().err.splitlines()[-1]
        assert last.startswith(f"nightshift: {where} is not empty and not this demo's") and "directory" in last
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [held]
    assert held.read_text() == "mine"


@pytest.mark.parametrize("there", ["notes.txt", "runs/another/notes.txt", "flac/run.json"])
def test_a_demo_beside_somebody_s_files_is_left_as_it_is(there, out, tmp_path, capsys):
    target = Path(shutil.copytree(out, tmp_path / "out"))
    (target / there).parent.mkdir(exist_ok=True)
    (target / there).write_text("{}")
    before = {path: path.read_bytes() for path in target.rglob("*") if path.is_file()}
    assert main(["demo", str(target), "--address", "here"]) == 2
    assert "is not empty and not this demo's (it holds " in capsys.readouterr().err
    assert {path: path.read_bytes() for path in target.rglob("*") if path.is_file()} == before


def test_a_suite_of_the_same_names_and_of_other_datasets_is_not_a_demo(out, material, tmp_path, capsys, monkeypatch):
    moved = Path(shutil.copytree(material, tmp_path / "moved"))
    monkeypatch.setattr(bundled, "SUITE", moved / "suite.toml")
    before = sorted(out.rglob("*"))
    assert main(["demo", str(out), "--address", "here"]) == 2
    assert "not this demo's (it holds demo-greedy)" in capsys.readouterr().err
    assert sorted(out.rglob("*")) == before


def test_what_a_start_that_was_killed_leaves_is_a_demo_s(material, tmp_path):
    run = tmp_path / "out" / "runs" / "demo"
    for folder in ("data", "manifest"):  # half-way through deleting, or listing
        (run / folder).mkdir(parents=True)
    job.check_target(Folder(str(tmp_path / "out")), job.suite("here"))


# ---- samples


def heard(name: str, reference: str, text: str) -> Example:
    return example(scored_rows.row(scored_rows.Pair(name, reference, text)), [])


def test_samples_are_chosen_by_their_place_among_all():
    """And not by how they look; ties are settled by the greedy errors, then by name. Long ones are none."""
    reference = "A B C D"
    greedy = {f"{n}": heard(f"{n}", reference, " ".join("AXXX"[: n % 4]) or "A") for n in range(4)}
    with_lm = {f"{n}": heard(f"{n}", reference, reference[: 2 * n + 1]) for n in range(4)}
    for name, text in (("9", reference), ("8", "A"), ("only", "A B"), ("long", "A B C")):
        greedy[name] = heard(name, reference, text)
        with_lm[name] = heard(name, reference, reference)
    del with_lm["only"]
    with_lm["long"], greedy["long"] = (replace(one["long"], duration_s=MOST_S) for one in (with_lm, greedy))
    # With the model: 3, 2, 1, 0 words of 4 are wrong, and none in the two last; greedily none and three.
    by_errors = ["9", "3", "8", "2", "1", "0"]
    expected = [(greedy[name], with_lm[name]) for name in (by_errors[1], by_errors[2], by_errors[4])]
    assert samples(greedy, with_lm) == expected
    assert samples(dict(reversed(greedy.items())), with_lm) == expected
    assert samples({}, with_lm) == []
    assert samples({"0": greedy["0"]}, with_lm) == [(greedy["0"], with_lm["0"])]


WORDS = st.lists(st.sampled_from(["ONE", "TWO", "THREE", "IT'S"]), max_size=8).map(" ".join)


@given(WORDS, WORDS)
def test_from_the_differences_both_texts_can_be_read(reference, text):
    """Whatever colour the terminal has; and nothing is marked that is equal."""
    shown = differences(heard("a", reference, text))
    said = re.sub(r"\[([^>]*)>[^]]*\]", r"\1", shown)
    told = re.sub(r"\[[^>]*>([^]]*)\]", r"\1", shown)
    assert (said.split(), told.split()) == (reference.split(), text.split())
    assert ("[" in shown) == (reference != text)


def test_neighbouring_errors_are_one_difference():
    assert differences(heard("a", "SHE SOLD TWO ROWS OF PEARS", "SHE SOLD TO ROSE OF THE PEARS")) == (
        "SHE SOLD [TWO ROWS>TO ROSE] OF [>THE] PEARS"
    )
