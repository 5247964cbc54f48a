"""Wav2Vec2 with a CTC head: recordings of one equal length in, logits per frame out.

It does not know about batches of unequal length, normalising audio, or what the vocabulary's entries mean.

Baevski et al. 2020, arXiv 2006.11477. Shapes: B recordings, N samples, C conv channels, T frames, D hidden
size, H heads, V vocabulary entries. Module names are those of Hugging Face checkpoints: few need a rule.
"""

import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from functools import partial
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.models.checkpoint import CheckpointError, NameTable, load_into, read_config, read_weights
from pipeline.models.tiling import TILE_FRAMES, tiled

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "gelu": F.gelu,
    "gelu_new": partial(F.gelu, approximate="tanh"),
    "gelu_fast": partial(F.gelu, approximate="tanh"),
    "relu": F.relu,
    "silu": F.silu,
    "swish": F.silu,
}

NAMES = NameTable(
    renames=((r"^(?=(feature_extractor|feature_projection|encoder)\.)", "wav2vec2."),),  # of a bare encoder
    may_leave=("*masked_spec_embed", "*mask_time_emb_vector", "quantizer.*", "project_q.*", "project_hid.*"),
    head="lm_head.",
    head_meaning="CTC head",
)


@dataclass(frozen=True)
class Wav2Vec2Config:
    """What changes the logits; names and defaults are Hugging Face's."""

    conv_dim: tuple[int, ...] = (512, 512, 512, 512, 512, 512, 512)  # channels of each front-end convolution
    conv_kernel: tuple[int, ...] = (10, 3, 3, 3, 3, 2, 2)  # their widths
    conv_stride: tuple[int, ...] = (5, 2, 2, 2, 2, 2, 2)  # their steps; the product is the samples per frame
    conv_bias: bool = False  # whether they have biases
    feat_extract_norm: str = "group"  # group: over time, after the first only; layer: over channels, each
    feat_extract_activation: str = "gelu"  # after each convolution, the positional one included
    hidden_size: int = 768  # D
    num_hidden_layers: int = 12
    num_attention_heads: int = 12  # H
    intermediate_size: int = 3072  # width inside the feed-forward blocks
    hidden_act: str = "gelu"  # inside the feed-forward blocks
    layer_norm_eps: float = 1e-5  # of every norm but the front end's
    num_conv_pos_embeddings: int = 128  # width of the positional convolution, in frames
    num_conv_pos_embedding_groups: int = 16  # its groups
    do_stable_layer_norm: bool = False  # norm before each block, not after it; at the end, not the start
    vocab_size: int = 32  # V
    pad_token_id: int = 0  # the CTC blank

    def __post_init__(self) -> None:
        if not len(self.conv_dim) == len(self.conv_kernel) == len(self.conv_stride) > 0:
            raise ValueError("conv_dim, conv_kernel and conv_stride need one entry for each convolution")
        for field in fields(self):
            value = getattr(self, field.name)
            smallest = min(value) if isinstance(value, tuple) else value
            if not isinstance(value, str | bool) and field.name != "pad_token_id" and not smallest > 0:
                raise ValueError(f"{field.name} must be positive, not {value}")
        for name in ("num_attention_heads", "num_conv_pos_embedding_groups"):
            if self.hidden_size % getattr(self, name):
                raise ValueError(f"hidden_size must be a multiple of {name}, but is {self.hidden_size}")
        for name in ("feat_extract_norm", "feat_extract_activation", "hidden_act"):
            known = ("group", "layer") if name == "feat_extract_norm" else tuple(ACTIVATIONS)
            if getattr(self, name) not in known:
                raise ValueError(f"{name} is {getattr(self, name)!r}; known: {', '.join(known)}")
        if not 0 <= self.pad_token_id < self.vocab_size:
            raise ValueError(f"pad_token_id {self.pad_token_id} is not in a vocabulary of {self.vocab_size}")

    @classmethod
    def from_dict(cls, config: Mapping[str, Any]) -> Self:
        """From the content of a config.json; fields that do not change CTC inference are ignored."""
        if config.get("model_type") != "wav2vec2":
            raise ValueError(f"model_type is {config.get('model_type')!r}; only 'wav2vec2' is read here")
        for name in ("add_adapter", "adapter_attn_dim"):
            if config.get(name) not in (None, False):
                raise ValueError(f"{name} is {config[name]!r}; adapters are not supported yet")
        defaults = {field.name: field.default for field in fields(cls) if field.name in config}
        return cls(**{name: _checked(name, config[name], default) for name, default in defaults.items()})

    @property
    def samples_per_frame(self) -> int:
        return math.prod(self.conv_stride)

    @property
    def min_samples(self) -> int:
        """The samples that one frame sees, and so the shortest recording that has a frame."""
        samples = 1
        for kernel, stride in list(zip(self.conv_kernel, self.conv_stride, strict=True))[::-1]:
            samples = (samples - 1) * stride + kernel
        return samples

    def num_frames(self, num_samples: int) -> int:
        """The frames of a recording; 0 for one shorter than `min_samples`."""
        for kernel, stride in zip(self.conv_kernel, self.conv_stride, strict=True):
            num_samples = (num_samples - kernel) // stride + 1
        return max(num_samples, 0)


