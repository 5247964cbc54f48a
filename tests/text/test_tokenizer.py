"""What both tokenizers share, beside transformers' own: calls, padding and added tokens."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken as TheirToken
from transformers import Wav2Vec2CTCTokenizer as Theirs

from pipeline.errors import UsageError
from pipeline.text import Wav2Vec2CTCTokenizer, added_tokens, tokens
from pipeline.text.added_tokens import AddedToken
from tests.text.vocabularies import MARKS, Hostile, numbered, same

USUAL = Hostile("usual", numbered(*MARKS, "a", "b", "c", "ll"))
TEXTS = ["ab c", "", "abcabc <pad>", "ll b"]
Pair = tuple[Wav2Vec2CTCTokenizer, Any]


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return USUAL.saved(tmp_path_factory.mktemp("usual"), Theirs)[0]


@pytest.fixture(scope="module")
def usual(directory: Path) -> Pair:
    """For tests that change nothing."""
    return both(directory)


def both(directory: Path, **options: Any) -> Pair:
    return Wav2Vec2CTCTokenizer.from_pretrained(directory, **options), Theirs.from_pretrained(directory, **options)


def lists(batch: Any) -> dict[str, Any]:
    return {name: (str(getattr(value, "dtype", "list")), plain(value)) for name, value in batch.items()}


def plain(value: Any) -> Any:
    value = value.tolist() if hasattr(value, "tolist") else value
    return [plain(one) for one in value] if isinstance(value, list | tuple) else value


# ---- calls and padding


@settings(max_examples=120)
@given(
    texts=st.sampled_from([TEXTS, TEXTS[:1], TEXTS[0], "", ["a", "bc"], [[5, 6], [7]], [5, 6, 7], ["", ""]]),
    padding=st.sampled_from([True, False, "longest", "max_length", "do_not_pad"]),
    truncation=st.sampled_from([None, True, False, "only_first", "only_second", "do_not_truncate"]),
    max_length=st.sampled_from([None, 0, 2, 8]),
    multiple=st.sampled_from([None, 4]),
    rest=st.fixed_dictionaries(
        {},
        optional={
            "padding_side": st.sampled_from(["left", "right"]),
            "return_attention_mask": st.booleans(),
            "return_special_tokens_mask": st.booleans(),
            "return_length": st.booleans(),
            "return_token_type_ids": st.booleans(),
            "is_split_into_words": st.booleans(),
            "return_tensors": st.sampled_from(["np", "pt"]),
        },
    ),
)
@pytest.mark.filterwarnings("ignore:.*max_length. is ignored")
def test_calls_give_what_transformers_gives(
    usual: Pair, texts: Any, padding: Any, truncation: Any, max_length: Any, multiple: Any, rest: dict[str, Any]
) -> None:
    ours, theirs = usual
    options = {
        "padding": padding,
        "truncation": truncation,
        "max_length": max_length,
        "pad_to_multiple_of": multiple,
        **rest,
    }
    try:
        expected = theirs(texts, **options)
    except ValueError:
        with pytest.raises(UsageError):
            ours(texts, **options)
        return
    found = ours(texts, **options)
    assert lists(found) == lists(expected)


def test_words_of_several_texts_are_spelt_one_after_the_other(usual: Pair) -> None:
    ours, theirs = usual
    words = [["a", "bc"], ["ll"]]
    assert dict(ours(words, is_split_into_words=True)) == dict(theirs(words, is_split_into_words=True))


def test_texts_can_be_labels_of_something_else(usual: Pair) -> None:
    ours, theirs = usual
    assert dict(ours(text_target="ab")) == dict(theirs(text_target="ab"))
    assert dict(ours(["ab"], text_target=["c"])) == dict(theirs(["ab"], text_target=["c"]))


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"text": "a", "text_pair": "b"}, "no pairs"),
        ({"text": [["a", "b"]]}, "pairs are not supported"),
        ({"text": [("a", "b")]}, "pairs are not supported"),
        ({"text": 5}, "a text is a string"),
        ({}, "give a text"),
        ({"text": "a", "return_overflowing_tokens": True}, "not supported"),
        ({"text": "a", "padding": "widest"}, "padding is True, False, or one of longest"),
        ({"text": "a", "truncation": "only_third"}, "truncation is True, False, or one of"),
        ({"text": "a", "padding": True, "padding_side": "top"}, "'right' or 'left', not 'top'"),
    ],
)
def test_what_a_call_cannot_do_is_said(usual: Pair, options: dict[str, Any], told: str) -> None:
    ours, _ = usual
    with pytest.raises(UsageError, match=told):
        ours(**options)


@pytest.mark.parametrize("kind", [list, np.array, torch.tensor])
@pytest.mark.parametrize(
    "options", [{}, {"padding": "max_length", "max_length": 6}, {"pad_to_multiple_of": 4}, {"padding_side": "left"}]
)
@pytest.mark.parametrize("return_tensors", [None, "np", "pt"])
def test_labels_are_padded_as_transformers_pads_them(
    usual: Pair, kind: Callable[[Any], Any], options: dict[str, Any], return_tensors: str | None
) -> None:
    ours, theirs = usual
    rows = [[5, 6, 7], [5], [6, 7]]
    for labels in (
        [{"input_ids": kind(row)} for row in rows],
        {"input_ids": [kind(row) for row in rows]},
        [{"input_ids": kind(row), "attention_mask": kind([1] * len(row))} for row in rows],
    ):
        found = ours.pad(labels, return_tensors=return_tensors, **options)
        expected = theirs.pad(labels, return_tensors=return_tensors, **options)
        assert lists(found) == lists(expected)
        assert {name: type(value) for name, value in found.items()} == {
            name: type(value) for name, value in expected.items()
        }
    assert dict(ours.pad({"input_ids": [5, 6]}, **options)) == dict(theirs.pad({"input_ids": [5, 6]}, **options))
    assert dict(ours.pad(ours(["ab", "c"]), **options)) == dict(theirs.pad(theirs(["ab", "c"]), **options))


@pytest.mark.parametrize(
    "ids", [[5, 0, 99], np.array([5, 0, 99]), torch.tensor([5, 0, 99]), 5, torch.tensor(5), np.int64(5)]
)
def test_ids_of_any_kind_have_tokens(usual: Pair, ids: Any) -> None:
    ours, theirs = usual
    assert ours.convert_ids_to_tokens(ids) == theirs.convert_ids_to_tokens(plain(ids))
    assert ours.convert_tokens_to_ids("c") == theirs.convert_tokens_to_ids("c")


def test_padding_without_a_padding_token_is_refused(usual: Pair) -> None:
    ours = copy.deepcopy(usual[0])
    ours.pad_token = None
    with pytest.raises(UsageError, match="set pad_token"):
        ours(["a", "ab"], padding=True)


# ---- special and added tokens

ADDED = st.builds(
    dict,
    content=st.sampled_from(["a", "ab", "<x>", " b", "ll", "c c"]),
    single_word=st.booleans(),
    lstrip=st.booleans(),
    rstrip=st.booleans(),
    normalized=st.booleans(),
    special=st.booleans(),
)


@settings(max_examples=40)
@given(added=st.lists(ADDED, max_size=3), special=st.booleans(), lower=st.booleans(), data=st.data())
def test_tokens_are_added_as_in_transformers(
    directory: Path, added: list[dict[str, Any]], special: bool, lower: bool, data: st.DataObject
) -> None:
    ours, theirs = both(directory, do_lower_case=lower)
    found = ours.add_tokens([AddedToken(**token) for token in added], special_tokens=special)
    assert found == theirs.add_tokens([TheirToken(**token) for token in added], special_tokens=special)
    same(ours, theirs)
    parts = st.sampled_from(["a", "b", "c", "ab", "<x>", " ", "ll", "c c", "  ", "A", "X"])
    text = data.draw(st.lists(parts, max_size=10).map("".join))
    assert ours.tokenize(text) == theirs.tokenize(text)


def test_added_tokens_in_capitals_are_found_where_texts_have_lower_case(directory: Path) -> None:
    """Those that are `normalized` and not special are put into lower case; the others stay as they are."""
    ours, theirs = both(directory, do_lower_case=True)
    every = [{"content": "AbX", "normalized": True}, {"content": "QQ", "normalized": False}]
    assert ours.add_tokens([AddedToken(**token) for token in every]) == 2
    assert theirs.add_tokens([TheirToken(**token) for token in every]) == 2
    assert "abx" in ours.get_vocab() and "AbX" not in ours.get_vocab() and "QQ" in ours.get_vocab()
    same(ours, theirs)
    for text in ("cabxc", "cAbXc", "aQQb", "aqqb"):
        assert ours.tokenize(text) == theirs.tokenize(text)


def test_many_tokens_can_be_added_one_by_one(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What cuts texts was made anew for each, of all: 400 took half a second."""
    made = list[int]()
    monkeypatch.setattr(tokens, "cutter", lambda known: made.append(len(known)) or added_tokens.cutter(known))
    ours, _ = both(directory)
    for number in range(50):
        ours.add_tokens(f"<{number}>")
    assert made == []
    assert ours.tokenize("a<49>b<4>") == ours.tokenize("a <49> b <4>".replace(" ", "")) == ["a", "<49>", "b", "<4>"]
    assert len(made) == 1
    ours.add_tokens("b<")  # and none is forgotten that came after a text
    assert ours.tokenize("ab<4>") == ["a", "b<", "4", ">"]


