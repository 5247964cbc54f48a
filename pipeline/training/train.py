"""A training from start to end: material, letters, model, steps, trials on recordings held out, a checkpoint.

Stopped at any time, the same call goes on from the last state. Knows nothing of the command line.
"""

import json
import time
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch.utils.data import DataLoader

from pipeline.config import ReadConfig
from pipeline.errors import StageError, UsageError
from pipeline.lock import Lock
from pipeline.models.locate import portable_name
from pipeline.store import Folder
from pipeline.text.features import FeatureExtractor
from pipeline.text.vocabulary import Vocabulary
from pipeline.training import memory
from pipeline.training.batches import Batches
from pipeline.training.learner import Learner
from pipeline.training.lesson import Lesson
from pipeline.training.material import gather
from pipeline.training.place import Place
from pipeline.training.recipe import MOST_PROCESSES, Recipe
from pipeline.training.start import Start
from pipeline.training.trial import Trial, attempt
from pipeline.training.unbroken import unbroken, unstirred

TRIAL_EVERY, TOLD_EVERY = 250, 10  # steps
SAVED_EVERY_S = 300.0
PREFETCHED = 8  # batches, made by another process


@dataclass(frozen=True)
class Asked:
    """What is to be trained, on what, and where to."""

    source: str
    out: Path
    family: str
    recipe: Recipe
    read: ReadConfig
    start: str = ""  # the checkpoint whose model is to learn more; empty: a new one
    processes: int = 0  # that learn together, on a CPU; 0: as many as are of use
    half: bool = False  # weights of the checkpoint in 16 bits
    overwrite: bool = False  # delete the training that is there

    def that_shape_it(self) -> dict[str, Any]:
        shaping = [key.name for key in fields(self.read) if not key.metadata.get("tuning")]
        read = {f"read.{name}": getattr(self.read, name) for name in shaping}
        return {
            "source": self.source,
            "family": self.family,
            "start": self.start and portable_name(self.start),
            **asdict(self.recipe),
            **read,
        }


@dataclass(frozen=True)
class Stand:
    """How far a training is."""

    step: int
    steps: int
    loss: float  # per label, the mean of the last steps
    heard_s: float  # of audio since the beginning
    speed: float  # seconds of audio a second
    left_s: float


class Teller(Protocol):
    """Whoever wants to know how it goes."""

    def phase(self, text: str) -> None: ...

    def note(self, text: str) -> None: ...

    def stand(self, stand: Stand) -> None: ...


def train(asked: Asked, teller: Teller) -> Trial:
    """All steps that are left; the checkpoint is in place after each trial. What the last trial found."""
    place = Place(asked.out)
    place.check(asked.start)
    num_helpers = helpers_for(asked.processes)
    known = checkpoint_for(asked, place)  # before anything is deleted or read
    place.work.mkdir(parents=True, exist_ok=True)
    with Lock(Folder(str(place.work.absolute()))):
        if asked.overwrite:
            place.clear()
        place.settle(asked.that_shape_it())
        material = gather(asked.source, place.material, asked.read, teller.phase)
        lesson = Lesson.of(material, asked.recipe.seed, known)
        teller.note(str(lesson))
        start = known or Start.new(asked.family, lesson.labels, asked.recipe.seed, asked.out)
        start.settle(asked.out)
        learner = new_learner(start, asked.recipe)
        if place.state.exists():
            learner.load(place.state)
            teller.note(f"going on from step {learner.step:,}")
        training = Training(asked, place, lesson, learner, teller)
        try:
            with learner.helped(num_helpers):
                training.go(start.stride)
        except (KeyboardInterrupt, StageError):
            with unbroken():
                learner.save(place.state)
            raise
        return training.trial()


def checkpoint_for(asked: Asked, place: Place) -> Start | None:
    """What is started from, if anything; one that goes on has all of it in its own place."""
    if not asked.start:
        return None
    goes_on = place.state.exists() and not asked.overwrite
    return Start.of(str(asked.out) if goes_on else asked.start, asked.family, weights=not goes_on)


