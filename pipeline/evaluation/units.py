"""What the units of an evaluation are made of: parts of the evaluated run, and the references that were joined to them.

Frozen in the evaluation's manifest before anything is scored, so that a resumed one reads neither the table of
references nor other parts. Knows nothing of scoring.
"""

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.commit import Commit, Stored
from pipeline.evaluation.references import Joined
from pipeline.manifest import Doubled, Manifest, UnitInfo, parquet_bytes
from pipeline.run import Run

MAX_RECORDINGS = 20_000  # 10 to 20 MB of text; below some thousands, starting a task would show
MAX_SECONDS = 720_000.0  # of long recordings; 200 hours are as much text
PARTS = "parts.parquet"
PARTS_SCHEMA = pa.schema(
    [
        pa.field("unit", pa.int64(), nullable=False),
        pa.field("name", pa.string(), nullable=False),
        pa.field("size", pa.int64(), nullable=False),
        pa.field("sha256", pa.string(), nullable=False),
    ]
)


def grouped(commits: Sequence[Commit]) -> list[list[Commit]]:
    """Commits that follow one another, as many as a unit holds; each is in one."""
    groups: list[list[Commit]] = []
    num, seconds = 0, 0.0
    for commit in commits:
        num, seconds = num + commit.tally.num_recordings, seconds + commit.tally.audio_s
        if not groups or num > MAX_RECORDINGS or seconds > MAX_SECONDS:
            groups.append([])
            num, seconds = commit.tally.num_recordings, commit.tally.audio_s
        groups[-1].append(commit)
    return groups


@dataclass(frozen=True)
class CommittedRows:
    """What of a run counts, as the input of its evaluation."""

    run: Run
    commits: Sequence[Commit]  # in the order of its units
    joined: Joined | None  # None: the references are the run's own

    @property
    def description(self) -> str:
        num = sum(commit.tally.num_recordings for commit in self.commits)
        return f"{num:,} recordings of {self.run.folder.url}"

    def check(self) -> None:
        """Nothing is left to find out."""

    def freeze(self, manifest: Manifest) -> Doubled:
        groups = grouped(self.commits)
        rows = [
            {"unit": number, "name": commit.part, "size": commit.size, "sha256": commit.sha256}
            for number, group in enumerate(groups)
            for commit in group
        ]
        manifest.folder.publish(PARTS, parquet_bytes([pa.Table.from_pylist(rows, PARTS_SCHEMA)]))
        infos = [_info(number, group) for number, group in enumerate(groups)]
        if self.joined is not None:
            first = 0
            for info in infos:
                table = self.joined.table.slice(first, info.num_recordings)
                manifest.folder.publish(_references_name(info.id), parquet_bytes([table]))
                first += info.num_recordings
        manifest.write_units(infos)
        return Doubled()  # ids are the run's, which has made them unique

    def close(self) -> None:
        """Nothing is held."""


def ids_of(run: Run, commits: Sequence[Commit]) -> pa.ChunkedArray:
    """The ids of what is committed, in order: from the manifest, which is smaller than the parts."""
    numbers: Iterator[int] = (commit.unit for commit in commits)
    return pa.chunked_array([chunk for ids in run.manifest.ids(numbers) for chunk in ids.chunks], pa.string())


def parts_of(manifest: Manifest, unit: int) -> list[Stored]:
    """The parts of the evaluated run that are this unit."""
    table = pq.read_table(io.BytesIO(manifest.folder.read(PARTS)))
    rows = table.filter(pc.equal(table["unit"], unit)).to_pylist()
    return [Stored(row["name"], row["size"], row["sha256"]) for row in rows]


def references_of(manifest: Manifest, unit: int) -> pa.Table:
    """Of each recording of the unit, in order, what was joined; see `references.Joined`."""
    return pq.read_table(io.BytesIO(manifest.folder.read(_references_name(unit))))


def _info(number: int, group: Sequence[Commit]) -> UnitInfo:
    num = sum(commit.tally.num_recordings for commit in group)
    return UnitInfo(number, num, sum(commit.tally.audio_s for commit in group), seconds_known=True)


def _references_name(unit: int) -> str:
    return f"references-{unit:06d}.parquet"
