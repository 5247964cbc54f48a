"""Language adapters against transformers' own, which has one language at a time: here they are mixed in a batch.

It does not know trained languages: each is a seeded set of random weights, with a vocabulary of its own size.
"""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import Tensor

from pipeline.errors import UsageError
from pipeline.models.adapters import Bank, Spoken, by_language
from pipeline.models.checkpoint import CheckpointError
from pipeline.models.ctc import PADDED_LOGIT
from pipeline.models.segments import Packed
from pipeline.models.wav2vec2 import Wav2Vec2Config, Wav2Vec2ForCTC
from pipeline.models.windows import Windows, seam_error, windowed_logits
from tests.models.oracle import LAYER, SECOND, TOLERANCE, audio, oracle_model, saved

SPOKEN = {"eng": 11, "fra": 17, "azj-script_latin": 9, "pop": 11}  # languages and their vocabularies
MMS = LAYER | {"adapter_attn_dim": 6}


def adapter_weights(config: dict[str, Any], seed: int) -> dict[str, Tensor]:
    oracle = oracle_model(config, seed=seed)
    return {name: x.clone() for name, x in oracle.state_dict().items() if re.search(r"adapter_layer|lm_head", name)}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that speaks `eng` by itself, with adapters beside it."""
    folder = saved(oracle_model(MMS), tmp_path_factory.mktemp("mms"))
    for seed, (language, size) in enumerate(SPOKEN.items()):
        weights = adapter_weights(MMS | {"vocab_size": size}, seed)
        if language == "azj-script_latin":
            torch.save(weights, folder / f"adapter.{language}.bin")
        else:
            save_file(weights, folder / f"adapter.{language}.safetensors")
    return folder


@pytest.fixture(scope="module")
def alone(checkpoint: Path) -> dict[str, Any]:
    """transformers' model of each language."""
    transformers = pytest.importorskip("transformers")
    models = {}
    for language in SPOKEN:
        models[language] = transformers.Wav2Vec2ForCTC.from_pretrained(checkpoint, attn_implementation="eager").eval()
        models[language].load_adapter(language)
    return models


@pytest.fixture(scope="module")
def ours(checkpoint: Path) -> Wav2Vec2ForCTC:
    model = Wav2Vec2ForCTC.from_pretrained(checkpoint)
    model.load_adapters(list(SPOKEN))
    return model


def recordings(lengths: Sequence[int]) -> list[Tensor]:
    return [audio(1, length, seed=number)[0] for number, length in enumerate(lengths)]


@torch.inference_mode()
def expected(oracle: Any, recording: Tensor) -> Tensor:
    logits: Tensor = oracle(recording.unsqueeze(0)).logits[0]
    assert 0.2 < logits.std() < 10
    return logits


# One language at a time, as transformers has it.


def test_without_a_language_a_model_speaks_what_its_own_weights_speak(checkpoint: Path, alone: dict[str, Any]) -> None:
    """The risk: English read by another language's head, or an adapter that is loaded unasked."""
    model = Wav2Vec2ForCTC.from_pretrained(checkpoint)
    (x,) = recordings([SECOND])
    assert model.target_lang is None
    assert (model(x.unsqueeze(0)).logits[0] - expected(alone["eng"], x)).abs().max() < TOLERANCE


@pytest.mark.parametrize("language", SPOKEN)
@pytest.mark.parametrize("way", ["from_pretrained", "load_adapter"])
def test_one_language_equals_transformers(language: str, way: str, checkpoint: Path, alone: dict[str, Any]) -> None:
    """The risk: a layer that keeps the adapter of another language, or the head of another vocabulary."""
    if way == "from_pretrained":
        model = Wav2Vec2ForCTC.from_pretrained(checkpoint, target_lang=language, ignore_mismatched_sizes=True)
    else:
        model = Wav2Vec2ForCTC.from_pretrained(checkpoint)
        model.load_adapter("fra")
        model.load_adapter(language)
    (x,) = recordings([SECOND])
    logits = model(x.unsqueeze(0)).logits[0]
    assert logits.shape[1] == model.config.vocab_size == model.backbone.config.vocab_size == SPOKEN[language]
    assert model.target_lang == language
    assert (logits - expected(alone[language], x)).abs().max() < TOLERANCE


