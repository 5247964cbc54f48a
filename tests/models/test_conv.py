"""The prepared convolution against its plain twin, and both against torch's on each recording alone."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.models.conv import FrameConv, exact
from pipeline.models.linear import ACTIVATIONS
from pipeline.models.segments import Packed, Window

# Of outputs of size 1: what one rounding of the inputs, the weights and the output may do.
CLOSE = {"fp32": 1e-5, "bf16": 3e-2}


@settings(max_examples=40)
@given(
    lengths=st.lists(st.integers(9, 60), min_size=1, max_size=4),
    kernel=st.sampled_from([1, 2, 7, 16]),
    stride=st.integers(1, 3),
    groups=st.sampled_from([1, 4, 16]),
    activation=st.sampled_from(["", "gelu", "relu", "silu", "gelu_new"]),
    precision=st.sampled_from(["fp32", "bf16"]),
)
def test_the_prepared_convolution_agrees_with_the_plain_one(
    lengths: list[int], kernel: int, stride: int, groups: int, activation: str, precision: str
) -> None:
    torch.manual_seed(0)
    window = Window(kernel, stride, left=kernel // 2, right=kernel // 2)
    conv = FrameConv((16, 32), window, groups, activation=activation)
    x = Packed.of([torch.randn(length, 16) for length in lengths])
    with torch.inference_mode():
        plain = conv(x)
        alone = [
            torch.conv1d(one.T[None], conv.weight, conv.bias, stride, padding=kernel // 2, groups=groups)[0].T
            for one in x.split()
        ]
        conv.prepare(precision)
        fast = conv(x)
    assert plain.segments == fast.segments
    expected = torch.cat(alone)
    expected = ACTIVATIONS[activation](expected) if activation else expected
    torch.testing.assert_close(plain.data, expected, atol=1e-5, rtol=0)
    torch.testing.assert_close(fast.data.float(), expected, atol=CLOSE[precision], rtol=0)


def test_half_precision_runs_where_onednn_does_not_help() -> None:
    conv = FrameConv((16, 16), Window(3, left=1, right=1))
    x = Packed.of([torch.randn(5, 16)])
    with torch.inference_mode():
        expected = conv(x).data
        conv.prepare("fp16")
        torch.testing.assert_close(conv(x).data.float(), expected, atol=5e-3, rtol=0)


def test_a_cpu_without_bf16_convolves_in_fp32(monkeypatch: pytest.MonkeyPatch) -> None:
    """The risk: bf16 emulated, ten times as slow, or refused by oneDNN."""
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    conv = FrameConv((16, 16), Window(3, left=1, right=1))
    x = Packed.of([torch.randn(5, 16)])
    with torch.inference_mode():
        expected = conv(x).data
        conv.prepare("bf16")
        torch.testing.assert_close(conv(x).data, expected, atol=1e-5, rtol=0)


def test_fp32_on_a_gpu_is_not_tf32_and_other_settings_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    """The risk: fp32 with errors of 1e-3 on GPUs alone, or a caller's own settings lost. (No GPU is asked here.)"""
    cudnn: Any = torch.backends.cudnn
    monkeypatch.setattr(cudnn, "deterministic", True)
    monkeypatch.setattr(cudnn, "allow_tf32", True)
    weights: Any = [SimpleNamespace(is_cuda=True, dtype=dtype) for dtype in (torch.float32, torch.float16)]
    with exact(weights[0]):
        assert (cudnn.allow_tf32, cudnn.enabled, cudnn.deterministic) == (False, True, True)
    assert cudnn.allow_tf32 and cudnn.deterministic
    for weight in (weights[1], torch.ones(1)):
        with exact(weight):
            assert cudnn.allow_tf32


def test_a_prepared_convolution_keeps_one_copy_of_its_weight() -> None:
    """The risk: models that take twice their memory."""
    conv = FrameConv((16, 16), Window(3, left=1, right=1))
    conv.prepare("fp32")
    assert conv.weight.numel() == 0


def test_a_model_that_was_prepared_for_the_cpu_is_not_moved_unnoticed() -> None:
    conv = FrameConv((16, 16), Window(3, left=1, right=1))
    conv.prepare("fp32")
    with pytest.raises(RuntimeError, match="prepared for the CPU"):
        conv(Packed.of([torch.randn(5, 16, device="meta")]))
