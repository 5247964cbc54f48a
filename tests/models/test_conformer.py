"""Our Wav2Vec2-Conformer against transformers' own, on small random models in which nothing has its initial value.

It does not know trained weights: what a model says is not judged here, only that both say the same.
"""

import copy
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import nn

from pipeline.models.attention import Attend
from pipeline.models.checkpoint import CheckpointError
from pipeline.models.conformer import (
    ConvModule,
    Pointwise,
    Wav2Vec2ConformerConfig,
    Wav2Vec2ConformerForCTC,
    Wav2Vec2ConformerModel,
)
from pipeline.models.positions import SelfAttention, shared_positions, sinusoid_frequencies
from pipeline.models.precision import Precision, prepare
from pipeline.models.segments import Packed, Segments
from pipeline.models.windows import Windows, windowed_logits
from tests.models.oracle import GROUP, LAYER, SECOND, TOLERANCE, audio, largest_difference, oracle_model, saved

ORACLE = "Wav2Vec2ConformerForCTC"
KINDS = (None, "relative", "rotary")
ADAPTER = {"add_adapter": True, "num_adapter_layers": 2, "output_hidden_size": 24}
SHORT_STACK = {"conv_dim": [12, 20, 8], "conv_kernel": [7, 4, 3], "conv_stride": [4, 3, 5]}
SMALL = {"conv_depthwise_kernel_size": 7, "layerdrop": 0.0}
MINUTE = {"num_hidden_layers": 2, "num_attention_heads": 2}
NONE, RELATIVE, ROTARY = (SMALL | {"position_embeddings_type": kind} for kind in KINDS)
VARIANTS: dict[str, dict[str, Any]] = {
    "None": GROUP | NONE,
    "relative": GROUP | RELATIVE,
    "rotary": GROUP | ROTARY,
    "None_layer": LAYER | NONE,
    "relative_layer": LAYER | RELATIVE,
    "rotary_layer": LAYER | ROTARY,
    **{f"{kind}_minute": LAYER | SMALL | MINUTE | {"position_embeddings_type": kind} for kind in KINDS},
    "None_adapter": LAYER | NONE | ADAPTER,
    "relative_adapter": GROUP | RELATIVE | ADAPTER,
    "rotary_adapter": GROUP | ROTARY | ADAPTER,
    "adapter_of_the_same_size": LAYER | ROTARY | ADAPTER | {"output_hidden_size": None},
    "adapter_stride_three_kernel_five": LAYER | RELATIVE | ADAPTER | {"adapter_stride": 3, "adapter_kernel_size": 5},
    "short_stack_one_head": GROUP | SHORT_STACK | RELATIVE | {"num_attention_heads": 1},
    "layer_short_stack": LAYER | SHORT_STACK | ROTARY,
    "heads_of_one_pair_other_base": GROUP | ROTARY | {"num_attention_heads": 16, "rotary_embedding_base": 50},
    "heads_of_one": GROUP | RELATIVE | {"num_attention_heads": 32},
    "few_positions_at_first": GROUP | RELATIVE | {"max_source_positions": 3},
    "kernel_one": GROUP | ROTARY | {"conv_depthwise_kernel_size": 1},
    "kernel_wider_than_audio": LAYER | RELATIVE | {"conv_depthwise_kernel_size": 151},
    "relu": GROUP | ROTARY | {"hidden_act": "relu", "feat_extract_activation": "relu"},
    "swish": LAYER | RELATIVE | {"hidden_act": "swish", "feat_extract_activation": "gelu_new"},
    "large_eps": LAYER | RELATIVE | {"layer_norm_eps": 0.3},
    "conv_bias": GROUP | NONE | {"conv_bias": True},
    "hidden_size_is_odd": GROUP
    | NONE
    | {"hidden_size": 33, "num_attention_heads": 3}
    | {"num_conv_pos_embedding_groups": 1},
}
COUNT = "wav2vec2_conformer.encoder.layers.0.conv_module.batch_norm.num_batches_tracked"
PREPARED: tuple[Precision | None, ...] = (None, "fp32")


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Both models of a variant, each made once; ours plain, or prepared for a precision."""
    oracles: dict[str, tuple[nn.Module, Path]] = {}
    made: dict[tuple[str, Precision | None], Wav2Vec2ConformerForCTC] = {}

    def both(variant: str, precision: Precision | None = None) -> tuple[nn.Module, Wav2Vec2ConformerForCTC]:
        if variant not in oracles:
            oracle = oracle_model(VARIANTS[variant], ORACLE)
            oracles[variant] = oracle, saved(oracle, tmp_path_factory.mktemp(variant))
        oracle, directory = oracles[variant]
        if (variant, precision) not in made:
            made[variant, precision] = Wav2Vec2ConformerForCTC.from_pretrained(directory)
            if precision is not None:
                prepare(made[variant, precision], precision)
        return oracle, made[variant, precision]

    return both


@pytest.mark.parametrize("variant", VARIANTS)
def test_logits_equal_transformers_for_every_variant_and_length(variant: str, models: Any) -> None:
    """The risk: a norm, an eps, a rotation or a half step in the wrong place, seen only in some configs."""
    for precision in PREPARED:
        oracle, ours = models(variant, precision)
        # Of too few frames an adapter with a wide kernel makes none, and transformers an error.
        shortest = ours.config.min_samples + (ours.config.samples_per_frame * 10 if "kernel_five" in variant else 0)
        one_more = shortest + ours.config.samples_per_frame
        for batch, num_samples in ((1, shortest), (2, shortest + 1), (1, one_more), (2, SECOND - 1)):
            assert largest_difference(oracle, ours, audio(batch, num_samples)) < TOLERANCE


@pytest.mark.parametrize("kind", KINDS)
def test_logits_equal_transformers_on_a_minute(kind: str | None, models: Any) -> None:
    """The risk: errors that grow with the distance, as angles do, or with the number of keys."""
    oracle, ours = models(f"{kind}_minute")
    assert largest_difference(oracle, ours, audio(1, 60 * SECOND)) < TOLERANCE


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_logits_equal_transformers_at_base_size(kind: str | None, tmp_path: Path) -> None:
    """The risk: a default of ours that differs from Hugging Face's, which small configs override."""
    oracle = oracle_model({"position_embeddings_type": kind, "vocab_size": 32}, ORACLE)
    ours = Wav2Vec2ConformerForCTC.from_pretrained(saved(oracle, tmp_path))
    assert largest_difference(oracle, ours, audio(1, SECOND)) < TOLERANCE