# Several at once.


def test_languages_mixed_in_a_batch_equal_transformers_with_each_alone(
    ours: Wav2Vec2ForCTC, alone: dict[str, Any]
) -> None:
    """The risk: a recording in the language of its neighbour, in some layer or in the head."""
    languages = ["fra", "eng", "azj-script_latin", "fra", "pop"]
    sounds = recordings([SECOND, 400, SECOND // 2, 9000, 2 * SECOND])
    with torch.inference_mode():
        logits = ours.logits(Packed.of(sounds), languages=languages)
    assert logits.data.shape[1] == max(SPOKEN.values())
    for language, x, found in zip(languages, sounds, logits.split(), strict=True):
        size = SPOKEN[language]
        assert (found[:, :size] - expected(alone[language], x)).abs().max() < TOLERANCE
        assert (found[:, size:] == PADDED_LOGIT).all()


def test_the_padded_face_takes_languages_too(ours: Wav2Vec2ForCTC, alone: dict[str, Any]) -> None:
    """The risk: languages that are given but dropped on the way from the padded batch; padding that is no blank."""
    sounds = recordings([SECOND, 9000])
    packed = Packed.of(sounds)
    mask = packed.with_data(torch.ones(packed.segments.total)).padded()
    with torch.inference_mode():
        logits = ours(packed.padded(), attention_mask=mask, languages=["pop", "fra"]).logits
        both = ours(packed.padded(), attention_mask=mask, languages="fra").logits
    for row, language in enumerate(["pop", "fra"]):
        wanted = expected(alone[language], sounds[row])
        found = logits[row, : len(wanted), : wanted.shape[1]]
        assert (found - wanted).abs().max() < TOLERANCE
    assert (logits[1, len(expected(alone["fra"], sounds[1])) :].argmax(dim=-1) == 0).all()
    assert (both[0] - expected(alone["fra"], sounds[0])).abs().max() < TOLERANCE


def test_windows_of_a_long_recording_are_in_its_language(ours: Wav2Vec2ForCTC, alone: dict[str, Any]) -> None:
    """The risk: windows are recordings to the layers, and there are more of them than languages were given."""
    (x,) = recordings([3 * SECOND])
    with torch.inference_mode():
        windowed = torch.cat(list(windowed_logits(ours, x, Windows(size=100, overlap=40, at_once=2), "fra")))
        whole = torch.cat(list(windowed_logits(ours, x, Windows(size=1000, overlap=40), "fra")))
    # The seams are of one language: with a single window there are none, and with several the two still agree.
    assert seam_error(ours, x, Windows(1000, 40), "fra").rms < 1e-5
    assert seam_error(ours, x, Windows(100, 40), "fra").rms < 0.3
    assert (whole - expected(alone["fra"], x)).abs().max() < TOLERANCE
    assert windowed.shape == whole.shape
    assert (windowed[:20] - whole[:20]).std() < 0.3 * whole.std()


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.sampled_from([*SPOKEN, None]), st.integers(400, 12_000)), min_size=1, max_size=6))
def test_a_recording_does_not_depend_on_the_languages_around_it(
    ours: Wav2Vec2ForCTC, batch: list[tuple[str | None, int]]
) -> None:
    """The risk: rows gathered by language and put back in another order, in batches nobody tried."""
    sounds = recordings([length for _, length in batch])
    with torch.inference_mode():
        together = ours.logits(Packed.of(sounds), languages=[language for language, _ in batch]).split()
        for (language, _), x, found in zip(batch, sounds, together, strict=True):
            wanted = ours.logits(Packed.of([x]), languages=[language]).data
            difference = (found[:, : wanted.shape[1]] - wanted).abs().max()
            assert difference <= 1e-5 * wanted.std()
            assert torch.equal(found.argmax(dim=1), wanted.argmax(dim=1))


