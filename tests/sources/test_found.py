"""What lies at a URL: all of it, in one order, the same as fsspec lists it, and small in memory."""

import collections
import functools
import http.server
import os
import random
import shutil
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from types import MappingProxyType
from typing import Any

import fsspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline import store
from pipeline.errors import UsageError
from pipeline.sources import found as inputs
from pipeline.sources.found import File, Files, find

NAMES = ["a", "a b", "a-b", "a.wav", "a.b", "ab", "b.wav", "Ä.wav", "[1]", ".hidden", "_x.wav", "z"]
TREES = st.sets(st.lists(st.sampled_from(NAMES), min_size=1, max_size=4).map("/".join), min_size=1, max_size=12)
PATTERNS = [
    "*",
    "*.wav",
    "a*",
    "**",
    "*/*",
    "a/*",
    "**/*.wav",
    "a*/**",
    "?.wav",
    "[ab].wav",
    "*/a.wav",
    "a b/*",
    "[!a]*",
]


def paths(url: Path | str) -> list[str]:
    return [file.path for file in find(str(url)).listed]


def relative(url: Path | str, root: Path | str) -> list[str]:
    return [path.removeprefix(f"{root}/") for path in paths(url)]


def refusal(url: Path | str) -> str:
    with pytest.raises(UsageError) as caught:
        find(str(url))
    return str(caught.value)


def touch(root: Path, *names: str, content: bytes = b"not read here") -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)


def visible(listed: Any, root: str) -> list[str]:
    below = [(path, path.removeprefix(f"{root}/").split("/")) for path in listed]
    return sorted(path for path, parts in below if not any(part.startswith(".") for part in parts))


@pytest.fixture
def memory() -> Any:
    """Emptied first: it is one for the whole process, and other tests leave files in it."""
    files = fsspec.filesystem("memory")
    for name in files.ls("/", detail=False):
        files.rm(name, recursive=True)
    return files


# Folders


@settings(max_examples=60)
@given(TREES, st.sampled_from(PATTERNS))
def test_folders_and_globs_are_what_fsspec_lists(tree: set[str], pattern: str) -> None:
    """Nothing else can tell whether a file is missing: a smaller input looks like any other."""
    root = tempfile.mkdtemp()
    try:
        for name in tree:
            if not any(other.startswith(f"{name}/") for other in tree):  # else it is a folder
                os.makedirs(os.path.dirname(f"{root}/{name}"), exist_ok=True)
                Path(f"{root}/{name}").write_bytes(name.encode())
        files = fsspec.filesystem("file")
        listed = find(root).listed
        assert [file.path for file in listed] == visible(files.find(root), root)
        assert all(file.size == os.path.getsize(file.path) for file in listed)
        assert all(file.version == store.version_of(files.info(file.path)) for file in listed)
        matching = visible((path for path in files.glob(f"{root}/{pattern}") if os.path.isfile(path)), root)
        if matching:
            assert paths(f"{root}/{pattern}") == matching
        else:
            assert "nothing matches" in refusal(f"{root}/{pattern}")
    finally:
        shutil.rmtree(root)


def test_ids_are_relative_to_what_all_files_share(tmp_path: Path) -> None:
    touch(tmp_path, "x/a/1.flac", "x/b/2.flac", "x/b/2.wav")
    by_glob = find(f"{tmp_path}/x/*/*.flac")
    assert [by_glob.relative(file) for file in by_glob.listed] == ["a/1.flac", "b/2.flac"]
    alone = find(f"{tmp_path}/x/a/1.flac")
    assert alone.is_one_file
    assert [alone.relative(file) for file in alone.listed] == ["1.flac"]
    with_slash = find(f"{tmp_path}/x/")
    assert [with_slash.relative(file) for file in with_slash.listed] == ["a/1.flac", "b/2.flac", "b/2.wav"]


def test_brackets_in_a_name_that_exists_are_no_pattern(tmp_path: Path) -> None:
    touch(tmp_path, "take [1]/a.wav")
    assert relative(tmp_path / "take [1]", tmp_path) == ["take [1]/a.wav"]
    assert relative(tmp_path / "take [1]" / "a.wav", tmp_path) == ["take [1]/a.wav"]


def test_a_link_is_a_file_and_a_broken_one_is_not_lost(tmp_path: Path) -> None:
    touch(tmp_path, "elsewhere/1.wav", "in/2.wav")
    (tmp_path / "in" / "link.wav").symlink_to(tmp_path / "elsewhere" / "1.wav")
    (tmp_path / "in" / "gone.wav").symlink_to(tmp_path / "nowhere.wav")
    listed = {os.path.basename(file.path): file for file in find(str(tmp_path / "in")).listed}
    assert list(listed) == ["2.wav", "gone.wav", "link.wav"]
    assert listed["gone.wav"][1:] == (0, "")
    # Of the file that will be read, not of the link.
    assert listed["link.wav"].version == store.version_of(
        fsspec.filesystem("file").info(str(tmp_path / "elsewhere/1.wav"))
    )
    (tmp_path / "in-by-link").symlink_to(tmp_path / "in")
    assert len(find(str(tmp_path / "in-by-link")).listed) == 3


