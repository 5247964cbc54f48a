"""The bundled language model: small, of every word that can be said and no other, and as good as it is said to be."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from jobs.__main__ import main as nightshift
from pipeline.demo import text
from pipeline.demo.bundled import LM
from pipeline.demo.grammar import is_held_out, vocabulary
from pipeline.demo.speech import utterance
from pipeline.lm.model import LanguageModel

PERPLEXITY = 47.4  # as the module says
TOLD_BY = 2_000  # of the 8,000 recordings that told it
TOLERANCE = 0.03
SEED_OF_TRIAL = 3


@pytest.fixture(scope="module")
def shipped() -> LanguageModel:
    return LanguageModel.open(str(LM))


def held_out() -> list[str]:
    return [text.text(SEED_OF_TRIAL, number, held_out=True) for number in range(TOLD_BY)]


def perplexity(scores: Sequence[float], sentences: Sequence[str]) -> float:
    return float(10 ** (-sum(scores) / sum(len(sentence.split()) + 1 for sentence in sentences)))


# ---- the text


def test_nothing_held_out_is_learnt_and_nothing_else_is_tried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that has met the sentences of the test corpus would make the error rate a lie."""
    written = {}
    for name, more in {
        "train": ["--seed", "2"],
        "again": [],
        "other": ["--seed", "3"],
        "trial": ["--held-out"],
    }.items():
        command = ["text", str(tmp_path / name), "--recordings", "1000", *more]
        monkeypatch.setattr("sys.argv", command)
        assert text.main() == 0
        written[name] = (tmp_path / name).read_text().splitlines()
        assert len(written[name]) == 1000
    for name, seed, held_out in (("train", 2, False), ("other", 3, False), ("trial", 2, True)):
        said = [utterance(np.random.default_rng((seed, number)), held_out).sentences for number in range(1000)]
        assert all(is_held_out(sentence) == held_out for sentences in said for sentence in sentences)
        assert written[name] == [" ".join(sentences) for sentences in said]
    assert written["train"] == written["again"] != written["other"]


# ---- the model


def test_it_is_small_and_of_order_four(shipped: LanguageModel) -> None:
    assert LM.stat().st_size < 3_000_000
    assert shipped.order == 4


def test_it_knows_every_word_that_can_be_said_and_no_other(shipped: LanguageModel) -> None:
    """A word that it lacks could hardly be recognised, and one that the grammar has lost shows a model out of date."""
    assert {*shipped.words()} == vocabulary() | {"<s>", "</s>", "<unk>"}


def test_it_foretells_held_out_sentences_as_well_as_is_said(shipped: LanguageModel) -> None:
    sentences = held_out()
    assert perplexity([shipped.score(sentence) for sentence in sentences], sentences) == pytest.approx(
        PERPLEXITY, rel=TOLERANCE
    )
    backwards = [" ".join(reversed(sentence.split())) for sentence in sentences]
    assert perplexity([shipped.score(sentence) for sentence in backwards], sentences) > 20 * PERPLEXITY


def test_kenlm_reads_it_and_says_the_same() -> None:
    kenlm = pytest.importorskip("kenlm", reason="kenlm is not installed (make decoders)")
    model, sentences = kenlm.Model(str(LM)), held_out()
    assert model.order == 4
    assert not any(oov for sentence in sentences for _, _, oov in model.full_scores(sentence))
    told = perplexity([model.score(sentence) for sentence in sentences], sentences)
    assert told == pytest.approx(PERPLEXITY, rel=TOLERANCE)


@pytest.mark.slow
def test_the_recipe_makes_it_again(tmp_path: Path) -> None:
    """As the module tells it, byte for byte: what is shipped is what the recipe makes."""
    (recipe,) = [line.split() for line in (text.__doc__ or "").splitlines() if "nightshift build-lm" in line]
    text.write_text(tmp_path / "train.txt", text.NUM_RECORDINGS, text.SEED)
    text.write_text(tmp_path / "held-out.txt", TOLD_BY, SEED_OF_TRIAL, held_out=True)
    names = {"train.txt", "4gram.bin", "held-out.txt"}
    assert nightshift([str(tmp_path / word) if word in names else word for word in recipe[1:]]) == 0
    assert (tmp_path / "4gram.bin").read_bytes() == LM.read_bytes()