def test_rows_go_to_their_speaker_and_back() -> None:
    """The risk: as above, where it can be seen with the eye; and a gradient that does not come through."""
    x = Packed.of([torch.full((2, 1), 1.0), torch.full((1, 1), 2.0), torch.full((3, 1), 3.0)])
    x.data.requires_grad_()
    wide = {"a": 2, "b": 1}
    y = by_language(x, Spoken(["a", "b", "a"]), lambda one: lambda rows: rows.repeat(1, wide[str(one)]), fill=-9)
    assert y.tolist() == [[1, 1], [1, 1], [2, -9], [3, 3], [3, 3], [3, 3]]
    y.sum().backward()
    assert x.data.grad is not None
    assert x.data.grad.flatten().tolist() == [2, 2, 1, 2, 2, 2]


def test_a_language_is_forgotten_after_the_pass_even_if_it_fails(ours: Wav2Vec2ForCTC) -> None:
    """The risk: the next batch in the last one's languages."""
    (x,) = recordings([4000])
    before = ours(x.unsqueeze(0)).logits
    with pytest.raises(ValueError, match="2 languages for 1 recordings"):
        ours(x.unsqueeze(0), languages=["fra", "fra"])
    ours(x.unsqueeze(0), languages=["fra"])
    assert torch.equal(ours(x.unsqueeze(0)).logits, before)


def test_a_language_is_the_affair_of_one_call(ours: Wav2Vec2ForCTC, checkpoint: Path, alone: dict[str, Any]) -> None:
    """The risk: windows that are asked for in one language and computed, later or by another model, in another."""
    other = Wav2Vec2ForCTC.from_pretrained(checkpoint)  # no language is loaded here
    (x,) = recordings([SECOND])
    french = windowed_logits(ours, x, Windows(size=1000, overlap=40), "fra")
    with torch.inference_mode():
        assert (ours(x.unsqueeze(0)).logits[0] - expected(alone["eng"], x)).abs().max() < TOLERANCE
        first = next(french)
        assert (other(x.unsqueeze(0)).logits[0] - expected(alone["eng"], x)).abs().max() < TOLERANCE
        assert (torch.cat([first, *french]) - expected(alone["fra"], x)).abs().max() < TOLERANCE
    with pytest.raises(UsageError, match="'fra' is not loaded"):
        next(windowed_logits(other, x, Windows(size=1000, overlap=40), "fra"))


@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 1e-5), ("bf16", 0.05), ("int8", 0.15)])
def test_languages_load_before_and_after_preparing_alike(
    precision: Any, tolerance: float, checkpoint: Path, alone: dict[str, Any]
) -> None:
    """The risk: adapters left in fp32, or not at all prepared, where they come after the rest."""
    before, after = (Wav2Vec2ForCTC.from_pretrained(checkpoint) for _ in range(2))
    before.load_adapters(["fra", "pop"])
    before.prepare(precision)
    after.prepare(precision)
    after.load_adapters(["fra", "pop"])
    sounds, languages = recordings([SECOND, SECOND]), ["pop", "fra"]
    with torch.inference_mode():
        logits = [model.logits(Packed.of(sounds), languages=languages) for model in (before, after)]
    assert torch.equal(logits[0].data, logits[1].data)
    for language, x, found in zip(languages, sounds, logits[0].split(), strict=True):
        wanted = expected(alone[language], x)
        assert (found[:, : wanted.shape[1]] - wanted).square().mean().sqrt() < tolerance * wanted.std()


def test_saved_languages_open_in_transformers(ours: Wav2Vec2ForCTC, alone: dict[str, Any], tmp_path: Path) -> None:
    """The risk: a main file with the languages' weights in it, or adapter files that only we can read."""
    transformers = pytest.importorskip("transformers")
    ours.save_pretrained(tmp_path)
    names = load_file(tmp_path / "model.safetensors").keys()
    assert not [name for name in names if "languages" in name]
    (x,) = recordings([SECOND])
    for language in ("eng", "pop"):
        oracle = transformers.Wav2Vec2ForCTC.from_pretrained(tmp_path, target_lang=language).eval()
        assert (expected(oracle, x) - expected(alone[language], x)).abs().max() < TOLERANCE
    oracle = transformers.Wav2Vec2ForCTC.from_pretrained(tmp_path).eval()
    assert (expected(oracle, x) - expected(alone["eng"], x)).abs().max() < TOLERANCE


