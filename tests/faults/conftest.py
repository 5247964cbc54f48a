"""What the tests of faults share."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def ray_folder() -> Iterator[Path]:
    """For what a Ray leaves behind, its logs above all. A socket in it has a short path, or none."""
    folder = Path(tempfile.mkdtemp(prefix="ns-", dir="/tmp"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)
