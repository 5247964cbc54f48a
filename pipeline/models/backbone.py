"""What the encoders of all families share: a packed way through, and a face that takes padded batches.

Knows no family and no head. Shapes: B recordings, N samples, T frames, D hidden size, H heads.
"""

import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeVar

import torch
from torch import Tensor, nn

from pipeline.models.adapters import Spoken
from pipeline.models.attention import Attend
from pipeline.models.config import ConvConfig, ModelConfig
from pipeline.models.frontend import FrontEnd, Recorded
from pipeline.models.outputs import BaseModelOutput
from pipeline.models.pretrained import Pretrained
from pipeline.models.segments import Packed
from pipeline.outputs import ModelOutput
from pipeline.records import SAMPLE_RATE

Output = TypeVar("Output", bound=ModelOutput)

REHEARSAL_S = 5  # as good as longer ones, and noise as good as speech-like sounds


@dataclass
class Trace:
    """What is to be seen of a pass through the layers beside its end, and in which languages it is."""

    wants_states: bool = True
    wants_attentions: bool = False
    hidden_states: list[Packed] = field(default_factory=list)  # into the first layer, then out of each
    attentions: list[list[Tensor]] = field(default_factory=list)  # by layer, by recording: (H, T, T)
    spoken: Spoken | None = None  # for models with language adapters

    def state(self, x: Packed) -> None:
        if self.wants_states:
            self.hidden_states.append(x)

    def attend(self, implementation: str) -> Attend:
        """How a layer is to attend so that its weights, if they are wanted, end up here."""
        if not self.wants_attentions:
            return Attend(implementation)
        self.attentions.append([])
        return Attend("eager", self.attentions[-1])


@dataclass(frozen=True)
class Embedder:
    """What would enter the layers for one recording, in pieces: the memory is a piece's, the rows are the whole's."""

    num_frames: int
    rows: Callable[[int, int], Tensor]  # start, stop -> (stop - start, D)


class Backbone(Pretrained, ABC):
    """Recordings to hidden states, in three steps of which only the middle one looks at all of a recording at once."""

    config: ModelConfig
    input_name: ClassVar[str] = "input_values"
    has_warned: bool = False  # of what looks like padding

    @abstractmethod
    def embed(self, inputs: Packed) -> tuple[Packed, Packed]:
        """What enters the layers, (T, D), and the features that it was projected from, (T, C)."""

    @abstractmethod
    def transform(self, x: Packed, trace: Trace | None = None) -> Packed:
        """The layers alone."""

    @abstractmethod
    def finish(self, x: Packed) -> Packed:
        """What follows the layers: the last norm of some families and the adapter of some checkpoints. (T', D')"""

    @abstractmethod
    def last_norm(self, x: Tensor) -> Tensor:
        """The first part of `finish`, which is also part of the last hidden state."""

    @abstractmethod
    def check_inputs(self, inputs: Packed) -> None:
        """A ValueError for recordings that are too short or of the wrong shape."""

    @abstractmethod
    def rehearse(self) -> None:
        """Once through noise, for layers on their way to int8 that want to know what their input is on average."""

    @abstractmethod
    def embedder(self, recording: Packed) -> "Embedder":
        """`embed` for one recording, any part at a time."""

    def packed(self, inputs: Packed, trace: Trace | None = None) -> Packed:
        """Hidden states (T', D') of recordings of any lengths, each as it would be alone."""
        return self.traced(inputs, trace or Trace(wants_states=False))[0]

    def traced(self, inputs: Packed, trace: Trace) -> tuple[Packed, Packed]:
        """Likewise, and the features of `embed`; what else is seen on the way is left in the trace."""
        self.ready()
        self.check_inputs(inputs)
        x, features = self.embed(inputs)
        return self.encoded(x, trace), features

    def encoded(self, x: Packed, trace: Trace) -> Packed:
        """What `embed` gave, through the layers and what follows them."""
        x = self.transform(x, trace)
        if trace.hidden_states:
            # As these models' training saw it: the last state is the one after the last norm.
            trace.hidden_states[-1] = x.with_data(self.last_norm(trace.hidden_states[-1].data))
        return self.finish(x)

    def forward(
        self,
        input_values: Tensor | None = None,
        attention_mask: Tensor | None = None,
        *,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
        **named: Any,
    ) -> Any:
        """A padded batch, as a `BaseModelOutput`, or a tuple of its fields where `return_dict` is False.

        `attention_mask` (B, L) says what is real. Without one all of it is: padding is then heard as if it were
        audio, by checkpoints with a group norm no less than by others, so ask the processor for it
        (`return_attention_mask=True`). `output_*`: None is what config.json says.
        """
        trace = self.trace(output_hidden_states, output_attentions)
        x, features = self.traced(self.pack(input_values, attention_mask, named), trace)
        return returned(BaseModelOutput(x.padded(), features.padded(), *padded_trace(trace)), return_dict)

    def trace(self, output_hidden_states: bool | None = None, output_attentions: bool | None = None) -> Trace:
        """What a call wants to see; None: what the config says, and nothing where it does not."""
        said = self.config.rest
        states = said.get("output_hidden_states", False) if output_hidden_states is None else output_hidden_states
        attentions = said.get("output_attentions", False) if output_attentions is None else output_attentions
        return Trace(bool(states), bool(attentions))

    def pack(self, inputs: Tensor | None, attention_mask: Tensor | None, named: dict[str, Any]) -> Packed:
        """The batch that was given, by position or by name, without its padding."""
        if inputs is None:
            inputs = named.pop(self.input_name, None)
        if named:
            raise TypeError(f"unknown argument: {', '.join(named)}; {type(self).__name__} takes {self.input_name}")
        if inputs is None:
            raise TypeError(f"no {self.input_name}")
        if not isinstance(inputs, Tensor) or inputs.ndim < 2:
            raise ValueError(f"{self.input_name} must be a batch of recordings, not {_told(inputs)}")
        if attention_mask is None and not self.has_warned and _looks_padded(inputs):
            self.has_warned = True
            warnings.warn(
                f"some recordings of {self.input_name} end in zeros and others do not, as if they were padded, and "
                "without attention_mask= the zeros are heard as audio: return_attention_mask=True makes processors "
                "give one",
                stacklevel=2,
            )
        packed = Packed.from_padded(inputs, attention_mask)
        if not bool(packed.data.isfinite().all()):
            numbers = [number for number, one in enumerate(packed.split()) if not bool(one.isfinite().all())]
            raise ValueError(f"{self.input_name} has NaN or infinite values in recording {numbers[0]}")
        return packed


