"""What a model hears at each step: recordings drawn at random, each in a scene of its own.

The batch of a step depends on the seed and the step alone, so that a training that goes on hears what it would have
heard. Knows nothing of models.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import Dataset

from pipeline.records import SAMPLE_RATE, FloatArray
from pipeline.training import acoustics, lossy
from pipeline.training.material import FULL_SCALE, Material
from pipeline.training.recipe import Recipe

NUM_BABBLERS = 4
# Harder than what is met: from narrow lines a model made 1.3 to 1.8 times the errors; the easy is learnt on the way.
SCENES = acoustics.Conditions(clean=0.2, noise=0.7, reverberation=0.5, telephone=0.2, narrow_band=0.2)
SQUEEZED = 0.4  # share of the recordings that a lossy format has been at
FIRST_SHARE = 0.2  # of the recordings, the shortest: those that the first step draws from


@dataclass(frozen=True)
class Batch:
    """B recordings, one after the other."""

    samples: Tensor  # (N,) fp32
    num_samples: tuple[int, ...]
    labels: Tensor  # (S,) of all texts
    num_labels: tuple[int, ...]

    @property
    def seconds(self) -> float:
        return len(self.samples) / SAMPLE_RATE

    def shared_out(self, num: int) -> list["Batch"]:
        """In so many, about as long as each other, the longest first; some have nothing where recordings are few."""
        if num == 1:
            return [self]
        numbers: list[list[int]] = [[] for _ in range(num)]
        lengths = [0] * num
        for number in sorted(range(len(self.num_samples)), key=lambda number: -self.num_samples[number]):
            least = lengths.index(min(lengths))
            numbers[least].append(number)
            lengths[least] += self.num_samples[number]
        audios = torch.split(self.samples, list(self.num_samples))
        labels = torch.split(self.labels, list(self.num_labels))
        nothing = Batch(self.samples[:0], (), self.labels[:0], ())
        return [
            Batch(
                torch.cat([audios[number] for number in some]),
                tuple(self.num_samples[number] for number in some),
                torch.cat([labels[number] for number in some]),
                tuple(self.num_labels[number] for number in some),
            )
            if some
            else nothing
            for _, some in sorted(zip(lengths, numbers, strict=True), key=lambda pair: -pair[0])
        ]


@dataclass(frozen=True)
class Batches(Dataset[Batch]):
    """The batch of any step."""

    material: Material
    texts: list[npt.NDArray[np.int64]]  # labels of each recording of the material
    chosen: npt.NDArray[np.int64]  # the recordings that are drawn from, by length
    recipe: Recipe
    stride: int = 1  # samples of which each recording is filled up to a multiple, with silence

    def __getitem__(self, step: int) -> Batch:
        rng = np.random.default_rng([self.recipe.seed, step])
        share = min(1.0, FIRST_SHARE + (1 - FIRST_SHARE) * step / max(1, self.recipe.short_first))
        num_drawn_from = max(1, round(share * len(self.chosen)))
        audios: list[FloatArray] = []
        labels: list[npt.NDArray[np.int64]] = []
        left = self.recipe.batch_s * SAMPLE_RATE
        while left > 0:
            number = self.chosen[rng.integers(num_drawn_from)]
            audios.append(self._heard(number, rng))
            labels.append(self.texts[number])
            left -= len(audios[-1])
        return batch_of(audios, labels)

    def _heard(self, number: np.int64, rng: np.random.Generator) -> FloatArray:
        sound = as_float(self.material, number)
        if self.recipe.augment:
            sound = self._in_a_scene(sound, rng)
        return np.pad(sound, (0, -len(sound) % self.stride))

    def _in_a_scene(self, sound: FloatArray, rng: np.random.Generator) -> FloatArray:
        scene = acoustics.draw(SCENES, rng)
        babble = []
        if scene.noise == "babble":
            babble = [as_float(self.material, other) for other in rng.choice(self.chosen, NUM_BABBLERS)]
        sound = acoustics.heard(sound, scene, rng, babble)
        return lossy.squeezed(sound, rng) if rng.random() < SQUEEZED else sound


def batch_of(audios: list[FloatArray], labels: list[npt.NDArray[np.int64]]) -> Batch:
    return Batch(
        torch.from_numpy(np.concatenate(audios)),
        tuple(map(len, audios)),
        torch.from_numpy(np.concatenate(labels)),
        tuple(map(len, labels)),
    )


def as_float(material: Material, number: np.int64) -> FloatArray:
    return material.audio(int(number)).astype(np.float32) / np.float32(FULL_SCALE)
