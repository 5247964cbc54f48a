"""The stage that loads what is scored: a unit's parts of the evaluated run as columns, with its joined references.

Knows nothing of what is compared, or how.
"""

from collections.abc import Iterator, Sequence

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline import records
from pipeline.commit import Stored
from pipeline.errors import UsageError
from pipeline.evaluation import rows
from pipeline.evaluation.references import COLUMN
from pipeline.evaluation.rows import Level
from pipeline.evaluation.scoring import AS_THEY_ARE, How
from pipeline.evaluation.units import parts_of, references_of
from pipeline.manifest import output_names
from pipeline.run import Run
from pipeline.store import Folder
from pipeline.unit import Unit

# Of lists of structs the one field that is read.
LISTS = {"words": "confidence", "nbest": "text", "phones": "phone"}
PARTS_AT_ONCE = 64


class Loader:
    """A unit's number -> the columns that its rows are scored from, those that pass through behind `COLUMN`."""

    def __init__(self, run: Run, scored: Folder, how: How) -> None:
        self._manifest, self._scored, self._how = run.manifest, scored, how
        self._columns = [*AS_THEY_ARE, *([Level.PHONES.said] if how.phonemes else [])]
        self._lists = [name for name in LISTS if name != "phones" or how.phonemes]

    def __call__(self, unit: Unit) -> Unit:
        parts = parts_of(self._manifest, unit.id)
        table = self._rows(pa.concat_tables(self._read(parts)).combine_chunks())
        if self._how.joined:
            table = self._joined(table, references_of(self._manifest, unit.id))
        unit.columns = table
        return unit

    def _read(self, parts: Sequence[Stored]) -> Iterator[pa.Table]:
        """Of each part the columns that are needed, those that pass through last."""
        schema, columns = None, list[str]()
        for part, data in zip(parts, self._bytes(parts), strict=True):
            if Stored.of(part.name, data) != part:
                raise self._changed(part, "is another than was committed")
            file = pq.ParquetFile(pa.BufferReader(data))
            if schema is None or not file.schema.equals(schema):  # of parts of a hundred rows, names take a fifth
                schema, columns = file.schema, self._wanted(file.schema_arrow.names)
            # Not in threads for each column: parts are small, and it would take twice as long.
            yield file.read(columns, use_threads=False)

    def _bytes(self, parts: Sequence[Stored]) -> Iterator[bytes]:
        """Some at a time: of a store at once, and of a disk without asking anew for each how patient to be."""
        folder = self._scored.sub("data")
        for some in (parts[first : first + PARTS_AT_ONCE] for first in range(0, len(parts), PARTS_AT_ONCE)):
            try:
                yield from folder.read_all([part.name for part in some]).values()
            except FileNotFoundError as error:
                gone = next((part for part in some if not folder.exists(part.name)), some[0])
                raise self._changed(gone, "is gone") from error

    def _wanted(self, names: Sequence[str]) -> list[str]:
        leaves = [f"{name}.list.element.{LISTS[name]}" for name in self._lists]
        ours = set(records.SCHEMA.names)
        return [*self._columns, *leaves, *(name for name in names if name not in ours)]

    def _rows(self, read: pa.Table) -> pa.Table:
        table = pa.table({name: _column(read, name) for name in self._columns})
        for name in self._lists:
            table = table.append_column(name, _list(read, name))
        passed = [name for name in read.column_names if name not in records.SCHEMA.names]
        for name, new in zip(passed, output_names(passed, rows.SCHEMA.names, "input_"), strict=True):
            table = table.append_column(f"{COLUMN}{new}", read[name])
        return table

    def _changed(self, part: Stored, what: str) -> UsageError:
        return UsageError(
            f"{self._scored.url}: {part.name} {what}, so the run was changed while it was evaluated: start again; "
            f"where that is no help, the file is damaged: delete it, and go on with the run"
        )

    def _joined(self, table: pa.Table, joined: pa.Table) -> pa.Table:
        """With other references, and with what else their table has; names that are taken get a prefix."""
        if not joined["id"].combine_chunks().equals(table["id"].combine_chunks()):
            raise UsageError(f"{self._scored.url}: its rows are not in the order of its manifest; start it anew")
        table = table.set_column(table.column_names.index("reference"), "reference", joined["reference"])
        new = [name for name in joined.column_names if name.startswith(COLUMN)]
        taken = [*rows.SCHEMA.names, *_passed(table)]
        names = output_names([name.removeprefix(COLUMN) for name in new], taken, "reference_")
        for name, column in zip(names, new, strict=True):
            table = table.append_column(f"{COLUMN}{name}", joined[column])
        return table


def _column(table: pa.Table, name: str) -> pa.ChunkedArray:
    """Null throughout where the run is of a version that did not have it."""
    kind = rows.SCHEMA.field(name).type
    return table[name].cast(kind) if name in table.column_names else pa.chunked_array([pa.nulls(len(table), kind)])


def _list(table: pa.Table, name: str) -> pa.ChunkedArray:
    """Lists of structs of one field -> lists of that field."""
    kind = pa.list_(records.SCHEMA.field(name).type.value_type.field(LISTS[name]).type)
    if name not in table.column_names:
        return pa.chunked_array([pa.nulls(len(table), kind)])
    whole = table[name].combine_chunks()
    made = pa.ListArray.from_arrays(whole.offsets, whole.values.field(0), mask=whole.is_null())
    return pa.chunked_array([made.cast(kind)])


def _passed(table: pa.Table) -> list[str]:
    return [name.removeprefix(COLUMN) for name in table.column_names if name.startswith(COLUMN)]
