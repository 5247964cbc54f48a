"""What the demo's runs came to: error rates with and without the language model side by side, and sample transcripts.

From the runs' parts alone. Knows nothing of how the runs were made, or of how the figures are shown.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from pipeline.evaluation.rates import error_rate, rate
from pipeline.evaluation.results import Rate
from pipeline.evaluation.scores import Errors
from pipeline.intervals import Groups
from pipeline.records import COUNT_FIELDS, ErrorCounts
from pipeline.run import Run
from pipeline.write import read_parts

LONG_S = 60.0  # from here on a recording is a long one
PLACES = (0.25, 0.5, 0.75)  # of the samples in the order of their errors

Kind = Literal["word", "char"]


@dataclass(frozen=True)
class Decoded:
    """What a decoder made of a recording."""

    text: str
    word: ErrorCounts
    char: ErrorCounts


@dataclass(frozen=True)
class Transcribed:
    """A recording with a reference that was transcribed both ways."""

    name: str  # its input, and its id there
    speaker: str  # one without is a speaker of its own
    seconds: float
    reference: str
    greedy: Decoded
    with_lm: Decoded


@dataclass(frozen=True)
class Compared:
    """One error rate both ways, and how much lower it is with the language model, by recordings that both have."""

    greedy: Rate
    with_lm: Rate
    gain: Rate


@dataclass(frozen=True)
class Outcome:
    num_scored: int  # recordings
    num_speakers: int  # what is resampled
    words: Compared
    chars: Compared
    num_long: int
    long_words: Compared | None  # None: no recording is long
    samples: list[Transcribed]


def outcome(heard: Sequence[Transcribed]) -> Outcome:
    """Of at least one recording."""
    long = [one for one in heard if one.seconds >= LONG_S]
    return Outcome(
        num_scored=len(heard),
        num_speakers=len({one.speaker for one in heard}),
        words=compare(heard, "word"),
        chars=compare(heard, "char"),
        num_long=len(long),
        long_words=compare(long, "word") if long else None,
        samples=samples([one for one in heard if one.seconds < LONG_S]),
    )


def both_ways(name: str, with_lm: Run, greedy: Run) -> list[Transcribed]:
    """The recordings of an input that both of its runs have transcribed and scored, in the order of the input."""
    decoded_greedily = {row["id"]: row for row in _scored(greedy)}
    return [
        Transcribed(
            name=f"{name}/{row['id']}",
            speaker=str(row.get("speaker") or f"{name}/{row['id']}"),
            seconds=row["duration_s"],
            reference=row["reference"],
            greedy=_decoded(decoded_greedily[row["id"]]),
            with_lm=_decoded(row),
        )
        for row in _scored(with_lm)
        if row["id"] in decoded_greedily
    ]


def compare(heard: Sequence[Transcribed], kind: Kind) -> Compared:
    """Speakers are resampled and not recordings, because the recordings of one voice fail together."""
    speakers = Groups.of([one.speaker for one in heard])
    before = _errors([getattr(one.greedy, kind) for one in heard])
    after = _errors([getattr(one.with_lm, kind) for one in heard])
    return Compared(
        greedy=error_rate(before, speakers),
        with_lm=error_rate(after, speakers),
        gain=rate(before.num_errors - after.num_errors, before.num_reference, speakers),
    )


def samples(heard: Sequence[Transcribed]) -> list[Transcribed]:
    """Those at `PLACES` in the order of their word error rates, with the language model first: no cherries picked."""

    def by_errors(one: Transcribed) -> tuple[float, float, str]:
        return one.with_lm.word.rate or 0.0, one.greedy.word.rate or 0.0, one.name

    ordered = sorted(heard, key=by_errors)
    chosen = dict.fromkeys(round(place * (len(ordered) - 1)) for place in PLACES) if ordered else ()
    return [ordered[number] for number in chosen]


def differences(reference: str, text: str) -> str:
    """The text, with [what was said>what was heard] where the two differ; either may be nothing."""
    import jiwer

    said, heard = reference.split(), text.split()
    (chunks,) = jiwer.process_words(" ".join(said), " ".join(heard)).alignments
    shown: list[str] = []
    wrong: tuple[list[str], list[str]] = ([], [])
    for chunk in chunks:
        ours, theirs = said[chunk.ref_start_idx : chunk.ref_end_idx], heard[chunk.hyp_start_idx : chunk.hyp_end_idx]
        if chunk.type == "equal":
            shown += [*_marked(*wrong), *theirs]
            wrong = ([], [])
        else:  # neighbouring errors are one difference
            wrong = (wrong[0] + ours, wrong[1] + theirs)
    return " ".join([*shown, *_marked(*wrong)])


def _marked(said: list[str], heard: list[str]) -> list[str]:
    return [f"[{' '.join(said)}>{' '.join(heard)}]"] if said or heard else []


def _errors(counts: Sequence[ErrorCounts]) -> Errors:
    return Errors(*(np.array([getattr(count, name) for count in counts], np.int64) for name in COUNT_FIELDS))


def _scored(run: Run) -> list[dict[str, Any]]:
    return [row for row in read_parts(run).to_pylist() if row["word_hits"] is not None]


def _decoded(row: dict[str, Any]) -> Decoded:
    words, chars = (ErrorCounts(*(row[f"{kind}_{name}"] for name in COUNT_FIELDS)) for kind in ("word", "char"))
    return Decoded(row["text"], words, chars)
