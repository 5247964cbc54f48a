"""The training corpus: nothing held out gets into it, a seed says all of it, and a kill loses and spoils nothing."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from pipeline.config import ReadConfig
from pipeline.demo import speech
from pipeline.demo.grammar import is_held_out
from pipeline.demo.speech import recording, utterance, write_speech
from pipeline.demo.voices import ACCENTS, SAMPLE_RATE, TRAINING_VARIANTS, Voice
from pipeline.errors import UsageError
from pipeline.progress import Progress
from pipeline.records import FloatArray
from pipeline.sources.recognise import open_source

SEED = 5
PER_FOLDER = 8  # here, to be quick
HOURS = 0.035  # three folders
MAIN = f"from pipeline.demo import speech; speech.RECORDINGS_PER_FOLDER = {PER_FOLDER}; speech.main()"


@pytest.fixture(autouse=True, scope="module")
def small_folders() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(speech, "RECORDINGS_PER_FOLDER", PER_FOLDER)
        yield


@contextlib.contextmanager
def started(directory: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process that writes more and more."""
    pytest.importorskip("espeakng_loader", reason="espeakng-loader is not installed")
    command = [sys.executable, "-c", MAIN, str(directory), "--hours", "100", "--seed", str(SEED)]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def written(directory: Path, num_hours: float = HOURS, seed: int = SEED) -> list[dict[str, Any]]:
    """The manifest."""
    pytest.importorskip("espeakng_loader", reason="espeakng-loader is not installed")
    with Progress(log_every_s=1000) as progress:
        manifest = write_speech(directory, num_hours, seed, progress)
    return [json.loads(line) for line in manifest.read_text().splitlines()]


def contents(directory: Path) -> dict[str, bytes]:
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("speech") / "whole"
    written(directory)
    return directory


# ---- what is drawn


def test_nothing_held_out_is_drawn_and_all_else_is() -> None:
    drawn = [utterance(np.random.default_rng((SEED, number))) for number in range(6000)]
    assert not any(one.voice.held_out or is_held_out(sentence) for one in drawn for sentence in one.sentences)
    known = [one.voice for one in drawn if not one.voice.timbre]
    assert {voice.variant for voice in known} == set(TRAINING_VARIANTS)
    for some in ([one.voice.accent for one in drawn], [voice.accent for voice in known], [v.variant for v in known]):
        even = len(some) / len(set(some))  # every one as often: within five standard deviations
        assert all(abs(count - even) < 5 * even**0.5 for count in Counter(some).values())
    own = [one.voice for one in drawn if one.voice.timbre]
    assert 0.72 < len(own) / len(drawn) < 0.78
    assert len({voice.timbre for voice in own}) == len(own)
    assert len({one.voice.accent for one in drawn}) == len(ACCENTS)
    assert {one.pitch for one in drawn} == set(range(20, 81))
    assert min(one.rate for one in drawn) == 120 and max(one.rate for one in drawn) == 230
    assert 0.6 < np.mean([150 <= one.rate <= 190 for one in drawn]) < 0.8
    assert {len(one.sentences) for one in drawn} == {1, 2, 3}
    assert len({one.sentences for one in drawn}) > 0.98 * len(drawn)


class Pretended:
    """A synthesiser of which every text takes another time."""

    def __init__(self, seconds: list[float], loudness: float = 0.5) -> None:
        self.seconds = seconds
        self.loudness = loudness

    def speak(self, text: str, voice: Voice, rate: int, pitch: int) -> FloatArray:
        tone = np.sin(np.arange(round(self.seconds.pop(0) * SAMPLE_RATE)) / 9)
        return np.asarray(self.loudness * tone, np.float32)


def test_what_is_too_short_or_too_long_is_drawn_again() -> None:
    pretended = Pretended([13.0, 0.5, 12.1, 0.6, 4.0, 5.0])
    sound, drawn = recording(SEED, 0, pretended)  # type: ignore[arg-type]
    assert 4.0 <= len(sound) / 16_000 < 4.9 and pretended.seconds == [5.0]
    silences = [round(silence_s * 16_000) for silence_s in drawn.silences_s]
    assert not sound[: silences[0]].any() and not sound[-silences[1] :].any()
    assert len(sound) - sum(silences) == 64_000


def test_a_silent_voice_is_told() -> None:
    with pytest.raises(ValueError, match=r"en-.*\+.* is silent at"):
        recording(SEED, 0, Pretended([4.0], loudness=0.0))  # type: ignore[arg-type]


# ---- what is written


