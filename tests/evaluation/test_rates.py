"""Rates of many recordings against jiwer's of the same lists, and where there is none."""

from dataclasses import replace

import jiwer
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pipeline.errors import UsageError
from pipeline.evaluation.rates import groups_by, rates
from pipeline.evaluation.results import Rate
from pipeline.intervals import Groups
from tests.evaluation.scored_rows import Pair, scores, table

TEXTS = st.lists(st.sampled_from(["one", "two", "three", "it's"]), max_size=5).map(" ".join)
PAIRS = st.lists(st.tuples(TEXTS, TEXTS), min_size=1, max_size=12)


def made(pairs: list[tuple[str, str | None]], **columns: list[object]):
    told = [
        Pair(f"r{n}", reference, text, columns={name: values[n] for name, values in columns.items()})
        for n, (reference, text) in enumerate(pairs)
    ]
    return scores(table(told))


def spoken(num: int, seed: int = 0) -> list[tuple[str, str]]:
    rng = np.random.default_rng(seed)
    pairs = []
    for _ in range(num):
        said = [f"w{n}" for n in rng.integers(0, 50, rng.integers(1, 12))]
        share = rng.beta(1, 4)  # errors of one recording come together
        heard = [word if rng.random() > share else rng.choice(["x", "x y", ""]) for word in said]
        pairs.append((" ".join(said), " ".join(" ".join(heard).split())))
    return pairs


@given(PAIRS)
@example([("", "one"), ("", "")] * 5 + [("one", "two")])
@settings(max_examples=50, deadline=None)
def test_rates_are_those_that_jiwer_finds_in_the_whole_lists(pairs):
    """Not means of recordings' rates, and empty texts on either side count as they do there."""
    said, heard = map(list, zip(*pairs, strict=True))
    found, words, chars = made(pairs), jiwer.process_words(said, heard), jiwer.process_characters(said, heard)
    ours = rates(found, Groups.each(len(pairs)))
    if not any(text.split() for text in said):
        assert {ours.wer, ours.cer, ours.mer, ours.wil, ours.empty} == {Rate(None)}
        return
    assert (ours.wer.value, ours.mer.value) == (pytest.approx(words.wer), pytest.approx(words.mer))
    assert (ours.wil.value, ours.cer.value) == (pytest.approx(words.wil), pytest.approx(chars.cer))
    unheard = [not text for reference, text in pairs if reference]
    assert ours.empty.value == pytest.approx(np.mean(unheard))
    for one in (ours.wer, ours.cer, ours.wil, ours.empty):
        assert (one.interval is None) == (sum(map(bool, said)) < 5)  # with the others nothing varies


def test_intervals_of_rates_that_are_no_sums_are_those_of_scipy():
    """Within 8 % of the width, which the seeds of both move."""
    stats = pytest.importorskip("scipy.stats")
    found = made(spoken(80))
    words, ours = found.words, rates(found, Groups.each(80))

    def share(errors, totals, axis=-1):
        return errors.sum(axis=axis) / totals.sum(axis=axis)

    def lost(hits, said, heard, axis=-1):
        return 1 - hits.sum(axis=axis) ** 2 / (said.sum(axis=axis) * heard.sum(axis=axis))

    def told(statistic, *columns):
        found = stats.bootstrap(
            columns, statistic, paired=True, n_resamples=20_000, method="percentile", rng=np.random.default_rng(1)
        ).confidence_interval
        near = 0.08 * (found.high - found.low)
        return pytest.approx(found.low, abs=near), pytest.approx(found.high, abs=near)

    assert ours.wil.interval == told(lost, words.hits, words.num_reference, words.num_heard)
    assert ours.mer.interval == told(share, words.num_errors, words.num_reference + words.insertions)
    assert ours.cer.interval == told(share, found.chars.num_errors, found.chars.num_reference)
    assert ours.empty.interval == told(share, (words.num_heard == 0).astype(int), np.ones(80))


def test_failed_recordings_count_as_if_nothing_had_been_heard():
    """In no other rate. Of whom they are is not told, so that there is no interval."""
    pairs = spoken(20)
    failed = [(reference, None) for reference, _ in spoken(7, seed=1)]
    found = rates(made(pairs + failed), Groups.each(20))
    said, heard = zip(*pairs, *((reference, "") for reference, _ in failed), strict=True)
    assert found.failed_as_empty == Rate(pytest.approx(jiwer.wer(list(said), list(heard))))
    assert found.wer == rates(made(pairs), Groups.each(20)).wer
    assert rates(made(pairs), Groups.each(20)).failed_as_empty is None
    unscored = made(failed)
    phones = replace(unscored, coverage=unscored.coverage, phones=unscored.words)
    assert rates(phones, Groups.each(0)).failed_as_empty is None  # and not 100 %


def test_phones_and_the_best_of_several_are_rates_where_there_are_any():
    """A recording without phones has no part in their rate, and is no reason to have none."""
    found = made(spoken(20))
    assert (rates(found, Groups.each(20)).per, rates(found, Groups.each(20)).oracle_wer) == (None, None)
    words = found.words
    phones = type(words)(*(np.where(np.arange(20) < 9, column, 0) for column in words))
    with_both = rates(replace(found, phones=phones, oracle=words), Groups.each(20))
    assert with_both.per.value == pytest.approx(words.at(np.arange(9)).sum().rate)
    assert with_both.oracle_wer == with_both.wer


def test_what_is_resampled_is_a_column_of_the_run():
    """Recordings of one speaker are one unit, and a column that is not there is named with those that are."""
    pairs = spoken(40)
    alike = made(pairs, speaker=[f"s{n % 8}" for n in range(40)], tags=[["a"]] * 40)
    groups = groups_by(alike, "speaker")
    assert groups.num == 8 and groups_by(alike, None).num == 40
    doubled = made(pairs * 2, speaker=list(range(40)) * 2)  # everything twice, as of 40 and not of 80 recordings
    assert (
        rates(doubled, groups_by(doubled, "speaker")).wer.interval == rates(made(pairs), Groups.each(40)).wer.interval
    )
    few = made(pairs, speaker=[n % 4 for n in range(40)])
    assert rates(few, groups_by(few, "speaker")).wer.interval is None
    with pytest.raises(UsageError, match="by session: there is no such column; the run has passed through speaker"):
        groups_by(few, "session")
    with pytest.raises(UsageError, match="resampling by tags: it holds list"):
        groups_by(alike, "tags")


def test_of_no_recordings_there_is_no_rate():
    found = rates(made([]), Groups.each(0))
    assert {found.wer, found.cer, found.mer, found.wil, found.empty} == {Rate(None)}
