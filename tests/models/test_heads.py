"""Heads over recordings and frames against transformers' own, on small random models; and that models can be trained.

It does not know trained weights: what a head says is not judged here, only that both say the same.
"""

import weakref
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from pipeline.models import bert, conformer, heads, wav2vec2
from pipeline.models.backbone import Trace
from pipeline.models.checkpoint import CheckpointError
from pipeline.models.config import ConvConfig
from pipeline.models.mixture import Mixing
from pipeline.models.precision import prepare
from pipeline.models.segments import Packed
from pipeline.models.wav2vec2 import Wav2Vec2ForCTC
from tests.models.oracle import GROUP, LAYER, SECOND, SMALL, TOLERANCE, audio, oracle_model, saved

HEAD: dict[str, Any] = {
    "classifier_proj_size": 24,
    "num_labels": 5,
    "tdnn_dim": [24, 20, 28],
    "tdnn_kernel": [5, 3, 1],
    "tdnn_dilation": [1, 3, 1],
    "xvector_output_dim": 16,
}
CONFORMER = GROUP | {"conv_depthwise_kernel_size": 7, "position_embeddings_type": "relative"}
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "group": ("Wav2Vec2", GROUP),
    "stable": ("Wav2Vec2", LAYER),
    "conformer": ("Wav2Vec2Conformer", CONFORMER),
    "bert": ("Wav2Vec2Bert", SMALL | {"conv_depthwise_kernel_size": 7, "feature_projection_input_dim": 20}),
}
FAMILY_MODULES = {"Wav2Vec2": wav2vec2, "Wav2Vec2Conformer": conformer, "Wav2Vec2Bert": bert}
KINDS = ("ForSequenceClassification", "ForAudioFrameClassification", "ForXVector")
NUM_FRAMES = (12, 13, 49)  # the first is the fewest that the x-vector of HEAD takes


