"""Simulated emissions: what a CTC model might say of a text, in four difficulties, calibrated to measured figures.

No sound and no model is involved, so error rates rank decoders but promise nothing about speech; the cost of decoding
depends on how many labels compete in a frame, and that is what is calibrated. Simulated are:

- frames that are mostly blank, at the pace of read speech, and letters that are peaks of one frame, some of two;
- labels that compete, a few in any frame: mostly where letters are, and in words with bad acoustics;
- hard letters, rare in good words and frequent in bad ones, where a letter that sounds alike or the blank (a deletion)
  beats the truth; three in ten have the truth at about 1e-5, where only a language model that looks wide can find it;
- letters that nobody said, in bad words;
- flat emissions ("diffuse"), as of a model with label smoothing: something competes at most letters, in good words too.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.records import FloatArray
from pipeline.text.vocabulary import Vocabulary

LABELS = ("<pad>", "<s>", "</s>", "<unk>", "|", *"ETAONIHSRDLUMWCFGYPBVK'XJQZ")  # of facebook/wav2vec2-base-960h
VOCABULARY = Vocabulary(LABELS, blank=0, delimiter=4, silent=frozenset({0, 1, 2, 3}))
FRAME_S = 0.02
WORDS_PER_S = 2.36
LIKELY_LOGP = -5.0  # labels above it count as competing: pyctcdecode's and our default `token_min_logp`

Logits = npt.NDArray[np.float64]  # (T, V) natural logarithms of masses that need not sum to one


@dataclass(frozen=True)
class Difficulty:
    """What is simulated, and the figures it is calibrated to."""

    bad_words: float  # share of words with bad acoustics
    hard_letters: tuple[float, float]  # share of letters where something beats the truth: in good words, in bad ones
    num_rivals: float  # labels that compete without winning, per frame
    uneven: tuple[float, float]  # how many times as many of them there are in bad words, and where a letter is
    rival_mass: float  # their greatest probability against the winner's; the least is just above LIKELY_LOGP
    false_letters: float  # share of the blank frames of bad words with a letter nobody said
    target_num_likely: float  # labels above LIKELY_LOGP per frame
    target_max_p: float  # mean probability of the best label
    target_greedy_errors: float  # the error rate of greedy decoding, of words; of phones where labels are phones


# The targets are those of the measurements which found what decoding costs; "clean" is like the one real matrix of
# LibriSpeech emissions at hand (1.13 labels, 0.982).
DIFFICULTIES = {
    "clean": Difficulty(0.078, (0.004, 0.45), 0.126, (3, 2), 0.48, 0.01, 1.13, 0.987, 0.129),
    "mid": Difficulty(0.18, (0.004, 0.45), 0.252, (3, 2), 0.425, 0.01, 1.25, 0.977, 0.254),
    "noisy": Difficulty(0.238, (0.015, 0.65), 0.509, (1, 6), 0.585, 0.02, 1.45, 0.952, 0.408),
    "diffuse": Difficulty(0.138, (0.006, 0.75), 1.97, (1, 6), 0.39, 0.01, 2.12, 0.912, 0.253),
}

# What the difficulties share.
LOST_SHARE, LOST_LOGP = 0.3, -11.5  # of hard letters: those with the truth at about 1e-5
DELETED_SHARE = 0.25  # of hard letters: those that the blank beats
FLOOR_LOGP, FLOOR_SPREAD = -14.0, 1.5  # labels that nothing speaks for
TWO_FRAMES_SHARE = 0.2  # of letters
SILENCE_FRAMES = 8  # before and after, on average

# Which letters are taken for which: similar vowels, voiced and voiceless, nasals, liquids, sibilants.
_ALIKE = (
    "AEOU EIA IEY OAU UOA YIE BPDV PBT DTGB TDPK GKDJ KGCT CKSG QKC MNB NMD LRWN RLW WRUV SZCF ZSX XKSZ FVSP VFBW JGZ "
    "HEF 'SE |E'S"
)  # each letter before those it is taken for
_ID = {label: number for number, label in enumerate(LABELS)}
_NUM_ALIKE = 6


@dataclass(frozen=True)
class Sounds:
    """The labels of a model, as far as simulating them takes."""

    blank: int
    first: int  # labels from here on may be heard where nobody said them
    alike: npt.NDArray[np.int64]  # (V, 6) for each label those it is taken for; the blank where there are none

    @classmethod
    def of(cls, vocabulary: Vocabulary, first: int, groups: Sequence[Sequence[str]]) -> "Sounds":
        """`groups`: each a label before those it is taken for."""
        table = np.full((len(vocabulary.labels), _NUM_ALIKE), vocabulary.blank)
        ids = {label: number for number, label in enumerate(vocabulary.labels)}
        for label, *others in groups:
            table[ids[label]] = [ids[others[number % len(others)]] for number in range(_NUM_ALIKE)]
        return cls(vocabulary.blank, first, table)


_LETTERS = Sounds.of(VOCABULARY, _ID["|"], _ALIKE.split())


@dataclass(frozen=True)
class _Path:
    """Where what is said lies in time."""

    symbols: npt.NDArray[np.int64]  # (S,) labels, of letters with the delimiters between words
    word: npt.NDArray[np.int64]  # (S,) which word each is of
    first: npt.NDArray[np.int64]  # (S,) frame of each
    length: npt.NDArray[np.int64]  # (S,) frames it lasts
    num_frames: int


def simulate(text: str, difficulty: Difficulty, seed: int) -> FloatArray:
    """Log-probabilities (T, V) in float32 of a text of A-Z, apostrophe and space; the same for the same seed."""
    symbols = np.array([_ID["|" if char == " " else char] for char in text])
    return simulate_labels(symbols, np.cumsum(symbols == _ID["|"]), _LETTERS, difficulty, seed)


def simulate_labels(
    symbols: npt.NDArray[np.int64], word: npt.NDArray[np.int64], sounds: Sounds, difficulty: Difficulty, seed: int
) -> FloatArray:
    """Log-probabilities (T, V) of labels (S,), and which word each is of, from 0."""
    rng = np.random.default_rng(seed)
    path = _path(symbols, word, rng)
    bad_word = rng.random(path.word[-1] + 1) < difficulty.bad_words
    logits = rng.normal(FLOOR_LOGP, FLOOR_SPREAD, (path.num_frames, len(sounds.alike)))  # (T, V)
    symbol_of = np.full(path.num_frames, -1)  # (T,) of a letter's frames; -1: blank
    for offset in (0, 1):
        lasting = path.length > offset
        symbol_of[path.first[lasting] + offset] = np.flatnonzero(lasting)
    letters = np.flatnonzero(symbol_of >= 0)  # (L,) frames
    logits[symbol_of < 0, sounds.blank] = 0.0
    logits[letters, sounds.blank] = rng.uniform(-9, -5.5, len(letters))
    logits[letters, path.symbols[symbol_of[letters]]] = 0.0
    # The word that a frame lies in: that of the last letter begun.
    nearest = np.maximum(np.searchsorted(path.first, np.arange(path.num_frames), side="right") - 1, 0)  # (T,)
    in_bad_word = bad_word[path.word[nearest]]
    simulated = _Simulated(logits, sounds, difficulty, rng)
    _add_rivals(simulated, in_bad_word, symbol_of, path.symbols[nearest])
    _add_false_letters(simulated, in_bad_word & (symbol_of < 0))
    _make_hard(simulated, bad_word[path.word], path)
    logits -= np.log(np.exp(logits).sum(axis=1, keepdims=True))
    return logits.astype(np.float32)


@dataclass(frozen=True)
class _Simulated:
    """What is being made, and of what."""

    logits: Logits  # (T, V)
    sounds: Sounds
    difficulty: Difficulty
    rng: np.random.Generator


def _path(symbols: npt.NDArray[np.int64], word: npt.NDArray[np.int64], rng: np.random.Generator) -> _Path:
    length = 1 + (rng.random(len(symbols)) < TWO_FRAMES_SHARE)
    least_gap = np.append(0, symbols[1:] == symbols[:-1]).astype(np.int64)  # a double letter needs a blank between
    num_words = int(word[-1]) + 1
    spare = int(num_words / WORDS_PER_S / FRAME_S * rng.uniform(0.85, 1.15)) - int(length.sum() + least_gap.sum())
    gaps = least_gap + rng.multinomial(max(spare, 0), rng.dirichlet(np.full(len(symbols), 1.5)))  # (S,) before each
    before, after = rng.poisson(SILENCE_FRAMES, 2)
    first = before + np.cumsum(gaps + length) - length
    return _Path(symbols, word, first, length, int(first[-1] + length[-1] + after))


def _add_rivals(
    made: _Simulated, in_bad_word: npt.NDArray[np.bool_], symbol_of: npt.NDArray[np.int64], near: npt.NDArray[np.int64]
) -> None:
    """Labels that compete but do not win: mostly those that sound like the letter nearby, or it itself too late."""
    logits, difficulty, rng = made.logits, made.difficulty, made.rng
    of_bad, of_letter = difficulty.uneven
    weight = np.where(in_bad_word, of_bad, 1.0) * np.where(symbol_of >= 0, of_letter, 1.0)  # (T,)
    num = rng.poisson(difficulty.num_rivals * weight / weight.mean())
    frames = np.repeat(np.arange(len(num)), num)  # (R,)
    labels = _alike(near[frames], made)
    late = (symbol_of[frames] < 0) & (rng.random(len(frames)) < 0.5)
    labels[late] = near[frames[late]]
    mass = rng.uniform(LIKELY_LOGP + 0.1, np.log(difficulty.rival_mass), len(frames))
    free = logits[frames, labels] < LIKELY_LOGP
    logits[frames[free], labels[free]] = mass[free]


def _add_false_letters(made: _Simulated, possible: npt.NDArray[np.bool_]) -> None:
    rng, sounds = made.rng, made.sounds
    frames = np.flatnonzero(possible & (rng.random(len(possible)) < made.difficulty.false_letters))
    made.logits[frames, rng.integers(sounds.first, len(sounds.alike), len(frames))] = 0.0
    made.logits[frames, sounds.blank] = rng.uniform(-3, -0.2, len(frames))


def _make_hard(made: _Simulated, bad: npt.NDArray[np.bool_], path: _Path) -> None:
    """Let something else win at some letters, in all frames of one alike."""
    logits, rng = made.logits, made.rng
    in_good, in_bad = made.difficulty.hard_letters
    hard = np.flatnonzero(rng.random(len(bad)) < np.where(bad, in_bad, in_good))
    deleted = rng.random(len(hard)) < DELETED_SHARE
    winner = np.where(deleted, made.sounds.blank, _alike(path.symbols[hard], made))
    truth = rng.uniform(-3.5, -0.3, len(hard))
    lost = rng.random(len(hard)) < LOST_SHARE
    truth[lost] = rng.normal(LOST_LOGP, 0.7, lost.sum())
    for offset in (0, 1):
        lasting = path.length[hard] > offset
        frames = path.first[hard[lasting]] + offset
        logits[frames, path.symbols[hard[lasting]]] = truth[lasting]
        logits[frames, winner[lasting]] = 0.0


def _alike(labels: npt.NDArray[np.int64], made: _Simulated) -> npt.NDArray[np.int64]:
    """For each label one that is taken for it."""
    return made.sounds.alike[labels, made.rng.integers(0, _NUM_ALIKE, len(labels))]
