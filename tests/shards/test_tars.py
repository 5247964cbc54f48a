"""Members of tar shards are those that `tarfile` and GNU tar see, at the bytes where these find them; what is damaged,
cut short or made to harm says so, after what was whole, and costs little.
"""

import gzip
import io
import os
import posixpath
import random
import shutil
import subprocess
import tarfile
import tracemalloc
from pathlib import Path
from typing import Any

import fsspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline import patience
from pipeline.config import ReadConfig
from pipeline.errors import RecordingError
from pipeline.shards import tars
from pipeline.shards.tars import Member
from tests.sources.shard_files import CountingFile, HugeFile, OneFile, listed, listed_until, store_of, tar_bytes

FORMATS = {"ustar": tarfile.USTAR_FORMAT, "gnu": tarfile.GNU_FORMAT, "pax": tarfile.PAX_FORMAT}
SMALL = [("a/1.flac", b"x" * 700), ("a/1.json", b"{}"), ("b.txt", b""), ("c" * 120 + ".wav", b"y" * 512)]

letters = st.characters(exclude_categories=["Cs"], exclude_characters="/\0")
steps = st.text(letters, min_size=1, max_size=60).filter(lambda step: step not in (".", ".."))
names = st.lists(steps, min_size=1, max_size=5).map("/".join)


def seen_by_tarfile(data: bytes) -> list[Member]:
    """With the zeros between archives passed over, as we do."""
    with tarfile.open(fileobj=io.BytesIO(data), ignore_zeros=True) as archive:
        return [Member(info.name, info.offset_data, info.size) for info in archive if info.isreg()]


# What there is


@pytest.mark.parametrize("kind", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
@given(files=st.lists(st.tuples(names, st.binary(max_size=1200)), max_size=8))
@settings(max_examples=60)
def test_any_names_and_sizes_are_listed_as_tarfile_does(kind: Any, files: list[tuple[str, bytes]]) -> None:
    data = tar_bytes(files, kind)
    assert listed(data) == seen_by_tarfile(data)
    assert [(m.name, data[m.start : m.start + m.size]) for m in listed(data)] == files


@given(st.lists(st.tuples(st.text("ab/", min_size=1, max_size=240), st.integers(0, 1500)), max_size=6))
def test_names_in_two_parts_are_joined(files: list[tuple[str, int]]) -> None:
    """ustar keeps long names in two fields; GNU tar has times in the second."""
    fit = []
    for name, size in files:
        info = tarfile.TarInfo(name)
        try:
            info.tobuf(tarfile.USTAR_FORMAT)
        except ValueError:
            continue
        fit.append((name, bytes(size)))
    data = tar_bytes(fit, tarfile.USTAR_FORMAT)
    assert listed(data) == seen_by_tarfile(data)


@pytest.mark.parametrize("name", FORMATS)
def test_folders_are_passed_over_and_what_is_no_file_says_so(name: str) -> None:
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode="w", format=FORMATS[name]) as archive:
        for kind in (tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE):
            info = tarfile.TarInfo(f"kind{kind.decode()}.wav")
            info.type, info.linkname = kind, "kind5.wav"
            archive.addfile(info)
        archive.addfile(tarfile.TarInfo("last.wav"))
    assert [(member.name, member.odd) for member in listed(held.getvalue())] == [
        ("kind2.wav", "a link"),
        ("kind1.wav", "a link"),
        ("kind6.wav", "a pipe"),
        ("kind3.wav", "a device"),
        ("last.wav", None),
    ]