def pair(family: str, kind: str, directory: Path, **options: Any) -> tuple[nn.Module, Any]:
    """transformers' model and ours, of the same weights."""
    prefix, config = FAMILIES[family]
    oracle = oracle_model(config | HEAD | options, prefix + kind)
    return oracle, getattr(heads, prefix + kind).from_pretrained(saved(oracle, directory))


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Models are made once, each when it is first asked for."""
    made: dict[tuple[str, str], tuple[nn.Module, Any]] = {}

    def get(family: str, kind: str) -> tuple[nn.Module, Any]:
        if (family, kind) not in made:
            made[family, kind] = pair(family, kind, tmp_path_factory.mktemp("heads"))
        return made[family, kind]

    return get


def recordings(model: Any, num_frames: int, batch: int = 1, seed: int = 1) -> Tensor:
    """Such that the encoder has so many frames: samples (batch, N), or features (batch, num_frames, C)."""
    if isinstance(model.config, ConvConfig):
        return audio(batch, num_frames * 320 + 80, seed)
    size = model.config.feature_projection_input_dim
    return audio(batch * size, num_frames, seed).view(batch, size, num_frames).transpose(1, 2)


def padded(recordings: list[Tensor]) -> tuple[Tensor, Tensor]:
    """A batch with its attention mask, where padding is as far from silence as can be."""
    packed = Packed.of(recordings)
    mask = packed.with_data(torch.ones(packed.segments.total, dtype=torch.long)).padded()
    return packed.padded(1e3), mask


def assert_same(ours: Tensor, expected: Tensor, tolerance: float = TOLERANCE) -> None:
    assert ours.shape == expected.shape
    assert expected.std() > 0.05, "values that are all alike would prove nothing"
    assert float((ours - expected).abs().max()) < tolerance


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("family", FAMILIES)
def test_every_head_of_every_family_equals_transformers(family: str, kind: str, pairs: Any) -> None:
    """The risk: a mean, a deviation, a projection or a dilation other than the one that the weights are for."""
    oracle, ours = pairs(family, kind)
    for num_frames in NUM_FRAMES if kind == "ForXVector" else (1, 2, *NUM_FRAMES):
        for batch in (1, 2):
            inputs = recordings(ours, num_frames, batch)
            with torch.inference_mode():
                expected, got = oracle(inputs), ours(inputs)
            assert_same(got.logits, expected.logits)
            if kind == "ForXVector":
                assert_same(got.embeddings, expected.embeddings)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("family", FAMILIES)
def test_every_head_of_every_family_equals_transformers_on_a_minute(family: str, kind: str, pairs: Any) -> None:
    """The risk: errors that grow with the number of frames, as in a mean or a deviation over all of them."""
    oracle, ours = pairs(family, kind)
    inputs = recordings(ours, 3000)
    with torch.inference_mode():
        assert_same(ours(inputs).logits, oracle(inputs).logits)


@pytest.mark.parametrize(
    "tdnn",
    [
        {"tdnn_dim": [8], "tdnn_kernel": [1], "tdnn_dilation": [1]},
        {"tdnn_dim": [8, 12], "tdnn_kernel": [4, 2], "tdnn_dilation": [3, 5]},
        {"tdnn_dim": [512, 512, 512, 512, 1500], "tdnn_kernel": [5, 3, 3, 1, 1], "tdnn_dilation": [1, 2, 3, 1, 1]},
    ],
    ids=["one", "even", "default"],
)
def test_x_vectors_of_other_shapes_equal_transformers(tdnn: dict[str, Any], tmp_path: Path) -> None:
    """The risk: kernel taps and channels in the wrong order of the stored weight, which some shapes hide."""
    oracle, ours = pair("stable", "ForXVector", tmp_path, **tdnn)
    for inputs in (audio(1, SECOND), audio(2, 3 * SECOND)):
        with torch.inference_mode():
            assert_same(ours(inputs).embeddings, oracle(inputs).embeddings)


# ---- batches


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("family", FAMILIES)
@settings(max_examples=8, deadline=None)
@given(lengths=st.lists(st.integers(12, 60), min_size=2, max_size=5), data=st.data())
def test_a_recording_in_a_batch_is_as_it_is_alone(
    family: str, kind: str, pairs: Any, lengths: list[int], data: st.DataObject
) -> None:
    """The risk: frames of a neighbour in a mean, in a deviation or under a dilated kernel."""
    _, ours = pairs(family, kind)
    every = [recordings(ours, length, seed=number)[0] for number, length in enumerate(lengths)]
    chosen = data.draw(st.integers(0, len(every) - 1))
    with torch.inference_mode():
        alone = ours(every[chosen].unsqueeze(0)).logits[0]
        batch, mask = padded(every)
        together = ours(batch, attention_mask=mask).logits[chosen][: len(alone) if alone.ndim == 2 else None]
    assert float((together - alone).abs().max()) <= 1e-5 * float(alone.std())


def test_padded_frames_have_no_class(pairs: Any) -> None:
    """The risk: a caller who takes logits above zero for speakers finds some after the end of a recording."""
    _, ours = pairs("stable", "ForAudioFrameClassification")
    batch, mask = padded([recordings(ours, 20)[0], recordings(ours, 50)[0]])
    with torch.inference_mode():
        logits = ours(batch, mask).logits
    assert logits.shape == (2, 50, 5)
    assert logits[0, :20].all()
    assert not logits[0, 20:].any()


# ---- weighted layer sums


def mixture(oracle: nn.Module, backbone: str, inputs: Tensor) -> Tensor:
    """What transformers 4 mixed, from the oracle's parts: its last state replaced by the one after the last norm."""
    outputs = getattr(oracle, backbone)(inputs, output_hidden_states=True)
    states = torch.stack([*outputs.hidden_states[:-1], outputs.last_hidden_state])  # (layers + 1, 1, T, D)
    weights: Tensor = oracle.layer_weights.softmax(dim=0)  # type: ignore[operator]
    return torch.einsum("l,lbtd->btd", weights, states)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_mixture_of_layers_is_the_one_of_training(family: str, tmp_path: Path) -> None:
    """The risk: the last layer's state from before the encoder's last norm, which no checkpoint was trained with."""
    oracle, ours = pair(family, "ForSequenceClassification", tmp_path, use_weighted_layer_sum=True)
    inputs = recordings(ours, 30)
    with torch.inference_mode():
        states = mixture(oracle, ours.backbone_name, inputs)
        expected = oracle.classifier(oracle.projector(states).mean(dim=1))  # type: ignore[operator]
        theirs, got = oracle(inputs).logits, ours(inputs)
    assert_same(got.logits, expected)
    assert got.hidden_states is None
    is_post_norm = family in ("group", "bert")
    assert is_post_norm == (float((theirs - expected).abs().max()) < TOLERANCE), "transformers 5 differs, or does not"


