"""What would make a page unsafe, too large, silent about what is missing, or wrong where there is nothing to show."""

import base64
import dataclasses
import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings

from pipeline.evaluation.results import Calibration, Evaluation, Rate, Report
from pipeline.evaluation.rows import Level
from pipeline.evaluation.scores import Coverage
from pipeline.records import ErrorCounts
from pipeline.report.audio import Sound
from pipeline.report.formats import points, probability
from pipeline.report.html import fit
from pipeline.report.page import comparison_page, evaluation_page, ids_on_comparison_page
from tests.report import figures
from tests.report.test_html import ANYTHING, HOSTILE, Seen

NOT_TEXT = {"alignment", "judged_by", "level"}  # what the program itself wrote
ONE_WORD = {"said", "heard"}


class Hostile:
    """Results with a string of somebody's in the place of each of theirs."""

    def __init__(self, evil: str) -> None:
        self._evil, self.strings = evil, list[str]()

    def of(self, value: Any, name: str = "") -> Any:
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            names = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
            changed = {name: self.of(part, name) for name, part in names.items() if name not in NOT_TEXT}
            if "alignment" in names:
                changed["alignment"] = "1S"
            return replace(value, **changed)
        if isinstance(value, str):
            return self._string(name) if value else ""
        if isinstance(value, Mapping):
            return {self._string(name): self.of(part, name) for part in value.values()}
        if isinstance(value, tuple) and not hasattr(value, "_fields"):
            return tuple(self.of(part, name) for part in value)
        return value

    def _string(self, name: str) -> str:
        made = f"{self._evil}{len(self.strings)}."
        made = "".join(made.split()) if name in ONE_WORD else made
        self.strings.append(made)
        return made


def small(**changes: Any) -> Evaluation:
    """Without plots, which take a second and have no strings of the data."""
    whole = figures.evaluation(num_points=0)
    one = {"worst": whole.worst[:1], "slices": whole.slices[4:7], "calibration": None, "histogram": ()}
    return replace(whole, **one, speed=replace(whole.speed, over_time=()), **changes)


def check(page: str) -> Seen:
    """What holds of every page, whatever the data."""
    page.encode()
    seen = Seen(page)
    names = [tag for tag, _ in seen.tags]
    assert names.count("script") == names.count("style") == 1
    ids = [found for _, attributes in seen.tags if (found := attributes.get("id"))]
    assert len(ids) == len(set(ids))
    for tag, attributes in seen.tags:
        assert not [name for name in attributes if name.startswith("on") or name in ("style", "srcset", "action")]
        for name in ("href", "src"):
            if (target := attributes.get(name)) is not None:
                assert target.startswith(("data:image/svg+xml;", "data:audio/mpeg;", "./", "#")), (tag, target)
                assert not target.startswith("#") or target[1:] in ids
        for name in ("aria-labelledby",):
            assert set((attributes.get(name) or "").split()) <= set(ids)
    return seen


@settings(max_examples=15)
@given(ANYTHING)
def test_every_string_of_an_evaluation_stays_text(evil: str) -> None:
    hostile = Hostile(evil)
    told = check(evaluation_page(hostile.of(small()), {})).text
    assert len(hostile.strings) > 50
    assert not [one for one in hostile.strings if fit(one) not in told]


def test_every_string_of_a_comparison_stays_text() -> None:
    hostile = Hostile(HOSTILE)
    report = Report((small(), small(name="large")), (figures.comparison(),), figures.report().by_dataset)
    made = hostile.of(report)
    links = {one.name: f"javascript:alert(1)//{one.name}" for one in made.evaluations}
    told = check(comparison_page(made, links, {})).text
    elsewhere = {one for each in made.evaluations for one in own_strings(each)}
    for different in made.comparisons[0].most_different:  # of the recording it is the first run that tells
        told_once = replace(different.second, text="", heard="")
        elsewhere |= set(_strings(told_once))
    assert not [one for one in hostile.strings if fit(one) not in told and one not in elsewhere]


def own_strings(evaluation: Evaluation) -> Iterator[str]:
    """Of what only an evaluation's own page shows."""
    for name in (
        "slices",
        "worst_slices",
        "confusions",
        "char_confusions",
        "worst",
        "speed",
        "coverage",
        "resampled",
    ):
        yield from _strings(getattr(evaluation, name))


def _strings(value: Any) -> Iterator[str]:
    if dataclasses.is_dataclass(value):
        value = tuple(getattr(value, field.name) for field in dataclasses.fields(value))
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        yield from (one for pair in value.items() for one in _strings(pair))
    elif isinstance(value, tuple | list):
        yield from (one for part in value for one in _strings(part))


