"""A WebDataset shard's samples are put together by name, wherever their members are, and nothing of them gets lost.

`datasets` is the oracle where names follow the convention; where it or Ray would merge samples, ours keep apart.
"""

import gzip
import io
import json
import random
import tarfile
from pathlib import Path
from typing import Any

import fsspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.config import ReadConfig
from pipeline.errors import RecordingError, UsageError
from pipeline.sources import found as inputs
from pipeline.sources import tarred
from pipeline.sources.entries import Entry, Piece, is_audio
from pipeline.sources.found import File, Files, Found
from pipeline.sources.samples import Names
from pipeline.sources.spool import Spool
from pipeline.sources.webdataset import WebDataset, recognised
from tests.sources.shard_files import CountingFile, OneFile, tar_bytes, write_tar

CONFIG = ReadConfig()


def pieces(url: Path | str, config: ReadConfig = CONFIG) -> list[Piece]:
    return list(WebDataset(inputs.find(str(url)), config).pieces())


def entries(url: Path | str, config: ReadConfig = CONFIG) -> list[Entry]:
    return [entry for piece in pieces(url, config) for entry in piece.entries]


def told(url: Path | str, config: ReadConfig = CONFIG) -> dict[str, str | None]:
    return {entry.id: entry.reference for entry in entries(url, config)}


def read(entry: Entry) -> bytes:
    """As a ranged read has it."""
    assert entry.span is not None and entry.size is not None
    data = Path(entry.uri).read_bytes()
    data = gzip.decompress(data) if entry.uri.endswith("gz") else data
    return data[entry.span.start : entry.span.start + entry.size]


def text(**fields: Any) -> bytes:
    return json.dumps(fields).encode()


# What belongs together


def test_a_sample_is_its_audio_with_what_its_json_says(tmp_path: Path) -> None:
    record = text(text="hello", duration=2.5, speaker="s", tags=[1])
    shard = write_tar(tmp_path / "t-000.tar", ("x/a.flac", b"audio"), ("x/a.json", record), ("x/a.cls", b"3"))
    source = WebDataset(inputs.find(str(tmp_path)), CONFIG)
    [piece] = source.pieces()
    [entry] = piece.entries
    assert (entry.id, entry.uri, entry.reference, entry.duration_s) == ("t-000/x/a", str(shard), "hello", 2.5)
    assert entry.columns == {"speaker": "s", "tags": "[1]"}
    assert source.schema.names == ["speaker", "tags"]
    assert read(entry) == b"audio"
    assert entry.version is not None and entry.version.startswith(f"{shard.stat().st_size} ")
    assert source.description == "1 WebDataset shard"


def test_dotted_keys_are_kept_apart(tmp_path: Path) -> None:
    """By the convention `a.1.flac` and `a.2.flac` are one sample; Ray's reader drops one of them without a word."""
    write_tar(
        tmp_path / "t.tar",
        ("a.1.flac", b"one"),
        ("a.1.json", text(text="first")),
        ("a.2.flac", b"two"),
        ("a.2.txt", b"second\n"),
        ("a.flac", b"zero"),
        ("a.txt", b"none"),
    )
    assert told(tmp_path) == {"t/a.1": "first", "t/a.2": "second", "t/a": "none"}
    assert [read(entry) for entry in entries(tmp_path)] == [b"one", b"two", b"zero"]


def test_the_key_up_to_the_first_dot_serves_where_it_is_one_recordings(tmp_path: Path) -> None:
    files = [("k.audio.flac", b"1"), ("k.json", text(text="yes")), ("k.seg.json", text(text="no"))]
    write_tar(tmp_path / "t.tar", *files)
    assert told(tmp_path) == {"t/k.audio": "yes"}


def test_a_text_that_may_be_anothers_is_not_used_and_said(tmp_path: Path) -> None:
    """One reference for two recordings would count errors that none made."""
    write_tar(tmp_path / "t.tar", ("k.left.flac", b"1"), ("k.json", text(text="both")), ("k.right.flac", b"2"))
    found = entries(tmp_path)
    assert [(entry.id, entry.reference) for entry in found] == [("t/k.left", None), ("t/k.right", None)]
    assert {entry.columns["text_error"] for entry in found} == {"k.json may be another recording's"}


def test_two_formats_of_one_key_are_two_recordings_with_one_text(tmp_path: Path) -> None:
    write_tar(tmp_path / "t.tar", ("a.flac", b"1"), ("a.wav", b"2"), ("a.txt", b"hello"))
    assert told(tmp_path) == {"t/a.flac": "hello", "t/a.wav": "hello"}


