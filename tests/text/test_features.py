"""Features against transformers' extractor, one recording at a time, and its settings in either file."""

import json
from pathlib import Path

import numpy as np
import pytest
from transformers import Wav2Vec2CTCTokenizer, Wav2Vec2FeatureExtractor, Wav2Vec2Processor

from pipeline.errors import UsageError
from pipeline.text.features import FeatureExtractor


@pytest.mark.parametrize("do_normalize", [True, False])
@pytest.mark.parametrize("layout", ["preprocessor", "processor"])
def test_values_equal_those_of_transformers_from_either_file(tmp_path: Path, layout: str, do_normalize: bool) -> None:
    oracle = Wav2Vec2FeatureExtractor(do_normalize=do_normalize, return_attention_mask=True)
    if layout == "preprocessor":
        oracle.save_pretrained(tmp_path)
    else:
        (tmp_path / "vocab.json").write_text('{"<pad>": 0, "<s>": 1, "</s>": 2, "<unk>": 3, "|": 4}')
        Wav2Vec2Processor(oracle, Wav2Vec2CTCTokenizer(str(tmp_path / "vocab.json"))).save_pretrained(tmp_path)
    assert (tmp_path / "preprocessor_config.json").exists() == (layout == "preprocessor")
    ours = FeatureExtractor.from_pretrained(tmp_path)
    for scale, offset in ((0.1, 0.0), (1e-4, 0.5), (1.0, -0.1)):
        audio = np.random.default_rng(0).normal(offset, scale, 16_001).astype(np.float32)
        values = ours(audio)
        assert values.dtype == np.float32
        np.testing.assert_allclose(values, oracle(audio, sampling_rate=16_000).input_values[0], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("audio", [np.zeros(1000, np.float32), np.full(1000, 0.7, np.float32), np.ones(1, np.float32)])
def test_silence_stays_finite(audio: np.ndarray) -> None:
    values = FeatureExtractor()(audio)
    assert np.isfinite(values).all()
    assert np.abs(values).max() < 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no preprocessor_config.json"),
        ("{", "preprocessor_config.json: not JSON"),
        ("[]", "preprocessor_config.json: not a JSON object"),
        ('{"sampling_rate": 8000}', "the model wants 8000 Hz"),
        ('{"feature_extractor_type": "WhisperFeatureExtractor"}', "feature extractor WhisperFeatureExtractor"),
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
