"""An input is listed once, whatever becomes of it: nothing lost, nothing doubled, ids unique, nothing left on disk."""

import datetime
import json
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.__main__ import main
from pipeline import config as configuration
from pipeline import drive as driver
from pipeline import request as requests
from pipeline.carry import Stage
from pipeline.config import Config, ReadConfig
from pipeline.drive import drive
from pipeline.errors import RecordingError, UsageError
from pipeline.manifest import Manifest
from pipeline.progress import Progress
from pipeline.records import Cut, Span
from pipeline.request import Request
from pipeline.resources import Pool, Pools
from pipeline.run import Run, find
from pipeline.sources import spool
from pipeline.sources.entries import Entry, Piece
from pipeline.sources.spool import Spool, limited
from pipeline.store import Folder
from pipeline.unit import Unit
from pipeline.write import Writer, read_parts


class Listed:
    """A source of these pieces that notes how far it was listed."""

    description = "a list"

    def __init__(self, *pieces: Piece, schema: pa.Schema | None = None) -> None:
        self.schema = schema or pa.schema([])
        self._pieces = pieces
        self.num_listed = 0

    def pieces(self) -> Iterator[Piece]:
        for piece in self._pieces:
            self.num_listed += 1
            yield piece


def named(*names: str) -> Listed:
    return Listed(*(Piece([Entry(name, "file.wav", duration_s=1.0)]) for name in names))


def ids(source: Listed, config: ReadConfig = ReadConfig()) -> list[str]:  # noqa: B008  # it is frozen
    with Spool(source, config) as listed:
        return [entry.id for unit in listed.units() for entry in unit]


def test_entries_come_back_as_they_were_listed() -> None:
    columns = {"n": 2**70, "d": datetime.datetime(2026, 1, 1), "x": Decimal("1.5"), "nested": [{"é": b"\xff"}]}
    entries = [
        Entry("a", "s3://b/a.tar", None, 10, 2.5, "TEXT", columns, Span("m", 512), Cut(1.0, 2.0, 1), "10 etag"),
        Entry("b", "b.parquet", row=3, error=RecordingError("broken", "so")),
    ]
    with Spool(Listed(Piece(entries, "shard")), ReadConfig(unit_s=1000.0)) as listed:
        (unit,) = listed.units()
        assert (listed.num_recordings, listed.seconds, listed.seconds_known) == (2, 12.5, False)
    error = unit[1].error
    assert error is not None
    assert (error.reason, error.detail) == ("broken", "so")
    unit[1].error = entries[1].error  # exceptions are equal to themselves alone
    assert unit == entries


@given(st.lists(st.lists(st.floats(0.1, 500), max_size=4), max_size=30), st.sampled_from([1, 2, 1000]))
def test_nothing_is_lost_between_lots(lengths: list[list[float]], at_once: int) -> None:
    pieces = [
        Piece([Entry(f"{n}/{k}", "x", duration_s=s) for k, s in enumerate(piece)], f"shard {n}")
        for n, piece in enumerate(lengths)
    ]
    before = spool.PIECES_AT_ONCE
    spool.PIECES_AT_ONCE = at_once
    try:
        found = ids(Listed(*pieces))
    finally:
        spool.PIECES_AT_ONCE = before
    assert found == [entry.id for piece in pieces for entry in piece.entries]


