"""Parquet shards: which column is the audio, what becomes of each row, what a shard that lies costs, and what is read.

pyarrow and `datasets` wrote the shards; what `datasets` itself reads from them is the oracle.
"""

import random
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.config import ReadConfig
from pipeline.errors import RecordingError, UsageError
from pipeline.manifest import Manifest
from pipeline.read.fetch import fetch
from pipeline.records import WHOLE, Cut, Recording
from pipeline.sources import found as inputs
from pipeline.sources.entries import Entry
from pipeline.sources.found import File, Files, Found
from pipeline.sources.parquet import ParquetFiles
from pipeline.sources.passes import MAX_CUTS, MAX_PIECE_S
from pipeline.store import Folder
from tests.read.counting import Counting, counting_store
from tests.sources import listing
from tests.sources.listing import CONFIG, reasons

AUDIO = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
CLIP = {"bytes": b"not read here", "path": "a.wav"}


def table(path: Path, rows: list[dict[str, Any]], schema: pa.Schema | None = None, **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows, schema), path, **options)
    return path


def entries(url: Path | str, config: ReadConfig = CONFIG) -> list[Entry]:
    return listing.entries(ParquetFiles, url, config)


def refusal(url: Path | str, config: ReadConfig = CONFIG) -> str:
    return listing.refusal(ParquetFiles, url, config)


def read(found: list[Entry]) -> list[Any]:
    """What the reader gets for each entry: its bytes, or the reason why there are none."""
    recordings = [Recording(e.id, e.uri, e.row, span=e.span, size=e.size, version=e.version, cut=e.cut) for e in found]
    got = {
        recording.id: data.reason if isinstance(data, RecordingError) else data
        for recording, data in fetch(recordings, CONFIG)
    }
    return [got[entry.id] for entry in found]


@pytest.fixture
def store() -> Iterator[type[Counting]]:
    with counting_store() as counting:
        yield counting


def remote(store: type[Counting], shards: dict[str, bytes]) -> Found:
    store.contents.update({f"bucket/{name}": data for name, data in shards.items()})
    listed = Files.of(File(f"bucket/{name}", len(data), f"{len(data)} 0") for name, data in shards.items())
    return Found("counting://bucket", fsspec.filesystem("counting"), "bucket", listed, False, lambda text: None)


# Rows


def test_a_hugging_face_shard_is_read_as_it_is(tmp_path: Path) -> None:
    rows = [{"audio": CLIP, "sentence": "A", "duration": 1.0, "n": 1}, {"audio": CLIP, "sentence": None, "n": 2}]
    path = table(tmp_path / "train-00000.parquet", rows)
    first, second = entries(path)
    assert (first.id, first.uri, first.row, first.cut) == ("train-00000:0", str(path), 0, WHOLE)
    assert (first.reference, first.duration_s, first.columns) == ("A", 1.0, {"n": 1})
    assert (second.id, second.row, second.reference, second.duration_s) == ("train-00000:1", 1, None, None)
    assert first.version == second.version == inputs.find(str(path)).listed[0].version != ""


def test_what_datasets_writes_is_what_it_reads(tmp_path: Path) -> None:
    """Its own mark says which column is audio, whatever its name and whatever others look like."""
    import datasets

    cells = [None if n == 3 else {"bytes": b"RIFF%d" % n, "path": f"{n}.wav"} for n in range(50)]
    columns = {
        "image": pa.array([{"bytes": b"no sound", "path": "x.png"}] * 50, AUDIO),
        "heard": pa.array(cells, AUDIO),
        "text": [f"t{n}" for n in range(50)],
        "speaker": pa.array([{"name": f"s{n % 3}", "langs": ["a"] * (n % 3)} for n in range(50)]),
    }
    data = datasets.Dataset(pa.table(columns)).cast_column("heard", datasets.Audio(decode=False))
    data.to_parquet(str(tmp_path / "d.parquet"), batch_size=20)
    found = entries(tmp_path / "d.parquet")
    rows = list(datasets.Dataset.from_parquet(str(tmp_path / "d.parquet"), cache_dir=str(tmp_path / "cache")))
    assert [(e.row, e.reference, e.columns["speaker"]) for e in found] == [
        (n, row["text"], row["speaker"]) for n, row in enumerate(rows)
    ]
    assert read(found) == [row["heard"]["bytes"] if row["heard"] else "no audio in its row" for row in rows]


