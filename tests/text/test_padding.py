"""`pad` of either extractor, and what it is made of, against transformers' own."""

from typing import Any

import numpy as np
import pytest
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers.utils import PaddingStrategy

from pipeline import text
from pipeline.text.padding import Padding

KINDS = {
    "Wav2Vec2FeatureExtractor": ("input_values", ()),
    "SeamlessM4TFeatureExtractor": ("input_features", (3,)),
}
PADDINGS = [True, False, "longest", "max_length", "do_not_pad", PaddingStrategy.LONGEST, PaddingStrategy.MAX_LENGTH]


def rows_of(batch: Any) -> dict[str, list[Any]]:
    """An array of arrays and a ragged list are the same here."""
    return {name: [np.asarray(row) for row in batch[name]] for name in batch}


def assert_same(ours: Any, theirs: Any) -> None:
    assert {name: type(ours[name]) for name in ours} == {name: type(theirs[name]) for name in theirs}
    ours, theirs = rows_of(ours), rows_of(theirs)
    for name, expected in theirs.items():
        assert [row.dtype for row in ours[name]] == [row.dtype for row in expected]
        assert all(np.array_equal(one, other) for one, other in zip(ours[name], expected, strict=True)), name


@pytest.mark.parametrize("kind", KINDS)
@given(
    lengths=st.lists(st.integers(0, 9), min_size=1, max_size=4),
    dtype=st.sampled_from(["float32", "float64", "int16"]),
    side=st.sampled_from(["right", "left"]),
    value=st.sampled_from([0.0, -7.0]),
    options=st.fixed_dictionaries(
        {
            "padding": st.sampled_from(PADDINGS),
            "max_length": st.none() | st.integers(0, 12),
            "truncation": st.booleans(),
            "pad_to_multiple_of": st.none() | st.integers(1, 5),
            "return_attention_mask": st.none() | st.booleans(),
            "return_tensors": st.sampled_from([None, "np", "pt"]),
        }
    ),
)
@settings(max_examples=150, deadline=None)
def test_pad_equals_transformers(
    kind: str, lengths: list[int], dtype: str, side: str, value: float, options: dict[str, Any]
) -> None:
    """The risk: a length, a side, a mask or a rounding that only one of them has; or an error that only one raises."""
    name, shape = KINDS[kind]
    settings_of_both = {"padding_side": side, "padding_value": value, "return_attention_mask": True}
    random = np.random.default_rng(0)
    arrays = [(random.normal(size=(length, *shape)) * 9).astype(dtype) for length in lengths]
    ours, theirs = (getattr(which, kind)(**settings_of_both) for which in (text, transformers))
    try:
        expected = theirs.pad({name: list(arrays)}, **options)
    except ValueError:
        with pytest.raises(ValueError, match=r"differ in length|max_length"):
            ours.pad({name: list(arrays)}, **options)
        return
    assert_same(ours.pad({name: list(arrays)}, **options), expected)


def test_any_form_of_a_batch_is_padded() -> None:
    """The risk: code that collates for a DataLoader, which gives one dictionary a recording, maybe of tensors."""
    ours, theirs = text.Wav2Vec2FeatureExtractor(), transformers.Wav2Vec2FeatureExtractor()
    forms: list[Any] = [
        [{"input_values": [0.1, 0.2]}, {"input_values": [0.3]}],
        {"input_values": [[0.1, 0.2], [0.3]], "labels": [7, 8]},
        {"input_values": [torch.ones(2), torch.ones(3)]},
        {"input_values": [np.ones(2), np.ones(3)], "attention_mask": [np.array([0, 1]), np.array([1, 1, 0])]},
        {"input_values": np.ones((2, 3))},
    ]
    for form in forms:
        ours_found = ours.pad(form, return_attention_mask=True)  # first: theirs changes what it is given
        assert_same(ours_found, theirs.pad(form, return_attention_mask=True))
    assert ours.pad({"input_values": []}, return_attention_mask=True) == {"input_values": [], "attention_mask": []}


def test_what_pad_is_given_stays_as_it_is() -> None:
    """The risk: a caller's own dictionary or arrays filled up in place, as those of transformers are."""
    given_arrays = [np.ones(2), np.ones(3)]
    form = {"input_values": given_arrays}
    text.Wav2Vec2FeatureExtractor().pad(form, return_attention_mask=True)["input_values"][:] = 5
    assert form == {"input_values": given_arrays} and given_arrays[0].tolist() == [1, 1]


@pytest.mark.parametrize(
    ("form", "options", "message"),
    [
        ({"input_values": [[1.0]]}, {"padding": "maximum"}, "padding is True.*'maximum'"),
        ({"input_values": [[1.0]]}, {"padding": "max_length"}, "padding='max_length' needs a max_length"),
        ({"input_values": [[1.0]]}, {"truncation": True}, "truncation=True needs a max_length"),
        ({"input_values": [[1.0]]}, {"max_length": 1.5}, "whole numbers, not 1.5"),
        ({"input_values": [[1.0]]}, {"pad_to_multiple_of": 0}, "pad_to_multiple_of is 0"),
        ({"input_values": [[1.0]]}, {"max_length": -1}, "max_length is -1"),
        ({"input_values": [0.1, 0.2]}, {}, "recording 0 is not a sequence of numbers"),
        ({"input_values": [["a"]]}, {}, "recording 0 is not a sequence of numbers"),
        ({"input_values": [[1.0]], "labels": [1, 2]}, {}, "labels has 2 items, input_values has 1"),
        ({"values": [[1.0]]}, {}, "a dictionary with input_values"),
        ([], {}, "a dictionary with input_values"),
    ],
)
def test_what_cannot_be_padded_is_named(form: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        text.Wav2Vec2FeatureExtractor().pad(form, **options)


def test_settings_that_cannot_pad_are_named() -> None:
    with pytest.raises(ValueError, match="padding_side is 'right' or 'left', not 'middle'"):
        text.Wav2Vec2FeatureExtractor(padding_side="middle").pad({"input_values": [[1.0]]})
    with pytest.raises(ValueError, match="padding_value is None"):
        text.Wav2Vec2FeatureExtractor(padding_value=None).pad({"input_values": [[1.0]]})
    assert not Padding("do_not_pad", value=None).pads  # then none is needed
