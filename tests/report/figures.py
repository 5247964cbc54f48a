"""Evaluations as they might come out, for the pages that show them."""

from dataclasses import replace
from typing import Any

import numpy as np

from pipeline.evaluation.results import (
    Bin,
    Calibration,
    Comparison,
    Confusion,
    Confusions,
    Difference,
    Evaluation,
    Example,
    Point,
    Rate,
    Rates,
    Report,
    Slice,
    Speed,
)
from pipeline.evaluation.rows import Level
from pipeline.evaluation.scores import Coverage
from pipeline.intervals import Interval
from pipeline.records import ErrorCounts

SAID = "we were to meet the others by the old mill at seven"
HEARD = "we were too meet others by the the old mill at seven"
ALIGNMENT = "2=1S1=1D3=1I4="


def rate(value: float, width: float = 0.01) -> Rate:
    return Rate(value, Interval(max(0.0, value - width), value + width))


def example(id_: str = "recording-1", **changes: Any) -> Example:
    made = Example(
        id=id_,
        uri=f"/corpus/{id_}.flac",
        reference=f"{SAID.capitalize()}.",
        text=HEARD,
        said=SAID,
        heard=HEARD,
        alignment=ALIGNMENT,
        errors=ErrorCounts(10, 1, 1, 1),
        duration_s=4.3,
        confidence=0.81,
        columns={"speaker": "anna", "room": "kitchen"},
    )
    return replace(made, **changes)


def a_slice(column: str, value: str, wer: float, num: int = 100, **changes: Any) -> Slice:
    made = Slice(
        column=column,
        value=value,
        num_recordings=num,
        audio_s=5.0 * num,
        errors=ErrorCounts(num * 9, num, 0, 0),
        chars=ErrorCounts(num * 45, num * 2, 0, 0),
        rate=rate(wer),
        cer=rate(wer / 2),
        excess=wer - 0.08,
        p=0.2,
        p_corrected=0.8,
    )
    return replace(made, **changes)


def evaluation(name: str = "base", num_points: int = 2000, **changes: Any) -> Evaluation:
    rng = np.random.default_rng(3)
    durations = rng.gamma(3.0, 3.0, num_points) + 0.5
    confidences = rng.beta(9, 2, num_points)
    wers = rng.binomial(20, np.clip(0.9 - confidences, 0.01, 1)) / 20 * (1 + (rng.random(num_points) > 0.99))
    points = tuple(Point(float(d), float(c), float(w)) for d, c, w in zip(durations, confidences, wers, strict=True))
    counts = np.histogram(np.minimum(wers, 1.0), np.linspace(0, 1.05, 22))[0]
    bins = tuple((n / 20, (n + 1) / 20, int(count)) for n, count in enumerate(counts))
    slices = (
        *(
            a_slice("speaker", who, 0.05 + 0.01 * n, 40 + 7 * n)
            for n, who in enumerate(["anna", "ben", "cora", "dev", "eli"])
        ),
        a_slice("room", "kitchen", 0.06, 900),
        a_slice("room", "car", 0.21, 120, p=0.0001, p_corrected=0.0004),
        *(a_slice("duration", f"{n} to {n + 5} s", 0.12 - 0.002 * n, 200) for n in range(0, 30, 5)),
    )
    examples = tuple(example(f"recording-{n}", duration_s=3.0 + n, confidence=0.9 - n / 30) for n in range(12))
    made = Evaluation(
        name=name,
        run=f"/runs/{name}",
        model="wav2vec2-base",
        decoder="native, 4gram.bin",
        normalizer="english 0.1.15",
        references="of the run",
        resampled="speaker",
        num_resampled=312,
        judged_by=Level.WORDS,
        coverage=Coverage(10_012, 9_950, 12, 10, 132, 50, {"read: not audio": 9, "read: missing file": 3}, 36_000.0),
        rates=Rates(
            wer=rate(0.0731, 0.004),
            cer=rate(0.0312, 0.002),
            mer=rate(0.0722, 0.004),
            wil=rate(0.11, 0.005),
            per=None,
            oracle_wer=rate(0.0402, 0.003),
            empty=rate(0.002, 0.001),
            failed_as_empty=rate(0.0745, 0.004),
        ),
        words=ErrorCounts(92_000, 5_000, 1_500, 800),
        chars=ErrorCounts(450_000, 9_000, 5_000, 3_000),
        slices=slices,
        worst_slices=(slices[6],),
        confusions=Confusions(
            tuple(Confusion(*pair) for pair in (("to", "too", 61), ("their", "there", 40), ("a", "the", 22))),
            tuple(Confusion(word, "", 30 - n) for n, word in enumerate(["the", "a", "of", "and"])),
            tuple(Confusion("", word, 20 - n) for n, word in enumerate(["a", "the"])),
        ),
        char_confusions=Confusions(
            (Confusion("a", "e", 120), Confusion("i", "e", 80)), (Confusion(" ", "", 70),), (Confusion("", "s", 60),)
        ),
        calibration=Calibration(
            "words",
            tuple(Bin(n / 10, (n + 1) / 10, 10 * n * n, n / 10 + 0.05, n / 10 + 0.02) for n in range(10)),
            0.031,
        ),
        speed=Speed(
            audio_s=36_000.0,
            wall_s=410.0,
            stage_s={"read": 120.0, "encode": 610.0, "decode": 80.0, "score": 4.0, "write": 2.0},
            over_time=tuple((6.8 * (n + 1), 88 + 12 * float(rng.standard_normal())) for n in range(60)),
            price_per_hour=1.2,
            cost=0.14,
            cost_per_audio_hour=0.0137,
        ),
        histogram=bins,
        points=points,
        worst=examples,
        warnings=("3 references are of no recording in the run: extra-1, extra-2, extra-3",),
    )
    return replace(made, **changes)


