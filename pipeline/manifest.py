"""The manifest: the frozen list of what a run will do, cut once into units of some minutes of audio.

Lies in the run directory as Parquet: `units.parquet` lists the units, and 32 units share one file of recordings, a
row group each, so that a worker reads just its own unit. Knows nothing of what happens to a unit.
"""

import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.config import ReadConfig
from pipeline.read.entries import Entry, Piece, Source
from pipeline.records import SCHEMA, Recording
from pipeline.store import Folder
from pipeline.unit import Unit

UNITS = "units.parquet"
UNITS_PER_FILE = 32
MIN_UNIT_S, MAX_UNIT_S = 30.0, 600.0  # below, Ray's 20 ms a task show; above, a crash costs too much
UNITS_PER_RUN = 64  # enough for progress and balance on a small corpus

ENTRY_SCHEMA = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("uri", pa.string(), nullable=False),
        pa.field("row", pa.int64()),
        pa.field("size", pa.int64()),
        pa.field("duration_s", pa.float64()),
        pa.field("reference", pa.string()),
    ]
)
UNIT_SCHEMA = pa.schema(
    [
        pa.field("unit", pa.int64(), nullable=False),
        pa.field("num_recordings", pa.int64(), nullable=False),
        pa.field("seconds", pa.float64(), nullable=False),
        pa.field("seconds_known", pa.bool_(), nullable=False),
    ]
)


@dataclass(frozen=True)
class UnitInfo:
    """A unit as the driver holds it."""

    id: int
    num_recordings: int
    seconds: float  # of audio: known, or estimated from sizes
    seconds_known: bool


def limited(pieces: Iterable[Piece], limit: int | None) -> Iterator[Piece]:
    """Only the first so many recordings."""
    left = limit
    for piece in pieces:
        if left is None:
            yield piece
        elif left > 0:
            yield Piece(piece.entries[:left], piece.shard)
            left -= len(piece.entries)
        else:
            return


def cut(pieces: Iterable[Piece], unit_s: float) -> Iterator[list[Entry]]:
    """Units of about `unit_s` seconds, in the input's order: a long piece alone, shards never mixed."""
    unit: list[Entry] = []
    seconds, shard = 0.0, None
    for piece in pieces:
        piece_s = sum(entry.seconds for entry in piece.entries)
        if unit and (piece.shard != shard or seconds + piece_s > 1.5 * unit_s):
            yield unit
            unit, seconds = [], 0.0
        unit, seconds, shard = unit + piece.entries, seconds + piece_s, piece.shard
        if seconds >= unit_s:
            yield unit
            unit, seconds = [], 0.0
    if unit:
        yield unit


def unit_seconds(total_s: float) -> float:
    """The default size of a unit: from the corpus alone, so that it is the same on every machine."""
    return min(MAX_UNIT_S, max(MIN_UNIT_S, total_s / UNITS_PER_RUN))


def units_of(source: Source, config: ReadConfig) -> Iterator[list[Entry]]:
    """The units of an input, one at a time. It is listed twice where the size of a unit depends on the whole."""
    unit_s = config.unit_s
    if unit_s is None:
        total_s = sum(entry.seconds for piece in limited(source.pieces(), config.limit) for entry in piece.entries)
        unit_s = unit_seconds(total_s)
    return cut(limited(source.pieces(), config.limit), unit_s)