def test_a_spoken_language_is_saved_as_the_models_own(checkpoint: Path, alone: dict[str, Any], tmp_path: Path) -> None:
    """The risk: a model of French that speaks English, or does not load, after it was saved."""
    Wav2Vec2ForCTC.from_pretrained(checkpoint, target_lang="fra").save_pretrained(tmp_path)
    (x,) = recordings([SECOND])
    again = Wav2Vec2ForCTC.from_pretrained(tmp_path)
    assert (again(x.unsqueeze(0)).logits[0] - expected(alone["fra"], x)).abs().max() < TOLERANCE


# What cannot be spoken.


@pytest.mark.parametrize("language", ["deu", "", "../eng", "en*", "eng.safetensors", "/etc/passwd"])
def test_an_unknown_language_is_answered_with_those_that_exist(language: str, checkpoint: Path) -> None:
    """The risk: a spelling mistake answered with a stack trace; a language of a corpus that opens other files."""
    model = Wav2Vec2ForCTC.from_pretrained(checkpoint)
    told = re.escape(f"no adapter for language {language!r}; there are 4: azj-script_latin, eng, fra, pop")
    with pytest.raises(UsageError, match=told):
        model.load_adapter(language)
    with pytest.raises(UsageError, match=told):
        Wav2Vec2ForCTC.from_pretrained(checkpoint, target_lang=language)


def test_a_language_that_is_not_loaded_is_named_with_those_that_are(checkpoint: Path) -> None:
    """The risk: recordings of one language silently in another."""
    model = Wav2Vec2ForCTC.from_pretrained(checkpoint)
    (x,) = recordings([4000])
    with pytest.raises(UsageError, match="'fra' is not loaded, call load_adapters; loaded: none"):
        model(x.unsqueeze(0), languages=["fra"])
    model.load_adapters(["pop"])
    for languages in (["fra"], "fra"):
        with pytest.raises(UsageError, match="'fra' is not loaded, call load_adapters; loaded: pop"):
            model(x.unsqueeze(0), languages=languages)


@pytest.mark.parametrize("change", [{"adapter_attn_dim": None}, {"do_stable_layer_norm": False}], ids=str)
def test_a_model_without_adapters_says_so(change: dict[str, Any], tmp_path: Path) -> None:
    """The risk: a language asked of a model that has none, and English given."""
    saved(oracle_model(MMS | change), tmp_path)
    for load in (
        lambda: Wav2Vec2ForCTC.from_pretrained(tmp_path, target_lang="fra"),
        lambda: Wav2Vec2ForCTC.from_pretrained(tmp_path).load_adapter("fra"),
    ):
        with pytest.raises(UsageError, match=r"has no language adapters.*adapter_attn_dim and do_stable_layer_norm"):
            load()


