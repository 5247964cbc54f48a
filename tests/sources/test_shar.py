"""Lhotse Shar: every cut has its own audio, found by its id, with what its supervisions say, and none is lost.

What Lhotse's own writer leaves is laid down here by hand; Lhotse itself is not at hand.
"""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.config import ReadConfig
from pipeline.errors import UsageError
from pipeline.records import WHOLE, Cut
from pipeline.sources import found as inputs
from pipeline.sources.entries import Entry
from pipeline.sources.shar import Shar, recognised
from pipeline.sources.spool import Spool
from tests.sources.shard_files import write_tar

CONFIG = ReadConfig()


def entries(url: Path, config: ReadConfig = CONFIG) -> list[Entry]:
    return [entry for piece in Shar(inputs.find(str(url)), config).pieces() for entry in piece.entries]


def supervision(text: str | None, start: float = 0.0, **fields: Any) -> dict[str, Any]:
    return {"id": "s", "recording_id": "r", "start": start, "duration": 1.0, "channel": 0, "text": text, **fields}


def cut(name: str, *supervisions: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """As the writer leaves it: it begins at 0, and its recording is as long as itself."""
    duration = fields.get("duration", 4.0)
    recording = {"id": "r", "sources": [{"type": "shar", "channels": [0], "source": ""}], "duration": duration}
    own = {"id": name, "start": 0, "duration": duration, "channel": 0, "type": "MonoCut"}
    return own | {"supervisions": list(supervisions), "recording": recording} | fields


def write(root: Path, number: str, cuts: list[Any], names: list[str] | None = None, ending: str = ".flac") -> None:
    """A shard of cuts and one of their audio, a member with a manifest behind it for each."""
    root.mkdir(parents=True, exist_ok=True)
    lines = "".join(f"{one if isinstance(one, str) else json.dumps(one)}\n" for one in cuts)
    (root / f"cuts{number}.jsonl.gz").write_bytes(gzip.compress(lines.encode()))
    files: list[tuple[str, bytes]] = []
    for name in [one["id"] for one in cuts] if names is None else names:
        files += [(f"{name}{ending}", name.encode()), (f"{name}.json", b'{"id": "r"}')]
    write_tar(root / f"recording{number}.tar", *files)


def read(entry: Entry) -> bytes:
    assert entry.span is not None and entry.size is not None
    return Path(entry.uri).read_bytes()[entry.span.start : entry.span.start + entry.size]


def test_each_cut_is_a_recording_with_its_own_audio(tmp_path: Path) -> None:
    """Ids may have dots and folders in them, of which the extension is no part."""
    ids = [["a", "b.1", "d/c.wav"], ["e-0"]]
    for number, some in enumerate(ids):
        write(tmp_path, f".{number:06d}", [cut(name, supervision(f"of {name}")) for name in some])
    write_tar(tmp_path / "features.000000.tar", ("a.llc", b"features"))
    write_tar(tmp_path / "target_recording.000000.tar", ("a.flac", b"other"))
    assert recognised(inputs.find(str(tmp_path)), CONFIG)
    found = entries(tmp_path)
    assert [entry.id for entry in found] == ["a", "b.1", "d/c.wav", "e-0"]
    assert [read(entry).decode() for entry in found] == [entry.id for entry in found]
    assert [entry.reference for entry in found] == [f"of {entry.id}" for entry in found]
    assert {(entry.duration_s, entry.cut, entry.error) for entry in found} == {(4.0, WHOLE, None)}
    assert found[3].uri == str(tmp_path / "recording.000001.tar")


def test_without_numbers_and_in_another_order(tmp_path: Path) -> None:
    write(tmp_path, "", [cut("a"), cut("b")], names=["b", "a"])
    assert [(entry.id, read(entry)) for entry in entries(tmp_path)] == [("a", b"a"), ("b", b"b")]


def test_what_supervisions_say_becomes_reference_and_columns(tmp_path: Path) -> None:
    fields: dict[str, Any] = {
        "speaker": "x",
        "language": "de",
        "gender": None,
        "custom": {"snr": 3, "normalized": "norm"},
    }
    write(
        tmp_path,
        ".000000",
        [
            cut("one", supervision("hello", **fields), custom={"set": "dev", "target_recording": {"sources": []}}),
            cut("two", supervision("world", 2.0, speaker="y"), supervision("hello", 0.5, speaker="z")),
            cut("none"),
            cut("silent", supervision(None)),
        ],
    )
    found = {entry.id: entry for entry in entries(tmp_path)}
    said = {"recording_id": "r", "speaker": "x", "language": "de", "snr": 3, "normalized": "norm"}
    assert found["one"].columns == said | {"set": "dev"}
    assert found["two"].columns == {}
    references = [entry.reference for entry in found.values()]
    assert references == ["hello", "hello world", None, None]
    assert entries(tmp_path, ReadConfig(reference_column="normalized"))[0].reference == "norm"
    with pytest.raises(UsageError, match="no column nothing"):
        entries(tmp_path, ReadConfig(reference_column="nothing"))


def test_the_supervisions_of_a_mixed_cut_lie_in_its_tracks(tmp_path: Path) -> None:
    tracks = [
        {"offset": 3.0, "cut": cut("t1", supervision("later"))},
        {"offset": 0.0, "cut": cut("t2", supervision("first", 0.5))},
    ]
    write(tmp_path, ".0", [{"id": "m", "type": "MixedCut", "tracks": tracks}])
    [entry] = entries(tmp_path)
    assert (entry.id, entry.reference, entry.cut, entry.duration_s) == ("m", "first later", WHOLE, None)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"channel": 1}, WHOLE),  # of the original; what lies here is that channel alone
        ({"channel": [0, 1], "type": "MultiCut"}, WHOLE),
        ({"recording": None}, WHOLE),
        ({"recording": {"duration": 4.0004}}, WHOLE),
        ({"recording": {"duration": 6.5}}, Cut(0.0, 4.0)),
        ({"start": 1.5, "recording": {"duration": 6.5}}, Cut(1.5, 4.0)),
    ],
)
def test_a_cut_is_all_of_its_audio_unless_it_was_cut_again(
    tmp_path: Path, fields: dict[str, Any], expected: Cut
) -> None:
    write(tmp_path, ".0", [cut("a", **fields)])
    assert [entry.cut for entry in entries(tmp_path)] == [expected]


