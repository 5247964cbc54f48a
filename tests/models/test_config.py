"""Configs of all families: read from transformers' own files, written back for it, and refused where they are wrong."""

import copy
import json
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from pipeline.models.bert import Wav2Vec2BertConfig
from pipeline.models.checkpoint import CheckpointError
from pipeline.models.config import ModelConfig
from pipeline.models.conformer import Wav2Vec2ConformerConfig
from pipeline.models.wav2vec2 import Wav2Vec2Config

FAMILIES: dict[type[ModelConfig], str] = {
    Wav2Vec2Config: "Wav2Vec2Config",
    Wav2Vec2ConformerConfig: "Wav2Vec2ConformerConfig",
    Wav2Vec2BertConfig: "Wav2Vec2BertConfig",
}
OTHER: dict[str, Any] = {  # for every field of ours that all families have, something that is no default
    "hidden_size": 24,
    "num_hidden_layers": 5,
    "num_attention_heads": 3,
    "intermediate_size": 7,
    "hidden_act": "silu",
    "layer_norm_eps": 0.5,
    "vocab_size": 9,
    "pad_token_id": 8,
    "ctc_loss_reduction": "mean",
    "ctc_zero_infinity": True,
    "add_adapter": True,
    "num_adapter_layers": 2,
    "adapter_kernel_size": 5,
    "adapter_stride": 3,
    "output_hidden_size": 30,
    "use_weighted_layer_sum": True,
    "classifier_proj_size": 11,
    "id2label": {0: "yes", 1: "no", 2: "maybe"},
    "tdnn_dim": (4, 5),
    "tdnn_kernel": (3, 1),
    "tdnn_dilation": (2, 1),
    "xvector_output_dim": 6,
}
OF_SAMPLES: dict[str, Any] = {
    "conv_dim": (4, 6),
    "conv_kernel": (5, 3),
    "conv_stride": (3, 2),
    "conv_bias": True,
    "feat_extract_norm": "layer",
    "feat_extract_activation": "relu",
    "num_conv_pos_embeddings": 9,
    "num_conv_pos_embedding_groups": 2,
    "num_codevectors_per_group": 12,
    "num_codevector_groups": 3,
    "codevector_dim": 6,
    "proj_codevector_dim": 10,
    "contrastive_logits_temperature": 0.5,
    "diversity_loss_weight": 0.25,
    "num_negatives": 4,
}
OF_FAMILY: dict[type[ModelConfig], dict[str, Any]] = {
    Wav2Vec2Config: OF_SAMPLES | {"do_stable_layer_norm": True, "adapter_attn_dim": 4},
    Wav2Vec2ConformerConfig: OF_SAMPLES
    | {"position_embeddings_type": "rotary", "rotary_embedding_base": 500, "conv_depthwise_kernel_size": 7},
    Wav2Vec2BertConfig: {
        "feature_projection_input_dim": 20,
        "position_embeddings_type": "relative_key",
        "left_max_position_embeddings": 5,
        "right_max_position_embeddings": 3,
        "conv_depthwise_kernel_size": 7,
        "adapter_act": "gelu",
        "use_intermediate_ffn_before_adapter": True,
    },
}


@pytest.mark.parametrize("family", FAMILIES, ids=FAMILIES.values())
def test_a_config_survives_transformers_own_file_and_the_way_back(family: type[ModelConfig], tmp_path: Path) -> None:
    """The risk: a field read under another name and so left at its default, or lost when it is written."""
    transformers = pytest.importorskip("transformers")
    theirs = getattr(transformers, FAMILIES[family])
    other = OTHER | OF_FAMILY[family]
    theirs(**{name: list(v) if isinstance(v, tuple) else v for name, v in other.items()}).save_pretrained(tmp_path)
    config = family.from_pretrained(tmp_path)
    assert {name: getattr(config, name) for name in other} == other
    assert config.num_labels == config.num_classes == 3
    config.save_pretrained(tmp_path / "again")
    before, after = (theirs.from_pretrained(folder).to_dict() for folder in (tmp_path, tmp_path / "again"))
    assert after.pop("label2id") == {"yes": 0, "no": 1, "maybe": 2} == config.label2id
    assert before.pop("label2id") is None  # of labels that are given, transformers makes no second map itself
    assert after == before
    assert family.from_pretrained(tmp_path / "again") == config


