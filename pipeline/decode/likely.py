"""Emissions as the search takes them: of every frame the labels that are likely, with their log-probabilities.

Knows nothing of texts.
"""

import functools
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.compiled import entry, inner
from pipeline.decode.alphabet import Alphabet
from pipeline.decode.options import FLOOR
from pipeline.errors import RecordingError, UsageError


class SparseEmissions(NamedTuple):
    """Frames with their likely labels only: those of frame t are labels[offsets[t]:offsets[t + 1]], ascending."""

    offsets: npt.NDArray[np.int64]  # (T + 1,)
    labels: npt.NDArray[np.int32]
    logps: npt.NDArray[np.float64]

    @property
    def num_frames(self) -> int:
        return len(self.offsets) - 1


def top_k(emissions: npt.NDArray[Any], k: int) -> SparseEmissions:
    """The k most probable labels of every frame (T, V); of equals the lower."""
    num_frames, num_labels = emissions.shape
    k = min(k, num_labels)
    labels = np.sort(np.argsort(-emissions, axis=1, kind="stable")[:, :k], axis=1)  # (T, k)
    logps = np.take_along_axis(emissions, labels, axis=1).astype(np.float64)  # (T, k)
    return SparseEmissions(np.arange(num_frames + 1) * k, labels.astype(np.int32).ravel(), logps.ravel())


def likely_labels(
    emissions: "npt.NDArray[Any] | SparseEmissions", alphabet: Alphabet, token_min_logp: float, compat: bool
) -> SparseEmissions:
    """The labels not below a log-probability, and each frame's best; of emissions (T, V) in any float type."""
    least, ceiling = float(token_min_logp), np.inf if compat else 0.0
    if isinstance(emissions, SparseEmissions):
        sparse = _checked(emissions, len(alphabet.labels))
        _refuse(_first_bad_of_sparse(*sparse), sparse.num_frames)
        likely = SparseEmissions(*_thinned(*sparse, least, FLOOR, ceiling))
    else:
        dense = np.asarray(emissions)
        if dense.dtype.kind != "f":
            raise UsageError(f"emissions are log-probabilities in floating point, not {dense.dtype}")
        if dense.ndim != 2:
            raise UsageError(f"emissions have two dimensions, frames and labels, not the shape {dense.shape}")
        alphabet.check_width(dense.shape[1])
        # One of two types, writable and in order: every other would be compiled for anew.
        dense = np.require(dense, np.float32 if dense.dtype.itemsize < 8 else np.float64, ["C", "W"])
        _refuse(_first_bad(dense), len(dense))
        likely = SparseEmissions(*_sparse(dense, least, FLOOR, ceiling))
    if compat:
        _reorder_as_set(likely)
    return likely


def _checked(emissions: SparseEmissions, num_labels: int) -> SparseEmissions:
    """In the types that compiled code takes; refused where it would read beyond them, or a frame says nothing."""
    offsets, labels, logps = map(np.asarray, emissions)
    if offsets.dtype.kind not in "iu" or labels.dtype.kind not in "iu" or logps.dtype.kind != "f":
        raise UsageError(
            "sparse emissions: offsets and labels are whole numbers and logps floating point, "
            f"not {offsets.dtype}, {labels.dtype} and {logps.dtype}"
        )
    if not offsets.ndim == labels.ndim == logps.ndim == 1:
        raise UsageError("sparse emissions: offsets, labels and logps have one dimension each")
    if ((labels < 0) | (labels >= num_labels)).any():
        beyond = labels[(labels < 0) | (labels >= num_labels)][0]
        raise UsageError(f"sparse emissions have the label {beyond}, but there are {num_labels}")
    offsets = np.require(offsets, np.int64, ["C", "W"])
    if len(offsets) == 0 or offsets[0] != 0 or offsets[-1] != len(labels) or len(labels) != len(logps):
        raise UsageError("sparse emissions: offsets run from 0 to the number of labels, which is that of logps")
    if (np.diff(offsets) < 1).any():
        raise UsageError(f"sparse emissions: frame {int((np.diff(offsets) < 1).argmax())} has no label")
    return SparseEmissions(offsets, np.require(labels, np.int32, ["C", "W"]), np.require(logps, np.float64, ["C", "W"]))


def _refuse(bad: int, num_frames: int) -> None:
    if bad >= 0:
        raise RecordingError("emissions that are not numbers", f"first in frame {int(bad)} of {num_frames}")


@entry
def _first_bad_of_sparse(
    offsets: npt.NDArray[np.int64], labels: npt.NDArray[np.int32], logps: npt.NDArray[np.float64]
) -> int:
    for t in range(len(offsets) - 1):
        best = -np.inf
        for i in range(offsets[t], offsets[t + 1]):
            if not logps[i] < np.inf:  # NaN too
                return t
            best = max(best, logps[i])
        if best == -np.inf:
            return t
    return -1


@entry
def _thinned(
    offsets: npt.NDArray[np.int64],
    labels: npt.NDArray[np.int32],
    logps: npt.NDArray[np.float64],
    token_min_logp: float,
    floor: float,
    ceiling: float,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int32], npt.NDArray[np.float64]]:
    kept_offsets, kept_labels, kept_logps = np.zeros_like(offsets), np.empty_like(labels), np.empty_like(logps)
    place = 0
    for t in range(len(offsets) - 1):
        best, before = offsets[t], place
        for i in range(offsets[t], offsets[t + 1]):
            if logps[i] > logps[best]:
                best = i
            if logps[i] >= token_min_logp:
                kept_labels[place], kept_logps[place] = labels[i], _between(floor, logps[i], ceiling)
                place += 1
        if place == before:
            kept_labels[place], kept_logps[place] = labels[best], _between(floor, logps[best], ceiling)
            place += 1
        kept_offsets[t + 1] = place
    return kept_offsets, kept_labels[:place], kept_logps[:place]


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


def _reorder_as_set(likely: SparseEmissions) -> None:
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
