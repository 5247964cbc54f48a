"""Compiled code must not outlive its sources, and must have a place on every machine."""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

import pipeline.compiled
from pipeline.cache import cache_folder

SOURCES = Path(__file__).parents[1] / "pipeline"


def test_compiled_code_is_kept_apart_for_each_version_of_the_sources(tmp_path: Path) -> None:
    """numba looks at one file only, though the search is compiled from several."""
    shutil.copytree(SOURCES, tmp_path / "pipeline", ignore=shutil.ignore_patterns("__pycache__"))

    def place() -> str:
        command = [sys.executable, "-c", "import pipeline.compiled, numba; print(numba.config.CACHE_DIR)"]
        environment = os.environ | {"PYTHONPATH": str(tmp_path), "NIGHTSHIFT_CACHE": str(tmp_path / "cache")}
        return subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=True).stdout

    before = place()
    assert before.startswith(str(tmp_path / "cache"))
    assert place() == before
    with open(tmp_path / "pipeline" / "lm" / "trie.py", "a") as file:
        file.write("\n# another version\n")
    assert place() != before


def test_where_no_cache_can_be_written_temporary_files_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NIGHTSHIFT_CACHE", "/chosen")
    assert cache_folder() == Path("/chosen")
    monkeypatch.delenv("NIGHTSHIFT_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "nightshift"
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert cache_folder().parent == Path(tempfile.gettempdir())


def test_every_compiled_source_decides_where_compiled_code_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else an old kernel would do a new one's work."""
    looked_at, read_bytes = set(), Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda path: looked_at.add(path) or read_bytes(path))
    pipeline.compiled._folder()
    compiled = re.compile(r"from pipeline\.compiled import .*\b(entry|inner)\b")
    sources = {path for path in SOURCES.rglob("*.py") if compiled.search(path.read_text())}
    assert len(sources) > 5 and sources <= looked_at
