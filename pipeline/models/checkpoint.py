"""Reads a Hugging Face checkpoint directory into a model, leaving no name over on either side.

It does not know any model family: each family's file brings its own `NameTable`.
"""

import os
import pickle
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from pipeline.errors import UsageError
from pipeline.jsonfile import read_object
from pipeline.models.locate import WEIGHT_FILES

# The endings that torch's two weight-norm implementations give to the gain and the direction of one weight.
WEIGHT_NORM_ENDINGS = (
    (".weight_g", ".weight_v"),
    (".parametrizations.weight.original0", ".parametrizations.weight.original1"),
)

# Eight-bit floats are absent on purpose: without their scales they would convert to wrong numbers, silently.
CONVERTIBLE_DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


class CheckpointError(UsageError, ValueError):
    """A checkpoint directory that cannot be used; the message names the file or the weights at fault."""


@dataclass(frozen=True)
class NameTable:
    """How one family's checkpoint names become its module names."""

    renames: tuple[tuple[str, str], ...] = ()  # (regular expression, replacement), each applied once
    may_leave: tuple[str, ...] = ()  # glob patterns of weights that may stay unused
    head: str = ""  # what the names of the head's weights start with
    head_meaning: str = ""  # what that head is, for the message when it is absent


def read_config(directory: str | os.PathLike[str]) -> dict[str, Any]:
    """The content of the directory's config.json."""
    path = Path(directory) / "config.json"
    if not path.parent.is_dir():
        raise CheckpointError(f"{path.parent} is not a directory; a local checkpoint directory is needed")
    return _read_json_object(path)


def read_weights(directory: str | os.PathLike[str]) -> dict[str, Tensor]:
    """All weights of the directory by their saved names, on the CPU, memory-mapped where possible.

    Mapped weights are shared by the processes of a machine; the files must stay as they are meanwhile.
    """
    folder = Path(directory)
    for file_name in WEIGHT_FILES:
        path = folder / file_name
        if path.exists():
            return _read_sharded(path) if path.suffix == ".json" else _read_file(path)
    raise CheckpointError(f"{folder} has no weights: looked for {', '.join(WEIGHT_FILES)}")


def load_into(
    model: nn.Module, weights: Mapping[str, Tensor], names: NameTable, source: str | os.PathLike[str]
) -> None:
    """Gives the model its weights, as fp32, and readies it for inference. Errors name `source`.

    The model may have been built on the meta device: tensors are assigned, not copied. A buffer that is not
    in the state dict is not assigned, so a model that has one must not build that on the meta device.
    """
    renamed = _fold_weight_norms(_rename(weights, names, source), source)
    wanted = model.state_dict()
    if not any(name.startswith(names.head) for name in renamed):
        raise CheckpointError(
            f"{source} has no {names.head_meaning} ({names.head}*): a model fine-tuned with one is needed"
        )
    missing = [name for name in wanted if name not in renamed]
    unknown = [
        name
        for name in renamed
        if name not in wanted and not any(fnmatchcase(name, pattern) for pattern in names.may_leave)
    ]
    if missing or unknown:
        misfits = f"{_listed('missing', missing)}, {_listed('unknown', unknown)}"
        raise CheckpointError(f"{source}: the weights do not fit the model: {misfits}")
    fitted = {name: _fit(name, renamed[name], wanted[name], source) for name in wanted}
    model.load_state_dict(fitted, assign=True)
    model.requires_grad_(False).eval()


def _fit(name: str, weight: Tensor, wanted: Tensor, source: str | os.PathLike[str]) -> Tensor:
    if weight.shape != wanted.shape:
        raise CheckpointError(
            f"{source}: {name} has shape {tuple(weight.shape)}, the config asks for {tuple(wanted.shape)}"
        )
    if wanted.is_floating_point():
        return _as_fp32(name, weight, source)
    if weight.dtype != wanted.dtype:
        raise CheckpointError(f"{source}: {name} is of type {weight.dtype}, expected {wanted.dtype}")
    return weight


def _as_fp32(name: str, weight: Tensor, source: str | os.PathLike[str]) -> Tensor:
    if weight.dtype not in CONVERTIBLE_DTYPES:
        raise CheckpointError(f"{source}: {name} is of type {weight.dtype}; only fp64 to fp16 and bf16 load")
    return weight.to(torch.float32)


