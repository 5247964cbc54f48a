"""Vocabularies as transformers' own tokenizer writes them, and refusals that name what is wrong with a directory."""

import json
from pathlib import Path
from typing import Any

import pytest
from transformers import Wav2Vec2CTCTokenizer, Wav2Vec2PhonemeCTCTokenizer

from pipeline.errors import UsageError
from pipeline.text.phoneme_tokenizer import Wav2Vec2PhonemeCTCTokenizer as OurTokenizer
from pipeline.text.vocabulary import Vocabulary

USUAL = ("<pad>", "<s>", "</s>", "<unk>", "|", "A", "B")
ODD = ("b", "a", "[PAD]", "_", "[UNK]", "é")


def saved(directory: Path, labels: tuple[str, ...], **options: Any) -> tuple[Vocabulary, Wav2Vec2CTCTokenizer]:
    """A directory that transformers wrote, as we read it and as it does."""
    first = directory / "first.json"
    first.write_text(json.dumps({label: number for number, label in enumerate(labels)}))
    tokenizer = Wav2Vec2CTCTokenizer(str(first), **options)
    tokenizer.save_pretrained(directory / "saved")
    return Vocabulary.from_pretrained(directory / "saved"), tokenizer


@pytest.mark.parametrize(
    ("labels", "options"),
    [
        (USUAL, {}),
        (USUAL, {"do_lower_case": True}),
        (ODD, {"pad_token": "[PAD]", "unk_token": "[UNK]", "word_delimiter_token": "_"}),
        (ODD, {"pad_token": "[PAD]", "unk_token": "[UNK]", "word_delimiter_token": "_", "bos_token": "b"}),
        (("[PAD]", " ", "a"), {"pad_token": "[PAD]", "word_delimiter_token": " "}),
    ],
)
def test_labels_and_their_roles_are_those_of_transformers(
    tmp_path: Path, labels: tuple[str, ...], options: dict[str, Any]
) -> None:
    ours, theirs = saved(tmp_path, labels, **options)
    assert ours.labels == tuple(theirs.convert_ids_to_tokens(range(len(theirs))))
    assert ours.labels[: len(labels)] == labels
    assert ours.blank == theirs.pad_token_id
    assert ours.delimiter == theirs.word_delimiter_token_id
    assert ours.silent == {theirs.pad_token_id, theirs.bos_token_id, theirs.eos_token_id, theirs.unk_token_id}
    assert ours.lower_case == theirs.do_lower_case


@pytest.mark.parametrize(
    "options", [{}, {"word_delimiter_token": "|"}, {"word_delimiter_token": "ɜː", "unk_token": "n"}]
)
def test_phonemes_have_a_word_delimiter_only_where_the_tokenizer_names_one(
    tmp_path: Path, options: dict[str, str]
) -> None:
    labels = ("<s>", "<pad>", "</s>", "<unk>", "n", "|", "ɜː", "oʊ")
    (tmp_path / "first.json").write_text(json.dumps({label: number for number, label in enumerate(labels)}))
    theirs = Wav2Vec2PhonemeCTCTokenizer(str(tmp_path / "first.json"), do_phonemize=False, **options)
    theirs.save_pretrained(tmp_path / "saved")
    ours = Vocabulary.from_pretrained(tmp_path / "saved")
    assert ours.phonemes and not ours.lower_case
    assert ours.labels == tuple(theirs.convert_ids_to_tokens(range(len(theirs))))
    assert (ours.blank, ours.delimiter) == (theirs.pad_token_id, theirs.word_delimiter_token_id)
    assert ours.silent == {theirs.pad_token_id, theirs.bos_token_id, theirs.eos_token_id, theirs.unk_token_id}


@pytest.mark.parametrize(
    ("files", "delimiter"),
    [
        ({"tokenizer_config.json": {"model_specific_special_tokens": {"word_delimiter_token": "|"}}}, 5),
        ({"tokenizer_config.json": {"model_specific_special_tokens": None, "word_delimiter_token": None}}, None),
        ({"special_tokens_map.json": {"word_delimiter_token": {"content": "|"}}}, 5),
        ({"tokenizer_config.json": {"pad_token": "n"}, "special_tokens_map.json": {"pad_token": "<pad>"}}, None),
        ({"added_tokens.json": {"#": 8}}, None),
        ({"tokenizer_config.json": {"added_tokens_decoder": {"8": {"content": "#"}}}}, None),
        (
            {
                "added_tokens.json": {"lost": 8},
                "tokenizer_config.json": {"added_tokens_decoder": {"0": {"content": "<s>"}}},
            },
            None,
        ),
    ],
)
def test_files_of_every_version_say_to_decoding_what_they_say_to_the_tokenizer(
    tmp_path: Path, files: dict[str, Any], delimiter: int | None
) -> None:
    labels = ("<s>", "<pad>", "</s>", "<unk>", "n", "|", "ɜː", "oʊ")
    (tmp_path / "vocab.json").write_text(json.dumps({label: number for number, label in enumerate(labels)}))
    kind = {"tokenizer_class": "Wav2Vec2PhonemeCTCTokenizer"}
    for name, content in ({"tokenizer_config.json": {}} | files).items():
        (tmp_path / name).write_text(json.dumps(content | kind if name == "tokenizer_config.json" else content))
    ours, tokenizer = Vocabulary.from_pretrained(tmp_path), OurTokenizer.from_pretrained(tmp_path)
    theirs = Wav2Vec2PhonemeCTCTokenizer.from_pretrained(tmp_path, do_phonemize=False)
    assert ours.delimiter == tokenizer.word_delimiter_token_id == delimiter
    assert ours.labels == tuple(tokenizer.convert_ids_to_tokens(range(len(tokenizer))))
    assert ours.labels == tuple(theirs.convert_ids_to_tokens(range(len(theirs))))
    assert ours.blank == tokenizer.pad_token_id == theirs.pad_token_id == 1
    assert ours.silent == {0, 1, 2, 3}


