"""The table of a suite: rates by dataset, of all recordings and of all datasets, each with an interval of its own."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from pipeline.evaluation.datasets import MEAN, TOGETHER, by_dataset
from pipeline.evaluation.results import Rate
from pipeline.evaluation.scores import Coverage, Errors, Scores
from pipeline.intervals import Groups, bootstrap

UNKNOWN = np.zeros(0)


def scores_of(datasets: Sequence[str], errors: Sequence[int], totals: Sequence[int]) -> Scores:
    """Recordings with so many words substituted of so many."""
    wrong, none = np.array(errors), np.zeros(len(errors), np.int64)
    counts = Errors(np.array(totals) - wrong, wrong, none, none)
    ids = pa.array([str(number) for number in range(len(errors))])
    columns = pa.table({"dataset": pa.array(datasets, pa.string())})
    return Scores(Coverage(), ids, counts, counts, None, None, UNKNOWN, UNKNOWN, UNKNOWN, columns)


def drawn(seed: int) -> tuple[list[str], np.ndarray, np.ndarray]:
    """A large dataset that is easy, and a small one that is hard."""
    rng = np.random.default_rng(seed)
    totals = rng.integers(5, 25, 400)
    datasets = ["easy"] * 360 + ["hard"] * 40
    return datasets, rng.binomial(totals, np.repeat([0.05, 0.4], [360, 40])), totals


def test_rates_are_those_of_the_recordings_of_each_dataset_and_the_mean_weighs_datasets_alike():
    scores = scores_of(["b", "a", "b", "a"], [1, 2, 3, 0], [10, 5, 10, 5])
    table = by_dataset({"run": (scores, Groups.each(4))}, ["a", "b"])
    assert {row: cells["run"].value for row, cells in table.items()} == {
        "a": 2 / 10,
        "b": 4 / 20,
        TOGETHER: 6 / 30,
        MEAN: pytest.approx((2 / 10 + 4 / 20) / 2),
    }
    assert list(table) == ["a", "b", TOGETHER, MEAN]
    assert all(cells["run"].interval is None for cells in table.values())  # of four recordings


def test_intervals_are_those_of_the_recordings_of_each_dataset_alone():
    datasets, errors, totals = drawn(1)
    table = by_dataset({"run": (scores_of(datasets, errors, totals), Groups.each(400))}, ["easy", "hard"])
    for name, those in (("easy", slice(0, 360)), ("hard", slice(360, 400)), (TOGETHER, slice(None))):
        ours, theirs = table[name]["run"].interval, bootstrap(errors[those], totals[those])
        width = theirs.high - theirs.low
        assert ours == (pytest.approx(theirs.low, abs=0.08 * width), pytest.approx(theirs.high, abs=0.08 * width))


def test_the_mean_s_interval_is_that_of_drawing_within_each_dataset():
    """By draws of recordings, one by one."""
    datasets, errors, totals = drawn(2)
    table = by_dataset({"run": (scores_of(datasets, errors, totals), Groups.each(400))}, ["easy", "hard"])
    rng, means = np.random.default_rng(3), []
    for _ in range(4000):
        rates = []
        for start, end in ((0, 360), (360, 400)):
            chosen = rng.integers(start, end, end - start)
            rates.append(errors[chosen].sum() / totals[chosen].sum())
        means.append(np.mean(rates))
    low, high = np.percentile(means, [2.5, 97.5])
    ours = table[MEAN]["run"].interval
    assert ours == (pytest.approx(low, abs=0.08 * (high - low)), pytest.approx(high, abs=0.08 * (high - low)))


def test_groups_are_drawn_whole_also_where_they_are_in_several_datasets():
    """Of two datasets the mean is surer than either, being two samples of one thing; not if each speaker is in both."""
    _, errors, totals = drawn(4)
    errors, totals = np.tile(errors[360:], 2), np.tile(totals[360:], 2)
    scores = scores_of(["a"] * 40 + ["b"] * 40, errors, totals)
    each = by_dataset({"run": (scores, Groups.each(80))}, ["a", "b"])
    widths = {row: cells["run"].interval.high - cells["run"].interval.low for row, cells in each.items()}
    assert widths[MEAN] == pytest.approx(widths["a"] / np.sqrt(2), rel=0.1)
    both = by_dataset({"run": (scores, Groups.of([n % 40 for n in range(80)]))}, ["a", "b"])
    widths = {row: cells["run"].interval.high - cells["run"].interval.low for row, cells in both.items()}
    assert widths[MEAN] == pytest.approx(widths["a"], rel=0.05)
    by_ten = by_dataset({"run": (scores, Groups.of([n // 10 for n in range(80)]))}, ["a", "b"])
    assert by_ten["a"]["run"].interval is None  # four groups each
    assert by_ten[MEAN]["run"].interval is None
    assert by_ten[TOGETHER]["run"].interval is not None


def test_a_dataset_that_only_one_run_has_scored_leaves_the_other_without_a_mean():
    """It would stand beside a mean of other datasets."""
    datasets, errors, totals = drawn(5)
    full, half = scores_of(datasets, errors, totals), scores_of(datasets[:360], errors[:360], totals[:360])
    table = by_dataset({"full": (full, Groups.each(400)), "half": (half, Groups.each(360))}, ["easy", "hard"])
    assert table["hard"]["half"].value is table[MEAN]["half"].value is table[MEAN]["half"].interval is None
    assert table["easy"]["half"] == table["easy"]["full"]
    assert table[TOGETHER]["half"].value == table["easy"]["half"].value
    assert table[MEAN]["full"].value is not None


def test_a_dataset_that_no_run_has_scored_has_no_rate_and_is_in_no_mean():
    """Such as one without references."""
    datasets, errors, totals = drawn(6)
    scored = {"run": (scores_of(datasets, errors, totals), Groups.each(400))}
    with_it, without = by_dataset(scored, ["easy", "none", "hard"]), by_dataset(scored, ["easy", "hard"])
    assert with_it["none"]["run"] == Rate(None)
    assert with_it[MEAN]["run"].value == without[MEAN]["run"].value
    assert with_it[MEAN]["run"].interval is not None


def test_of_one_dataset_there_is_nothing_to_sum_up():
    scores = scores_of(["a"] * 4, [1, 2, 3, 0], [10, 5, 10, 5])
    assert list(by_dataset({"run": (scores, Groups.each(4))}, ["a"])) == ["a"]


def test_of_runs_of_phones_the_table_has_phone_error_rates():
    """Also of one that has made words of them."""
    datasets, errors, totals = drawn(1)
    words, groups = scores_of(datasets, errors, totals), Groups.each(400)
    nothing = Errors(*np.zeros((4, 400), np.int64))
    phones, both = (
        replace(words, words=nothing, phones=words.words),
        replace(words, words=words.chars, phones=words.words),
    )
    expected = by_dataset({"run": (words, groups)}, ["easy", "hard"])
    for row, cells in by_dataset({"run": (phones, groups), "lexicon": (both, groups)}, ["easy", "hard"]).items():
        assert cells["run"] == cells["lexicon"] == expected[row]["run"]
    mixed = by_dataset({"run": (phones, groups), "words": (words, groups)}, ["easy", "hard"])
    assert mixed[MEAN] == {"run": Rate(None), "words": expected[MEAN]["run"]}
