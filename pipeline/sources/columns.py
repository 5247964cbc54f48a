"""Which of an input's columns are the audio, the id, the reference and the duration; the others pass through.

Knows nothing of the formats that have columns.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import pyarrow as pa

from pipeline.config import ReadConfig
from pipeline.errors import RecordingError, UsageError
from pipeline.records import Cut
from pipeline.shards.arrow_columns import PATH_COLUMNS

ID_COLUMNS = ("id", "utt_id", "utterance_id", "key")
REFERENCE_COLUMNS = ("reference", "text", "transcript", "transcription", "sentence")
DURATION_COLUMNS = ("duration", "duration_s")
OFFSET_COLUMNS = ("offset", "offset_s")
START_COLUMNS, END_COLUMNS = ("start", "start_s"), ("end", "end_s")  # of a segment, where both are numbers
MAX_DURATION_S = 1e9  # 31 years: what is longer is no duration
MAX_CHANNEL = 1023  # above, it is no channel
# No longer than any number that is meant: what it matches costs the square of that where it does not.
_NUMBER, MAX_DIGITS = re.compile(r"\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*", re.ASCII), 64


@dataclass(frozen=True)
class Columns:
    """Which of an input's columns mean what."""

    path: str
    id: str | None = None
    reference: str | None = None
    duration: str | None = None
    offset: str | None = None  # of a segment of a file; with one, the duration is how long the segment is
    start: str | None = None  # of a segment, too, where there is no offset; with an end
    end: str | None = None

    @classmethod
    def choose(cls, columns: dict[str, Any], config: ReadConfig, path: str | None = None) -> "Columns | None":
        """Usual names in any case. Where `path` says which column holds the audio itself, no column is an offset."""
        first = partial(column_of, list(columns))
        offset = start = end = None
        if path is None:
            offset, start, end = (first(None, usual) for usual in (OFFSET_COLUMNS, START_COLUMNS, END_COLUMNS))
        path = path or first(None, PATH_COLUMNS)
        if path is None:
            return None
        has_segments = bool(offset is None and start and end)
        return cls(
            path,
            offset=offset,
            start=start if has_segments else None,
            end=end if has_segments else None,
            id=first(config.id_column, ID_COLUMNS),
            reference=first(config.reference_column, REFERENCE_COLUMNS),
            duration=first(None, DURATION_COLUMNS),
        )

    def merged(self, other: "Columns | None") -> "Columns":
        """With what a later line has and the earlier ones lacked."""
        if other is None:
            return self
        return Columns(
            self.path,
            self.id or other.id,
            self.reference or other.reference,
            self.duration or other.duration,
            self.offset or other.offset,
            self.start or other.start,
            self.end or other.end,
        )

    def used(self) -> list[str]:
        names = (self.path, self.id, self.reference, self.duration, self.offset)
        return [name for name in names if name is not None]

    def check(self, config: ReadConfig, where: str) -> None:
        for option, found in (("id_column", self.id), ("reference_column", self.reference)):
            wanted = getattr(config, option)
            if wanted is not None and found is None:
                raise UsageError(f"{where}: no column {wanted} (read.{option})")


def column_of(columns: Sequence[str], named: str | None, usual: tuple[str, ...]) -> str | None:
    """The one that is named, else the first of the usual names, in any case."""
    if named:
        return named if named in columns else None
    spelt = {name.lower(): name for name in reversed(columns)}
    return next((name if name in columns else spelt[name] for name in usual if name in spelt), None)


def value_of(record: dict[str, Any], name: str | None) -> Any:
    return None if name is None else record.get(name)


def number_of(value: Any) -> float | None:
    """A number, or text that is one, as in tables that hold nothing else; none that is larger than any time."""
    if isinstance(value, str):
        value = float(value) if len(value) <= MAX_DIGITS and _NUMBER.fullmatch(value) else None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if -MAX_DURATION_S < value < MAX_DURATION_S else None


def duration_of(value: Any) -> float | None:
    number = number_of(value)
    return number if number is not None and number > 0 else None


def channel_of(value: Any) -> int | None:
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= MAX_DIGITS:
        value = int(value)
    is_channel = isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_CHANNEL
    return value if is_channel else None


def cut_of(offset: Any, length: Any, channel: int | None = None) -> Cut:
    """A segment; one without a length goes on to the end of the file."""
    start = number_of(offset)
    if start is None or start < 0:
        raise RecordingError("segment without a valid start", shown(offset))
    if length is None:
        return Cut(start, None, channel)
    length_s = duration_of(length)
    if length_s is None:
        raise RecordingError("segment without a valid duration", shown(length))
    return Cut(start, length_s, channel)


def flat(value: Any) -> Any:
    """What is nested, as JSON."""
    try:
        return json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list) else value
    except RecursionError as error:
        raise UsageError("a value of hundreds of brackets in brackets") from error


def text_of(value: Any) -> str | None:
    return None if value is None else str(flat(value))


def shown(value: Any) -> str:
    """What a message shows of a value that may be anything."""
    text = repr(value[:100] if isinstance(value, str) else value)
    return text if len(text) <= 100 else f"{text[:100]}..."


class ColumnTypes:
    """The types of passed-through columns, found out record by record where no schema tells them."""

    def __init__(self) -> None:
        self._types: dict[str, set[type]] = {}

    def see(self, record: dict[str, Any]) -> None:
        for name, value in record.items():
            self._types.setdefault(name, set()).add(_type(value))

    def schema(self, used: list[str]) -> pa.Schema:
        """Of all columns but those that are `used`, in the order in which they were first seen."""
        return pa.schema([pa.field(n, _arrow_type(types)) for n, types in self._types.items() if n not in used])


def fitted(value: Any, column: pa.Field) -> Any:
    """A value as its column holds it: whole numbers in a column of floats, nested and mixed ones as JSON, and what JSON
    has no word for, such as a date, in its own.
    """
    if value is not None and pa.types.is_floating(column.type):
        return float(value)
    if value is None or not pa.types.is_string(column.type) or isinstance(value, str):
        return value
    if not isinstance(value, dict | list | bool | int | float):
        return str(value)
    return json.dumps(value, ensure_ascii=False, default=str)


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
