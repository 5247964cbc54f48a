"""transformers' phoneme tokenizer is the oracle, on hostile vocabularies; but no phone is lost, no language stale."""
# ruff: noqa: RUF001 - signs of the phonetic alphabet are what is meant

import json
import random
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import Wav2Vec2PhonemeCTCTokenizer as Reference

from pipeline.errors import UsageError
from pipeline.text import Wav2Vec2PhonemeCTCTokenizer
from pipeline.text.espeak import Phonemizer
from pipeline.text.phoneme_tokenizer import Wav2Vec2PhonemeCTCTokenizerOutput

SPECIAL = ["<s>", "<pad>", "</s>", "<unk>"]
PHONES = [
    *("a", "aɪ", "aː", "ː", "ɹ", "t͡ʃ", "t͜ʃ", "d͡ʒ", "n̩", "̩", "ɐ̃", "kʰ", "ˈ", "ˌa", "5", "a5", "ɑ5", "|", "#", "-", "_"),
    *(
        "[UNK]",
        "[a]",
        "<",
        "s>",
        "A",
        "Å",
        "Å",
        "ŋ͡m",
        "שׁ",
        "حَ",
        "ऋ",
        "𝼄",
        "\u200d",
        "\u00a0",
        "'",
        "?",
        "a b",
        "ɪ ",
        " ",
    ),
]
LANGUAGES = ("en-us", "de", "fr-fr", "es", "cmn")
TEXTS = ["Hello, my Name is Mia; I am 23.", "le weekend", "über Straße 12", "你好", "", "?!"]


