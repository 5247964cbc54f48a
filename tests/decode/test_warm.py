"""Compiled code needs a place on disk: a package that nobody may write to must not cost every process its minute."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import pipeline

CODE = """
import os, sys
if {deny!r}:
    ask = os.access
    os.access = lambda path, mode: False if str(path).startswith({deny!r}) else ask(path, mode)
from pipeline.decode.warm import prepare_cache
prepare_cache()
print(os.environ.get("NUMBA_CACHE_DIR"), "numba" in sys.modules)
"""


def place(deny: Path | None, **environment: str) -> list[str]:
    kept = {name: value for name, value in os.environ.items() if name not in ("NUMBA_CACHE_DIR", "NIGHTSHIFT_CACHE")}
    code = CODE.format(deny="" if deny is None else str(deny))
    root = str(Path(pipeline.__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-c", code], env=kept | environment, cwd=root, capture_output=True, text=True, check=True
    )
    return done.stdout.split()


@pytest.fixture
def package() -> Path:
    return Path(pipeline.__file__).parent


def test_beside_the_source_where_that_can_be_written():
    assert place(None) == ["None", "False"]


def test_in_the_cache_where_it_cannot(package, tmp_path):
    assert place(package, XDG_CACHE_HOME=str(tmp_path)) == [str(tmp_path / "nightshift/numba"), "False"]
    assert place(package, NIGHTSHIFT_CACHE=str(tmp_path)) == [str(tmp_path / "numba"), "False"]


def test_in_a_temporary_folder_where_there_is_no_cache_either(package, tmp_path):
    (tmp_path / "file").touch()
    found, _ = place(package, XDG_CACHE_HOME=str(tmp_path / "file"), TMPDIR=str(tmp_path))
    assert found.startswith(str(tmp_path / "nightshift-numba-"))


def test_where_the_user_says(package, tmp_path):
    assert place(package, NUMBA_CACHE_DIR=str(tmp_path)) == [str(tmp_path), "False"]