@pytest.mark.parametrize("family", FAMILIES, ids=FAMILIES.values())
def test_defaults_are_those_of_transformers(family: type[ModelConfig]) -> None:
    """The risk: a config.json that leaves a field out, read with another value."""
    transformers = pytest.importorskip("transformers")
    theirs = getattr(transformers, FAMILIES[family])().to_dict()
    ours = {name: value for name, value in family().to_dict().items() if name not in ("model_type", "id2label")}
    # Where there is no head, transformers leaves the size of the vocabulary open.
    differing = {name: value for name, value in ours.items() if theirs[name] != value and theirs[name] is not None}
    assert not differing


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_type": "hubert"}, "'hubert'.*'wav2vec2'"),
        ({"model_type": "wav2vec2-conformer"}, "wav2vec2-conformer"),
        ({"model_type": None}, "model_type"),
        ({"hidden_act": "swash"}, "hidden_act is 'swash'; known: gelu.*relu"),
        ({"feat_extract_activation": "gulu"}, "feat_extract_activation is 'gulu'; known: gelu"),
        ({"feat_extract_norm": "batch"}, "feat_extract_norm is 'batch'; known: group, layer"),
        ({"conv_stride": [5, 2]}, "conv_dim, conv_kernel and conv_stride"),
        ({"conv_dim": [], "conv_kernel": [], "conv_stride": []}, "conv_dim must be positive"),
        ({"conv_kernel": [10, 3, 3, 3, 3, 2, 0]}, "conv_kernel must be positive"),
        ({"conv_kernel": "10,3,3"}, "conv_kernel must be like"),
        ({"num_hidden_layers": 0}, "num_hidden_layers must be positive"),
        ({"num_attention_heads": 5}, "num_attention_heads.*768"),
        ({"num_conv_pos_embedding_groups": 7}, "num_conv_pos_embedding_groups.*768"),
        ({"layer_norm_eps": 0}, "layer_norm_eps must be positive"),
        ({"layer_norm_eps": "1e-5"}, "layer_norm_eps must be like"),
        ({"vocab_size": "32"}, "vocab_size must be like"),
        ({"hidden_size": True}, "hidden_size must be like"),
        ({"output_hidden_size": "wide"}, "output_hidden_size must be like"),
        ({"adapter_attn_dim": 0}, "adapter_attn_dim must be positive"),
        ({"adapter_stride": 0}, "adapter_stride must be positive"),
        ({"ctc_loss_reduction": "none"}, "ctc_loss_reduction is 'none'"),
        ({"tdnn_kernel": [1]}, "tdnn_dim, tdnn_kernel and tdnn_dilation"),
        ({"id2label": 5}, "id2label must be like Mapping or null, not 5"),
        ({"id2label": {"yes": "0"}}, "id2label must have numbers for keys, not yes"),
        ({"pad_token_id": "0"}, "pad_token_id must be like 0, not '0'"),
        ({"conv_dim": [512.0] * 7}, "conv_dim must be like"),
    ],
)
def test_a_config_we_would_compute_wrongly_is_refused_by_name(changes: dict[str, Any], message: str) -> None:
    """The risk: a config that is almost ours, run as if it were, with wrong logits and no word about it."""
    with pytest.raises(ValueError, match=message):
        Wav2Vec2Config.from_dict({"model_type": "wav2vec2"} | changes)


def test_checks_also_guard_configs_made_in_code() -> None:
    """The risk: checks that only files pass through."""
    with pytest.raises(ValueError, match="hidden_act"):
        replace(Wav2Vec2Config(), hidden_act="swash")


