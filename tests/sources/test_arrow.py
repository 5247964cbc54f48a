"""Datasets saved to disk: the rows are those that `datasets` loads, each is where it is said to be, little is read.

`datasets` wrote them and is the oracle.
"""

import itertools
import json
import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import datasets
import fsspec
import pyarrow as pa
import pytest

from pipeline.read.fetch import fetch
from pipeline.records import Recording
from pipeline.sources import found as inputs
from pipeline.sources.arrow import ArrowDataset, recognised
from pipeline.sources.entries import Entry
from pipeline.sources.found import File, Files, Found
from tests.read.counting import Counting, counting_store
from tests.sources import listing
from tests.sources.listing import CONFIG, reasons

AUDIO = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    datasets.disable_progress_bars()
    yield
    datasets.enable_progress_bars()


def dataset(num_rows: int, num_bytes: int = 100, seed: int = 0) -> Any:
    noise = random.Random(seed)
    clips = [
        None if n == 3 else {"bytes": noise.randbytes(num_bytes + n), "path": None if n == 4 else f"{n}.flac"}
        for n in range(num_rows)
    ]
    columns = {
        "text": [None if n == 5 else f"t{n}" for n in range(num_rows)],
        "audio": pa.array(clips, AUDIO),
        "speaker": pa.array([{"name": f"s{n % 3}", "langs": ["a"] * (n % 3)} for n in range(num_rows)]),
        "duration": pa.array([1.0 + n for n in range(num_rows)], pa.float32()),
    }
    return datasets.Dataset(pa.table(columns)).cast_column("audio", datasets.Audio(decode=False))


def entries(url: Path | str) -> list[Entry]:
    return listing.entries(ArrowDataset, url)


def read(found: list[Entry]) -> list[Any]:
    recordings = [
        Recording(str(number), e.uri, e.row, span=e.span, size=e.size, version=e.version)
        for number, e in enumerate(found)
        if e.error is None
    ]
    got = {recording.id: data for recording, data in fetch(recordings, CONFIG)}
    return [got.get(str(number)) for number in range(len(found))]


def same(found: list[Entry], rows: Any, **constants: str) -> None:
    """Whether entries are the rows of a dataset."""
    rows = list(rows)
    assert [(e.reference, e.columns, e.duration_s) for e in found] == [
        (row["text"], {"speaker": row["speaker"], **constants}, row["duration"]) for row in rows
    ]
    assert read(found) == [row["audio"] and row["audio"]["bytes"] for row in rows]
    assert [e.error and e.error.reason for e in found] == [None if r["audio"] else "no audio in its row" for r in rows]


def test_rows_are_those_that_datasets_loads(tmp_path: Path) -> None:
    """Also of a dataset that is a selection of another, in another order, and shows only some of its columns."""
    data = dataset(2500).select([*range(0, 2500, 2), 3, 1]).with_format("numpy", columns=["text"])
    data.save_to_disk(tmp_path / "d", num_shards=3)
    found = entries(tmp_path / "d")
    same(found, datasets.load_from_disk(tmp_path / "d").with_format(None))
    assert found[-1].id == "data-00002-of-00003:416" and found[-1].row == 416
    assert found[0].version and found[0].span is not None and found[0].span.member == "0.flac"
    source = ArrowDataset(inputs.find(str(tmp_path / "d")), CONFIG)
    assert source.description == "a dataset saved to disk (3 shards)"


def test_of_a_dictionary_every_split_is_read_and_named(tmp_path: Path) -> None:
    splits = datasets.DatasetDict({"train": dataset(30, seed=1), "dev.other": dataset(20, seed=2)})
    splits.save_to_disk(tmp_path / "d", num_shards={"train": 2, "dev.other": 1})
    found = entries(tmp_path / "d")
    same(found[:30], splits["train"], split="train")
    same(found[30:], splits["dev.other"], split="dev.other")
    assert [found[n].id for n in (0, 29, 30)] == [
        "train/data-00000-of-00002:0",
        "train/data-00001-of-00002:14",
        "dev.other/data-00000-of-00001:0",
    ]
    assert len({entry.id for entry in found}) == 50
    same(entries(tmp_path / "d" / "train"), splits["train"])


def test_a_column_called_split_is_kept(tmp_path: Path) -> None:
    data = dataset(2).add_column("split", ["a", "b"])
    datasets.DatasetDict({"train": data}).save_to_disk(tmp_path / "d")
    assert [entry.columns["split"] for entry in entries(tmp_path / "d")] == ["a", "b"]


