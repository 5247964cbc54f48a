"""Greedy decoding against transformers' tokenizer and itertools, on paths made of every kind of repetition."""

import itertools
import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import Wav2Vec2CTCTokenizer, Wav2Vec2PhonemeCTCTokenizer

from pipeline.decode.greedy import GreedyDecoder, collapse, greedy
from pipeline.records import Recording
from pipeline.text.vocabulary import Vocabulary
from pipeline.unit import Unit

LABELS = ("<pad>", "<s>", "</s>", "<unk>", "|", *"AEHLO")
BLANK, DELIMITER = 0, 4
VOCABULARY = Vocabulary(LABELS, BLANK, DELIMITER, silent=frozenset({0, 1, 2, 3}))
FRAME_S = 0.02

# Stretches of one label, because frames drawn one by one rarely repeat.
STRETCHES = st.lists(st.tuples(st.sampled_from([BLANK, *range(DELIMITER, len(LABELS))]), st.integers(1, 4)))
PATHS = STRETCHES.map(lambda stretches: [label for label, length in stretches for _ in range(length)])


def emissions(path: list[int], seed: int = 0) -> np.ndarray:
    """Log-probabilities (T, V) whose best path is this one."""
    logits = np.random.default_rng(seed).normal(0, 1, (len(path), len(LABELS)))
    logits[np.arange(len(path)), path] = logits.max(axis=1, initial=0) + 0.1
    return (logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))).astype(np.float32)


def spell(text: str) -> list[int]:
    return [LABELS.index({" ": "|", "-": "<pad>"}.get(letter, letter)) for letter in text]


@pytest.fixture(scope="module")
def oracle(tmp_path_factory: pytest.TempPathFactory) -> Wav2Vec2CTCTokenizer:
    path: Path = tmp_path_factory.mktemp("vocabulary") / "vocab.json"
    path.write_text(json.dumps({label: number for number, label in enumerate(LABELS)}))
    return Wav2Vec2CTCTokenizer(str(path))


@given(path=PATHS)
def test_texts_and_word_times_are_those_of_transformers(oracle: Wav2Vec2CTCTokenizer, path: list[int]) -> None:
    ours = greedy(emissions(path), VOCABULARY, FRAME_S)
    if not path:
        assert ours.text == ""
        return
    theirs = oracle.decode(path, output_word_offsets=True)
    assert ours.text == " ".join(theirs.text.split())  # they keep a space for each of two delimiters around a blank
    assert [(word.word, round(word.start_s / FRAME_S), round(word.end_s / FRAME_S)) for word in ours.words] == [
        (word["word"], word["start_offset"], word["end_offset"]) for word in theirs.word_offsets
    ]


@given(PATHS)
def test_collapsing_finds_the_stretches_that_itertools_finds(path: list[int]) -> None:
    starts, ends = collapse(np.array(path, np.int64))
    ours = [(path[start], int(end - start)) for start, end in zip(starts, ends, strict=True)]
    assert ours == [(label, len(list(group))) for label, group in itertools.groupby(path)]
    assert list(starts[1:]) == list(ends[:-1])


@given(PATHS, st.integers(0, 9))
def test_confidences_are_the_mean_probability_of_the_best_path(path: list[int], seed: int) -> None:
    scores = emissions(path, seed)
    ours = greedy(scores, VOCABULARY, FRAME_S)
    best = [float(frame[label]) for frame, label in zip(scores, path, strict=True)]

    def naive(start: int, end: int) -> float:
        return math.exp(sum(best[start:end]) / (end - start))

    if path:
        assert ours.confidence == pytest.approx(naive(0, len(path)))
    for word in ours.words:
        assert 0 <= word.confidence <= 1
        assert word.confidence == pytest.approx(naive(round(word.start_s / FRAME_S), round(word.end_s / FRAME_S)))
    assert 0 <= ours.confidence <= 1


@given(PATHS)
def test_words_lie_in_the_recording_one_after_the_other(path: list[int]) -> None:
    words = greedy(emissions(path), VOCABULARY, FRAME_S).words
    times = [time for word in words for time in (word.start_s, word.end_s)]
    assert times == sorted(times)
    assert all(word.start_s < word.end_s for word in words)
    assert all(0 <= time <= len(path) * FRAME_S for time in times)


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("HHEEL-LLO ALL--LL", "HELLO ALL"),
        ("HEL-LO AL-L", "HELLO ALL"),
        ("HELLO", "HELO"),  # a double letter needs a blank between
        (" - HA -- ", "HA"),
        ("---", ""),
        ("   ", ""),
        ("", ""),
    ],
)
def test_double_letters_survive_and_nothing_else_doubles(path: str, text: str) -> None:
    assert greedy(emissions(spell(path)), VOCABULARY, FRAME_S).text == text


