"""The convolutional front end of a long recording, tile by tile: the same frames in memory that does not grow with it.

Whole, the first convolution of a base model writes 6.5 MB for each second of audio; a ten-minute recording would need
4 GB for that one tensor. Convolutions are local, so tiles with the right margins are exact; a group norm over all of
time is not, so its statistics are gathered in a first pass. Knows nothing of what comes after the front end.
"""

from typing import Any, Protocol

import torch
from torch import Tensor, nn

TILE_FRAMES = 1500  # 30 s: large enough that the margins cost nothing, 200 MB for the widest tensor of a base model


class FrontEnd(Protocol):
    """Convolutional layers, each with its `conv`, its `layer_norm` and its `activation`."""

    conv_layers: nn.ModuleList


def tiled(front_end: FrontEnd, input_values: Tensor, tile_frames: int = TILE_FRAMES) -> Tensor:
    """What `front_end(input_values)` gives, (B, T, C), for recordings (B, N)."""
    layers: list[Any] = list(front_end.conv_layers)
    hop, field = _hop_and_field(layers)
    num_frames = (input_values.shape[1] - field) // hop + 1
    scales = _group_norm_as_scale(layers[0], input_values, tile_frames * hop)
    tiles = []
    for start in range(0, num_frames, tile_frames):
        stop = min(start + tile_frames, num_frames)
        x = input_values[:, start * hop : (stop - 1) * hop + field].unsqueeze(1)  # (B, 1, N of the tile)
        for index, layer in enumerate(layers):
            x = layer.conv(x)  # (B, C, T')
            x = layer.layer_norm(x) if index > 0 or scales is None else x * scales[0] + scales[1]
            x = layer.activation(x)
        tiles.append(x.transpose(1, 2))  # (B, T of the tile, C)
    return torch.cat(tiles, dim=1)  # (B, T, C)


def _hop_and_field(layers: list[Any]) -> tuple[int, int]:
    """Samples from one frame to the next, and samples that one frame sees."""
    hop, field = 1, 1
    for layer in layers:
        (kernel,), (stride,) = layer.conv.kernel_size, layer.conv.stride
        field += (kernel - 1) * hop
        hop *= stride
    return hop, field


def _group_norm_as_scale(layer: Any, input_values: Tensor, tile_samples: int) -> tuple[Tensor, Tensor] | None:
    """A group norm per channel over the whole recording, as a factor and a summand (B, C, 1); None for other norms."""
    norm = layer.layer_norm
    if not isinstance(norm, nn.GroupNorm):
        return None
    (kernel,), (stride,) = layer.conv.kernel_size, layer.conv.stride
    num_outputs = (input_values.shape[1] - kernel) // stride + 1
    tile = tile_samples // stride
    mean = variance = torch.zeros((), dtype=torch.float64, device=input_values.device)
    for start in range(0, num_outputs, tile):
        stop = min(start + tile, num_outputs)
        x = layer.conv(input_values[:, None, start * stride : (stop - 1) * stride + kernel])  # (B, C, T')
        tile_variance, tile_mean = (y.double() for y in torch.var_mean(x, dim=2, correction=0))  # (B, C) each
        # Chan's merging of two means and variances, by the share of the new one: no sum of squares to cancel.
        share = (stop - start) / stop
        shift = tile_mean - mean
        mean = mean + share * shift
        variance = (1 - share) * variance + share * tile_variance + share * (1 - share) * shift.square()
    factor = norm.weight / torch.sqrt(variance + norm.eps)  # (B, C)
    summand = norm.bias - mean * factor  # (B, C)
    return factor.to(input_values.dtype).unsqueeze(2), summand.to(input_values.dtype).unsqueeze(2)
