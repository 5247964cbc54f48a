"""Emissions as the search takes them: of every frame the labels that are likely, with their log-probabilities.

Knows nothing of texts.
"""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.compiled import entry, inner
from pipeline.errors import RecordingError

FLOOR = float(np.log(1e-15))  # less probable than this is as if it were this


class Likely(NamedTuple):
    """Frame t's labels are labels[offsets[t]:offsets[t + 1]]."""

    offsets: npt.NDArray[np.int64]  # (T + 1,)
    labels: npt.NDArray[np.int32]
    logps: npt.NDArray[np.float64]


def likely_labels(emissions: npt.NDArray[Any], token_min_logp: float, compat: bool) -> Likely:
    """Of emissions (T, V) in any float type, the labels not below a log-probability, and each frame's best."""
    if emissions.dtype == np.float16:
        emissions = emissions.astype(np.float32)
    emissions = np.ascontiguousarray(emissions)
    if (bad := int(_first_bad(emissions))) >= 0:
        raise RecordingError("emissions that are not numbers", f"first in frame {bad}")
    likely = Likely(*_sparse(emissions, token_min_logp, FLOOR, np.inf if compat else 0.0))
    if compat:
        _reorder_as_set(likely)
    return likely


@entry
def _first_bad(emissions: npt.NDArray[Any]) -> int:
    """The first frame that does not hold log-probabilities, or -1."""
    for t in range(emissions.shape[0]):
        best = emissions[t, 0]
        for label in range(emissions.shape[1]):
            if not emissions[t, label] < np.inf:  # NaN too
                return t
            best = max(best, emissions[t, label])
        if best == -np.inf:
            return t
    return -1


@entry
def _sparse(
    emissions: npt.NDArray[Any], token_min_logp: float, floor: float, ceiling: float
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int32], npt.NDArray[np.float64]]:
    num_frames, num_labels = emissions.shape
    offsets = np.zeros(num_frames + 1, np.int64)
    for t in range(num_frames):
        count = 0
        for label in range(num_labels):
            count += emissions[t, label] >= token_min_logp
        offsets[t + 1] = offsets[t] + max(count, 1)
    labels, logps = np.empty(offsets[-1], np.int32), np.empty(offsets[-1], np.float64)
    for t in range(num_frames):
        place, best = offsets[t], 0
        for label in range(num_labels):
            if emissions[t, label] > emissions[t, best]:
                best = label
            if emissions[t, label] >= token_min_logp:
                labels[place], logps[place] = label, _between(floor, emissions[t, label], ceiling)
                place += 1
        if place == offsets[t]:
            labels[place], logps[place] = best, _between(floor, emissions[t, best], ceiling)
    return offsets, labels, logps


@inner
def _between(floor: float, value: float, ceiling: float) -> float:
    return min(max(np.float64(value), floor), ceiling)


def _reorder_as_set(likely: Likely) -> None:
    """pyctcdecode tries a frame's labels in the order of a Python set, which decides between equal scores."""
    bounds = likely.offsets.tolist()
    for frame in np.flatnonzero(np.diff(likely.offsets) > 1).tolist():
        labels, logps = (array[bounds[frame] : bounds[frame + 1]] for array in (likely.labels, likely.logps))
        ascending = labels.tolist()
        order = list(set(ascending) | {ascending[int(logps.argmax())]})
        if order != ascending:
            places = [ascending.index(label) for label in order]
            labels[:], logps[:] = labels[places], logps[places]
