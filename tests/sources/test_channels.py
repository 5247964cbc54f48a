"""A recording for each channel: as many as there are, lazily, in order, and at the cost of a few bytes of each file."""

import io
import tarfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile

from pipeline.config import ReadConfig
from pipeline.errors import RecordingError
from pipeline.read.reader import Reader
from pipeline.records import Cut, Recording, Span
from pipeline.sources import channels
from pipeline.sources.channels import expand
from pipeline.sources.entries import Entry, Piece
from pipeline.unit import Unit
from tests.read.counting import counting_store

EACH = ReadConfig(channels="each", storage_deadline_s=60.0)


def wav(num_channels: int, seconds: float = 0.1) -> bytes:
    """Each channel as loud as its number says."""
    file = io.BytesIO()
    levels = np.ones((int(16_000 * seconds), num_channels)) * (1 + np.arange(num_channels)) / 10
    soundfile.write(file, levels, 16_000, format="WAV")
    return file.getvalue()


def expanded(entries: list[Entry], config: ReadConfig = EACH) -> list[Entry]:
    return [entry for piece in expand((Piece([entry]) for entry in entries), config) for entry in piece.entries]


def test_each_channel_becomes_a_recording_wherever_the_file_lies(tmp_path: Path) -> None:
    """Files, members, rows, on a disk and in a store; and what is then read is that channel."""
    counts = {"mono": 1, "stereo": 2, "three": 3}
    audio = {name: wav(count) for name, count in counts.items()}
    shard = io.BytesIO()
    with tarfile.open(fileobj=shard, mode="w") as archive:
        for name, data in audio.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    table = io.BytesIO()
    pq.write_table(pa.table({"audio": pa.array(list(audio.values()), pa.binary())}), table)
    zipped = io.BytesIO()
    with tarfile.open(fileobj=zipped, mode="w:gz") as archive:
        for name, data in audio.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    with counting_store() as store, tarfile.open(fileobj=io.BytesIO(shard.getvalue())) as archive:
        files = {**audio, "a.tar": shard.getvalue(), "a.tgz": zipped.getvalue(), "a.parquet": table.getvalue()}
        for name, data in files.items():
            (tmp_path / name).write_bytes(data)
            store.contents[f"bucket/{name}"] = data
        entries = []
        for root in (str(tmp_path), "counting://bucket"):
            entries += [Entry(f"{root}/{name}", f"{root}/{name}") for name in audio]
            for kind in ("a.tar", "a.tgz"):
                entries += [
                    Entry(f"{root}/{kind}/{m.name}", f"{root}/{kind}", size=m.size, span=Span(m.name, m.offset_data))
                    for m in archive.getmembers()
                ]
            entries += [
                Entry(f"{root}/a.parquet/{name}", f"{root}/a.parquet", row=row) for row, name in enumerate(audio)
            ]
        found = expanded(entries)
        expected = []
        for entry in entries:
            count = counts[entry.id.rpartition("/")[2]]
            expected += [entry.id] if count == 1 else [f"{entry.id}:{channel}" for channel in range(count)]
        assert [entry.id for entry in found] == expected
        unit = Unit(0, [Recording(e.id, e.uri, e.row, span=e.span, size=e.size, cut=e.cut) for e in found])
        for recording in Reader(EACH, lambda unit: unit)(unit).recordings:
            assert recording.audio is not None
            assert recording.cut.channel is not None
            level = recording.audio / 2**15 if recording.audio.dtype == np.int16 else recording.audio
            assert np.allclose(level, (1 + recording.cut.channel) / 10, atol=1e-3)


def test_the_channels_of_a_file_stay_in_one_piece_and_share_its_seconds(tmp_path: Path) -> None:
    """So that the file is fetched once, and units are of the length that was asked for."""
    (tmp_path / "a.wav").write_bytes(wav(4, seconds=10))
    entry = Entry("a", f"{tmp_path}/a.wav", size=4 * 320_000, reference="WORDS", columns={"speaker": "x"})
    (piece,) = expand([Piece([entry], "shard")], EACH)
    assert piece.shard == "shard"
    assert [(e.id, e.cut) for e in piece.entries] == [(f"a:{n}", Cut(channel=n)) for n in range(4)]
    assert [e.seconds for e in piece.entries] == [10.0] * 4
    assert {(e.reference, e.columns["speaker"]) for e in piece.entries} == {("WORDS", "x")}


def test_what_names_its_channel_or_cannot_be_looked_into_stays(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(wav(2))
    (tmp_path / "notes.wav").write_text("not audio")
    (tmp_path / "empty.wav").write_bytes(b"")
    entries = [
        Entry("named", f"{tmp_path}/a.wav", cut=Cut(0.0, 1.0, 1)),
        Entry("notes", f"{tmp_path}/notes.wav"),
        Entry("empty", f"{tmp_path}/empty.wav"),
        Entry("gone", f"{tmp_path}/gone.wav"),
        Entry("nowhere", "nosuch://gone.wav"),
        Entry("failed", f"{tmp_path}/a.wav", error=RecordingError("missing file")),
        Entry("row", f"{tmp_path}/a.wav", row=7),
    ]
    assert expanded(entries) == entries


@pytest.mark.parametrize("mode", ["mix", 1])
def test_only_each_looks_into_files(mode: str | int) -> None:
    entries = [Entry("a", "nosuch://a.wav")]
    pieces = (Piece([entry]) for entry in entries)
    assert list(expand(pieces, ReadConfig(channels=mode))) == [Piece(entries)]  # type: ignore[arg-type]


def test_files_are_looked_into_many_at_a_time_as_they_are_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A request of 30 ms for each of a million files, one after the other, takes eight hours."""
    monkeypatch.setattr(channels, "WINDOW", 40)
    taken = []
    long = wav(2, seconds=60)

    def pieces() -> Iterator[Piece]:
        for number in range(100):
            taken.append(number)
            yield Piece([Entry(f"{number:03d}", f"counting://bucket/{number}", size=len(long))])

    with counting_store() as store:
        store.contents.update({f"bucket/{number}": long for number in range(100)})
        store.num_awaited = 10
        stream = expand(pieces(), EACH)
        first = next(stream)
        assert len(taken) == 40
        assert store.most_at_once >= 10
        rest = [entry.id for piece in stream for entry in piece.entries]
        assert [*(entry.id for entry in first.entries), *rest] == [f"{n:03d}:{c}" for n in range(100) for c in (0, 1)]
        assert store.num_served < 100 * len(long) / 3
        assert len(store.asked) == 100


def test_the_segments_of_a_file_need_one_look() -> None:
    with counting_store() as store:
        store.contents["bucket/a"] = wav(2, seconds=60)
        entries = [Entry(str(n), "counting://bucket/a", size=3_840_044, cut=Cut(n, 1.0)) for n in range(300)]
        found = expanded(entries)
        assert [(entry.id, entry.cut) for entry in found] == [
            (f"{n}:{channel}", Cut(n, 1.0, channel)) for n in range(300) for channel in (0, 1)
        ]
        assert len(store.asked) <= 2
