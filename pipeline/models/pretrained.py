"""Models from checkpoints and back: `from_pretrained` and `save_pretrained`, as code for these models calls them.

Knows no family: each class says what its config is and how its checkpoints name its weights.
"""

import os
from collections.abc import Mapping
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any, ClassVar, Self, TypedDict, Unpack

import torch
from torch import Tensor, nn

from pipeline.errors import UsageError
from pipeline.models.attention import check_implementation
from pipeline.models.checkpoint import (
    CheckpointError,
    NameTable,
    load_into,
    read_config,
    read_weights,
    to_save,
    write_file,
)
from pipeline.models.config import ModelConfig
from pipeline.models.locate import checkpoint_directory, portable_name
from pipeline.models.precision import Precision, prepare

PRECISIONS: dict[torch.dtype, Precision] = {torch.float32: "fp32", torch.bfloat16: "bf16", torch.float16: "fp16"}
DEFAULT_ATTENTION = "sdpa"


class Options(TypedDict, total=False):
    """What `from_pretrained` takes beside a name, in the spelling of the ecosystem."""

    dtype: torch.dtype | str | None  # fp32, the default, is plain and can be trained; "auto": what was saved
    torch_dtype: torch.dtype | str | None  # likewise, as it was called
    load_in_8bit: bool  # int8 weights, for inference alone, on a CPU as on a GPU
    quantization_config: Any  # something that has or holds `load_in_8bit`
    device_map: Any  # where to: "cpu", "cuda", "cuda:1", a number, a torch.device, {"": one of these}; "auto"
    attn_implementation: str | None
    config: ModelConfig | None  # instead of the checkpoint's own
    target_lang: str | None  # a language adapter of the checkpoint, to be loaded and spoken
    ignore_mismatched_sizes: bool  # only with target_lang, whose head replaces one of another size in any case


class Pretrained(nn.Module):
    """A model with a config, whose weights have names that checkpoints know."""

    config_class: ClassVar[type[ModelConfig]]
    names: ClassVar[NameTable]
    head_meaning: ClassVar[str] = "head"  # what is beside the encoder, for the message when a checkpoint lacks it

    config: ModelConfig
    source: str | None = None  # the checkpoint that the weights came from
    prepared: Precision | None = None  # for inference in this precision; None: plain
    precision: Precision = "fp32"
    attn_implementation: str = DEFAULT_ATTENTION

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        # Weights of the checkpoint that are of no use here but to be saved again: training may want them.
        self.unused: dict[str, Tensor] = {}

    @property
    def device(self) -> torch.device:
        return next((x.device for x in (*self.parameters(), *self.buffers())), torch.device("cpu"))

    # ---- from a checkpoint, and back

    @classmethod
    def from_pretrained(cls, name: str | os.PathLike[str], **options: Unpack[Options]) -> Self:
        """The model of a checkpoint: a directory, a URL, or a name on the Hugging Face hub; in `eval()` mode.

        In fp32, the default, its weights are plain and can be trained further. In another dtype or in eight bits it
        is prepared for inference alone.
        """
        _check_known(options)
        device = _device(options.get("device_map"))
        attention = options.get("attn_implementation") or DEFAULT_ATTENTION
        check_implementation(attention, device)
        target_lang = options.get("target_lang")
        if options.get("ignore_mismatched_sizes") and target_lang is None:
            raise UsageError("ignore_mismatched_sizes would leave weights at random values; only target_lang takes it")

        directory = checkpoint_directory(os.fspath(name))
        config = options.get("config") or cls._config(directory)
        if not isinstance(config, cls.config_class):
            raise TypeError(f"config must be a {cls.config_class.__name__}, not a {type(config).__name__}")
        weights = read_weights(directory)
        precision = _precision(options, weights)
        try:
            with torch.device("meta"):  # initial values would be thrown away
                model = cls(config)
        except ValueError as error:  # what a head cannot be built on
            raise CheckpointError(f"{directory}/config.json: {error}") from error
        model.unused = load_into(model, weights, cls.names, directory, cls.head_meaning)
        model.source = portable_name(os.fspath(name))
        if target_lang is not None:
            model.load_adapter(target_lang)
        nn.Module.to(model.eval(), device)
        model.set_attn_implementation(attention)
        if precision != "fp32":
            prepare(model, precision)
        return model

    def save_pretrained(self, directory: str | os.PathLike[str]) -> None:
        """`config.json` and `model.safetensors`, as transformers and `from_pretrained` read them, in fp32."""
        if self.prepared is not None:
            raise UsageError(
                f"a model prepared for {self.prepared} cannot be saved: its own weights are gone. "
                "Load it in fp32 (the default dtype) and save that"
            )
        folder = Path(directory)
        folder.mkdir(parents=True, exist_ok=True)
        about = {name: value for name, value in self.config.rest.items() if name != "torch_dtype"}
        about |= {"architectures": [type(self).__name__], "dtype": "float32"}
        replace(self.config, rest=about).save_pretrained(folder)
        write_file(to_save({**self.unused, **self.own_state()}, self.names), folder / "model.safetensors")

    def own_state(self) -> dict[str, Tensor]:
        """The weights that belong into the checkpoint's main file."""
        return self.state_dict()

    def load_adapter(self, target_lang: str) -> None:
        """Speaks another language from now on; a model that has language adapters overrides this."""
        raise UsageError(f"{type(self).__name__} takes no language adapters (asked for {target_lang!r})")

    @classmethod
    def _config(cls, directory: Path) -> ModelConfig:
        found = read_config(directory).get("model_type")
        if found != cls.config_class.model_type:
            from pipeline.models.auto import advice  # it knows every class, and so this module

            misfit = f"is of model_type {found!r}, {cls.__name__} reads {cls.config_class.model_type!r}"
            raise CheckpointError(f"{directory}/config.json {misfit}: {advice(str(found), cls)}")
        return cls.config_class.from_pretrained(directory)

    # ---- how it computes, and where

    def set_attn_implementation(self, name: str) -> None:
        check_implementation(name, self.device)
        for module in self.modules():
            if isinstance(module, Pretrained):
                module.attn_implementation = name

    def prepare(self, precision: Precision) -> None:
        """For inference in this precision, in place, on the device where it is."""
        prepare(self, precision)

    def to(self, *args: Any, **kwargs: Any) -> Self:
        """To a device, plainly; to a smaller dtype by preparing for inference in it, as norms and sums stay in fp32."""
        device, dtype, *_ = torch._C._nn._parse_to(*args, **kwargs)
        if device is not None and torch.empty(0, device=device).device != self.device:
            if self.prepared is not None:
                raise UsageError(f"a model prepared for {self.prepared} cannot move; give from_pretrained a device_map")
            super().to(device)
        if dtype is not None and (precision := _precision_of(dtype)) != (self.prepared or "fp32"):
            prepare(self, precision)
        return self

    def half(self) -> Self:
        return self.to(torch.float16)

    def bfloat16(self) -> Self:
        return self.to(torch.bfloat16)

    def float(self) -> Self:
        return self.to(torch.float32)

    def double(self) -> Self:
        return self.to(torch.float64)

    def cpu(self) -> Self:
        return self.to("cpu")

    def cuda(self, device: int | torch.device | None = None) -> Self:
        return self.to("cuda" if device is None else device)