def test_only_folders_that_datasets_wrote_are_recognised(tmp_path: Path) -> None:
    dataset(2).save_to_disk(tmp_path / "d")
    assert recognised(inputs.find(str(tmp_path / "d")), CONFIG)
    assert not recognised(inputs.find(str(tmp_path / "d" / "state.json")), CONFIG)
    listing.write(tmp_path, {"e/a.arrow": "", "e/states.json": ""})
    assert not recognised(inputs.find(str(tmp_path / "e")), CONFIG)


def remote(store: type[Counting], folder: Path) -> Found:
    paths = {f"bucket/{path.relative_to(folder)}": path for path in sorted(folder.rglob("*")) if path.is_file()}
    store.contents.update({name: path.read_bytes() for name, path in paths.items()})
    listed = Files.of(File(name, path.stat().st_size, f"{path.stat().st_size} 0") for name, path in paths.items())
    return Found("counting://bucket", fsspec.filesystem("counting"), "bucket", listed, False, lambda text: None)


def test_of_a_store_only_what_is_not_audio_is_read(tmp_path: Path) -> None:
    """pyarrow would read the whole stream, because most of it lies before the next batch."""
    dataset(3000, num_bytes=10_000).save_to_disk(tmp_path / "d", num_shards=2)
    with counting_store() as store:
        found = [e for piece in ArrowDataset(remote(store, tmp_path / "d"), CONFIG).pieces() for e in piece.entries]
        assert len(found) == 3000
        size = sum(map(len, store.contents.values()))
        assert size > 30_000_000 and store.num_served < 0.02 * size
        assert not store.num_infos or store.num_infos == 1  # state.json
        some = found[1490:1510]
        rows = datasets.load_from_disk(tmp_path / "d")
        assert read(some) == [rows[number]["audio"]["bytes"] for number in range(1490, 1510)]


@pytest.mark.parametrize("kind", [pa.large_binary(), pa.binary(5), pa.string(), AUDIO])
def test_audio_may_be_stored_in_other_ways(tmp_path: Path, kind: pa.DataType) -> None:
    """By path too, and in batches that are a part of a longer array, or of no rows."""
    if pa.types.is_string(kind):
        values: list[Any] = ["a.flac", None, "https://host/b.flac"]
    elif pa.types.is_struct(kind):
        values = [{"bytes": None, "path": "a.flac"}, None, {"bytes": b"12345", "path": None}]
    else:
        values = [b"12345", None, b"67890"]
    dataset(1).save_to_disk(tmp_path / "d")
    whole = pa.record_batch({"text": ["-", "a", "b", "c"], "audio": pa.array([None, *values], kind)})
    with pa.ipc.new_stream(str(tmp_path / "d" / "data-00000-of-00001.arrow"), whole.schema) as stream:
        for batch in (whole.slice(1, 2), whole.slice(0, 0), whole.slice(3, 1)):
            stream.write_batch(batch)
    (tmp_path / "d" / "a.flac").write_bytes(b"fLaC")
    found = entries(tmp_path / "d")
    assert [entry.reference for entry in found] == ["a", "b", "c"]
    assert reasons(found) == [None, "no audio in its row", None]
    if pa.types.is_string(kind):
        assert [entry.uri for entry in found[::2]] == [str(tmp_path / "d" / "a.flac"), "https://host/b.flac"]
        assert read(found[:2]) == [b"fLaC", None]
    else:
        assert read(found) == [b"fLaC" if pa.types.is_struct(kind) else b"12345", None, content(values[2])]


def content(value: Any) -> Any:
    return value["bytes"] if isinstance(value, dict) else value


# Damage


