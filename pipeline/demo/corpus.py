"""The held-out corpus: voices and sentences that no training has met, in every container, some of it broken.

`python -m pipeline.demo.corpus DIRECTORY` makes the bundled one anew: of a seed the tables are always the same, and so
is all audio but for the serial numbers in Ogg. Knows nothing of models.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from pipeline.demo.containers import (
    BELOW,
    FLAC,
    MP3,
    OPUS,
    VORBIS,
    WAV,
    Container,
    Row,
    encoded,
    write_manifest,
    write_parquet,
    write_table,
    write_webdataset,
)
from pipeline.demo.speech import Utterance, said, utterance
from pipeline.demo.voices import Synthesiser
from pipeline.errors import UsageError
from pipeline.records import SAMPLE_RATE, FloatArray
from pipeline.training.acoustics import Conditions, Scene, draw, heard

SEED = 2026
NARROW_RATE = 8_000
RATES, SHARES = (16_000, 22_050, 44_100), (0.5, 0.25, 0.25)  # of what a line has not made narrow: that is at 8 kHz
STEREO = 0.25
OTHER_GAIN = (0.5, 1.0)  # of the second channel, where it is not the first again


@dataclass(frozen=True)
class Length:
    """Of a recording: what is aimed at, and between what it must be; what is not is drawn again."""

    aim_s: tuple[float, float]
    max_sentences: int
    between_s: tuple[float, float]
    pauses_s: tuple[float, float] | None = None  # after each sentence; None: what espeak-ng makes of a full stop


SHORT = Length((2.0, 10.0), 4, (2.0, 15.0))
BRIEF = Length((2.0, 4.0), 1, (2.0, 5.0))  # for containers that lose nothing and cost the more
LONG = Length((150.0, 170.0), 1000, (180.0, 240.0), (0.3, 2.0))


@dataclass(frozen=True)
class Lot:
    """Recordings of one folder: how many, how long, and in what, one container after the other."""

    folder: str
    num: int
    length: Length
    containers: tuple[Container, ...]


LOTS = (
    Lot("parquet", 50, SHORT, (OPUS, MP3, OPUS, VORBIS)),
    Lot("webdataset", 44, SHORT, (OPUS, VORBIS, OPUS, MP3)),
    Lot("flac", 20, BRIEF, (FLAC,)),
    Lot("manifest", 32, SHORT, (OPUS, MP3, VORBIS)),
    Lot("manifest", 4, BRIEF, (WAV,)),
    Lot("manifest", 2, LONG, (MP3, OPUS)),
    Lot("manifest", 4, BRIEF, (WAV, MP3, FLAC, OPUS)),  # these are spoiled
)
WRITERS = {"parquet": write_parquet, "webdataset": write_webdataset, "flac": write_table, "manifest": write_manifest}


@dataclass(frozen=True)
class Spoken:
    """One recording before it is heard."""

    sound: FloatArray  # at 16 kHz
    drawn: Utterance
    scene: Scene


def write_corpus(directory: Path, seed: int) -> dict[str, list[Row]]:
    """The rows of each folder."""
    if directory.exists() and any(directory.iterdir()):
        raise UsageError(f"{directory} is not empty: choose another directory, or remove it")
    asked = [(lot, lot.containers[index % len(lot.containers)]) for lot in LOTS for index in range(lot.num)]
    with Synthesiser() as synthesiser:
        all_spoken = [spoken(seed, number, lot.length, synthesiser) for number, (lot, _) in enumerate(asked)]
    rows: dict[str, list[Row]] = {folder: [] for folder in WRITERS}
    files: dict[str, list[bytes]] = {folder: [] for folder in WRITERS}
    for number, (lot, container) in enumerate(asked):
        row, file = _recording(seed, number, container, all_spoken)
        rows[lot.folder].append(row)
        files[lot.folder].append(file)
    for folder, write in WRITERS.items():
        (directory / folder).mkdir(parents=True)
        write(directory / folder, rows[folder], files[folder])
    spoil(*(directory / "manifest" / BELOW / row["path"] for row in rows["manifest"][-LOTS[-1].num :]))
    return rows


def spoil(text: Path, empty: Path, half: Path, missing: Path) -> None:
    """What happens to files in a corpus that many hands have touched; the rows stay."""
    text.write_text("this is a text that somebody gave the name of a recording\n")
    empty.write_bytes(b"")
    half.write_bytes(half.read_bytes()[: half.stat().st_size // 2])
    missing.unlink()


def spoken(seed: int, number: int, length: Length, synthesiser: Synthesiser) -> Spoken:
    """By a voice and of sentences that are held out; how long it lasts depends on the speed of its scene."""
    rng = np.random.default_rng((seed, number))
    while True:
        drawn = utterance(rng, held_out=True, aim_s=length.aim_s, max_sentences=length.max_sentences)
        scene = draw(Conditions(), rng)
        if length.pauses_s is None:
            sound = said(drawn, synthesiser)
        else:
            pauses = [(0.0, rng.uniform(*length.pauses_s)) for _ in drawn.sentences]
            each = zip(drawn.sentences, pauses, strict=True)
            sound = np.concatenate(
                [said(replace(drawn, sentences=(one,), silences_s=pause), synthesiser) for one, pause in each]
            )
        if length.between_s[0] <= len(sound) / SAMPLE_RATE / scene.speed <= length.between_s[1]:
            return Spoken(sound, drawn, scene)


def _recording(seed: int, number: int, container: Container, all_spoken: Sequence[Spoken]) -> tuple[Row, bytes]:
    """As it was heard and kept; the others are who babbles."""
    rng = np.random.default_rng((seed, number, 1))  # not those of what is said
    one, others = all_spoken[number], [other.sound for other in all_spoken if other is not all_spoken[number]]
    sample_rate = NARROW_RATE if one.scene.band else int(rng.choice(RATES, p=SHARES))
    if sample_rate not in container.rates:
        sample_rate = SAMPLE_RATE
    gains = [1.0] if rng.random() >= STEREO else [1.0, 1.0 if rng.random() < 0.5 else rng.uniform(*OTHER_GAIN)]
    file, duration_s = encoded(heard(one.sound, one.scene, rng, others), container, sample_rate, gains)
    drawn, scene = one.drawn, asdict(one.scene)
    row = {
        "id": f"{number:03d}",
        "path": f"{number:03d}.{container.extension}",
        "duration": duration_s,
        "text": " ".join(drawn.sentences),
        "speaker": drawn.voice.variant,
        "accent": drawn.voice.accent,
        "rate": drawn.rate,
        "pitch": drawn.pitch,
        **{name: scene[name] for name in ("noise", "snr_db", "rt60_s", "tilt_db", "level_db", "clip_db", "speed")},
        "direct_db": one.scene.direct_db if one.scene.rt60_s else None,
        "band": "telephone" if one.scene.telephone else "narrow" if one.scene.narrow_band else "wide",
        "sample_rate": sample_rate,
        "channels": len(gains),
        "container": container.extension,
    }
    return row, file


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m pipeline.demo.corpus", description=__doc__)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--seed", type=int, default=SEED, help="default %(default)s")
    options = parser.parse_args()
    try:
        rows = write_corpus(options.directory, options.seed)
    except UsageError as error:
        print(f"corpus: {error}", file=sys.stderr)
        return 2
    for folder, some in rows.items():
        minutes, words = sum(row["duration"] for row in some) / 60, sum(len(row["text"].split()) for row in some)
        size = sum(path.stat().st_size for path in (options.directory / folder).rglob("*"))
        print(
            f"{options.directory / folder}: {len(some)} recordings, {minutes:.1f} min, {words:,} words, {size:,} bytes"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
