"""Evaluations of models that write phones: the same figures as of words, called by their name, on every way out."""

import json
import re
from pathlib import Path
from typing import Any

import jiwer
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.__main__ import main
from pipeline.evaluation.results import Confusion, Report
from pipeline.evaluation.rows import Level
from pipeline.records import ErrorCounts, Recording
from pipeline.run import find
from pipeline.write import read_parts
from tests.evaluation.made_runs import PHONEMES, failed, heard, made, request_of, said_and_heard, scored
from tests.evaluation.scored_rows import alignment
from tests.evaluation.test_evaluate import done
from tests.report.test_page import check

SAID = ("h ə l oʊ", "l oʊ", "h ə h ə l", "oʊ l ə h ə l oʊ")


def recordings(num: int = 36, wrong: int = 3) -> list[Recording]:
    """Some without their last phone, and some of these with another first one."""
    made = []
    for n in range(num):
        said = SAID[n % 4].split()
        phones = said[:-1] if n % wrong == 0 else said
        phones = ["x", *phones[1:]] if n % (2 * wrong) == 0 else phones
        sure = {"confidence": n / num, "duration_s": 1.0 + n}
        made.append(said_and_heard(f"r{n}", " ".join(said), " ".join(phones), **sure))
    return made


def speakers(num: int = 36) -> dict[str, list[str]]:
    return {"speaker": [f"s{n % 18}" for n in range(num)]}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two of phones, and one of words of the same recordings."""
    folder = tmp_path_factory.mktemp("runs")
    made(folder / "base", recordings(), vocabulary=PHONEMES, columns=speakers())
    made(folder / "large", recordings(wrong=7), vocabulary=PHONEMES, columns=speakers())
    words = [heard(one.id, one.reference, "as it is") for one in recordings()]
    made(folder / "words", words, columns=speakers())
    return [folder / name for name in ("base", "large", "words")]


@pytest.fixture(scope="module")
def report(runs: list[Path]) -> Report:
    return done(*runs, out=runs[0].parent / "out", group="speaker", num_worst=3)


def texts(run: Path) -> tuple[list[str], list[str]]:
    """What was said and what was heard, as the run itself has it."""
    rows = read_parts(find(str(run))).to_pylist()
    return [row["reference_phones"] for row in rows], [" ".join(one["phone"] for one in row["phones"]) for row in rows]


# ---- rows


PHONES = st.lists(st.sampled_from(["h", "ə", "l", "oʊ", "\u0303", "a\u3000b"]), max_size=6).map(" ".join)


def counts_of(row: dict[str, Any]) -> list[int | None]:
    return [row[name] for name in ("word_hits", "char_hits", *Level.PHONES.counts)]


@settings(max_examples=15)
@given(st.lists(st.tuples(PHONES.map(str.split).map(" ".join), PHONES), min_size=1, max_size=8))
def test_phones_are_aligned_as_jiwer_aligns_them_and_counted_as_the_run_has_counted_them(
    pairs: list[tuple[str, str]],
) -> None:
    """Of the references as the run has said them; a label with a space in it is two phones there, too."""
    recordings = [said_and_heard(str(number), *pair) for number, pair in enumerate(pairs)]
    run = made("memory://phones/run", [*recordings, failed("failed", "hello")], vocabulary=PHONEMES, unit_s=30.0)
    try:
        rows = scored(request_of(run, "memory://phones/out"))
        assert [counts_of(row) for row in rows] == [counts_of(row) for row in read_parts(run).to_pylist()]
        for row, (said, heard_phones) in zip(rows[:-1], pairs, strict=True):
            assert (row["reference_phones"], row["heard_phones"]) == (said, " ".join(heard_phones.split()))
            assert row["phone_alignment"] == alignment(jiwer.process_words(said, row["heard_phones"]))
            assert row["word_alignment"] is row["normalized_text"] is None
        assert {rows[-1][name] for name in ("reference_phones", "heard_phones", "phone_alignment", "phone_hits")} == {
            None
        }
    finally:
        run.folder.files.rm("/phones", recursive=True)


# ---- figures


def test_all_figures_are_of_phones(runs: list[Path], report: Report) -> None:
    for one, run in zip(report.evaluations, runs[:2], strict=False):
        theirs = jiwer.process_words(*texts(run))
        assert (one.judged_by, one.rate.value, one.rates.wer.value) == (Level.PHONES, theirs.wer, None)
        expected = ErrorCounts(theirs.hits, theirs.substitutions, theirs.deletions, theirs.insertions)
        assert one.errors == one.phones == expected
        assert sum((part.errors for part in one.slices if part.column == "speaker"), ErrorCounts()) == expected
        assert [num for *_, num in one.histogram] != [36, *[0] * 11] and sum(num for *_, num in one.histogram) == 36
        assert len(one.points) == 36
        assert one.confusions.deletions and not one.char_confusions.deletions
        assert one.calibration is not None and one.calibration.of == "recordings"
    base, _, words = report.evaluations
    worst = base.worst[0]
    assert (worst.id, worst.said, worst.heard, worst.alignment) == ("r0", "h ə l oʊ", "x ə l", "1S2=1D")
    assert worst.errors == ErrorCounts(2, 1, 1, 0)
    assert base.confusions.substitutions == (Confusion("h", "x", 6),)
    assert (words.judged_by, words.rate) == (Level.WORDS, words.rates.wer)
    assert report.judged_by is Level.WORDS  # of which one at least has some


def test_two_runs_of_phones_are_compared_and_one_of_words_is_not(runs: list[Path], report: Report) -> None:
    phones, words = report.comparisons
    rates = [jiwer.wer(*texts(run)) for run in runs[:2]]
    assert (phones.level, phones.num_common, phones.resampled) == (Level.PHONES, 36, "speaker")
    assert (phones.first_rate.value, phones.second_rate.value) == (pytest.approx(rates[0]), pytest.approx(rates[1]))
    assert phones.difference.value == pytest.approx(rates[1] - rates[0])
    assert phones.difference.interval is not None and phones.p_bootstrap is not None
    assert {one.first.said for one in phones.most_different} <= set(SAID)
    assert (words.num_common, words.difference.value) == (0, None)


@pytest.mark.usefixtures("report")
def test_what_is_kept_names_what_it_is_of(runs: list[Path]) -> None:
    kept = json.loads((runs[0].parent / "out/evaluation.json").read_text())
    assert [one["judged_by"] for one in kept["evaluations"]] == ["phones", "phones", "words"]
    base = kept["evaluations"][0]
    assert {"said", "heard", "alignment", "errors"} <= base["worst"][0].keys()
    assert base["points"][0].keys() == {"duration_s", "confidence", "rate"}
    assert base["slices"][0]["rate"]["value"] == base["slices"][0]["errors"]["rate"]
    assert [one["level"] for one in kept["comparisons"]] == ["phones", "words"]


@pytest.mark.usefixtures("report")
def test_pages_speak_of_phones(runs: list[Path], tmp_path: Path) -> None:
    out = runs[0].parent / "out"
    text = check((out / "base/report.html").read_text()).text
    assert "phone error rate" in text and "PER 50.00% 1 substituted, 1 deleted in 4 phones" in text
    assert "Phone error rate by slice" in text and "another phone was heard" in text
    assert "Recordings by phone error rate" in text and "Mean PER" in text
    assert "Phones substituted" in text and "Those with the most phone errors" in text
    assert not re.findall(r"WER|CER|[Ww]ord error|characters wrong|Characters|No words", text)
    text = check((out / "report.html").read_text()).text
    assert "The phone error rate of large is" in text and "PER of base" in text
    assert "no recording with words in its reference was scored in words by both" in text
    assert "Runs are judged by different things: phones; words." in text
    done(*runs[:2], out=tmp_path / "two")
    text = check((tmp_path / "two/report.html").read_text()).text
    assert "Phone error rate of each run" in text and not re.findall("WER|CER|[Ww]ord error|judged by", text)


def test_the_screen_speaks_of_phones(runs: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = ["--out", str(tmp_path / "out"), "--no-audio", "--address", "here"]
    assert main(["evaluate", *map(str, runs[:2]), *out]) == 0
    told = capsys.readouterr().out
    assert len(re.findall(r"^phone error rate  +\d", told, re.MULTILINE)) == 2  # of each, and beside each other
    assert "word" not in told and "character" not in told and "undefined" not in told
    assert "large beside base, by 36 recordings that both have scored:" in told
    assert main(["evaluate", str(runs[0]), str(runs[2]), *out]) == 0
    told, warned = capsys.readouterr()
    assert "words beside base: no recording has words that both have scored alike." in told
    assert "0 recordings are compared by words, and left out are 36 more of base, 36 more of words" in warned
