"""The read stage on loose files and shards: every recording exactly once, with its audio or with its reason."""

import io
import os
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile

from pipeline.config import ReadConfig
from pipeline.read.reader import ROWS_AT_ONCE, Reader
from pipeline.read.sources import open_source
from pipeline.records import Recording
from pipeline.unit import Unit


def clip(number: int) -> bytes:
    """Audio that tells which one it is by its length."""
    file = io.BytesIO()
    soundfile.write(file, np.zeros(100 + number), 16_000, format="WAV")
    return file.getvalue()


def read(recordings: list[Recording]) -> list[Recording]:
    return Reader(ReadConfig(), lambda unit: unit)(Unit(0, recordings)).recordings


def outcome(recording: Recording) -> int | str:
    """Which clip it got, or why none."""
    if recording.status == "failed":
        assert recording.audio is None
        return recording.error or ""
    assert recording.audio is not None
    assert recording.duration_s == len(recording.audio) / 16_000
    return len(recording.audio) - 100


def outcomes(source: Path | str) -> list[int | str]:
    pieces = open_source(str(source), ReadConfig()).pieces()
    found = [entry for piece in pieces for entry in piece.entries]
    return [outcome(recording) for recording in read([Recording(e.id, e.uri, e.row) for e in found])]


def shard(path: Path, rows: list[Any], column: str = "audio", **options: Any) -> Path:
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    types = {"audio": kind, "bytes": pa.binary(), "path": pa.string()}
    pq.write_table(pa.table({column: pa.array(rows, types[column])}), path, **options)
    return path


def damage(path: Path, group: int) -> None:
    """Overwrite the pages of a row group, as a bad disk would: the footer still reads."""
    column = pq.ParquetFile(path).metadata.row_group(group).column(0)
    start = column.dictionary_page_offset or column.data_page_offset
    data = bytearray(path.read_bytes())
    data[start : start + column.total_compressed_size] = b"\xff" * column.total_compressed_size
    path.write_bytes(data)


def test_loose_files_are_read_and_what_is_wrong_with_the_others_is_told(tmp_path: Path) -> None:
    (tmp_path / "good.wav").write_bytes(clip(1))
    (tmp_path / "empty.wav").write_bytes(b"")
    names = ("good.wav", "gone.wav", ".", "empty.wav", "nul\0.wav", "good.wav")
    assert [outcome(r) for r in read([Recording(str(n), f"{tmp_path}/{name}") for n, name in enumerate(names)])] == [
        1,
        "read: missing file",
        "read: a folder, not a file",
        "read: empty file",
        "read: storage error",
        1,
    ]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_a_failed_row(tmp_path: Path) -> None:
    (tmp_path / "secret.wav").write_bytes(clip(1))
    (tmp_path / "secret.wav").chmod(0)
    assert outcomes(tmp_path) == ["read: permission denied"]


def test_files_in_a_store_are_told_apart_by_their_names_alone() -> None:
    """A * in a name is no pattern: it would fetch the neighbours, or the whole bucket."""
    files = fsspec.filesystem("memory")
    names = ("a.wav", "*.wav", "a[1].wav", "a?.wav")
    files.pipe({f"/reader/{name}": clip(number) for number, name in enumerate(names)})
    try:
        wanted = [*names, "gone*.wav", "a.wav"]
        found = read([Recording(str(n), f"memory:///reader/{name}") for n, name in enumerate(wanted)])
        assert [outcome(recording) for recording in found] == [0, 1, 2, 3, "read: missing file", 0]
    finally:
        files.rm("/reader", recursive=True)


@pytest.mark.parametrize("rows_in_group", [1, 7, 100])
def test_rows_of_a_shard_come_to_their_recordings_in_any_order(tmp_path: Path, rows_in_group: int) -> None:
    path = shard(tmp_path / "a.parquet", [{"bytes": clip(n)} for n in range(100)], row_group_size=rows_in_group)
    other = shard(tmp_path / "b.parquet", [{"bytes": clip(200)}])
    rows = [99, 3, 50, 0, 64, 63, 7, 6]
    wanted = [Recording(str(row), str(path), row) for row in rows]
    wanted.insert(4, Recording("other", str(other), 0))
    assert [outcome(recording) for recording in read(wanted)] == [99, 3, 50, 0, 200, 64, 63, 7, 6]


