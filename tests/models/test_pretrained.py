"""`from_pretrained` and `save_pretrained` for every class, with transformers on the other side.

It does not judge how any family or head computes: their own tests do.
"""

import json
import pickle
import re
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

import pipeline.models
from pipeline.errors import UsageError
from pipeline.models import AutoConfig, AutoModel, AutoModelForCTC, Wav2Vec2Config, Wav2Vec2ForCTC, Wav2Vec2Model, auto
from pipeline.models.locate import adapter_file
from pipeline.models.pretrained import Pretrained
from pipeline.models.segments import Packed
from pipeline.models.weight_files import CheckpointError
from pipeline.models.windows import Windows, windowed_logits
from tests.models.every_class import CLASSES, CONFIGS, KINDS, inputs_of
from tests.models.oracle import GROUP, TOLERANCE, audio, oracle_model, saved

PREFIXES = {"wav2vec2": "wav2vec2.", "wav2vec2-conformer": "wav2vec2_conformer.", "wav2vec2-bert": "wav2vec2_bert."}


def oracle_of(model: type[Pretrained]) -> nn.Module:
    return oracle_model(CONFIGS[model.config_class.model_type], model.__name__)


@torch.inference_mode()
def first(model: nn.Module, inputs: Tensor) -> Tensor:
    """The first of its outputs: hidden states, logits, or predictions of the pre-training."""
    output: Tensor = model(inputs)[0]
    return output


# Every class, there and back.


@pytest.mark.parametrize("model", CLASSES, ids=lambda model: model.__name__)
def test_every_class_loads_and_saves_what_transformers_opens(model: type[Pretrained], tmp_path: Path) -> None:
    """The risk: a class whose names are almost those of checkpoints; weights lost on the way back, in which
    transformers would have random values instead; a class that the automatic one does not find."""
    transformers = pytest.importorskip("transformers")
    oracle, inputs = oracle_of(model), inputs_of(model)
    expected = first(oracle, inputs)
    ours = KINDS[model].from_pretrained(saved(oracle, tmp_path / "theirs"))
    assert type(ours) is model
    assert (first(ours, inputs) - expected).abs().max() < TOLERANCE

    ours.save_pretrained(tmp_path / "ours")
    back, told = getattr(transformers, model.__name__).from_pretrained(
        tmp_path / "ours", output_loading_info=True, attn_implementation="eager"
    )
    assert not any(told.values())
    assert {weight.dtype for weight in back.parameters()} == {torch.float32}
    assert (first(back.eval(), inputs) - expected).abs().max() < 1e-5
    assert json.loads((tmp_path / "ours/config.json").read_text())["architectures"] == [model.__name__]
    again = model.from_pretrained(tmp_path / "ours")
    assert (first(again, inputs) - expected).abs().max() < TOLERANCE


@pytest.mark.parametrize("model", auto.AutoModel.classes, ids=lambda model: model.__name__)
def test_an_encoder_loads_out_of_any_checkpoint_with_or_without_its_prefix(
    model: type[Pretrained], tmp_path: Path
) -> None:
    """The risk: an encoder refused for the head that is on it; names of a head taken for the encoder's, as the x-vector
    head's `feature_extractor` could be."""
    inputs = inputs_of(model)
    prefix = PREFIXES[model.config_class.model_type]
    family = model.__name__.removesuffix("Model")
    heads = [one for one in CLASSES if one is not model and one.config_class is model.config_class]
    assert len(heads) >= 4, family
    for head in heads:
        oracle = oracle_of(head)
        folder = saved(oracle, tmp_path / head.__name__)
        expected = first(getattr(oracle, prefix[:-1]), inputs)
        assert (first(model.from_pretrained(folder), inputs) - expected).abs().max() < TOLERANCE
        weights = load_file(folder / "model.safetensors")
        save_file({name.removeprefix(prefix): x for name, x in weights.items()}, folder / "model.safetensors")
        assert (first(model.from_pretrained(folder), inputs) - expected).abs().max() < TOLERANCE
        expected = first(oracle, inputs)
        assert (first(head.from_pretrained(folder), inputs) - expected).abs().max() < TOLERANCE


