"""The plain search for words against brute force over all word sequences and all ways through the frames."""

import itertools
import math
from collections import defaultdict

import numpy as np
import pytest

from pipeline.decode.fusion import LmScores
from pipeline.decode.hypotheses import Decoded, WordModel
from pipeline.decode.options import LmWeights
from pipeline.decode.phones.plain import PlainWordSearch
from pipeline.decode.phones.pronunciation import Pronunciation
from pipeline.decode.phones.search import alphabet_of
from pipeline.lm.model import LanguageModel
from pipeline.text.vocabulary import Vocabulary
from tests.decode import problems
from tests.decode.phones.said import WIDE, normalised

TINY = Vocabulary(("", "a", "b", "<s>"), blank=0, delimiter=None, silent=frozenset({0, 3}))
SILENT = (0, 3)


def phones_of(emissions: np.ndarray) -> dict[tuple[int, ...], float]:
    """The probability of every sequence of phones: that of all paths that collapse to it."""
    found: dict[tuple[int, ...], float] = defaultdict(float)
    for path in itertools.product(range(emissions.shape[1]), repeat=len(emissions)):
        marked = [0 if label in SILENT else label for label in path]
        phones = tuple(label for label, _ in itertools.groupby(marked) if label)
        found[phones] += math.exp(sum(emissions[frame, label] for frame, label in enumerate(path)))
    return found


def texts_of(lexicon: list[Pronunciation], emissions: np.ndarray) -> dict[str, float]:
    """The probability of every text, over all ways to say its words."""
    found: dict[str, float] = defaultdict(float)
    probabilities = phones_of(emissions)
    for num in range(len(emissions) + 1):
        for said in itertools.product(lexicon, repeat=num):
            phones = tuple(label for one in said for label in one.labels)
            if phones in probabilities:
                found[" ".join(one.word for one in said)] += probabilities[phones]
    return found


@pytest.mark.parametrize("orders", [(), (3,), (2, 5)])
def test_every_text_has_the_probability_of_all_its_paths(
    orders: tuple[int, ...], tmp_path_factory: pytest.TempPathFactory
) -> None:
    lms = problems.small_lms(tmp_path_factory.mktemp("lms"))
    for seed in range(6):
        rng = np.random.default_rng(seed)
        models = [
            WordModel(LanguageModel.open(lms[order]), weights=LmWeights(0.7, 1.0, -2.0, bool(seed % 2), share=order))
            for order in orders
        ]
        said = {(str(word), tuple(rng.choice([1, 2], rng.integers(1, 4)).tolist())) for word in rng.choice(_WORDS, 4)}
        lexicon = [Pronunciation(*one) for one in sorted(said)]
        emissions = normalised(rng.normal(0, 1.5, (4, 4)))
        (found,) = PlainWordSearch(alphabet_of(TINY), lexicon, models).decode([emissions], WIDE)
        assert isinstance(found, Decoded)
        ours = {beam.text: (beam.logit_score, beam.score) for beam in found.beams}
        wanted = texts_of(lexicon, emissions)
        assert ours.keys() == wanted.keys()
        scores = LmScores(models, compat=False)
        for text, probability in wanted.items():
            total, states = 0.0, scores.start()
            for word in text.split() if models else ():
                score, states = scores.word(states, word)
                total += score
            total += scores.end(states) if models else 0.0
            assert ours[text] == pytest.approx((math.log(probability), math.log(probability) + total), abs=1e-9)


_WORDS = ["FILE", "THE", "A", "BUG", "zz"]
