"""Simulated emissions of a phone model: what it might say of words, in two difficulties, without a mark between words.

As `pipeline.demo.emissions` simulates letters: peaks of one or two frames among blanks, at the pace of read speech,
with phones confused, lost and added. Knows nothing of spelling; words come as labels, for instance from a lexicon.
"""
# ruff: noqa: RUF001 - signs of the phonetic alphabet are what is meant

from collections.abc import Sequence

import numpy as np

from pipeline.demo.emissions import Difficulty, Sounds, simulate_labels
from pipeline.records import FloatArray
from pipeline.text.vocabulary import Vocabulary

# What espeak's American English has in 25,000 words of prose, ten times and more, and two of other languages. Each
# stands before those it is taken for: vowels near each other, voiced and voiceless, nasals, liquids, sibilants.
_ALIKE = """
s z θ ʃ f|z s ð ʒ|ʃ s tʃ ʒ|ʒ ʃ z dʒ|tʃ ʃ t dʒ|dʒ tʃ d ʒ j|f θ v p|v f ð b w|θ f s t ð|ð d v θ z
p b t f|b p d v|t d ɾ k ʔ|d t ɾ ɡ ð|ɾ d t l|k ɡ t x|ɡ k d|ʔ t ɾ|x k h|h x f
m n ŋ b|n m ŋ n̩|ŋ n m|n̩ n əl|l əl w ɹ|əl l ə oʊ|ɹ w ɚ l r|r ɹ ɾ|w l v uː|j i iː
iː i ɪ eɪ|i iː ᵻ ɪ|ɪ ᵻ ɛ i ə|ᵻ ɪ ə i|eɪ ɛ iː aɪ|ɛ æ ɪ eɪ|æ ɛ ɐ aʊ|ə ɐ ʌ ᵻ ɪ|ɐ ə ʌ æ|ʌ ə ɑː ɐ ʊ
ɑː ɔː ʌ ɔ|ɔː ɑː ɔ oʊ|ɔ ɔː ɑː|oʊ ɔː uː əl|uː ʊ u oʊ|u uː ʊ|ʊ uː ʌ ə|aɪ ɔɪ eɪ aɪə|aʊ æ oʊ ɑː|ɔɪ aɪ ɔː
ɚ ə ɜː ɹ|ɜː ɚ ʌ ɛɹ|ɑːɹ ɔːɹ ɑː ɹ|ɔːɹ ɑːɹ oʊ ʊɹ|ɪɹ ɛɹ iə ɚ|ɛɹ ɪɹ ɜː ɛ|ʊɹ ɔːɹ ɜː ʊ|iə ɪɹ i ə|aɪɚ aɪə aɪ ɚ|aɪə aɪ aɪɚ ə
"""
_GROUPS = [group.split() for group in _ALIKE.strip().replace("\n", "|").split("|")]
_MARKS = ("<pad>", "<s>", "</s>", "<unk>")
LABELS = (*_MARKS, *(phone for phone, *_ in _GROUPS))
VOCABULARY = Vocabulary(LABELS, blank=0, delimiter=None, silent=frozenset(range(len(_MARKS))), phonemes=True)
_PHONES = Sounds.of(VOCABULARY, len(_MARKS), _GROUPS)

# Calibrated to the error rate of greedy decoding, in phones, by the share of bad words; all else is as with letters.
DIFFICULTIES = {
    "clean": Difficulty(0.06, (0.004, 0.45), 0.126, (3, 2), 0.48, 0.01, 1.13, 0.987, 0.034),
    "mid": Difficulty(0.156, (0.004, 0.45), 0.252, (3, 2), 0.425, 0.01, 1.25, 0.977, 0.077),
}


def simulate(words: Sequence[Sequence[int]], difficulty: Difficulty, seed: int) -> FloatArray:
    """Log-probabilities (T, V) in float32 of words, each as numbers of LABELS; the same for the same seed."""
    symbols = np.array([label for word in words for label in word])
    word = np.repeat(np.arange(len(words)), [len(labels) for labels in words])
    return simulate_labels(symbols, word, _PHONES, difficulty, seed)
