"""References from tables: every format says the same, what is odd is told in numbers, and joined is as good as own."""

import csv
import gzip
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.config import ReadConfig
from pipeline.errors import UsageError
from pipeline.evaluation.reference_tables import content_of, read
from pipeline.evaluation.references import checked, join
from pipeline.sources.found import NothingThere
from tests.evaluation.made_runs import failed, heard, made, request_of, scored

ROWS: list[dict[str, Any]] = [
    {"id": "a", "text": "one, two", "speaker": "s1"},
    {"id": "b/c.wav", "text": 'he said "no"', "speaker": None},
    {"id": "007", "text": None, "speaker": "s2"},
    {"id": "dé", "text": "naïve 中文", "speaker": "s1"},
]


def delimited(rows: list[dict[str, Any]], delimiter: str = ",") -> bytes:
    sink = io.StringIO()
    table = csv.DictWriter(sink, list(rows[0]), delimiter=delimiter)
    table.writeheader()
    table.writerows(rows)
    return sink.getvalue().encode()


def lines(rows: list[dict[str, Any]]) -> bytes:
    """Without what is null, and first a row that lacks most."""
    return "".join(json.dumps({k: v for k, v in row.items() if v is not None}) + "\n" for row in rows).encode()


def parquet(rows: list[dict[str, Any]], **types: pa.DataType) -> bytes:
    sink = io.BytesIO()
    table = pa.Table.from_pylist(rows)
    for name, kind in types.items():
        table = table.set_column(table.column_names.index(name), name, table[name].cast(kind))
    pq.write_table(table, sink)
    return sink.getvalue()


FORMATS: dict[str, Callable[[list[dict[str, Any]]], bytes]] = {
    "table.csv": delimited,
    "table.CSV": lambda rows: b"\xef\xbb\xbf" + delimited(rows, ";").replace(b"\n", b"\r\n"),
    "table.tsv": lambda rows: delimited(rows, "\t"),
    "table.csv.gz": lambda rows: gzip.compress(delimited(rows)),
    "table.jsonl": lines,
    "table.jsonl.gz": lambda rows: gzip.compress(lines(rows)),
    "table.json": lambda rows: json.dumps(rows, indent=1).encode(),
    "table.parquet": parquet,
    "large.parquet": lambda rows: parquet(rows, id=pa.large_string(), speaker=pa.dictionary(pa.int8(), pa.string())),
}


def written(folder: Path, name: str, content: bytes) -> str:
    path = folder / name
    path.write_bytes(content)
    return str(path)


def refusal(*arguments: Any) -> str:
    with pytest.raises(UsageError) as caught:
        read(*arguments)
    return str(caught.value)


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_says_the_same(name, tmp_path):
    found = read(written(tmp_path, name, FORMATS[name](ROWS)), ReadConfig())
    assert found.ids.to_pylist() == [row["id"] for row in ROWS]
    assert found.texts.to_pylist() == [row["text"] for row in ROWS]
    assert found.table["column.speaker"].to_pylist() == [row["speaker"] for row in ROWS]
    assert found.table.column_names == ["id", "reference", "column.speaker"]
    (odd,) = found.odd
    assert odd.endswith("1 of its ids have no text and count as without (007)")


def test_several_files_are_one_table(tmp_path):
    for number in range(3):
        written(tmp_path, f"part-{number}.jsonl", lines([{"id": f"r{number}", "text": "x", "speaker": "s"}]))
    assert read(f"{tmp_path}/*.jsonl", ReadConfig()).ids.to_pylist() == ["r0", "r1", "r2"]
    assert content_of(f"{tmp_path}/*.jsonl", ReadConfig()) != content_of(f"{tmp_path}/part-[12].jsonl", ReadConfig())
    written(tmp_path, "part-9.jsonl", b'{"id": "z", "text": "z", "speaker": 7}\n')
    assert "columns of its files do not fit" in refusal(f"{tmp_path}/*.jsonl", ReadConfig())


def test_numbers_are_ids_and_other_columns_keep_their_types(tmp_path):
    rows = [{"key": 1, "transcript": 21, "age": 30, "deep": [1, {"a": 2}]}, {"key": 2, "transcript": "x", "age": 1.5}]
    found = read(written(tmp_path, "table.jsonl", lines(rows)), ReadConfig())
    assert (found.ids.to_pylist(), found.texts.to_pylist()) == (["1", "2"], ["21", "x"])
    assert found.table["column.age"].to_pylist() == [30.0, 1.5]
    assert found.table["column.deep"].to_pylist() == ['[1, {"a": 2}]', None]
    numbered = parquet([{"key": 1, "sentence": "x", "audio": b"\0"}])
    found = read(written(tmp_path, "table.parquet", numbered), ReadConfig())
    assert found.table.to_pylist() == [{"id": "1", "reference": "x"}]  # what holds audio does not pass