def test_members_with_one_name_are_as_many_recordings(tmp_path: Path) -> None:
    """As `tar -r` leaves them; each has the text that came with it."""
    files = [("a.flac", b"1"), ("a.txt", b"one"), ("a.flac", b"2"), ("a.txt", b"two")]
    write_tar(tmp_path / "t.tar", *files)
    assert [(entry.reference, read(entry)) for entry in entries(tmp_path)] == [("one", b"1"), ("two", b"2")]


@given(st.lists(st.sampled_from(["a", "a.1", "a.2", "b", "b.x.y", "d/a", "d.e/a"]), unique=True), st.randoms())
def test_the_order_of_members_says_nothing(stems: list[str], shuffled: random.Random) -> None:
    names = [f"{stem}{ending}" for stem in stems for ending in (".flac", ".json", ".txt", ".cls")]
    shuffled.shuffle(names)
    found = Names(names)
    samples = found.samples()
    assert sorted(names[sample.audio] for sample in samples) == sorted(f"{stem}.flac" for stem in stems)
    for sample in samples:
        stem = names[sample.audio].removesuffix(".flac")
        assert sample.json is not None and names[sample.json] == f"{stem}.json"
        assert sample.txt is not None and names[sample.txt] == f"{stem}.txt"
    assert found.lost() == []


@given(st.lists(st.text("ab./", min_size=1, max_size=6), max_size=12))
def test_whatever_the_names_every_audio_is_a_recording_once(stems: list[str]) -> None:
    names = [f"{stem}{ending}" for stem in stems for ending in (".flac", ".json", ".txt")][::2]
    found = Names(names)
    samples = found.samples()
    assert [names[sample.audio] for sample in samples] == [name for name in names if is_audio(name)]
    assert all(names[number].endswith((".json", ".txt")) for number in found.lost())


def test_by_the_convention_they_are_those_of_datasets(tmp_path: Path) -> None:
    from datasets.packaged_modules.webdataset.webdataset import WebDataset as Theirs

    rng = random.Random(5)
    files = []
    for key in (f"{rng.choice(['', 'd/', 'd/e/'])}{number:04d}" for number in range(30)):
        parts = [(".flac", rng.randbytes(40)), (".json", text(n=rng.random())), (".cls", b"1")]
        rng.shuffle(parts)
        files += [(f"{key}{ending}", data) for ending, data in parts]
    shard = write_tar(tmp_path / "t.tar", *files)
    with shard.open("rb") as opened, tarfile.open(fileobj=opened) as archive:
        members = ((info.name, archive.extractfile(info)) for info in archive)
        theirs = list(Theirs._get_pipeline_from_tar(str(shard), members))
    ours = entries(tmp_path)
    assert [entry.id for entry in ours] == [f"t/{sample['__key__']}" for sample in theirs]
    assert [read(entry) for entry in ours] == [sample["flac"] for sample in theirs]
    assert [entry.columns for entry in ours] == [sample["json"] for sample in theirs]


# Texts


def test_the_json_goes_before_the_text_and_names_the_recording(tmp_path: Path) -> None:
    write_tar(
        tmp_path / "t.tar",
        *(("a.flac", b"1"), ("a.json", text(id="own", transcript="json")), ("a.txt", b"txt")),
        *(("b.flac", b"2"), ("b.json", text(transcript=None)), ("b.txt", "\ufeffgr\u00fc\u00dfe \n".encode())),
        *(("c.flac", b"3"), ("c.txt", b"")),
    )
    assert told(tmp_path) == {"own": "json", "t/b": "gr\u00fc\u00dfe", "t/c": ""}
    assert told(tmp_path, ReadConfig(reference_column="id", id_column="transcript")) == {
        "json": "own",
        "t/b": "gr\u00fc\u00dfe",
        "t/c": "",
    }


def test_a_column_that_was_asked_for_and_is_in_no_json_is_refused(tmp_path: Path) -> None:
    write_tar(tmp_path / "t.tar", ("a.flac", b"1"), ("a.json", text(text="x")))
    with pytest.raises(UsageError, match=r"no column nothing \(read.reference_column\)"):
        entries(tmp_path, ReadConfig(reference_column="nothing"))


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b'{"text": "hal', "Unterminated string"),
        (b"[1, 2]", "not a JSON object"),
        (b'{"text": "\xff"}', "utf-8"),
        (b'{"text": "\\ud800"}', "surrogates"),
        (b"[" * 100_000, "recursion"),
        (b"1" * 10_000, "4300 digits"),
        (b"{" + b" " * 2**20 + b"}", "too long, or too much text in one shard (1,048,578 bytes)"),
    ],
)
def test_a_damaged_json_costs_the_text_and_not_the_recording(tmp_path: Path, data: bytes, why: str) -> None:
    write_tar(tmp_path / "t.tar", ("a.flac", b"1"), ("a.json", data), ("a.txt", b"there"), ("b.flac", b"2"))
    one, other = entries(tmp_path)
    assert (one.id, one.error, one.reference) == ("t/a", None, "there")
    assert one.columns["text_error"].startswith("a.json: ") and why in one.columns["text_error"]
    assert other.columns == {}


