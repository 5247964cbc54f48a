"""CSV and TSV of a path or URL and text: dialects, quoting, tables without a header, and refusals by line."""

import csv
import gzip
import io
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.config import ReadConfig
from pipeline.records import Cut
from pipeline.sources import found as inputs
from pipeline.sources.delimited import Delimited, recognised
from pipeline.sources.entries import Entry
from tests.sources import listing
from tests.sources.listing import reasons, walked, write


def entries(path: Path, config: ReadConfig = listing.CONFIG) -> list[Entry]:
    return listing.entries(Delimited, path, config)


def refusal(path: Path, config: ReadConfig = listing.CONFIG) -> str:
    return listing.refusal(Delimited, path, config)


def table(root: Path, content: str | bytes, name: str = "t.csv") -> Path:
    return write(root, {name: content}) / name


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_each_dialect_gives_the_same_rows(tmp_path: Path, delimiter: str, newline: str) -> None:
    rows = [["url", "text", "speaker", "duration"], ["https://h/a.mp3?x=1", "HELLO, WORLD; OK", "s", "2.5"]]
    left = 'SHE SAID "NO"' + (" " if delimiter == "\t" else "\n") + "AND LEFT"  # with tabs, no row spans lines
    rows.append(["sub/b.wav", left, "", ""])
    sink = io.StringIO()
    csv.writer(sink, delimiter=delimiter, lineterminator=newline).writerows(rows)
    source, found = walked(Delimited, table(tmp_path, sink.getvalue()))
    assert found == [
        Entry("https://h/a.mp3", "https://h/a.mp3?x=1", duration_s=2.5, reference="HELLO, WORLD; OK", columns=S),
        Entry("sub/b.wav", f"{tmp_path}/sub/b.wav", reference=left, columns={"speaker": None}),
    ]
    assert source.schema.names == ["speaker"]


S = {"speaker": "s"}
CELLS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)


@given(st.lists(st.tuples(CELLS, CELLS), min_size=1, max_size=8), st.sampled_from(",;\t"), st.booleans())
def test_what_the_csv_module_writes_comes_back(tmp_path_factory, cells, delimiter, quote_all) -> None:
    sink = io.StringIO()
    quoting = csv.QUOTE_ALL if quote_all else csv.QUOTE_MINIMAL
    writer = csv.writer(sink, delimiter=delimiter, quoting=quoting)
    writer.writerow(["path", "text", "note"])
    writer.writerows(("a.wav", *row) for row in cells)
    path = table(tmp_path_factory.mktemp("csv"), sink.getvalue())
    if delimiter == "\t" and any("\n" in cell for row in cells for cell in row):
        assert "a quote sign opens a field of" in refusal(path)
        return
    found = entries(path)
    assert [(entry.reference or "", entry.columns["note"] or "") for entry in found] == cells


def test_pandas_and_spreadsheets_are_understood(tmp_path: Path) -> None:
    frame = pd.DataFrame({"Path": ["a.wav", "b.wav"], "Text": ["A, B", None], "n": [1, 2]})
    for name, separator in (("t.csv", ","), ("t.tsv", "\t"), ("t.csv.gz", ",")):
        frame.to_csv(tmp_path / name, sep=separator)
        found = entries(tmp_path / name)
        assert [(entry.id, entry.reference, entry.columns) for entry in found] == [
            ("a.wav", "A, B", {"": "0", "n": "1"}),
            ("b.wav", None, {"": "1", "n": "2"}),
        ]
    excel = "\ufeffpath;text\r\na.wav;Grüße\r\n;\r\n\r\n"  # with the empty rows it leaves
    assert [(e.id, e.reference) for e in entries(table(tmp_path, excel))] == [("a.wav", "Grüße")]
    assert [e.reference for e in entries(table(tmp_path, 'path, text\na.wav, "X, Y"\n'))] == ["X, Y"]


