"""What a checkpoint's config.json says of an encoder: Hugging Face's names and defaults, checked, and back again.

Knows no family: each family's file adds its own fields. Fields that change no result are kept, to be written again.
"""

import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, ClassVar, Self

from pipeline.models.checkpoint import CheckpointError, read_config
from pipeline.models.linear import ACTIVATIONS
from pipeline.models.locate import SETTINGS, checkpoint_directory


@dataclass(frozen=True)
class ModelConfig:
    """What every family has."""

    model_type: ClassVar[str] = ""

    hidden_size: int = 768  # D
    num_hidden_layers: int = 12
    num_attention_heads: int = 12  # H
    intermediate_size: int = 3072  # width inside the feed-forward blocks
    hidden_act: str = "gelu"  # inside the feed-forward blocks
    layer_norm_eps: float = 1e-5
    vocab_size: int = 32  # V, of the CTC head
    pad_token_id: int = 0  # the CTC blank
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
    id2label: Mapping[int, str] | None = None  # None: LABEL_0 and so on
    tdnn_dim: tuple[int, ...] = (512, 512, 512, 512, 1500)
    tdnn_kernel: tuple[int, ...] = (5, 3, 3, 1, 1)
    tdnn_dilation: tuple[int, ...] = (1, 2, 3, 1, 1)
    xvector_output_dim: int = 512

    rest: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)  # all else in the config.json

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
        labels = self.id2label or {number: f"LABEL_{number}" for number in range(self.num_labels or 2)}
        if self.num_labels not in (None, len(labels)):
            raise ValueError(f"num_labels is {self.num_labels}, but id2label has {len(labels)}")
        object.__setattr__(self, "id2label", labels)
        object.__setattr__(self, "num_labels", len(labels))

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

    def num_adapted(self, num_frames: int) -> int:
        """Frames that leave the encoder where so many enter its layers."""
        for _ in range(self.num_adapter_layers if self.add_adapter else 0):
            num_frames = (num_frames + 2 - self.adapter_kernel_size) // self.adapter_stride + 1  # a zero on either side
        return max(0, num_frames)

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
            values["id2label"] = {int(number): str(label) for number, label in labels.items()}
        rest = {name: value for name, value in content.items() if name not in known and name != "model_type"}
        return cls(**values, rest=rest)

    def to_dict(self) -> dict[str, Any]:
        """As a config.json holds it: what it held before, and every field of ours."""
        own = {entry.name: getattr(self, entry.name) for entry in fields(self)}
        del own["rest"], own["num_labels"]  # the latter is told by the names of the labels
        own["id2label"] = {str(number): label for number, label in (self.id2label or {}).items()}
        listed = {name: list(value) if isinstance(value, tuple) else value for name, value in own.items()}
        # An absent value is left out: None would mean something else to other readers of the file.
        written = {name: value for name, value in listed.items() if value is not None or name in MAY_BE_NONE}
        return {**self.rest, **written, "model_type": self.model_type}

    @classmethod
    def from_pretrained(cls, name: str | os.PathLike[str]) -> Self:
        """That of a checkpoint: a directory, a URL, or a name on the Hugging Face hub."""
        directory = checkpoint_directory(os.fspath(name), SETTINGS)
        content = read_config(directory)
        try:
            return cls.from_dict(content)
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


# Numbers that need not be positive, and fields whose None is written.
MAY_BE_ZERO = frozenset(
    ("pad_token_id", "left_max_position_embeddings", "right_max_position_embeddings", "diversity_loss_weight")
)
MAY_BE_NONE = frozenset(("position_embeddings_type",))


def _checked(name: str, value: Any, entry: Any) -> Any:
    """The value in its default's type; JSON has no tuples, and may write a whole float as an integer."""
    default = entry.default
    if isinstance(value, list) and isinstance(default, tuple) and all(type(item) is int for item in value):
        return tuple(value)
    if type(value) is type(default) or (isinstance(default, float) and type(value) is int):
        return value
    if "None" in str(entry.type) and (value is None or _fits_optional(value, str(entry.type))):
        return value
    raise ValueError(f"{name} must be like {default!r}, not {value!r}")


def _fits_optional(value: Any, kind: str) -> bool:
    return (
        (type(value) is int and "int" in kind)
        or (isinstance(value, str) and "str" in kind)
        or (isinstance(value, Mapping) and "Mapping" in kind)
    )