@pytest.mark.parametrize(
    "mark", [b"{", b"[]", b'{"info": null}', b'{"info": {"features": {"a": 1}}}', b'{"info": {"features": []}}']
)
def test_a_mark_that_makes_no_sense_is_none(tmp_path: Path, mark: bytes) -> None:
    schema = pa.schema([("audio", AUDIO)], metadata={b"huggingface": mark})
    assert [entry.row for entry in entries(table(tmp_path / "a.parquet", [{"audio": CLIP}], schema))] == [0]


@pytest.mark.parametrize(
    ("rows", "columns"),
    [
        ([{"bytes": b"1", "speaker": "x"}], {"speaker": "x"}),
        ([{"audio": b"1", "speaker": "x"}], {"speaker": "x"}),
        ([{"path": "a.wav", "speaker": "x"}], {"speaker": "x"}),
        ([{"path": "where it came from", "bytes": b"1"}], {"path": "where it came from"}),
        ([{"file": "where it came from", "audio": CLIP}], {"file": "where it came from"}),
        ([{"audio": CLIP, "offset": 1.5, "channel": 1}], {"offset": 1.5, "channel": 1}),  # of the clip, not into it
        ([{"audio": CLIP, "noisy": CLIP, "spectrum": b"1"}], {}),  # files are not copied into a manifest
        ([{"audio": {**CLIP, "sampling_rate": 8000}, "n": 1}], {"n": 1}),
        ([{"thumbnail": CLIP, "Audio": {"bytes": b"1"}, "path": "x"}], {"path": "x"}),
    ],
)
def test_the_column_with_the_audio_is_found_and_the_others_pass(
    tmp_path: Path, rows: list[dict[str, Any]], columns: dict[str, Any]
) -> None:
    [found] = entries(table(tmp_path / "a.parquet", rows))
    assert found.columns == columns
    assert found.cut == WHOLE


@pytest.mark.parametrize(
    "kind",
    [
        pa.large_binary(),
        pa.binary_view(),
        pa.binary(4),
        pa.dictionary(pa.int32(), pa.binary()),
        pa.struct([("path", pa.string()), ("bytes", pa.large_binary()), ("rate", pa.int32())]),
        pa.struct([("bytes", pa.dictionary(pa.int8(), pa.binary()))]),
    ],
)
def test_audio_is_found_and_read_however_it_is_stored(tmp_path: Path, kind: pa.DataType) -> None:
    cells = [b"RIFF", None, b"fLaC", b"RIFF"]
    values = [{"bytes": cell} for cell in cells] if pa.types.is_struct(kind) else cells
    schema = pa.schema([("audio", kind), ("n", pa.int8())])
    path = table(tmp_path / "a.parquet", [{"audio": v, "n": n} for n, v in enumerate(values)], schema, row_group_size=3)
    found = entries(path)
    assert [entry.columns["n"] for entry in found] == [0, 1, 2, 3]
    assert read(found) == [b"RIFF", "no audio in its row", b"fLaC", b"RIFF"]


@pytest.mark.parametrize(
    "kind", [pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int8(), pa.string()), AUDIO]
)
def test_paths_are_files_beside_the_shard_however_they_are_stored(tmp_path: Path, kind: pa.DataType) -> None:
    (tmp_path / "clips").mkdir()
    (tmp_path / "clips" / "a.wav").write_bytes(b"RIFF")
    paths = ["clips/a.wav", None, "https://host/b.mp3?key=secret", str(tmp_path / "gone.wav"), "nosuch://x/c", ""]
    values = [{"bytes": None, "path": path} for path in paths] if pa.types.is_struct(kind) else paths
    found = entries(table(tmp_path / "m.parquet", [{"audio": v} for v in values], pa.schema([("audio", kind)])))
    assert [entry.id for entry in found] == [f"m:{number}" for number in range(6)]
    assert [(found[n].uri, found[n].row, found[n].size) for n in (0, 2, 3)] == [
        (str(tmp_path / "clips" / "a.wav"), None, 4),
        (paths[2], None, None),
        (paths[3], None, None),
    ]
    nothing = "no audio in its row"
    assert reasons(found) == [None, nothing, None, None, "not a place to read from", nothing]
    assert read(found[:1]) == [b"RIFF"]


