"""The letter tokenizer beside transformers' own, on directories that it wrote; and where ours is meant to differ."""

import json
from collections.abc import Callable
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import Wav2Vec2CTCTokenizer as Theirs

from pipeline.errors import UsageError
from pipeline.text import Wav2Vec2CTCTokenizer
from tests.text.vocabularies import HOSTILE, MARKS, Hostile, numbered

Pair = tuple[Wav2Vec2CTCTokenizer, Any]
EXAMPLES = settings(max_examples=20)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Hostile], Pair]:
    """Ours, read from what theirs saved, and theirs: as it was made, for once read again it has lost its delimiter."""
    made = dict[str, Pair]()

    def of(one: Hostile) -> Pair:
        if one.name not in made:
            directory, theirs = one.saved(tmp_path_factory.mktemp("tokenizer"), Theirs)
            made[one.name] = Wav2Vec2CTCTokenizer.from_pretrained(directory), theirs
        return made[one.name]

    return of


def hello(directory: Path, **options: Any) -> Pair:
    return next(
        (Wav2Vec2CTCTokenizer.from_pretrained(path), theirs)
        for path, theirs in [Hostile("", numbered(*MARKS, *"HELO"), options).saved(directory, Theirs)]
    )


hostile = pytest.mark.parametrize("one", HOSTILE, ids=lambda one: one.name)


@hostile
def test_tokens_are_those_of_transformers(pair: Callable[[Hostile], Pair], one: Hostile) -> None:
    ours, theirs = pair(one)
    assert ours.get_vocab() == theirs.get_vocab()
    assert len(ours) == len(theirs)
    for name in ("vocab_size", "special_tokens_map", "all_special_tokens", "all_special_ids", "added_tokens_encoder"):
        assert getattr(ours, name) == getattr(theirs, name), name
    for name in ("pad", "unk", "bos", "eos", "sep", "word_delimiter"):
        for attribute in (f"{name}_token", f"{name}_token_id"):
            assert getattr(ours, attribute) == getattr(theirs, attribute), attribute
    assert {number: vars_of(token) for number, token in ours.added_tokens_decoder.items()} == {
        number: vars_of(token) for number, token in theirs.added_tokens_decoder.items()
    }


def vars_of(token: Any) -> tuple[Any, ...]:
    return token.content, token.lstrip, token.rstrip, token.single_word, token.special, token.normalized


@hostile
@EXAMPLES
@given(data=st.data())
def test_texts_get_the_labels_that_transformers_gives_them(
    pair: Callable[[Hostile], Pair], one: Hostile, data: st.DataObject
) -> None:
    ours, theirs = pair(one)
    text = data.draw(one.texts())
    assert ours.tokenize(text) == theirs.tokenize(text)
    # Where the unknown token is none of the vocabulary's, theirs has None for it, or fails if None comes first.
    ids = [
        theirs.unk_token_id if number is None else number
        for number in theirs.convert_tokens_to_ids(ours.tokenize(text))
    ]
    if None in ids:
        with pytest.raises(UsageError, match=r"no label is .*, and there is no unknown token"):
            ours(text)
    else:
        assert dict(ours(text)) == {"input_ids": ids, "attention_mask": [1] * len(ids)}
        assert ours.encode(text, return_tensors="np").dtype == np.int64


@hostile
@EXAMPLES
@given(data=st.data())
def test_frames_become_the_texts_and_offsets_of_transformers(
    pair: Callable[[Hostile], Pair], one: Hostile, data: st.DataObject
) -> None:
    ours, theirs = pair(one)
    batch = data.draw(st.lists(one.frames().filter(len), min_size=1, max_size=3))
    options = {
        name: data.draw(st.booleans())
        for name in (
            "clean_up_tokenization_spaces",
            "output_char_offsets",
            "output_word_offsets",
            "group_tokens",
            "spaces_between_special_tokens",
        )
    }
    expected, found = theirs.batch_decode(batch, **options), ours.batch_decode(batch, **options)
    assert plain(found) == plain(expected)
    assert plain(ours.decode(batch[0], **options)) == plain(theirs.decode(batch[0], **options))


