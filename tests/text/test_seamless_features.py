"""Our SeamlessM4TFeatureExtractor against transformers' own, batched, stacked and padded; the mel frames themselves
are held to it in `test_mel`.
"""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.text import SeamlessM4TFeatureExtractor

RATE = 16_000
TOLERANCE = 1e-4
FEW = 1200  # samples, of at most five frames: differences of a few fp32 logarithms, divided by what they vary


def audio(*lengths: int) -> list[Any]:
    """With a swell, so that bands vary."""
    random = np.random.default_rng(0)
    swell = [0.01 + np.sin(np.linspace(0, 6, length)) ** 2 for length in lengths]
    return [(random.normal(size=len(one)) * one * 0.1).astype(np.float32) for one in swell]


def assert_equal(ours: Any, theirs: Any, tolerance: float = TOLERANCE) -> None:
    """Everywhere, padding too, but where theirs is NaN: frames alone in their recording, which are masked."""
    assert {name: np.shape(ours[name]) for name in ours} == {name: np.shape(theirs[name]) for name in theirs}
    found, expected = np.asarray(ours["input_features"]), np.asarray(theirs["input_features"])
    known = ~np.isnan(expected)
    assert np.abs(found - expected)[known].max(initial=0) < tolerance
    assert (found[~known] == 0).all()
    if "attention_mask" in theirs:
        np.testing.assert_array_equal(np.asarray(ours["attention_mask"]), np.asarray(theirs["attention_mask"]))
    for name in theirs:
        assert ours[name].dtype == theirs[name].dtype


@given(
    lengths=st.lists(st.sampled_from([300, 400, 559, 560, 719, 720]) | st.integers(FEW, 6000), min_size=1, max_size=3),
    stride=st.sampled_from([2, 3, 4]),
    side=st.sampled_from(["right", "left"]),
    value=st.sampled_from([0.0, 1.5]),
    options=st.fixed_dictionaries(
        {
            "padding": st.sampled_from([True, False, "longest", "max_length"]),
            "max_length": st.none() | st.integers(1, 60),
            "truncation": st.booleans(),
            "pad_to_multiple_of": st.none() | st.integers(1, 8),
            "return_attention_mask": st.none() | st.booleans(),
            "do_normalize_per_mel_bins": st.booleans(),
            "return_tensors": st.sampled_from([None, "np", "pt"]),
        }
    ),
)
@settings(max_examples=120, deadline=None)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # theirs, of recordings of one frame
def test_every_option_gives_what_transformers_gives(
    lengths: list[int], stride: int, side: str, value: float, options: dict[str, Any]
) -> None:
    """The risk: frames stacked otherwise, or a mask that says another number of rows."""
    own = {"stride": stride, "padding_side": side, "padding_value": value}
    ours, theirs = SeamlessM4TFeatureExtractor(**own), transformers.SeamlessM4TFeatureExtractor(**own)
    speech = audio(*lengths)
    try:
        expected = theirs(speech, sampling_rate=RATE, **options)
    except ValueError:  # there is no max_length, or frames stay of many lengths, of which theirs makes nothing
        if options["padding"] == "max_length" and not options["max_length"]:
            with pytest.raises(ValueError, match="max_length"):
                ours(speech, sampling_rate=RATE, **options)
        return
    found = ours(speech, sampling_rate=RATE, **options)
    assert_equal(found, expected, TOLERANCE if min(lengths) >= FEW else 5e-3)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # theirs, of a recording of no frames
def test_without_padding_each_recording_keeps_its_own_rows() -> None:
    """The risk: transformers fails there. An odd last frame has nothing to be stacked with and is left out."""
    speech = audio(3000, 4000, 300)
    found = SeamlessM4TFeatureExtractor()(speech, sampling_rate=RATE, padding=False)
    for one, rows, mask in zip(speech, found.input_features, found.attention_mask, strict=True):
        alone = transformers.SeamlessM4TFeatureExtractor()(one, sampling_rate=RATE, padding=False)
        assert np.abs(rows - alone["input_features"][0]).max(initial=0) < TOLERANCE
        assert mask.tolist() == alone["attention_mask"][0].tolist()
    assert [len(rows) for rows in found.input_features] == [8, 11, 0]


FORMS: dict[str, Any] = {
    "array": audio(4000)[0],
    "double": audio(4000)[0].astype(np.float64),
    "numbers": audio(4000)[0].tolist(),
    "tensor": torch.from_numpy(audio(4000)[0]),
    "arrays": audio(4000, 3000),
    "lists": [one.tolist() for one in audio(4000, 3000)],
    "tensors": [torch.from_numpy(one) for one in audio(4000, 3000)],
    "array_of_two": np.stack(audio(4000, 4000)),
    "stereo": [np.stack(audio(4000, 4000)), np.stack(audio(3000, 3000))],
    "array_of_stereo": np.stack([np.stack(audio(4000, 4000))] * 2),
    "sixteen_bits": [(audio(4000)[0] * 2**15).astype(np.int16)],
    "read_only": np.broadcast_to(audio(4000)[0], (1, 4000)),
}


@pytest.mark.parametrize("form", FORMS)
def test_audio_in_any_form_is_heard_the_same(form: str) -> None:
    """The risk: the second channel heard as a second recording, or a recording as a channel."""
    expected = transformers.SeamlessM4TFeatureExtractor()(FORMS[form], sampling_rate=RATE)
    assert_equal(SeamlessM4TFeatureExtractor()(FORMS[form], sampling_rate=RATE), expected)


