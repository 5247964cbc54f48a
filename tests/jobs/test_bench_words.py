"""`nightshift bench words`: its figures are claims, so what it compares must be alike and what it chooses right."""

import importlib.util
import json
import sysconfig
from pathlib import Path

import jiwer
import numpy as np
import pytest

from jobs import bench_material, bench_words_measure
from jobs.__main__ import main
from jobs.bench_material import Sample
from jobs.bench_measure import Said
from jobs.bench_words_measure import Flashlight, Lexicon, Row, Width, fastest_no_worse
from pipeline.decode.options import LmWeights, SearchOptions
from pipeline.decode.phones.search import Pronunciation
from pipeline.demo import sentences
from pipeline.demo.phones import DIFFICULTIES, LABELS, simulate
from pipeline.text.espeak import available

HAS_RIVAL = not bench_words_measure.missing()
needs_espeak = pytest.mark.skipif(available() is not None, reason=available() or "")
WIDTHS = (SearchOptions(20, -10.0, -12.0), SearchOptions(60, -14.0, -12.0))


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """A folder with the text of a few modules, because that of all packages takes a minute."""
    folder = tmp_path_factory.mktemp("bench")
    paths = sorted(Path(sysconfig.get_paths()["stdlib"]).glob("[a-d]*.py"))
    found = [s for path in paths for text in sentences.prose(path.read_text()) for s in sentences.sentences(text)]
    bench_material.write_text(folder, sentences.split(found))
    return folder


@pytest.fixture
def bench(work, capsys, monkeypatch):
    monkeypatch.setattr(bench_words_measure, "ALPHAS", (0.8,))
    monkeypatch.setattr(bench_words_measure, "OUR_WIDTHS", WIDTHS)

    def run(*arguments):
        code = main(["bench", "words", "--work", str(work), "--num-utterances", "3", "--difficulty", "mid", *arguments])
        return (code, *capsys.readouterr())

    return run


@needs_espeak
def test_the_whole_of_it_ends_in_one_json_object(bench):
    code, stdout, stderr = bench()
    assert code == 0, stderr
    figures = json.loads(stdout.splitlines()[-1])
    assert set(figures["measured"]) == set(figures["greedy_phone_errors"]) == {"mid"}
    rows = figures["measured"]["mid"]["rows"]
    widths = [f"{width.beam}/{width.labels}/{width.threshold:g}" for width in bench_words_measure.THEIR_WIDTHS]
    assert [(row["decoder"], row["width"]) for row in rows] == [
        *(("native", width) for width in ("20/-10/-12", "60/-14/-12")),
        *(("flashlight-text", width) for width in widths * HAS_RIVAL),
    ]
    for row in rows:
        assert row["audio_s_per_cpu_s"] > 0 and row["interval"][0] <= row["wer"] <= row["interval"][1]
    assert [one["theirs"] for one in figures["measured"]["mid"]["comparisons"]] == widths * HAS_RIVAL
    assert set(figures["weights"]) == {"native", *["flashlight-text"] * HAS_RIVAL}
    for told in ("mid: ", "of phones wrong by the best path (aim 7.7%)", "audio s / CPU s", "20/-10/-12"):
        assert told in stdout


@needs_espeak
def test_without_the_rival_ours_is_measured_alone_and_the_way_to_it_is_told(bench, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "flashlight" else find(name))
    code, stdout, stderr = bench()
    assert code == 0, stderr
    assert (
        "Not compared with flashlight-text, as flashlight-text is not installed: pip install flashlight-text" in stdout
    )
    figures = json.loads(stdout.splitlines()[-1])
    assert figures["missing"] == ["flashlight-text"]
    assert {row["decoder"] for row in figures["measured"]["mid"]["rows"]} == {"native"}
    assert json.loads(bench("--json")[1]).keys() == figures.keys()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--num-utterances", "0"], "--num-utterances must be at least 1"),
        (["--difficulty", "noisy"], "--difficulty noisy is of `bench decode`; here there are clean, mid"),
        (["--soak"], "--soak is an option of `bench decode`"),
    ],
)
def test_options_that_cannot_be(capsys, arguments, told):
    assert main(["bench", "words", *arguments]) == 2
    assert told in capsys.readouterr().err


def test_the_fastest_of_ours_is_taken_that_is_no_worse():
    their = Row("flashlight-text", "50/10/15", 100.0, 0.1, (0.0, 0.2))
    ours = [Row("native", str(wer), speed, wer, (0.0, 1.0)) for speed, wer in ((900, 0.11), (700, 0.1), (800, 0.09))]
    assert fastest_no_worse([*ours, their], their) == ours[2]
    assert fastest_no_worse([ours[0], their], their) is None


@pytest.mark.skipif(not HAS_RIVAL, reason="needs flashlight-text and kenlm: pip install flashlight-text kenlm")
def test_the_rival_is_used_as_it_should_be(work):
    """A rival that is held back would make every claim too good: clear emissions are said back word for word."""
    lm = str(bench_material.language_model_of(work, bench_material.text_of(work)))
    text = bench_material.utterances(work, 1)[0]
    words = {
        word: tuple(4 + (hash_ + at) % 60 for at in range(4)) for hash_, word in enumerate(dict.fromkeys(text.split()))
    }
    lexicon = [Pronunciation(word, labels) for word, labels in words.items()]
    easy = DIFFICULTIES["clean"].__class__(0, (0, 0), 0, (1, 1), 0.1, 0, 1, 1, 0)
    emissions = simulate([words[word] for word in text.split()], easy, 1)
    decode = Flashlight(lm, lexicon).decoder(Width(50, 10, 15.0), LmWeights(alpha=0.8, beta=0.5))
    assert decode([emissions, np.asfortranarray(emissions)]) == [Said(text, None)] * 2


@needs_espeak
def test_phone_errors_are_those_of_the_best_path():
    lexicon = Lexicon(["HELLO", "WORLD"], ["HELLO WORLD THERE"])
    assert {one.word for one in lexicon.entries} == {"HELLO", "WORLD"}  # THERE is said, but cannot be found
    sample = lexicon.sample("mid", ["HELLO WORLD THERE"] * 20, 0)
    spoken = [LABELS[label] for word in ("HELLO", "WORLD", "THERE") for label in lexicon.spoken[word]]
    heard = []
    for emissions in sample.emissions:
        best = emissions.argmax(axis=1)
        heard.append([LABELS[label] for label in best[np.append(True, best[1:] != best[:-1])] if label > 3])
    expected = jiwer.wer([" ".join(spoken)] * 20, [" ".join(one) for one in heard])
    assert 0 < bench_words_measure.greedy_errors(sample, lexicon) == pytest.approx(expected)


def test_weights_are_those_with_the_fewest_word_errors():
    sample = Sample("mid", ["A B"], [np.zeros((5, 64), np.float32)])

    def decoder(weights):
        right = (weights.alpha, weights.beta) == (1.1, 1.5)
        return lambda block: [Said("A B" if right else "A", None)] * len(block)

    assert bench_words_measure._best("native", [sample, sample], decoder) == LmWeights(alpha=1.1, beta=1.5)
