"""Self-attention that knows where frames stand, as conformers have it: by rotation, by distance, or not at all.

It knows neither the layer around it nor how attention is computed. Shapes: T frames of all packed recordings, L of one,
n of a block of queries, D hidden size, H heads of width d.

What depends only on the lengths is made once, by `shared_positions`, and given to every layer.
"""

import math
from typing import Literal

import torch
from torch import Tensor, nn

from pipeline.models.attention import Attend, Bias, attend
from pipeline.models.linear import Linear
from pipeline.models.segments import Packed, Segments

# rotary: Su et al. 2021, arXiv 2104.09864. relative: Dai et al. 2019, arXiv 1901.02860 (Transformer-XL).
# relative_key: Shaw et al. 2018, arXiv 1803.02155.
PositionKind = Literal["rotary", "relative", "relative_key"]


class SelfAttention(nn.Module):
    """Queries, keys and values of one input; names as in checkpoints."""

    def __init__(
        self, size: int, num_heads: int, kind: PositionKind | None = None, reach: tuple[int, int] = (64, 8)
    ) -> None:
        """`reach`: how many frames to the left and to the right `relative_key` tells apart."""
        super().__init__()
        self.num_heads, self.kind, self.reach = num_heads, kind, reach
        self.scale = (size // num_heads) ** -0.5
        self.linear_q, self.linear_k, self.linear_v, self.linear_out = (Linear(size, size) for _ in range(4))
        if kind == "relative":
            self.linear_pos = Linear(size, size, bias=False)
            self.pos_bias_u = nn.Parameter(torch.zeros(num_heads, size // num_heads))
            self.pos_bias_v = nn.Parameter(torch.zeros(num_heads, size // num_heads))
        if kind == "relative_key":
            self.distance_embedding = nn.Embedding(sum(reach) + 1, size // num_heads)

    def forward(self, x: Packed, shared: Tensor | None, how: Attend) -> Tensor:
        # Queries and keys see the rotated input, values the plain one: the rotation comes before the projections.
        turned = x.data  # (T, D)
        if self.kind == "rotary":
            assert shared is not None
            turned = rotate(x.data, shared)
        q, k = self._per_head(self.linear_q(turned)), self._per_head(self.linear_k(turned))  # (T, H, d) each
        v = self._per_head(self.linear_v(x.data))  # (T, H, d)
        q, bias = self._placed(q, shared, x.segments)
        y = attend(q, k, v, x.segments, bias, how)  # (T, D)
        y = self.linear_out(y)  # (T, D)
        return y  # type: ignore[no-any-return]

    def _per_head(self, x: Tensor) -> Tensor:
        return x.view(len(x), self.num_heads, -1)  # (T, H, d)

    def _placed(self, q: Tensor, shared: Tensor | None, segments: Segments) -> tuple[Tensor, Bias | None]:
        """The queries as they meet the keys, and what positions add to the scores.

        Queries are scaled before they meet a table: products of unscaled ones can be too large for fp16.
        """
        if self.kind == "relative":
            assert shared is not None
            table = self._per_head(self.linear_pos(shared))  # (2 * longest, H, d)
            scaled = ((q + self.pos_bias_v) * self.scale).to(table.dtype)  # (T, H, d)
            return (q + self.pos_bias_u).to(q.dtype), relative_bias(scaled, table, segments)
        if self.kind == "relative_key":
            scores = (q * self.scale) @ self.distance_embedding.weight.to(q.dtype).T  # (T, H, distances)
            return q, relative_key_bias(scores, self.reach, segments)
        return q, None


class Positions(nn.Module):
    """What every layer needs to know of where frames stand, made once for all of them."""

    def __init__(self, kind: PositionKind | None, size: int, num_heads: int, rotary_base: float, saved: bool) -> None:
        """`saved`: whether checkpoints hold rotary frequencies, which may then be rounded, as they were in training."""
        super().__init__()
        self.kind = kind
        with torch.device("cpu"):  # what a checkpoint may lack is real even where the weights are on the meta device
            if kind == "rotary":
                frequencies = rotary_frequencies(size // num_heads, rotary_base)
                self.register_buffer("inv_freq", frequencies, persistent=saved)
            elif kind == "relative":
                self.register_buffer("frequencies", sinusoid_frequencies(size), persistent=False)

    def forward(self, segments: Segments) -> Tensor | None:
        frequencies = next(self.buffers(), None)
        return None if frequencies is None else shared_positions(self.kind, segments, frequencies)


def shared_positions(kind: PositionKind | None, segments: Segments, frequencies: Tensor) -> Tensor | None:
    """What all layers need to know of positions.

    `frequencies` are those of `rotary_frequencies` or of `sinusoid_frequencies`, on the device of the model.
    """
    if kind == "rotary":
        return rotations(segments, frequencies)
    return sinusoids(segments.longest, frequencies) if kind == "relative" else None


# ---- rotary


def rotary_frequencies(head_size: int, base: float) -> Tensor:
    """By how much each pair of features turns from one frame to the next, in fp32. (d / 2,)"""
    return 1.0 / base ** (torch.arange(0, head_size, 2).float() / head_size)


def rotations(segments: Segments, frequencies: Tensor) -> Tensor:
    """Cosines and sines for every frame: (2, T, 1, d / 2)."""
    places = torch.arange(segments.longest, device=frequencies.device, dtype=frequencies.dtype)
    # In fp32, as these models were trained: at minute one an angle is off by up to 1e-4, everywhere alike.
    angles = places[:, None] * frequencies  # (longest, d / 2)
    table = torch.stack((angles.cos(), angles.sin())).unsqueeze(2)  # (2, longest, 1, d / 2)
    return torch.cat([table[:, :length] for length in segments.lengths], dim=1)  # (2, T, 1, d / 2)


def rotate(x: Tensor, turns: Tensor) -> Tensor:
    """Turns the first half of each head's features with its second half. (T, D)"""
    cos, sin = turns  # (T, 1, d / 2) each
    first, second = x.view(len(x), -1, 2 * cos.shape[-1]).chunk(2, dim=2)  # (T, H, d / 2) each
    return torch.cat((first * cos - second * sin, second * cos + first * sin), dim=2).flatten(1)


# ---- relative and relative_key


def sinusoid_frequencies(size: int) -> Tensor:
    """Of the sines and cosines that tell distances, in fp32. (D / 2,)"""
    return torch.exp(torch.arange(0, size, 2).float() * -(math.log(10_000.0) / size))


def sinusoids(longest: int, frequencies: Tensor) -> Tensor:
    """A row for each distance from a key to a query after it: `longest` down to 1 - `longest`. (2 * longest, D)"""
    distances = torch.arange(longest, -longest, -1, device=frequencies.device, dtype=frequencies.dtype)
    angles = distances[:, None] * frequencies  # (2 * longest, D / 2)
    return torch.stack((angles.sin(), angles.cos()), dim=2).flatten(1)


def relative_bias(q: Tensor, table: Tensor, segments: Segments) -> Bias:
    """Scores of queries (T, H, d) with what stands for distances (2 * longest, H, d), in the order of `sinusoids`."""
    # Each head's own rows together: in bf16 the products are twice as fast so.
    by_head = table.transpose(0, 1).contiguous().transpose(1, 2)  # (H, d, 2 * longest)

    def bias(number: int, rows: slice) -> Tensor:
        length, begin = segments.lengths[number], segments.offsets[number]
        queries = q[begin + rows.start : begin + rows.stop].transpose(0, 1)  # (H, n, d)
        # These rows see distances from rows.stop - 1 down to rows.start - length + 1, and one more comes along.
        first = segments.longest - rows.stop
        return skewed(queries @ by_head[..., first : first + length + queries.shape[1]])  # (H, n, L)

    return bias


def relative_key_bias(scores: Tensor, reach: tuple[int, int], segments: Segments) -> Bias:
    """Scores (T, H, left + 1 + right) of queries with each distance told apart; what is farther is as the farthest.

    The table of all pairs' embeddings, (L, L, d), is never made: a frame has only that many scores to choose from.
    """
    left, right = reach

    def bias(number: int, rows: slice) -> Tensor:
        length, begin = segments.lengths[number], segments.offsets[number]
        own = scores[begin + rows.start : begin + rows.stop].transpose(0, 1)  # (H, n, left + 1 + right)
        num_columns = length + own.shape[1]
        # Column m is for the keys that stand m - rows.stop after their query.
        num_far_left = max(0, rows.stop - left)
        band = own[..., max(0, left - rows.stop) : left + 1 + min(right, num_columns - 1 - rows.stop)]
        num_far_right = num_columns - num_far_left - band.shape[2]
        far = (own[..., :1].expand(-1, -1, num_far_left), own[..., -1:].expand(-1, -1, num_far_right))
        return skewed(torch.cat((far[0], band, far[1]), dim=2))  # (H, n, L)

    return bias


def skewed(by_distance: Tensor) -> Tensor:
    """(H, n, L + n) to (H, n, L): row t begins at its own column, n - t. A view, if its input is contiguous.

    In memory, a row that is one shorter than the last begins one column earlier each time.
    """
    num_heads, num_rows, num_columns = by_distance.shape
    shifted = by_distance.flatten(1)[:, num_rows:]  # (H, n * (L + n - 1))
    return shifted.view(num_heads, num_rows, num_columns - 1)[..., : num_columns - num_rows]  # (H, n, L)