@given(st.lists(st.sampled_from(["a", "a#2", "a#3", "a#2#2", "b", "", "#2"]), max_size=30), st.booleans())
def test_ids_are_made_unique_and_what_was_unique_keeps_its_own(names: list[str], colliding: bool) -> None:
    """Colliding: with a hash that is the same for many names, when only the names themselves can tell."""
    with pytest.MonkeyPatch.context() as patched:
        if colliding:
            patched.setattr(spool, "hash", len, raising=False)
        with Spool(named(*names), ReadConfig()) as listed:
            manifest = Manifest(Folder(tempfile.mkdtemp()))
            doubled = listed.freeze(manifest)
    made = [r.id for unit in manifest.units() for r in manifest.unit(unit.id).recordings]
    shutil.rmtree(manifest.folder.url)
    assert len(set(made)) == len(made) == len(names)
    assert all(new.startswith(old) for new, old in zip(made, names, strict=True))
    assert doubled.num == sum(new != old for new, old in zip(made, names, strict=True))
    if not colliding:
        counts = Counter(names)
        assert doubled.num == sum(count - 1 for count in counts.values())
        assert {made[names.index(name)] for name in counts} == set(counts)
        assert set(doubled.ids) <= {name for name, count in counts.items() if count > 1}


@given(st.lists(st.integers(1, 6), max_size=20), st.integers(1, 60))
def test_a_limit_takes_the_first_so_many_and_lists_nothing_beyond(sizes: list[int], limit: int) -> None:
    pieces = [Piece([Entry(f"{n}/{k}", "x") for k in range(size)]) for n, size in enumerate(sizes)]
    everything = [entry.id for piece in pieces for entry in piece.entries]
    source = Listed(*pieces)
    assert [entry.id for piece in limited(source.pieces(), limit) for entry in piece.entries] == everything[:limit]
    needed = next((n for n in range(len(sizes)) if sum(sizes[:n]) >= limit), len(sizes))
    assert source.num_listed == needed
    assert list(limited(pieces, None)) == pieces
    assert ids(Listed(*pieces), ReadConfig(limit=limit)) == everything[:limit]


def test_progress_says_how_much_there_is_so_far() -> None:
    told: list[str] = []
    Spool(named(*map(str, range(2500))), ReadConfig(), told.append).close()
    assert told == [
        "listing the input: 1,000 recordings, 16.7 min",
        "listing the input: 2,000 recordings, 33.3 min",
        "listing the input: 2,500 recordings, 41.7 min",
    ]
    Spool(Listed(Piece([Entry("a", "a.wav")])), ReadConfig(), told.append).close()
    assert told[-1] == "listing the input: 1 recordings, about 10 s"