def test_columns_go_by_the_usual_names_or_those_that_are_given(tmp_path):
    rows = [{"utt": "u", "Audio_Filepath": "a.wav", "Sentence": "said", "text_raw": "raw"}]
    path = written(tmp_path, "table.csv", delimited(rows))
    found = read(path, ReadConfig())
    assert (found.ids.to_pylist(), found.texts.to_pylist()) == (["a.wav"], ["said"])
    found = read(path, ReadConfig(id_column="utt", reference_column="text_raw"))
    assert (found.ids.to_pylist(), found.texts.to_pylist()) == (["u"], ["raw"])
    assert found.table.column_names == ["id", "reference", "column.Audio_Filepath", "column.Sentence"]
    there = "there are utt, Audio_Filepath, Sentence, text_raw"
    assert f"no column spk (read.id_column); {there}" in refusal(path, ReadConfig(id_column="spk"))
    assert f"no column Text (read.reference_column); {there}" in refusal(path, ReadConfig(reference_column="Text"))
    twice = ReadConfig(id_column="utt", reference_column="utt")
    assert "the column utt is there twice, or asked to be two things" in refusal(path, twice)


@pytest.mark.parametrize("name", ["table.csv", "table.jsonl", "table.parquet"])
def test_a_table_without_ids_or_texts_is_refused_with_what_it_has(name, tmp_path):
    path = written(tmp_path, name, FORMATS[name]([{"name": "a", "text": "x"}]))
    told = refusal(path, ReadConfig())
    assert "no column with ids (id, utt_id, utterance_id, key); there are name, text; --set read.id_column=" in told
    path = written(tmp_path, name, FORMATS[name]([{"id": "a", "said": "x"}]))
    assert "no column with references (reference, text, " in refusal(path, ReadConfig())


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("table.txt", b"a x\n", "references are a table whose name ends in one of .parquet, .jsonl"),
        ("table.csv", b"", "no references in it"),
        ("table.csv", b"id,text\n", "no references in it"),
        ("table.jsonl", b"", "no references in it"),
        ("table.csv", b"id,text\na,x,y\n", "table.csv line 2: 3 fields, where the columns are id, text"),
        ("table.csv", b"id,text,text\na,x,y\n", "two columns are called text"),
        ("table.csv", b'id,text\na,"x\nb,y\nc,z"\n', "a quote sign opens a field of 3 lines"),
        ("table.csv", b"id,text\na,\xff\n", "table.csv line 2: not UTF-8"),
        ("table.csv", b"id,text\ra,x\r", "lines that end in CR alone"),
        ("table.csv.gz", b"id,text\na,x\n", "table.csv.gz: "),
        ("table.jsonl", b'{"id": "a", "text": "x"}\n{"id": ', "table.jsonl line 2: not JSON"),
        ("table.jsonl", b'"a"\n', "not a JSON object"),
        ("table.jsonl", b'{"id": "a", "text": "\\ud800"}\n', "half a character"),
        ("table.parquet", b"PAR1", "table.parquet: shard not readable"),
        ("table.csv", b"id,text\n,x\n,y\n", "none of its 2 rows has an id"),
    ],
)
def test_what_is_no_table_is_refused_with_a_word(name, content, told, tmp_path):
    assert told in refusal(written(tmp_path, name, content), ReadConfig())


def test_a_table_of_another_name_is_what_is_said(tmp_path):
    path = written(tmp_path, "validated.txt", b'path\tsentence\na.mp3\tshe said "no\nb.mp3\tx\n')
    found = read(path, ReadConfig(source="common-voice"))
    assert found.texts.to_pylist() == ['she said "no', "x"]
    with pytest.raises(NothingThere, match="no such file"):
        read(f"{path}.gone", ReadConfig())


def test_text_that_is_none_is_refused(tmp_path):
    broken = pa.array([b"ok", b"\xff"]).cast(pa.binary()).view(pa.string())
    sink = io.BytesIO()
    pq.write_table(pa.table({"id": ["a", "b"], "text": broken}), sink)
    assert "shard not readable" in refusal(written(tmp_path, "table.parquet", sink.getvalue()), ReadConfig())


# ---- what is odd


def table_of(*pairs: tuple[str | None, str | None]) -> pa.Table:
    ids, texts = zip(*pairs, strict=True)
    kinds = pa.schema([("id", pa.string()), ("reference", pa.string())])
    return pa.table({"id": list(ids), "reference": list(texts)}, kinds)


