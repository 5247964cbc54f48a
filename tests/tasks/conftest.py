"""Checkpoints that the tests of tasks share, each made once and when it is first asked for."""

from collections.abc import Callable
from pathlib import Path

import pytest
import transformers

from tests.tasks.checkpoints import Checkpoint, class_checkpoint, phoneme_checkpoint, speech_checkpoint


@pytest.fixture(scope="session", autouse=True)
def quiet() -> None:
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()


@pytest.fixture(scope="session")
def speech(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    def make(family: str) -> Path:
        directory = tmp_path_factory.mktemp(family)
        return phoneme_checkpoint(directory) if family == "phonemes" else speech_checkpoint(directory, family)

    return once(make)


@pytest.fixture(scope="session")
def classes(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    return once(lambda family: class_checkpoint(tmp_path_factory.mktemp(family), family))


def once(make: Callable[[str], Path]) -> Checkpoint:
    made: dict[str, Path] = {}

    def get(family: str) -> Path:
        if family not in made:
            made[family] = make(family)
        return made[family]

    return get
