"""Small problems for searches of words in phones: lexicons full of homophones and shared beginnings, emissions that say
some of their words. Everything follows from a seed; knows of no search.
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.decode.hypotheses import WordModel
from pipeline.decode.options import Hotwords, LmWeights, SearchOptions
from pipeline.decode.phones.pronunciation import Pronunciation
from pipeline.lm.model import LanguageModel
from pipeline.text.vocabulary import Vocabulary
from tests.decode.problems import WORDS

# Two silent marks, and a delimiter, beside four phones.
VOCABULARY = Vocabulary(("<s>", "<pad>", "a", "b", "|", "ç", "dʒ"), blank=1, delimiter=4, silent=frozenset({0, 1}))
PHONES = (2, 3, 5, 6)
KNOWN = [word for word in WORDS if word.isalpha()]
WIDE = SearchOptions(
    beam_width=100_000, beam_prune_logp=-1e6, token_min_logp=-1e6, prune_history=False, num_best=10_000, max_effort=1e12
)

Emissions = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Problem:
    lexicon: tuple[Pronunciation, ...]
    emissions: Emissions
    models: tuple[WordModel, ...]
    hotwords: Hotwords | None
    options: SearchOptions


def normalised(logits: npt.NDArray[np.float64]) -> Emissions:
    return logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))


def say(labels: list[int], silence: int = 1, sure: float = 8.0, num_labels: int = len(VOCABULARY.labels)) -> Emissions:
    """A frame for each label, and of blanks around them and between equal ones."""
    path = [silence]
    for label in labels:
        path += [silence, label] if path[-1] == label else [label]
    return sure_of([*path, silence], sure, num_labels)


def sure_of(path: list[int], sure: float = 8.0, num_labels: int = len(VOCABULARY.labels)) -> Emissions:
    logits = np.zeros((len(path), num_labels))
    logits[np.arange(len(path)), path] = sure
    return normalised(logits)


def lexicon_of(rng: np.random.Generator, num: int) -> tuple[Pronunciation, ...]:
    """Words the language models know and some they do not, of one to four phones, some said in several ways."""
    words = rng.choice([*KNOWN, "zz", "ÄÖ", "qua"], num)
    return tuple(
        Pronunciation(str(word), tuple(rng.choice(PHONES[: rng.integers(2, 5)], rng.integers(1, 5)).tolist()))
        for word in words
    )


def emissions_of(rng: np.random.Generator, lexicon: tuple[Pronunciation, ...], num_words: int) -> Emissions:
    """Some words, each phone of one or two frames, blanks here and there, noise everywhere."""
    path = [1]
    for place in rng.integers(len(lexicon), size=num_words):
        for label in lexicon[place].labels:
            if path[-1] == label or rng.random() < 0.4:
                path += [int(rng.choice([0, 1, 1, 4]))] * int(rng.integers(1, 3))
            path += [label] * int(rng.integers(1, 3))
    logits = rng.normal(0, 1, (len(path), len(VOCABULARY.labels)))
    logits[np.arange(len(path)), path] += float(rng.uniform(1, 8)) * rng.random(len(path)) ** 0.3
    return normalised(logits)


def draw(seed: int, models: dict[int, LanguageModel]) -> Problem:
    """Any mixture of a lexicon, emissions, none to three models, hotwords or none, wide or narrow."""
    rng = np.random.default_rng(seed)
    lexicon = lexicon_of(rng, int(rng.integers(1, 30)))
    emissions = emissions_of(rng, lexicon, int(rng.integers(0, 8)))
    if rng.random() < 0.15:
        emissions[rng.random(emissions.shape) < 0.1] = -math.inf
        emissions[np.isneginf(emissions).all(axis=1)] = -2.0
    chosen = [[], [5], [3], [2], [2, 3], [5, 2, 3]][rng.integers(6)]
    hotwords = None
    if rng.random() < 0.4:
        words = tuple(lexicon[place].word for place in rng.integers(len(lexicon), size=int(rng.integers(0, 3))))
        hotwords = Hotwords((*words, "never"), float(rng.choice([10.0, 3.7, -4.0])))
    options = SearchOptions(
        beam_width=int(rng.choice([1, 3, 10, 100])),
        beam_prune_logp=float(rng.choice([-15.0, -3.0, -30.0])),
        token_min_logp=float(rng.choice([-5.0, -2.0, -12.0])),
        prune_history=bool(rng.integers(2)),
        num_best=1000,
        max_effort=float(rng.choice([20_000.0, 30.0])),
    )
    return Problem(lexicon, emissions, tuple(_model(rng, models[order]) for order in chosen), hotwords, options)


def _model(rng: np.random.Generator, model: LanguageModel) -> WordModel:
    unigrams = [None, tuple(KNOWN), (*KNOWN[::2], "NOT-IN-THE-MODEL"), ()][rng.integers(4)]
    return WordModel(
        model,
        unigrams,
        LmWeights(
            alpha=float(rng.choice([0.0, 0.3, 0.8, 1.5])),
            beta=float(rng.uniform(-1, 3)),
            unk_score_offset=float(rng.choice([-10.0, -3.3])),
            score_boundary=bool(rng.random() < 0.7),
            share=float(rng.choice([1.0, 0.3])),
        ),
    )
