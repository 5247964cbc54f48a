"""Common Voice tables: never quoted, clips in a folder of their own, and one table of a corpus at a time."""

import csv
from pathlib import Path

import soundfile

from pipeline.sources import found as inputs
from pipeline.sources.common_voice import CommonVoice, recognised
from tests.sources.listing import CONFIG, entries, refusal, walked, write

HEADER = "client_id\tpath\tsentence\tup_votes\tage\n"


def test_quotes_are_text_and_clips_lie_beside_the_table(tmp_path: Path) -> None:
    rows = 'c1\ta.mp3\t"Yes," he said, "no\t2\t\r\n\r\nc2\told_release\tGrüße\t0\ttwenties\r\n'
    write(tmp_path, {"train.tsv": HEADER.replace("\n", "\r\n") + rows, "clips/a.mp3": "not read here"})
    source, found = walked(CommonVoice, tmp_path / "train.tsv")
    assert [(e.id, e.uri, e.size, e.reference, e.columns) for e in found] == [
        *[("a.mp3", f"{tmp_path}/clips/a.mp3", 13, '"Yes," he said, "no', {"client_id": "c1"} | UNKNOWN)],
        ("old_release.mp3", f"{tmp_path}/clips/old_release.mp3", None, "Grüße", {"client_id": "c2"} | KNOWN),
    ]
    assert source.schema.names == ["client_id", "up_votes", "age"]


UNKNOWN, KNOWN = {"up_votes": "2", "age": None}, {"up_votes": "0", "age": "twenties"}


def test_of_a_corpus_one_table_is_named(tmp_path: Path) -> None:
    row = "c\ta.mp3\tX\t0\t\n"
    write(
        tmp_path, {"train.tsv": HEADER + row, "reported.tsv": "sentence\treason\n", "clips/a.mp3": "", "de/t.tsv": "x"}
    )
    assert recognised(inputs.find(str(tmp_path)), CONFIG)
    assert [entry.id for entry in entries(CommonVoice, tmp_path)] == ["a.mp3"]
    write(tmp_path, {"test.tsv": HEADER + row})
    assert refusal(CommonVoice, tmp_path) == (
        f"{tmp_path} holds several Common Voice tables (test.tsv, train.tsv): give one of them as the input, such as "
        f"{tmp_path}/test.tsv"
    )


def test_other_tables_are_not_taken_for_it(tmp_path: Path) -> None:
    write(tmp_path, {"t.tsv": "path\tsentence\na.mp3\tX\n", "u.csv": HEADER.replace("\t", ","), "v.tsv": b"\xff\xfe"})
    for name in ("t.tsv", "u.csv", "v.tsv", ""):
        assert not recognised(inputs.find(str(tmp_path / name)), CONFIG)
        assert "no Common Voice table (a .tsv with client_id, path, sentence)" in refusal(CommonVoice, tmp_path / name)


def test_a_row_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    path = write(tmp_path, {"t.tsv": HEADER + "c\ta.mp3\tX\t0\t\nc\tb.mp3\tX\n"}) / "t.tsv"
    assert refusal(CommonVoice, path).startswith(f"{path} line 3: 3 fields, where the columns are client_id, path,")
    path = write(tmp_path, {"t.tsv": HEADER + "c\t\tX\t0\t\n"}) / "t.tsv"
    assert refusal(CommonVoice, path) == f"{path} line 2: None is not a path"
    assert refusal(CommonVoice, write(tmp_path, {"t.tsv": HEADER}) / "t.tsv").endswith(": an empty manifest")


def test_a_real_clip_is_found(tmp_path: Path, shared_data: Path) -> None:
    clip = shared_data / "formats" / "common_voice_en_651325.mp3"
    (tmp_path / "clips").mkdir()
    (tmp_path / "clips" / clip.name).symlink_to(clip)
    with open(tmp_path / "test.tsv", "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, delimiter="\t", quoting=csv.QUOTE_NONE, quotechar=None, lineterminator="\n")
        writer.writerows([["client_id", "path", "sentence"], ["c", clip.name.removesuffix(".mp3"), "X"]])
    [found] = entries(CommonVoice, tmp_path)
    assert soundfile.info(found.uri).frames > 0
    assert found.size == clip.stat().st_size
