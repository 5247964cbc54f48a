"""What inputs are recognised, what is made of them, and that every refusal names the thing at fault.

It reads no audio: a listing only needs names, sizes and columns.
"""

import json
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.config import ReadConfig
from pipeline.errors import UsageError
from pipeline.manifest import Manifest, cut
from pipeline.read.entries import Entry
from pipeline.read.sources import open_source
from pipeline.store import Folder

CONFIG = ReadConfig()


def entries(url: Path | str, config: ReadConfig = CONFIG) -> list[Entry]:
    return [entry for piece in open_source(str(url), config).pieces() for entry in piece.entries]


def refusal(url: Path | str, config: ReadConfig = CONFIG) -> str:
    with pytest.raises(UsageError) as caught:
        entries(url, config)
    return str(caught.value)


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"not read here")


def lines(path: Path, *records: Any, newline: str = "\n") -> Path:
    path.write_bytes(newline.join(r if isinstance(r, str) else json.dumps(r) for r in records).encode())
    return path


def table(path: Path, rows: list[dict[str, Any]], schema: pa.Schema | None = None, **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows, schema), path, **options)
    return path


@pytest.fixture
def memory() -> Any:
    files = fsspec.filesystem("memory")
    yield files
    for name in files.ls("/", detail=False):
        files.rm(name, recursive=True)


# Loose files


def test_a_folder_is_listed_to_the_bottom_in_one_order_without_what_is_hidden(tmp_path: Path) -> None:
    touch(tmp_path, "b/2.flac", "a/deep/1.WAV", "c.mp3", ".hidden.wav", "_temporary.wav", "notes.txt")
    found = entries(tmp_path)
    assert [entry.id for entry in found] == ["a/deep/1.WAV", "b/2.flac", "c.mp3"]
    assert [entry.uri for entry in found] == [f"{tmp_path}/{entry.id}" for entry in found]
    assert {entry.size for entry in found} == {13}


def test_a_glob_names_recordings_by_their_common_folder(tmp_path: Path) -> None:
    touch(tmp_path, "x/a/1.flac", "x/b/2.flac", "x/b/2.wav")
    assert [entry.id for entry in entries(tmp_path / "x" / "*" / "*.flac")] == ["a/1.flac", "b/2.flac"]


def test_brackets_in_a_name_that_exists_are_no_pattern(tmp_path: Path) -> None:
    touch(tmp_path, "take [1]/a.wav")
    assert [entry.id for entry in entries(tmp_path / "take [1]")] == ["a.wav"]
    assert [entry.id for entry in entries(tmp_path / "take [1]" / "a.wav")] == ["a.wav"]


def test_a_link_is_a_recording_and_a_broken_one_is_not_lost(tmp_path: Path) -> None:
    touch(tmp_path, "elsewhere/1.wav", "in/2.wav")
    (tmp_path / "in" / "link.wav").symlink_to(tmp_path / "elsewhere" / "1.wav")
    (tmp_path / "in" / "gone.wav").symlink_to(tmp_path / "nowhere.wav")
    (tmp_path / "in" / "loop").symlink_to(tmp_path)
    assert [entry.id for entry in entries(tmp_path / "in")] == ["2.wav", "gone.wav", "link.wav"]
    assert [entry.id for entry in entries(tmp_path / "in" / "l*.wav")] == ["link.wav"]


def test_a_name_that_is_not_utf8_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / b"caf\xe9.wav".decode("utf-8", "surrogateescape")).write_bytes(b"")
    assert refusal(tmp_path) == f"{tmp_path}/caf?.wav: its name is not UTF-8; rename it"


def test_files_in_a_store_keep_their_protocol(memory: Any) -> None:
    memory.pipe({"/corpus/a/1.flac": b"1", "/corpus/2.wav": b"22"})
    assert [(e.id, e.uri, e.size) for e in entries("memory://corpus")] == [
        ("2.wav", "memory:///corpus/2.wav", 2),
        ("a/1.flac", "memory:///corpus/a/1.flac", 1),
    ]
    assert [entry.id for entry in entries("memory://corpus/*.wav")] == ["2.wav"]


# JSON lines


