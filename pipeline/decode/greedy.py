"""Greedy CTC decoding: the best label of every frame, repeats collapsed, then blanks dropped, words with their times.

Collapsing comes before anything is dropped: the other order loses the double letters of HELLO. Knows nothing of
models; the reference that every other decoder is checked against.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.records import FloatArray, Word
from pipeline.text.vocabulary import Vocabulary
from pipeline.unit import Unit


@dataclass(frozen=True)
class Hypothesis:
    text: str
    words: list[Word]
    confidence: float  # geometric mean of the best labels' probabilities over all frames


class GreedyDecoder:
    """The decode stage: emissions -> text, words with times and confidences."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary

    def __call__(self, unit: Unit) -> Unit:
        for recording in unit.pending():
            assert recording.emissions is not None and recording.frame_s is not None
            hypothesis = greedy(recording.emissions, self._vocabulary, recording.frame_s)
            recording.text, recording.words = hypothesis.text, hypothesis.words
            recording.confidence = hypothesis.confidence
            recording.emissions = recording.frame_s = None
        return unit


def collapse(labels: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """The first frame of every stretch of one label, and the frame after its last: two arrays of one length."""
    changes = np.flatnonzero(np.diff(labels)) + 1
    bounds = np.concatenate(([0], changes, [len(labels)])) if len(labels) else np.zeros(1, np.int64)
    return bounds[:-1], bounds[1:]  # (num_stretches,) each


def greedy(emissions: FloatArray, vocabulary: Vocabulary, frame_s: float) -> Hypothesis:
    """Emissions (T, V) -> the best path's text. A word lasts from its first letter's start to its last letter's end."""
    best = emissions.argmax(axis=1)  # (T,)
    # Sums of log-probabilities up to each frame: any word's mean is then one subtraction.
    sums = np.concatenate(([0.0], np.cumsum(emissions[np.arange(len(best)), best], dtype=np.float64)))  # (T + 1,)
    words: list[Word] = []
    letters: list[str] = []
    first, last = 0, 0

    def end_word() -> None:
        if letters:
            confidence = float(np.exp((sums[last] - sums[first]) / (last - first)))
            word = "".join(letters)
            words.append(
                Word(word.lower() if vocabulary.lower_case else word, first * frame_s, last * frame_s, confidence)
            )
            letters.clear()

    for start, end in zip(*map(np.ndarray.tolist, collapse(best)), strict=True):
        label = int(best[start])
        if label == vocabulary.delimiter:
            end_word()
        elif label not in vocabulary.silent:
            if not letters:
                first = start
            letters.append(vocabulary.labels[label])
            last = end
    end_word()
    confidence = float(np.exp(sums[-1] / len(best))) if len(best) else 0.0
    return Hypothesis(" ".join(word.word for word in words), words, confidence)