def test_the_policy_lets_in_what_is_on_the_page_and_nothing_else() -> None:
    page = evaluation_page(small(), {})
    (policy,) = (a["content"] for tag, a in check(page).tags if a.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None
    rules = dict(rule.split(" ", 1) for rule in policy.split("; "))
    for name, tag in (("style-src", "style"), ("script-src", "script")):
        (inside,) = re.findall(f"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
        assert rules.pop(name) == f"'sha256-{base64.b64encode(hashlib.sha256(inside.encode()).digest()).decode()}'"
    nothing = dict.fromkeys(("default-src", "base-uri", "form-action"), "'none'")
    assert rules == nothing | {"img-src": "data:", "media-src": "data:"}


def test_the_same_evaluation_gives_the_same_bytes() -> None:
    whole = figures.evaluation(num_points=50)
    assert evaluation_page(whole, {}) == evaluation_page(figures.evaluation(num_points=50), {})


def test_a_page_of_a_large_evaluation_is_under_a_megabyte() -> None:
    words = " ".join(f"word{number}" for number in range(3_000))
    long = figures.example(said=words, heard=words.upper(), alignment="3000S", reference=words, text=words)
    slices = tuple(figures.a_slice("speaker", f"speaker {number}", 0.1, number + 1) for number in range(5_000))
    columns = {f"column {number}": "value " * 1_000 for number in range(50)}
    examples = tuple(replace(long, id=f"recording {number}", columns=columns) for number in range(20))
    whole = figures.evaluation(num_points=2_000, slices=slices, worst_slices=slices[:1], worst=examples)
    page = evaluation_page(whole, {})
    assert len(page.encode()) < 1_000_000
    text = check(page).text
    assert "speaker 4999" in text and "speaker 0\u25b2 worse" in text  # the largest, and what is worse
    assert "The table has the 400 with the most words" in text


def test_a_comparison_of_many_runs_shows_fewer_recordings_of_each_and_a_sound_once() -> None:
    names = [f"run {number}" for number in range(31)]
    different = tuple(
        replace(one, first=replace(one.first, id=str(number)))
        for number, one in enumerate(figures.comparison().most_different * 10)
    )
    comparisons = tuple(figures.comparison(names[0], name, most_different=different) for name in names[1:])
    report = Report(tuple(small(name=name) for name in names), comparisons)
    assert ids_on_comparison_page(report) == ["0", "1", "2"]
    page = comparison_page(report, {}, {"1": Sound(data=b"sound", seconds=2.0)})
    assert len(page.encode()) < 1_000_000
    seen = check(page)
    assert [tag for tag, _ in seen.tags].count("audio") == 1
    assert [a.get("href") for tag, a in seen.tags].count("#pair-1-2") == 29  # each of the others


@pytest.mark.parametrize(
    ("coverage", "told"),
    [
        (Coverage(100, 100), ["All 100 recordings are in these rates"]),
        (Coverage(100, 90, 10, 7, 1_234), ["10 of 100 recordings (10.0%)", "10 recordings failed, 7 with"]),
        (Coverage(100, 99, 0, 0, 0, 1), ["1 of 100 recordings", "1 recording was transcribed without a reference"]),
        (Coverage(100, 90, 3, 3, 5, 4), ["3 recordings have a reference and could not be compared"]),
        (Coverage(3, 0, 3), ["3 of 3 recordings (100.0%) are not in these rates"]),
    ],
)  # fmt: skip
def test_what_is_not_in_the_rates_is_told(coverage: Coverage, told: list[str]) -> None:
    text = Seen(evaluation_page(small(coverage=coverage), {})).text
    assert all(one in text for one in told)


def test_runs_that_cannot_be_compared_are_told() -> None:
    other = small(name="large", normalizer="none", references="other.csv")
    common = figures.comparison(num_references_differ=17)
    text = Seen(comparison_page(Report((small(), other), (common,)), {}, {})).text
    assert "Texts were compared by different rules: english 0.1.15; none" in text
    assert "References differ: of the run; other.csv" in text
    assert "17, left out" in text and "70 others are left out" in text


@pytest.mark.parametrize(
    ("value", "interval", "told"),
    [
        (-0.0141, (-0.0203, -0.0081), "1.41 percentage points lower than that of base, by more than chance"),
        (0.002, (-0.01, 0.014), "0.20 percentage points higher than that of base, which may be chance"),
        (0.002, None, "too few to tell"),
        (0.0, None, "are the same"),
        (None, None, "nothing to compare"),
    ],
)
def test_verdicts(value: float | None, interval: Any, told: str) -> None:
    from pipeline.intervals import Interval

    difference = Rate(value, Interval(*interval) if interval else None)
    report = Report((small(), small(name="large")), (figures.comparison(difference=difference),))
    assert told in Seen(comparison_page(report, {}, {})).text


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"slices": (), "worst_slices": ()}, "There are no columns to slice by"),
        ({"worst": ()}, "None was asked for"),
        ({"worst_slices": ()}, "none of 3"),
        ({"coverage": Coverage(1, 1)}, "No recording failed"),
        ({"calibration": Calibration("words", (), 0.0)}, "No words were compared"),
        ({"speed": figures.empty().speed}, "its commits do not tell"),
        ({"words": ErrorCounts(), "warnings": ()}, "7.31%"),
    ],
)
def test_where_there_is_nothing(changes: dict[str, Any], told: str) -> None:
    assert told in check(evaluation_page(replace(small(), **changes), {})).text


