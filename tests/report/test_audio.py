"""What would give a page the wrong sound, or stop an evaluation because a sound is not to be had."""

import io
import json
import os
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile

from pipeline.config import ReadConfig
from pipeline.manifest import Manifest
from pipeline.records import Cut
from pipeline.report.audio import MOST_S, Sound, sounds
from pipeline.run import RUN, Run
from pipeline.sources.entries import Entry
from pipeline.store import Folder

RATE = 16_000
PITCH = {"long": 300.0, "short": 500.0, "cut": 700.0, "row": 900.0}  # hertz


class Corpus(NamedTuple):
    run: Run
    folder: Path


def tone(pitch: float, length_s: float) -> npt.NDArray[np.float32]:
    return (0.4 * np.sin(2 * np.pi * pitch * np.arange(int(length_s * RATE)) / RATE)).astype(np.float32)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    folder = tmp_path_factory.mktemp("corpus")
    soundfile.write(folder / "long.flac", tone(PITCH["long"], 33.0), RATE)
    soundfile.write(folder / "short.wav", tone(PITCH["short"], 1.5), RATE)
    two = np.concatenate([tone(200.0, 2.0), tone(PITCH["cut"], 3.0)])
    soundfile.write(folder / "two.flac", two, RATE)
    (folder / "text.flac").write_text("this is no sound")
    soundfile.write(folder / "changed.flac", tone(100.0, 1.0), RATE)
    soundfile.write(folder / "empty.wav", np.zeros(0, np.float32), RATE)
    row = io.BytesIO()
    soundfile.write(row, tone(PITCH["row"], 1.0), RATE, format="WAV")
    table = pa.table({"audio": [{"bytes": b"", "path": None}, {"bytes": row.getvalue(), "path": None}]})
    pq.write_table(table, folder / "shard.parquet")
    entries = [
        Entry("long", str(folder / "long.flac")),
        Entry("short", str(folder / "short.wav")),
        Entry("cut", str(folder / "two.flac"), cut=Cut(2.5, 2.0)),
        Entry("row", str(folder / "shard.parquet"), row=1),
        Entry("text", str(folder / "text.flac")),
        Entry("missing", str(folder / "missing.flac")),
        Entry("empty", str(folder / "empty.wav")),
        Entry("changed", str(folder / "changed.flac"), version="1 another time"),
    ]
    run = Run(Folder(str(tmp_path_factory.mktemp("run"))), "1")
    units = [[entry] for entry in entries] + [[Entry(f"other-{n}", "/nowhere")] for n in range(40)]
    run.manifest.write(units, pa.schema([]))
    told = {"config": {"read": vars(ReadConfig()) | {"of_another_version": 1}}}
    run.folder.publish(RUN, json.dumps(told).encode())
    return Corpus(run, folder)


@pytest.fixture(scope="module")
def heard(corpus: Corpus) -> dict[str, Sound]:
    return sounds(corpus.run, ["row", "cut", "long", "short", "missing", "changed", "text", "empty", "never heard of"])


def pitch_of(sound: Sound) -> float:
    """By libsndfile's own decoder."""
    samples, rate = soundfile.read(io.BytesIO(sound.data))
    assert rate == RATE and samples.ndim == 1
    assert abs(len(samples) / rate - sound.seconds) < 0.15  # of which encoders pad some
    return float(np.argmax(np.abs(np.fft.rfft(samples * np.hanning(len(samples)))))) * rate / len(samples)


@pytest.mark.parametrize(("name", "seconds"), [("long", MOST_S), ("short", 1.5), ("cut", 2.0), ("row", 1.0)])
def test_the_sound_is_the_recordings(heard: dict[str, Sound], name: str, seconds: float) -> None:
    sound = heard[name]
    assert sound.why_not is None
    assert sound.seconds == pytest.approx(seconds, abs=0.01)
    assert sound.is_cut == (name == "long")
    assert pitch_of(sound) == pytest.approx(PITCH[name], abs=2.0)
    assert len(sound.data) < 4_500 * seconds + 2_000  # bytes


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("missing", "missing file"),
        ("changed", "changed"),
        ("text", "not audio"),
        ("empty", "no samples"),
        ("never heard of", "not in the run's manifest"),
    ],
)
def test_what_cannot_be_heard_is_told_and_stops_nothing(heard: dict[str, Sound], name: str, why: str) -> None:
    assert heard[name].data == b""
    assert why in (heard[name].why_not or "")


def test_the_same_sound_is_the_same_bytes(corpus: Corpus, heard: dict[str, Sound]) -> None:
    assert sounds(corpus.run, ["short"])["short"] == heard["short"]


def test_without_ids_nothing_is_read(tmp_path: Path) -> None:
    assert sounds(Run(Folder(str(tmp_path / "nowhere")), "1"), []) == {}


def test_a_click_at_full_scale(tmp_path: Path) -> None:
    """Samples at the very edge of their range, and fewer of them than a frame of MP3 has."""
    samples = np.array([1.0, -1.0] * 50, np.float32)
    soundfile.write(tmp_path / "click.wav", samples, RATE, subtype="FLOAT")
    run = Run(Folder(str(tmp_path / "run")), "1")
    Manifest(run.folder.sub("manifest")).write([[Entry("click", str(tmp_path / "click.wav"))]], pa.schema([]))
    run.folder.publish(RUN, json.dumps({"config": {"read": {}}}).encode())
    sound = sounds(run, ["click"])["click"]
    assert sound.why_not is None and sound.seconds == pytest.approx(100 / RATE)
    assert np.isfinite(soundfile.read(io.BytesIO(sound.data))[0]).all()


def test_a_store_that_is_away_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pipeline.report import audio

    monkeypatch.setattr(audio, "DEADLINE_S", 0.2)
    monkeypatch.setitem(os.environ, "AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setitem(os.environ, "AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setitem(os.environ, "AWS_SECRET_ACCESS_KEY", "secret")
    run = Run(Folder(str(tmp_path)), "1")
    run.manifest.write([[Entry("far", "s3://bucket/far.flac"), Entry("away", "s3://bucket/away.flac")]], pa.schema([]))
    run.folder.publish(RUN, json.dumps({"config": {"read": {}}}).encode())
    for sound in sounds(run, ["far", "away"]).values():
        assert "not reachable" in (sound.why_not or "")