def test_linked_folders_are_followed_and_never_round_in_circles(tmp_path: Path) -> None:
    touch(tmp_path, "elsewhere/deep/1.wav", "in/a/2.wav")
    (tmp_path / "in" / "linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "in" / "twice").symlink_to(tmp_path / "elsewhere" / "deep")
    (tmp_path / "in" / "a" / "above").symlink_to(tmp_path / "in")
    (tmp_path / "elsewhere" / "back").symlink_to(tmp_path / "elsewhere" / "deep" / "..")
    (tmp_path / "in" / "self.wav").symlink_to(tmp_path / "in" / "self.wav")
    assert relative(tmp_path / "in", tmp_path) == [
        "in/a/2.wav",
        "in/linked/deep/1.wav",
        "in/self.wav",
        "in/twice/1.wav",
    ]
    assert relative(tmp_path / "in" / "*" / "*.wav", tmp_path) == ["in/a/2.wav", "in/twice/1.wav"]


def test_hidden_is_what_begins_with_a_dot_or_lies_below_that(tmp_path: Path) -> None:
    """YouTube's ids begin with _, too, and versions of files lie in .git."""
    touch(tmp_path, "_2Vs.wav", "x/_b.wav", "_x/c.wav", ".d.wav", ".git/e.wav", "x/.cache/deep/f.wav")
    assert relative(tmp_path, tmp_path) == ["_2Vs.wav", "_x/c.wav", "x/_b.wav"]
    assert relative(tmp_path / "**" / "*.wav", tmp_path) == ["_2Vs.wav", "_x/c.wav", "x/_b.wav"]
    assert relative(tmp_path / ".git", tmp_path) == [".git/e.wav"]  # which was asked for
    assert relative(tmp_path / "x" / ".cache" / "*" / "*", tmp_path) == ["x/.cache/deep/f.wav"]


def test_a_query_is_no_part_of_a_name() -> None:
    """What is signed would be taken for audio of no known kind."""
    names = ["https://h/m.jsonl?sig=a/b.wav", "https://h/x/metadata.csv?e=1", "https://h/Ä.WAV?", "https://h/y.wav"]
    listed = Files.of(File(name, 0, "") for name in names)
    assert [file.path for file in listed.ending(".jsonl")] == names[:1]
    assert [file.path for file in listed.named("metadata.csv")] == names[1:2]
    assert [file.path for file in listed.ending(".wav")] == [names[3], names[2]]
    assert listed.endings() == {".jsonl": 1, ".csv": 1, ".wav": 2}
    local = Files.of([File("/in/why?.wav", 0, ""), File("/in/x.wav?sig", 0, "")])
    assert [file.path for file in local.ending(".wav")] == ["/in/why?.wav"]


@given(st.lists(st.text("aB.é\n/", max_size=6).map("/x".__add__)))
def test_endings_are_counted_as_the_standard_library_splits_them(names: list[str]) -> None:
    names = [name.replace("/.", "/x.") for name in names]  # others are hidden
    expected = collections.Counter(os.path.splitext(name)[1].lower() for name in names)
    assert Files.of(File(name, 0, "") for name in names).endings() == expected


def test_what_lies_below_a_folder_that_is_left_out_is_not_listed(tmp_path: Path) -> None:
    touch(tmp_path, "in/a.wav", "in/out/b.wav", "in/out-2/c.wav")
    assert [os.path.basename(f.path) for f in find(str(tmp_path / "in"), f"{tmp_path}/in/out").listed] == [
        "a.wav",
        "c.wav",
    ]


def test_a_folder_that_may_not_be_read_is_named_and_not_left_out(tmp_path: Path, monkeypatch: Any) -> None:
    touch(tmp_path, "a/1.wav", "secret/2.wav")
    scandir = os.scandir

    def refusing(path: str) -> Any:
        if path.endswith("secret"):
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
    assert refusal(tmp_path) == f"{tmp_path}/secret: permission denied"


def test_a_name_that_is_not_utf8_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / b"caf\xe9.wav".decode("utf-8", "surrogateescape")).write_bytes(b"")
    assert refusal(tmp_path) == f"{tmp_path}/caf?.wav: its name is not UTF-8; rename it"


