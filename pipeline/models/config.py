"""What a checkpoint's config.json says of an encoder: Hugging Face's names and defaults, checked, and back again.

Knows no family: each family's file adds its own fields. Fields that change no result are kept, to be written again.
"""

import json
import math
import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from pathlib import Path
from types import UnionType
from typing import TYPE_CHECKING, Any, ClassVar, Self, get_args, get_origin

from pipeline.models.linear import ACTIVATIONS
from pipeline.models.locate import SETTINGS, checkpoint_directory
from pipeline.models.options import Options, sorted_out
from pipeline.models.segments import Window
from pipeline.models.weight_files import CheckpointError, read_config


@dataclass(frozen=True)
class ModelConfig:
    """What every family has.

    Made in code, a config takes the fields that change a result, and is not changed afterwards (`dataclasses.replace`
    makes another). `from_dict` takes what a config.json holds, all of it; what else that is, training settings above
    all, can be read as an attribute and is saved again, but has no effect: there is no dropout here, no layerdrop and
    no SpecAugment.
    """

    model_type: ClassVar[str] = ""

    hidden_size: int = 768  # D
    num_hidden_layers: int = 12
    num_attention_heads: int = 12  # H
    intermediate_size: int = 3072  # width inside the feed-forward blocks
    hidden_act: str = "gelu"  # inside the feed-forward blocks
    layer_norm_eps: float = 1e-5
    vocab_size: int = 32  # V, of the CTC head
    pad_token_id: int | None = 0  # the CTC blank, without which only other heads can be
    ctc_loss_reduction: str = "sum"
    ctc_zero_infinity: bool = False

    add_adapter: bool = False  # strided layers after the encoder
    num_adapter_layers: int = 3
    adapter_kernel_size: int = 3
    adapter_stride: int = 2
    output_hidden_size: int | None = None  # after the adapter; None: hidden_size

    use_weighted_layer_sum: bool = False  # classification heads read a mixture of all layers
    classifier_proj_size: int = 256
    num_labels: int | None = None  # None: as many as id2label has, else 2; always a number afterwards
    id2label: Mapping[int, str] | None = field(default=None, hash=False)  # None: LABEL_0 and so on
    tdnn_dim: tuple[int, ...] = (512, 512, 512, 512, 1500)
    tdnn_kernel: tuple[int, ...] = (5, 3, 3, 1, 1)
    tdnn_dilation: tuple[int, ...] = (1, 2, 3, 1, 1)
    xvector_output_dim: int = 512

    rest: Mapping[str, Any] = field(default_factory=dict, repr=False, hash=False)  # all else in the config.json

    def __post_init__(self) -> None:
        for entry in fields(self):
            value = getattr(self, entry.name)
            if entry.name in MAY_BE_ZERO or value is None or not isinstance(value, int | float | tuple):
                continue
            smallest = min(value, default=0) if isinstance(value, tuple) else value
            if not isinstance(value, bool) and not smallest > 0:
                raise ValueError(f"{entry.name} must be positive, not {value}")
        self.must_divide("num_attention_heads")
        self.must_be_one_of("hidden_act", ACTIVATIONS)
        self.must_be_one_of("ctc_loss_reduction", ("sum", "mean"))
        if not len(self.tdnn_dim) == len(self.tdnn_kernel) == len(self.tdnn_dilation):
            raise ValueError("tdnn_dim, tdnn_kernel and tdnn_dilation need one entry for each layer")
        labels = self.id2label or _numbered(2)
        if self.num_labels not in (None, len(labels)):
            if labels != _numbered(len(labels)):
                raise ValueError(f"num_labels is {self.num_labels}, but id2label has {len(labels)}")
            labels = _numbered(self.num_labels or 2)
        object.__setattr__(self, "id2label", labels)
        object.__setattr__(self, "num_labels", len(labels))

    if not TYPE_CHECKING:  # to a type checker every name would be one

        def __getattr__(self, name: str) -> Any:
            """What else the config.json says."""
            rest = self.__dict__.get("rest", {})  # there is none while a copy is made
            if name not in rest:
                raise AttributeError(f"{type(self).__name__} has no {name!r}, and its config.json had none")
            return rest[name]

    def must_divide(self, name: str) -> None:
        if self.hidden_size % getattr(self, name):
            raise ValueError(f"hidden_size must be a multiple of {name}, but is {self.hidden_size}")

    def must_be_one_of(self, name: str, known: Any) -> None:
        if getattr(self, name) not in known:
            raise ValueError(f"{name} is {getattr(self, name)!r}; known: {', '.join(map(str, known))}")

    @property
    def output_size(self) -> int:
        """The width of what the encoder gives, after its adapter if it has one."""
        return self.output_hidden_size or self.hidden_size if self.add_adapter else self.hidden_size

    @property
    def num_classes(self) -> int:
        """Of a classification head."""
        return len(self.id2label or {})

    @property
    def label2id(self) -> dict[str, int]:
        return {label: number for number, label in (self.id2label or {}).items()}

    @property
    def inputs_to_logits_ratio(self) -> int:
        """Samples from one frame to the next, for timestamps."""
        raise NotImplementedError

    def said(self, name: str, otherwise: float) -> float:
        """A number among what else the config.json says."""
        value = self.rest.get(name, otherwise)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ValueError(f"{name} must be a number, not {value!r}")
        return value

    def num_encoded(self, num_inputs: int, add_adapter: bool | None = None) -> int:
        """Frames that a recording of so many inputs ends up as; `add_adapter` False: those before the adapter."""
        return num_inputs if add_adapter is False else self.num_adapted(num_inputs)

    @property
    def adapter_window(self) -> Window:
        """What each layer of the adapter sees: one zero on either side, whatever the kernel."""
        return Window(self.adapter_kernel_size, self.adapter_stride, left=1, right=1)

    def num_adapted(self, num_frames: int) -> int:
        """Frames that leave the encoder where so many enter its layers."""
        for _ in range(self.num_adapter_layers if self.add_adapter else 0):
            num_frames = self.adapter_window.num_outputs(num_frames)
        return num_frames

    # ---- to and from config.json

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Self:
        if content.get("model_type") != cls.model_type:
            raise ValueError(f"model_type is {content.get('model_type')!r}; {cls.model_type!r} is needed here")
        known = {entry.name: entry for entry in fields(cls) if entry.name != "rest"}
        # An encoder that never had a head says that its vocabulary is null.
        said = {name for name in known if name in content and (name, content[name]) != ("vocab_size", None)}
        values = {name: _checked(name, content[name], known[name]) for name in known if name in said}
        if isinstance(labels := values.get("id2label"), Mapping):
            if not all(str(number).isdecimal() for number in labels):
                raise ValueError(f"id2label must have numbers for keys, not {', '.join(map(str, labels))}")
            values["id2label"] = {int(number): str(label) for number, label in labels.items()}
        rest = {name: value for name, value in content.items() if name not in known and name not in ELSEWHERE}
        return cls(**values, rest=rest)

    def to_dict(self) -> dict[str, Any]:
        """As a config.json holds it: what it held before, and every field of ours."""
        own = {entry.name: getattr(self, entry.name) for entry in fields(self)}
        del own["rest"], own["num_labels"], own["id2label"]
        if self.id2label != _numbered(2):  # the default, of which transformers makes both maps itself, but never one
            own["id2label"] = {str(number): label for number, label in (self.id2label or {}).items()}
            own["label2id"] = self.label2id
        listed = {name: list(value) if isinstance(value, tuple) else value for name, value in own.items()}
        # An absent value is left out: None would mean something else to other readers of the file.
        written = {name: value for name, value in listed.items() if value is not None or name in MAY_BE_NONE}
        return {**self.rest, **written, "model_type": self.model_type}

    def updated(self, changes: Mapping[str, Any], options: Collection[str] = ()) -> Self:
        """With other values for fields of ours, or for what else the config.json says, or might say of outputs.

        `options` are what else `from_pretrained` could have been given, for the message.
        """
        known = {*self.to_dict(), *(entry.name for entry in fields(self)), *ELSEWHERE, *OF_OUTPUTS} - {"rest"}
        for name in changes:
            if name not in known:
                close = get_close_matches(name, [*options, *known], n=1)
                hint = f"did you mean {close[0]}?" if close else f"known: {', '.join([*options, *sorted(known)])}"
                raise TypeError(f"from_pretrained takes no {name}; {hint}")
        return self.from_dict({**self.to_dict(), **changes}) if changes else self

    @classmethod
    def from_pretrained(cls, name: str | os.PathLike[str], **options: Any) -> Self:
        """That of a checkpoint: a directory, a URL, or a name on the Hugging Face hub.

        Keywords that are no options of a model's `from_pretrained` are fields, whose values override the checkpoint's.
        """
        _, hub, changes = sorted_out(options)
        directory = checkpoint_directory(os.fspath(name), SETTINGS, hub)
        content = read_config(directory)
        try:
            return cls.from_dict(content).updated(changes, Options.__annotations__)
        except ValueError as error:
            raise CheckpointError(f"{directory}/config.json: {error}") from error

    def save_pretrained(self, directory: str | os.PathLike[str]) -> None:
        Path(directory).mkdir(parents=True, exist_ok=True)
        (Path(directory) / "config.json").write_text(json.dumps(self.to_dict(), indent=2, sort_keys=True) + "\n")


