"""Softmax attention within each recording of a packed batch.

It knows nothing of positions: a family gives what it adds to the scores as a function. Shapes: T rows of all packed
recordings, L of one, n of a block of queries, H heads of width d.
"""

import importlib.util
from collections.abc import Callable, Iterator
from functools import cache
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from pipeline.errors import UsageError
from pipeline.models.segments import Segments

# (number of the recording, rows of queries) -> (H, rows, L), added to the scaled scores.
Bias = Callable[[int, slice], Tensor]


class Attend(NamedTuple):
    """How attention is computed, and whether its weights are kept."""

    implementation: str = "sdpa"
    weights: list[Tensor] | None = None  # filled with one (H, L, L) per recording


PLAINLY = Attend()

# Numbers in what is added to scores, at a time: 512 MB of fp32.
MOST_SCORES = 1 << 27


def attend(
    q: Tensor, k: Tensor, v: Tensor, segments: Segments, bias: Bias | None = None, how: Attend = PLAINLY
) -> Tensor:
    """Every row sees the rows of its own recording: (T, H, d) each to (T, H * d)."""
    if how.implementation == "eager" or how.weights is not None:
        return eager(q, k, v, segments, bias, how.weights)
    half = q.dtype in (torch.float16, torch.bfloat16)
    if q.is_cuda and half and bias is None and q.shape[2] % 8 == 0 and _varlen() is not None:
        return flash(q, k, v, segments)
    if q.is_cuda and (bias is None or segments.longest**2 * q.shape[1] <= MOST_SCORES):
        return padded(q, k, v, segments, bias)
    from pipeline.models import cpu_attention  # compiled loops, of no use to a GPU

    if cpu_attention.is_for(q, segments) and not _needs_gradients(q, k, v, bias):
        return cpu_attention.attend(q, k, v, segments, bias)
    return one_by_one(q, k, v, segments, bias)


def _needs_gradients(q: Tensor, k: Tensor, v: Tensor, bias: Bias | None) -> bool:
    own = (q, k, v) if bias is None else (q, k, v, bias(0, slice(0, 1)))
    return torch.is_grad_enabled() and any(x.requires_grad for x in own)


def check_implementation(name: str, device: torch.device) -> None:
    """A clear error for an attention implementation that cannot be had on this device."""
    available = ["eager", "sdpa"] + ["flash_attention_2"] * (device.type == "cuda" and _varlen() is not None)
    if name not in available:
        raise UsageError(f"attention {name!r} is not available on {device.type}; available: {', '.join(available)}")


def eager(
    q: Tensor, k: Tensor, v: Tensor, segments: Segments, bias: Bias | None = None, weights: list[Tensor] | None = None
) -> Tensor:
    """As the formula says it, in fp32; what all others are held to."""
    outputs = []
    for number, rows in enumerate(segments.slices()):
        queries, keys, values = (x[rows].transpose(0, 1).float() for x in (q, k, v))  # (H, L, d) each
        scores = queries * q.shape[2] ** -0.5 @ keys.transpose(1, 2)  # (H, L, L)
        if bias is not None:
            scores = scores + bias(number, slice(0, scores.shape[1]))
        shares = scores.softmax(dim=2)
        if weights is not None:
            weights.append(shares)
        outputs.append((shares @ values).transpose(0, 1).flatten(1))  # (L, H * d)
    return torch.cat(outputs).to(v.dtype)


def one_by_one(q: Tensor, k: Tensor, v: Tensor, segments: Segments, bias: Bias | None = None) -> Tensor:
    """torch's own kernels, a recording at a time, on any device and with gradients."""
    outputs = []
    for number, rows in enumerate(segments.slices()):
        queries, keys, values = (x[rows].transpose(0, 1) for x in (q, k, v))  # (H, L, d) each
        for some in query_blocks(segments.lengths[number], q.shape[1], bias):
            added = None if bias is None else bias(number, some).to(q.dtype).unsqueeze(0)  # (1, H, n, L)
            y = F.scaled_dot_product_attention(queries[None, :, some], keys[None], values[None], added)[0]  # (H, n, d)
            outputs.append(y.transpose(0, 1).flatten(1))  # (n, H * d)
    return torch.cat(outputs)


