"""How well a model does on recordings that it has not learnt from: error rates of its greedy texts.

Knows nothing of how it learns.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from pipeline.decode.greedy import greedy
from pipeline.encode import Emitter
from pipeline.records import SAMPLE_RATE, ErrorCounts, FloatArray
from pipeline.score import count_characters, count_words
from pipeline.text.vocabulary import Vocabulary
from pipeline.training.learner import Learner
from pipeline.training.letters import spelled
from pipeline.training.material import Material, Pcm

AT_ONCE_S = 40.0


@dataclass(frozen=True)
class Trial:
    words: ErrorCounts
    characters: ErrorCounts
    example: tuple[str, str]  # what was said, and what was heard

    def __str__(self) -> str:
        said, heard = self.example
        return f"WER {self.words.rate or 0:.1%}, CER {self.characters.rate or 0:.1%} | {said} | {heard}"

    def as_dict(self) -> dict[str, Any]:
        return {"wer": self.words.rate, "cer": self.characters.rate}


def attempt(learner: Learner, material: Material, numbers: npt.NDArray[np.int64], vocabulary: Vocabulary) -> Trial:
    """The texts of these recordings, counted; the model goes on learning afterwards as if nothing had been."""
    words = characters = ErrorCounts()
    example = ("", "")
    emitter = Emitter.of(learner.model, learner.features)
    for some in _portions(material, numbers):
        emissions = _heard(learner, emitter, [material.audio(int(number)) for number in some])
        for number, one in zip(some, emissions, strict=True):
            said = spelled(material.texts[number])
            heard = spelled(greedy(one, vocabulary, emitter.frame_s).text)
            words, characters = words + count_words(said, heard), characters + count_characters(said, heard)
            example = (said, heard)
    return Trial(words, characters, example)


def _heard(learner: Learner, emitter: Emitter, audios: list[Pcm]) -> list[FloatArray]:
    """As the checkpoint would: batch norms go by what they have learnt, and learn nothing here."""
    learner.model.eval()
    try:
        with torch.inference_mode():
            return emitter.whole(list(audios))
    finally:
        learner.model.train()


def _portions(material: Material, numbers: npt.NDArray[np.int64]) -> Iterator[list[int]]:
    portion: list[int] = []
    for number in numbers.tolist():
        portion.append(number)
        if material.lengths[portion].sum() > AT_ONCE_S * SAMPLE_RATE:
            yield portion
            portion = []
    if portion:
        yield portion