def test_a_config_error_names_its_file(tmp_path: Path) -> None:
    """The risk: a message about a field, with no way to tell which of several models is meant."""
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "wav2vec2", "hidden_act": "swash"}))
    with pytest.raises(CheckpointError, match=f"{tmp_path}/config.json.*swash"):
        Wav2Vec2Config.from_pretrained(tmp_path)


def test_classes_without_names_are_numbered() -> None:
    """The risk: `config.id2label[i]`, as everybody writes it, failing on a model whose labels have no names."""
    assert Wav2Vec2Config().id2label == {0: "LABEL_0", 1: "LABEL_1"}
    assert Wav2Vec2Config(num_labels=3).id2label == {0: "LABEL_0", 1: "LABEL_1", 2: "LABEL_2"}
    with pytest.raises(ValueError, match="num_labels is 3, but id2label has 1"):
        Wav2Vec2Config(num_labels=3, id2label={0: "yes"})


@pytest.mark.parametrize("given", [{}, {"num_labels": 3}, {"id2label": {"0": "yes", "1": "no"}}], ids=str)
def test_transformers_knows_the_labels_of_what_we_saved(given: dict[str, Any], tmp_path: Path) -> None:
    """The risk: one of the two maps written without the other, of which transformers makes none."""
    transformers = pytest.importorskip("transformers")
    config = Wav2Vec2Config.from_dict({"model_type": "wav2vec2", **given})
    config.save_pretrained(tmp_path)
    theirs = transformers.AutoConfig.from_pretrained(tmp_path)
    assert (theirs.id2label, theirs.label2id) == (config.id2label, config.label2id)
    assert config.label2id == {label: number for number, label in (config.id2label or {}).items()}
    assert Wav2Vec2Config.from_pretrained(tmp_path) == config


def test_what_a_config_json_says_can_be_read_and_tells_configs_apart() -> None:
    """The risk: code that reads a training setting failing on ours; two configs taken for one; a config that cannot
    be copied or be a key, or that answers to any name."""
    content = {"model_type": "wav2vec2", "mask_time_prob": 0.5, "bos_token_id": 1, "architectures": ["Wav2Vec2ForCTC"]}
    config = Wav2Vec2Config.from_dict(content)
    assert (config.mask_time_prob, config.bos_token_id, config.architectures) == (0.5, 1, ["Wav2Vec2ForCTC"])  # type: ignore[attr-defined]
    with pytest.raises(AttributeError, match="Wav2Vec2Config has no 'layerdrop'"):
        _ = config.layerdrop  # type: ignore[attr-defined]
    assert getattr(config, "layerdrop", None) is None
    for again in (copy.deepcopy(config), pickle.loads(pickle.dumps(config))):
        assert again == config and hash(again) == hash(config)
    assert config != Wav2Vec2Config.from_dict(content | {"mask_time_prob": 0.05})
    assert config.said("mask_time_prob", 0.0) == 0.5 and config.said("layerdrop", 0.25) == 0.25
    with pytest.raises(ValueError, match="mask_time_prob must be a number, not None"):
        Wav2Vec2Config.from_dict(content | {"mask_time_prob": None}).said("mask_time_prob", 0.05)


def test_labels_without_names_can_be_of_another_number() -> None:
    """The risk: `replace(config, num_labels=5)`, refused for the names that nobody gave."""
    assert replace(Wav2Vec2Config(), num_labels=3).id2label == {0: "LABEL_0", 1: "LABEL_1", 2: "LABEL_2"}
    with pytest.raises(ValueError, match="num_labels is 3, but id2label has 1"):
        replace(Wav2Vec2Config(id2label={0: "yes"}), num_labels=3)


@pytest.mark.parametrize("add_adapter", [False, True])
@pytest.mark.parametrize("family", FAMILIES, ids=FAMILIES.values())
def test_samples_per_logit_are_those_of_transformers(family: type[ModelConfig], add_adapter: bool) -> None:
    """The risk: word times that are off by a factor."""
    transformers = pytest.importorskip("transformers")
    ours = family(add_adapter=add_adapter)
    assert (
        ours.inputs_to_logits_ratio
        == getattr(transformers, FAMILIES[family])(add_adapter=add_adapter).inputs_to_logits_ratio
    )
    if not add_adapter:
        assert ours.inputs_to_logits_ratio == 320


