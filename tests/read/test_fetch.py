"""From recordings to bytes: the right ones, each once, many at a time, and never more in memory than agreed."""

import contextlib
import io
import os
import tarfile
import threading
import tracemalloc
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline import patience
from pipeline.config import ReadConfig
from pipeline.errors import RecordingError, UsageError
from pipeline.read import fetch as fetching
from pipeline.read import loads, loose, members, ranged, rows
from pipeline.read.blob import Blob
from pipeline.read.fetch import fetch
from pipeline.read.ranged import UnreadableError
from pipeline.records import Cut, Recording, Span
from pipeline.shards.place import Place, check_local
from pipeline.store import filesystem, num_retried, version_of
from tests.read.counting import Counting, Sized, counting_store

CONFIG = ReadConfig(storage_deadline_s=60.0)
REREAD = ReadConfig(storage_deadline_s=60.0, changed="reread")
AUDIO = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


@pytest.fixture
def remote() -> Iterator[type[Counting]]:
    with counting_store() as files:
        yield files


def content(data: bytes | Blob | RecordingError, step: int = 1000) -> bytes | str:
    if isinstance(data, RecordingError):
        return data.reason
    if isinstance(data, bytes):
        return data
    return b"".join(data.read_at(start, step) for start in range(0, data.size, step))


def fetched(recordings: list[Recording], config: ReadConfig = CONFIG) -> dict[str, bytes | str]:
    """By id; each once."""
    found = [(recording.id, content(data)) for recording, data in fetch(recordings, config)]
    assert len(found) == len(dict(found))
    return dict(found)


def tar(contents: dict[str, bytes], mode: str = "w") -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode=mode) as archive:
        for name, data in contents.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return file.getvalue()


def in_tar(uri: str, data: bytes, **fields: Any) -> list[Recording]:
    """Its members as recordings, by Python's own reader."""
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        return [
            Recording(m.name, uri, span=Span(m.name, m.offset_data), size=m.size, **fields)
            for m in archive.getmembers()
        ]


def parquet(cells: list[dict[str, Any]], rows_in_group: int) -> bytes:
    file = io.BytesIO()
    pq.write_table(pa.table({"audio": pa.array(cells, AUDIO)}), file, row_group_size=rows_in_group)
    return file.getvalue()


def arrow(cells: list[dict[str, Any]], rows_in_batch: int) -> bytes:
    file = io.BytesIO()
    table = pa.table({"audio": pa.array(cells, AUDIO)})
    with pa.ipc.new_stream(file, table.schema) as writer:
        writer.write_table(table, max_chunksize=rows_in_batch)
    return file.getvalue()


def in_arrow(uri: str, data: bytes, audio: dict[str, bytes]) -> list[Recording]:
    """Its rows as recordings, found by their bytes, which are random."""
    return [Recording(name, uri, span=Span(name, data.find(found)), size=len(found)) for name, found in audio.items()]


