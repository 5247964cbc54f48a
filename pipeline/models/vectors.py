"""Row by row on a CPU, compiled: softmax, quantising to eight bits, and what follows an eight-bit matrix product.

Works on numpy arrays, bf16 as uint16, and knows neither layers nor recordings. LLVM makes vector code of these loops
only in this form: exp is a polynomial, every smooth activation is one function of it, sums may be taken in any order,
and a maximum is taken over integers that compare as their floats do.
"""

from typing import Any

import numba
import numpy as np

from pipeline import compiled  # says where compiled code is kept
from pipeline.models.int8 import RELU, SIGMOID

f4, i4, u2, u4 = np.float32, np.int32, np.uint16, np.uint32
Array = np.ndarray[Any, Any]

# Sums in any order, and fused multiply-adds: without these the loops run one number at a time.
FAST = {"contract", "reassoc", "nsz"}
entry: compiled.Decorator = numba.njit(  # type: ignore[assignment]
    cache=True, nogil=True, error_model="numpy", fastmath=FAST
)
inner: compiled.Decorator = numba.njit(  # type: ignore[call-overload]
    nogil=True, error_model="numpy", fastmath=FAST, forceinline=True, _nrt=False
)

LOG2_E = f4(1.4426950408889634)
# Widths are multiples of this, so that no row ends in a loop over single numbers, which takes as long as the rest.
BLOCK = 64


@inner
def widen(bits: Any) -> Any:
    """bf16 to fp32."""
    return u4(u4(bits) << u4(16)).view(f4)


@inner
def narrow(x: Any) -> Any:
    """fp32 to bf16, to the nearest; a tie goes away from zero, which for computed values is as good as to even."""
    return u2(u4(f4(x).view(u4) + u4(0x8000)) >> u4(16))


@inner
def ordered(bits: Any) -> Any:
    """The bits of a float as an integer that compares as the float does; its own inverse."""
    return i4(bits ^ i4(i4(bits >> i4(31)) & i4(0x7FFFFFFF)))


@inner
def exp2(x: Any) -> Any:
    """2 to the x for x <= 0, to 3e-7 of it; below -100 as at -100: smaller numbers yet are slow to work with."""
    x = x if x > f4(-100.0) else f4(-100.0)
    nearest = i4(x - f4(0.5))
    r = x - f4(nearest)  # -0.5 to 0.5
    p = f4(1.32764524e-03)
    p = p * r + f4(9.67554145e-03)
    p = p * r + f4(5.55071334e-02)
    p = p * r + f4(2.40221197e-01)
    p = p * r + f4(6.93146967e-01)
    p = p * r + f4(1.00000007e00)
    return i4(f4(p).view(i4) + i4(nearest << i4(23))).view(f4)  # added to the exponent


# ---- softmax


@inner
def exponentials(row: Array) -> Any:
    """Base-2 logits to weights that are yet to be multiplied by what it returns."""
    best = i4(-0x7FFFFFFF)
    for j in range(row.shape[0]):
        best = max(best, ordered(f4(row[j]).view(i4)))
    largest = i4(ordered(best)).view(f4)
    total = f4(0.0)
    for j in range(row.shape[0]):
        weight = exp2(row[j] - largest)
        total += weight
        row[j] = weight
    return f4(1.0) / total


@entry
def softmax_bf16(scores: Array, bias: Array, scale: float) -> None:
    """softmax(scale * scores + bias), in place, of bf16 (rows, width); the bias is fp32 and has as many rows, or one.

    Where the bias is minus infinity, a weight of 1e-30 of the largest remains.
    """
    width = scores.shape[1]
    weights = np.empty(width, f4)
    factor = f4(scale) * LOG2_E
    for i in range(scores.shape[0]):
        row, added = scores[i], bias[min(i, bias.shape[0] - 1)]
        for j in range(width):
            weights[j] = widen(row[j]) * factor + added[j] * LOG2_E
        share = exponentials(weights)
        for j in range(width):
            row[j] = narrow(weights[j] * share)


