"""Slices: counts that add up, and p-values as rare as they say, so that no slice is called worse in vain."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.evaluation import chance, slices
from pipeline.evaluation.chance import Permutations, p_by_signs
from pipeline.evaluation.results import Rate, Slice
from pipeline.evaluation.scores import Errors, Scores
from pipeline.evaluation.slices import holm, worst_slices
from pipeline.intervals import Groups, bootstrap
from pipeline.records import ErrorCounts
from tests.evaluation.counted import counted

Numbers = npt.NDArray[np.int64]
Rng = np.random.Generator


def heard(rng: Rng, hard: npt.NDArray[np.float64] | float, num: int = 400) -> tuple[Numbers, Numbers]:
    """Words and errors of recordings, of very different lengths, whose errors come together: some have most of them."""
    words = np.maximum(1, rng.lognormal(2.3, 0.8, num)).astype(np.int64)
    return words, rng.binomial(words, np.clip(0.1 * hard * rng.gamma(0.7, 1 / 0.7, num), 0, 1))


def named(codes: Any) -> list[str]:
    return [f"v{code}" for code in codes]


def by_name(scores: Scores, groups: Groups, *columns: str, **options: Any) -> dict[str, Slice]:
    return {one.value: one for one in slices.slices(scores, groups, columns or None, **options)}


def test_counts_are_those_of_the_recordings():
    words, errors, values = [10, 0, 5, 8], [3, 2, 9, 0], ["a", "b", "b", "a"]
    found = by_name(counted(words, errors, {"x": values}, duration_s=[1, np.nan, 2, 4]), Groups.each(4), "x")
    assert list(found) == ["a", "b"]
    assert (found["a"].num_recordings, found["a"].audio_s) == (2, 5.0) and found["b"].audio_s == 2.0
    assert found["a"].errors == ErrorCounts(15, 3, 0, 0) and found["b"].errors == ErrorCounts(0, 5, 0, 6)
    assert found["b"].chars == ErrorCounts(0, 25, 0, 30)
    assert found["a"].rate.value == 3 / 18 and found["b"].rate.value == found["b"].cer.value == 11 / 5
    assert found["a"].excess == 3 / 18 - 11 / 5
    assert found["a"].rate.interval is found["a"].p is found["a"].p_corrected is None  # of two recordings


@settings(deadline=None, max_examples=30)
@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9), st.integers(-1, 3), st.integers(0, 4)), min_size=8))
def test_slices_of_a_column_are_all_recordings_and_each_once(rows):
    words, errors, codes, speakers = np.array(rows).T
    values = [None if code < 0 else f"v{code}" for code in codes]
    scores = counted(words, errors, {"x": values}, duration_s=words + 1.0)
    found = slices.slices(scores, Groups.of(speakers.tolist()), ["x"])
    assert sum(one.num_recordings for one in found) == len(rows)
    assert sum((one.errors for one in found), ErrorCounts()) == scores.words.sum()
    assert sum((one.chars for one in found), ErrorCounts()) == scores.chars.sum()
    assert sum(one.audio_s for one in found) == sum(words + 1.0)
    for one in found:
        assert one.rate.value == one.errors.rate
        assert (one.p is None) == (one.p_corrected is None)
        if one.p is not None:
            assert one.excess is not None and 0 < one.p <= one.p_corrected <= 1


@pytest.mark.parametrize("by_speaker", [False, True])
def test_intervals_are_about_those_of_the_slice_alone(by_speaker):
    """Ours resample all recordings at once, so that the slice may be larger or smaller; others only what is in it."""
    rng = np.random.default_rng(0)
    speakers = rng.integers(0, 60, 3_000)
    words, errors = heard(rng, rng.gamma(4, 1 / 4, 60)[speakers], 3_000)
    codes = (rng.random(60) < 0.5)[speakers] if by_speaker else rng.random(3_000) < 0.3
    groups = Groups.of(speakers) if by_speaker else Groups.each(3_000)
    found = by_name(counted(words, errors, {"x": named(codes.astype(int))}), groups, "x")["v1"]
    assert found.rate.interval is not None
    low, high = bootstrap(errors[codes], words[codes], groups.at(codes))
    assert found.rate.interval.low == pytest.approx(low, abs=0.15 * (high - low))
    assert found.rate.interval.high == pytest.approx(high, abs=0.15 * (high - low))


# ---- chance


def over_spread(inside: npt.NDArray[np.bool_], errors: Numbers, words: Numbers) -> float:
    """What the permutation test compares, written down once more."""
    surplus = errors - words * errors.sum() / words.sum()
    variance = 0.0
    for side in (inside, ~inside):
        apart = side.sum() * surplus[side].var(ddof=1)
        share = max(words[side].sum() / words.sum(), (words[side] ** 2).sum() / (words**2).sum())
        variance += max(apart, (surplus**2).sum() * share) / words[side].sum() ** 2
    excess = errors[inside].sum() / words[inside].sum() - errors[~inside].sum() / words[~inside].sum()
    return excess / np.sqrt(variance) if excess else 0.0


@pytest.mark.parametrize("seed", range(4))
def test_p_of_a_permutation_test_is_scipy_s_over_all_permutations(seed):
    stats = pytest.importorskip("scipy.stats")
    rng = np.random.default_rng(seed)
    words, errors = heard(rng, 1.0, 11)
    inside = np.arange(11) < (5 if seed % 2 else 6)  # fewer in the slice, or out of it
    rng.shuffle(inside)

    def statistic(mine, others):  # scipy permutes the recordings' numbers between the two
        chosen = np.isin(np.arange(11), mine.astype(int))
        return over_spread(chosen, errors, words)

    theirs = stats.permutation_test(
        (np.flatnonzero(inside), np.flatnonzero(~inside)), statistic, n_resamples=np.inf, alternative="greater"
    ).pvalue
    permuted = Permutations(np.stack([errors, words], axis=1))
    ours = permuted.p(permuted.sums(inside.astype(np.int64), 2), 20_000, rng)[1]
    assert ours == pytest.approx(theirs, abs=4 * np.sqrt(0.25 / 20_000))


@pytest.mark.parametrize("seed", range(3))
def test_p_of_flipped_signs_is_scipy_s_over_all_flips(seed):
    stats = pytest.importorskip("scipy.stats")
    parts = np.random.default_rng(seed).normal(0.1, 1, 12)
    theirs = stats.permutation_test(
        (parts,), lambda x: x.sum(), permutation_type="samples", n_resamples=np.inf, alternative="greater"
    ).pvalue
    ours = p_by_signs(np.stack([parts, -parts], axis=1), 20_000, np.random.default_rng(0))
    assert ours[0] == pytest.approx(theirs, abs=4 * np.sqrt(0.25 / 20_000))
    assert ours.sum() == pytest.approx(1, abs=0.01)


def test_many_recordings_have_the_p_that_resampling_them_would_give(monkeypatch):
    """Beyond a limit the normal distribution is taken for the resamples, and may not find more than they would."""
    rng = np.random.default_rng(0)
    words, errors = heard(rng, 1.0, 4_000)
    errors[:700] += rng.binomial(words[:700], 0.02)
    counts = np.stack([errors, words], axis=1)
    permuted = Permutations(counts)
    sums = permuted.sums((np.arange(4_000) < 700).astype(np.int64), 2)
    drawn = permuted.p(sums, 5_000, rng)
    monkeypatch.setattr(chance, "DRAWN", 0)
    limit = permuted.p(sums, 5_000, rng)
    assert 0.0005 < drawn[1] < 0.05
    assert drawn[1] - 0.003 < limit[1] < 2 * drawn[1] + 0.003


def test_holm_s_correction_is_that_of_a_worked_example():
    """Of the encyclopedia's article on the method: at 0.05 the first and the last of these four are found."""
    found = holm(np.array([0.01, 0.04, np.nan, 0.03, 0.005]))
    assert found[[0, 1, 3, 4]] == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert np.isnan(found[2])
    assert holm(np.array([0.9, 0.5])).tolist() == [1.0, 1.0] and len(holm(np.array([]))) == 0


