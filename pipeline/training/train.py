"""A training from start to end: material, letters, model, steps, trials on recordings held out, a checkpoint.

Stopped at any time, the same call goes on from the last state. Knows nothing of the command line.
"""

import json
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import DataLoader

from pipeline import disk
from pipeline.config import ReadConfig
from pipeline.errors import UsageError
from pipeline.jsonfile import read_object
from pipeline.models.auto import AutoModelForCTC
from pipeline.models.backbone import SampleBackbone
from pipeline.models.ctc import ForCTC
from pipeline.progress import hours
from pipeline.text.features import FeatureExtractor
from pipeline.text.vocabulary import Vocabulary
from pipeline.training import filters, letters
from pipeline.training.batches import Batches
from pipeline.training.learner import Learner
from pipeline.training.material import TABLE, Material, gather
from pipeline.training.recipe import EXTRACTORS, SHAPES, Recipe
from pipeline.training.trial import Trial, attempt

Numbers = npt.NDArray[np.int64]

HELD_OUT_SHARE, MOST_HELD_OUT = 0.02, 100
TRIAL_EVERY, TOLD_EVERY = 250, 10  # steps
SAVED_EVERY_S = 300.0
PREFETCHED = 8  # batches, made by another process
MAY_CHANGE = ("steps", "decay_share")
WORK, SETTINGS, STATE, LOG, MATERIAL = "training", "settings.json", "state.pt", "log.jsonl", "material"
CHECKPOINT = ("config.json", "model.safetensors", "preprocessor_config.json", "tokenizer_config.json", "vocab.json")


@dataclass(frozen=True)
class Asked:
    """What is to be trained, on what, and where to."""

    source: str
    out: Path
    family: str
    recipe: Recipe
    read: ReadConfig
    half: bool = False  # weights of the checkpoint in 16 bits

    @property
    def work(self) -> Path:
        """All that is there beside the checkpoint."""
        return self.out / WORK


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


@dataclass(frozen=True)
class Lesson:
    """What is learnt, and what is tried on."""

    material: Material
    labels: tuple[str, ...]
    texts: list[Numbers]  # labels of each recording
    learnt: Numbers  # recordings, the shortest first
    held_out: Numbers


def train(asked: Asked, teller: Teller) -> Trial:
    """All steps that are left; the checkpoint is in place after each trial. What the last trial found."""
    torch.manual_seed(asked.recipe.seed)
    _check_settings(asked)
    material = gather(asked.source, asked.work / MATERIAL, asked.read, teller.phase)
    lesson = _lesson(material, asked)
    teller.note(_told(lesson))
    learner = _learner(asked, lesson)
    vocabulary = Vocabulary.from_pretrained(asked.out)
    if (asked.work / STATE).exists():
        learner.load(asked.work / STATE)
        teller.note(f"going on from step {learner.step:,}")
    try:
        return _steps(asked, lesson, learner, vocabulary, teller)
    except KeyboardInterrupt:
        with _unbroken():
            learner.save(asked.work / STATE)
        raise


def clear(out: Path) -> None:
    """Delete a training and its checkpoint, whose letters may be others; what else is there stays."""
    _check_place(out)
    if (out / WORK).exists():
        for name in CHECKPOINT:
            (out / name).unlink(missing_ok=True)
        shutil.rmtree(out / WORK)


@contextmanager
def _unbroken() -> Iterator[None]:
    """Signals wait for the end: between the beginning and the end of a step there is no state to go on from."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    waiting: list[int] = []
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number in before:
        signal.signal(number, lambda number, frame: waiting.append(number))
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    for late in waiting:
        signal.raise_signal(late)


def _steps(asked: Asked, lesson: Lesson, learner: Learner, vocabulary: Vocabulary, teller: Teller) -> Trial:
    recipe = asked.recipe
    began = saved = time.monotonic()
    heard_before, losses = learner.heard_s, []
    batches = Batches(lesson.material, lesson.texts, lesson.learnt, recipe)
    teller.phase("learning")
    for batch in _loaded(batches, learner.step, recipe.steps):
        with _unbroken():
            losses.append(learner.learn(batch))
        now = time.monotonic()
        speed = (learner.heard_s - heard_before) / (now - began)
        if learner.step % TOLD_EVERY == 0:
            left_s = (recipe.steps - learner.step) * recipe.batch_s / speed
            loss = float(np.mean(losses[-TOLD_EVERY:]))
            teller.stand(Stand(learner.step, recipe.steps, loss, learner.heard_s, speed, left_s))
        if now - saved > SAVED_EVERY_S:
            learner.save(asked.work / STATE)
            saved = now
        if learner.step % TRIAL_EVERY == 0 and learner.step < recipe.steps:
            _try(asked, lesson, learner, vocabulary, teller, losses)
    return _try(asked, lesson, learner, vocabulary, teller, losses)


def _try(
    asked: Asked, lesson: Lesson, learner: Learner, vocabulary: Vocabulary, teller: Teller, losses: list[float]
) -> Trial:
    """On what was held out; logged, and the checkpoint written."""
    trial = attempt(learner, lesson.material, lesson.held_out, vocabulary)
    learner.save(asked.work / STATE)
    learner.model.save_pretrained(asked.out, dtype=torch.float16 if asked.half else torch.float32)
    row = {"step": learner.step, "heard_h": learner.heard_s / 3600, "loss": float(np.mean(losses)) if losses else None}
    with open(asked.work / LOG, "a", encoding="utf-8") as file:
        file.write(json.dumps({**row, **trial.as_dict()}) + "\n")
    teller.note(f"step {learner.step:,}: {trial}")
    losses.clear()
    return trial


def _loaded(batches: Batches, first: int, end: int) -> Any:
    """Batches of the steps, in order, made ahead in a process of their own."""
    return DataLoader(
        batches,
        sampler=range(first, end),
        batch_size=None,
        num_workers=1,
        prefetch_factor=PREFETCHED,
        multiprocessing_context="spawn",
        worker_init_fn=_unstirred,
    )


def _unstirred(worker: int) -> None:
    """What ends a whole group of processes is for the one that trains: it lets this one go when it has saved."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


