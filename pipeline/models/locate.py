"""Where a checkpoint is: a directory, a directory in object storage, or a name on the Hugging Face hub.

Brings a remote one into this node's cache, once. Knows nothing of what is in it beyond the names of its files.
"""

import functools
import hashlib
import os
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pipeline import store
from pipeline.cache import cache_folder
from pipeline.errors import UsageError

# In order of preference: safetensors first, because reading it cannot run code.
WEIGHT_FILES = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)
ADAPTER_ENDINGS = (".safetensors", ".bin")
SETTING_FILES = (
    "config.json",
    "preprocessor_config.json",
    "processor_config.json",
    "vocab.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
)
SETTINGS = ("*.json",)
# What an encoder, its features and its vocabulary are read from; other frameworks' weights stay behind, and so do
# language adapters, of which a checkpoint may have a thousand.
WANTED = (*SETTINGS, "model*.safetensors", "pytorch_model*.bin")

# How the hub is asked, in the words of its client; of no meaning for what is elsewhere.
HUB_OPTIONS = ("revision", "cache_dir", "token", "local_files_only")
Hub = Mapping[str, Any]
AS_USUAL: Hub = MappingProxyType({})


def checkpoint_directory(name: str, wanted: tuple[str, ...] = WANTED, hub: Hub = AS_USUAL) -> Path:
    """The checkpoint as a local directory, in which at least the files of these patterns are."""
    if not name:
        raise UsageError("no model: give --model with a checkpoint directory or a name on the Hugging Face hub")
    if "://" in name:
        return _from_store(name, wanted)
    path = Path(name).expanduser()
    if path.is_dir():
        return path.resolve()
    if path.exists() or name.startswith((".", "/", "~")) or name.count("/") > 1:
        raise UsageError(f"model {name}: no such directory")
    return _from_hub(name, wanted, hub)


def adapter_file(name: str, language: str, hub: Hub = AS_USUAL) -> Path:
    """The file of one of the checkpoint's language adapters: `adapter.<language>.safetensors`, or else `.bin`."""
    # A language may come from a corpus; it must not become a path or a pattern.
    if re.fullmatch(r"[\w-]+", language):
        for ending in ADAPTER_ENDINGS:
            file = f"adapter.{language}{ending}"
            path = checkpoint_directory(name, (file,), hub) / file
            if path.exists():
                return path
    known = adapter_languages(name, hub)
    exist = f"there are {len(known)}: {', '.join(known)}" if known else "it has no adapter.<language>.safetensors"
    raise UsageError(f"model {name} has no adapter for language {language!r}; {exist}")


def adapter_languages(name: str, hub: Hub = AS_USUAL) -> list[str]:
    """The languages that the checkpoint has adapters for."""
    if "://" in name:
        files, path = store.locate(name)
        every = [os.path.basename(found) for found in files.ls(path, detail=False)]
    elif os.path.isdir(os.path.expanduser(name)):
        every = os.listdir(os.path.expanduser(name))
    else:
        every = _files_on_hub(name, hub)
    found = {
        file.removeprefix("adapter.").removesuffix(ending)
        for file in every
        for ending in ADAPTER_ENDINGS
        if file.startswith("adapter.") and file.endswith(ending)
    }
    return sorted(found)


def portable_name(name: str) -> str:
    """The name for processes with another working directory; what is no directory here keeps its name."""
    path = Path(name).expanduser()
    return str(path.resolve()) if "://" not in name and path.is_dir() else name


def checkpoint_hash(directory: Path, adapter: Path | None = None) -> str:
    """A hash of everything in the checkpoint that the transcripts depend on; the first to notice missing weights.

    `adapter` is the file of the language adapter that is in use, if one is.
    """
    weights = next((name for name in WEIGHT_FILES if (directory / name).exists()), None)
    if weights is None:
        raise UsageError(f"model {directory} has no weights: looked for {', '.join(WEIGHT_FILES)}")
    paths = [directory / name for name in (*SETTING_FILES, weights)]
    paths += sorted(directory.glob(f"{weights.partition('.')[0]}-*"))  # shards, where it is an index
    paths += [] if adapter is None else [adapter]
    digest = hashlib.sha256()
    for path in paths:
        if path.exists():
            state = path.stat()
            digest.update(path.name.encode() + _file_hash(path, state.st_size, state.st_mtime_ns))
    return digest.hexdigest()[:16]


def model_hash(name: str, language: str = "") -> str:
    """The same of a checkpoint by its name, with the adapter of the language that it is to speak."""
    adapter = adapter_file(name, language) if language else None
    return checkpoint_hash(checkpoint_directory(name), adapter)


@functools.cache
def _file_hash(path: Path, size: int, mtime_ns: int) -> bytes:
    """Once per process for each state of a file: the weights may be gigabytes."""
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").digest()
    except OSError as error:
        raise UsageError(f"model {path}: {error.strerror}") from error


def _from_store(url: str, wanted: tuple[str, ...]) -> Path:
    """Downloaded beside its place, then renamed: another process of this node never sees half a checkpoint."""
    files, path = store.locate(url)
    try:
        found = [info for info in files.ls(path, detail=True) if info["type"] == "file"]
    except FileNotFoundError as error:
        raise UsageError(f"model {url}: no such directory") from error
    except PermissionError as error:
        raise UsageError(f"model {url}: permission denied") from error
    state = sorted((os.path.basename(i["name"]), i["size"], str(i.get("ETag", i.get("mtime", "")))) for i in found)
    key = hashlib.sha256(repr((url, wanted, state)).encode()).hexdigest()[:16]
    cache = cache_folder() / "models"
    if not (cache / key).is_dir():
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache) as temporary:
            whole = Path(temporary) / "checkpoint"
            whole.mkdir()
            for info in found:
                if any(Path(info["name"]).match(pattern) for pattern in wanted):
                    files.get_file(info["name"], str(whole / os.path.basename(info["name"])))
            try:
                whole.rename(cache / key)
            except OSError:
                if not (cache / key).is_dir():  # else another process was first
                    raise
    return cache / key


def _from_hub(name: str, wanted: tuple[str, ...], hub: Hub) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(name, allow_patterns=list(wanted), **hub))
    except HFValidationError as error:
        raise UsageError(
            f"model {name}: neither a directory here nor a name the Hugging Face hub could have"
        ) from error
    except LocalEntryNotFoundError as error:
        raise UsageError(
            f"model {name}: no such directory here, not in the hub's cache, and the Hugging Face hub cannot be reached"
        ) from error
    except (HfHubHTTPError, OSError) as error:
        raise UsageError(f"model {name}: not found on the Hugging Face hub ({str(error).splitlines()[0]})") from error


def _files_on_hub(name: str, hub: Hub) -> list[str]:
    """Those in the hub's cache, where the hub cannot be asked."""
    from huggingface_hub import HfApi

    try:
        return HfApi(token=hub.get("token")).list_repo_files(name, revision=hub.get("revision"))
    except Exception:  # of whichever HTTP library the hub's client is built on; the caller has an error to tell already
        return os.listdir(_from_hub(name, SETTINGS, hub))