@pytest.mark.parametrize("kind", KINDS)
def test_hidden_states_and_attentions_equal_transformers(kind: str | None, models: Any) -> None:
    """The risk: a layer's state taken at another place, or weights without the positions' part."""
    oracle, ours = models(f"{kind}")
    inputs = audio(1, SECOND)
    with torch.inference_mode():
        expected = oracle(inputs, output_hidden_states=True, output_attentions=True)
        found = ours(inputs, output_hidden_states=True, output_attentions=True)
        last = oracle.wav2vec2_conformer(inputs).last_hidden_state
    assert len(found.hidden_states) == len(expected.hidden_states)
    # transformers 5 gives the last state before the encoder's norm; 4, with which models were trained, after it.
    for state, other in zip(found.hidden_states, (*expected.hidden_states[:-1], last), strict=True):
        torch.testing.assert_close(state, other, atol=1e-4, rtol=0)
    for weights, other in zip(found.attentions, expected.attentions, strict=True):
        torch.testing.assert_close(weights, other, atol=1e-5, rtol=0)


# ---- batches


lengths = st.lists(st.integers(400, 20_000) | st.integers(400, 1500), min_size=1, max_size=6)


@pytest.mark.parametrize("variant", ["None", "relative", "rotary_layer", "relative_adapter", "rotary_adapter"])
@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(lengths=lengths, precision=st.sampled_from(PREPARED), seed=st.integers(0, 99))
def test_a_recording_is_the_same_in_any_batch(
    variant: str, lengths: list[int], precision: Precision | None, seed: int, models: Any
) -> None:
    """The risk: what transformers does, where padding leaks through the depthwise convolution into every frame."""
    _, ours = models(variant, precision)
    recordings = [audio(1, length, seed + number)[0] for number, length in enumerate(lengths)]
    with torch.inference_mode():
        together = ours.logits(Packed.of(recordings)).split()
        for recording, found in zip(recordings, together, strict=True):
            alone = ours.logits(Packed.of([recording])).data
            spread = float(alone.std())
            assert float((found - alone).abs().max()) <= 1e-5 * spread
            assert bool((found.argmax(dim=1) == alone.argmax(dim=1)).all())


