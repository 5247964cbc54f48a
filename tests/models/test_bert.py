"""Our Wav2Vec2-BERT against transformers' own, on small random models in which nothing has its initial value.

It does not know trained weights: what a model says is not judged here, only that both say the same.
"""

import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import Tensor, nn

from pipeline.models.bert import Wav2Vec2BertConfig, Wav2Vec2BertForCTC, Wav2Vec2BertModel
from pipeline.models.checkpoint import CheckpointError
from pipeline.models.precision import Precision, prepare
from pipeline.models.segments import Packed
from tests.models.oracle import SMALL, TOLERANCE, largest_difference, oracle_model, saved

BERT: dict[str, Any] = SMALL | {"hidden_act": "swish", "conv_depthwise_kernel_size": 7, "layerdrop": 0.0}
KINDS = (None, "relative", "relative_key", "rotary")
ADAPTER = {"add_adapter": True, "num_adapter_layers": 2, "output_hidden_size": 24}
FFN = {"use_intermediate_ffn_before_adapter": True}
VARIANTS: dict[str, dict[str, Any]] = {
    **{f"{kind}": {"position_embeddings_type": kind} for kind in KINDS},
    **{f"{kind}_adapter": {"position_embeddings_type": kind} | ADAPTER for kind in KINDS},
    "adapter_and_ffn": ADAPTER | FFN,
    "adapter_of_the_same_size": ADAPTER | FFN | {"output_hidden_size": None},
    "adapter_stride_one": ADAPTER | {"adapter_stride": 1, "num_adapter_layers": 1},
    "adapter_stride_three": ADAPTER | {"adapter_stride": 3, "adapter_act": "gelu"},
    "adapter_stride_four_kernel_two": ADAPTER | {"adapter_stride": 4, "adapter_kernel_size": 2},
    "adapter_kernel_five": ADAPTER | FFN | {"adapter_kernel_size": 5, "num_adapter_layers": 1},
    "one_head_short_reach": {"num_attention_heads": 1, "left_max_position_embeddings": 2},
    "sixteen_heads_no_right": {"num_attention_heads": 16, "right_max_position_embeddings": 0},
    "no_reach": {"left_max_position_embeddings": 0, "right_max_position_embeddings": 0},
    "far_right": {"left_max_position_embeddings": 3, "right_max_position_embeddings": 40},
    "relative_one_head": {"position_embeddings_type": "relative", "num_attention_heads": 1},
    "relative_few_positions": {"position_embeddings_type": "relative", "max_source_positions": 4},
    "rotary_two_heads_other_base": {
        "position_embeddings_type": "rotary",
        "num_attention_heads": 2,
        "rotary_embedding_base": 500,
    },
    "kernel_one": {"conv_depthwise_kernel_size": 1},
    "kernel_31_relu": {"conv_depthwise_kernel_size": 31, "hidden_act": "relu"},
    "gelu_large_eps": {"hidden_act": "gelu", "layer_norm_eps": 0.3},
    "adapter_large_eps": ADAPTER | FFN | {"layer_norm_eps": 0.3},
    "other_width_of_features": {"feature_projection_input_dim": 40},
}


INVARIANT = ("None", "relative", "relative_key", "rotary_adapter", "adapter_and_ffn", "adapter_stride_three")
Models = Callable[[str], tuple[nn.Module, Wav2Vec2BertForCTC]]


def features(batch: int, num_frames: int, size: int = 160, seed: int = 1) -> Tensor:
    """Noise with a slow swell and an offset of each feature. (batch, num_frames, size)"""
    generator = torch.Generator().manual_seed(seed)
    swell = 0.2 + torch.linspace(0, 6, num_frames).sin().abs()[:, None]
    return torch.randn((batch, num_frames, size), generator=generator) * swell + torch.linspace(-1, 1, size)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Models:
    """Both models of a variant, each made once."""
    made: dict[str, tuple[nn.Module, Wav2Vec2BertForCTC]] = {}

    def both(variant: str) -> tuple[nn.Module, Wav2Vec2BertForCTC]:
        if variant not in made:
            oracle = oracle_model(BERT | VARIANTS[variant], "Wav2Vec2BertForCTC")
            directory = saved(oracle, tmp_path_factory.mktemp(variant))
            made[variant] = oracle, Wav2Vec2BertForCTC.from_pretrained(directory)
        return made[variant]

    return both


# ---- against transformers


