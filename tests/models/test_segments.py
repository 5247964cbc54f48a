"""Packing against padding, and packed convolutions against torch's on every recording alone."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from pipeline.models.segments import Packed, Segments, Window, convolve

LENGTHS = st.lists(st.integers(1, 40), min_size=1, max_size=6)


def packed(lengths: list[int], channels: int = 6, seed: int = 0) -> Packed:
    generator = torch.Generator().manual_seed(seed)
    return Packed.of([torch.randn((length, channels), generator=generator) for length in lengths])


@settings(max_examples=80)
@given(
    lengths=LENGTHS,
    kernel=st.integers(1, 9),
    stride=st.integers(1, 4),
    dilation=st.integers(1, 3),
    left=st.integers(0, 9),
    right=st.integers(0, 9),
    groups=st.sampled_from([1, 2, 6]),
)
def test_a_packed_convolution_is_that_of_each_recording_alone(
    lengths: list[int], kernel: int, stride: int, dilation: int, left: int, right: int, groups: int
) -> None:
    """The risk: a neighbour that leaks in, or a frame at an edge that is lost or made up."""
    torch.manual_seed(1)
    conv = nn.Conv1d(6, 12, kernel, stride, dilation=dilation, groups=groups)
    window = Window(kernel, stride, left, right, dilation)
    x = packed([length + window.span for length in lengths])
    with torch.inference_mode():
        ours = convolve(x, conv, window)
        alone = [conv(nn.functional.pad(one.T, (left, right)).unsqueeze(0))[0].T for one in x.split()]
    assert ours.segments.lengths == tuple(len(one) for one in alone)
    for got, expected in zip(ours.split(), alone, strict=True):
        torch.testing.assert_close(got, expected, atol=1e-5, rtol=0)


@given(lengths=LENGTHS, value=st.floats(-3, 3))
def test_padding_and_packing_are_inverses(lengths: list[int], value: float) -> None:
    x = packed(lengths)
    batch = x.padded(value)
    mask = torch.arange(max(lengths)) < torch.tensor(lengths).unsqueeze(1)
    assert (batch[~mask] == value).all()
    for kind in (torch.bool, torch.int64, torch.float32):
        back = Packed.from_padded(batch, mask.to(kind))
        assert back.segments == x.segments
        assert torch.equal(back.data, x.data)


def test_left_padding_is_taken_off_too() -> None:
    """The risk: masks taken for lengths, and audio shifted into its padding."""
    batch = torch.arange(10.0).view(2, 5)
    mask = torch.tensor([[0, 0, 1, 1, 1], [1, 1, 1, 1, 0]])
    assert [one.tolist() for one in Packed.from_padded(batch, mask).split()] == [[2, 3, 4], [5, 6, 7, 8]]


def test_without_a_mask_all_of_a_batch_is_real() -> None:
    assert Packed.from_padded(torch.zeros(3, 4, 2)).segments == Segments((4, 4, 4))


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        ([[1, 0, 1], [1, 1, 1]], "gaps"),
        ([[1, 1, 1], [0, 0, 0]], "hides all of recording 1"),
        ([[1, 1], [1, 1]], r"\(2, 2\)"),
    ],
)
def test_a_mask_that_marks_no_recording_is_refused(mask: list[list[int]], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Packed.from_padded(torch.zeros(2, 3), torch.tensor(mask))


def test_rows_that_belong_to_nobody_are_refused() -> None:
    with pytest.raises(ValueError, match="5 rows for recordings of 4"):
        Packed(torch.zeros(5, 2), Segments((1, 3)))
    with pytest.raises(ValueError, match="needs a row"):
        Segments((3, 0))


def test_offsets_for_kernels_are_made_once_for_each_device() -> None:
    segments = Segments((3, 1, 2))
    offsets = segments.cumulative(torch.device("cpu"))
    assert offsets.tolist() == [0, 3, 4, 6] and offsets.dtype == torch.int32
    assert segments.cumulative(torch.device("cpu")) is offsets


def test_packed_rows_keep_their_gradients() -> None:
    """The risk: training through packing that silently trains nothing."""
    conv = nn.Conv1d(6, 6, 3)
    x = packed([5, 9])
    x.data.requires_grad_()
    convolve(x, conv, Window(3, left=1, right=1)).data.square().sum().backward()
    assert x.data.grad is not None and (x.data.grad.abs().sum(dim=1) > 0).all()
