"""Reads a Hugging Face checkpoint directory into a model, leaving no name over on either side, and writes one.

It does not know any model family: each family's file brings its own `NameTable`.
"""

import os
import pickle
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
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

# Of heads, in checkpoints of all families. A model has no use for other heads than its own.
HEADS = (
    "lm_head.*",
    *("projector.*", "classifier.*", "layer_weights"),
    *("tdnn.*", "feature_extractor.weight", "feature_extractor.bias", "objective.*"),
    *("quantizer.*", "project_q.*", "project_hid.*"),
)


class CheckpointError(UsageError, ValueError):
    """A checkpoint directory that cannot be used; the message names the file or the weights at fault."""


@dataclass(frozen=True)
class NameTable:
    """How one family's checkpoint names become its module names."""

    prefix: str = ""  # of the encoder's names in a model with a head; checkpoints may have it or not
    may_leave: tuple[str, ...] = ()  # glob patterns of the encoder's weights that may stay unused
    may_lack: tuple[str, ...] = ()  # glob patterns of what a model knows by itself where a checkpoint does not say
    weight_normed: tuple[str, ...] = ()  # glob patterns of the weights that are saved as gain and direction


# ---- reading files


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
            return _read_sharded(path) if path.suffix == ".json" else read_file(path)
    raise CheckpointError(f"{folder} has no weights: looked for {', '.join(WEIGHT_FILES)}")


def read_file(path: Path) -> dict[str, Tensor]:
    """All weights of one file."""
    return _read_safetensors(path) if path.suffix == ".safetensors" else _read_pickle(path)


def write_file(weights: Mapping[str, Tensor], path: Path) -> None:
    """As safetensors, whole or not at all. Not in place: weights may be mapped from the file that is replaced."""
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".saving-") as folder:
        whole = Path(folder) / path.name
        ready = {name: weight.detach().cpu().contiguous() for name, weight in weights.items()}
        save_file(ready, whole, metadata={"format": "pt"})
        whole.chmod(0o644)  # save_file leaves it to its owner alone
        whole.replace(path)


def _read_sharded(index_path: Path) -> dict[str, Tensor]:
    weight_map = _read_json_object(index_path).get("weight_map")
    if not isinstance(weight_map, dict) or not all(isinstance(shard, str) for shard in weight_map.values()):
        raise CheckpointError(f"{index_path} has no weight_map from names to files")
    weights: dict[str, Tensor] = {}
    for shard in sorted(set(weight_map.values())):
        # An index is data from a stranger: it may not send us to files outside its directory.
        if Path(shard).name != shard:
            raise CheckpointError(f"{index_path} names a file outside its directory: {shard}")
        weights.update(read_file(index_path.parent / shard))
    absent = [name for name in weight_map if name not in weights]
    if absent:
        raise CheckpointError(f"{index_path}: the files it lists lack weights: {_listed('missing', absent)}")
    return weights


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


# ---- from weights to a model, and back


def load_into(
    model: nn.Module,
    weights: Mapping[str, Tensor],
    names: NameTable,
    source: str | os.PathLike[str],
    head_meaning: str = "head",
) -> dict[str, Tensor]:
    """Gives the model its weights, as fp32, and returns those of the encoder that it has no use for.

    The model may have been built on the meta device: tensors are assigned, not copied. A buffer that is not in the
    state dict is not assigned, so a model that has one must build that on a real device. Errors name `source`.
    """
    wanted = model.state_dict()
    found = _placed(_fold_weight_norms(weights, source), wanted, names.prefix, source)
    heads = _heads(wanted, names.prefix)
    if absent := [head for head in heads if not any(_first_part(name) == head for name in found)]:
        raise CheckpointError(
            f"{source} has no {head_meaning} ({', '.join(absent)}): a model trained with one is needed"
        )
    found = {**{name: wanted[name] for name in wanted if _matches(name, names.may_lack)}, **found}
    others = [pattern for pattern in HEADS if pattern.partition(".")[0] not in heads]
    fitted = fit(found, wanted, source, (*names.may_leave, *others))
    model.load_state_dict(fitted, assign=True)
    if stranded := [name for name, x in chain(model.named_parameters(), model.named_buffers()) if x.is_meta]:
        raise RuntimeError(f"{type(model).__name__} builds what no checkpoint holds on the meta device: {stranded}")
    unused = {name: found[name] for name in found if name not in wanted and not _matches(name, others)}
    prefix = names.prefix if heads else ""
    return {prefix + name.removeprefix(names.prefix): weight for name, weight in unused.items()}


def fit(
    found: Mapping[str, Tensor],
    wanted: Mapping[str, Tensor],
    source: str | os.PathLike[str],
    may_leave: tuple[str, ...] = (),
) -> dict[str, Tensor]:
    """The weights that are wanted, as fp32, if they are just those that are there, and fit in shape and type."""
    missing = [name for name in wanted if name not in found]
    unknown = [name for name in found if name not in wanted and not _matches(name, may_leave)]
    if missing or unknown:
        misfits = f"{_listed('missing', missing)}, {_listed('unknown', unknown)}"
        raise CheckpointError(f"{source}: the weights do not fit the model: {misfits}")
    return {name: _fit_one(name, found[name], wanted[name], source) for name in wanted}