@given(known=st.lists(st.text("ab.|(\\", min_size=1, max_size=4), max_size=8), text=st.text("ab.|(\\", max_size=14))
def test_texts_are_cut_at_the_first_and_longest_token(known: list[str], text: str) -> None:
    expected, start, place = list[str](), 0, 0
    while place < len(text):
        here = max((token for token in known if text.startswith(token, place)), key=len, default="")
        expected += [text[start:place], here] if here else []
        place += len(here) or 1
        start = place if here else start
    expected = [piece for piece in (*expected, text[start:]) if piece]
    assert added_tokens.pieces(text, added_tokens.cutter(known), {}) == expected


def test_what_stands_around_a_text_is_nothing_as_in_transformers(usual: Pair) -> None:
    ours, theirs = usual
    ids = [5, 0, 4, 1, 8]
    for have in (False, True):
        expected = theirs.get_special_tokens_mask(ids, already_has_special_tokens=have)
        assert ours.get_special_tokens_mask(ids, already_has_special_tokens=have) == expected
    assert (
        ours.get_special_tokens_mask(torch.tensor(ids), already_has_special_tokens=True) == expected == [0, 1, 1, 1, 0]
    )
    assert ours.build_inputs_with_special_tokens(ids) == theirs.build_inputs_with_special_tokens(ids) == ids
    assert ours.num_special_tokens_to_add() == theirs.num_special_tokens_to_add() == 0
    with pytest.raises(UsageError, match="no pairs"):
        ours.build_inputs_with_special_tokens(ids, ids)