def test_without_a_header_there_may_be_a_path_and_a_text(tmp_path: Path) -> None:
    found = entries(table(tmp_path, "https://h/a.flac?sig=1\tA, B\nb.wav\tC\n", "t.tsv"))
    assert [(entry.id, entry.reference) for entry in found] == [("https://h/a.flac", "A, B"), ("b.wav", "C")]
    assert [entry.id for entry in entries(table(tmp_path, "a.wav\nb.wav\n"))] == ["a.wav", "b.wav"]
    assert [e.reference for e in entries(table(tmp_path, 'a.wav,"Hello, world; hi"\n'))] == ["Hello, world; hi"]
    path = table(tmp_path, "a.wav,HELLO,speaker\n")
    assert refusal(path).startswith(f"{path} line 1: no header with a path to audio (one of audio_filepath,")


def test_segments_and_channels_are_numbers_in_text(tmp_path: Path) -> None:
    rows = "path,offset,duration,channel\na.wav,1.5,2,1\nb.wav,,2e0,\nc.wav,1;5,2,0\nd.wav,2,nan,0\n"
    found = entries(table(tmp_path, rows))
    assert [entry.cut for entry in found[:2]] == [Cut(1.5, 2.0, 1), Cut()]
    assert [entry.duration_s for entry in found[:2]] == [2.0, 2.0]
    assert reasons(found) == [None, None, "segment without a valid start", "segment without a valid duration"]


@pytest.mark.parametrize(
    ("content", "line", "reason"),
    [
        (b"path,text\na.wav,X\nb.wav,Y,Z\n", 3, "3 fields, where the columns are path, text"),
        (b"path,text\na.wav\n", 2, "1 fields, where"),
        (b'text,path\n"A\nB"\n', 2, "1 fields, where"),
        (b'path,text\na.wav,"X\nY"\nb.wav,"open\nc.wav,Z\n', 4, "not CSV (unexpected end of data)"),
        (b'path\ttext\na.wav\t"Yes" he said\n', 2, "not CSV ('\t' expected after '\"'); a TSV without quotes"),
        (b"path,text,text\n", 1, "two columns are called text"),
        (b"path,,\n", 1, "two columns without a name"),
        (b"path,text\n,X\n", 2, "None is not a path"),
        (b"path,text\na.wav,caf\xe9\n", 2, "not UTF-8"),
        (b"\n\nname,text\n", 3, "no header with a path"),
        (b"path,text\ra.wav,X\r", 1, "lines that end in CR alone"),
    ],
)
def test_a_row_that_cannot_be_used_is_named(tmp_path: Path, content: bytes, line: int, reason: str) -> None:
    path = table(tmp_path, content)
    assert refusal(path).startswith(f"{path} line {line}: {reason}")


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ('path\ttext\nz.wav\tZ\na\t"Come in,\nb\tsaid she,\nc\tand sit down."\n', 3),
        ('path\ttext\na\t"Come in,\nor not."\n', 2),
        ('path,text\na.wav,"Come in\nb.wav,said she\nc.wav,and sit down."\n', 2),
        ('path,text\na.wav,"Come in\nb.FLAC,and sit down."\n', 2),
        ('text;path;n\n"Come in;a;1\nsit down";b;2\nx;c;3\n', 2),
        ('a.wav,"Come in\nb.wav,and sit down."\n', 1),
    ],
)
def test_quotes_that_are_part_of_the_text_swallow_no_rows(tmp_path: Path, content: str, line: int) -> None:
    """Or the rows that they take would be lost, and their texts another's reference."""
    path = table(tmp_path, content)
    message = refusal(path)
    assert message.startswith(f"{path} line {line}: ")
    assert "quote" in message


def test_a_text_of_several_lines_may_have_as_many_commas_as_a_row(tmp_path: Path) -> None:
    content = 'path,text,n\na.wav,"Well, come in\nand, well, sit down\nnow, or, never.",1\nb.wav,X,2\n'
    first, second = entries(table(tmp_path, content))
    assert first.reference == "Well, come in\nand, well, sit down\nnow, or, never."
    assert second.id == "b.wav"