@dataclass(frozen=True)
class ConvConfig(ModelConfig):
    """What the families have that begin with convolutions over samples."""

    conv_dim: tuple[int, ...] = (512, 512, 512, 512, 512, 512, 512)  # channels of each front-end convolution
    conv_kernel: tuple[int, ...] = (10, 3, 3, 3, 3, 2, 2)  # their widths
    conv_stride: tuple[int, ...] = (5, 2, 2, 2, 2, 2, 2)  # their steps; the product is the samples per frame
    conv_bias: bool = False  # whether they have biases
    feat_extract_norm: str = "group"  # group: over time, after the first only; layer: over channels, each
    feat_extract_activation: str = "gelu"  # after each convolution, the positional one included
    num_conv_pos_embeddings: int = 128  # width of the positional convolution, in frames
    num_conv_pos_embedding_groups: int = 16  # its groups

    num_codevectors_per_group: int = 320  # of the pre-training quantiser
    num_codevector_groups: int = 2
    codevector_dim: int = 256
    proj_codevector_dim: int = 256
    contrastive_logits_temperature: float = 0.1
    diversity_loss_weight: float = 0.1
    num_negatives: int = 100

    def __post_init__(self) -> None:
        super().__post_init__()
        if not len(self.conv_dim) == len(self.conv_kernel) == len(self.conv_stride) > 0:
            raise ValueError("conv_dim, conv_kernel and conv_stride need one entry for each convolution")
        self.must_divide("num_conv_pos_embedding_groups")
        self.must_be_one_of("feat_extract_norm", ("group", "layer"))
        self.must_be_one_of("feat_extract_activation", ACTIVATIONS)

    @property
    def samples_per_frame(self) -> int:
        """Samples from one frame of the front end to the next."""
        return math.prod(self.conv_stride)

    @property
    def inputs_to_logits_ratio(self) -> int:
        return self.samples_per_frame

    @property
    def min_samples(self) -> int:
        """The samples that one frame sees, and so the shortest recording that has a frame."""
        samples = 1
        for kernel, stride in list(zip(self.conv_kernel, self.conv_stride, strict=True))[::-1]:
            samples = (samples - 1) * stride + kernel
        return samples

    def num_frames(self, num_samples: int) -> int:
        """The frames of a recording before any adapter; 0 for one shorter than `min_samples`."""
        for kernel, stride in zip(self.conv_kernel, self.conv_stride, strict=True):
            num_samples = (num_samples - kernel) // stride + 1
        return max(num_samples, 0)

    def num_encoded(self, num_inputs: int, add_adapter: bool | None = None) -> int:
        return super().num_encoded(self.num_frames(num_inputs), add_adapter)