def test_plain_strings_and_objects_of_other_libraries_are_tokens(directory: Path) -> None:
    ours, theirs = both(directory)
    for token in ("zz", ["x", "a"], TheirToken("qq", lstrip=True), []):
        assert ours.add_tokens(token) == theirs.add_tokens(token)
    for named in ({"additional_special_tokens": ["<n>"]}, {"eos_token": "<end>", "cls_token": TheirToken("<c>")}):
        assert ours.add_special_tokens(named) == theirs.add_special_tokens(named)
    same(ours, theirs)
    assert ours.extra_special_tokens == ours.additional_special_tokens == theirs.extra_special_tokens
    with pytest.raises(UsageError, match="dog_token is no special token; known: bos_token"):
        ours.add_special_tokens({"dog_token": "x"})


def test_special_tokens_can_be_set(directory: Path) -> None:
    ours, theirs = both(directory)
    for tokenizer in (ours, theirs):
        tokenizer.pad_token = "a"
        tokenizer.bos_token_id = 6
        tokenizer.sep_token = TheirToken("c")
        tokenizer.eos_token = None
    same(ours, theirs)
    assert ours.bos_token == theirs.bos_token == "b"
    assert ours.eos_token_id is theirs.eos_token_id is None
    assert ours.pad_token_id == theirs.pad_token_id == 5
    assert ours.decode([5, 6, 5, 6]) == "bb"
    ours.word_delimiter_token = "b"
    assert ours.decode([7, 6, 7]) == "c c"