def _rename(weights: Mapping[str, Tensor], names: NameTable, source: str | os.PathLike[str]) -> dict[str, Tensor]:
    renamed: dict[str, Tensor] = {}
    for name, weight in weights.items():
        new_name = name
        for pattern, replacement in names.renames:
            new_name = re.sub(pattern, replacement, new_name)
        if new_name in renamed:
            raise CheckpointError(f"{source}: {name} is there twice, also under another name")
        renamed[new_name] = weight
    return renamed


def _fold_weight_norms(weights: dict[str, Tensor], source: str | os.PathLike[str]) -> dict[str, Tensor]:
    """Replaces every gain g and direction v by the one weight g * v / |v| that they stand for."""
    folded = dict(weights)
    for gain_ending, direction_ending in WEIGHT_NORM_ENDINGS:
        for gain_name in [name for name in weights if name.endswith(gain_ending)]:
            stem = gain_name.removesuffix(gain_ending)
            if stem + direction_ending not in weights:
                continue  # half a pair stays under its own name, and is then reported as unknown
            gain = _as_fp32(gain_name, folded.pop(gain_name), source)
            direction = _as_fp32(stem + direction_ending, folded.pop(stem + direction_ending), source)
            name = f"{stem}.weight"
            if name in folded:
                raise CheckpointError(f"{source}: {name} is there twice, also under another name")
            # The norm runs over the dimensions in which the gain has size 1: the shapes say which those are.
            over = [dim for dim in range(gain.ndim) if gain.shape[dim] == 1]
            reduced = [1 if dim in over else size for dim, size in enumerate(direction.shape)]
            if not over or list(gain.shape) != reduced:
                raise CheckpointError(
                    f"{source}: {gain_name} has shape {tuple(gain.shape)}, "
                    f"which does not go with its direction's {tuple(direction.shape)}"
                )
            folded[name] = direction * (gain / torch.linalg.vector_norm(direction, dim=over, keepdim=True))
    return folded


def _read_sharded(index_path: Path) -> dict[str, Tensor]:
    weight_map = _read_json_object(index_path).get("weight_map")
    if not isinstance(weight_map, dict) or not all(isinstance(shard, str) for shard in weight_map.values()):
        raise CheckpointError(f"{index_path} has no weight_map from names to files")
    weights: dict[str, Tensor] = {}
    for shard in sorted(set(weight_map.values())):
        # An index is data from a stranger: it may not send us to files outside its directory.
        if Path(shard).name != shard:
            raise CheckpointError(f"{index_path} names a file outside its directory: {shard}")
        weights.update(_read_file(index_path.parent / shard))
    absent = [name for name in weight_map if name not in weights]
    if absent:
        raise CheckpointError(f"{index_path}: the files it lists lack weights: {_listed('missing', absent)}")
    return weights


def _read_file(path: Path) -> dict[str, Tensor]:
    return _read_safetensors(path) if path.suffix == ".safetensors" else _read_pickle(path)


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path} cannot be read as safetensors: {error}") from error


def _read_pickle(path: Path) -> dict[str, Tensor]:
    try:
        with path.open("rb") as file:
            is_zip = file.read(4) == b"PK\x03\x04"  # the format before torch 1.6 cannot be memory-mapped
        loaded = torch.load(path, map_location="cpu", weights_only=True, mmap=is_zip)
    except pickle.UnpicklingError as error:
        # torch's own message advises weights_only=False, which is the advice a malicious file hopes for.
        reasons = [line for line in str(error).splitlines() if "unsupported" in line.lower()]
        raise CheckpointError(
            f"{path} is refused: not a plain pickle of tensors ({' '.join(reasons) or 'cannot be parsed'}); "
            "loading it could run code. Get the checkpoint as safetensors"
        ) from error
    except Exception as error:  # a damaged pickle can fail in almost any way inside the unpickler
        raise CheckpointError(f"{path} cannot be read: {error or type(error).__name__}") from error
    if not isinstance(loaded, dict):
        raise CheckpointError(f"{path} holds a {type(loaded).__name__}, not weights by name")
    for name, weight in loaded.items():
        if not isinstance(name, str) or not isinstance(weight, Tensor):
            raise CheckpointError(f"{path} holds more than weights: {name} is a {type(weight).__name__}")
    return loaded


def _read_json_object(path: Path) -> dict[str, Any]:
    try:
        return read_object(path)
    except UsageError as error:
        raise CheckpointError(str(error)) from error


def _listed(kind: str, names: Iterable[str], show: int = 5) -> str:
    every = list(names)
    shown = ", ".join(every[:show]) + (", ..." if len(every) > show else "")
    return f"{len(every)} {kind}" + (f" ({shown})" if every else "")
