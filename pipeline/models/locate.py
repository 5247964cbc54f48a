"""Where a checkpoint is: a directory, a directory in object storage, or a name on the Hugging Face hub.

Brings a remote one into this node's cache, once. Knows nothing of what is in it beyond the names of its files.
"""

import functools
import hashlib
import os
import tempfile
from pathlib import Path

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
SETTING_FILES = (
    "config.json",
    "preprocessor_config.json",
    "processor_config.json",
    "vocab.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
)
# What an encoder, its features and its vocabulary are read from; other frameworks' weights stay behind.
WANTED = ("*.json", "*.safetensors", "pytorch_model*.bin")


def checkpoint_directory(name: str) -> Path:
    """The checkpoint as a local directory."""
    if not name:
        raise UsageError("no model: give --model with a checkpoint directory or a name on the Hugging Face hub")
    if "://" in name:
        return _from_store(name)
    path = Path(name).expanduser()
    if path.is_dir():
        return path.resolve()
    if path.exists() or name.startswith((".", "/", "~")) or name.count("/") > 1:
        raise UsageError(f"model {name}: no such directory")
    return _from_hub(name)


def portable_name(name: str) -> str:
    """The name for processes with another working directory; what is no directory here keeps its name."""
    path = Path(name).expanduser()
    return str(path.resolve()) if "://" not in name and path.is_dir() else name


def checkpoint_hash(directory: Path) -> str:
    """A hash of everything in the checkpoint that the transcripts depend on; the first to notice missing weights."""
    weights = next((name for name in WEIGHT_FILES if (directory / name).exists()), None)
    if weights is None:
        raise UsageError(f"model {directory} has no weights: looked for {', '.join(WEIGHT_FILES)}")
    shards = [path.name for path in sorted(directory.glob(f"{weights.partition('.')[0]}-*"))]  # where it is an index
    digest = hashlib.sha256()
    for name in (*SETTING_FILES, weights, *shards):
        path = directory / name
        if path.exists():
            state = path.stat()
            digest.update(name.encode() + _file_hash(path, state.st_size, state.st_mtime_ns))
    return digest.hexdigest()[:16]


@functools.cache
def _file_hash(path: Path, size: int, mtime_ns: int) -> bytes:
    """Once per process for each state of a file: the weights may be gigabytes."""
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").digest()
    except OSError as error:
        raise UsageError(f"model {path}: {error.strerror}") from error


def _from_store(url: str) -> Path:
    """Downloaded beside its place, then renamed: another process of this node never sees half a checkpoint."""
    files, path = store.locate(url)
    try:
        found = [info for info in files.ls(path, detail=True) if info["type"] == "file"]
    except FileNotFoundError as error:
        raise UsageError(f"model {url}: no such directory") from error
    except PermissionError as error:
        raise UsageError(f"model {url}: permission denied") from error
    state = sorted((os.path.basename(i["name"]), i["size"], str(i.get("ETag", i.get("mtime", "")))) for i in found)
    key = hashlib.sha256(repr((url, state)).encode()).hexdigest()[:16]
    cache = cache_folder() / "models"
    if not (cache / key).is_dir():
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache) as temporary:
            whole = Path(temporary) / "checkpoint"
            whole.mkdir()
            for info in found:
                if any(Path(info["name"]).match(pattern) for pattern in WANTED):
                    files.get_file(info["name"], str(whole / os.path.basename(info["name"])))
            try:
                whole.rename(cache / key)
            except OSError:
                if not (cache / key).is_dir():  # else another process was first
                    raise
    return cache / key


def _from_hub(name: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(name, allow_patterns=list(WANTED)))
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
