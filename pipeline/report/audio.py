"""The sound of single recordings for a page: read again as the run has read it, and made small.

Knows nothing of pages. Sound that cannot be had is no fault of an evaluation: what is missing is told, and why.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

import numpy as np

from pipeline import run as runs
from pipeline.config import ReadConfig
from pipeline.errors import StageError, UsageError
from pipeline.read.reader import Reader
from pipeline.records import SAMPLE_RATE, AudioArray, Recording
from pipeline.run import Run
from pipeline.unit import Unit

MOST_S = 30.0  # of a recording
MARGIN_S = 0.5  # read beyond, to see whether there is more
DEADLINE_S = 20.0  # for a store that does not answer, and for a decoder
COMPRESSION = 0.85  # 32 kbit/s, of which speech at 16 kHz loses little; by libsndfile's scale
MIME = "audio/mpeg"  # which every browser plays


@dataclass(frozen=True)
class Sound:
    mime: str = MIME
    data: bytes = b""
    seconds: float = 0.0  # of what is there
    is_cut: bool = False  # the recording goes on
    why_not: str | None = None  # there is none


def sounds(run: Run, ids: Sequence[str]) -> dict[str, Sound]:
    """Of each id its sound, or why there is none."""
    found = dict.fromkeys(ids, Sound(why_not="not in the run's manifest"))
    if not ids:
        return found
    read = Reader(_config(run), lambda unit: unit)
    wanted = sorted(_listed(run, set(ids)), key=lambda recording: recording.uri)
    for _, group in groupby(wanted, lambda recording: recording.uri):  # a shard is opened once
        for recording, sound in _read(read, list(group)):
            found[recording.id] = sound
    return found


def _listed(run: Run, ids: set[str]) -> Iterator[Recording]:
    """As the manifest has them: all of its ids are looked at, and units only where they are in."""
    for number in run.manifest.holding(ids):
        yield from (recording for recording in run.manifest.unit(number).recordings if recording.id in ids)


def _read(read: Reader, recordings: list[Recording]) -> Iterable[tuple[Recording, Sound]]:
    for recording in recordings:
        length_s = recording.cut.length_s
        if length_s is None or length_s > MOST_S + MARGIN_S:
            recording.cut = recording.cut._replace(length_s=MOST_S + MARGIN_S)
    try:
        read(Unit(0, recordings))
    except (UsageError, StageError) as error:  # a file that has changed, a store that is away
        return [(recording, Sound(why_not=str(error.args[0]))) for recording in recordings]
    return [(recording, _sound(recording)) for recording in recordings]


def _sound(recording: Recording) -> Sound:
    if recording.audio is None:
        assert recording.error is not None
        return Sound(why_not=recording.error.partition(": ")[2])  # without the stage
    num = round(MOST_S * SAMPLE_RATE)
    audio = recording.audio[:num]
    return Sound(data=_mp3(audio), seconds=len(audio) / SAMPLE_RATE, is_cut=len(recording.audio) > num)


def _mp3(audio: AudioArray) -> bytes:
    import io

    import soundfile

    file = io.BytesIO()
    samples = audio if audio.dtype == np.int16 else audio.clip(-1, 1)
    soundfile.write(
        file,
        samples,
        SAMPLE_RATE,
        "MPEG_LAYER_III",
        format="MP3",
        compression_level=COMPRESSION,
        bitrate_mode="AVERAGE",
    )
    return file.getvalue()


def _config(run: Run) -> ReadConfig:
    """As the run has read, but not as patient."""
    config = runs.reading_of(run)
    return replace(
        config,
        storage_deadline_s=min(config.storage_deadline_s, DEADLINE_S),
        decode_timeout_s=min(config.decode_timeout_s, DEADLINE_S),
    )