@pytest.mark.parametrize("model", [one for one in CLASSES if KINDS[one] is not AutoModel], ids=lambda one: one.__name__)
def test_a_head_that_is_not_there_is_missed_by_name(model: type[Pretrained], tmp_path: Path) -> None:
    """The risk: a bare encoder given a head of random weights, which transcribes noise."""
    config = model.config_class.from_dict(
        CONFIGS[model.config_class.model_type] | {"model_type": model.config_class.model_type}
    )
    bare = next(one for one in AutoModel.classes if one.config_class is model.config_class)(config)
    bare.save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match=re.escape(str(tmp_path)) + f" has no {model.head_meaning} ") as caught:
        model.from_pretrained(tmp_path)
    assert model.head_meaning != "head"
    assert any(part in str(caught.value) for part in ("lm_head", "classifier", "quantizer"))


def test_a_frame_head_is_no_ctc_head(tmp_path: Path) -> None:
    """The risk: any head at all taken for the one that is needed."""
    saved(oracle_model(CONFIGS["wav2vec2"], "Wav2Vec2ForAudioFrameClassification"), tmp_path)
    with pytest.raises(CheckpointError, match=r"no CTC head \(lm_head\)"):
        Wav2Vec2ForCTC.from_pretrained(tmp_path)


def test_what_a_checkpoint_holds_beyond_a_model_is_refused_by_name(tmp_path: Path) -> None:
    """The risk: a model with more layers than its config says, run without them."""
    weights = saved(oracle_model(GROUP), tmp_path) / "model.safetensors"
    layer = "wav2vec2.encoder.layers.3.layer_norm.weight"
    save_file(load_file(weights) | {layer: torch.ones(32), "lm_head.scale": torch.ones(1)}, weights)
    with pytest.raises(CheckpointError, match="0 missing, 2 unknown") as caught:
        Wav2Vec2ForCTC.from_pretrained(tmp_path)
    assert layer in str(caught.value) and "lm_head.scale" in str(caught.value)


# Another architecture.


def test_another_family_is_named_with_the_class_that_fits(tmp_path: Path) -> None:
    """The risk: hundreds of missing names where one word is wrong."""
    saved(oracle_model(CONFIGS["wav2vec2-conformer"], "Wav2Vec2ConformerForCTC"), tmp_path)
    told = re.escape(f"{tmp_path}/config.json is of model_type 'wav2vec2-conformer', Wav2Vec2ForCTC reads 'wav2vec2'")
    with pytest.raises(CheckpointError, match=told + ": use Wav2Vec2ConformerForCTC or AutoModelForCTC"):
        Wav2Vec2ForCTC.from_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match="use Wav2Vec2ConformerModel or AutoModel"):
        Wav2Vec2Model.from_pretrained(tmp_path)


@pytest.mark.parametrize(
    "content", [{"model_type": "hubert"}, {"model_type": "whisper"}, {}, {"model_type": 3}], ids=str
)
def test_a_model_of_no_family_is_named_with_those_that_are_known(content: dict[str, Any], tmp_path: Path) -> None:
    """The risk: as above, for the classes that choose."""
    (tmp_path / "config.json").write_text(json.dumps(content))
    found = content.get("model_type")
    known = "wav2vec2, wav2vec2-bert, wav2vec2-conformer"
    told = re.escape(f"{tmp_path}/config.json is of model_type ") + f"'?{found}'?"
    for kind in (AutoModelForCTC, AutoConfig, Wav2Vec2ForCTC):
        with pytest.raises(CheckpointError, match=f"{told}.*{known}"):
            kind.from_pretrained(tmp_path)


def test_a_family_without_that_head_says_which_have_it(tmp_path: Path) -> None:
    """The risk: Wav2Vec2-BERT, which nobody pre-trains with these losses, read as a Wav2Vec2."""
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "wav2vec2-bert"}))
    with pytest.raises(CheckpointError, match="'wav2vec2-bert'; AutoModelForPreTraining reads wav2vec2, wav2vec2-conf"):
        auto.AutoModelForPreTraining.from_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match="nothing of this kind for it, only for wav2vec2, wav2vec2-conformer"):
        pipeline.models.Wav2Vec2ForPreTraining.from_pretrained(tmp_path)


# The options.


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(oracle_model(GROUP), tmp_path_factory.mktemp("group"))


