"""The recordings on show are the worst of all, whatever part they lie in; what is plotted stands for all."""

from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.evaluation.results import Point
from pipeline.evaluation.rows import SCHEMA, Level
from pipeline.evaluation.scores import Errors
from pipeline.evaluation.worst import histogram, points, worst
from pipeline.records import COUNT_FIELDS, ErrorCounts
from tests.evaluation.counted import counted

COUNTS = st.tuples(*[st.integers(0, 3)] * 4)  # few, so that many are as bad


def row(number: int, counts: tuple[int, ...] | None) -> dict[str, Any]:
    """Counts of None are those of a recording that failed, or has no words."""
    made: dict[str, Any] = dict.fromkeys(SCHEMA.names)
    made |= {"id": f"r{number}", "uri": f"/r{number}.wav", "status": "failed" if counts is None else "ok"}
    made |= {"duration_s": float(number), "reference": "A b", "text": "A c", "word_alignment": "1=1S"}
    made |= {"normalized_reference": "a b", "normalized_text": None, "speaker": number % 3}
    return made | {f"word_{name}": count for name, count in zip(COUNT_FIELDS, counts or [None] * 4, strict=True)}


def table(rows: list[dict[str, Any]]) -> pa.Table:
    return pa.Table.from_pylist(rows, SCHEMA.append(pa.field("speaker", pa.int64())))


@settings(deadline=None, max_examples=60)
@given(st.lists(st.none() | COUNTS, max_size=40), st.integers(1, 12), st.integers(1, 9))
def test_the_worst_of_all_parts_are_those_of_the_whole(counts, num, size):
    """Against a sort of all rows, one after the other."""
    rows = [row(number, each) for number, each in enumerate(counts)]
    parts = [table(rows[start : start + size]) for start in range(0, len(rows), size)]

    def place(number: int) -> tuple[float, float, str]:
        found = ErrorCounts(*counts[number])
        return -found.num_errors, -np.inf if found.rate is None else -found.rate, f"r{number}"

    wrong = [number for number, each in enumerate(counts) if each is not None and sum(each[1:])]
    assert [one.id for one in worst(iter(parts), num)] == [f"r{number}" for number in sorted(wrong, key=place)[:num]]


def test_an_example_has_all_that_is_shown_of_it():
    (one,) = worst([table([row(4, (1, 2, 3, 4))])])
    assert (one.id, one.uri, one.duration_s, one.confidence) == ("r4", "/r4.wav", 4.0, None)
    assert (one.reference, one.text, one.said, one.heard) == ("A b", "A c", "a b", "")
    assert (one.alignment, one.errors) == ("1=1S", ErrorCounts(1, 2, 3, 4))
    assert one.columns == {"speaker": 1}


def test_of_a_run_of_phones_the_worst_are_those_with_the_most_phone_errors():
    """With what was said and heard in phones; words there would be none of."""
    nothing = dict.fromkeys((*Level.WORDS.counts, "word_alignment"))
    rows = [
        row(number, None) | nothing | {"status": "ok", "reference_phones": "a b", "heard_phones": "a c"}
        for number in range(3)
    ]
    for one, counts in zip(rows, [(1, 0, 1, 0), (1, 1, 1, 1), (2, 0, 0, 0)], strict=True):
        one |= dict(zip(Level.PHONES.counts, counts, strict=True)) | {"phone_alignment": "1=1S"}
    found = worst([table(rows[:1]), table(rows[1:])], 9, Level.PHONES)
    assert [one.id for one in found] == ["r1", "r0"]
    assert (found[0].said, found[0].heard, found[0].alignment) == ("a b", "a c", "1=1S")
    assert (found[0].errors, found[0].text) == (ErrorCounts(1, 1, 1, 1), "A c")
    assert worst([table(rows)], 9) == ()


def test_of_a_run_of_phones_points_and_bars_are_of_phone_errors():
    in_words = counted([2, 0, 4, 10], [1, 1, 0, 30], confidence=[0.5, 0.1, 0.2, 0.3])
    nothing = Errors(*np.zeros((4, 4), np.int64))
    in_phones = replace(in_words, words=nothing, phones=in_words.words)
    assert points(in_phones) == points(in_words) and histogram(in_phones) == histogram(in_words)
    beside = replace(in_words, phones=nothing)  # as of a model of phonemes with a lexicon
    assert points(beside) == points(in_words)


def test_no_rows_have_no_worst():
    assert worst([]) == worst([table([])]) == worst([table([row(0, None)])]) == ()


def test_points_are_a_sample_without_choice_and_the_same_again():
    words = np.arange(5_000) % 5
    scores = counted(words, words // 2, duration_s=words + 1.0)
    found = points(scores, num=1_000)
    assert len(found) == 1_000 and found == points(scores, num=1_000) and found != points(scores, num=1_000, seed=1)
    assert set(found) == {Point(said + 1.0, None, said // 2 / said) for said in (1, 2, 3, 4)}  # of none no rate
    drawn = np.bincount([int(one.duration_s or 0) for one in found])[2:]
    assert drawn.min() > 200 and drawn.max() < 300  # 250 each, give or take 14
    few = points(counted([2, 0, 4], [1, 1, 0], confidence=[0.5, 0.1, np.nan]))
    assert few == (Point(None, 0.5, 0.5), Point(None, None, 0.0))


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 60)), max_size=60))
def test_every_recording_with_words_is_in_the_bar_of_its_rate(rows):
    words, errors = [one for one, _ in rows], [other for _, other in rows]
    bars = histogram(counted(words, errors))
    assert (
        len(bars) == 12
        and bars[0][:2] == (0.0, 0.0)
        and [round(low, 9) for low, *_ in bars[1:]] == [number / 10 for number in range(11)]
    )
    expected = [0] * 12
    for said, wrong in rows:
        if said:  # in whole numbers, where three tenths are three tenths
            expected[min(-(-10 * wrong // said), 11)] += 1
    assert [num for *_, num in bars] == expected
    assert bars[-1][1] == pytest.approx(max([1.0, *(wrong / said for said, wrong in rows if said)]))