def test_a_difference_of_too_few_is_no_verdict() -> None:
    """Their interval leaves zero out too often."""
    report = Report((small(), small(name="large")), (figures.comparison(p_bootstrap=None),))
    text = Seen(comparison_page(report, {}, {})).text
    assert "1.41 percentage points lower than that of base, too few to tell" in text and "more than chance" not in text


def test_intervals_of_few_are_said_to_be_too_narrow() -> None:
    assert "too narrow" in check(evaluation_page(small(num_resampled=14), {})).text
    assert "too narrow" not in check(evaluation_page(small(num_resampled=15), {})).text


def test_a_run_of_phones_is_judged_by_its_phones() -> None:
    rates = replace(small().rates, wer=Rate(None), cer=Rate(None), per=figures.rate(0.1234))
    a_slice = figures.a_slice("room", "car", 0.2345, errors=ErrorCounts(700, 77), cer=Rate(None))
    one = small(rates=rates, judged_by=Level.PHONES, worst_slices=())
    text = check(evaluation_page(replace(one, slices=(a_slice,)), {})).text
    assert "12.34% phone error rate" in text and "Phone error rate by slice" in text
    assert "23.45%" in text and "777" in text
    assert "No word error rate" not in text and "Word error rate by slice" not in text and "CER" not in text


def test_segments_are_not_those_who_were_resampled() -> None:
    """An interval by speakers beside a p that knows of none would be taken for one of speakers."""
    for resampled, told in (
        ("speaker", "< 0.001, of 6,002 segments, whatever the speaker"),
        ("recordings", "segments"),
    ):
        report = Report((small(), small(name="large")), (figures.comparison(resampled=resampled),))
        text = check(comparison_page(report, {}, {})).text
        assert told in text and ("whatever the" in text) == (resampled != "recordings")


def test_the_speed_of_decoding_alone_is_called_that() -> None:
    """It is many times that of a run that has encoded, too, and would be compared with it."""
    speed = replace(small().speed, stage_s={"load": 1.0, "decode": 8.0, "write": 1.0})
    decoded = replace(small(name="decoded"), speed=speed)
    told = "decoding alone"
    assert check(evaluation_page(decoded, {})).text.count(told) == 2
    assert told not in check(evaluation_page(small(), {})).text
    assert check(comparison_page(Report((small(), decoded), ()), {}, {})).text.count(told) == 1


def test_a_run_of_which_nothing_was_scored_has_a_page() -> None:
    text = check(evaluation_page(figures.empty(), {})).text
    assert "nothing was scored" in text and "None" not in text and "nan" not in text


def test_one_recording_without_confidence() -> None:
    one = figures.evaluation(num_points=1)
    points = (replace(one.points[0], confidence=None),)
    text = check(evaluation_page(replace(one, points=points, calibration=None, num_resampled=1), {})).text
    assert "No confidences are known" in text and "By duration" in text and "By confidence" not in text


@pytest.mark.parametrize(
    ("sound", "told"),
    [
        (Sound(data=b"x", seconds=2.5), "2.5 s"),
        (Sound(data=b"x", seconds=30.0, is_cut=True), "the first 30.0 s of 3.0 s"),
        (Sound(why_not="missing <file>"), "No sound: missing <file>."),
    ],
)
def test_sounds_and_why_there_are_none(sound: Sound, told: str) -> None:
    seen = check(evaluation_page(small(), {"recording-0": sound}))
    assert told in seen.text
    sources = [attributes["src"] for tag, attributes in seen.tags if tag == "audio"]
    assert sources == (["data:audio/mpeg;base64,eA=="] if sound.data else [])


def test_figures_in_words() -> None:
    assert [points(share) for share in (None, 0.0123, -0.0123, -0.00001, 0.0)] == [
        "\u2013",
        "+1.23",
        "\u22121.23",
        "0.00",
        "0.00",
    ]
    assert [probability(p) for p in (None, 0.0, 0.0009, 0.001, 0.25)] == [
        "\u2013",
        "< 0.001",
        "< 0.001",
        "0.001",
        "0.250",
    ]