def test_rows_without_an_id_are_left_out_and_told():
    found = checked("T", table_of((None, "x"), ("a", "y"), ("", "z"), ("b", None)))
    assert found.table.to_pylist() == [{"id": "a", "reference": "y"}, {"id": "b", "reference": None}]
    assert found.odd == (
        "T: 2 of its rows have no id and are left out",
        "T: 1 of its ids have no text and count as without (b)",
    )


def test_ids_that_are_there_again_are_counted_if_they_say_the_same_and_else_refused():
    same = table_of(("a", "x"), ("b", None), ("a", "x"), ("c", "y"), ("a", "x"), ("b", None))
    found = checked("T", same)
    assert found.ids.to_pylist() == ["a", "b", "c"]
    assert found.odd[0] == "T: 2 ids are there more than once, with the same text (a, b)"
    for other in ("X", None):
        with pytest.raises(UsageError, match=r"^T: references differ for 1 of its ids \(a\); of a there are 'x'"):
            checked("T", table_of(("a", "x"), ("b", "y"), ("a", other)))


def test_what_matches_nothing_is_told_with_numbers_and_names():
    references = checked("T", table_of(*((f"r{number}", "x") for number in range(6))))
    joined = join(references, pa.chunked_array([["r5", "other"], ["r0", "r1"], ["more"]]))
    assert joined.table["id"].to_pylist() == ["r5", "other", "r0", "r1", "more"]
    assert joined.table["reference"].to_pylist() == ["x", None, "x", "x", None]
    assert joined.odd == (
        "T: 3 of its 6 references have no recording in the run (r2, r3, r4)",
        "T: 2 of 5 recordings have no reference in it and are in no rate (other, more)",
    )
    with pytest.raises(UsageError) as caught:
        join(references, pa.chunked_array([["x.wav", "y.wav"]]))
    told = str(caught.value)
    assert "none of its 6 ids is that of a recording. It has r0, r1, r2, ..., the run x.wav, y.wav" in told
    assert "--set read.id_column=" in told


# ---- joined is as good as own


TEXTS = st.text(st.sampled_from("ab C.'\u3000é"), max_size=10)
RECORDINGS = st.lists(st.tuples(TEXTS | st.none(), TEXTS, st.booleans()), min_size=1, max_size=8)


@settings(max_examples=15)
@given(RECORDINGS, st.randoms(use_true_random=False), st.sampled_from(["parquet", "jsonl"]))
def test_references_that_are_joined_count_as_those_of_the_run(rows, random, kind):
    """Whatever the order of the table, and whatever else is in it."""
    own = [
        heard(f"r{number}", reference, text) if is_ok else failed(f"r{number}", reference)
        for number, (reference, text, is_ok) in enumerate(rows)
    ]
    table = [{"id": one.id, "text": one.reference, "more": number} for number, one in enumerate(own)]
    random.shuffle(table)
    table.append({"id": "elsewhere", "text": "x", "more": -1})
    if all(one.reference is None for one in own):
        return
    for one in (bare := [heard(one.id, None, one.text or "") for one in own]):
        if own[int(one.id[1:])].status == "failed":
            bare[int(one.id[1:])] = failed(one.id, None)
    with_own = made("memory://joined/own", own, columns={"more": list(range(len(own)))})
    without = made("memory://joined/bare", bare)
    files = without.folder.files
    files.pipe_file(f"/joined/table.{kind}", parquet(table) if kind == "parquet" else lines(table))
    try:
        joined = scored(request_of(without, "memory://joined/a", references=f"memory://joined/table.{kind}"))
        assert joined == scored(request_of(with_own, "memory://joined/b"))
    finally:
        files.rm("/joined", recursive=True)


def test_other_columns_of_the_table_pass_through_and_make_way_for_those_of_the_run(tmp_path):
    run = made(tmp_path / "run", [heard("a", None, "x"), heard("b", None, "y")], columns={"speaker": ["s", "t"]})
    rows = [{"id": "b", "text": "y", "speaker": "u", "status": "new", "reference_status": 1, "age": 7}]
    path = written(tmp_path, "table.jsonl", lines(rows))
    first, second = scored(request_of(run, tmp_path / "out", references=path))
    assert (first["reference"], second["reference"]) == (None, "y")
    assert (first["speaker"], second["speaker"], second["reference_speaker"]) == ("s", "t", "u")
    assert (second["status"], second["reference_reference_status"], second["reference_status"]) == ("ok", "new", 1)
    assert (first["age"], second["age"]) == (None, 7)