@pytest.mark.parametrize("variant", VARIANTS)
def test_logits_equal_transformers_for_every_variant_and_length(variant: str, models: Models) -> None:
    """The risk: a norm, an eps, a padding, a distance or a half step in the wrong place, seen only in some configs."""
    oracle, ours = models(variant)
    size = ours.config.feature_projection_input_dim
    for batch, num_frames in ((1, 1), (2, 2), (1, 3), (2, 8), (1, 9), (2, 74), (1, 130)):
        if ours.config.num_adapted(num_frames) > 0:
            assert largest_difference(oracle, ours, features(batch, num_frames, size)) < TOLERANCE


@pytest.mark.parametrize("kind", KINDS)
def test_logits_equal_transformers_on_a_long_recording(kind: str | None, models: Models) -> None:
    """The risk: errors that grow with the distance, as angles do, or with the number of keys."""
    oracle, ours = models(f"{kind}_adapter")
    assert largest_difference(oracle, ours, features(1, 1500)) < TOLERANCE


@pytest.mark.slow
def test_logits_equal_transformers_at_full_size(tmp_path: Path) -> None:
    """The risk: a default of ours that differs from Hugging Face's, which small configs override."""
    oracle = oracle_model({"vocab_size": 32, "num_hidden_layers": 4}, "Wav2Vec2BertForCTC")
    ours = Wav2Vec2BertForCTC.from_pretrained(saved(oracle, tmp_path))
    assert largest_difference(oracle, ours, features(1, 200)) < TOLERANCE


def test_defaults_are_those_of_transformers() -> None:
    """The risk: a config.json holds only what differs from its defaults; ours must then be the same."""
    transformers = pytest.importorskip("transformers")
    theirs, ours = transformers.Wav2Vec2BertConfig().to_dict(), Wav2Vec2BertConfig().to_dict()
    own = {"vocab_size", "output_hidden_size", "id2label", "label2id"}  # where None stands for something
    shared = (theirs.keys() & ours.keys()) - own
    assert len(shared) > 25
    assert {name: ours[name] for name in shared} == {name: theirs[name] for name in shared}


@pytest.mark.parametrize("kind", KINDS)
def test_hidden_states_and_attentions_equal_transformers(kind: str | None, models: Models) -> None:
    """The risk: states taken on the wrong side of a norm, or attention drawn without its positions."""
    oracle, ours = models(f"{kind}_adapter")
    x = features(2, 40)
    wanted = {"output_hidden_states": True, "output_attentions": True}
    with torch.inference_mode():
        expected, found = oracle(x, **wanted), ours(input_features=x, **wanted)
    assert len(found.hidden_states) == len(expected.hidden_states) == 1 + ours.config.num_hidden_layers
    assert len(found.attentions) == len(expected.attentions)
    for one, other in zip(
        found.hidden_states + found.attentions, expected.hidden_states + expected.attentions, strict=True
    ):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=0)


@pytest.mark.parametrize("variant", ["relative", "relative_key", "rotary", "adapter_and_ffn"])
def test_gradients_equal_transformers(variant: str, models: Models) -> None:
    """The risk: a view, a table or a saved buffer through which training would not flow, or not rightly."""
    oracle, ours = models(variant)
    x = features(2, 21)
    weight = torch.linspace(-1, 1, ours.config.vocab_size)
    gradients = []
    for model in (oracle, ours):
        model.requires_grad_(True).zero_grad()
        (model(x).logits.log_softmax(dim=-1) * weight).sum().backward()
        found = {name: parameter.grad for name, parameter in model.named_parameters()}
        gradients.append({name: grad.reshape(len(grad), -1) for name, grad in found.items() if grad is not None})
        model.requires_grad_(False)
    assert gradients[0].keys() == gradients[1].keys() and len(gradients[0]) > 90
    for name, expected in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], expected, atol=2e-3, rtol=1e-3, msg=name)


# ---- batches


