"""Recordings to look at and to plot: those with the most errors, a sample of all, and how errors are spread.

Knows nothing of how they are shown.
"""

from collections.abc import Iterable, Sequence
from math import inf, isnan
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.evaluation.results import Example, Point
from pipeline.evaluation.rows import SCHEMA, Level
from pipeline.evaluation.scores import Errors, Scores
from pipeline.records import ErrorCounts

STEPS = 10  # of the histogram, to 100 %
WORST_FIRST = [("errors", "descending"), ("rate", "descending"), ("id", "ascending")]


def worst(tables: Iterable[pa.Table], num: int = 20, level: Level = Level.WORDS) -> tuple[Example, ...]:
    """Of scored rows the recordings with the most errors: they are what a rate is made of, so a look pays most.

    Of as many errors the higher rate comes first, then the smaller id. What has no error is not among them.
    """
    kept: tuple[Example, ...] = ()
    for table in tables:
        kept = first((*kept, *_worst_of(table, num, level)), num)
    return kept


def first(some: Iterable[Example], num: int) -> tuple[Example, ...]:
    """Of the worst of several parts the worst of all."""
    return tuple(sorted(some, key=_place)[:num])


def points(scores: Scores, num: int = 2000, seed: int = 0) -> tuple[Point, ...]:
    """Recordings whose reference says something, drawn at random where there are more, in the order of the run."""
    chosen = np.flatnonzero(scores.errors.num_reference)
    if len(chosen) > num:
        chosen = np.sort(np.random.default_rng(seed).choice(chosen, num, replace=False))
    columns = (scores.duration_s[chosen], scores.confidence[chosen], _rates(scores.errors.at(chosen)))
    return tuple(
        Point(_known(duration_s), _known(confidence), rate)
        for duration_s, confidence, rate in zip(*(column.tolist() for column in columns), strict=True)
    )


def histogram(scores: Scores) -> tuple[tuple[float, float, int], ...]:
    """Recordings by error rate: those with none; over 0 to 10 %, 10 % included, and so on; over 100 %.

    The last ends at the highest that there is.
    """
    rates = _rates(scores.errors.at(scores.errors.num_reference > 0))
    ends = np.arange(STEPS + 1) / STEPS
    counts = np.bincount(np.searchsorted(ends, rates, side="left"), minlength=STEPS + 2)
    highest = rates.max(initial=1.0)
    return tuple(zip([0.0, *ends.tolist()], [*ends.tolist(), float(highest)], counts.tolist(), strict=True))


def _worst_of(table: pa.Table, num: int, level: Level) -> list[Example]:
    hits, substitutions, deletions, insertions = (pc.fill_null(table[name], 0) for name in level.counts)
    wrong = pc.add(substitutions, deletions)
    errors = pc.add(wrong, insertions)
    rate = pc.divide(errors.cast(pa.float64()), pc.add(wrong, hits).cast(pa.float64()))  # infinite of nothing said
    ranked = pa.table({"id": table["id"], "errors": errors, "rate": rate, "row": np.arange(len(table))})
    ranked = ranked.filter(pc.greater(errors, 0))
    chosen = pc.select_k_unstable(ranked, num, WORST_FIRST)  # unstable of equal ids, which a run does not have
    passed = [name for name in table.column_names if name not in SCHEMA.names]
    return [example(row, passed, level) for row in table.take(ranked["row"].take(chosen)).to_pylist()]


def example(row: dict[str, Any], passed: Sequence[str], level: Level = Level.WORDS) -> Example:
    """A scored row; `passed` are the columns that are not ours."""
    return Example(
        id=row["id"],
        uri=row["uri"],
        reference=row["reference"] or "",
        text=row["text"] or "",
        said=row[level.said] or "",
        heard=row[level.heard] or "",
        alignment=row[level.alignment] or "",
        errors=ErrorCounts(*(row[name] for name in level.counts)),
        duration_s=row["duration_s"],
        confidence=row["confidence"],
        columns={name: row[name] for name in passed},
    )


def _place(one: Example) -> tuple[float, float, str]:
    errors = one.errors
    return -errors.num_errors, -inf if errors.rate is None else -errors.rate, one.id


def _rates(errors: Errors) -> npt.NDArray[np.float64]:
    """Of recordings whose reference says something."""
    return errors.num_errors / errors.num_reference


def _known(value: float) -> float | None:
    return None if isnan(value) else value
