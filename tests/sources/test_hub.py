"""Datasets by name, against a hub of our own: which files a name means, that they are read in part, what is refused.

One process lists and reads everything once; the tests look at what came of it.
"""

import io
import json
import os
import random
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.errors import UsageError
from pipeline.sources.hub import Named
from tests.sources.fake_hub import Hub, Repository, fake_hub

ROOT = Path(__file__).parents[2]
TOKEN = "hf_" + "secret" * 5
AUDIO = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
CARD = b"""---
configs:
- config_name: en
  data_files: en/*.parquet
- config_name: de
  data_files:
  - split: train
    path: de/train*.parquet
  - split: test
    path: de/test*.parquet
---
"""


def clips(num_rows: int, seed: int, num_bytes: int = 20_000) -> list[bytes]:
    noise = random.Random(seed)
    return [noise.randbytes(num_bytes) for _ in range(num_rows)]


def parquet(num_rows: int, seed: int = 0) -> bytes:
    cells = [{"bytes": clip, "path": f"{n}.flac"} for n, clip in enumerate(clips(num_rows, seed))]
    columns = {"audio": pa.array(cells, AUDIO), "text": [f"{seed} t{n}" for n in range(num_rows)]}
    sink = io.BytesIO()
    pq.write_table(pa.table(columns), sink, row_group_size=10)
    return sink.getvalue()


def tar(num_samples: int, seed: int) -> bytes:
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w") as archive:
        for number, clip in enumerate(clips(num_samples, seed)):
            for name, data in ((f"{seed}-{number}.flac", clip), (f"{seed}-{number}.txt", b"words %d" % number)):
                info = tarfile.TarInfo(name)
                info.size = len(data)
                archive.addfile(info, io.BytesIO(data))
    return sink.getvalue()


SHARDS = {f"data/train-0000{n}-of-00002.parquet": parquet(50, n) for n in range(2)}
REPOSITORIES = {
    "org/speech": [{**SHARDS, "data/test-00000-of-00001.parquet": parquet(5, 9), "README.md": b"speech"}],
    "org/one": [{"train.parquet": parquet(3, 1)}, {"train.parquet": parquet(3, 2)}],
    "org/languages": [
        {"README.md": CARD, **{f"{at}.parquet": parquet(4, 3) for at in ("en/a", "de/train", "de/test")}}
    ],
    "org/tars": [{f"a-{n}.tar": tar(4, n) for n in range(2)}],
    "org/folder": [{"metadata.csv": b"file_name,text\nclips/a.flac,A\n", "clips/a.flac": b"fLaC" * 9}],
    "org/plain": [{"clips/a.flac": b"fLaC" * 9, "clips/b.flac": b"RIFF"}],
    "org/program": [{"program.py": b"raise SystemExit", "README.md": b""}],
    "org/pictures": [{"a.png": b"x", "b.png": b"y"}],
    "org/nothing": [{"README.md": b"to come"}],
    "org/private": [{"train.parquet": parquet(2, 4)}],
    "org/gated": [{"train.parquet": parquet(2, 4)}],
}
STEPS = [
    *(
        "org/speech",
        "org/speech:train",
        "read 60",
        "imported torch",
        "datasets org/speech:train",
        "org/speech:train+test",
    ),
    *("org/speech:dev", "hf://datasets/org/speech:test", "org/speech@dev:test"),
    *("org/one", "show org/one", "read 1", "org/one", "read 1", f"org/one@{'0' * 40}", "read 1"),
    *("org/languages", "org/languages:en", "org/languages:de", "org/languages:de:test", "org/languages:fr"),
    *("org/tars", "read 5", "org/folder", "read 0", "org/plain", "read 1"),
    *("org/program", "org/pictures", "org/nothing", "org/absent", "org/gated"),
    *("hf hf://datasets/org/speech/data/train-*.parquet", "read 60", "hf hf://datasets/org/folder", "read 0"),
    *("org/private", f"token {TOKEN}", "org/private", "read 1"),
    *("unreachable org/speech", "offline org/speech"),
]


