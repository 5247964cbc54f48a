"""The CTC head's loss, gradients and padded face against transformers, and what it refuses."""

import copy
import pickle
from inspect import signature
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import UsageError
from pipeline.models.auto import AutoModelForAudioClassification, AutoModelForCTC
from pipeline.models.bert import Wav2Vec2BertConfig
from pipeline.models.conformer import Wav2Vec2ConformerConfig
from pipeline.models.wav2vec2 import Wav2Vec2Config, Wav2Vec2ForCTC
from tests.models.oracle import GROUP, LAYER, SECOND, SMALL, TOLERANCE, audio, oracle_model, saved


@pytest.fixture(scope="module")
def layer_model(tmp_path_factory: pytest.TempPathFactory) -> Any:
    oracle = oracle_model(LAYER | {"pad_token_id": 3})
    return oracle, Wav2Vec2ForCTC.from_pretrained(saved(oracle, tmp_path_factory.mktemp("layer")))


@pytest.mark.parametrize("reduction", ["sum", "mean"])
@pytest.mark.parametrize("zero_infinity", [False, True])
def test_the_loss_and_its_gradients_are_those_of_transformers(
    reduction: str, zero_infinity: bool, tmp_path: Any
) -> None:
    """The risk: lengths, blank or reduction passed wrongly, so that fine-tuning goes somewhere else."""
    settings = {"ctc_loss_reduction": reduction, "ctc_zero_infinity": zero_infinity, "pad_token_id": 2}
    oracle = oracle_model(LAYER | settings)
    ours = Wav2Vec2ForCTC.from_pretrained(saved(oracle, tmp_path))
    values, mask = audio(2, SECOND), torch.ones(2, SECOND, dtype=torch.long)
    mask[1, 9000:] = 0
    values = values * mask
    labels = torch.tensor([[4, 4, 5, 6, 7], [8, 9, -100, -100, -100]])
    expected = oracle(values, attention_mask=mask, labels=labels).loss
    loss = ours(values, attention_mask=mask, labels=labels).loss
    torch.testing.assert_close(loss, expected, rtol=1e-4, atol=1e-4)
    expected.backward()
    loss.backward()
    for name in ("lm_head.weight", "wav2vec2.encoder.layers.0.attention.q_proj.weight"):
        got, wanted = ours.get_parameter(name).grad, oracle.get_parameter(name).grad
        assert got is not None and wanted is not None
        torch.testing.assert_close(got, wanted, rtol=1e-3, atol=1e-4 * float(wanted.abs().max()))
    front = ours.wav2vec2.feature_extractor.conv_layers[0].conv.weight.grad
    assert front is not None and front.abs().sum() > 0


@settings(max_examples=10)
@given(lengths=st.lists(st.integers(400, 12_000), min_size=2, max_size=4))
def test_a_padded_frame_is_a_certain_blank(layer_model: Any, lengths: list[int]) -> None:
    """The risk: letters from silence that is not there, as the reference's pipeline makes them."""
    _, ours = layer_model
    values, mask = audio(len(lengths), max(lengths)), torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
    with torch.inference_mode():
        logits = ours(values, attention_mask=mask).logits
    for row, length in zip(logits, lengths, strict=True):
        padding = row[ours.config.num_frames(length) :].softmax(-1)
        assert (padding[:, 3] == 1).all()
        assert (padding.sum(-1) == 1).all()


def test_states_and_attentions_are_those_of_transformers(layer_model: Any) -> None:
    """Every layer's, and not the last alone; what they are is also what attention maps are drawn from."""
    oracle, ours = layer_model
    values = audio(1, 5000)
    with torch.inference_mode():
        expected = oracle(values, output_hidden_states=True, output_attentions=True)
        got = ours(values, output_hidden_states=True, output_attentions=True)
        last = oracle.wav2vec2(values).last_hidden_state
    assert len(got.hidden_states) == len(expected.hidden_states) == 4
    # The last state is the one after the last norm, as versions 4 of transformers gave it.
    for state, other in zip(got.hidden_states, (*expected.hidden_states[:-1], last), strict=True):
        torch.testing.assert_close(state, other, atol=TOLERANCE, rtol=0)
    for weights, other in zip(got.attentions, expected.attentions, strict=True):
        torch.testing.assert_close(weights, other, atol=TOLERANCE, rtol=0)
    assert got["logits"] is got.logits is got[0] and got.keys() == ["logits", "hidden_states", "attentions"]
    assert ours(values).to_tuple()[0].shape == got.logits.shape