@pytest.mark.parametrize("variant", INVARIANT)
@given(data=st.data())
@settings(max_examples=8, deadline=None)
def test_neighbours_do_not_change_a_recording(variant: str, data: st.DataObject, models: Models) -> None:
    """The risk: a convolution, a distance or a softmax that reaches into another recording, or into padding."""
    _, ours = models(variant)
    lengths = data.draw(st.lists(st.integers(5, 90), min_size=2, max_size=5))
    left = data.draw(st.booleans())
    recordings = [features(1, length, seed=number)[0] for number, length in enumerate(lengths)]
    batch = torch.full((len(lengths), max(lengths), 160), 7.0)
    mask = torch.zeros(batch.shape[:2], dtype=torch.long)
    for row, marks, one in zip(batch, mask, recordings, strict=True):
        rows = slice(len(row) - len(one), None) if left else slice(0, len(one))
        row[rows], marks[rows] = one, 1
    with torch.inference_mode():
        packed = ours.logits(Packed.of(recordings)).split()
        padded = ours(batch, attention_mask=mask).logits
        for one, logits, row in zip(recordings, packed, padded, strict=True):
            alone = ours(one[None]).logits[0]
            assert logits.shape == alone.shape
            assert float((logits - alone).abs().max()) < 1e-5 * float(alone.std())
            assert logits.argmax(dim=-1).equal(alone.argmax(dim=-1))
            assert float((row[: len(alone)] - alone).abs().max()) < 1e-5 * float(alone.std())
            assert row[len(alone) :].softmax(dim=-1)[:, ours.config.pad_token_id].eq(1.0).all()


@pytest.mark.parametrize("variant", ["relative", "relative_key", "rotary_adapter"])
def test_neighbours_do_not_change_a_recording_in_a_prepared_model(variant: str, models: Models) -> None:
    """The risk: fast kernels that round otherwise, or see further, when there is more to do at once."""
    ours = copy.deepcopy(models(variant)[1])
    prepare(ours, "fp32")
    recordings = [features(1, length, seed=length)[0] for length in (1, 250, 33, 64, 700, 5)]
    with torch.inference_mode():
        alone = [ours.logits(Packed.of([one])).data for one in recordings]
        for numbers in ((1, 3, 4), (4, 0, 2), (5, 4, 3, 2, 1, 0)):
            together = ours.logits(Packed.of([recordings[number] for number in numbers])).split()
            for number, logits in zip(numbers, together, strict=True):
                deviation = float(alone[number].std())
                assert float((logits - alone[number]).abs().max()) < 1e-5 * deviation


@pytest.mark.parametrize("variant", ["relative_key", "rotary"])
def test_a_recording_embedded_in_pieces_is_the_same(variant: str, models: Models) -> None:
    """The risk: the windows of a long recording made of other rows than the whole."""
    backbone = models(variant)[1].backbone
    recording = features(1, 100)[0]
    embedder = backbone.embedder(Packed.of([recording]))
    assert embedder.num_frames == 100
    with torch.inference_mode():
        whole = backbone.embed(Packed.of([recording]))[0].data
        pieces = [embedder.rows(start, min(start + 33, 100)) for start in range(0, 100, 33)]
    torch.testing.assert_close(torch.cat(pieces), whole, atol=1e-6, rtol=0)


# ---- precision, checkpoints and bad input


@pytest.mark.parametrize(("precision", "largest_rms"), [("bf16", 1e-2), ("fp16", 2e-3), ("int8", 5e-2)])
@pytest.mark.parametrize("variant", ["relative", "relative_key_adapter", "rotary"])
def test_reduced_precision_says_nearly_the_same(
    variant: str, precision: Precision, largest_rms: float, models: Models
) -> None:
    """The risk: a norm, a sum or a table in few bits where only products should be."""
    ours = copy.deepcopy(models(variant)[1])
    x = features(1, 120)
    with torch.inference_mode():
        exact = ours(x).logits
        prepare(ours, precision)
        logits = ours(x).logits
    assert logits.dtype == torch.float32
    assert float((logits - exact).square().mean().sqrt() / exact.std()) < largest_rms


@pytest.mark.parametrize("prefix", ["", "wav2vec2_bert."])
def test_names_of_old_and_bare_checkpoints_load(prefix: str, models: Models, tmp_path: Path) -> None:
    """The risk: a checkpoint refused over what only training uses, or over a prefix that it lacks."""
    oracle, _ = models("adapter_and_ffn")
    weights = {
        name.replace("wav2vec2_bert.", prefix): weight.clone()
        for name, weight in oracle.state_dict().items()
        if "masked_spec_embed" not in name
    }
    weights |= {f"{prefix}masked_spec_embed": torch.ones(32), f"{prefix}encoder.embed_positions.pe": torch.ones(3)}
    saved(oracle, tmp_path)
    save_file(weights, tmp_path / "model.safetensors")
    ours = Wav2Vec2BertForCTC.from_pretrained(tmp_path)
    assert largest_difference(oracle, ours, features(1, 30)) < TOLERANCE


