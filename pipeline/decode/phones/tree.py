"""The words of a lexicon as one trie over phones, and what language models expect of the words below each node.

Nodes are numbered breadth first, so that a node's children are neighbours. Knows nothing of emissions.
"""

from collections.abc import Sequence
from itertools import chain
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.compiled import entry, inner
from pipeline.decode.hypotheses import WordModel
from pipeline.decode.lexicon import ROOT, Flags, Ints, Longs, Row
from pipeline.decode.options import LN10, MARKS, LmWeights
from pipeline.decode.phones.pronunciation import Pronunciation
from pipeline.lm.lookup import advance, states
from pipeline.lm.tables import Backoffs, Lengths, StateWords, Tables

Floats = npt.NDArray[np.float64]


class PhoneTrie(NamedTuple):
    """Nodes, the root first, and words, numbered from 1 in the lexicon's order."""

    num_nodes: int  # more than any node's number and any word's
    label: Ints  # (N,) the phone that leads to the node
    first: Ints  # (N + 1,) the children of node n are first[n] to first[n + 1]
    from_root: Ints  # (V,) child of the root by phone, -1: none
    words_first: Ints  # (N + 1,) the words that end at node n are words[words_first[n]:words_first[n + 1]]
    words: Ints
    word_ids: Ints  # (W, num_models) id of each word, 0: none
    unknown_word: Flags  # (W, num_models) 1: it gets the penalty


class Ahead(NamedTuple):
    """What the search expects of a word that has come as far as a node: the score of all words that go on from it."""

    entered: Floats  # (N,) words that end at the node included
    below: Floats  # (N,) without these


class PhoneLexicon:
    """The trie, with all that follows from a lexicon and language models, but not from their weights."""

    def __init__(self, lexicon: Sequence[Pronunciation], num_labels: int, models: Sequence[WordModel] = ()) -> None:
        numbers: dict[str, int] = {}
        of_word = np.fromiter((numbers.setdefault(word, len(numbers) + 1) for word, _ in lexicon), np.int64)
        self.words = ["", *numbers]
        self.numbers = numbers
        parent, label, ends = _grown(lexicon, num_labels)
        nodes = np.arange(len(parent) + 1)
        pairs = np.unique(ends * len(self.words) + of_word)  # by node; a node's words in the lexicon's order, each once
        at = pairs // len(self.words)
        from_root = np.full(num_labels, -1, np.int32)
        from_root[label[1:][parent[1:] == ROOT]] = 1 + np.arange((parent[1:] == ROOT).sum())
        ids, unknown = _known(self.words, models)
        self.trie = PhoneTrie(
            num_nodes=max(len(parent), len(self.words)),
            label=label.astype(np.int32),
            first=(1 + np.searchsorted(parent[1:], nodes)).astype(np.int32),
            from_root=from_root,
            words_first=np.searchsorted(at, nodes).astype(np.int32),
            words=(pairs % len(self.words)).astype(np.int32),
            word_ids=ids.astype(np.int32),
            unknown_word=unknown.astype(np.uint8),
        )
        self._parent, self._of_word, self._ends = parent, of_word, ends
        self._entered, self._below = self._masses([m.model.tables for m in models])

    def ahead(self, weights: Sequence[LmWeights]) -> Ahead:
        """Under these weights, whose shares do not add up to nothing."""
        return Ahead(self._expected(self._entered, weights), self._expected(self._below, weights))

    def with_hotwords(self, ahead: Ahead, words: Sequence[str], weight: float) -> Ahead:
        """What is expected when these words are hot: their weight, as much of it as of the word has been said."""
        entered, below = np.zeros(len(self._parent)), np.zeros(len(self._parent))  # the greatest part of a hotword
        chosen = np.isin(self._of_word, [self.numbers[word] for word in words if word in self.numbers])
        for end in np.unique(self._ends[chosen]).tolist():
            path = [end]
            while path[-1] != ROOT:
                path.append(int(self._parent[path[-1]]))
            part = 1 - np.arange(len(path)) / (len(path) - 1)
            entered[path] = np.maximum(entered[path], part)
            below[path[1:]] = np.maximum(below[path[1:]], part[1:])
        return Ahead(ahead.entered + weight * entered, ahead.below + weight * below)

    def _masses(self, models: Sequence[Tables]) -> tuple[Floats, Floats]:
        """log p of all words from each node on, entered and below: (N, 2 * num_models), of known words by model, then
        of unknown ones, which get a penalty. A word that is said in several ways counts each time.
        """
        own = np.full((len(self._parent), 2 * len(models)), -np.inf)
        for model, tables in enumerate(models):
            log_p = LN10 * _unigrams(tables, self.trie.word_ids[:, model], *states(2))[self._of_word]
            unknown = self.trie.unknown_word[self._of_word, model] == 1
            for column, chosen in ((model, ~unknown), (model + len(models), unknown)):
                np.logaddexp.at(own[:, column], self._ends[chosen], log_p[chosen])
        below = _summed(self.trie.first, own)
        return np.logaddexp(own, below), below

    def _expected(self, masses: Floats, weights: Sequence[LmWeights]) -> Floats:
        expected = np.zeros(len(masses))
        for model, weight in enumerate(weights):
            unknown = masses[:, model + len(weights)] + weight.unk_score_offset * LN10
            mass = np.logaddexp(masses[:, model], unknown)
            mass[np.isneginf(mass)] = 0.0  # below a last phone, where nobody looks
            expected += weight.share * (weight.alpha * mass + weight.beta)
        return expected / (sum(weight.share for weight in weights) or 1.0)