@pytest.fixture(scope="module")
def hub_and_outcomes(tmp_path_factory: pytest.TempPathFactory) -> Any:
    repositories = {name: Repository(commits) for name, commits in REPOSITORIES.items()}
    repositories["org/private"].token, repositories["org/gated"].gated = TOKEN, True
    repositories["org/one"].num_hidden = 1
    home = tmp_path_factory.mktemp("home")
    kept = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
    with fake_hub(repositories) as hub:
        environment = {**kept, "HOME": str(home), "HF_HOME": str(home / "hf"), "HF_ENDPOINT": hub.url}
        client = [sys.executable, "-m", "tests.sources.hub_client"]
        ran = subprocess.run(
            client,
            input=json.dumps(STEPS),
            text=True,
            capture_output=True,
            env=environment,
            cwd=Path(__file__).parents[2],
        )
        assert ran.returncode == 0, ran.stderr
        assert TOKEN not in ran.stdout + ran.stderr
        assert not any(path.is_file() and TOKEN.encode() in path.read_bytes() for path in home.rglob("*"))
        yield hub, home, list(zip(STEPS, json.loads(ran.stdout), strict=True))


@pytest.fixture
def came_of(hub_and_outcomes: Any) -> Any:
    """What came of a step, and of the one after it."""
    outcomes = hub_and_outcomes[2]

    def find(step: str, number: int = 0) -> tuple[Any, Any]:
        at = [at for at, (name, _) in enumerate(outcomes) if name == step][number]
        return outcomes[at][1], outcomes[at + 1][1] if at + 1 < len(outcomes) else None

    return find


def test_the_rows_are_those_that_datasets_streams(came_of: Any) -> None:
    listed, data = came_of("org/speech:train")
    streamed, _ = came_of("datasets org/speech:train")
    assert [entry["reference"] for entry in listed["entries"]] == streamed
    assert listed["entries"][60]["id"] == "data/train-00001-of-00002:10"
    assert data == clips(50, 1)[10].hex()
    uri = f"hf://datasets/org/speech@{'0' * 40}/data/train-00001-of-00002.parquet"
    assert listed["entries"][60]["uri"] == uri and listed["description"] == "2 Parquet files"


def test_listing_takes_no_torch(came_of: Any) -> None:
    assert came_of("imported torch")[0] is False


def test_nothing_is_downloaded_but_what_is_read(hub_and_outcomes: Any) -> None:
    """The shards were listed three times and three of their rows were read; `datasets` streams them whole, once."""
    hub: Hub = hub_and_outcomes[0]
    home: Path = hub_and_outcomes[1]
    path = "/data/train-00001-of-00002.parquet"
    size = len(SHARDS[path[1:]])
    listings = [sent for _, asked, sent in hub.asked if asked.endswith(path) and 0 < sent < 100_000]
    assert size > 1_000_000 and sum(listings) < 0.35 * size  # 64 kB of footer in each listing and for each row
    assert sum(file.stat().st_size for file in home.rglob("*") if file.is_file()) < 50_000


def test_a_run_reads_the_commit_that_was_listed(came_of: Any) -> None:
    _, _ = came_of("org/one")
    assert came_of("show org/one")[1] == clips(3, 1)[1].hex()  # read after another commit became main
    listed, data = came_of("org/one", 1)
    assert data == clips(3, 2)[1].hex()
    assert listed["entries"][1]["uri"] == f"hf://datasets/org/one@{'1'.zfill(40)}/train.parquet"
    assert came_of(f"org/one@{'0' * 40}")[1] == clips(3, 1)[1].hex()


@pytest.mark.parametrize(
    ("name", "shards"),
    [
        ("org/speech:train+test", {"data/test-00000-of-00001", *(name.removesuffix(".parquet") for name in SHARDS)}),
        ("hf://datasets/org/speech:test", {"data/test-00000-of-00001"}),
        ("org/languages:en", {"en/a"}),
        ("org/languages:de:test", {"de/test"}),
    ],
)
def test_a_configuration_and_a_split_are_chosen_by_name(came_of: Any, name: str, shards: set[str]) -> None:
    listed, _ = came_of(name)
    assert {entry["id"].rpartition(":")[0] for entry in listed["entries"]} == shards


