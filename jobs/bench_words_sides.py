"""The two sides of `nightshift bench words`: our search for words in phones and flashlight-text's, on one lexicon.

Knows nothing of measuring them.
"""

import importlib.util
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from jobs.bench_material import Sample
from jobs.bench_measure import Decode, Said, native
from pipeline.decode.hypotheses import WordModel
from pipeline.decode.options import LN10, LmWeights, SearchOptions
from pipeline.decode.phones.pronunciation import Pronunciation
from pipeline.demo.phones import DIFFICULTIES, LABELS, VOCABULARY, simulate
from pipeline.records import FloatArray
from pipeline.text.pronunciations import Entry

OURS, RIVAL, RIVAL_ADDING = "native", "flashlight-text", "flashlight-text, log-add"
RIVALS = {RIVAL: False, RIVAL_ADDING: True}  # whether it sums what hypotheses of one history have, as ours does
UNUSED_LABEL = 1  # <s>: flashlight's silence, which nothing in these emissions speaks for


@dataclass(frozen=True)
class Width:
    """How wide flashlight looks."""

    beam: int
    labels: int  # the best of every frame
    threshold: float  # below the best hypothesis

    def __str__(self) -> str:
        return f"{self.beam}/{self.labels}/{self.threshold:g}"


MIDDLING = Width(100, 10, 15.0)  # a third of the CPU seconds of threshold 25, and hardly more errors
THEIR_WIDTHS = (
    *(Width(50, 10, 15.0), Width(50, 10, 25.0), MIDDLING),
    *(Width(100, 10, 25.0), Width(500, 10, 15.0), Width(500, 10, 25.0)),
)
# Of ninety tried on the default's other utterances those that few beat in both speed and errors, and two wider ones.
OUR_WIDTHS = tuple(
    SearchOptions(beam_width=beam, beam_prune_logp=prune, token_min_logp=label)
    for beam, prune, label in (
        (50, -12.0, -12.0),
        (70, -14.0, -12.0),
        (100, -14.0, -12.5),
        (100, -14.0, -13.0),
        (100, -16.0, -13.0),
        (100, -18.0, -13.0),
        (150, -20.0, -13.0),
        (200, -22.0, -13.0),
        (500, -25.0, -13.0),
    )
)


class Lexicon:
    """The words of a language model, as espeak says them, and how to say any text."""

    def __init__(self, words: Sequence[str], texts: Sequence[str]) -> None:
        from pipeline.decode.phones.fit import fitted
        from pipeline.text.espeak import Phonemizer

        every = list(dict.fromkeys([*words, *(word for text in texts for word in text.split())]))
        said = Phonemizer("en-us").pronunciations([word.lower() for word in every])
        fit = fitted([Entry(*one) for one in zip(every, said, strict=True) if one[1]], VOCABULARY)
        known = set(words)
        self.spoken = {one.word: one.labels for one in fit.lexicon}
        self.entries: list[Pronunciation] = [one for one in fit.lexicon if one.word in known]
        self.num_unreachable = len(known) - len(self.entries)

    def speakable(self, texts: Sequence[str]) -> list[str]:
        """Those of whose words the model has all phones."""
        return [text for text in texts if all(word in self.spoken for word in text.split())]

    def sample(self, difficulty: str, texts: Sequence[str], seed: int) -> Sample:
        emissions = [
            simulate([self.spoken[word] for word in text.split()], DIFFICULTIES[difficulty], seed + number)
            for number, text in enumerate(texts)
        ]
        return Sample(difficulty, list(texts), emissions)


class Flashlight:
    """flashlight-text's lexicon decoder, its trie smeared with the best unigram below each node."""

    def __init__(self, lm: str, lexicon: Sequence[Pronunciation]) -> None:
        from flashlight.lib.text.decoder import SmearingMode, Trie
        from flashlight.lib.text.decoder.kenlm import KenLM
        from flashlight.lib.text.dictionary import Dictionary

        self._words = list(dict.fromkeys(one.word for one in lexicon))
        number_of = {word: number for number, word in enumerate(self._words)}
        dictionary = Dictionary()
        for word in (*self._words, "<unk>"):
            dictionary.add_entry(word)
        dictionary.set_default_index(len(self._words))
        self._lm = KenLM(lm, dictionary)
        self._trie = Trie(len(LABELS), UNUSED_LABEL)
        start = self._lm.start(False)
        for one in lexicon:
            _, score = self._lm.score(start, number_of[one.word])
            self._trie.insert(list(one.labels), number_of[one.word], score)
        self._trie.smear(SmearingMode.MAX)

    def decoder(self, width: Width, log_add: bool, weights: LmWeights) -> Decode:
        from flashlight.lib.text.decoder import CriterionType, LexiconDecoder, LexiconDecoderOptions

        options = LexiconDecoderOptions(
            *(width.beam, width.labels, width.threshold, weights.alpha * LN10, weights.beta),
            *(-math.inf, 0.0, log_add, CriterionType.CTC),  # no unknown words, nothing for silence
        )
        silence, blank, unknown = UNUSED_LABEL, VOCABULARY.blank, len(self._words)
        search: Any = LexiconDecoder(options, self._trie, self._lm, silence, blank, unknown, [], False)

        def decode(block: Sequence[FloatArray]) -> list[Said]:
            return [Said(self._best(search, np.ascontiguousarray(emissions)), None) for emissions in block]

        return decode

    def _best(self, search: Any, emissions: npt.NDArray[np.float32]) -> str:
        """Step by step, which makes Python objects of the best hypothesis alone: up to a sixth faster than `decode`."""
        search.decode_begin()
        search.decode_step(emissions.ctypes.data, *emissions.shape)
        search.decode_end()
        return " ".join(self._words[word] for word in search.get_best_hypothesis(0).words if word >= 0)


def missing() -> list[str]:
    """The packages that a comparison needs and that are not installed."""
    return [
        package
        for module, package in (("flashlight", RIVAL), ("kenlm", "kenlm"))
        if importlib.util.find_spec(module) is None
    ]


def our_search(lm: str, lexicon: Sequence[Pronunciation]) -> Any:
    from pipeline.decode.phones.search import WordSearch
    from pipeline.lm.model import LanguageModel

    return WordSearch(VOCABULARY, lexicon, [WordModel(LanguageModel.open(lm))])


def our_decoder(search: Any, options: SearchOptions, weights: LmWeights) -> Decode:
    weighted = search.reweighted([weights])
    return lambda block: native(weighted, block, options)


def told(options: SearchOptions) -> str:
    return f"{options.beam_width}/{options.beam_prune_logp:g}/{options.token_min_logp:g}"
