"""Linear layers in eight bits: a scale for each row of the input, found as it comes, and for each output.

Knows neither models nor modules. Inputs are coded from their least to their largest value, with 0 among these: what
comes out of a gelu is hardly ever below 0, and a code symmetrical about 0 would waste half of its steps on that.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

# Rows at a time: their sums, (256, 3072) in 32 bits, stay in a cache until they are turned into bf16.
ROWS = 256

Fused = tuple[int, tuple[float, ...]]  # an activation as `vectors.finish` takes it: its kind, and five numbers
IDENTITY, RELU, SIGMOID = 0, 1, 2
NONE: Fused = (IDENTITY, (0.0,) * 5)

# x * sigmoid(x * (a + b x^2 + ...)), all of these. Of the first, the polynomial is a fit to the logit of the normal
# distribution with the least maximum of the error over 0 to 6: 3.2e-6, a thousandth of what bf16 leaves of 1.
FUSED: dict[Callable[[Tensor], Tensor], Fused] = {
    F.gelu: (SIGMOID, (1.5956584, 7.2931372e-2, -2.4588919e-4, -6.1852561e-5, 2.2724722e-6)),
    F.silu: (SIGMOID, (1.0, 0.0, 0.0, 0.0, 0.0)),
    F.relu: (RELU, (0.0,) * 5),
}


@dataclass(frozen=True, eq=False)
class Int8Weight:
    """What is left of a linear layer: x W' + b with W ~ codes * factors."""

    codes: Tensor  # int8 (out, in)
    columns: Tensor  # (4, out): a column's factor, what it sums to as coded, what it lost of its sum, its bias
    typical: Tensor  # fp32 (in,): taken from every input before it is coded; the bias has what it amounts to

    @classmethod
    def of(cls, weight: Tensor, bias: Tensor | None, typical: Tensor | None = None) -> "Int8Weight":
        weight = weight.float()
        typical = torch.zeros_like(weight[0]) if typical is None else typical.float()
        factors = weight.abs().amax(dim=1).clamp(min=1e-30) / 127  # (out,)
        codes = (weight / factors[:, None]).round().to(torch.int8)  # (out, in)
        coded = codes.sum(dim=1) * factors  # (out,)
        bias = weight @ typical + (0.0 if bias is None else bias.float())
        return cls(codes, torch.stack((factors, coded, weight.sum(dim=1) - coded, bias)), typical)


def quantised(x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """x ~ codes * steps + middles: int8 (T, in), and (T, 1) twice; and the means of x, (T, 1)."""
    top, bottom = x.amax(dim=1, keepdim=True).clamp(min=0), x.amin(dim=1, keepdim=True).clamp(max=0)
    steps, middles = (top - bottom) / 254 + 1e-30, (top + bottom) / 2  # (T, 1) each
    return ((x - middles) / steps).round().to(torch.int8), steps, middles, x.mean(dim=1, keepdim=True)


def linear(x: Tensor, weight: Int8Weight) -> Tensor:
    """On any device: (T, in) to fp32 (T, out). The twin of `fast_linear`."""
    codes, steps, middles, means = quantised(x.float() - weight.typical)
    factors, coded, lost, bias = weight.columns  # (out,) each
    y: Tensor = _product(codes, weight.codes) * (steps * factors) + (middles * coded + means * lost + bias)  # (T, out)
    return y


def _product(codes: Tensor, weight: Tensor) -> Tensor:
    if codes.is_cuda and weight.shape[0] % 8 == 0 and weight.shape[1] % 8 == 0:
        return integer_product(codes, weight).float()  # (T, out)
    # Sums of up to 1040 products are exact in fp32; of more, a tenth of a millionth is lost.
    return codes.float() @ weight.float().t()  # (T, out)


def integer_product(codes: Tensor, weight: Tensor) -> Tensor:
    """(T, in) and (out, in) to int32 (T, out). cuBLAS wants multiples of eight, and more than 16 rows."""
    num_rows = len(codes)
    codes = F.pad(codes, (0, 0, 0, max(24, -(-num_rows // 8) * 8) - num_rows))
    return torch._int_mm(codes, weight.t())[:num_rows]


def fast_linear(x: Tensor, weight: Int8Weight, activation: Fused) -> Tensor:
    """On a CPU with integer dot products: fp32 or bf16 (T, in) to bf16 (T, out), and the activation (see `vectors`)."""
    from pipeline.models import vectors

    num_rows, num_out = len(x), len(weight.codes)
    x = x.contiguous()
    out = torch.empty(num_rows, num_out, dtype=torch.bfloat16)
    codes = torch.empty(min(ROWS, num_rows), x.shape[1], dtype=torch.int8)
    sums = torch.empty(min(ROWS, num_rows), num_out, dtype=torch.int32)
    measures = torch.empty(len(codes), 3).numpy()  # the step, the middle and the mean of each row
    typical, columns = weight.typical.numpy(), weight.columns.numpy()
    for begin in range(0, num_rows, ROWS):
        rows = x[begin : begin + ROWS]  # (n, in)
        n = len(rows)
        if x.dtype == torch.bfloat16:
            vectors.quantise_bf16(rows.view(torch.uint16).numpy(), typical, codes.numpy(), measures)
        else:
            vectors.quantise(rows.float().numpy(), typical, codes.numpy(), measures)
        torch._int_mm(codes[:n], weight.codes.t(), out=sums[:n])  # (n, out)
        bits = out[begin : begin + n].view(torch.uint16).numpy()
        vectors.finish(sums[:n].numpy(), measures, columns, activation, bits)
    return out
