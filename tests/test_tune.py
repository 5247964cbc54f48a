"""Tuning on emissions made so that only the language model can tell: it must find that, and say no more than is so."""

import json
import re
import tomllib
from xml.etree import ElementTree

import numpy as np
import pytest

from jobs.__main__ import main
from pipeline import config as configuration
from pipeline import run as runs
from pipeline.errors import UsageError
from pipeline.heatmap import heat_map
from pipeline.manifest import units_of
from pipeline.read.entries import Entry, Piece
from pipeline.request import run_with_emissions
from pipeline.run import find
from pipeline.store import Folder
from pipeline.text.vocabulary import Vocabulary
from pipeline.tune import sample
from pipeline.unit import Unit
from pipeline.write import Writer

LABELS = ("<pad>", "|", *"ABCDE")
VOCABULARY = Vocabulary(LABELS, blank=0, delimiter=1, silent=frozenset({0}))
NUM_RECORDINGS = 40
# AB and AC sound alike; after DE the language model expects AB, after ED it expects AC.
ARPA = """\\data\\
ngram 1=7
ngram 2=4

\\1-grams:
-4\t<unk>
-99\t<s>\t0
-1\t</s>
-0.7\tAB\t0
-0.7\tAC\t0
-0.7\tDE\t0
-0.7\tED\t0

\\2-grams:
-0.1\tDE AB
-2\tDE AC
-2\tED AB
-0.1\tED AC

\\end\\
"""


class Made:
    """The input of a run whose emissions are made."""

    description = "made"

    def check(self):
        pass

    def freeze(self, manifest):
        entries = [Entry(f"r{n}", f"r{n}.wav", duration_s=1.0, reference=sentence(n)) for n in range(NUM_RECORDINGS)]
        read = configuration.ReadConfig(unit_s=8.0)

        class Source:
            def pieces(self):
                return (Piece([entry]) for entry in entries)

        import pyarrow as pa

        return manifest.write(units_of(Source(), read), pa.schema([]))


def sentence(number: int) -> str:
    return "DE AB ED AC" if number % 2 else "ED AC DE AB"


