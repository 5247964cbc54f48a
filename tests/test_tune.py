"""Tuning on emissions made so that only the language model can tell: it must find that, and say no more than is so."""

import json
import math
import re
import tomllib
from xml.etree import ElementTree

import numpy as np
import pyarrow as pa
import pytest

from jobs import tune as job
from jobs.__main__ import main
from pipeline import config as configuration
from pipeline import run as runs
from pipeline.decode.fit import misfits
from pipeline.decode.settings import settle
from pipeline.errors import UsageError
from pipeline.heatmap import heat_map
from pipeline.request import run_with_emissions
from pipeline.run import find
from pipeline.sources.entries import Entry
from pipeline.store import Folder
from pipeline.text.vocabulary import Vocabulary
from pipeline.tune import LEAST, Setting, Trial, Tuned, sample
from pipeline.unit import Unit
from pipeline.write import Writer
from tests.doubles import Made

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
    make_run(folder / "run", {"models": []})
    return folder


def make_run(folder, decoding):
    config = configuration.Config().as_dict()
    told = {"vocabulary": runs.vocabulary_as_dict(VOCABULARY), "decoding": decoding, "config": config}
    entries = [Entry(f"r{n}", f"r{n}.wav", duration_s=1.0, reference=sentence(n)) for n in range(NUM_RECORDINGS)]
    run = runs.prepare(Folder(str(folder)), {"input": "made"}, Made(entries, unit_s=8.0), told)
    rng = np.random.default_rng(0)
    for info in run.manifest.units():
        unit = run.load(Unit(info.id))
        for recording in unit.recordings:
            recording.emissions, recording.frame_s = emissions_of(recording.reference, rng), 0.02
            recording.duration_s, recording.text = 1.0, "?"
        Writer(run, keep_emissions=True)(unit)


GRID = ["--alphas", "0,0.4,0.8", "--betas=0,1", "--beam-widths", "4,16", "--prunings=-10:-5"]


def test_the_language_model_is_found_to_help(made, capsys):
    arguments = ["tune", str(made / "run"), "--lm", str(made / "lm.arpa"), *GRID]
    out, plot = made / "tuned.toml", made / "map.svg"
    # Without `--set` the configured weights do as well, and there is nothing to find.
    assert main([*arguments, "--set", "decode.alpha=0", "--out", str(out), "--plot", str(plot)]) == 0
    printed = capsys.readouterr()
    assert "no better than what is configured" not in printed.out
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


def test_texts_are_normalised_on_both_sides(made, capsys):
    """On one side alone every word would be an error: the normaliser writes lower case, the model upper."""
    pytest.importorskip("whisper_normalizer", reason="whisper-normalizer is not installed")
    arguments = ["tune", str(made / "run"), "--lm", str(made / "lm.arpa"), *GRID, "--json"]
    found = []
    for normalizer in ("none", "basic"):
        assert main([*arguments, "--set", f"score.normalizer={normalizer}"]) == 0
        result = json.loads(capsys.readouterr().out)
        found.append([(trial["alpha"], trial["beta"], trial["wer"]) for trial in result["trials"]])
    assert found[0] == found[1] and min(found[0])[2] < 1


