"""What an input is, and the recordings in it. A new kind of source is one more branch in `open_source`.

Lists recordings; reads no audio. What it yields is cut into units and frozen by `pipeline.manifest`.
"""

import json
import math
import os
import posixpath
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline import store
from pipeline.config import ReadConfig
from pipeline.errors import UsageError

# Bytes per audio second by extension, to estimate durations before anything is decoded: 16 kHz mono for the
# lossless ones, the bit rates speech is commonly kept at for the others.
BYTES_PER_SECOND = {
    **dict.fromkeys((".wav", ".aif", ".aiff", ".au", ".w64", ".caf", ".sph"), 32_000),
    ".flac": 17_000,
    **dict.fromkeys((".mp3", ".ogg", ".oga", ".m4a", ".mp4", ".aac", ".webm", ".mkv"), 8_000),
    ".opus": 4_000,
}
UNKNOWN_BYTES_PER_SECOND = 16_000
UNKNOWN_DURATION_S = 10.0  # where not even a size is known

ID_COLUMNS = ("id", "utt_id", "utterance_id", "key")
PATH_COLUMNS = ("audio_filepath", "audio", "path", "uri", "file", "wav")
REFERENCE_COLUMNS = ("reference", "text", "transcript", "transcription", "sentence")
DURATION_COLUMNS = ("duration", "duration_s")


@dataclass(slots=True)
class Entry:
    """One recording of an input: where its bytes are and what is known of it before it is read."""

    id: str
    uri: str
    row: int | None = None
    size: int | None = None  # bytes, compressed
    duration_s: float | None = None
    reference: str | None = None
    columns: dict[str, Any] = field(default_factory=dict)

    @property
    def seconds(self) -> float:
        """Its duration, or what its size suggests."""
        if self.duration_s is not None:
            return self.duration_s
        if self.size is None:
            return UNKNOWN_DURATION_S
        extension = posixpath.splitext(self.uri)[1].lower()
        return self.size / BYTES_PER_SECOND.get(extension, UNKNOWN_BYTES_PER_SECOND)


@dataclass(frozen=True)
class Piece:
    """Recordings that one unit must hold together, because reading one of them means reading all."""

    entries: list[Entry]
    shard: str | None = None  # units do not mix shards; None: loose files, which mix freely


class Source(Protocol):
    description: str  # what the input was taken for
    schema: pa.Schema  # of the passed-through columns

    def pieces(self) -> Iterator[Piece]: ...


def open_source(url: str, config: ReadConfig) -> Source:
    """Recognise an input, or say what was looked for."""
    files, path = store.locate(url)
    try:
        if any(sign in path for sign in "*?[") and not files.exists(path):
            found = files.glob(path, detail=True)
            if not found:
                raise UsageError(f"{url}: nothing matches")
            root = os.path.commonpath([posixpath.dirname(name) for name in found])
            return _of_files(url, files, root, found.values(), config)
        info = files.info(path)
        if info["type"] == "directory":
            return _of_files(url, files, path, files.find(path, detail=True).values(), config)
    except FileNotFoundError as error:
        raise UsageError(f"{url}: no such file or folder") from error
    except PermissionError as error:
        raise UsageError(f"{url}: permission denied") from error
    if path.endswith((".jsonl", ".json", ".ndjson")):
        return JsonLines(files, path, config)
    return _of_files(url, files, posixpath.dirname(path), [info], config)


def _is_file(files: Any, info: dict[str, Any]) -> bool:
    """Files and links to them; broken links too, so that they become failed rows. Linked folders are not followed."""
    return bool(info["type"] == "file" or (info.get("islink") and not files.isdir(info["name"])))


