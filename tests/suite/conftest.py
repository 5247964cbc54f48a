"""What the tests of suites share: the inputs, the models, and what is made of them once."""

from pathlib import Path

import pytest

from tests.suite.made import write_inputs, write_lm, write_models


@pytest.fixture(scope="session")
def material(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for suite files. Not to be spoilt."""
    folder = tmp_path_factory.mktemp("suite")
    write_inputs(folder)
    write_models(folder / "models")
    write_lm(folder / "lm.arpa")
    return folder