def test_what_is_configured_is_tried_and_kept_where_nothing_is_better(made, capsys):
    arguments = ["tune", str(made / "run"), "--lm", str(made / "lm.arpa"), "--refinements", "0"]
    # The grid is bad on purpose, and so far away that no climb comes back from it.
    bad = ["--alphas", "0", "--betas=-90", "--beam-widths", "4", "--prunings=-1:-1"]
    assert main([*arguments, *bad, "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    configured = {name: result["before"][name] for name in result["chosen"]}
    assert configured["alpha"] == 0.5 and configured["beam_width"] == 100
    assert any(configured.items() <= trial.items() for trial in result["trials"])
    assert result["after"]["wer"] <= result["before"]["wer"] == 0.0
    assert result["is_better"] is False
    assert main([*arguments, *bad]) == 0
    told = "# no better than what is configured, as far as 20 recordings can tell: keep it"
    assert told in capsys.readouterr().out.splitlines()


@pytest.mark.parametrize(
    ("before", "after", "speed", "told"),
    [
        ([2] * 10, [1] * 10, 1.0, None),
        ([1] * 10, [1] * 10, 1.0, "as far as 10 recordings can tell: keep it"),
        ([1] * 10, [2] * 10, 1.0, "as far as 10 recordings can tell: keep it"),
        ([0, 0, 0, 0, 0, 0, 0, 2, 2, 2], [0, 0, 0, 0, 0, 0, 2, 2, 1, 0], 1.0, "can tell: keep it"),
        ([1] * 10, [1] * 10, 0.5, "can tell: but that is slower than --min-speed"),
    ],
)
def test_a_gain_that_may_be_none_is_told_as_none(before, after, speed, told):
    setting = Setting(100, -10.0, -5.0, 0.5, 1.5)
    words = np.full(10, 5)
    old, new = Trial(setting, np.array(before), words, speed), Trial(setting, np.array(after), words, 1.0)
    lines = [line for line in job._report(Tuned([new], [new], setting, old, new), 0.8) if "no better" in line]
    assert (told is None) == (not lines) and all(told in line for line in lines)


def test_the_printed_settings_hold_in_every_working_directory(made, monkeypatch, capsys):
    monkeypatch.chdir(made)
    (made / "words.txt").write_text("AB\nAC\nDE\nED\n")
    words = ["--set", "decode.unigrams=words.txt", "--set", "decode.hotwords=words.txt"]
    # An infinity is written otherwise in TOML than in JSON.
    width = ["--beam-widths", "4", "--set", "decode.beam_prune_logp=-inf", "--set", "decode.lm_shares=[1.0]"]
    assert main(["tune", "run", "--lm", "lm.arpa", *GRID, *words, *width]) == 0
    told = tomllib.loads(capsys.readouterr().out)["decode"]
    assert told["lm"] == [str(made / "lm.arpa")]
    assert told["unigrams"] == told["hotwords"] == str(made / "words.txt")


def test_a_literal_is_toml():
    for value in (-math.inf, 1e-7, 0.5, 3, True, 'a "b"', ("x", "y"), (0.25, 0.75)):
        read = tomllib.loads(f"value = {job._literal(value)}")["value"]
        assert read == (list(value) if isinstance(value, tuple) else value)


def test_the_language_model_of_the_run_is_taken_and_must_still_be_that(made, tmp_path, capsys):
    lm, words = tmp_path / "lm.arpa", tmp_path / "words.txt"
    lm.write_text(ARPA)
    words.write_text("AB\nAC\nDE\nED\n")
    decoding = settle(configuration.DecodeConfig(lm=(str(lm),), unigrams=str(words)), VOCABULARY)
    make_run(tmp_path / "run", decoding.as_dict())
    arguments = ["tune", str(tmp_path / "run"), *GRID]
    assert main(arguments) == 0
    told = tomllib.loads(capsys.readouterr().out)["decode"]
    assert told["lm"] == [str(lm)] and told["unigrams"] == str(words)
    words.write_text("AB\nAC\nDE\n")
    assert main(arguments) == 2
    assert f"{words} is no longer what {tmp_path / 'run'} was decoded with" in capsys.readouterr().err
    assert main([*arguments, "--set", f"decode.unigrams={words}"]) == 0
    lm.write_text(ARPA.replace("-0.1\tDE AB", "-0.3\tDE AB"))
    capsys.readouterr()
    assert main(arguments) == 2
    assert f"{lm} is no longer what {tmp_path / 'run'} was decoded with" in capsys.readouterr().err
    assert main([*arguments, "--lm", str(lm)]) == 0


def test_a_language_model_that_does_not_fit_is_warned_of_as_decode_does(made, tmp_path, capsys):
    lm = tmp_path / "lower.arpa"
    lm.write_text("".join(line if line[:1] in "\\n" else line.lower() for line in ARPA.splitlines(keepends=True)))
    settings = settle(configuration.DecodeConfig(lm=(str(lm),)), VOCABULARY)
    (warning,) = misfits(settings, VOCABULARY)
    assert main(["tune", str(made / "run"), "--lm", str(lm), *GRID]) == 0
    assert f"nightshift: warning: {warning}" in capsys.readouterr().err


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
        (["--lm", "LM", "--set", "score.normalizer=bassic"], "score.normalizer = bassic: "),
        (["--decoder", "greedy"], "decode.decoder = greedy: tuning is the native decoder's"),
        (["--lm", "LM", *GRID, "--min-speed", "1e12"], "no setting reaches 1,000,000,000,000 times real time"),
    ],
)
def test_what_cannot_be_tuned_is_told(made, capsys, arguments, told):
    arguments = [str(made / "lm.arpa") if argument == "LM" else argument for argument in arguments]
    assert main(["tune", str(made / "run"), *arguments]) == 2
    assert told in capsys.readouterr().err


