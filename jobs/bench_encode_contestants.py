"""Who takes part in `bench encode`: our encoder in each precision, and transformers in each of its settings.

Each takes recordings and gives their logits on the device: features and normalisation are part of what is measured on
either side. Knows nothing of how it is measured.
"""

import importlib
import importlib.util
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from jobs.bench_encode_material import Sound
from jobs.bench_encode_rounds import ALONE, DOCUMENTED, OURS, RIVAL, SORTED, Contestant, Encode
from pipeline.batching import Budget, Queue
from pipeline.config import EncodeConfig
from pipeline.encode import Emitter
from pipeline.errors import UsageError
from pipeline.models.config import ModelConfig
from pipeline.models.precision import Precision
from pipeline.records import SAMPLE_RATE

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
DOCUMENTED_ROWS = 8  # recordings of a batch, in the order in which they come
PACKED = "packed"
NOT_INSTALLED = (
    "transformers, which the encoders are compared with, is not installed: "
    "`pip install --editable '.[dev]'` does it, and --no-rival measures without it"
)

Batches = Callable[[Sequence[Sound]], Iterator[list[int]]]  # numbers of the recordings that go together


@dataclass(frozen=True)
class Setting:
    """What is encoded, where, and how much of it at once."""

    model: Path
    config: ModelConfig
    device: Literal["cpu", "cuda"]
    batch_s: float

    def by_length(self, audio: Sequence[Sound]) -> Iterator[list[int]]:
        """As the encode stage has it: recordings of like lengths, as many as the budget holds."""
        queue = Queue(range(len(audio)), size=lambda number: len(audio[number].pcm))
        return queue.batches(Budget(int(self.batch_s * SAMPLE_RATE)))


def ours(setting: Setting, precision: Precision) -> Contestant:
    """As the encode stage does it."""
    emitter = Emitter(setting.model, EncodeConfig(device=setting.device), precision)

    @torch.inference_mode()
    def encode(audio: Sequence[Sound]) -> list[Tensor]:
        logits: dict[int, Tensor] = {}
        for batch in setting.by_length(audio):
            together = emitter.logits([audio[number].pcm for number in batch])  # (T of all, V)
            logits |= zip(batch, together.split(), strict=True)  # (T, V) each
        return [logits[number] for number in range(len(audio))]

    return Contestant(OURS, precision, PACKED, encode)


def alone(setting: Setting, audio: Sequence[Sound]) -> list[Tensor]:
    """The reference where transformers is not: ours in fp32, one by one."""
    encode = ours(replace(setting, batch_s=0.0), "fp32").encode
    return [logits.cpu() for logits in encode(audio)]


def rivals(setting: Setting, precisions: Sequence[str]) -> list[Contestant]:
    """One by one in fp32 is always among them: it is the reference."""
    rival = _Rival(setting)
    return [one for precision in dict.fromkeys(("fp32", *precisions)) for one in rival.contestants(precision)]


def the_rival() -> Any:
    """transformers, which is in the dev extra."""
    if importlib.util.find_spec("transformers") is None:
        raise UsageError(NOT_INSTALLED)
    return importlib.import_module("transformers")


class _Rival:
    """transformers with SDPA, on the same weights."""

    def __init__(self, setting: Setting) -> None:
        transformers = the_rival()
        transformers.logging.set_verbosity_error()  # it warns of weights that no inference uses
        transformers.logging.disable_progress_bar()
        self._setting = setting
        self._extract: Any = transformers.AutoFeatureExtractor.from_pretrained(setting.model)
        self._plain = self._load("fp32")

    def contestants(self, precision: str) -> list[Contestant]:
        ways: dict[str, Batches] = {ALONE: _one_by_one, SORTED: self._setting.by_length}
        if precision == "fp32":
            ways[DOCUMENTED] = _as_they_come
            return [self._contestant(precision, way, self._plain) for way in ways.items()]
        if precision == "int8":
            if self._setting.device != "cpu":
                return []  # torch's dynamic quantisation is for CPUs
            model = _in_eight_bits(self._plain)
            return [self._contestant(precision, way, model) for way in ways.items()]
        model = self._load(precision)
        return [
            *(self._contestant(precision, way, model) for way in ways.items()),
            *(self._contestant(precision, way, self._plain, DTYPES[precision]) for way in ways.items()),
        ]

    def _load(self, precision: str) -> nn.Module:
        model: nn.Module = the_rival().AutoModelForCTC.from_pretrained(
            self._setting.model, attn_implementation="sdpa", dtype=DTYPES[precision]
        )
        return model.eval().to(self._setting.device)

    def _contestant(
        self, precision: str, way: tuple[str, Batches], model: nn.Module, cast: torch.dtype | None = None
    ) -> Contestant:
        """`cast`: automatic casts to it instead of weights in it."""
        name, batches = way
        return Contestant(RIVAL, precision, f"{name}, cast" if cast else name, self._encode(model, batches, cast))

    def _encode(self, model: nn.Module, batches: Batches, cast: torch.dtype | None) -> Encode:
        device, dtype = self._setting.device, next(model.parameters()).dtype

        @torch.inference_mode()
        def encode(audio: Sequence[Sound]) -> list[Tensor]:
            logits: dict[int, Tensor] = {}
            for batch in batches(audio):
                inputs = self._extract(
                    [audio[number].samples for number in batch],
                    sampling_rate=SAMPLE_RATE,
                    padding=True,
                    return_tensors="pt",
                ).to(device)
                floats = {name: value.to(dtype) for name, value in inputs.items() if value.is_floating_point()}
                with _autocast(device, cast):
                    padded = model(**(dict(inputs) | floats)).logits  # (B, T, V)
                logits |= zip(batch, padded, strict=True)
            return [logits[number] for number in range(len(audio))]

        return encode


def _one_by_one(audio: Sequence[Sound]) -> Iterator[list[int]]:
    return ([number] for number in range(len(audio)))


def _as_they_come(audio: Sequence[Sound]) -> Iterator[list[int]]:
    for first in range(0, len(audio), DOCUMENTED_ROWS):
        yield list(range(first, min(first + DOCUMENTED_ROWS, len(audio))))


def _autocast(device: str, dtype: torch.dtype | None) -> AbstractContextManager[Any]:
    return nullcontext() if dtype is None else torch.autocast(device, dtype)


def _in_eight_bits(model: nn.Module) -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it is deprecated: what follows it is a package of its own
        quantise: Any = torch.ao.quantization.quantize_dynamic
        return quantise(model, {nn.Linear}, dtype=torch.qint8)  # type: ignore[no-any-return]