def plain(decoded: Any) -> Any:
    return decoded if isinstance(decoded, str | list) else (list(decoded), list(decoded.items()))


@hostile
@EXAMPLES
@given(data=st.data())
def test_special_tokens_are_skipped_after_repeats_are_joined(
    pair: Callable[[Hostile], Pair], one: Hostile, data: st.DataObject
) -> None:
    """What transformers says of labels that were joined before it drops any: double letters are in it."""
    ours, theirs = pair(one)
    frames = data.draw(one.frames())
    joined = [theirs.convert_tokens_to_ids(token) for token, _ in groupby(theirs.convert_ids_to_tokens(frames))]
    expected = theirs.decode(joined, skip_special_tokens=True, group_tokens=False)
    assert ours.decode(frames, skip_special_tokens=True) == expected


# ---- where ours is meant to differ


@pytest.mark.parametrize("skip", [False, True])
def test_double_letters_are_not_lost(tmp_path: Path, skip: bool) -> None:
    ours, theirs = hello(tmp_path)
    frames = [0, 5, 5, 0, 6, 7, 0, 0, 7, 8, 0]  # - H H - E L - - L O -
    assert theirs.decode(frames, skip_special_tokens=True) == "HELO"  # the fault; once it is mended there, so be it
    decoded = ours.decode(frames, skip_special_tokens=skip, output_char_offsets=True, output_word_offsets=True)
    assert decoded.text == "HELLO"
    assert decoded.word_offsets == [{"word": "HELLO", "start_offset": 1, "end_offset": 10}]
    assert [(one["start_offset"], one["end_offset"]) for one in decoded.char_offsets] == [
        (1, 3),
        (4, 5),
        (5, 6),
        (8, 9),
        (9, 10),
    ]


@pytest.mark.parametrize("kind", [list, np.array, torch.tensor])
def test_padded_frames_are_not_decoded(tmp_path: Path, kind: Callable[[Any], Any]) -> None:
    """A model says something in padding too, which is no part of the recording."""
    ours, _ = hello(tmp_path)
    frames = kind([[5, 6, 7, 0, 7, 8], [5, 6, 7, 8, 8, 8]])
    assert ours.batch_decode(frames) == ["HELLO", "HELO"]
    assert ours.batch_decode(frames, lengths=[6, 2]) == ["HELLO", "HE"]
    assert ours.batch_decode(frames, lengths=torch.tensor([4, 0])) == ["HEL", ""]
    assert ours.batch_decode(kind([[5, 6, -100, -100], [7, -100, 7, 8]])) == ["HE", "LLO"]
    assert ours.batch_decode(kind([[5, 6, -100, -100]]), group_tokens=False) == ["HE"]
    cut = ours.batch_decode(frames, lengths=[2, 6], output_word_offsets=True)
    assert [one[0]["end_offset"] for one in cut.word_offsets] == [2, 6]


def test_an_id_alone_is_a_sequence_of_one(tmp_path: Path) -> None:
    """Theirs takes the letters of a label of several for labels: "ll" is then "l", and padding is "<pad>"."""
    one = Hostile("", numbered(*MARKS, "ll", "a"))
    directory, theirs = one.saved(tmp_path, Theirs)
    ours = Wav2Vec2CTCTokenizer.from_pretrained(directory)
    assert [ours.decode(number) for number in (0, 4, 5, 6)] == ["", "", "ll", "a"]
    assert ours.decode(np.int64(6)) == ours.decode(torch.tensor(6)) == theirs.decode(6) == "a"
    assert ours.batch_decode([6, 4, 6]) == theirs.batch_decode([6, 4, 6]) == ["a", "", "a"]


