"""Scoring a word after a state, compiled: what a decoder's inner loop calls, whatever the model's format."""

import numpy as np

from pipeline.compiled import entry, inner
from pipeline.lm.memory import float32
from pipeline.lm.probing import advance_probing
from pipeline.lm.tables import STATE_WORDS, Backoffs, Lengths, StateWords, Tables
from pipeline.lm.trie import advance_trie
from pipeline.lm.vocabulary import U

__all__ = ["STATE_WORDS", "Tables", "advance", "begin", "states"]


def states(num: int) -> tuple[StateWords, Backoffs, Lengths]:
    """Room for so many states."""
    return (
        np.zeros((num, STATE_WORDS), np.uint32),
        np.zeros((num, STATE_WORDS), np.float32),
        np.zeros(num, np.int64),
    )


@entry
def begin(tables: Tables, words: StateWords, backoffs: Backoffs, lengths: Lengths, target: int, boundary: bool) -> None:
    """The state after <s>, or of no words at all, to row `target`."""
    lengths[target] = 0
    if boundary:
        unigram = 16 if tables.is_trie else 8
        words[target, 0] = tables.start_word
        backoffs[target, 0] = float32(U(tables.unigrams + unigram * tables.start_word + 4))
        lengths[target] = 1


@inner
def advance(
    tables: Tables, words: StateWords, backoffs: Backoffs, lengths: Lengths, source: int, word: int, target: int
) -> np.float32:
    """log10 p(word | state in row `source`), KenLM's to the bit; the state after it goes to row `target`, another."""
    if tables.is_trie:
        return advance_trie(tables, words, backoffs, lengths, source, word, target)
    return advance_probing(tables, words, backoffs, lengths, source, word, target)
