"""`nightshift demo`: its figures are those of the parts, its runs are runs, and it deletes nobody else's files."""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import jiwer
import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs import demo as job
from jobs import demo_show
from jobs.__main__ import main
from pipeline import drive as driver
from pipeline.config import RunConfig
from pipeline.demo import bundled
from pipeline.demo.outcome import LONG_S, Decoded, Transcribed, compare, differences, outcome, samples
from pipeline.demo.sample import babble, write_corpus, write_model
from pipeline.score import count_characters, count_words

INPUTS = ("flac", "manifest")


def write_input(folder: Path, num: int) -> None:
    """Recordings of seven voices, one of them long, four that cannot be read, and one of these with a reference."""
    import soundfile

    write_corpus(folder / "audio", num)
    lines = [json.loads(line) for line in (folder / "audio" / "manifest.jsonl").read_text().splitlines()]
    (folder / "audio" / "manifest.jsonl").unlink()
    for number, line in enumerate(lines[:num]):
        line["speaker"] = f"voice-{number % 7}"
    lines[num]["text"] = "WHAT NOBODY CAN READ"
    soundfile.write(folder / "audio" / "long.flac", babble(np.random.default_rng(num), LONG_S + 1, 8_000), 8_000)
    lines.append({"audio_filepath": "long.flac", "text": "LONG " * 60})  # no speaker: one of its own
    told = (json.dumps(line | {"audio_filepath": f"audio/{line['audio_filepath']}"}) + "\n" for line in lines)
    (folder / "manifest.jsonl").write_text("".join(told))


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory) -> job.Material:
    root = tmp_path_factory.mktemp("material")
    write_model(root / "model")
    words = "".join(f"-1\t{word}\t0\n" for word in ("A", "SHORT", "ONE"))
    (root / "lm.arpa").write_text(
        f"\\data\\\nngram 1=6\nngram 2=1\n\n\\1-grams:\n-2\t<unk>\n-99\t<s>\t0\n-1\t</s>\n{words}\n"
        "\\2-grams:\n-0.5\tA SHORT\n\n\\end\\\n"
    )
    for num, name in enumerate(INPUTS, 8):
        write_input(root / name, num)
    return job.Material(root / "model", root / "lm.arpa", tuple(root / name for name in INPUTS))


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("demo") / "out"


@pytest.fixture(scope="module")
def shown(material: job.Material, out: Path) -> job.Demo:
    return job.demo(material, str(out), RunConfig(address="here"))


@pytest.fixture
def bundle(material: job.Material, monkeypatch: pytest.MonkeyPatch):
    """The command, with this material in place of what is bundled."""

    def put(material: job.Material = material) -> None:
        monkeypatch.setattr(bundled, "MODEL", material.model)
        monkeypatch.setattr(bundled, "LM", material.lm)
        monkeypatch.setattr(bundled, "INPUTS", material.inputs)

    put()
    return put


def rows_of(out: Path, suffix: str = "") -> list[dict[str, object]]:
    """As any reader of Parquet finds them."""
    return [
        row | {"input": name} for name in INPUTS for row in pq.read_table(out / f"{name}{suffix}" / "data").to_pylist()
    ]


def texts(rows: list[dict[str, object]], long: bool = False) -> tuple[list[str], list[str]]:
    scored = [r for r in rows if r["status"] == "ok" and r["reference"] and (not long or r["duration_s"] >= LONG_S)]
    return [" ".join(row["reference"].split()) for row in scored], [row["text"] for row in scored]


def test_the_figures_are_those_that_jiwer_finds_in_the_parts(shown, out):
    found = shown.outcome
    for way, suffix in (("greedy", "-greedy"), ("with_lm", "")):
        rows = rows_of(out, suffix)
        assert getattr(found.words, way).value == pytest.approx(jiwer.wer(*texts(rows)))
        assert getattr(found.chars, way).value == pytest.approx(jiwer.cer(*texts(rows)))
        assert getattr(found.long_words, way).value == pytest.approx(jiwer.wer(*texts(rows, long=True)))
    assert found.words.greedy.value != found.words.with_lm.value  # that they are not one run twice
    assert found.words.gain.value == pytest.approx(found.words.greedy.value - found.words.with_lm.value)
    assert (found.num_scored, found.num_long, found.num_speakers) == (19, 2, 9)


