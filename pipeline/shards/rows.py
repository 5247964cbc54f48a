"""What an open shard of rows tells of them, whatever its format: all but the audio, and where that is.

Knows nothing of the formats.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple, Protocol

import pyarrow as pa

from pipeline.errors import RecordingError
from pipeline.records import Span

ROWS_AT_ONCE = 1024  # of the columns beside the audio


class Audio(NamedTuple):
    """Where a row's audio is: in the shard, as a rule, or in a file that it names. All None: the row has none."""

    size: int | None = None  # bytes, of this row or of the mean of those around it
    span: Span | None = None  # where the format keeps them in one piece
    path: str | None = None  # of a file


class Rows(NamedTuple):
    """Some rows of a shard, without their audio."""

    first: int  # the number of the first
    together: range  # the rows that are read together with these; none where they name files
    records: list[dict[str, Any]]
    audio: list[Audio]


class Damage(NamedTuple):
    """Rows from `first` on that cannot be listed."""

    first: int
    error: RecordingError


class Shard(Protocol):
    """An open shard."""

    schema: pa.Schema

    def rows(self, audio: str, columns: list[str]) -> Iterator[Rows | Damage]:
        """All rows with the values of these columns. Raises what `DAMAGES` lists where no row is left to name."""