def test_without_options_a_model_is_plain_and_can_be_trained(checkpoint: Path, tmp_path: Path) -> None:
    """The risk: weights frozen, or in training mode; a step of training that writes into the mapped file."""
    before = (checkpoint / "model.safetensors").read_bytes()
    model = Wav2Vec2ForCTC.from_pretrained(checkpoint)
    assert not model.training
    assert model.prepared is None
    optimiser = torch.optim.SGD(model.parameters(), lr=1e-3)
    inputs, labels = audio(1, 16_000), torch.tensor([[3, 4, 5]])
    losses = []
    for _ in range(3):
        loss = model(inputs, labels=labels).loss
        loss.backward()
        assert all(weight.grad is not None for weight in model.parameters())
        optimiser.step()
        optimiser.zero_grad()
        losses.append(loss.item())
    assert losses[2] < losses[0]
    assert (checkpoint / "model.safetensors").read_bytes() == before
    model.save_pretrained(tmp_path)
    again = Wav2Vec2ForCTC.from_pretrained(tmp_path)
    assert torch.allclose(first(model, inputs), first(again, inputs), atol=1e-5)


@pytest.mark.parametrize(
    ("options", "precision"),
    [
        ({}, "fp32"),
        ({"dtype": None}, "fp32"),
        ({"dtype": torch.float32}, "fp32"),
        ({"dtype": "float32"}, "fp32"),
        ({"dtype": "auto"}, "fp32"),
        ({"dtype": torch.bfloat16}, "bf16"),
        ({"dtype": "bfloat16"}, "bf16"),
        ({"torch_dtype": torch.float16}, "fp16"),
        ({"torch_dtype": "float16"}, "fp16"),
        ({"load_in_8bit": True}, "int8"),
        ({"load_in_8bit": True, "torch_dtype": torch.float16}, "int8"),
        ({"load_in_8bit": False, "dtype": "bfloat16"}, "bf16"),
        ({"quantization_config": SimpleNamespace(load_in_8bit=True, load_in_4bit=False)}, "int8"),
        ({"quantization_config": {"load_in_8bit": True}}, "int8"),
        ({"quantization_config": None, "dtype": "bfloat16"}, "bf16"),
    ],
    ids=str,
)
def test_a_precision_in_every_spelling(options: dict[str, Any], precision: str, checkpoint: Path) -> None:
    """The risk: a spelling that is accepted and does nothing, or a model that is not what it says."""
    tolerance = {"fp32": 1e-5, "fp16": 0.01, "bf16": 0.05, "int8": 0.15}[precision]
    model, inputs = Wav2Vec2ForCTC.from_pretrained(checkpoint, **options), audio(1, 16_000)
    assert (model.precision, model.backbone.precision) == (precision, precision)
    assert model.prepared is None
    expected = first(Wav2Vec2ForCTC.from_pretrained(checkpoint), inputs)
    logits = first(model, inputs)
    assert model.prepared == model.backbone.prepared == (None if precision == "fp32" else precision)
    assert model.precision == precision
    assert logits.dtype == torch.float32
    assert (logits - expected).square().mean().sqrt() < tolerance * expected.std()
    assert (precision == "fp32") == torch.equal(logits, expected)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_weights_saved_in_half_load_exactly_and_auto_keeps_the_half(dtype: torch.dtype, tmp_path: Path) -> None:
    """The risk: rounded twice, or computed in half where fp32 was asked for; "auto" that reads something else."""
    oracle = oracle_model(GROUP).to(dtype)
    saved(oracle, tmp_path)
    model, inputs = Wav2Vec2ForCTC.from_pretrained(tmp_path), audio(1, 16_000)
    assert (first(model, inputs) - first(oracle.float(), inputs)).abs().max() < TOLERANCE
    assert (
        Wav2Vec2ForCTC.from_pretrained(tmp_path, dtype="auto").precision
        == {
            torch.float16: "fp16",
            torch.bfloat16: "bf16",
        }[dtype]
    )
    model.save_pretrained(tmp_path / "again")
    transformers = pytest.importorskip("transformers")
    again = transformers.Wav2Vec2ForCTC.from_pretrained(tmp_path / "again").eval()
    assert (first(again, inputs) - first(model, inputs)).abs().max() < TOLERANCE