@pytest.mark.parametrize(
    ("path", "name", "reference", "duration"),
    [
        ("audio_filepath", "id", "reference", "duration"),
        ("audio", "utt_id", "text", "duration_s"),
        ("path", "utterance_id", "transcript", "duration"),
        ("uri", "key", "transcription", "duration"),
        ("file", "id", "sentence", "duration"),
        ("wav", "id", "text", "duration"),
    ],
)
def test_the_usual_names_are_understood(tmp_path: Path, path: str, name: str, reference: str, duration: str) -> None:
    manifest = lines(tmp_path / "m.jsonl", {path: "a.wav", name: 7, reference: "HELLO", duration: 2, "speaker": "x"})
    [found] = entries(manifest)
    assert found == Entry("7", f"{tmp_path}/a.wav", None, None, 2.0, "HELLO", {"speaker": "x"})


def test_paths_are_relative_to_the_manifest_unless_they_say_otherwise(tmp_path: Path) -> None:
    touch(tmp_path, "in/sub/a.wav")
    names = ("sub/a.wav", "/abs/b.wav", "s3://bucket/c.wav", "https://host/d.wav", "memory://e.wav")
    found = entries(lines(tmp_path / "in" / "m.jsonl", *({"path": name} for name in names)))
    assert [entry.uri for entry in found] == [f"{tmp_path}/in/sub/a.wav", *names[1:]]
    assert [entry.id for entry in found] == list(names)
    assert found[0].size == 13


def test_a_manifest_in_a_store_has_its_audio_beside_it(memory: Any) -> None:
    memory.pipe({"/corpus/m.jsonl": b'{"path": "a/1.wav"}\n'})
    assert [entry.uri for entry in entries("memory://corpus/m.jsonl")] == ["memory:///corpus/a/1.wav"]


@pytest.mark.parametrize("encoded", [b"\r\n", b"\n\n  \n", b"\n"])
def test_line_ends_blank_lines_and_a_byte_order_mark_are_no_content(tmp_path: Path, encoded: bytes) -> None:
    manifest = tmp_path / "m.jsonl"
    manifest.write_bytes(b"\xef\xbb\xbf" + encoded.join([b'{"path": "a.wav"}', '{"path": "é.wav"}'.encode(), b""]))
    assert [entry.id for entry in entries(manifest)] == ["a.wav", "é.wav"]


def test_columns_of_any_shape_reach_the_manifest(tmp_path: Path) -> None:
    """A type found on line 1 must still fit line 2."""
    records = [
        {"path": "a", "number": 1, "mixed": 1, "nested": {"a": [1]}, "yes": True, "big": 1, "exact": 0.5},
        {"path": "b", "number": 2.5, "mixed": "x", "nested": [1, 2], "yes": None, "big": 2**64, "exact": 2**53 + 1},
        {"path": "c", "late": "é"},
    ]
    source = open_source(str(lines(tmp_path / "m.jsonl", *records)), CONFIG)
    kept = Manifest(Folder(str(tmp_path / "manifest")))
    kept.write(cut(source.pieces(), 1000.0), source.schema)
    columns = kept.unit(0).columns
    assert columns is not None
    assert columns.to_pylist() == [
        {"number": 1.0, "mixed": "1", "nested": '{"a": [1]}', "yes": True, "big": "1", "exact": 0.5, "late": None},
        {
            **{"number": 2.5, "mixed": "x", "nested": "[1, 2]", "yes": None, "big": str(2**64)},
            **{"exact": 2.0**53, "late": None},
        },
        dict.fromkeys(("number", "mixed", "nested", "yes", "big", "exact")) | {"late": "é"},
    ]


def test_a_field_without_a_value_counts_as_absent(tmp_path: Path) -> None:
    """Not as an id called None, and not as a recording of no length or of endless length."""
    manifest = lines(
        tmp_path / "m.jsonl",
        {"path": "a.wav", "id": None, "text": None, "duration": None},
        {"path": "b.wav", "id": "b", "text": "", "duration": float("inf"), "": "x"},
        {"path": "c.wav", "id": 0, "duration": -1},
    )
    found = entries(manifest)
    assert [entry.id for entry in found] == ["a.wav", "b", "0"]
    assert [entry.reference for entry in found] == [None, "", None]
    assert [entry.duration_s for entry in found] == [None, None, None]


