"""The bundled corpus: nothing that was learnt from is in it, every kind of file is, and its tables tell the truth."""

import csv
import io
import json
import tarfile
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile

from pipeline.config import ReadConfig
from pipeline.demo import corpus
from pipeline.demo.bundled import CORPUS, INPUTS, LM
from pipeline.demo.containers import FLAC, MP3, OPUS, VORBIS, WAV
from pipeline.demo.corpus import BRIEF, LOTS, SEED, SHORT, Lot
from pipeline.demo.grammar import is_held_out, vocabulary
from pipeline.demo.speech import utterance
from pipeline.demo.voices import voices
from pipeline.manifest import Manifest
from pipeline.read.reader import Reader
from pipeline.records import Recording
from pipeline.sources.recognise import open_source
from pipeline.sources.spool import Spool
from pipeline.store import Folder
from pipeline.training.acoustics import Conditions, draw
from pipeline.unit import Unit

REASONS = ["read: not audio", "read: empty file", "read: damaged audio", "read: missing file"]  # of the last four
NUM_SHORT = 150
SCENE = ("noise", "snr_db", "rt60_s", "tilt_db", "level_db", "clip_db", "speed")
TOLD = ("text", "speaker", "accent", "rate", "pitch", *SCENE, "direct_db", "band", "sample_rate", "channels")


def embedded(folder: Path) -> list[tuple[dict[str, Any], bytes]]:
    (shard,) = folder.iterdir()
    return [(row, row.pop("audio")["bytes"]) for row in pq.read_table(shard).to_pylist()]


def packed(folder: Path) -> list[tuple[dict[str, Any], bytes]]:
    (shard,) = folder.iterdir()
    with tarfile.open(shard) as tar:
        members = {member.name: tar.extractfile(member).read() for member in tar}  # type: ignore[union-attr]
    rows = {name.split(".")[0]: json.loads(data) for name, data in members.items() if name.endswith(".json")}
    return [(rows[name.split(".")[0]], data) for name, data in members.items() if not name.endswith(".json")]


def tabled(folder: Path) -> list[tuple[dict[str, Any], bytes]]:
    """The values as a run has them: of a CSV, text."""
    with open(folder / "metadata.csv", newline="") as file:
        rows = [{name: value or None for name, value in row.items()} for row in csv.DictReader(file)]
    return [(row, (folder / str(row["file_name"])).read_bytes()) for row in rows]


def listed(folder: Path) -> list[tuple[dict[str, Any], bytes | None]]:
    rows = [json.loads(line) for line in (folder / "manifest.jsonl").read_text().splitlines()]
    paths = [folder / row["audio_filepath"] for row in rows]
    return [(row, path.read_bytes() if path.exists() else None) for row, path in zip(rows, paths, strict=True)]


def everything(root: Path) -> list[tuple[dict[str, Any], bytes | None]]:
    """Each row with its file, in the order they were drawn in, read by nothing of ours."""
    return [
        *embedded(root / "parquet"),
        *packed(root / "webdataset"),
        *tabled(root / "flac"),
        *listed(root / "manifest"),
    ]


def columns(row: dict[str, Any]) -> list[str | None]:
    """What a table says, as a CSV would."""
    return [None if row[name] is None else str(row[name]) for name in TOLD]


@pytest.fixture(scope="module")
def shipped() -> list[tuple[dict[str, Any], bytes | None]]:
    return everything(CORPUS)


@pytest.fixture(scope="module")
def whole(shipped: list[tuple[dict[str, Any], bytes]]) -> list[tuple[dict[str, Any], bytes]]:
    """Those that nothing was done to."""
    return shipped[: -len(REASONS)]


