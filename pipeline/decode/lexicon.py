"""The words a search knows, as one trie over the characters that the labels can spell.

A node is a string: the root the empty one, others the beginnings of known words. It says for every language model
which word the string is and whether it is, or begins, one of the unigrams. Strings that begin no known word get nodes
during a search (`kernel`), numbered from `num_nodes` on. Knows nothing of scores beyond the penalty of unknown words.
"""

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.compiled import entry, inner
from pipeline.decode import alphabet as labelling
from pipeline.decode.alphabet import Alphabet
from pipeline.decode.options import MARKS, USUAL_LENGTH, LmWeights

if TYPE_CHECKING:
    from pipeline.lm.model import LanguageModel

ROOT = 0

BLANK, SPACE, LETTERS, WORD_START = range(4)  # what a label does to a hypothesis

Row = Any  # the number of a row or node: np.int32 when compiled
Ints = npt.NDArray[np.int32]
Longs = npt.NDArray[np.int64]
Flags = npt.NDArray[np.uint8]


class Labels(NamedTuple):
    """What each label does, and the characters it adds: those of label v are chars[first[v]:first[v + 1]]."""

    kind: Flags  # (V,)
    breaks: Flags  # (V,) 1: the label after it starts a word (BPE tokens that end in ▁)
    same: Ints  # (V,) the first label that is the same to a search: all blanks are one
    first: Ints  # (V + 1,)
    chars: Ints  # character numbers, from 1


class Trie(NamedTuple):
    """Nodes by (parent, character), in an open-addressed table, and what each node is."""

    keys: npt.NDArray[np.int64]  # parent * num_chars + character; -1: free
    nodes: Ints
    num_chars: int
    num_nodes: int
    parent: Ints  # (N,)
    char: Ints  # (N,)
    length: Ints  # (N,) characters
    word_ids: Ints  # (N, num_models) id of the word that the node is, 0: none
    unknown_word: Flags  # (N, num_models) 1: as a word it gets the penalty
    unknown_part: Flags  # (N, num_models) 1: as the beginning of a word it gets the penalty


class Lexicon:
    """The trie of some language models' words over an alphabet."""

    def __init__(
        self,
        alphabet: Alphabet,
        models: "Sequence[LanguageModel]",
        unigrams: Sequence[Collection[str] | None],
        compat: bool,
    ) -> None:
        spelling = [_spelling(alphabet, label) for label in alphabet.labels]
        self.spelled = [text for _, text, _ in spelling]  # by label
        self.chars = sorted(set("".join(text for _, text, _ in spelling)))
        self._numbers = {char: number for number, char in enumerate(self.chars, 1)}
        self.labels = Labels(
            kind=np.array([kind for kind, _, _ in spelling], np.uint8),
            breaks=np.array([breaks for _, _, breaks in spelling], np.uint8),
            same=np.array(alphabet.same(compat), np.int32),
            first=np.cumsum([0, *(len(text) for _, text, _ in spelling)]).astype(np.int32),
            chars=np.array([self._numbers[char] for _, text, _ in spelling for char in text], np.int32),
        )
        # (words, their ids, whether they are unigrams) of each model
        known = [_known(model, words, compat) for model, words in zip(models, unigrams, strict=True)]
        self.trie = self._build(known)

    def numbers(self, text: str) -> Ints:
        """Its characters' numbers; 0 for those that no label spells."""
        return np.array([self._numbers.get(char, 0) for char in text], np.int32)

    def _build(self, known: "list[tuple[list[str], npt.NDArray[np.int64], npt.NDArray[np.bool_]]]") -> Trie:
        num_chars, num_models = len(self.chars) + 1, len(known)
        spelled = [self._spelled(words) for words, _, _ in known]
        size = 1 + sum(len(chars) for chars, _ in spelled)
        table = 1 << int(2 * size).bit_length()
        keys, nodes = np.full(table, -1, np.int64), np.zeros(table, np.int32)
        parent, char, length = np.zeros(size, np.int32), np.zeros(size, np.int32), np.zeros(size, np.int32)
        word_ids = np.zeros((size, num_models), np.int32)
        is_unigram, begins = np.zeros((size, num_models), np.uint8), np.zeros((size, num_models), np.uint8)
        num_nodes = 1
        for model, ((_, ids, unigram), (chars, ends)) in enumerate(zip(known, spelled, strict=True)):
            num_nodes = _insert(
                chars, ends, ids, unigram, keys, nodes, num_chars, num_nodes,
                parent, char, length, word_ids[:, model], is_unigram[:, model], begins[:, model],
            )  # fmt: skip
        any_unigrams = np.array([unigram.any() for _, _, unigram in known], np.bool_)  # also those no label spells
        parent, char, length = (array[:num_nodes].copy() for array in (parent, char, length))
        word_ids, is_unigram, begins = word_ids[:num_nodes].copy(), is_unigram[:num_nodes], begins[:num_nodes]
        keys, nodes = child_table(parent, char, num_chars)
        return Trie(
            keys, nodes, num_chars, num_nodes, parent, char, length, word_ids,
            unknown_word=((any_unigrams & (is_unigram == 0)) | (word_ids == 0)).astype(np.uint8),
            unknown_part=(begins == 0).astype(np.uint8),
        )  # fmt: skip

    def _spelled(self, words: list[str]) -> tuple[Ints, npt.NDArray[np.int64]]:
        """All words' character numbers in one array, and where each ends. Unspellable characters are 0."""
        codes = np.frombuffer("".join(words).encode("utf-32-le", "surrogatepass"), np.uint32)
        ours = np.array([ord(char) for char in self.chars], np.uint32)
        place = np.minimum(np.searchsorted(ours, codes), max(len(ours) - 1, 0))
        numbers = np.where(ours[place] == codes, place + 1, 0) if len(ours) else np.zeros(len(codes))
        return numbers.astype(np.int32), np.cumsum([len(word) for word in words], dtype=np.int64)

    def part_penalties(self, weights: Sequence[LmWeights]) -> npt.NDArray[np.float64]:
        """(N,) what a hypothesis pays while its unfinished word is the node."""
        penalties = np.zeros(self.trie.num_nodes)
        if not weights:
            return penalties
        for model, weight in enumerate(weights):
            unknown = weight.unk_score_offset * self.trie.unknown_part[:, model]
            long = self.trie.length > USUAL_LENGTH
            penalties += weight.share * np.where(long, unknown * self.trie.length / USUAL_LENGTH, unknown)
        return penalties / sum(weight.share for weight in weights)


