"""Wav2Vec2: samples to frames by convolutions, then a transformer with a convolution for positions.

It does not know about normalising audio, or what the vocabulary's entries mean. Wav2Vec2Phoneme is this model with
phonemes for labels.

Baevski et al. 2020, arXiv 2006.11477. Shapes: N samples and T frames of all packed recordings, C conv channels,
D hidden size, H heads. Module names are those of Hugging Face checkpoints: few need a rule.
"""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from pipeline.models.adapters import AttentionAdapter, Spoken
from pipeline.models.attention import Attend, attend
from pipeline.models.backbone import SampleBackbone, Trace
from pipeline.models.checkpoint import NameTable
from pipeline.models.config import ConvConfig, ModelConfig
from pipeline.models.conv import FrameConv
from pipeline.models.conv_adapter import ConvAdapter
from pipeline.models.ctc import ForCTC
from pipeline.models.frontend import FrontEnd
from pipeline.models.linear import Linear
from pipeline.models.segments import Packed, Window

NAMES = NameTable(
    prefix="wav2vec2.",
    may_leave=("*masked_spec_embed", "*mask_time_emb_vector"),
    may_lack=("*masked_spec_embed",),  # which pre-training alone uses, and only where frames are hidden
    weight_normed=("*pos_conv_embed.conv.weight",),
)


@dataclass(frozen=True)
class Wav2Vec2Config(ConvConfig):
    model_type: ClassVar[str] = "wav2vec2"

    do_stable_layer_norm: bool = False  # norm before each block, not after it; at the end, not the start
    adapter_attn_dim: int | None = None  # width of a language adapter after each layer, as in MMS


class FeatureProjection(nn.Module):
    """Conv channels, or other features, to the encoder's width."""

    def __init__(self, num_features: int, config: ModelConfig) -> None:
        super().__init__()
        self.layer_norm = nn.LayerNorm(num_features, eps=config.layer_norm_eps)
        self.projection = Linear(num_features, config.hidden_size, exact=True)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        features = self.layer_norm(x)  # (T, C)
        x = self.projection(features).float()  # (T, D)
        return x, features


class PositionalConvEmbedding(nn.Module):
    """Where a frame stands, from a wide convolution over its neighbours."""

    def __init__(self, config: ConvConfig) -> None:
        super().__init__()
        size, width = config.hidden_size, config.num_conv_pos_embeddings
        # Half a width on both sides; of an even width, that would make one frame too many, the last.
        window = Window(width, left=width // 2, right=(width - 1) // 2)
        # Checkpoints store this weight weight-normed; it is folded into one plain weight as they load.
        groups, activation = config.num_conv_pos_embedding_groups, config.feat_extract_activation
        self.conv = FrameConv((size, size), window, groups, activation=activation)

    def forward(self, x: Packed) -> Tensor:
        return self.conv(x).data  # type: ignore[no-any-return]  # (T, D)


class Attention(nn.Module):
    def __init__(self, config: Wav2Vec2Config) -> None:
        super().__init__()
        size, self.num_heads = config.hidden_size, config.num_attention_heads
        self.q_proj, self.k_proj, self.v_proj, self.out_proj = (Linear(size, size) for _ in range(4))

    def forward(self, x: Packed, how: Attend) -> Tensor:
        per_head = (len(x.data), self.num_heads, -1)
        q, k, v = (project(x.data).view(per_head) for project in (self.q_proj, self.k_proj, self.v_proj))  # (T, H, d)
        y = attend(q, k, v, x.segments, how=how)  # (T, D)
        return self.out_proj(y)  # type: ignore[no-any-return]  # (T, D)


class FeedForward(nn.Module):
    def __init__(self, size: int, inner_size: int, activation: str) -> None:
        super().__init__()
        self.intermediate_dense = Linear(size, inner_size, activation=activation)
        self.output_dense = Linear(inner_size, size)

    def forward(self, x: Tensor) -> Tensor:
        x = self.intermediate_dense(x)  # (T, inner size)
        x = self.output_dense(x)  # (T, D)
        return x


class EncoderLayer(nn.Module):
    def __init__(self, config: Wav2Vec2Config) -> None:
        super().__init__()
        self.norm_first = config.do_stable_layer_norm
        self.attention = Attention(config)
        self.layer_norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.feed_forward = FeedForward(config.hidden_size, config.intermediate_size, config.hidden_act)
        self.final_layer_norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        # As in the reference, a language adapter is only there where norms come first.
        width = config.adapter_attn_dim if self.norm_first else None
        self.adapter_layer = None if width is None else AttentionAdapter(config.hidden_size, width)

    def forward(self, x: Packed, how: Attend, spoken: Spoken | None = None) -> Packed:
        y = x.data  # (T, D), fp32 throughout: the residual stream
        if self.norm_first:
            y = y + self.attention(x.with_data(self.layer_norm(y)), how)
            y = y + self.feed_forward(self.final_layer_norm(y))
        else:
            y = self.layer_norm(y + self.attention(x, how))
            y = self.final_layer_norm(y + self.feed_forward(y))
        if self.adapter_layer is not None:
            y = y + self.adapter_layer(x.with_data(y), spoken)
        return x.with_data(y)


class Encoder(nn.Module):
    def __init__(self, config: Wav2Vec2Config) -> None:
        super().__init__()
        self.norm_last = config.do_stable_layer_norm
        self.pos_conv_embed = PositionalConvEmbedding(config)
        self.layer_norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.layers = nn.ModuleList(EncoderLayer(config) for _ in range(config.num_hidden_layers))


class Wav2Vec2Model(SampleBackbone):
    """Samples (N,) to hidden states (T, D)."""

    config_class = Wav2Vec2Config
    names = NAMES
    config: Wav2Vec2Config

    def __init__(self, config: Wav2Vec2Config) -> None:
        super().__init__(config)
        self.feature_extractor = FrontEnd(config)
        self.feature_projection = FeatureProjection(config.conv_dim[-1], config)
        self.encoder = Encoder(config)
        self.margin = config.num_conv_pos_embeddings // 2
        self.adapter = ConvAdapter(config) if config.add_adapter else None

    def position(self, x: Packed) -> Packed:
        y = x.data + self.encoder.pos_conv_embed(x)  # (T, D)
        return x.with_data(y if self.encoder.norm_last else self.encoder.layer_norm(y))

    def transform(self, x: Packed, trace: Trace | None = None) -> Packed:
        trace = trace or Trace(wants_states=False)
        trace.state(x)
        for layer in self.encoder.layers:
            x = layer(x, trace.attend(self.attn_implementation), trace.spoken)
            trace.state(x)
        return x

    def last_norm(self, x: Tensor) -> Tensor:
        return self.encoder.layer_norm(x) if self.encoder.norm_last else x

    def finish(self, x: Packed) -> Packed:
        x = x.with_data(self.last_norm(x.data))
        return x if self.adapter is None else self.adapter(x)


class Wav2Vec2ForCTC(ForCTC):
    config_class = Wav2Vec2Config
    names = NAMES
    backbone_class = Wav2Vec2Model
    backbone_name = "wav2vec2"
