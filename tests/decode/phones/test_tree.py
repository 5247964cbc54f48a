"""The lexicon's trie against tables made word by word, and how fast a large one is loaded."""

import math
from pathlib import Path

import numpy as np
import pytest

from pipeline.decode.hypotheses import WordModel
from pipeline.decode.lexicon import ROOT
from pipeline.decode.options import LN10, LmWeights
from pipeline.decode.phones.pronunciation import Pronunciation
from pipeline.decode.phones.tree import PhoneLexicon, child_of
from pipeline.decode.scorers import NativeScorer
from pipeline.lm.model import LanguageModel
from tests.decode import problems
from tests.decode.phones import said
from tests.decode.phones.said import PHONES, VOCABULARY

NUM_LABELS = len(VOCABULARY.labels)


@pytest.mark.parametrize("seed", range(8))
def test_every_pronunciation_and_nothing_else_is_in_the_trie(seed: int) -> None:
    rng = np.random.default_rng(seed)
    lexicon = said.lexicon_of(rng, int(rng.integers(1, 60)))
    built = PhoneLexicon(lexicon, NUM_LABELS)
    words = list(dict.fromkeys(word for word, _ in lexicon))
    assert built.words == ["", *words]
    trie, beginnings = built.trie, {labels[:place] for _, labels in lexicon for place in range(len(labels) + 1)}
    todo = [((), ROOT)]
    while todo:
        labels, node = todo.pop()
        beginnings.remove(labels)
        ends = [built.words[n] for n in trie.words[trie.words_first[node] : trie.words_first[node + 1]]]
        assert ends == [word for word in words if (word, labels) in set(lexicon)]
        for label in range(NUM_LABELS):
            child = child_of.py_func(trie, node, label)  # type: ignore[attr-defined]
            if child >= 0:
                todo.append(((*labels, label), child))
        assert trie.first[node + 1] - trie.first[node] == len(
            {b[len(labels)] for b in beginnings if b[: len(labels)] == labels}
        )
    assert not beginnings


@pytest.mark.parametrize("unigrams", [None, ("THE", "FILE", "BUG")])
def test_what_is_expected_of_a_node_is_what_its_words_score(tmp_path: Path, unigrams: tuple[str, ...] | None) -> None:
    rng = np.random.default_rng(2)
    lexicon = said.lexicon_of(rng, 40)
    lms = [LanguageModel.open(path) for path in problems.small_lms(tmp_path).values()][:2]
    weights = [LmWeights(0.7, 1.5, -4.0, share=2.0), LmWeights(1.1, -0.5, -10.0, share=0.5)]
    built = PhoneLexicon(lexicon, NUM_LABELS, [WordModel(lm, unigrams) for lm in lms])
    ahead = built.ahead(weights)
    assert {len(array) for array in ahead} == {len(built.trie.label)}

    def expected(words: list[str]) -> float:
        total = 0.0
        for lm, weight in zip(lms, weights, strict=True):
            scorer, mass = NativeScorer(lm), 0.0
            for word in words:
                known = word in scorer and (unigrams is None or word in unigrams)
                log10, _ = scorer.score(scorer.start(False), word)
                mass += 10 ** (log10 + (0.0 if known else weight.unk_score_offset))
            total += weight.share * (weight.alpha * math.log10(mass) * LN10 + weight.beta)
        return total / sum(weight.share for weight in weights)

    for labels in {spoken[:place] for _, spoken in lexicon for place in range(len(spoken) + 1)}:
        node = ROOT
        for label in labels:
            node = child_of.py_func(built.trie, node, label)  # type: ignore[attr-defined]
        entered = [word for word, spoken in lexicon if spoken[: len(labels)] == labels]
        below = [word for word, spoken in lexicon if spoken[: len(labels)] == labels and spoken != labels]
        assert ahead.entered[node] == pytest.approx(expected(entered))
        if below:
            assert ahead.below[node] == pytest.approx(expected(below))


def test_a_large_lexicon_keeps_its_words_apart() -> None:
    """The risk: numbers that overflow, where nodes times words exceed what 32 bits hold."""
    rng = np.random.default_rng(0)
    lengths = rng.integers(3, 12, 100_000)
    phones = rng.choice(PHONES, int(lengths.sum())).tolist()
    ends = np.cumsum(lengths).tolist()
    lexicon = [
        Pronunciation(f"w{n}", tuple(phones[end - size : end]))
        for n, (end, size) in enumerate(zip(ends, lengths.tolist(), strict=True))
    ]
    built = PhoneLexicon(lexicon, NUM_LABELS)
    trie = built.trie
    assert len(trie.words) == len(lexicon)
    for word, labels in lexicon[:: 1 << 10]:
        node = ROOT
        for label in labels:
            node = child_of.py_func(trie, node, label)  # type: ignore[attr-defined]
        assert built.numbers[word] in trie.words[trie.words_first[node] : trie.words_first[node + 1]]
