"""What code written for transformers does with a model beside computing: arguments, outputs, attributes.

It does not judge results: the families' and heads' own tests do.
"""

import inspect
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from pipeline.demo.sample import write_model
from pipeline.errors import UsageError
from pipeline.models import Wav2Vec2Config, Wav2Vec2ForCTC, Wav2Vec2Model, auto
from pipeline.models.pretrained import Pretrained
from tests.models.every_class import CLASSES, CONFIGS, inputs_of
from tests.models.oracle import GROUP, audio, oracle_model, saved


def made(model: type[Pretrained], **changes: Any) -> Pretrained:
    family = model.config_class.model_type
    return model(model.config_class.from_dict(CONFIGS[family] | {"model_type": family} | changes)).eval()


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(oracle_model(GROUP), tmp_path_factory.mktemp("group"))


# Arguments and outputs.


@pytest.mark.parametrize("model", CLASSES, ids=lambda model: model.__name__)
def test_arguments_are_named_and_ordered_as_in_transformers(model: type[Pretrained]) -> None:
    """The risk: what a Trainer finds in a signature dropped; labels taken for something else by their position."""
    transformers = pytest.importorskip("transformers")
    theirs = list(inspect.signature(getattr(transformers, model.__name__).forward).parameters)
    parameters = inspect.signature(model.forward).parameters
    positional = [name for name, one in parameters.items() if one.kind is one.POSITIONAL_OR_KEYWORD]
    assert positional[:3] == theirs[: len(positional[:3])] and len(positional) >= 3
    assert made(model).main_input_name == positional[1]


@pytest.mark.parametrize("model", CLASSES, ids=lambda model: model.__name__)
def test_a_tuple_is_given_to_who_asks_for_one(model: type[Pretrained]) -> None:
    """The risk: `return_dict=False`, refused or not heard by one of the classes."""
    ours, inputs = made(model), inputs_of(model)
    with torch.inference_mode():
        output = ours(inputs, output_hidden_states=True)
        values = ours(inputs, output_hidden_states=True, return_dict=False)
    assert isinstance(values, tuple) and len(values) == len(output)
    assert torch.equal(values[0], output[0])
    name = output.keys()[0]
    assert output.get(name) is output[name]
    assert (output.get("attentions"), output.get("none_such", 3)) == (None, 3)


@pytest.mark.parametrize("model", CLASSES, ids=lambda model: model.__name__)
def test_a_config_can_ask_for_states_and_attentions(model: type[Pretrained]) -> None:
    """The risk: a setting of config.json that one of the classes does not hear; one that a call cannot undo."""
    ours, inputs = made(model, output_hidden_states=True, output_attentions=True), inputs_of(model)
    with torch.inference_mode():
        output, less = ours(inputs), ours(inputs, output_hidden_states=False, output_attentions=False)
    assert len(output.hidden_states) == len(output.attentions) + 1 == 4
    assert less.hidden_states is less.attentions is None


def test_a_batch_that_looks_padded_without_a_mask_is_warned_of_once(checkpoint: Path) -> None:
    """The risk: padding heard as audio, as the processors of some checkpoints ask for; warnings without a cause."""
    batch = torch.zeros((2, 16_000))
    batch[0], batch[1, :12_000] = audio(1, 16_000)[0], audio(1, 12_000)[0]
    model = Wav2Vec2Model.from_pretrained(checkpoint)
    mask = (batch != 0).long()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model(batch, mask)
        model(audio(2, 16_000))
        model(batch[1:])
    with pytest.warns(UserWarning, match=r"as if they were padded.*attention_mask="):
        model(batch)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model(batch)
    features = torch.randn((2, 60, 160))
    features[1, 40:] = 0
    with pytest.warns(UserWarning, match="input_features end in zeros"):
        made(auto.AutoModel.classes[2])(features)


# Attributes.


@pytest.mark.parametrize("model", CLASSES, ids=lambda model: model.__name__)
def test_what_code_asks_of_a_model_is_there(model: type[Pretrained]) -> None:
    """The risk: an AttributeError in the middle of somebody's script."""
    ours = made(model)
    assert isinstance(ours.base_model, auto.AutoModel.classes)
    assert (ours.dtype, ours.name_or_path) == (torch.float32, "")
    assert ours.num_parameters() == sum(x.numel() for x in ours.parameters())
    prepared = made(model)
    prepared.prepare("bf16")
    assert prepared.num_parameters() == ours.num_parameters()
    ours.freeze_base_model()
    assert not any(x.requires_grad for x in ours.base_model.parameters())
    assert ours.num_parameters(only_trainable=True) == sum(x.numel() for x in ours.parameters() if x.requires_grad)
    assert (ours.num_parameters(only_trainable=True) == 0) == (ours.base_model is ours)


def test_the_convolutions_can_be_frozen_alone() -> None:
    """The risk: the line that every fine-tuning begins with."""
    model = made(Wav2Vec2ForCTC)
    model.freeze_feature_encoder()
    frozen = {name for name, x in model.named_parameters() if not x.requires_grad}
    assert frozen == {name for name, _ in model.named_parameters() if ".feature_extractor." in name} != set()
    with pytest.raises(UsageError, match="Wav2Vec2BertModel has no convolutions"):
        made(auto.AutoModel.classes[2]).freeze_feature_encoder()


@pytest.mark.parametrize("add_adapter", [False, True])
@pytest.mark.parametrize("model", auto.AutoModel.classes, ids=lambda model: model.__name__)
def test_numbers_of_frames_are_those_of_transformers(model: type[Pretrained], add_adapter: bool) -> None:
    """The risk: alignments that are cut one frame off. Shorter than a frame, transformers goes below zero."""
    ours = made(model, add_adapter=add_adapter)
    theirs: Any = oracle_model(CONFIGS[model.config_class.model_type] | {"add_adapter": add_adapter}, model.__name__)
    lengths = torch.tensor([[400, 719, 720, 16_000], [31_999, 32_000, 100_000, 4321]])
    counted = ours._get_feat_extract_output_lengths(lengths)
    assert isinstance(counted, Tensor) and torch.equal(counted, theirs._get_feat_extract_output_lengths(lengths).long())
    assert ours._get_feat_extract_output_lengths(16_000) == counted[0, 3]
    without = theirs._get_feat_extract_output_lengths(lengths, add_adapter=False).long()
    assert torch.equal(ours._get_feat_extract_output_lengths(lengths, add_adapter=False), without)


def test_the_sample_leaves_the_random_numbers_alone(tmp_path: Path) -> None:
    """The risk: a seed of the sample's that decides what a caller draws next."""
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    write_model(tmp_path)
    assert torch.equal(torch.rand(1), expected)
    assert isinstance(Wav2Vec2ForCTC.from_pretrained(tmp_path), nn.Module)
    assert Wav2Vec2Config.from_pretrained(tmp_path).said("mask_time_prob", 0.05) == 0