def test_arguments_are_in_the_order_of_transformers_and_have_its_names(layer_model: Any) -> None:
    """The risk: a label taken for a flag, with no loss and no word; a Trainer that drops a column it cannot name."""
    oracle, ours = layer_model
    values, mask, labels = audio(1, 5000), torch.ones(1, 5000), torch.tensor([[4]])
    with torch.inference_mode():
        assert float(ours(values, mask, labels).loss) == pytest.approx(float(oracle(values, mask, labels).loss), 1e-4)
        found = ours(values, mask, return_dict=False, output_attentions=True)
    assert isinstance(found, tuple) and [type(part) for part in found] == [torch.Tensor, tuple]
    with pytest.raises(TypeError):
        ours(values, mask, labels, True)
    for model_class in (*AutoModelForCTC.classes, *AutoModelForAudioClassification.classes):
        theirs = list(signature(getattr(pytest.importorskip("transformers"), model_class.__name__).forward).parameters)
        names = list(signature(model_class.forward).parameters)
        assert names[:4] == ["self", theirs[1], "attention_mask", "labels"]


@pytest.mark.parametrize("activation", ["gelu", "quick_gelu", "linear", "gelu_new"])
def test_models_can_be_sent_to_another_process(activation: str) -> None:
    """The risk: a model that keeps a function which has no name, and a cluster that cannot send it."""
    small = {name: value for name, value in SMALL.items() if name != "apply_spec_augment"} | {"hidden_act": activation}
    for made in (
        Wav2Vec2ForCTC(Wav2Vec2Config(**small)),
        AutoModelForCTC.from_config(Wav2Vec2BertConfig(**small)),
        AutoModelForCTC.from_config(Wav2Vec2ConformerConfig(**small)),
    ):
        again = pickle.loads(pickle.dumps(made))
        assert all(map(torch.equal, again.parameters(), made.parameters()))


def test_a_frozen_model_has_gradients_of_its_input(layer_model: Any) -> None:
    """The risk: explanations and adversaries of a model, for which only the input is learned, cut off silently."""
    oracle, ours = layer_model
    gradients = []
    for model in (oracle, copy.deepcopy(ours).requires_grad_(False)):
        values = audio(1, 2 * SECOND).requires_grad_(True)
        gradients.append(torch.autograd.grad(model(values).logits.square().sum(), values)[0])
    torch.testing.assert_close(gradients[1], gradients[0], rtol=1e-3, atol=1e-4 * float(gradients[0].abs().max()))


def test_attentions_of_a_padded_batch_are_zero_where_there_is_nothing(layer_model: Any) -> None:
    _, ours = layer_model
    mask = torch.ones(2, 5000)
    mask[1, 2000:] = 0
    with torch.inference_mode():
        weights = ours(audio(2, 5000), attention_mask=mask, output_attentions=True).attentions[0]
    frames = ours.config.num_frames(2000)
    assert (weights[1, :, frames:] == 0).all() and (weights[1, :, :, frames:] == 0).all()
    torch.testing.assert_close(weights[1, :, :frames].sum(-1), torch.ones(4, frames))


def test_ten_steps_of_training_lower_the_loss(tmp_path: Any) -> None:
    """The risk: a model that runs but does not learn: packed rows cut from the graph."""
    ours = Wav2Vec2ForCTC.from_pretrained(saved(oracle_model(GROUP), tmp_path)).train()
    optimiser = torch.optim.Adam(ours.parameters(), lr=3e-3)
    losses = []
    for _ in range(10):
        loss = ours(audio(2, 8000), labels=torch.tensor([[4, 5, 6], [7, 8, 9]])).loss
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.7 * losses[0]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ({"labels": torch.tensor([[11]])}, "label 11 is not in a vocabulary of 11"),
        ({"labels": torch.tensor([1])}, "a row for each recording"),
        ({"attention_mask": torch.ones(1, 3)}, r"attention_mask is \(1, 3\)"),
        ({"atention_mask": torch.ones(1, 3)}, "unknown argument: atention_mask"),
    ],
)
def test_arguments_that_mean_nothing_are_refused(layer_model: Any, call: dict[str, Any], message: str) -> None:
    with pytest.raises((ValueError, TypeError), match=message):
        layer_model[1](audio(1, 4000), **call)


def test_a_model_without_a_blank_has_no_ctc_head() -> None:
    """The risk: a config that is good for encoders and classifiers, and an error from inside the loss."""
    with pytest.raises(UsageError, match="pad_token_id None is not in a vocabulary of 32"):
        Wav2Vec2ForCTC(Wav2Vec2Config(pad_token_id=None))


def test_a_blank_outside_the_vocabulary_is_refused() -> None:
    """The risk: a loss over a label that does not exist, and padding that turns into letters."""
    with pytest.raises(UsageError, match="pad_token_id 32 is not in a vocabulary of 32"):
        Wav2Vec2ForCTC(Wav2Vec2Config(pad_token_id=32))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (torch.zeros(4000), "batch of recordings"),
        (torch.zeros(1, 2, 4000), "one channel"),
        (torch.zeros(1, 399), "399 samples.*400"),
        (torch.tensor([[0.0, 1.0] * 400, [0.0, torch.nan] * 400]), "NaN or infinite values in recording 1"),
        ([0.0] * 400, "batch of recordings, not list"),
    ],
)
def test_audio_of_the_wrong_shape_is_refused(layer_model: Any, values: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        layer_model[1](values)
    with pytest.raises(TypeError, match="no input_values"):
        layer_model[1]()
