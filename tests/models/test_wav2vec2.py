"""Our Wav2Vec2 against transformers' own, on small random models in which nothing has its initial value.

It does not know trained weights: what a model says is not judged here, only that both say the same.
"""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from pipeline.models.checkpoint import CheckpointError
from pipeline.models.wav2vec2 import Wav2Vec2ForCTC
from tests.models.oracle import GROUP, LAYER, SECOND, TOLERANCE, audio, largest_difference, oracle_model, saved

SHORT_STACK = {"conv_dim": [12, 20, 8], "conv_kernel": [7, 4, 3], "conv_stride": [4, 3, 5]}
VARIANTS: dict[str, dict[str, Any]] = {
    "group": GROUP,
    "layer": LAYER,
    "group_with_stable_norm": GROUP | {"do_stable_layer_norm": True},
    "layer_with_post_norm": LAYER | {"do_stable_layer_norm": False},
    "group_with_conv_bias": GROUP | {"conv_bias": True},
    "layer_without_conv_bias": LAYER | {"conv_bias": False},
    "group_short_stack_odd_position": GROUP | SHORT_STACK | {"num_conv_pos_embeddings": 7},
    "layer_short_stack_odd_position": LAYER | SHORT_STACK | {"num_conv_pos_embeddings": 5},
    "group_width_one_position_one_head": GROUP | {"num_conv_pos_embeddings": 1, "num_attention_heads": 1},
    "layer_position_wider_than_audio": LAYER | {"num_conv_pos_embeddings": 1024, "num_attention_heads": 16},
    "group_relu": GROUP | {"hidden_act": "relu", "feat_extract_activation": "relu"},
    "layer_other_activations": LAYER | {"hidden_act": "gelu_new", "feat_extract_activation": "silu"},
    "group_other_activations": GROUP | {"hidden_act": "swish", "feat_extract_activation": "gelu_fast"},
    "group_large_eps": GROUP | {"layer_norm_eps": 0.3},
    "layer_large_eps": LAYER | {"layer_norm_eps": 0.3},
    "phonemes": LAYER | {"vocab_size": 392, "pad_token_id": 0},
    "position_groups_are_channels": GROUP | {"num_conv_pos_embedding_groups": 32},
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_logits_equal_transformers_for_every_variant_and_length(variant: str, tmp_path: Path) -> None:
    """The risk: a norm, an activation, an eps or a padding in the wrong place, seen only in some configs."""
    oracle = oracle_model(VARIANTS[variant])
    ours = Wav2Vec2ForCTC.from_pretrained(saved(oracle, tmp_path))
    shortest = ours.config.min_samples
    lengths = (shortest, shortest + 1, shortest + ours.config.samples_per_frame, SECOND - 1)
    for num_samples in lengths:
        for batch in (1, 2):
            assert largest_difference(oracle, ours, audio(batch, num_samples)) < TOLERANCE


@pytest.mark.parametrize("variant", ["group", "layer"])
def test_logits_equal_transformers_on_ten_seconds(variant: str, tmp_path: Path) -> None:
    """The risk: errors that grow with the number of frames, as in statistics over time or in attention."""
    oracle = oracle_model(VARIANTS[variant])
    ours = Wav2Vec2ForCTC.from_pretrained(saved(oracle, tmp_path))
    for batch in (1, 2):
        assert largest_difference(oracle, ours, audio(batch, 10 * SECOND + 137)) < TOLERANCE


@pytest.mark.parametrize("variant", ["group", "layer"])
@pytest.mark.parametrize(("scale", "offset"), [(1e-3, 0.0), (1.0, 10.0), (0.0, 0.0)], ids=["faint", "dc", "silent"])
def test_logits_equal_transformers_on_degenerate_audio(
    variant: str, scale: float, offset: float, tmp_path: Path
) -> None:
    """The risk: the front end's norms given another eps, which only audio of almost no variance shows."""
    oracle = oracle_model(VARIANTS[variant])
    ours = Wav2Vec2ForCTC.from_pretrained(saved(oracle, tmp_path))
    assert largest_difference(oracle, ours, audio(1, SECOND) * scale + offset) < TOLERANCE


@pytest.mark.slow
@pytest.mark.parametrize("variant", ["group", "layer"])
def test_logits_equal_transformers_at_base_size(variant: str, tmp_path: Path) -> None:
    """The risk: a default of ours that differs from Hugging Face's, which small configs override."""
    layer = {"feat_extract_norm": "layer", "do_stable_layer_norm": True, "conv_bias": True}
    oracle = oracle_model({"hidden_size": 768} | (layer if variant == "layer" else {}))
    ours = Wav2Vec2ForCTC.from_pretrained(saved(oracle, tmp_path))
    assert largest_difference(oracle, ours, audio(1, SECOND)) < TOLERANCE


def test_equal_length_neighbours_do_not_change_a_recording(tmp_path: Path) -> None:
    """The risk: statistics taken over the batch, so that a transcript depends on its neighbours."""
    ours = Wav2Vec2ForCTC.from_pretrained(saved(oracle_model(GROUP), tmp_path))
    both = audio(2, SECOND)
    torch.testing.assert_close(ours(both).logits[:1], ours(both[:1]).logits, atol=1e-5, rtol=0)


@pytest.mark.parametrize("style", ["shards of transformers", "pickle", "old weight-norm names", "half precision"])
def test_every_way_a_checkpoint_is_stored_gives_the_same_model(style: str, tmp_path: Path) -> None:
    """The risk: weights of older or larger checkpoints read under wrong names, or rounded."""
    oracle = oracle_model(LAYER)
    if style == "half precision":
        oracle.half().float()  # so that half precision stores its weights exactly
    saved(oracle, tmp_path, max_shard_size="40KB" if style == "shards of transformers" else "1GB")
    weights = oracle.state_dict()
    if style == "shards of transformers":
        assert len(list(tmp_path.glob("model-*.safetensors"))) > 1
    elif style == "pickle":
        (tmp_path / "model.safetensors").unlink()
        torch.save(weights, tmp_path / "pytorch_model.bin")
    elif style == "half precision":
        save_file({name: weight.half() for name, weight in weights.items()}, tmp_path / "model.safetensors")
    else:
        old = {
            "parametrizations.weight.original0": "weight_g",
            "parametrizations.weight.original1": "weight_v",
        }
        pattern = re.compile("|".join(map(re.escape, old)))
        weights = {pattern.sub(lambda new: old[new[0]], name): weight for name, weight in weights.items()}
        assert sum(name.endswith((".weight_g", ".weight_v")) for name in weights) == 2
        save_file(weights, tmp_path / "model.safetensors")
    ours = Wav2Vec2ForCTC.from_pretrained(str(tmp_path))
    assert {weight.dtype for weight in ours.parameters()} == {torch.float32}
    assert largest_difference(oracle, ours, audio(1, 4000)) < TOLERANCE


def test_what_pre_training_leaves_in_a_checkpoint_is_not_an_error(tmp_path: Path) -> None:
    """The risk: fine-tuned models refused over weights that only masking and the quantiser use."""
    oracle = oracle_model(GROUP)
    unused = ["wav2vec2.masked_spec_embed", "wav2vec2.mask_time_emb_vector", "mask_time_emb_vector"]
    unused += ["quantizer.codevectors", "quantizer.weight_proj.bias", "project_q.weight", "project_hid.bias"]
    weights = oracle.state_dict() | {name: torch.zeros(3) for name in unused}
    save_file(weights, saved(oracle, tmp_path) / "model.safetensors")
    ours = Wav2Vec2ForCTC.from_pretrained(tmp_path)
    assert largest_difference(oracle, ours, audio(1, 4000)) < TOLERANCE


def test_an_encoder_saved_without_its_prefix_loads_where_it_has_a_head(tmp_path: Path) -> None:
    """The risk: transformers adds the prefix that a bare encoder's names lack, so such files are in use."""
    oracle = oracle_model(GROUP)
    weights = {name.removeprefix("wav2vec2."): weight for name, weight in oracle.state_dict().items()}
    save_file(weights, saved(oracle, tmp_path) / "model.safetensors")
    ours = Wav2Vec2ForCTC.from_pretrained(tmp_path)
    assert largest_difference(oracle, ours, audio(1, 4000)) < TOLERANCE


def test_a_checkpoint_without_a_ctc_head_says_so(tmp_path: Path) -> None:
    """The risk: a pre-trained encoder loaded as if it could transcribe."""
    transformers = pytest.importorskip("transformers")
    transformers.Wav2Vec2Model(transformers.Wav2Vec2Config(**GROUP)).save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match="no CTC head"):
        Wav2Vec2ForCTC.from_pretrained(tmp_path)


def test_a_head_of_another_vocabulary_is_refused_with_both_shapes(tmp_path: Path) -> None:
    """The risk: a config.json copied from another model, and logits read with the wrong alphabet."""
    saved(oracle_model(GROUP), tmp_path)
    path = tmp_path / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"vocab_size": 40}))
    with pytest.raises(CheckpointError, match=r"lm_head\.weight.*\(11, 32\).*\(40, 32\)"):
        Wav2Vec2ForCTC.from_pretrained(tmp_path)


def test_a_config_error_names_its_file(tmp_path: Path) -> None:
    """The risk: a message about a field, with no way to tell which of several models is meant."""
    path = tmp_path / "config.json"
    path.write_text(json.dumps({"model_type": "hubert"}))
    with pytest.raises(CheckpointError, match=re.escape(str(path)) + ".*hubert"):
        Wav2Vec2ForCTC.from_pretrained(tmp_path)
