"""What inputs are recognised as, what is refused, and that every refusal names the thing at fault and the way out.

It reads no audio: a listing only needs names, sizes and columns. What each kind lists is tested beside its own name.
"""

import gzip
import io
import json
import tarfile
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args, get_type_hints

import fsspec
import numpy as np
import pytest

from pipeline.config import ReadConfig
from pipeline.errors import UsageError
from pipeline.manifest import Manifest
from pipeline.read.reader import Reader
from pipeline.sources.entries import Entry
from pipeline.sources.found import find
from pipeline.sources.recognise import KINDS, LAID_OUT, open_source, recognised
from pipeline.sources.spool import Spool
from pipeline.store import Folder
from pipeline.unit import Unit
from tests import corpora

CONFIG = ReadConfig()


def refusal(url: Path | str, source: str = "auto") -> str:
    with pytest.raises(UsageError) as caught:
        list(open_source(str(url), replace(CONFIG, source=source)).pieces())  # type: ignore[arg-type]
    return str(caught.value)


def kind_of(url: Path | str, source: str = "auto") -> str:
    """What it is taken for, and not refused."""
    open_source(str(url), replace(CONFIG, source=source))  # type: ignore[arg-type]
    return recognised(find(str(url)), CONFIG) if source == "auto" else source


def ids(url: Path | str, source: str = "auto") -> list[str]:
    made = open_source(str(url), replace(CONFIG, source=source))  # type: ignore[arg-type]
    return [entry.id for piece in made.pieces() for entry in piece.entries]


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"not read here")