def helpers_for(num_processes: int) -> int:
    """How many learn along on a CPU: 0 processes are as many as are of use."""
    if torch.cuda.is_available():
        return 0
    num_cores = torch.get_num_threads()
    if not 0 <= num_processes <= max(num_cores, MOST_PROCESSES):
        raise UsageError(f"{num_processes} processes on {num_cores} cores: ask for {max(num_cores, MOST_PROCESSES)}")
    return (num_processes or min(num_cores, MOST_PROCESSES)) - 1


def new_learner(start: Start, recipe: Recipe) -> Learner:
    """At its first step."""
    model = start.model
    model.to("cuda" if torch.cuda.is_available() else "cpu")
    if model.device.type == "cpu":
        memory.keep()
        model.set_attn_implementation("eager")  # of torch's fused kernel the way back is slow: 1.3 times a step
    return Learner(model, FeatureExtractor.from_pretrained(start.directory), recipe)


class Training:
    """The steps of a training, with what they are told to and tried on."""

    def __init__(self, asked: Asked, place: Place, lesson: Lesson, learner: Learner, teller: Teller) -> None:
        self._asked, self._place, self._lesson, self._learner, self._teller = asked, place, lesson, learner, teller
        self._vocabulary = Vocabulary.from_pretrained(asked.out)
        self._losses: list[float] = []  # since the last trial

    def go(self, stride: int) -> None:
        """All steps that are left."""
        learner, steps = self._learner, self._asked.recipe.steps
        began = saved = time.monotonic()
        heard_before = learner.heard_s
        lesson, recipe = self._lesson, self._asked.recipe
        if self._asked.start:
            recipe = replace(recipe, short_first=0)  # which is for a model that knows nothing
        batches = Batches(lesson.material, lesson.texts, lesson.learnt, recipe, stride)
        self._teller.phase("learning")
        for batch in loaded(batches, learner.step, steps):
            with unbroken():
                self._losses.append(learner.learn(batch))
            now = time.monotonic()
            if learner.step % TOLD_EVERY == 0:
                self._tell((learner.heard_s - heard_before) / (now - began))
            if now - saved > SAVED_EVERY_S:
                learner.save(self._place.state)
                saved = now
            if learner.step % TRIAL_EVERY == 0 and learner.step < steps:
                self.trial()

    def trial(self) -> Trial:
        """On what was held out; logged, the state saved and the checkpoint written."""
        learner = self._learner
        with learner.resting():
            trial = attempt(learner, self._lesson.material, self._lesson.held_out, self._vocabulary)
        learner.save(self._place.state)
        learner.model.save_pretrained(self._asked.out, dtype=torch.float16 if self._asked.half else torch.float32)
        loss = float(np.mean(self._losses)) if self._losses else None
        row = {"step": learner.step, "heard_h": learner.heard_s / 3600, "loss": loss, **trial.as_dict()}
        with open(self._place.log, "a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        self._teller.note(f"step {learner.step:,}: {trial}")
        self._losses.clear()
        return trial

    def _tell(self, speed: float) -> None:
        step, recipe = self._learner.step, self._asked.recipe
        loss = float(np.mean(self._losses[-TOLD_EVERY:]))
        left_s = (recipe.steps - step) * recipe.batch_s / speed
        self._teller.stand(Stand(step, recipe.steps, loss, self._learner.heard_s, speed, left_s))


def loaded(batches: Batches, first: int, end: int) -> Any:
    """Batches of the steps, in order, made ahead in a process of their own."""
    return DataLoader(
        batches,
        sampler=range(first, end),
        batch_size=None,
        num_workers=1,
        prefetch_factor=PREFETCHED,
        multiprocessing_context="spawn",
        worker_init_fn=unstirred,
    )
