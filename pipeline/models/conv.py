"""A convolution over the frames of packed recordings: plain while it is trained, and fast once prepared.

Knows nothing of what it is part of. It is oneDNN that makes it fast on a CPU: with its weight laid out once and for
rows of channels, the positional convolution of a base model takes 19 ms for 10 s of audio, not 45 (one Zen 5 core).
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from pipeline.models import fourier
from pipeline.models.linear import ACTIVATIONS, work_dtype
from pipeline.models.precision import Precision
from pipeline.models.segments import Packed, Window, convolve

FUSED = {"": "none", "gelu": "gelu", "relu": "relu"}  # activations that oneDNN applies on the way out


def exact(weight: Tensor) -> AbstractContextManager[Any]:
    """Where convolutions with this weight are as exact as its type: torch lets cuDNN round fp32 to TF32's 10 bits."""
    cudnn = torch.backends.cudnn
    if not weight.is_cuda or weight.dtype != torch.float32:
        return nullcontext()
    return cudnn.flags(cudnn.enabled, cudnn.benchmark, cudnn.benchmark_limit, cudnn.deterministic, allow_tf32=False)


class FrameConv(nn.Conv1d):
    """(T, C) to (T', C'), each recording alone between its own zeros, and the activation if there is one."""

    def __init__(
        self, channels: tuple[int, int], window: Window, groups: int = 1, bias: bool = True, activation: str = ""
    ) -> None:
        super().__init__(*channels, window.kernel, window.stride, dilation=window.dilation, groups=groups, bias=bias)
        self.window = window
        self.activation = activation
        self._laid_out: Tensor | None = None  # the weight as oneDNN wants it

    def forward(self, x: Packed) -> Packed:  # type: ignore[override]  # packed recordings, not a padded batch
        run: Callable[[Tensor], Tensor] = super().forward
        if self._laid_out is not None:
            run = self._fast
        elif self.training and fourier.is_for(self.weight, self.window.stride, self.window.dilation):
            run = self._learning
        with exact(self.weight):
            x = convolve(x.with_data(x.data.to(self.weight.dtype)), run, self.window)  # (T', C')
        done = self._laid_out is not None and self.activation in FUSED
        return x if done or not self.activation else x.with_data(ACTIVATIONS[self.activation](x.data))

    def prepare(self, precision: Precision) -> None:
        self.to(work_dtype(precision, self.weight.device))
        has_onednn: bool = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
        if has_onednn and self.weight.device.type == "cpu" and self.weight.dtype != torch.float16:
            wide = self.weight.unsqueeze(2).contiguous(memory_format=torch.channels_last)  # (C', C / groups, 1, K)
            example = [1, self.in_channels, 1, 1000 + self.window.span]  # of an input; others fit the layout as well
            self._laid_out = torch.ops.aten.mkldnn_reorder_conv2d_weight(
                wide.to_mkldnn(), [0, 0], [1, self.stride[0]], [1, self.dilation[0]], self.groups, example
            )
            self.weight = nn.Parameter(self.weight.new_empty(0), requires_grad=False)  # one copy is enough

    def _learning(self, stream: Tensor) -> Tensor:
        return fourier.convolve(stream[0], self.weight, self.bias, self.groups).unsqueeze(0)  # (1, C', N')

    def _fast(self, stream: Tensor) -> Tensor:
        if stream.device.type != "cpu":
            raise RuntimeError("this model is prepared for the CPU; load it anew for another device")
        y = torch.ops.mkldnn._convolution_pointwise(
            stream.unsqueeze(2),  # (1, C, 1, N), its channels together
            self._laid_out,
            self.bias,
            [0, 0],
            [1, self.stride[0]],
            [1, self.dilation[0]],
            self.groups,
            FUSED.get(self.activation, "none"),
            [],
            "none",
        )
        return y.squeeze(2)  # type: ignore[no-any-return]  # (1, C', N')