def each(rng: Rng) -> tuple[Scores, Groups]:
    """Recordings as units, columns at random, also very rare values."""
    words, errors = heard(rng, 1.0)
    columns = {f"c{num}": named(rng.choice(num, 400, p=rng.dirichlet(np.full(num, 0.5)))) for num in (2, 4, 10)}
    return counted(words, errors, columns), Groups.each(400)


def accents(rng: Rng) -> tuple[Scores, Groups]:
    """Speakers lie wholly in a slice, and some of them are hard to understand."""
    speakers = rng.integers(0, 40, 400)
    words, errors = heard(rng, rng.lognormal(-0.2, 0.6, 40)[speakers])
    columns = {f"c{num}": named(rng.integers(0, num, 40)[speakers]) for num in (2, 3, 5)}
    return counted(words, errors, columns), Groups.of(speakers)


def noises(rng: Rng) -> tuple[Scores, Groups]:
    """Speakers are in all slices."""
    speakers = rng.integers(0, 40, 400)
    words, errors = heard(rng, rng.lognormal(-0.2, 0.6, 40)[speakers])
    columns = {f"c{num}": named(rng.choice(num, 400, p=rng.dirichlet(np.full(num, 0.5)))) for num in (2, 4, 10)}
    return counted(words, errors, columns), Groups.of(speakers)


