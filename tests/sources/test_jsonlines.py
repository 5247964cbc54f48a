"""JSON manifests: which fields mean what, one walk over any number of rows, and a refusal that names file and line."""

import gzip
import io
import json
import math
import tracemalloc
from pathlib import Path
from typing import Any

import aiohttp
import fsspec
import multidict
import pyarrow as pa
import pytest
import yarl
from hypothesis import given
from hypothesis import strategies as st

from pipeline.config import ReadConfig
from pipeline.errors import UsageError
from pipeline.records import WHOLE, Cut
from pipeline.sources import found as inputs
from pipeline.sources.columns import fitted
from pipeline.sources.entries import Entry
from pipeline.sources.found import File, Files
from pipeline.sources.jsonlines import JsonLines, recognised
from pipeline.store import locate, version_of
from tests.sources import listing
from tests.sources.listing import json_lines, reasons, walked, write


def entries(path: Path | str, config: ReadConfig = listing.CONFIG) -> list[Entry]:
    return listing.entries(JsonLines, path, config)


def refusal(path: Path | str, config: ReadConfig = listing.CONFIG) -> str:
    return listing.refusal(JsonLines, path, config)


def manifest(root: Path, *records: Any, name: str = "m.jsonl") -> Path:
    return write(root, {name: json_lines(*records)}) / name


@pytest.mark.parametrize(
    ("path", "name", "reference", "duration"),
    [
        ("audio_filepath", "id", "reference", "duration"),
        ("audio", "utt_id", "text", "duration_s"),
        ("path", "utterance_id", "transcript", "duration"),
        ("file_name", "key", "transcription", "duration"),
        ("audio_url", "id", "sentence", "duration"),
        ("URL", "ID", "Text", "Duration"),
    ],
)
def test_the_usual_names_are_understood(tmp_path: Path, path: str, name: str, reference: str, duration: str) -> None:
    [found] = entries(manifest(tmp_path, {path: "a.wav", name: 7, reference: "HELLO", duration: 2, "speaker": "x"}))
    assert found == Entry(
        "7", f"{tmp_path}/a.wav", duration_s=2.0, reference="HELLO", columns={"speaker": "x"}, cut=WHOLE
    )


def test_paths_are_relative_to_the_manifest_unless_they_say_otherwise(tmp_path: Path) -> None:
    write(tmp_path, {"in/sub/a.wav": "not read here"})
    names = ("sub/a.wav", "/abs/b.wav", "s3://bucket/c.wav", "https://host/d.wav", "memory://e.wav")
    found = entries(manifest(tmp_path / "in", *({"path": name} for name in names)))
    assert [entry.uri for entry in found] == [f"{tmp_path}/in/sub/a.wav", *names[1:]]
    assert [entry.id for entry in found] == list(names)


def test_the_version_of_a_local_file_is_what_its_listing_would_be(tmp_path: Path) -> None:
    """The reader compares them: another spelling of the time would refuse every resumed run."""
    write(tmp_path, {"a.wav": "not read here"})
    [found] = entries(manifest(tmp_path, {"path": "a.wav"}))
    info = fsspec.filesystem("file").info(str(tmp_path / "a.wav"))
    assert (found.size, found.version) == (13, version_of(info))


def test_a_manifest_in_a_store_has_its_audio_beside_it() -> None:
    files = fsspec.filesystem("memory")
    files.pipe(
        {"/tables/m.jsonl": json_lines({"path": "./a/1.wav"}, {"path": "../b.wav"}, {"path": "/c.wav"}).encode()}
    )
    try:
        uris = [entry.uri for entry in entries("memory://tables/m.jsonl")]
    finally:
        files.rm("/tables", recursive=True)
    assert uris == ["memory:///tables/a/1.wav", "memory:///b.wav", "/c.wav"]


