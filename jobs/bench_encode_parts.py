"""Two parts of encoding by themselves: what windows change in a long recording, and mel features.

Knows nothing of how what is measured is shown.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from jobs.bench_encode_contestants import Setting, the_rival
from jobs.bench_encode_material import Sound, sounds
from jobs.bench_encode_rounds import ALONE, OURS, RIVAL, Clock, Contestant, race
from jobs.bench_measure import Spread
from pipeline.config import EncodeConfig
from pipeline.models.auto import AutoModelForCTC
from pipeline.models.ctc import ForCTC
from pipeline.models.precision import prepare
from pipeline.models.segments import Packed
from pipeline.models.windows import Windows, seam_error
from pipeline.records import SAMPLE_RATE
from pipeline.text.features import FeatureExtractor

LONG_S = 120.0  # what the encode stage still computes in one piece
WINDOWS_S = ((30.0, 2.0), (30.0, 5.0), (60.0, 2.0), (60.0, 5.0), (60.0, 10.0))  # size and overlap


@dataclass(frozen=True)
class Seam:
    """What one way to cut a recording into windows changes in it."""

    audio_s: float
    window_s: float
    overlap_s: float
    rms: float  # by the standard deviation of the logits
    largest: float  # likewise
    changed_frames: float
    by_default: bool  # as the encode stage has it


@dataclass(frozen=True)
class Mel:
    """Our mel features beside the rival's."""

    audio_s_per_s: float
    rival_audio_s_per_s: float | None
    times_rival: Spread | None  # speed over the rival's, over rounds
    largest_error: float | None  # of features whose standard deviation is 1


def seams(setting: Setting, audio_s: float) -> Iterator[Seam]:
    """In fp32, on one recording that can also be computed whole."""
    model: ForCTC = AutoModelForCTC.from_pretrained(setting.model).to(setting.device)
    features = FeatureExtractor.from_pretrained(setting.model)
    framing = features.framing(model)
    prepare(model, "fp32")
    inputs = features(_uploaded(sounds([audio_s])[0], setting.device))
    rows_per_s = SAMPLE_RATE / framing.samples_per_frame
    usual = (EncodeConfig.window_s, EncodeConfig.overlap_s)
    for window_s, overlap_s in dict.fromkeys((*WINDOWS_S, usual)):
        # On shorter recordings than LONG_S, windows shrink with them.
        size, overlap = (part * min(1.0, audio_s / LONG_S) for part in (window_s, overlap_s))
        windows = Windows(round(size * rows_per_s), round(overlap * rows_per_s))
        found = seam_error(model, inputs, windows)
        yield Seam(audio_s, size, overlap, found.rms, found.worst, found.changed, (window_s, overlap_s) == usual)


def mel(setting: Setting, audio: Sequence[Sound], rounds: int, clock: Clock, rival: bool) -> Mel:
    """One recording after the other, on either side; the rival's extractor is for CPUs."""
    features = FeatureExtractor.from_pretrained(setting.model)

    def own(some: Sequence[Sound]) -> list[Tensor]:
        return [features(_uploaded(one, setting.device)).data for one in some]  # (T, 160) each

    contestants = [Contestant(OURS, "fp32", ALONE, own)]
    if rival:
        contestants.append(Contestant(RIVAL, "fp32", ALONE, _rival(setting.model)))
    measured = race(contestants, audio, rounds, clock)
    audio_s = sum(one.seconds for one in audio)
    speeds = [audio_s / Spread.of(seconds).median for seconds in measured.seconds]
    if not rival:
        return Mel(speeds[0], None, None, None)
    pairs = zip(*measured.logits, strict=True)  # the rival's may have a row more, of half a frame
    worst = max(float((one - another[: len(one)]).abs().max()) for one, another in pairs)
    return Mel(speeds[0], speeds[1], measured.times(1, 0), worst)


def _uploaded(sound: Sound, device: str) -> Packed:
    return Packed.of([torch.from_numpy(sound.pcm).to(device)])


def _rival(directory: Path) -> Callable[[Sequence[Sound]], list[Tensor]]:
    extract = the_rival().AutoFeatureExtractor.from_pretrained(directory)

    def features(some: Sequence[Sound]) -> list[Tensor]:
        found = (extract(one.samples, sampling_rate=SAMPLE_RATE, return_tensors="pt") for one in some)
        return [one["input_features"][0] for one in found]  # (T, 160) each

    return features
