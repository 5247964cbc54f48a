"""Damaged audio in every format: each file becomes a row, nothing crashes, hangs or fills the memory."""

import resource
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.config import Config, EncodeConfig, ReadConfig, RunConfig
from pipeline.drive import drive
from pipeline.progress import Progress
from pipeline.read.reader import Reader
from pipeline.records import Recording
from pipeline.request import Request
from pipeline.run import find
from pipeline.unit import Unit
from pipeline.write import read_parts
from tests.faults.mutants import KINDS, damaged, whole_files

SEED = 20260101
PER_SHARD = 1000
MAX_MEMORY = 4 * 2**30  # of the largest process: ReadConfig.max_memory_gb


@pytest.fixture(scope="module")
def whole() -> dict[str, bytes]:
    return whole_files()


def write_shards(folder: Path, whole: dict[str, bytes], number: int) -> list[str]:
    """Parquet with the mutants in it; their names."""
    folder.mkdir()
    rows = list(damaged(whole, number, SEED))
    for start in range(0, number, PER_SHARD):
        shard = rows[start : start + PER_SHARD]
        table = pa.table({"id": [name for name, _ in shard], "audio": [data for _, data in shard]})
        pq.write_table(table, folder / f"{start:06d}.parquet", row_group_size=100)
    return [name for name, _ in rows]


def check_rows(rows: list[dict[str, object]], names: list[str], whole: dict[str, bytes]) -> None:
    assert Counter(row["id"] for row in rows) == Counter(names)
    assert {row["status"] for row in rows} == {"ok", "failed"}, "mutants that are all readable, or none, test nothing"
    assert all((row["error"] is None) == (row["status"] == "ok") for row in rows)
    reasons = Counter(row["error"] for row in rows if row["error"])
    assert len(reasons) < 30, f"reasons are not stable: {reasons}"
    # Of every kind of damage some must have been found out.
    found_out = {str(row["id"]).split("-")[1].split(".")[0] for row in rows if row["status"] == "failed"}
    assert found_out == {kind.__name__ for kind in KINDS}


def test_whole_files_are_all_readable(whole: dict[str, bytes], tmp_path: Path) -> None:
    """Else the mutants would test the reading of nothing."""
    for extension, data in whole.items():
        (tmp_path / f"a.{extension}").write_bytes(data)
    unit = Unit(0, [Recording(extension, str(tmp_path / f"a.{extension}")) for extension in whole])
    Reader(ReadConfig(), lambda unit: unit)(unit)
    assert {r.id: r.error for r in unit.recordings if r.error} == {}
    assert {r.id for r in unit.recordings if not 0.4 < r.duration_s < 0.6} == set()


def test_a_thousand_mutants_are_a_thousand_rows(whole: dict[str, bytes], tmp_path: Path) -> None:
    number = 1000
    names = write_shards(tmp_path / "corpus", whole, number)
    uri = str(tmp_path / "corpus" / "000000.parquet")
    unit = Unit(0, [Recording(name, uri, row=row) for row, name in enumerate(names)])
    Reader(ReadConfig(), lambda unit: unit)(unit)
    unit.finish()
    check_rows([{"id": r.id, "status": r.status, "error": r.error} for r in unit.recordings], names, whole)


@pytest.mark.slow
@pytest.mark.faults
@pytest.mark.timeout(3600)
def test_twenty_thousand_mutants_are_twenty_thousand_rows(
    sample: Path, whole: dict[str, bytes], tmp_path: Path, record_property
) -> None:
    names = write_shards(tmp_path / "corpus", whole, 20_000)
    config = Config(encode=EncodeConfig(model=str(sample / "model")), run=RunConfig(address="here"))
    with Progress(config.run.log_every_s) as progress:
        result = drive(Request(str(tmp_path / "corpus"), str(tmp_path / "out"), config), progress)
    rows = read_parts(find(str(tmp_path / "out"))).to_pylist()
    check_rows(rows, names, whole)
    assert result.complete
    peak = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)) * 1024
    assert peak < MAX_MEMORY
    for name, told in (
        ("ok", sum(row["status"] == "ok" for row in rows)),
        ("failed", dict(Counter(row["error"] for row in rows if row["error"]).most_common())),
        ("truncated", sum(bool(row["truncated"]) for row in rows)),
        ("peak_mb", peak // 2**20),
    ):
        record_property(name, told)
        print(name, told)