def emissions_of(text: str, rng: np.random.Generator) -> np.ndarray:
    """One frame a letter, B and C as likely by chance, and every letter followed by a blank."""
    logits = []
    for letter in text.replace(" ", "|"):
        row = rng.normal(0, 0.1, len(LABELS))
        row[LABELS.index(letter)] += 8
        if letter in "BC":
            row[[LABELS.index("B"), LABELS.index("C")]] = 8 + rng.normal(0, 0.7, 2)
        blank = rng.normal(0, 0.1, len(LABELS))
        blank[0] += 8
        logits += [row, blank]
    logits = np.array(logits)
    return (logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))).astype(np.float32)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A run with kept emissions and references, and a language model."""
    folder = tmp_path_factory.mktemp("tune")
    (folder / "lm.arpa").write_text(ARPA)
    told = {"vocabulary": runs.vocabulary_as_dict(VOCABULARY), "decoding": {"models": []}}
    run = runs.prepare(Folder(str(folder / "run")), {"input": "made"}, Made(), told)
    rng = np.random.default_rng(0)
    for info in run.manifest.units():
        unit = run.load(Unit(info.id))
        for recording in unit.recordings:
            recording.emissions, recording.frame_s = emissions_of(recording.reference, rng), 0.02
            recording.duration_s, recording.text = 1.0, "?"
        Writer(run, keep_emissions=True)(unit)
    return folder


GRID = ["--alphas", "0,0.4,0.8", "--betas=0,1", "--beam-widths", "4,16", "--prunings=-10:-5"]


def test_the_language_model_is_found_to_help(made, capsys):
    arguments = ["tune", str(made / "run"), "--lm", str(made / "lm.arpa"), *GRID]
    out, plot = made / "tuned.toml", made / "map.svg"
    assert main([*arguments, "--out", str(out), "--plot", str(plot)]) == 0
    printed = capsys.readouterr()
    assert tomllib.loads(printed.out) == tomllib.loads(out.read_text())
    tuned = configuration.load(str(out)).decode
    assert tuned.alpha > 0 and tuned.beam_width in (4, 16) and tuned.lm == (str(made / "lm.arpa"),)
    assert "On 20 other recordings, which chose nothing" in printed.out
    assert re.search(r"the choice +0\.00% ", printed.out)
    assert "only 40 recordings" in printed.err
    drawing = ElementTree.fromstring(plot.read_text())
    texts = [element.text for element in drawing.iter("{http://www.w3.org/2000/svg}text")]
    assert {"alpha", "beta", "0.4", "0.00%"} <= set(texts)
    assert main(["decode", str(made / "run"), str(made / "again"), "--config", str(out), "--address", "here"]) == 0
    assert json.loads((made / "again/summary.json").read_text())["wer"] == 0.0


def test_json_tells_every_setting_and_a_seed_repeats(made, capsys):
    arguments = ["tune", str(made / "run"), "--lm", str(made / "lm.arpa"), *GRID, "--num-recordings", "20", "--json"]
    results = []
    for _ in range(2):
        assert main(arguments) == 0
        results.append(json.loads(capsys.readouterr().out))
    for result in results:
        for trial in [*result["trials"], result["before"], result["after"]]:
            assert trial.pop("speed") > 0
    assert results[0] == results[1]
    trials = results[0]["trials"]
    assert [trial["wer"] for trial in trials] == sorted(trial["wer"] for trial in trials)
    assert {(0.0, 0.0), (0.4, 1.0), (0.8, 1.0)} <= {(trial["alpha"], trial["beta"]) for trial in trials}
    assert max(trial["wer"] for trial in trials if trial["alpha"] == 0) > 0.05
    assert all(trial["num_recordings"] == 10 for trial in trials)
    assert all(low <= trial["wer"] <= high for trial in trials for low, high in [trial["interval"]])


def test_the_sample_is_drawn_from_all_units_and_without_repetition(made):
    run = run_with_emissions(str(made / "run"))
    assert len(sample(run, 1000, 0)) == NUM_RECORDINGS
    some = sample(run, 10, 1)
    assert len({one.emissions.tobytes() for one in some}) == 10
    assert [one.emissions.tobytes() for one in some] == [one.emissions.tobytes() for one in sample(run, 10, 1)]
    assert [one.emissions.tobytes() for one in some] != [one.emissions.tobytes() for one in sample(run, 10, 2)]
    for one in some:
        assert len(one.emissions) == 2 * len(one.reference)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "no language model: give --lm"),
        (["--lm", "gone.arpa"], "gone.arpa: no such file"),
        (["--decoder", "greedy"], "decode.decoder = greedy: tuning is the native decoder's"),
        (["--lm", "LM", *GRID, "--min-speed", "1e12"], "no setting reaches 1,000,000,000,000 times real time"),
    ],
)
def test_what_cannot_be_tuned_is_told(made, capsys, arguments, told):
    arguments = [str(made / "lm.arpa") if argument == "LM" else argument for argument in arguments]
    assert main(["tune", str(made / "run"), *arguments]) == 2
    assert told in capsys.readouterr().err


def test_a_run_without_references_cannot_be_tuned(made):
    run = find(str(made / "run"))

    class Unscored:
        folder, commits = run.folder, run.commits

        def read_part(self, commit):
            table = run.read_part(commit)
            place = table.schema.get_field_index("reference")
            import pyarrow as pa

            return table.set_column(place, "reference", pa.nulls(len(table), pa.string()))

    with pytest.raises(UsageError, match="tuning needs recordings with references, and has found 0"):
        sample(Unscored(), 10, 0)


def test_a_map_shows_every_rate_at_its_place():
    rates = {(a, b): 0.1 * a + 0.01 * b for a in (1.0, 2.0, 3.0) for b in (1.0, 2.0)}
    drawing = ElementTree.fromstring(heat_map(rates, ("alpha", "beta"), "a < b", (1.0, 1.0)))
    texts = {
        element.text: (float(element.get("x")), float(element.get("y")))
        for element in drawing.iter("{http://www.w3.org/2000/svg}text")
    }
    assert {f"{rate:.2%}" for rate in rates.values()} <= set(texts)
    assert texts["11.00%"][0] < texts["31.00%"][0]  # alpha to the right
    assert texts["11.00%"][1] > texts["12.00%"][1]  # beta upwards
