"""The encode stage against transformers, from audio to emissions, and its failures of single recordings."""

import numpy as np
import pytest
import torch

from pipeline.config import EncodeConfig
from pipeline.decode.greedy import GreedyDecoder
from pipeline.encode import Encoder
from pipeline.errors import UsageError
from pipeline.models.locate import checkpoint_hash
from pipeline.records import Recording
from pipeline.text.vocabulary import Vocabulary
from pipeline.unit import Unit


@pytest.fixture
def model(sample):
    return sample / "model"


@pytest.fixture
def encoder(model):
    return Encoder(EncodeConfig(model=str(model), device="cpu"), checkpoint_hash(model))


def recording(seconds: float, seed: int = 0) -> Recording:
    audio = np.random.default_rng(seed).normal(0.1, 0.3, int(16_000 * seconds)).astype(np.float32)
    return Recording(f"{seconds}", "", audio=audio, duration_s=seconds)


def test_emissions_and_texts_are_those_of_transformers(encoder, model):
    """From raw audio, normalisation included, on a checkpoint that we wrote and transformers opens."""
    transformers = pytest.importorskip("transformers")
    features = transformers.Wav2Vec2FeatureExtractor.from_pretrained(model)
    tokenizer = transformers.Wav2Vec2CTCTokenizer.from_pretrained(model)
    oracle = transformers.Wav2Vec2ForCTC.from_pretrained(model).eval()
    recordings = [recording(seconds) for seconds in (0.025, 0.5, 3.3)]
    expected = []
    for each in recordings:
        with torch.inference_mode():
            values = features(each.audio, sampling_rate=16_000, return_tensors="pt").input_values
            expected.append(oracle(values).logits[0].log_softmax(-1).numpy())
    unit = encoder(Unit(0, recordings))
    for each, emissions in zip(unit.recordings, expected, strict=True):
        assert np.abs(each.emissions - emissions).max() < 1e-4
        assert each.frame_s == 0.02
    GreedyDecoder(Vocabulary.from_pretrained(model))(unit)
    texts = [tokenizer.decode(emissions.argmax(-1).tolist()) for emissions in expected]
    specials = ("<s>", "</s>", "<unk>")  # which transformers prints and we do not
    clean = ["".join(text.split(specials[0])) for text in texts]
    for mark in specials[1:]:
        clean = [text.replace(mark, "") for text in clean]
    assert [each.text for each in unit.recordings] == [" ".join(text.split()) for text in clean]


def test_a_recording_is_encoded_as_if_it_were_alone(encoder):
    alone = encoder(Unit(0, [recording(2.0, seed=1)])).recordings[0].emissions
    among = encoder(Unit(0, [recording(5.0, seed=2), recording(2.0, seed=1), recording(0.1, seed=3)]))
    np.testing.assert_array_equal(among.recordings[1].emissions, alone)


def test_a_recording_shorter_than_one_frame_fails_by_itself(encoder):
    unit = encoder(Unit(0, [recording(399 / 16_000), recording(400 / 16_000)]))
    assert [each.status for each in unit.recordings] == ["failed", "pending"]
    assert unit.recordings[0].error == "encode: shorter than 25 ms"
    assert unit.recordings[1].emissions.shape[0] == 1


def test_silence_has_emissions(encoder):
    (each,) = encoder(Unit(0, [Recording("silence", "", audio=np.zeros(16_000, np.float32))])).recordings
    assert np.isfinite(each.emissions).all()


def test_a_worker_with_another_model_than_the_driver_stops(model):
    """A relative path or a hub name may mean something else on another machine."""
    with pytest.raises(UsageError, match="not the model that the run was started with"):
        Encoder(EncodeConfig(model=str(model)), "another hash")


def test_a_gpu_that_is_not_there_is_said(model):
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(UsageError, match=r"encode\.device = cuda"):
        Encoder(EncodeConfig(model=str(model), device="cuda"), checkpoint_hash(model))
