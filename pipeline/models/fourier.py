"""A long convolution by Fourier transforms, block by block: between few channels, quicker to learn through on a CPU.

Of a positional convolution 64 frames wide over 192 channels in 8 groups, the way there and back takes oneDNN 165 ms for
64 s of audio, in bf16 180, and this 28 in fp32 (one Zen 4 core). The weight has to be transformed however short the
audio is: with the eight times as many filters of a base model, 10 s take six times as long so, and 48 s about as long.
Knows nothing of recordings.
"""

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

NARROWEST = 32  # frames of a kernel
MOST_FILTERS = 8192  # from a channel to a channel
KERNELS = 8  # a block is as long as so many


def is_for(weight: Tensor, stride: int, dilation: int) -> bool:
    num_filters, width = weight.shape[0] * weight.shape[1], weight.shape[2]
    is_long = width >= NARROWEST and num_filters <= MOST_FILTERS and stride == dilation == 1
    return is_long and weight.device.type == "cpu" and weight.dtype == torch.float32


def convolve(x: Tensor, weight: Tensor, bias: Tensor | None, groups: int) -> Tensor:
    """(C, N) with (C', C / groups, K) to (C', N - K + 1), as conv1d has it."""
    y: Tensor = _Convolution.apply(x, weight, groups)  # type: ignore[no-untyped-call]
    return y if bias is None else y + bias.unsqueeze(1)


class _Convolution(torch.autograd.Function):
    """The way back goes through the same transforms: torch's own would make complex ones of real numbers.

    Frequencies come first, so that for each of them and each group there is a product of matrices.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, groups: int) -> Tensor:
        num_outputs = x.shape[1] - weight.shape[2] + 1
        ctx.blocks = blocks = Blocks.of(num_outputs, weight.shape[2])
        ctx.shape, ctx.groups = x.shape, groups
        x = F.pad(x, (0, blocks.num * blocks.fresh + blocks.width - 1 - x.shape[1]))
        seen = _by_frequency(torch.fft.rfft(x.unfold(1, blocks.length, blocks.fresh)), groups)  # (G, F, C / G, blocks)
        filters = _by_frequency(torch.fft.rfft(weight, blocks.length), groups)  # (G, F, C' / G, C / G)
        ctx.save_for_backward(seen, filters)
        y = _by_channel(filters.conj() @ seen, blocks.length)[..., : blocks.fresh]  # (C', blocks, fresh)
        return y.flatten(1)[:, :num_outputs]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None]:
        seen, filters = ctx.saved_tensors
        blocks: Blocks = ctx.blocks
        (gradient,) = gradients
        gradient = F.pad(gradient, (0, blocks.num * blocks.fresh - gradient.shape[1]))
        told = torch.fft.rfft(gradient.reshape(-1, blocks.num, blocks.fresh), blocks.length)
        told = _by_frequency(told, ctx.groups)  # (G, F, C' / G, blocks)
        of_weight = _by_channel(told.conj() @ seen.transpose(2, 3), blocks.length)[..., : blocks.width]
        of_blocks = _by_channel(filters.transpose(2, 3) @ told, blocks.length)  # (C, blocks, length)
        of_x = torch.zeros(ctx.shape[0], blocks.num * blocks.fresh + blocks.width - 1)
        for number in range(blocks.num):  # what two blocks have seen is taught by both
            begin = number * blocks.fresh
            of_x[:, begin : begin + blocks.length] += of_blocks[:, number]
        return of_x[:, : ctx.shape[1]], of_weight, None


@dataclass(frozen=True)
class Blocks:
    """A row of frames, cut into blocks that overlap by a kernel's width less one."""

    num: int
    length: int
    fresh: int  # outputs of each
    width: int

    @classmethod
    def of(cls, num_outputs: int, width: int) -> "Blocks":
        length = KERNELS * width
        fresh = length - width + 1
        return cls(-(-num_outputs // fresh), length, fresh, width)


def _by_frequency(x: Tensor, groups: int) -> Tensor:
    """(G * a, b, F) to (G, F, a, b)."""
    return x.view(groups, -1, *x.shape[1:]).permute(0, 3, 1, 2).contiguous()


def _by_channel(x: Tensor, length: int) -> Tensor:
    """(G, F, a, b) back to (G * a, b, length), no longer frequencies."""
    back: Tensor = torch.fft.irfft(x.permute(0, 2, 3, 1).flatten(0, 1), length)
    return back
