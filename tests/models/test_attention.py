"""Every way to attend must give what the formula gives, to each recording as if it were alone."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from pipeline.errors import UsageError
from pipeline.models import attention, cpu_attention, vectors
from pipeline.models.attention import Attend, Bias, attend, check_implementation, eager, flash, one_by_one, padded
from pipeline.models.segments import Segments

Run = Callable[[Tensor, Tensor, Tensor, Segments, Bias | None], Tensor]


def padded_in_pieces(q: Tensor, k: Tensor, v: Tensor, segments: Segments, bias: Bias | None) -> Tensor:
    return padded(q, k, v, segments, bias, most=1000)


RUNS: dict[str, Run] = {
    "one_by_one": one_by_one,
    "padded": padded,
    "padded_in_pieces": padded_in_pieces,
    "compiled": cpu_attention.attend,
    "attend": attend,
}


def heads(segments: Segments, num_heads: int = 3, size: int = 8, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, keys and values; scores have a deviation of 2, so that some weights are large."""
    generator = torch.Generator().manual_seed(seed)
    q, k, v = torch.randn(3, segments.total, num_heads, size, generator=generator)
    return 2 * q, k, v


def table_bias(segments: Segments, num_heads: int = 3) -> Bias:
    """A bias that is another for every recording, head, query and key."""
    generator = torch.Generator().manual_seed(7)
    table = 2 * torch.randn(len(segments.lengths), num_heads, segments.longest, segments.longest, generator=generator)

    def bias(number: int, rows: slice) -> Tensor:
        return table[number, :, rows, : segments.lengths[number]]  # (H, rows, L)

    return bias


def largest(y: Tensor, expected: Tensor) -> float:
    return float((y.float() - expected.float()).abs().max() / expected.float().std())


@pytest.fixture(autouse=True)
def _compiled_for_short_recordings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu_attention, "SHORTEST_FP32", 6)


def test_eager_is_softmax_attention() -> None:
    """All others are held to it, so it is held to torch."""
    segments = Segments((9, 1, 30))
    q, k, v = heads(segments)
    bias = table_bias(segments)
    y = eager(q, k, v, segments, bias)
    for number, rows in enumerate(segments.slices()):
        own = (x[rows].transpose(0, 1).double() for x in (q, k, v))
        expected = F.scaled_dot_product_attention(*own, bias(number, slice(0, segments.lengths[number])).double())
        assert torch.allclose(y[rows].double(), expected.transpose(0, 1).flatten(1), atol=1e-6)


@pytest.mark.parametrize("run", RUNS.values(), ids=RUNS)
@given(
    lengths=st.lists(st.integers(1, 80), min_size=1, max_size=6),
    num_heads=st.integers(1, 4),
    size=st.sampled_from([1, 7, 8, 16]),
    has_bias=st.booleans(),
    seed=st.integers(0, 99),
)
@settings(max_examples=25, deadline=None)
def test_every_way_agrees_with_the_formula(
    run: Run, lengths: list[int], num_heads: int, size: int, has_bias: bool, seed: int
) -> None:
    segments = Segments(tuple(lengths))
    q, k, v = heads(segments, num_heads, size, seed)
    bias = table_bias(segments, num_heads) if has_bias else None
    expected = eager(q, k, v, segments, bias)
    assert float((run(q, k, v, segments, bias) - expected).abs().max()) < 1e-5
    half = run(q.bfloat16(), k.bfloat16(), v.bfloat16(), segments, bias)
    assert half.dtype == torch.bfloat16
    # Scores of up to 10 have a step of 1/16 in bf16, where a kernel keeps them so.
    assert float((half - expected).square().mean().sqrt()) < 3e-2
    assert float((half - expected).abs().max()) < 0.3