def test_a_bare_encoder_loads_and_says_the_same(models: Models, tmp_path: Path) -> None:
    """The risk: a pre-trained encoder, whose config has no vocabulary, that cannot be read."""
    transformers = pytest.importorskip("transformers")
    config = {name: value for name, value in BERT.items() if name != "vocab_size"}
    oracle = oracle_model(config, "Wav2Vec2BertModel")
    assert isinstance(oracle, transformers.Wav2Vec2BertModel)
    ours = Wav2Vec2BertModel.from_pretrained(saved(oracle, tmp_path))
    x = features(2, 30)
    with torch.inference_mode():
        expected, found = oracle(x), ours(x)
    torch.testing.assert_close(found.last_hidden_state, expected.last_hidden_state, atol=1e-5, rtol=0)
    torch.testing.assert_close(found.extract_features, expected.extract_features, atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", ["encoder.layers.1.self_attn.distance_embedding.weight", "adapter.layers.0.ffn.x"])
def test_weights_missing_or_left_over_are_refused_by_name(name: str, models: Models, tmp_path: Path) -> None:
    """The risk: a checkpoint of another kind of positions, read in silence."""
    oracle, _ = models("relative_key")
    weights = {key: weight.clone() for key, weight in oracle.state_dict().items()}
    if weights.pop(f"wav2vec2_bert.{name}", None) is None:
        weights[f"wav2vec2_bert.{name}"] = torch.ones(3)
    saved(oracle, tmp_path)
    save_file(weights, tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match=name.replace(".", r"\.")):
        Wav2Vec2BertForCTC.from_pretrained(tmp_path)


def test_configs_round_trip(models: Models, tmp_path: Path) -> None:
    """The risk: a model saved by us that transformers, or we, would then build otherwise."""
    for variant in ("None", "rotary_two_heads_other_base", "adapter_stride_three", "sixteen_heads_no_right"):
        config = models(variant)[1].config
        config.save_pretrained(tmp_path)
        assert Wav2Vec2BertConfig.from_pretrained(tmp_path) == config
        theirs = type(models(variant)[0].config).from_pretrained(tmp_path)
        assert theirs.position_embeddings_type == config.position_embeddings_type
        back = Wav2Vec2BertConfig.from_dict(theirs.to_dict())
        assert replace(back, rest={}) == replace(config, output_hidden_size=config.output_size, rest={})


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"position_embeddings_type": "alibi"}, "alibi.*relative_key"),
        ({"conv_depthwise_kernel_size": 8}, "must be odd"),
        ({"left_max_position_embeddings": -1}, "must not be negative"),
        ({"position_embeddings_type": "rotary", "hidden_size": 36, "num_attention_heads": 12}, "even size"),
        ({"use_intermediate_ffn_before_adapter": True}, "needs add_adapter"),
        ({"add_adapter": True, "output_hidden_size": 30}, "output_hidden_size must be a multiple"),
        ({"add_adapter": True, "adapter_act": "snake"}, "snake"),
    ],
)
def test_configs_that_make_no_model_are_refused(bad: dict[str, Any], message: str) -> None:
    """The risk: an error about shapes from the middle of the first recording."""
    with pytest.raises(ValueError, match=message):
        Wav2Vec2BertConfig.from_dict({"model_type": "wav2vec2-bert"} | BERT | bad)


def test_bad_features_are_refused(models: Models) -> None:
    """The risk: samples given in place of features, or an error from inside a layer."""
    _, ours = models("adapter_stride_three")
    x = features(2, 20)
    for bad, message in (
        (torch.randn(1, 16_000), r"input_features.*160"),
        (x[..., :80], r"input_features must be .* not \(recordings, frames, 80\) of torch.float32"),
        (x.unsqueeze(0), "input_features.*160"),
        (x.to(torch.int64), "int64"),
        (torch.where(torch.arange(2)[:, None, None] == 1, torch.nan, x), "NaN.*recording 1"),
    ):
        with pytest.raises(ValueError, match=message):
            ours(bad)
    with pytest.raises(TypeError, match=r"input_values.*input_features"):
        ours(input_values=x)
    _, ours = models("adapter_kernel_five")
    with pytest.raises(ValueError, match="2 frames is too short"):
        ours(x[:, :2])
    half = ours(x.half()).logits
    torch.testing.assert_close(half, ours(x.half().float()).logits)
