"""What `nightshift demo` prints for people."""

import textwrap
from typing import TYPE_CHECKING

from jobs import show
from pipeline.demo.outcome import LONG_S, PLACES, Compared, Outcome, Transcribed, differences
from pipeline.intervals import FEWEST_GROUPS
from pipeline.progress import clock, hours

if TYPE_CHECKING:
    from jobs.demo import Demo

WIDTH = 110  # of sample transcripts


def demo(shown: "Demo") -> None:
    if shown.outcome:
        _rates(shown.outcome)
    _counts(shown)
    if shown.outcome:
        _samples(shown.outcome)
    print("\nRuns, each with its transcripts in data/ (Parquet) and its figures in summary.json:")
    for pair in shown.pairs:
        print(f"  {pair.with_lm.run}\n  {pair.greedy.run}")


def _rates(outcome: Outcome) -> None:
    rows = [
        ("", "greedy", "with language model", "lower by"),
        ("word error rate", *_compared(outcome.words)),
        ("character error rate", *_compared(outcome.chars)),
    ]
    if outcome.long_words:
        told = f"words, {outcome.num_long} of {hours(LONG_S)} or more"
        rows.append((told, *_compared(outcome.long_words)))
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    for row in rows:
        print("  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip())
    if outcome.words.gain.interval:
        print(
            f"In brackets 95 % intervals by resampling the {outcome.num_speakers} speakers, because the recordings of "
            f"one voice fail together."
        )
        if outcome.words.gain.interval.low <= 0:
            print("An interval that reaches zero is no sure difference: these speakers cannot tell the two apart.")
    else:
        print(f"Without intervals: of fewer than {FEWEST_GROUPS} speakers they would say little.")


def _compared(compared: Compared) -> tuple[str, str, str]:
    return str(compared.greedy), str(compared.with_lm), str(compared.gain)


def _counts(shown: "Demo") -> None:
    tally = shown.tally
    inputs = ", ".join(f"{pair.name} {pair.with_lm.tally.num_recordings:,}" for pair in shown.pairs)
    rows = [
        ("recordings", f"{tally.num_recordings:,} ({inputs})"),
        ("transcribed", f"{tally.num_ok:,} ({hours(tally.audio_s)} of audio)"),
        ("failed", f"{tally.num_failed:,}"),
        *((f"  {reason}", f"{count:,}") for reason, count in sorted(tally.failures.items(), key=lambda i: -i[1])),
    ]
    if tally.num_unscored:
        rows.append(("  not scored", f"{tally.num_unscored:,} with a reference"))
    times = tally.audio_s / shown.with_lm_s
    speed = f"{times:,.{0 if times >= 10 else 1}f} times real time, starting processes for each input included"
    rows += [
        ("time", f"{clock(shown.with_lm_s)} with the language model, {speed}"),
        ("", f"{clock(shown.greedy_s)} to decode again greedily, from the emissions that were kept"),
        ("", f"{clock(shown.wall_s)} in all, with starting Ray and, once on a machine, compiling the decoder"),
    ]
    print()
    show.table(rows)


def _samples(outcome: Outcome) -> None:
    if not outcome.samples:
        return
    places = ", ".join(f"{place:.0%}" for place in PLACES)
    print(
        f"\nSamples: of the recordings under {hours(LONG_S)}, in the order of their word error rates\n"
        f"with the language model, those at {places} of the way. [said>heard] is where a text differs."
    )
    for sample in outcome.samples:
        print(f"\n{sample.name}: {sample.seconds:.1f} s, {sample.speaker}")
        for told, text in _lines(sample):
            print(_wrapped(f"  {told:<9}", text))


def _lines(sample: Transcribed) -> list[tuple[str, str]]:
    return [
        ("said", sample.reference),
        ("greedy", differences(sample.reference, sample.greedy.text)),
        ("with LM", differences(sample.reference, sample.with_lm.text)),
    ]


def _wrapped(label: str, text: str) -> str:
    wrapper = textwrap.TextWrapper(WIDTH, label, " " * len(label), break_long_words=False, break_on_hyphens=False)
    return wrapper.fill(text) or label.rstrip()