@pytest.mark.parametrize(
    "device_map", ["cpu", "auto", torch.device("cpu"), {"": "cpu"}, {"": torch.device("cpu")}], ids=str
)
def test_a_device_in_every_spelling(device_map: Any, checkpoint: Path) -> None:
    """The risk: as for precisions. Where there is a GPU, "auto" is the GPU."""
    device = Wav2Vec2ForCTC.from_pretrained(checkpoint, device_map=device_map).device
    assert device.type == ("cuda" if device_map == "auto" and torch.cuda.is_available() else "cpu")


@pytest.mark.skipif(torch.cuda.is_available(), reason="on a machine without a GPU")
@pytest.mark.parametrize("device_map", ["cuda", "cuda:0", 0, {"": 0}], ids=str)
def test_a_gpu_that_is_not_there_is_named(device_map: Any, checkpoint: Path) -> None:
    """The risk: torch's own words about its build."""
    with pytest.raises(UsageError, match=r"device .* torch finds 0 GPUs here"):
        Wav2Vec2ForCTC.from_pretrained(checkpoint, device_map=device_map)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"device_map": {"wav2vec2": 0, "lm_head": 1}}, "device .* is not one device"),
        ({"device_map": "balanced"}, "device 'balanced' is not one device"),
        ({"device_map": 1.5}, "device 1.5 is not one device"),
        ({"dtype": "float8"}, "dtype float8 is not supported; supported: float32, bfloat16, float16"),
        ({"dtype": torch.float64}, "dtype torch.float64 is not supported"),
        ({"dtype": torch.int8}, "dtype torch.int8 is not supported"),
        ({"quantization_config": {"load_in_4bit": True}}, "load_in_4bit is not supported"),
        (
            {"quantization_config": {"quant_method": "gptq", "bits": 4}},
            "'gptq'.* is not supported; one that says load_in_8",
        ),
        (
            {"quantization_config": SimpleNamespace(weights="int4")},
            "int4.* is not supported; one that says load_in_8bit",
        ),
        ({"quantization_config": {}}, "is not supported; one that says load_in_8bit is"),
        ({"trust_remote_code": True}, "trust_remote_code is not supported"),
        ({"hidden_act": "swash"}, "hidden_act is 'swash'"),
        ({"attn_implementation": "flash_attention_9"}, "flash_attention_9.*available.*sdpa"),
        ({"ignore_mismatched_sizes": True}, "ignore_mismatched_sizes would leave weights at random"),
        ({"target_lang": "fra"}, "has no language adapters"),
    ],
    ids=str,
)
def test_an_option_that_cannot_be_had_is_named(options: dict[str, Any], told: str, checkpoint: Path) -> None:
    """The risk: a setting that is dropped in silence."""
    with pytest.raises(UsageError, match=told):
        Wav2Vec2ForCTC.from_pretrained(checkpoint, **options)


def test_a_language_asked_of_a_model_that_takes_none_is_refused(checkpoint: Path) -> None:
    """The risk: an encoder without its head, whose adapters would be half a language."""
    with pytest.raises(UsageError, match="Wav2Vec2Model takes no language adapters"):
        Wav2Vec2Model.from_pretrained(checkpoint, target_lang="fra")


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("device_mop", "takes no device_mop; did you mean device_map?"),
        ("vocab_sise", "takes no vocab_sise; did you mean vocab_size?"),
        ("xyz", "takes no xyz; known: dtype"),
    ],
)
def test_an_unknown_option_is_a_type_error_that_names_it(name: str, told: str, checkpoint: Path) -> None:
    """The risk: a typing error that changes nothing, for ever."""
    options: dict[str, Any] = {name: "cpu"}
    for kind in (Wav2Vec2ForCTC, AutoModelForCTC):
        with pytest.raises(TypeError, match=re.escape(told)):
            kind.from_pretrained(checkpoint, **options)


def test_the_attention_that_was_asked_for_is_what_computes(checkpoint: Path) -> None:
    """The risk: a setting of the head that its encoder never hears of."""
    model, inputs = Wav2Vec2ForCTC.from_pretrained(checkpoint, attn_implementation="eager"), audio(1, 16_000)
    assert model.backbone.attn_implementation == "eager"
    eager = first(model, inputs)
    model.set_attn_implementation("sdpa")
    assert model.backbone.attn_implementation == "sdpa"
    assert torch.allclose(first(model, inputs), eager, atol=1e-5)
    with pytest.raises(UsageError, match="none_such"):
        model.set_attn_implementation("none_such")