def test_a_tensor_of_two_dimensions_is_a_batch_as_an_array_is() -> None:
    """The risk: transformers documents it so, but hears the first row alone."""
    speech = np.stack(audio(4000, 4000))
    found = SeamlessM4TFeatureExtractor()(torch.from_numpy(speech), sampling_rate=RATE)
    assert_equal(found, transformers.SeamlessM4TFeatureExtractor()(speech, sampling_rate=RATE))


def test_a_stride_of_one_masks_what_is_padding() -> None:
    """The risk: transformers' mask has no rows then."""
    found = SeamlessM4TFeatureExtractor(stride=1)(audio(4000, 2000), sampling_rate=RATE)
    assert found.input_features.shape == (2, 24, 80)
    assert found.attention_mask.sum(axis=1).tolist() == [23, 11]


def test_a_recording_does_not_depend_on_its_neighbours() -> None:
    """The risk: a frame or a statistic across two recordings; also where one is too short for any frame."""
    speech = audio(4000, 300, 720, 9000)
    together = SeamlessM4TFeatureExtractor()(speech, sampling_rate=RATE)
    for number, one in enumerate(speech):
        alone = SeamlessM4TFeatureExtractor()(one, sampling_rate=RATE).input_features[0]
        np.testing.assert_allclose(together.input_features[number, : len(alone)], alone, atol=1e-5)
    assert together.attention_mask.sum(axis=1).tolist() == [11, 0, 1, 27]
    assert not SeamlessM4TFeatureExtractor()([[]], sampling_rate=RATE).input_features.size


def test_other_bins_and_rates_are_those_of_transformers() -> None:
    """The risk: triangles placed for 80 bins up to 8 kHz only."""
    own = {"num_mel_bins": 40, "feature_size": 40, "sampling_rate": 24_000}
    expected = transformers.SeamlessM4TFeatureExtractor(**own)(audio(9000)[0], sampling_rate=24_000)
    assert_equal(SeamlessM4TFeatureExtractor(**own)(audio(9000)[0], sampling_rate=24_000), expected)
    with pytest.raises(ValueError, match="the audio has 8000 Hz"):
        SeamlessM4TFeatureExtractor()(audio(4000)[0], sampling_rate=8000)
    with pytest.warns(UserWarning, match="sampling_rate"):
        SeamlessM4TFeatureExtractor()(audio(4000)[0])
    with pytest.raises(ValueError, match=r"\(samples,\) or \(channels, samples\)"):
        SeamlessM4TFeatureExtractor()(np.ones((1, 2, 3, 4)), sampling_rate=RATE)


def test_threads_do_not_write_over_each_other() -> None:
    """The risk: the memory that a thread keeps for its work, used by two at once."""
    extractor, speech = SeamlessM4TFeatureExtractor(), audio(*range(8000, 16000, 400))

    def alone(one: Any) -> Any:
        return extractor(one, sampling_rate=RATE).input_features

    with ThreadPoolExecutor(4) as threads:
        together = list(threads.map(alone, speech * 4))
    assert all(np.array_equal(one, alone(other)) for one, other in zip(together, speech * 4, strict=True))


def test_features_can_be_trained_on() -> None:
    """The risk: tensors made in inference mode, which autograd refuses, and audio changed in place."""
    with torch.inference_mode():
        SeamlessM4TFeatureExtractor()(audio(4000)[0], sampling_rate=RATE)  # what a thread keeps is made by the first
    speech = torch.from_numpy(audio(4000)[0])
    before = speech.clone()
    features = SeamlessM4TFeatureExtractor()(speech, sampling_rate=RATE, return_tensors="pt").input_features
    layer = torch.nn.Linear(160, 1)
    layer(features).sum().backward()
    assert layer.weight.grad is not None and speech.equal(before)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
def test_audio_on_a_gpu_stays_there() -> None:
    """The risk: audio brought to the CPU, and features computed otherwise."""
    expected = SeamlessM4TFeatureExtractor()(audio(9000, 4000), sampling_rate=RATE, return_tensors="pt")
    tensors = [torch.from_numpy(one).cuda() for one in audio(9000, 4000)]
    for speech, device in ((tensors, None), (audio(9000, 4000), "cuda")):
        found = SeamlessM4TFeatureExtractor()(speech, sampling_rate=RATE, return_tensors="pt", device=device)
        assert found.input_features.device.type == found.attention_mask.device.type == "cuda"
        assert_equal({name: found[name].cpu() for name in found}, expected)


def test_either_reads_what_the_other_has_saved(tmp_path: Path) -> None:
    """The risk: a setting lost, renamed or of another type on its way through a file."""
    theirs = transformers.SeamlessM4TFeatureExtractor(num_mel_bins=40, feature_size=40, stride=4, padding_value=1.0)
    theirs.save_pretrained(tmp_path / "theirs")
    ours = SeamlessM4TFeatureExtractor.from_pretrained(tmp_path / "theirs")
    assert ours.to_dict() == theirs.to_dict()
    ours.save_pretrained(tmp_path / "ours")
    assert transformers.SeamlessM4TFeatureExtractor.from_pretrained(tmp_path / "ours").to_dict() == theirs.to_dict()
    assert SeamlessM4TFeatureExtractor().to_dict() == transformers.SeamlessM4TFeatureExtractor().to_dict()
    assert SeamlessM4TFeatureExtractor.from_pretrained(tmp_path / "ours", stride=2).stride == 2
