"""What `nightshift demo` prints for people."""

import textwrap
from typing import TYPE_CHECKING

from jobs import evaluate_show, show
from pipeline.demo.samples import MOST_S, PLACES, Sample, differences
from pipeline.evaluation.results import Evaluation
from pipeline.progress import clock, hours

if TYPE_CHECKING:
    from jobs.demo import Demo

WIDTH = 110  # of sample transcripts


def demo(shown: "Demo") -> None:
    evaluations = shown.report.evaluations
    show.table(
        [
            ("", *(one.name for one in evaluations)),
            ("word error rate", *(str(one.rates.wer) for one in evaluations)),
            *_long(evaluations),
            ("character error rate", *(str(one.rates.cer) for one in evaluations)),
            ("speed", *map(evaluate_show.speed, evaluations)),
        ]
    )
    evaluate_show.intervals(evaluations)
    for pair in shown.report.comparisons:
        evaluate_show.compared(pair)
    _counts(shown)
    _samples(shown.samples)
    print(f"\nReport: {shown.page}")


def _long(evaluations: tuple[Evaluation, ...]) -> list[tuple[str, ...]]:
    """The word error rates of the longest recordings."""
    each = [[one for one in evaluation.slices if one.column == "duration_s"] for evaluation in evaluations]
    if not all(each):
        return []
    longest = [slices[-1] for slices in each]
    return [
        (f"  in {longest[0].num_recordings:,} recordings of {longest[0].value}", *(str(one.rate) for one in longest))
    ]


def _counts(shown: "Demo") -> None:
    coverage = shown.report.evaluations[-1].coverage
    rows = [
        ("recordings", f"{coverage.num_recordings:,}"),
        ("transcribed", f"{coverage.num_recordings - coverage.num_failed:,} ({hours(coverage.audio_s)} of audio)"),
        ("failed", f"{coverage.num_failed:,}"),
        *((f"  {reason}", f"{num:,}") for reason, num in coverage.failures.items()),
        ("time", f"{clock(shown.wall_s)} in all, with starting Ray and, once on a machine, compiling the decoder"),
    ]
    print()
    show.table(rows)


def _samples(samples: list[Sample]) -> None:
    if not samples:
        return
    places = ", ".join(f"{place:.0%}" for place in PLACES)
    print(
        f"\nSamples: of the recordings under {hours(MOST_S)}, in the order of their word error rates\n"
        f"with the language model, those at {places} of the way. [said>heard] is where a text differs."
    )
    for greedy, with_lm in samples:
        print(f"\n{greedy.id}: {greedy.duration_s or 0.0:.1f} s, {greedy.columns['speaker']}")
        print(_wrapped("said", greedy.said))
        print(_wrapped("greedy", differences(greedy)))
        print(_wrapped("with LM", differences(with_lm)))


def _wrapped(told: str, text: str) -> str:
    label = f"  {told:<9}"
    wrapper = textwrap.TextWrapper(WIDTH, label, " " * len(label), break_long_words=False, break_on_hyphens=False)
    return wrapper.fill(text) or label.rstrip()
