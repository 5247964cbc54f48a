"""The table of a suite: word error rates by dataset and run, of all recordings together, and the mean over datasets.

Knows nothing of how recordings are scored, or of how a table is shown.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc

from pipeline.evaluation.results import Rate
from pipeline.evaluation.scores import Scores
from pipeline.intervals import Floats, Groups, interval, resampled_rate
from pipeline.sources.joined import COLUMN

# No dataset has such a name.
TOGETHER = "all together"
MEAN = "mean of datasets"  # each counts as much, however large it is


def by_dataset(
    scored: Mapping[str, tuple[Scores, Groups]], datasets: Sequence[str], seed: int = 0
) -> dict[str, dict[str, Rate]]:
    """Of each run its scores, and what of them is resampled. Dataset -> run -> rate."""
    values = {run: _values(scores, datasets) for run, (scores, _) in scored.items()}
    # A dataset without references has no rate in any run. One without a rate in one run leaves that without a mean: it
    # would be a mean of others than beside it.
    compared = [name for name in datasets if any(of[name] is not None for of in values.values())]
    table: dict[str, dict[str, Rate]] = {name: {} for name in (*datasets, TOGETHER, MEAN)}
    for run, (scores, groups) in scored.items():
        drawn = _drawn(scores, groups, datasets, seed)
        for name in (*datasets, TOGETHER):
            table[name][run] = _rate(values[run][name], drawn[name])
        mean = _mean([values[run][name] for name in compared])
        table[MEAN][run] = _rate(mean, _mean_drawn([drawn[name] for name in compared]))
    return table if len(datasets) > 1 else {name: table[name] for name in datasets}


def _chosen(scores: Scores, name: str) -> npt.NDArray[np.bool_]:
    if name == TOGETHER:
        return np.ones(len(scores), bool)
    chosen: npt.NDArray[np.bool_] = pc.equal(scores.columns[COLUMN], name).to_numpy()
    return chosen


def _values(scores: Scores, datasets: Sequence[str]) -> dict[str, float | None]:
    return {name: scores.words.at(_chosen(scores, name)).sum().rate for name in (*datasets, TOGETHER)}


def _drawn(scores: Scores, groups: Groups, datasets: Sequence[str], seed: int) -> dict[str, Floats | None]:
    """(B,) rates of resamples; None where too few are there to be resampled.

    Datasets are drawn from by themselves, with random numbers of their own: they are no sample of all datasets.
    """
    own = dict(zip(datasets, np.random.SeedSequence(seed).generate_state(len(datasets)).tolist(), strict=True))
    drawn: dict[str, Floats | None] = {}
    for name in (*datasets, TOGETHER):
        chosen = _chosen(scores, name)
        words, of_these = scores.words.at(chosen), groups.at(chosen)
        enough = of_these.are_enough and words.num_reference.any()
        drawn[name] = (
            resampled_rate(words.num_errors, words.num_reference, of_these, own.get(name, seed)) if enough else None
        )
    return drawn


def _rate(value: float | None, drawn: Floats | None) -> Rate:
    return Rate(value, None if value is None or drawn is None else interval(drawn))


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known and len(known) == len(values) else None


def _mean_drawn(drawn: Sequence[Floats | None]) -> Floats | None:
    known = [rates for rates in drawn if rates is not None]
    return np.mean(known, axis=0) if known and len(known) == len(drawn) else None