def to_save(state: Mapping[str, Tensor], names: NameTable) -> dict[str, Tensor]:
    """A model's weights as checkpoints name them."""
    saved: dict[str, Tensor] = {}
    for name, weight in state.items():
        if not _matches(name, names.weight_normed):
            saved[name] = weight
            continue
        gain_ending, direction_ending = WEIGHT_NORM_ENDINGS[1]
        stem = name.removesuffix(".weight")
        gain = torch.linalg.vector_norm(weight, dim=(0, 1), keepdim=True)  # (1, 1, K): one for each tap
        # A tap that is all zeros has no direction, and any will do.
        saved |= {stem + gain_ending: gain, stem + direction_ending: torch.where(gain > 0, weight, 1.0)}
    return saved


def _fit_one(name: str, weight: Tensor, wanted: Tensor, source: str | os.PathLike[str]) -> Tensor:
    if weight.shape != wanted.shape:
        raise CheckpointError(
            f"{source}: {name} has shape {tuple(weight.shape)}, the config asks for {tuple(wanted.shape)}"
        )
    if not wanted.is_floating_point():
        if weight.dtype != wanted.dtype:
            raise CheckpointError(f"{source}: {name} is of type {weight.dtype}, expected {wanted.dtype}")
        return weight
    weight = _as_fp32(name, weight, source)
    # One pass without a copy, 15 ms for 100 million numbers; both ends are NaN where one number is.
    if weight.numel() and not all(end.isfinite() for end in torch.aminmax(weight)):
        raise CheckpointError(f"{source}: {name} holds what is not a number, or infinite: the checkpoint is damaged")
    return weight


def _as_fp32(name: str, weight: Tensor, source: str | os.PathLike[str]) -> Tensor:
    if weight.dtype not in CONVERTIBLE_DTYPES:
        raise CheckpointError(f"{source}: {name} is of type {weight.dtype}; only fp64 to fp16 and bf16 load")
    return weight.to(torch.float32)


def _heads(wanted: Iterable[str], prefix: str) -> list[str]:
    """What a model has beside its encoder, by the first part of their names; an encoder alone has none."""
    every = list(wanted)
    if not prefix or not any(name.startswith(prefix) for name in every):
        return []
    return list(dict.fromkeys(_first_part(name) for name in every if not name.startswith(prefix)))


def _placed(
    weights: Mapping[str, Tensor], wanted: Mapping[str, Tensor], prefix: str, source: str | os.PathLike[str]
) -> dict[str, Tensor]:
    """The encoder's names with the prefix, if the model's have it, and without it otherwise."""
    placed: dict[str, Tensor] = {}
    for name, weight in weights.items():
        spellings = (name, name.removeprefix(prefix), prefix + name)
        _add(placed, next((known for known in spellings if known in wanted), name), weight, name, source)
    return placed


def _add(
    weights: dict[str, Tensor], name: str, weight: Tensor, saved_name: str, source: str | os.PathLike[str]
) -> None:
    if name in weights:
        raise CheckpointError(f"{source}: {saved_name} is there twice, also under another name")
    weights[name] = weight


def _fold_weight_norms(weights: Mapping[str, Tensor], source: str | os.PathLike[str]) -> dict[str, Tensor]:
    """Replaces every gain g and direction v by the one weight g * v / |v| that they stand for."""
    folded = dict(weights)
    for gain_ending, direction_ending in WEIGHT_NORM_ENDINGS:
        for gain_name in [name for name in weights if name.endswith(gain_ending)]:
            stem = gain_name.removesuffix(gain_ending)
            if stem + direction_ending not in weights:
                continue  # half a pair stays under its own name, and is then reported as unknown
            gain = _as_fp32(gain_name, folded.pop(gain_name), source)
            direction = _as_fp32(stem + direction_ending, folded.pop(stem + direction_ending), source)
            # The norm runs over the dimensions in which the gain has size 1: the shapes say which those are.
            over = [dim for dim in range(gain.ndim) if gain.shape[dim] == 1]
            reduced = [1 if dim in over else size for dim, size in enumerate(direction.shape)]
            if not over or list(gain.shape) != reduced:
                raise CheckpointError(
                    f"{source}: {gain_name} has shape {tuple(gain.shape)}, "
                    f"which does not go with its direction's {tuple(direction.shape)}"
                )
            weight = direction * (gain / torch.linalg.vector_norm(direction, dim=over, keepdim=True))
            _add(folded, f"{stem}.weight", weight, f"{stem}.weight", source)
    return folded


def _matches(name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def _first_part(name: str) -> str:
    return name.partition(".")[0]


def _listed(kind: str, names: Iterable[str], show: int = 5) -> str:
    every = list(names)
    shown = ", ".join(every[:show]) + (", ..." if len(every) > show else "")
    return f"{len(every)} {kind}" + (f" ({shown})" if every else "")