def test_intervals_are_those_of_scipy_over_speakers_and_not_over_recordings(shown, out):
    stats = pytest.importorskip("scipy.stats")
    sums: dict[object, np.ndarray] = {}
    for after, before in zip(rows_of(out), rows_of(out, "-greedy"), strict=True):
        assert after["id"] == before["id"]
        if after["status"] == "ok":
            kinds = ("substitutions", "deletions", "insertions")
            counts = [sum(row[f"word_{kind}"] for kind in kinds) for row in (before, after)]
            counts.append(len(after["reference"].split()))
            speaker = after["speaker"] or (after["input"], after["id"])
            sums[speaker] = sums.get(speaker, np.zeros(3)) + counts
    greedy, with_lm, words = np.array(list(sums.values())).T
    for errors, rate in ((greedy, "greedy"), (with_lm, "with_lm"), (greedy - with_lm, "gain")):
        theirs = stats.bootstrap(
            (errors, words),
            lambda e, w, axis=-1: e.sum(axis=axis) / w.sum(axis=axis),
            paired=True,
            n_resamples=20_000,
            method="percentile",
            rng=np.random.default_rng(1),
        ).confidence_interval
        ours, width = getattr(shown.outcome.words, rate).interval, theirs.high - theirs.low
        assert ours == (pytest.approx(theirs.low, abs=0.08 * width), pytest.approx(theirs.high, abs=0.08 * width))


def test_the_tables_show_the_figures_the_failures_and_the_runs(shown, out, capsys):
    demo_show.demo(shown)
    printed, found = capsys.readouterr().out, shown.outcome
    for told, rates in (("word error rate", found.words), ("character error rate", found.chars)):
        (line,) = re.findall(rf"^{told} .*$", printed, re.MULTILINE)
        for rate in (rates.greedy, rates.with_lm, rates.gain):
            assert f"{rate.value:.2%} ({rate.interval.low:.2%} to {rate.interval.high:.2%})" in line
    (long,) = re.findall(r"^words, 2 of 1.0 min or more .*$", printed, re.MULTILINE)
    assert f"{found.long_words.with_lm.value:.2%}" in long and " to " not in long  # an interval of two says nothing
    assert "resampling the 9 speakers" in printed
    rows = rows_of(out)
    failures = [row["error"] for row in rows if row["status"] == "failed"]
    assert len(failures) == 8
    for reason in set(failures):
        assert re.search(rf"^  {reason} +{failures.count(reason)}$", printed, re.MULTILINE), reason
    assert re.search(r"^  not scored +2 with a reference$", printed, re.MULTILINE)
    assert re.search(rf"^recordings +{len(rows)} \(flac 13, manifest 14\)$", printed, re.MULTILINE)
    for name in INPUTS:
        assert f"{out}/{name}\n" in printed and f"{out}/{name}-greedy\n" in printed
    for sample in found.samples:
        assert f"\n{sample.name}: " in printed
    assert len(found.samples) == 3


def test_what_lies_below_out_are_ordinary_runs(shown, out, capsys):
    for name in INPUTS:
        for run in (out / name, out / f"{name}-greedy"):
            assert main(["status", str(run), "--json"]) == 0
            status = json.loads(capsys.readouterr().out)
            assert status["complete"] and status["tally"] == json.loads((run / "summary.json").read_text())["tally"]
        assert main(["decode", str(out / name), str(out.parent / f"again-{name}"), "--address", "here", "--json"]) == 0
        assert (
            json.loads(capsys.readouterr().out)["tally"]
            == json.loads((out / name / "summary.json").read_text())["tally"]
        )


def test_a_demo_that_was_interrupted_starts_afresh_and_gives_the_same(
    shown, material, bundle, tmp_path, capsys, monkeypatch
):
    """And as JSON, one object on stdout."""
    drive, target = driver.drive, tmp_path / "out"

    def interrupted(request, progress):
        if request.target.endswith("manifest"):
            raise KeyboardInterrupt
        return drive(request, progress)

    command = ["demo", f"{target}/", "--address", "here", "--json"]
    monkeypatch.setattr(driver, "drive", interrupted)
    assert main(command) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.splitlines()[-1] == "nightshift: interrupted; the same command starts afresh"
    assert (target / "flac" / "run.json").exists()
    monkeypatch.setattr(driver, "drive", drive)
    assert main(command) == 0
    told = json.loads(capsys.readouterr().out)
    expected = json.loads(json.dumps(shown.as_dict()))
    assert told["outcome"] == expected["outcome"]
    assert told["tally"] == expected["tally"]
    assert [run["with_lm"]["run"] for run in told["runs"]] == [str(target / name) for name in INPUTS]
    assert told["wall_s"] > told["with_lm_s"] > 0 < told["greedy_s"]