def comparison(first: str = "base", second: str = "large", **changes: Any) -> Comparison:
    better = example("recording-1", text=SAID, heard=SAID, alignment="12=", errors=ErrorCounts(12))
    worse = example(
        "recording-2",
        text="we were to meet the brothers",
        heard="we were to meet the brothers",
        alignment="5=1S6D",
        errors=ErrorCounts(5, 1, 6, 0),
    )
    made = Comparison(
        first=first,
        second=second,
        level=Level.WORDS,
        num_common=9_900,
        num_only_first=50,
        num_only_second=3,
        num_references_differ=0,
        first_rate=rate(0.0731),
        second_rate=rate(0.0590),
        difference=Rate(-0.0141, Interval(-0.0203, -0.0081)),
        resampled="speaker",
        p_bootstrap=0.0005,
        p_mapsswe=0.00002,
        num_segments=6_002,
        most_different=(Difference(example(), better), Difference(example("recording-2"), worse)),
    )
    return replace(made, **changes)


def report(**changes: Any) -> Report:
    large = evaluation("large", rates=replace(evaluation(num_points=0).rates, wer=rate(0.059, 0.003)))
    by_dataset = {
        name: {"base": rate(wer), "large": rate(wer - 0.01)} for name, wer in (("calls", 0.15), ("read", 0.04))
    }
    return replace(Report((evaluation(), large), (comparison(),), by_dataset), **changes)


def empty() -> Evaluation:
    """Of a run of which nothing could be scored."""
    nothing = Rate(None)
    return evaluation(
        "empty",
        num_points=0,
        resampled="recordings",
        num_resampled=0,
        coverage=Coverage(2, 0, 1, 0, 0, 1, {"read: not audio": 1}, 3.0),
        rates=Rates(nothing, nothing, nothing, nothing, None, None, nothing, None),
        words=ErrorCounts(),
        chars=ErrorCounts(),
        slices=(),
        worst_slices=(),
        confusions=Confusions((), (), ()),
        char_confusions=Confusions((), (), ()),
        calibration=None,
        speed=Speed(3.0, None, {}, ()),
        histogram=(),
        worst=(),
        warnings=(),
    )
