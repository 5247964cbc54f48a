"""What the columns of an Arrow schema hold: which is the audio, which pass through, and what comes out of them.

Knows nothing of the files that have them.
"""

import json
from typing import Any

import pyarrow as pa

from pipeline.errors import RecordingError

# What columns with audio or paths to it are called, in tables too.
PATH_COLUMNS = (
    *("audio_filepath", "audio", "path", "uri", "file", "wav"),
    *("url", "audio_url", "audio_path", "audio_file", "file_name", "filename", "wav_path"),
)


def audio_column(schema: pa.Schema) -> str:
    """The column that holds audio, embedded or by path: the one that `datasets` has marked, else by type and name."""
    marks = _marks(schema)
    held: dict[str, str] = {
        f.name: what for f in schema if (what := holds(f.type)) and marks.get(f.name, "Value") in ("Audio", "Value")
    }
    usual: dict[str, str] = {name.lower(): name for name in reversed(held)}
    by_name = [usual[name] for name in (*PATH_COLUMNS, "bytes") if name in usual]
    structs = [name for name in held if pa.types.is_struct(schema.field(name).type)]
    for suitable in (
        [name for name in held if marks.get(name) == "Audio"],
        structs,
        [name for name in by_name if held[name] == "bytes"],  # beside them, a path only says where they came from
        [name for name in by_name if held[name] == "path"],
    ):
        if suitable:
            return next((name for name in by_name if name in suitable), suitable[0])
    raise RecordingError("no column with audio", f"columns: {', '.join(schema.names)}")


def _marks(schema: pa.Schema) -> dict[str, str]:
    """What the `datasets` package says that columns are: Audio, Image, Value and others."""
    try:
        features = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))["info"]["features"].items()
    except (ValueError, KeyError, TypeError, AttributeError):  # none, or such as it would not write
        return {}
    return {name: str(kind["_type"]) for name, kind in features if isinstance(kind, dict) and "_type" in kind}


def holds(kind: pa.DataType) -> str | None:
    """What a column of this type holds of audio, if it holds any: "bytes", in a struct too, or the "path" of a file."""
    if pa.types.is_struct(kind):
        at = kind.get_field_index("bytes")
        return "bytes" if at >= 0 and holds(kind.field(at).type) == "bytes" else None
    if pa.types.is_dictionary(kind):
        return holds(kind.value_type)
    if _is_bytes(kind) or pa.types.is_fixed_size_binary(kind):
        return "bytes"
    is_text = pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
    return "path" if is_text else None


def _is_bytes(kind: pa.DataType) -> bool:
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind))


def passes(kind: pa.DataType) -> bool:
    """Whether a column passes through to the output: not what holds files, another audio column for instance."""
    if pa.types.is_dictionary(kind):
        return passes(kind.value_type)
    if pa.types.is_nested(kind):
        return all(passes(kind.field(number).type) for number in range(kind.num_fields))
    return not _is_bytes(kind)


def plain(kind: pa.DataType) -> pa.DataType:
    """The type that a column's values have when they are taken out one by one."""
    if isinstance(kind, pa.BaseExtensionType):
        return plain(kind.storage_type)
    if pa.types.is_dictionary(kind) or pa.types.is_run_end_encoded(kind):
        return plain(kind.value_type)
    if pa.types.is_struct(kind):
        return pa.struct([kind.field(number).with_type(plain(kind.field(number).type)) for number in range(len(kind))])
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        return pa.list_(plain(kind.value_type))
    return pa.string() if pa.types.is_string_view(kind) else kind


def records_of(batch: pa.RecordBatch, columns: list[str]) -> list[dict[str, Any]]:
    """Rows as dictionaries; of types that `datasets` or others have added, what they are stored as."""
    values = []
    for name in columns:
        column = batch.column(name)
        values.append((column.storage if isinstance(column.type, pa.BaseExtensionType) else column).to_pylist())
    return [dict(zip(columns, row, strict=True)) for row in zip(*values, strict=True)] if columns else [{}] * len(batch)