def lengths(rng: Rng) -> tuple[Scores, Groups]:
    """Ranges of durations, where rates vary the more the shorter recordings are, and are the same on average."""
    words, errors = heard(rng, 1.0)
    return counted(words, errors, duration_s=words / 2.5), Groups.each(400)


@pytest.mark.parametrize("make", [each, accents, noises, lengths])
def test_where_slices_say_nothing_one_is_called_worse_in_one_of_twenty_corpora_at_most(monkeypatch, make):
    monkeypatch.setattr(slices, "NUM_RESAMPLES", 999)
    monkeypatch.setattr(slices, "resampled", lambda columns, seed: np.ones((2, columns.shape[1])))  # no intervals
    called = sum(bool(worst_slices(slices.slices(*make(np.random.default_rng((1, seed)))))) for seed in range(50))
    assert called <= 6  # of 50 at 5 %, more have a chance of 1 %


def spread_worse(
    make: Callable[[Rng], tuple[Scores, Groups]], share: float, times: float, by_speaker: bool
) -> list[Slice]:
    """Of 1,000 recordings some have errors so many times as frequent; other columns say nothing."""
    rng = np.random.default_rng(5)
    speakers = rng.integers(0, 40, 1_000)
    bad = (rng.random(40) < share)[speakers] if by_speaker else rng.random(1_000) < share
    words, errors = heard(rng, np.where(bad, times, 1.0), 1_000)
    columns = {f"c{num}": named(rng.integers(0, num, 1_000)) for num in (5, 10, 20)}
    scores = counted(words, errors, columns | {"bad": named(bad.astype(int))})
    return list(worst_slices(slices.slices(scores, make(speakers))))


@pytest.mark.parametrize(
    ("groups", "share", "times", "by_speaker"),
    [
        (lambda speakers: Groups.each(len(speakers)), 0.1, 2.0, False),
        (Groups.of, 0.1, 2.5, False),
        (Groups.of, 0.25, 2.5, True),
    ],
    ids=["recordings", "within speakers", "of speakers"],
)
def test_a_slice_that_is_worse_is_found_and_no_other(groups, share, times, by_speaker):
    (found,) = spread_worse(groups, share, times, by_speaker)
    assert (found.column, found.value) == ("bad", "v1")
    assert found.excess > 0.05 and found.p < found.p_corrected < 0.05


def test_worst_slices_come_worst_first_and_all_of_them():
    """However many: how many there are is told, and each is marked."""
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 8, 2_000)
    words, errors = heard(rng, np.array([1, 1, 1, 1, 1, 3, 5, 4])[codes], 2_000)
    found = slices.slices(counted(words, errors, {"x": named(codes)}), Groups.each(2_000))
    assert [one.value for one in worst_slices(found)] == ["v6", "v7", "v5"]
    many = [replace(found[6], value=f"w{number}", excess=number / 100) for number in range(1, 21)]
    assert [one.value for one in worst_slices(many)] == [f"w{number}" for number in range(20, 0, -1)]


def test_two_speakers_however_much_they_said_are_no_accent():
    """Resampling recordings, the same slice is beyond all doubt."""
    rng = np.random.default_rng(0)
    speakers = rng.integers(0, 20, 2_000)
    words, errors = heard(rng, np.where(speakers < 2, 3.0, 1.0), 2_000)
    scores = counted(words, errors, {"accent": named((speakers < 2).astype(int))})
    assert by_name(scores, Groups.each(2_000))["v1"].p_corrected < 0.01
    found = slices.slices(scores, Groups.of(speakers))
    assert [one.p for one in found] == [None, None] and not worst_slices(found)
    assert found[1].rate.interval is None and found[0].rate.interval is not None


