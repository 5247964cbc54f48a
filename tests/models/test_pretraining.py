"""The pre-training head against transformers' own, on small random models, and what it does in training.

It does not know how masks and negatives are drawn: they are given, and transformers draws them here.
"""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from pipeline.models import pretraining
from pipeline.models.checkpoint import CheckpointError
from pipeline.models.segments import Packed
from pipeline.models.wav2vec2 import Wav2Vec2Config
from tests.models.oracle import GROUP, LAYER, TOLERANCE, audio, oracle_model, saved

QUANTISER: dict[str, Any] = {
    "num_codevectors_per_group": 10,
    "num_codevector_groups": 2,
    "codevector_dim": 12,
    "proj_codevector_dim": 16,
    "num_negatives": 7,
    "diversity_loss_weight": 0.3,
    "contrastive_logits_temperature": 0.2,
    "apply_spec_augment": True,
    "feat_quantizer_dropout": 0.0,
}
TINY = Wav2Vec2Config(hidden_size=32, num_hidden_layers=1, num_attention_heads=4, conv_dim=(16,) * 7)
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "group": ("Wav2Vec2ForPreTraining", GROUP),
    "stable": ("Wav2Vec2ForPreTraining", LAYER),
    "conformer": ("Wav2Vec2ConformerForPreTraining", GROUP | {"conv_depthwise_kernel_size": 7}),
}


def pair(family: str, directory: Path, **options: Any) -> tuple[nn.Module, Any]:
    """transformers' model and ours, of the same weights."""
    name, config = FAMILIES[family]
    oracle = oracle_model(config | QUANTISER | options, name)
    backbone_name = getattr(pretraining, name).backbone_name
    quantiser: Any = oracle.quantizer
    with torch.no_grad():  # code vectors of size 1, and scores around 0, so that frames take many of them
        quantiser.codevectors *= quantiser.codevectors[0].numel() ** 0.5
        scores = quantiser.weight_proj(getattr(oracle, backbone_name)(recordings(50)).extract_features)
        quantiser.weight_proj.bias -= scores.mean(dim=(0, 1))
    return oracle, getattr(pretraining, name).from_pretrained(saved(oracle, directory))


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Models are made once, each when it is first asked for."""
    made: dict[str, tuple[nn.Module, Any]] = {}

    def get(family: str) -> tuple[nn.Module, Any]:
        if family not in made:
            made[family] = pair(family, tmp_path_factory.mktemp("pretraining"))
        return made[family]

    return get


def recordings(num_frames: int, batch: int = 1, seed: int = 1) -> Tensor:
    return audio(batch, num_frames * 320 + 80, seed)


def drawn(batch: int, num_frames: int, seed: int = 0) -> dict[str, Tensor]:
    """A mask and negatives as transformers draws them."""
    from transformers.models.wav2vec2 import modeling_wav2vec2 as theirs

    np.random.seed(seed)
    mask = theirs._compute_mask_indices((batch, num_frames), mask_prob=0.4, mask_length=3, min_masks=2)
    negatives = theirs._sample_negative_indices((batch, num_frames), QUANTISER["num_negatives"], mask)
    return {"mask_time_indices": torch.tensor(mask), "sampled_negative_indices": torch.tensor(negatives)}


def padded(recordings: list[Tensor]) -> tuple[Tensor, Tensor]:
    packed = Packed.of(recordings)
    mask = packed.with_data(torch.ones(packed.segments.total, dtype=torch.long)).padded()
    return packed.padded(1e3), mask


def assert_same(ours: Any, theirs: Any) -> None:
    for name in ("projected_states", "projected_quantized_states", "codevector_perplexity"):
        assert ours[name].shape == theirs[name].shape
        assert float((ours[name] - theirs[name]).abs().max()) < TOLERANCE, name
    assert theirs.projected_states.std() > 0.2
    assert theirs.codevector_perplexity > 5, "one code vector for all frames would prove nothing"


@pytest.mark.parametrize("num_frames", [30, 150, pytest.param(3000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("family", FAMILIES)
def test_predictions_and_codes_equal_transformers(family: str, num_frames: int, pairs: Any) -> None:
    """The risk: groups and code vectors in another order, or frames hidden after the positions are added."""
    oracle, ours = pairs(family)
    inputs = recordings(num_frames, batch=1 if num_frames == 3000 else 2)
    mask = drawn(len(inputs), num_frames)["mask_time_indices"]
    with torch.inference_mode():
        shown, theirs = ours(inputs), oracle(inputs)
        assert_same(shown, theirs)
        hidden, theirs = ours(inputs, mask_time_indices=mask), oracle(inputs, mask_time_indices=mask)
        assert_same(hidden, theirs)
    assert float((hidden.projected_states - shown.projected_states).abs().max()) > 0.1


@pytest.mark.parametrize("family", FAMILIES)
def test_the_shortest_recording_has_a_code(family: str, pairs: Any) -> None:
    """The risk: shapes that collapse where there is one frame."""
    oracle, ours = pairs(family)
    inputs, mask = audio(1, 400), torch.ones(1, 1)
    with torch.inference_mode():
        got, theirs = ours(inputs, mask_time_indices=mask), oracle(inputs, mask_time_indices=mask)
    assert float((got.projected_states - theirs.projected_states).abs().max()) < TOLERANCE
    assert float((got.projected_quantized_states - theirs.projected_quantized_states).abs().max()) < TOLERANCE
    assert float(got.codevector_perplexity) == pytest.approx(2.0)


@pytest.mark.parametrize("family", FAMILIES)
def test_code_vectors_at_inference_are_the_best_of_each_group(family: str, pairs: Any) -> None:
    """The risk: ids that do not name the rows of the checkpoint's code book, or that hear a neighbour."""
    oracle, ours = pairs(family)
    short, long = recordings(20)[0], recordings(50, seed=2)[0]
    batch, mask = padded([short, long])
    with torch.inference_mode():
        ids = ours(batch, mask).codevector_ids
        packed = ours.codevector_ids(Packed.of([short, long])).split()
        for number, one in enumerate((short, long)):
            features = getattr(oracle, ours.backbone_name)(one.unsqueeze(0)).extract_features
            expected = oracle.quantizer.weight_proj(features).view(-1, 2, 10).argmax(dim=-1)
            assert torch.equal(ids[number, : len(expected)], expected)
            assert torch.equal(packed[number], expected)
    assert ids.shape == (2, 50, 2)
    assert bool((ids[0, 20:] == -1).all())
    assert ids[1].unique().numel() > 5


