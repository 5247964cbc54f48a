"""The encode stage against transformers, from audio to emissions; alone and in company; and when things go wrong.

It does not know trained weights, and a GPU only where there is one.
"""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from pipeline.config import EncodeConfig
from pipeline.decode.greedy import GreedyDecoder
from pipeline.demo.sample import LABELS, write_model
from pipeline.encode import Emitter, Encoder
from pipeline.errors import UsageError
from pipeline.models.locate import model_hash
from pipeline.models.segments import Packed
from pipeline.models.windows import Windows
from pipeline.records import AudioArray, FloatArray, Recording
from pipeline.text.vocabulary import Vocabulary
from pipeline.unit import Unit
from tests.models.oracle import GROUP, LAYER, SMALL, oracle_model

SECOND = 16_000
ADAPTER = {"add_adapter": True, "num_adapter_layers": 2}
CONFORMER = {"conv_depthwise_kernel_size": 7}
SAMPLES = {"feature_extractor_type": "Wav2Vec2FeatureExtractor", "sampling_rate": SECOND}
MEL = {"feature_extractor_type": "SeamlessM4TFeatureExtractor", "sampling_rate": SECOND}
FAMILIES: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "group": ("Wav2Vec2ForCTC", GROUP, SAMPLES | {"do_normalize": True}),
    "group as recorded": ("Wav2Vec2ForCTC", GROUP, SAMPLES | {"do_normalize": False}),
    "layer": ("Wav2Vec2ForCTC", LAYER, SAMPLES),
    "layer as recorded": ("Wav2Vec2ForCTC", LAYER, SAMPLES | {"do_normalize": False}),
    "adapter": ("Wav2Vec2ForCTC", LAYER | ADAPTER, SAMPLES),
    "conformer": ("Wav2Vec2ConformerForCTC", GROUP | CONFORMER | {"position_embeddings_type": None}, SAMPLES),
    "conformer relative": ("Wav2Vec2ConformerForCTC", LAYER | CONFORMER, SAMPLES),
    "conformer rotary": (
        "Wav2Vec2ConformerForCTC",
        LAYER | CONFORMER | ADAPTER | {"position_embeddings_type": "rotary"},
        SAMPLES,
    ),
    "bert": ("Wav2Vec2BertForCTC", SMALL | CONFORMER, MEL),
    "bert adapter": ("Wav2Vec2BertForCTC", SMALL | CONFORMER | ADAPTER, MEL),
}


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Checkpoints of every family, as transformers writes them; each is made once."""
    made: dict[str, Path] = {}

    def directory(family: str) -> Path:
        if family not in made:
            oracle_class, config, features = FAMILIES[family]
            made[family] = tmp_path_factory.mktemp("checkpoint")
            oracle_model(config, oracle_class).save_pretrained(made[family])  # type: ignore[operator]
            labels = {label: number for number, label in enumerate(LABELS[: config["vocab_size"]])}
            (made[family] / "vocab.json").write_text(json.dumps(labels))
            (made[family] / "preprocessor_config.json").write_text(json.dumps(features))
        return made[family]

    return directory


@pytest.fixture(scope="session")
def encoders(checkpoint: Callable[[str], Path]) -> Callable[[str], Encoder]:
    """One of each family, with batches of three seconds."""
    made: dict[str, Encoder] = {}

    def encoder(family: str) -> Encoder:
        if family not in made:
            made[family] = encoder_of(checkpoint(family), batch_s=3.0)
        return made[family]

    return encoder


@pytest.fixture
def model(sample: Path) -> Path:
    return sample / "model"


def encoder_of(directory: Path, **options: Any) -> Encoder:
    config = EncodeConfig(model=str(directory), **{"device": "cpu"} | options)
    return Encoder(config, model_hash(config.model, config.language))


def recording(seconds: float, seed: int = 0) -> Recording:
    audio = np.random.default_rng(seed).normal(0.1, 0.3, int(SECOND * seconds)).astype(np.float32)
    return Recording(f"{seconds}", "", audio=audio, duration_s=seconds)


def encoded(encoder: Encoder, *recordings: Recording) -> list[Recording]:
    """Copies of them, after the stage."""
    return encoder(Unit(0, [replace(one) for one in recordings])).recordings


def emissions_of(encoder: Encoder, *recordings: Recording) -> list[FloatArray]:
    done = encoded(encoder, *recordings)
    assert [one.error for one in done] == [None] * len(recordings)
    return [one.emissions for one in done if one.emissions is not None]


def assert_same(found: FloatArray, expected: FloatArray, tolerance: float = 1e-5) -> None:
    """To that share of their standard deviation, which is what two ways of adding up may differ by; and as a text."""
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() <= tolerance * float(expected.std())
    np.testing.assert_array_equal(found.argmax(axis=1), expected.argmax(axis=1))


# ---- what comes out


@pytest.mark.parametrize("family", FAMILIES)
def test_emissions_are_those_of_transformers_alone_from_raw_audio_on(
    checkpoint: Callable[[str], Path], encoders: Callable[[str], Encoder], family: str
) -> None:
    transformers = pytest.importorskip("transformers")
    directory = checkpoint(family)
    extractor = transformers.AutoFeatureExtractor.from_pretrained(directory)
    oracle = transformers.AutoModelForCTC.from_pretrained(directory).eval()
    recordings = [recording(seconds) for seconds in (0.2, 1.51, 4.0)]
    for one, emissions in zip(recordings, emissions_of(encoders(family), *recordings), strict=True):
        with torch.inference_mode():
            inputs = extractor(one.audio, sampling_rate=SECOND, return_tensors="pt")
            if "input_features" in inputs:  # rows of padding, which its CTC models emit frames for
                real = int(inputs["attention_mask"].sum())
                inputs = {"input_features": inputs["input_features"][:, :real]}
            expected = oracle(**inputs).logits[0].log_softmax(-1).numpy()
        assert emissions.shape == expected.shape
        assert np.abs(emissions - expected).max() < 1e-4


def test_texts_are_those_of_transformers(model: Path) -> None:
    """On a checkpoint that we wrote and transformers opens, down to the letters."""
    transformers = pytest.importorskip("transformers")
    features = transformers.Wav2Vec2FeatureExtractor.from_pretrained(model)
    tokenizer = transformers.Wav2Vec2CTCTokenizer.from_pretrained(model)
    oracle = transformers.Wav2Vec2ForCTC.from_pretrained(model).eval()
    recordings = [recording(seconds) for seconds in (0.025, 0.5, 3.3)]
    expected = []
    for each in recordings:
        with torch.inference_mode():
            values = features(each.audio, sampling_rate=SECOND, return_tensors="pt").input_values
            expected.append(oracle(values).logits[0].log_softmax(-1).numpy())
    unit = encoder_of(model)(Unit(0, recordings))
    assert [each.frame_s for each in unit.recordings] == [0.02] * 3
    GreedyDecoder(Vocabulary.from_pretrained(model))(unit)
    texts = [tokenizer.decode(emissions.argmax(-1).tolist()) for emissions in expected]
    for mark in ("<s>", "</s>", "<unk>"):  # which transformers prints and we do not
        texts = [text.replace(mark, "") for text in texts]
    assert [each.text for each in unit.recordings] == [" ".join(text.split()) for text in texts]


@pytest.mark.parametrize("family", FAMILIES)
@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(sizes=st.lists(st.integers(1_200, 40_000), min_size=2, max_size=7), seed=st.integers(0, 2**31))
def test_a_recording_is_encoded_as_if_it_were_alone(
    encoders: Callable[[str], Encoder], family: str, sizes: list[int], seed: int
) -> None:
    """Whatever shares its batch, and whichever batch of the unit that is."""
    recordings = [recording(size / SECOND, seed + number) for number, size in enumerate(sizes)]
    together = emissions_of(encoders(family), *recordings)
    for one, emissions in zip(recordings, together, strict=True):
        assert_same(emissions, emissions_of(encoders(family), one)[0])


@pytest.mark.parametrize(("family", "frame_s"), [("group", 0.02), ("adapter", 0.08), ("bert adapter", 0.08)])
def test_frames_are_as_long_as_the_strides_make_them(
    encoders: Callable[[str], Encoder], family: str, frame_s: float
) -> None:
    (one,) = encoded(encoders(family), recording(10.0))
    assert one.frame_s == frame_s
    assert one.emissions is not None
    assert len(one.emissions) * frame_s == pytest.approx(10.0, abs=2 * frame_s)


def test_rows_keep_their_order_and_lose_their_audio(encoders: Callable[[str], Encoder]) -> None:
    """Batches are filled by length; a unit's rows are not sorted by it."""
    done = encoded(encoders("group"), *(recording(seconds) for seconds in (0.3, 2.0, 0.1, 1.0)))
    assert [one.id for one in done] == ["0.3", "2.0", "0.1", "1.0"]
    assert [one.audio for one in done] == [None] * 4
    assert [round(len(one.emissions) * 0.02, 1) for one in done if one.emissions is not None] == [0.3, 2.0, 0.1, 1.0]


