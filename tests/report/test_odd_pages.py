"""What pages say of odd evaluations: a sentence that is not so would be believed."""

from dataclasses import replace
from typing import Any

import pytest

from pipeline.evaluation.results import Confusion, Confusions, Evaluation, Point, Rate, Report
from pipeline.evaluation.rows import Level
from pipeline.evaluation.scores import Coverage
from pipeline.records import ErrorCounts
from pipeline.report import plots
from pipeline.report.page import comparison_page, evaluation_page
from tests.report import figures
from tests.report.test_html import Seen
from tests.report.test_page import check, small


def text_of(evaluation: Evaluation) -> str:
    return check(evaluation_page(evaluation, {})).text


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (ErrorCounts(90, 5), "None was asked for (--worst 0)."),
        (ErrorCounts(90), "No recording has a word error."),
        (ErrorCounts(), "No words were compared."),
    ],
)
def test_why_no_recordings_are_shown(words: ErrorCounts, told: str) -> None:
    assert told in text_of(replace(small(words=words), worst=()))
    in_phones = replace(small(words=ErrorCounts(1, 1), phones=words, judged_by=Level.PHONES), worst=())
    assert told.replace("word", "phone") in text_of(in_phones)


def test_of_one_recording_and_of_none_with_words() -> None:
    assert "The one recording is in these rates." in text_of(small(coverage=Coverage(1, 1)))
    nothing = replace(small().rates, wer=Rate(None))
    text = text_of(small(coverage=Coverage(3, 3), rates=nothing))
    assert "nothing was scored that has words" in text and "in these rates" not in text
    told = "No phone error rate: nothing was scored that has phones in its reference"
    assert told in text_of(small(rates=replace(nothing, per=Rate(None)), judged_by=Level.PHONES))


@pytest.mark.parametrize(
    ("num_known", "num_all", "told"),
    [
        (12, 12, "Each point is a recording: 12 of 12."),
        (5, 12, "Each point is a recording: 5 of 12; left out: 7 of unknown duration."),
        (12, 30, "Each point is a recording: 12 of 30, drawn at random."),
        (5, 30, "Each point is a recording: 5 of 30, drawn at random; left out: 7 of unknown duration."),
    ],
)
def test_what_is_not_plotted_is_told_with_the_reason(num_known: int, num_all: int, told: str) -> None:
    points = [Point(5.0 + number if number < num_known else None, 0.5, 0.1) for number in range(12)]
    plot = plots.by_duration(points, Level.WORDS, num_all)
    assert plot is not None and plot.told == told


def test_recordings_without_words_are_no_points_that_were_left_out() -> None:
    """Of 20 that were scored 3 may have empty references."""
    whole = figures.evaluation(num_points=17, coverage=Coverage(20, 20))
    assert "Each point is a recording: 17 of 17." in text_of(whole)


def test_confusions_that_are_left_out_are_told() -> None:
    many = tuple(Confusion(f"said{number}", f"heard{number}", 30 - number) for number in range(21))
    told = "Of each kind the 20 most frequent; more of them are in evaluation.json."
    text = text_of(small(confusions=Confusions(many, (), ())))
    assert told in text and "said19" in text and "said20" not in text
    assert told not in text_of(small(confusions=Confusions(many[:20], (), ())))


def test_ids_paths_and_names_of_columns_may_be_of_any_length() -> None:
    long = {name: name * 3_000 for name in "iuc"}
    example = figures.example(long["i"], uri=long["u"], columns={long["c"]: 1})
    slices = (figures.a_slice(long["c"], "1", 0.1),)
    page = evaluation_page(replace(small(worst_slices=slices), slices=slices, worst=(example,)), {})
    text = check(page).text
    assert not [one for one in long.values() if one[:600] in page]
    assert "iii… and 2,880 characters more" in text and "uuu… and 2,500 characters more" in text


def test_phones_are_counted_beside_words() -> None:
    in_phones: dict[str, Any] = {"rates": replace(small().rates, per=figures.rate(0.1234))}
    one = small(phones=ErrorCounts(7_001, 77, 8, 9), **in_phones)
    assert "Phones7,001778" in "".join(text_of(one).split())
    other = small(name="large")
    page = comparison_page(Report((one, other), ()), {}, {})
    assert "12.34%" in Seen(page).text and ">PER<" in page
    assert ">PER<" not in comparison_page(Report((other, small()), ()), {}, {})


def test_of_runs_that_have_nothing_in_common_there_are_counts_alone() -> None:
    nothing = Rate(None)
    pair = figures.comparison(
        num_common=0, first_rate=nothing, second_rate=nothing, difference=nothing, most_different=(), num_segments=0
    )
    text = check(comparison_page(Report((small(), small(name="large")), (pair,)), {}, {})).text
    assert "There is nothing to compare" in text and "More of base50" in text
    assert "WER of base" not in text and "heard differently" not in text