def small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a few kB pass through everything that else only many MB do."""
    for module in (loose, members):
        monkeypatch.setattr(module, "WHOLE_BYTES", 4000)
        monkeypatch.setattr(module, "GROUP_BYTES", 8000)
    monkeypatch.setattr(loose, "GUESSES", (500, 2000, 4000))
    monkeypatch.setattr(members, "RUN_BYTES", 3000)
    monkeypatch.setattr(members, "GAP_BYTES", 1200)
    monkeypatch.setattr(loads, "AHEAD_BYTES", 10_000)
    monkeypatch.setattr(loads, "MOST_SENT", 300)
    for module in (ranged, loose):
        monkeypatch.setattr(module, "BLOCK_BYTES", 512)


sizes = st.lists(st.sampled_from([0, 1, 299, 500, 501, 512, 1999, 2500, 4000, 4001, 9000]), min_size=1, max_size=12)
cuts = st.lists(st.sampled_from([Cut(), Cut(1.0, 2.0), Cut(0.5, 1.0), Cut(channel=1)]), min_size=1, max_size=3)


@pytest.mark.parametrize("place", ["local", "remote"])
@given(sizes=sizes, cuts=cuts, group=st.integers(1, 5), versions=st.booleans(), data=st.data())
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_lies_wherever_comes_to_its_recording(
    tmp_path_factory: pytest.TempPathFactory,
    place: str,
    sizes: list[int],
    cuts: list[Cut],
    group: int,
    versions: bool,
    data: st.DataObject,
) -> None:
    """Files, members of tars plain and compressed, rows of Parquet and Arrow that hold audio or name it: all at once,
    shuffled, some of them several times."""
    audio = {f"{number}.wav": os.urandom(size) for number, size in enumerate(sizes)}
    embedded = [{"bytes": found} for found in audio.values()]
    files = {
        **audio,
        "a.tar": tar(audio),
        "b.tgz": tar(audio, "w:gz"),
        "c.parquet": parquet(embedded, group),
        "d.parquet": parquet([{"path": name} for name in audio], group),
        "e.arrow": arrow(embedded, group),
    }
    with pytest.MonkeyPatch.context() as monkeypatch, counting_store() as store:
        small_steps(monkeypatch)
        root, version = _stored(files, place, store, tmp_path_factory)
        wanted = [Recording(name, f"{root}/{name}") for name in audio]
        for shard in ("a.tar", "b.tgz"):
            wanted += in_tar(f"{root}/{shard}", files[shard])
        wanted += in_arrow(f"{root}/e.arrow", files["e.arrow"], audio)
        for shard in ("c.parquet", "d.parquet"):
            wanted += [Recording(name, f"{root}/{shard}", row) for row, name in enumerate(audio)]
        recordings = [
            Recording(
                f"{one.uri}:{one.id}:{number}",
                one.uri,
                one.row,
                one.id,
                one.span,
                one.size,
                version(one.uri) if versions else None,
                cut,
            )
            for one in data.draw(st.permutations(wanted))[: data.draw(st.integers(1, len(wanted)))]
            for number, cut in enumerate(cuts)
        ]
        found = fetched(recordings)
        assert found.keys() == {recording.id for recording in recordings}
        for recording in recordings:
            assert found[recording.id] == audio[recording.reference or ""], recording.id


def _stored(
    files: dict[str, bytes], place: str, store: type[Counting], tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, Any]:
    """Where they lie now, and what tells their versions."""
    if place == "remote":
        store.contents.update({f"bucket/{name}": found for name, found in files.items()})
        return "counting://bucket", lambda uri: version_of(store().info(uri.removeprefix("counting://")))
    folder = tmp_path_factory.mktemp("files")
    for name, found in files.items():
        (folder / name).write_bytes(found)
    return str(folder), lambda uri: _local_version(Path(uri))


def _local_version(path: Path) -> str:
    return version_of({"size": path.stat().st_size, "mtime": path.stat().st_mtime})


def test_small_files_of_a_store_are_asked_for_at_the_same_time(remote: type[Counting]) -> None:
    """One after the other, at 30 ms each, a night is 10 % of the corpus."""
    remote.contents.update({f"bucket/{number}": b"x" * number for number in range(300)})
    remote.num_awaited = 30
    found = fetched([Recording(str(number), f"counting://bucket/{number}") for number in range(300)])
    assert found == {str(number): b"x" * number for number in range(300)}
    assert remote.most_at_once >= 30
    assert len(remote.asked) == 300
    assert remote.num_infos == 0


def test_members_that_are_neighbours_come_in_one_request(remote: type[Counting]) -> None:
    audio = {f"{number}.wav": bytes([number % 256]) * 1000 for number in range(1000)}
    shard = remote.contents["bucket/a.tar"] = tar(audio)
    recordings = in_tar("counting://bucket/a.tar", shard, version=f"{len(shard)} 0")
    assert fetched(recordings) == audio
    assert len(remote.asked) <= 2
    assert remote.num_infos == 1  # whether it is still what was listed, once for all its members
    remote.asked.clear()
    fetched([recordings[0], recordings[999]])
    assert sum(length for _, _, length in remote.asked) == 2000  # and what nobody wants is not fetched


def test_ranges_that_overlap_come_whole(remote: type[Counting]) -> None:
    """An Arrow stream may give two rows the same bytes."""
    data = remote.contents["bucket/a.arrow"] = os.urandom(1000)
    spans = {"whole": (100, 800), "within": (200, 5), "same": (100, 800), "after": (850, 100), "none": (300, 0)}
    uri = "counting://bucket/a.arrow"
    recordings = [Recording(name, uri, span=Span(name, start), size=size) for name, (start, size) in spans.items()]
    assert fetched(recordings) == {name: data[start : start + size] for name, (start, size) in spans.items()}


@pytest.mark.parametrize("kind", ["file", "member", "unknown size"])
def test_of_a_large_file_only_what_is_asked_for_is_fetched(remote: type[Counting], kind: str) -> None:
    size = 4 * 2**30
    remote.contents["bucket/a"] = Sized(size)
    version = None if kind == "unknown size" else f"{size} 0"
    span = Span("a.wav", 2**29 + 7) if kind == "member" else None
    recording = Recording("a", "counting://bucket/a", span=span, size=2**31, version=version, cut=Cut(9.0, 1.0))
    start = span.start if span else 0
    for _, blob in fetch([recording], CONFIG):
        assert not isinstance(blob, bytes | RecordingError)
        assert blob.size == (2**31 if span else size)
        before = remote.num_served
        assert before < 50 * 2**20  # of unknown size: found out in steps
        for at, length in ((0, 1000), (2**30, 5000), (2**30 + 4000, 5000), (blob.size - 10, 100)):
            there = Sized(start + blob.size)[start + at : start + at + length]
            assert blob.read_at(at, length) == there
        assert remote.num_served - before < 2 * 2**20


def test_cuts_of_one_file_fetch_it_once(remote: type[Counting]) -> None:
    remote.contents["bucket/a"] = bytes(3_000_000)
    remote.contents["bucket/large"] = Sized(10**9)
    small = [Recording(f"a{n}", "counting://bucket/a", version="3000000 0", cut=Cut(n, 1.0)) for n in range(100)]
    assert set(fetched(small).values()) == {bytes(3_000_000)}
    assert remote.asked == [("bucket/a", 0, 3_000_000)]
    remote.asked.clear()
    large = [Recording(f"b{n}", "counting://bucket/large", cut=Cut(n, 1.0)) for n in reversed(range(100))]
    order = []
    for recording, blob in fetch(large, CONFIG):
        assert not isinstance(blob, bytes | RecordingError)
        order.append(recording.cut.offset_s)
        blob.read_at(0, 4096)  # the header, each time
        blob.read_at(500_000_000 + 32_000 * int(recording.cut.offset_s), 32_000)
    assert order == sorted(order)  # reading on, whatever the order of the table
    in_it = [start for _, start, length in remote.asked if start >= 2**19 or length <= 2**19]
    assert len(in_it) < 20


@pytest.mark.parametrize("kind", ["files", "files of unknown size", "members", "rows", "compressed"])
def test_what_waits_is_bounded_whatever_the_sizes(
    remote: type[Counting], kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A decoder that is slower than the store: what was served and is not consumed yet stays in memory."""
    for module in (loose, members):
        monkeypatch.setattr(module, "WHOLE_BYTES", 2**23)  # all a quarter of what it is
        monkeypatch.setattr(module, "GROUP_BYTES", 2**23)
    monkeypatch.setattr(loose, "GUESSES", (2**18, 2**21, 2**23))
    monkeypatch.setattr(members, "RUN_BYTES", 2**21)
    monkeypatch.setattr(rows, "BYTES_AT_ONCE", 2**22)
    monkeypatch.setattr(loads, "AHEAD_BYTES", 2**24)
    sizes = [750_000, 5_000, 2_000_000, 250_000, 7_000_000, 500_000, 10_000_000] * 4  # 82 MB
    if kind == "compressed":
        shard = remote.contents["bucket/a.tgz"] = tar({str(n): bytes(size) for n, size in enumerate(sizes)}, "w:gz")
        recordings = in_tar("counting://bucket/a.tgz", shard)
    elif kind == "rows":
        remote.contents["bucket/a.parquet"] = parquet([{"bytes": bytes(size)} for size in sizes], 20)
        recordings = [Recording(str(row), "counting://bucket/a.parquet", row) for row in range(len(sizes))]
    elif kind == "members":
        remote.contents["bucket/a.tar"] = Sized(sum(sizes))
        starts = [sum(sizes[:n]) for n in range(len(sizes))]
        spans = [Span(str(n), start) for n, start in enumerate(starts)]
        uri = "counting://bucket/a.tar"
        recordings = [Recording(s.member, uri, span=s, size=size) for s, size in zip(spans, sizes, strict=True)]
    else:
        remote.contents.update({f"bucket/{n}": Sized(size) for n, size in enumerate(sizes)})
        versions = [f"{size} 0" if kind == "files" else None for size in sizes]
        recordings = [Recording(str(n), f"counting://bucket/{n}", version=v) for n, v in enumerate(versions)]
    assert _peak_mb(recordings) < 50