def test_shards_folders_and_tables_are_read_as_what_they_are(came_of: Any) -> None:
    listed, data = came_of("org/tars")
    assert [entry["reference"] for entry in listed["entries"]] == [f"words {n}" for _ in range(2) for n in range(4)]
    assert data == clips(4, 1)[1].hex()
    listed, data = came_of("org/folder")
    assert [(e["id"], e["reference"]) for e in listed["entries"]] == [("clips/a.flac", "A")]
    assert data == (b"fLaC" * 9).hex()
    listed, data = came_of("org/plain")
    assert [(e["id"], e["size"]) for e in listed["entries"]] == [("clips/a.flac", 36), ("clips/b.flac", 4)]
    assert data == b"RIFF".hex()


def test_urls_of_files_in_a_dataset_are_pinned_too(came_of: Any) -> None:
    listed, data = came_of("hf hf://datasets/org/speech/data/train-*.parquet")
    assert len(listed["entries"]) == 100 and data == clips(50, 1)[10].hex()
    assert all(entry["uri"].startswith(f"hf://datasets/org/speech@{'0' * 40}/data/") for entry in listed["entries"])
    assert came_of("hf hf://datasets/org/folder")[1] == (b"fLaC" * 9).hex()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("org/speech", "several splits; give one of org/speech:train, org/speech:test, or some with + between them"),
        ("org/speech:dev", "no split dev; give one of org/speech:train, org/speech:test"),
        ("org/speech@dev:test", "the dataset has no such revision (a branch, a tag or a commit)"),
        ("org/languages", "several configurations; give one of org/languages:en, org/languages:de"),
        ("org/languages:de", "several splits; give one of org/languages:de:train, org/languages:de:test, or "),
        ("org/languages:fr", "no configuration fr; give one of org/languages:en, org/languages:de"),
        ("org/program", "its files are found by a program (program.py), which is not run here: "),
        ("org/pictures", "no audio in it"),
        ("org/nothing", "the dataset has no files of a kind that holds data"),
        ("org/absent", "no such dataset on the hub, or one that is not public: for that, set HF_TOKEN to a token "),
        ("org/private", "no such dataset on the hub, or one that is not public: for that, set HF_TOKEN to a token "),
        ("org/gated", "a gated dataset. Ask for access on its page on the hub, and set HF_TOKEN to a token that may "),
        ("unreachable org/speech", "the hub (127.0.0.1) cannot be reached. Without a network, give a copy "),
        ("offline org/speech", "HF_HUB_OFFLINE is set"),
    ],
)
def test_what_cannot_be_read_says_what_to_do(came_of: Any, name: str, message: str) -> None:
    said, _ = came_of(name)
    assert isinstance(said, str) and said.startswith(f"{name.rpartition(' ')[2]}: {message}")


def test_a_private_dataset_is_read_with_a_token(came_of: Any) -> None:
    listed, data = came_of("org/private", 1)
    assert len(listed["entries"]) == 2 and data == clips(2, 4)[1].hex()


@pytest.mark.parametrize(
    ("url", "named"),
    [
        ("org/name", Named("org/name", None, None, [])),
        ("hf://datasets/org/na.me-1_x/", Named("org/na.me-1_x", None, None, [])),
        ("org/name@v1.0:clean:train.100+train.360", Named("org/name", "v1.0", "clean", ["train.100", "train.360"])),
        ("org/name@refs/convert/parquet::test", Named("org/name", "refs/convert/parquet", None, ["test"])),
        ("org/name@feature%2Fx:en", Named("org/name", "feature/x", "en", [])),
    ],
)
def test_names_have_one_meaning(url: str, named: Named) -> None:
    assert Named.parse(url) == named


@pytest.mark.parametrize(
    "url", ["name", "a/b/c", "org/name:a:b:c", "s3://org/name", "org/name:a/b", "../x/y", "a b/c", ""]
)
def test_what_is_no_name_is_told_what_one_is(url: str) -> None:
    with pytest.raises(UsageError, match=r"ORG/NAME\[@REVISION\]\[:CONFIG\[:SPLIT\]\]"):
        Named.parse(url)
