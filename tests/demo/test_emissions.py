"""Simulated emissions: what they are calibrated to must not rot, for every figure of the benchmark stands on it."""

import jiwer
import numpy as np
import pytest

from pipeline.decode.greedy import greedy
from pipeline.demo.emissions import (
    DIFFICULTIES,
    FRAME_S,
    LABELS,
    LIKELY_LOGP,
    VOCABULARY,
    WORDS_PER_S,
    Difficulty,
    simulate,
)

# Words of all lengths, with double letters and every letter of the alphabet.
TEXT = (
    "THE QUICK BROWN FOX JUMPS OVER A LAZY DOG AND I WON'T TELL ALL COFFEE LOVERS THAT LETTERS IN HELLO ARE KEPT "
    "EVERY NIGHT BECAUSE RECORDING COMMITTEES SUGGEST EXPLANATIONS TO ZEALOUS JUDGES WITH ADDRESS BOOKS"
)
EASY = Difficulty(0, (0, 0), 0, (1, 1), 0.1, 0, 1, 1, 0)  # nothing is bad, nothing competes


def texts(num: int) -> list[str]:
    rng = np.random.default_rng(5)
    return [" ".join(rng.choice(TEXT.split(), rng.integers(12, 22))) for _ in range(num)]


@pytest.mark.parametrize("name", DIFFICULTIES)
def test_each_difficulty_has_the_figures_it_is_calibrated_to(name):
    """Within what 250 utterances of other words vary by; the benchmark shows them for its own."""
    difficulty, lines = DIFFICULTIES[name], texts(250)
    emissions = [simulate(line, difficulty, seed) for seed, line in enumerate(lines)]
    frames = np.concatenate(emissions)
    rivals = (frames >= LIKELY_LOGP).sum(axis=1).mean() - 1
    assert rivals == pytest.approx(difficulty.target_num_likely - 1, rel=0.12)
    assert 1 - np.exp(frames.max(axis=1)).mean() == pytest.approx(1 - difficulty.target_max_p, rel=0.12)
    heard = [greedy(each, VOCABULARY, FRAME_S).text for each in emissions]
    assert jiwer.wer(lines, heard) == pytest.approx(difficulty.target_greedy_errors, rel=0.25)


@pytest.mark.parametrize("name", DIFFICULTIES)
def test_emissions_are_log_probabilities_and_the_same_for_the_same_seed(name):
    line = texts(1)[0]
    first, again, other = (simulate(line, DIFFICULTIES[name], seed) for seed in (1, 1, 2))
    assert first.dtype == np.float32
    assert first.shape[1] == len(LABELS) == 32
    assert np.array_equal(first, again)
    assert not (first.shape == other.shape and np.array_equal(first, other))
    assert np.exp(first.astype(np.float64)).sum(axis=1) == pytest.approx(np.ones(len(first)), abs=1e-5)


@pytest.mark.parametrize("line", [*texts(20), "A", "LL", "A A", "HELLO COFFEE", "'", "LLLL LLLL"])
def test_without_difficulty_the_text_is_there_to_be_read(line):
    """Else what is simulated is not the text: letters lost in time, or double letters run together."""
    assert greedy(simulate(line, EASY, 3), VOCABULARY, FRAME_S).text == line


def test_speech_has_the_pace_it_claims():
    lines = texts(200)
    seconds = sum(len(simulate(line, EASY, seed)) for seed, line in enumerate(lines)) * FRAME_S
    spoken = seconds - len(lines) * 2 * 8 * FRAME_S  # without the silence around
    assert sum(len(line.split()) for line in lines) / spoken == pytest.approx(WORDS_PER_S, rel=0.03)