# ---- losses


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("batch", [1, 3])
def test_losses_equal_transformers(family: str, batch: int, pairs: Any) -> None:
    """The risk: another sum, another target, negatives of another recording."""
    oracle, ours = pairs(family)
    inputs = recordings(40, batch)
    chosen = drawn(batch, 40)
    with torch.inference_mode():
        got, theirs = ours(inputs, **chosen), oracle(inputs, **chosen)
    assert_same(got, theirs)
    for name in ("contrastive_loss", "diversity_loss", "loss"):
        assert float(got[name]) == pytest.approx(float(theirs[name]), rel=1e-4), name
    assert list(theirs.keys()) == [name for name in got if name != "codevector_ids"]


def test_negatives_with_the_right_code_vectors_do_not_count(tmp_path: Path) -> None:
    """The risk: of a small code book, most negatives are right, and a loss that counts them can never fall."""
    oracle, ours = pair("stable", tmp_path, num_codevectors_per_group=2)
    inputs, chosen = recordings(60), drawn(1, 60)
    with torch.inference_mode():
        got, theirs = ours(inputs, **chosen), oracle(inputs, **chosen)
    at = chosen["mask_time_indices"][0].nonzero()[:, 0]
    ids = got.codevector_ids[0]
    same = (ids[chosen["sampled_negative_indices"][0, at].long()] == ids[at][:, None]).all(-1)
    assert bool(same.any()) and not bool(same.all())
    assert float(got.loss) == pytest.approx(float(theirs.loss), rel=1e-4)


@settings(max_examples=10, deadline=None)
@given(lengths=st.lists(st.integers(8, 60), min_size=2, max_size=4), seed=st.integers(0, 1000))
@pytest.mark.parametrize("family", FAMILIES)
def test_the_loss_of_a_batch_is_the_sum_of_those_alone(family: str, pairs: Any, lengths: list[int], seed: int) -> None:
    """The risk: negatives counted in the padded batch are looked up among packed frames, and so in a neighbour."""
    _, ours = pairs(family)
    every = [recordings(length, seed=seed + number)[0] for number, length in enumerate(lengths)]
    width = max(lengths)
    mask = torch.zeros(len(every), width, dtype=torch.bool)
    negatives = torch.zeros(len(every), width, QUANTISER["num_negatives"], dtype=torch.long)
    alone = []
    for number, (one, length) in enumerate(zip(every, lengths, strict=True)):
        chosen = drawn(1, length, seed + number)
        mask[number, :length] = chosen["mask_time_indices"][0]
        negatives[number, :length] = chosen["sampled_negative_indices"][0] + number * width
        with torch.inference_mode():
            alone.append(float(ours(one.unsqueeze(0), **chosen).contrastive_loss))
    with torch.inference_mode():
        together = ours(*padded(every), mask, negatives)
    assert float(together.contrastive_loss) == pytest.approx(sum(alone), rel=1e-4)
    assert together.projected_states.shape == (len(every), width, 16)


