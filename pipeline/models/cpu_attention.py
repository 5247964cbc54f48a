"""Softmax attention on a CPU: oneDNN's products, a compiled softmax between them, and blocks that fit a cache.

It does not know what its caller packs, or why. For 10 s and twelve heads one Zen 5 core takes 2.8 ms in bf16 and
5.5 ms in fp32; torch's own kernel takes 9.2 ms in either.
"""

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from pipeline.models import vectors
from pipeline.models.attention import Bias
from pipeline.models.segments import Segments

SHORTEST_FP32 = 200  # rows; of shorter recordings torch's own kernel makes less of a ceremony, but only in fp32


def is_for(q: Tensor, segments: Segments) -> bool:
    """Whether this is faster than torch's own here. It gives no gradients."""
    if q.device.type != "cpu" or not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return False
    if q.dtype == torch.bfloat16:
        return torch.cpu._is_avx512_bf16_supported()
    return q.dtype == torch.float32 and segments.longest >= SHORTEST_FP32 and torch.cpu._is_avx512_supported()


def attend(q: Tensor, k: Tensor, v: Tensor, segments: Segments, bias: Bias | None) -> Tensor:
    """(T, H, d) each to (T, H * d)."""
    out = torch.empty(q.shape, dtype=q.dtype)  # (T, H, d)
    for number, rows in enumerate(segments.slices()):
        own_bias = None if bias is None else partial(bias, number)
        if q.dtype == torch.bfloat16:
            _attend_bf16(q[rows], k[rows], v[rows], own_bias, out[rows])
        elif segments.lengths[number] >= SHORTEST_FP32:
            _attend_fp32(q[rows], k[rows], v[rows], own_bias, out[rows])
        else:
            added = None if own_bias is None else own_bias(slice(0, segments.lengths[number])).unsqueeze(0)
            queries, keys, values = (x[rows].transpose(0, 1).unsqueeze(0) for x in (q, k, v))  # (1, H, L, d) each
            out[rows] = F.scaled_dot_product_attention(queries, keys, values, added)[0].transpose(0, 1)  # (L, H, d)
    return out.flatten(1)


OwnBias = Callable[[slice], Tensor]  # rows -> (H, rows, L)


def _attend_bf16(q: Tensor, k: Tensor, v: Tensor, bias: OwnBias | None, out: Tensor) -> None:
    """All heads at once, and so many queries that twelve heads of 1000 rows have 3 MB of scores."""
    length, width = len(k), _width(len(k))
    queries = q.transpose(0, 1).contiguous()  # (H, L, d)
    keys, values = _by_head(k, width).transpose(1, 2), _by_head(v, width)  # (H, d, width), (H, width, d)
    space = q.new_empty(q.shape[1] * min(128, length) * width)
    for begin in range(0, length, 128):
        rows = slice(begin, min(begin + 128, length))
        added = _added(bias, rows, length, width)  # (H, n, width), or 1 for both
        scores = space[: q.shape[1] * (rows.stop - begin) * width].view(q.shape[1], -1, width)  # (H, n, width)
        torch.bmm(queries[:, rows], keys, out=scores)
        bits = scores.view(torch.uint16).flatten(0, 1).numpy()
        vectors.softmax_bf16(bits, added.flatten(0, 1).numpy(), q.shape[2] ** -0.5)
        out[rows] = torch.bmm(scores, values).transpose(0, 1)  # (n, H, d)


def _attend_fp32(q: Tensor, k: Tensor, v: Tensor, bias: OwnBias | None, out: Tensor) -> None:
    """A head at a time, because in fp32 it is the product for linear layers that is fast."""
    length, width = len(k), _width(len(k))
    queries = q.transpose(0, 1).contiguous()  # (H, L, d)
    keys, values = _by_head(k, width), _by_head(v, width).transpose(1, 2).contiguous()  # (H, width, d), (H, d, width)
    for begin in range(0, length, 256):
        rows = slice(begin, min(begin + 256, length))
        added = _added(bias, rows, length, width)  # (H, n, width), or 1 for both
        for head in range(q.shape[1]):
            scores = _product(queries[head, rows], keys[head])  # (n, width)
            vectors.softmax_fp32(scores.numpy(), added[min(head, len(added) - 1)].numpy(), q.shape[2] ** -0.5)
            out[rows, head] = _product(scores, values[head])  # (n, d)


def _product(a: Tensor, b: Tensor) -> Tensor:
    """(n, k) and (m, k) to (n, m): twice as fast as torch.mm on a Zen 5, where MKL leaves half of the core idle."""
    return torch.ops.mkldnn._linear_pointwise(a, b, None, "none", [], "")  # type: ignore[no-any-return]


def _width(length: int) -> int:
    return -(-length // vectors.BLOCK) * vectors.BLOCK


def _by_head(x: Tensor, width: int) -> Tensor:
    """(L, H, d) to (H, width, d), with zeros after the last row."""
    laid_out = x.new_zeros(x.shape[1], width, x.shape[2])
    laid_out[:, : len(x)] = x.transpose(0, 1)
    return laid_out


def _added(bias: OwnBias | None, rows: slice, length: int, width: int) -> Tensor:
    """What hides the columns after the last, and the bias before them: fp32 (H, n, width), or (1, 1, width)."""
    own = torch.zeros(1, 1, length) if bias is None else bias(rows)
    added = torch.full((*own.shape[:2], width), -torch.inf)
    added[..., :length] = own
    return added
