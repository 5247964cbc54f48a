"""Sample transcripts: a few recordings as two runs have heard them, from the rows that were scored.

Knows nothing of how the runs were made, or of how samples are shown.
"""

from collections.abc import Mapping
from itertools import groupby

from pipeline.evaluation.gather import tables
from pipeline.evaluation.results import Example
from pipeline.evaluation.rows import SCHEMA, is_scored
from pipeline.evaluation.worst import example
from pipeline.report.aligned import places
from pipeline.run import Run

MOST_S = 60.0  # a longer recording is no sample
PLACES = (0.25, 0.5, 0.75)  # of the samples in the order of their errors

Sample = tuple[Example, Example]  # a recording as either run has heard it


def scored(run: Run) -> dict[str, Example]:
    """The recordings of scored rows by their ids."""
    found: dict[str, Example] = {}
    for table in tables(run):
        passed = [name for name in table.column_names if name not in SCHEMA.names]
        found |= {row["id"]: example(row, passed) for row in table.filter(is_scored(table)).to_pylist()}
    return found


def samples(first: Mapping[str, Example], second: Mapping[str, Example]) -> list[Sample]:
    """Those at `PLACES` in the order of their word error rates, in the second run first: no cherries picked."""

    def by_errors(sample: Sample) -> tuple[float, float, str]:
        before, after = sample
        return after.errors.rate or 0.0, before.errors.rate or 0.0, after.id

    heard = [(before, second[name]) for name, before in first.items() if name in second]
    ordered = sorted([one for one in heard if (one[0].duration_s or 0.0) < MOST_S], key=by_errors)
    chosen = dict.fromkeys(round(place * (len(ordered) - 1)) for place in PLACES) if ordered else ()
    return [ordered[number] for number in chosen]


def differences(heard: Example) -> str:
    """The text, with [what was said>what was heard] where the two differ; either may be nothing."""
    shown = []
    for is_equal, group in groupby(places([heard]), lambda place: place.is_equal):  # neighbouring errors are one
        words = [(place.said, *(one.word for one in place.heard if one)) for place in group]
        said, text = (" ".join(filter(None, side)) for side in zip(*words, strict=True))
        shown.append(text if is_equal else f"[{said}>{text}]")
    return " ".join(shown)