@pytest.mark.parametrize("family", ["group as recorded", "layer", "bert"])
def test_16_bit_samples_are_the_same_as_the_floats_they_stand_for(
    encoders: Callable[[str], Encoder], family: str
) -> None:
    """Alone, and in a batch with floats."""
    sound = np.random.default_rng(0).normal(0, 3000, 2 * SECOND).astype(np.int16)
    as_int, as_float = (Recording("", "", audio=audio) for audio in (sound, sound.astype(np.float32) / 32_768))
    (expected,) = emissions_of(encoders(family), as_float)
    assert_same(emissions_of(encoders(family), as_int)[0], expected)
    mixed = emissions_of(encoders(family), as_int, recording(0.5), as_float)
    assert_same(mixed[0], expected)
    assert_same(mixed[2], expected)


# ---- what cannot be encoded


def bad(audio: Any) -> Recording:
    return Recording("bad", "", audio=audio)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("family", ["group", "bert adapter"])
@pytest.mark.parametrize(
    ("audio", "reason"),
    [
        (np.zeros(0, np.float32), "shorter than"),
        (np.zeros(399, np.int16), "shorter than"),
        (np.full(SECOND, np.nan, np.float32), "samples that are not numbers"),
        (np.array([0] * SECOND + [np.inf], np.float32), "samples that are not numbers"),
        (np.full(SECOND, 1e30, np.float32), "samples that are not numbers"),
        (np.zeros((SECOND, 2), np.float32), "not mono samples"),
        (np.zeros(SECOND, np.int64), "not mono samples"),
    ],
)
def test_what_cannot_be_encoded_fails_by_itself(
    encoders: Callable[[str], Encoder], family: str, audio: AudioArray, reason: str
) -> None:
    good = recording(1.0)
    done = encoded(encoders(family), recording(0.5), bad(audio), good)
    assert [one.status for one in done] == ["pending", "failed", "pending"]
    assert str(done[1].error).startswith(f"encode: {reason}")
    assert done[1].error_detail
    assert done[2].emissions is not None
    assert_same(done[2].emissions, emissions_of(encoders(family), good)[0])


