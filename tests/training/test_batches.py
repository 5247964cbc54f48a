"""A batch depends on its seed and its step alone, and on no recording that is held out."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from pipeline.config import ReadConfig
from pipeline.training import acoustics, batches
from pipeline.training.batches import Batches, as_float
from pipeline.training.material import gather
from pipeline.training.recipe import Recipe
from tests.training.tones import write_corpus

RECIPE = Recipe(batch_s=4.0, short_first=100, seed=3)


@pytest.fixture(scope="module")
def material(tmp_path_factory):
    directory = tmp_path_factory.mktemp("batches")
    corpus = write_corpus(directory / "corpus", num_recordings=20)
    return gather(str(corpus), directory / "material", ReadConfig(), lambda text: None)


@pytest.fixture
def made(material):
    """Of all recordings but the first four, by length; the text of each is its number."""
    chosen = 4 + np.argsort(material.lengths[4:])
    return Batches(material, [np.array([number]) for number in range(20)], chosen, RECIPE)


def test_a_step_is_the_same_whatever_came_before_it(made, material):
    """A training that goes on elsewhere must hear what it would have heard."""
    for _ in range(3):
        made[5]
    other = Batches(material, made.texts, made.chosen, replace(RECIPE))[6]
    again = made[6]
    assert torch.equal(again.samples, other.samples) and torch.equal(again.labels, other.labels)
    assert (again.num_samples, again.num_labels) == (other.num_samples, other.num_labels)


def test_steps_and_seeds_differ(made):
    reseeded = replace(made, recipe=replace(RECIPE, seed=4))
    assert not torch.equal(made[200].labels, made[201].labels)
    assert not torch.equal(made[200].labels, reseeded[200].labels)


def test_a_batch_is_as_long_as_is_asked_for(made, material):
    longest_s = material.lengths.max() / 16_000 / 0.9  # slowed down
    for step in range(0, 300, 30):
        batch = made[step]
        assert 4.0 <= batch.seconds < 4.0 + longest_s
        assert sum(batch.num_samples) == len(batch.samples) and sum(batch.num_labels) == len(batch.labels)
        assert batch.samples.dtype == torch.float32 and batch.labels.dtype == torch.int64


def test_short_recordings_come_first_and_then_all(made):
    heard_at = {step: set().union(*(made[some].labels.tolist() for some in range(step, step + 3))) for step in (0, 100)}
    shortest = {int(number) for number in made.chosen[:4]}  # a fifth of sixteen, and a little more with each step
    assert heard_at[0] <= shortest
    later = set().union(*(made[step].labels.tolist() for step in range(100, 200)))
    assert later == {int(number) for number in made.chosen}


def test_without_augmentation_a_recording_is_as_it_is(made, material):
    batch = replace(made, recipe=replace(RECIPE, augment=False), stride=8000)[50]
    assert not any(length % 8000 for length in batch.num_samples)
    for number, sound in zip(batch.labels.numpy(), batch.samples.split(batch.num_samples), strict=True):
        expected = as_float(material, number)
        np.testing.assert_array_equal(sound[: len(expected)].numpy(), expected)
        assert not sound[len(expected) :].any() and len(sound) < len(expected) + 8000


def test_nothing_held_out_is_heard_even_in_the_background(made, material, monkeypatch):
    babblers: list[np.ndarray] = []
    scene = acoustics.Scene(snr_db=5.0, noise="babble")
    monkeypatch.setattr(acoustics, "draw", lambda conditions, rng: scene)
    monkeypatch.setattr(acoustics, "heard", lambda sound, scene, rng, babble: babblers.extend(babble) or sound)
    labels = set().union(*(made[step].labels.tolist() for step in range(100, 130)))
    held_out = [as_float(material, np.int64(number)) for number in range(4)]
    assert len(babblers) > 100 and batches.NUM_BABBLERS > 0
    assert not labels & {0, 1, 2, 3}
    assert not any(np.array_equal(one, other) for one in babblers for other in held_out)


@pytest.mark.parametrize("num", [1, 2, 3, 30])
def test_a_batch_is_shared_out_whole_and_evenly(num, made):
    batch = made[200]
    shares = batch.shared_out(num)
    assert len(shares) == num and shares[0].num_samples
    parts = [
        (sound.tolist(), text.tolist())
        for share in [batch, *shares]
        for sound, text in zip(
            share.samples.split(share.num_samples), share.labels.split(share.num_labels), strict=True
        )
    ]
    whole, shared = parts[: len(batch.num_samples)], parts[len(batch.num_samples) :]
    assert sorted(shared) == sorted(whole)
    seconds = [share.seconds for share in shares]
    assert seconds == sorted(seconds, reverse=True)
    assert seconds[0] - seconds[-1] <= max(batch.num_samples) / 16_000