@pytest.mark.parametrize("name", ["t.tar", "t.tar.gz"])
def test_more_text_than_is_held_is_read_again(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a compressed shard it would be another pass for each: there it is left out, and said."""
    files = [(f"{number:03d}{ending}", b"x" * 100) for ending in (".flac", ".txt") for number in range(600)]
    write_tar(tmp_path / name, *files)
    monkeypatch.setattr(tarred, "MAX_TEXTS", 25_000)
    found = entries(tmp_path)
    assert len(found) == 600
    held, left_out = found[:250], found[250:]
    assert {entry.reference for entry in held} == {"x" * 100}
    if name == "t.tar":
        assert {entry.reference for entry in left_out} == {"x" * 100}
    else:
        assert all("too much text" in entry.columns["text_error"] for entry in left_out)


# Nothing gets lost


def test_a_text_whose_recording_is_missing_is_a_failed_row(tmp_path: Path) -> None:
    write_tar(tmp_path / "t.tar", ("a.flac", b"1"), ("a.json", b"{}"), ("b.json", b"{}"), ("README.txt", b"read me"))
    _, lost = entries(tmp_path)
    assert lost.id == "t/b.json" and lost.error is not None
    assert (lost.error.reason, lost.error.detail) == ("no audio beside its text", "b.json")


def test_texts_that_are_no_recordings_own_are_let_be(tmp_path: Path) -> None:
    """LibriSpeech's own archives have a text for many, and a README."""
    files = [("L/1/1-2-0001.flac", b"1"), ("L/1/1-2.trans.txt", b"1-2-0001 HI"), ("L/README.TXT", b"read me")]
    write_tar(tmp_path / "t.tar.gz", *files)
    assert told(tmp_path) == {"t/L/1/1-2-0001": None}


def test_hidden_members_are_no_recordings(tmp_path: Path) -> None:
    """macOS adds `._a.flac`; NeMo's names begin with _ where the path began with /."""
    write_tar(tmp_path / "t.tar", ("./._a.flac", b"junk"), ("./a.flac", b"1"), ("./_data_b.wav", b"2"))
    assert list(told(tmp_path)) == ["t/a", "t/_data_b"]


def test_links_and_sparse_files_are_failed_rows(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "t.tar", "w") as archive:
        archive.addfile(tarfile.TarInfo("a.flac"))
        link = tarfile.TarInfo("b.flac")
        link.type, link.linkname = tarfile.LNKTYPE, "a.flac"
        archive.addfile(link)
    _, second = entries(tmp_path)
    assert second.error is not None and second.error.reason == "not a plain file in its shard"


def test_a_shard_that_ends_early_is_one_failed_row_after_what_was_whole(tmp_path: Path) -> None:
    shard = write_tar(tmp_path / "a.tar", *((f"{number}.flac", b"x" * 600) for number in range(5)))
    write_tar(tmp_path / "b.tar", ("z.flac", b"1"))
    shard.write_bytes(shard.read_bytes()[: 3 * 1536 + 700])
    found = entries(tmp_path)
    assert [entry.id for entry in found] == ["a/0", "a/1", "a/2", "a", "b/z"]
    assert found[3].error is not None and found[3].error.reason == "shard truncated"
    assert found[3].uri == str(shard)


def test_a_shard_without_audio_says_so_and_one_without_members_is_empty(tmp_path: Path) -> None:
    write_tar(tmp_path / "a.tar", ("a.jpg", b"1"), ("a.json", b"{}"))
    write_tar(tmp_path / "b.tar")
    write_tar(tmp_path / "c.tar", ("c.wav", b"1"))
    found = entries(tmp_path)
    assert [(entry.id, entry.error and entry.error.reason) for entry in found] == [
        ("a", "no audio in its shard"),
        ("c/c", None),
    ]


def test_where_no_shard_can_be_read_the_input_is_refused(tmp_path: Path) -> None:
    for name in ("a.tar", "b.tar"):
        (tmp_path / name).write_bytes(b"<html>" * 200)
    with pytest.raises(UsageError, match=r"none of its shards can be read \(.*b.tar: not a tar shard\)"):
        entries(tmp_path)


@pytest.mark.parametrize("name", ["a.tar.zst", "a.tar.xz", "a.tar.bz2", "a.tar.lz4"])
def test_other_compressions_are_refused_by_name(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"anything")
    assert recognised(inputs.find(str(tmp_path)), CONFIG)
    with pytest.raises(UsageError, match=f"{name}: only .tar and .tar.gz are read; unpack it with"):
        entries(tmp_path)
    write_tar(tmp_path / "b.tar", ("b.wav", b"1"))
    good, refused = entries(tmp_path)
    assert refused.error is not None and refused.error.reason == "a compressed shard that is not .tar.gz"
    assert (good.id, refused.id) == ("b/b", name)


def test_keys_that_two_shards_share_stay_apart(tmp_path: Path) -> None:
    for folder in ("x", "y"):
        write_tar(tmp_path / folder / "t.tar", ("a.flac", b"1"))
    assert list(told(tmp_path)) == ["x/t/a", "y/t/a"]


# Units


def test_a_plain_shard_may_be_cut_anywhere_and_a_compressed_one_into_eight(tmp_path: Path) -> None:
    files = [(f"{number}.flac", b"x") for number in range(50)]
    plain, packed = write_tar(tmp_path / "a.tar", *files), write_tar(tmp_path / "b.tgz", *files)
    found = pieces(tmp_path)
    assert [len(piece.entries) for piece in found if piece.shard == str(plain)] == [1] * 50
    assert [len(piece.entries) for piece in found if piece.shard == str(packed)] == [7] * 7 + [1]
    assert len(found) == 58


def test_a_long_compressed_shard_is_cut_so_that_no_piece_is_too_long(tmp_path: Path) -> None:
    files = [(f"{number}{ending}", b'{"duration": 1000}') for number in range(20) for ending in (".flac", ".json")]
    write_tar(tmp_path / "b.tar.gz", *files)
    assert {len(piece.entries) for piece in pieces(tmp_path)} == {1}


def test_shards_of_a_store_are_listed_together_and_come_in_order() -> None:
    memory = fsspec.filesystem("memory")
    for number in range(20):
        held = io.BytesIO()
        with tarfile.open(fileobj=held, mode="w") as archive:
            archive.addfile(tarfile.TarInfo("a.wav"))
        memory.pipe_file(f"/shards/{number:02d}.tar", held.getvalue() if number != 7 else b"x" * 600)
    try:
        found = entries("memory://shards")
    finally:
        memory.rm("/shards", recursive=True)
    assert [entry.id for entry in found] == [f"{n:02d}/a" if n != 7 else "07" for n in range(20)]
    assert found[3].uri == "memory:///shards/03.tar"
    assert isinstance(found[7].error, RecordingError)


def test_what_signs_a_url_is_in_no_id_and_no_message() -> None:
    class Web(OneFile):
        protocol = "https"

        def unstrip_protocol(self, path: str) -> str:
            return path

    def source(data: bytes) -> WebDataset:
        listed = Files.of([File(url, len(data), "")])
        web = Web(CountingFile(data))
        found = Found(url, web, "https://host/in", listed, True, lambda text: None)
        assert recognised(found, CONFIG)
        return WebDataset(found, CONFIG)

    url = "https://host/in/t.tar?signature=secret"
    [piece] = source(tar_bytes([("a.wav", b"x")])).pieces()
    assert [(entry.id, entry.uri) for entry in piece.entries] == [("t/a", url)]
    with pytest.raises(UsageError, match=r"^https://host/in/t.tar: none") as caught:
        list(source(b"<html>" * 200).pieces())
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("depth", [600, 100_000])
def test_a_json_of_brackets_in_brackets_costs_its_text_at_most(tmp_path: Path, depth: int) -> None:
    """Nested so deep that they cannot be packed, what is between keeps the whole run from being planned."""
    nested = b"[" * depth + b"]" * depth
    files = [("a.flac", b"1"), ("a.json", b'{"text": "hello", "z": ' + nested + b"}"), ("b.flac", b"2")]
    write_tar(tmp_path / "t.tar", *files)
    with Spool(WebDataset(inputs.find(str(tmp_path)), CONFIG), CONFIG) as spool:
        found = [entry for unit in spool.units() for entry in unit]
    assert [(entry.id, entry.error) for entry in found] == [("t/a", None), ("t/b", None)]
    assert "text_error" in found[0].columns or found[0].columns["z"] == nested.decode()
