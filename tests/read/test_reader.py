"""The read stage on loose files and shards: every recording exactly once, with its audio or with its reason."""

import io
import os
from pathlib import Path
from typing import Any

import av
import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile

from pipeline.config import ReadConfig
from pipeline.errors import RecordingError, StageError, UsageError
from pipeline.read import loose, reader
from pipeline.read.reader import Reader
from pipeline.read.rows import ROWS_AT_ONCE
from pipeline.records import WHOLE, Cut, Recording
from pipeline.sources.channels import expand
from pipeline.sources.entries import Entry
from pipeline.sources.recognise import open_source
from pipeline.unit import Unit
from tests.read.counting import counting_store

CONFIG = ReadConfig(storage_deadline_s=60.0)


def clip(number: int) -> bytes:
    """Audio that tells which one it is by its length."""
    file = io.BytesIO()
    soundfile.write(file, np.zeros(100 + number), 16_000, format="WAV")
    return file.getvalue()


def read(recordings: list[Recording], config: ReadConfig = CONFIG) -> list[Recording]:
    return Reader(config, lambda unit: unit)(Unit(0, recordings)).recordings


def outcome(recording: Recording) -> int | str:
    """Which clip it got, or why none."""
    if recording.status == "failed":
        assert recording.audio is None
        return recording.error or ""
    assert recording.audio is not None
    assert recording.duration_s == len(recording.audio) / 16_000
    return len(recording.audio) - 100


def outcomes(source: Path | str) -> list[int | str]:
    return [outcome(recording) for recording in read(listed(source))]


def listed(source: Path | str, config: ReadConfig = CONFIG) -> list[Recording]:
    """As they come out of a manifest."""
    pieces = expand(open_source(str(source), config).pieces(), config)
    return [recording_of(entry) for piece in pieces for entry in piece.entries]


def recording_of(entry: Entry) -> Recording:
    recording = Recording(
        entry.id,
        entry.uri,
        entry.row,
        span=entry.span,
        size=entry.size,
        version=entry.version,
        cut=entry.cut,
        declared_s=entry.duration_s,
    )
    if entry.error is not None:
        recording.fail("list", entry.error)
    return recording


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
    assert outcomes(path) == [1, 2, "read: missing file", "list: not a place to read from", 2]


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
    assert now() == ["read: no column with audio"] * 3
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


def tone(seconds: float, channels: int = 1, format: str = "WAV") -> bytes:
    """Each channel as loud as its number says."""
    file = io.BytesIO()
    samples = np.ones((int(seconds * 16_000), channels)) * (1 + np.arange(channels)) / 10
    soundfile.write(file, samples, 16_000, format=format)
    return file.getvalue()


def cut_off(data: bytes, share: float) -> bytes:
    return data[: int(len(data) * share)]


@pytest.mark.parametrize(
    ("data", "declared_s", "cut", "truncated"),
    [
        (tone(10), None, WHOLE, False),  # the header holds
        (cut_off(tone(10), 0.5), None, WHOLE, True),
        (tone(10), 10.25, WHOLE, False),  # rounded somewhere
        (tone(10), 10.26, WHOLE, True),
        (tone(200), 200.9, WHOLE, False),  # but not by minutes of an hour
        (tone(200), 201.1, WHOLE, True),
        (cut_off(tone(200), 0.999), None, WHOLE, True),  # a header rounds nothing, nor does a segment
        (cut_off(tone(200), 0.9995), None, WHOLE, False),
        (tone(200), None, Cut(10.0, 190.3), True),
        (tone(10), 9.0, WHOLE, False),  # longer than declared
        (cut_off(tone(10), 0.5), 5.0, WHOLE, True),  # the header says more than the manifest
        (tone(10), 3.0, Cut(2.0, 3.0), False),
        (tone(10), 3.0, Cut(8.0, 3.0), True),
        (tone(10), None, Cut(8.0, 3.0), True),  # the segment itself says how long it is
        (cut_off(tone(10), 0.5), None, Cut(1.0, 2.0), False),  # it ends before the damage
        (cut_off(tone(10), 0.5), None, Cut(4.0, 2.0), True),
    ],
)
def test_audio_that_ends_before_what_was_declared_is_flagged(
    tmp_path: Path, data: bytes, declared_s: float | None, cut: Cut, truncated: bool
) -> None:
    (tmp_path / "a.wav").write_bytes(data)
    (found,) = read([Recording("a", f"{tmp_path}/a.wav", declared_s=declared_s, cut=cut)])
    assert found.error is None
    assert found.truncated is truncated