def _checked(name: str, value: Any, default: Any) -> Any:
    """The value in its default's type; JSON has no tuples, and may write a whole float as an integer."""
    if isinstance(value, list) and isinstance(default, tuple) and all(type(item) is int for item in value):
        return tuple(value)
    if type(value) is type(default) or (isinstance(default, float) and type(value) is int):
        return value
    raise ValueError(f"{name} must be like {default!r}, not {value!r}")


class ChannelNorm(nn.LayerNorm):
    """Layer norm over the channels of a channels-first tensor."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.transpose(1, 2)).transpose(1, 2)  # (B, C, T)


class ConvLayer(nn.Module):
    """One step of the front end. Its norms keep torch's own eps: `layer_norm_eps` is not meant for them."""

    def __init__(self, config: Wav2Vec2Config, index: int) -> None:
        super().__init__()
        channels_in, channels = (1, *config.conv_dim)[index : index + 2]
        kernel, stride = config.conv_kernel[index], config.conv_stride[index]
        self.conv = nn.Conv1d(channels_in, channels, kernel, stride, bias=config.conv_bias)
        self.layer_norm: nn.Module
        if config.feat_extract_norm == "layer":
            self.layer_norm = ChannelNorm(channels)
        elif index == 0:
            self.layer_norm = nn.GroupNorm(channels, channels)  # one group per channel: over all of time
        else:
            self.layer_norm = nn.Identity()
        self.activation = ACTIVATIONS[config.feat_extract_activation]

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)  # (B, C, T')
        return self.activation(self.layer_norm(x))


class FrontEnd(nn.Module):
    """Samples to frames, by strided convolutions."""

    def __init__(self, config: Wav2Vec2Config) -> None:
        super().__init__()
        self.conv_layers = nn.ModuleList(ConvLayer(config, index) for index in range(len(config.conv_dim)))

    def forward(self, input_values: Tensor) -> Tensor:
        x = input_values.unsqueeze(1)  # (B, 1, N)
        for layer in self.conv_layers:
            x = layer(x)  # (B, C, T') with T' shrinking to T
        return x.transpose(1, 2)  # (B, T, C)


class FeatureProjection(nn.Module):
    def __init__(self, config: Wav2Vec2Config) -> None:
        super().__init__()
        self.layer_norm = nn.LayerNorm(config.conv_dim[-1], eps=config.layer_norm_eps)
        self.projection = nn.Linear(config.conv_dim[-1], config.hidden_size)

    def forward(self, x: Tensor) -> Tensor:
        x = self.projection(self.layer_norm(x))  # (B, T, D)
        return x