def test_a_padded_batch_is_what_each_recording_is_alone(models: Any) -> None:
    """The risk: padding that is not taken out at the door, on whichever side it is."""
    _, ours = models("relative_adapter")
    long, short = audio(1, SECOND)[0], audio(1, 9000, seed=2)[0]
    batch = torch.stack([long, nn.functional.pad(short, (0, SECOND - 9000))])
    mask = torch.ones(batch.shape)
    mask[1, 9000:] = 0
    with torch.inference_mode():
        logits = ours(batch, attention_mask=mask).logits
        for row, one in zip(logits, (long, short), strict=True):
            alone = ours(one[None]).logits[0]
            torch.testing.assert_close(row[: len(alone)], alone, atol=1e-5, rtol=0)


@pytest.mark.parametrize("kind", KINDS)
def test_one_window_over_everything_is_the_whole(kind: str | None, models: Any) -> None:
    """The risk: a front end in pieces that are not those of the whole, or positions that count from its beginning."""
    _, ours = models(f"{kind}")
    samples = audio(1, 3 * SECOND)[0]
    with torch.inference_mode():
        whole = ours.logits(Packed.of([samples])).data
        windowed = torch.cat(list(windowed_logits(ours, samples, Windows(size=1000, overlap=10))))
    torch.testing.assert_close(windowed, whole, atol=1e-5, rtol=0)


# ---- precisions


@pytest.mark.parametrize("precision", ["bf16", "fp16", "int8"])
@pytest.mark.parametrize("kind", KINDS)
def test_reduced_precision_stays_close(kind: str | None, precision: Precision, models: Any) -> None:
    """The risk: something beside the matrix products that is rounded, as the residual stream or a statistic."""
    oracle, ours = models(f"{kind}_layer", precision)
    with torch.inference_mode():
        expected = oracle(audio(1, 4 * SECOND)).logits
        difference = ours(audio(1, 4 * SECOND)).logits - expected
    limit = {"bf16": 1.5e-2, "fp16": 2e-3, "int8": 5e-2}[precision]
    assert difference.square().mean().sqrt() / expected.std() < limit


def test_large_queries_and_positions_do_not_overflow_in_half_precision() -> None:
    """The risk: scores of positions beyond 65504 before they are scaled, which is where fp16 conformers broke."""
    torch.manual_seed(0)
    attention = SelfAttention(64, 1, "relative")
    for linear in (attention.linear_q, attention.linear_pos):
        linear.weight = nn.Parameter(70.0 * torch.eye(64))
    attention.linear_k.weight = nn.Parameter(0.01 * torch.eye(64))
    segments = Segments((50,))
    x = Packed(torch.ones(50, 64), segments)
    positions = shared_positions("relative", segments, sinusoid_frequencies(64))
    with torch.inference_mode():
        expected = attention(x, positions, Attend())
        scores = 70.0 * 70.0 * (x.data @ positions.T)  # type: ignore[union-attr]
        assert scores.max() > 65504
        prepare(attention, "fp16")
        found = attention(x, positions, Attend()).float()
    torch.testing.assert_close(found, expected, atol=1e-2, rtol=1e-2)


def test_a_folded_batch_norm_is_the_batch_norm() -> None:
    """The risk: a wrong sign, an eps left out, or the activation applied twice or never."""
    torch.manual_seed(0)
    config = Wav2Vec2ConformerConfig(hidden_size=16, num_attention_heads=2, conv_depthwise_kernel_size=5)
    module = ConvModule(config).eval()
    norm = module.batch_norm
    assert isinstance(norm, nn.BatchNorm1d) and norm.running_mean is not None and norm.running_var is not None
    for weight in (norm.weight, norm.bias, norm.running_mean):
        nn.init.normal_(weight)
    nn.init.uniform_(norm.running_var, 1e-6, 1e-4)  # so small that the eps matters
    x = Packed.of([torch.randn(9, 16), torch.randn(1, 16), torch.randn(30, 16)])
    with torch.inference_mode():
        expected = module(x)
        prepare(nn.ModuleList([module]), "fp32")
        torch.testing.assert_close(module(x), expected, atol=1e-4, rtol=1e-4)
    assert not any(isinstance(part, nn.BatchNorm1d) for part in module.modules())


# ---- training