@pytest.mark.parametrize("run", RUNS.values(), ids=RUNS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("has_bias", [False, True])
def test_several_blocks_of_queries(run: Run, dtype: torch.dtype, has_bias: bool) -> None:
    """Lengths about the sizes of blocks, where the last block is short or a whole one."""
    segments = Segments((128, 257, 256, 600, 129))
    q, k, v = (x.to(dtype) for x in heads(segments))
    bias = table_bias(segments) if has_bias else None
    tolerance = 1e-5 if dtype == torch.float32 else 0.2
    assert largest(run(q, k, v, segments, bias), eager(q.float(), k.float(), v.float(), segments, bias)) < tolerance


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("run", RUNS.values(), ids=RUNS)
def test_a_recording_is_as_if_it_were_alone(run: Run, dtype: torch.dtype) -> None:
    """Neither what others hold, not even NaN, nor how many there are, nor how long they are."""
    alone = Segments((70,))
    q, k, v = (x.to(dtype) for x in heads(alone))
    expected = run(q, k, v, alone, None)
    for lengths, place in (((70, 3), 0), ((1, 70, 300), 1), ((90, 70), 1), ((70,) * 5, 4)):
        segments = Segments(lengths)
        rows = list(segments.slices())[place]
        in_company = torch.full((3, segments.total, *q.shape[1:]), torch.nan, dtype=dtype)
        in_company[:, rows] = torch.stack((q, k, v))
        y = run(*in_company, segments, None)[rows]
        # Padding makes rows longer, and so their sums are taken in another order; nothing else may differ.
        padding = {torch.float32: 3e-6, torch.bfloat16: 2e-2}[dtype]
        assert largest(y, expected) <= (padding if run in (padded, padded_in_pieces) else 0.0)


@pytest.mark.parametrize("run", RUNS.values(), ids=RUNS)
def test_scores_of_any_size(run: Run) -> None:
    """exp of a thousand is infinite: the largest score has to be taken off first."""
    segments = Segments((40, 9))
    q, k, v = heads(segments)
    for factor in (1e-10, 1e2, 1e4):
        expected = eager(q * factor, k, v, segments)
        assert largest(run(q * factor, k, v, segments, None), expected) < 1e-3
    shifted = k + 100  # all scores of a query far from zero, on one side
    assert largest(run(q, shifted, v, segments, None), eager(q, shifted, v, segments)) < 1e-3


def test_the_compiled_softmax_over_rows_of_any_width() -> None:
    """Its vector loops and what is left over at their ends; and what hides columns hides them."""
    for width in (1, 2, 15, 16, 17, 63, 64, 65, 130, 1000):
        scores, bias = 8 * torch.randn(5, width), torch.randn(5, width)
        if width > 2:
            bias[:, -2:] = -torch.inf
        expected = (0.3 * scores + bias).softmax(dim=1)
        fp32 = scores.clone()
        vectors.softmax_fp32(fp32.numpy(), bias.numpy(), 0.3)
        assert torch.allclose(fp32, expected, rtol=1e-5, atol=1e-20)
        bf16 = scores.bfloat16()
        expected = (0.3 * bf16.float() + bias).softmax(dim=1)
        vectors.softmax_bf16(bf16.view(torch.uint16).numpy(), bias.numpy(), 0.3)
        assert torch.allclose(bf16.float(), expected, rtol=4e-3, atol=1e-20)
        vectors.softmax_fp32(scores.numpy(), torch.zeros(1, width).numpy(), 1.0)
        assert torch.allclose(scores.sum(dim=1), torch.ones(5)), "one row of bias serves all rows"


def test_weights_are_kept_for_each_recording() -> None:
    segments = Segments((5, 12))
    q, k, v = heads(segments)
    weights: list[Tensor] = []
    bias = table_bias(segments)
    y = attend(q, k, v, segments, bias, Attend("sdpa", weights))
    assert [tuple(one.shape) for one in weights] == [(3, 5, 5), (3, 12, 12)]
    assert all(torch.allclose(one.sum(dim=2), torch.ones(())) for one in weights)
    assert torch.allclose(y, attend(q, k, v, segments, bias), atol=1e-6)


@pytest.mark.parametrize("learns", ["queries", "keys", "bias"])
def test_gradients_reach_whatever_learns(learns: str) -> None:
    """The compiled kernels have none to give, and must not cut them off in silence."""
    segments = Segments((20, 30))
    q, k, v = heads(segments)
    slope = torch.ones(1, requires_grad=learns == "bias")
    q.requires_grad_(learns == "queries")
    k.requires_grad_(learns == "keys")
    table = table_bias(segments)
    attend(q, k, v, segments, lambda number, rows: slope * table(number, rows)).square().sum().backward()
    assert {"queries": q, "keys": k, "bias": slope}[learns].grad is not None


def test_a_bias_is_asked_for_in_blocks_of_bounded_size() -> None:
    """For ten minutes of audio all of it at once would be 40 GB."""
    segments = Segments((700, 30))
    q, k, v = heads(segments)
    table = table_bias(segments)
    asked: list[tuple[int, slice]] = []

    def bias(number: int, rows: slice) -> Tensor:
        asked.append((number, rows))
        return table(number, rows)

    cpu_attention.attend(q, k, v, segments, bias)
    assert max(rows.stop - rows.start for _, rows in asked) <= 256
    for most in (1, 3 * 700 * 10, 1 << 27):
        blocks = list(attention.query_blocks(700, 3, bias, most))
        assert [row for block in blocks for row in range(block.start, block.stop)] == list(range(700))
        assert all((block.stop - block.start) * 3 * 700 <= max(most, 3 * 700) for block in blocks)
    assert list(attention.query_blocks(700, 3, None, 1)) == [slice(0, 700)]


def test_the_kernel_for_packed_rows_gets_what_it_expects(monkeypatch: pytest.MonkeyPatch) -> None:
    """It needs a GPU; here a stand-in with its signature reads the bounds as the real one does."""

    def varlen(q: Tensor, k: Tensor, v: Tensor, q_bounds: Tensor, k_bounds: Tensor, q_most: int, k_most: int) -> Tensor:
        assert q_bounds.dtype == k_bounds.dtype == torch.int32 and q_most == k_most == 31
        assert all(x.is_contiguous() for x in (q, k, v))
        own = zip(q_bounds.tolist(), k_bounds.tolist()[1:], strict=False)
        pieces = (one_by_one(q[a:b], k[a:b], v[a:b], Segments((b - a,))) for a, b in own)
        return torch.cat(list(pieces)).view(q.shape)

    segments = Segments((5, 31, 8))
    q, k, v = heads(segments)
    with pytest.raises(UsageError, match="flash attention is not available"):
        flash(q, k, v, segments)
    monkeypatch.setattr(attention, "_varlen", lambda: varlen)
    assert torch.allclose(flash(q, k, v, segments), eager(q, k, v, segments), atol=1e-5)


def test_an_implementation_that_is_not_there_is_named_with_those_that_are() -> None:
    check_implementation("eager", torch.device("cpu"))
    check_implementation("sdpa", torch.device("cpu"))
    for name in ("flash_attention_2", "flex_attention", "sdpa "):
        with pytest.raises(UsageError, match=f"attention '{name}' is not available on cpu; available: eager, sdpa"):
            check_implementation(name, torch.device("cpu"))
