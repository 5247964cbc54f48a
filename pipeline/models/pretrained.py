"""Models from checkpoints and back: `from_pretrained` and `save_pretrained`, as code for these models calls them.

Knows no family: each class says what its config is and how its checkpoints name its weights.
"""

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from threading import RLock
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from pipeline.errors import UsageError
from pipeline.models.attention import check_implementation
from pipeline.models.checkpoint import NameTable, load_into, to_save
from pipeline.models.config import ModelConfig
from pipeline.models.linear import DTYPES
from pipeline.models.locate import AS_USUAL, SETTINGS, Hub, checkpoint_directory, portable_name
from pipeline.models.options import Options, asked_precision, device_of, precision_of, sorted_out
from pipeline.models.precision import Precision, prepare
from pipeline.models.weight_files import CheckpointError, read_config, read_weights, write_file

DEFAULT_ATTENTION = "sdpa"
PREPARING = RLock()  # of models that several threads call for the first time


class Pretrained(nn.Module):
    """A model with a config, whose weights have names that checkpoints know.

    It can be trained, but without dropout, layerdrop and SpecAugment, whatever its config says of them.
    """

    config_class: ClassVar[type[ModelConfig]]
    names: ClassVar[NameTable]
    head_meaning: ClassVar[str] = "head"  # what is beside the encoder, for the message when a checkpoint lacks it

    config: ModelConfig
    source: str | None = None  # the checkpoint that the weights came from
    hub: Hub = AS_USUAL  # how the hub was asked for it
    planned: Precision | None = None  # what it is to be prepared for when it is first called
    prepared: Precision | None = None  # for inference in this precision; None: plain
    precision: Precision = "fp32"  # the one that is planned or prepared
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
    def from_pretrained(cls, name: str | os.PathLike[str], **options: Any) -> Self:
        """The model of a checkpoint: a directory, a URL, or a name on the Hugging Face hub; in `eval()` mode.

        The options are those of `options.Options`; any other keyword must be a field of the config, to override it.
        In fp32, the default, the weights are plain and can be trained further, without dropout, layerdrop and
        SpecAugment. In another dtype or in eight bits the model is for inference alone: it can still be moved and
        saved until it is first called, and is then prepared for where it is.
        """
        own, hub, changes = sorted_out(options)
        device = device_of(own.get("device_map"))
        attention = own.get("attn_implementation") or DEFAULT_ATTENTION
        check_implementation(attention, device)
        target_lang = own.get("target_lang")
        if own.get("ignore_mismatched_sizes") and target_lang is None:
            raise UsageError("ignore_mismatched_sizes would leave weights at random values; only target_lang takes it")

        config = cls._config(os.fspath(name), own.get("config"), hub, changes)
        directory = checkpoint_directory(os.fspath(name), hub=hub)
        weights = read_weights(directory)
        precision = asked_precision(own, weights)
        try:
            with torch.device("meta"):  # initial values would be thrown away
                model = cls(config)
        except ValueError as error:  # what a head cannot be built on
            raise CheckpointError(f"{directory}/config.json: {error}") from error
        model.unused = load_into(model, weights, cls.names, directory, cls.head_meaning)
        model.source, model.hub = portable_name(os.fspath(name)), hub
        if target_lang is not None:
            model.load_adapter(target_lang)
        model.hub = {name: value for name, value in hub.items() if name != "token"}  # a secret is not to be pickled
        nn.Module.to(model.eval(), device)
        model.set_attn_implementation(attention)
        model._plan(precision)
        return model

    def save_pretrained(
        self,
        directory: str | os.PathLike[str],
        *,
        dtype: torch.dtype = torch.float32,
        safe_serialization: bool = True,
    ) -> None:
        """`config.json` and `model.safetensors` as transformers and `from_pretrained` read them, weights in `dtype`."""
        if not safe_serialization:
            raise UsageError("safe_serialization=False is not supported: a pickle can run code where it is loaded")
        if self.prepared is not None:
            raise UsageError(
                f"a model prepared for {self.prepared} cannot be saved: its own weights are gone. "
                "Load it in fp32 (the default dtype) and save that"
            )
        folder = Path(directory)
        folder.mkdir(parents=True, exist_ok=True)
        about = {name: value for name, value in self.config.rest.items() if name != "torch_dtype"}
        about |= {"architectures": [type(self).__name__], "dtype": str(dtype).removeprefix("torch.")}
        weights = to_save({**self.unused, **self.own_state()}, self.names)
        if not any(weight_name.endswith("masked_spec_embed") for weight_name in weights):
            about.setdefault("mask_time_prob", 0.0)  # else transformers would miss what only training with masks needs
        replace(self.config, rest=about).save_pretrained(folder)
        numbers = {name: x.to(dtype) if x.is_floating_point() else x for name, x in weights.items()}  # not the counters
        write_file(numbers, folder / "model.safetensors")

    def own_state(self) -> dict[str, Tensor]:
        """The weights that belong into the checkpoint's main file."""
        return self.state_dict()

    def load_adapter(self, target_lang: str) -> None:
        """Speaks another language from now on; a model that has language adapters overrides this."""
        raise UsageError(f"{type(self).__name__} takes no language adapters (asked for {target_lang!r})")

    @classmethod
    def _config(cls, name: str, given: Any, hub: Hub, changes: Mapping[str, Any]) -> ModelConfig:
        """That of the checkpoint, or the one that is given, with changes."""
        if given is None:
            directory = checkpoint_directory(name, SETTINGS, hub)
            found = read_config(directory).get("model_type")
            if found != cls.config_class.model_type:
                from pipeline.models.auto import advice  # it knows every class, and so this module

                misfit = f"is of model_type {found!r}, {cls.__name__} reads {cls.config_class.model_type!r}"
                raise CheckpointError(f"{directory}/config.json {misfit}: {advice(str(found), cls)}")
            config = cls.config_class.from_pretrained(directory)
        elif isinstance(given, cls.config_class):
            config = given
        elif hasattr(given, "to_dict"):  # as transformers' configs have it
            config = cls.config_class.from_dict(given.to_dict())
        else:
            needed, theirs = cls.config_class, f"{type(given).__module__}.{type(given).__qualname__}"
            raise TypeError(f"config must be a {needed.__module__}.{needed.__name__}, not a {theirs}")
        try:
            return config.updated(changes, Options.__annotations__)
        except ValueError as error:
            raise UsageError(f"{cls.__name__}.from_pretrained: {error}") from error

    # ---- what code for these models asks of one

    @property
    def base_model(self) -> Any:
        """The encoder."""
        return self

    @property
    def name_or_path(self) -> str:
        return self.source or ""

    @property
    def main_input_name(self) -> str:
        return str(self.base_model.input_name)

    @property
    def dtype(self) -> torch.dtype:
        """That of matrix products; hidden states and logits are fp32 in any case."""
        return DTYPES[self.precision]

    def num_parameters(self, only_trainable: bool = False) -> int:
        model: nn.Module = self
        if self.prepared is not None and not only_trainable:  # layers have laid out their weights as they need them
            with torch.device("meta"):
                model = type(self)(self.config)
        return sum(x.numel() for x in model.parameters() if x.requires_grad or not only_trainable)

    def freeze_base_model(self) -> None:
        """Training changes only what is on the encoder."""
        self.base_model.requires_grad_(False)

    def freeze_feature_encoder(self) -> None:
        """Training does not change the convolutions over samples."""
        front_end = getattr(self.base_model, "feature_extractor", None)
        if front_end is None:
            raise UsageError(f"{type(self).__name__} has no convolutions over samples that could be frozen")
        front_end.requires_grad_(False)

    def _get_feat_extract_output_lengths(self, input_lengths: Any, add_adapter: bool | None = None) -> Any:
        """Frames of recordings of these lengths, a number or a tensor of them: for alignments and timestamps."""
        if not isinstance(input_lengths, Tensor):
            return self.config.num_encoded(int(input_lengths), add_adapter)
        lengths = [self.config.num_encoded(int(length), add_adapter) for length in input_lengths.flatten().tolist()]
        return torch.tensor(lengths, device=input_lengths.device).view(input_lengths.shape)

    # ---- how it computes, and where

    def set_attn_implementation(self, name: str) -> None:
        check_implementation(name, self.device)
        for module in self.modules():
            if isinstance(module, Pretrained):
                module.attn_implementation = name

    def prepare(self, precision: Precision) -> None:
        """For inference in this precision, in place and at once, on the device where it is."""
        prepare(self, precision)

    def ready(self) -> None:
        """Prepares for what is planned, where anything is. Every way into the model begins with this."""
        if self.planned is None:
            return
        # Within `inference_mode` the new weights would be of no use outside, and within autocast of another type.
        with PREPARING, torch.inference_mode(False), torch.autocast(self.device.type, enabled=False):
            if self.planned is not None and self.prepared is None:
                prepare(self, self.planned)
            self.planned = None

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        self.ready()
        return super().__call__(*args, **kwargs)

    def _plan(self, precision: Precision) -> None:
        now = self.prepared or self.precision
        if precision == now:
            return
        if self.prepared is not None or now == "int8":
            raise UsageError(f"the model is for {now} already; load it anew to have it in {precision}")
        for part in self.modules():
            if isinstance(part, Pretrained):
                part.planned, part.precision = None if precision == "fp32" else precision, precision

    def to(self, *args: Any, **kwargs: Any) -> Self:
        """To a device, plainly; to a smaller dtype when it is first called, by preparing for inference in it."""
        device, dtype, *_ = torch._C._nn._parse_to(*args, **kwargs)
        if device is not None and torch.empty(0, device=device).device != self.device:
            if self.prepared is not None:
                raise UsageError(
                    f"a model prepared for {self.prepared} cannot move; move it before its first call, "
                    "or give from_pretrained a device_map"
                )
            super().to(device)
        if dtype is not None:
            self._plan(precision_of(dtype))
        return self

    def type(self, dst_type: Any) -> Self:
        return self.to(dst_type)

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
