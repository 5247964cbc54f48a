"""Our mel features against transformers' own extractor, one recording at a time.

It does not know any model: only that what a model would hear is the same.
"""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from pipeline.errors import UsageError
from pipeline.models.segments import Packed
from pipeline.text import mel
from pipeline.text.mel import MelFeatures, num_mel_frames

TOLERANCE = 1e-4
SECOND = 16_000


@pytest.fixture(scope="module")
def reference() -> Any:
    """Audio to the rows that are not masked out, as transformers' extractor makes them."""
    transformers = pytest.importorskip("transformers")
    extractor = transformers.SeamlessM4TFeatureExtractor()

    def rows(audio: Tensor) -> Tensor:
        made = extractor(audio.numpy(), sampling_rate=SECOND, return_tensors="pt")
        found: Tensor = made["input_features"][0][made["attention_mask"][0].bool()]
        return found  # (T, 160)

    return rows


def noise(num_samples: int, seed: int = 0) -> Tensor:
    """With a swell, so that bands vary. (num_samples,)"""
    generator = torch.Generator().manual_seed(seed)
    swell = 0.01 + torch.linspace(0, 6, num_samples).sin().square()
    return torch.randn(num_samples, generator=generator) * swell * 0.1


def band_limited(num_samples: int, hertz: float) -> Tensor:
    spectrum = torch.fft.rfft(noise(num_samples).double())
    spectrum[int(hertz / 8000 * len(spectrum)) :] = 0
    return torch.fft.irfft(spectrum, n=num_samples).float()


def alone(audio: Tensor) -> Tensor:
    return MelFeatures()(Packed.of([audio])).data


HARD = {
    "eight_kilohertz_recording": lambda: band_limited(3 * SECOND, 3000),
    "loud_offset": lambda: noise(SECOND) * 1e-3 + 0.5,
    "half_of_it_digital_silence": lambda: torch.cat((torch.zeros(SECOND), noise(SECOND))),
    "near_the_floor": lambda: noise(SECOND) * 1e-5,
    "one_impulse": lambda: torch.eye(1, SECOND)[0],
    "clipped": lambda: (noise(SECOND) * 100).clamp(-1, 1),
    "beyond_full_scale": lambda: noise(SECOND) * 50,
}


@pytest.mark.parametrize("num_samples", [560, 719, 720, 721, 880, 4000, SECOND, 12 * SECOND + 77])
def test_features_equal_transformers_at_every_length(num_samples: int, reference: Any) -> None:
    """The risk: a frame too many or too few, or an odd last frame left out of the statistics."""
    expected, found = reference(noise(num_samples)), alone(noise(num_samples))
    assert found.shape == expected.shape == (MelFeatures().num_frames(num_samples), 160)
    assert found.dtype == torch.float32
    assert float((found - expected).abs().max()) < TOLERANCE


@pytest.mark.parametrize("kind", HARD)
def test_features_equal_transformers_on_hard_audio(kind: str, reference: Any) -> None:
    """The risk: quiet bands filled with the rounding errors of loud ones, as fp32 spectra fill them."""
    audio = HARD[kind]()
    expected, found = reference(audio), alone(audio)
    assert float((found - expected).abs().max()) < TOLERANCE


@pytest.mark.parametrize("audio", [torch.zeros(SECOND), torch.full((SECOND,), 0.3)], ids=["silence", "offset"])
def test_silence_is_zeros(audio: Tensor, reference: Any) -> None:
    """The risk: NaN from a band that does not vary. The reference divides its own rounding by almost nothing."""
    assert alone(audio).eq(0).all()
    assert 0 < float(reference(audio).abs().max()) < 0.01


def test_bands_that_hardly_vary_are_as_exact_as_fp32_logarithms_are(reference: Any) -> None:
    """The risk: of a pure tone, most bands vary by less than 1e-3; both sides round there, but no more than that."""
    audio = 0.9 * torch.sin(2 * torch.pi * 440 * torch.arange(SECOND) / SECOND)
    expected, found = reference(audio), alone(audio)
    energies = MelFeatures()._log_energies(audio)  # (F, 80)
    error = (found - expected).abs().view(-1, 80).amax(dim=0) * (energies.var(dim=0) + 1e-7).sqrt()
    assert float(error.max()) < 5e-6