def test_configured_columns_come_before_the_usual_ones(tmp_path: Path) -> None:
    manifest = lines(tmp_path / "m.jsonl", {"path": "a", "id": "1", "mine": "2", "text": "x", "verbatim": "y"})
    [found] = entries(manifest, ReadConfig(id_column="mine", reference_column="verbatim"))
    assert (found.id, found.reference, found.columns) == ("2", "y", {"id": "1", "text": "x"})


@pytest.mark.parametrize(
    ("records", "line", "reason"),
    [
        ([{"path": "a"}, "not json"], 2, "not JSON"),
        ([{"path": "a"}, "", '{"path": "b"'], 3, "not JSON"),
        (["[1]"], 1, "not a JSON object"),
        ([{"path": "a"}, {"text": "x"}], 2, "no path to audio"),
        ([{"text": "x"}], 1, "no path to audio"),
        ([{"path": "a"}, {"path": None}], 2, "None is not a path"),
        ([{"path": "a"}, {"path": 3}], 2, "3 is not a path"),
        ([{"path": "a", "offset": 0.0}, {"path": "a", "offset": 1.5}], 2, "segments of a file (offset)"),
    ],
)
def test_a_line_that_cannot_be_used_is_named(tmp_path: Path, records: list[Any], line: int, reason: str) -> None:
    manifest = lines(tmp_path / "m.jsonl", *records)
    assert refusal(manifest).startswith(f"{manifest} line {line}: {reason}")


# Parquet

CLIP = {"bytes": b"not read here", "path": "a.wav"}


def test_a_hugging_face_shard_is_read_as_it_is(tmp_path: Path) -> None:
    path = table(
        tmp_path / "train-00000.parquet",
        [{"audio": CLIP, "sentence": "A", "duration": 1.0, "n": 1}, {"audio": CLIP, "sentence": None, "n": 2}],
    )
    first, second = entries(path)
    assert (first.id, first.uri, first.row) == ("train-00000:0", str(path), 0)
    assert (first.reference, first.duration_s, first.columns) == ("A", 1.0, {"n": 1})
    assert (second.id, second.row, second.reference, second.duration_s) == ("train-00000:1", 1, None, None)


@pytest.mark.parametrize(
    ("rows", "columns"),
    [
        ([{"bytes": b"1", "speaker": "x"}], {"speaker": "x"}),
        ([{"audio": b"1", "speaker": "x"}], {"speaker": "x"}),
        ([{"path": "a.wav", "speaker": "x"}], {"speaker": "x"}),
        ([{"path": "where it came from", "bytes": b"1"}], {"path": "where it came from"}),
        ([{"file": "where it came from", "audio": CLIP}], {"file": "where it came from"}),
    ],
)
def test_the_column_with_the_audio_is_found_and_the_others_pass(
    tmp_path: Path, rows: list[dict[str, Any]], columns: dict[str, Any]
) -> None:
    [found] = entries(table(tmp_path / "a.parquet", rows))
    assert found.columns == columns


def test_shards_may_have_different_columns(tmp_path: Path) -> None:
    table(tmp_path / "a.parquet", [{"audio": CLIP, "n": 1, "only_a": "x"}], pa.schema([("audio", AUDIO), *N32]))
    table(tmp_path / "sub" / "b.parquet", [{"audio": CLIP, "n": 2**40, "only_b": True}])
    source = open_source(str(tmp_path), CONFIG)
    assert {field.name: field.type for field in source.schema} == {
        "n": pa.int64(),
        "only_a": pa.string(),
        "only_b": pa.bool_(),
    }
    assert [(entry.id, entry.columns) for entry in entries(tmp_path)] == [
        ("a:0", {"n": 1, "only_a": "x", "only_b": None}),
        ("sub/b:0", {"n": 2**40, "only_a": None, "only_b": True}),
    ]


AUDIO = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
N32 = [("n", pa.int32()), ("only_a", pa.string())]