def _check_known(options: Mapping[str, Any]) -> None:
    known = Options.__annotations__
    for name in options:
        if name not in known:
            close = get_close_matches(name, known, n=1)
            hint = f"did you mean {close[0]}?" if close else f"known: {', '.join(known)}"
            raise TypeError(f"from_pretrained takes no {name}; {hint}")


def _precision(options: Options, weights: Mapping[str, Tensor]) -> Precision:
    """Eight bits have the last word: what people write beside them is the dtype of what they do not cover."""
    quantisation = options.get("quantization_config") or {}
    if not isinstance(quantisation, Mapping):
        quantisation = {name: getattr(quantisation, name, False) for name in ("load_in_8bit", "load_in_4bit")}
    if quantisation.get("load_in_4bit"):
        raise UsageError("load_in_4bit is not supported; load_in_8bit is")
    if options.get("load_in_8bit") or quantisation.get("load_in_8bit"):
        return "int8"
    dtype = options.get("dtype") or options.get("torch_dtype") or torch.float32
    if dtype == "auto":
        dtype = next((weight.dtype for weight in weights.values() if weight.is_floating_point()), torch.float32)
    return _precision_of(dtype)


def _precision_of(dtype: torch.dtype | str) -> Precision:
    known = {str(known).removeprefix("torch."): precision for known, precision in PRECISIONS.items()}
    name = str(dtype).removeprefix("torch.")
    if name not in known:
        raise UsageError(f"dtype {dtype} is not supported; supported: {', '.join(known)}")
    return known[name]


def _device(device_map: Any) -> torch.device:
    """One device for all of the model."""
    wanted = device_map[""] if isinstance(device_map, Mapping) and set(device_map) == {""} else device_map
    if wanted is None:
        return torch.device("cpu")
    if wanted == "auto":
        wanted = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device("cuda", wanted) if type(wanted) is int else torch.device(wanted)
    except (RuntimeError, TypeError) as error:
        raise UsageError(f"device_map {device_map!r} is not one device: cpu, cuda, cuda:0, ... or auto") from error
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UsageError(f"device_map {device_map!r}: torch finds {torch.cuda.device_count()} GPUs here")
    return device
