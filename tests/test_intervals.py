"""Intervals against scipy's, and that a difference is an interval of its own."""

import numpy as np
import pytest

from pipeline.intervals import bootstrap


def counts(num: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    words = rng.integers(1, 30, num)
    return rng.binomial(words, rng.beta(1, 6, num)), words  # errors of one recording come together


@pytest.mark.parametrize("num", [30, 400])
def test_intervals_are_those_of_scipy(num):
    stats = pytest.importorskip("scipy.stats")
    errors, words = counts(num)

    def rate(errors, words, axis=-1):
        return errors.sum(axis=axis) / words.sum(axis=axis)

    theirs = stats.bootstrap(
        (errors, words), rate, paired=True, n_resamples=20_000, method="percentile", rng=np.random.default_rng(1)
    ).confidence_interval
    ours = bootstrap(errors, words)
    width = theirs.high - theirs.low
    assert ours.low == pytest.approx(theirs.low, abs=0.08 * width)
    assert ours.high == pytest.approx(theirs.high, abs=0.08 * width)


def test_memory_is_bounded_and_chunks_do_not_show():
    errors, words = counts(6_000)
    low, high = bootstrap(errors, words)  # in three chunks
    rate = errors.sum() / words.sum()
    assert rate - 0.02 < low < rate < high < rate + 0.02


def test_the_same_recordings_give_the_same_interval_and_few_give_a_wide_one():
    errors, words = counts(50)
    assert bootstrap(errors, words) == bootstrap(errors, words)
    assert bootstrap(np.array([0, 5]), np.array([5, 5])) == (0.0, 1.0)


def test_a_difference_that_is_sure_is_surer_than_the_rates():
    errors, words = counts(200)
    worse = errors + (words > 10)
    low, high = bootstrap(worse - errors, words)
    assert 0 < low < high < bootstrap(errors, words).high