def test_a_start_and_an_end_make_a_segment(tmp_path: Path) -> None:
    """As a whole file, each row would be compared with the text of a part of it."""
    rows = "path,start,End,text\na.wav,1.5,3.7,X\na.wav,3.7,4,Y\nb.wav,,,Z\nc.wav,2,1,W\nd.wav,1,x,V\ne.wav,,2,U\n"
    source, found = walked(Delimited, table(tmp_path, rows))
    assert [entry.cut for entry in found[:3]] == [Cut(1.5, 2.2), Cut(3.7, 0.3), Cut()]
    assert [entry.duration_s for entry in found[:3]] == [2.2, 0.3, None]
    assert [entry.id for entry in found[:3]] == ["a.wav:1.5-3.7", "a.wav:3.7-4", "b.wav"]
    assert reasons(found[3:]) == [
        "segment without a valid duration",
        "segment without a valid end",
        "segment without a valid start",
    ]
    assert source.schema.names == []


def test_a_start_and_an_end_that_are_no_numbers_or_beside_an_offset_are_columns(tmp_path: Path) -> None:
    source, [first] = walked(Delimited, table(tmp_path, "path,start,end\na.wav,00:01:02,00:01:05\n"))
    assert (first.cut, first.columns) == (Cut(), {"start": "00:01:02", "end": "00:01:05"})
    source, [first] = walked(Delimited, table(tmp_path, "path,start,end,offset,duration\na.wav,1,2,3,4\n"))
    assert (first.cut, first.columns) == (Cut(3.0, 4.0), {"start": "1", "end": "2"})
    assert source.schema.names == ["start", "end"]
    source, [first] = walked(Delimited, table(tmp_path, "path,start\na.wav,1\n"))
    assert (first.cut, first.columns) == (Cut(), {"start": "1"})


def test_a_quote_that_is_not_closed_does_not_swallow_the_rest_of_a_large_table(tmp_path: Path) -> None:
    data = b'path,text\na.wav,"open\n' + b"b.wav,X\n" * 2_200_000
    path = table(tmp_path, gzip.compress(data, 1), "t.csv.gz")
    assert refusal(path).startswith(f"{path} line 2: not CSV (field larger than field limit")


@pytest.mark.parametrize("content", ["", "\n", "path,text\n"])
def test_a_table_without_rows_is_refused(tmp_path: Path, content: str) -> None:
    path = table(tmp_path, content)
    assert refusal(path) == f"{path}: an empty manifest"


def test_a_transcript_of_hours_fits_into_a_cell(tmp_path: Path) -> None:
    [found] = entries(table(tmp_path, f"path,text\na.wav,{'WORD ' * 100_000}\n"))
    assert found.reference is not None
    assert len(found.reference) == 500_000


def test_columns_that_are_asked_for_must_be_there(tmp_path: Path) -> None:
    path = table(tmp_path, "path,text,name\na.wav,X,n\n")
    assert entries(path, ReadConfig(id_column="name"))[0].id == "n"
    assert refusal(path, ReadConfig(id_column="typo")) == f"{path}: no column typo (read.id_column)"


def test_tables_are_recognised_by_their_own_names(tmp_path: Path) -> None:
    write(tmp_path, {"t.csv": "", "a.wav": ""})
    assert recognised(inputs.find(str(tmp_path / "t.csv")), listing.CONFIG)
    assert not recognised(inputs.find(str(tmp_path)), listing.CONFIG)
    assert refusal(write(tmp_path / "none", {"a.wav": ""})).startswith(f"{tmp_path}/none: no table there (.csv")


@given(st.binary(max_size=200))
def test_any_bytes_are_entries_or_a_refusal_by_name(tmp_path_factory, data) -> None:
    path = table(tmp_path_factory.mktemp("bytes"), b"path,text\n" + data)
    found = listing.entries_or_refusal(Delimited, path)
    assert found.startswith(str(path)) if isinstance(found, str) else all(entry.id for entry in found)
