"""The dictionary that extractors and tokenizers return, against transformers' own."""

import pickle
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import BatchFeature

from pipeline.errors import UsageError
from pipeline.text.batch import Batch

VALUES: dict[str, Any] = {
    "ids": [[1, 2, 3], [4, 5, 6]],
    "ragged_ids": [[1, 2, 3], [4]],
    "arrays": [np.ones(3, np.float32), np.zeros(3, np.float32)],
    "ragged_arrays": [np.ones(3, np.float32), np.zeros(2, np.float32)],
    "tensors": [torch.ones(3), torch.zeros(3)],
    "one_array": np.ones((2, 3), np.int32),
    "words": ["a", "b"],
    "dictionaries": [{"a": 1}, {"b": 2}],
}


@pytest.mark.parametrize("kind", ["np", "pt", None])
@pytest.mark.parametrize("name", VALUES)
def test_values_become_what_transformers_makes_of_them(name: str, kind: str | None) -> None:
    """The risk: another dtype, or a ragged batch that one refuses and the other does not."""
    value = VALUES[name]
    try:
        expected = BatchFeature({"x": value}, tensor_type=kind)["x"]
    except ValueError:
        with pytest.raises(ValueError, match=r"differ in length"):
            Batch({"x": value}, kind)
        return
    found = Batch({"x": value}, kind)["x"]
    assert type(found) is type(expected)
    if kind == "pt" and isinstance(expected, torch.Tensor):
        assert found.dtype == expected.dtype and found.equal(expected)
    elif isinstance(expected, np.ndarray):
        assert found.dtype == expected.dtype and found.shape == expected.shape
        assert all(np.array_equal(ours, theirs) for ours, theirs in zip(found, expected, strict=True))
    else:
        assert found is expected


def test_arrays_of_one_length_but_other_widths_are_kept_apart() -> None:
    """The risk: NumPy, which takes them for one array of tuples, or raises, as it does in transformers."""
    found = Batch({"x": [np.ones((3, 2)), np.zeros((3, 4))]}, "np").x
    assert [one.shape for one in found] == [(3, 2), (3, 4)]


def test_entries_are_attributes_and_survive_a_pickle() -> None:
    """The risk: `__getattr__` that asks itself for `data` while a pickle is read, for ever."""
    batch = pickle.loads(pickle.dumps(Batch({"input_ids": [[1]]})))
    assert batch.input_ids == batch["input_ids"] == [[1]]
    assert dict(**batch) == {"input_ids": [[1]]}
    with pytest.raises(AttributeError, match="attention_mask"):
        _ = batch.attention_mask


def test_a_dtype_is_for_floats_alone() -> None:
    """The risk: masks and ids turned into half floats on their way to a GPU."""
    batch = Batch({"x": [[0.5]], "mask": [[1]], "words": ["a"]}, "pt").to("cpu", torch.float16)
    assert (batch.x.dtype, batch.mask.dtype, batch.words) == (torch.float16, torch.int64, ["a"])
    assert batch.to(dtype=torch.bfloat16).x.dtype == torch.bfloat16
    assert batch.to("meta").mask.device.type == "meta"


def test_another_kind_of_tensor_is_refused_for_either_kind_of_caller() -> None:
    for kind in (UsageError, ValueError):
        with pytest.raises(kind, match="not 'tf'"):
            Batch({"x": [1]}, "tf")


@given(st.lists(st.lists(st.floats(-1, 1, width=32), max_size=4), min_size=1, max_size=4))
def test_numbers_survive(rows: list[list[float]]) -> None:
    """The risk: ragged rows cut, filled up or flattened."""
    found = Batch({"x": rows}, "np").x
    assert [[float(number) for number in row] for row in found] == rows
