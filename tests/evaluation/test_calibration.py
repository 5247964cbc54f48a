"""Confidences against an independent formulation, and that simulated ones are found to be as they were made."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.evaluation.calibration import NUM_BINS, Counts, count
from pipeline.evaluation.rows import Level
from tests.evaluation.scored_rows import Pair, parts, table

SURE = st.none() | st.floats(0, 1, width=32)
HEARD = st.lists(st.tuples(st.sampled_from(["one", "two", "three"]), SURE), max_size=6)
SAID = st.lists(st.sampled_from(["one", "two", "three"]), max_size=6)


def pair(number: int, said: list[str], heard: list[tuple[str, float | None]], sure: float | None = None) -> Pair:
    confidences = [confidence for _, confidence in heard]
    return Pair(f"r{number}", " ".join(said), " ".join(word for word, _ in heard), sure, confidences)


def spread(rights: np.ndarray, confidences: np.ndarray) -> pa.Table:
    """Recordings of ten words that are right or wrong, as sure as told."""
    pairs = []
    for number, (right, sure) in enumerate(zip(rights.reshape(-1, 10), confidences.reshape(-1, 10), strict=True)):
        heard = [
            (f"w{place}" if one else "x", float(c)) for place, (one, c) in enumerate(zip(right, sure, strict=True))
        ]
        pairs.append(pair(number, [f"w{place}" for place in range(10)], heard))
    return table(pairs)


def theirs(confidences: np.ndarray, right: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
    """By scipy: how many, mean confidence and share that is right, by bin; and the expected calibration error."""
    stats = pytest.importorskip("scipy.stats")
    found = [
        stats.binned_statistic(confidences, values, statistic, NUM_BINS, range=(0, 1)).statistic
        for values, statistic in ((right, "count"), (confidences, "mean"), (right, "mean"))
    ]
    num, confidence, share = found
    return num, confidence, share, float(np.nansum(num * np.abs(share - confidence)) / num.sum())


@given(st.lists(st.tuples(SAID, HEARD), max_size=8))
@settings(deadline=None)
def test_words_are_those_heard_each_with_its_own_confidence(pairs):
    """Whatever was deleted or inserted around them; a word nobody is sure of counts nothing."""
    import jiwer

    confidences, right = [], []
    for said, heard in pairs:
        (chunks,) = jiwer.process_words(" ".join(said), " ".join(word for word, _ in heard)).alignments
        for chunk in chunks:
            for place in range(chunk.hyp_start_idx, chunk.hyp_end_idx):
                if heard[place][1] is not None:
                    confidences.append(heard[place][1])
                    right.append(chunk.type == "equal")
    found = count(table([pair(number, *one) for number, one in enumerate(pairs)])).calibration()
    if not confidences:
        assert found is None
        return
    num, confidence, share, error = theirs(np.array(confidences), np.array(right, float))
    assert found.of == "words" and found.error == pytest.approx(error)
    assert [one.num for one in found.bins] == num.tolist()
    assert [(one.low, one.high) for one in found.bins] == [
        pytest.approx((place / NUM_BINS, (place + 1) / NUM_BINS)) for place in range(NUM_BINS)
    ]
    for one, mean, rate in zip(found.bins, confidence, share, strict=True):
        assert not one.num or (one.confidence, one.correct) == (pytest.approx(mean), pytest.approx(rate))


def test_confidences_that_are_what_they_say_have_no_error_and_others_that_by_which_they_are_off():
    rng = np.random.default_rng(0)
    chances = rng.uniform(0, 1, 20_000)
    right = rng.random(20_000) < chances
    assert count(spread(right, chances)).calibration().error < 0.02
    for off in (0.1, 0.3):
        low = rng.uniform(0, 1 - off, 10_000)
        assert count(spread(rng.random(10_000) < low, low + off)).calibration().error == pytest.approx(off, abs=0.015)
        assert count(spread(rng.random(10_000) < low + off, low)).calibration().error == pytest.approx(off, abs=0.015)


def test_counts_of_parts_are_added_up_and_rows_that_were_not_scored_are_passed_over():
    rng = np.random.default_rng(1)
    whole = spread(rng.random(500) < 0.8, rng.random(500))
    failed = table([Pair("failed", "one two", None)])
    ours = sum(map(count, [*parts(whole, 7), failed, failed.slice(0, 0)]), Counts()).calibration()
    expected = count(whole).calibration()
    assert ours.error == pytest.approx(expected.error)
    assert [one.num for one in ours.bins] == [one.num for one in expected.bins]
    assert Counts().calibration() is None


def test_where_no_word_is_sure_of_itself_recordings_are_compared():
    """By the share of the words heard that is right; one in which none was heard has no such share."""
    rows = [("a b", "a b", 0.95), ("a b c", "a x y", 0.35), ("a", "a x x x", 0.32), ("a", "", 0.1), ("a", "a", None)]
    found = count(table([Pair(str(n), *one) for n, one in enumerate(rows)])).calibration()
    assert found.of == "recordings"
    shares, sure = np.array([1, 1 / 3, 1 / 4]), np.array([0.95, 0.35, 0.32])
    num, _, _, error = theirs(sure, shares)
    assert [one.num for one in found.bins] == num.tolist() and found.error == pytest.approx(error)
    assert found.bins[3].correct == pytest.approx((1 / 3 + 1 / 4) / 2)
    assert (found.bins[0].num, found.bins[0].confidence, found.bins[0].correct) == (0, 0.05, 0.0)


def test_confidences_of_other_words_are_found_out():
    """They would be given to the wrong ones without a word."""
    with pytest.raises(ValueError, match="word_confidences are not those of the words"):
        count(table([Pair("a", "one two", "one two", None, [0.5])]))


def test_recordings_of_phones_are_as_sure_as_those_of_words():
    """Phones themselves have no confidences in scored rows, whatever words had."""
    pairs = [Pair(str(number), "h ə l oʊ", "h ə l l oʊ"[: 2 * number + 1], 0.1 * number) for number in range(5)]
    found = count(table(pairs, Level.PHONES), Level.PHONES).calibration()
    assert found is not None and found.of == "recordings"
    assert found == count(table(pairs)).calibration()
    sure = [replace(one, word_confidences=[0.5] * len((one.text or "").split())) for one in pairs]
    assert count(table(sure, Level.PHONES), Level.PHONES).calibration() == found