def _peak_mb(recordings: list[Recording]) -> float:
    """Of all that Python and the store allocate while the consumer waits until nothing more comes."""
    tracemalloc.start()
    try:
        for number, (_, data) in enumerate(fetch(recordings, CONFIG)):
            assert not isinstance(data, RecordingError)
            if number % 5 == 0:
                _until_nothing_comes()
        return tracemalloc.get_traced_memory()[1] / 2**20
    finally:
        tracemalloc.stop()


def _until_nothing_comes() -> None:
    served = -1
    while served != Counting.num_served:
        served = Counting.num_served
        threading.Event().wait(0.01)


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("fetch")]


@pytest.mark.parametrize("end", ["closed", "a stage that fails", "a file that changed"])
def test_the_thread_ends_with_the_unit(remote: type[Counting], end: str) -> None:
    """However it ends: a worker lives for thousands of units."""
    remote.contents.update({f"bucket/{number}": bytes(2**20) for number in range(200)})
    recordings = [Recording(str(number), f"counting://bucket/{number}") for number in range(200)]
    if end == "a file that changed":
        recordings[150].version = "17 0"
    expected = {"closed": GeneratorExit, "a stage that fails": ZeroDivisionError, "a file that changed": UsageError}
    stream = fetch(recordings, CONFIG)
    with pytest.raises(expected[end]), closing(stream):  # noqa: PT012
        for number, _ in enumerate(stream):
            if number == 3 and end != "a file that changed":
                assert threads() == ["fetch"]
                raise expected[end]
    assert threads() == []


