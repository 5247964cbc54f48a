"""The loss is transformers' own, a step changes what it should, and a state on disk is whole and all there is."""

import json
import resource
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoFeatureExtractor, AutoModelForCTC

from pipeline import models
from pipeline.config import ReadConfig
from pipeline.errors import UsageError
from pipeline.text.features import FeatureExtractor
from pipeline.training import loss as losses
from pipeline.training.batches import Batch, Batches, batch_of
from pipeline.training.learner import Learner
from pipeline.training.material import gather
from pipeline.training.recipe import EXTRACTORS, SHAPES, Recipe
from tests.training.tones import HERTZ, small_shapes, spoken, write_corpus

RECIPE = Recipe(steps=100, batch_s=4.0, learning_rate=0.004, warm_up=10, short_first=1)
NUM_LABELS = 5 + len(HERTZ)


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def learner_of(family: str, recipe: Recipe = RECIPE) -> Learner:
    """A small new one."""
    with pytest.MonkeyPatch.context() as patch:
        small_shapes(patch)
        shape = {"model_type": family, **SHAPES[family], "vocab_size": NUM_LABELS, "pad_token_id": 0}
    torch.manual_seed(0)
    model = models.AutoModelForCTC.from_config(
        models.AutoModelForCTC.class_of(family, "a test").config_class.from_dict(shape)
    )
    return Learner(model, FeatureExtractor.from_settings(EXTRACTORS[family]), recipe)


@pytest.fixture(scope="module")
def batches(tmp_path_factory):
    directory = tmp_path_factory.mktemp("learner")
    corpus = write_corpus(directory / "corpus", num_recordings=12)
    material = gather(str(corpus), directory / "material", ReadConfig(), lambda text: None)
    texts = [np.array([4 if letter == " " else 5 + "abcd".index(letter) for letter in text]) for text in material.texts]
    return Batches(material, texts, np.argsort(material.lengths), RECIPE)


def loss_per_label(learner: Learner, batch: Batch) -> torch.Tensor:
    return losses.loss_of(batch, learner.model, learner.features) / len(batch.labels)


def weights_of(learner: Learner) -> dict[str, torch.Tensor]:
    return {name: weight.clone() for name, weight in learner.model.state_dict().items()}


def are_equal(some: dict[str, torch.Tensor], others: dict[str, torch.Tensor]) -> bool:
    return some.keys() == others.keys() and all(torch.equal(some[name], others[name]) for name in some)


@pytest.mark.parametrize("family", SHAPES)
def test_the_loss_is_that_of_transformers(family, batches, tmp_path, monkeypatch):
    """Theirs is of a padded batch, whose sum over all texts is here told per label."""
    monkeypatch.setattr(losses, "_has_bf16", lambda device: False)
    learner, batch = learner_of(family), batches[50]
    if family == "wav2vec2-conformer":  # in theirs, batch norms count the padding in
        sound, text = batch.samples[: batch.num_samples[0]].numpy(), batch.labels[: batch.num_labels[0]].numpy()
        batch = batch_of([sound, sound], [text, text])
    ours = loss_per_label(learner, batch).item()
    learner.model.save_pretrained(tmp_path)
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(EXTRACTORS[family]))
    theirs = AutoModelForCTC.from_pretrained(tmp_path, ctc_loss_reduction="sum", dtype=torch.float32)
    for name, module in theirs.named_modules():
        module.train(name.endswith("batch_norm"))  # by the batch, as ours while it learns; but without dropout
    inputs = AutoFeatureExtractor.from_pretrained(tmp_path)(
        [samples.numpy() for samples in batch.samples.split(batch.num_samples)],
        sampling_rate=16_000,
        padding=True,
        return_tensors="pt",
    )
    labels = torch.nn.utils.rnn.pad_sequence(batch.labels.split(batch.num_labels), batch_first=True, padding_value=-100)
    with torch.no_grad():
        total = theirs(**inputs, labels=labels).loss.item()
    assert ours == pytest.approx(total / len(batch.labels), rel=1e-4)


@pytest.mark.parametrize("family", SHAPES)
def test_bf16_is_for_products_alone(family, batches, monkeypatch):
    """A softmax over hundreds of frames in 8 bits of precision would drown the loss in rounding."""
    learner, found = learner_of(family), {}
    for has_bf16 in (False, True):
        monkeypatch.setattr(losses, "_has_bf16", lambda device, has_bf16=has_bf16: has_bf16)
        found[has_bf16] = loss_per_label(learner, batches[50])
        logits = losses.logits_of(batches[50], learner.model, learner.features)
        assert logits.data.dtype == found[has_bf16].dtype == torch.float32
    assert found[True].item() == pytest.approx(found[False].item(), rel=0.02)
    assert found[True].item() != found[False].item()
    assert all(weight.dtype == torch.float32 for weight in learner.model.parameters())