def test_a_mixture_is_added_up_and_its_layers_let_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The risk: 3 GB of hidden states for ten minutes in a large model."""
    _, ours = pair("stable", "ForXVector", tmp_path, use_weighted_layer_sum=True, num_hidden_layers=6)
    alive: list[weakref.ref[Packed]] = []
    most, state = 0, Mixing.state

    def watched(self: Mixing, x: Packed) -> None:
        nonlocal most
        alive.append(weakref.ref(x))
        state(self, x)
        most = max(most, sum(one() is not None for one in alive))

    monkeypatch.setattr(Mixing, "state", watched)
    with torch.inference_mode():
        ours(recordings(ours, 30))
    assert len(alive) == 7
    assert most <= 2


@pytest.mark.parametrize("kind", ["ForAudioFrameClassification", "ForXVector"])
@pytest.mark.parametrize("family", ["group", "bert"])
def test_a_mixture_of_layers_equals_transformers_where_norms_come_last(family: str, kind: str, tmp_path: Path) -> None:
    """The risk: a head that reads the mixture and another that does not."""
    oracle, ours = pair(family, kind, tmp_path, use_weighted_layer_sum=True)
    inputs = recordings(ours, 30)
    with torch.inference_mode():
        assert_same(ours(inputs).logits, oracle(inputs).logits)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("family", ["group", "bert"])
def test_an_adapter_comes_before_an_x_vector_but_not_in_a_mixture(family: str, weighted: bool, tmp_path: Path) -> None:
    """The risk: frames counted after an adapter that the mixture of layers never saw, or the other way round."""
    options = {"add_adapter": True, "num_adapter_layers": 2, "use_weighted_layer_sum": weighted}
    oracle, ours = pair(family, "ForXVector", tmp_path, **options)
    inputs = recordings(ours, 60)
    with torch.inference_mode():
        alone = ours(inputs).embeddings
        assert_same(alone, oracle(inputs).embeddings)
        batch, mask = padded([inputs[0], recordings(ours, 90)[0]])
        assert float((ours(batch, mask).embeddings[0] - alone[0]).abs().max()) < 1e-5
    with pytest.raises(ValueError, match=f"it has {11 if weighted else 3} frames, and 12 are needed"):
        ours(recordings(ours, 11))


@pytest.mark.parametrize("kind", KINDS)
def test_states_and_attentions_are_there_when_asked_for(kind: str, tmp_path: Path) -> None:
    """The risk: the states that a mixture needs for itself leak, or those asked for are lost."""
    _, ours = pair("stable", kind, tmp_path, use_weighted_layer_sum=True)
    inputs = recordings(ours, 20)
    with torch.inference_mode():
        quiet = ours(inputs)
        told = ours(inputs, output_hidden_states=True, output_attentions=True)
        trace = Trace(wants_attentions=True)
        ours.frames(Packed.of([inputs[0]]), trace)
    assert quiet.hidden_states is None and quiet.attentions is None
    assert [len(told.hidden_states), len(told.attentions)] == [4, 3]
    assert told.attentions[0].shape == (1, 4, 20, 20)
    assert [len(trace.hidden_states), len(trace.attentions)] == [4, 3]


# ---- losses


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("family", FAMILIES)
def test_losses_equal_transformers(family: str, kind: str, pairs: Any) -> None:
    """The risk: another reduction, margin or scale: training would go, and end elsewhere."""
    oracle, ours = pairs(family, kind)
    inputs = recordings(ours, 30, batch=3)
    labels = torch.tensor([4, 0, 2])
    if kind == "ForAudioFrameClassification":
        labels = nn.functional.one_hot(torch.arange(90).view(3, 30) % 5, 5)
    with torch.inference_mode():
        expected, loss = oracle(inputs, labels=labels).loss, ours(inputs, labels=labels).loss
    assert float(expected) > 0.1
    assert float(loss) == pytest.approx(float(expected), rel=1e-4)


def test_padding_has_no_part_in_the_loss_of_frames(pairs: Any) -> None:
    """The risk: a loss that depends on how long the longest recording of a batch is."""
    _, ours = pairs("stable", "ForAudioFrameClassification")
    short, long = recordings(ours, 20)[0], recordings(ours, 50)[0]
    labels = nn.functional.one_hot(torch.arange(120).view(2, 60) % 5, 5)
    batch, mask = padded([short, long])
    with torch.inference_mode():
        together = ours(batch, mask, labels=labels).loss
        losses = [
            ours(one.unsqueeze(0), labels=label.unsqueeze(0)).loss
            for one, label in zip((short, long), labels, strict=True)
        ]
    assert float(together) == pytest.approx(float(20 * losses[0] + 50 * losses[1]) / 70, rel=1e-5)


# ---- bad input


def test_a_recording_too_short_for_an_x_vector_is_told_how_long_it_must_be(pairs: Any) -> None:
    """The risk: a deviation of one value is not a number, and nothing says so."""
    _, ours = pairs("stable", "ForXVector")
    needed = 11 * 320 + 400
    assert bool(ours(audio(1, needed)).embeddings.isfinite().all())
    with pytest.raises(ValueError, match=f"11 frames, and 12 are needed, which {needed} samples give"):
        ours(audio(1, needed - 1))
    _, bert = pairs("bert", "ForXVector")
    with pytest.raises(ValueError, match="which 12 feature frames give"):
        bert(recordings(bert, 11))


@pytest.mark.parametrize("kind", ["ForSequenceClassification", "ForXVector"])
@pytest.mark.parametrize("labels", [[0], [0, 1, 2], [0, 5], [-1, 0]])
def test_labels_that_do_not_fit_are_refused(kind: str, labels: list[int], pairs: Any) -> None:
    """The risk: a loss of other recordings than meant, or one from beyond the end of a table."""
    _, ours = pairs("stable", kind)
    with pytest.raises(ValueError, match="labels"):
        ours(recordings(ours, 20, batch=2), labels=torch.tensor(labels))


@pytest.mark.parametrize("shape", [(2, 20), (1, 20, 5), (2, 19, 5), (2, 20, 4)])
def test_labels_of_frames_that_do_not_fit_are_refused(shape: tuple[int, ...], pairs: Any) -> None:
    """The risk: frames without a label."""
    _, ours = pairs("stable", "ForAudioFrameClassification")
    with pytest.raises(ValueError, match="labels"):
        ours(recordings(ours, 20, batch=2), labels=torch.ones(shape))


@pytest.mark.parametrize("kind", KINDS[:2])
def test_an_adapter_before_a_head_that_cannot_have_one_is_refused(kind: str) -> None:
    """The risk: classes of frames that no longer are the encoder's."""
    model_class = getattr(heads, f"Wav2Vec2{kind}")
    with pytest.raises(ValueError, match="add_adapter"):
        model_class(wav2vec2.Wav2Vec2Config(add_adapter=True))


