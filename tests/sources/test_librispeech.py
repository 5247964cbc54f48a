"""LibriSpeech's layout: every audio file and every line of a transcript is a row, whichever of the two is missing."""

from pathlib import Path

import fsspec

from pipeline.config import ReadConfig
from pipeline.sources import found as inputs
from pipeline.sources.librispeech import LibriSpeech, recognised
from tests.sources.listing import CONFIG, entries, reasons, refusal, walked, write

CORPUS: dict[str, str | bytes] = {
    "dev-clean/84/121123/84-121123-0000.flac": "not read here",
    "dev-clean/84/121123/84-121123-0001.flac": "",
    "dev-clean/84/121123/84-121123.trans.txt": "84-121123-0000 GO DO YOU HEAR\r\n84-121123-0001\n\n",
    "test-clean/61/70968/61-70968-0000.flac": "",
    "test-clean/61/70968/61-70968.trans.txt": "61-70968-0000 HE BEGAN\n",
    "README.TXT": "",
}


def test_a_corpus_is_its_utterances(tmp_path: Path) -> None:
    source, found = walked(LibriSpeech, write(tmp_path, CORPUS))
    first, empty, other = found
    assert (first.id, first.uri) == ("84-121123-0000", f"{tmp_path}/dev-clean/84/121123/84-121123-0000.flac")
    assert (first.reference, first.size) == ("GO DO YOU HEAR", 13)
    assert first.columns == {"speaker": "84", "chapter": "121123", "subset": "dev-clean"}
    assert first.version is not None
    assert (empty.id, empty.reference) == ("84-121123-0001", "")
    assert (other.id, other.reference, other.columns["subset"]) == ("61-70968-0000", "HE BEGAN", "test-clean")
    assert source.schema.names == ["speaker", "chapter", "subset"]
    assert source.description == "LibriSpeech, 2 chapters"


def test_of_one_subset_there_is_no_column(tmp_path: Path) -> None:
    source, found = walked(LibriSpeech, write(tmp_path, CORPUS) / "dev-clean")
    assert [entry.id for entry in found] == ["84-121123-0000", "84-121123-0001"]
    assert source.schema.names == ["speaker", "chapter"]


def test_nothing_is_dropped_that_only_one_side_has(tmp_path: Path) -> None:
    """Audio without a line, a line without audio, a transcript without any, audio elsewhere, files between folders."""
    files: dict[str, str | bytes] = {
        "1/2/1-2-0.flac": "",
        "1/2/1-2-1.flac": "",
        "1/2/1-2-1/deeper.wav": "",
        "1/2/1-2-2.flac": "",
        "1/2/1-2.trans.txt": "1-2-0 A\n1-2-2 C\n1-2-3 D\n",
        "3/4/3-4.trans.txt": "3-4-0 E\n",
        "music.mp3": "",
    }
    found = entries(LibriSpeech, write(tmp_path, files))
    assert {entry.id: entry.reference for entry in found} == {
        **{"1-2-0": "A", "1-2-1": None, "1-2-2": "C", "1/2/1-2-1/deeper.wav": None, "music.mp3": None},
        **{"1-2-3": "D", "3-4-0": "E"},
    }
    fault = "no audio file for a line of a transcript"
    assert {entry.id for entry in found if entry.error} == {"1-2-3", "3-4-0"}
    assert set(reasons(found)) == {None, fault}


def test_more_chapters_than_are_fetched_at_once(tmp_path: Path) -> None:
    files: dict[str, str | bytes] = {}
    for number in range(150):
        files[f"s/{number}/s-{number}-0.flac"] = ""
        files[f"s/{number}/s-{number}.trans.txt"] = f"s-{number}-0 TEXT {number}\n"
    found = entries(LibriSpeech, write(tmp_path, files))
    assert {entry.id: entry.reference for entry in found} == {f"s-{n}-0": f"TEXT {n}" for n in range(150)}


def test_transcripts_in_a_store_are_read(tmp_path: Path) -> None:
    files = fsspec.filesystem("memory")
    files.pipe({f"/libri/{name}": str(content).encode() for name, content in CORPUS.items()})
    try:
        found = entries(LibriSpeech, "memory://libri")
    finally:
        files.rm("/libri", recursive=True)
    assert [(entry.uri.rpartition("/")[2], entry.reference) for entry in found] == [
        ("84-121123-0000.flac", "GO DO YOU HEAR"),
        ("84-121123-0001.flac", ""),
        ("61-70968-0000.flac", "HE BEGAN"),
    ]
    assert found[0].uri.startswith("memory:///libri/dev-clean/84/")


def test_a_transcript_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    path = write(tmp_path, CORPUS) / "dev-clean/84/121123/84-121123.trans.txt"
    path.write_bytes(b"84-121123-0000 A\n84-121123-0000 B\n")
    assert refusal(LibriSpeech, tmp_path) == f"{path} line 2: 84-121123-0000 twice"
    path.write_bytes(b"84-121123-0000 CAF\xc9\n")
    assert refusal(LibriSpeech, tmp_path) == f"{path} line 1: not UTF-8; save it as UTF-8"
    path.unlink()
    path.symlink_to(tmp_path / "gone")
    assert refusal(LibriSpeech, tmp_path) == f"{path}: missing file"


def test_what_is_not_laid_out_like_it_says_so(tmp_path: Path) -> None:
    write(tmp_path, {"a.flac": "", "x.trans.txt.bak": ""})
    assert not recognised(inputs.find(str(tmp_path)), CONFIG)
    assert refusal(LibriSpeech, tmp_path).startswith(f"{tmp_path}: not LibriSpeech (a folder with speaker/chapter/")


def test_texts_that_name_no_audio_are_no_transcripts(tmp_path: Path) -> None:
    """Their first words would become recordings that are missing."""
    write(tmp_path, {"a.wav": "", "a.trans.txt": "hello world\nthe cat sat\n", "b/c.trans.txt": b"\xe9t\xe9"})
    assert not recognised(inputs.find(str(tmp_path)), CONFIG)
    write(tmp_path, {"x/1.flac": "", "x/x.trans.txt": "0 A\r\n1 HELLO\r\n"})
    assert recognised(inputs.find(str(tmp_path)), CONFIG)


def test_columns_that_are_asked_for_are_used_or_refused(tmp_path: Path) -> None:
    write(tmp_path, CORPUS)
    message = refusal(LibriSpeech, tmp_path, ReadConfig(reference_column="typo"))
    assert message == (f"{tmp_path}: no column typo (read.reference_column); LibriSpeech has speaker, chapter, subset")
    assert "(read.id_column)" in refusal(LibriSpeech, tmp_path, ReadConfig(id_column="utt"))
    source, found = walked(LibriSpeech, tmp_path, ReadConfig(id_column="chapter", reference_column="subset"))
    assert [(entry.id, entry.reference) for entry in found] == [
        ("121123", "dev-clean"),
        ("121123", "dev-clean"),
        ("70968", "test-clean"),
    ]
    assert source.schema.names == ["speaker"]
