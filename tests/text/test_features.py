"""What a model is given of its audio: settings in either file, and models that want something else.

That the values are transformers' is tested where they are computed: in the encode stage, and in `test_mel`.
"""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import SeamlessM4TFeatureExtractor, Wav2Vec2CTCTokenizer, Wav2Vec2FeatureExtractor, Wav2Vec2Processor

from pipeline.errors import UsageError
from pipeline.models.bert import Wav2Vec2BertConfig, Wav2Vec2BertForCTC
from pipeline.models.segments import Packed
from pipeline.models.wav2vec2 import Wav2Vec2Config, Wav2Vec2ForCTC
from pipeline.text.features import FeatureExtractor
from tests.models.oracle import LAYER, SMALL


def samples_model() -> Wav2Vec2ForCTC:
    known = {name: value for name, value in LAYER.items() if name != "apply_spec_augment"}
    return Wav2Vec2ForCTC(Wav2Vec2Config(**known))


def mel_model(size: int = 160) -> Wav2Vec2BertForCTC:
    known = {name: value for name, value in SMALL.items() if name != "apply_spec_augment"}
    return Wav2Vec2BertForCTC(Wav2Vec2BertConfig(**known, feature_projection_input_dim=size))


@pytest.mark.parametrize("do_normalize", [True, False])
@pytest.mark.parametrize("layout", ["preprocessor", "processor"])
def test_settings_are_read_from_either_file_and_the_model_is_told_to_normalise_by_what_it_is_given(
    tmp_path: Path, layout: str, do_normalize: bool
) -> None:
    oracle = Wav2Vec2FeatureExtractor(do_normalize=do_normalize, return_attention_mask=True)
    if layout == "preprocessor":
        oracle.save_pretrained(tmp_path)
    else:
        (tmp_path / "vocab.json").write_text('{"<pad>": 0, "<s>": 1, "</s>": 2, "<unk>": 3, "|": 4}')
        Wav2Vec2Processor(oracle, Wav2Vec2CTCTokenizer(str(tmp_path / "vocab.json"))).save_pretrained(tmp_path)
    assert (tmp_path / "preprocessor_config.json").exists() == (layout == "preprocessor")
    ours, model = FeatureExtractor.from_pretrained(tmp_path), samples_model()
    framing = ours.framing(model)
    assert (framing.samples_per_frame, framing.min_samples, framing.num_frames(16_000)) == (320, 400, 49)
    recording = 5 * torch.randn(4000, generator=torch.Generator().manual_seed(0)) + 1
    expected = oracle(recording.numpy(), sampling_rate=16_000, return_tensors="pt").input_values
    with torch.inference_mode():
        logits = model.logits(ours(Packed.of([recording]))).data
        difference = logits - model(expected).logits[0]
        assert float(difference.abs().max()) < 1e-4
        # The model itself is as it was: what its own caller normalises, or does not, is not normalised again.
        plain = model.logits(Packed.of([recording])).data
    assert torch.allclose(plain, logits, atol=1e-4) == (not do_normalize)


@pytest.mark.parametrize(("bins", "stride"), [(80, 2), (20, 3)])
def test_mel_features_are_as_wide_and_as_many_as_those_of_transformers(tmp_path: Path, bins: int, stride: int) -> None:
    oracle = SeamlessM4TFeatureExtractor(feature_size=bins, num_mel_bins=bins, stride=stride)
    oracle.save_pretrained(tmp_path)
    ours = FeatureExtractor.from_pretrained(tmp_path)
    framing = ours.framing(mel_model(bins * stride))
    audio = torch.randn(16_000, generator=torch.Generator().manual_seed(0))
    expected = oracle(audio.numpy(), sampling_rate=16_000, return_tensors="pt")
    features = ours(Packed.of([audio])).data
    assert features.shape == (int(expected.attention_mask.sum()), bins * stride)
    assert framing.num_frames(16_000) == len(features)
    assert framing.num_frames(framing.min_samples) == 1


@pytest.mark.parametrize(
    ("settings", "model", "message"),
    [
        ({}, mel_model(), "hears rows of 160 mel features, but its preprocessor_config.json makes samples"),
        (
            {"feature_extractor_type": "SeamlessM4TFeatureExtractor"},
            samples_model(),
            "hears samples, but its preprocessor_config.json makes rows of 160 mel features",
        ),
        ({"feature_extractor_type": "SeamlessM4TFeatureExtractor"}, mel_model(80), "hears rows of 80 mel features"),
    ],
)
def test_features_that_are_not_what_the_model_hears_are_refused(
    tmp_path: Path, settings: dict[str, Any], model: Any, message: str
) -> None:
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(settings))
    with pytest.raises(UsageError, match=message):
        FeatureExtractor.from_pretrained(tmp_path).framing(model)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no preprocessor_config.json"),
        ("{", "preprocessor_config.json: not JSON"),
        ("[]", "preprocessor_config.json: not a JSON object"),
        ('{"sampling_rate": 8000}', "the model wants 8000 Hz"),
        ('{"feature_extractor_type": "WhisperFeatureExtractor"}', "feature extractor WhisperFeatureExtractor"),
        ('{"feature_extractor_type": "SeamlessM4TFeatureExtractor", "num_mel_bins": "80"}', "num_mel_bins"),
        ('{"feature_extractor_type": "SeamlessM4TFeatureExtractor", "stride": 0}', "stride"),
    ],
)
def test_what_cannot_be_followed_is_named(tmp_path: Path, content: str | None, message: str) -> None:
    if content is not None:
        (tmp_path / "preprocessor_config.json").write_text(content)
    with pytest.raises(UsageError) as caught:
        FeatureExtractor.from_pretrained(tmp_path)
    assert str(tmp_path) in str(caught.value)
    assert message in str(caught.value)


def test_a_processor_file_without_an_extractor_is_no_settings(tmp_path: Path) -> None:
    (tmp_path / "processor_config.json").write_text(json.dumps({"processor_class": "Wav2Vec2Processor"}))
    with pytest.raises(UsageError, match=r"no preprocessor_config\.json"):
        FeatureExtractor.from_pretrained(tmp_path)