@pytest.mark.parametrize("flag", ["--out", "--plot"])
def test_a_target_that_cannot_be_written_is_told_before_the_search(made, capsys, monkeypatch, flag):
    monkeypatch.setattr("pipeline.tune.tune", lambda *_: pytest.fail("searched"))
    arguments = ["tune", str(made / "run"), "--lm", str(made / "lm.arpa"), flag]
    assert main([*arguments, str(made / "gone/x")]) == 2
    assert f"{flag} {made}/gone/x: there is no folder {made}/gone" in capsys.readouterr().err
    assert main([*arguments, str(made)]) == 2
    assert f"{flag} {made} is a folder" in capsys.readouterr().err


def test_the_result_is_printed_even_if_it_cannot_be_written(made, capsys):
    arguments = ["tune", str(made / "run"), "--lm", str(made / "lm.arpa"), *GRID, "--out", "/dev/full"]
    assert main(arguments) == 1
    printed = capsys.readouterr()
    assert "/dev/full" in printed.err or "No space left" in printed.err
    assert tomllib.loads(printed.out)["decode"]["decoder"] == "native"


@pytest.mark.parametrize(
    ("argument", "told"),
    [
        ("--num-recordings=1", "'1' is no whole number from 4 on"),
        ("--num-recordings=0", "'0' is no whole number from 4 on"),
        ("--num-recordings=-3", "'-3' is no whole number from 4 on"),
        ("--num-recordings=many", "'many' is no whole number from 4 on"),
        ("--seed=-1", "'-1' is no whole number from 0 on"),
        ("--refinements=-1", "'-1' is no whole number from 0 on"),
        ("--beam-widths=0", "'0' is no whole number from 1 on"),
        ("--beam-widths=25,2.5", "'2.5' is no whole number from 1 on"),
        ("--alphas=nan", "'nan' is no finite number"),
        ("--alphas=0.5,", "'' is no finite number"),
        ("--alphas=-0.5", "'-0.5' is below 0"),
        ("--betas=1,inf", "'inf' is no finite number"),
        ("--prunings=-10", "'-10' is no pair"),
        ("--prunings=-10:nan", "'nan' is no finite number"),
        ("--prunings=10:-5", "'10' is above 0"),
        ("--min-speed=nan", "'nan' is no finite number"),
    ],
)
def test_a_senseless_argument_is_refused_by_its_name(capsys, argument, told):
    with pytest.raises(SystemExit) as stopped:
        main(["tune", "nowhere", argument])
    assert stopped.value.code == 2
    assert f"argument {argument.partition('=')[0]}: {told}" in capsys.readouterr().err


def test_both_halves_must_have_words(made, monkeypatch, capsys):
    assert job.LEAST == LEAST
    heard = sample(run_with_emissions(str(made / "run")), LEAST, 0)
    for silent in ((0, 1), (2, 3)):
        some = [one._replace(reference=" ") if place in silent else one for place, one in enumerate(heard)]
        monkeypatch.setattr("pipeline.tune.sample", lambda *_, some=some: some)
        assert main(["tune", str(made / "run"), "--lm", str(made / "lm.arpa"), *GRID]) == 2
        assert "half of the 4 recordings drawn have no word in any reference" in capsys.readouterr().err


def test_a_run_without_references_cannot_be_tuned(made):
    run = find(str(made / "run"))

    class Unscored:
        folder, commits = run.folder, run.commits

        def read_part(self, commit):
            table = run.read_part(commit)
            place = table.schema.get_field_index("reference")

            return table.set_column(place, "reference", pa.nulls(len(table), pa.string()))

    with pytest.raises(UsageError, match="tuning needs recordings with references, 4 or more, and has found 0"):
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
