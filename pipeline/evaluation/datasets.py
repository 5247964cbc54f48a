"""The table of a suite: error rates by dataset and run, of all recordings together, and the mean over datasets.

Knows nothing of how recordings are scored, or of how a table is shown.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc

from pipeline.evaluation.rates import error_rate
from pipeline.evaluation.results import Rate
from pipeline.evaluation.rows import Level
from pipeline.evaluation.scores import Scores, in_common
from pipeline.intervals import Floats, Groups, interval, ratio, resampled
from pipeline.sources.joined import COLUMN

# No dataset has such a name.
TOGETHER = "all together"
MEAN = "mean of datasets"  # each counts as much, however large it is


def by_dataset(scored: Mapping[str, tuple[Scores, Groups]], datasets: Sequence[str]) -> dict[str, dict[str, Rate]]:
    """Of each run its scores, and what of them is resampled. Dataset -> run -> rate."""
    table: dict[str, dict[str, Rate]] = {name: {} for name in datasets}
    level = in_common([scores for scores, _ in scored.values()])
    for run, (scores, groups) in scored.items():
        for name in datasets:
            chosen = _of(scores, name)
            table[name][run] = error_rate(scores.of(level).at(chosen), groups.at(chosen))
    if len(datasets) == 1:
        return table
    # A dataset without references has no rate in any run. One without a rate in one run leaves that without a mean: it
    # would be a mean of others than beside it.
    compared = [name for name in datasets if any(rate.value is not None for rate in table[name].values())]
    means = {
        run: _mean({name: table[name][run] for name in compared}, scores, level, groups)
        for run, (scores, groups) in scored.items()
    }
    together = {run: error_rate(scores.of(level), groups) for run, (scores, groups) in scored.items()}
    return table | {TOGETHER: together, MEAN: means}


def _of(scores: Scores, dataset: str) -> npt.NDArray[np.bool_]:
    chosen: npt.NDArray[np.bool_] = pc.equal(scores.columns[COLUMN], dataset).to_numpy()
    return chosen


def _mean(rates: Mapping[str, Rate], scores: Scores, level: Level, groups: Groups) -> Rate:
    values = [rate.value for rate in rates.values() if rate.value is not None]
    if not values or len(values) < len(rates):
        return Rate(None)
    are_enough = all(rate.interval is not None for rate in rates.values())
    return Rate(
        sum(values) / len(values), interval(_drawn_means(list(rates), scores, level, groups)) if are_enough else None
    )


def _drawn_means(datasets: Sequence[str], scores: Scores, level: Level, groups: Groups) -> Floats:
    """(B,) All datasets from the same draws: what is drawn, such as a speaker, may be in several of them."""
    all_errors, of = scores.of(level), [_of(scores, name) for name in datasets]
    columns = [column * chosen for column in (all_errors.num_errors, all_errors.num_reference) for chosen in of]
    sums = resampled(np.stack(columns, axis=1), groups)  # (B, 2 D)
    errors, totals = np.split(sums, 2, axis=1)
    rates = [ratio(*both) for both in zip(errors.T, totals.T, strict=True)]
    means: Floats = np.mean(rates, axis=0)
    return means