@pytest.mark.parametrize(("family", "shortest"), [("group", 400), ("adapter", 400), ("bert", 560)])
def test_the_shortest_recording_has_a_frame_and_one_sample_less_is_a_failure(
    encoders: Callable[[str], Encoder], family: str, shortest: int
) -> None:
    too_short, enough = encoded(encoders(family), recording((shortest - 1) / SECOND), recording(shortest / SECOND))
    assert too_short.error == f"encode: shorter than {shortest / 16:g} ms"
    assert enough.emissions is not None
    assert len(enough.emissions) == 1


@pytest.mark.parametrize("family", ["group", "layer", "bert"])
@pytest.mark.parametrize("level", [0.0, 0.7, 1e-9])
def test_silence_has_emissions(encoders: Callable[[str], Encoder], family: str, level: float) -> None:
    (emissions,) = emissions_of(encoders(family), bad(np.full(SECOND, level, np.float32)))
    assert np.isfinite(emissions).all()


# ---- precisions


@pytest.mark.parametrize(("precision", "tolerance"), [("bf16", 0.1), ("fp16", 0.02), ("int8", 0.3)])
def test_smaller_precisions_are_near_fp32_in_company_as_alone(
    checkpoint: Callable[[str], Path], encoders: Callable[[str], Encoder], precision: str, tolerance: float
) -> None:
    encoder = encoder_of(checkpoint("layer"), precision=precision)
    recordings = [recording(seconds, seed=int(100 * seconds)) for seconds in (1.0, 2.5, 0.3)]
    for one, emissions in zip(recordings, emissions_of(encoder, *recordings), strict=True):
        (expected,) = emissions_of(encoders("layer"), one)
        assert 0 < float(np.abs(emissions - expected).mean()) < tolerance * float(expected.std())
        assert float(np.abs(emissions - emissions_of(encoder, one)[0]).mean()) < tolerance * float(expected.std())