@pytest.mark.parametrize("number", [20, 100])
def test_files_that_waited_are_closed(tmp_path: Path, number: int) -> None:
    """All that there are, or as many as may be open; a worker may open some thousand in its life."""
    for name in range(number):
        with open(tmp_path / str(name), "wb") as file:
            file.truncate(2**26)

    def num_open() -> int:
        links = [Path("/proc/self/fd", descriptor) for descriptor in os.listdir("/proc/self/fd")]
        return sum(link.is_symlink() and link.resolve().parent == tmp_path for link in links)

    with closing(fetch([Recording(str(n), f"{tmp_path}/{n}") for n in range(number)], CONFIG)) as stream:
        next(stream)
        while num_open() < min(number, 65):
            threading.Event().wait(0.01)
        assert num_open() <= 67  # one with the reader, one with the thread
    assert num_open() == 0


def test_what_a_fault_of_ours_raises_reaches_the_reader(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> Any:
        raise KeyError("a bug")

    monkeypatch.setattr(fetching, "load_files", broken)
    with pytest.raises(KeyError, match="a bug"):
        fetched([Recording("a", "a.wav")])
    assert threads() == []


CHANGED = "is not what was listed: it was .* bytes.* and is .* bytes.*read.changed=reread.*--overwrite"


@pytest.mark.parametrize("place", ["local", "remote"])
@pytest.mark.parametrize("kind", ["a.wav", "a.tar", "a.tgz", "a.parquet", "a.arrow"])
def test_a_file_that_is_not_what_was_listed_is_refused_or_read_as_it_is(
    tmp_path_factory: pytest.TempPathFactory, remote: type[Counting], place: str, kind: str
) -> None:
    """A shard that was replaced between start and resume has other audio at the same bytes, under the same ids."""
    make: dict[str, Any] = {
        "a.wav": lambda contents: contents["2"],
        "a.tar": tar,
        "a.tgz": lambda contents: tar(contents, "w:gz"),
        "a.parquet": lambda contents: parquet([{"bytes": data} for data in contents.values()], 2),
        "a.arrow": lambda contents: arrow([{"bytes": d, "path": name} for name, d in contents.items()], 2),
    }
    old = {str(number): os.urandom(1000 + number) for number in range(4)}
    new = {"2": os.urandom(3000), "0": os.urandom(2000), "new": b"new"}
    before = make[kind](old)
    root, version = _stored({kind: before}, place, remote, tmp_path_factory)
    uri = f"{root}/{kind}"
    recordings = [Recording("2", uri)]
    if kind in ("a.tar", "a.tgz"):
        recordings = in_tar(uri, before)
    elif kind == "a.arrow":
        recordings = in_arrow(uri, before, old)
    elif kind == "a.parquet":
        recordings = [Recording(str(row), uri, row) for row in range(4)]
    for recording in recordings:
        recording.version = version(uri)
    assert fetched(recordings) == {recording.id: old[recording.id] for recording in recordings}

    if place == "local":
        Path(uri).write_bytes(make[kind](new))
    else:
        remote.contents[f"bucket/{kind}"] = make[kind](new)
        remote.etags[f"bucket/{kind}"] += 1
    with pytest.raises(UsageError, match=f"{kind} {CHANGED}"):
        fetched(recordings)
    gone = "missing from its shard"
    assert fetched(recordings, REREAD) == {
        "a.wav": {"2": new["2"]},
        "a.parquet": dict(zip("0123", [*new.values(), "row missing from its shard"], strict=True)),
    }.get(kind, {"0": new["0"], "1": gone, "2": new["2"], "3": gone})


def test_a_link_is_what_was_listed_whoever_made_the_listing(tmp_path: Path) -> None:
    """fsspec's listings have the time of the link, its `info` that of the file."""
    (tmp_path / "a").write_bytes(b"a")
    (tmp_path / "link").symlink_to("a")
    os.utime(tmp_path / "link", (1, 1), follow_symlinks=False)
    for info in filesystem("file").find(str(tmp_path), detail=True).values():
        recording = Recording("a", info["name"], version=version_of(info))
        assert fetched([recording]) == {"a": b"a"}


def test_of_members_of_one_name_the_one_that_was_meant_is_found_again(tmp_path: Path) -> None:
    """Tar allows it; which of them it was, only its place tells."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for data in (b"first", b"second", b"third"):
            member = tarfile.TarInfo("a")
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    (tmp_path / "a.tar").write_bytes(file.getvalue())
    starts = {"second": 512 * 3, "elsewhere": 512 * 2}
    recordings = [
        Recording(name, f"{tmp_path}/a.tar", span=Span("a", start), size=6, version="1 1")
        for name, start in starts.items()
    ]
    assert fetched(recordings, REREAD) == {"second": b"second", "elsewhere": "missing from its shard"}


def test_rows_that_name_what_is_no_place_cost_themselves_alone(tmp_path: Path) -> None:
    """Those of a row group with other rows that hold audio; who listed it did not look at each."""
    names = ["a.wav", f"{tmp_path}/a.wav", "gone.wav", "nosuch://x/y.wav", "s3://key:secret@host/y.wav", None]
    (tmp_path / "a.wav").write_bytes(b"a")
    (tmp_path / "a.parquet").write_bytes(parquet([{"bytes": b"b"}, *({"path": name} for name in names)], 10))
    found = {r.id: d for r, d in fetch([Recording(str(n), f"{tmp_path}/a.parquet", n) for n in range(7)], CONFIG)}
    assert [content(found[str(n)]) for n in range(7)] == [
        b"b",
        b"a",
        b"a",
        "missing file",
        "storage error",
        "storage error",
        "no audio in its row",
    ]
    assert "secret" not in str(found["5"])


@pytest.mark.parametrize("place", ["local", "remote"])
def test_a_shard_that_was_cut_off_fails_what_is_beyond(
    tmp_path_factory: pytest.TempPathFactory, remote: type[Counting], place: str
) -> None:
    audio = {str(number): os.urandom(1000) for number in range(8)}
    whole = tar(audio)
    recordings = in_tar("", whole)
    for length in (len(whole) // 2, recordings[3].span.start + 500):  # type: ignore[union-attr]
        root, _ = _stored({"a.tar": whole[:length]}, place, remote, tmp_path_factory)
        assert fetched(in_tar(f"{root}/a.tar", whole)) == {
            one.id: audio[one.id] if one.span and one.span.start + 1000 <= length else "shard truncated"
            for one in recordings
        }
    whole = tar(audio, "w:gz")
    root, _ = _stored({"a.tgz": whole[: len(whole) // 2]}, place, remote, tmp_path_factory)
    found = fetched(in_tar(f"{root}/a.tgz", whole))
    num_whole = sum(found[name] == audio[name] for name in audio)
    assert 2 <= num_whole <= 5  # random bytes do not compress
    assert list(found.values()) == [*audio.values()][:num_whole] + ["shard truncated"] * (8 - num_whole)


@pytest.mark.parametrize("place", ["local", "remote"])
@pytest.mark.parametrize("kind", ["a.wav", "a.tar", "a.tgz", "a.parquet", "a.arrow"])
def test_a_shard_that_is_gone_fails_what_was_in_it(
    tmp_path: Path, remote: type[Counting], place: str, kind: str
) -> None:
    root = str(tmp_path) if place == "local" else "counting://bucket"
    row = 0 if kind == "a.parquet" else None
    span = Span("a", 512) if kind in ("a.tar", "a.tgz", "a.arrow") else None
    for version in (None, "1000 17"):
        recordings = [Recording(str(n), f"{root}/{kind}", row, span=span, size=5, version=version) for n in range(3)]
        assert fetched(recordings) == dict.fromkeys("012", "missing file")


def test_what_fails_for_the_moment_is_asked_for_again(remote: type[Counting]) -> None:
    names = [f"{number}.wav" for number in range(50)]
    remote.contents.update({f"bucket/{name}": name.encode() for name in names})
    remote.errors.update({f"bucket/{name}": [ConnectionResetError(104, "reset")] for name in names[::3]})
    before = num_retried()
    assert fetched([Recording(name, f"counting://bucket/{name}") for name in names]) == {n: n.encode() for n in names}
    assert num_retried() - before == len(names[::3])


def test_what_stays_wrong_fails_its_recording_and_gives_no_query_away(remote: type[Counting]) -> None:
    """A presigned URL in an error is as good as the key."""
    secret = "https://host/a.wav?X-Amz-Signature=abcdef&X-Amz-Credential=AKIA"
    remote.contents.update({"bucket/a": b"a", "bucket/b": b"b"})
    remote.errors["bucket/a"] = [ValueError(f"500, message='no', url='{secret}'")]
    found = {r.id: d for r, d in fetch([Recording(n, f"counting://bucket/{n}") for n in "ab"], CONFIG)}
    fault = found["a"]
    assert found["b"] == b"b"
    assert isinstance(fault, RecordingError)
    assert fault.reason == "storage error"
    assert fault.detail == "ValueError: 500, message='no', url='https://host/a.wav'"


@pytest.mark.parametrize("kind", ["file", "rows"])
def test_a_store_that_gives_up_in_the_middle_of_a_file_is_told(
    remote: type[Counting], kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loads, "AHEAD_BYTES", 2**20)
    remote.contents["bucket/a"] = Sized(10**8)
    remote.contents["bucket/a.parquet"] = parquet([{"bytes": os.urandom(10**6)} for _ in range(60)], 20)
    wanted = [Recording("a", "counting://bucket/a", version="100000000 0")]
    if kind == "rows":
        wanted = [Recording(str(row), "counting://bucket/a.parquet", row) for row in range(60)]
    outcomes = []
    for number, (_, data) in enumerate(fetch(wanted, CONFIG)):
        if number == 0:
            remote.errors |= {name: [OSError(5, "bad disk")] * 99 for name in ("bucket/a", "bucket/a.parquet")}
        try:
            outcomes.append(content(data, 2**22))
        except UnreadableError as error:
            outcomes.append(error.reason.reason)
    assert outcomes[-1] == "storage error"
    assert len(outcomes) == len(wanted)


def test_no_device_or_pipe_is_read(tmp_path: Path) -> None:
    """A table may name anything: /dev/zero has no end, and a pipe that nobody writes to waits for ever."""
    os.mkfifo(tmp_path / "pipe")
    wanted = [Recording("zero", "/dev/zero"), Recording("pipe", f"{tmp_path}/pipe")]
    assert fetched(wanted) == dict.fromkeys(["zero", "pipe"], "a device or pipe, not a file")


def test_a_compressed_member_that_is_too_large_is_passed_over(tmp_path: Path) -> None:
    """It has no ranges, so it would have to be held."""
    audio = {"a": b"a" * 1000, "large": bytes(30_000_000), "z": b"z" * 1000}
    (tmp_path / "a.tgz").write_bytes(tar(audio, "w:gz"))
    recordings = in_tar(f"{tmp_path}/a.tgz", (tmp_path / "a.tgz").read_bytes())
    too_large = "needs too much memory (read.max_memory_gb)"
    found = fetched(recordings, ReadConfig(max_memory_gb=0.02))
    assert found == {"a": audio["a"], "large": too_large, "z": audio["z"]}


class Site(ThreadingHTTPServer):
    """A web server that knows no ranges: Python's own. One of its files has no end."""

    asked: list[str]  # GETs
    num_sent = 0


@pytest.fixture
def web(tmp_path: Path) -> Iterator[Site]:
    class Quiet(SimpleHTTPRequestHandler):
        server: Site

        def do_GET(self) -> None:
            self.server.asked.append(self.path.partition("?")[0].lstrip("/"))
            if self.path != "/endless":
                return super().do_GET()
            self.send_response(200)
            self.end_headers()
            with contextlib.suppress(OSError):
                while self.server.num_sent < 2**28:  # for a test that fails to end
                    self.wfile.write(bytes(2**16))
                    self.server.num_sent += 2**16

        def do_HEAD(self) -> None:
            if self.path != "/endless":
                return super().do_HEAD()
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    filesystem.cache_clear()
    server = Site(("127.0.0.1", 0), partial(Quiet, directory=str(tmp_path)))
    server.asked = []
    thread = threading.Thread(target=server.serve_forever, args=[0.01])
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_web_server_may_know_no_ranges(tmp_path: Path, web: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """It answers each with the whole file, and it names no file's size in a listing."""
    monkeypatch.setattr(loose, "WHOLE_BYTES", 2**20)
    monkeypatch.setattr(loose, "GUESSES", (1000, 2**20))
    monkeypatch.setattr("pipeline.shards.place.PART_BYTES", 2**16)
    audio = {"empty": b"", "small": os.urandom(500), "longer": os.urandom(5000), "large": os.urandom(3 * 2**20)}
    for name, data in audio.items():
        (tmp_path / name).write_bytes(data)
    (tmp_path / "a.tar").write_bytes(tar(audio))
    url = f"http://127.0.0.1:{web.server_port}"
    wanted = [Recording(name, f"{url}/{name}?token=secret") for name in [*audio, "gone"]]
    assert fetched(wanted) == {**audio, "gone": "missing file"}
    num_asked = Counter(web.asked)
    assert num_asked.pop("gone") <= 2
    assert num_asked == {"empty": 1, "small": 1, "longer": 2, "large": 2}
    web.asked.clear()
    assert fetched(in_tar(f"{url}/a.tar", tar(audio))) == audio
    assert len(web.asked) <= 3


def test_a_file_of_the_web_that_never_ends_costs_itself_alone(
    tmp_path: Path, web: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stream of a radio station, for instance."""
    monkeypatch.setattr("pipeline.web.MOST_BYTES", 2**23)
    (tmp_path / "a").write_bytes(b"a")
    wanted = [Recording(name, f"http://127.0.0.1:{web.server_port}/{name}") for name in ("endless", "a")]
    assert fetched(wanted) == {"a": b"a", "endless": "server knows no ranges"}
    assert web.num_sent < 2**26


def test_who_closes_does_not_wait_for_a_store_that_is_away(
    tmp_path: Path, remote: type[Counting], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C would take as long as read.storage_deadline_s, here more than a thousand tries."""
    monkeypatch.setattr(patience, "LONGEST_WAIT_S", 0.05)
    tries = 10_000
    remote.errors["bucket/away"] = errors = [ConnectionResetError(104, "reset") for _ in range(tries)]
    (tmp_path / "a").write_bytes(b"a")
    stream = fetch([Recording("a", f"{tmp_path}/a"), Recording("b", "counting://bucket/away")], CONFIG)
    next(stream)
    while len(errors) > tries - 3:
        threading.Event().wait(0.01)
    stream.close()
    assert len(errors) > tries - 500
    assert threads() == []


def test_a_file_that_is_removed_when_it_was_just_opened_fails_alone(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"a")
    now = (tmp_path / "a").stat()
    (tmp_path / "a").unlink()
    with pytest.raises(RecordingError, match="missing file"):
        check_local(Place.of(f"{tmp_path}/a", CONFIG), "1 0", now, CONFIG)
