"""The files of a Hugging Face checkpoint directory, read and written; every error names the file at fault.

It knows neither models nor what the weights are called.
"""

import os
import pickle
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from pipeline.errors import UsageError
from pipeline.jsonfile import read_object
from pipeline.models.locate import WEIGHT_FILES


class CheckpointError(UsageError, ValueError):
    """A checkpoint directory that cannot be used; the message names the file or the weights at fault."""


def read_config(directory: str | os.PathLike[str]) -> dict[str, Any]:
    """The content of the directory's config.json."""
    path = Path(directory) / "config.json"
    if not path.parent.is_dir():
        raise CheckpointError(f"{path.parent} is not a directory; a local checkpoint directory is needed")
    return _read_json_object(path)


def read_weights(directory: str | os.PathLike[str]) -> dict[str, Tensor]:
    """All weights of the directory by their saved names, on the CPU, memory-mapped where possible.

    Mapped weights are shared by the processes of a machine; the files must stay as they are meanwhile.
    """
    folder = Path(directory)
    for file_name in WEIGHT_FILES:
        path = folder / file_name
        if path.exists():
            return _read_sharded(path) if path.suffix == ".json" else read_file(path)
    raise CheckpointError(f"{folder} has no weights: looked for {', '.join(WEIGHT_FILES)}")


def read_file(path: Path) -> dict[str, Tensor]:
    """All weights of one file."""
    return _read_safetensors(path) if path.suffix == ".safetensors" else _read_pickle(path)


def write_file(weights: Mapping[str, Tensor], path: Path) -> None:
    """As safetensors, whole or not at all. Not in place: weights may be mapped from the file that is replaced."""
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".saving-") as folder:
        whole = Path(folder) / path.name
        ready = {name: weight.detach().cpu().contiguous() for name, weight in weights.items()}
        save_file(ready, whole, metadata={"format": "pt"})
        whole.chmod(0o644)  # save_file leaves it to its owner alone
        whole.replace(path)


def _read_sharded(index_path: Path) -> dict[str, Tensor]:
    weight_map = _read_json_object(index_path).get("weight_map")
    if not isinstance(weight_map, dict) or not all(isinstance(shard, str) for shard in weight_map.values()):
        raise CheckpointError(f"{index_path} has no weight_map from names to files")
    weights: dict[str, Tensor] = {}
    for shard in sorted(set(weight_map.values())):
        # An index is data from a stranger: it may not send us to files outside its directory.
        if Path(shard).name != shard:
            raise CheckpointError(f"{index_path} names a file outside its directory: {shard}")
        weights.update(read_file(index_path.parent / shard))
    absent = [name for name in weight_map if name not in weights]
    if absent:
        raise CheckpointError(f"{index_path}: the files it lists lack weights: {listed('missing', absent)}")
    return weights


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path} cannot be read as safetensors: {error}") from error


def _read_pickle(path: Path) -> dict[str, Tensor]:
    try:
        with path.open("rb") as file:
            is_zip = file.read(4) == b"PK\x03\x04"  # the format before torch 1.6 cannot be memory-mapped
        loaded = torch.load(path, map_location="cpu", weights_only=True, mmap=is_zip)
    except pickle.UnpicklingError as error:
        # torch's own message advises weights_only=False, which is the advice a malicious file hopes for.
        reasons = [line for line in str(error).splitlines() if "unsupported" in line.lower()]
        raise CheckpointError(
            f"{path} is refused: not a plain pickle of tensors ({' '.join(reasons) or 'cannot be parsed'}); "
            "loading it could run code. Get the checkpoint as safetensors"
        ) from error
    except Exception as error:  # a damaged pickle can fail in almost any way inside the unpickler
        raise CheckpointError(f"{path} cannot be read: {error or type(error).__name__}") from error
    if not isinstance(loaded, dict):
        raise CheckpointError(f"{path} holds a {type(loaded).__name__}, not weights by name")
    for name, weight in loaded.items():
        if not isinstance(name, str) or not isinstance(weight, Tensor):
            raise CheckpointError(f"{path} holds more than weights: {name} is a {type(weight).__name__}")
    return loaded


def _read_json_object(path: Path) -> dict[str, Any]:
    try:
        return read_object(path)
    except UsageError as error:
        raise CheckpointError(str(error)) from error


def listed(kind: str, names: Iterable[str], show: int = 5) -> str:
    every = list(names)
    shown = ", ".join(every[:show]) + (", ..." if len(every) > show else "")
    return f"{len(every)} {kind}" + (f" ({shown})" if every else "")