def test_a_checkpoint_with_another_head_is_refused(tmp_path: Path) -> None:
    """The risk: a model for transcribing whose classes are random numbers."""
    directory = saved(oracle_model(GROUP), tmp_path)
    with pytest.raises(CheckpointError, match="no sequence classification head"):
        heads.Wav2Vec2ForSequenceClassification.from_pretrained(directory)
    with pytest.raises(CheckpointError, match="no x-vector head"):
        heads.Wav2Vec2ForXVector.from_pretrained(directory)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("family", FAMILIES)
def test_what_we_save_transformers_reads(family: str, kind: str, pairs: Any, tmp_path: Path) -> None:
    """The risk: an x-vector's `feature_extractor` saved or read as the encoder's; labels that are lost."""
    oracle, ours = pairs(family, kind)
    ours.save_pretrained(tmp_path)
    again = type(oracle).from_pretrained(tmp_path)
    assert again.config.num_labels == ours.config.num_classes == 5
    inputs = recordings(ours, 30)
    with torch.inference_mode():
        assert_same(again.eval()(inputs).logits, oracle(inputs).logits)
        assert torch.equal(type(ours).from_pretrained(tmp_path)(inputs).logits, ours(inputs).logits)


# ---- precisions, and training


@pytest.mark.parametrize("kind", KINDS)
def test_heads_run_in_bf16(kind: str, tmp_path: Path) -> None:
    """The risk: a head that uses a weight which preparing has taken away, or statistics in bf16."""
    oracle, ours = pair("stable", kind, tmp_path)
    prepare(ours, "bf16")
    inputs = recordings(ours, 30, batch=2)
    with torch.inference_mode():
        expected, logits = oracle(inputs).logits, ours(inputs).logits
    assert logits.dtype == torch.float32
    assert float((logits - expected).square().mean().sqrt()) < 0.05 * float(expected.std())


