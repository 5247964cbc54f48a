"""Two runs beside each other: the same recordings, the same resamples, and nothing left out in silence."""

from collections.abc import Sequence
from dataclasses import replace

import jiwer
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import UsageError
from pipeline.evaluation.compare import NUM_DIFFERENT, Scored, common, compare
from pipeline.evaluation.results import Comparison, Rate
from pipeline.evaluation.rows import Level
from pipeline.evaluation.scores import Errors, in_common
from tests.evaluation.scored_rows import Pair, parts, scores, table

NUMBERS = ("num_common", "num_only_first", "num_only_second", "num_references_differ")
IDS = st.lists(st.sampled_from("abcdef"), unique=True)


def scored(name: str, pairs: Sequence[Pair], size: int = 7, level: Level = Level.WORDS) -> Scored:
    """In parts of a few rows."""
    rows = table(pairs, level)
    return Scored(name, scores(rows), lambda columns: parts(rows.select(columns or rows.column_names), size))


def heard(share: float, num: int = 60, seed: int = 0) -> list[Pair]:
    """The same references whatever the share of words that are wrong."""
    words, rng = np.random.default_rng(0), np.random.default_rng(seed)
    pairs = []
    for number in range(num):
        said = [f"w{n}" for n in words.integers(0, 99, words.integers(1, 15))]
        told = [word if rng.random() > share else rng.choice(["x", "x y", ""]) for word in said]
        columns = {"speaker": f"s{number % 9}"}
        pairs.append(Pair(f"r{number}", " ".join(said), " ".join(" ".join(told).split()), 0.5, columns=columns))
    return pairs


def figures(found: Comparison) -> Comparison:
    return replace(found, most_different=())


@given(IDS, IDS)
def test_recordings_that_both_have_are_found_each_once(ids, others):
    at, at_other = common(pa.array(ids, pa.string()), pa.array(others, pa.string()))
    expected = [(place, others.index(one)) for place, one in enumerate(ids) if one in others]
    assert list(zip(at.tolist(), at_other.tolist(), strict=True)) == expected


def test_rates_of_both_are_jiwers_and_their_difference_is_resampled_in_pairs():
    stats = pytest.importorskip("scipy.stats")
    before, after = heard(0.3, seed=1), heard(0.15, seed=2)
    found = compare(scored("before", before), scored("after", after))
    rates = [jiwer.wer([p.reference for p in pairs], [p.text for p in pairs]) for pairs in (before, after)]
    assert (found.first_rate.value, found.second_rate.value) == (pytest.approx(rates[0]), pytest.approx(rates[1]))
    assert found.difference.value == pytest.approx(rates[1] - rates[0])  # fewer errors: below zero
    errors = [
        np.array([round(jiwer.wer(p.reference, p.text) * len(p.reference.split())) for p in pairs])
        for pairs in (before, after)
    ]
    words = np.array([len(p.reference.split()) for p in before])

    def difference(one, other, words, axis=-1):
        return (other.sum(axis=axis) - one.sum(axis=axis)) / words.sum(axis=axis)

    theirs = stats.bootstrap(
        (*errors, words), difference, paired=True, n_resamples=20_000, method="percentile", rng=np.random.default_rng(1)
    ).confidence_interval
    near = 0.08 * (theirs.high - theirs.low)
    assert found.difference.interval == (pytest.approx(theirs.low, abs=near), pytest.approx(theirs.high, abs=near))
    assert found.p_bootstrap < 0.01 and found.p_mapsswe < 0.01
    assert found.num_segments > 30
    back = compare(scored("after", after), scored("before", before))
    assert (back.first_rate, back.second_rate) == (found.second_rate, found.first_rate)
    assert back.difference.value == -found.difference.value and back.p_mapsswe == found.p_mapsswe


def test_systems_that_err_as_often_are_not_told_apart():
    """Just as a paired t test over recordings does not."""
    stats = pytest.importorskip("scipy.stats")
    before, after = (scored(str(seed), heard(0.2, 150, seed)) for seed in (3, 4))
    found = compare(before, after)
    theirs = stats.ttest_rel(before.scores.words.num_errors, after.scores.words.num_errors).pvalue
    assert theirs > 0.2
    assert found.p_bootstrap == pytest.approx(theirs, abs=0.1) and found.p_mapsswe == pytest.approx(theirs, abs=0.15)


