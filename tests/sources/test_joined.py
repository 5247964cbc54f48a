"""Several inputs as one: every recording of each under its dataset's name, none in a unit with another's, and columns
that fit all of them.
"""

import datetime
from collections import defaultdict
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.config import ReadConfig
from pipeline.errors import UsageError
from pipeline.manifest import Manifest
from pipeline.records import Cut
from pipeline.sources.entries import Entry, Piece
from pipeline.sources.joined import Dataset, Joined, open_joined
from pipeline.sources.spool import Spool
from pipeline.store import Folder
from tests.sources.listing import json_lines, write

PLAIN = ReadConfig()


class Listed:
    """A source of these pieces."""

    description = "a list"

    def __init__(self, *pieces: Piece, schema: pa.Schema | None = None) -> None:
        self.schema = schema or pa.schema([])
        self._pieces = pieces

    def pieces(self):
        return iter(self._pieces)


def joined(*sources: Listed, read: ReadConfig = PLAIN) -> Joined:
    return Joined([Dataset(f"d{number}", "", read) for number in range(len(sources))], sources)


def with_columns(*rows: dict[str, tuple[pa.DataType, Any]]) -> Joined:
    """Several inputs of a recording each, with these passed-through columns."""
    sources = []
    for row in rows:
        entry = Entry("a", "x", duration_s=1.0, columns={name: value for name, (_, value) in row.items()})
        sources.append(Listed(Piece([entry]), schema=pa.schema([(name, kind) for name, (kind, _) in row.items()])))
    return joined(*sources)


def frozen(source: Joined, folder: Path) -> list[dict[str, Any]]:
    """The passed-through columns of all recordings, as a run gets them."""
    manifest = Manifest(Folder(str(folder)))
    with Spool(source, PLAIN) as listed:
        listed.freeze(manifest)
    units = [manifest.unit(info.id) for info in manifest.units()]
    return [row for unit in units if unit.columns is not None for row in unit.columns.to_pylist()]


LISTINGS = st.lists(
    st.lists(st.tuples(st.lists(st.floats(0.1, 20), min_size=1, max_size=3), st.sampled_from([None, "x", "y"]))),
    min_size=1,
    max_size=3,
)


@given(LISTINGS, st.floats(1, 30))
def test_nothing_is_lost_and_no_unit_holds_two_datasets_or_two_shards(listings, unit_s):
    """Two inputs may have shards of one name, or loose files, which else would share a unit."""
    expected, sources, shards = [], [], {}
    for number, listing in enumerate(listings):
        pieces = []
        for p, (lengths, shard) in enumerate(listing):
            pieces.append(Piece([Entry(f"{p}/{k}", "x", duration_s=s) for k, s in enumerate(lengths)], shard))
            for k in range(len(lengths)):
                expected.append(f"d{number}/{p}/{k}")
                shards[expected[-1]] = (number, shard)
        sources.append(Listed(*pieces))
    with Spool(joined(*sources), ReadConfig(unit_s=unit_s)) as listed:
        units = list(listed.units())
    assert [entry.id for unit in units for entry in unit] == expected
    for unit in units:
        assert len({shards[entry.id] for entry in unit}) == 1
        assert {entry.columns["dataset"] for entry in unit} == {unit[0].id.split("/")[0]}


def test_each_dataset_is_read_as_it_says_itself(tmp_path):
    """Its kind, its reference column, its limit, its channel."""
    write(tmp_path, {f"audio/{name}.wav": b"x" for name in "abc"})
    rows = [{"audio_filepath": f"audio/{name}.wav", "text": name, "sentence": name.upper()} for name in "abc"]
    write(tmp_path, {"table.jsonl": json_lines(*rows)})
    datasets = [
        Dataset("loose", str(tmp_path / "audio"), ReadConfig(limit=2)),
        Dataset("table", str(tmp_path / "table.jsonl"), ReadConfig(reference_column="sentence", channels=1)),
        Dataset("again", str(tmp_path / "table.jsonl"), ReadConfig(limit=1)),
    ]
    source = open_joined(datasets, None, lambda text: None)
    found = {entry.id: entry for piece in source.pieces() for entry in piece.entries}
    assert {name: entry.reference for name, entry in found.items()} == {
        "loose/a.wav": None,
        "loose/b.wav": None,
        **{f"table/audio/{name}.wav": name.upper() for name in "abc"},
        "again/audio/a.wav": "a",
    }
    assert found["table/audio/a.wav"].cut == Cut(channel=1)
    assert found["again/audio/a.wav"].cut == Cut()
    assert source.description == "loose: 3 audio files; table: a JSON manifest; again: a JSON manifest"