@pytest.mark.parametrize("family", SHAPES)
def test_going_on_from_disk_is_bit_for_bit_as_never_stopped(family, batches, tmp_path):
    """Momentum, learning rate, batch norms: all that is not saved would show here."""
    straight, stopped = learner_of(family), learner_of(family)
    for step in range(4):
        straight.learn(batches[step])
    for step in range(2):
        stopped.learn(batches[step])
    stopped.save(tmp_path / "state.pt")
    torch.manual_seed(7)
    other = learner_of(family)
    other.load(tmp_path / "state.pt")
    assert (other.step, other.heard_s) == (2, stopped.heard_s)
    for step in range(2, 4):
        other.learn(batches[step])
    assert are_equal(weights_of(straight), weights_of(other))
    assert straight.heard_s == other.heard_s > 0


def test_decay_is_for_matrices_alone(batches):
    """Here so strong that a step leaves nothing of what decays but what the step itself adds: the learning rate."""
    recipe = Recipe(steps=10, learning_rate=0.01, warm_up=1, decay_share=0.1, weight_decay=100.0)
    learner = learner_of("wav2vec2", recipe)
    before = weights_of(learner)
    learner.learn(batches[0])
    for name, weight in learner.model.named_parameters():
        kept = weight if weight.ndim > 1 else weight - before[name]
        assert kept.abs().max() <= 0.0101, name
    norms = [weight for name, weight in learner.model.named_parameters() if "norm" in name and name.endswith("weight")]
    assert norms and all(weight.min() > 0.9 for weight in norms)


def test_a_text_that_does_not_fit_teaches_nothing_and_spoils_nothing(batches):
    """Speed may leave a recording fewer frames than its text has letters."""
    sound = spoken(["AB"], np.random.default_rng(0)).astype(np.float32) / 32767
    good, long = np.array([5, 6]), np.full(60, 5)
    learner, both = learner_of("wav2vec2-bert"), batch_of([sound, sound], [good, long])
    alone = loss_per_label(learner, batch_of([sound], [good])).item() * 2
    assert loss_per_label(learner, both).item() * 62 == pytest.approx(alone, rel=0.01)
    learner.learn(both)
    assert all(weight.isfinite().all() for weight in learner.model.parameters())


def test_a_batch_that_gives_no_numbers_changes_no_weights(batches):
    learner = learner_of("wav2vec2")
    learner.learn(batches[0])
    before = weights_of(learner)
    odd = batches[1]
    learner.learn(Batch(odd.samples * torch.inf, odd.num_samples, odd.labels, odd.num_labels))
    assert are_equal(before, weights_of(learner)) and learner.step == 2
    assert np.isfinite(learner.learn(batches[2])) and not are_equal(before, weights_of(learner))


@pytest.mark.parametrize("share", [0.0, 0.3, 0.999])
def test_a_state_cut_short_is_refused(share, batches, tmp_path):
    learner, path = learner_of("wav2vec2"), tmp_path / "state.pt"
    learner.learn(batches[0])
    learner.save(path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(UsageError, match=r"state\.pt is no state of this training .*--overwrite") as told:
        learner.load(path)
    assert "\n" not in str(told.value)


def test_states_of_others_are_refused(batches, tmp_path):
    path = tmp_path / "state.pt"
    learner_of("wav2vec2-conformer").save(path)
    with pytest.raises(UsageError, match="no state of this training"):
        learner_of("wav2vec2").load(path)
    for other in ([1, 2], {"model": 3}, {}):
        torch.save(other, path)
        with pytest.raises(UsageError, match="no state of this training"):
            learner_of("wav2vec2").load(path)


def test_a_full_disk_leaves_the_last_state_whole(batches, tmp_path):
    """And is an OSError, of which the command says in a line what to do; not torch's own about its container."""
    learner, path = learner_of("wav2vec2"), tmp_path / "state.pt"
    learner.learn(batches[0])
    learner.save(path)
    before = path.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) // 2, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            learner.save(path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_bytes() == before
    assert [one.name for one in Path(tmp_path).iterdir()] == ["state.pt"]  # no half that fills the disk further