@given(lengths=st.lists(st.integers(560, 3000), min_size=1, max_size=5), whole=st.booleans())
@settings(max_examples=30, deadline=None)
def test_neighbours_do_not_change_a_recording(lengths: list[int], whole: bool) -> None:
    """The risk: a frame across two recordings, or statistics of more than one."""
    if whole:
        lengths = [length // 160 * 160 + 80 for length in lengths]
    recordings = [noise(length, seed) + seed for seed, length in enumerate(lengths)]
    packed = MelFeatures()(Packed.of(recordings))
    assert packed.segments.lengths == tuple(map(MelFeatures().num_frames, lengths))
    for audio, found in zip(recordings, packed.split(), strict=True):
        torch.testing.assert_close(found, alone(audio), atol=1e-6, rtol=0)


def test_sixteen_bit_samples_are_what_they_stand_for(reference: Any) -> None:
    """The risk: integers scaled twice, or not at all, which normalisation would hide but for the floor."""
    samples = (noise(SECOND) * 3e-3 * 2**15).to(torch.int16)  # quiet, and partly silent
    as_floats = samples.float() / 2**15
    torch.testing.assert_close(alone(samples), alone(as_floats), atol=1e-6, rtol=0)
    assert float((alone(samples) - reference(as_floats)).abs().max()) < TOLERANCE


def test_tiles_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    """The risk: long audio, of many tiles, given other frames at their edges, or other statistics."""
    expected = alone(noise(2 * SECOND))
    for tile in (1, 7, 197):
        monkeypatch.setattr(mel, "CPU_TILE", tile)
        monkeypatch.setattr(mel, "STATISTICS_TILE", tile)
        torch.testing.assert_close(alone(noise(2 * SECOND)), expected, atol=1e-5, rtol=0)


def test_long_audio_takes_room_for_its_features_and_little_more() -> None:
    """The risk: spectra of hours held at once, fifty times the room of the audio."""
    audio = torch.randn(200 * SECOND)
    largest = 0

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            nonlocal largest
            made = func(*args, **(kwargs or {}))
            if isinstance(made, Tensor) and made.untyped_storage().data_ptr() != audio.data_ptr():
                largest = max(largest, made.untyped_storage().nbytes())
            return made

    with Watch():
        features = MelFeatures()(Packed.of([audio])).data
    assert largest <= num_mel_frames(len(audio)) * 80 * 4
    assert features.untyped_storage().nbytes() <= largest  # not a copy of it either


def test_features_do_not_change_their_audio() -> None:
    """The risk: work in place on what the caller still needs."""
    audio = noise(SECOND)
    before = audio.clone()
    alone(audio)
    assert audio.equal(before)


@pytest.mark.parametrize("num_mel_bins", [23, 80, 128])
def test_other_numbers_of_bins_equal_transformers(num_mel_bins: int) -> None:
    """The risk: triangles placed for 80 bands only."""
    transformers = pytest.importorskip("transformers")
    options = {"num_mel_bins": num_mel_bins, "feature_size": num_mel_bins}
    extractor = transformers.SeamlessM4TFeatureExtractor(**options)
    audio = noise(SECOND)
    expected = extractor(audio.numpy(), sampling_rate=SECOND, return_tensors="pt")["input_features"][0]
    features = MelFeatures.from_settings(extractor.to_dict())
    assert features.size == 2 * num_mel_bins
    found = features(Packed.of([audio])).data
    varies = expected[: len(found)].abs().amax(dim=0) > 0.1  # a band between two frequencies hears nothing
    assert float((found - expected[: len(found)])[:, varies].abs().max()) < TOLERANCE


def test_settings_of_a_checkpoint_are_read_and_checked() -> None:
    """The risk: a model that hears something else than it was trained on, in silence."""
    assert MelFeatures.from_settings({}) == MelFeatures(num_mel_bins=80, stride=2)
    features = MelFeatures.from_settings({"num_mel_bins": 40, "feature_size": 40, "stride": 4, "padding_value": 1})
    assert (features.size, features.samples_per_frame, features.min_samples) == (160, 640, 880)
    for bad, message in (
        ({"num_mel_bins": 0}, "num_mel_bins.*positive"),
        ({"num_mel_bins": "80"}, "num_mel_bins.*'80'"),
        ({"stride": True}, "stride.*True"),
        ({"stride": 1}, "stride is 1"),
        ({"feature_size": 160}, "feature_size is 160.*80"),
        ({"sampling_rate": 8000}, "8000 Hz"),
    ):
        with pytest.raises(UsageError, match=message):
            MelFeatures.from_settings(bad)


def test_bad_audio_is_refused() -> None:
    """The risk: two channels read as many recordings, or a recording of no rows that takes its batch down later."""
    features = MelFeatures()
    for bad, message in (
        (torch.zeros(SECOND, 2), r"one channel.*\('samples', 2\)"),
        (torch.zeros(SECOND, dtype=torch.int32), "int32"),
        (torch.zeros(559), "559 samples is too short.*560"),
    ):
        with pytest.raises(ValueError, match=message):
            features(Packed.of([bad]))
    assert [features.num_frames(n) for n in (0, 1, 399, 559, 560, 879, 880)] == [0, 0, 0, 0, 1, 1, 2]
    for dtype in (torch.float64, torch.float16):
        audio = noise(SECOND).to(dtype)
        torch.testing.assert_close(alone(audio), alone(audio.float()), atol=1e-6, rtol=0)


def test_filters_are_triangles_in_mel() -> None:
    """The risk: a frequency that two neighbouring bands do not share out between them."""
    filters = mel._filters(80, torch.device("cpu")).numpy()  # (256, 80)
    inner = filters.sum(axis=1)[filters.argmax(axis=0)[0] + 1 : filters.argmax(axis=0)[-1]]
    np.testing.assert_allclose(inner, 1.0, atol=1e-6)
