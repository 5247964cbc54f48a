"""What positions add to attention, against what each pair of frames should get.

It does not know models; `test_bert.py` and `test_conformer.py` hold the whole to transformers.
"""

from typing import Any

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from pipeline.models.attention import Attend
from pipeline.models.positions import (
    SelfAttention,
    relative_bias,
    relative_key_bias,
    rotary_frequencies,
    rotate,
    rotations,
    shared_positions,
    sinusoid_frequencies,
    sinusoids,
)
from pipeline.models.precision import prepare
from pipeline.models.segments import Packed, Segments


@given(lengths=st.lists(st.integers(1, 30), min_size=1, max_size=3), data=st.data())
@settings(max_examples=40, deadline=None)
def test_position_scores_of_any_rows_are_those_of_each_pair(lengths: list[int], data: st.DataObject) -> None:
    """The risk: a skew that is off by one for a block, at an edge, or for a recording shorter than the longest."""
    segments = Segments(tuple(lengths))
    reach = (data.draw(st.integers(0, 9)), data.draw(st.integers(0, 9)))
    number = data.draw(st.integers(0, len(lengths) - 1))
    start = data.draw(st.integers(0, lengths[number] - 1))
    rows = slice(start, data.draw(st.integers(start + 1, lengths[number])))
    generator = torch.Generator().manual_seed(0)
    q = torch.randn((segments.total, 2, 4), generator=generator)  # (T, H, d)
    keys = torch.randn((sum(reach) + 1, 4), generator=generator)  # one for each distance told apart
    table = sinusoids(segments.longest, sinusoid_frequencies(8)).view(-1, 2, 4)  # (2 * longest, H, d)

    near = relative_key_bias(q @ keys.T, reach, segments)(number, rows)
    far = relative_bias(q, table, segments)(number, rows)
    assert near.shape == far.shape == (2, rows.stop - rows.start, lengths[number])
    for i in range(rows.start, rows.stop):
        query = q[segments.offsets[number] + i]  # (H, d)
        for j in range(lengths[number]):
            key = keys[min(max(j - i, -reach[0]), reach[1]) + reach[0]]
            torch.testing.assert_close(near[:, i - rows.start, j], query @ key)
            pair = (query * table[segments.longest - (i - j)]).sum(dim=1)
            torch.testing.assert_close(far[:, i - rows.start, j], pair)


def test_position_scores_take_no_table_of_all_pairs() -> None:
    """The risk: memory of (T, T, d), as in the reference: 575 MB at 30 s of a large model, in every layer."""
    torch.manual_seed(0)
    attention, x = SelfAttention(64, 1, "relative_key"), Packed.of([torch.randn(600, 64)])
    largest = 0

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            nonlocal largest
            made = func(*args, **(kwargs or {}))
            largest = max(largest, made.numel() if isinstance(made, Tensor) else 0)
            return made

    with torch.inference_mode(), Watch():
        attention(x, None, Attend())
    assert largest <= 2 * 600 * 600  # a row for each query, as wide as all its distances


def test_scores_of_large_queries_stay_finite_in_fp16() -> None:
    """The risk: products of queries and tables beyond 65504 before they are scaled, known of relative positions."""
    torch.manual_seed(0)
    attention = SelfAttention(64, 1, "relative").requires_grad_(False)
    attention.linear_pos.weight.copy_(20 * torch.eye(64))
    attention.linear_q.weight.copy_(400 * torch.eye(64))
    x = Packed.of([torch.ones(50, 64)])
    shared = shared_positions("relative", x.segments, sinusoid_frequencies(64))
    assert float((400.0 * 20.0 * shared.sum(dim=1)).max()) > 65504
    expected = attention(x, shared, Attend())
    prepare(attention, "fp16")
    found = attention(x, shared, Attend()).float()
    assert found.isfinite().all()
    torch.testing.assert_close(found, expected, atol=1e-2, rtol=1e-2)


def test_rotation_leaves_only_the_distance_between_two_frames() -> None:
    """The risk: angles that count on from one recording into the next, or halves paired wrongly."""
    torch.manual_seed(0)
    segments = Segments((9, 4))
    one, other = torch.randn(2, 24)  # in three heads
    turns = rotations(segments, rotary_frequencies(8, 10_000.0))
    ones, others = (rotate(x.expand(13, 24), turns).view(13, 3, 8) for x in (one, other))  # (T, H, d) each
    products = torch.einsum("ihd,jhd->hij", ones, others)
    for rows in segments.slices():
        own = products[:, rows, rows]
        torch.testing.assert_close(own[:, 1:, 1:], own[:, :-1, :-1])
    torch.testing.assert_close(products[:, 9:, 9:], products[:, :4, :4])
    torch.testing.assert_close(ones[0].flatten(), one)
    assert float((products[:, 0, 1] - products[:, 1, 0]).abs().min()) > 1e-4
