"""The manifest under any input: nothing lost, nothing doubled, nothing reordered, and the same after a round trip."""

import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.config import ReadConfig
from pipeline.manifest import Manifest, cut, limited, unit_seconds, units_of
from pipeline.read.entries import Entry, Piece
from pipeline.read.sources import open_source
from pipeline.records import SCHEMA
from pipeline.store import Folder

SECONDS = st.one_of(st.none(), st.floats(0.1, 5.0), st.floats(50.0, 1e4), st.just(0.0))


@st.composite
def pieces(draw: st.DrawFn) -> list[Piece]:
    """Loose files and shards in any mixture; every entry knows its place."""
    number = 0
    found = []
    for shard in draw(st.lists(st.sampled_from([None, None, "a", "b"]), max_size=30)):
        entries = []
        for seconds in draw(st.lists(SECONDS, min_size=1, max_size=1 if shard is None else 6)):
            entries.append(Entry(str(number), "file.wav", duration_s=seconds))
            number += 1
        found.append(Piece(entries, shard))
    return found


def ids(units: list[list[Entry]]) -> list[str]:
    return [entry.id for unit in units for entry in unit]


@given(pieces(), st.floats(1.0, 100.0))
def test_units_hold_the_input_in_its_order_nothing_lost_nothing_doubled(found: list[Piece], unit_s: float) -> None:
    units = list(cut(found, unit_s))
    assert ids(units) == [entry.id for piece in found for entry in piece.entries]
    assert all(units)


@given(pieces(), st.floats(1.0, 100.0))
def test_no_unit_splits_a_piece_or_mixes_shards(found: list[Piece], unit_s: float) -> None:
    unit_of = {entry.id: number for number, unit in enumerate(cut(found, unit_s)) for entry in unit}
    shards: dict[int, set[str | None]] = {}
    for piece in found:
        homes = {unit_of[entry.id] for entry in piece.entries}
        assert len(homes) == 1
        shards.setdefault(homes.pop(), set()).add(piece.shard)
    assert all(len(mixed) == 1 for mixed in shards.values())


@given(pieces(), st.floats(1.0, 100.0))
def test_a_long_recording_stands_alone_and_other_units_are_near_the_target(found: list[Piece], unit_s: float) -> None:
    sizes = {entry.id: (len(piece.entries), piece.shard) for piece in found for entry in piece.entries}
    units = list(cut(found, unit_s))
    for number, unit in enumerate(units):
        seconds = sum(entry.seconds for entry in unit)
        num_in_piece, shard = sizes[unit[0].id]
        if seconds > 1.5 * unit_s * (1 + 1e-9):
            assert len(unit) == num_in_piece
        follower = units[number + 1] if number + 1 < len(units) else None
        if follower is not None and seconds < unit_s * (1 - 1e-9):  # left small, because the next piece did not fit
            next_piece = follower[: sizes[follower[0].id][0]]
            too_much = seconds + sum(entry.seconds for entry in next_piece) > 1.5 * unit_s * (1 - 1e-9)
            assert too_much or sizes[follower[0].id][1] != shard


@given(pieces(), st.integers(0, 60))
def test_a_limit_takes_the_first_so_many(found: list[Piece], limit: int) -> None:
    everything = [entry.id for piece in found for entry in piece.entries]
    assert [entry.id for piece in limited(found, limit) for entry in piece.entries] == everything[:limit]
    assert list(limited(found, None)) == found


@given(st.floats(0, 1e9))
def test_units_neither_drown_in_tasks_nor_lose_hours_to_a_crash(total_s: float) -> None:
    assert 20 <= unit_seconds(total_s) <= 3600


@given(st.lists(st.sampled_from(["a", "a#2", "a#3", "a#2#2", "b", "", "#2"]), max_size=30))
def test_ids_are_made_unique_and_the_first_of_a_kind_keeps_its_own(names: list[str]) -> None:
    folder = Folder("memory://unique")
    units = [[Entry(name, "file.wav") for name in names]] if names else []
    num_doubled = Manifest(folder).write(units, pa.schema([]))
    made = ids(units)
    assert len(set(made)) == len(made)
    assert num_doubled == sum(new != old for new, old in zip(made, names, strict=True))
    assert all(new.startswith(old) for new, old in zip(made, names, strict=True))
    assert made[:1] == names[:1]


def test_a_run_of_more_units_than_a_file_holds_comes_back_as_it_went(tmp_path: Path) -> None:
    manifest = Manifest(Folder(str(tmp_path)))
    units = [
        [Entry(f"{n}/{k}", f"s3://b/{n}.parquet", k, 10, 0.5 if n % 2 else None, f"text {n}", {"n": n}) for k in (0, 1)]
        for n in range(600)
    ]
    assert manifest.write(units, pa.schema([("n", pa.int16())])) == 0
    infos = manifest.units()
    assert [(info.id, info.num_recordings, info.seconds_known) for info in infos] == [
        (n, 2, bool(n % 2)) for n in range(600)
    ]
    for number in (0, 1, 255, 256, 511, 512, 599):
        unit = manifest.unit(number)
        assert unit.id == number
        assert [(r.id, r.uri, r.row, r.reference, r.status) for r in unit.recordings] == [
            (f"{number}/{k}", f"s3://b/{number}.parquet", k, f"text {number}", "pending") for k in (0, 1)
        ]
        assert unit.columns is not None
        assert unit.columns.to_pydict() == {"n": [number, number]}
        assert unit.columns.schema.field("n").type == pa.int16()


