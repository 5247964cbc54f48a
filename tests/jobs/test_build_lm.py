"""`nightshift build-lm` as it is typed: which file it writes and when not, what it says, how it ends."""

import json
import random
import subprocess
import sys
from pathlib import Path

import pytest

from jobs.__main__ import main

TEXT = Path(__file__).parents[1] / "lm/estimated/text.txt"


@pytest.fixture
def build(tmp_path, capsys):
    """In this process: exit code, stdout, stderr."""

    def run(*arguments: str, out: Path | str = tmp_path / "out.arpa"):
        try:
            code = main(["build-lm", str(TEXT), str(out), "--order", "3", *arguments])
        except SystemExit as error:  # argparse's own way out
            code = error.code
        return (code, *capsys.readouterr())

    return run


def test_it_says_what_it_made_and_how_well_that_foretells(build, tmp_path):
    code, told, progress = build("--prune", "0", "0", "1", "--perplexity", str(TEXT))
    assert code == 0
    assert "3-grams     55 of 151, discounts 0.5854 1.5868 1.2439" in told
    assert "251 words in 37 sentences" in told
    assert "smoothing" in progress and "Traceback" not in progress
    code, told, _ = build("--prune", "0,0,1", "--perplexity", str(TEXT), "--json", "--overwrite")
    figures = json.loads(told)
    assert figures["orders"][2]["num_kept"] == 55
    assert figures["perplexity"]["num_unknown"] == 0
    assert figures["perplexity"]["with_unknown"] == figures["perplexity"]["without_unknown"]
    assert figures["bytes"] == (tmp_path / "out.arpa").stat().st_size


def test_perplexities_are_those_of_kenlm(build, tmp_path):
    kenlm = pytest.importorskip("kenlm")
    held_out = tmp_path / "held-out.txt"
    lines = ["the night train is nowhere", "", "guard of the unheard the train", "is all quiet"] * 3
    held_out.write_text("\n".join(lines))
    _, told, _ = build("--perplexity", str(held_out), "--json")
    found = json.loads(told)["perplexity"]
    model = kenlm.Model(str(tmp_path / "out.arpa"))
    scores = [(score, unknown) for line in lines for score, _, unknown in model.full_scores(line)]
    known = [score for score, unknown in scores if not unknown]
    assert (found["num_tokens"], found["num_unknown"]) == (len(scores), len(scores) - len(known))
    assert found["with_unknown"] == pytest.approx(10 ** (-sum(score for score, _ in scores) / len(scores)), rel=1e-6)
    assert found["without_unknown"] == pytest.approx(10 ** (-sum(known) / len(known)), rel=1e-6)


@pytest.mark.parametrize("name", ["out.bin", "out.binary", "out.arpa.gz"])
def test_every_format_holds_the_same_model(build, tmp_path, name):
    from pipeline.lm.model import LanguageModel

    build()
    code, _, stderr = build(out=tmp_path / name)
    assert code == 0, stderr
    plain, other = (LanguageModel.open(str(tmp_path / each)) for each in ("out.arpa", name))
    words = plain.words()
    assert sorted(words) == sorted(other.words())
    chance = random.Random(0)
    for _ in range(100):
        sentence = " ".join(chance.choices(words[3:], k=6))
        assert plain.score(sentence) == other.score(sentence)


def test_a_model_that_is_there_stays_unless_told_otherwise(build, tmp_path):
    (tmp_path / "out.arpa").write_text("mine")
    code, _, stderr = build()
    assert code == 2
    assert "out.arpa exists; set --overwrite to replace it" in stderr
    assert (tmp_path / "out.arpa").read_text() == "mine"
    assert build("--overwrite")[0] == 0
    assert (tmp_path / "out.arpa").read_text().startswith("\\data\\")


def test_nothing_is_left_where_it_fails(build, tmp_path, monkeypatch):
    (tmp_path / "out.arpa").write_text("mine")
    (tmp_path / "temp").mkdir()

    def fail(path, words, orders):
        path.write_text("half of it")
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr("pipeline.lm.estimate.output.write_arpa", fail)
    code, _, stderr = build("--overwrite", "--temp", str(tmp_path / "temp"))
    assert code == 2
    assert f"{tmp_path / 'out.arpa'}: No space left on device" in stderr
    assert (tmp_path / "out.arpa").read_text() == "mine"
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["out.arpa", "temp"]


def test_models_go_to_object_storage_too(build):
    import fsspec

    assert build(out="memory://models/out.arpa")[0] == 0
    assert fsspec.filesystem("memory").cat("/models/out.arpa").startswith(b"\\data\\\nngram 1=39\n")
    assert "exists" in build(out="memory://models/out.arpa")[2]


@pytest.mark.parametrize(
    ("arguments", "out", "told"),
    [
        ([], "out.lm", "ends in .arpa, .arpa.gz, .bin, .binary"),
        ([], "file/out.arpa", "cannot be written: its folder is a file"),
        ([], "folder.bin", "a folder; name a file"),
        (["--temp", "/nowhere"], "out.bin", "/nowhere: No such file or directory; set --temp"),
        (["--vocab", "nowhere.txt"], "out.bin", "nowhere.txt: no such text file"),
        (["--vocab", "empty.txt"], "out.bin", "no words in it"),
        (["--perplexity", "nowhere.txt"], "out.bin", "nowhere.txt: no such text file"),
        (["--prune", "0", "2", "1"], "out.bin", "must not fall from one order to the next"),
        (["--prune", "0", "text"], "out.bin", "give --prune after TEXT and OUT"),
        (["--memory", "much"], "out.bin", "'much' is no size"),
        (["--memory", "10"], "out.bin", "--memory must be at least 1MB"),
        (["--order", "9"], "out.bin", "--order must be from 2 to 6"),
        (["--order", "6", "--limit-vocab", "0"], "out.bin", "--limit-vocab"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line_before_the_work(build, tmp_path, monkeypatch, arguments, out, told):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    (tmp_path / "empty.txt").touch()
    (tmp_path / "folder.bin").mkdir()
    code, _, stderr = build(*arguments, out=out)
    assert code == 2
    assert told in stderr.splitlines()[-1]
    assert "Traceback" not in stderr and "adjusting" not in stderr


def test_the_vocabulary_can_be_limited_to_a_file_and_to_the_most_frequent(build, tmp_path):
    (tmp_path / "vocabulary.txt").write_text("the train\nguard coffee")
    build("--vocab", str(tmp_path / "vocabulary.txt"), "--limit-vocab", "2", "--json")
    arpa = (tmp_path / "out.arpa").read_text()
    assert "ngram 1=5\n" in arpa and "\tthe\t" in arpa and "\ttrain\t" in arpa


def test_text_comes_through_a_pipe(tmp_path):
    command = [sys.executable, "-m", "jobs", "build-lm", "-", str(tmp_path / "out.arpa"), "--order", "2"]
    done = subprocess.run(command, input=TEXT.read_bytes(), capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
    assert (tmp_path / "out.arpa").exists()
