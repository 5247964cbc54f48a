"""Wav2Vec2-BERT: mel features to hidden states, by layers that attend far and convolve the near past.

It does not know how features are made from audio (`text/mel.py` does), or what the vocabulary's entries mean.

Barrault et al. 2023, arXiv 2312.05187; Chung et al. 2021, arXiv 2108.06209. Shapes: T frames of all packed recordings,
T' after the adapter, C features of a frame, D hidden size, D' behind the adapter. Module names are those of Hugging
Face checkpoints: few need a rule.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.models.attention import Attend
from pipeline.models.backbone import Backbone, Embedder, Head, Trace
from pipeline.models.checkpoint import NameTable
from pipeline.models.conformer import ConformerConfig, EncoderLayer, Layers, Pointwise
from pipeline.models.conv import FrameConv
from pipeline.models.conv_adapter import ProjectingAdapter
from pipeline.models.ctc import ForCTC
from pipeline.models.linear import ACTIVATIONS
from pipeline.models.positions import SelfAttention
from pipeline.models.segments import Packed, Window
from pipeline.models.wav2vec2 import FeatureProjection, FeedForward

NAMES = NameTable(
    prefix="wav2vec2_bert.",
    may_leave=("*masked_spec_embed", "*mask_time_emb_vector", "*embed_positions.*"),  # those positions are computed
)


@dataclass(frozen=True)
class Wav2Vec2BertConfig(ConformerConfig):
    model_type: ClassVar[str] = "wav2vec2-bert"
    known_positions = (None, "relative", "relative_key", "rotary")

    hidden_size: int = 1024
    num_hidden_layers: int = 24
    num_attention_heads: int = 16
    intermediate_size: int = 4096
    hidden_act: str = "swish"
    classifier_proj_size: int = 768
    num_adapter_layers: int = 1

    feature_projection_input_dim: int = 160  # C: mel bins times the frames that are stacked
    position_embeddings_type: str | None = "relative_key"
    left_max_position_embeddings: int = 64  # frames to the left that relative_key tells apart
    right_max_position_embeddings: int = 8  # and to the right
    adapter_act: str = "relu"  # inside the adapter's feed-forward blocks
    use_intermediate_ffn_before_adapter: bool = False  # half a feed-forward block more

    def __post_init__(self) -> None:
        super().__post_init__()
        self.must_be_one_of("adapter_act", ACTIVATIONS)
        if min(self.reach) < 0:
            raise ValueError("left_max_position_embeddings and right_max_position_embeddings must not be negative")
        if self.use_intermediate_ffn_before_adapter and not self.add_adapter:
            raise ValueError("use_intermediate_ffn_before_adapter needs add_adapter")
        if self.output_size % self.num_attention_heads:
            raise ValueError(f"output_hidden_size must be a multiple of num_attention_heads, not {self.output_size}")

    @property
    def reach(self) -> tuple[int, int]:
        return self.left_max_position_embeddings, self.right_max_position_embeddings

    @property
    def adapter_window(self) -> Window:
        """What each layer of the adapter sees. Its zeros follow from the stride, whatever the kernel."""
        zeros = self.adapter_stride // 2
        return Window(self.adapter_kernel_size, self.adapter_stride, left=zeros, right=zeros)

    @property
    def inputs_to_logits_ratio(self) -> int:
        hop = 160 * self.feature_projection_input_dim // 80  # samples, of mel frames of 80 bins that are stacked
        return hop * self.adapter_stride**self.num_adapter_layers if self.add_adapter else hop


class ConvModule(nn.Module):
    """What a frame takes from itself and those just before it, channel by channel."""

    def __init__(self, config: Wav2Vec2BertConfig) -> None:
        super().__init__()
        size, width, eps = config.hidden_size, config.conv_depthwise_kernel_size, config.layer_norm_eps
        self.layer_norm = nn.LayerNorm(size, eps=eps)
        self.pointwise_conv1 = Pointwise(size, 2 * size)
        self.depthwise_conv = FrameConv((size, size), Window(width, left=width - 1), groups=size, bias=False)
        self.depthwise_layer_norm = nn.LayerNorm(size, eps=eps)
        self.activation = config.hidden_act
        self.pointwise_conv2 = Pointwise(size, size)

    def forward(self, x: Packed) -> Tensor:
        y = F.glu(self.pointwise_conv1(self.layer_norm(x.data)), dim=1)  # (T, D)
        y = self.depthwise_conv(x.with_data(y)).data.float()  # (T, D)
        y = ACTIVATIONS[self.activation](self.depthwise_layer_norm(y))
        y = self.pointwise_conv2(y)  # (T, D)
        return y  # type: ignore[no-any-return]


class Encoder(Layers):
    def __init__(self, config: Wav2Vec2BertConfig) -> None:
        super().__init__(config, (self._layer(config) for _ in range(config.num_hidden_layers)), saves_positions=False)

    @staticmethod
    def _layer(config: Wav2Vec2BertConfig) -> EncoderLayer:
        self_attn = SelfAttention(config.hidden_size, config.num_attention_heads, config.positions, config.reach)
        return EncoderLayer(config, self_attn, ConvModule(config), eps=config.layer_norm_eps)


class AdapterLayer(nn.Module):
    """A transformer layer whose input and residual are both halved, each by a convolution of its own."""

    def __init__(self, config: Wav2Vec2BertConfig) -> None:
        super().__init__()
        size, eps, window = config.output_size, config.layer_norm_eps, config.adapter_window
        self.residual_layer_norm = nn.LayerNorm(size, eps=eps)
        self.residual_conv = FrameConv((size, 2 * size), window)
        self.self_attn_layer_norm = nn.LayerNorm(size, eps=eps)
        self.self_attn_conv = FrameConv((size, 2 * size), window)
        self.self_attn = SelfAttention(size, config.num_attention_heads)
        self.ffn_layer_norm = nn.LayerNorm(size, eps=eps)
        self.ffn = FeedForward(size, config.intermediate_size, config.adapter_act)

    def forward(self, x: Packed, how: Attend) -> Packed:
        residual = self.residual_conv(x.with_data(self.residual_layer_norm(x.data)))  # (T', 2 D')
        x = self.self_attn_conv(x.with_data(self.self_attn_layer_norm(x.data)))  # (T', 2 D')
        y = F.glu(residual.data.float(), dim=1)  # (T', D')
        y = y + self.self_attn(x.with_data(F.glu(x.data, dim=1)), None, how)
        y = y + self.ffn(self.ffn_layer_norm(y))
        return x.with_data(y)


class Adapter(ProjectingAdapter):
    def __init__(self, config: Wav2Vec2BertConfig) -> None:
        layers = (AdapterLayer(config) for _ in range(config.num_adapter_layers))
        super().__init__(config, layers, config.layer_norm_eps)

    def forward(self, x: Packed, how: Attend) -> Packed:
        x = self.projected(x)
        for layer in self.layers:
            x = layer(x, how)
        return x


REHEARSAL_FRAMES = 250


class Wav2Vec2BertModel(Backbone):
    """Mel features (T, C) to hidden states (T', D')."""

    config_class = Wav2Vec2BertConfig
    names = NAMES
    config: Wav2Vec2BertConfig
    input_name = "input_features"

    def __init__(self, config: Wav2Vec2BertConfig) -> None:
        super().__init__(config)
        self.feature_projection = FeatureProjection(config.feature_projection_input_dim, config)
        self.encoder = Encoder(config)
        has_ffn = config.use_intermediate_ffn_before_adapter
        self.intermediate_ffn = FeedForward(config.hidden_size, config.intermediate_size, "relu") if has_ffn else None
        self.adapter = Adapter(config) if config.add_adapter else None

    def forward(  # type: ignore[override]  # the first argument has another name here, which callers look for
        self, input_features: Tensor | None = None, attention_mask: Tensor | None = None, **options: Any
    ) -> Any:
        """As `Backbone.forward`."""
        _check_no_samples(self, options)
        return super().forward(input_features, attention_mask, **options)

    def embed(self, inputs: Packed) -> tuple[Packed, Packed]:
        x, features = self.feature_projection(inputs.data.float())  # (T, D), (T, C)
        return inputs.with_data(x), inputs.with_data(features)

    def rehearse(self) -> None:
        generator = torch.Generator().manual_seed(0)
        noise = torch.randn(REHEARSAL_FRAMES, self.config.feature_projection_input_dim, generator=generator)
        self.packed(Packed.of([noise.to(self.device)]))

    def embedder(self, recording: Packed) -> Embedder:
        self.check_inputs(recording)
        features = recording.data  # (T, C)
        return Embedder(len(features), lambda start, stop: self.embed(Packed.of([features[start:stop]]))[0].data)

    def transform(self, x: Packed, trace: Trace | None = None) -> Packed:
        encoded: Packed = self.encoder(x, trace or Trace(wants_states=False), self.attn_implementation)
        return encoded

    def last_norm(self, x: Tensor) -> Tensor:
        return x  # each layer ends with a norm

    def finish(self, x: Packed) -> Packed:
        if self.intermediate_ffn is not None:
            x = x.with_data(torch.add(x.data, self.intermediate_ffn(x.data), alpha=0.5))
        return x if self.adapter is None else self.adapter(x, Attend(self.attn_implementation))

    def check_inputs(self, inputs: Packed) -> None:
        size = self.config.feature_projection_input_dim
        if inputs.data.shape[1:] != (size,) or not inputs.data.is_floating_point():
            axes = ", ".join(["recordings", "frames", *map(str, inputs.data.shape[1:])])
            raise ValueError(
                f"input_features must be (recordings, frames, {size}) mel features, not ({axes}) of {inputs.data.dtype}"
            )
        shortest = min(inputs.segments.lengths)
        if self.config.num_adapted(shortest) < 1:
            raise ValueError(f"a recording of {shortest} frames is too short: the adapter makes no frame of it")


class Wav2Vec2BertHead(Head):
    config_class = Wav2Vec2BertConfig
    names = NAMES
    backbone_class = Wav2Vec2BertModel
    backbone_name = "wav2vec2_bert"

    def forward(
        self,
        input_features: Tensor | None = None,
        attention_mask: Tensor | None = None,
        labels: Tensor | None = None,
        **options: Any,
    ) -> Any:
        """As that of the other families."""
        _check_no_samples(self, options)
        return super().forward(input_features, attention_mask, labels, **options)


def _check_no_samples(model: nn.Module, options: dict[str, Any]) -> None:
    if "input_values" in options:
        raise TypeError(f"unknown argument: input_values; {type(model).__name__} takes input_features")


class Wav2Vec2BertForCTC(Wav2Vec2BertHead, ForCTC):  # type: ignore[misc]  # of `forward`'s first argument, the name
    pass