class PositionalConvEmbedding(nn.Module):
    """Where a frame stands, from a wide convolution over its neighbours."""

    def __init__(self, config: Wav2Vec2Config) -> None:
        super().__init__()
        size, groups = config.hidden_size, config.num_conv_pos_embedding_groups
        width = config.num_conv_pos_embeddings
        # Checkpoints store this weight weight-normed; it is folded into one plain weight as they load.
        self.conv = nn.Conv1d(size, size, width, padding=width // 2, groups=groups)
        self.activation = ACTIVATIONS[config.feat_extract_activation]

    def forward(self, x: Tensor) -> Tensor:
        # An even width, padded on both sides, makes one frame too many: the last.
        x = self.conv(x.transpose(1, 2))[:, :, : x.shape[1]]  # (B, D, T)
        return self.activation(x).transpose(1, 2)  # (B, T, D)


class Attention(nn.Module):
    def __init__(self, config: Wav2Vec2Config) -> None:
        super().__init__()
        size, self.num_heads = config.hidden_size, config.num_attention_heads
        self.q_proj, self.k_proj, self.v_proj, self.out_proj = (nn.Linear(size, size) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        per_head = (*x.shape[:2], self.num_heads, -1)
        projected = (project(x).view(per_head) for project in (self.q_proj, self.k_proj, self.v_proj))
        q, k, v = (y.transpose(1, 2) for y in projected)  # (B, H, T, D/H) each
        x = F.scaled_dot_product_attention(q, k, v)  # (B, H, T, D/H)
        x = x.transpose(1, 2).flatten(2)  # (B, T, D)
        x = self.out_proj(x)
        return x


class FeedForward(nn.Module):
    def __init__(self, config: Wav2Vec2Config) -> None:
        super().__init__()
        self.intermediate_dense = nn.Linear(config.hidden_size, config.intermediate_size)
        self.output_dense = nn.Linear(config.intermediate_size, config.hidden_size)
        self.activation = ACTIVATIONS[config.hidden_act]

    def forward(self, x: Tensor) -> Tensor:
        x = self.activation(self.intermediate_dense(x))  # (B, T, intermediate_size)
        x = self.output_dense(x)  # (B, T, D)
        return x


class EncoderLayer(nn.Module):
    def __init__(self, config: Wav2Vec2Config) -> None:
        super().__init__()
        self.norm_first = config.do_stable_layer_norm
        self.attention = Attention(config)
        self.layer_norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.feed_forward = FeedForward(config)
        self.final_layer_norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)

    def forward(self, x: Tensor) -> Tensor:
        if self.norm_first:
            x = x + self.attention(self.layer_norm(x))
            x = x + self.feed_forward(self.final_layer_norm(x))
        else:
            x = self.layer_norm(x + self.attention(x))
            x = self.final_layer_norm(x + self.feed_forward(x))
        return x


class Encoder(nn.Module):
    def __init__(self, config: Wav2Vec2Config) -> None:
        super().__init__()
        self.norm_last = config.do_stable_layer_norm
        self.pos_conv_embed = PositionalConvEmbedding(config)
        self.layer_norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.layers = nn.ModuleList(EncoderLayer(config) for _ in range(config.num_hidden_layers))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.pos_conv_embed(x)
        x = x if self.norm_last else self.layer_norm(x)
        for layer in self.layers:
            x = layer(x)
        x = self.layer_norm(x) if self.norm_last else x
        return x


class Wav2Vec2Model(nn.Module):
    """Recordings of one equal length to hidden states. The reference path: no padding, no mask, fp32."""

    def __init__(self, config: Wav2Vec2Config) -> None:
        super().__init__()
        self.config = config
        self.feature_extractor = FrontEnd(config)
        self.feature_projection = FeatureProjection(config)
        self.encoder = Encoder(config)

    def forward(self, input_values: Tensor) -> Tensor:
        if input_values.ndim != 2:
            raise ValueError(f"input_values must be (recordings, samples), not {tuple(input_values.shape)}")
        if (num_samples := input_values.shape[1]) < (needed := self.config.min_samples):
            raise ValueError(f"a recording of {num_samples} samples is too short: one frame takes {needed}")
        is_long = self.config.num_frames(num_samples) > TILE_FRAMES
        front_end = partial(tiled, self.feature_extractor) if is_long else self.feature_extractor
        features: Tensor = front_end(input_values)  # (B, T, C)
        x: Tensor = self.feature_projection(features)  # (B, T, D)
        x = self.encoder(x)  # (B, T, D)
        return x


class Wav2Vec2ForCTC(nn.Module):
    def __init__(self, config: Wav2Vec2Config) -> None:
        super().__init__()
        self.config = config
        self.wav2vec2 = Wav2Vec2Model(config)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size)

    @classmethod
    def from_pretrained(cls, path: str | os.PathLike[str]) -> Self:
        """The model of a local Hugging Face checkpoint directory, in fp32 on the CPU, ready for inference."""
        content = read_config(path)
        try:
            config = Wav2Vec2Config.from_dict(content)
        except ValueError as error:
            raise CheckpointError(f"{os.fspath(path)}/config.json: {error}") from error
        with torch.device("meta"):  # initial values would be thrown away
            model = cls(config)
        load_into(model, read_weights(path), NAMES, path)
        return model

    def forward(self, input_values: Tensor) -> Tensor:
        """Logits (B, T, V) of recordings (B, N), each as it would be alone."""
        hidden_states = self.wav2vec2(input_values)  # (B, T, D)
        logits: Tensor = self.lm_head(hidden_states)  # (B, T, V)
        return logits
