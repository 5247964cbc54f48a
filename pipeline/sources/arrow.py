"""Datasets saved to disk (`datasets.save_to_disk`) as a source: folders of Arrow shards, one for each split.

Knows how they are laid out and how Arrow streams are stored, and reads everything but the audio itself.
"""

import json
import posixpath
from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from pipeline.config import ReadConfig
from pipeline.errors import UsageError
from pipeline.records import Span
from pipeline.shards.arrow_columns import holds, records_of
from pipeline.shards.arrow_stream import Batch, batches, schema_of
from pipeline.shards.shardfile import ShardFile
from pipeline.sources.found import File, Found
from pipeline.sources.rowshards import DAMAGES, Audio, Damage, Rows, RowShards, damage_of
from pipeline.sources.textfile import name_of, text_file

STATE, SPLITS = "state.json", "dataset_dict.json"
MAX_STATE_BYTES = 2**26


def recognised(found: Found) -> bool:
    return not found.is_one_file and any(len(found.listed.named(name)) for name in (STATE, SPLITS))


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
    for file in found.named(STATE):
        folders.setdefault(posixpath.dirname(file.path), None)
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


class ArrowShard:
    """An open Arrow stream. Its audio lies there as it is, so that each row's is a range of the file."""

    def __init__(self, file: ShardFile, url: str) -> None:
        self._file, self._url = file, url
        self.schema: pa.Schema = schema_of(file)

    def rows(self, audio: str, columns: list[str]) -> Iterator[Rows | Damage]:
        first = 0
        try:
            for batch in batches(self._file, self.schema):
                batch.fetch([*columns, audio], but_for=_content(batch.rows.column(audio)))
                together = range(first, first + batch.rows.num_rows)
                yield Rows(first, together, records_of(batch.rows, columns), list(_places(batch, audio, first)))
                first = together.stop
        except DAMAGES as error:
            yield Damage(first, damage_of(error, self._url, f"from row {first} on: "))


def _content(column: pa.Array) -> pa.Array | None:
    """Of a column with audio, the part that holds the bytes."""
    if holds(column.type) == "path":
        return None
    return column.field("bytes") if pa.types.is_struct(column.type) else column


def _places(batch: Batch, audio: str, first: int) -> Iterator[Audio]:
    column = batch.rows.column(audio)
    content = _content(column)
    paths = _paths(column)
    if content is None:
        yield from (Audio(path=path) for path in paths)
        return
    has_bytes = content.is_valid().to_pylist()
    if pa.types.is_struct(column.type):
        has_bytes = [one and other for one, other in zip(has_bytes, column.is_valid().to_pylist(), strict=True)]
    for number, (start, end) in enumerate(batch.ranges(content)):
        if has_bytes[number]:
            yield Audio(end - start, Span(paths[number] or f"row {first + number}", start))
        else:
            yield Audio(path=paths[number])


def _paths(column: pa.Array) -> list[str | None]:
    if not pa.types.is_struct(column.type):
        return [path or None for path in column.to_pylist()] if holds(column.type) == "path" else [None] * len(column)
    if column.type.get_field_index("path") < 0:
        return [None] * len(column)
    valid = column.is_valid().to_pylist()
    return [
        (path or None) if there else None for path, there in zip(column.field("path").to_pylist(), valid, strict=True)
    ]