@pytest.mark.parametrize("family", FAMILIES, ids=FAMILIES.values())
def test_a_config_without_a_padding_token_is_one(family: type[ModelConfig], tmp_path: Path) -> None:
    """The risk: an encoder or a classifier refused for the blank that it never uses."""
    transformers = pytest.importorskip("transformers")
    getattr(transformers, FAMILIES[family])(pad_token_id=None).save_pretrained(tmp_path)
    config = family.from_pretrained(tmp_path)
    assert config.pad_token_id is None
    config.save_pretrained(tmp_path)
    assert getattr(transformers, FAMILIES[family]).from_pretrained(tmp_path).pad_token_id is None


def test_keywords_override_a_config(tmp_path: Path) -> None:
    """The risk: a setting of one line in code that needs a file to be edited; a typing error that changes nothing."""
    content = {"model_type": "wav2vec2", "layerdrop": 0.1, "id2label": {"0": "yes"}, "label2id": {"yes": 0}}
    Wav2Vec2Config.from_dict(content).save_pretrained(tmp_path)
    changes = {"output_hidden_states": True, "layerdrop": 0.2, "conv_bias": True, "tdnn_dim": (1, 2, 3, 4, 5)}
    config = Wav2Vec2Config.from_pretrained(tmp_path, local_files_only=True, **changes)
    assert {name: getattr(config, name) for name in changes} == changes
    assert config.label2id == {"yes": 0}
    labels: dict[str, Any] = {"num_labels": 2, "id2label": {0: "a", 1: "b"}, "label2id": {"a": 0, "b": 1}}
    assert Wav2Vec2Config.from_pretrained(tmp_path, **labels).label2id == labels["label2id"]
    with pytest.raises(TypeError, match=r"takes no hidden_sise; did you mean hidden_size\?"):
        Wav2Vec2Config.from_pretrained(tmp_path, hidden_sise=3)
    with pytest.raises(CheckpointError, match="hidden_act is 'swash'"):
        Wav2Vec2Config.from_pretrained(tmp_path, hidden_act="swash")


def test_what_we_do_not_know_is_kept(tmp_path: Path) -> None:
    """The risk: training settings of a checkpoint lost because it was once saved by us."""
    content = {"model_type": "wav2vec2", "mask_time_prob": 0.05, "layerdrop": 0.1, "somebody": {"else's": [1]}}
    Wav2Vec2Config.from_dict(content).save_pretrained(tmp_path)
    written = json.loads((tmp_path / "config.json").read_text())
    assert {name: written[name] for name in content} == content


@settings(max_examples=60)
@given(
    stack=st.lists(st.tuples(st.integers(1, 12), st.integers(1, 6)), min_size=1, max_size=4),
    extra=st.integers(0, 700),
)
def test_num_frames_is_what_the_convolutions_make(stack: list[tuple[int, int]], extra: int) -> None:
    """The risk: segment bounds one frame off when packing, at lengths nobody tried."""
    kernels, strides = tuple(kernel for kernel, _ in stack), tuple(stride for _, stride in stack)
    config = Wav2Vec2Config(conv_dim=(1,) * len(stack), conv_kernel=kernels, conv_stride=strides)
    x = torch.zeros((1, 1, config.min_samples + extra), device="meta")
    for kernel, stride in stack:
        x = nn.Conv1d(1, 1, kernel, stride, device="meta")(x)
    assert config.num_frames(config.min_samples + extra) == x.shape[2]
    assert config.num_frames(config.min_samples) == 1
    assert config.num_frames(config.min_samples - 1) == config.num_frames(0) == 0
    assert config.num_frames(config.min_samples + config.samples_per_frame) == 2
