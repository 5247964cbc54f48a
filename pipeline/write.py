"""The write stage: a unit's recordings as one Parquet part, then the commit that makes it count.

Knows nothing of other units. A part holds no time of day and no seconds spent, so that the same unit written twice,
by a worker that was thought dead for instance, is the same bytes.
"""

import io
import time
from collections.abc import Container

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline import emissions
from pipeline.commit import Commit, Stored, Tally
from pipeline.records import to_table
from pipeline.run import Run
from pipeline.store import num_retried
from pipeline.unit import Unit

DISTINCT = ("id", "uri", "member", "duration_s", "snr_estimate_db", "text", "confidence", "score", "reference")


class Writer:
    """A unit whose recordings are finished -> its part and its commit; the recordings go no further."""

    def __init__(self, run: Run, keep_emissions: bool = False) -> None:
        self._run, self._keep_emissions = run, keep_emissions

    def __call__(self, unit: Unit) -> Unit:
        began, cpu_began, retried_before = time.perf_counter(), time.thread_time(), num_retried()
        # A task that is done a second time, because its worker was thought dead, has nothing left to do.
        if (there := self._run.done_before(unit)) is not None:
            return Unit(unit.id, attempt=unit.attempt, commit=there)
        unit.finish()
        data = self.part(unit)
        part = Stored.named("part", unit.id, unit.attempt, data)
        self._run.write_part(part.name, data)
        kept = self._write_emissions(unit) if self._keep_emissions else None
        commit = Commit(
            unit=unit.id,
            part=part.name,
            size=part.size,
            sha256=part.sha256,
            run=self._run.id,
            tally=self.tally(unit),
            attempt=unit.attempt,
            # Its own time is all but the writing of these lines.
            stage_s=unit.stage_s | {"write": time.perf_counter() - began},
            stage_cpu_s=unit.stage_cpu_s | {"write": time.thread_time() - cpu_began},
            written_at=time.time(),
            emissions=kept,
            num_retried=unit.num_retried + num_retried() - retried_before,
        )
        return Unit(unit.id, attempt=unit.attempt, commit=self._run.commit(commit))

    def part(self, unit: Unit) -> bytes:
        return part_bytes(unit)

    def tally(self, unit: Unit) -> Tally:
        return Tally.of(unit.recordings)

    def _write_emissions(self, unit: Unit) -> Stored:
        earlier = {}
        if unit.attempt > 0 and (stored := self._run.commit_of(unit.id).emissions) is not None:
            earlier = emissions.read(self._run.folder, stored)
        data = emissions.to_bytes(unit.recordings, earlier)
        kept = Stored.named(emissions.FOLDER, unit.id, unit.attempt, data)
        self._run.write_emissions(kept.name, data)
        return kept


def part_bytes(unit: Unit) -> bytes:
    table = to_table(unit.recordings)
    if unit.columns is not None:
        for column, name in zip(unit.columns.columns, unit.columns.column_names, strict=True):
            table = table.append_column(name, column)
    return parquet(table, DISTINCT)


def parquet(table: pa.Table, distinct: Container[str]) -> bytes:
    """Of columns that repeat themselves with dictionaries, to look for which in the others takes as long as all the
    rest. Lists have none: their leaves have names of their own.
    """
    sink = io.BytesIO()
    repeated = [name for name in table.column_names if name not in distinct]
    pq.write_table(table, sink, max(len(table), 1), compression="zstd", use_dictionary=repeated)
    return sink.getvalue()


def read_parts(run: Run) -> pa.Table:
    """Every committed row of a run, also while it is being written; a finished run's data/ any reader can read."""
    parts = [commit.part for _, commit in sorted(run.commits().items())]
    tables = [pq.read_table(io.BytesIO(run.folder.sub("data").read(part))) for part in parts]
    return pa.concat_tables(tables) if tables else to_table([])
