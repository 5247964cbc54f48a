"""The node's copies of models: made once however many ask, never seen half, made anew when the source changes."""

import threading
import time
from pathlib import Path

import fsspec
import pytest

from pipeline.errors import UsageError
from pipeline.lm.cache import cached, directory
from pipeline.lm.model import LanguageModel, lm_hash

FIXTURES = Path(__file__).parent / "fixtures"


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NIGHTSHIFT_CACHE", str(tmp_path / "cache"))


def leftovers() -> list[str]:
    return [path.name for path in directory().iterdir() if path.suffix == ".tmp"]


def test_many_at_a_time_make_one_file_and_see_it_whole() -> None:
    made, seen = [], []

    def make(target: Path) -> None:
        made.append(target)
        with open(target, "wb") as file:
            for _ in range(20):
                file.write(b"x" * 100)
                file.flush()
                time.sleep(0.005)

    def ask() -> None:
        seen.append(cached("name", "key", make).read_bytes())

    threads = [threading.Thread(target=ask) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 1
    assert seen == [b"x" * 2000] * 6
    assert leftovers() == []


def test_what_a_failed_or_killed_maker_left_does_no_harm() -> None:
    def fail(target: Path) -> None:
        target.write_bytes(b"half")
        raise RuntimeError

    with pytest.raises(RuntimeError):
        cached("name", "key", fail)
    assert leftovers() == []
    lock = next(directory().glob(".*.lock"))
    killed = lock.with_name(lock.name.replace(".lock", ".0123.tmp"))
    killed.write_bytes(b"half")

    def make(target: Path) -> None:
        target.write_bytes(b"whole")

    assert cached("name", "key", make).read_bytes() == b"whole"
    assert leftovers() == []


@pytest.mark.parametrize("name", ["order3.arpa", "order3.quantised-array"])
def test_a_model_in_object_storage_is_brought_once_and_again_when_it_changes(name: str) -> None:
    files = fsspec.filesystem("memory")
    files.pipe_file("/models/model", (FIXTURES / name).read_bytes())
    model = LanguageModel.open("memory://models/model")
    assert model.score("the night train") == LanguageModel.open(str(FIXTURES / name)).score("the night train")
    assert directory() in model.path.parents
    assert lm_hash("memory://models/model") == lm_hash(str(FIXTURES / name))
    before = sorted(directory().iterdir())
    assert LanguageModel.open("memory://models/model").path == model.path
    assert sorted(directory().iterdir()) == before
    files.pipe_file("/models/model", (FIXTURES / "order2.trie").read_bytes())
    assert LanguageModel.open("memory://models/model").order == 2


def test_a_cache_that_cannot_be_written_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("NIGHTSHIFT_CACHE", str(tmp_path / "file"))
    with pytest.raises(UsageError, match="not a folder that can be written; name another"):
        LanguageModel.open(str(FIXTURES / "order3.arpa"))
