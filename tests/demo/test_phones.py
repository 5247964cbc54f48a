"""Simulated phone emissions: what they are calibrated to must not rot, for figures of words from phones rest on it."""

import itertools

import jiwer
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.demo.emissions import FRAME_S, LIKELY_LOGP, WORDS_PER_S, Difficulty
from pipeline.demo.phones import _PHONES, DIFFICULTIES, LABELS, VOCABULARY, simulate

EASY = Difficulty(0, (0, 0), 0, (1, 1), 0.1, 0, 1, 1, 0)  # nothing is bad, nothing competes
SPEAKABLE = [number for number in range(len(LABELS)) if number not in VOCABULARY.silent]


def utterances(num: int) -> list[list[list[int]]]:
    rng = np.random.default_rng(5)
    words = [rng.choice(SPEAKABLE, rng.integers(1, 10)).tolist() for _ in range(500)]
    return [[words[number] for number in rng.integers(0, len(words), rng.integers(12, 22))] for _ in range(num)]


def heard(emissions: np.ndarray) -> list[int]:
    """The best path, collapsed and without blanks."""
    return [number for number, _ in itertools.groupby(emissions.argmax(1).tolist()) if number not in VOCABULARY.silent]


def said(words: list[list[int]]) -> list[int]:
    return list(itertools.chain.from_iterable(words))


@pytest.mark.parametrize("name", DIFFICULTIES)
def test_each_difficulty_has_the_figures_it_is_calibrated_to(name):
    """Within what 250 utterances of words nobody says vary by; the benchmark shows them for its own."""
    difficulty, every = DIFFICULTIES[name], utterances(250)
    emissions = [simulate(words, difficulty, seed) for seed, words in enumerate(every)]
    found = jiwer.process_words(
        [" ".join(map(str, said(words))) for words in every], [" ".join(map(str, heard(one))) for one in emissions]
    )
    assert found.wer == pytest.approx(difficulty.target_greedy_errors, rel=0.15)
    assert min(found.substitutions, found.deletions, found.insertions) > 0
    frames = np.concatenate(emissions)
    rivals = (frames >= LIKELY_LOGP).sum(axis=1).mean() - 1
    assert rivals == pytest.approx(difficulty.target_num_likely - 1, rel=0.12)
    assert 1 - np.exp(frames.max(axis=1)).mean() == pytest.approx(1 - difficulty.target_max_p, rel=0.12)


@pytest.mark.parametrize("name", DIFFICULTIES)
def test_emissions_are_log_probabilities_and_the_same_for_the_same_seed(name):
    words = utterances(1)[0]
    first, again, other = (simulate(words, DIFFICULTIES[name], seed) for seed in (1, 1, 2))
    assert first.dtype == np.float32
    assert first.shape[1] == len(LABELS) == 64
    assert np.array_equal(first, again)
    assert not (first.shape == other.shape and np.array_equal(first, other))
    assert np.exp(first.astype(np.float64)).sum(axis=1) == pytest.approx(np.ones(len(first)), abs=1e-5)


@given(
    st.lists(st.lists(st.sampled_from(SPEAKABLE), min_size=1, max_size=5), min_size=1, max_size=8), st.integers(0, 9)
)
@settings(max_examples=50)
def test_without_difficulty_the_phones_are_there_to_be_read(words, seed):
    """Else what is simulated is not what was said: doubles run together inside a word or where two words meet."""
    assert heard(simulate(words, EASY, seed)) == said(words)


def test_speech_has_the_pace_of_the_letters():
    every = utterances(200)
    seconds = sum(len(simulate(words, EASY, seed)) for seed, words in enumerate(every)) * FRAME_S
    spoken = seconds - len(every) * 2 * 8 * FRAME_S  # without the silence around
    assert sum(map(len, every)) / spoken == pytest.approx(WORDS_PER_S, rel=0.03)


def test_every_phone_can_be_taken_for_another_and_none_for_itself_or_a_mark():
    """A phone without rivals would be easier than any of a model is, and one confused with itself not confused."""
    assert len(set(LABELS)) == len(LABELS)
    for number in SPEAKABLE:
        others = set(_PHONES.alike[number].tolist())
        assert others and number not in others and not others & VOCABULARY.silent