def test_a_config_can_be_given(checkpoint: Path) -> None:
    """The risk: a config that is read all the same from the checkpoint."""
    config = replace(AutoConfig.from_pretrained(checkpoint), ctc_loss_reduction="mean")
    for kind in (Wav2Vec2ForCTC, AutoModelForCTC):
        assert kind.from_pretrained(checkpoint, config=config).config.ctc_loss_reduction == "mean"
    told = "config must be a pipeline.models.wav2vec2.Wav2Vec2Config, not a builtins.dict"
    with pytest.raises(TypeError, match=re.escape(told)):
        Wav2Vec2ForCTC.from_pretrained(checkpoint, config={"hidden_size": 3})


def test_a_config_of_transformers_can_be_given(checkpoint: Path) -> None:
    """The risk: one import changed and the other not."""
    transformers = pytest.importorskip("transformers")
    config = transformers.Wav2Vec2Config.from_pretrained(checkpoint, ctc_loss_reduction="mean")
    for kind in (Wav2Vec2ForCTC, AutoModelForCTC):
        model = kind.from_pretrained(checkpoint, config=config)
        assert isinstance(model.config, Wav2Vec2Config) and model.config.ctc_loss_reduction == "mean"


def test_keywords_override_the_config_and_those_without_a_meaning_here_are_taken(checkpoint: Path) -> None:
    """The risk: a line of code for these models that stops at an option which changes nothing."""
    options: dict[str, Any] = {"low_cpu_mem_usage": True, "use_safetensors": True, "trust_remote_code": False}
    options |= {"revision": "main", "cache_dir": "/none", "token": None, "local_files_only": True}
    for kind in (Wav2Vec2ForCTC, AutoModelForCTC):
        model = kind.from_pretrained(checkpoint, ctc_loss_reduction="mean", output_hidden_states=True, **options)
        assert model.config.ctc_loss_reduction == model.backbone.config.ctc_loss_reduction == "mean"
        assert len(model(audio(1, 8000)).hidden_states) == GROUP["num_hidden_layers"] + 1
    config = AutoConfig.from_pretrained(checkpoint, output_attentions=True, **options)
    assert config.output_attentions  # type: ignore[attr-defined]
    with pytest.raises(CheckpointError, match=r"lm_head\.weight has shape \(11, 32\), the config asks for \(12, 32\)"):
        Wav2Vec2ForCTC.from_pretrained(checkpoint, vocab_size=12)


