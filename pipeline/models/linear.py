"""The linear layer of every encoder: plain while it is trained, and fast once it is prepared for a precision.

It does not know packing or models: a row is a row.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.errors import UsageError
from pipeline.models import int8
from pipeline.models.precision import Precision, is_watching

_tanh_gelu = partial(F.gelu, approximate="tanh")


def _quick_gelu(x: Tensor) -> Tensor:
    return x * torch.sigmoid(1.702 * x)


def _unchanged(x: Tensor) -> Tensor:
    return x


ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "gelu": F.gelu,
    "gelu_python": F.gelu,
    "gelu_new": _tanh_gelu,
    "gelu_fast": _tanh_gelu,
    "gelu_accurate": _tanh_gelu,
    "gelu_pytorch_tanh": _tanh_gelu,
    "gelu_python_tanh": _tanh_gelu,
    "quick_gelu": _quick_gelu,
    "relu": F.relu,
    "relu6": F.relu6,
    "leaky_relu": F.leaky_relu,
    "silu": F.silu,
    "swish": F.silu,
    "mish": F.mish,
    "hardswish": F.hardswish,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "linear": _unchanged,
}

DTYPES: dict[Precision, torch.dtype] = {
    "fp32": torch.float32,
    "bf16": torch.bfloat16,
    "fp16": torch.float16,
    "int8": torch.bfloat16,  # what goes in and comes out
}

# What oneDNN does on the way out, by the function that does it in torch: the name and its variant.
ONEDNN: dict[Callable[[Tensor], Tensor], tuple[str, str]] = {
    F.gelu: ("gelu", "none"),
    _tanh_gelu: ("gelu", "tanh"),
    F.relu: ("relu", ""),
    F.silu: ("swish", ""),
    torch.tanh: ("tanh", ""),
    torch.sigmoid: ("sigmoid", ""),
    F.hardswish: ("hardswish", ""),
}

# Narrower layers stay in bf16: eight bits would save no time in a head of 32 labels, and cost it its exactness.
NARROWEST_INT8 = 128

TYPICAL_ROWS = 512  # the layout that is best for this many rows is as good for 10 and for 3000


def work_dtype(precision: Precision, device: torch.device) -> torch.dtype:
    """What a prepared layer computes in and returns. A CPU without bf16 works in fp32: emulating is slower yet."""
    dtype = DTYPES[precision]
    has_bf16 = device.type != "cpu" or torch.cpu._is_avx512_bf16_supported()
    return dtype if dtype != torch.bfloat16 or has_bf16 else torch.float32


class Linear(nn.Linear):
    """x W' + b, and the activation if there is one. Casts its input to what it computes in, and returns that."""

    prepared: Precision | None = None

    def __init__(
        self, in_features: int, out_features: int, bias: bool = True, activation: str = "", exact: bool = False
    ) -> None:
        """`exact`: of those at either end of a model, which take 1 % of its time, and whose errors all frames feel."""
        super().__init__(in_features, out_features, bias)
        self.activation = activation
        self.exact = exact
        self._fast: Fast | None = None

    def forward(self, x: Tensor) -> Tensor:
        if self._fast is not None:
            return self._fast(x)  # (..., out)
        x = super().forward(x.to(self.weight.dtype))  # (..., out)
        return ACTIVATIONS[self.activation](x) if self.activation else x

    def prepare(self, precision: Precision) -> None:
        """For inference, in place, on the device where it is. Where a fast form exists, the plain weight goes."""
        if self.prepared is not None:
            raise UsageError(f"a layer prepared for {self.prepared} cannot be prepared again, for {precision}")
        weight, bias = self.weight.detach(), None if self.bias is None else self.bias.detach()
        activation = ACTIVATIONS[self.activation or "linear"]
        dtype = work_dtype("fp32" if self.exact and not weight.is_cuda else precision, weight.device)
        if precision == "int8" and not self.exact and min(weight.shape) >= NARROWEST_INT8:
            watched = Watched(weight, bias, activation, dtype, torch.zeros(weight.shape[1], device=weight.device))
            self._fast = watched if is_watching() else watched.settled()
        elif weight.device.type == "cpu" and _has_onednn() and dtype != torch.float16:
            self._fast = OneDnn.of(weight.to(dtype), bias, activation)
        elif weight.is_cuda and activation in (F.gelu, F.relu) and dtype != torch.float32 and bias is not None:
            self._fast = FusedOnGpu(weight.to(dtype), bias.to(dtype), activation is F.gelu)
        self.prepared = precision
        if self._fast is None:
            self.requires_grad_(False).to(dtype)
        else:
            self.register_parameter("weight", None)
            self.register_parameter("bias", None)

    def settle(self) -> None:
        """What this layer has seen of its inputs is enough."""
        if isinstance(self._fast, Watched):
            self._fast = self._fast.settled()

    # ---- what a layer without its plain weight cannot do

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "Linear":
        if self._fast is not None:
            here = torch.empty(0, dtype=self._fast.dtype, device=self._fast.device)
            there = fn(here)
            if (there.dtype, there.device) != (here.dtype, here.device):
                self._refuse("be moved or changed to another type")
            return self
        return super()._apply(fn, recurse)  # type: ignore[no-any-return, no-untyped-call]

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        self._refuse("be saved")
        super()._save_to_state_dict(destination, prefix, keep_vars)

    def __getstate__(self) -> dict[str, Any]:
        self._refuse("be copied or pickled")
        return self.__dict__

    def _refuse(self, what: str) -> None:
        if self._fast is not None:
            raise UsageError(f"a model prepared for {self.prepared} cannot {what}; load it anew from its checkpoint")


