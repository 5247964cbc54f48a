"""The search for words beside flashlight-text's LexiconDecoder: same lexicon, same language model, same emissions."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.decode.hypotheses import Decoded, WordModel
from pipeline.decode.options import FOR_PHONES, LmWeights
from pipeline.decode.phones.pronunciation import Pronunciation
from pipeline.decode.phones.search import WordSearch
from pipeline.demo.phones import DIFFICULTIES, LABELS, VOCABULARY, simulate
from pipeline.lm.model import LanguageModel
from pipeline.records import ErrorCounts
from pipeline.score import count_words
from tests.decode import problems
from tests.decode.phones.said import KNOWN

WEIGHTS = LmWeights(alpha=0.8, beta=0.5)


def lexicon_of(rng: np.random.Generator) -> list[Pronunciation]:
    """Every word of the language models, said at random, every fifth as another is."""
    said: list[Pronunciation] = []
    for number, word in enumerate(KNOWN):
        labels = tuple(rng.integers(4, 24, rng.integers(1, 5)).tolist())
        said.append(Pronunciation(word, said[-1].labels if number % 5 == 4 else labels))
    return said


def flashlight(arpa: str, lexicon: list[Pronunciation], emissions: list[np.ndarray], width: int) -> list[str]:
    decoding: Any = pytest.importorskip("flashlight.lib.text.decoder", reason="flashlight-text is not installed")
    from flashlight.lib.text.decoder.kenlm import KenLM
    from flashlight.lib.text.dictionary import Dictionary

    words = Dictionary()
    for word in [*dict.fromkeys(word for word, _ in lexicon), "<unk>"]:
        words.add_entry(word)
    model, silence = KenLM(arpa, words), 1
    trie = decoding.Trie(len(LABELS), silence)
    for word, labels in lexicon:
        number = words.get_index(word)
        trie.insert(list(labels), number, model.score(model.start(False), number)[1])
    trie.smear(decoding.SmearingMode.MAX)
    options = decoding.LexiconDecoderOptions(
        width, len(LABELS), 100.0, WEIGHTS.alpha * math.log(10), WEIGHTS.beta, -math.inf, 0.0, True,
        decoding.CriterionType.CTC,
    )  # fmt: skip
    decoder = decoding.LexiconDecoder(
        options, trie, model, silence, VOCABULARY.blank, words.get_index("<unk>"), [], False
    )
    best = [decoder.decode(frames.ctypes.data, *frames.shape)[0] for frames in emissions]
    return [" ".join(words.get_entry(number) for number in one.words if number >= 0) for one in best]


@pytest.mark.parametrize("difficulty", ["clean", "mid"])
def test_words_are_as_right_as_flashlights(difficulty: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    sentences = [" ".join(word for word in line.split() if word in KNOWN) for line in problems.SENTENCES]
    arpa = str(problems.write_small_arpa(tmp_path / "small.arpa", rng, 3, sentences))
    lexicon = lexicon_of(rng)
    spoken = dict(lexicon)
    emissions = [
        simulate([spoken[word] for word in text.split()], DIFFICULTIES[difficulty], seed)
        for seed, text in enumerate(sentences * 6)
    ]
    theirs = flashlight(arpa, lexicon, emissions, 200)
    search = WordSearch(VOCABULARY, lexicon, [WordModel(LanguageModel.open(arpa), weights=WEIGHTS)])
    found = search.decode(emissions, FOR_PHONES)
    ours = [one.beams[0].text for one in found if isinstance(one, Decoded)]
    errors = [
        sum((count_words(text, said) for text, said in zip(sentences * 6, texts, strict=True)), ErrorCounts())
        for texts in (ours, theirs)
    ]
    assert (errors[0].rate or 0.0) <= (errors[1].rate or 0.0)
    # The objective is the same: where the beam is wide and no path decides alone, so are most texts.
    assert sum(one == other for one, other in zip(ours, theirs, strict=True)) > 0.9 * len(ours)
