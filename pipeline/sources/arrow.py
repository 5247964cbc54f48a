"""Datasets saved to disk (`datasets.save_to_disk`) as a source: folders of Arrow shards, one for each split.

Knows how they are laid out, and nothing of how Arrow streams are stored (`shards.arrow_rows`).
"""

import json
import posixpath
from typing import Any

from pipeline.config import ReadConfig
from pipeline.errors import UsageError
from pipeline.shards.arrow_rows import ArrowShard
from pipeline.sources.found import File, Found
from pipeline.sources.rowshards import RowShards
from pipeline.sources.textfile import name_of, text_file

STATE, SPLITS = "state.json", "dataset_dict.json"
MAX_STATE_BYTES = 2**26


def recognised(found: Found, config: ReadConfig) -> bool:
    if found.is_one_file:
        return False
    return bool(found.named(SPLITS)) or any(_lists_shards(found, file, config) for file in found.named(STATE))


def _lists_shards(found: Found, file: File, config: ReadConfig) -> bool:
    """Others write a file of that name, too."""
    try:
        return "_data_files" in _json(found, file.path, config)
    except UsageError:  # said when it is read, where there are shards that it may be about
        return len(found.listed.ending(".arrow")) > 0


class ArrowDataset(RowShards):
    """One dataset or several, such as the splits of one: then a column `split` says of which a row is."""

    def __init__(self, found: Found, config: ReadConfig) -> None:
        folders = _folders(found, config)
        by_path = {file.path: file for file in found.ending(".arrow")}
        shards = []
        for folder in folders:
            for name in _shard_names(found, f"{folder}/{STATE}", config):
                path = f"{folder}/{name}"
                shards.append(by_path.get(path) or File(path, 0, ""))  # one that is gone fails when it is opened
        if not shards:
            raise UsageError(f"{found.url}: no dataset in it that datasets.save_to_disk has written (no {STATE})")
        super().__init__(
            found, config, shards, ArrowShard, lambda shard: _split(folders[posixpath.dirname(shard.path)])
        )
        splits = ", ".join(split for split in folders.values() if split is not None)
        kind = "a dataset saved to disk" if len(folders) == 1 else f"{len(folders):,} datasets saved to disk"
        self.description = f"{kind} ({f'{splits}: ' if splits else ''}{len(shards):,} shards)"


def _split(name: str | None) -> dict[str, str]:
    return {} if name is None else {"split": name}


def _folders(found: Found, config: ReadConfig) -> dict[str, str | None]:
    """Where the datasets are, and which split of a dictionary each is; dictionaries in the order that they give."""
    folders: dict[str, str | None] = {}
    for file in found.named(SPLITS):
        above, splits = posixpath.dirname(file.path), _json(found, file.path, config).get("splits")
        if not isinstance(splits, list) or not all(isinstance(name, str) for name in splits):
            raise UsageError(f"{name_of(found, file.path)}: no list of splits in it")
        folders.update({f"{above}/{name}": name for name in splits})
    states = [file for file in found.named(STATE) if posixpath.dirname(file.path) not in folders]
    listing = [file for file in states if len(states) == 1 or _lists_shards(found, file, config)]
    folders.update({posixpath.dirname(file.path): None for file in listing or ([] if folders else states)})
    return folders


def _shard_names(found: Found, path: str, config: ReadConfig) -> list[str]:
    """The shards of a dataset, in order."""
    state = _json(found, path, config)
    if state.get("_indices_data_files"):
        raise UsageError(f"{name_of(found, path)}: saved by a `datasets` below 2.0 with rows chosen; save it again")
    files = state.get("_data_files")
    names = [str(file.get("filename")) for file in files if isinstance(file, dict)] if isinstance(files, list) else []
    if not names or any(posixpath.basename(name) != name for name in names):  # not one that leads elsewhere
        raise UsageError(f"{name_of(found, path)}: no list of shards in it")
    return names


def _json(found: Found, path: str, config: ReadConfig) -> dict[str, Any]:
    with text_file(found, path, config) as stream:
        data = stream.read(MAX_STATE_BYTES)
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{name_of(found, path)}: not JSON ({error})") from error
    if not isinstance(value, dict):
        raise UsageError(f"{name_of(found, path)}: not a JSON object")
    return value