def test_a_presigned_manifest_gives_its_signature_to_no_message(monkeypatch: pytest.MonkeyPatch) -> None:
    url = "https://host/tables/m.jsonl?signature=SECRET/1"
    files = Files.of([File(url, 10, "")])
    found = inputs.Found(url, fsspec.filesystem("https"), "https://host/tables", files, True, lambda text: None)
    served: list[Any] = [json_lines({"path": "a/1.wav"}).encode(), b"{", b"{}", b"", http_403(url)]
    messages = []

    def opened(*_: Any) -> io.BytesIO:
        if isinstance(served[0], Exception):
            raise served[0]
        return io.BytesIO(served[0])

    monkeypatch.setattr("pipeline.store.opened", opened)
    [piece] = JsonLines(found, ReadConfig()).pieces()
    assert piece.entries[0].uri == "https://host/tables/a/1.wav"
    while served := served[1:]:
        with pytest.raises(UsageError) as caught:
            list(JsonLines(found, ReadConfig()).pieces())
        messages.append(str(caught.value))
    assert all(message.startswith("https://host/tables/m.jsonl") for message in messages)
    assert "access denied" in messages[-1]
    assert "SECRET" not in "".join(messages)


def http_403(url: str) -> Exception:
    request = aiohttp.RequestInfo(yarl.URL(url), "GET", multidict.CIMultiDictProxy(multidict.CIMultiDict()))
    return aiohttp.ClientResponseError(request, (), status=403, message="Forbidden")


def test_with_an_offset_a_row_is_a_segment_and_without_one_its_duration_is_a_claim(tmp_path: Path) -> None:
    rows = [
        {"audio_filepath": "a.wav", "duration": 2.5},
        {"audio_filepath": "a.wav", "duration": 2.5, "offset": 0.0},
        {"audio_filepath": "a.wav", "duration": 2.5, "offset": 1.25, "channel": 1},
        {"audio_filepath": "a.wav", "offset": "12345.678"},
    ]
    source, found = walked(JsonLines, manifest(tmp_path, *rows))
    assert [entry.cut for entry in found] == [WHOLE, Cut(0.0, 2.5), Cut(1.25, 2.5, 1), Cut(12345.678)]
    assert [entry.duration_s for entry in found] == [2.5, 2.5, 2.5, None]
    assert [entry.id for entry in found] == ["a.wav", "a.wav:0-2.5", "a.wav:1.25-3.75:1", "a.wav:12345.678-"]
    assert source.schema.names == []


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"offset": -1}, "segment without a valid start"),
        ({"offset": float("nan"), "duration": 1}, "segment without a valid start"),
        ({"offset": "soon"}, "segment without a valid start"),
        ({"offset": True}, "segment without a valid start"),
        ({"offset": 10**400}, "segment without a valid start"),
        ({"offset": 1, "duration": -1}, "segment without a valid duration"),
        ({"offset": 1, "duration": float("inf")}, "segment without a valid duration"),
        ({"offset": 1, "duration": "1:30"}, "segment without a valid duration"),
        ({"path": "a\0.wav"}, "null byte in the path"),
    ],
)
def test_a_row_that_cannot_be_read_is_a_failed_one_and_the_others_are_not(
    tmp_path: Path, fields: dict[str, Any], reason: str
) -> None:
    found = entries(manifest(tmp_path, {"path": "a.wav"} | fields, {"path": "b.wav", "offset": 1, "duration": 2}))
    assert reasons(found) == [reason, None]


def test_a_channel_is_a_number_and_the_name_of_one_is_metadata(tmp_path: Path) -> None:
    named, by_name = walked(
        JsonLines, manifest(tmp_path, {"path": "a", "channel": "News"}, {"path": "b", "channel": 1})
    )
    assert [(entry.cut.channel, entry.columns["channel"]) for entry in by_name] == [(None, "News"), (None, 1)]
    assert named.schema.names == ["channel"]
    rows = [{"path": "a", "channel": None}, {"path": "b", "channel": 1}, {"path": "c", "channel": "left"}]
    numbered, by_number = walked(JsonLines, manifest(tmp_path, *rows))
    assert [entry.cut.channel for entry in by_number] == [None, 1, None]
    assert reasons(by_number) == [None, None, "channel is not a whole number"]
    assert numbered.schema.names == []