def test_a_token_within_what_began_like_another_is_found(tmp_path: Path) -> None:
    """Theirs, on the way to "abcx", forgets "bc" and cuts in neither place."""
    one = Hostile("", numbered(*MARKS, "a", "b", "c", "d", "x", "bc", "abcx"))
    directory, theirs = one.saved(tmp_path, Theirs)
    ours = Wav2Vec2CTCTokenizer.from_pretrained(directory)
    assert theirs.tokenize("abcdx") == ["a", "b", "c", "d", "x"]
    assert ours.tokenize("abcdx") == ["a", "bc", "d", "x"]
    assert ours.tokenize("abcxbc") == theirs.tokenize("abcxbc") == ["abcx", "bc"]


def test_of_tokens_that_overlap_the_first_counts(tmp_path: Path) -> None:
    """Theirs forgets what it has found of the one while it looks for the end of another."""
    longer = ("aac", "aaca", "abbab", "abcc", "ba", "ca", "caac", "cbc")
    one = Hostile("", numbered(*MARKS, "a", "b", "c", *longer))
    directory, theirs = one.saved(tmp_path, Theirs)
    ours = Wav2Vec2CTCTokenizer.from_pretrained(directory)
    text = "cab abba bca"
    assert ours.tokenize(text) == ["ca", "b", "|", "a", "b", "ba", "b", "ca"]
    assert theirs.tokenize(text) == ["ca", "b", "|", "a", "b", "b", "a", "|", "b", "ca"]


@hostile
@EXAMPLES
@given(data=st.data())
def test_tokens_become_texts_as_in_transformers(
    pair: Callable[[Hostile], Pair], one: Hostile, data: st.DataObject
) -> None:
    ours, theirs = pair(one)
    tokens = data.draw(st.lists(st.sampled_from([*sorted(one.ids), "?", "new"]), max_size=9))
    names = ("group_tokens", "spaces_between_special_tokens", "output_char_offsets", "output_word_offsets")
    options = {name: data.draw(st.booleans()) for name in names}
    assert ours.convert_tokens_to_string(tokens, **options) == theirs.convert_tokens_to_string(tokens, **options)


def test_a_delimiter_is_kept_with_the_files(tmp_path: Path) -> None:
    """Theirs, read again, is back to "|"."""
    one = next(one for one in HOSTILE if one.name == "the delimiter is another")
    directory, theirs = one.saved(tmp_path, Theirs)
    for ours in (
        Wav2Vec2CTCTokenizer.from_pretrained(directory),
        Wav2Vec2CTCTokenizer(directory / "vocab.json", word_delimiter_token="_"),
    ):
        assert ours.word_delimiter_token == "_"
        assert ours("a e")["input_ids"] == theirs("a e")["input_ids"]


# ---- what it is given, and gives


@pytest.mark.parametrize("options", [{}, {"skip_special_tokens": True}, {"output_char_offsets": True}])
def test_lists_arrays_and_tensors_are_the_same(tmp_path: Path, options: dict[str, Any]) -> None:
    ours, _ = hello(tmp_path)
    frames = np.random.default_rng(0).integers(0, 9, (4, 30))
    expected = ours.batch_decode(frames.tolist(), **options)
    kinds = [
        frames,
        frames.astype(np.uint8),
        np.asfortranarray(frames),
        torch.from_numpy(frames),
        list(frames),
        list(torch.from_numpy(frames)),
        [tuple(row) for row in frames.tolist()],
        [[np.int32(number) for number in row] for row in frames],
        iter(frames.tolist()),
    ]
    for kind in kinds:
        assert plain(ours.batch_decode(kind, **options)) == plain(expected)
    assert ours.batch_decode([]) == ours.batch_decode(np.empty((0, 5), int)) == []
    assert ours.batch_decode(np.empty((2, 0), int)) == ours.batch_decode([[], []]) == ["", ""]


