"""`nightshift bench words`: its figures are claims, so what it compares must be alike and what it chooses right."""

import importlib.util
import json
import sysconfig
from pathlib import Path

import jiwer
import numpy as np
import pytest

from jobs import bench_material, bench_measure, bench_words, bench_words_measure, bench_words_sides
from jobs.__main__ import main
from jobs.bench_material import Sample
from jobs.bench_measure import Said
from jobs.bench_words_measure import Pair, measure, pairs
from jobs.bench_words_sides import Flashlight, Lexicon, Width
from pipeline.decode.options import LmWeights, SearchOptions
from pipeline.decode.phones.pronunciation import Pronunciation
from pipeline.demo import sentences
from pipeline.demo.phones import DIFFICULTIES, LABELS, simulate
from pipeline.text.espeak import available

HAS_RIVAL = not bench_words_sides.missing()
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
    widths = ["50/10/15", "50/10/25", "100/10/15", "100/10/25", "500/10/15", "500/10/25"] * HAS_RIVAL
    assert [row["width"] for row in rows] == ["20/-10/-12", "60/-14/-12", *widths]
    assert {row["decoder"] for row in rows[:2]} == {"native"}
    assert {row["decoder"] for row in rows[2:]} <= {"flashlight-text", "flashlight-text, log-add"}
    for row in rows:
        assert row["audio_s_per_cpu_s"] > 0 and row["interval"][0] <= row["wer"] <= row["interval"][1]
    found = figures["measured"]["mid"]
    named = {f"{row['decoder']} {row['width']}" for row in rows[2:]}
    assert {one["theirs"] for one in found["comparisons"]} | set(found["unmatched"]) == named
    assert set(figures["weights"]) == {"native", *["flashlight-text", "flashlight-text, log-add"] * HAS_RIVAL}
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


# ---- what stands beside what


@pytest.fixture
def decoders(monkeypatch):
    """Decoders that take as many CPU seconds and make as many errors as they are told."""
    clock = [0.0]
    monkeypatch.setattr(bench_measure.time, "process_time", lambda: clock[0])
    monkeypatch.setattr(bench_words_measure, "THEIR_WIDTHS", (Width(50, 10, 15.0), Width(50, 10, 25.0)))

    def named(of):
        def decoder(cpu_s, num_wrong):
            def decode(block):
                clock[0] += cpu_s
                return [Said("A B C D" if at >= num_wrong else "A B C", None) for at in range(len(block))]

            return decode

        return {name: decoder(*told) for name, told in of.items()}

    return named


def utterances(num):
    return Sample("mid", ["A B C D"] * num, [np.zeros((50, 64), np.float32)] * num)


THEIRS = {
    "flashlight-text 50/10/15": (10.0, 3),
    "flashlight-text, log-add 50/10/15": (11.0, 2),
    "flashlight-text 50/10/25": (30.0, 1),
    "flashlight-text, log-add 50/10/25": (20.0, 1),
}


def test_beside_the_better_of_flashlights_stands_the_fastest_of_ours_with_no_more_errors(decoders):
    """A rival at less than its best, or one of ours that is worse, would make the claim too good."""
    ours = {"native 1": (1.0, 3), "native 2": (3.0, 2), "native 3": (2.0, 2), "native 4": (4.0, 0)}
    assert pairs(utterances(10), decoders({**ours, **THEIRS})) == [
        Pair("flashlight-text, log-add 50/10/15", "native 3"),
        Pair("flashlight-text, log-add 50/10/25", "native 4"),
    ]
    assert pairs(utterances(10), decoders({"native 1": (1.0, 2), **THEIRS}))[1].ours is None
    assert pairs(utterances(10), decoders(ours)) == []


def test_ours_is_not_chosen_by_the_utterances_that_are_measured(decoders, capsys):
    """And where it has more errors there, that is said."""
    chosen = [Pair("flashlight-text, log-add 50/10/15", "native 1"), Pair("flashlight-text 50/10/25", None)]
    found = measure(utterances(40), decoders({"native 1": (1.0, 3), "native 2": (2.0, 0), **THEIRS}), chosen)
    assert [(row.decoder, row.width, row.wer) for row in found.rows] == [
        *(("native", "1", 6 / 160), ("native", "2", 0.0)),  # of two blocks
        *(("flashlight-text, log-add", "50/10/15", 4 / 160), ("flashlight-text", "50/10/25", 2 / 160)),
    ]
    (one,) = found.comparisons
    assert (one.theirs, one.ours, one.times.median, one.difference) == (
        *("flashlight-text, log-add 50/10/15", "native 1", 11.0),
        pytest.approx(2 / 160),
    )
    assert 0 <= one.interval[0] < one.difference < one.interval[1] < 6 / 160
    assert found.unmatched == ["flashlight-text 50/10/25"]
    bench_words._Report(quiet=False).measured(utterances(40), 0.0, found)
    told = capsys.readouterr().out
    assert "50/10/15, log-add  1" in told and "more errors than theirs" in told
    assert "flashlight-text 50/10/25: on other utterances every width of ours has more word errors." in told


@pytest.mark.skipif(not HAS_RIVAL, reason="needs flashlight-text and kenlm: pip install flashlight-text kenlm")
@pytest.mark.parametrize("log_add", [False, True])
def test_the_rival_is_used_as_it_should_be(work, log_add):
    """A rival that is held back would make every claim too good: clear emissions are said back word for word."""
    lm = str(bench_material.language_model_of(work, bench_material.text_of(work)))
    text = bench_material.utterances(work, 1)[0]
    words = {
        word: tuple(4 + (hash_ + at) % 60 for at in range(4)) for hash_, word in enumerate(dict.fromkeys(text.split()))
    }
    lexicon = [Pronunciation(word, labels) for word, labels in words.items()]
    easy = DIFFICULTIES["clean"].__class__(0, (0, 0), 0, (1, 1), 0.1, 0, 1, 1, 0)
    emissions = simulate([words[word] for word in text.split()], easy, 1)
    decode = Flashlight(lm, lexicon).decoder(Width(50, 10, 15.0), log_add, LmWeights(alpha=0.8, beta=0.5))
    assert decode([emissions, np.asfortranarray(emissions)]) == [Said(text, None)] * 2


@pytest.mark.skipif(not HAS_RIVAL, reason="needs flashlight-text and kenlm: pip install flashlight-text kenlm")
def test_the_rival_sums_where_it_is_told_to(work):
    """One word has the likeliest way through two frames, the other three ways that are likelier together."""
    lm = str(bench_material.language_model_of(work, bench_material.text_of(work)))
    one_way, three_ways = list(dict.fromkeys(bench_material.utterances(work, 1)[0].split()))[:2]
    search = Flashlight(lm, [Pronunciation(one_way, (4, 5)), Pronunciation(three_ways, (6,))])
    emissions = np.full((2, len(LABELS)), -20.0, np.float32)
    emissions[[0, 1], [4, 5]] = np.log(0.4)
    emissions[:, [0, 6]] = np.log(0.3)
    weights = LmWeights(alpha=0.0, beta=0.0)
    said = [search.decoder(Width(50, 10, 15.0), log_add, weights)([emissions])[0].text for log_add in (False, True)]
    assert said == [one_way, three_ways]


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