@pytest.fixture(scope="module")
def read(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[Recording, dict[str, Any]]]:
    """What a run makes of the four folders, each recording with the columns that pass through."""
    config, found = ReadConfig(), []
    for url in INPUTS:
        manifest = Manifest(Folder(str(tmp_path_factory.mktemp(url.name))))
        with Spool(open_source(str(url), config), config) as spool:
            assert spool.freeze(manifest).num == 0
        reader = Reader(config, lambda unit: manifest.unit(unit.id))  # noqa: B023
        for info in manifest.units():
            unit = reader(Unit(info.id))
            assert unit.columns is not None
            found += list(zip(unit.recordings, unit.columns.to_pylist(), strict=True))
    return found


# ---- what is said, and by whom


def test_all_of_it_is_held_out_and_drawn_as_training_is(shipped: list[tuple[dict[str, Any], bytes | None]]) -> None:
    """By the seed alone: a row is among what it draws, so that nobody chose it, nor the scene that it is heard in."""
    lots = [lot for lot in LOTS for _ in range(lot.num)]
    known = {(voice.variant, voice.accent): voice for voice in voices()}
    assert len(lots) == len(shipped)
    for number, ((row, _), lot) in enumerate(zip(shipped, lots, strict=True)):
        rng = np.random.default_rng((SEED, number))
        for _ in range(100):  # what is too short or too long is drawn again
            drawn = utterance(rng, True, lot.length.aim_s, lot.length.max_sentences)
            scene = asdict(draw(Conditions(), rng))
            if " ".join(drawn.sentences) == row["text"]:
                break
            rng.random(len(drawn.sentences) if lot.length.pauses_s else 0)
        else:
            pytest.fail(f"{row['id']} is not what the seed draws")
        assert all(map(is_held_out, drawn.sentences))
        assert known[row["speaker"], row["accent"]].held_out and known[row["speaker"], row["accent"]] == drawn.voice
        assert [str(row[name]) for name in ("rate", "pitch", *SCENE)] == [
            str(value) for value in (drawn.rate, drawn.pitch, *(scene[name] for name in SCENE))
        ]
        telephone, narrow = row["band"] == "telephone", row["band"] == "narrow"
        assert (telephone, narrow) == (scene["telephone"], scene["narrow_band"])


def test_there_is_enough_of_everything(whole: list[tuple[dict[str, Any], bytes]]) -> None:
    rows = [row for row, _ in whole]
    short, long = rows[:NUM_SHORT], rows[NUM_SHORT:]
    assert sum(len(row["text"].split()) for row in short) > 2_500
    assert all(2 <= float(row["duration"]) <= 15 for row in short)
    assert len(long) == 2 and all(180 <= row["duration"] <= 240 and len(row["text"].split()) > 300 for row in long)
    assert {word for row in rows for word in row["text"].split()} <= vocabulary()
    held_out = [voice for voice in voices() if voice.held_out]
    assert {row["speaker"] for row in rows} == {voice.variant for voice in held_out}
    assert {row["accent"] for row in rows} == {voice.accent for voice in held_out}
    assert {row["noise"] for row in rows} == {*Conditions().noises, "none"}
    assert 0.5 < np.mean([row["noise"] != "none" for row in rows]) < 0.7  # 0.6 of them, and 0.4
    assert 0.3 < np.mean([row["rt60_s"] is not None for row in rows]) < 0.5


# ---- the files


def test_it_is_small() -> None:
    assert sum(path.stat().st_size for path in CORPUS.rglob("*")) + LM.stat().st_size < 6_000_000 + 3_000_000
    assert sum(path.stat().st_size for path in CORPUS.rglob("*")) < 5_800_000