def test_a_field_without_a_value_counts_as_absent(tmp_path: Path) -> None:
    """Not as an id called None, and not as a recording of no length or of endless length."""
    rows = [
        {"path": "a.wav", "id": None, "text": None, "duration": None},
        {"path": "b.wav", "id": "b", "text": "", "duration": float("inf"), "": "x"},
        {"path": "c.wav", "id": 0, "duration": -1, "offset": None},
        {"path": "d.wav", "duration": float("nan")},
    ]
    found = entries(manifest(tmp_path, *rows))
    assert [entry.id for entry in found] == ["a.wav", "b", "0", "d.wav"]
    assert [entry.reference for entry in found] == [None, "", None, None]
    assert [entry.duration_s for entry in found] == [None] * 4
    assert [entry.cut for entry in found] == [WHOLE] * 4


def test_configured_columns_come_before_the_usual_ones(tmp_path: Path) -> None:
    path = manifest(tmp_path, {"path": "a", "id": "1", "mine": "2", "text": "x", "verbatim": "y"})
    [found] = entries(path, ReadConfig(id_column="mine", reference_column="verbatim"))
    assert (found.id, found.reference, found.columns) == ("2", "y", {"id": "1", "text": "x"})
    for option in ("id_column", "reference_column"):
        assert refusal(path, ReadConfig(**{option: "typo"})) == f"{path}: no column typo (read.{option})"


def test_columns_of_any_shape_keep_every_value(tmp_path: Path) -> None:
    """A type found on line 1 must still fit line 3."""
    rows = [
        {"path": "a", "number": 1, "mixed": 1, "nested": {"a": [1]}, "yes": True, "big": 1, "exact": 0.5},
        {"path": "b", "number": 2.5, "mixed": "x", "nested": [1, 2], "yes": None, "big": 2**64, "exact": 2**53 + 1},
        {"path": "c", "late": "é"},
    ]
    source, found = walked(JsonLines, manifest(tmp_path, *rows))
    table = pa.Table.from_pylist(
        [{f.name: fitted(entry.columns.get(f.name), f) for f in source.schema} for entry in found], source.schema
    )
    assert table.to_pylist() == [
        {"number": 1.0, "mixed": "1", "nested": '{"a": [1]}', "yes": True, "big": "1", "exact": 0.5, "late": None},
        {
            **{"number": 2.5, "mixed": "x", "nested": "[1, 2]", "yes": None, "big": str(2**64)},
            **{"exact": 2.0**53, "late": None},
        },
        dict.fromkeys(("number", "mixed", "nested", "yes", "big", "exact")) | {"late": "é"},
    ]