def test_an_empty_corpus_is_an_empty_manifest(tmp_path: Path) -> None:
    manifest = Manifest(Folder(str(tmp_path)))
    assert manifest.write([], pa.schema([])) == 0
    assert manifest.units() == []


TYPED: dict[str, tuple[pa.DataType, Any]] = {
    "int8": (pa.int8(), -1),
    "uint64": (pa.uint64(), 2**64 - 1),
    "float32": (pa.float32(), 0.5),
    "bool": (pa.bool_(), True),
    "binary": (pa.binary(), b"\xff"),
    "large_string": (pa.large_string(), "é"),
    "decimal": (pa.decimal128(10, 2), Decimal("1.25")),
    "date": (pa.date32(), datetime.date(2026, 1, 1)),
    "time": (pa.timestamp("us", "UTC"), datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)),
    "list": (pa.list_(pa.int32()), [1, None]),
    "struct": (pa.struct([("a", pa.string()), ("b", pa.list_(pa.float64()))]), {"a": "x", "b": [1.0]}),
    "dictionary": (pa.dictionary(pa.int32(), pa.string()), "voice"),
    "null": (pa.null(), None),
}


@pytest.mark.parametrize("name", TYPED)
def test_passed_through_columns_keep_their_type_and_values(tmp_path: Path, name: str) -> None:
    kind, value = TYPED[name]
    clips = pa.array([b"", b""])
    pq.write_table(pa.table({"audio": clips, "x": pa.array([value, None], kind)}), tmp_path / "a.parquet")
    source = open_source(str(tmp_path), ReadConfig())
    manifest = Manifest(Folder(str(tmp_path / "manifest")))
    manifest.write(cut(source.pieces(), 100.0), source.schema)
    columns = manifest.unit(0).columns
    assert columns is not None
    assert columns.schema.field("x").type == kind
    assert columns.column("x").to_pylist() == [value, None]


@pytest.mark.parametrize(
    ("given_names", "expected"),
    [
        (["speaker", "words", "status"], ["speaker", "input_words", "input_status"]),
        (["words", "input_words"], ["input_input_words", "input_words"]),  # the output of a run, transcribed again
        (["input_words", "words"], ["input_words", "input_input_words"]),
    ],
)
def test_columns_named_like_ours_are_renamed_and_never_collide(
    tmp_path: Path, given_names: list[str], expected: list[str]
) -> None:
    manifest = Manifest(Folder(str(tmp_path)))
    values = {name: f"of {name}" for name in given_names}
    manifest.write([[Entry("a", "a.wav", columns=values)]], pa.schema([(name, pa.string()) for name in given_names]))
    columns = manifest.unit(0).columns
    assert columns is not None
    assert not set(columns.column_names) & set(SCHEMA.names)
    assert columns.column_names == expected
    assert columns.to_pylist() == [dict(zip(expected, values.values(), strict=True))]


AUDIO_STRUCT = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


@pytest.mark.parametrize("kind", ["strings", "structs"])
def test_rows_that_name_files_are_cut_like_files(tmp_path: Path, kind: str) -> None:
    """The size of a path says nothing about the audio behind it: 20,000 paths once made one unit."""
    names = [f"{number}.wav" for number in range(1000)]
    paths = {
        "strings": pa.array(names),
        "structs": pa.array([{"bytes": None, "path": name} for name in names], AUDIO_STRUCT),
    }
    pq.write_table(pa.table({"audio": paths[kind]}), tmp_path / "list.parquet")
    units = list(units_of(open_source(str(tmp_path / "list.parquet"), ReadConfig()), ReadConfig(unit_s=100.0)))
    assert max(len(unit) for unit in units) <= 15
    assert [entry.row for unit in units for entry in unit] == list(range(1000))


def test_a_huge_row_group_makes_no_unit_of_hours(tmp_path: Path) -> None:
    audio = [bytes(17_000)] * 2000  # a second each, if it were FLAC; in one row group
    table = pa.table({"audio": pa.array(audio, pa.binary()), "duration": [60.0] * 2000})
    pq.write_table(table, tmp_path / "shard.parquet", row_group_size=2000)
    units = list(units_of(open_source(str(tmp_path / "shard.parquet"), ReadConfig()), ReadConfig(unit_s=100.0)))
    assert max(sum(entry.seconds for entry in unit) for unit in units) <= 1800
    assert [entry.row for unit in units for entry in unit] == list(range(2000))
