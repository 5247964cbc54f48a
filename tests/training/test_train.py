"""A training learns, goes on where it was stopped, writes what transformers opens, and harms nothing that was there."""

import json
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from transformers import AutoModelForCTC as TheirModel
from transformers import AutoProcessor

from pipeline.config import ReadConfig
from pipeline.errors import UsageError
from pipeline.lock import Lock
from pipeline.models import AutoModelForCTC
from pipeline.store import Folder
from pipeline.training import train as training
from pipeline.training.batches import Batches
from pipeline.training.lesson import Lesson
from pipeline.training.recipe import SHAPES, Recipe
from pipeline.training.train import Asked, Stand, train
from pipeline.training.trial import Trial
from tests.training.tones import small_shapes, spoken, write_corpus, write_manifest

RECIPE = Recipe(steps=6, batch_s=4.0, learning_rate=0.004, warm_up=2, short_first=2)


@pytest.fixture(autouse=True, scope="module")
def quick() -> Iterator[None]:
    """Small models, one thread, and batches made here: a process for them takes two seconds to start."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        small_shapes(patch)
        patch.setattr(training, "loaded", in_order)
        patch.setattr(training, "TOLD_EVERY", 1)
        yield
    torch.set_num_threads(before)


def in_order(batches: Batches, first: int, end: int) -> Any:
    return (batches[step] for step in range(first, end))


class Listener:
    """Keeps what it is told, and may stop the training at a step, as Ctrl-C would."""

    def __init__(self, stop_at: int = -1) -> None:
        self.stop_at = stop_at
        self.notes: list[str] = []
        self.stands: list[Stand] = []

    def phase(self, text: str) -> None:
        pass

    def note(self, text: str) -> None:
        self.notes.append(text)

    def stand(self, stand: Stand) -> None:
        self.stands.append(stand)
        if stand.step == self.stop_at:
            raise KeyboardInterrupt


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_corpus(tmp_path_factory.mktemp("corpus"), num_recordings=12)


def asked_of(
    corpus: Path, out: Path, family: str = "wav2vec2", recipe: Recipe = RECIPE, half: bool = False, start: str = ""
) -> Asked:
    return Asked(str(corpus), out, family, recipe, ReadConfig(), start=start, half=half)


def test_it_learns_a_language_of_tones(tmp_path):
    """That of recordings which it has never heard, too."""
    corpus = write_corpus(tmp_path / "corpus", num_recordings=40)
    recipe = Recipe(100, 6.0, 0.004, warm_up=10, decay_share=0.25, short_first=10, augment=False)
    listener = Listener()
    trial = train(asked_of(corpus, tmp_path / "out", "wav2vec2-bert", recipe), listener)
    losses = [stand.loss for stand in listener.stands]
    assert np.mean(losses[-5:]) < 0.05 * np.mean(losses[:5])
    assert trial.characters.rate is not None and trial.characters.rate <= 0.2


@pytest.mark.parametrize("family", SHAPES)
def test_every_family_learns_to_say_what_it_was_taught(family, corpus, tmp_path):
    recipe = Recipe(steps=40, batch_s=3.0, learning_rate=0.004, warm_up=10, short_first=40, augment=False)
    listener = Listener()
    train(asked_of(corpus, tmp_path, family, recipe), listener)
    losses = [stand.loss for stand in listener.stands]
    assert np.mean(losses[-5:]) < 0.4 * np.mean(losses[:5])


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("family", SHAPES)
def test_the_checkpoint_is_one_that_transformers_opens_with_equal_logits(family, half, corpus, tmp_path):
    train(asked_of(corpus, tmp_path, family, replace(RECIPE, steps=3), half), Listener())
    theirs = TheirModel.from_pretrained(tmp_path, dtype=torch.float32)
    processor = AutoProcessor.from_pretrained(tmp_path)
    ours = AutoModelForCTC.from_pretrained(tmp_path)
    sound = spoken(["CAD", "AB"], np.random.default_rng(1)) / 32768
    inputs = processor(sound, sampling_rate=16_000, return_tensors="pt")
    with torch.inference_mode():
        found, expected = ours(**inputs).logits, theirs(**inputs).logits
    assert expected.shape[1] - found.shape[1] == (family == "wav2vec2-bert")  # theirs has a frame of padding
    torch.testing.assert_close(found, expected[:, : found.shape[1]], rtol=1e-4, atol=1e-4)
    assert json.loads((tmp_path / "config.json").read_text())["dtype"] == ("float16" if half else "float32")
    stored = training_weights(tmp_path)
    numbers = {weight.dtype for name, weight in stored.items() if not name.endswith("num_batches_tracked")}
    assert numbers == {torch.float16 if half else torch.float32}
    counters = [weight for name, weight in stored.items() if name.endswith("num_batches_tracked")]
    assert all(counter.dtype == torch.int64 and counter == 3 for counter in counters)
    assert bool(counters) == (family == "wav2vec2-conformer")


def training_weights(directory: Path) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    weights: dict[str, torch.Tensor] = load_file(directory / "model.safetensors")
    return weights


@pytest.mark.parametrize("family", ["wav2vec2", "wav2vec2-conformer"])
def test_a_training_that_was_stopped_twice_ends_as_one_that_was_not(family, corpus, tmp_path, monkeypatch):
    """To the last bit, with trials in between, in other places than where it was stopped."""
    monkeypatch.setattr(training, "TRIAL_EVERY", 2)
    train(asked_of(corpus, tmp_path / "straight", family), Listener())
    for stop_at in (3, 4):
        with pytest.raises(KeyboardInterrupt):
            train(asked_of(corpus, tmp_path / "stopped", family), Listener(stop_at))
    last = Listener()
    train(asked_of(corpus, tmp_path / "stopped", family), last)
    assert [stand.step for stand in last.stands] == [5, 6]
    assert any("going on from step 4" in note for note in last.notes)
    straight, stopped = (tmp_path / name / "model.safetensors" for name in ("straight", "stopped"))
    assert straight.read_bytes() == stopped.read_bytes()


def test_a_signal_in_the_midst_of_a_step_waits_for_its_end(corpus, tmp_path, monkeypatch):
    """Half a step saved would be learnt from twice: here the signal comes just before the weights change."""
    train(asked_of(corpus, tmp_path / "straight"), Listener())
    step = torch.optim.AdamW.step

    def interrupted(optimiser: torch.optim.AdamW, *arguments: Any) -> Any:
        signal.raise_signal(signal.SIGINT)
        return step(optimiser, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(torch.optim.AdamW, "step", interrupted)
        with pytest.raises(KeyboardInterrupt):
            train(asked_of(corpus, tmp_path / "stopped"), Listener())
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    last = Listener()
    train(asked_of(corpus, tmp_path / "stopped"), last)
    assert last.stands[0].step == 2
    straight, stopped = (tmp_path / name / "model.safetensors" for name in ("straight", "stopped"))
    assert straight.read_bytes() == stopped.read_bytes()


def test_a_finished_training_can_be_asked_again_for_less_and_for_more(corpus, tmp_path):
    first = train(asked_of(corpus, tmp_path), Listener())
    weights = (tmp_path / "model.safetensors").read_bytes()
    for steps in (6, 2):
        listener = Listener()
        again = train(asked_of(corpus, tmp_path, recipe=replace(RECIPE, steps=steps)), listener)
        assert again == first and not listener.stands
        assert (tmp_path / "model.safetensors").read_bytes() == weights
    more = Listener()
    train(asked_of(corpus, tmp_path, recipe=replace(RECIPE, steps=8)), more)
    assert [stand.step for stand in more.stands] == [7, 8]
    log = [json.loads(line) for line in (tmp_path / "training" / "log.jsonl").read_text().splitlines()]
    assert [row["step"] for row in log] == [6, 6, 6, 8]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"family": "wav2vec2-bert"}, "family was wav2vec2, is wav2vec2-bert"),
        ({"source": "elsewhere"}, "is elsewhere"),
        ({"recipe": replace(RECIPE, seed=1)}, "seed was 0, is 1"),
        ({"recipe": replace(RECIPE, augment=False)}, "augment was True, is False"),
    ],
)
def test_another_training_in_the_same_place_is_refused(change, told, corpus, tmp_path):
    asked = asked_of(corpus, tmp_path, recipe=replace(RECIPE, steps=1))
    train(asked, Listener())
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(UsageError, match=f"{told}.*--overwrite"):
        train(replace(asked, **change), Listener())
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_a_wrong_name_of_the_source_can_be_set_right(corpus, tmp_path):
    """Nothing is learnt as yet, so that the right command is not another training."""
    with pytest.raises(UsageError, match="no such file"):
        train(asked_of(corpus.with_name("manfest.jsonl"), tmp_path), Listener())
    train(asked_of(corpus, tmp_path, recipe=replace(RECIPE, steps=1)), Listener())


@pytest.mark.parametrize("name", ["config.json", "vocab.json", "model.safetensors"])
def test_a_checkpoint_of_something_else_is_not_touched(name, corpus, tmp_path):
    (tmp_path / name).write_text("of somebody's months")
    for overwrite in (False, True):
        with pytest.raises(UsageError, match=f"holds another checkpoint.*{name}"):
            train(replace(asked_of(corpus, tmp_path), overwrite=overwrite), Listener())
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [(name, "of somebody's months")]


def test_a_folder_that_happens_to_have_our_name_is_not_deleted(corpus, tmp_path):
    (tmp_path / "training").mkdir()
    (tmp_path / "training" / "speech.wav").write_text("of somebody")
    for overwrite in (False, True):
        with pytest.raises(UsageError, match="training is not of a training"):
            train(replace(asked_of(corpus, tmp_path), overwrite=overwrite), Listener())
    assert (tmp_path / "training" / "speech.wav").read_text() == "of somebody"


def test_overwriting_takes_the_checkpoint_with_it_and_leaves_the_rest(corpus, tmp_path):
    """Its weights would be of other letters than the vocabulary that the next training writes first."""
    asked = asked_of(corpus, tmp_path, recipe=replace(RECIPE, steps=1))
    train(asked, Listener())
    (tmp_path / "notes.txt").write_text("mine")
    another = replace(asked, source=str(corpus.with_name("nothing.jsonl")), overwrite=True)
    with pytest.raises(UsageError, match="no such file"):
        train(another, Listener())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["notes.txt", "training"]
    assert {path.name for path in (tmp_path / "training").iterdir()} <= {"settings.json", "material"}
    train(replace(asked, recipe=replace(asked.recipe, seed=4), overwrite=True), Listener())


def test_two_trainings_do_not_share_a_place(corpus, tmp_path):
    asked = asked_of(corpus, tmp_path, recipe=replace(RECIPE, steps=1))
    train(asked, Listener())
    before = (tmp_path / "model.safetensors").read_bytes()
    with Lock(Folder(str(tmp_path / "training"))), pytest.raises(UsageError, match="another driver"):
        train(replace(asked, overwrite=True), Listener())
    assert (tmp_path / "model.safetensors").read_bytes() == before


def test_a_setting_of_reading_is_part_of_what_a_training_is(corpus, tmp_path):
    """With another limit the samples would be those of the first call all the same, and nobody would know."""
    asked = asked_of(corpus, tmp_path, recipe=replace(RECIPE, steps=1))
    train(asked, Listener())
    with pytest.raises(UsageError, match=r"read.limit was None, is 3.*--overwrite"):
        train(replace(asked, read=ReadConfig(limit=3)), Listener())


def test_what_is_held_out_is_never_learnt_from_and_stays_held_out(corpus, tmp_path):
    asked = asked_of(corpus, tmp_path)
    material = training.gather(asked.source, asked.out, asked.read, lambda text: None)
    lessons = [Lesson.of(material, asked.recipe.seed) for _ in range(2)]
    held_out, learnt = set(lessons[0].held_out.tolist()), lessons[0].learnt.tolist()
    assert held_out and not held_out & set(learnt)
    assert held_out | set(learnt) == set(range(len(material)))
    assert held_out == set(lessons[1].held_out.tolist())
    assert material.lengths[learnt].tolist() == sorted(material.lengths[learnt])


def test_texts_longer_than_their_recordings_are_left_out_and_told(tmp_path):
    rows = []
    for number in range(4):
        soundfile.write(tmp_path / f"{number}.wav", spoken(["AB"], np.random.default_rng(number)), 16_000)
        rows.append({"audio_filepath": f"{number}.wav", "text": "ab" if number else "a text of somebody else " * 9})
    listener = Listener()
    train(asked_of(write_manifest(tmp_path, rows), tmp_path / "out", recipe=replace(RECIPE, steps=1)), listener)
    assert listener.notes[0].endswith("in 4 recordings, 1 held out; 1 too short for their texts")


@pytest.mark.parametrize(
    ("texts", "told"),
    [
        (["ab"], "only 1 of its recordings can be learnt from"),
        ([None, ""], "nothing in it to learn from: 2 without a text"),
        (["...", "?!"], "0 different letters"),
        (["ab" * 500, "ab" * 500], "only 0 of its recordings"),
    ],
)
def test_too_little_to_learn_from_is_said_so(texts, told, tmp_path):
    rows = []
    for number, text in enumerate(texts):
        soundfile.write(tmp_path / f"{number}.wav", spoken(["AB"], np.random.default_rng(number)), 16_000)
        rows.append({"audio_filepath": f"{number}.wav", "text": text})
    with pytest.raises(UsageError, match=told):
        train(asked_of(write_manifest(tmp_path, rows), tmp_path / "out"), Listener())


def test_a_corpus_whose_recordings_all_fail_is_said_so(tmp_path):
    rows = [{"audio_filepath": f"{number}.wav", "text": "ab"} for number in range(3)]
    for row in rows:
        (tmp_path / row["audio_filepath"]).write_bytes(b"no sound")
    with pytest.raises(UsageError, match="nothing in it to learn from: 3 "):
        train(asked_of(write_manifest(tmp_path, rows), tmp_path / "out"), Listener())


def test_letters_of_any_script_are_learnt_and_written(tmp_path):
    texts = ["हिन्दी में", "Straße", "東京タワー", "ısı"]  # noqa: RUF001
    rows = []
    for number, text in enumerate(texts):
        soundfile.write(tmp_path / f"{number}.wav", spoken(["CAD", "AB"], np.random.default_rng(number)), 16_000)
        rows.append({"audio_filepath": f"{number}.wav", "text": text})
    out = tmp_path / "out"
    trial = train(asked_of(write_manifest(tmp_path, rows), out, recipe=replace(RECIPE, steps=2)), Listener())
    assert isinstance(trial, Trial)
    labels = json.loads((out / "vocab.json").read_text(encoding="utf-8"))
    assert {"ि", "S", "東", "ー", "I"} < labels.keys() and "ß" not in labels
    processor = AutoProcessor.from_pretrained(out)
    said = "हिन्दी में STRASSE 東京"
    assert processor.decode(processor(text=said).input_ids, group_tokens=False) == said
