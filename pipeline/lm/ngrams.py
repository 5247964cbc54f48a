"""The n-grams of a language model on their way into a file: one `Order` per length, in pieces that fit in memory.

What the readers of ARPA and the estimator hand to the writers of ARPA and of the binary; knows nothing of any of them.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt


class Piece(NamedTuple):
    """Some n-grams of one order."""

    words: npt.NDArray[np.uint32]  # (N, order) ids, the oldest word first
    log10: npt.NDArray[np.float32]  # (N,) log10 probability of the last word after the others
    backoff: npt.NDArray[np.float32]  # (N,) log10; zeros in the highest order


@dataclass(frozen=True)
class Order:
    """All n-grams of one length, given out in pieces, any number of times.

    The first order's pieces hold every word exactly once, in the order of the ids: 0 is <unk>.
    """

    order: int
    num: int
    pieces: Callable[[], Iterator[Piece]]