def test_a_table_of_segments_says_where_each_begins(tmp_path: Path) -> None:
    rows = [
        {"path": "a.wav", "offset": 1.5, "duration": 2.0, "channel": 1},
        {"path": "a.wav", "offset": 3.5, "duration": None, "channel": None},
        {"path": "b.wav", "offset": None, "duration": 4.0, "channel": 0},
        {"path": "b.wav", "offset": -1.0, "duration": 4.0, "channel": 0},
        {"path": "b.wav", "offset": 1.0, "duration": 0.0, "channel": 0},
        {"path": "b.wav", "offset": 1.0, "duration": 1.0, "channel": -1},
    ]
    source, found = listing.walked(ParquetFiles, table(tmp_path / "m.parquet", rows))
    assert [entry.cut for entry in found[:3]] == [Cut(1.5, 2.0, 1), Cut(3.5, None, None), Cut(0.0, None, 0)]
    assert reasons(found) == [
        *[None] * 3,
        "segment without a valid start",
        "segment without a valid duration",
        "channel is not a whole number",
    ]
    assert source.schema == pa.schema([])


def test_columns_of_any_type_reach_the_manifest(tmp_path: Path) -> None:
    """Also those of types that have no values of their own in Python, or that other packages have added."""
    columns = {
        "nested": pa.array([{"a": [1, None]}, None]),
        "map": pa.array([[("a", 1)], []], pa.map_(pa.string(), pa.int8())),
        "encoded": pa.array(["x", "y"]).dictionary_encode(),
        "view": pa.array(["x", None], pa.string_view()),
        "many": pa.array([[b"x".hex()], ["y"]], pa.list_(pa.string_view())),
        "time": pa.array([1, 2], pa.timestamp("ms", "UTC")),
        "uuid": pa.array([b"0123456789abcdef", None], pa.uuid()),
        "half": pa.array([1.5, 2.5], pa.float16()),
        "nothing": pa.nulls(2),
    }
    pq.write_table(pa.table({"audio": pa.array([CLIP, CLIP], AUDIO), **columns}), tmp_path / "a.parquet")
    source, found = listing.walked(ParquetFiles, tmp_path / "a.parquet")
    manifest = Manifest(Folder(str(tmp_path / "manifest")))
    manifest.write([found], source.schema)
    kept = manifest.unit(0).columns
    assert kept is not None
    assert kept.drop_columns("uuid").to_pylist() == pa.table(columns).drop_columns("uuid").to_pylist()
    assert kept["uuid"].to_pylist() == [b"0123456789abcdef", None]


def test_shards_may_have_different_columns(tmp_path: Path) -> None:
    schema = pa.schema([("audio", AUDIO), ("n", pa.int32()), ("only_a", pa.string())])
    table(tmp_path / "a.parquet", [{"audio": CLIP, "n": 1, "only_a": "x"}], schema)
    table(tmp_path / "sub" / "b.parquet", [{"audio": CLIP, "n": 2**40, "only_b": True, "text": "T"}])
    source, found = listing.walked(ParquetFiles, tmp_path)
    assert source.schema == pa.schema([("n", pa.int64()), ("only_a", pa.string()), ("only_b", pa.bool_())])
    assert [(entry.id, entry.reference, entry.columns) for entry in found] == [
        ("a:0", None, {"n": 1, "only_a": "x"}),
        ("sub/b:0", "T", {"n": 2**40, "only_b": True}),
    ]


def test_a_shard_without_rows_or_without_other_columns_is_no_fault(tmp_path: Path) -> None:
    table(tmp_path / "a.parquet", [], pa.schema([("audio", AUDIO)]))
    table(tmp_path / "b.parquet", [{"audio": CLIP}] * 3)
    assert [entry.id for entry in entries(tmp_path)] == ["b:0", "b:1", "b:2"]