@pytest.mark.parametrize("last", [ROWS_AT_ONCE - 1, ROWS_AT_ONCE, ROWS_AT_ONCE + 1])
def test_the_last_row_wanted_of_a_row_group_is_read_wherever_its_batch_ends(tmp_path: Path, last: int) -> None:
    path = shard(tmp_path / "a.parquet", [{"bytes": clip(n)} for n in range(last + 10)])
    assert [outcome(recording) for recording in read([Recording("a", str(path), last)])] == [last]


def test_a_row_without_audio_costs_itself_alone(tmp_path: Path) -> None:
    rows = [{"bytes": clip(0)}, None, {"bytes": None, "path": None}, {"bytes": b""}, {"path": ""}, {"bytes": clip(5)}]
    nothing = "read: no audio in its row"
    assert outcomes(shard(tmp_path / "a.parquet", rows)) == [0, nothing, nothing, "read: empty file", nothing, 5]


@pytest.mark.parametrize("column", ["audio", "path"])
def test_rows_may_name_files_beside_their_shard(tmp_path: Path, column: str) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "1.wav").write_bytes(clip(1))
    (tmp_path / "2.wav").write_bytes(clip(2))
    names = ["sub/1.wav", f"{tmp_path}/2.wav", "gone.wav", "nosuch://x/y.wav", f"file://{tmp_path}/2.wav"]
    rows = [{"path": name} for name in names] if column == "audio" else names
    path = shard(tmp_path / "a.parquet", rows, column)
    assert outcomes(path) == [1, 2, "read: missing file", "read: storage error", 2]


def test_plain_bytes_are_read(tmp_path: Path) -> None:
    assert outcomes(shard(tmp_path / "a.parquet", [clip(3), None], "bytes")) == [3, "read: no audio in its row"]


def test_a_shard_in_a_store_is_read_with_the_files_beside_it() -> None:
    files = fsspec.filesystem("memory")
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    rows = pa.array([{"bytes": clip(1)}, {"path": "sub/2.wav"}], kind)
    with files.open("/reader/a.parquet", "wb") as file:
        pq.write_table(pa.table({"audio": rows}), file)
    files.pipe("/reader/sub/2.wav", clip(2))
    try:
        assert outcomes("memory://reader/a.parquet") == [1, 2]
    finally:
        files.rm("/reader", recursive=True)


def test_a_shard_that_was_damaged_after_it_was_listed_fails_what_is_in_it(tmp_path: Path) -> None:
    path = shard(tmp_path / "a.parquet", [{"bytes": clip(n)} for n in range(6)], row_group_size=2)
    damage(path, group=1)
    found = [outcome(recording) for recording in read([Recording(str(n), str(path), n) for n in range(6)])]
    unreadable = "read: shard not readable"
    assert found[:4] == [0, 1, unreadable, unreadable]
    assert found[4:] in ([4, 5], [unreadable] * 2)  # what comes after the damage may be given up


def test_a_shard_that_was_replaced_after_it_was_listed_fails_what_is_gone(tmp_path: Path) -> None:
    path = shard(tmp_path / "a.parquet", [{"bytes": clip(n)} for n in range(3)])

    def now() -> list[int | str]:
        return [outcome(recording) for recording in read([Recording(str(n), str(path), n) for n in range(3)])]

    shard(path, [{"bytes": clip(0)}])
    assert now() == [0, "read: row missing from its shard", "read: row missing from its shard"]
    pq.write_table(pa.table({"n": [1, 2, 3]}), path)
    assert now() == ["read: shard not readable"] * 3
    path.write_bytes(b"no Parquet any more")
    assert now() == ["read: shard not readable"] * 3
    path.unlink()
    assert now() == ["read: missing file"] * 3


def test_what_failed_or_is_done_already_is_not_read_again(tmp_path: Path) -> None:
    done = Recording("done", f"{tmp_path}/gone.wav", status="ok", text="HELLO")
    assert read([done]) == [Recording("done", f"{tmp_path}/gone.wav", status="ok", text="HELLO")]


def test_the_sample_corpus_is_read_but_for_what_is_broken_on_purpose(sample: Path) -> None:
    results = outcomes(sample / "corpus" / "manifest.jsonl")
    assert all(isinstance(result, int) for result in results[:-4])
    assert results[-4:] == ["read: not audio", "read: empty file", "read: damaged audio", "read: missing file"]