@pytest.mark.parametrize("kind", ["v7", "oldgnu", "gnu", "ustar", "posix"])
@pytest.mark.skipif(shutil.which("tar") is None, reason="no tar command")
def test_archives_of_gnu_tar_are_listed_as_it_does(tmp_path: Path, kind: str) -> None:
    folder = tmp_path / "in" / ("long" * 10 if kind == "v7" else f"{'long' * 20}/{'name' * 15}")
    folder.mkdir(parents=True)
    for number in range(20):
        (folder / f"{number}.wav").write_bytes(random.Random(number).randbytes(number * 97))
    (tmp_path / "in" / "a.wav").write_bytes(b"a")
    os.link(tmp_path / "in" / "a.wav", tmp_path / "in" / "z-link.wav")
    with (folder / "holes.wav").open("wb") as file:  # more of them than fit into one header
        for place in range(0, 40 * 65_536, 65_536):
            file.seek(place)
            file.write(b"x" * 4096)
    command = ["tar", f"--format={kind}", "--sort=name", "-cf", "a.tar", "-C", "in", "."]
    if kind not in ("v7", "ustar"):
        command.insert(1, "--sparse")
    subprocess.run(command, cwd=tmp_path, check=True)
    shown = subprocess.run(["tar", "-tvf", "a.tar"], cwd=tmp_path, check=True, capture_output=True, text=True).stdout
    plain = [line.split() for line in shown.splitlines() if line[0] == "-"]
    data = (tmp_path / "a.tar").read_bytes()
    found = listed(data)
    assert [member.name for member in found if member.odd != "a link"] == [words[5] for words in plain]
    odd = {(posixpath.basename(member.name), member.odd) for member in found if member.odd}
    assert odd == {("z-link.wav", "a link")} | ({("holes.wav", "a sparse file")} if "--sparse" in command else set())
    for member in found:
        if member.odd is None:
            assert data[member.start : member.start + member.size] == (tmp_path / "in" / member.name).read_bytes()


def test_a_name_in_another_encoding_can_be_written_and_stays_its_own() -> None:
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode="w", format=tarfile.GNU_FORMAT, encoding="latin-1") as archive:
        for name in ("grüße.wav", "größe.wav"):
            archive.addfile(tarfile.TarInfo(name))
    found = [member.name for member in listed(held.getvalue())]
    assert found == ["gr\\xfc\\xdfe.wav", "gr\\xf6\\xdfe.wav"]


@pytest.mark.parametrize("kind", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_sizes_beyond_eight_gigabytes_are_understood(kind: Any) -> None:
    """Where the octal field ends, one format goes on in binary, the other in a header of its own."""
    info = tarfile.TarInfo("hours.wav")
    info.size = 9 * 2**30 + 5
    head = info.tobuf(kind)
    after = len(head) + 9 * 2**30 + 512
    last = tarfile.TarInfo("last.wav").tobuf(kind)
    found = listed(HugeFile(after + len(last) + 1024, {0: head, after: last}))
    assert found == [Member("hours.wav", len(head), info.size), Member("last.wav", after + len(last), 0)]


def test_what_a_header_says_of_all_members_ends_with_its_archive() -> None:
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode="w", format=tarfile.PAX_FORMAT, pax_headers={"comment": "c"}) as archive:
        archive.addfile(tarfile.TarInfo("a.wav"))
    both = held.getvalue() + tar_bytes([("b.wav", b"b")])
    assert [member.name for member in listed(both)] == ["a.wav", "b.wav"]


def test_archives_laid_end_to_end_are_one() -> None:
    """`cat *.tar` is how some make one of many; tarfile and GNU tar stop at the first end mark unless they are told."""
    data = tar_bytes([("a.wav", b"a")]) + tar_bytes(SMALL) + tar_bytes([("z.wav", b"z")])
    assert listed(data) == seen_by_tarfile(data)
    assert len(listed(data)) == 6
    assert listed(gzip.compress(data), "a.tar.gz") == listed(data)


# Damage


