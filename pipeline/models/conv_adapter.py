"""The adapter after an encoder: fewer frames, for what follows; the layers here are those of all families but BERT's.

Knows nothing of the encoder. T frames of width D go in, T' of width D' come out: each layer about halves them.
"""

from collections.abc import Iterable

import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.models.config import ModelConfig
from pipeline.models.conv import FrameConv
from pipeline.models.linear import Linear
from pipeline.models.segments import Packed


class ConvAdapterLayer(nn.Module):
    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.conv = FrameConv((config.output_size, 2 * config.output_size), config.adapter_window)

    def forward(self, x: Packed) -> Packed:
        x = self.conv(x)  # (T', 2 D')
        return x.with_data(F.glu(x.data, dim=1))  # (T', D')


class ProjectingAdapter(nn.Module):
    """Layers, and before them what brings frames to their width if that is another than the encoder's."""

    def __init__(self, config: ModelConfig, layers: Iterable[nn.Module], eps: float = 1e-5) -> None:
        super().__init__()
        size = config.output_size
        has_projection = size != config.hidden_size
        self.proj = Linear(config.hidden_size, size) if has_projection else None
        self.proj_layer_norm = nn.LayerNorm(size, eps=eps) if has_projection else None
        self.layers = nn.ModuleList(layers)

    def projected(self, x: Packed) -> Packed:
        if self.proj is None or self.proj_layer_norm is None:
            return x
        projected: Tensor = self.proj_layer_norm(self.proj(x.data).float())  # (T, D')
        return x.with_data(projected)


class ConvAdapter(ProjectingAdapter):
    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config, (ConvAdapterLayer(config) for _ in range(config.num_adapter_layers)))

    def forward(self, x: Packed) -> Packed:
        x = self.projected(x)
        for layer in self.layers:
            x = layer(x)
        return x.with_data(x.data.float())