@pytest.mark.parametrize("fault", [KeyboardInterrupt, UsageError("no shard can be read"), ValueError])
def test_nothing_is_left_on_disk_whatever_happens(tmp_path: Path, monkeypatch: Any, fault: Any) -> None:
    """Not even while it is listed: a killed driver could not tidy up."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)

    class Faulty(Listed):
        def pieces(self) -> Iterator[Piece]:
            for number in range(3000):
                assert list(tmp_path.iterdir()) == []
                yield Piece([Entry(str(number), "x")])
            raise fault

    with pytest.raises(fault if isinstance(fault, type) else type(fault)):
        Spool(Faulty(), ReadConfig())
    links = [Path("/proc/self/fd", name) for name in os.listdir("/proc/self/fd")]
    assert not [link for link in links if link.is_symlink() and str(link.readlink()).startswith(str(tmp_path))]


def test_a_full_disk_says_where() -> None:
    with Spool(named("a"), ReadConfig()) as listed:
        listed._file = open("/dev/full", "wb", buffering=0)  # noqa: SIM115  # closed with the listing
        with pytest.raises(UsageError, match="is full: set TMPDIR"):
            listed._put([Piece([Entry("a", "x")])])


# In a run


TASKS = Pool(None, 1.0)


class Silent:
    """A stage in place of all that listen."""

    def __call__(self, unit: Unit) -> Unit:
        for recording in unit.pending():
            recording.text, recording.duration_s = "A", 1.0
        return unit


def stages(config: Config, run: Run, pools: Pools) -> list[Stage]:
    class Loaded:
        def __call__(self, unit: Unit) -> Unit:
            return run.load(unit)

    return [Stage("read", Loaded, TASKS), Stage("hear", Silent, TASKS), Stage("write", lambda: Writer(run), TASKS)]


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    for number in range(40):
        path = tmp_path / "corpus" / f"{number:02d}.wav"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(bytes(320_000))
    return tmp_path / "corpus"


@pytest.fixture
def request_of(sample: Path, tmp_path: Path) -> Any:
    def make(source: Path, **options: bool) -> Request:
        keys = [f'encode.model="{sample / "model"}"', "read.unit_s=30", "run.address=here", "decode.decoder=greedy"]
        return Request(str(source), str(tmp_path / "out"), configuration.load(None, keys), **options)

    return make


def run(request: Request, made: Any = stages) -> Any:
    with Progress(log_every_s=1000) as progress:
        return drive(request, progress, made)


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_run_lists_its_input_once_and_says_what_it_was_taken_for(
    corpus: Path, request_of: Any, monkeypatch: Any, capsys: Any, overwrite: bool
) -> None:
    walks: list[str] = []
    opened = requests.open_source

    def counting(url: str, *how: Any, **more: Any) -> Any:
        source = opened(url, *how, **more)
        pieces = source.pieces
        source.pieces = lambda: (walks.append(url), pieces())[1]
        return source

    monkeypatch.setattr(requests, "open_source", counting)
    assert run(request_of(corpus, overwrite=overwrite)).complete
    assert walks == [str(corpus)]
    assert f"{corpus}: 40 audio files (--source says otherwise)" in capsys.readouterr().err


def test_ids_that_were_doubled_are_reported(corpus: Path, request_of: Any, capsys: Any, tmp_path: Path) -> None:
    lines = [{"audio": f"corpus/{number:02d}.wav", "id": "same" if number < 3 else number} for number in range(5)]
    (tmp_path / "list.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert run(request_of(tmp_path / "list.jsonl")).num_doubled_ids == 2
    told = "warning: ids that another recording has, too, got a number after a #: 2 (same)"
    assert told in " ".join(capsys.readouterr().err.split())
    info = json.loads((tmp_path / "out" / "run.json").read_text())
    assert (info["num_doubled_ids"], info["doubled_ids"]) == (2, ["same"])
    found = find(str(tmp_path / "out"))
    assert read_parts(found).column("id").to_pylist() == ["same", "same#2", "same#3", "3", "4"]


def test_plan_says_what_the_input_was_taken_for(corpus: Path, sample: Path, capsys: Any, tmp_path: Path) -> None:
    arguments = ["plan", str(corpus), str(tmp_path / "out"), "--model", str(sample / "model"), "--address", "here"]
    assert main([*arguments, "--json"]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert (plan["taken_for"], plan["recordings"], plan["audio_s"]) == ("40 audio files", 40, 400.0)
    assert main([*arguments, "--source", "kaldi"]) == 2
    assert "a Kaldi directory has one wav.scp" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main([*arguments, "--source", "tars"])
    assert "invalid choice: 'tars'" in capsys.readouterr().err


def test_a_resumed_run_lists_nothing_again(corpus: Path, request_of: Any, monkeypatch: Any, tmp_path: Path) -> None:
    """What lies in the input by then, or whether it can be listed at all, must not matter."""

    class Stopped(Exception):
        pass

    def stopping(config: Config, run: Run, pools: Pools) -> list[Stage]:
        class Stop:
            def __call__(self, unit: Unit) -> Unit:
                if unit.id == 4:
                    raise Stopped
                return unit

        first, *others = stages(config, run, pools)
        return [first, Stage("stop", Stop, TASKS), *others]

    with pytest.raises(Stopped):
        run(request_of(corpus), stopping)
    shutil.rmtree(corpus)
    monkeypatch.setattr(driver, "_opened", None)
    monkeypatch.setattr(requests, "open_source", None)
    assert run(request_of(corpus)).complete
    rows = read_parts(find(str(tmp_path / "out")))
    assert sorted(rows.column("id").to_pylist()) == [f"{number:02d}.wav" for number in range(40)]
