"""What a beam search returns: texts with their words' times, best first, and how sure the search is of each word.

Knows nothing of how they were found, nor of seconds: times are numbers of frames.
"""

import math
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from pipeline.decode.options import LmWeights


@dataclass(frozen=True)
class WordModel:
    """A language model as a decoder uses it."""

    model: Any  # pipeline.lm.model.LanguageModel; the plain search also takes what has the methods of its WordScorer
    unigrams: Collection[str] | None = None  # None: the model's own vocabulary (in compat mode: none at all)
    weights: LmWeights = field(default_factory=LmWeights)


class BeamWord(NamedTuple):
    word: str
    start: int  # first frame
    end: int  # the frame after its last
    confidence: float  # geometric mean of the probabilities along its path, blanks inside it included


class BeamChar(NamedTuple):
    char: str  # the text of one label
    start: int
    end: int


@dataclass(frozen=True)
class Beam:
    text: str
    words: list[BeamWord]
    logit_score: float  # natural logarithm of the text's probability, summed over the paths that were kept
    score: float  # with language models and hotwords: what the search ranks by
    chars: list[BeamChar] = field(default_factory=list)
    # After the text and before </s>, one per model: a later decode can start from it.
    lm_state: Any = field(default=None, compare=False)


@dataclass(frozen=True)
class Decoded:
    """The hypotheses of one recording."""

    beams: list[Beam]  # best first, at least one
    narrowed: bool  # the effort limit was reached: some frames were searched less widely than asked

    def posteriors(self) -> list[float]:
        """Each hypothesis' share of the probability of all that were returned."""
        best = max(beam.score for beam in self.beams)
        masses = [math.exp(beam.score - best) for beam in self.beams]
        total = math.fsum(masses)
        return [mass / total for mass in masses]

    def word_posteriors(self, beam: int = 0) -> list[float]:
        """For each word of one hypothesis, the share of hypotheses that have it too, at an overlapping time."""
        posteriors = self.posteriors()
        return [
            min(1.0, math.fsum(mass for mass, other in zip(posteriors, self.beams, strict=True) if _has(other, word)))
            for word in self.beams[beam].words
        ]


def _has(beam: Beam, word: BeamWord) -> bool:
    return any(other.word == word.word and other.start < word.end and word.start < other.end for other in beam.words)