def test_loss_and_gradients_equal_transformers_in_training(tmp_path: Path) -> None:
    """The risk: a batch norm that keeps its old statistics, or a part that lets no gradient through."""
    dropouts = ("hidden", "activation", "attention", "feat_proj", "final", "conformer_conv")
    quiet = {f"{name}_dropout": 0.0 for name in dropouts}
    oracle = oracle_model(GROUP | RELATIVE | quiet, ORACLE).train()
    ours = Wav2Vec2ConformerForCTC.from_pretrained(saved(oracle, tmp_path)).train()
    inputs, labels = audio(1, SECOND), torch.tensor([[1, 2, 3, 4]])
    expected, found = oracle(inputs, labels=labels).loss, ours(inputs, labels=labels).loss
    torch.testing.assert_close(found, expected, atol=1e-3, rtol=0)
    expected.backward()
    found.backward()
    other = dict(oracle.named_parameters())
    for name, weight in ours.named_parameters():
        assert weight.grad is not None, name
        grad = other[name].grad
        assert grad is not None
        torch.testing.assert_close(weight.grad, grad.view_as(weight), atol=1e-3, rtol=1e-2, msg=name)
    assert torch.equal(ours.get_buffer(COUNT), oracle.get_buffer(COUNT))


# ---- checkpoints and configs


def test_a_checkpoint_goes_back_to_transformers_as_it_came(tmp_path: Path) -> None:
    """The risk: weights saved in our shapes, or not saved because we have no use for them."""
    transformers = pytest.importorskip("transformers")
    oracle = oracle_model(LAYER | ROTARY | ADAPTER, ORACLE)
    ours = Wav2Vec2ConformerForCTC.from_pretrained(saved(oracle, tmp_path / "theirs"))
    ours.save_pretrained(tmp_path / "ours")
    assert load_file(tmp_path / "ours/model.safetensors").keys() == oracle.state_dict().keys()
    again = transformers.Wav2Vec2ConformerForCTC.from_pretrained(tmp_path / "ours", attn_implementation="eager").eval()
    assert largest_difference(again, ours, audio(1, SECOND)) < TOLERANCE


def test_a_checkpoint_without_the_batch_norms_count_loads(tmp_path: Path) -> None:
    """The risk: a checkpoint refused for a number that nothing reads."""
    oracle = oracle_model(GROUP | ROTARY, ORACLE)
    path = saved(oracle, tmp_path) / "model.safetensors"
    save_file({name: x for name, x in load_file(path).items() if not name.endswith("num_batches_tracked")}, path)
    ours = Wav2Vec2ConformerForCTC.from_pretrained(tmp_path)
    assert largest_difference(oracle, ours, audio(1, SECOND)) < TOLERANCE
    assert int(dict(ours.named_buffers())[COUNT]) == 0


@pytest.mark.parametrize("change", ["absent", "other", "old names"])
def test_the_positional_convolution_of_checkpoints_is_not_used(change: str, tmp_path: Path) -> None:
    """The risk: weights that transformers loads and never reads taken for missing, or worse, read."""
    oracle = oracle_model(GROUP | ROTARY, ORACLE)
    path = saved(oracle, tmp_path) / "model.safetensors"
    weights = load_file(path)
    idle = [name for name in weights if "pos_conv_embed" in name]
    assert len(idle) == 3
    for name in idle:
        weight = weights.pop(name)
        if change == "other":
            weights[name] = weight * 100
        elif change == "old names":
            old = name.replace("parametrizations.weight.original0", "weight_g")
            weights[old.replace("parametrizations.weight.original1", "weight_v")] = weight
    save_file(weights, path)
    assert largest_difference(oracle, Wav2Vec2ConformerForCTC.from_pretrained(tmp_path), audio(1, SECOND)) < TOLERANCE


def test_rounded_speeds_of_rotation_are_those_of_the_checkpoint(tmp_path: Path) -> None:
    """The risk: a model trained and saved in half precision given exact speeds, which it has never seen."""
    transformers = pytest.importorskip("transformers")
    saved(oracle_model(LAYER | ROTARY | {"num_attention_heads": 1}, ORACLE).half(), tmp_path)
    oracle = transformers.Wav2Vec2ConformerForCTC.from_pretrained(
        tmp_path, dtype=torch.float32, attn_implementation="eager"
    ).eval()
    ours = Wav2Vec2ConformerForCTC.from_pretrained(tmp_path)
    assert largest_difference(oracle, ours, audio(1, 20 * SECOND)) < TOLERANCE


def test_an_encoder_without_a_head_loads_and_a_ctc_model_of_it_is_refused(tmp_path: Path) -> None:
    """The risk: a vocabulary of null, as such checkpoints have it; or a bare encoder that seems to transcribe."""
    transformers = pytest.importorskip("transformers")
    oracle = oracle_model(GROUP | RELATIVE | {"vocab_size": None}, "Wav2Vec2ConformerModel")
    assert json.loads((saved(oracle, tmp_path) / "config.json").read_text())["vocab_size"] is None
    ours = Wav2Vec2ConformerModel.from_pretrained(tmp_path)
    with torch.inference_mode():
        expected = oracle(audio(2, 9000))
        found = ours(audio(2, 9000))
    assert isinstance(oracle, transformers.Wav2Vec2ConformerModel)
    torch.testing.assert_close(found.last_hidden_state, expected.last_hidden_state, atol=TOLERANCE, rtol=0)
    torch.testing.assert_close(found.extract_features, expected.extract_features, atol=TOLERANCE, rtol=0)
    with pytest.raises(CheckpointError, match="lm_head"):
        Wav2Vec2ConformerForCTC.from_pretrained(tmp_path)