def test_every_container_rate_and_number_of_channels_occurs(whole: list[tuple[dict[str, Any], bytes]]) -> None:
    """As the files themselves have it, beside which the tables could be wrong."""
    seen = Counter[object]()
    for row, data in whole:
        info = soundfile.info(io.BytesIO(data))
        kind = {"MPEG_LAYER_III": MP3, "OPUS": OPUS, "VORBIS": VORBIS}.get(info.subtype) or {"WAV": WAV, "FLAC": FLAC}[
            info.format
        ]
        assert [str(row[name]) for name in ("container", "sample_rate", "channels")] == [
            kind.extension,
            str(info.samplerate),
            str(info.channels),
        ]
        seen.update({kind.extension, info.samplerate, info.channels})
        if info.channels == 2:
            left, right = np.abs(soundfile.read(io.BytesIO(data))[0]).max(axis=0)
            seen["alike" if left == pytest.approx(right, rel=0.02) else "other"] += 1
        assert (info.samplerate == 8_000) == (row["band"] != "wide")
    wanted = {*("wav", "flac", "mp3", "ogg", "opus"), *(8_000, 16_000, 22_050, 44_100), *(1, 2), *("alike", "other")}
    assert {name for name, num in seen.items() if num >= 4} == wanted


def test_the_sound_is_as_loud_as_its_row_says(whole: list[tuple[dict[str, Any], bytes]]) -> None:
    """A row beside another's sound would have another level; they lie 30 dB apart."""
    for row, data in whole:
        peak = np.abs(soundfile.read(io.BytesIO(data), always_2d=True)[0][:, 0]).max()
        kept = row["container"] in ("wav", "flac") and not float(
            row["clip_db"]
        )  # what is cut off comes back in filters
        assert 20 * np.log10(peak) == pytest.approx(float(row["level_db"]), abs=0.5 if kept else 3.0), row["id"]


def test_a_run_reads_all_that_is_whole_and_says_what_is_not(
    shipped: list[tuple[dict[str, Any], bytes | None]], read: list[tuple[Recording, dict[str, Any]]]
) -> None:
    rows = {row["id"]: row for row, _ in shipped}
    assert sorted(recording.id for recording, _ in read) == sorted(rows)
    for recording, through in read:
        row = rows[recording.id]
        assert recording.reference == row["text"]
        assert through | {"text": row["text"]} == {name: row[name] for name in (*TOLD, "container")}
        if recording.status != "failed":
            assert recording.duration_s == pytest.approx(float(row["duration"]), abs=0.001)
            assert not recording.truncated
    failed = {recording.id: recording.error for recording, _ in read if recording.status == "failed"}
    assert [failed.get(name) for name in list(rows)[-len(REASONS) :]] == REASONS
    assert len(failed) == len(REASONS)


# ---- the writer


@pytest.mark.slow
def test_the_seed_makes_the_same_tables_and_the_same_sound(
    shipped: list[tuple[dict[str, Any], bytes | None]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    pytest.importorskip("espeakng_loader", reason="espeakng-loader is not installed")
    few = (
        Lot("parquet", 8, SHORT, LOTS[0].containers),
        Lot("webdataset", 2, SHORT, (OPUS, MP3)),
        Lot("flac", 2, BRIEF, (FLAC,)),
        Lot("manifest", 1, SHORT, (VORBIS,)),
        LOTS[-1],
    )
    monkeypatch.setattr(corpus, "LOTS", few)
    monkeypatch.setattr("sys.argv", ["corpus", str(tmp_path / "again")])
    assert corpus.main() == 0
    assert "webdataset: 2 recordings" in capsys.readouterr().out
    again = everything(tmp_path / "again")
    assert len(again) == sum(lot.num for lot in few)
    for (mine, sound), (theirs, other) in list(zip(again, shipped, strict=False))[: few[0].num]:
        assert mine == theirs
        assert sound is not None and other is not None
        if mine["noise"] != "babble":  # which is of all that there is
            pair = [soundfile.read(io.BytesIO(data), always_2d=True)[0][:, 0] for data in (sound, other)]
            assert np.corrcoef(pair)[0, 1] > 0.99, (mine["id"], mine["noise"], mine["speaker"], mine["container"])
    assert corpus.main() == 2
    assert "again is not empty: choose another directory" in capsys.readouterr().err