class Manifest:
    """The manifest in a run directory."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder

    def write(self, units: Iterable[list[Entry]], columns: pa.Schema) -> int:
        """Freeze the units and return how many recordings had an id that was taken; `units.parquet` comes last."""
        names = _Unique()
        schema = pa.schema([*ENTRY_SCHEMA, *(pa.field(f"column.{c.name}", c.type) for c in columns)])
        infos: list[UnitInfo] = []
        group: list[pa.Table] = []
        for number, unit in enumerate(units):
            for entry in unit:
                entry.id = names.unique(entry.id)
            group.append(_entries_table(unit, schema))
            infos.append(unit_info(number, unit))
            if len(group) == UNITS_PER_FILE:
                self._write_group(number // UNITS_PER_FILE, group)
                group = []
        if group:
            self._write_group((len(infos) - 1) // UNITS_PER_FILE, group)
        rows = [
            {"unit": i.id, "num_recordings": i.num_recordings, "seconds": i.seconds, "seconds_known": i.seconds_known}
            for i in infos
        ]
        self._folder.publish(UNITS, _parquet([pa.Table.from_pylist(rows, UNIT_SCHEMA)]))
        return names.num_doubled

    def copy(self, other: "Manifest") -> None:
        """The same units as another run's, byte for byte; `units.parquet` comes last."""
        names = [name for name in other._folder.names() if name.startswith("recordings-")]
        for name in [*names, UNITS]:
            self._folder.publish(name, other._folder.read(name))

    def _write_group(self, number: int, group: list[pa.Table]) -> None:
        self._folder.publish(_group_name(number), _parquet(group))

    def units(self) -> list[UnitInfo]:
        rows = pq.read_table(io.BytesIO(self._folder.read(UNITS))).to_pylist()
        return [UnitInfo(r["unit"], r["num_recordings"], r["seconds"], r["seconds_known"]) for r in rows]

    def unit(self, number: int) -> Unit:
        """A unit with its recordings pending and its passed-through columns."""
        # The file as a whole: it is small, and one request costs less than the three of a Parquet reader.
        file = io.BytesIO(self._folder.read(_group_name(number // UNITS_PER_FILE)))
        return unit_of(number, pq.ParquetFile(file).read_row_group(number % UNITS_PER_FILE))


def unit_of(number: int, table: pa.Table) -> Unit:
    """A row group of the manifest as a unit."""
    passed = [name for name in table.column_names if name.startswith("column.")]
    columns = table.select(passed).rename_columns(_output_names([name.removeprefix("column.") for name in passed]))
    recordings = [
        Recording(id=row["id"], uri=row["uri"], row=row["row"], reference=row["reference"])
        for row in table.select(["id", "uri", "row", "reference"]).to_pylist()
    ]
    return Unit(number, recordings, columns=columns)


def _output_names(columns: list[str]) -> list[str]:
    """Passed-through columns keep their names unless one is ours; the output of a run has `input_` names already."""
    taken = {*SCHEMA.names, *columns}
    names = []
    for column in columns:
        name = column
        while name in SCHEMA.names or (name != column and name in taken):
            name = f"input_{name}"
        taken.add(name)
        names.append(name)
    return names


class _Unique:
    """Ids made unique: the second `a` becomes `a#2`."""

    def __init__(self) -> None:
        self._seen: dict[str, int] = {}
        self.num_doubled = 0

    def unique(self, name: str) -> str:
        if name not in self._seen:
            self._seen[name] = 1
            return name
        self.num_doubled += 1
        while True:
            self._seen[name] += 1
            candidate = f"{name}#{self._seen[name]}"
            if candidate not in self._seen:
                self._seen[candidate] = 1
                return candidate


def _entries_table(unit: list[Entry], schema: pa.Schema) -> pa.Table:
    names = ENTRY_SCHEMA.names
    rows = [
        {
            **{name: getattr(entry, name) for name in names},
            **{f"column.{name}": value for name, value in entry.columns.items()},
        }
        for entry in unit
    ]
    return pa.Table.from_pylist(rows, schema=schema)


def unit_info(number: int, unit: list[Entry]) -> UnitInfo:
    known = all(entry.duration_s is not None for entry in unit)
    return UnitInfo(number, len(unit), sum(entry.seconds for entry in unit), known)


def _group_name(number: int) -> str:
    return f"recordings-{number:05d}.parquet"


def _parquet(groups: list[pa.Table]) -> bytes:
    sink = io.BytesIO()
    with pq.ParquetWriter(sink, groups[0].schema, compression="zstd") as writer:
        for group in groups:
            writer.write_table(group, row_group_size=max(group.num_rows, 1))
    return sink.getvalue()