def test_a_run_beside_itself_has_no_difference_at_all():
    run = scored("run", heard(0.3))
    found = compare(run, run)
    assert (found.difference.value, found.difference.interval) == (0, (0, 0))
    assert (found.p_bootstrap, found.p_mapsswe, found.most_different) == (1, 1, ())


def test_what_only_one_has_or_has_compared_with_something_else_is_counted_and_left_out():
    """However the other is ordered; what failed in one is not common either."""
    before, after = heard(0.3, 40, seed=1), heard(0.2, 40, seed=2)
    expected = compare(scored("before", before[10:]), scored("after", after[10:]))
    other = [replace(pair, reference=f"{pair.reference} more") for pair in after[:3]]
    failed = [replace(pair, text=None) for pair in after[3:5]]
    mixed = [*other, *failed, *after[10:], replace(after[5], id="another")]
    np.random.default_rng(0).shuffle(mixed)
    found = compare(scored("before", before), scored("after", mixed))
    assert (found.num_common, found.num_only_first, found.num_only_second) == (33, 7, 1)
    assert (found.num_references_differ, found.num_compared) == (3, 30)
    for ours, theirs in zip(found.most_different, expected.most_different, strict=True):
        assert ours == theirs
    counts = {name: getattr(found, name) for name in NUMBERS}
    assert figures(found) == replace(figures(expected), **counts)


def test_the_recordings_that_differ_most_come_first_with_all_that_is_shown_of_them():
    before, after = heard(0.3, seed=1), heard(0.3, seed=2)
    first, second = scored("before", before), scored("after", after)
    found = compare(first, second).most_different
    differences = second.scores.words.num_errors - first.scores.words.num_errors
    assert len(found) == NUM_DIFFERENT
    shown = [abs(one.second.errors.num_errors - one.first.errors.num_errors) for one in found]
    assert shown == sorted(np.abs(differences), reverse=True)[:NUM_DIFFERENT] and shown[-1] > 0
    for one in found:
        for example, pairs in ((one.first, before), (one.second, after)):
            pair = pairs[int(example.id[1:])]
            assert (example.reference, example.text) == (pair.reference, pair.text)
            assert (example.said, example.heard) == (pair.reference, pair.text)
            assert (example.columns, example.confidence) == (pair.columns, 0.5)
            assert example.uri == f"/{pair.id}.wav" and example.alignment
    few = compare(scored("a", before[:3]), scored("b", [*after[:1], *before[1:3]])).most_different
    assert len(few) == (differences[0] != 0)


def test_what_is_resampled_is_a_column_of_the_first():
    before, after = scored("before", heard(0.3, seed=1)), scored("after", heard(0.2, seed=2))
    by_speaker, by_recording = compare(before, after, "speaker"), compare(before, after)
    assert by_speaker.difference.value == by_recording.difference.value
    assert by_speaker.difference.interval != by_recording.difference.interval
    assert by_speaker.p_mapsswe == by_recording.p_mapsswe
    assert (by_speaker.resampled, by_recording.resampled) == ("speaker", "recordings")
    with pytest.raises(UsageError, match="resampling by session"):
        compare(before, after, "session")


@pytest.mark.parametrize(("num", "num_silent"), [(0, 0), (4, 0), (4, 9), (14, 0)])
def test_of_few_recordings_there_is_neither_interval_nor_p(num, num_silent):
    """Whatever is there in which nothing was said. Of fewer than 15 p would be too small too often."""
    silent = [Pair(f"s{number}", "", "", columns={"speaker": "s"}) for number in range(num_silent)]
    pairs, others = heard(0.5, num, seed=1) + silent, heard(0.1, num, seed=2) + silent
    found = compare(scored("a", pairs), scored("b", others))
    assert (found.difference.interval is None) == (num < 5) and found.p_bootstrap is None
    assert (found.first_rate.value is None) == (num == 0)


def test_rows_that_are_not_those_of_the_scores_are_found_out():
    """Else alignments would be compared with those of other recordings."""
    run = scored("run", heard(0.3))
    with pytest.raises(ValueError, match="run: its rows are not those of its scores"):
        compare(replace(run, tables=scored("run", heard(0.3)[::-1]).tables), run)


