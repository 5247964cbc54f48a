"""The front end against transformers' own, alone: in tiles, in packs, in parts, normalised, prepared.

It does not know trained weights; the oracle's are random, with no norm or bias at its initial value.
"""

import copy
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from pipeline.models.config import ConvConfig
from pipeline.models.frontend import FrontEnd, Recorded
from pipeline.models.groupnorm import Moments, moments
from pipeline.models.precision import Precision
from pipeline.models.segments import Packed
from tests.models.oracle import GROUP, LAYER, SECOND, audio, oracle_model

TOLERANCE = 1e-5  # the largest difference, as a share of the frames' standard deviation

SHORT = {"conv_dim": [12, 20, 8], "conv_kernel": [7, 4, 3], "conv_stride": [4, 3, 5]}  # the last leaves frames out
VARIANTS: dict[str, dict[str, Any]] = {
    "group": GROUP,
    "layer": LAYER,
    "group with conv bias": GROUP | {"conv_bias": True},
    "layer without conv bias": LAYER | {"conv_bias": False},
    "group, short": GROUP | SHORT,
    "layer, short": LAYER | SHORT,
    "group, steps wider than windows": GROUP | {"conv_dim": [8, 8], "conv_kernel": [3, 2], "conv_stride": [5, 3]},
    "layer, steps of one": LAYER | {"conv_dim": [8, 6], "conv_kernel": [9, 4], "conv_stride": [1, 1]},
    "group, one layer": GROUP | {"conv_dim": [8], "conv_kernel": [25], "conv_stride": [10]},
    "layer, one layer": LAYER | {"conv_dim": [8], "conv_kernel": [25], "conv_stride": [10]},
    "group, relu": GROUP | {"feat_extract_activation": "relu"},
    "group, tanh gelu": GROUP | {"feat_extract_activation": "gelu_new"},
    "layer, silu": LAYER | {"feat_extract_activation": "silu"},
    "layer, quick gelu": LAYER | {"feat_extract_activation": "quick_gelu"},
}
NORMS = {"group": GROUP | SHORT, "layer": LAYER | SHORT}


def front_ends(config: dict[str, Any]) -> tuple[nn.Module, FrontEnd]:
    """transformers' and ours, with the same weights under the same names."""
    oracle = oracle_model(config, "Wav2Vec2Model").feature_extractor
    assert isinstance(oracle, nn.Module)
    convolutions: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in config.items()
        if name.startswith(("conv_", "feat_"))
    }
    ours = FrontEnd(ConvConfig(**convolutions))
    ours.load_state_dict(oracle.state_dict())
    return oracle, ours.eval()


def prepared(front_end: FrontEnd, precision: Precision) -> FrontEnd:
    front_end = copy.deepcopy(front_end)
    front_end.prepare(precision)
    return front_end


def alone(oracle: nn.Module, samples: Tensor) -> Tensor:
    with torch.inference_mode():
        frames: Tensor = oracle(samples.unsqueeze(0))[0].T
    return frames  # (T, C)


def normalised(samples: Tensor) -> Tensor:
    """As a feature extractor of transformers does it."""
    x = samples.double().numpy()
    return torch.from_numpy((x - x.mean()) / np.sqrt(x.var() + 1e-7)).float()


def largest(frames: Tensor, expected: Tensor) -> float:
    assert frames.shape == expected.shape
    spread = float(expected.double().std()) if expected.numel() > 1 else 1.0
    return float((frames - expected).abs().max()) / spread


@torch.inference_mode()
def run(front_end: FrontEnd, recordings: list[Tensor], normalise: bool = False) -> list[Tensor]:
    frames: Packed = front_end((Recorded if normalise else Packed).of(recordings))
    return frames.split()


