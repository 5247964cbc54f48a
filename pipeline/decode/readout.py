"""What a search has found, compiled: the best hypotheses' texts, times and states, from the work's chains to arrays.

Knows nothing of searching; `beam` makes strings and hypotheses of it.
"""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.compiled import entry, inner
from pipeline.decode.lexicon import ROOT, Row
from pipeline.decode.texts import copy_states, num_chars, word_score
from pipeline.decode.work import FRAME, NONE, SPAN, Given, Work

NEWLINE, SPACE = 10, 32


class Found(NamedTuple):
    """One hypothesis after the other, words and labels of each with its last first."""

    texts: npt.NDArray[np.uint32]  # code points, a newline after each text
    scores: npt.NDArray[np.float64]  # (num, 2) of the emissions alone, and of all
    num_words: npt.NDArray[np.int64]  # (num,)
    num_labels: npt.NDArray[np.int64]  # (num,)
    words: Any  # SPAN
    labels: Any  # SPAN
    states: tuple[npt.NDArray[np.uint32], npt.NDArray[np.float32], npt.NDArray[np.int64]]  # a row per model


@entry
def read_out(work: Work, given: Given, codes: npt.NDArray[np.uint32], in_order: int, num: int) -> Found:
    """The best candidates of `finish`; `codes` are the characters' code points."""
    now = work.beams[work.counts[FRAME] & 1]
    scores, num_words, num_labels = np.empty((num, 2)), np.zeros(num, np.int64), np.zeros(num, np.int64)
    ends = np.zeros(num + 1, np.int64)  # of the texts
    for i in range(num):
        candidate = work.candidates[work.order[in_order, i]]
        scores[i, 0], scores[i, 1] = candidate.logit, candidate.score
        num_words[i], length = _measure(work, given, candidate.text)
        num_labels[i] = num_labels_of(work, now[candidate.parent])
        ends[i + 1] = ends[i] + length + 1
    texts = np.full(ends[-1], NEWLINE, np.uint32)
    words, labels = np.empty(num_words.sum(), SPAN), np.empty(num_labels.sum(), SPAN)
    rows = num * given.settings.num_models
    width = work.state_words.shape[1]
    states = np.empty((rows, width), np.uint32), np.empty((rows, width), np.float32), np.empty(rows, np.int64)
    word, label = 0, 0
    for i in range(num):
        candidate = work.candidates[work.order[in_order, i]]
        parent = now[candidate.parent]
        _write_text(work, given, candidate.text, codes, texts, ends[i + 1] - 1)
        write_words(work, parent, parent.part != ROOT, words, word, num_words[i])
        write_labels(work, parent, labels, label)
        word, label = word + num_words[i], label + num_labels[i]
        text = candidate.text
        if given.settings.compat and given.settings.num_models and parent.part == ROOT:
            text = len(work.texts) - 1  # pyctcdecode has scored an empty word after it
            word_score(work, given, parent.text, parent.part, text, False)
        copy_states(work, given, text, states, i * given.settings.num_models)
    return Found(texts, scores, num_words, num_labels, words, labels, states)


@inner
def _measure(work: Work, given: Given, text: Row) -> tuple[int, int]:
    """The number of words, and of characters with the spaces between them."""
    num_words, length = 0, 0
    while text != 0:
        num_words += 1
        length += num_chars(work, given, work.texts[text].word) + 1
        text = work.texts[text].parent
    return num_words, max(length - 1, 0)


@inner
def num_labels_of(work: Work, beam: Any) -> Row:
    num, row = np.int64(beam.label != NONE), beam.chars
    while row >= 0:
        num += 1
        row = work.chars[row].before
    return num


@inner
def _write_text(
    work: Work, given: Given, text: Row, codes: npt.NDArray[np.uint32], texts: npt.NDArray[np.uint32], end: int
) -> None:
    """Backwards, as the chains go."""
    known = given.trie.num_nodes
    while text != 0:
        node = work.texts[text].word
        while node != ROOT:
            end -= 1
            if node < known:
                texts[end], node = codes[given.trie.char[node]], given.trie.parent[node]
            else:
                new = work.nodes[node - known]
                texts[end], node = codes[new.char], new.parent
        text = work.texts[text].parent
        if text != 0:
            end -= 1
            texts[end] = SPACE


@inner
def write_words(work: Work, beam: Any, is_open: bool, words: Any, place: int, num: int) -> None:
    """`is_open`: the beam itself has the last word's times."""
    end, row = place + num, beam.words
    if is_open:
        words[place].start, words[place].end = beam.word_start, beam.word_end
        words[place].logp = beam.path_end - beam.path_start
        place += 1
    while place < end:
        words[place] = work.words[row]
        row = work.words[row].before
        place += 1


@inner
def write_labels(work: Work, beam: Any, labels: Any, place: int) -> None:
    row = beam.chars
    if beam.label != NONE:
        labels[place].label, labels[place].start, labels[place].end = beam.label, beam.label_start, beam.label_end
        place += 1
    while row >= 0:
        labels[place] = work.chars[row]
        row = work.chars[row].before
        place += 1