def test_masks_are_ignored_where_the_config_switches_them_off(tmp_path: Path) -> None:
    """The risk: frames hidden from a model that was told not to be; the loss is still of those frames."""
    oracle, ours = pair("stable", tmp_path, apply_spec_augment=False)
    inputs, chosen = recordings(40), drawn(1, 40)
    with torch.inference_mode():
        got, theirs = ours(inputs, **chosen), oracle(inputs, **chosen)
        assert_same(got, theirs)
        assert torch.equal(got.projected_states, ours(inputs).projected_states)
    assert float(got.loss) == pytest.approx(float(theirs.loss), rel=1e-4)


# ---- training


@pytest.mark.parametrize("family", FAMILIES)
def test_gradients_equal_transformers(family: str, tmp_path: Path) -> None:
    """The risk: a part that never learns, such as the vector that stands for hidden frames."""
    oracle, ours = pair(family, tmp_path)
    ours.requires_grad_(True)
    inputs, chosen = recordings(40), drawn(1, 40)
    for model in (oracle, ours):
        model(inputs, **chosen).loss.backward()
    theirs = {name: weight.grad for name, weight in oracle.named_parameters() if weight.grad is not None}
    largest = max(float(grad.abs().max()) for grad in theirs.values())
    for name, weight in ours.named_parameters():
        if name in theirs:  # but not the positional convolution's, which is one weight here and two there
            expected = theirs[name].view_as(weight)  # a convolution over one frame is a matrix here
            scale = max(float(expected.abs().max()), 1e-2 * largest)  # of keys' biases, all gradients cancel
            assert float((weight.grad - expected).abs().max()) < 1e-4 * scale, name
    assert {f"{ours.backbone_name}.masked_spec_embed", "quantizer.codevectors", "project_q.weight"} <= theirs.keys()


def test_training_draws_code_vectors_and_passes_gradients_on(tmp_path: Path) -> None:
    """The risk: mixtures of code vectors in training, which never occur afterwards; or a choice that cannot learn."""
    _, ours = pair("stable", tmp_path)
    ours.requires_grad_(True).train()
    inputs, chosen = recordings(40), drawn(1, 40)
    torch.manual_seed(0)
    output = ours(inputs, **chosen)
    book = ours.quantizer.codevectors.view(2, 10, -1)  # (G, V, d)
    taken = torch.cat([book[group, output.codevector_ids[0, :, group]] for group in range(2)], dim=1)  # (T, 2 d)
    assert float((ours.project_q(taken) - output.projected_quantized_states[0]).detach().abs().max()) < 1e-5
    output.loss.backward()
    assert all(bool(weight.grad.any()) for weight in ours.quantizer.parameters())
    best = ours.codevector_ids(Packed.of([inputs[0]])).data
    assert not torch.equal(output.codevector_ids[0], best)


def test_a_cold_softmax_has_gradients_only_near_a_tie() -> None:
    """The risk: a temperature that is set and not used, which an annealed training would not show."""
    model = pretraining.Wav2Vec2ForPreTraining(TINY).train()
    ids, typical = {}, {}
    for temperature in (1e-4, 2.0):
        model.set_gumbel_temperature(temperature)
        torch.manual_seed(0)
        features = torch.randn(200, 16).requires_grad_(True)
        codes = model.quantizer(features)
        codes.vectors.sum().backward()
        assert features.grad is not None
        ids[temperature], typical[temperature] = codes.ids, float(features.grad.norm(dim=1).median())
    assert torch.equal(ids[1e-4], ids[2.0]), "what is drawn does not depend on it"
    assert typical[1e-4] < 1e-6 < 1e-3 < typical[2.0]
    with pytest.raises(ValueError, match="temperature"):
        model.set_gumbel_temperature(0)


@pytest.mark.parametrize("family", FAMILIES)
def test_training_reduces_the_loss(family: str, tmp_path: Path) -> None:
    """The risk: signs."""
    _, ours = pair(family, tmp_path)
    ours.requires_grad_(True).train()
    optimiser = torch.optim.SGD(ours.parameters(), lr=0.02)
    inputs, chosen = recordings(40, batch=2), drawn(2, 40)
    losses = []
    for _ in range(8):
        torch.manual_seed(0)
        optimiser.zero_grad()
        loss = ours(inputs, **chosen).loss
        loss.backward()
        nn.utils.clip_grad_norm_(ours.parameters(), 1.0)
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("family", FAMILIES)
def test_what_we_save_transformers_reads(family: str, pairs: Any, tmp_path: Path) -> None:
    """The risk: the vector for hidden frames is lost, and pre-training goes on from a random one."""
    oracle, ours = pairs(family)
    ours.save_pretrained(tmp_path)
    again = type(oracle).from_pretrained(tmp_path).eval()
    inputs, chosen = recordings(40), drawn(1, 40)
    with torch.inference_mode():
        assert_same(again(inputs, **chosen), oracle(inputs, **chosen))