def test_a_shard_that_is_cut_off_keeps_the_rows_before(tmp_path: Path) -> None:
    dataset(2500).save_to_disk(tmp_path / "d", num_shards=2)
    path = tmp_path / "d" / "data-00000-of-00002.arrow"
    whole = path.read_bytes()
    with pa.ipc.open_stream(str(path)) as stream:
        ends = [0, *itertools.accumulate(batch.num_rows for batch in stream)]
    kept = []
    for end in (len(whole) - 8, len(whole) - 4, len(whole) - 5000, len(whole) // 2, 2000, 100, 0):
        path.write_bytes(whole[:end])
        found = entries(tmp_path / "d")
        [number] = [number for number, entry in enumerate(found) if entry.error and "row" not in entry.error.reason]
        name = "data-00000-of-00002"
        assert found[number].id == (f"{name}:{number}+" if number else name)
        assert found[number].error is not None and found[number].error.reason == "shard not readable"
        assert number in ends and len(found) == number + 1 + 1250
        kept.append(number)
    assert kept[:3] == [1250, 1250, ends[-2]] and kept[3] > 500 and kept[4:] == [0, 0, 0]


def test_a_shard_that_is_gone_is_a_failure(tmp_path: Path) -> None:
    dataset(20).save_to_disk(tmp_path / "d", num_shards=2)
    (tmp_path / "d" / "data-00001-of-00002.arrow").unlink()
    found = entries(tmp_path / "d")
    assert len(found) == 11 and found[10].id == "data-00001-of-00002"
    assert found[10].error is not None and found[10].error.reason == "missing file"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("state.json", "{", "state.json: not JSON"),
        ("state.json", "[]", "state.json: not a JSON object"),
        ("state.json", "{}", "state.json: no list of shards in it"),
        ("state.json", '{"_data_files": [{"filename": "../../secret.arrow"}]}', "state.json: no list of shards in it"),
        (
            "state.json",
            '{"_data_files": [{"filename": "a.arrow"}], "_indices_data_files": [{"filename": "i.arrow"}]}',
            "saved by a `datasets` below 2.0",
        ),
        ("dataset_dict.json", '{"splits": "train"}', "dataset_dict.json: no list of splits in it"),
        ("dataset_dict.json", '{"splits": ["gone"]}', "gone/state.json"),
    ],
)
def test_what_lists_the_shards_must_do_so(tmp_path: Path, name: str, content: str, message: str) -> None:
    dataset(2).save_to_disk(tmp_path / "d")
    (tmp_path / "d" / name).write_text(content)
    assert message in listing.refusal(ArrowDataset, tmp_path / "d")


def test_compressed_batches_and_dictionaries_are_refused_by_name(tmp_path: Path) -> None:
    """pyarrow would take the empty body of a compressed batch for empty columns."""
    dataset(1).save_to_disk(tmp_path / "d")
    path = str(tmp_path / "d" / "data-00000-of-00001.arrow")
    batch = pa.record_batch({"audio": pa.array([{"bytes": b"1" * 999, "path": "a"}] * 99, AUDIO), "text": ["x"] * 99})
    with pa.ipc.new_stream(path, batch.schema, options=pa.ipc.IpcWriteOptions(compression="zstd")) as stream:
        stream.write_batch(batch)
    message = listing.refusal(ArrowDataset, tmp_path / "d")
    assert "none of its shards can be read (shard not readable: from row 0 on: " in message
    encoded = pa.record_batch({"audio": batch["audio"], "text": batch["text"].dictionary_encode()})
    with pa.ipc.new_stream(path, encoded.schema) as stream:
        stream.write_batch(encoded)
    assert "a dictionary in it" in listing.refusal(ArrowDataset, tmp_path / "d")


def test_mutated_shards_are_listed_or_refused(tmp_path: Path) -> None:
    """No other exception, no row outside its shard, and no more memory than the shard has."""
    noise = random.Random(3)
    dataset(120).save_to_disk(tmp_path / "d")
    path = tmp_path / "d" / "data-00000-of-00001.arrow"
    whole = path.read_bytes()
    outcomes = set()
    for number in range(300):
        data = bytearray(whole)
        for _ in range(noise.randint(1, 6)):  # most of the bytes are audio: mostly others
            data[noise.randrange(3000 if number % 3 else len(data))] = noise.randrange(256)
        path.write_bytes(data)
        outcome = listing.entries_or_refusal(ArrowDataset, tmp_path / "d")
        outcomes.add(type(outcome))
        for entry in outcome if isinstance(outcome, list) else []:
            if entry.span is not None and entry.size is not None:
                assert 0 <= entry.span.start <= entry.span.start + entry.size <= len(data)
    assert outcomes == {str, list}


def test_a_changed_dataset_is_seen(tmp_path: Path) -> None:
    dataset(20).save_to_disk(tmp_path / "d")
    before = entries(tmp_path / "d")
    shutil.rmtree(tmp_path / "d")
    dataset(21).save_to_disk(tmp_path / "d")
    assert {entry.version for entry in before}.isdisjoint(entry.version for entry in entries(tmp_path / "d"))
    assert json.loads((tmp_path / "d" / "state.json").read_text())["_data_files"]


def test_a_state_of_something_else_makes_no_dataset(tmp_path: Path) -> None:
    """Trainers and downloads write a `state.json`, too."""
    dataset(3).save_to_disk(tmp_path / "d")
    (tmp_path / "d" / "run").mkdir()
    (tmp_path / "d" / "run" / "state.json").write_text('{"epoch": 3}')
    assert len(entries(tmp_path / "d")) == 3
    assert not recognised(inputs.find(str(tmp_path / "d" / "run")), CONFIG)