def _spelling(alphabet: Alphabet, label: str) -> tuple[int, str, bool]:
    """What a label does, the text it adds, and whether the next label starts a word."""
    if label == labelling.BLANK:
        return BLANK, "", False
    if not alphabet.is_bpe:
        return (SPACE, "", False) if label == labelling.SPACE else (LETTERS, label, False)
    text = label.removeprefix(labelling.WORD_START)
    kind, breaks = LETTERS if text == label else WORD_START, label.endswith(labelling.WORD_START)
    return kind, text.removesuffix(labelling.WORD_START), breaks


def _known(
    model: "LanguageModel", unigrams: Collection[str] | None, compat: bool
) -> tuple[list[str], npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """The model's words, their ids, and which are unigrams: those given that it has, or all it has but its marks."""
    words = model.words()
    if unigrams is None:
        is_unigram = np.array([not compat and word not in MARKS for word in words], np.bool_)
    else:
        chosen = set(unigrams)
        is_unigram = np.array([word in chosen for word in words], np.bool_)
    is_unigram[0] = False
    return words, np.arange(len(words)), is_unigram


@inner
def find(keys: Longs, nodes: Ints, key: int) -> tuple[Row, Row]:
    """(node, slot) of a key; (-1, the free slot it belongs in) where it is not there."""
    mask = len(keys) - 1
    slot = (key * np.int64(-7046029254386353131) >> 29) & mask
    while keys[slot] != -1:
        if keys[slot] == key:
            return nodes[slot], slot
        slot = (slot + 1) & mask
    return np.int32(-1), slot


@entry
def _insert(
    chars: Ints,
    ends: Longs,
    ids: Longs,
    unigram: npt.NDArray[np.bool_],
    keys: Longs,
    nodes: Ints,
    num_chars: int,
    num_nodes: int,
    parent: Ints,
    char: Ints,
    length: Ints,
    word_ids: Ints,
    is_unigram: Flags,
    begins: Flags,
) -> int:
    """Every word as far as labels can spell it; the number of nodes there are then."""
    start = 0
    for word in range(len(ends)):
        at, place = np.int32(ROOT), start
        while place < ends[word] and chars[place] > 0:
            key = np.int64(at) * num_chars + chars[place]
            child, slot = find(keys, nodes, key)
            if child < 0:
                child = np.int32(num_nodes)
                num_nodes += 1
                keys[slot], nodes[slot] = key, child
                parent[child], char[child], length[child] = at, chars[place], length[at] + 1
            at = child
            begins[at] |= unigram[word]
            place += 1
        if place == ends[word] and place > start:
            word_ids[at] = ids[word]
            is_unigram[at] |= unigram[word]
        start = ends[word]
    return num_nodes


@entry
def child_table(parent: Ints, char: Ints, num_chars: int) -> tuple[Longs, Ints]:
    """Nodes by (parent, character), at most half full; while a trie is built, its table is larger."""
    size = 4
    while size < 2 * len(parent):
        size *= 2
    keys, nodes = np.full(size, -1, np.int64), np.zeros(size, np.int32)
    for node in range(1, len(parent)):
        key = np.int64(parent[node]) * num_chars + char[node]
        _, slot = find(keys, nodes, key)
        keys[slot], nodes[slot] = key, node
    return keys, nodes