def write(folder: Path, labels: list[str]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "vocab.json"
    path.write_text(json.dumps({label: number for number, label in enumerate(labels)}, ensure_ascii=False))
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("phonemes")


@st.composite
def vocabularies(draw: st.DrawFn) -> tuple[list[str], dict[str, Any]]:
    phones = draw(st.lists(st.sampled_from(PHONES), min_size=1, max_size=14, unique=True))
    special = SPECIAL[: draw(st.integers(2, 4))]  # without an unknown token, without an end of sentence
    labels = draw(st.permutations([*phones, *special]))
    delimiter = draw(st.sampled_from([None, "|", "#", "aː"]))
    options = {"word_delimiter_token": delimiter, "phone_delimiter_token": draw(st.sampled_from([" ", "-", ""]))}
    return labels, {**options, "do_phonemize": False}


def both(folder: Path, labels: list[str], options: dict[str, Any], by: str) -> tuple[Any, Any]:
    """The reference's tokenizer and ours, both from what one of the two has saved."""
    made = (Reference if by == "reference" else Wav2Vec2PhonemeCTCTokenizer)(str(write(folder, labels)), **options)
    for old in (folder / "saved").glob("*"):
        old.unlink()
    made.save_pretrained(str(folder / "saved"))
    return Reference.from_pretrained(folder / "saved"), Wav2Vec2PhonemeCTCTokenizer.from_pretrained(folder / "saved")


def expected(reference: Any, ids: list[int], skip: bool = False, **options: Any) -> tuple[str, list[dict[str, Any]]]:
    """By the reference; special tokens that are to be skipped are taken out of what it decodes."""
    if not ids:  # at which it raises
        return "", []
    output = reference.decode(ids, output_char_offsets=True, **options)
    left_out = set(reference.all_special_tokens) if skip else set()
    offsets = [one for one in output.char_offsets if one["char"] not in left_out]
    text = " ".join(one["char"] for one in offsets).strip() if skip else output.text
    return text, [{name: one if name == "char" else int(one) for name, one in offset.items()} for offset in offsets]


PROPERTY = settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@given(vocabularies(), st.sampled_from(["reference", "us"]), st.randoms(use_true_random=False))
@PROPERTY
def test_hostile_vocabularies_decode_as_the_reference_does(
    folder: Path, made: tuple[list[str], dict[str, Any]], by: str, chance: random.Random
) -> None:
    reference, ours = both(folder, *made, by)
    size = len(reference)
    some = [[*chance.choices(range(size), k=3), reference.pad_token_id] for _ in range(4)]  # stutters and blanks
    sequences = [chance.choices(some[number], k=chance.randint(0, 20)) for number in range(4)]
    for group in (True, False):
        for drop in (True, False):
            for skip in (True, False):
                options = {"group_tokens": group, "filter_word_delimiter_token": drop}
                want = [expected(reference, ids, skip, **options) for ids in sequences]
                output = ours.batch_decode(sequences, skip, output_char_offsets=True, **options)
                assert list(zip(output.text, output.char_offsets, strict=True)) == want
                assert ours.batch_decode(sequences, skip, **options) == [text for text, _ in want]
                one = ours.decode(sequences[0], skip, output_char_offsets=True, **options)
                assert (one.text, one.char_offsets) == want[0]


@given(vocabularies(), st.sampled_from(["reference", "us"]), st.data())
@PROPERTY
def test_hostile_vocabularies_encode_as_the_reference_does(
    folder: Path, made: tuple[list[str], dict[str, Any]], by: str, data: st.DataObject
) -> None:
    reference, ours = both(folder, *made, by)
    assert ours.get_vocab() == reference.get_vocab() and len(ours) == len(reference)
    assert ours.all_special_tokens == reference.all_special_tokens
    assert ours.all_special_ids == reference.all_special_ids
    unknown = ours.get_vocab()["<unk>"]  # which the reference knows only in the vocabulary: added, it gives None

    def known(number: int | None) -> int:
        return unknown if number is None else number

    for name in ("pad", "unk", "bos", "eos", "word_delimiter", "phone_delimiter"):
        token = getattr(ours, f"{name}_token")
        assert token == getattr(reference, f"{name}_token")
        number = getattr(ours, f"{name}_token_id")
        assert number == (None if token is None else known(getattr(reference, f"{name}_token_id")))
    pieces = st.sampled_from([*made[0], " ", "  ", "\n", "zz", "<pad>", "ʔ"])
    texts = data.draw(st.lists(st.lists(pieces, max_size=8).map("".join), min_size=1, max_size=3))
    phones = [reference.tokenize(text) for text in texts]
    assert [ours.tokenize(text) for text in texts] == phones
    ids = [[known(reference.convert_tokens_to_ids(phone)) for phone in row] for row in phones]
    assert ours(texts)["input_ids"] == ids and ours(texts[0])["input_ids"] == ids[0]
    assert dict(ours(texts, padding=True)) == dict(reference.pad({"input_ids": ids}))


def test_what_is_saved_is_what_the_reference_saves(folder: Path) -> None:
    options = {
        "word_delimiter_token": "|",
        "phone_delimiter_token": "-",
        "phonemizer_lang": "de",
        "do_phonemize": False,
    }
    for by in ("reference", "us"):
        reference, ours = both(folder, [*SPECIAL, "a", "|"], options, by)
        for tokenizer in (reference, ours):
            assert {name: getattr(tokenizer, name) for name in options} == options
            assert tokenizer.phonemizer_backend == "espeak" and tokenizer.word_delimiter_token_id == 5
            assert "|" not in tokenizer.all_special_tokens and "-" not in tokenizer.get_vocab()
    _, without = both(folder, [*SPECIAL, "a", "|"], {}, "us")
    assert without.word_delimiter_token is without.word_delimiter_token_id is None
    assert (without.phone_delimiter_token, without.do_phonemize, without.phonemizer_lang) == (" ", True, "en-us")


@pytest.mark.parametrize("kind", ["model_specific_special_tokens", "objects", "special_tokens_map"])
def test_files_of_other_versions_keep_their_delimiters(tmp_path: Path, kind: str) -> None:
    """Version 5.0 wrote delimiters among the special tokens; version 4 tokens as objects, in two files."""
    write(tmp_path, [*SPECIAL, "a", "|"])
    delimiters: dict[str, Any] = {"word_delimiter_token": "|", "phone_delimiter_token": "-"}
    config: dict[str, Any] = {"tokenizer_class": "Wav2Vec2PhonemeCTCTokenizer", "do_phonemize": False}
    if kind == "model_specific_special_tokens":
        config[kind] = delimiters
    elif kind == "objects":
        config |= {
            name: {"__type": "AddedToken", "content": token, "lstrip": False} for name, token in delimiters.items()
        }
    else:
        config |= delimiters
        marks = dict(zip(("bos_token", "pad_token", "eos_token", "unk_token"), SPECIAL, strict=True))
        (tmp_path / "special_tokens_map.json").write_text(json.dumps(marks))
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    ours = Wav2Vec2PhonemeCTCTokenizer.from_pretrained(tmp_path)
    assert (ours.word_delimiter_token, ours.phone_delimiter_token) == ("|", "-")
    assert ours.get_vocab() == Reference.from_pretrained(tmp_path).get_vocab()
    assert ours.all_special_tokens == ["<s>", "</s>", "<unk>", "<pad>"]
    assert ours.decode([4, 5, 4]) == "a a" and ours.decode([4, 5, 4], filter_word_delimiter_token=False) == "a | a"


# ---- corrections


@pytest.fixture(scope="module")
def tokenizer(folder: Path) -> Wav2Vec2PhonemeCTCTokenizer:
    return Wav2Vec2PhonemeCTCTokenizer(write(folder / "plain", [*SPECIAL, "a", "aɪ", "|"]), word_delimiter_token="|")


def test_doubled_phones_are_never_lost(tokenizer: Wav2Vec2PhonemeCTCTokenizer) -> None:
    """The reference drops the blanks first where it skips special tokens, and joins what they kept apart."""
    ids = [4, 4, 1, 4, 2, 4, 5, 3]
    assert tokenizer.decode(ids) == "a a </s> a aɪ <unk>"
    output = tokenizer.decode(ids, skip_special_tokens=True, output_char_offsets=True)
    assert output.text == "a a a aɪ"
    assert [(one["start_offset"], one["end_offset"]) for one in output.char_offsets] == [(0, 2), (3, 4), (5, 6), (6, 7)]


def test_padded_frames_are_never_decoded(tokenizer: Wav2Vec2PhonemeCTCTokenizer) -> None:
    padded = np.array([[4, 1, 4, 5, 5], [5, 5, 4, 4, 4]])
    alone = [tokenizer.decode(padded[0][:3]), tokenizer.decode(padded[1][:2])]
    assert tokenizer.batch_decode(padded, lengths=[3, 2]) == alone == ["a a", "aɪ"]
    marked = np.array([[4, 1, 4, -100, -100], [5, 5, -100, -100, -100]])
    for one in (marked, marked.tolist(), torch.tensor(marked)):
        output = tokenizer.batch_decode(one, output_char_offsets=True)
        assert output.text == alone and output.char_offsets[1][0]["end_offset"] == 2


def test_padded_frames_of_one_sequence_are_not_decoded_either(tokenizer: Wav2Vec2PhonemeCTCTokenizer) -> None:
    for length in (2, [2], torch.tensor([2])):
        output = tokenizer.decode([5, 5, 4, 4], output_char_offsets=True, lengths=length)
        assert output.text == "aɪ" and len(output.char_offsets) == 1
    assert type(output) is Wav2Vec2PhonemeCTCTokenizerOutput


@settings(max_examples=40)
@given(data=st.data())
def test_tokens_become_phones_as_in_the_reference(folder: Path, data: st.DataObject) -> None:
    options: dict[str, Any] = {"do_phonemize": False, "word_delimiter_token": "|"}
    path = write(folder / "tokens", ["<pad>", "a", "aɪ", "|", "</s>", "<s>", "<unk>"])
    ours, theirs = Wav2Vec2PhonemeCTCTokenizer(path, **options), Reference(str(path), **options)
    tokens = data.draw(st.lists(st.sampled_from(["a", "aɪ", "<pad>", "|", "</s>", "?", "new"]), min_size=1, max_size=9))
    names = ("group_tokens", "filter_word_delimiter_token", "output_char_offsets")
    told = {name: data.draw(st.booleans()) for name in names}
    assert ours.convert_tokens_to_string(tokens, **told) == theirs.convert_tokens_to_string(tokens, **told)
    assert ours.convert_tokens_to_string([])["text"] == ""


def test_nothing_decodes_to_nothing(tokenizer: Wav2Vec2PhonemeCTCTokenizer) -> None:
    assert tokenizer.decode([]) == tokenizer.decode([1, 1], skip_special_tokens=True) == ""
    assert tokenizer.batch_decode([]) == [] and tokenizer.batch_decode([[], [4]]) == ["", "a"]
    assert tokenizer.batch_decode([], output_char_offsets=True).to_tuple() == ([], [])


def test_outputs_are_had_by_name_key_and_position(tokenizer: Wav2Vec2PhonemeCTCTokenizer) -> None:
    output = tokenizer.decode(torch.tensor([4, 4]), output_char_offsets=True)
    offsets = [{"char": "a", "start_offset": 0, "end_offset": 2}]
    assert output.text == output["text"] == output[0] == "a"
    assert output.char_offsets == output["char_offsets"] == output[1] == offsets
    assert all(type(one) is not np.int64 for one in output.char_offsets[0].values())
    assert tokenizer.decode(4) == "a" and tokenizer.decode(np.int64(5)) == "aɪ"


def test_delimiters_can_be_set_by_id(folder: Path) -> None:
    ours = Wav2Vec2PhonemeCTCTokenizer(write(folder / "set", [*SPECIAL, "a", "#"]))
    assert ours.decode([4, 5, 4]) == "a # a"
    ours.word_delimiter_token_id = 5
    ours.phone_delimiter_token_id = 4
    assert (ours.word_delimiter_token, ours.phone_delimiter_token) == ("#", "a")
    assert ours.decode([4, 5, 4]) == "a a"


# ---- phonemes


@pytest.fixture(scope="module")
def espeak() -> None:
    """The reference finds espeak-ng as well."""
    pytest.importorskip("phonemizer", reason="phonemizer is not installed: no text can be said")
    loader = pytest.importorskip("espeakng_loader", reason="espeakng-loader is not installed")
    from phonemizer.backend.espeak.wrapper import EspeakWrapper

    EspeakWrapper.set_library(loader.get_library_path())
    EspeakWrapper.set_data_path(loader.get_data_path())


@pytest.fixture(scope="module")
def spoken(espeak: None, folder: Path) -> Path:
    """A vocabulary with most of the phones of the texts; the others are unknown."""
    phones = {phone for language in LANGUAGES for said in Phonemizer(language)(TEXTS) for phone in said.split()}
    path = write(folder / "spoken", [*SPECIAL, "|", *sorted(phones)[::2], *sorted(phones)[1::4]])
    Reference(str(path), word_delimiter_token="|").save_pretrained(folder / "spoken")
    return folder / "spoken"


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("delimiters", [{}, {"word_delimiter_token": None}, {"phone_delimiter_token": "-"}])
def test_texts_are_phonemised_as_the_reference_does(spoken: Path, language: str, delimiters: dict[str, Any]) -> None:
    reference = Reference(str(spoken / "vocab.json"), phonemizer_lang=language, **delimiters)
    ours = Wav2Vec2PhonemeCTCTokenizer(spoken / "vocab.json", phonemizer_lang=language, **delimiters)
    assert [ours.phonemize(text) for text in TEXTS] == [reference.phonemize(text) for text in TEXTS]
    assert dict(ours(TEXTS)) == dict(reference(TEXTS))
    assert [ours.tokenize(text) for text in TEXTS] == [reference.tokenize(text) for text in TEXTS]


def test_the_language_is_the_one_that_was_asked_for(spoken: Path) -> None:
    """The reference goes on in the language of an earlier call; so the oracle is a new one for each."""
    fresh = {
        language: Reference.from_pretrained(spoken, phonemizer_lang=language, word_delimiter_token="|")
        for language in LANGUAGES
    }
    text = "name 12 football"
    said = {language: one.phonemize(text) for language, one in fresh.items()}
    labels = {language: one(text)["input_ids"] for language, one in fresh.items()}
    assert len(set(said.values())) == len(LANGUAGES)
    ours = Wav2Vec2PhonemeCTCTokenizer.from_pretrained(spoken, word_delimiter_token="|")
    for language in (*LANGUAGES, *LANGUAGES[::-1], *LANGUAGES[::2]):
        assert ours.phonemize(text, language) == said[language]
        assert ours.phonemize(text) == said["en-us"]
        assert ours(text, phonemizer_lang=language)["input_ids"] == labels[language]
        assert ours(text, do_phonemize=False)["input_ids"] == ours.convert_tokens_to_ids(text.split())
        assert ours(text)["input_ids"] == labels["en-us"]
    for language in LANGUAGES:
        ours.phonemizer_lang = language
        assert ours.phonemize(text) == said[language] and ours(text)["input_ids"] == labels[language]


def test_decoding_needs_no_phonemiser_and_phonemising_says_how_to_get_one(
    spoken: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = Wav2Vec2PhonemeCTCTokenizer.from_pretrained(spoken)
    ids = ours("name").input_ids
    monkeypatch.setitem(sys.modules, "phonemizer", None)
    ours = Wav2Vec2PhonemeCTCTokenizer.from_pretrained(spoken)
    assert ours.decode(ids) and ours("a b", do_phonemize=False).input_ids
    for ask in (ours, ours.phonemize, lambda text: ours(text, phonemizer_lang="de")):
        with pytest.raises(UsageError, match="pip install phonemizer espeakng-loader"):
            ask("name")


def test_an_unknown_language_or_backend_is_one_clear_error(spoken: Path) -> None:
    ours = Wav2Vec2PhonemeCTCTokenizer.from_pretrained(spoken)
    with pytest.raises(UsageError, match=r"no language 'en'; near it: en-gb .*, en-us"):
        ours("name", phonemizer_lang="en")
    ours.phonemizer_backend = "espik"
    with pytest.raises(UsageError, match="no backend 'espik'"):
        ours.phonemize("name")
