"""What a search for words has found, compiled: the best hypotheses' words, times and states, from chains to arrays."""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.compiled import entry
from pipeline.decode.lexicon import ROOT
from pipeline.decode.phones.work import Given
from pipeline.decode.readout import num_labels_of, write_labels, write_words
from pipeline.decode.texts import copy_states
from pipeline.decode.work import FRAME, SPAN, Work


class Found(NamedTuple):
    """One hypothesis after the other, words and labels of each with its last first."""

    scores: npt.NDArray[np.float64]  # (num, 2) of the emissions alone, and of all
    num_words: npt.NDArray[np.int64]  # (num,)
    num_labels: npt.NDArray[np.int64]  # (num,)
    words: Any  # SPAN, whose `label` is the word's number
    labels: Any  # SPAN
    states: tuple[npt.NDArray[np.uint32], npt.NDArray[np.float32], npt.NDArray[np.int64]]  # a row per model


@entry
def read_out(work: Work, given: Given, in_order: int, num: int) -> Found:
    """The best candidates of `finish`."""
    now = work.beams[work.counts[FRAME] & 1]
    scores, num_words, num_labels = np.empty((num, 2)), np.zeros(num, np.int64), np.zeros(num, np.int64)
    for i in range(num):
        candidate = work.candidates[work.order[in_order, i]]
        scores[i, 0], scores[i, 1] = candidate.logit, candidate.score
        num_labels[i] = num_labels_of(work, now[candidate.parent])
        text = candidate.text
        while text != 0:
            num_words[i], text = num_words[i] + 1, work.texts[text].parent
    words, labels = np.empty(num_words.sum(), SPAN), np.empty(num_labels.sum(), SPAN)
    rows, width = num * given.settings.num_models, work.state_words.shape[1]
    states = np.empty((rows, width), np.uint32), np.empty((rows, width), np.float32), np.empty(rows, np.int64)
    word, label = 0, 0
    for i in range(num):
        candidate = work.candidates[work.order[in_order, i]]
        parent, text = now[candidate.parent], candidate.text
        copy_states(work, given, text, states, i * given.settings.num_models)
        # The last word's times are the beam's own, unless that is in the middle of another.
        write_words(work, parent, text != 0 and parent.part == ROOT, words, word, num_words[i])
        write_labels(work, parent, labels, label)
        for place in range(word, word + num_words[i]):
            words[place].label, text = work.texts[text].word, work.texts[text].parent
        word, label = word + num_words[i], label + num_labels[i]
    return Found(scores, num_words, num_labels, words, labels, states)
