"""The weights of a Hugging Face checkpoint into a model, leaving no name over on either side, and back.

It knows no file and no model family: each family's file brings its own `NameTable`.
"""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import chain

import torch
from torch import Tensor, nn

from pipeline.models.weight_files import CheckpointError as CheckpointError  # the error of this module too
from pipeline.models.weight_files import listed

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


@dataclass(frozen=True)
class NameTable:
    """How one family's checkpoint names become its module names."""

    prefix: str = ""  # of the encoder's names in a model with a head; checkpoints may have it or not
    may_leave: tuple[str, ...] = ()  # glob patterns of the encoder's weights that may stay unused
    may_lack: tuple[str, ...] = ()  # glob patterns of what a model can do without where a checkpoint lacks it
    weight_normed: tuple[str, ...] = ()  # glob patterns of the weights that are saved as gain and direction


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
    if not any(name in wanted for name in found):
        misfit = f"{listed('there', found)}, {listed('wanted', wanted)}"
        raise CheckpointError(f"{source}: no weight has a name that the model knows: {misfit}")
    heads = _heads(wanted, names.prefix)
    if absent := [head for head in heads if not any(_first_part(name) == head for name in found)]:
        raise CheckpointError(
            f"{source} has no {head_meaning} ({', '.join(absent)}): a model trained with one is needed"
        )
    found |= {name: _known_without(wanted, found, name) for name in wanted if _matches(name, names.may_lack)}
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
        misfits = f"{listed('missing', missing)}, {listed('unknown', unknown)}"
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


def _known_without(wanted: Mapping[str, Tensor], found: Mapping[str, Tensor], name: str) -> Tensor:
    """What a weight is that may lack: as found, as the model made it, or zero."""
    made = wanted[name]
    # A counter that only training reads is a float in some checkpoints.
    if name in found and found[name].is_floating_point() == made.is_floating_point():
        return found[name]
    return torch.zeros_like(made, device="cpu") if made.is_meta else made


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