class Fast(Protocol):
    """What a layer becomes: its weight as some product takes it."""

    @property
    def dtype(self) -> torch.dtype: ...

    @property
    def device(self) -> torch.device: ...

    def __call__(self, x: Tensor) -> Tensor: ...


@dataclass(frozen=True, eq=False)
class OneDnn:
    """On a CPU: the weight laid out once as oneDNN's inner loops read it, and the activation on the way out.

    On one Zen 5 core 240 GFLOP/s in fp32, where torch's own product (MKL) makes 107, and 500 in bf16.
    """

    weight: Tensor
    bias: Tensor | None
    fused: tuple[str, str]
    activation: Callable[[Tensor], Tensor] | None  # what oneDNN cannot do on the way out
    dtype: torch.dtype
    device = torch.device("cpu")

    @classmethod
    def of(cls, weight: Tensor, bias: Tensor | None, activation: Callable[[Tensor], Tensor]) -> "OneDnn":
        laid_out = torch.ops.mkldnn._reorder_linear_weight(weight.contiguous(), TYPICAL_ROWS)
        fused = ONEDNN.get(activation)
        own_bias = None if bias is None else bias.to(weight.dtype, copy=True)
        return cls(laid_out, own_bias, fused or ("none", ""), None if fused else activation, weight.dtype)

    def __call__(self, x: Tensor) -> Tensor:
        name, variant = self.fused
        x = torch.ops.mkldnn._linear_pointwise(x.to(self.dtype), self.weight, self.bias, name, [], variant)
        return x if self.activation is None else self.activation(x)


@dataclass(eq=False)
class Watched:
    """On its way to eight bits, and still plain."""

    weight: Tensor
    bias: Tensor | None
    activation: Callable[[Tensor], Tensor]
    dtype: torch.dtype
    total: Tensor  # (in,), of all rows so far
    num_rows: int = 0

    @property
    def device(self) -> torch.device:
        return self.weight.device

    def __call__(self, x: Tensor) -> Tensor:
        x = x.to(self.weight.dtype)
        rows = x.reshape(-1, x.shape[-1])  # (T, in)
        self.total += rows.sum(dim=0)
        self.num_rows += len(rows)
        return self.activation(F.linear(x, self.weight, self.bias)).to(self.dtype)

    def settled(self) -> "Int8":
        weight = int8.Int8Weight.of(self.weight, self.bias, self.total / max(1, self.num_rows))
        return Int8(weight, self.activation, self.dtype)


@dataclass(frozen=True, eq=False)
class Int8:
    """Integer products, and what is between them in one pass over the rows where this is a CPU with dot products."""

    weight: int8.Int8Weight
    activation: Callable[[Tensor], Tensor]
    dtype: torch.dtype

    @property
    def device(self) -> torch.device:
        return self.weight.codes.device

    def __call__(self, x: Tensor) -> Tensor:
        rows = x.reshape(-1, x.shape[-1])  # (T, in)
        if self.device.type == "cpu" and torch.cpu._is_vnni_supported():
            fused = int8.FUSED.get(self.activation)
            y = int8.fast_linear(rows, self.weight, fused or int8.NONE)  # (T, out)
            y = y if fused else self.activation(y)
        else:
            y = self.activation(int8.linear(rows, self.weight))  # (T, out)
        return y.to(self.dtype).view(*x.shape[:-1], y.shape[1])


@dataclass(frozen=True, eq=False)
class FusedOnGpu:
    """cuBLASLt with bias and activation on the way out; its gelu is the one by tanh, 5e-4 off at most."""

    weight: Tensor
    bias: Tensor
    is_gelu: bool

    @property
    def dtype(self) -> torch.dtype:
        return self.weight.dtype

    @property
    def device(self) -> torch.device:
        return self.weight.device

    def __call__(self, x: Tensor) -> Tensor:
        rows = x.reshape(-1, x.shape[-1]).to(self.dtype)  # (T, in)
        y = torch._addmm_activation(self.bias, rows, self.weight.t(), use_gelu=self.is_gelu)  # (T, out)
        return y.view(*x.shape[:-1], y.shape[1])


def _has_onednn() -> bool:
    has_it: bool = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    return has_it and torch.backends.cpu.get_cpu_capability().startswith("AVX")
