"""What extractors and tokenizers return: a dictionary whose entries are attributes too, and can be made tensors.

Knows nothing of what is in it.
"""

import sys
from collections import UserDict
from collections.abc import Mapping
from typing import Any, Self

import numpy as np

from pipeline.errors import UsageError


class ArgumentError(UsageError, ValueError):
    """A caller's argument that cannot be followed; code written for transformers catches it as a ValueError."""


class Batch(UserDict[str, Any]):
    """Entries of one length each, one item per recording or text: code written for transformers finds its own here."""

    def __init__(self, data: Mapping[str, Any] | None = None, tensor_type: str | None = None) -> None:
        super().__init__(data or {})
        self.convert_to_tensors(tensor_type)

    def __getattr__(self, name: str) -> Any:
        if name == "data" or name not in self.data:  # `data` itself is missing while a pickle is being read
            raise AttributeError(f"there is no {name!r} in this batch")
        return self.data[name]

    def convert_to_tensors(self, tensor_type: str | None = None) -> Self:
        """In place: "np" or "pt"; None leaves all as it is.

        Items that differ in length make a NumPy array of arrays, as transformers has it, and no tensor.
        """
        if tensor_type is None:
            return self
        if (tensor_type := str(getattr(tensor_type, "value", tensor_type))) not in ("np", "pt"):
            raise ArgumentError(f"return_tensors is 'np' or 'pt', not {tensor_type!r}")
        for name, value in self.data.items():
            if tensor_type == "pt" and is_tensor(value):
                continue
            array = as_array(value)
            ragged = array.dtype == object and array.size > 0 and isinstance(array.flat[0], np.ndarray)
            if array.dtype.kind not in "biufc" and not ragged:
                continue  # words, or whatever else is no number
            if tensor_type == "pt" and ragged:
                raise ArgumentError(f"{name} differ in length: give padding=True to make one tensor of them")
            self.data[name] = as_tensor(array) if tensor_type == "pt" else array
        return self

    def to(self, *target: Any, **options: Any) -> Self:
        """Its tensors on a device, or of a dtype, which only those of floats take, in place."""
        import torch

        dtypes = [one for one in (*target, options.get("dtype")) if isinstance(one, torch.dtype)]
        rest = [one for one in target if not isinstance(one, torch.dtype)]
        options = {name: value for name, value in options.items() if name != "dtype"}
        for name, value in self.data.items():
            if isinstance(value, torch.Tensor):
                value = value.to(*rest, **options) if rest or options else value
                self.data[name] = value.to(dtypes[0]) if dtypes and value.is_floating_point() else value
        return self


def is_tensor(value: Any) -> bool:
    """Without importing torch: where nobody has, there are no tensors."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.Tensor)


def as_array(value: Any) -> np.ndarray[Any, Any]:
    """Of numbers; of arrays, where its items differ in length."""
    if is_tensor(value):
        value = value.detach().cpu()
        return np.asarray(value.float() if str(value.dtype) == "torch.bfloat16" else value)  # NumPy has no such
    if isinstance(value, (list, tuple)) and value and (is_tensor(value[0]) or isinstance(value[0], (list, tuple))):
        value = [as_array(one) for one in value]
    try:
        return np.asarray(value)
    except ValueError:
        ragged = np.empty(len(value), dtype=object)
        for number, one in enumerate(value):
            ragged[number] = np.asarray(one)
        return ragged


def as_tensor(array: np.ndarray[Any, Any]) -> Any:
    """On the memory of the array, where torch can have it."""
    import torch

    return torch.from_numpy(np.require(array, requirements=["C", "W"]))
