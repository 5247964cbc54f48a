"""A trial counts what the checkpoint would write, and leaves no trace in the model that goes on learning."""

import jiwer
import numpy as np
import pytest
import torch
from transformers import AutoModelForCTC, AutoProcessor

from pipeline.config import ReadConfig
from pipeline.training import letters, train, trial
from pipeline.training.learner import Learner
from pipeline.training.lesson import Lesson
from pipeline.training.recipe import SHAPES, Recipe
from pipeline.training.start import Start
from pipeline.training.train import Asked
from tests.training.tones import small_shapes, write_corpus


@pytest.fixture(autouse=True, scope="module")
def small():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        small_shapes(patch)
        patch.setattr(trial, "AT_ONCE_S", 3.0)  # a few at a time
        yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return write_corpus(tmp_path_factory.mktemp("corpus"), num_recordings=12)


def begun(family: str, corpus, out, num_steps: int) -> tuple[Learner, Lesson]:
    recipe = Recipe(steps=100, batch_s=4.0, learning_rate=0.004, warm_up=5, short_first=1, augment=False)
    asked = Asked(str(corpus), out, family, recipe, ReadConfig())
    torch.manual_seed(0)
    material = train.gather(asked.source, asked.out, asked.read, lambda text: None)
    lesson = Lesson.of(material, recipe.seed)
    learner = train.new_learner(Start.new(family, lesson.labels, recipe.seed, out), recipe)
    heard = train.Batches(material, lesson.texts, lesson.learnt, recipe)
    for step in range(num_steps):
        learner.learn(heard[step])
    return learner, lesson


@pytest.mark.parametrize("family", SHAPES)
def test_errors_are_those_of_the_checkpoint_in_transformers(family, corpus, tmp_path):
    """In the midst of learning, when batch norms have seen little as yet and texts are part right, part wrong."""
    learner, lesson = begun(family, corpus, tmp_path, num_steps=25)
    found = trial.attempt(learner, lesson.material, lesson.learnt, letters_of(tmp_path))
    learner.model.save_pretrained(tmp_path)
    model = AutoModelForCTC.from_pretrained(tmp_path, dtype=torch.float32)
    processor = AutoProcessor.from_pretrained(tmp_path)
    framing = learner.features.framing(learner.model)
    said, heard = [], []
    for number in lesson.learnt:
        sound = lesson.material.audio(int(number)).astype(np.float32) / 32768
        with torch.inference_mode():
            logits = model(**processor(sound, sampling_rate=16_000, return_tensors="pt")).logits
        said.append(letters.spelled(lesson.material.texts[number]))
        num_frames = framing.num_frames(len(sound))  # theirs may have one more, of padding
        heard.append(processor.batch_decode(logits[:, :num_frames].argmax(dim=-1))[0])
    assert found.characters.rate == pytest.approx(jiwer.cer(said, heard))
    assert found.words.rate == pytest.approx(jiwer.wer(said, heard))
    assert found.example == (said[-1], " ".join(heard[-1].split()))
    assert any(heard), "a model that says nothing shows nothing"


def letters_of(directory):
    return train.Vocabulary.from_pretrained(directory)


@pytest.mark.parametrize("family", SHAPES)
def test_learning_goes_on_as_if_there_had_been_no_trial(family, corpus, tmp_path):
    """Batch norms would take what is held out into their means, and tensors of inference cannot be learnt through."""
    tried, lesson = begun(family, corpus, tmp_path, num_steps=2)
    other, _ = begun(family, corpus, tmp_path, num_steps=2)
    trial.attempt(tried, lesson.material, lesson.held_out, letters_of(tmp_path))
    assert tried.model.training and all(module.training for module in tried.model.modules())
    heard = train.Batches(lesson.material, lesson.texts, lesson.learnt, tried.recipe)
    for step in range(2, 4):
        assert tried.learn(heard[step]) == other.learn(heard[step])
    ours, theirs = tried.model.state_dict(), other.model.state_dict()
    assert all(torch.equal(weight, theirs[name]) for name, weight in ours.items())


def test_portions_are_all_recordings_once(corpus, tmp_path):
    _, lesson = begun("wav2vec2", corpus, tmp_path, num_steps=0)
    numbers = np.concatenate([lesson.held_out, lesson.learnt])
    portions = list(trial._portions(lesson.material, numbers))
    assert [number for portion in portions for number in portion] == numbers.tolist()
    assert len(portions) > 1 and all(portions)
    assert all(lesson.material.lengths[portion[:-1]].sum() <= 3.0 * 16_000 for portion in portions)
