"""Writing KenLM's probing format: byte for byte what KenLM's tool writes, with scores that KenLM itself reads."""

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from pipeline.errors import UsageError
from pipeline.lm import binary
from pipeline.lm.arpa import read_arpa
from pipeline.lm.binary import write_binary
from pipeline.lm.model import LanguageModel
from pipeline.lm.ngrams import Order, Piece
from tests.lm.arpas import random_arpa
from tests.lm.walks import ngrams_of, walk

FIXTURES = Path(__file__).parent / "fixtures"
MODELS = ("order2", "order3", "order6", "pruned")


@pytest.mark.parametrize("name", MODELS)
def test_the_file_is_the_one_that_build_binary_writes(name: str, tmp_path: Path) -> None:
    write_binary(tmp_path / "ours", *read_arpa(FIXTURES / f"{name}.arpa"))
    assert (tmp_path / "ours").read_bytes() == (FIXTURES / f"{name}.probing").read_bytes()


@pytest.mark.parametrize("size", [1, 7])
def test_the_size_of_pieces_does_not_matter(size: int, tmp_path: Path) -> None:
    words, orders = read_arpa(FIXTURES / "pruned.arpa")

    def cut(order: Order) -> Callable[[], Iterator[Piece]]:
        def pieces() -> Iterator[Piece]:
            for piece in order.pieces():
                for start in range(0, len(piece.words), size):
                    yield Piece(*(column[start : start + size] for column in piece))
                yield Piece(*(column[:0] for column in piece))

        return pieces

    write_binary(tmp_path / "ours", words, [Order(order.order, order.num, cut(order)) for order in orders])
    assert (tmp_path / "ours").read_bytes() == (FIXTURES / "pruned.probing").read_bytes()


def naive_score(weights: dict[tuple[str, ...], tuple[float, float]], words: list[str], order: int) -> float:
    """The definition of a backoff model, in double precision."""
    context = tuple(words[:-1][-(order - 1) :])
    charged = 0.0
    while (*context, words[-1]) not in weights:
        charged += weights.get(context, (0.0, 0.0))[1]
        context = context[1:]
    return charged + weights[(*context, words[-1])][0]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    order=st.integers(2, 6),
    num=st.sampled_from([5, 30, 90]),
    seed=st.integers(0, 10**6),
    pruned=st.booleans(),
    unknown=st.booleans(),
)
@example(order=6, num=5, seed=9, pruned=True, unknown=True)  # more blanks than KenLM's tables have room for
def test_random_models_score_in_kenlm_as_their_arpa(
    tmp_path: Path, order: int, num: int, seed: int, pruned: bool, unknown: bool
) -> None:
    kenlm = pytest.importorskip("kenlm")
    text = random_arpa(order, num, seed, pruned, unknown)
    arpa, ours = tmp_path / "random.arpa", tmp_path / "random.bin"
    arpa.write_text(text)
    write_binary(ours, *read_arpa(arpa))
    model, ngrams = LanguageModel.open(str(ours)), ngrams_of(text)
    read_back = walk(model, kenlm.Model(str(ours)), ngrams, 150, seed)
    assert np.array_equal(read_back.ours, read_back.theirs)
    theirs: Any = None
    with suppress(OSError):  # it gives up on many blanks
        theirs = kenlm.Model(str(arpa))
    assert theirs is not None or pruned
    if theirs is not None:
        direct = walk(model, theirs, ngrams, 150, seed)
        assert np.array_equal(direct.ours, direct.theirs)

    weights = {
        tuple(words.split(" ")): (float(log10), float(backoff[0]) if backoff else 0.0)
        for log10, words, *backoff in (line.split("\t") for line in text.split("\n") if "\t" in line)
    }
    weights.setdefault(("<unk>",), (-100.0, 0.0))
    rng = np.random.default_rng(seed)
    known = model.words()
    for ngram in [ngrams[index] for index in rng.integers(len(ngrams), size=10)]:
        sentence = [*rng.choice(known, 2), *ngram, *rng.choice(known, 2)]
        expected = sum(naive_score(weights, sentence[:end], order) for end in range(1, len(sentence) + 1))
        assert model.score(" ".join(sentence), bos=False, eos=False) == pytest.approx(expected, abs=1e-3)


def test_an_ngram_without_its_context_is_named(tmp_path: Path) -> None:
    words, orders = read_arpa(FIXTURES / "order3.arpa")
    trigrams = next(orders[2].pieces())
    row = int(np.flatnonzero(trigrams.words[:, 0] == words.index("<s>"))[-1])
    older = trigrams.words[row, :2]  # nothing ends in it, else a blank would stand in for it

    bigrams = next(orders[1].pieces())

    def without() -> Iterator[Piece]:
        others = (bigrams.words != older).any(axis=1)
        yield Piece(*(column[others] for column in bigrams))

    orders[1] = Order(2, orders[1].num - 1, without)
    ngram = " ".join(words[word] for word in trigrams.words[row])
    context = ngram.rpartition(" ")[0]
    with pytest.raises(
        UsageError, match=f"^language model mine: the 3-gram '{ngram}' is listed, but '{context}' is not"
    ):
        write_binary(tmp_path / "model.bin", words, orders, "mine")
    assert not (tmp_path / "model.bin").exists()


def test_a_full_disk_is_an_error_not_a_crash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Writing to a mapped hole on a full disk kills the process by SIGBUS."""

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(binary.os, "posix_fallocate", full)
    with pytest.raises(OSError, match="No space left"):
        write_binary(tmp_path / "model.bin", *read_arpa(FIXTURES / "order2.arpa"))
    assert not (tmp_path / "model.bin").exists()


def test_a_model_of_single_words_is_refused(tmp_path: Path) -> None:
    words, orders = read_arpa(FIXTURES / "order2.arpa")
    with pytest.raises(UsageError, match="orders 2 to 6, not 1"):
        write_binary(tmp_path / "model.bin", words, orders[:1])