def test_letters_are_no_phonemes(tmp_path: Path) -> None:
    assert not saved(tmp_path, USUAL)[0].phonemes


def test_a_script_without_word_delimiter_has_none(tmp_path: Path) -> None:
    (tmp_path / "vocab.json").write_text('{"<pad>": 0, "中": 1, "文": 2}', encoding="utf-8")
    assert Vocabulary.from_pretrained(tmp_path).delimiter is None


def test_older_layouts_keep_special_tokens_as_objects_in_a_file_of_their_own(tmp_path: Path) -> None:
    (tmp_path / "vocab.json").write_text(json.dumps({label: number for number, label in enumerate(ODD)}))
    (tmp_path / "special_tokens_map.json").write_text(
        json.dumps({"pad_token": {"content": "[PAD]", "lstrip": False}, "unk_token": "[UNK]"})
    )
    (tmp_path / "tokenizer_config.json").write_text('{"word_delimiter_token": "_", "bos_token": null}')
    ours = Vocabulary.from_pretrained(tmp_path)
    assert (ours.blank, ours.delimiter, ours.silent) == (2, 3, {2, 4})


def test_of_a_vocabulary_per_language_the_asked_one_is_taken_else_the_one_it_was_saved_with(tmp_path: Path) -> None:
    marks = {"<pad>": 0, "<s>": 1, "</s>": 2, "<unk>": 3, "|": 4}
    (tmp_path / "first.json").write_text(json.dumps({"eng": marks | {"a": 5}, "fra": marks | {"é": 5, "a": 6}}))
    tokenizer = Wav2Vec2CTCTokenizer(str(tmp_path / "first.json"), target_lang="fra")
    tokenizer.save_pretrained(tmp_path)
    assert Vocabulary.from_pretrained(tmp_path).labels == tuple(tokenizer.convert_ids_to_tokens(range(7)))
    tokenizer.set_target_lang("eng")
    assert Vocabulary.from_pretrained(tmp_path, "eng").labels == tuple(tokenizer.convert_ids_to_tokens(range(6)))


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "vocab.json is missing"),
        ({"vocab.json": "{"}, "vocab.json: not JSON"),
        ({"vocab.json": b"\xff"}, "vocab.json: not JSON"),
        ({"vocab.json": "[]"}, "vocab.json: not a JSON object"),
        ({"vocab.json": "{}"}, "the padding token <pad>"),
        ({"vocab.json": '{"a": 0}'}, "the padding token <pad>"),
        ({"vocab.json": '{"<pad>": 0, "a": 0}'}, "'<pad>' and 'a' share the id 0"),
        ({"vocab.json": '{"<pad>": 0, "a": 2}'}, "no label has the id 1"),
        ({"vocab.json": '{"<pad>": -1, "a": 0}'}, "no label has the id 1"),
        ({"vocab.json": '{"<pad>": "0"}'}, "the id of '<pad>' is not a number"),
        (
            {"vocab.json": '{"eng": {"a": 0}, "deu": {"a": 0}}'},
            "has a vocabulary per language: give encode.language, one of",
        ),
        (
            {
                "vocab.json": '{"eng": {"a": 0}, "deu": {"a": 0}, "fra": {}}',
                "tokenizer_config.json": '{"target_lang": "dut"}',
            },
            "no vocabulary for the language 'dut'; known: deu, ...",
        ),
        (
            {"vocab.json": '{"<pad>": 0}', "tokenizer_config.json": '{"tokenizer_class": "WhisperTokenizer"}'},
            "tokenizer WhisperTokenizer",
        ),
        (
            {
                "vocab.json": '{"<pad>": 0, "n": 0}',
                "tokenizer_config.json": '{"tokenizer_class": "Wav2Vec2PhonemeCTCTokenizer"}',
            },
            "'<pad>' and 'n' share the id 0",
        ),
        ({"vocab.json": '{"<pad>": 0}', "tokenizer_config.json": "{"}, "tokenizer_config.json: not JSON"),
        ({"vocab.json": '{"<pad>": 0}', "added_tokens.json": '{"x": 2}'}, "no label has the id 1"),
    ],
)
def test_a_directory_that_would_shift_letters_is_refused_by_name(
    tmp_path: Path, files: dict[str, str | bytes], message: str
) -> None:
    for name, content in files.items():
        (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(UsageError) as caught:
        Vocabulary.from_pretrained(tmp_path)
    assert str(tmp_path) in str(caught.value)
    assert message in str(caught.value)


@pytest.mark.parametrize("width", [4, 6, 8])
def test_a_vocabulary_of_another_width_than_the_head_is_refused(width: int) -> None:
    vocabulary = Vocabulary(USUAL, blank=0, delimiter=4, silent=frozenset({0, 1, 2, 3}))
    vocabulary.check_width(len(USUAL))
    with pytest.raises(UsageError, match=f"head has {width} outputs, but the vocabulary 7 labels"):
        vocabulary.check_width(width)


def test_marks_that_the_tokenizer_added_beyond_the_head_do_no_harm(tmp_path: Path) -> None:
    """transformers gives a vocabulary that lacks them ids for <s> and </s>, which the model was never trained on."""
    trained = ("[PAD]", "[UNK]", "|", "A")
    ours, _ = saved(tmp_path, trained, pad_token="[PAD]", unk_token="[UNK]")
    assert len(ours.labels) == len(trained) + 2
    ours.check_width(len(trained))
    with pytest.raises(UsageError):
        ours.check_width(len(trained) - 1)