# Nothing gets lost


def test_cuts_without_audio_are_failed_rows(tmp_path: Path) -> None:
    """The writer leaves an empty member of another ending where a cut has none."""
    write(tmp_path, ".0", [cut("a"), cut("b", supervision("said")), cut("c")], names=["a"])
    with_placeholder = [("a.flac", b"a"), ("a.json", b"{}"), ("b.nodata", b""), ("b.nometa", b"")]
    write_tar(tmp_path / "recording.0.tar", *with_placeholder)
    found = entries(tmp_path)
    reasons = [entry.error and entry.error.reason for entry in found]
    assert reasons == [None, "no audio in its shard", "no audio in its shard"]
    assert (found[1].id, found[1].reference) == ("b", "said")


def test_a_shard_that_is_missing_or_ends_early_fails_its_cuts(tmp_path: Path) -> None:
    for number in range(3):
        write(tmp_path, f".{number}", [cut(f"{number}a"), cut(f"{number}b")])
    (tmp_path / "recording.1.tar").unlink()
    shard = tmp_path / "recording.2.tar"
    shard.write_bytes(shard.read_bytes()[:2500])
    found = entries(tmp_path)
    assert [(entry.id, entry.error and entry.error.reason) for entry in found] == [
        ("0a", None),
        ("0b", None),
        ("1a", "missing shard"),
        ("1b", "missing shard"),
        ("2a", None),
        ("2b", "shard truncated"),
    ]