def query_blocks(length: int, num_heads: int, bias: Bias | None, most: int = MOST_SCORES) -> Iterator[slice]:
    """All rows of a recording; where there is a bias, as many at a time as keep it to `most` numbers."""
    size = length if bias is None else max(1, most // (num_heads * length))
    return (slice(begin, min(begin + size, length)) for begin in range(0, length, size))


def padded(
    q: Tensor, k: Tensor, v: Tensor, segments: Segments, bias: Bias | None = None, most: int = MOST_SCORES
) -> Tensor:
    """Many recordings to a call, for GPUs: those of like lengths together, padded to the longest of them."""
    num_heads, size = q.shape[1:]
    out = q.new_empty(len(q), num_heads * size)  # (T, H * d)
    rows = list(segments.slices())
    for numbers in _alike(segments, max(1, most // num_heads)):
        lengths = [segments.lengths[number] for number in numbers]
        batch = q.new_zeros(3, len(numbers), max(lengths), num_heads, size)  # (3, B, longest, H, d)
        for place, number in enumerate(numbers):
            for i, x in enumerate((q, k, v)):
                batch[i, place, : lengths[place]] = x[rows[number]]
        queries, keys, values = batch.transpose(2, 3)  # (B, H, longest, d) each
        added = _padded_bias(q, numbers, lengths, bias)  # (B, 1 or H, 1 or longest, longest)
        y = F.scaled_dot_product_attention(queries, keys, values, added)  # (B, H, longest, d)
        for place, number in enumerate(numbers):
            out[rows[number]] = y[place, :, : lengths[place]].transpose(0, 1).flatten(1)  # (L, H * d)
    return out


def _padded_bias(q: Tensor, numbers: list[int], lengths: list[int], bias: Bias | None) -> Tensor | None:
    longest = max(lengths)
    if bias is not None:
        added = q.new_full((len(numbers), q.shape[1], longest, longest), -torch.inf)
        for place, (number, length) in enumerate(zip(numbers, lengths, strict=True)):
            added[place, :, :, :length] = 0.0  # rows of padding see something, else they would be not a number
            added[place, :, :length, :length] = bias(number, slice(0, length))
        return added  # (B, H, longest, longest)
    if min(lengths) == longest:
        return None
    columns = torch.arange(longest, device=q.device)
    return (columns < torch.tensor(lengths, device=q.device)[:, None])[:, None, None]  # (B, 1, 1, longest)


def _alike(segments: Segments, most: int) -> Iterator[list[int]]:
    """Numbers of recordings, by length, as many together as have `most` pairs of rows."""
    batch: list[int] = []
    for number in sorted(range(len(segments.lengths)), key=lambda number: segments.lengths[number]):
        if batch and (len(batch) + 1) * segments.lengths[number] ** 2 > most:
            yield batch
            batch = []
        batch.append(number)
    yield batch


def flash(q: Tensor, k: Tensor, v: Tensor, segments: Segments) -> Tensor:
    """Flash attention over the rows as they lie, for GPUs, in fp16 and bf16 and without a bias."""
    kernel = _varlen()
    if kernel is None:
        raise UsageError("flash attention is not available: neither torch nor a package flash_attn brings it here")
    bounds = segments.cumulative(q.device)  # (B + 1,)
    q, k, v = (x.contiguous() for x in (q, k, v))
    return kernel(q, k, v, bounds, bounds, segments.longest, segments.longest).flatten(1)  # (T, H * d)


@cache
def _varlen() -> Callable[..., Tensor] | None:
    """A flash kernel for packed recordings: that of the package flash_attn, or torch's own, or none."""
    if not torch.cuda.is_available() or torch.cuda.get_device_capability() < (8, 0):
        return None
    if importlib.util.find_spec("flash_attn") is not None:
        from flash_attn import flash_attn_varlen_func  # type: ignore[import-not-found]

        return flash_attn_varlen_func  # type: ignore[no-any-return]
    if importlib.util.find_spec("torch.nn.attention.varlen") is not None:
        from torch.nn.attention.varlen import varlen_attn

        return varlen_attn  # type: ignore[return-value]
    return None