# Pieces


@settings(max_examples=30)
@given(st.integers(1, 400), st.integers(1, 150), st.sampled_from([0.5, 30.0, 500.0, 4000.0]))
def test_pieces_are_rows_in_order_within_one_row_group(
    tmp_path_factory: pytest.TempPathFactory, num_rows: int, in_group: int, duration: float
) -> None:
    rows = [{"audio": CLIP, "duration": duration} for _ in range(num_rows)]
    path = table(tmp_path_factory.mktemp("p") / "a.parquet", rows, row_group_size=in_group)
    pieces = list(ParquetFiles(inputs.find(str(path)), CONFIG).pieces())
    assert [entry.row for piece in pieces for entry in piece.entries] == list(range(num_rows))
    for piece in pieces:
        group = {entry.row // in_group for entry in piece.entries if entry.row is not None}
        assert len(group) == 1 and piece.shard == str(path)
        assert len(piece.entries) <= -(-min(in_group, num_rows) // MAX_CUTS)
        assert len(piece.entries) == 1 or sum(entry.seconds for entry in piece.entries) <= MAX_PIECE_S


def test_rows_that_name_files_are_cut_and_mixed_freely(tmp_path: Path) -> None:
    path = table(tmp_path / "a.parquet", [{"path": f"{n}.wav"} for n in range(10)])
    pieces = list(ParquetFiles(inputs.find(str(path)), CONFIG).pieces())
    assert [(len(piece.entries), piece.shard) for piece in pieces] == [(1, None)] * 10


def test_a_long_row_group_is_listed_a_few_rows_at_a_time(tmp_path: Path) -> None:
    schema = pa.schema([("audio", AUDIO), ("text", pa.string()), ("duration", pa.float64())])
    cells = pa.array([{"bytes": b"x", "path": "a"}], AUDIO).take(pa.array([0] * 40_000))
    texts = pa.array([f"the words of recording {n}" for n in range(40_000)])
    columns = [cells, texts, pa.array([10.0] * 40_000)]
    pq.write_table(pa.Table.from_arrays(columns, schema=schema), tmp_path / "a.parquet", row_group_size=40_000)
    source = ParquetFiles(inputs.find(str(tmp_path)), CONFIG)
    tracemalloc.start()
    assert sum(len(piece.entries) for piece in source.pieces()) == 40_000
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 5 * 2**20  # all of them are 40 MB


# In a store


def shard_of(num_rows: int, in_group: int, num_bytes: int, seed: int = 0) -> bytes:
    noise = random.Random(seed)
    clips = [{"bytes": noise.randbytes(num_bytes), "path": "a"} for _ in range(num_rows)]
    rows = [{"text": f"t{n}", "audio": clip, "n": n} for n, clip in enumerate(clips)]
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(rows), sink, row_group_size=in_group)
    return bytes(sink.getvalue())


def test_of_a_store_only_what_is_not_audio_is_read_and_once(store: type[Counting]) -> None:
    found = remote(store, {f"{n}.parquet": shard_of(60, 20, 30_000, n) for n in range(12)})
    store.num_awaited = 5
    listed = [entry for piece in ParquetFiles(found, CONFIG).pieces() for entry in piece.entries]
    assert [(e.id, e.reference) for e in listed] == [
        (f"{shard}:{row}", f"t{row}") for shard in sorted(map(str, range(12))) for row in range(60)
    ]
    size = sum(map(len, store.contents.values()))
    assert store.num_served < 0.06 * size  # the last 64 kB of each, in which the footer is, are 0.036
    assert len(store.asked) <= 12 * (2 + 2 * 3) and not store.num_infos
    assert store.most_at_once >= 5


def test_a_listing_may_end_early(store: type[Counting]) -> None:
    """Threads that wait for room in a queue would keep the process for ever."""
    source = ParquetFiles(remote(store, {f"{n}.parquet": shard_of(30, 1, 10, n) for n in range(30)}), CONFIG)
    pieces = source.pieces()
    assert next(iter(pieces)).entries[0].id == "0:0"
    pieces.close()  # type: ignore[attr-defined]
    assert len({path for path, _, _ in store.asked}) < 30


def test_shards_in_a_store_keep_their_protocol() -> None:
    files = fsspec.filesystem("memory")
    try:
        files.pipe("/parquet-test/a.parquet", shard_of(1, 1, 10))
        assert [entry.uri for entry in entries("memory://parquet-test")] == ["memory:///parquet-test/a.parquet"]
    finally:
        files.rm("/parquet-test", recursive=True)


def test_a_shard_that_may_not_be_read_is_one_failure_and_a_store_that_fails_stops(store: type[Counting]) -> None:
    shards = {f"{n}.parquet": shard_of(2, 2, 10, n) for n in range(3)}
    found = remote(store, shards)
    store.errors["bucket/1.parquet"] = [PermissionError("no")] * 99
    listed = [entry for piece in ParquetFiles(found, CONFIG).pieces() for entry in piece.entries]
    assert [entry.id for entry in listed] == ["0:0", "0:1", "1", "2:0", "2:1"]
    assert reasons(listed) == [None, None, "permission denied", None, None]
    store.errors["bucket/1.parquet"] = [TimeoutError("stalled")] * 999
    with pytest.raises(UsageError, match=r"^counting://bucket/1.parquet: store fails: .*read.storage_deadline_s"):
        list(ParquetFiles(found, ReadConfig(storage_deadline_s=0.1)).pieces())


# Damage


def test_an_unreadable_shard_among_others_is_one_failure(tmp_path: Path) -> None:
    table(tmp_path / "a.parquet", [{"audio": CLIP}])
    table(tmp_path / "sub" / "c.parquet", [{"audio": CLIP}])
    (tmp_path / "sub" / "b.parquet").write_bytes(b"not read here")
    (tmp_path / "empty.parquet").write_bytes(b"")
    found = entries(tmp_path)
    assert [entry.id for entry in found] == ["a:0", "empty", "sub/b", "sub/c:0"]
    assert reasons(found) == [None, "shard not readable", "shard not readable", None]
    assert found[2].uri == str(tmp_path / "sub" / "b.parquet") and found[2].version


def test_shards_none_of_which_can_be_read_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_bytes(b"not read here")
    assert refusal(tmp_path).startswith(f"{tmp_path}: none of its shards can be read (shard not readable: ")


def test_damaged_pages_cost_their_row_group_alone(tmp_path: Path) -> None:
    rows = [{"audio": CLIP, "text": f"{n} {'x' * 1000}"} for n in range(30)]
    path = table(tmp_path / "a.parquet", rows, row_group_size=10)
    column = pq.ParquetFile(path).metadata.row_group(1).column(2)
    data = bytearray(path.read_bytes())
    start = column.dictionary_page_offset or column.data_page_offset
    data[start : start + column.total_compressed_size] = b"\xff" * column.total_compressed_size
    path.write_bytes(data)
    found = entries(path)
    assert [entry.id for entry in found] == [f"a:{n}" for n in [*range(10), "10+", *range(20, 30)]]
    assert found[10].error is not None and found[10].error.reason == "shard not readable"
    assert (found[10].error.detail or "").startswith("rows 10 to 19: ")


def test_mutated_shards_are_listed_or_refused(tmp_path: Path) -> None:
    """Whatever pyarrow makes of them: no other exception, and no end of memory."""
    noise = random.Random(5)
    whole = shard_of(40, 10, 20)
    outcomes = set()
    for _ in range(150):
        data = bytearray(whole)
        for _ in range(noise.randint(1, 8)):
            data[noise.randrange(len(data))] = noise.randrange(256)
        (tmp_path / "a.parquet").write_bytes(data[: noise.choice([len(data), noise.randrange(len(data))])])
        outcome = listing.entries_or_refusal(ParquetFiles, tmp_path)
        outcomes.add("refused" if isinstance(outcome, str) else "listed")
    assert outcomes == {"refused", "listed"}


# Refusals


def test_shards_that_do_not_fit_together_are_refused(tmp_path: Path) -> None:
    table(tmp_path / "a.parquet", [{"audio": CLIP, "n": 1}])
    table(tmp_path / "b.parquet", [{"audio": CLIP, "n": "one"}])
    assert refusal(tmp_path).startswith(f"{tmp_path}/b.parquet: its columns do not fit those of the shards before it")


def test_a_shard_without_audio_among_others_is_one_failure(tmp_path: Path) -> None:
    """As one that is damaged: a table of speakers beside the shards must not cost the night."""
    table(tmp_path / "a.parquet", [{"audio": CLIP}])
    table(tmp_path / "speakers.parquet", [{"speaker": "x", "minutes": 3}])
    found = entries(tmp_path)
    assert [entry.id for entry in found] == ["a:0", "speakers"]
    assert reasons(found) == [None, "no column with audio"]
    assert found[1].error is not None and found[1].error.detail == "columns: speaker, minutes"


@pytest.mark.parametrize("rows", [[{"n": 1}], [{"audio": {"array": [0.0], "sampling_rate": 16_000}}]])
def test_a_shard_without_audio_says_what_it_has(tmp_path: Path, rows: list[dict[str, Any]]) -> None:
    path = table(tmp_path / "a.parquet", rows)
    why = f"no column with audio: columns: {next(iter(rows[0]))}"
    assert refusal(path) == f"{path}: none of its shards can be read ({why})"


@pytest.mark.parametrize("option", ["id_column", "reference_column"])
def test_a_configured_column_that_is_nowhere_is_refused(tmp_path: Path, option: str) -> None:
    path = table(tmp_path / "a.parquet", [{"audio": CLIP}])
    assert refusal(path, ReadConfig(**{option: "typo"})) == f"{path}: no column typo (read.{option})"


def test_a_configured_column_comes_before_the_usual_ones(tmp_path: Path) -> None:
    path = table(tmp_path / "a.parquet", [{"audio": CLIP, "id": "x", "text": "X", "n": 7, "said": "Y"}])
    [found] = entries(path, ReadConfig(id_column="n", reference_column="said"))
    assert (found.id, found.reference, found.columns) == ("7", "Y", {"id": "x", "text": "X"})


def test_an_empty_id_is_none(tmp_path: Path) -> None:
    """Rows named "" and "#2" cannot be told apart."""
    rows = [{"audio": CLIP, "id": name} for name in ("", None, "x")]
    assert [entry.id for entry in entries(table(tmp_path / "a.parquet", rows))] == ["a:0", "a:1", "x"]


def test_paths_with_a_start_and_an_end_are_segments(tmp_path: Path) -> None:
    """Else each row is the whole file with a segment's reference. Where they are no numbers they pass through."""
    rows = [{"path": "a.wav", "start": 1.5, "end": 2.75}, {"path": "a.wav", "start": 2.75, "end": 2.0}]
    source, found = listing.walked(ParquetFiles, table(tmp_path / "m.parquet", rows))
    assert (found[0].cut, found[0].duration_s) == (Cut(1.5, 1.25), 1.25)
    assert reasons(found) == [None, "segment without a valid duration"]
    assert source.schema == pa.schema([])
    [named] = entries(table(tmp_path / "n.parquet", [{"path": "a.wav", "start": "noon", "end": "one"}]))
    assert (named.cut, named.columns) == (WHOLE, {"start": "noon", "end": "one"})


@pytest.mark.parametrize(
    "url",
    [
        "HTTPS://h/x.wav?X-Amz-Signature=SECRET",
        "nosuch::https://h/x.wav?X-Amz-Signature=SECRET",
        " https://h/x.wav?X-Amz-Signature=SECRET",
        "nosuch://me:SECRET@h/x.wav",
    ],
)
def test_what_signs_a_url_that_leads_nowhere_is_in_no_error(tmp_path: Path, url: str) -> None:
    """Errors are rows, and rows are published."""
    [entry] = entries(table(tmp_path / "a.parquet", [{"path": url}]))
    assert entry.error is not None and entry.error.reason == "not a place to read from"
    assert "SECRET" not in f"{entry}"