def test_a_pipe_is_refused_and_does_not_hold_the_run_up(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.wav")
    assert refusal(tmp_path / "pipe.wav") == f"{tmp_path}/pipe.wav: neither a file nor a folder"
    assert len(find(str(tmp_path)).listed) == 0


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    touch(tmp_path, "a.wav", "folder/b.wav")
    assert refusal(tmp_path / "gone") == f"{tmp_path}/gone: no such file, folder or bucket"
    assert refusal(tmp_path / "a.wav" / "x") == f"{tmp_path}/a.wav/x: no such file, folder or bucket"
    for pattern in ("*.flac", "gone/*.wav", "fold*"):
        assert refusal(tmp_path / pattern).startswith(f"{tmp_path}/{pattern}: nothing matches")
    assert refusal("nosuch://bucket/x").startswith("nosuch://bucket/x: Protocol not known")
    assert refusal("memory://gone/m.jsonl") == "memory://gone/m.jsonl: no such file, folder or bucket"


# Many


def test_a_million_files_are_told_of_as_they_come_and_need_little_memory(monkeypatch: Any) -> None:
    """A hundred thousand here; 100 bytes each is what their names and versions need."""
    monkeypatch.setattr(inputs, "FILES_AT_ONCE", 10_000)
    names = [f"/data/corpus/speaker-{n % 100:03d}/utterance-{n:06d}.flac" for n in range(100_000)]
    random.Random(0).shuffle(names)
    told: list[str] = []
    listed = Files.of((File(name, len(name), f"{len(name)} 1700000000.1234567") for name in names), told.append)
    assert told[0] == "listing the input: 10,000 files"
    assert told[-1] == "listing the input: 100,000 files"
    assert [file.path for file in listed] == sorted(names)
    assert sum(batch.nbytes for batch in listed._table.to_batches()) < 115 * len(names)


@given(st.lists(st.tuples(st.text(max_size=5), st.integers(0, 2**40)), max_size=30, unique_by=lambda pair: pair[0]))
def test_files_in_columns_are_the_files_that_were_put_there(pairs: list[tuple[str, int]]) -> None:
    expected = sorted(File(name, size, f"{size} mark") for name, size in pairs)
    listed = Files.of(expected[::-1])
    assert list(listed) == expected
    assert len(listed) == len(expected)
    assert [listed[number] for number in range(len(expected))] == expected
    if expected:
        assert listed[-1] == expected[-1]


@given(st.lists(st.sampled_from(["a.TAR", "x/b.tar", "c.tar.gz", "tar", "x.tar/d", "metadata.csv", "y/metadata.csv"])))
def test_files_are_found_by_ending_and_by_name(names: list[str]) -> None:
    listed = Files.of(File(name, 0, "") for name in names)
    by_ending = [file.path for file in listed.ending(".tar", ".tar.gz")]
    assert by_ending == sorted(name for name in names if name.lower().endswith((".tar", ".tar.gz")))
    by_name = [file.path for file in listed.named("metadata.csv")]
    assert by_name == sorted(name for name in names if os.path.basename(name) == "metadata.csv")


# Stores


def test_files_in_a_store_keep_their_protocol(memory: Any) -> None:
    memory.pipe({"/corpus/a/1.flac": b"1", "/corpus/2.wav": b"22", "/corpus/.git/hidden.wav": b""})
    found = find("memory://corpus")
    assert [(found.relative(file), found.url_of(file), file.size) for file in found.listed] == [
        ("2.wav", "memory:///corpus/2.wav", 2),
        ("a/1.flac", "memory:///corpus/a/1.flac", 1),
    ]
    assert relative("memory://corpus/*.wav", "/corpus") == ["2.wav"]
    assert relative("memory://corpus/**", "/corpus") == ["2.wav", "a/1.flac"]


class Pages:
    """S3 that gives out its keys in pages, and sometimes fails for the moment."""

    protocol = ("s3", "s3a")
    req_kw = MappingProxyType[str, Any]({})  # what s3fs adds to each request

    def __init__(self, keys: list[str], failing: int = 0, page: int = 1000) -> None:
        self.keys, self.left_to_fail, self.page = keys, failing, page
        self.asked: list[dict[str, Any]] = []

    def call_s3(self, method: str, *options: Any, **how: Any) -> dict[str, Any]:
        assert method == "list_objects_v2"
        if self.left_to_fail and len(self.asked) % 2:
            self.left_to_fail -= 1
            self.asked.append({})
            raise ConnectionResetError
        self.asked.append(how)
        start = int(how.get("ContinuationToken", 0))
        keys = [key for key in self.keys if key.startswith(how["Prefix"])]
        if how.get("Delimiter"):
            keys = [key for key in keys if "/" not in key[len(how["Prefix"]) :]]
        contents = [{"Key": key, "Size": 7, "ETag": '"ab"'} for key in keys[start : start + self.page]]
        more = start + self.page < len(keys)
        return {"Contents": contents, "IsTruncated": more, "NextContinuationToken": str(start + self.page)}

    def exists(self, path: str) -> bool:
        return False

    def info(self, path: str) -> dict[str, Any]:
        return {"type": "directory", "name": path, "size": 0}

    def unstrip_protocol(self, path: str) -> str:
        return f"s3://{path}"


@pytest.fixture
def pages(monkeypatch: Any) -> Any:
    def make(*how: Any, **more: Any) -> Pages:
        made = Pages(*how, **more)
        monkeypatch.setattr(store, "locate", lambda url: (made, url.removeprefix("s3://")))
        return made

    return make


def test_a_bucket_is_listed_page_by_page_and_a_page_that_fails_again(pages: Any) -> None:
    keys = [f"corpus/{number:05d}.flac" for number in range(3500)]
    made = pages([*keys, "corpus-2/x.flac", "corpus/folder/"], failing=2)
    found = find("s3://bucket/corpus")
    assert [found.relative(file) for file in found.listed] == [f"{number:05d}.flac" for number in range(3500)]
    assert found.listed[0] == File("bucket/corpus/00000.flac", 7, "7 ab")
    assert len(made.asked) == 4 + 2
    assert made.left_to_fail == 0


def test_a_store_that_does_not_sort_makes_no_difference(pages: Any) -> None:
    keys = [f"corpus/{number:05d}.flac" for number in range(2500)]
    random.Random(0).shuffle(keys)
    pages(keys)
    assert [file.path for file in find("s3://bucket/corpus").listed] == sorted(f"bucket/{key}" for key in keys)


def test_a_glob_asks_only_for_what_begins_like_it(pages: Any) -> None:
    made = pages(["in/2024-01.tar", "in/2024-02.tar", "in/2024-03/x.tar", "in/2025.tar", "out/x.tar"])
    assert relative("s3://bucket/in/2024*.tar", "bucket/in") == ["2024-01.tar", "2024-02.tar"]
    assert made.asked == [{"Bucket": "bucket", "Prefix": "in/2024", "Delimiter": "/"}]
    assert relative("s3://bucket/in/2024*/*.tar", "bucket/in") == ["2024-03/x.tar"]
    assert relative("s3://bucket/**/x.tar", "bucket") == ["in/2024-03/x.tar", "out/x.tar"]
    assert refusal("s3://buck*/x.tar") == "s3://buck*: no pattern in the name of a bucket"


def test_a_real_bucket_is_listed_as_s3fs_does(s3: Any) -> None:
    files = store.filesystem("s3")
    keys = [
        "a/1.flac",
        "a/2 b.flac",
        "a/é+%20.flac",
        "a-b.flac",
        "a.flac",
        "b/deep/er/3.wav",
        "b/.hidden.wav",
        "b/_4.wav",
    ]
    keys += [f"many/{number:04d}.flac" for number in range(1100)]
    files.pipe({f"{s3.name}/{key}": key.encode() for key in keys})
    found = find(s3.url)
    expected = visible((key for key in files.find(s3.name)), s3.name)
    assert [file.path for file in found.listed] == expected
    assert len(expected) == len(keys) - 1
    for file in list(found.listed)[:6]:  # what is checked when it is read
        assert file.version == store.version_of(files.info(file.path))
        assert find(found.url_of(file)).listed[0] == file
    assert relative(f"{s3.url}/a", s3.name) == visible((key for key in keys if key.startswith("a/")), "")
    for pattern in ("*.flac", "a/*", "**/*.wav", "many/00[1-3]*.flac", "*/*/*/*.wav"):
        assert paths(f"{s3.url}/{pattern}") == visible(files.glob(f"{s3.name}/{pattern}"), s3.name)
    assert refusal(f"{s3.url}/gone") == f"{s3.url}/gone: no such file, folder or bucket"


@pytest.fixture
def web(tmp_path: Path) -> Iterator[str]:
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *what: Any) -> None:
            pass

    (tmp_path / "web").mkdir()
    handler = functools.partial(Quiet, directory=str(tmp_path / "web"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def test_a_file_and_a_page_of_links_on_the_web(web: str, tmp_path: Path) -> None:
    touch(tmp_path / "web", "a.wav", "sub/b.wav")
    alone = find(f"{web}/a.wav?signature=x/[*]/y")
    assert alone.is_one_file
    assert (alone.url, alone.relative(alone.listed[0])) == (f"{web}/a.wav", "a.wav")  # a query may be a secret
    assert alone.url_of(alone.listed[0]) == f"{web}/a.wav?signature=x/[*]/y"
    assert alone.listed[0].size == 13
    folder = find(f"{web}/")
    assert [folder.relative(file) for file in folder.listed] == ["a.wav", "sub/b.wav"]
    assert refusal(f"{web}/gone.wav?signature=x") == f"{web}/gone.wav: no such file, folder or bucket"