@pytest.mark.parametrize("kind", list(FORMATS.values()))
def test_cut_short_at_any_byte_it_says_so_after_what_was_whole(kind: Any) -> None:
    """tarfile accepts most of these as complete archives."""
    files = SMALL if kind != tarfile.USTAR_FORMAT else SMALL[:3]
    data = tar_bytes(files, kind)
    whole = seen_by_tarfile(data)
    end = whole[-1].start + -(-whole[-1].size // 512) * 512
    for length in range(end + 1024):
        found, error = listed_until(data[:length])
        if length >= end + 512:  # half of an end mark is enough
            assert (found, error) == (whole, None)
        else:
            assert error is not None and error.reason == ("shard truncated" if length else "empty file")
            assert found == [member for member in whole if member.start + member.size <= length]


def test_a_compressed_one_cut_short_at_any_byte_says_so() -> None:
    data = tar_bytes([(f"{number}.wav", random.Random(number).randbytes(900)) for number in range(9)])
    whole, packed = seen_by_tarfile(data), gzip.compress(data)
    most = 0
    for length in range(0, len(packed), 7):
        found, error = listed_until(packed[:length], "a.tgz")
        assert error is not None and error.reason in ("shard truncated", "empty file")
        assert found == whole[: len(found)]
        assert len(found) >= most
        most = len(found)
    assert most == 9
    assert listed(packed, "a.tgz") == whole


@given(st.data())
@settings(max_examples=150)
def test_a_damaged_header_is_never_the_end(data: st.DataObject) -> None:
    """tarfile ends there without a word, and the members behind it are lost."""
    good = tar_bytes([(f"{number}.wav", b"x" * 600) for number in range(5)])
    number = data.draw(st.integers(0, 4))
    at = number * 1536 + data.draw(st.integers(0, 511))
    value = data.draw(st.integers(0, 255))
    found, error = listed_until(good[:at] + bytes([value]) + good[at + 1 :])
    whole = seen_by_tarfile(good)
    if error is None:
        assert found == whole  # no byte that counts
    else:
        assert error.reason == ("damaged tar shard" if number else "not a tar shard")
        assert found == whole[:number]


@given(st.lists(st.tuples(st.integers(0, 9000), st.integers(0, 255)), min_size=1, max_size=30), st.booleans())
@settings(max_examples=200)
def test_whatever_is_in_a_shard_it_is_listed_or_says_why_not(changes: list[tuple[int, int]], is_packed: bool) -> None:
    files = [*SMALL, ("p" * 300, b"long"), ("é" * 60, b"")]
    data = bytearray(tar_bytes(files) if not is_packed else gzip.compress(tar_bytes(files)))
    for at, value in changes:
        data[at % len(data)] = value
    listed_until(bytes(data), "a.tar.gz" if is_packed else "a.tar")  # nothing but RecordingError


@pytest.mark.parametrize(
    ("data", "reason", "detail"),
    [
        (b"", "empty file", None),
        (b"<html>not found</html>" * 50, "not a tar shard", None),
        (gzip.compress(tar_bytes(SMALL)) * 3, "not a tar shard", "it is gzip data: name it .tar.gz"),
        (tar_bytes(SMALL) + b"x" * 600, "damaged tar shard", "no header at byte"),
        (tar_bytes(SMALL) + bytes(2**21), "damaged tar shard", "more than 1048576 zeros"),
    ],
)
def test_what_is_no_tar_says_what_it_is(data: bytes, reason: str, detail: str | None) -> None:
    _, error = listed_until(data)
    assert error is not None and error.reason == reason
    assert detail is None or (error.detail or "").startswith(detail)


def test_a_compressed_name_with_a_plain_tar_in_it_is_refused() -> None:
    _, error = listed_until(tar_bytes(SMALL), "a.tar.gz")
    assert error is not None and error.reason == "damaged gzip data"


def test_damage_behind_the_end_mark_of_a_compressed_one_is_found() -> None:
    """Its check sum comes last."""
    packed = bytearray(gzip.compress(tar_bytes(SMALL)))
    packed[-6] ^= 1
    found, error = listed_until(bytes(packed), "a.tar.gz")
    assert len(found) == 4 and error is not None and error.reason == "damaged gzip data"


# Harm


def test_of_a_million_empty_members_only_so_many_are_met() -> None:
    header = tarfile.TarInfo("a.wav").tobuf(tarfile.USTAR_FORMAT)
    file = CountingFile(header * 30_000)
    found, error = listed_until(file, config=ReadConfig(max_members=20_000))
    assert error is not None and error.reason == "more than 20000 files in a shard (read.max_members)"
    assert len(found) == 20_000
    assert file.num_bytes < 20_000 * 512 + 2 * tars.REMOTE_THROUGH


def test_headers_that_describe_only_headers_are_damage() -> None:
    note = tarfile.TarInfo("a.wav").create_pax_global_header({"comment": "c"})
    _, error = listed_until(note * 1000 + tar_bytes(SMALL))
    assert error is not None and error.reason == "damaged tar shard"


def test_a_gzip_bomb_stops_at_the_limit_and_takes_no_memory() -> None:
    """10 MB that unpack to 10 GB: one member, many, and no member at all."""
    zeros = gzip.compress(bytes(10**8), 1)
    big, small = tarfile.TarInfo("a.wav"), tarfile.TarInfo("b.wav")
    big.size, small.size = 10**10, 10**7
    many = gzip.compress(small.tobuf() + bytes(10**7 - 10**7 % -512), 1)
    limit = ReadConfig(max_unpacked_gb=0.2)
    reason = "unpacks to more than 0.2 GB (read.max_unpacked_gb)"
    for packed, num_read in ((gzip.compress(big.tobuf()) + zeros * 100, 10**6), (many * 1000, 10**7)):
        file = CountingFile(packed)
        tracemalloc.start()
        found, error = listed_until(file, "a.tar.gz", limit)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert error is not None and error.reason == reason
        assert len(found) < 21
        assert peak < 8 * 2**20
        assert file.num_bytes < num_read
    stream = tars.unpacked(store_of(zeros * 100), "a.tar.gz", limit)
    with pytest.raises(RecordingError, match=r"read\.max_unpacked_gb"):
        list(iter(lambda: stream.read(10**6), b""))


# Stores


def test_of_a_remote_shard_little_more_than_the_headers_is_fetched() -> None:
    file = CountingFile(tar_bytes((f"{number}.flac", bytes(1_000_000)) for number in range(50)))
    assert len(listed(file)) == 50
    assert file.num_bytes < 0.01 * len(file.getvalue())
    assert file.num_reads <= 52


def test_of_small_members_many_come_with_one_request() -> None:
    file = CountingFile(tar_bytes((f"{number}.opus", bytes(10_000)) for number in range(1000)))
    assert listed(file) == seen_by_tarfile(file.getvalue())
    assert file.num_reads < 65
    assert file.num_bytes < 1.05 * len(file.getvalue())


def test_texts_come_with_the_header_that_follows_a_recording() -> None:
    """Three members a sample, one request."""
    files = [(f"{n}{ending}", bytes(size)) for n in range(50) for ending, size in ((".wav", 50_000), (".json", 400))]
    file = CountingFile(tar_bytes([*files, ("last.txt", b"text")]))
    walked = tars.walk(OneFile(file), "a.tar", ReadConfig(), lambda member: not member.name.endswith(".wav"))
    assert [len(text) for _, text in walked if text is not None] == [400] * 50 + [4]
    assert file.num_reads <= 53


def test_what_fails_for_the_moment_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    class Failing(CountingFile):
        def read(self, size: int | None = -1) -> bytes:
            data = super().read(size)
            if self.num_reads % 3 == 1:
                raise ConnectionResetError("gone")
            return data[:100] if self.num_reads % 3 == 2 else data  # cut off on the way

    monkeypatch.setattr(patience, "FIRST_WAIT_S", 0.0)
    data = tar_bytes([(f"{number}.flac", bytes(20_000)) for number in range(5)])
    assert listed(Failing(data)) == seen_by_tarfile(data)


@pytest.mark.parametrize("name", ["/tars/a.tar", "/tars/a.tar.gz"])
def test_a_store_of_fsspec_serves_them(name: str) -> None:
    data = tar_bytes(SMALL)
    memory = fsspec.filesystem("memory")
    memory.pipe_file(name, data if name.endswith("tar") else gzip.compress(data))
    assert list(tars.members(memory, name, ReadConfig())) == seen_by_tarfile(data)


def test_a_shard_that_is_gone_or_closed_says_so(tmp_path: Path) -> None:
    local = fsspec.filesystem("file")
    for name in ("none.tar", "none.tar.gz"):
        with pytest.raises(RecordingError, match="missing file"):
            list(tars.members(local, str(tmp_path / name), ReadConfig()))
