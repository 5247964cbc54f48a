"""What a model says of frames, as the log-probabilities that a search works with.

Knows nothing of labels, nor of searching.
"""

import math
from typing import Any

import numpy as np
import numpy.typing as npt

LEAST_P = 1e-15
SUM_TOLERANCE = 1e-3  # of a frame's probabilities, which may come from half precision


def log_probabilities(logits: npt.NDArray[Any], compat: bool = False) -> npt.NDArray[np.float64]:
    """Logits, log-probabilities or probabilities (T, V), whichever they look like, as log-probabilities.

    pyctcdecode asks only whether rows sum to one on average, to nine digits: so it misses float32 probabilities that
    were cast to float64, and mistakes some logits. Here each must be at least zero and every row sum to about one.
    """
    if not len(logits):
        return np.zeros(logits.shape, np.float64)
    if compat:
        are_probabilities = math.isclose(logits.sum(axis=1).mean(), 1)
    else:
        logits = logits.astype(np.promote_types(logits.dtype, np.float32))
        sums = logits.sum(axis=1, dtype=np.float64)
        are_probabilities = bool(logits.min() >= 0) and bool((np.abs(sums - 1) <= SUM_TOLERANCE).all())
        logits = logits.astype(np.float64) if are_probabilities else logits
    logps: npt.NDArray[np.float64]
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):  # NaN is reported by the search
        if are_probabilities:
            logps = np.log(np.clip(logits, LEAST_P, 1)).astype(np.float64)
        else:
            shifted = logits - logits.max(axis=1, keepdims=True)
            logps = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
            logps = np.clip(logps.astype(np.float64), np.log(LEAST_P), 0)
    return logps