# Numbers that need not be positive, and fields whose None is written.
MAY_BE_ZERO = frozenset(
    ("pad_token_id", "left_max_position_embeddings", "right_max_position_embeddings", "diversity_loss_weight")
)
MAY_BE_NONE = frozenset(("position_embeddings_type", "pad_token_id"))
ELSEWHERE = frozenset(("model_type", "label2id"))  # of a config.json: the class says one, id2label the other
OF_OUTPUTS = frozenset(("output_hidden_states", "output_attentions"))


def _numbered(num_labels: int) -> dict[int, str]:
    return {number: f"LABEL_{number}" for number in range(num_labels)}


def _checked(name: str, value: Any, entry: Any) -> Any:
    """The value in its field's type; JSON has no tuples, and may write a whole float as an integer."""
    members = get_args(entry.type) if isinstance(entry.type, UnionType) else (entry.type,)
    kinds = [get_origin(member) or member for member in members]
    if tuple in kinds and isinstance(value, list | tuple) and all(type(item) is int for item in value):
        return tuple(value)
    if type(value) in kinds and not isinstance(value, tuple):  # by `type`, as True is no number here
        return value
    if (float in kinds and type(value) is int) or (Mapping in kinds and isinstance(value, Mapping)):
        return value
    like = repr(entry.default) if entry.default is not None else f"{getattr(kinds[0], '__name__', kinds[0])} or null"
    raise ValueError(f"{name} must be like {like}, not {value!r}")
