"""A tarred NeMo dataset's lines find their members: by shard and name, several cuts of one, and none of either is lost.

What NeMo's own script writes is laid down here by hand; NeMo itself is not at hand.
"""

import gzip
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import fsspec
import pytest

from pipeline.config import ReadConfig
from pipeline.errors import UsageError
from pipeline.records import WHOLE, Cut
from pipeline.sources import found as inputs
from pipeline.sources.entries import Entry
from pipeline.sources.nemo import NemoTarred, recognised
from tests.sources.shard_files import tar_bytes, write_tar

CONFIG = ReadConfig()


def entries(url: Path | str, config: ReadConfig = CONFIG) -> list[Entry]:
    return [entry for piece in NemoTarred(inputs.find(str(url)), config).pieces() for entry in piece.entries]


def line(name: str, shard: int | None = None, **fields: Any) -> dict[str, Any]:
    own = {"audio_filepath": name, "duration": 2.0, "text": f"of {name}"}
    return own | ({} if shard is None else {"shard_id": shard}) | fields


def write_lines(path: Path, lines: Iterable[Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{one if isinstance(one, str) else json.dumps(one)}\n" for one in lines))
    return path


def corpus(root: Path, num_shards: int = 3) -> list[dict[str, Any]]:
    """Tars of two files each; the lines of all of them, for the test to write."""
    for shard in range(num_shards):
        write_tar(root / f"audio_{shard}.tar", *((f"{shard}-{n}.wav", bytes([shard, n]) * 9) for n in range(2)))
    return [line(f"{shard}-{n}.wav", shard) for shard in range(num_shards) for n in range(2)]


def read(entry: Entry) -> bytes:
    assert entry.span is not None and entry.size is not None
    return Path(entry.uri).read_bytes()[entry.span.start : entry.span.start + entry.size]


@pytest.mark.parametrize("is_one_file", [False, True])
@pytest.mark.parametrize("is_shuffled", [False, True])
def test_one_manifest_for_all_tars(tmp_path: Path, is_one_file: bool, is_shuffled: bool) -> None:
    lines = corpus(tmp_path)
    manifest = write_lines(tmp_path / "tarred_audio_manifest.json", lines[::-1] if is_shuffled else lines)
    url = manifest if is_one_file else tmp_path
    assert recognised(inputs.find(str(url)), CONFIG)
    found = entries(url)
    assert [entry.id for entry in found] == [f"audio_{s}/{s}-{n}" for s in range(3) for n in range(2)]
    assert [read(entry) for entry in found] == [bytes([s, n]) * 9 for s in range(3) for n in range(2)]
    assert [(entry.reference, entry.duration_s, entry.cut) for entry in found] == [
        (f"of {s}-{n}.wav", 2.0, WHOLE) for s in range(3) for n in range(2)
    ]


def test_one_manifest_for_each_tar_as_nemo_writes_them_beside_the_one_for_all(tmp_path: Path) -> None:
    """They say the same: no recording is listed twice."""
    lines = corpus(tmp_path)
    for shard in range(3):
        of_shard = [{**one, "lang": "de"} for one in lines if one["shard_id"] == shard]
        write_lines(tmp_path / "sharded_manifests" / f"manifest_{shard}.json", of_shard)
    assert recognised(inputs.find(str(tmp_path)), CONFIG)
    assert [entry.columns for entry in entries(tmp_path)] == [{"lang": "de"}] * 6
    write_lines(tmp_path / "tarred_audio_manifest.json", lines)
    assert [entry.columns for entry in entries(tmp_path)] == [{}] * 6


def test_one_manifest_of_many_by_its_name_is_its_shard_alone(tmp_path: Path) -> None:
    lines = corpus(tmp_path)
    manifest = write_lines(tmp_path / "sharded_manifests" / "manifest_1.json", lines[2:4])
    assert recognised(inputs.find(str(manifest)), CONFIG)
    assert [entry.id for entry in entries(manifest)] == ["audio_1/1-0", "audio_1/1-1"]


def test_buckets_are_folders_with_numbers_of_their_own(tmp_path: Path) -> None:
    for bucket in ("bucket1", "bucket2"):
        write_lines(tmp_path / bucket / "tarred_audio_manifest.json", corpus(tmp_path / bucket, 2))
    found = entries(tmp_path)
    assert len({entry.id for entry in found}) == 8 and found[0].id == "bucket1/audio_0/0-0"
    assert [entry.error for entry in found] == [None] * 8


def test_several_cuts_of_one_member_are_several_recordings(tmp_path: Path) -> None:
    """`-sub1` in a name is NeMo's way to say so, the same name again a newer one."""
    write_tar(tmp_path / "audio_0.tar", ("a-sub9.wav", b"own"), ("talk.wav", b"talk"))
    names = ["talk.wav", "talk-sub1.wav", "talk-sub12.wav", "talk.wav", "a-sub9.wav"]
    lines = [line(name, 0, offset=10.0 * number) for number, name in enumerate(names)]
    write_lines(tmp_path / "tarred_audio_manifest.json", lines)
    found = {entry.reference: entry for entry in entries(tmp_path)}
    assert len(entries(tmp_path)) == 5
    assert {read(entry) for entry in found.values()} == {b"own", b"talk"}
    assert sorted(entry.cut for entry in entries(tmp_path)) == [Cut(10.0 * number, 2.0) for number in range(5)]
    assert found["of talk-sub12.wav"].id == "audio_0/talk-sub12"
    assert found["of a-sub9.wav"].span is not None and found["of a-sub9.wav"].span.member == "a-sub9.wav"


def test_a_segment_without_a_valid_place_fails_alone(tmp_path: Path) -> None:
    corpus(tmp_path, 1)
    lines = [line("0-0.wav", 0, offset=-1), line("0-1.wav", 0, offset=1.0, duration="?")]
    write_lines(tmp_path / "tarred_audio_manifest.json", lines)
    reasons = [entry.error and entry.error.reason for entry in entries(tmp_path)]
    assert reasons == ["segment without a valid start", "segment without a valid duration"]


# Nothing gets lost


def test_lines_without_their_member_or_shard_are_failed_rows(tmp_path: Path) -> None:
    lines = corpus(tmp_path, 1)
    write_lines(tmp_path / "tarred_audio_manifest.json", [*lines, line("gone.wav", 0), line("far.wav", 7, id="mine")])
    found = entries(tmp_path)
    assert [(entry.id, entry.error and entry.error.reason) for entry in found[2:]] == [
        ("audio_0/gone", "missing from its shard"),
        ("mine", "missing shard"),
    ]
    assert found[2].reference == "of gone.wav"


def test_lines_of_a_shard_that_ends_early_fail_with_its_reason(tmp_path: Path) -> None:
    lines = corpus(tmp_path, 2)
    write_lines(tmp_path / "tarred_audio_manifest.json", lines)
    shard = tmp_path / "audio_0.tar"
    shard.write_bytes(shard.read_bytes()[:1200])
    found = {entry.reference: entry.error and entry.error.reason for entry in entries(tmp_path)}
    reasons = dict.fromkeys(one["text"] for one in lines)
    assert found == {**reasons, "of 0-1.wav": "shard truncated"}


def test_members_that_no_line_names_are_counted_in_one_row(tmp_path: Path) -> None:
    """A manifest is often filtered; that the rest is left out has to be seen all the same."""
    write_lines(tmp_path / "tarred_audio_manifest.json", corpus(tmp_path)[:1])
    found = entries(tmp_path)
    assert [entry.id for entry in found] == ["audio_0/0-0", "tarred_audio_manifest.json"]
    error = found[1].error
    assert error is not None and error.reason == "in a shard, but not in the manifest"
    assert error.detail == "5 members, as audio_0: 0-1.wav, audio_1: 1-0.wav, audio_1: 1-1.wav"


# What cannot be meant


@pytest.mark.parametrize(
    ("lines", "why"),
    [
        (['{"audio_filepath": "a.wav"'], "line 1: not JSON"),
        ([line("0-0.wav", 0), line("x.wav")], "line 2: no shard_id (a number), and 2 tars"),
        ([line("0-0.wav", 0, shard_id="0")], "line 1: no shard_id"),
        ([line("0-0.wav", 0, audio_filepath=3)], "3 is not a path"),
        ([line("0-0.wav", 0, text="\ud800")], "lone surrogate"),
    ],
)
def test_a_damaged_manifest_is_refused(tmp_path: Path, lines: list[Any], why: str) -> None:
    corpus(tmp_path, 2)
    write_lines(tmp_path / "tarred_audio_manifest.json", lines)
    with pytest.raises(UsageError) as caught:
        entries(tmp_path)
    assert why in str(caught.value)


def test_two_manifests_for_the_same_tars_are_refused(tmp_path: Path) -> None:
    lines = corpus(tmp_path)
    for name in ("tarred_audio_manifest.json", "tarred_audio_manifest_clean.json"):
        write_lines(tmp_path / name, lines)
    with pytest.raises(UsageError, match="describe the same shards; give one by its name"):
        entries(tmp_path)
    assert len(entries(tmp_path / "tarred_audio_manifest_clean.json")) == 6


@pytest.mark.parametrize("name", ["audio_0_16k_0.tar", "sharded_manifests/manifest_0_clean_0.json"])
def test_two_files_with_one_number_are_refused(tmp_path: Path, name: str) -> None:
    lines = corpus(tmp_path, 1)
    write_lines(tmp_path / "sharded_manifests" / "manifest_0.json", lines)
    (tmp_path / name).write_bytes((tmp_path / "audio_0.tar").read_bytes() if name.endswith("tar") else b"")
    with pytest.raises(UsageError, match="have the same number"):
        entries(tmp_path)


def test_without_tars_it_is_none(tmp_path: Path) -> None:
    manifest = write_lines(tmp_path / "deep" / "tarred_audio_manifest.json", [line("a.wav", 0)])
    with pytest.raises(UsageError, match="no tar shards there, nor in the folder above"):
        entries(manifest)


@pytest.mark.parametrize("first", ['{"audio_filepath": "a.wav"}', "[]", "", "{"])
def test_a_plain_manifest_is_not_taken_for_one(tmp_path: Path, first: str) -> None:
    assert not recognised(inputs.find(str(write_lines(tmp_path / "manifest_0.json", [first]))), CONFIG)
    assert not recognised(inputs.find(str(tmp_path)), CONFIG)


def test_in_a_store(tmp_path: Path) -> None:
    memory = fsspec.filesystem("memory")
    for shard in range(12):
        memory.pipe_file(f"/nemo/audio_{shard}.tar", tar_bytes([(f"{shard}.wav", b"x")]))
    text = "".join(json.dumps(line(f"{number % 12}.wav", number % 12, offset=number)) + "\n" for number in range(600))
    memory.pipe_file("/nemo/tarred_audio_manifest.json", text.encode())
    try:
        found = entries("memory://nemo/tarred_audio_manifest.json")
        assert len(found) == 600 and {entry.error for entry in found} == {None}
        assert sorted(entry.cut.offset_s for entry in found) == list(range(600))
        assert all(entry.span is not None and f"audio_{entry.span.member[:-4]}.tar" in entry.uri for entry in found)
    finally:
        memory.rm("/nemo", recursive=True)


def test_members_are_found_as_nemo_finds_them(tmp_path: Path) -> None:
    """By the base name without extension, where it is one member's alone; the same path spelt otherwise goes before."""
    names = ["dir/a.wav", "./b.wav", "x/c.wav", "y/c.wav", "./z/c.wav", "d.flac"]
    write_tar(tmp_path / "audio_0.tar", *((name, name.encode()) for name in names))
    wanted = {"a.wav": "dir/a.wav", "b.wav": "./b.wav", "z/c.wav": "./z/c.wav", "e/d.wav": "d.flac", "c.wav": None}
    write_lines(tmp_path / "tarred_audio_manifest.json", [line(name, 0) for name in wanted])
    found = {entry.reference: entry for entry in entries(tmp_path)}
    for name, member in wanted.items():
        entry = found[f"of {name}"]
        assert (entry.span.member if entry.span else None) == member
        assert member is None or read(entry) == member.encode()
    error = found["of c.wav"].error
    assert error is not None and error.reason == "missing from its shard"


def test_of_two_members_with_one_name_neither_is_lost(tmp_path: Path) -> None:
    write_tar(tmp_path / "audio_0.tar", ("a.wav", b"old"), ("a.wav", b"new"))
    write_lines(tmp_path / "tarred_audio_manifest.json", [line("a.wav", 0)])
    a, left = entries(tmp_path)
    assert read(a) == b"new"
    assert left.error is not None and left.error.detail == "1 members, namely audio_0: a.wav"


@pytest.mark.parametrize("name", ["tarred_audio_manifest.json.gz", "m.json.gz"])
@pytest.mark.parametrize("is_shuffled", [False, True])
def test_a_gzipped_manifest_for_all_tars(tmp_path: Path, name: str, is_shuffled: bool) -> None:
    """Not recognised, its tars would be WebDataset shards without references."""
    lines = corpus(tmp_path)
    plain = write_lines(tmp_path / "plain", lines[::-1] if is_shuffled else lines)
    (tmp_path / name).write_bytes(gzip.compress(plain.read_bytes()))
    url = tmp_path / name if name.startswith("m.") else tmp_path
    assert recognised(inputs.find(str(url)), CONFIG)
    found = entries(url)
    assert [entry.reference for entry in found] == [f"of {s}-{n}.wav" for s in range(3) for n in range(2)]
    assert [read(entry) for entry in found] == [bytes([s, n]) * 9 for s in range(3) for n in range(2)]


def test_a_line_without_end_is_refused_before_it_is_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.sources.textfile.MAX_LINE_BYTES", 1000)
    lines = [*corpus(tmp_path), line("0-0.wav", 0, text="x" * 1000)]
    write_lines(tmp_path / "tarred_audio_manifest.json", lines)
    with pytest.raises(UsageError, match=r"tarred_audio_manifest.json line 7: longer than 1,000 bytes"):
        entries(tmp_path)


@pytest.mark.parametrize("name", ["tarred_audio_manifest.json", "sharded_manifests/manifest_0.json"])
def test_a_line_without_a_path_is_named(tmp_path: Path, name: str) -> None:
    write_lines(tmp_path / name, [*corpus(tmp_path, 1), {"shard_id": 0, "text": "x"}])
    with pytest.raises(UsageError, match=rf"{name} line 3: None is not a path"):
        entries(tmp_path)


def test_a_manifest_of_something_else_beside_tars_is_not_taken_for_one(tmp_path: Path) -> None:
    write_tar(tmp_path / "a.tar", ("a.wav", b"1"))
    write_lines(tmp_path / "manifest_2024.json", [{"created": "today"}])
    assert not recognised(inputs.find(str(tmp_path)), CONFIG)


def test_shards_that_say_how_many_they_are(tmp_path: Path) -> None:
    lines = []
    for shard in range(2):
        write_tar(tmp_path / f"audio-0000{shard}-of-00002.tar", (f"{shard}.wav", b"x"))
        lines.append(line(f"{shard}.wav", shard))
    write_lines(tmp_path / "tarred_audio_manifest.json", lines)
    assert [(entry.reference, entry.error) for entry in entries(tmp_path)] == [("of 0.wav", None), ("of 1.wav", None)]


def test_a_store_that_fails_says_so_without_what_signs_its_urls(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_lines(tmp_path / "tarred_audio_manifest.json", corpus(tmp_path))
    failure = OSError(5, "cannot read https://host/m.json?X-Amz-Signature=SECRET")
    monkeypatch.setattr("pipeline.store.read_ranges", lambda files, paths, *rest: [failure] * len(paths))
    with pytest.raises(UsageError, match=r"tarred_audio_manifest.json: storage error") as caught:
        entries(tmp_path)
    assert "SECRET" not in str(caught.value)
