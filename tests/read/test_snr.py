"""The estimate of noise against speech that noise was added to, and what must not mislead it."""

import csv
from functools import cache
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from pipeline.config import ReadConfig
from pipeline.demo.bundled import CORPUS
from pipeline.manifest import Manifest
from pipeline.read.reader import Reader
from pipeline.read.snr import ENOUGH, FEWEST, FRAME, HIGHEST_DB, LOWEST_DB, snr_estimate_db
from pipeline.records import SAMPLE_RATE, FloatArray, Recording
from pipeline.sources.entries import Entry
from pipeline.store import Folder
from pipeline.training.acoustics import Noise, Scene, heard
from pipeline.unit import Unit


@cache
def spoken() -> list[FloatArray]:
    """The bundled recordings without noise, of those that no codec has touched."""
    folder = CORPUS / "flac"
    rows = list(csv.DictReader((folder / "metadata.csv").open()))
    files = [folder / row["file_name"] for row in rows if row["noise"] == "none" and row["sample_rate"] == "16000"]
    sounds = [soundfile.read(path, dtype="float32", always_2d=True)[0][:, 0] for path in files]
    assert len(sounds) >= 3
    return sounds


def noisy(kind: Noise, snr_db: float, number: int = 0) -> FloatArray:
    return heard(spoken()[number], Scene(snr_db=snr_db, noise=kind), np.random.default_rng(number))


@pytest.mark.parametrize("kind", ["white", "pink", "hum"])
def test_the_estimate_is_near_the_truth_where_noise_is_steady(kind):
    ratios = np.arange(-4, 29, 4.0)
    found = [[snr_estimate_db(noisy(kind, ratio, number)) for ratio in ratios] for number in range(3)]
    errors = np.array(found) - ratios
    assert np.abs(errors).mean() < 1.5 and np.abs(errors).max() < 5
    assert np.corrcoef(np.ravel(found), np.tile(ratios, 3))[0, 1] > 0.98
    assert (np.diff(found, axis=1) > 0).all()


@given(st.floats(1e-6, 1e3), st.floats(-1, 1))
def test_neither_level_nor_an_offset_changes_it(level, offset):
    sound = noisy("pink", 15.0)
    before = snr_estimate_db(sound)
    assert before is not None
    changed = ((sound + np.float32(offset)) * np.float32(level)).astype(np.float32)
    assert snr_estimate_db(changed) == pytest.approx(before, abs=0.11)


def test_whole_numbers_say_what_floats_say():
    sound = noisy("white", 20.0)
    assert snr_estimate_db((sound * 32767).astype(np.int16)) == pytest.approx(snr_estimate_db(sound), abs=0.11)


def test_digital_silence_around_a_recording_is_not_its_noise():
    sound = noisy("pink", 10.0)
    silence = np.full(5 * FRAME, 0.25, np.float32)  # of a recorder with an offset
    padded = np.concatenate([silence, sound + np.float32(0.25), silence])
    assert snr_estimate_db(padded) == pytest.approx(snr_estimate_db(sound), abs=0.2)


def test_clipping_and_a_long_recording_change_it_little():
    sound = noisy("white", 15.0)
    before = snr_estimate_db(sound)
    assert before is not None
    loudest = np.abs(sound).max()
    assert snr_estimate_db(sound.clip(-loudest / 2, loudest / 2)) == pytest.approx(before, abs=2)
    many = np.tile(sound, 1 + 3 * ENOUGH * FRAME // len(sound))  # every third frame is looked at
    assert snr_estimate_db(many) == pytest.approx(before, abs=2)  # frames lie elsewhere


def test_what_has_no_answer_has_none_and_the_ends_are_clear():
    rng = np.random.default_rng(0)
    hiss = rng.normal(size=FEWEST * FRAME).astype(np.float32)
    assert snr_estimate_db(np.zeros(SAMPLE_RATE, np.int16)) is None
    assert snr_estimate_db(np.full(SAMPLE_RATE, 0.3, np.float32)) is None
    assert snr_estimate_db(np.zeros(0, np.float32)) is snr_estimate_db(hiss[:10]) is snr_estimate_db(hiss[:-1]) is None
    assert LOWEST_DB <= (snr_estimate_db(hiss) or 0.0) < 0
    tone = np.sin(np.arange(SAMPLE_RATE, dtype=np.float32))
    assert snr_estimate_db(np.concatenate([tone, 1e-5 * tone])) == HIGHEST_DB
    assert snr_estimate_db(np.float32(1e-30) * tone) is None  # squares of it are nothing


def test_reading_fills_it_in_and_a_failure_has_none(tmp_path: Path):
    soundfile.write(tmp_path / "a.wav", noisy("white", 10.0), SAMPLE_RATE, subtype="FLOAT")
    (tmp_path / "b.wav").write_bytes(b"")
    recordings = [Recording(name, f"{tmp_path}/{name}.wav") for name in "ab"]
    Reader(ReadConfig(), lambda unit: unit)(Unit(0, recordings))
    assert recordings[0].snr_estimate_db == pytest.approx(10, abs=2)
    assert recordings[1].status == "failed" and recordings[1].snr_estimate_db is None


def test_a_column_of_the_input_with_this_name_gives_way(tmp_path: Path):
    """Corpora come with such columns, and estimates of others are not ours."""
    manifest = Manifest(Folder(str(tmp_path)))
    entry = Entry("a", "a.wav", columns={"snr_estimate_db": 3.5})
    manifest.write([[entry]], pa.schema([("snr_estimate_db", pa.float64())]))
    unit = manifest.unit(0)
    assert unit.columns is not None and unit.columns.to_pylist() == [{"input_snr_estimate_db": 3.5}]
    assert unit.recordings[0].snr_estimate_db is None