@pytest.mark.parametrize("there", ["file", "folder/notes.txt", "flac/notes.txt", "flac-greedy"])
def test_nothing_is_deleted_that_is_not_a_demo_s(there, bundle, tmp_path, capsys):
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


def test_a_run_of_the_same_name_and_of_another_input_is_not_a_demo_s(shown, out, material, bundle, tmp_path, capsys):
    moved = [Path(shutil.copytree(folder, tmp_path / folder.name)) for folder in material.inputs]
    bundle(replace(material, inputs=tuple(moved)))
    before = sorted(out.rglob("*"))
    assert main(["demo", str(out), "--address", "here"]) == 2
    assert "not this demo's (it holds flac)" in capsys.readouterr().err
    assert sorted(out.rglob("*")) == before


def test_an_installation_without_the_assets_says_so(material, bundle, tmp_path, capsys):
    bundle(replace(material, lm=tmp_path / "gone.bin"))
    assert main(["demo", str(tmp_path / "out")]) == 2
    told = capsys.readouterr().err.splitlines()
    assert len(told) == 1
    assert told[0].startswith(f"nightshift: {tmp_path}/gone.bin is not there: this nightshift was installed without")
    assert not (tmp_path / "out").exists()


def heard(name: str, reference: str, greedy: str, with_lm: str, speaker: str = "v") -> Transcribed:
    def decoded(text: str) -> Decoded:
        return Decoded(text, count_words(reference, text), count_characters(reference, text))

    return Transcribed(name, speaker, 3.0, reference, decoded(greedy), decoded(with_lm))


def test_samples_are_chosen_by_their_place_among_all():
    """And not by how they look; ties are settled by the greedy errors, then by name."""
    reference = "A B C D"
    made = [heard(f"{n}", reference, " ".join("AXXX"[: n % 4]) or "A", reference[: 2 * n + 1]) for n in range(4)]
    made += [heard("9", reference, reference, reference), heard("8", reference, "A", reference)]
    # With the model: 3, 2, 1, 0 words of 4 are wrong, and none in the two last; greedily none and three.
    by_errors = ["9", "3", "8", "2", "1", "0"]
    order = [one.name for one in sorted(made, key=lambda one: by_errors.index(one.name))]
    assert order == by_errors
    assert [one.name for one in samples(made)] == [by_errors[1], by_errors[2], by_errors[4]]
    assert [one.name for one in samples(made[::-1])] == [one.name for one in samples(made)]
    assert samples([]) == []
    assert [one.name for one in samples(made[:1])] == ["0"]


def test_of_few_speakers_there_is_no_interval_and_that_is_said(shown, capsys):
    made = [heard(str(n), "A B", "A C", "A B", speaker=str(n % 4)) for n in range(40)]
    assert compare(made, "word").gain.interval is None
    demo_show.demo(replace(shown, outcome=outcome(made)))
    assert "fewer than 5 speakers" in capsys.readouterr().out


def test_a_difference_that_may_be_none_is_called_so(shown, capsys):
    """Two ways that err as often must not look like a success of one."""
    made = [heard(str(n), "A B", *(("A C", "A B") if n % 2 else ("A B", "A C")), speaker=str(n)) for n in range(20)]
    demo_show.demo(replace(shown, outcome=outcome(made)))
    assert "no sure difference" in capsys.readouterr().out
    better = [heard(str(n), "A B", "A C", "A B", speaker=str(n)) for n in range(20)]
    demo_show.demo(replace(shown, outcome=outcome(better)))
    assert "no sure difference" not in capsys.readouterr().out


WORDS = st.lists(st.sampled_from(["ONE", "TWO", "THREE", "IT'S"]), max_size=8).map(" ".join)


@given(WORDS, WORDS)
def test_from_the_differences_both_texts_can_be_read(reference, text):
    """Whatever colour the terminal has; and nothing is marked that is equal."""
    shown = differences(reference, text)
    said = re.sub(r"\[([^>]*)>[^]]*\]", r"\1", shown)
    told = re.sub(r"\[[^>]*>([^]]*)\]", r"\1", shown)
    assert (said.split(), told.split()) == (reference.split(), text.split())
    assert ("[" in shown) == (reference != text)


def test_neighbouring_errors_are_one_difference():
    assert differences("SHE SOLD TWO ROWS OF PEARS", "SHE SOLD TO ROSE OF THE PEARS") == (
        "SHE SOLD [TWO ROWS>TO ROSE] OF [>THE] PEARS"
    )
