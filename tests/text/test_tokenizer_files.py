"""The files of tokenizers: those of transformers' versions 4 and 5, ours in its eyes, and what is wrong with others."""

import json
import pickle
from pathlib import Path
from typing import Any

import pytest
from transformers import Wav2Vec2CTCTokenizer as Theirs

from pipeline.errors import UsageError
from pipeline.text import Wav2Vec2CTCTokenizer
from tests.text.vocabularies import HOSTILE, MARKS, Hostile, numbered, same

Pair = tuple[Wav2Vec2CTCTokenizer, Any]


def write(directory: Path, **files: Any) -> Path:
    """A tokenizer's files; their names without the ending."""
    directory.mkdir(exist_ok=True)
    for name, content in files.items():
        (directory / f"{name}.json").write_text(json.dumps(content))
    return directory


@pytest.fixture(scope="module")
def usual(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Hostile("usual", numbered(*MARKS, "a", "b", "c", "ll")).saved(tmp_path_factory.mktemp("usual"), Theirs)[0]


def both(directory: Path, **options: Any) -> Pair:
    return Wav2Vec2CTCTokenizer.from_pretrained(directory, **options), Theirs.from_pretrained(directory, **options)


@pytest.mark.parametrize("one", HOSTILE, ids=lambda one: one.name)
def test_transformers_reads_what_we_save(tmp_path: Path, one: Hostile) -> None:
    ours = Wav2Vec2CTCTokenizer(one.file(tmp_path), **one.options)
    ours.add_tokens(["added"])
    files = ours.save_pretrained(tmp_path / "saved")
    assert {Path(file).name for file in files} == {"vocab.json", "tokenizer_config.json", "added_tokens.json"}
    made = Theirs(str(tmp_path / "vocab.json"), **one.options)
    made.add_tokens(["added"])
    theirs = Theirs.from_pretrained(tmp_path / "saved")
    theirs._word_delimiter_token = made.word_delimiter_token  # which theirs forgets, whoever wrote it
    again = Wav2Vec2CTCTokenizer.from_pretrained(tmp_path / "saved")
    known = "".join(sorted(one.ids)) * 2
    for tokenizer in (again, ours):
        for oracle in (made, theirs):
            assert tokenizer.get_vocab() == oracle.get_vocab()
            assert tokenizer.tokenize(known) == oracle.tokenize(known)
            assert tokenizer.decode(sorted(one.ids.values()) * 2) == oracle.decode(sorted(one.ids.values()) * 2)
    assert again.init_kwargs == ours.init_kwargs


OLD_TOKEN = {"content": "<pad>", "single_word": False, "lstrip": False, "rstrip": True, "normalized": True}
VOCABULARY = numbered("a", "b", "[UNK]", "<pad>", "ll", "|")


@pytest.mark.parametrize(
    "files",
    [
        {"tokenizer_config": {"unk_token": "[UNK]", "do_lower_case": False, "return_attention_mask": False}},
        {  # as 4.0 wrote it, with the tokens that it added in a file of their own
            "tokenizer_config": {"unk_token": "[UNK]", "tokenizer_class": "Wav2Vec2CTCTokenizer", "name_or_path": "x"},
            "special_tokens_map": {"unk_token": "[UNK]", "pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>"},
            "added_tokens": {"<s>": 6, "</s>": 7},
        },
        {  # with tokens as objects
            "special_tokens_map": {"unk_token": "[UNK]", "pad_token": OLD_TOKEN},
            "tokenizer_config": {"word_delimiter_token": "|", "do_lower_case": True},
        },
        {  # with additional tokens, in either file
            "special_tokens_map": {"additional_special_tokens": ["<n>", "a"]},
            "tokenizer_config": {"unk_token": "[UNK]"},
        },
        {
            "special_tokens_map": {"unk_token": "[UNK]"},
            "tokenizer_config": {"additional_special_tokens": ["<n>"], "model_max_length": 3, "padding_side": "left"},
        },
        {  # as 4.34 and later have it
            "special_tokens_map": {"unk_token": "[NOT]"},
            "added_tokens": {"not": 99},
            "tokenizer_config": {
                "unk_token": "[UNK]",
                "pad_token": {"__type": "AddedToken", **OLD_TOKEN},
                "added_tokens_decoder": {
                    "2": {"content": "[UNK]", "special": True},
                    "6": {"content": "zz", "lstrip": True},
                },
            },
        },
        {"tokenizer_config": {"unk_token": "[UNK]", "extra_special_tokens": {"noise_token": "<n>"}}},
        {},
    ],
)
def test_files_of_all_versions_are_read_as_transformers_reads_them(tmp_path: Path, files: dict[str, Any]) -> None:
    ours, theirs = both(write(tmp_path, vocab=VOCABULARY, **files))
    same(ours, theirs)
    assert dict(ours(["a", "abll"], padding=True, truncation=True)) == dict(
        theirs(["a", "abll"], padding=True, truncation=True)
    )
    assert ours.padding_side == theirs.padding_side
    for options in ({"unk_token": "b"}, {"pad_token": "a", "do_lower_case": True}):
        same(*both(tmp_path, **options))


def test_what_a_file_says_that_we_do_not_know_is_saved_again(tmp_path: Path) -> None:
    write(
        tmp_path,
        vocab=VOCABULARY,
        tokenizer_config={"unk_token": "[UNK]", "auto_map": {"a": "b"}, "do_normalize": True},
    )
    ours = Wav2Vec2CTCTokenizer.from_pretrained(tmp_path)
    ours.save_pretrained(tmp_path / "saved", None, "one", False)
    saved = json.loads((tmp_path / "saved" / "one-tokenizer_config.json").read_text())
    assert saved["auto_map"] == {"a": "b"} and saved["do_normalize"] is True
    assert saved["tokenizer_class"] == "Wav2Vec2CTCTokenizer" and "name_or_path" not in saved
    assert (tmp_path / "saved" / "one-vocab.json").exists()


@pytest.mark.parametrize("option", ["do_normalise", "padding_sid", "foo"])
def test_what_is_no_setting_is_said_and_not_saved(usual: Path, tmp_path: Path, option: str) -> None:
    with pytest.warns(UserWarning, match=f"Wav2Vec2CTCTokenizer.from_pretrained: {option} is no setting of it") as said:
        ours = Wav2Vec2CTCTokenizer.from_pretrained(usual, **{option: "left"})
    assert [one.filename for one in said] == [__file__]
    ours.save_pretrained(tmp_path)
    assert option not in json.loads((tmp_path / "tokenizer_config.json").read_text())


@pytest.mark.filterwarnings("error")
def test_settings_that_the_file_lacks_can_be_given(tmp_path: Path) -> None:
    write(tmp_path, vocab=VOCABULARY, tokenizer_config={"auto_map": {}})
    told: dict[str, Any] = {
        "model_max_length": 7,
        "padding_side": "left",
        "truncation_side": "left",
        "clean_up_tokenization_spaces": True,
        "split_special_tokens": True,
        "processor_class": "Wav2Vec2Processor",
        "extra_special_tokens": ["<n>"],
        "noise_token": "<noise>",
        "auto_map": {"a": "b"},
        "do_lower_case": True,
    }
    saved = Wav2Vec2CTCTokenizer.from_pretrained(tmp_path, **told).init_kwargs
    assert {name: saved[name] for name in told} == told
    rest = {"max_len": 5, "model_input_names": ["input_ids"], "added_tokens_decoder": {"9": "z"}, "name_or_path": "x"}
    ours = Wav2Vec2CTCTokenizer.from_pretrained(tmp_path, **rest)
    assert (ours.model_max_length, ours.model_input_names, ours.convert_tokens_to_ids("z")) == (5, ["input_ids"], 9)


def test_the_vocabulary_alone_can_be_saved(usual: Path, tmp_path: Path) -> None:
    ours, theirs = both(usual)
    (file,) = ours.save_vocabulary(tmp_path, "ours")
    (expected,) = theirs.save_vocabulary(str(tmp_path), "theirs")
    assert Path(file).name == "ours-vocab.json"
    assert Path(file).read_bytes() == Path(expected).read_bytes()
    with pytest.raises(UsageError, match="not a directory"):
        ours.save_vocabulary(tmp_path / "nowhere")


def test_a_tokenizer_can_go_to_another_process(usual: Path) -> None:
    ours, theirs = both(usual)
    ours.decode([5])
    same(pickle.loads(pickle.dumps(ours)), theirs)


@pytest.mark.parametrize(
    ("files", "told"),
    [
        ({"vocab": {"a": 0, "b": 1, "c": 1}}, "vocab.json: 'b' and 'c' share the id 1"),
        (
            {"vocab": {"x": {"a": 0, "b": 0}}, "tokenizer_config": {"target_lang": "x"}},
            "language 'x': 'a' and 'b' share",
        ),
        ({"vocab": {"a": 0}, "added_tokens": {"b": 0}}, "'a' and the added token 'b' share the id 0"),
        ({"vocab": {"a": "0"}}, "the id of 'a' is '0', not a number"),
        ({"vocab": {"a": True}}, "the id of 'a' is True, not a number"),
        ({"vocab": {"a": 0.5}}, "the id of 'a' is 0.5, not a number"),
        ({"vocab": {"a": -1}}, "the id of 'a' is -1, not a number"),
        ({"vocab": {"a": 0, "c": 10**9}}, "the id of 'c' is 1000000000, above 1000000"),
        (
            {"vocab": {"a": 0}, "tokenizer_config": {"added_tokens_decoder": {"1000000000": "b"}}},
            "the id of the added token 'b' is above 1000000: 1000000000",
        ),
        ({"vocab": {"a": 0}, "tokenizer_config": {"added_tokens_decoder": {"9" * 5000: "b"}}}, "above 1000000: 9999"),
        ({"vocab": {"a": None}}, "the id of 'a' is None, not a number"),
        ({"vocab": {"eng": {"a": 0}, "b": 1}}, "'b' is no vocabulary, as 'eng' and others are"),
        ({"vocab": ["a"]}, "vocab.json: not a JSON object"),
        ({"tokenizer_config": {}}, "vocab.json is missing"),
        ({"vocab": {"a": 0}, "tokenizer_config": []}, "tokenizer_config.json: not a JSON object"),
        ({"vocab": {"a": 0}, "tokenizer_config": {"pad_token": 5}}, "a token is text, or an object"),
        (
            {"vocab": {"a": 0}, "tokenizer_config": {"added_tokens_decoder": {"x": "b"}}},
            "the id of the added token 'b' is 'x'",
        ),
        ({"vocab": {"a": 0}, "added_tokens": {"b": "x"}}, "added_tokens.json: the id of 'b' is 'x'"),
        ({"vocab": {"a": 0}, "added_tokens": {"b": 7, "c": 7}}, "'b' and 'c' share the id 7"),
        ({"vocab": {"a": 0}, "tokenizer_config": {"padding_side": "top"}}, "padding_side is 'right' or 'left'"),
        ({"vocab": {"a": 0}, "tokenizer_config": {"added_tokens_decoder": ["b"]}}, "added_tokens_decoder"),
    ],
)
def test_what_is_wrong_with_a_file_is_named(tmp_path: Path, files: dict[str, Any], told: str) -> None:
    with pytest.raises(UsageError, match=told):
        Wav2Vec2CTCTokenizer.from_pretrained(write(tmp_path, **files))


def test_a_file_that_is_no_json_is_named(tmp_path: Path) -> None:
    (tmp_path / "vocab.json").write_text("{")
    with pytest.raises(UsageError, match=r"vocab\.json: not JSON"):
        Wav2Vec2CTCTokenizer.from_pretrained(tmp_path)
    with pytest.raises(UsageError, match="no such directory"):
        Wav2Vec2CTCTokenizer.from_pretrained(str(tmp_path / "nowhere"))


# ---- languages

LANGUAGES = {
    "eng": numbered("<pad>", "<s>", "</s>", "<unk>", "|", "a", "b", "ch", "tt"),
    "fra": numbered("<pad>", "<s>", "</s>", "<unk>", "|", "é", "a", "ch"),
}


@pytest.fixture(scope="module")
def nested(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("nested")
    (directory / "first.json").write_text(json.dumps(LANGUAGES))
    Theirs(str(directory / "first.json"), target_lang="eng").save_pretrained(directory / "saved")
    return directory / "saved"


def test_languages_can_be_changed(nested: Path, tmp_path: Path) -> None:
    ours, theirs = Wav2Vec2CTCTokenizer.from_pretrained(nested), Theirs.from_pretrained(nested)
    for language in ("eng", "fra", "eng"):
        ours.set_target_lang(language)
        theirs.set_target_lang(language)
        assert ours.target_lang == ours.init_kwargs["target_lang"] == language
        for text in ("ab a", "éa ch", "chaé|ba?"):
            assert ours(text)["input_ids"] == theirs(text)["input_ids"]
        for ids in ([5, 5, 4, 6, 0, 6, 7], [7, 0, 7, 3, 2]):
            assert ours.decode(ids) == theirs.decode(ids)
        assert (ours.vocab_size, ours.encoder) == (theirs.vocab_size, theirs.encoder)
        made = Wav2Vec2CTCTokenizer.from_pretrained(nested, target_lang=language)
        assert made.get_vocab() == ours.get_vocab()
        ours.save_pretrained(tmp_path)
        assert Theirs.from_pretrained(tmp_path)("abé")["input_ids"] == ours("abé")["input_ids"]


def test_a_language_leaves_nothing_behind(nested: Path) -> None:
    """Theirs still knows the "tt" of English, by an id that French has no label for."""
    ours = Wav2Vec2CTCTokenizer.from_pretrained(nested, target_lang="fra")
    assert ours.tokenize("tta") == ["t", "t", "a"]
    assert max(ours.get_vocab().values()) == len(LANGUAGES["fra"]) - 1


def test_a_language_that_is_not_there_is_named_with_those_like_it(nested: Path) -> None:
    with pytest.raises(UsageError, match="no vocabulary for the language 'frs'; known: fra"):
        Wav2Vec2CTCTokenizer.from_pretrained(nested, target_lang="frs")
    with pytest.raises(UsageError, match="'frs'"):
        Wav2Vec2CTCTokenizer.from_pretrained(nested).set_target_lang("frs")
    with pytest.raises(UsageError, match="give target_lang, one of eng, fra"):
        Wav2Vec2CTCTokenizer(nested / "vocab.json")


def test_one_vocabulary_has_no_languages(usual: Path) -> None:
    ours, _ = both(usual)
    with pytest.raises(UsageError, match="one vocabulary, not one per language: target_lang 'fra'"):
        ours.set_target_lang("fra")
