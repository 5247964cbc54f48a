"""The manifest: the frozen list of what a run will do, cut once into units of some minutes of audio.

Lies in the run directory as Parquet: `units.parquet` lists the units, and 32 units share one file of recordings, a
row group each, so that a worker reads just its own unit. Knows nothing of what happens to a unit.
"""

import io
import itertools
from collections.abc import Collection, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.errors import RecordingError
from pipeline.records import SCHEMA, Cut, Recording, Span
from pipeline.sources.columns import fitted
from pipeline.sources.entries import Entry, Piece
from pipeline.store import Folder
from pipeline.unit import Unit

UNITS = "units.parquet"
UNITS_PER_FILE = 32
THREADS = 4  # files that are looked through at a time
MIN_UNIT_S, MAX_UNIT_S = 30.0, 600.0  # below, Ray's 20 ms a task show; above, a crash costs too much
MAX_UNIT_RECORDINGS = 10_000  # of a million empty files, too
UNITS_PER_RUN = 64  # enough for progress and balance on a small corpus

ENTRY_SCHEMA = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("uri", pa.string(), nullable=False),
        pa.field("row", pa.int64()),
        pa.field("size", pa.int64()),
        pa.field("duration_s", pa.float64()),
        pa.field("reference", pa.string()),
        pa.field("version", pa.string()),
        pa.field("member", pa.string()),
        pa.field("start", pa.int64()),
        pa.field("offset_s", pa.float64()),
        pa.field("length_s", pa.float64()),
        pa.field("channel", pa.int32()),
        pa.field("error", pa.string()),
        pa.field("error_detail", pa.string()),
    ]
)
OF_ENTRIES = ("id", "uri", "row", "size", "duration_s", "reference", "version")
UNIT_SCHEMA = pa.schema(
    [
        pa.field("unit", pa.int64(), nullable=False),
        pa.field("num_recordings", pa.int64(), nullable=False),
        pa.field("seconds", pa.float64(), nullable=False),
        pa.field("seconds_known", pa.bool_(), nullable=False),
    ]
)


class Doubled(NamedTuple):
    """Recordings whose id another had already."""

    num: int = 0
    ids: Sequence[str] = ()  # the first few such ids


@dataclass(frozen=True)
class UnitInfo:
    """A unit as the driver holds it."""

    id: int
    num_recordings: int
    seconds: float  # of audio: known, or estimated from sizes
    seconds_known: bool


def cut(pieces: Iterable[Piece], unit_s: float) -> Iterator[list[Entry]]:
    """Units of about `unit_s` seconds, in the input's order: a long piece alone, shards never mixed."""
    unit: list[Entry] = []
    seconds, shard = 0.0, None
    for piece in pieces:
        piece_s = sum(entry.seconds for entry in piece.entries)
        if unit and (piece.shard != shard or seconds + piece_s > 1.5 * unit_s):
            yield unit
            unit, seconds = [], 0.0
        unit.extend(piece.entries)
        seconds, shard = seconds + piece_s, piece.shard
        if seconds >= unit_s or len(unit) >= MAX_UNIT_RECORDINGS:
            yield unit
            unit, seconds = [], 0.0
    if unit:
        yield unit


def unit_seconds(total_s: float) -> float:
    """The default size of a unit: from the corpus alone, so that it is the same on every machine."""
    return min(MAX_UNIT_S, max(MIN_UNIT_S, total_s / UNITS_PER_RUN))