def test_sequences_do_not_touch(tmp_path: Path) -> None:
    """The last label of one is not joined with the first of the next, nor a word with one in the next."""
    ours, _ = hello(tmp_path)
    decoded = ours.batch_decode([[5, 5], [], [5], [4], [5, 6]], output_char_offsets=True, output_word_offsets=True)
    assert decoded.text == ["H", "", "H", "", "HE"]
    assert decoded.word_offsets[4] == [{"word": "HE", "start_offset": 0, "end_offset": 2}]
    assert [len(words) for words in decoded.word_offsets] == [1, 0, 1, 0, 1]
    assert [len(chars) for chars in decoded["char_offsets"]] == [1, 0, 1, 1, 2]
    assert json.loads(json.dumps(decoded.char_offsets)) == decoded[1]


@pytest.mark.parametrize(
    ("frames", "told"),
    [
        (np.zeros((2, 3, 9)), "argmax"),
        (np.zeros((2, 3, 9), int), "argmax"),
        (np.zeros((2, 3)), "argmax"),
        ([[1.5]], "whole numbers"),
        ([["H"]], "whole numbers"),
        ([[None]], "whole numbers"),
        ([[[1, 2]]], "whole numbers"),
        ([[2**70]], "whole numbers"),
        ([np.array([[5, 6]])], r"has one dimension, and this one the shape \(1, 2\)"),
        ([[5], torch.tensor([[5, 6]])], r"has one dimension, and this one the shape \(1, 2\)"),
        (None, "sequences of ids are a list, an array or a tensor, not None"),
        ([None], "ids of a sequence are a list, an array or a tensor, not None"),
        ([[5], 1.5], "ids of a sequence are a list, an array or a tensor, not 1.5"),
    ],
)
def test_what_is_no_ids_is_refused(tmp_path: Path, frames: Any, told: str) -> None:
    ours, _ = hello(tmp_path)
    with pytest.raises(UsageError, match=told):
        ours.batch_decode(frames)


def test_ids_of_a_batch_are_not_those_of_one_recording(tmp_path: Path) -> None:
    """The commonest slip: `decode(argmax)` without its `[0]`."""
    ours, _ = hello(tmp_path)
    for ids in (np.array([[5, 6], [7, 8]]), torch.tensor([[5, 6]])):
        with pytest.raises(UsageError, match="batch_decode takes the ids of several recordings, decode those of one"):
            ours.decode(ids)


def test_what_can_be_gone_through_once_is_enough(tmp_path: Path) -> None:
    ours, _ = hello(tmp_path)
    assert ours.decode(number for number in (5, 6, 6)) == "HE"
    assert ours.batch_decode(((5, 6), iter([7, 8])), lengths=(length for length in (1, 2))) == ["H", "LO"]
    assert ours.batch_decode([[5, 6], [7, 8]], lengths=map(torch.tensor, (1, 2))) == ["H", "LO"]
    assert ours.decode([5, 6, 7], lengths=2) == ours.decode([5, 6, 7], lengths=[2]) == "HE"


def test_an_id_that_nothing_stands_for_is_named(tmp_path: Path) -> None:
    ours, _ = hello(tmp_path, unk_token=None)
    with pytest.raises(UsageError, match="no label has the id 99, and there is no unknown token"):
        ours.decode([5, 99])
    assert ours.decode([5, -100]) == "H"


@pytest.mark.parametrize(
    ("lengths", "told"),
    [
        ([1], "1 lengths for 2"),
        (3, "1 lengths for 2"),
        ([1, 7], "sequence 1 has 3"),
        ([-1, 0], "of which -1"),
        ([1.0, 2.5], "lengths are whole numbers"),
        (["1", "2"], "lengths are whole numbers"),
        (2.5, "lengths are a list"),
    ],
)
def test_lengths_that_cannot_be_are_refused(tmp_path: Path, lengths: Any, told: str) -> None:
    ours, _ = hello(tmp_path)
    with pytest.raises(UsageError, match=told):
        ours.batch_decode([[5, 5, 5], [6, 6, 6]], lengths=lengths)