def _is_text(name: str) -> bool:
    """Whether a file name can be written to the manifest; names in another encoding carry lone surrogates."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def is_audio(path: str) -> bool:
    return posixpath.splitext(path)[1].lower() in BYTES_PER_SECOND


def _of_files(url: str, files: Any, root: str, infos: Iterable[dict[str, Any]], config: ReadConfig) -> Source:
    listed = sorted((info["name"], info["size"]) for info in infos if _is_file(files, info))
    visible = [(name, size) for name, size in listed if not posixpath.basename(name).startswith((".", "_"))]
    if unnamed := next((name for name, _ in visible if not _is_text(name)), None):
        raise UsageError(f"{unnamed.encode('utf-8', 'replace').decode()}: its name is not UTF-8; rename it")
    audio = [(name, size) for name, size in visible if is_audio(name)]
    tables = [name for name, _ in visible if name.endswith(".parquet")]
    if audio and tables:
        raise UsageError(
            f"{url} holds {len(audio)} audio files and {len(tables)} Parquet files: name one kind with a glob"
        )
    if audio:
        return AudioFiles(files, root, audio, config)
    if tables:
        return ParquetFiles(files, root, tables, config)
    raise UsageError(
        f"{url}: no audio in it (looked for Parquet files, a JSON-lines manifest, and files ending in "
        f"{' '.join(sorted(BYTES_PER_SECOND))})"
    )


class AudioFiles:
    """Loose audio files; the id of a recording is its path below the root."""

    schema = pa.schema([])

    def __init__(self, files: Any, root: str, audio: list[tuple[str, int]], config: ReadConfig) -> None:
        self.description = f"{len(audio)} audio files"
        self._files, self._root, self._audio = files, root, audio

    def pieces(self) -> Iterator[Piece]:
        for name, size in self._audio:
            yield Piece([Entry(posixpath.relpath(name, self._root), _url(self._files, name), size=size)])


class JsonLines:
    """A manifest with one JSON object per line; paths in it are relative to its folder."""

    def __init__(self, files: Any, path: str, config: ReadConfig) -> None:
        self.description = "a JSON-lines manifest"
        self._files, self._path, self._config = files, path, config
        self._names: _Names | None = None
        self.schema = self._scan()

    def pieces(self) -> Iterator[Piece]:
        assert self._names is not None
        for number, record in self._records():
            path = record[self._names.path]
            if not isinstance(path, str):
                raise UsageError(f"{self._path} line {number}: {self._names.path} is not a path")
            uri = self._resolve(path)
            columns = {name: self._as_column(record.get(name), self.schema.field(name)) for name in self.schema.names}
            yield Piece(
                [
                    Entry(
                        id=_text(_value(record, self._names.id)) or path,
                        uri=uri,
                        size=self._size(uri),
                        duration_s=_duration(_value(record, self._names.duration)),
                        reference=_text(_value(record, self._names.reference)),
                        columns=columns,
                    )
                ]
            )

    def _records(self) -> Iterator[tuple[int, dict[str, Any]]]:
        with self._files.open(self._path, "rb") as lines:
            for number, line in enumerate(lines, 1):
                if not line.strip():
                    continue
                try:
                    record = json.loads(line)
                except (json.JSONDecodeError, UnicodeDecodeError) as error:
                    raise UsageError(f"{self._path} line {number}: not JSON ({error})") from error
                if not isinstance(record, dict):
                    raise UsageError(f"{self._path} line {number}: not a JSON object")
                if record.get("offset"):
                    raise UsageError(f"{self._path} line {number}: segments of a file (offset) are not supported yet")
                yield number, record

    def _scan(self) -> pa.Schema:
        """A first pass: every line is checked before the run starts, and the columns' types are found."""
        types: dict[str, set[type]] = {}
        missing_path: list[int] = []
        for number, record in self._records():
            for name, value in record.items():
                types.setdefault(name, set()).add(_type(value))
            names = _Names.choose(record, self._config)
            self._names = self._names or names
            if self._names is None or self._names.path not in record:
                missing_path.append(number)
                break
            self._names = self._names.merged(names)
        if missing_path:
            raise UsageError(
                f"{self._path} line {missing_path[0]}: no path to audio (one of {', '.join(PATH_COLUMNS)})"
            )
        if self._names is None:
            raise UsageError(f"{self._path}: an empty manifest")
        self._names.check(self._config, self._path)
        passed = [name for name in types if name not in self._names.used()]
        return pa.schema([pa.field(name, _arrow_type(types[name])) for name in passed])

    def _resolve(self, path: str) -> str:
        if "://" in path:
            return path
        return _url(self._files, posixpath.join(posixpath.dirname(self._path), path))

    def _size(self, uri: str) -> int | None:
        """Known for local files alone: in object storage each would cost a request. None too where it is missing."""
        files, path = store.locate(uri)
        try:
            return os.path.getsize(path) if store.is_local(files) else None
        except (OSError, ValueError):  # a path with a null byte in it
            return None

    @staticmethod
    def _as_column(value: Any, column: pa.Field) -> Any:
        if value is not None and pa.types.is_floating(column.type):
            return float(value)
        if value is None or not pa.types.is_string(column.type) or isinstance(value, str):
            return value
        return json.dumps(value, ensure_ascii=False)