def test_special_marks_are_silent_but_separate_letters() -> None:
    path = [1, *spell("L"), 3, *spell("L O"), 2]
    assert greedy(emissions(path), VOCABULARY, FRAME_S).text == "LL O"


def test_without_delimiter_a_recording_is_one_word_and_case_follows_the_tokenizer() -> None:
    vocabulary = Vocabulary(LABELS, BLANK, None, frozenset({0, 1, 2, 3, 4}), lower_case=True)
    assert greedy(emissions(spell("HA HO")), vocabulary, FRAME_S).text == "haho"


def test_certainty_and_despair_stay_probabilities() -> None:
    certain = np.full((3, len(LABELS)), -np.inf, np.float32)
    certain[:, 5] = 0.0
    assert greedy(certain, VOCABULARY, FRAME_S).confidence == 1.0
    assert greedy(certain - 1e4, VOCABULARY, FRAME_S).confidence == 0.0


def test_the_stage_leaves_failures_alone_and_lets_emissions_go() -> None:
    """Emissions are the largest thing in a row; a unit that kept them would not fit in memory."""
    heard = Recording("heard", "x", emissions=emissions(spell("HA")), frame_s=FRAME_S)
    failed = Recording("failed", "x", status="failed", error="read: not audio")
    GreedyDecoder(VOCABULARY)(Unit(0, [failed, heard]))
    assert (heard.text, heard.emissions, heard.frame_s) == ("HA", None, None)
    assert failed == Recording("failed", "x", status="failed", error="read: not audio")


PHONES = ("<pad>", "<s>", "</s>", "<unk>", "|", "a\u026a", "ɜː", "t", "tʃ", "t\u0361s")
PHONEMES = Vocabulary(PHONES, BLANK, DELIMITER, silent=frozenset({0, 1, 2, 3}), phonemes=True)


@pytest.fixture(scope="module")
def phoneme_oracle(tmp_path_factory: pytest.TempPathFactory) -> Wav2Vec2PhonemeCTCTokenizer:
    path: Path = tmp_path_factory.mktemp("phonemes") / "vocab.json"
    path.write_text(json.dumps({label: number for number, label in enumerate(PHONES)}))
    return Wav2Vec2PhonemeCTCTokenizer(str(path), word_delimiter_token="|", do_phonemize=False)


@given(path=PATHS, seed=st.integers(0, 9))
def test_phones_and_their_times_are_those_of_transformers(
    phoneme_oracle: Wav2Vec2PhonemeCTCTokenizer, path: list[int], seed: int
) -> None:
    """The risk: words glued of phones, a doubled phone lost at a word's end, times of the word's."""
    scores = emissions(path, seed)
    ours = greedy(scores, PHONEMES, FRAME_S)
    assert ours.words is None
    if not path:
        assert (ours.text, ours.phones) == ("", [])
        return
    theirs = phoneme_oracle.decode(path, output_char_offsets=True)
    assert ours.text == theirs.text
    places = [(one.phone, round(one.start_s / FRAME_S), round(one.end_s / FRAME_S)) for one in ours.phones]
    assert places == [(one["char"], one["start_offset"], one["end_offset"]) for one in theirs.char_offsets]
    for phone, (label, start, end) in zip(ours.phones, places, strict=True):
        assert phone.confidence == pytest.approx(np.exp(scores[start:end, PHONES.index(label)].mean()), rel=1e-5)


def test_the_stage_fills_in_phones_and_no_words() -> None:
    path = [PHONES.index(phone) for phone in ("t", "<pad>", "t", "|", "ɜː")]
    recording = Recording("a", "a", emissions=emissions(path), frame_s=FRAME_S)
    GreedyDecoder(PHONEMES)(Unit(0, [recording]))
    assert (recording.text, recording.words) == ("t t ɜː", None)
    assert [phone.phone for phone in recording.phones] == ["t", "t", "ɜː"]
    assert recording.emissions is None