# ---- bad input


def test_a_mask_that_hides_nothing_is_answered(pairs: Any) -> None:
    """The risk: random masks of short recordings are often empty, and a corpus ends at the first of them."""
    oracle, ours = pairs("stable")
    inputs, mask = recordings(20), torch.zeros(1, 20, dtype=torch.bool)
    with torch.inference_mode():
        got, theirs = ours(inputs, mask_time_indices=mask), oracle(inputs, mask_time_indices=mask)
    assert float((got.projected_states - theirs.projected_states).abs().max()) < TOLERANCE
    assert bool(got.codevector_perplexity.isnan()) and got.loss is None


def test_a_checkpoint_that_lacks_the_vector_for_hidden_frames_loads(pairs: Any, tmp_path: Path) -> None:
    """The risk: a checkpoint refused for what matters only where frames are hidden."""
    oracle, _ = pairs("conformer")
    path = saved(oracle, tmp_path) / "model.safetensors"
    weights = load_file(path)
    save_file({name: x for name, x in weights.items() if "masked_spec_embed" not in name}, path)
    ours: Any = pretraining.Wav2Vec2ConformerForPreTraining.from_pretrained(tmp_path)
    inputs, chosen = recordings(40), drawn(1, 40)
    with torch.inference_mode():
        assert_same(ours(inputs), oracle(inputs))
        assert bool(ours(inputs, **chosen).loss.isfinite())
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"mask_time_prob": None}))
    with pytest.raises(CheckpointError, match="mask_time_prob must be a number"):
        pretraining.Wav2Vec2ConformerForPreTraining.from_pretrained(tmp_path)


def test_masks_and_negatives_that_do_not_fit_are_refused(pairs: Any) -> None:
    """The risk: a loss over frames that are not there."""
    _, ours = pairs("stable")
    batch, mask = padded([recordings(20)[0], recordings(40)[0]])
    chosen = drawn(2, 40)
    hidden, negatives = chosen["mask_time_indices"].clone(), chosen["sampled_negative_indices"].clone()
    hidden[0, 20:] = False
    hidden[0, :3] = True
    beyond = negatives.clone()
    beyond[0, 1] = 25  # the first recording has 20 frames
    inside = negatives.clone()
    inside[0] = 5
    bad: list[tuple[str, Any, Any]] = [
        ("hides padding: recording 0 has 20 frames", chosen["mask_time_indices"] | True, None),
        ("hides no frame", torch.zeros(2, 40), negatives),
        ("mask_time_indices are", hidden[:, :39], None),
        ("mask_time_indices are", hidden[:1], None),
        ("need mask_time_indices", None, negatives),
        ("sampled_negative_indices are", hidden, negatives[:, :39]),
        ("sampled_negative_indices are", hidden, negatives[0]),
        ("not there, or are padding", hidden, beyond),
        ("not there, or are padding", hidden, inside + 80),
        ("not there, or are padding", hidden, inside - 80),
    ]
    for message, wrong_mask, wrong_negatives in bad:
        with pytest.raises(ValueError, match=message):
            ours(batch, mask, wrong_mask, wrong_negatives)
    assert bool(ours(batch, mask, hidden, inside).loss.isfinite())


def test_without_a_vector_for_hidden_frames_a_mask_is_refused(tmp_path: Path) -> None:
    """The risk: a checkpoint without that vector cannot be loaded at all, or hides frames behind random numbers."""
    options = {"mask_time_prob": 0.0, "mask_feature_prob": 0.0}
    oracle, ours = pair("stable", tmp_path, **options)
    inputs = recordings(30)
    with torch.inference_mode():
        assert_same(ours(inputs), oracle(inputs))
    with pytest.raises(ValueError, match="masked_spec_embed"):
        ours(inputs, mask_time_indices=torch.ones(1, 30))


@pytest.mark.parametrize("wrong", [{"add_adapter": True}, {"codevector_dim": 13}])
def test_configs_that_no_pre_training_has_are_refused(wrong: dict[str, Any]) -> None:
    """The risk: frames and code vectors that do not pair."""
    with pytest.raises(ValueError, match=next(iter(wrong))):
        pretraining.Wav2Vec2ForPreTraining(replace(TINY, **wrong))


def test_a_checkpoint_without_a_quantiser_is_refused(tmp_path: Path) -> None:
    """The risk: code vectors that are random numbers."""
    with pytest.raises(CheckpointError, match="quantizer"):
        pretraining.Wav2Vec2ForPreTraining.from_pretrained(saved(oracle_model(GROUP), tmp_path))