@pytest.mark.parametrize(
    ("content", "line", "reason"),
    [
        (b'{"path": "a"}\nnot json', 2, "not JSON"),
        (b'{"path": "a"}\n\n{"path": "b"', 3, "not JSON"),
        (b'{"path": "a"}\n{"path": "b", "path": "c"}', 2, "not JSON ('path' twice in an object)"),
        (b'{"path": "a", "n": ' + b"9" * 5000 + b"}", 1, "not JSON"),
        (b'{"path": "a", "n": ' + b"[" * 100_000 + b"}", 1, "not JSON"),
        (b'{"path": "a", "n": "\\ud800"}', 1, "half a character"),
        (b'{"path": "a"}\n{"path": "caf\xe9"}', 2, "not UTF-8"),
        ('{"path": "a"}'.encode("utf-16"), 1, "UTF-16, not UTF-8"),
        (b'"path"', 1, "not a JSON object"),
        (b'{"path": "a"}\n{"text": "x"}', 2, "no path to audio"),
        (b'{"text": "x"}', 1, "no path to audio"),
        (b'{"path": "a"}\n{"path": null}', 2, "None is not a path"),
        (b'{"path": "a"}\n{"path": 3}', 2, "3 is not a path"),
        (b'{"path": ""}', 1, "'' is not a path"),
        (b'{"path": "nosuch://a"}', 1, "nosuch://a: Protocol not known"),
        (b'{"path": "https://user:secret@host/a.wav"}', 1, "https://host: no credentials"),
        (b'{\n "data": []\n}', 1, "not JSON"),
        (b'[{"path": "a"}\n{"path": "b"}]', 2, "not a JSON array (expected , or ])"),
        (b'[{"path": "a"},\n\n3]', 3, "not a JSON object"),
        (b'[{"path": "a"},\n]', 2, "not JSON"),
        (b'[{"path": "a"}] x', 1, "not a JSON array (something after"),
        (b'[{"path": "a"}', 1, "not a JSON array (expected , or ])"),
        (b'[{"path": "\xff"}]', 1, "not a JSON array (not UTF-8"),
    ],
)
def test_a_line_that_cannot_be_used_is_named(tmp_path: Path, content: bytes, line: int, reason: str) -> None:
    path = write(tmp_path, {"m.json": content}) / "m.json"
    message = refusal(path)
    assert message.startswith(f"{path} line {line}: {reason}")
    assert "secret" not in message


@pytest.mark.parametrize("content", ["", "\n \n", "[]", " [ ] "])
def test_an_empty_manifest_is_refused(tmp_path: Path, content: str) -> None:
    path = write(tmp_path, {"m.json": content}) / "m.json"
    assert refusal(path) == f"{path}: an empty manifest"


RECORDS = [{"path": "a.wav", "text": "é", "n": {"b": [1]}}, {"path": "b.wav", "text": "[]},{", "n": None}]