def test_what_is_asked_of_the_hub_reaches_it(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The risk: the newest version of a model where a fixed one was asked for."""
    asked = []

    def download(name: str, allow_patterns: list[str], **options: Any) -> str:
        asked.append((name, options))
        return str(checkpoint)

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    hub = {"revision": "v1", "cache_dir": "/cache", "token": "secret", "local_files_only": True}
    model = AutoModelForCTC.from_pretrained("some/model", **hub)
    AutoConfig.from_pretrained("some/model", **hub)
    assert len(asked) >= 3 and all(one == ("some/model", hub) for one in asked)
    assert b"secret" not in pickle.dumps(model) and model.hub["revision"] == "v1"
    monkeypatch.setattr("pipeline.models.locate._files_on_hub", lambda name, hub: ["adapter.deu.bin"])
    with pytest.raises(UsageError, match="no adapter for language 'fra'; there are 1: deu"):
        adapter_file("some/model", "fra", model.hub)
    assert asked[-1][1]["revision"] == "v1"


def test_a_config_that_a_head_cannot_be_built_on_is_named(tmp_path: Path) -> None:
    """The risk: a field at fault, and no word of the file that it is in."""
    saved(oracle_model(GROUP), tmp_path)
    path = tmp_path / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"add_adapter": True}))
    with pytest.raises(CheckpointError, match=re.escape(str(path)) + ".*add_adapter"):
        pipeline.models.Wav2Vec2ForSequenceClassification.from_pretrained(tmp_path)


# After loading.


def test_halves_are_prepared_so_that_norms_and_sums_stay_in_fp32(checkpoint: Path) -> None:
    """The risk: `model.half()`, which code for these models calls, making halves of the norms too."""
    inputs = audio(1, 16_000)
    for ask in (lambda m: m.bfloat16(), lambda m: m.to(torch.bfloat16), lambda m: m.to("cpu", torch.bfloat16)):
        model = ask(Wav2Vec2ForCTC.from_pretrained(checkpoint))
        assert (model.planned, model.prepared, model.dtype) == ("bf16", None, torch.bfloat16)
        first(model, inputs)
        assert (model.planned, model.prepared, model.dtype) == (None, "bf16", torch.bfloat16)
        assert model.backbone.encoder.layer_norm.weight.dtype == torch.float32
        expected = first(Wav2Vec2ForCTC.from_pretrained(checkpoint, dtype="bfloat16"), inputs)
        assert torch.equal(first(model, inputs), expected)
    assert Wav2Vec2ForCTC.from_pretrained(checkpoint).half().precision == "fp16"
    assert Wav2Vec2ForCTC.from_pretrained(checkpoint).float().cpu().to("cpu").prepared is None
    with pytest.raises(UsageError, match=r"float64 is not supported"):
        Wav2Vec2ForCTC.from_pretrained(checkpoint).double()
    assert Wav2Vec2ForCTC.from_pretrained(checkpoint).half().float().planned is None
    assert Wav2Vec2ForCTC.from_pretrained(checkpoint).type(torch.float16).planned == "fp16"
    with pytest.raises(UsageError, match="the model is for int8 already"):
        Wav2Vec2ForCTC.from_pretrained(checkpoint, load_in_8bit=True).half()


def test_a_half_that_was_not_yet_called_can_be_moved_and_saved(checkpoint: Path, tmp_path: Path) -> None:
    """The risk: `from_pretrained(dtype).to(device)`, the commonest line of all, refused, or a half that is none after
    it."""
    for load in (
        lambda: Wav2Vec2ForCTC.from_pretrained(checkpoint, torch_dtype=torch.float16),
        lambda: Wav2Vec2ForCTC.from_pretrained(checkpoint).half(),
    ):
        moved = load().to("meta")
        assert (moved.device.type, moved.planned) == ("meta", "fp16")
    model = Wav2Vec2ForCTC.from_pretrained(checkpoint, dtype="bfloat16")
    assert isinstance(pickle.loads(pickle.dumps(model)), Wav2Vec2ForCTC)
    model.save_pretrained(tmp_path)
    inputs = audio(1, 16_000)
    expected = first(Wav2Vec2ForCTC.from_pretrained(checkpoint), inputs)
    assert torch.allclose(first(Wav2Vec2ForCTC.from_pretrained(tmp_path), inputs), expected, atol=1e-5)


def test_every_way_into_a_model_prepares_it_once(checkpoint: Path) -> None:
    """The risk: fp32 where eight bits were asked for, on the way that nobody tried; weights that were made within
    `inference_mode` and cannot be used outside; threads that prepare one model at the same time."""
    inputs = audio(1, 16_000)
    expected = first(Wav2Vec2ForCTC.from_pretrained(checkpoint, load_in_8bit=True), inputs)
    ways: list[Callable[[Wav2Vec2ForCTC], Tensor]] = [
        lambda model: model(inputs).logits[0],
        lambda model: model.forward(inputs).logits[0],
        lambda model: model.logits(Packed.of([inputs[0]])).data,
        lambda model: torch.cat(list(windowed_logits(model, inputs[0], Windows(1000, 10)))),
    ]
    for way in ways:
        model = Wav2Vec2ForCTC.from_pretrained(checkpoint, load_in_8bit=True)
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
            way(model)
        assert (model.prepared, model.backbone.prepared, model.planned) == ("int8", "int8", None)
        assert torch.allclose(way(model), expected[0], atol=1e-5)
    model = Wav2Vec2ForCTC.from_pretrained(checkpoint, load_in_8bit=True)
    with ThreadPoolExecutor(4) as threads:
        answers = list(threads.map(lambda _: first(model, inputs), range(8)))
    assert all(torch.equal(answer, expected) for answer in answers)


def test_a_prepared_model_stays_where_and_what_it_is(checkpoint: Path, tmp_path: Path) -> None:
    """The risk: packed weights that stay behind; rounded weights saved as if they were the model's."""
    model = Wav2Vec2ForCTC.from_pretrained(checkpoint, dtype="bfloat16")
    first(model, audio(1, 8000))
    assert model.to("cpu").eval().bfloat16() is model
    with pytest.raises(UsageError, match="prepared for bf16 cannot move"):
        model.to("meta")
    with pytest.raises(UsageError, match="the model is for bf16 already"):
        model.float()
    with pytest.raises(UsageError, match=r"prepared for bf16 cannot be saved.*fp32"):
        model.save_pretrained(tmp_path / "never")
    plain = Wav2Vec2ForCTC.from_pretrained(checkpoint)
    assert model.num_parameters() == plain.num_parameters() == sum(x.numel() for x in plain.parameters())
    with pytest.raises(UsageError, match="safe_serialization=False is not supported"):
        plain.save_pretrained(tmp_path / "never", safe_serialization=False)
    assert not (tmp_path / "never").exists()


def test_a_model_can_be_saved_over_the_file_it_was_loaded_from(tmp_path: Path) -> None:
    """The risk: a file overwritten while weights are mapped from it, which crashes or saves rubbish."""
    saved(oracle_model(GROUP), tmp_path)
    inputs = audio(1, 16_000)
    model = Wav2Vec2ForCTC.from_pretrained(tmp_path)
    expected = first(model, inputs)
    for _ in range(2):
        model.save_pretrained(tmp_path)
    assert torch.equal(first(model, inputs), expected)
    assert (first(Wav2Vec2ForCTC.from_pretrained(tmp_path), inputs) - expected).abs().max() < 1e-5
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json", "model.safetensors"]


def test_a_positional_tap_of_zeros_survives_saving(tmp_path: Path) -> None:
    """The risk: 0 / 0 in the one weight that is saved as length and direction."""
    model = Wav2Vec2ForCTC(Wav2Vec2Config.from_dict(GROUP | {"model_type": "wav2vec2"})).eval()
    conv = model.get_parameter("wav2vec2.encoder.pos_conv_embed.conv.weight")
    conv.data[:, :, 3] = 0
    model.save_pretrained(tmp_path)
    again = Wav2Vec2ForCTC.from_pretrained(tmp_path)
    assert torch.allclose(again.get_parameter("wav2vec2.encoder.pos_conv_embed.conv.weight"), conv, atol=1e-7)
    transformers = pytest.importorskip("transformers")
    oracle = transformers.Wav2Vec2ForCTC.from_pretrained(tmp_path).eval()
    assert (first(oracle, audio(1, 8000)) - first(model, audio(1, 8000))).abs().max() < TOLERANCE


@pytest.mark.parametrize("family", ["wav2vec2", "wav2vec2-bert"])
def test_transformers_misses_nothing_in_a_model_that_was_made_in_code(family: str, tmp_path: Path) -> None:
    """The risk: a weight of random values in transformers, for a training setting that nobody chose."""
    transformers = pytest.importorskip("transformers")
    made: list[type[Pretrained]] = [one for one in CLASSES if one.config_class.model_type == family]
    for model in made:
        config = model.config_class.from_dict(CONFIGS[family] | {"model_type": family})
        model(config).save_pretrained(tmp_path / model.__name__, safe_serialization=True)
        _, told = getattr(transformers, model.__name__).from_pretrained(
            tmp_path / model.__name__, output_loading_info=True
        )
        assert not any(told.values()), model


# The names that everything else imports.


def test_every_name_is_there_and_torch_comes_only_with_the_first() -> None:
    """The risk: a list of names that has drifted from the classes; a command line that waits for torch."""
    names = set(pipeline.models.__all__)
    classes = {model.__name__ for model in CLASSES} | {kind.__name__ for kind in auto.AUTOS} | {"AutoConfig"}
    assert names == classes | {model.config_class.__name__ for model in CLASSES}
    assert all(getattr(pipeline.models, name).__name__ == name for name in names)
    assert names <= set(dir(pipeline.models))
    with pytest.raises(AttributeError, match="Wav2Vec3"):
        _ = pipeline.models.Wav2Vec3  # type: ignore[attr-defined]
    script = "import sys, pipeline.models; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


def test_a_class_that_only_chooses_cannot_be_made() -> None:
    """The risk: an object of no use where a model is expected."""
    with pytest.raises(TypeError, match=r"use AutoModelForCTC\.from_pretrained"):
        AutoModelForCTC()
    assert (
        type(AutoModelForCTC.from_config(Wav2Vec2Config.from_dict(GROUP | {"model_type": "wav2vec2"})))
        is Wav2Vec2ForCTC
    )