def test_what_is_wrong_with_a_dataset_names_it(tmp_path):
    """When it is opened, and when it is listed."""
    write(tmp_path, {"audio/a.wav": b"x", "bad.jsonl": '{"audio_filepath": "a.wav"}\nno json\n'})
    fine = Dataset("fine", str(tmp_path / "audio"), PLAIN)
    with pytest.raises(UsageError, match=r"^datasets\.gone: .*/nothing: no such file"):
        open_joined([fine, Dataset("gone", str(tmp_path / "nothing"), PLAIN)], None, lambda text: None)
    source = open_joined([fine, Dataset("bad", str(tmp_path / "bad.jsonl"), PLAIN)], None, lambda text: None)
    with pytest.raises(UsageError, match=r"^datasets\.bad: .*line 2"):
        list(source.pieces())


DAY = datetime.date(2026, 1, 2)


@pytest.mark.parametrize(
    ("one", "other", "kind", "values"),
    [
        ((pa.int64(), 3), (pa.string(), "first"), pa.string(), ["3", "first"]),
        ((pa.bool_(), True), (pa.int64(), 1), pa.string(), ["true", "1"]),
        ((pa.date32(), DAY), (pa.string(), "today"), pa.string(), ["2026-01-02", "today"]),
        ((pa.decimal128(5, 2), Decimal("1.50")), (pa.float64(), 1.5), pa.string(), ["1.50", "1.5"]),
        ((pa.list_(pa.date32()), [DAY]), (pa.string(), "x"), pa.string(), ['["2026-01-02"]', "x"]),
        ((pa.uint64(), 2**63), (pa.int64(), -1), pa.string(), ["9223372036854775808", "-1"]),
        ((pa.int32(), 3), (pa.int64(), 2**40), pa.int64(), [3, 2**40]),
        ((pa.int64(), 3), (pa.float32(), 0.5), pa.float64(), [3.0, 0.5]),
        ((pa.null(), None), (pa.date32(), DAY), pa.date32(), [None, DAY]),
        ((pa.date32(), DAY), (pa.null(), None), pa.date32(), [DAY, None]),
        ((pa.list_(pa.int64()), [1]), (pa.list_(pa.int64()), []), pa.list_(pa.int64()), [[1], []]),
    ],
)
def test_columns_of_one_name_keep_their_type_or_become_text(one, other, kind, values, tmp_path):
    source = with_columns({"take": one}, {"take": other})
    assert source.schema.field("take").type == kind
    assert [row["take"] for row in frozen(source, tmp_path)] == values


def test_columns_are_those_of_all_and_null_where_an_input_has_none(tmp_path):
    source = with_columns({"speaker": (pa.string(), "a")}, {"take": (pa.int64(), 1)})
    assert source.schema.names == ["dataset", "speaker", "take"]
    assert frozen(source, tmp_path) == [
        {"dataset": "d0", "speaker": "a", "take": None},
        {"dataset": "d1", "speaker": None, "take": 1},
    ]


def test_an_input_s_own_column_dataset_is_kept_under_another_name(tmp_path):
    """Also where one has that name, too: no value takes another's place."""
    own = {name: (pa.string(), f"own {name}") for name in ("dataset", "input_dataset", "input_input_dataset")}
    rows = frozen(with_columns(own, {"other": (pa.string(), "x")}), tmp_path)
    assert rows[0]["dataset"] == "d0"
    assert rows[1]["dataset"] == "d1"
    passed = defaultdict(list)
    for name, value in rows[0].items():
        passed[value].append(name)
    assert passed["own dataset"] == ["input_dataset"]
    assert passed["own input_dataset"] == ["input_input_dataset"]
    assert passed["own input_input_dataset"] == ["input_input_input_dataset"]


def test_ids_that_are_doubled_within_a_dataset_get_a_number_and_those_of_two_datasets_none():
    def twice() -> Listed:
        return Listed(*(Piece([Entry("a", "x", duration_s=1.0)]) for _ in range(2)))

    with Spool(joined(twice(), twice()), ReadConfig()) as listed:
        assert [entry.id for unit in listed.units() for entry in unit] == ["d0/a", "d0/a#2", "d1/a", "d1/a#2"]
