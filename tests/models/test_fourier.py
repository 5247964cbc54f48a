"""torch's own convolution is the oracle, of values and of gradients."""

import pytest
import torch
import torch.nn.functional as F

from pipeline.models import fourier
from pipeline.models.conv import FrameConv
from pipeline.models.segments import Packed, Segments, Window


@pytest.mark.parametrize(
    ("num_frames", "channels", "groups", "width"),
    [(1000, (192, 192), 8, 64), (64, (8, 8), 2, 64), (65, (6, 4), 2, 33), (449, (4, 4), 1, 64), (450, (4, 8), 4, 64)],
)
@pytest.mark.parametrize("has_bias", [False, True])
def test_values_and_gradients_are_those_of_torch(num_frames, channels, groups, width, has_bias):
    torch.manual_seed(0)
    x = torch.randn(num_frames, channels[0]).T.requires_grad_()  # not in a row in memory, as recordings come
    weight = torch.randn(channels[1], channels[0] // groups, width, requires_grad=True)
    bias = torch.randn(channels[1], requires_grad=True) if has_bias else None
    given = [tensor for tensor in (x, weight, bias) if tensor is not None]
    found = fourier.convolve(x, weight, bias, groups)
    expected = F.conv1d(x.unsqueeze(0), weight, bias, groups=groups)[0]
    back = torch.randn_like(expected)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    for mine, theirs in zip(
        torch.autograd.grad(found, given, back), torch.autograd.grad(expected, given, back), strict=True
    ):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-4 * float(theirs.detach().abs().max()))


def test_it_serves_a_layer_that_learns_and_no_other(monkeypatch):
    torch.manual_seed(0)
    layer = FrameConv((16, 16), Window(64, left=32, right=31), groups=4, activation="gelu")
    x = Packed(torch.randn(300, 16), Segments((200, 100)))
    calls = []
    convolve = fourier.convolve
    monkeypatch.setattr(fourier, "convolve", lambda *given: (calls.append(1), convolve(*given))[1])
    learning = layer.train()(x).data
    assert calls == [1]
    plain = layer.eval()(x).data
    assert calls == [1]
    torch.testing.assert_close(learning, plain, rtol=1e-5, atol=1e-5)
    with torch.autocast("cpu", torch.bfloat16):
        assert layer.train()(x).data.dtype == torch.float32


def test_what_would_take_more_time_so_is_left_to_torch():
    assert fourier.is_for(torch.empty(192, 24, 64), 1, 1)
    assert not fourier.is_for(torch.empty(768, 48, 128), 1, 1)  # a base model's
    assert not fourier.is_for(torch.empty(192, 24, 3), 1, 1)
    assert not fourier.is_for(torch.empty(192, 24, 64), 2, 1)
    assert not fourier.is_for(torch.empty(192, 24, 64, dtype=torch.float64), 1, 1)


def test_a_gradient_of_a_gradient_is_refused():
    """It would be wrong."""
    x, weight = torch.randn(4, 200, requires_grad=True), torch.randn(4, 4, 64, requires_grad=True)
    (first,) = torch.autograd.grad(fourier.convolve(x, weight, None, 1).square().sum(), weight, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        first.square().sum().backward()
