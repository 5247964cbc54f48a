"""The manifest under any input: nothing lost, nothing doubled, nothing reordered, and the same after a round trip."""

import datetime
import itertools
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import RecordingError
from pipeline.manifest import MAX_UNIT_RECORDINGS, Manifest, UnitInfo, cut, unit_info, unit_seconds
from pipeline.records import SCHEMA, Cut, Span
from pipeline.sources.entries import BYTES_PER_SECOND, Entry, Piece
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


def test_recordings_of_no_length_do_not_pile_up_in_one_unit() -> None:
    """A million empty files are 0 s of audio, and yet a million things to read and to write."""
    units = list(cut((Piece([Entry(str(n), "empty.wav", size=0)]) for n in range(25_000)), 30.0))
    assert [len(unit) for unit in units] == [MAX_UNIT_RECORDINGS, MAX_UNIT_RECORDINGS, 5_000]


SIZED = st.builds(
    Entry,
    id=st.just(""),
    uri=st.sampled_from(["a.wav", "a.FLAC", "a.opus", "a.mp4", "a", "https://host/a.mp3"]),
    size=st.none() | st.integers(0, 10**9),
    duration_s=st.none() | st.floats(0.1, 20_000),
    cut=st.just(Cut()) | st.builds(Cut, st.floats(0, 100), st.floats(0.1, 1000)),
    span=st.none() | st.builds(Span, st.sampled_from(["x.flac", "x.wav"]), st.just(512)),
)


@given(st.lists(SIZED, max_size=60))
def test_units_are_as_long_as_bytes_or_durations_suggest(entries: list[Entry]) -> None:
    """Not as many recordings each: a podcast among utterances would hold up its unit for hours."""

    def expected_s(entry: Entry) -> float:
        name = (entry.span.member if entry.span else entry.uri).lower()
        rate = next((rate for ending, rate in BYTES_PER_SECOND.items() if name.endswith(ending)), 16_000)
        by_size = 10.0 if entry.size is None else entry.size / rate
        return entry.duration_s or entry.cut.length_s or by_size

    units = list(cut((Piece([entry]) for entry in entries), 60.0))
    for number, unit in enumerate(units):
        seconds = sum(expected_s(entry) for entry in unit)
        assert unit_info(number, unit).seconds == pytest.approx(seconds)
        assert seconds <= 90 * (1 + 1e-9) or len(unit) == 1
    for one, other in itertools.pairwise(units):
        assert sum(entry.seconds for entry in one) + other[0].seconds >= 60 * (1 - 1e-9)


@given(st.floats(0, 1e9))
def test_units_neither_drown_in_tasks_nor_lose_hours_to_a_crash(total_s: float) -> None:
    assert 20 <= unit_seconds(total_s) <= 3600


def test_a_run_of_more_units_than_a_file_holds_comes_back_as_it_went(tmp_path: Path) -> None:
    manifest = Manifest(Folder(str(tmp_path)))
    units = [
        [Entry(f"{n}/{k}", f"s3://b/{n}.parquet", k, 10, 0.5 if n % 2 else None, f"text {n}", {"n": n}) for k in (0, 1)]
        for n in range(600)
    ]
    manifest.write(units, pa.schema([("n", pa.int16())]))
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


@pytest.fixture(scope="module")
def of_130_units(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    """Of one, two or three recordings each, in five files."""
    manifest = Manifest(Folder(str(tmp_path_factory.mktemp("manifest"))))
    units = [[Entry(f"{unit}-{place}", "a.wav") for place in range(unit % 3 + 1)] for unit in range(130)]
    manifest.write(units, pa.schema([]))
    return manifest


@given(st.sets(st.tuples(st.integers(0, 140), st.integers(0, 3)), max_size=5))
def test_units_that_hold_recordings_are_found_wherever_they_are(
    of_130_units: Manifest, wanted: set[tuple[int, int]]
) -> None:
    """Else the report would have no sound of what it shows."""
    expected = {unit for unit, place in wanted if unit < 130 and place <= unit % 3}
    assert of_130_units.holding([f"{unit}-{place}" for unit, place in wanted]) == sorted(expected)


def test_whatever_places_a_recording_comes_back_and_one_that_could_not_be_listed_has_failed(tmp_path: Path) -> None:
    manifest = Manifest(Folder(str(tmp_path)))
    damaged = Entry("c.tar", "c.tar", error=RecordingError("truncated shard", "at 512"))
    placed = Entry("a", "s3://b/a.tar", span=Span("x/1.flac", 1536), size=99, version="7 ab", cut=Cut(1.5, 2.5, 1))
    manifest.write([[placed, damaged]], pa.schema([]))
    first, second = manifest.unit(0).recordings
    assert (first.span, first.size, first.version, first.cut) == (placed.span, 99, "7 ab", placed.cut)
    assert (second.status, second.error, second.error_detail) == ("failed", "list: truncated shard", "at 512")
    assert (second.span, second.cut) == (None, Cut())
    assert manifest.units() == [UnitInfo(0, 2, 12.5, False)]


def test_an_empty_corpus_is_an_empty_manifest(tmp_path: Path) -> None:
    manifest = Manifest(Folder(str(tmp_path)))
    manifest.write([], pa.schema([]))
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
    entries = [Entry(str(number), "a.parquet", columns={"x": x}) for number, x in enumerate((value, None))]
    manifest = Manifest(Folder(str(tmp_path)))
    manifest.write([entries], pa.schema([("x", kind)]))
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
