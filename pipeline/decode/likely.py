"""Emissions as the search takes them: of every frame the labels that are likely, with their log-probabilities.

Knows nothing of texts.
"""

import functools
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
    several = np.flatnonzero(np.diff(likely.offsets) > 1)
    starts, ends, labels = (
        likely.offsets[several].tolist(),
        likely.offsets[several + 1].tolist(),
        likely.labels.tolist(),
    )
    places = list(range(len(labels)))
    for start, end in zip(starts, ends, strict=True):
        order = _set_order(tuple(labels[start:end]))
        if order:
            places[start:end] = [start + place for place in order]
    likely.labels[:], likely.logps[:] = likely.labels[places], likely.logps[places]


@functools.lru_cache(maxsize=1 << 16)
def _set_order(ascending: tuple[int, ...]) -> list[int]:
    """Where each label of the set stands among those that ascend; empty where they stand as they are."""
    order = list(set(ascending) | {ascending[0]})  # the union with its most probable label, whichever that is
    return [] if order == list(ascending) else [ascending.index(label) for label in order]