@pytest.mark.parametrize("variant", VARIANTS)
def test_frames_equal_transformers_whole_in_tiles_and_prepared(variant: str) -> None:
    """The risk: a margin, a norm, a bias or an activation in the wrong place, seen only in some configs."""
    oracle, ours = front_ends(VARIANTS[variant])
    fast = prepared(ours, "fp32")
    ours.tile_frames = fast.tile_frames = 7
    shortest, hop = ours.config.min_samples, ours.config.samples_per_frame
    if variant == "group, one layer":  # norms over a frame or two are refused, or all rounding error
        shortest += 4 * hop
    for num_samples in (shortest, shortest + 1, shortest + hop - 1, shortest + hop, SECOND // 4 + 3):
        samples = audio(1, num_samples)[0]
        expected = alone(oracle, samples)
        assert len(expected) == ours.config.num_frames(num_samples)
        with torch.inference_mode():
            assert largest(ours.whole(samples), expected) < TOLERANCE
        for front_end in (ours, fast):
            assert largest(run(front_end, [samples])[0], expected) < TOLERANCE


@pytest.mark.parametrize("norm", NORMS)
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_a_recording_is_in_any_pack_what_it_is_alone(norm: str, data: st.DataObject) -> None:
    """The risk: statistics, weights or samples of a neighbour in the same tile, at bounds that few packs have."""
    _, ours = front_ends(NORMS[norm])
    if data.draw(st.booleans(), "prepared"):
        ours.prepare("fp32")
    shortest = ours.config.min_samples
    lengths = data.draw(st.lists(st.integers(shortest, shortest + 700), min_size=1, max_size=6), "lengths")
    normalise = data.draw(st.booleans(), "normalise")
    recordings = [audio(1, length, seed)[0] * 10.0 ** (seed % 3 - 2) for seed, length in enumerate(lengths)]
    expected = [run(ours, [one], normalise)[0] for one in recordings]
    ours.tile_frames = data.draw(st.integers(1, 40), "tile")
    for frames, by_itself in zip(run(ours, recordings, normalise), expected, strict=True):
        assert largest(frames, by_itself) < TOLERANCE


@pytest.mark.parametrize("norm", NORMS)
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_any_part_of_a_recording_is_that_part_of_the_whole(norm: str, data: st.DataObject) -> None:
    """The risk: long recordings, made in parts, with other statistics or frames that are off by one at the seams."""
    oracle, ours = front_ends(NORMS[norm])
    ours.tile_frames = data.draw(st.integers(1, 40), "tile")
    if data.draw(st.booleans(), "prepared"):
        ours.prepare("fp32")
    samples = audio(1, 5000)[0]
    expected = alone(oracle, normalised(samples))
    start = data.draw(st.integers(0, len(expected) - 1), "start")
    stop = data.draw(st.integers(start + 1, len(expected)), "stop")
    with torch.inference_mode():
        frames = ours.frames(samples, start, stop, ours.statistics(samples, normalise=True))
    assert float((frames - expected[start:stop]).abs().max()) < TOLERANCE * float(expected.std())


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("normalise", [False, True])
def test_int16_and_normalising_are_what_a_feature_extractor_would_have_done(norm: str, normalise: bool) -> None:
    """The risk: 16-bit samples at another scale, or a variance that divides by one less."""
    oracle, ours = front_ends(NORMS[norm])
    recordings = [(audio(1, length)[0] * 3000).to(torch.int16) for length in (1000, 2000)]
    for front_end in (ours, prepared(ours, "fp32")):
        for frames, one in zip(run(front_end, recordings, normalise), recordings, strict=True):
            samples = one.float() / 32768
            expected = alone(oracle, normalised(samples) if normalise else samples)
            assert largest(frames, expected) < TOLERANCE
            with torch.inference_mode():
                assert largest(front_end.whole(one, normalise), expected) < TOLERANCE


@pytest.mark.parametrize("normalise", [False, True])
@pytest.mark.parametrize(("gain", "offset"), [(1.0, 100.0), (1e-3, 1.0), (1e-4, 0.0), (0.0, 0.0), (0.0, 0.25)])
def test_faint_offset_and_silent_recordings_keep_their_digits(gain: float, offset: float, normalise: bool) -> None:
    """The risk: variances by subtraction. In fp32, the reference itself is 2e-4 off at a faint sound with an offset."""
    oracle, ours = front_ends(GROUP)
    samples = audio(1, 8000)[0] * gain + offset
    exact = samples.double() - samples.double().mean()
    exact = exact / torch.sqrt(exact.square().mean() + 1e-7) if normalise else samples.double()
    expected = alone(oracle.double(), exact)
    scale = max(float(expected.std()), 0.05)
    for front_end in (ours, prepared(ours, "fp32")):
        frames = run(front_end, [samples], normalise)[0]
        assert float((frames - expected).abs().max()) < TOLERANCE * scale


@pytest.mark.parametrize("norm", ["group", "layer"])
@pytest.mark.parametrize(("precision", "error"), [("fp32", 2e-6), ("bf16", 1.5e-2), ("int8", 4e-2)])
def test_the_fast_path_agrees_with_its_slow_twin(norm: str, precision: Precision, error: float) -> None:
    """The risk: a kernel that drops a bias, a tap or a tail, or statistics in a narrow type. Errors are rms."""
    _, ours = front_ends({"group": GROUP, "layer": LAYER}[norm] | {"conv_dim": [128] * 7})  # int8 from there on
    samples = audio(1, SECOND)[0]
    with torch.inference_mode():
        expected = ours.whole(samples, normalise=True)
    frames = run(prepared(ours, precision), [samples], normalise=True)[0]
    assert frames.dtype == torch.float32
    assert float((frames - expected).square().mean().sqrt()) < error * float(expected.std())


@pytest.mark.parametrize("norm", ["group", "layer"])
@pytest.mark.parametrize("precision", ["bf16", "int8"])
def test_a_pack_changes_nothing_in_reduced_precision_either(norm: str, precision: Precision) -> None:
    """The risk: a scale of eight bits that is found over a tile, or a sum whose order depends on the rows beside it."""
    _, ours = front_ends({"group": GROUP, "layer": LAYER}[norm] | {"conv_dim": [128] * 7})
    ours.prepare(precision)
    recordings = [audio(1, length, length)[0] for length in (400, 9000, 41_000, 5000)]
    for frames, one in zip(run(ours, recordings, normalise=True), recordings, strict=True):
        assert largest(frames, run(ours, [one], normalise=True)[0]) < TOLERANCE


@pytest.mark.parametrize("norm", NORMS)
def test_every_weight_learns_as_transformers_would(norm: str) -> None:
    """The risk: folded or detached weights in training, where nothing would tell but a loss that stands still."""
    oracle, ours = front_ends(NORMS[norm])
    recordings = [audio(1, length)[0] for length in (900, 1500)]
    frames = ours(Packed.of(recordings)).data
    frames.square().sum().backward()
    sum(oracle(one.unsqueeze(0)).square().sum() for one in recordings).backward()
    expected = dict(oracle.named_parameters())
    for name, parameter in ours.named_parameters():
        grad, wanted = parameter.grad, expected[name].grad
        assert grad is not None and wanted is not None
        assert torch.allclose(grad, wanted, rtol=1e-3, atol=1e-4), name


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("bad", [math.nan, math.inf, 1e30])
def test_a_broken_recording_harms_no_neighbour(norm: str, bad: float) -> None:
    """The risk: one file with a NaN in it takes with it those that share its tile."""
    _, ours = front_ends(NORMS[norm])
    recordings = [audio(1, length, length)[0] for length in (400, 300, 500)]
    expected = [run(ours, [one])[0] for one in recordings]
    recordings[1] = torch.full_like(recordings[1], bad)
    for front_end in (ours, prepared(ours, "fp32")):
        frames = run(front_end, recordings)
        for index in (0, 2):
            assert largest(frames[index], expected[index]) < TOLERANCE


def test_samples_of_another_kind_are_refused() -> None:
    """The risk: 24-bit samples in int32, or bytes, taken for samples between -1 and 1."""
    _, ours = front_ends(GROUP)
    with pytest.raises(ValueError, match=r"int32"):
        run(ours, [torch.zeros(1000, dtype=torch.int32)])


class LargestTensor(TorchDispatchMode):
    """Sees the elements of the largest tensor that any operation makes."""

    elements = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for value in result if isinstance(result, tuple | list) else (result,):
            if isinstance(value, Tensor) and not func.is_view:
                self.elements = max(self.elements, value.untyped_storage().nbytes() // value.element_size())
        return result


@pytest.mark.parametrize("norm", NORMS)
def test_memory_is_that_of_a_tile_however_long_the_recording(norm: str) -> None:
    """The risk: one step, a sum in another type say, that makes a copy of three hours of audio."""
    _, ours = front_ends(NORMS[norm])
    ours.tile_frames = 20
    elements = []
    for seconds in (2, 20):
        samples = torch.zeros(seconds * SECOND, dtype=torch.int16)
        samples[::7] = 1000
        with torch.no_grad(), LargestTensor() as seen:
            statistics = ours.statistics(samples, normalise=True)
            ours.frames(samples, 100, 200, statistics)
        elements.append(seen.elements)
    assert elements[0] == elements[1] < SECOND


def windows_of(samples: Tensor, kernel: int, stride: int) -> np.ndarray[Any, Any]:
    return np.lib.stride_tricks.sliding_window_view(samples.double().numpy(), kernel)[::stride]


@settings(max_examples=40, deadline=None)
@given(
    lengths=st.lists(st.integers(5, 60), min_size=1, max_size=5),
    kernel=st.integers(1, 5),
    stride=st.integers(1, 7),
    block=st.integers(1, 30),
)
def test_moments_are_those_of_the_windows(lengths: list[int], kernel: int, stride: int, block: int) -> None:
    """The risk: windows at the end of a block, or that reach into a shorter recording's padding, counted wrong."""
    recordings = [audio(1, length, seed)[0] for seed, length in enumerate(lengths)]
    found = moments(Packed.of(recordings), kernel, stride, block)
    weight = torch.randn(3, kernel, generator=torch.Generator().manual_seed(0))
    means, variances = found.of_channels(weight)
    for row, samples in enumerate(recordings):
        channels = windows_of(samples, kernel, stride) @ weight.double().numpy().T  # (T, 3)
        assert means[row].numpy() == pytest.approx(channels.mean(axis=0), abs=1e-9)
        assert variances[row].numpy() == pytest.approx(channels.var(axis=0), abs=1e-9)
        assert float(found.mean[row]) == pytest.approx(float(samples.double().mean()), abs=1e-9)
        assert float(found.variance[row]) == pytest.approx(float(samples.double().var(correction=0)), abs=1e-9)


def test_moments_of_one_long_and_many_short_recordings_are_not_padded() -> None:
    """The risk: a pack of one hour and a hundred words that is padded to a hundred hours."""
    recordings = [audio(1, 20_000)[0], *(audio(1, 30, seed)[0] for seed in range(50))]
    with LargestTensor() as seen:
        found = moments(Packed.of(recordings), 10, 5, 1000)
    assert seen.elements < 50_000
    assert isinstance(found, Moments) and found.window_covariance.shape == (51, 10, 10)


@pytest.mark.parametrize("norm", ["group", "layer"])
def test_a_prepared_front_end_keeps_one_copy_of_its_weights(norm: str) -> None:
    """The risk: 17 MB of a base model that are never read again. A group norm needs the first, for each recording."""
    front_end = FrontEnd(ConvConfig(feat_extract_norm=norm)).eval()
    front_end.prepare("bf16")
    kept = [name for name, _ in front_end.named_parameters() if ".conv." in name]
    assert kept == (["conv_layers.0.conv.weight"] if norm == "group" else [])


THREE_HOURS = """
import resource, torch
from pipeline.models.config import ConvConfig
from pipeline.models.frontend import FrontEnd
torch.manual_seed(0)
front_end = FrontEnd(ConvConfig()).eval()
front_end.prepare("bf16")
samples = torch.randint(-3000, 3000, (3 * 3600 * 16000,), dtype=torch.int16)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
with torch.inference_mode():
    statistics = front_end.statistics(samples, normalise=True)
    last = front_end.config.num_frames(len(samples))
    for start in (0, 270000, last - 1000):
        frames = front_end.frames(samples, start, start + 1000, statistics)
        assert frames.shape == (1000, 512) and bool(frames.isfinite().all())
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


@pytest.mark.slow
def test_three_hours_take_no_more_memory_than_a_tile() -> None:
    """The risk: what fits ten seconds in a test does not fit a lecture."""
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", THREE_HOURS], cwd=root, capture_output=True, text=True, check=True)
    assert int(done.stdout) < 300, "MB beside the samples"
