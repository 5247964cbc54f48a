"""A training corpus of clean synthetic speech: training sentences, said by training voices, in FLAC with a manifest.

Knows nothing of noise, rooms or models. Of a seed recording n is always the same, however many there are.
"""

import argparse
import contextlib
import itertools
import json
import math
import shutil
import sys
from collections import deque
from collections.abc import Callable, Generator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.demo.grammar import is_held_out, sentences
from pipeline.demo.voices import SAMPLE_RATE as SPOKEN_RATE
from pipeline.demo.voices import Synthesiser, Voice, own_voice, voices
from pipeline.disk import publish
from pipeline.errors import UsageError
from pipeline.progress import Progress, hours
from pipeline.records import SAMPLE_RATE, FloatArray

RECORDINGS_PER_FOLDER = 50  # written whole or not at all: what an interrupted run does again, some 5 minutes of speech
MIN_S, MAX_S = 1.5, 12.0
AIM_S = (2.0, 7.0)  # sentences are added until there are so many seconds, each drawn between these
MAX_SENTENCES = 3
MAX_SILENCE_S = 0.4  # at either end
RATE_SHARES = ((0.7, 150, 190), (0.15, 120, 150), (0.15, 190, 230))  # words per minute
OWN_VOICES = 0.75  # share of recordings for training in a voice of its own, drawn at random
PITCHES = (20, 80)
PEAK = 0.5  # of full scale; voices differ by 25 dB
MANIFEST, LINES, RECIPE = "manifest.jsonl", ".lines.jsonl", ".speech.json"
NUM_WORKERS = 2
LOG_EVERY_S = 10.0


@dataclass(frozen=True)
class Utterance:
    """What was drawn for one recording, before it is known how long it takes to say."""

    sentences: tuple[str, ...]
    voice: Voice
    rate: int  # words per minute
    pitch: int
    silences_s: tuple[float, float]


def write_speech(directory: Path, num_hours: float, seed: int, progress: Progress) -> Path:
    """At least so many hours, in whole folders of 50 recordings; gives the manifest.

    An interrupted run goes on where it was, and so does one that is asked for more; folders beyond what is asked for
    are removed.
    """
    if not 0 < num_hours < math.inf or seed < 0:
        raise UsageError(f"{num_hours:g} hours of seed {seed}: give hours above 0 and a seed of 0 or more")
    _settle(directory, seed)
    lines, audio_s, num_folders = list[str](), 0.0, 0
    progress.phase(f"speech: {hours(num_hours * 3600)} into {directory}")
    with contextlib.closing(_in_order(lambda number: _folder(directory, seed, number))) as folders:
        while audio_s < num_hours * 3600:
            found = next(folders)
            num_folders += 1
            lines += found
            audio_s += sum(json.loads(line)["duration"] for line in found)
            progress.step(f"speech: {hours(audio_s)} of {hours(num_hours * 3600)}, {len(lines):,} recordings")
    for path in directory.glob("[0-9]*"):
        if int(path.name) >= num_folders:
            shutil.rmtree(path)
    publish(str(directory / MANIFEST), "".join(lines).encode())
    progress.note(f"speech: {hours(audio_s)} in {len(lines):,} recordings: {directory / MANIFEST}")
    return directory / MANIFEST


def utterance(
    rng: np.random.Generator,
    held_out: bool = False,
    aim_s: tuple[float, float] = AIM_S,
    max_sentences: int = MAX_SENTENCES,
) -> Utterance:
    """Sentences and a voice that are not held out, or that both are; every variant and accent as often."""
    candidates = [voice for voice in voices() if voice.held_out == held_out]
    voice = candidates[rng.integers(len(candidates))]
    low, high = RATE_SHARES[rng.choice(len(RATE_SHARES), p=[share for share, _, _ in RATE_SHARES])][1:]
    rate, pitch = int(rng.integers(low, high + 1)), int(rng.integers(PITCHES[0], PITCHES[1] + 1))
    wanted_s, chosen, words = rng.uniform(*aim_s), list[str](), 0
    found = (sentence for sentence in sentences(int(rng.integers(2**62))) if is_held_out(sentence) == held_out)
    while not chosen or (len(chosen) < max_sentences and words * 60 / rate < wanted_s):
        chosen.append(next(found))
        words += len(chosen[-1].split())
    silences_s = rng.uniform(0, MAX_SILENCE_S), rng.uniform(0, MAX_SILENCE_S)
    if not held_out and rng.random() < OWN_VOICES:
        voice = own_voice(rng)
    return Utterance(tuple(chosen), voice, rate, pitch, silences_s)


