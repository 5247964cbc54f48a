"""Greedy CTC decoding: the best label of every frame, repeats collapsed, blanks dropped; words or phones with times.

Collapsing comes before anything is dropped: the other order loses the double letters of HELLO. Knows nothing of
models; the reference that every other decoder is checked against.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.records import FloatArray, Phone, Word
from pipeline.text.vocabulary import Vocabulary
from pipeline.unit import Unit

Sums = npt.NDArray[np.float64]  # (T + 1,)


@dataclass(frozen=True)
class Hypothesis:
    text: str
    words: list[Word] | None  # None: of phonemes
    confidence: float  # geometric mean of the best labels' probabilities over all frames
    phones: list[Phone] | None = None


class GreedyDecoder:
    """The decode stage: emissions -> text, words or phones with times and confidences."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary

    def __call__(self, unit: Unit) -> Unit:
        for recording in unit.pending():
            assert recording.emissions is not None and recording.frame_s is not None
            hypothesis = greedy(recording.emissions, self._vocabulary, recording.frame_s)
            recording.text, recording.words, recording.phones = hypothesis.text, hypothesis.words, hypothesis.phones
            recording.confidence = hypothesis.confidence
            recording.emissions = recording.frame_s = None
        return unit


def collapse(labels: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """The first frame of every stretch of one label, and the frame after its last: two arrays of one length."""
    changes = np.flatnonzero(np.diff(labels)) + 1
    bounds = np.concatenate(([0], changes, [len(labels)])) if len(labels) else np.zeros(1, np.int64)
    return bounds[:-1], bounds[1:]  # (num_stretches,) each


def greedy(emissions: FloatArray, vocabulary: Vocabulary, frame_s: float) -> Hypothesis:
    """Emissions (T, V) -> the best path's text."""
    best = emissions.argmax(axis=1)  # (T,)
    # Sums of log-probabilities up to each frame: any stretch's mean is then one subtraction.
    sums = np.concatenate(([0.0], np.cumsum(emissions[np.arange(len(best)), best], dtype=np.float64)))  # (T + 1,)
    confidence = float(np.exp(sums[-1] / len(best))) if len(best) else 0.0
    if vocabulary.phonemes:
        phones = _phones(best, sums, vocabulary, frame_s)
        return Hypothesis(" ".join(phone.phone for phone in phones), None, confidence, phones)
    words = _words(best, sums, vocabulary, frame_s)
    return Hypothesis(" ".join(word.word for word in words), words, confidence)


def _phones(best: npt.NDArray[np.int64], sums: Sums, vocabulary: Vocabulary, frame_s: float) -> list[Phone]:
    """What is neither silent nor a delimiter: a delimiter, where sounds have one, parts words and is none of them."""
    starts, ends = collapse(best)
    labels = best[starts]
    spoken = ~np.isin(labels, [number for number in (*vocabulary.silent, vocabulary.delimiter) if number is not None])
    starts, ends, labels = starts[spoken], ends[spoken], labels[spoken]
    sure = np.exp((sums[ends] - sums[starts]) / (ends - starts))
    columns = (column.tolist() for column in (labels, starts * frame_s, ends * frame_s, sure))
    return [Phone(vocabulary.labels[label], *rest) for label, *rest in zip(*columns, strict=True)]


def _words(best: npt.NDArray[np.int64], sums: Sums, vocabulary: Vocabulary, frame_s: float) -> list[Word]:
    """A word lasts from its first letter's start to its last letter's end."""
    words: list[Word] = []
    letters: list[str] = []
    first, last = 0, 0

    def end_word() -> None:
        if letters:
            word = "".join(letters)
            spelt = word.lower() if vocabulary.lower_case else word
            words.append(Word(spelt, first * frame_s, last * frame_s, _mean(sums, first, last)))
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
    return words


def _mean(sums: Sums, start: int, end: int) -> float:
    """The geometric mean of the best labels' probabilities over some frames."""
    return float(np.exp((sums[end] - sums[start]) / (end - start)))
