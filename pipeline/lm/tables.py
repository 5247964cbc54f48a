"""A model as compiled code sees it, and what scoring a word has in common over all formats.

One type for every format and order, so that a decoder is compiled once. Knows nothing of how an n-gram is found.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.compiled import inner
from pipeline.lm.kenlm_header import MAX_ORDER

STATE_WORDS = MAX_ORDER - 1
NO_EXTENSION = np.uint32(0x80000000)  # bits of -0.0, a backoff that says: no n-gram of the file begins with these words


class Tables(NamedTuple):
    """Integers only; valid as long as the `LanguageModel` that they are of."""

    is_trie: int
    order: int
    start_word: int  # id of <s>
    unigrams: int  # their address in memory
    levels: int  # address of (order - 1, columns) uint64: where 2-grams, 3-grams, ... are; columns by format


StateWords = npt.NDArray[np.uint32]  # (N, STATE_WORDS): newest first
Backoffs = npt.NDArray[np.float32]  # (N, STATE_WORDS)
Lengths = npt.NDArray[np.int64]  # (N,)


@inner
def settle(
    words: StateWords,
    backoffs: Backoffs,
    lengths: Lengths,
    source: int,
    target: int,
    value: np.float32,
    matched: int,
    kept: int,
) -> np.float32:
    """Charges the backoffs of context that was not matched, in KenLM's order; keeps what later words may need."""
    for level in range(matched, lengths[source]):
        value += backoffs[source, level]
    for level in range(1, kept):
        words[target, level] = words[source, level - 1]
    lengths[target] = kept
    return value