def test_a_pointwise_layer_has_the_shape_of_a_convolution_outside_and_survives_copies() -> None:
    """The risk: a state dict that a convolution of width 1 cannot load, or hooks that point to the original."""
    layer = Pointwise(5, 7)
    twin = copy.deepcopy(layer)
    nn.init.zeros_(layer.weight)
    conv = nn.Conv1d(5, 7, 1, bias=False)
    conv.load_state_dict(twin.state_dict())
    x = torch.randn(3, 5)
    torch.testing.assert_close(twin(x), conv(x[:, :, None])[:, :, 0])
    layer.load_state_dict(conv.state_dict())
    torch.testing.assert_close(layer(x), twin(x))


@pytest.mark.parametrize("kind", KINDS)
def test_a_config_survives_a_round_trip(kind: str | None, tmp_path: Path) -> None:
    """The risk: no positions written as an absent field, which is read as relative ones."""
    transformers = pytest.importorskip("transformers")
    other = {"position_embeddings_type": kind, "rotary_embedding_base": 77, "conv_depthwise_kernel_size": 9}
    transformers.Wav2Vec2ConformerConfig(**other, max_source_positions=12).save_pretrained(tmp_path)
    config = Wav2Vec2ConformerConfig.from_pretrained(tmp_path)
    assert {name: getattr(config, name) for name in other} == other
    config.save_pretrained(tmp_path / "again")
    assert Wav2Vec2ConformerConfig.from_pretrained(tmp_path / "again") == config
    theirs = transformers.Wav2Vec2ConformerConfig.from_pretrained(tmp_path / "again")
    assert {name: getattr(theirs, name) for name in other} == other
    assert theirs.max_source_positions == 12


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"conv_depthwise_kernel_size": 8}, "conv_depthwise_kernel_size must be odd, not 8"),
        ({"position_embeddings_type": "relative_key"}, "position_embeddings_type is 'relative_key'; known: .*rotary"),
        ({"position_embeddings_type": "rotary", "hidden_size": 12, "num_attention_heads": 4}, "rotary.*12 in 4 heads"),
        ({"position_embeddings_type": "relative", "hidden_size": 15, "num_attention_heads": 5}, "relative.*15 in 5"),
        ({"rotary_embedding_base": 0}, "rotary_embedding_base must be positive"),
        ({"model_type": "wav2vec2"}, "'wav2vec2'.*'wav2vec2-conformer' is needed"),
    ],
)
def test_a_config_we_would_compute_wrongly_is_refused_by_name(changes: dict[str, Any], message: str) -> None:
    """The risk: a config that is almost ours, run as if it were, with wrong logits and no word about it."""
    groups = {"num_conv_pos_embedding_groups": 1}
    with pytest.raises(ValueError, match=message):
        Wav2Vec2ConformerConfig.from_dict({"model_type": "wav2vec2-conformer"} | groups | changes)
    if "model_type" not in changes:
        with pytest.raises(ValueError, match=message):  # also of one that no file was read for
            replace(Wav2Vec2ConformerConfig(), **groups | changes)


@pytest.mark.parametrize("stored", ["rounded", "absent"])
def test_frequencies_are_the_checkpoint_s_or_else_our_own(stored: str, tmp_path: Path) -> None:
    """The risk: angles that drift apart over a recording, or checkpoints refused over numbers that we know anyway."""
    oracle = oracle_model(GROUP | ROTARY, ORACLE)
    (key,) = (key for key in oracle.state_dict() if key.endswith("embed_positions.inv_freq"))
    if stored == "rounded":
        frequencies = oracle.get_buffer(key)
        frequencies.copy_(frequencies.half())
    file = saved(oracle, tmp_path) / "model.safetensors"
    if stored == "absent":
        save_file({other: weight for other, weight in load_file(file).items() if other != key}, file)
    ours = Wav2Vec2ConformerForCTC.from_pretrained(tmp_path)
    assert largest_difference(oracle, ours, audio(1, 5 * SECOND)) < TOLERANCE