def test_rows_are_numbered_through_the_row_groups_and_pieces_stay_within_one(tmp_path: Path) -> None:
    path = table(tmp_path / "a.parquet", [{"audio": CLIP} for _ in range(50)], row_group_size=20)
    pieces = list(open_source(str(path), CONFIG).pieces())
    assert [entry.row for piece in pieces for entry in piece.entries] == list(range(50))
    assert {piece.shard for piece in pieces} == {str(path)}
    assert all(len({entry.row // 20 for entry in piece.entries if entry.row is not None}) == 1 for piece in pieces)


def test_a_shard_without_rows_is_no_fault(tmp_path: Path) -> None:
    table(tmp_path / "a.parquet", [], pa.schema([("audio", AUDIO)]))
    table(tmp_path / "b.parquet", [{"audio": CLIP}])
    assert [entry.id for entry in entries(tmp_path)] == ["b:0"]


def test_shards_in_a_store_keep_their_protocol(memory: Any) -> None:
    with memory.open("/corpus/a.parquet", "wb") as file:
        pq.write_table(pa.Table.from_pylist([{"audio": CLIP}]), file)
    assert [entry.uri for entry in entries("memory://corpus")] == ["memory:///corpus/a.parquet"]


# Refusals


def test_no_audio_says_what_was_looked_for(tmp_path: Path) -> None:
    touch(tmp_path, "notes.txt", ".hidden.wav")
    assert refusal(tmp_path).startswith(f"{tmp_path}: no audio in it (looked for Parquet files and files ending in")
    assert refusal(tmp_path / "notes.txt").startswith(f"{tmp_path}/notes.txt: no audio in it")


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    assert refusal(tmp_path / "gone") == f"{tmp_path}/gone: no such file, folder or bucket"
    assert refusal(tmp_path / "*.wav") == f"{tmp_path}/*.wav: nothing matches"
    assert refusal("nosuch://bucket/x").startswith("nosuch://bucket/x: Protocol not known")
    assert refusal("memory://gone/m.jsonl") == "memory://gone/m.jsonl: no such file, folder or bucket"


def test_mixed_inputs_are_not_guessed(tmp_path: Path) -> None:
    touch(tmp_path, "a.wav", "b.parquet")
    assert refusal(tmp_path) == f"{tmp_path} holds 1 audio files and 1 Parquet files: name one kind with a glob"


def test_an_unreadable_shard_is_named(tmp_path: Path) -> None:
    table(tmp_path / "a.parquet", [{"audio": CLIP}])
    touch(tmp_path, "b.parquet")
    assert refusal(tmp_path).startswith(f"{tmp_path}/b.parquet: not a readable Parquet file")


def test_a_shard_with_damaged_pages_is_named(tmp_path: Path) -> None:
    path = table(tmp_path / "a.parquet", [{"audio": CLIP, "text": "x" * 1000} for _ in range(10)])
    column = pq.ParquetFile(path).metadata.row_group(0).column(2)
    data = bytearray(path.read_bytes())
    start = column.dictionary_page_offset or column.data_page_offset
    data[start : start + column.total_compressed_size] = b"\xff" * column.total_compressed_size
    path.write_bytes(data)
    assert refusal(path).startswith(f"{path}: row group 0 is not readable")


def test_shards_that_do_not_fit_together_are_refused(tmp_path: Path) -> None:
    table(tmp_path / "a.parquet", [{"audio": CLIP, "n": 1}])
    table(tmp_path / "b.parquet", [{"audio": CLIP, "n": "one"}])
    assert refusal(tmp_path).startswith(f"{tmp_path}: the shards' columns do not fit together")
    table(tmp_path / "b.parquet", [{"sound": CLIP}])
    assert refusal(tmp_path) == f"{tmp_path}/b.parquet: no column audio, which the other shards have"


@pytest.mark.parametrize("rows", [[{"n": 1}], [{"audio": {"array": [0.0], "sampling_rate": 16_000}}]])
def test_a_shard_without_audio_says_what_it_has(tmp_path: Path, rows: list[dict[str, Any]]) -> None:
    path = table(tmp_path / "a.parquet", rows)
    assert refusal(path) == f"{path}: no column with audio (columns: {next(iter(rows[0]))})"


@pytest.mark.parametrize("option", ["id_column", "reference_column"])
def test_a_configured_column_that_is_nowhere_is_refused(tmp_path: Path, option: str) -> None:
    config = ReadConfig(**{option: "typo"})
    for path in (table(tmp_path / "a.parquet", [{"audio": CLIP}]), lines(tmp_path / "m.jsonl", {"path": "a"})):
        assert refusal(path, config) == f"{path}: no column typo (read.{option})"


def test_an_empty_manifest_is_refused(tmp_path: Path) -> None:
    assert refusal(lines(tmp_path / "m.jsonl", "", "")) == f"{tmp_path}/m.jsonl: an empty manifest"