class Manifest:
    """The manifest in a run directory."""

    def __init__(self, folder: Folder) -> None:
        self.folder = folder

    def write(self, units: Iterable[list[Entry]], columns: pa.Schema) -> None:
        """Freeze the units, of recordings with unique ids; `units.parquet` comes last."""
        schema = pa.schema([*ENTRY_SCHEMA, *(pa.field(f"column.{c.name}", c.type) for c in columns)])
        infos: list[UnitInfo] = []
        group: list[pa.Table] = []
        for number, unit in enumerate(units):
            group.append(_entries_table(unit, schema, columns))
            infos.append(unit_info(number, unit))
            if len(group) == UNITS_PER_FILE:
                self._write_group(number // UNITS_PER_FILE, group)
                group = []
        if group:
            self._write_group((len(infos) - 1) // UNITS_PER_FILE, group)
        self.write_units(infos)

    def write_units(self, infos: Sequence[UnitInfo]) -> None:
        """What there is to do, after all that it consists of."""
        rows = [
            {"unit": i.id, "num_recordings": i.num_recordings, "seconds": i.seconds, "seconds_known": i.seconds_known}
            for i in infos
        ]
        self.folder.publish(UNITS, parquet_bytes([pa.Table.from_pylist(rows, UNIT_SCHEMA)]))

    def copy(self, other: "Manifest") -> None:
        """The same units as another run's, byte for byte; `units.parquet` comes last."""
        names = [name for name in other.folder.names() if name.startswith("recordings-")]
        for name in [*names, UNITS]:
            self.folder.publish(name, other.folder.read(name))

    def _write_group(self, number: int, group: list[pa.Table]) -> None:
        self.folder.publish(_group_name(number), parquet_bytes(group))

    def units(self) -> list[UnitInfo]:
        rows = pq.read_table(io.BytesIO(self.folder.read(UNITS))).to_pylist()
        return [UnitInfo(r["unit"], r["num_recordings"], r["seconds"], r["seconds_known"]) for r in rows]

    def unit(self, number: int) -> Unit:
        """A unit with its recordings pending and its passed-through columns."""
        return unit_of(number, self._file(number // UNITS_PER_FILE).read_row_group(number % UNITS_PER_FILE))

    def ids(self, numbers: Iterable[int]) -> Iterator[pa.ChunkedArray]:
        """Of each of these units the ids, in order."""
        for file, units in itertools.groupby(numbers, lambda number: number // UNITS_PER_FILE):
            groups = self._file(file)
            for number in units:
                yield groups.read_row_group(number % UNITS_PER_FILE, columns=["id"])["id"]

    def holding(self, ids: Collection[str]) -> list[int]:
        """The numbers of the units that any of these recordings are in."""
        wanted = pa.array(sorted(ids), pa.string())
        files = -(-len(self.units()) // UNITS_PER_FILE)
        with ThreadPoolExecutor(THREADS, "manifest") as threads:
            return [unit for found in threads.map(partial(self._holding, wanted), range(files)) for unit in found]

    def _holding(self, wanted: pa.Array, file: int) -> list[int]:
        groups = self._file(file)
        rows = np.flatnonzero(pc.is_in(groups.read(["id"], use_threads=False)["id"], wanted))
        ends = np.cumsum([groups.metadata.row_group(number).num_rows for number in range(groups.num_row_groups)])
        return [file * UNITS_PER_FILE + int(place) for place in np.unique(np.searchsorted(ends, rows, side="right"))]

    def _file(self, number: int) -> pq.ParquetFile:
        # As a whole: it is small, and one request costs less than the three of a Parquet reader.
        return pq.ParquetFile(io.BytesIO(self.folder.read(_group_name(number))))


def unit_of(number: int, table: pa.Table) -> Unit:
    """A row group of the manifest as a unit."""
    passed = [name for name in table.column_names if name.startswith("column.")]
    names = output_names([name.removeprefix("column.") for name in passed], SCHEMA.names, "input_")
    columns = table.select(passed).rename_columns(names)
    recordings = [_recording(row) for row in table.select(ENTRY_SCHEMA.names).to_pylist()]
    return Unit(number, recordings, columns=columns)


def _recording(row: dict[str, Any]) -> Recording:
    recording = Recording(
        id=row["id"],
        uri=row["uri"],
        row=row["row"],
        reference=row["reference"],
        span=None if row["member"] is None else Span(row["member"], row["start"]),
        size=row["size"],
        version=row["version"],
        cut=Cut(row["offset_s"], row["length_s"], row["channel"]),
        declared_s=row["duration_s"],
    )
    if row["error"] is not None:
        recording.fail("list", RecordingError(row["error"], row["error_detail"]))
    return recording


def output_names(columns: Sequence[str], ours: Collection[str], prefix: str) -> list[str]:
    """Passed-through columns keep their names unless one is ours; some have that prefix already."""
    taken = {*ours, *columns}
    names = []
    for column in columns:
        name = column
        while name in ours or (name != column and name in taken):
            name = f"{prefix}{name}"
        taken.add(name)
        names.append(name)
    return names


def _entries_table(unit: list[Entry], schema: pa.Schema, columns: pa.Schema) -> pa.Table:
    values: dict[str, list[Any]] = {
        **{name: [getattr(entry, name) for entry in unit] for name in OF_ENTRIES},
        "member": [entry.span.member if entry.span else None for entry in unit],
        "start": [entry.span.start if entry.span else None for entry in unit],
        **{name: [getattr(entry.cut, name) for entry in unit] for name in Cut._fields},
        "error": [entry.error.reason if entry.error else None for entry in unit],
        "error_detail": [entry.error.detail if entry.error else None for entry in unit],
        **{f"column.{c.name}": [fitted(entry.columns.get(c.name), c) for entry in unit] for c in columns},
    }
    return pa.Table.from_arrays([pa.array(values[field.name], field.type) for field in schema], schema=schema)


def unit_info(number: int, unit: list[Entry]) -> UnitInfo:
    known = all(entry.duration_s is not None for entry in unit)
    return UnitInfo(number, len(unit), sum(entry.seconds for entry in unit), known)


def _group_name(number: int) -> str:
    return f"recordings-{number:05d}.parquet"


def parquet_bytes(groups: list[pa.Table]) -> bytes:
    """Of one schema, a row group each."""
    sink = io.BytesIO()
    with pq.ParquetWriter(sink, groups[0].schema, compression="zstd") as writer:
        for group in groups:
            writer.write_table(group, row_group_size=max(group.num_rows, 1))
    return sink.getvalue()
