"""Finding checkpoints: the right one, whole, and the same on every machine."""

import shutil

import fsspec
import pytest

from pipeline.errors import UsageError
from pipeline.models.locate import (
    SETTINGS,
    adapter_file,
    adapter_languages,
    checkpoint_directory,
    checkpoint_hash,
    portable_name,
)


@pytest.fixture
def model(sample, tmp_path):
    return shutil.copytree(sample / "model", tmp_path / "model")


def test_the_hash_follows_what_the_transcripts_depend_on_and_nothing_else(model, tmp_path):
    before = checkpoint_hash(model)
    assert checkpoint_hash(shutil.copytree(model, tmp_path / "copy")) == before
    (model / "trainer_state.json").write_text("{}")
    (model / "README.md").write_text("a model")
    assert checkpoint_hash(model) == before
    for name in ("vocab.json", "config.json", "model.safetensors"):
        content = (model / name).read_bytes()
        (model / name).write_bytes(content + b" ")
        assert checkpoint_hash(model) != before, name
        (model / name).write_bytes(content)
    assert checkpoint_hash(model) == before


def test_shards_are_part_of_the_hash(model):
    (model / "model.safetensors").rename(model / "model-00001-of-00001.safetensors")
    (model / "model.safetensors.index.json").write_text("{}")
    before = checkpoint_hash(model)
    (model / "model-00001-of-00001.safetensors").write_bytes(b"other weights")
    assert checkpoint_hash(model) != before


def test_a_relative_directory_is_made_absolute_and_other_names_are_kept(model, monkeypatch):
    """Workers have another working directory, where `model` could be a name on the hub."""
    monkeypatch.chdir(model.parent)
    assert portable_name("model") == str(model)
    assert portable_name("facebook/wav2vec2-base-960h") == "facebook/wav2vec2-base-960h"
    assert portable_name("s3://bucket/model") == "s3://bucket/model"


def test_a_model_in_object_storage_is_brought_here_once_and_again_when_it_changes(model, tmp_path, monkeypatch):
    monkeypatch.setenv("NIGHTSHIFT_CACHE", str(tmp_path / "cache"))
    store = fsspec.filesystem("memory")
    store.put(str(model), "/models/one", recursive=True)
    store.pipe_file("/models/one/flax_model.msgpack", b"not for us")
    found = checkpoint_directory("memory://models/one")
    assert checkpoint_hash(found) == checkpoint_hash(model)
    assert not (found / "flax_model.msgpack").exists()
    assert checkpoint_directory("memory://models/one") == found
    store.pipe_file("/models/one/vocab.json", b"{}")
    assert checkpoint_directory("memory://models/one") != found
    assert [path.name for path in found.parent.iterdir() if path.name.startswith("tmp")] == []


def test_a_model_of_the_hub_is_taken_from_its_cache_where_there_is_no_network(model, tmp_path, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    repository = tmp_path / "hub/models--someone--tiny"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs/main").write_text("0" * 40)
    shutil.copytree(model, repository / "snapshots" / ("0" * 40))
    assert checkpoint_hash(checkpoint_directory("someone/tiny")) == checkpoint_hash(model)
    with pytest.raises(UsageError, match="someone/other: no such directory here, not in the hub's cache"):
        checkpoint_directory("someone/other")


LANGUAGES = {"adapter.fra.safetensors": b"f", "adapter.fra.bin": b"p", "adapter.azj-script_latin.bin": b"a"}


def test_language_adapters_stay_behind_until_they_are_asked_for(model, tmp_path, monkeypatch):
    """The risk: ten gigabytes of a thousand languages downloaded for one of them, or a pickle beside safetensors."""
    monkeypatch.setenv("NIGHTSHIFT_CACHE", str(tmp_path / "cache"))
    store = fsspec.filesystem("memory")
    store.put(str(model), "/models/many", recursive=True)
    for name, content in LANGUAGES.items():
        store.pipe_file(f"/models/many/{name}", content)
    assert not list(checkpoint_directory("memory://models/many").glob("adapter.*"))
    found = adapter_file("memory://models/many", "fra")
    assert found.read_bytes() == b"f"
    assert [path.name for path in found.parent.iterdir()] == ["adapter.fra.safetensors"]
    assert adapter_file("memory://models/many", "azj-script_latin").read_bytes() == b"a"
    with pytest.raises(UsageError, match="'deu'; there are 2: azj-script_latin, fra"):
        adapter_file("memory://models/many", "deu")


def test_language_adapters_of_the_hub_are_taken_from_its_cache_where_there_is_no_network(model, tmp_path, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    repository = tmp_path / "hub/models--someone--many"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs/main").write_text("0" * 40)
    snapshot = shutil.copytree(model, repository / "snapshots" / ("0" * 40))
    for name, content in LANGUAGES.items():
        (snapshot / name).write_bytes(content)
    assert adapter_file("someone/many", "fra") == snapshot / "adapter.fra.safetensors"
    assert adapter_languages("someone/many") == ["azj-script_latin", "fra"]
    with pytest.raises(UsageError, match="model someone/many has no adapter for language 'deu'"):
        adapter_file("someone/many", "deu")


def test_the_hash_follows_the_language_that_is_spoken(model):
    """The risk: a run resumed in another language, or with an adapter that was trained further."""
    (model / "adapter.fra.safetensors").write_bytes(b"f")
    (model / "adapter.deu.safetensors").write_bytes(b"f")
    hashes = [
        checkpoint_hash(model, language and adapter_file(str(model), language)) for language in (None, "fra", "deu")
    ]
    (model / "adapter.fra.safetensors").write_bytes(b"further")
    hashes.append(checkpoint_hash(model, adapter_file(str(model), "fra")))
    assert len(set(hashes)) == 4


def test_settings_alone_can_be_asked_for(model, tmp_path, monkeypatch):
    """The risk: gigabytes downloaded to read the type of a model."""
    monkeypatch.setenv("NIGHTSHIFT_CACHE", str(tmp_path / "cache"))
    fsspec.filesystem("memory").put(str(model), "/models/settings", recursive=True)
    found = checkpoint_directory("memory://models/settings", SETTINGS)
    assert {path.suffix for path in found.iterdir()} == {".json"}


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("", "no model: give --model"),
        ("./gone", "no such directory"),
        ("a/b/c", "no such directory"),
        ("memory://gone/model", "no such directory"),
        ("two words", "neither a directory here nor a name"),
    ],
)
def test_what_is_no_model_is_named(name, told):
    with pytest.raises(UsageError, match=told):
        checkpoint_directory(name)