def loud_inside(checkpoint: Path, directory: Path) -> Path:
    """The same function, with values inside that half precision cannot hold."""
    directory.mkdir()
    for path in checkpoint.iterdir():
        (directory / path.name).write_bytes(path.read_bytes())
    weights = load_file(directory / "model.safetensors")
    for layer in range(LAYER["num_hidden_layers"]):
        block = f"wav2vec2.encoder.layers.{layer}.attention"
        for part in ("weight", "bias"):
            weights[f"{block}.v_proj.{part}"] *= 2.0**20
        weights[f"{block}.out_proj.weight"] *= 2.0**-20
    save_file(weights, directory / "model.safetensors", metadata={"format": "pt"})
    return directory


def test_what_overflows_half_precision_is_done_in_bf16_and_nothing_else_is(
    checkpoint: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = []
    plain_init = Emitter.__init__

    def noted(self: Emitter, model: Any, config: EncodeConfig, precision: Any) -> None:
        made.append(precision)
        plain_init(self, model, config, precision)

    monkeypatch.setattr(Emitter, "__init__", noted)
    recordings = [recording(1.0, seed=1), recording(0.4, seed=2)]
    emissions_of(encoder_of(checkpoint("layer"), precision="fp16"), *recordings)
    assert made == ["fp16"]
    loud = loud_inside(checkpoint("layer"), tmp_path / "loud")
    made.clear()
    found = emissions_of(encoder_of(loud, precision="fp16"), *recordings)
    assert made == ["fp16", "bf16"]
    wider = encoder_of(loud, precision="bf16")
    for one, emissions in zip(recordings, found, strict=True):
        np.testing.assert_array_equal(emissions, emissions_of(wider, one)[0])
    made.clear()
    (long,) = emissions_of(encoder_of(loud, precision="fp16", whole_s=1.0, window_s=1.0, overlap_s=0.2), recording(3.0))
    assert made == ["fp16", "bf16"]
    assert len(long) == 149


def spoilt(monkeypatch: pytest.MonkeyPatch, is_bad: Callable[[AudioArray, int], bool]) -> None:
    """Models that give no numbers for some recordings, by what they are and by how many are computed with them."""
    plain = Emitter.logits

    def logits(self: Emitter, audios: list[AudioArray]) -> Packed:
        found = plain(self, audios)
        for audio, rows in zip(audios, found.split(), strict=True):
            if is_bad(audio, len(audios)):
                rows[0] = np.nan
        return found

    monkeypatch.setattr(Emitter, "logits", logits)


def test_emissions_that_are_not_numbers_fail_their_recording_alone(
    encoders: Callable[[str], Encoder], monkeypatch: pytest.MonkeyPatch
) -> None:
    recordings = [recording(0.5), recording(0.7), recording(0.9)]
    expected = emissions_of(encoders("group"), *recordings)
    spoilt(monkeypatch, lambda audio, _: len(audio) == int(0.7 * SECOND))
    done = encoded(encoders("group"), *recordings)
    assert [one.error for one in done] == [None, "encode: emissions that are not numbers", None]
    assert_same(done[2].emissions, expected[2])  # type: ignore[arg-type]


def test_what_was_spoilt_by_its_company_is_done_again_alone(
    encoders: Callable[[str], Encoder], monkeypatch: pytest.MonkeyPatch
) -> None:
    recordings = [recording(0.5), recording(0.7)]
    expected = emissions_of(encoders("group"), *recordings)
    spoilt(monkeypatch, lambda _, num_recordings: num_recordings > 1)
    for emissions, alone in zip(emissions_of(encoders("group"), *recordings), expected, strict=True):
        assert_same(emissions, alone)


# ---- memory


class SmallGpu:
    """Emitters that carry so many seconds at once, and note what they were asked for."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, whole_s: float, windows_s: float = 1e9) -> None:
        self.asked: list[float] = []
        self.windows: list[Windows] = []
        plain_logits, plain_windowed = Emitter.logits, Emitter.windowed

        def logits(emitter: Emitter, audios: list[AudioArray]) -> Packed:
            self.asked.append(sum(map(len, audios)) / SECOND)
            if self.asked[-1] > whole_s:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nand much more")
            return plain_logits(emitter, audios)

        def windowed(emitter: Emitter, audio: AudioArray, windows: Windows) -> FloatArray:
            self.windows.append(windows)
            if windows.size * windows.at_once * 0.02 > windows_s:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nand much more")
            return plain_windowed(emitter, audio, windows)

        monkeypatch.setattr(Emitter, "logits", logits)
        monkeypatch.setattr(Emitter, "windowed", windowed)


def test_a_batch_too_large_for_the_memory_is_done_again_in_halves_and_so_are_those_after_it(
    checkpoint: Callable[[str], Path], encoders: Callable[[str], Encoder], monkeypatch: pytest.MonkeyPatch
) -> None:
    recordings = [recording(1.0, seed) for seed in range(9)]
    expected = emissions_of(encoders("group"), *recordings)
    encoder = encoder_of(checkpoint("group"), batch_s=100.0)
    gpu = SmallGpu(monkeypatch, whole_s=2.5)
    for emissions, alone in zip(emissions_of(encoder, *recordings), expected, strict=True):
        assert_same(emissions, alone)
    assert gpu.asked == [9.0, 4.0, 2.0, 2.0, 2.0, 2.0, 1.0]
    gpu.asked.clear()
    emissions_of(encoder, *recordings[:4])
    assert gpu.asked == [2.0, 2.0]


def test_a_recording_that_does_not_fit_is_windowed_and_its_company_does_not_notice(
    checkpoint: Callable[[str], Path], encoders: Callable[[str], Encoder], monkeypatch: pytest.MonkeyPatch
) -> None:
    small, large = recording(0.5), recording(6.0)
    expected = emissions_of(encoders("group"), small, large)
    gpu = SmallGpu(monkeypatch, whole_s=2.5)
    found = emissions_of(encoder_of(checkpoint("group"), batch_s=100.0), small, large)
    assert_same(found[0], expected[0])
    assert found[1].shape == expected[1].shape
    assert gpu.asked == [6.5, 6.0, 0.5]
    assert [windows.size for windows in gpu.windows] == [150]  # half of what did not fit


def test_a_recording_whose_windows_do_not_fit_either_fails(
    checkpoint: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    SmallGpu(monkeypatch, whole_s=2.5, windows_s=2.0)
    done = encoded(encoder_of(checkpoint("group"), batch_s=100.0), recording(6.0), recording(0.5))
    assert [one.error for one in done] == ["encode: out of GPU memory (encode.window_s)", None]
    assert done[0].error_detail == "CUDA out of memory. Tried to allocate 2.00 GiB."


def test_windows_that_do_not_fit_together_are_computed_fewer_at_a_time(
    checkpoint: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = encoder_of(checkpoint("group"), batch_s=8.0, whole_s=1.0, window_s=1.0, overlap_s=0.25)
    (expected,) = emissions_of(encoder, recording(6.0))
    gpu = SmallGpu(monkeypatch, whole_s=100.0, windows_s=2.5)
    (found,) = emissions_of(encoder, recording(6.0))
    assert_same(found, expected)
    assert [windows.at_once for windows in gpu.windows] == [8, 4, 2]


# ---- long recordings


@pytest.mark.parametrize("family", FAMILIES)
def test_a_long_recording_has_the_frames_of_the_whole_and_nearly_their_emissions(
    checkpoint: Callable[[str], Path], encoders: Callable[[str], Encoder], family: str
) -> None:
    """Random attention is to everywhere, so what a window does not see shows; the front end and the norms do not."""
    long, short = recording(12.0), recording(1.0)
    whole = emissions_of(encoders(family), long, short)
    encoder = encoder_of(checkpoint(family), whole_s=5.0, window_s=6.0, overlap_s=1.5)
    windowed = emissions_of(encoder, long, short)
    assert windowed[0].shape == whole[0].shape
    assert np.sqrt(np.square(windowed[0] - whole[0]).mean()) < 0.3 * float(whole[0].std())
    assert_same(windowed[1], whole[1])


@pytest.mark.parametrize("dtype", [np.float32, np.int16])
def test_samples_that_may_not_be_written_to_are_read(encoders: Callable[[str], Encoder], dtype: Any) -> None:
    """As they are that come from another process by shared memory; torch would warn of them."""
    audio = np.random.default_rng(0).normal(0, 0.3 if dtype == np.float32 else 3000, SECOND).astype(dtype)
    audio.flags.writeable = False
    assert len(emissions_of(encoders("group"), bad(audio))[0]) == 49


# ---- languages, models and devices


@pytest.fixture
def multilingual(tmp_path: Path) -> Path:
    """A checkpoint with English inside and French beside it, which has a letter more."""
    write_model(tmp_path, {"adapter_attn_dim": 4, "vocab_size": 6})
    marks = {label: number for number, label in enumerate(LABELS[:5])}
    vocabularies = {"eng": marks | {"A": 5}, "fra": marks | {"A": 5, "É": 6}}
    (tmp_path / "vocab.json").write_text(json.dumps(vocabularies))
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"target_lang": "eng"}))
    weights = load_file(tmp_path / "model.safetensors")
    french = {name: 2 * weight for name, weight in weights.items() if "adapter_layer" in name}
    french["lm_head.weight"] = torch.cat([weights["lm_head.weight"], weights["lm_head.weight"][-1:]])
    french["lm_head.bias"] = torch.zeros(7)
    save_file(french, tmp_path / "adapter.fra.safetensors")
    return tmp_path


def test_a_language_of_the_checkpoint_is_spoken(multilingual: Path) -> None:
    english, french = (encoder_of(multilingual, language=language) for language in ("", "fra"))
    one = recording(1.0)
    assert emissions_of(english, one)[0].shape == (49, 6)
    assert emissions_of(french, one)[0].shape == (49, 7)


def test_another_adapter_is_another_model(multilingual: Path) -> None:
    """A run must not be resumed with it, nor may a worker have it where the driver has not."""
    before = model_hash(str(multilingual), "fra")
    assert before != model_hash(str(multilingual))
    path = multilingual / "adapter.fra.safetensors"
    save_file({name: 2 * weight for name, weight in load_file(path).items()}, path)
    assert model_hash(str(multilingual), "fra") != before
    with pytest.raises(UsageError, match="not the model that the run was started with"):
        Encoder(EncodeConfig(model=str(multilingual), language="fra", device="cpu"), before)


def test_a_language_that_is_not_there_is_said(multilingual: Path) -> None:
    with pytest.raises(UsageError, match=r"'deu'.*fra"):
        encoder_of(multilingual, language="deu")


def test_a_vocabulary_that_does_not_fit_the_head_is_said(checkpoint: Callable[[str], Path], tmp_path: Path) -> None:
    directory = tmp_path / "copy"
    directory.mkdir()
    for path in checkpoint("group").iterdir():
        (directory / path.name).write_bytes(path.read_bytes())
    (directory / "vocab.json").write_text('{"<pad>": 0, "A": 1}')
    with pytest.raises(UsageError, match="head has 11 outputs, but the vocabulary 2 labels"):
        encoder_of(directory)


def test_a_worker_with_another_model_than_the_driver_stops(model: Path) -> None:
    """A relative path or a hub name may mean something else on another machine."""
    with pytest.raises(UsageError, match="not the model that the run was started with"):
        Encoder(EncodeConfig(model=str(model)), "another hash")


def test_a_gpu_that_is_not_there_is_said(model: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(UsageError, match=r"encode\.device = cuda"):
        encoder_of(model, device="cuda")


@pytest.fixture
def on_gpu() -> None:
    if not torch.cuda.is_available():
        pytest.skip("there is no GPU")


@pytest.mark.usefixtures("on_gpu")
@pytest.mark.parametrize("family", FAMILIES)
def test_a_gpu_gives_what_a_cpu_gives(
    checkpoint: Callable[[str], Path], encoders: Callable[[str], Encoder], family: str
) -> None:
    recordings = [recording(seconds, seed=int(100 * seconds)) for seconds in (0.3, 2.0, 4.0)]
    encoder = encoder_of(checkpoint(family), device="cuda")
    expected = emissions_of(encoders(family), *recordings)
    for emissions, other in zip(emissions_of(encoder, *recordings), expected, strict=True):
        assert np.abs(emissions - other).max() < 1e-3
