"""Scores from counts alone, where what was said does not matter."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.evaluation.scores import Coverage, Errors, Scores


def counted(
    words: Sequence[int], errors: Sequence[int], columns: Mapping[str, Any] | None = None, **known: Any
) -> Scores:
    """Errors are substitutions as far as there are words, and then insertions; of characters there are five times each.

    `known`: durations, confidences or estimates of noise; elsewhere they are unknown.
    """
    said, wrong = np.asarray(words, np.int64), np.asarray(errors, np.int64)
    substitutions, none = np.minimum(said, wrong), np.zeros(len(said), np.int64)
    each = (said - substitutions, substitutions, none, wrong - substitutions)
    names = ("duration_s", "confidence", "snr_estimate_db")
    numbers: dict[str, npt.NDArray[np.float64]] = {
        name: np.asarray(known.get(name, np.full(len(said), np.nan)), np.float64) for name in names
    }
    return Scores(
        coverage=Coverage(num_recordings=len(said), num_scored=len(said)),
        ids=pa.array([f"r{number}" for number in range(len(said))], pa.string()),
        words=Errors(*each),
        chars=Errors(*(5 * column for column in each)),
        phones=None,
        oracle=None,
        columns=pa.table(dict(columns)) if columns else pa.table({"": pa.nulls(len(said))}).select([]),
        **numbers,
    )