def test_where_nothing_is_declared_nothing_is_flagged(tmp_path: Path) -> None:
    """Raw streams do not tell their length."""
    file = io.BytesIO()
    with av.open(file, "w", format="adts") as container:
        stream = container.add_stream("aac", rate=16_000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 16_000
        for packet in (*(packet for _ in range(50) for packet in stream.encode(frame)), *stream.encode(None)):
            container.mux(packet)
    (tmp_path / "a.aac").write_bytes(file.getvalue())
    (found,) = read([Recording("a", f"{tmp_path}/a.aac")])
    assert (found.status, found.truncated) == ("pending", None)


@pytest.mark.parametrize(("channels", "levels"), [("mix", [0.2, 0.3]), (0, [0.1, 0.3]), (1, [0.2, 0.3])])
def test_a_channel_is_picked_where_none_is_named(tmp_path: Path, channels: Any, levels: list[float]) -> None:
    """The mean of three, or one of them; a recording that names its own keeps it."""
    (tmp_path / "a.wav").write_bytes(tone(1, channels=3))
    recordings = [Recording("a", f"{tmp_path}/a.wav"), Recording("b", f"{tmp_path}/a.wav", cut=Cut(channel=2))]
    found = read(recordings, ReadConfig(channels=channels))
    for recording, level in zip(found, levels, strict=True):
        assert recording.audio is not None
        scale = 2**15 if recording.audio.dtype == np.int16 else 1
        assert np.allclose(recording.audio / scale, level, atol=1e-3)
    assert [recording.cut.channel for recording in found] == [None if channels == "mix" else channels, 2]


def test_a_channel_that_is_not_there_fails_its_recording(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(tone(1))
    (tmp_path / "b.wav").write_bytes(tone(1, channels=2))
    first, second = read([Recording(name, f"{tmp_path}/{name}.wav") for name in "ab"], ReadConfig(channels=1))
    assert (first.status, second.status) == ("failed", "pending")


def test_cuts_of_one_file_are_what_soundfile_reads_there(tmp_path: Path) -> None:
    """In memory, from a large file by ranges, and from a store: the same samples."""
    rng = np.random.default_rng(7)
    samples = rng.integers(-9000, 9000, 60 * 16_000).astype(np.int16)
    soundfile.write(tmp_path / "a.wav", samples, 16_000)
    soundfile.write(tmp_path / "a.flac", samples, 16_000)
    cuts = [Cut(start, length) for start, length in ((0.0, 1.5), (58.5, None), (3.25, 2.0), (40.0, 10.0))]
    with counting_store() as store:
        for name in ("a.wav", "a.flac"):
            store.contents[f"bucket/{name}"] = (tmp_path / name).read_bytes()
            for root in (str(tmp_path), "counting://bucket"):
                for recording in read([Recording(str(n), f"{root}/{name}", cut=cut) for n, cut in enumerate(cuts)]):
                    first = int(recording.cut.offset_s * 16_000)
                    last = None if recording.cut.length_s is None else first + int(recording.cut.length_s * 16_000)
                    assert recording.audio is not None, recording.error
                    assert np.array_equal(recording.audio, samples[first:last])


def test_a_store_that_gives_up_within_a_file_costs_that_recording_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The decoder has begun with it; the next one must not get its answers."""
    monkeypatch.setattr(loose, "WHOLE_BYTES", 2**19)
    with counting_store() as store:
        for name in "abc":
            store.contents[f"bucket/{name}.wav"] = tone(60 if name == "b" else 1)
        blob_of = loose.RemoteBlob

        def failing(*parts: Any) -> Any:
            store.errors["bucket/b.wav"] = [OSError(5, "the disk of the store")] * 9
            return blob_of(*parts)

        monkeypatch.setattr(loose, "RemoteBlob", failing)
        sizes = {name: len(tone(60 if name == "b" else 1)) for name in "abc"}
        uris = {name: f"counting://bucket/{name}.wav" for name in "abc"}
        found = read([Recording(name, uris[name], version=f"{sizes[name]} 0") for name in "acb"])
        after = read([Recording("d", uris["a"])])
    assert [recording.error for recording in found] == [None, None, "read: storage error"]
    assert [len(r.audio) for r in (*found, *after) if r.audio is not None] == [16_000] * 3


def test_a_file_that_changed_stops_the_run(tmp_path: Path) -> None:
    """No row says that: what is written would be of another corpus than what was listed."""
    (tmp_path / "a.wav").write_bytes(tone(1))
    recordings = listed(tmp_path)
    (tmp_path / "a.wav").write_bytes(tone(2))
    with pytest.raises(UsageError, match="is not what was listed"):
        read(recordings)
    (found,) = read(recordings, ReadConfig(changed="reread"))
    assert found.duration_s == 2.0


@pytest.mark.parametrize(
    ("uri", "reason", "stops"),
    [
        ("s3://bucket/a.wav", "credentials expired", True),
        ("s3://bucket/a.wav", "store not reachable", True),
        ("s3://bucket/a.wav", "access denied", False),
        ("s3://bucket/a.wav", "missing file", False),
        ("https://host/a.wav", "store not reachable", False),
    ],
)
def test_what_the_store_is_to_blame_for_stops_the_run(
    monkeypatch: pytest.MonkeyPatch, uri: str, reason: str, stops: bool
) -> None:
    """With keys that expired at three in the morning, all that is left would have failed by seven."""
    fetched = [(Recording("a", uri), RecordingError(reason, "what to do"))]
    monkeypatch.setattr(reader, "fetch", lambda recordings, config: iter(fetched))
    if stops:
        with pytest.raises(StageError, match=f"{uri}: {reason}: what to do"):
            read([])
    else:
        read([])
        assert outcome(fetched[0][0]) == f"read: {reason}"