def lines(path: Path, *records: dict[str, Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A small corpus of every kind."""
    root = tmp_path_factory.mktemp("corpora")
    return {kind: corpora.write(kind, root / kind, corpora.clips(6)) for kind in corpora.KINDS}


# All kinds


def test_every_kind_can_be_named_and_tried() -> None:
    """Written down three times: for the configuration, which must not import them, for recognition, for the tests."""
    assert set(get_args(get_type_hints(ReadConfig)["source"])) == {*KINDS, "auto", "hub"}
    assert set(corpora.KINDS) == set(KINDS)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("where", ["by its own name", "in a folder"])
def test_every_kind_is_recognised(made: dict[str, Path], tmp_path: Path, kind: str, where: str) -> None:
    url = made[kind] if where == "by its own name" or made[kind].is_dir() else made[kind].parent
    if kind in ("jsonlines", "csv") and where == "in a folder":  # with its audio in a folder of its own
        for path in made[kind].parent.iterdir():
            name = path.name if path.suffix in (".jsonl", ".csv") else f"audio/{path.name}"
            touch(tmp_path, name)
            (tmp_path / name).write_bytes(path.read_bytes() if path.is_file() else b"")
        url = tmp_path
    assert kind_of(url) == kind_of(url, kind) == kind


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "files"])
def test_a_kind_that_is_not_there_is_refused(tmp_path: Path, kind: str) -> None:
    touch(tmp_path, "in/notes.txt")
    message = refusal(tmp_path / "in", kind)
    assert str(tmp_path) in message
    assert len(message) < 300


@pytest.mark.parametrize("kind", KINDS)
def test_every_recording_of_every_kind_can_be_read(made: dict[str, Path], kind: str, tmp_path: Path) -> None:
    """The samples that were written are those that are read; the text of one is never another's."""
    manifest = Manifest(Folder(str(tmp_path)))
    with Spool(open_source(str(made[kind]), CONFIG), CONFIG) as listed:
        assert listed.freeze(manifest).num == 0
    read = Reader(CONFIG, lambda unit: manifest.unit(unit.id))
    recordings = [recording for unit in manifest.units() for recording in read(Unit(unit.id)).recordings]
    assert [(r.id, r.error, r.error_detail) for r in recordings if r.status == "failed"] == []
    by_text = {clip.text: clip for clip in corpora.clips(6)}
    by_name = {f"{clip.name}.flac": clip for clip in corpora.clips(6)}
    assert len({recording.id for recording in recordings}) == len(recordings) == len(by_text)
    for recording in recordings:
        clip = by_name[recording.id] if kind in corpora.WITHOUT_TEXTS else by_text.pop(str(recording.reference))
        assert recording.audio is not None
        if kind in corpora.LOSSY:
            assert recording.duration_s == pytest.approx(clip.seconds, abs=0.1)
            continue
        samples = recording.audio.astype(np.float64) * (1 if recording.audio.dtype == np.int16 else 32768)
        np.testing.assert_array_equal(samples, clip.samples)


# Which of them


def test_a_single_file_is_audio_if_nothing_else(tmp_path: Path) -> None:
    touch(tmp_path, "take.xyz", "_hidden", "b.ogg")
    for name in ("take.xyz", "_hidden", "b.ogg"):
        assert ids(tmp_path / name) == [name]
    assert ids(tmp_path, "files") == ["b.ogg"]


def test_laid_out_corpora_come_before_what_they_are_made_of(tmp_path: Path) -> None:
    """Each of them holds audio, tars or tables, too, that would be read without references otherwise."""
    for kind in ("kaldi", "librispeech", "common-voice", "nemo-tarred", "shar", "lhotse"):
        corpus = corpora.write(kind, tmp_path / kind, corpora.clips(6))
        touch(corpus, "notes.csv", "README.md")
        assert kind_of(corpus) == kind


SPLIT = {"path": "x.wav"}


@pytest.mark.parametrize(
    ("kind", "stray", "is_lost"),
    [
        *((kind, "loose/x.wav", True) for kind in ("shar", "nemo-tarred", "datasets")),
        *(
            (kind, "loose/x.tar", True)
            for kind in ("shar", "librispeech", "datasets", "kaldi", "lhotse", "common-voice")
        ),
        *((kind, "x.parquet", True) for kind in corpora.KINDS if kind in LAID_OUT),
        *((kind, "loose/x.jsonl", True) for kind in ("shar", "nemo-tarred", "librispeech", "datasets")),
        *((kind, "loose/x.wav", False) for kind in ("kaldi", "lhotse", "common-voice", "librispeech")),
        *((kind, "loose/sizes.csv", False) for kind in LAID_OUT),
        *((kind, "x.md", False) for kind in LAID_OUT),
    ],
)
def test_a_corpus_does_not_hide_what_lies_beside_it(tmp_path: Path, kind: str, stray: str, is_lost: bool) -> None:
    """It says itself where its audio is: all else would be left out, and nobody told."""
    corpus = corpora.write(kind, tmp_path / kind, corpora.clips(6))
    touch(corpus, stray)
    if stray.endswith(".jsonl"):
        lines(corpus / stray, SPLIT)
    if is_lost:
        message = refusal(corpus)
        assert message.startswith(f"{corpus} holds {KINDS[kind].words} and beside it 1 ")
        assert f"({stray}): name one kind with a glob or its folder, or by --source {kind} or" in message
    else:
        assert kind_of(corpus) == kind
    assert kind_of(corpus, kind) == kind


@pytest.mark.parametrize("kind", ["webdataset", "parquet"])
def test_shards_do_not_hide_a_table_that_lists_audio(made: dict[str, Path], tmp_path: Path, kind: str) -> None:
    corpus = corpora.write(kind, tmp_path / kind, corpora.clips(6))
    lines(corpus / "t.jsonl", SPLIT)
    assert "and t.jsonl, which may list others" in refusal(corpus)
    assert kind_of(corpus, kind) == kind


@pytest.mark.parametrize(
    "table",
    [
        ("speakers.csv", "speaker,minutes\ns,3\n"),
        ("metadata.csv", "LJ001-0001|Printing, in the only sense|printing\n"),
        ("train.tsv", "/data/audio\na.wav\t16000\n"),
        ("empty.csv", ""),
        ("sizes.jsonl", '{"a": 1}\n'),
    ],
)
def test_a_table_that_lists_no_audio_is_only_said(tmp_path: Path, table: tuple[str, str]) -> None:
    touch(tmp_path, "audio/a.wav")
    (tmp_path / table[0]).write_text(table[1])
    assert kind_of(tmp_path) == "files"
    ending = Path(table[0]).suffix
    assert open_source(str(tmp_path), CONFIG).description == f"1 audio file, 1 other ({ending})"


def test_other_files_beside_audio_are_counted(tmp_path: Path) -> None:
    touch(tmp_path, "a.wav", "b.WAV", "1.txt", "2.txt", "x/3.pdf", "x/4.doc", "x/5.eml", "LICENSE", ".hidden.txt")
    made = open_source(str(tmp_path), CONFIG)
    assert made.description == "2 audio files, 6 others (.txt, .doc, .eml, ...)"
    assert open_source(str(tmp_path / "*.wav"), CONFIG).description == "1 audio file"


def test_endings_of_audio_beside_others_are_not_overlooked(tmp_path: Path) -> None:
    """What a decoder can read and no list here names would be left out."""
    names = ["mp2", "aifc", "mpg", "mpeg", "wmv", "ogv", "m2ts", "spx", "wv", "gsm", "3g2", "wave"]
    touch(tmp_path, "a.wav", *(f"b.{name}" for name in names))
    assert open_source(str(tmp_path), CONFIG).description == f"{len(names) + 1} audio files"


@pytest.mark.parametrize("name", ["list.txt", "x.stm", "other.scp", "a.pdf"])
def test_text_that_is_given_by_name_is_no_audio(tmp_path: Path, name: str) -> None:
    touch(tmp_path, name)
    message = refusal(tmp_path / name)
    assert message.startswith(f"{tmp_path / name}: {Path(name).suffix} is no audio. ")
    assert "--source csv" in message
    assert ids(tmp_path / name, "files") == [name]


def test_a_file_called_state_is_no_dataset(tmp_path: Path) -> None:
    touch(tmp_path, "a.wav")
    (tmp_path / "state.json").write_text('{"epoch": 3}')
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "state.json").write_text("[")
    assert kind_of(tmp_path) == "files"


def test_signed_tables_and_shards_are_what_their_names_say() -> None:
    from pipeline.sources.found import File, Files, Found

    memory = fsspec.filesystem("memory")  # nothing in it: the names are enough
    for name, kind in {"m.jsonl": "jsonlines", "t.csv": "csv", "p.parquet": "parquet", "s.tar": "webdataset"}.items():
        url = f"https://h/in/{name}?X-Amz-Signature=a/b.wav"
        found = Found(f"https://h/in/{name}", memory, "https://h/in", Files.of([File(url, 9, "")]), True, print)
        assert recognised(found, CONFIG) == kind


def test_the_users_deadline_holds_while_an_input_is_recognised(tmp_path: Path, monkeypatch: Any) -> None:
    seen: list[ReadConfig] = []

    def reading(found: Any, path: str, config: ReadConfig) -> str:
        seen.append(config)
        return ""

    for module in ("common_voice", "nemo"):
        monkeypatch.setattr(f"pipeline.sources.{module}.first_line", reading)
    mine = replace(CONFIG, storage_deadline_s=7.0)
    for name in ("t.tsv", "m.json"):
        touch(tmp_path, name)
        open_source(str(tmp_path / name), mine)
    assert seen == [mine, mine]


def test_a_table_of_audio_in_folders_below_it_is_the_input(tmp_path: Path) -> None:
    touch(tmp_path, "audio/1.wav", "audio/2.wav", "LICENSE")
    lines(tmp_path / "train.jsonl", {"path": "audio/2.wav"})
    assert ids(tmp_path) == ["audio/2.wav"]


def test_each_split_may_have_metadata_of_its_own(tmp_path: Path) -> None:
    """As Hugging Face's AudioFolder is mostly laid out; and what no metadata names is counted."""
    touch(tmp_path, "train/1.wav", "train/2.wav", "test/1.wav", "other.mp3")
    for split in ("train", "test"):
        (tmp_path / split / "metadata.csv").write_text(f"file_name,transcription\n./1.wav,{split}\n")
    source = open_source(str(tmp_path), CONFIG)
    found = [entry for piece in source.pieces() for entry in piece.entries]
    assert [(entry.uri, entry.reference) for entry in found] == [
        (f"{tmp_path}/test/./1.wav", "test"),
        (f"{tmp_path}/train/./1.wav", "train"),
    ]
    assert source.description == "2 tables; audio files beside it that it does not list, left out: 2"


@pytest.mark.parametrize("name", ["metadata.csv", "metadata.jsonl"])
def test_metadata_beside_audio_lists_it(tmp_path: Path, name: str) -> None:
    touch(tmp_path, "1.wav", "2.wav")
    if name == "metadata.csv":
        (tmp_path / name).write_text("file_name,transcription\n2.wav,HELLO\n")
    else:
        lines(tmp_path / name, {"file_name": "2.wav", "transcription": "HELLO"})
    source = open_source(str(tmp_path), CONFIG)
    [entry] = [entry for piece in source.pieces() for entry in piece.entries]
    assert source.description.endswith("; audio files beside it that it does not list, left out: 1")
    assert (entry.id, entry.uri, entry.reference) == ("2.wav", str(tmp_path / "2.wav"), "HELLO")


def test_a_glob_of_tables_is_all_of_them(tmp_path: Path) -> None:
    touch(tmp_path, "1.wav")
    for number in (1, 2):
        lines(tmp_path / f"{number}.jsonl", {"path": f"{number}.wav"})
    assert ids(tmp_path / "*.jsonl") == ["1.wav", "2.wav"]


def test_shards_may_have_small_tables_beside_them(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        tar.addfile(info := tarfile.TarInfo("x.wav"), io.BytesIO(bytes(info.size)))
    lines(tmp_path / "sizes.jsonl", {"a.tar": 1})
    (tmp_path / "index.csv").write_bytes(gzip.compress(b"a"))
    assert kind_of(tmp_path) == "webdataset"


# Refusals


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (
            ["a.wav", "b.wav", "c.parquet"],
            "holds 2 audio files and 1 Parquet file: name one kind with a glob, or by --source files or "
            "--source parquet",
        ),
        (
            ["a.wav", "b.tar", "c.parquet"],
            "holds 1 audio file and 1 Parquet file and 1 tar shard: name one kind with a glob, or by --source files or "
            "--source parquet or --source webdataset",
        ),
        (
            ["a.wav", "manifest.jsonl"],
            "holds 1 audio file and manifest.jsonl, which may list them: give that by its own name, or say "
            "--source files",
        ),
        (
            ["a.wav", "x/b.jsonl", "x/c.jsonl"],
            "holds 1 audio file and 2 tables (x/b.jsonl, x/c.jsonl): give one of them by its own name, or say "
            "--source files",
        ),
        (
            ["1.csv", "2.csv", "3.csv", "4.jsonl", "notes.txt"],
            "holds 4 tables (4.jsonl, 1.csv, 2.csv, ...): give one of them by its own name",
        ),
    ],
)
def test_mixed_inputs_are_not_guessed(tmp_path: Path, names: list[str], message: str) -> None:
    touch(tmp_path, *names)
    assert refusal(tmp_path) == f"{tmp_path} {message}"
    if "a.wav" in names:
        assert ids(tmp_path, "files")[0] == "a.wav"