def losses_of_training(model: nn.Module, inputs: Tensor, labels: Tensor) -> list[float]:
    model.requires_grad_(True).train()
    optimiser = torch.optim.SGD(model.parameters(), lr=0.01)
    losses = []
    for _ in range(6):
        optimiser.zero_grad()
        loss = model(inputs, labels=labels).loss
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        losses.append(float(loss.detach()))
    return losses


@pytest.mark.parametrize("family", FAMILIES)
def test_training_reduces_the_loss_of_classes(family: str, tmp_path: Path) -> None:
    """The risk: a fast path that cuts the gradient, so that part of a model never learns."""
    _, ours = pair(family, "ForSequenceClassification", tmp_path, use_weighted_layer_sum=True)
    losses = losses_of_training(ours, recordings(ours, 20, batch=2), torch.tensor([1, 3]))
    assert losses[-1] < losses[0]
    assert all(weight.grad is not None for weight in ours.parameters())


@pytest.mark.parametrize("config", [GROUP, LAYER], ids=["group", "stable"])
def test_training_reduces_the_loss_of_transcripts(config: dict[str, Any], tmp_path: Path) -> None:
    """The risk: as above, for CTC."""
    ours = Wav2Vec2ForCTC.from_pretrained(saved(oracle_model(config), tmp_path))
    losses = losses_of_training(ours, audio(2, SECOND), torch.tensor([[3, 1, 4, 1], [5, 9, 2, -100]]))
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("kind", ["ForCTC", "ForSequenceClassification"])
@pytest.mark.parametrize("family", FAMILIES)
def test_gradients_equal_transformers(family: str, kind: str, tmp_path: Path) -> None:
    """The risk: a forward pass that is right and a backward pass that is not."""
    prefix, config = FAMILIES[family]
    oracle = oracle_model(config | HEAD, prefix + kind)
    module = heads if kind != "ForCTC" else FAMILY_MODULES[prefix]
    ours = getattr(module, prefix + kind).from_pretrained(saved(oracle, tmp_path)).requires_grad_(True)
    inputs = recordings(ours, 30)
    labels = torch.tensor([[3, 1, 4, 1]]) if kind == "ForCTC" else torch.tensor([3])
    for model in (oracle, ours):
        model(inputs, labels=labels).loss.backward()
    theirs = {name: weight.grad for name, weight in oracle.named_parameters() if weight.grad is not None}
    largest = max(float(grad.abs().max()) for grad in theirs.values())
    compared = 0
    for name, weight in ours.named_parameters():
        if name in theirs:  # but not the positional convolution's, which is one weight here and two there
            compared += 1
            expected = theirs[name].view_as(weight)  # a convolution over one frame is a matrix here
            scale = max(float(expected.abs().max()), 1e-2 * largest)  # of keys' biases, all gradients cancel
            assert float((weight.grad - expected).abs().max()) < 1e-4 * scale, name
    assert compared > 0.9 * len(list(ours.parameters()))