def recording(seed: int, number: int, synthesiser: Synthesiser) -> tuple[FloatArray, Utterance]:
    """At 16 kHz, and what is said. What would be too short or too long is drawn again."""
    rng = np.random.default_rng((seed, number))
    while True:
        drawn = utterance(rng)
        sound = said(drawn, synthesiser)
        if MIN_S <= len(sound) / SAMPLE_RATE <= MAX_S:
            return sound, drawn


def said(drawn: Utterance, synthesiser: Synthesiser) -> FloatArray:
    """At 16 kHz, as if spoken in an empty field."""
    import soxr

    text = " ".join(f"{sentence}." for sentence in drawn.sentences)
    spoken: FloatArray = soxr.resample(
        synthesiser.speak(text, drawn.voice, drawn.rate, drawn.pitch), SPOKEN_RATE, SAMPLE_RATE, quality="HQ"
    )
    if not (peak := float(np.abs(spoken).max(initial=0.0))):
        raise ValueError(f"{drawn.voice.name} is silent at {text!r}")
    before, after = (round(silence_s * SAMPLE_RATE) for silence_s in drawn.silences_s)
    return np.pad(spoken * np.float32(PEAK / peak), (before, after))


def _settle(directory: Path, seed: int) -> None:
    """Whose directory it is; of two seeds in one, nobody could say what is in the manifest."""
    recipe = {"seed": seed}
    path = directory / RECIPE
    if path.exists():
        if (found := json.loads(path.read_text())) != recipe:
            raise UsageError(f"{directory} holds speech of seed {found['seed']}, not {seed}: choose another directory")
    elif directory.exists() and any(directory.iterdir()):
        raise UsageError(f"{directory} is not empty and holds no speech of this job: choose another directory")
    else:
        publish(str(path), json.dumps(recipe).encode())
    for half in directory.glob(".*.half"):
        shutil.rmtree(half)


def _in_order(folder: Callable[[int], list[str]]) -> Generator[list[str], None, None]:
    """What is asked for by number, endlessly; the workers are a few folders ahead."""
    with ThreadPoolExecutor(NUM_WORKERS) as pool:
        numbers, ahead = itertools.count(), deque[Future[list[str]]]()
        try:
            while True:
                while len(ahead) <= NUM_WORKERS:
                    ahead.append(pool.submit(folder, next(numbers)))
                yield ahead.popleft().result()
        finally:
            for future in ahead:
                future.cancel()


def _folder(directory: Path, seed: int, number: int) -> list[str]:
    """Lines of the manifest; a folder that is there is whole."""
    import soundfile

    folder = directory / f"{number:05d}"
    if folder.is_dir():
        return (folder / LINES).read_text().splitlines(keepends=True)
    half = directory / f".{folder.name}.half"
    half.mkdir()
    lines = list[str]()
    with Synthesiser() as synthesiser:
        for index in range(RECORDINGS_PER_FOLDER):
            sound, drawn = recording(seed, number * RECORDINGS_PER_FOLDER + index, synthesiser)
            name = f"{index:02d}.flac"
            soundfile.write(half / name, sound, SAMPLE_RATE, subtype="PCM_16")
            line = {
                "audio_filepath": f"{folder.name}/{name}",
                "duration": len(sound) / SAMPLE_RATE,
                "text": " ".join(drawn.sentences),
                "speaker": drawn.voice.name,
                "rate": drawn.rate,
            }
            lines.append(json.dumps(line) + "\n")
    (half / LINES).write_text("".join(lines))
    half.rename(folder)
    return lines


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m pipeline.demo.speech", description=__doc__)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--hours", type=float, default=30.0, help="of speech, at least; default 30")
    parser.add_argument("--seed", type=int, default=1, help="default 1")
    options = parser.parse_args()
    try:
        with Progress(LOG_EVERY_S) as progress:
            write_speech(options.directory, options.hours, options.seed, progress)
    except UsageError as error:
        print(f"speech: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
