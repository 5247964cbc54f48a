"""Wav2Vec2-Conformer: samples to frames by convolutions, then layers that attend far and convolve near by.

What it shares with Wav2Vec2-BERT, the other conformer, is here as well. It does not know about normalising audio, or
what the vocabulary's entries mean.

Gulati et al. 2020, arXiv 2005.08100; Wang et al. 2020, arXiv 2010.05171. Shapes: N samples and T frames of all packed
recordings, C conv channels, D hidden size. Module names are those of Hugging Face checkpoints: few need a rule.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.models.attention import Attend
from pipeline.models.backbone import SampleBackbone, Trace
from pipeline.models.checkpoint import NameTable
from pipeline.models.config import ConvConfig, ModelConfig
from pipeline.models.conv import FrameConv
from pipeline.models.conv_adapter import ConvAdapter
from pipeline.models.ctc import ForCTC
from pipeline.models.frontend import FrontEnd
from pipeline.models.linear import ACTIVATIONS, Linear
from pipeline.models.positions import PositionKind, Positions, SelfAttention
from pipeline.models.precision import Precision
from pipeline.models.segments import Packed, Window
from pipeline.models.wav2vec2 import FeatureProjection, FeedForward

NAMES = NameTable(
    prefix="wav2vec2_conformer.",
    # Every checkpoint has a positional convolution, from the model that this one was made of; none ever used it.
    may_leave=("*encoder.pos_conv_embed.*", "*masked_spec_embed", "*mask_time_emb_vector", "*embed_positions.*"),
    # Known without a checkpoint, not read in inference, and of use to pre-training that hides frames alone.
    may_lack=("*encoder.embed_positions.inv_freq", "*.num_batches_tracked", "*masked_spec_embed"),
    weight_normed=("*encoder.pos_conv_embed.conv.weight",),
)


@dataclass(frozen=True)
class ConformerConfig(ModelConfig):
    """What both families have whose layers are those of a conformer."""

    known_positions: ClassVar[tuple[str | None, ...]] = (None, "relative", "rotary")

    position_embeddings_type: str | None = "relative"  # None: frames are told apart by the convolutions alone
    rotary_embedding_base: int = 10_000
    conv_depthwise_kernel_size: int = 31  # of the convolution in each layer, in frames

    def __post_init__(self) -> None:
        super().__post_init__()
        self.must_be_one_of("position_embeddings_type", self.known_positions)
        if self.conv_depthwise_kernel_size % 2 == 0:
            raise ValueError(f"conv_depthwise_kernel_size must be odd, not {self.conv_depthwise_kernel_size}")
        pairs = {"rotary": self.hidden_size // self.num_attention_heads, "relative": self.hidden_size}
        if pairs.get(self.position_embeddings_type or "", 0) % 2:
            raise ValueError(
                f"{self.position_embeddings_type} positions need an even size, of each head or of all, "
                f"not hidden_size {self.hidden_size} in {self.num_attention_heads} heads"
            )

    @property
    def positions(self) -> PositionKind | None:
        return cast(PositionKind | None, self.position_embeddings_type)  # as was checked


@dataclass(frozen=True)
class Wav2Vec2ConformerConfig(ConformerConfig, ConvConfig):
    model_type: ClassVar[str] = "wav2vec2-conformer"


class Pointwise(Linear):
    """A linear layer that checkpoints keep as a convolution of width 1: (out, in, 1)."""

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__(in_features, out_features, bias=False)
        self.register_state_dict_post_hook(_widened)  # type: ignore[no-untyped-call]
        self.register_load_state_dict_pre_hook(_narrowed)  # type: ignore[no-untyped-call]


def _widened(module: nn.Module, state: dict[str, Any], prefix: str, metadata: Any) -> None:
    if (name := prefix + "weight") in state:  # once prepared, it may be gone
        state[name] = state[name].unsqueeze(2)  # (out, in, 1)


def _narrowed(module: nn.Module, state: dict[str, Any], prefix: str, *rest: Any) -> None:
    if (name := prefix + "weight") in state:
        state[name] = state[name].squeeze(2)  # (out, in)


class ConvModule(nn.Module):
    """What a frame takes from its neighbours, channel by channel."""

    def __init__(self, config: Wav2Vec2ConformerConfig) -> None:
        super().__init__()
        size, width = config.hidden_size, config.conv_depthwise_kernel_size
        self.layer_norm = nn.LayerNorm(size)
        self.pointwise_conv1 = Pointwise(size, 2 * size)
        window = Window(width, left=width // 2, right=width // 2)
        self.depthwise_conv = FrameConv((size, size), window, groups=size, bias=False)
        norm = nn.BatchNorm1d(size)
        norm.num_batches_tracked = torch.tensor(0, device="cpu")  # real even where weights are on the meta device
        self.batch_norm: nn.Module = norm
        self.activation = config.hidden_act
        self.pointwise_conv2 = Pointwise(size, size)

    def forward(self, x: Packed) -> Tensor:
        y = F.glu(self.pointwise_conv1(self.layer_norm(x.data)), dim=1)  # (T, D)
        y = self.depthwise_conv(x.with_data(y)).data  # (T, D)
        y = ACTIVATIONS[self.activation](self.batch_norm(y))
        y = self.pointwise_conv2(y)  # (T, D)
        return y  # type: ignore[no-any-return]

    def prepare(self, precision: Precision) -> None:
        """Folds the batch norm, whose statistics no longer change, into the convolution, which has no bias."""
        conv, norm = self.depthwise_conv, self.batch_norm
        assert isinstance(norm, nn.BatchNorm1d) and norm.running_mean is not None and norm.running_var is not None
        factor = norm.weight / torch.sqrt(norm.running_var + norm.eps)  # (D,)
        conv.weight = nn.Parameter(conv.weight * factor[:, None, None], requires_grad=False)  # (D, 1, width)
        conv.bias = nn.Parameter(norm.bias - norm.running_mean * factor, requires_grad=False)
        conv.activation, self.activation = self.activation, "linear"
        self.batch_norm = nn.Identity()


class EncoderLayer(nn.Module):
    """Half a feed-forward block before attention and convolution, and half a one after."""

    def __init__(self, config: ConformerConfig, self_attn: SelfAttention, conv_module: nn.Module, eps: float) -> None:
        super().__init__()
        size, inner_size = config.hidden_size, config.intermediate_size
        self.ffn1_layer_norm = nn.LayerNorm(size, eps=eps)
        self.ffn1 = FeedForward(size, inner_size, config.hidden_act)
        self.self_attn_layer_norm = nn.LayerNorm(size, eps=eps)
        self.self_attn = self_attn
        self.conv_module = conv_module
        self.ffn2_layer_norm = nn.LayerNorm(size, eps=eps)
        self.ffn2 = FeedForward(size, inner_size, config.hidden_act)
        self.final_layer_norm = nn.LayerNorm(size, eps=eps)

    def forward(self, x: Packed, positions: Tensor | None, how: Attend) -> Packed:
        y = x.data  # (T, D), fp32 throughout: the residual stream
        y = torch.add(y, self.ffn1(self.ffn1_layer_norm(y)), alpha=0.5)
        y = y + self.self_attn(x.with_data(self.self_attn_layer_norm(y)), positions, how)
        y = y + self.conv_module(x.with_data(y))
        y = torch.add(y, self.ffn2(self.ffn2_layer_norm(y)), alpha=0.5)
        return x.with_data(self.final_layer_norm(y))


class Layers(nn.Module):
    """The layers one after the other, and positions, which are made once for all of them."""

    def __init__(self, config: ConformerConfig, layers: Iterable[EncoderLayer], saves_positions: bool) -> None:
        super().__init__()
        kind, heads, base = config.positions, config.num_attention_heads, config.rotary_embedding_base
        self.embed_positions = Positions(kind, config.hidden_size, heads, base, saved=saves_positions)
        self.layers = nn.ModuleList(layers)

    def forward(self, x: Packed, trace: Trace, implementation: str) -> Packed:
        positions = self.embed_positions(x.segments)
        trace.state(x)
        for layer in self.layers:
            x = layer(x, positions, trace.attend(implementation))
            trace.state(x)
        return x


class Encoder(Layers):
    def __init__(self, config: Wav2Vec2ConformerConfig) -> None:
        super().__init__(config, (self._layer(config) for _ in range(config.num_hidden_layers)), saves_positions=True)
        self.layer_norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)

    @staticmethod
    def _layer(config: Wav2Vec2ConformerConfig) -> EncoderLayer:
        self_attn = SelfAttention(config.hidden_size, config.num_attention_heads, config.positions)
        return EncoderLayer(config, self_attn, ConvModule(config), eps=1e-5)  # whatever the config says


class Wav2Vec2ConformerModel(SampleBackbone):
    """Samples (N,) to hidden states (T, D)."""

    config_class = Wav2Vec2ConformerConfig
    names = NAMES
    config: Wav2Vec2ConformerConfig

    def __init__(self, config: Wav2Vec2ConformerConfig) -> None:
        super().__init__(config)
        self.feature_extractor = FrontEnd(config)
        self.feature_projection = FeatureProjection(config.conv_dim[-1], config)
        self.encoder = Encoder(config)
        self.adapter = ConvAdapter(config) if config.add_adapter else None

    def transform(self, x: Packed, trace: Trace | None = None) -> Packed:
        encoded: Packed = self.encoder(x, trace or Trace(wants_states=False), self.attn_implementation)
        return encoded

    def last_norm(self, x: Tensor) -> Tensor:
        return self.encoder.layer_norm(x)  # type: ignore[no-any-return]

    def finish(self, x: Packed) -> Packed:
        x = x.with_data(self.last_norm(x.data))
        return x if self.adapter is None else self.adapter(x)


class Wav2Vec2ConformerForCTC(ForCTC):
    config_class = Wav2Vec2ConformerConfig
    names = NAMES
    backbone_class = Wav2Vec2ConformerModel
    backbone_name = "wav2vec2_conformer"