@entry
def softmax_fp32(scores: Array, bias: Array, scale: float) -> None:
    """As `softmax_bf16`, in fp32."""
    factor = f4(scale) * LOG2_E
    for i in range(scores.shape[0]):
        row, added = scores[i], bias[min(i, bias.shape[0] - 1)]
        for j in range(scores.shape[1]):
            row[j] = row[j] * factor + added[j] * LOG2_E
        share = exponentials(row)
        for j in range(scores.shape[1]):
            row[j] *= share


# ---- eight bits


@inner
def quantise_row(row: Array, codes: Array, measures: Array) -> None:
    """Codes of a row from its least to its largest value, and 0 always among these; the step, the middle, the mean."""
    high = i4(0)
    low = i4(0)
    for j in range(row.shape[0]):
        bits = ordered(f4(row[j]).view(i4))
        high = max(high, bits)
        low = min(low, bits)
    top, bottom = i4(ordered(high)).view(f4), i4(ordered(low)).view(f4)
    step = (top - bottom) * f4(1.0 / 254.0) + f4(1e-30)
    middle = (top + bottom) * f4(0.5)
    inverse = f4(1.0) / step
    begin = f4(128.5) - middle * inverse
    total = f4(0.0)
    for j in range(row.shape[0]):
        total += row[j]
        codes[j] = np.int8(i4(row[j] * inverse + begin) - i4(128))
    measures[0], measures[1], measures[2] = step, middle, total / f4(row.shape[0])


@entry
def quantise(x: Array, typical: Array, codes: Array, measures: Array) -> None:
    """x[i] - typical ~ measures[i, 0] * codes[i] + measures[i, 1], of fp32; measures[i, 2] is the mean of the row."""
    row = np.empty(x.shape[1], f4)
    for i in range(x.shape[0]):
        for j in range(x.shape[1]):
            row[j] = x[i, j] - typical[j]
        quantise_row(row, codes[i], measures[i])


@entry
def quantise_bf16(x: Array, typical: Array, codes: Array, measures: Array) -> None:
    row = np.empty(x.shape[1], f4)
    for i in range(x.shape[0]):
        for j in range(x.shape[1]):
            row[j] = widen(x[i, j]) - typical[j]
        quantise_row(row, codes[i], measures[i])


@inner
def reciprocal(y: Any) -> Any:
    """1 / (1 + y) for y from 0 to 1, to 7e-6, in less time than a division takes."""
    p = f4(7.6119907e-02)
    p = p * y + f4(-3.3601347e-01)
    p = p * y + f4(6.8290174e-01)
    p = p * y + f4(-9.1099328e-01)
    p = p * y + f4(9.8729676e-01)
    p = p * y + f4(-9.9929881e-01)
    p = p * y + f4(9.9999362e-01)
    return p


@inner
def through_sigmoid(row: Array, a: Any, b: Any, c: Any, d: Any, e: Any) -> None:
    for j in range(row.shape[0]):
        x = row[j]
        t = x * x
        t = t if t < f4(64.0) else f4(64.0)  # beyond 8 a sigmoid is 0 or 1
        z = (((e * t + d) * t + c) * t + b) * t + a
        z = x * z * LOG2_E
        y = exp2(-abs(z))
        row[j] = x * (y if z < f4(0.0) else f4(1.0)) * reciprocal(y)


@entry
def finish(sums: Array, measures: Array, columns: Array, activation: tuple[int, tuple[float, ...]], out: Array) -> None:
    """What an integer matrix product stands for, and the activation of it, in bf16.

    `columns` (4, N): what a column's sums are multiplied by, what goes with the middle of a row and with its mean, and
    its bias.
    """
    kind, (a, b, c, d, e) = activation
    factors, coded, lost, bias = columns[0], columns[1], columns[2], columns[3]
    row = np.empty(sums.shape[1], f4)
    for i in range(sums.shape[0]):
        step, middle, mean = measures[i, 0], measures[i, 1], measures[i, 2]
        for j in range(sums.shape[1]):
            row[j] = f4(sums[i, j]) * (step * factors[j]) + (middle * coded[j] + mean * lost[j] + bias[j])
        if kind == RELU:
            for j in range(sums.shape[1]):
                row[j] = row[j] if row[j] > f4(0.0) else f4(0.0)
        if kind == SIGMOID:
            through_sigmoid(row, f4(a), f4(b), f4(c), f4(d), f4(e))
        for j in range(sums.shape[1]):
            out[i, j] = narrow(row[j])