@pytest.mark.parametrize("num_with_words", [0, 6])
def test_recordings_without_words_but_with_phones_are_compared_with_nothing(num_with_words):
    """Of a model that writes phones, or whose lexicon made no words of some: 0 errors in 0 words are not fewer."""
    rows, all_words = table(heard(0.3, 10)), scored("words", heard(0.3, 10))
    has_words = np.arange(10) < num_with_words
    keep = {"id", "uri", "status", "normalized_reference", "reference"}
    columns = {
        name: rows[name] if name in keep else pc.if_else(pa.array(has_words), rows[name], None)
        for name in rows.column_names
    }
    rows = pa.table(columns | {"phone_hits": pa.array([1] * 10, pa.int32())}, schema=rows.schema)
    words = Errors(*(np.where(has_words, column, 0) for column in all_words.scores.words))
    run = Scored(
        "phones",
        replace(all_words.scores, words=words),
        lambda columns: parts(rows.select(columns or rows.column_names), 7),
    )
    for found in (compare(run, run), compare(all_words, run), compare(run, all_words)):
        assert (found.num_common, found.num_only_first, found.num_only_second) == (
            num_with_words,
            *[10 - num_with_words] * 2,
        )
        assert found.difference.value == (0 if num_with_words else None)
        assert found.first_rate.value == (words.sum().rate if num_with_words else None)


def test_runs_of_phones_are_compared_by_them_as_others_by_their_words():
    """By the same figures and the same recordings, with what was said and heard in phones."""
    before, after = heard(0.3, seed=1), [*heard(0.15, seed=2)[4:], Pair("more", "x", "y", columns={"speaker": "s0"})]
    in_words = compare(scored("before", before), scored("after", after), "speaker")
    phones = [scored(name, pairs, level=Level.PHONES) for name, pairs in (("before", before), ("after", after))]
    found = compare(phones[0], phones[1], "speaker")
    assert (found.level, in_words.level) == (Level.PHONES, Level.WORDS)
    assert replace(found, level=Level.WORDS) == in_words and len(found.most_different) == NUM_DIFFERENT
    assert found.second_rate.value == pytest.approx(
        jiwer.wer([p.reference for p in after[:-1]], [p.text for p in after[:-1]])
    )
    other = [replace(pair, reference=f"{pair.reference} more") for pair in before[:3]]  # in another language, say
    mixed = compare(phones[0], scored("other", [*other, *before[3:]], level=Level.PHONES))
    assert (mixed.num_common, mixed.num_references_differ) == (60, 3)


def test_a_run_of_words_and_one_of_phones_have_nothing_in_common():
    words, phones = scored("words", heard(0.3)), scored("phones", heard(0.2), level=Level.PHONES)
    for found in (compare(words, phones), compare(phones, words)):
        assert (found.level, found.num_common, found.num_only_first, found.num_only_second) == (Level.WORDS, 0, 60, 60)
        assert found.first_rate == found.second_rate == found.difference == Rate(None)
        assert (found.p_bootstrap, found.p_mapsswe, found.most_different) == (None, None, ())


def test_runs_are_judged_by_what_all_have_and_by_words_if_they_can():
    words, phones = (scored("run", heard(0.3), level=level).scores for level in Level)
    both = replace(words, phones=phones.phones)  # of a model of phonemes with a lexicon
    failed = scores(table([Pair("a", "said", None)]))
    assert [one.judged_by for one in (words, phones, both, failed)] == ["words", "phones", "words", "words"]
    for runs, level in (
        ([words, both], Level.WORDS),
        ([both, both], Level.WORDS),
        ([phones, both], Level.PHONES),
        ([phones, failed], Level.PHONES),
        ([words, phones], Level.WORDS),
        ([words, both, phones], Level.WORDS),
        ([failed], Level.WORDS),
    ):
        assert in_common(runs) == in_common(runs[::-1]) == level


def test_phones_beside_words_that_were_made_of_phones_are_compared_by_phones():
    words, phones = scored("words", heard(0.1)), scored("phones", heard(0.2), level=Level.PHONES)
    names = [Level.PHONES.said, Level.PHONES.heard, Level.PHONES.alignment, *Level.PHONES.counts]
    rows = pa.concat_tables(words.tables(None))
    for name in names:
        column = pa.concat_tables(phones.tables([name]))[name]
        rows = rows.set_column(rows.column_names.index(name), name, column)
    with_lexicon = Scored("words", scores(rows), lambda columns: parts(rows.select(columns or rows.column_names), 7))
    found = compare(phones, with_lexicon)
    assert (found.level, found.num_common, found.difference.value) == (Level.PHONES, 60, 0)
    assert found.first_rate.value == phones.scores.errors.sum().rate