@pytest.mark.parametrize("damage", ['{"id": "c"', '"c"', '{"id": "\\ud800"}'])
def test_damaged_cuts_are_one_failed_row_after_those_before(tmp_path: Path, damage: str) -> None:
    write(tmp_path, ".0", [cut("a"), damage], names=["a"])
    write(tmp_path, ".1", [cut("b")])
    found = entries(tmp_path)
    assert [entry.id for entry in found] == ["a", "recording.0/cuts", "b"]
    assert found[1].error is not None and found[1].error.reason == "damaged cuts"
    assert "line 2" in (found[1].error.detail or "")


def test_cuts_that_end_early_are_one_failed_row(tmp_path: Path) -> None:
    write(tmp_path, ".0", [cut("a")])
    packed = tmp_path / "cuts.0.jsonl.gz"
    packed.write_bytes(packed.read_bytes()[:-12])
    *_, last = entries(tmp_path)
    reasons = [entry.error and entry.error.reason for entry in entries(tmp_path)]
    assert "damaged cuts" in reasons and last.error is not None


def test_audio_of_no_cut_is_counted_in_one_row(tmp_path: Path) -> None:
    write(tmp_path, ".0", [cut("a")], names=["a", "b", "c"])
    write_tar(tmp_path / "recording.1.tar", ("d.flac", b"d"))
    *_, last = entries(tmp_path)
    assert last.error is not None and last.error.reason == "in a shard, but not in the manifest"
    assert last.error.detail == "3 members, namely recording.0: b.flac, recording.0: c.flac, recording.1: d.flac"


def test_one_id_twice_in_a_shard_is_two_recordings(tmp_path: Path) -> None:
    write(tmp_path, ".0", [cut("a"), cut("a")], names=["a", "a"])
    first, second = entries(tmp_path)
    assert first.span is not None and second.span is not None and first.span.start < second.span.start


def test_cuts_without_recordings_are_not_taken_for_shar(tmp_path: Path) -> None:
    (tmp_path / "cuts.jsonl.gz").write_bytes(gzip.compress(b"{}"))
    assert not recognised(inputs.find(str(tmp_path)), CONFIG)
    with pytest.raises(UsageError, match="no cuts"):
        Shar(inputs.find(str(tmp_path)), CONFIG)


def test_custom_fields_take_the_place_of_no_real_one(tmp_path: Path) -> None:
    """Least of all of the reference: what it is compared with would be anything."""
    custom = {"speaker": "fake", "reference": "WRONG", "text": "WRONG", "duration": 99.0, "id": "other"}
    said = supervision("REAL TEXT", speaker="real", custom=custom)
    write(tmp_path, ".0", [cut("a", said), cut("b", said, custom=custom)])
    a, b = entries(tmp_path)
    assert [(entry.id, entry.reference, entry.duration_s) for entry in (a, b)] == [
        ("a", "REAL TEXT", 4.0),
        ("b", "REAL TEXT", 4.0),
    ]
    assert a.columns["speaker"] == b.columns["speaker"] == "real"
    assert a.columns["custom_speaker"] == "fake" and b.columns["cut_speaker"] == "fake"
    assert entries(tmp_path, ReadConfig(reference_column="reference"))[0].reference == "WRONG"


def test_a_cut_of_brackets_in_brackets_costs_nothing(tmp_path: Path) -> None:
    """Nested so deep that it cannot be packed, one keeps the whole run from being planned."""
    nested = "[" * 600 + "]" * 600
    line = json.dumps(cut("a", supervision("A"), custom={"z": "NESTED"})).replace('"NESTED"', nested)
    write(tmp_path, ".0", [line, cut("b", supervision("B"))], names=["a", "b"])
    with Spool(Shar(inputs.find(str(tmp_path)), CONFIG), CONFIG) as spool:
        found = [entry for unit in spool.units() for entry in unit]
    assert [(entry.reference, entry.error) for entry in found] == [("A", None), ("B", None)]
    assert found[0].columns["z"] == nested