def test_a_model_made_in_code_has_nothing_to_load_from() -> None:
    """The risk: the working directory searched for adapters, or the hub asked for a model called None."""
    model = Wav2Vec2ForCTC(Wav2Vec2Config.from_dict(MMS | {"model_type": "wav2vec2"}))
    with pytest.raises(UsageError, match="made in code"):
        model.load_adapter("fra")


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        ("head missing", r"2 missing \(lm_head\.weight, lm_head\.bias\), 0 unknown"),
        ("layer missing", r"1 missing \(wav2vec2\.encoder\.layers\.1\.adapter_layer\.norm\.weight\)"),
        ("too much", r"0 missing, 1 unknown \(wav2vec2\.encoder\.layer_norm\.weight\)"),
        ("narrow", r"layers\.0\.adapter_layer\.linear_1\.weight has shape \(5, 32\), the config asks for \(6, 32\)"),
        ("head of another size", r"lm_head\.weight has shape \(17, 31\), the config asks for \(17, 32\)"),
        ("bias of another size", r"lm_head\.bias has shape \(16,\), the config asks for \(17,\)"),
        ("not a number", r"lm_head\.weight holds what is not a number, or infinite"),
        ("cut off", "cannot be read as safetensors"),
        ("scalar head", r"lm_head\.weight has shape \(\)"),
        ("no blank", r"has 3 labels, and pad_token_id 10 is none of them"),
    ],
)
def test_an_adapter_file_that_does_not_fit_is_named_and_changes_nothing(
    fault: str, told: str, checkpoint: Path, tmp_path: Path
) -> None:
    """The risk: half a language; an adapter of another model; weights that fit by broadcasting."""
    (tmp_path / "model.safetensors").symlink_to(checkpoint / "model.safetensors")
    config = json.loads((checkpoint / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"pad_token_id": 10}))
    weights = load_file(checkpoint / "adapter.fra.safetensors")
    layer = "wav2vec2.encoder.layers.{}.adapter_layer.{}"
    if fault == "head missing":
        weights = {name: x for name, x in weights.items() if not name.startswith("lm_head")}
    elif fault == "layer missing":
        del weights[layer.format(1, "norm.weight")]
    elif fault == "too much":
        weights["wav2vec2.encoder.layer_norm.weight"] = torch.zeros(32)
    elif fault == "narrow":
        weights[layer.format(0, "linear_1.weight")] = torch.zeros(5, 32)
    elif fault == "head of another size":
        weights["lm_head.weight"] = torch.zeros(17, 31)
    elif fault == "bias of another size":
        weights["lm_head.bias"] = torch.zeros(16)
    elif fault == "not a number":
        weights["lm_head.weight"][3, 3] = torch.nan
    elif fault == "no blank":
        weights |= {"lm_head.weight": torch.zeros(3, 32), "lm_head.bias": torch.zeros(3)}
    elif fault == "scalar head":
        weights["lm_head.weight"] = torch.zeros(())
    path = tmp_path / "adapter.fra.safetensors"
    save_file(weights, path)
    if fault == "cut off":
        path.write_bytes(path.read_bytes()[:-7])
    model = Wav2Vec2ForCTC.from_pretrained(tmp_path)
    (x,) = recordings([4000])
    before = model(x.unsqueeze(0)).logits
    with pytest.raises(CheckpointError, match=re.escape(str(path)) + ".*" + told):
        model.load_adapter("fra")
    assert torch.equal(model(x.unsqueeze(0)).logits, before)
    assert "fra" not in model.languages


def test_a_malicious_adapter_is_refused_and_not_run(checkpoint: Path, tmp_path: Path) -> None:
    """The risk: a language's pickle that runs its author's code."""
    trap = tmp_path / "sprung"

    class Malicious:
        def __reduce__(self) -> Any:
            return Path.mkdir, (trap,)

    for name in ("config.json", "model.safetensors"):
        (tmp_path / name).symlink_to(checkpoint / name)
    torch.save({"lm_head.weight": Malicious()}, tmp_path / "adapter.fra.bin")
    with pytest.raises(CheckpointError, match=r"adapter\.fra\.bin is refused"):
        Wav2Vec2ForCTC.from_pretrained(tmp_path, target_lang="fra")
    assert not trap.exists()


def test_a_language_may_be_called_like_a_method() -> None:
    """The risk: the Pwapwa language, `pop`, which torch's dictionary of modules cannot hold."""
    bank = Bank()
    for language in ("pop", "keys", "in_pop", "training"):
        bank[language] = torch.nn.Linear(1, 1)
    assert list(bank) == ["pop", "keys", "in_pop", "training"]
    assert "pop" in bank
    assert "eng" not in bank
    assert len(list(bank.parameters())) == 8


def test_languages_move_with_the_model_and_are_trained_with_it(checkpoint: Path) -> None:
    """The risk: languages left on another device, or out of an optimiser's sight."""
    model = Wav2Vec2ForCTC.from_pretrained(checkpoint)
    model.load_adapters(["fra"])
    assert json.loads((checkpoint / "config.json").read_text())["adapter_attn_dim"] == 6
    trained = {name for name, x in model.named_parameters() if x.requires_grad}
    assert "languages.in_fra.weight" in trained
    assert "wav2vec2.encoder.layers.0.adapter_layer.languages.in_fra.linear_1.weight" in trained
    assert {x.device.type for x in model.to("meta").parameters()} == {"meta"}