def _check_place(out: Path) -> None:
    """That nothing is there which is not ours."""
    work = out / WORK
    if work.is_dir() and any(work.iterdir()):
        if not (work / SETTINGS).exists():
            raise UsageError(f"{work} is not of a training; name another directory")
    elif found := [name for name in CHECKPOINT if (out / name).exists()]:
        raise UsageError(f"{out} holds another checkpoint ({found[0]}), of no training here; name another directory")


def _check_settings(asked: Asked) -> None:
    """A training goes on as it began: only how long it takes may change."""
    _check_place(asked.out)
    path = asked.work / SETTINGS
    now = {"source": asked.source, "family": asked.family, **asdict(asked.recipe)}
    if path.exists() and (asked.work / MATERIAL / TABLE).exists():  # else nothing is learnt or even read as yet
        then = read_object(path)
        changed = [name for name in now if name not in MAY_CHANGE and then.get(name) != now[name]]
        if changed:
            told = ", ".join(f"{name} was {then.get(name)}, is {now[name]}" for name in changed)
            raise UsageError(f"{asked.out} holds a training that began otherwise ({told}); --overwrite starts afresh")
    disk.publish(str(path), f"{json.dumps(now, indent=1)}\n".encode())


def _learner(asked: Asked, lesson: Lesson) -> Learner:
    """With a new model, whose checkpoint directory is complete but for the weights."""
    shape = {"model_type": asked.family, **SHAPES[asked.family]}
    shape |= {"vocab_size": len(lesson.labels), "pad_token_id": 0}
    config = AutoModelForCTC.class_of(asked.family, "the family asked for").config_class.from_dict(shape)
    model: ForCTC = AutoModelForCTC.from_config(config)
    if isinstance(model.backbone, SampleBackbone):
        filters.fill(model.backbone.feature_extractor.layers[0].conv)
    (asked.out / "preprocessor_config.json").write_text(json.dumps(EXTRACTORS[asked.family], indent=1) + "\n")
    letters.write(asked.out, lesson.labels)
    model.to("cuda" if torch.cuda.is_available() else "cpu")
    if model.device.type == "cpu":  # of torch's fused kernel the way back is slow: a step takes 1.3 times as long
        model.set_attn_implementation("eager")
    return Learner(model, FeatureExtractor.from_pretrained(asked.out), asked.recipe)


def _told(lesson: Lesson) -> str:
    left_out = sum(lesson.material.left_out.values())
    told = f"{hours(lesson.material.seconds)} in {len(lesson.material):,} recordings, {len(lesson.held_out):,} held out"
    reasons = "; ".join(f"{num:,} {reason}" for reason, num in lesson.material.left_out.items())
    told += f"; {left_out:,} left out ({reasons})" if left_out else ""
    too_short = len(lesson.material) - len(lesson.learnt) - len(lesson.held_out)
    return told + (f"; {too_short:,} too short for their texts" if too_short else "")


def _lesson(material: Material, asked: Asked) -> Lesson:
    """Without the recordings that are too short for their texts; some are held out, whatever their source."""
    spelled = [letters.spelled(text) for text in material.texts]
    labels = letters.labels_of(spelled)
    texts = [letters.numbers(text, labels) for text in spelled]
    frame = 320  # samples, in every shape
    least = np.array([letters.least_frames(text) * frame for text in texts])
    fit = np.flatnonzero((least > 0) & (least < material.lengths))
    shuffled = np.random.default_rng(asked.recipe.seed).permutation(fit)
    num_held_out = min(MOST_HELD_OUT, max(1, round(HELD_OUT_SHARE * len(fit))))
    if len(fit) < 2:
        raise UsageError(f"{asked.source}: only {len(fit)} of its recordings can be learnt from")
    learnt = shuffled[num_held_out:]
    return Lesson(material, labels, texts, learnt[np.argsort(material.lengths[learnt])], shuffled[:num_held_out])