class ParquetFiles:
    """Parquet with audio in it, or paths to audio; a shard's row groups decide where its units may be cut."""

    # A row group can only be read from its start, so cutting one into n units reads it n/2 times over. Eight is the
    # compromise between that and units of hours where a writer made huge row groups.
    MAX_CUTS = 8

    def __init__(self, files: Any, root: str, paths: list[str], config: ReadConfig) -> None:
        self._files, self._root, self._paths, self._config = files, root, paths, config
        with self._open(paths[0]) as first:
            self._column = audio_column(first.schema_arrow, _url(files, paths[0]))
            self._names = _Names.choose(dict.fromkeys(first.schema_arrow.names), config, path=self._column)
        assert self._names is not None
        self._names.check(config, paths[0])
        self.schema = self._passed_schema()
        self.description = f"{len(paths)} Parquet files"

    def pieces(self) -> Iterator[Piece]:
        assert self._names is not None
        wanted = [name for name in (*self.schema.names, *self._names.used()) if name != self._column]
        for path in self._paths:
            with self._open(path) as shard:
                present = [name for name in dict.fromkeys(wanted) if name in shard.schema_arrow.names]
                first_row = 0
                for group in range(shard.num_row_groups):
                    table = self._read(path, shard, group, present)
                    num_rows = shard.metadata.row_group(group).num_rows
                    mean_size = self._audio_bytes(shard, group) // max(num_rows, 1)
                    entries = [
                        self._entry(path, first_row + number, record, mean_size)
                        for number, record in enumerate(table.to_pylist() if present else [{}] * num_rows)
                    ]
                    first_row += num_rows
                    step = max(1, -(-num_rows // self.MAX_CUTS))
                    for start in range(0, num_rows, step):
                        yield Piece(entries[start : start + step], shard=path)

    def _entry(self, path: str, row: int, record: dict[str, Any], mean_size: int) -> Entry:
        names = self._names
        assert names is not None
        own_id = _value(record, names.id)
        stem = posixpath.splitext(posixpath.relpath(path, self._root))[0]
        return Entry(
            id=f"{stem}:{row}" if own_id is None else str(own_id),
            uri=_url(self._files, path),
            row=row,
            size=mean_size,
            duration_s=_duration(_value(record, names.duration)),
            reference=_text(_value(record, names.reference)),
            columns={name: record.get(name) for name in self.schema.names},
        )

    def _passed_schema(self) -> pa.Schema:
        assert self._names is not None
        schemas = []
        for path in self._paths:
            with self._open(path) as shard:
                if self._column not in shard.schema_arrow.names:
                    raise UsageError(f"{path}: no column {self._column}, which the other shards have")
                used = {*self._names.used(), self._column}
                schemas.append(pa.schema([f for f in shard.schema_arrow if f.name not in used]))
        try:
            return pa.unify_schemas(schemas, promote_options="permissive").remove_metadata()
        except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
            raise UsageError(f"{self._root}: the shards' columns do not fit together: {error}") from error

    def _audio_bytes(self, shard: pq.ParquetFile, group: int) -> int:
        metadata = shard.metadata.row_group(group)
        columns = (metadata.column(number) for number in range(metadata.num_columns))
        return sum(c.total_compressed_size for c in columns if c.path_in_schema.split(".")[0] == self._column)

    def _open(self, path: str) -> pq.ParquetFile:
        try:
            return pq.ParquetFile(self._files.open(path, "rb"), pre_buffer=False)
        except (pa.ArrowInvalid, OSError) as error:
            raise UsageError(f"{path}: not a readable Parquet file ({error})") from error

    @staticmethod
    def _read(path: str, shard: pq.ParquetFile, group: int, columns: list[str]) -> pa.Table:
        try:
            return shard.read_row_group(group, columns=columns)
        except (pa.ArrowException, OSError) as error:
            raise UsageError(f"{path}: row group {group} is not readable ({error})") from error


def audio_column(schema: pa.Schema, url: str) -> str:
    """The column of a Parquet shard that holds audio, embedded or by path."""
    for field_ in schema:
        if pa.types.is_struct(field_.type) and field_.type.get_field_index("bytes") >= 0:
            return str(field_.name)
    for holds in (_is_bytes, _is_path):  # where a table has both, the path only says where the bytes came from
        for name in (*PATH_COLUMNS, "bytes"):
            if name in schema.names and holds(schema.field(name).type):
                return name
    raise UsageError(f"{url}: no column with audio (columns: {', '.join(schema.names)})")


def _is_bytes(kind: pa.DataType) -> bool:
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _is_path(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


@dataclass(frozen=True)
class _Names:
    """Which of an input's columns mean what."""

    path: str
    id: str | None = None
    reference: str | None = None
    duration: str | None = None

    @classmethod
    def choose(cls, columns: dict[str, Any], config: ReadConfig, path: str | None = None) -> "_Names | None":
        def first(named: str | None, usual: tuple[str, ...]) -> str | None:
            return next((name for name in ((named,) if named else usual) if name in columns), None)

        path = path or first(None, PATH_COLUMNS)
        if path is None:
            return None
        return cls(
            path,
            id=first(config.id_column, ID_COLUMNS),
            reference=first(config.reference_column, REFERENCE_COLUMNS),
            duration=first(None, DURATION_COLUMNS),
        )

    def merged(self, other: "_Names | None") -> "_Names":
        """With what a later line has and the earlier ones lacked."""
        if other is None:
            return self
        return _Names(
            self.path, self.id or other.id, self.reference or other.reference, self.duration or other.duration
        )

    def used(self) -> list[str]:
        return [name for name in (self.path, self.id, self.reference, self.duration) if name is not None]

    def check(self, config: ReadConfig, where: str) -> None:
        for option, found in (("id_column", self.id), ("reference_column", self.reference)):
            wanted = getattr(config, option)
            if wanted is not None and found is None:
                raise UsageError(f"{where}: no column {wanted} (read.{option})")


def _arrow_type(types: set[type]) -> pa.DataType:
    known = types - {type(None)}
    if known == {bool}:
        return pa.bool_()
    if known == {int}:
        return pa.int64()
    if known and known <= {int, float}:
        return pa.float64()
    return pa.string()  # text as it is; anything nested or mixed as JSON


def _type(value: Any) -> type:
    """What its column must hold it as; an integer of more than 64 bits only fits as text."""
    return str if isinstance(value, int) and not -(2**63) <= value < 2**63 else type(value)


def _value(record: dict[str, Any], name: str | None) -> Any:
    return None if name is None else record.get(name)


def _duration(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and 0 < value < math.inf else None


def _text(value: Any) -> str | None:
    return None if value is None else str(value)


def _url(files: Any, path: str) -> str:
    return path if store.is_local(files) else str(files.unstrip_protocol(path))
