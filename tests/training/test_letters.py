"""Letters of any script are kept whole, and numbers of texts are those that transformers' tokenizer gives them."""

import unicodedata

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import Wav2Vec2CTCTokenizer

from pipeline.errors import UsageError
from pipeline.text.vocabulary import Vocabulary
from pipeline.training.letters import MARKS, MOST_LETTERS, labels_of, least_frames, numbered, spelled, write

SPELLED = {
    "Hello,  world!\n": "HELLO WORLD",
    "it\u2019s the dogs' bone": "IT'S THE DOGS' BONE",
    "snake_case -- a|b <pad>": "SNAKE CASE A B PAD",
    "Straße": "STRASSE",
    "İstanbul'da ışık": "İSTANBUL'DA IŞIK",  # noqa: RUF001
    "Ποιος είναι;": "ΠΟΙΟΣ ΕΊΝΑΙ",
    "東京タワーへ行く。": "東京タワーへ行く",
    "한국어, 맞아요": "한국어 맞아요",
    "हिन्दी में": "हिन्दी में",  # its vowels are marks: as blanks they would tear every word apart
    "สวัสดีครับ": "สวัสดีครับ",
    "مُحَمَّد؟": "مُحَمَّد",
    "می\u200cخواهم": "میخواهم",  # noqa: RUF001  # a joiner is no pause
    "co\u00adoperate": "COOPERATE",
    "\ufeffyes 4 me": "YES 4 ME",
    "...": "",
}


@pytest.mark.parametrize("text", SPELLED)
def test_what_can_be_heard_is_kept_in_every_script(text):
    assert spelled(text) == unicodedata.normalize("NFC", SPELLED[text])


@given(st.text())
@settings(max_examples=300)
def test_spelling_is_one_whatever_the_text_was_composed_of(text):
    """Of two spellings of one word, a label would have to be learnt twice. And what is spelled stays as it is."""
    once = spelled(text)
    assert spelled(once) == once
    assert not set(once) & {"|", "<", ">", "_", "\t", "\n"}
    assert once == " ".join(once.split())


@pytest.mark.parametrize("text", ["Café naïve Ångström", "Tiếng Việt", "각 가", "й ё"])
def test_composed_and_decomposed_texts_are_the_same(text):
    assert spelled(unicodedata.normalize("NFD", text)) == spelled(unicodedata.normalize("NFC", text))


def test_the_tokenizer_of_transformers_reads_the_same_numbers(tmp_path):
    texts = [text for text in map(spelled, SPELLED) if text]
    labels = labels_of(texts)
    write(tmp_path, labels)
    tokenizer = Wav2Vec2CTCTokenizer.from_pretrained(tmp_path)
    for text, found in zip(texts, numbered(texts, labels), strict=True):
        assert found.tolist() == tokenizer(text).input_ids
        assert tokenizer.decode(found, group_tokens=False) == text
    assert tokenizer.pad_token_id == 0


def test_our_vocabulary_reads_what_was_written(tmp_path):
    labels = labels_of(["AB", "Ü 東"])
    write(tmp_path, labels)
    vocabulary = Vocabulary.from_pretrained(tmp_path)
    assert vocabulary.labels == labels == (*MARKS, "A", "B", "Ü", "東")
    assert (vocabulary.blank, vocabulary.delimiter, vocabulary.silent) == (0, 4, frozenset({0, 1, 2, 3}))


def test_texts_of_no_letters_or_of_too_many_are_refused():
    with pytest.raises(UsageError, match="0 different letters"):
        labels_of(["", ""])
    with pytest.raises(UsageError, match="4,001 different letters"):
        labels_of([chr(0x4E00 + number) for number in range(MOST_LETTERS + 1)])


@given(st.lists(st.integers(1, 3), min_size=1, max_size=8))
@settings(max_examples=50)
def test_least_frames_is_where_torchs_loss_becomes_finite(labels):
    """A frame too many, and recordings that could be learnt from are left out; one too few, and they teach nothing."""
    least = least_frames(np.array(labels))

    def loss(num_frames: int) -> float:
        log_probs = torch.zeros(num_frames, 1, 4).log_softmax(dim=2)
        lengths = torch.tensor([num_frames]), torch.tensor([len(labels)])
        return F.ctc_loss(log_probs, torch.tensor([labels]), *lengths, reduction="sum").item()

    assert np.isfinite(loss(least))
    assert least == 1 or np.isinf(loss(least - 1))