def test_no_audio_says_what_is_there_and_how_to_say_what_it_is(tmp_path: Path) -> None:
    touch(tmp_path, ".hidden.wav", *(f"{number}.txt" for number in range(6)))
    message = refusal(tmp_path)
    assert message.startswith(f"{tmp_path}: no audio in it (6 files: 0.txt, 1.txt, 2.txt, ...), nor ")
    assert message.endswith(f" by --source {'|'.join(KINDS)}|hub")
    (tmp_path / "empty").mkdir()
    assert "(it is empty)" in refusal(tmp_path / "empty")


@pytest.mark.parametrize("name", ["a.zip", "a.7z", "sub/a.RAR", "a.tar.zst"])
def test_archives_that_are_not_read_say_the_way_out(tmp_path: Path, name: str) -> None:
    touch(tmp_path, name)
    for url in (tmp_path, tmp_path / name):
        message = refusal(url)
        assert message.startswith(f"{tmp_path / name}: ")
        assert "unpack it" in message
        assert ".tar" in message


def test_a_name_of_the_hub_is_recognised_where_nothing_is_there(tmp_path: Path, monkeypatch: Any) -> None:
    """It is not asked without being told: a typing error in a path must not go out to the network."""
    monkeypatch.chdir(tmp_path)
    assert refusal("speech/voices") == (
        "speech/voices: no such file, folder or bucket; if it is the name of a dataset on the Hugging Face hub, "
        "say so by --source hub"
    )
    touch(tmp_path, "speech/voices/a.wav")
    assert ids("speech/voices") == ["a.wav"]


def test_files_of_unknown_size_are_not_taken_for_empty_ones() -> None:
    from pipeline.sources.found import File, Files, Found
    from pipeline.sources.recognise import AudioFiles

    listed = Files.of([File("/a.wav", 0, ""), File("/b.wav", 0, "0 mark")])
    found = Found("https://host/", None, "/", listed, False, print)
    found = replace(found, files=type("Web", (), {"protocol": ("file",)}))
    entries = [entry for piece in AudioFiles(found, CONFIG).pieces() for entry in piece.entries]
    assert entries == [Entry("a.wav", "/a.wav"), Entry("b.wav", "/b.wav", size=0, version="0 mark")]