class SampleBackbone(Backbone):
    """A family that hears samples, through convolutions."""

    config: ConvConfig
    feature_extractor: FrontEnd
    feature_projection: nn.Module
    margin: int = 0  # frames on either side that `place` sees

    def place(self, frames: Packed) -> tuple[Packed, Packed]:
        """Frames of the front end to what enters the layers, and the normed frames."""
        x, features = self.project(frames)
        return self.position(x), features

    def project(self, frames: Packed) -> tuple[Packed, Packed]:
        """The first part of `place`: frames to the encoder's width, (T, D), and the normed frames, (T, C)."""
        x, features = self.feature_projection(frames.data)
        return frames.with_data(x), frames.with_data(features)

    def position(self, x: Packed) -> Packed:
        """The second part: nothing where the layers know positions. Between the two, pre-training hides frames."""
        return x

    def embed(self, inputs: Packed) -> tuple[Packed, Packed]:
        return self.place(self.feature_extractor(inputs))

    def rehearse(self) -> None:
        noise = torch.randn(REHEARSAL_S * SAMPLE_RATE, generator=torch.Generator().manual_seed(0))
        self.packed(Packed.of([noise.to(self.device)]))

    def embedder(self, recording: Packed) -> Embedder:
        self.check_inputs(recording)
        num_frames = self.config.num_frames(recording.segments.total)
        statistics = self.feature_extractor.statistics(recording.data, isinstance(recording, Recorded))

        def rows(start: int, stop: int) -> Tensor:
            first, last = max(0, start - self.margin), min(num_frames, stop + self.margin)
            frames = self.feature_extractor.frames(recording.data, first, last, statistics)  # (last - first, C)
            return self.place(Packed.of([frames]))[0].data[start - first : stop - first]  # (stop - start, D)

        return Embedder(num_frames, rows)

    def check_inputs(self, inputs: Packed) -> None:
        if inputs.data.ndim != 1:
            axes = ", ".join(["recordings", "samples", *map(str, inputs.data.shape[1:])])
            raise ValueError(f"input_values must be (recordings, samples), one channel each, not ({axes})")
        needed = self.config.min_samples
        if (shortest := min(inputs.segments.lengths)) < needed:
            raise ValueError(f"a recording of {shortest} samples is too short: one frame takes {needed}")
        if not self.config.num_adapted(self.config.num_frames(shortest)):
            raise ValueError(f"a recording of {shortest} samples is too short: the adapter makes no frame of it")


class Head(Pretrained):
    """Something on top of an encoder of any family."""

    backbone_class: ClassVar[type[Backbone]]
    backbone_name: ClassVar[str]  # in checkpoints

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        setattr(self, self.backbone_name, self.backbone_class(config))

    @property
    def backbone(self) -> Backbone:
        backbone: Backbone = getattr(self, self.backbone_name)
        return backbone

    @property
    def base_model(self) -> Backbone:
        return self.backbone

    def trace(self, output_hidden_states: bool | None = None, output_attentions: bool | None = None) -> Trace:
        """As `Backbone.trace`."""
        return self.backbone.trace(output_hidden_states, output_attentions)


def returned(output: Output, return_dict: bool | None = None) -> Output | tuple[Any, ...]:
    """What a forward gives back: named fields, or, as some code asks, a tuple of those that are there."""
    return output.to_tuple() if return_dict is False else output


def padded_trace(trace: Trace) -> tuple[tuple[Tensor, ...] | None, tuple[Tensor, ...] | None]:
    """The hidden states and attentions of a trace as a batch has them; None where they were not wanted."""
    states = tuple(state.padded() for state in trace.hidden_states) if trace.wants_states else None
    attentions = tuple(map(_padded_attention, trace.attentions)) if trace.wants_attentions else None
    return states, attentions


def _padded_attention(recordings: list[Tensor]) -> Tensor:
    longest = max(one.shape[-1] for one in recordings)
    batch = recordings[0].new_zeros(len(recordings), recordings[0].shape[0], longest, longest)  # (B, H, T, T)
    for number, one in enumerate(recordings):
        batch[number, :, : one.shape[1], : one.shape[2]] = one
    return batch


def _looks_padded(batch: Tensor) -> bool:
    """Whether some of the recordings (B, L, ...) end in silence that is none, for 10 ms or a frame of features."""
    ends = batch[:, -160:] if batch.ndim == 2 else batch[:, -1]  # (B, ...)
    silent = (ends == 0).flatten(1).all(dim=1)  # (B,)
    return bool(silent.any() and not silent.all())


def _told(value: object) -> str:
    return str(tuple(value.shape)) if isinstance(value, Tensor) else type(value).__name__
