"""Intervals against scipy's, that a difference is an interval of its own, and that p is what it is called."""

from functools import lru_cache

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline import intervals
from pipeline.intervals import NUM_RESAMPLES, Groups, bootstrap, interval, p_value, ratio, resampled, resampled_rate

WIDTHS = 0.08  # of an interval: how far the seeds of ours and of the oracle's 20,000 resamples move its ends


def counts(num: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    words = rng.integers(1, 30, num)
    return rng.binomial(words, rng.beta(1, 6, num)), words  # errors of one recording come together


@lru_cache
def oracle(errors, words):
    """Of tuples."""
    stats = pytest.importorskip("scipy.stats")

    def rate(errors, words, axis=-1):
        return errors.sum(axis=axis) / words.sum(axis=axis)

    return stats.bootstrap(
        (errors, words), rate, paired=True, n_resamples=20_000, method="percentile", rng=np.random.default_rng(1)
    ).confidence_interval


def scipy_interval(errors, words):
    found = oracle(tuple(errors.tolist()), tuple(words.tolist()))
    near = WIDTHS * (found.high - found.low)
    return pytest.approx(found.low, abs=near), pytest.approx(found.high, abs=near)


@pytest.fixture(params=["cells", "both", "one by one"])
def way(request, monkeypatch):
    """However recordings are drawn: as of many, few or no others with the same numbers."""
    if request.param != "cells":
        monkeypatch.setattr(intervals, "FEW_CELLS", 0)
        monkeypatch.setattr(intervals, "RARE", 2 if request.param == "both" else 1000)
    return request.param


@pytest.mark.parametrize("num", [30, 400])
def test_intervals_are_those_of_scipy(num, way):
    assert bootstrap(*counts(num)) == scipy_interval(*counts(num))


def test_intervals_over_groups_are_those_of_scipy_over_their_sums(way):
    """And wider than over recordings, where those of a group fail together."""
    rng, (errors, words) = np.random.default_rng(2), counts(400)
    codes = np.sort(rng.integers(0, 25, 400))
    errors = np.minimum(words, errors + words * (codes % 5 == 0) // 2)
    sums = np.array([(errors[codes == code].sum(), words[codes == code].sum()) for code in range(25)])
    ours = bootstrap(errors, words, Groups.of(pa.array(codes).cast(pa.string())))
    assert ours == scipy_interval(*sums.T)
    alone = bootstrap(errors, words)
    assert ours.high - ours.low > 1.5 * (alone.high - alone.low)


def test_every_resample_has_as_many_recordings_as_there_are(way):
    """In several blocks and chunks; and each is drawn as often as another."""
    num = 10_000
    columns = np.stack([np.ones(num), np.arange(num) // 3, np.arange(num) < 4096], axis=1).astype(np.int64)
    sums = resampled(columns)
    assert sums.shape == (NUM_RESAMPLES, 3) and (sums[:, 0] == num).all()
    expected, spread = columns.sum(axis=0), columns.std(axis=0) * np.sqrt(num)
    assert np.abs(sums.mean(axis=0) - expected)[1:] / spread[1:] == pytest.approx(0, abs=4 / np.sqrt(NUM_RESAMPLES))
    assert sums.std(axis=0)[1:] / spread[1:] == pytest.approx(1, abs=4 / np.sqrt(2 * NUM_RESAMPLES))
    together = np.corrcoef(sums[:, 1], sums[:, 2])[0, 1]
    assert together == pytest.approx(np.corrcoef(columns[:, 1], columns[:, 2])[0, 1], abs=0.1)


def test_drawing_one_by_one_gives_the_distribution_of_drawing_cells(monkeypatch):
    stats = pytest.importorskip("scipy.stats")
    errors, words = counts(6_000)
    by_cells = resampled_rate(errors, words, seed=1)
    monkeypatch.setattr(intervals, "FEW_CELLS", 0)
    for rare in (20, 10**6):
        monkeypatch.setattr(intervals, "RARE", rare)
        assert stats.ks_2samp(by_cells, resampled_rate(errors, words, seed=2)).pvalue > 0.01


def test_chunks_do_not_show(monkeypatch, way):
    errors, words = counts(300)
    whole = bootstrap(errors, words)
    monkeypatch.setattr(intervals, "CHUNK", 40_000)
    assert bootstrap(errors, words) == whole


def test_numbers_of_any_size_are_told_apart():
    """What keys of rows are made of must not wrap round."""
    rng = np.random.default_rng(0)
    large = rng.choice(np.array([-(2**40), 0, 1, 2**40]), (50, 4))
    found, num = intervals._cells(large)
    theirs, times = np.unique(large, axis=0, return_counts=True)
    assert sorted(zip(found.tolist(), num.tolist(), strict=True)) == list(
        zip(theirs.tolist(), times.tolist(), strict=True)
    )


def test_the_same_recordings_give_the_same_interval_and_few_give_a_wide_one(way):
    errors, words = counts(50)
    assert bootstrap(errors, words) == bootstrap(errors, words) != bootstrap(errors, words, seed=1)
    assert bootstrap(np.array([0, 5]), np.array([5, 5])) == (0.0, 1.0)


def test_a_difference_that_is_sure_is_surer_than_the_rates():
    errors, words = counts(200)
    worse = errors + (words > 10)
    low, high = bootstrap(worse - errors, words)
    assert 0 < low < high < bootstrap(errors, words).high


def test_resamples_without_a_word_are_no_rate_of_zero():
    errors, words = np.array([1, 0, 0, 0, 0]), np.array([2, 0, 0, 0, 0])
    assert bootstrap(errors, words) == (0.5, 0.5)
    assert np.isnan(ratio(np.array([1.0]), np.array([0.0])))


@given(st.lists(st.none() | st.sampled_from(["", "a", "b"]), max_size=30), st.data())
def test_groups_are_of_equal_values_and_who_has_none_is_alone(values, data):
    """An empty cell of a table of texts is no speaker."""
    groups = Groups.of(pa.array(values, pa.string()))
    values = [value or None for value in values]
    assert groups.num == len(set(values) - {None}) + values.count(None)
    for i, one in enumerate(values):
        assert 0 <= groups.codes[i] < groups.num
        for j, other in enumerate(values):
            assert (groups.codes[i] == groups.codes[j]) == (i == j or (one == other is not None))
    chosen = np.array(data.draw(st.lists(st.booleans(), min_size=len(values), max_size=len(values))), bool)
    some = Groups.of(pa.array(values, pa.string()).filter(pa.array(chosen)))
    assert groups.at(chosen).num == some.num
    columns = np.arange(2 * len(values)).reshape(-1, 2)
    assert groups.sums(columns).sum(axis=0).tolist() == columns.sum(axis=0).tolist()
    assert sorted(groups.at(chosen).sums(columns[chosen]).tolist()) == sorted(some.sums(columns[chosen]).tolist())


def test_groups_are_of_columns_of_any_make():
    """Dictionaries with values that nobody has, that are there twice or null; chunks with dictionaries of their own."""
    odd = pa.DictionaryArray.from_arrays(pa.array([2, 2, None, 0, 3, 4, 4]), pa.array(["a", "b", "c", "a", None]))
    assert Groups.of(odd).codes.tolist() == [0, 0, 2, 1, 1, 3, 4]
    chunks = pa.chunked_array([pa.array(["a", "b"]).dictionary_encode(), pa.array(["b", "c"]).dictionary_encode()])
    assert Groups.of(chunks).codes.tolist() == Groups.of(["a", "b", "b", "c"]).codes.tolist() == [0, 1, 1, 2]
    assert Groups.of(pa.chunked_array([], pa.string())).num == Groups.of([]).num == 0
    assert Groups.of([True, False, None, True]).num == 3 and Groups.of(pa.nulls(3)).num == 3
    uuids = pa.ExtensionArray.from_storage(pa.uuid(), pa.array([b"a" * 16, b"b" * 16, b"a" * 16], pa.binary(16)))
    assert Groups.of(uuids).codes.tolist() == [0, 1, 0]


@pytest.mark.parametrize("kind", [pa.float16(), pa.float32(), pa.float64()])
def test_no_number_is_no_value_and_zero_has_no_sign(kind):
    """What another library has written of speakers by number, some of them unknown."""
    values = pa.array(np.array([0.0, -0.0, np.nan, 2.5, np.nan, 2.5], kind.to_pandas_dtype()), kind)
    codes = Groups.of(values).codes
    assert codes[0] == codes[1] != codes[3] == codes[5] and Groups.of(values).num == 4


def test_p_is_1_of_no_difference_and_never_0():
    assert p_value(np.zeros(NUM_RESAMPLES)) == 1
    assert 0 < p_value(np.ones(NUM_RESAMPLES)) == p_value(-np.ones(NUM_RESAMPLES)) < 0.002


def test_p_is_uniform_where_there_is_no_difference_and_small_where_there_is():
    """Of 400 pairs of systems that err as often; and below 0.05 just where the interval leaves zero out."""
    stats = pytest.importorskip("scipy.stats")
    rng, words = np.random.default_rng(0), np.full(150, 10)
    found = []
    for _ in range(400):
        errors, others = rng.binomial(10, rng.beta(1, 8, 150), (2, 150))
        draws = resampled_rate(others - errors, words)
        found.append(p_value(draws))
        low, high = interval(draws)
        assert (found[-1] < 0.05) == (low > 0 or high < 0) or found[-1] == pytest.approx(0.05, abs=0.02)
    assert stats.kstest(found, "uniform").pvalue > 0.01
    better = resampled_rate(rng.binomial(10, 0.1, 150) - rng.binomial(10, 0.2, 150), words)
    assert p_value(better) < 0.01


@pytest.mark.parametrize("seed", range(5))
def test_p_is_that_of_a_paired_t_test_where_means_are_normal(seed):
    stats = pytest.importorskip("scipy.stats")
    rng = np.random.default_rng(seed)
    differences = rng.integers(-3, 4, 400) + (rng.random(400) < 0.1)
    ours = p_value(resampled_rate(differences, np.full(400, 10)))
    assert ours == pytest.approx(stats.ttest_1samp(differences, 0).pvalue, abs=0.06)