def test_a_few_recordings_without_errors_do_not_make_all_others_worse():
    """Seven speakers' signs are all the same, which flipped coins are in one of 128 throws; 79 % have no errors."""
    rng = np.random.default_rng(0)
    words, errors = heard(rng, 0.3, 1_000)
    codes = np.zeros(1_000, int)
    codes[np.flatnonzero(errors == 0)[:8]] = 1
    for groups in (Groups.each(1_000), Groups.of(rng.integers(0, 30, 1_000))):
        found = by_name(counted(words, errors, {"x": named(codes)}), groups)["v0"]
        assert found.excess > 0 and found.p > 0.04 and found.p_corrected > 0.05


def test_where_there_are_no_words_there_is_no_rate_and_no_p():
    scores = counted([0] * 20 + [5] * 20, [0] * 10 + [3] * 10 + [1] * 20, {"x": ["a"] * 20 + ["b"] * 20})
    found = by_name(scores, Groups.each(40))
    assert found["a"].rate.value is found["a"].excess is found["a"].p is found["b"].excess is None
    assert found["a"].errors == ErrorCounts(0, 0, 0, 30) and found["b"].rate.value == 0.2
    nothing = slices.slices(counted([0] * 20, [0] * 20, {"x": ["a", "b"] * 10}), Groups.of([1, 2] * 10))
    assert [one.rate.value for one in nothing] == [None, None]
    assert slices.slices(counted([], []), Groups.each(0)) == ()


def test_of_a_run_of_phones_slices_are_of_phone_errors():
    """Else they would have no rate at all, though they were scored."""
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 3, 600)
    words, errors = heard(rng, np.where(codes == 1, 3.0, 1.0), 600)
    in_words = counted(words, errors, {"x": named(codes)}, duration_s=words)
    nothing = Errors(*np.zeros((4, 600), np.int64))
    in_phones = replace(in_words, words=nothing, chars=nothing, phones=in_words.words)
    expected, found = (slices.slices(one, Groups.each(600), ["x"]) for one in (in_words, in_phones))
    for ours, theirs in zip(found, expected, strict=True):
        assert (ours.rate, ours.errors, ours.excess) == (theirs.rate, theirs.errors, theirs.excess)
        assert ours.p == pytest.approx(theirs.p, abs=0.02)
        assert ours.cer.value is None
    assert [one.value for one in worst_slices(found)] == ["v1"]
    both = slices.slices(replace(in_words, phones=in_words.chars), Groups.each(600), ["x"])
    assert both == expected
    assert not slices.slices(in_phones, Groups.each(600), ["words_per_s"])  # they are not known


@pytest.mark.parametrize("by", [lambda num: Groups.each(num), lambda num: Groups.of(np.arange(num) % 50)])
def test_of_many_slices_only_the_rare_are_looked_at_more_closely(monkeypatch, by):
    monkeypatch.setattr(slices, "NUM_RESAMPLES", 500)
    monkeypatch.setattr(slices, "RESAMPLES_PER_SLICE", 2_000)
    monkeypatch.setattr(slices, "RARE", 0.01)
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 4, 2_000)
    words, errors = heard(rng, np.where(codes == 1, 3.0, 1.0), 2_000)
    found = by_name(counted(words, errors, {"x": named(codes)}), by(2_000))
    assert found["v1"].p == 1 / 8_001
    for name in ("v0", "v2", "v3"):
        assert found[name].p > 0.01 and found[name].p * 501 == pytest.approx(round(found[name].p * 501))


def test_an_interval_is_of_recordings_with_words():
    """Of one such, whatever is drawn, it would be what is said of that one."""
    words, errors = np.array([9, *[0] * 20, *[5] * 20]), np.array([3, *[1] * 20, *[1, 2] * 10])
    found = by_name(counted(words, errors, {"x": ["a"] * 21 + ["b"] * 20}), Groups.each(41))
    assert found["a"].rate == Rate(23 / 9) and found["b"].rate.interval is not None


def test_the_same_seed_gives_the_same_figures():
    scores, groups = noises(np.random.default_rng(0))
    assert slices.slices(scores, groups) == slices.slices(scores, groups)
    assert slices.slices(scores, groups) != slices.slices(scores, groups, seed=1)
    first = slices.slices(scores, groups, ["c4", "c2"])
    assert first[0].column == "c4" and {one.column for one in first} == {"c2", "c4"}
