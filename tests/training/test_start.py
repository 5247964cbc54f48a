"""A training that starts from a checkpoint knows what that knew, hears as it heard, and leaves it as it was."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from pipeline.errors import UsageError
from pipeline.training.recipe import Recipe
from pipeline.training.train import Asked, train
from tests.training.test_train import RECIPE, Listener, asked_of, corpus, quick  # noqa: F401
from tests.training.tones import write_corpus, write_manifest

STILL = Recipe(steps=1, batch_s=4.0, learning_rate=1e-12, warm_up=1, short_first=0)


@pytest.fixture(scope="module")
def learnt(tmp_path_factory: pytest.TempPathFactory) -> Asked:
    """A training that has come to something."""
    directory = tmp_path_factory.mktemp("learnt")
    recipe = Recipe(100, 6.0, 0.004, warm_up=10, decay_share=0.25, short_first=10, augment=False)
    asked = asked_of(write_corpus(directory / "corpus", num_recordings=40), directory / "out", "wav2vec2-bert", recipe)
    train(asked, Listener())
    return asked


def started(learnt: Asked, out: Path, recipe: Recipe = STILL, source: str = "") -> Asked:
    return replace(learnt, source=source or learnt.source, out=out, recipe=recipe, start=str(learnt.out))


@pytest.mark.parametrize("half", [False, True])
def test_it_knows_what_the_checkpoint_knew(half, learnt, tmp_path):
    first = Listener()
    known = train(learnt, Listener())  # nothing is left to learn there
    assert known.characters.rate is not None and known.characters.rate < 0.5
    again = train(replace(started(learnt, tmp_path), half=half), first)
    assert again.characters == known.characters
    fresh = Listener()
    train(replace(started(learnt, tmp_path / "fresh"), start=""), fresh)
    assert first.stands[0].loss < 0.5 * fresh.stands[0].loss


def test_its_files_are_taken_over_and_it_is_left_as_it_was(learnt, tmp_path):
    before = {path: path.read_bytes() for path in learnt.out.rglob("*") if path.is_file()}
    train(started(learnt, tmp_path), Listener())
    for name in ("vocab.json", "tokenizer_config.json", "preprocessor_config.json"):
        assert (tmp_path / name).read_bytes() == (learnt.out / name).read_bytes()
    assert {path: path.read_bytes() for path in learnt.out.rglob("*") if path.is_file()} == before


def test_stopped_it_goes_on_from_its_own_state(learnt, tmp_path):
    train(started(learnt, tmp_path / "straight", RECIPE), Listener())
    with pytest.raises(KeyboardInterrupt):
        train(started(learnt, tmp_path / "stopped", RECIPE), Listener(stop_at=3))
    last = Listener()
    train(started(learnt, tmp_path / "stopped", RECIPE), last)
    assert [stand.step for stand in last.stands] == [4, 5, 6]
    straight, stopped = (tmp_path / name / "model.safetensors" for name in ("straight", "stopped"))
    assert straight.read_bytes() == stopped.read_bytes()


def test_a_corpus_with_fewer_letters_leaves_the_others_as_they_are(learnt, tmp_path):
    rows = [{"audio_filepath": str(path), "text": "ab"} for path in sorted(Path(learnt.source).parent.glob("*.wav"))]
    (tmp_path / "fewer").mkdir()
    train(started(learnt, tmp_path / "out", source=str(write_manifest(tmp_path / "fewer", rows))), Listener())
    assert (tmp_path / "out" / "vocab.json").read_bytes() == (learnt.out / "vocab.json").read_bytes()


def test_letters_that_it_does_not_have_are_named(learnt, tmp_path):
    rows = [{"audio_filepath": str(path), "text": "abö"} for path in sorted(Path(learnt.source).parent.glob("*.wav"))]
    (tmp_path / "more").mkdir()
    with pytest.raises(UsageError, match="letters that the model to start from does not: Ö"):
        train(started(learnt, tmp_path / "out", source=str(write_manifest(tmp_path / "more", rows))), Listener())


def test_small_letters_and_another_mark_between_words_are_learnt_as_such(learnt, tmp_path):
    """As some checkpoints on the hub have them."""
    there = tmp_path / "small letters"
    there.mkdir()
    for path in learnt.out.glob("*.*"):
        (there / path.name).write_bytes(path.read_bytes())
    ids = json.loads((learnt.out / "vocab.json").read_text())
    small = {"_" if label == "|" else label.lower(): number for label, number in ids.items()}
    (there / "vocab.json").write_text(json.dumps(small))
    settings = json.loads((learnt.out / "tokenizer_config.json").read_text())
    (there / "tokenizer_config.json").write_text(json.dumps({**settings, "word_delimiter_token": "_"}))
    known = train(learnt, Listener())
    again = train(replace(started(learnt, tmp_path / "out"), start=str(there)), Listener())
    assert again.characters == known.characters


def test_what_cannot_be_started_from_is_said_so_and_deletes_nothing(learnt, tmp_path):
    asked = replace(started(learnt, tmp_path / "out"), overwrite=True)
    train(asked, Listener())
    before = {path: path.read_bytes() for path in asked.out.rglob("*") if path.is_file()}
    with pytest.raises(UsageError, match="no such directory"):
        train(replace(asked, start=str(tmp_path / "nothing")), Listener())
    with pytest.raises(UsageError, match="is where the training starts from"):
        train(replace(asked, start=str(asked.out)), Listener())
    with pytest.raises(UsageError, match=r"start was .*, is none\); --overwrite"):
        train(replace(asked, start="", overwrite=False), Listener())
    with pytest.raises(UsageError, match="is of family wav2vec2-bert, not wav2vec2"):
        train(replace(asked, family="wav2vec2"), Listener())
    with pytest.raises(UsageError, match="is where the training starts from"):
        train(replace(asked, start=str(asked.out / "training" / "copy")), Listener())
    assert {path: path.read_bytes() for path in asked.out.rglob("*") if path.is_file()} == before
    with pytest.raises(UsageError, match="is of family wav2vec2-bert, not wav2vec2: give --family wav2vec2-bert"):
        train(replace(asked, out=tmp_path / "other", family="wav2vec2"), Listener())


def test_phones_and_texts_without_words_are_not_started_from(learnt, tmp_path):
    settings = json.loads((learnt.out / "tokenizer_config.json").read_text())
    for changed in ({"tokenizer_class": "Wav2Vec2PhonemeCTCTokenizer"}, {"word_delimiter_token": "none"}):
        there = tmp_path / "there"
        there.mkdir(exist_ok=True)
        for path in learnt.out.glob("*.*"):
            (there / path.name).write_bytes(path.read_bytes())
        (there / "tokenizer_config.json").write_text(json.dumps({**settings, **changed}))
        with pytest.raises(UsageError, match="has no letters with a mark between words"):
            train(replace(started(learnt, tmp_path / "out"), start=str(there)), Listener())


def test_processes_are_counted(learnt, tmp_path):
    with pytest.raises(UsageError, match="99 processes on 1 cores: ask for 2"):
        train(replace(learnt, out=tmp_path, processes=99), Listener())
    two = replace(started(learnt, tmp_path / "two"), processes=2)
    before = torch.get_num_threads()
    assert train(two, Listener()).characters == train(learnt, Listener()).characters
    assert torch.get_num_threads() == before


def test_what_goes_on_needs_the_checkpoint_no_more(learnt, tmp_path):
    """Which may be on a hub that is out of reach by then, or have changed."""
    there = tmp_path / "there"
    there.mkdir()
    for path in learnt.out.glob("*.*"):
        (there / path.name).write_bytes(path.read_bytes())
    asked = replace(started(learnt, tmp_path / "stopped", RECIPE), start=str(there))
    with pytest.raises(KeyboardInterrupt):
        train(asked, Listener(stop_at=3))
    (there / "vocab.json").write_text("{}")
    train(asked, Listener())
    train(started(learnt, tmp_path / "straight", RECIPE), Listener())
    straight, stopped = (tmp_path / name / "model.safetensors" for name in ("straight", "stopped"))
    assert straight.read_bytes() == stopped.read_bytes()


def test_a_vocabulary_that_does_not_fit_the_head_is_refused(learnt, tmp_path):
    """A label beyond it would be looked for in memory that is not the loss's."""
    for path in learnt.out.glob("*.*"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    ids = json.loads((learnt.out / "vocab.json").read_text())
    (tmp_path / "vocab.json").write_text(json.dumps({**ids, "Z": len(ids)}))
    with pytest.raises(UsageError, match="the head has 9 outputs, but the vocabulary 10 labels"):
        train(replace(started(learnt, tmp_path / "out"), start=str(tmp_path)), Listener())
    (tmp_path / "vocab.json").write_text(json.dumps({**ids, "<pad>": 1, "<s>": 0}))
    with pytest.raises(UsageError, match=r"the padding token is label 1, but config\.json says 0"):
        train(replace(started(learnt, tmp_path / "out"), start=str(tmp_path)), Listener())