def _grown(lexicon: Sequence[Pronunciation], num_labels: int) -> tuple[Longs, Longs, Longs]:
    """Each node's parent and phone; the node that each pronunciation ends at."""
    lengths = np.fromiter((len(labels) for _, labels in lexicon), np.int64)
    labels = np.fromiter(chain.from_iterable(labels for _, labels in lexicon), np.int64)
    starts = np.cumsum(lengths) - lengths
    ends = np.zeros(len(lexicon), np.int64)
    parents, phones, num_nodes = [np.zeros(1, np.int64)], [np.zeros(1, np.int64)], 1
    for depth in range(int(lengths.max())):
        longer = np.flatnonzero(lengths > depth)
        keys, places = np.unique(ends[longer] * num_labels + labels[starts[longer] + depth], return_inverse=True)
        ends[longer] = num_nodes + places
        parents.append(keys // num_labels)
        phones.append(keys % num_labels)
        num_nodes += len(keys)
    return np.concatenate(parents), np.concatenate(phones), ends


def _known(words: Sequence[str], models: Sequence[WordModel]) -> tuple[Longs, npt.NDArray[np.bool_]]:
    """(W, num_models) the words' ids, and whether they are no unigrams: those given, or all that the model knows."""
    ids = np.zeros((len(words), len(models)), np.int64)
    unknown = np.ones((len(words), len(models)), np.bool_)
    for number, model in enumerate(models):
        ids[1:, number] = model.model.ids(list(words[1:]))
        unigrams = None if model.unigrams is None else set(model.unigrams)
        if unigrams is not None and not model.model.ids(list(unigrams)).any():
            unigrams = None  # none that the model knows: as the search of letters has it
        is_unigram = [word not in MARKS if unigrams is None else word in unigrams for word in words]
        unknown[:, number] = ~np.array(is_unigram) | (ids[:, number] == 0)
    return ids, unknown


@entry
def _unigrams(tables: Tables, ids: Ints, words: StateWords, backoffs: Backoffs, lengths: Lengths) -> Floats:
    """log10 p of words without context."""
    scores = np.empty(len(ids))
    for number in range(len(ids)):
        scores[number] = advance(tables, words, backoffs, lengths, 0, int(ids[number]), 1)
    return scores


@entry
def _summed(first: Ints, own: Floats) -> Floats:
    """log of the sum of what all nodes below each have of their own, by column."""
    below = np.full(own.shape, -np.inf)
    for column in range(own.shape[1]):
        for node in range(len(own) - 1, -1, -1):
            for child in range(first[node], first[node + 1]):
                for of in (own[child, column], below[child, column]):
                    if of > -np.inf:
                        high, low = max(below[node, column], of), min(below[node, column], of)
                        below[node, column] = high + np.log(1.0 + np.exp(low - high))
    return below


@inner
def child_of(trie: PhoneTrie, node: Row, label: int) -> Row:
    """The node that a phone leads to, -1 where no word goes on so."""
    if node == ROOT:
        return trie.from_root[label]
    for child in range(trie.first[node], trie.first[node + 1]):
        if trie.label[child] == label:
            return np.int32(child)
    return np.int32(-1)