def test_the_files_are_what_the_manifest_says(whole: Path) -> None:
    lines = [json.loads(line) for line in (whole / "manifest.jsonl").read_text().splitlines()]
    assert HOURS * 3600 <= sum(line["duration"] for line in lines) < HOURS * 3600 + PER_FOLDER * 12
    assert {line["audio_filepath"] for line in lines} == {
        str(path.relative_to(whole)) for path in whole.rglob("*.flac")
    }
    for line in lines:
        info = soundfile.info(whole / line["audio_filepath"])
        assert (info.format, info.subtype, info.samplerate, info.channels) == ("FLAC", "PCM_16", 16_000, 1)
        assert info.frames / 16_000 == line["duration"] and 1.5 <= line["duration"] <= 12
        assert re.fullmatch(r"[A-Z']+( [A-Z']+)*", line["text"])
        assert 0.49 < np.abs(soundfile.read(whole / line["audio_filepath"])[0]).max() <= 0.501
    assert np.mean([3 <= line["duration"] <= 8 for line in lines]) > 0.7


def test_a_run_reads_the_directory_and_the_manifest(whole: Path) -> None:
    """What is there for a resumption is no second table."""
    for url in (whole, whole / "manifest.jsonl"):
        entries = [entry for piece in open_source(str(url), ReadConfig()).pieces() for entry in piece.entries]
        assert len(entries) == len(list(whole.rglob("*.flac")))
        assert all(entry.reference and {"speaker", "rate"} <= set(entry.columns or {}) for entry in entries)


def test_a_seed_says_all_of_it(whole: Path, tmp_path: Path) -> None:
    written(tmp_path / "again")
    assert contents(tmp_path / "again") == contents(whole)
    other = written(tmp_path / "other", 0.01, SEED + 1)
    mine = json.loads((whole / "manifest.jsonl").read_text().splitlines()[0])
    assert other[0]["text"] != mine["text"]


def test_more_hours_go_on_and_fewer_leave_only_what_they_list(whole: Path, tmp_path: Path) -> None:
    directory = tmp_path / "grown"
    few = written(directory, 0.01)
    made = {path: path.stat().st_mtime_ns for path in directory.rglob("*.flac")}
    assert len(few) == len(made) == PER_FOLDER
    written(directory)
    assert {path: path.stat().st_mtime_ns for path in made} == made  # none was written again
    assert contents(directory) == contents(whole)
    assert written(directory, 0.01) == few and set(directory.rglob("*.flac")) == set(made)


def test_a_kill_loses_and_spoils_nothing(whole: Path, tmp_path: Path) -> None:
    """At any moment; and no process of espeak-ng outlives it."""
    directory = tmp_path / "killed"
    with started(directory) as process:
        while not ((directory / "00000").is_dir() and any(directory.glob(".*.half/*.flac"))):
            process.send_signal(signal.SIGCONT)
            assert process.poll() is None
            time.sleep(0.002)
            process.send_signal(signal.SIGSTOP)  # what is half done must not be done when it is killed
        children = Path(f"/proc/{process.pid}/task").glob("*/children")  # of each thread
        theirs = [int(pid) for path in children for pid in path.read_text().split()]
    assert theirs and list(directory.glob(".*.half")) and not (directory / "manifest.jsonl").exists()
    written(directory)
    assert contents(directory) == contents(whole)
    assert all(ended(pid) for pid in theirs)


def test_an_interrupt_ends_it_and_the_next_run_goes_on(whole: Path, tmp_path: Path) -> None:
    directory = tmp_path / "interrupted"
    with started(directory) as process:
        while not (directory / "00000").is_dir():
            assert process.poll() is None
            time.sleep(0.002)
        process.send_signal(signal.SIGINT)
        assert process.wait(60) not in (0, None)
    written(directory)
    assert contents(directory) == contents(whole)


def ended(pid: int, within_s: float = 60.0) -> bool:
    until = time.monotonic() + within_s
    while time.monotonic() < until:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, 0)
            if Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z":
                time.sleep(0.05)
                continue
        return True
    return False


# ---- what the user can mend


def test_a_directory_of_another_seed_or_of_somebody_else_is_refused(whole: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"holds speech of seed 5, not 6: choose another directory"):
        written(whole, HOURS, 6)
    (tmp_path / "thesis.doc").write_text("mine")
    with pytest.raises(UsageError, match="is not empty and holds no speech of this job"):
        written(tmp_path)
    assert (tmp_path / "thesis.doc").read_text() == "mine"


@pytest.mark.parametrize(("num_hours", "seed"), [(0.0, 1), (-1.0, 1), (float("nan"), 1), (float("inf"), 1), (1.0, -1)])
def test_hours_and_seeds_that_mean_nothing_are_refused(tmp_path: Path, num_hours: float, seed: int) -> None:
    with pytest.raises(UsageError, match="give hours above 0 and a seed of 0 or more"):
        written(tmp_path / "out", num_hours, seed)
    assert not (tmp_path / "out").exists()


def test_without_espeak_it_is_told_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "espeakng_loader.py").write_text("raise ModuleNotFoundError('no such package')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "argv", ["speech", str(tmp_path / "out"), "--hours", "0.01"])
    assert speech.main() == 2
    assert "pip install espeakng-loader" in capsys.readouterr().err
