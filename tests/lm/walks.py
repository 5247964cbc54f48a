"""KenLM's own module beside this program's reader: the same random walks through a model's states."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.lm.lookup import advance, begin, states
from pipeline.lm.model import LanguageModel

UNSEEN = "\x01never seen"


@dataclass(frozen=True)
class Walk:
    ours: np.ndarray  # (steps,) float32 log10 probabilities
    theirs: np.ndarray
    matched: np.ndarray  # (steps,) how long an n-gram KenLM found


def ngrams_of(arpa: str) -> list[list[str]]:
    """The words of every n-gram in ARPA text: walks that never follow any stay among the 1-grams."""
    return [line.split("\t")[1].split(" ") for line in arpa.split("\n") if "\t" in line]


def walk(model: LanguageModel, theirs: Any, ngrams: list[list[str]], steps: int, seed: int) -> Walk:
    """States are carried on for hundreds of words, through unknown words, <s> and </s> in the middle too."""
    import kenlm

    rng = np.random.default_rng(seed)
    rows, (state, after) = states(2), (kenlm.State(), kenlm.State())
    ours, expected, matched = [], [], []
    here = 0
    words: list[str] = []
    for step in range(steps):
        if step % 300 == 0:
            boundary = bool(rng.integers(2))
            begin(model.tables, *rows, here, boundary)
            (theirs.BeginSentenceWrite if boundary else theirs.NullContextWrite)(state)
        if not words:
            words = list(ngrams[rng.integers(len(ngrams))]) if rng.random() < 0.9 else [UNSEEN]
            words = words[rng.integers(len(words)) :] if rng.random() < 0.3 else words
        word = words.pop(0)
        ours.append(advance(model.tables, *rows, here, int(model.ids([word])[0]), 1 - here))
        full = theirs.BaseFullScore(state, word, after)
        expected.append(full.log_prob)
        matched.append(full.ngram_length)
        here, state, after = 1 - here, after, state
    return Walk(np.array(ours, np.float32), np.array(expected, np.float32), np.array(matched))
