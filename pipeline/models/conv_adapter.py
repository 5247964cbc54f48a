"""The convolutional adapter after a Wav2Vec2 or Conformer encoder: fewer frames, for what follows.

Knows nothing of the encoder. T frames go in, T' come out: each layer about halves them.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.models.config import ModelConfig
from pipeline.models.conv import FrameConv
from pipeline.models.linear import Linear
from pipeline.models.segments import Packed, Window


class ConvAdapterLayer(nn.Module):
    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        size, kernel, stride = config.output_size, config.adapter_kernel_size, config.adapter_stride
        window = Window(kernel, stride, left=1, right=1)  # one zero on each side, whatever the kernel
        self.conv = FrameConv((size, 2 * size), window)

    def forward(self, x: Packed) -> Packed:
        x = self.conv(x)  # (T', 2 D')
        return x.with_data(F.glu(x.data, dim=1))  # (T', D')


class ConvAdapter(nn.Module):
    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        size = config.output_size
        has_projection = size != config.hidden_size
        self.proj = Linear(config.hidden_size, size) if has_projection else None
        self.proj_layer_norm = nn.LayerNorm(size) if has_projection else None
        self.layers = nn.ModuleList(ConvAdapterLayer(config) for _ in range(config.num_adapter_layers))

    def forward(self, x: Packed) -> Packed:
        if self.proj is not None and self.proj_layer_norm is not None:
            projected: Tensor = self.proj_layer_norm(self.proj(x.data).float())  # (T, D')
            x = x.with_data(projected)
        for layer in self.layers:
            x = layer(x)
        return x.with_data(x.data.float())