@pytest.mark.parametrize(
    "content",
    [
        json_lines(*RECORDS),
        json_lines(*RECORDS).replace("\n", "\r\n\r\n \r\n"),
        "\ufeff" + json_lines(*RECORDS),
        json.dumps(RECORDS),
        "\ufeff\n " + json.dumps(RECORDS, indent=2, ensure_ascii=False),
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_lines_and_arrays_say_the_same_packed_or_not(tmp_path: Path, content: str, packed: bool) -> None:
    data = gzip.compress(content.encode()) if packed else content.encode()
    name = "m.json.gz" if packed else "m.json"
    found = entries(write(tmp_path, {name: data}) / name)
    assert [(entry.id, entry.reference, entry.columns["n"]) for entry in found] == [
        ("a.wav", "é", '{"b": [1]}'),
        ("b.wav", "[]},{", None),
    ]


def test_a_packed_manifest_unpacks_no_further_than_it_may_and_says_where_it_is_damaged(tmp_path: Path) -> None:
    good = json_lines(*({"path": f"{number}.wav", "noise": hash(str(number))} for number in range(20_000)))
    whole = gzip.compress(good.encode())
    bomb = gzip.compress(json_lines({"path": "a.wav"}).encode() + b" " * 3_000_000)
    write(tmp_path, {"bomb.jsonl.gz": bomb, "cut.jsonl.gz": whole[: len(whole) // 2], "none.jsonl.gz": b"no gzip"})
    small = ReadConfig(max_unpacked_gb=0.001)
    limit = "unpacks to more than 0.001 GB (read.max_unpacked_gb)"
    assert refusal(tmp_path / "bomb.jsonl.gz", small).startswith(f"{tmp_path}/bomb.jsonl.gz: {limit}")
    assert refusal(tmp_path / "cut.jsonl.gz").startswith(f"{tmp_path}/cut.jsonl.gz: ")
    assert refusal(tmp_path / "none.jsonl.gz").startswith(f"{tmp_path}/none.jsonl.gz: damaged gzip data")


def test_a_line_without_an_end_is_not_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.sources.textfile.MAX_LINE_BYTES", 1000)
    path = write(tmp_path, {"m.jsonl": b"\0" * 5000}) / "m.jsonl"
    assert refusal(path).startswith(f"{path} line 1: longer than 1,000 bytes")


def test_several_manifests_of_a_glob_share_their_columns(tmp_path: Path) -> None:
    manifest(tmp_path / "a", {"path": "1.wav", "speaker": "x"})
    manifest(tmp_path / "b", {"path": "1.wav", "text": "HELLO", "age": 3})
    source, found = walked(JsonLines, tmp_path / "*" / "m.jsonl")
    assert [(entry.uri, entry.reference) for entry in found] == [
        (f"{tmp_path}/a/1.wav", None),
        (f"{tmp_path}/b/1.wav", "HELLO"),
    ]
    assert source.schema.names == ["speaker", "age"]
    assert recognised(inputs.find(str(tmp_path / "*" / "m.jsonl")), listing.CONFIG)


def test_what_is_no_manifest_is_neither_recognised_nor_accepted(tmp_path: Path) -> None:
    write(tmp_path, {"a.wav": "", "notes.txt": ""})
    assert not recognised(inputs.find(str(tmp_path)), listing.CONFIG)
    assert refusal(tmp_path).startswith(f"{tmp_path}: no JSON manifest there (.jsonl")


def test_a_manifest_is_never_held_as_a_whole(tmp_path: Path) -> None:
    """Millions of rows pass through the driver; an array in one line must not be an exception."""
    rows = [{"audio_filepath": f"s3://bucket/{number:06d}.wav", "text": "WORD " * 80} for number in range(20_000)]
    write(tmp_path, {"m.jsonl": json_lines(*rows), "m.json": json.dumps(rows)})
    size = (tmp_path / "m.jsonl").stat().st_size
    del rows
    locate("s3://bucket")  # which imports what takes 9 MB
    for name in ("m.jsonl", "m.json"):
        source = JsonLines(inputs.find(str(tmp_path / name)), ReadConfig())
        tracemalloc.start()
        try:
            assert sum(1 for _ in source.pieces()) == 20_000
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert peak < size / 2, (peak, size)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
FIELDS = dict.fromkeys(["id", "text", "duration", "offset", "channel", "speaker", "n", ""], VALUES)
ROWS = st.lists(st.fixed_dictionaries({"path": st.text(min_size=1)}, optional=FIELDS), min_size=1, max_size=6)


@given(ROWS, st.booleans())
def test_any_rows_are_entries_whose_places_and_columns_can_be_written_down(tmp_path_factory, rows, as_array) -> None:
    root = tmp_path_factory.mktemp("any")
    path = write(root, {"m.json": json.dumps(rows) if as_array else json_lines(*rows)}) / "m.json"
    source, found = walked(JsonLines, path)
    assert len(found) == len(rows)
    for entry in found:
        assert entry.id
        assert "\0" not in entry.uri
        assert 0 <= entry.cut.offset_s < math.inf
        assert entry.cut.length_s is None or 0 < entry.cut.length_s < math.inf
        assert entry.duration_s is None or 0 < entry.duration_s < math.inf
    cells = [{f.name: fitted(entry.columns.get(f.name), f) for f in source.schema} for entry in found]
    pa.Table.from_pylist(cells, source.schema).validate(full=True)


@given(st.binary(max_size=200) | st.lists(VALUES, max_size=3).map(json.dumps).map(str.encode))
def test_anything_else_is_entries_or_a_refusal_by_name(tmp_path_factory, data) -> None:
    path = write(tmp_path_factory.mktemp("bytes"), {"m.jsonl": data}) / "m.jsonl"
    found = listing.entries_or_refusal(JsonLines, path)
    assert found.startswith(str(path)) if isinstance(found, str) else all(entry.id for entry in found)
