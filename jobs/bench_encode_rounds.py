"""How fast several ways to encode are side by side, and how far each is from every recording alone in fp32.

Knows no model: whoever takes part is a function from recordings to logits.
"""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from jobs.bench_encode_material import Sound
from jobs.bench_measure import Spread, compiled_meanwhile
from pipeline.decode.greedy import greedy
from pipeline.records import ErrorCounts
from pipeline.score import count_characters
from pipeline.text.vocabulary import Vocabulary

OURS, RIVAL = "nightshift", "transformers"
ALONE, SORTED, DOCUMENTED = "one by one", "sorted batches", "documented batches"
TOO_SLOW = 1.15  # times the fastest setting of its precision in the first round: it is not measured again
WARM_UP = 2  # recordings

Encode = Callable[[Sequence[Sound]], list[Tensor]]  # (T, V) each, in the order of the recordings; or longer


@dataclass(frozen=True)
class Contestant:
    who: str
    precision: str
    setting: str
    encode: Encode

    @property
    def name(self) -> str:
        return f"{self.who} {self.precision}, {self.setting}"

    @property
    def chosen(self) -> bool:
        """Whether it is of the rival's settings, of which the best counts."""
        return self.who == RIVAL and self.setting != DOCUMENTED


@dataclass(frozen=True)
class Errors:
    """Of all recordings' logits, against each alone in fp32."""

    largest: float  # by the standard deviation of the logits
    rms: float  # likewise
    changed_frames: float  # share whose best label is another
    changed_texts: float | None  # share of the greedy texts; None without a vocabulary
    changed_chars: float | None  # of their characters: inserted, deleted or replaced


@dataclass(frozen=True)
class Result:
    """Of one contestant."""

    who: str
    precision: str
    setting: str
    best: bool  # the fastest of the rival's settings in its precision
    seconds: list[float]  # of each round: of CPU time, or of wall time on a GPU
    audio_s_per_s: float
    times_fp32: Spread | None  # speed over the best fp32 setting's of the rival, over rounds
    times_same: Spread | None  # likewise, in its own precision
    times_documented: Spread | None  # over the rival's as its documentation shows it
    share_of_peak: float
    errors: Errors | None  # None: they are not all numbers


@dataclass(frozen=True)
class Work:
    """What every contestant does in a round."""

    audio_s: float
    num_flops: float  # that the unpadded recordings need
    peak: float  # of these a second, by a large matrix product in bf16


class Clock:
    """CPU seconds of this process, or wall seconds until the GPU has done all it was told."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self.on_gpu = device.type == "cuda"
        self.unit = "s" if self.on_gpu else "CPU s"

    def __call__(self) -> float:
        if self.on_gpu:
            torch.cuda.synchronize(self._device)
            return time.perf_counter()
        return time.process_time()


@dataclass
class Race:
    """All that was measured: seconds by contestant and round, and what came out in the first."""

    contestants: list[Contestant]
    seconds: list[list[float]]
    logits: list[list[Tensor]]  # on the CPU, in fp32
    compiled_late: list[str] = field(default_factory=list)  # in the rounds, which are too slow by that much

    def best(self, precision: str) -> int | None:
        """The fastest setting of the rival in a precision, of those that were in every round."""
        fit = [n for n, one in enumerate(self.contestants) if one.chosen and one.precision == precision]
        longest = max((len(self.seconds[n]) for n in fit), default=0)
        full = [n for n in fit if len(self.seconds[n]) == longest]
        return min(full, key=lambda n: statistics.median(self.seconds[n]), default=None)

    def documented(self) -> int | None:
        return next((n for n, one in enumerate(self.contestants) if one.setting == DOCUMENTED), None)

    def alone(self) -> int | None:
        """Which of them gives the reference."""
        found = (n for n, one in enumerate(self.contestants) if (one.setting, one.precision) == (ALONE, "fp32"))
        return next(found, None)

    def times(self, over: int | None, number: int) -> Spread | None:
        if over is None or over == number:
            return None
        both = zip(self.seconds[over], self.seconds[number], strict=False)  # the shorter sat the rest out
        return Spread.of([other / own for other, own in both])


def race(contestants: Sequence[Contestant], audio: Sequence[Sound], rounds: int, clock: "Clock") -> Race:
    """Every contestant encodes all recordings in every round, each round beginning with another."""
    result = Race(list(contestants), [[] for _ in contestants], [[] for _ in contestants])
    for one in contestants:
        # A GPU's kernels are chosen, and its memory is found, as they are first needed.
        one.encode(audio if clock.on_gpu else sorted(audio, key=lambda one: len(one.pcm))[:WARM_UP])
    with compiled_meanwhile() as result.compiled_late:
        for turn in range(rounds):
            first = turn * len(contestants) // rounds
            order = [*range(first, len(contestants)), *range(first)]
            for number in [n for n in order if not turn or not _sits_out(result, n)]:
                began = clock()
                logits = contestants[number].encode(audio)
                result.seconds[number].append(clock() - began)
                if turn == 0:
                    result.logits[number] = [one.float().cpu() for one in logits]
    return result


def _sits_out(result: Race, number: int) -> bool:
    one = result.contestants[number]
    if not one.chosen:
        return False
    first = [s[0] for s, other in zip(result.seconds, result.contestants, strict=True) if _rivals(one, other)]
    return result.seconds[number][0] > TOO_SLOW * min(first)


def _rivals(one: Contestant, other: Contestant) -> bool:
    return other.chosen and other.precision == one.precision


def results(race: Race, work: Work, judge: "Judge") -> list[Result]:
    """In the order of the contestants."""
    best = {one.precision: race.best(one.precision) for one in race.contestants}
    told = []
    for number, one in enumerate(race.contestants):
        seconds = race.seconds[number]
        typical = statistics.median(seconds)
        told.append(
            Result(
                one.who,
                one.precision,
                one.setting,
                number == best[one.precision],
                seconds,
                work.audio_s / typical,
                race.times(race.best("fp32"), number),
                race.times(best[one.precision], number),
                race.times(race.documented(), number),
                work.num_flops / typical / work.peak,
                judge(race.logits[number]),
            )
        )
    return told


class Judge:
    """Says how far logits are from the reference."""

    def __init__(self, reference: Sequence[Tensor], lengths: Sequence[int], vocabulary: Vocabulary | None) -> None:
        """`lengths` are the frames of each recording alone: what padding adds behind them is not looked at."""
        self._lengths, self._vocabulary = lengths, vocabulary
        self._reference = self._cut(reference)
        self._std = float(torch.cat(self._reference).std())
        self._texts = [self._text(one) for one in self._reference]

    def __call__(self, logits: Sequence[Tensor]) -> Errors | None:
        """None if they are not all numbers."""
        cut = self._cut(logits)
        found, expected = torch.cat(cut).double(), torch.cat(self._reference).double()  # (sum of T, V)
        if not bool(found.isfinite().all()):
            return None
        texts = list(zip(self._texts, (self._text(one) for one in cut), strict=True))
        return Errors(
            float((found - expected).abs().max()) / self._std,
            float((found - expected).square().mean().sqrt()) / self._std,
            float((found.argmax(dim=1) != expected.argmax(dim=1)).double().mean()),
            None if self._vocabulary is None else sum(text != other for text, other in texts) / len(texts),
            None if self._vocabulary is None else sum((count_characters(*pair) for pair in texts), ErrorCounts()).rate,
        )

    def _cut(self, logits: Sequence[Tensor]) -> list[Tensor]:
        cut = [one[:length] for one, length in zip(logits, self._lengths, strict=True)]
        if [len(one) for one in cut] != list(self._lengths):
            raise ValueError(f"{[len(one) for one in cut]} frames, not {list(self._lengths)}")
        return cut

    def _text(self, logits: Tensor) -> str:
        if self._vocabulary is None:
            return ""
        return greedy(logits.log_softmax(dim=1).numpy(), self._vocabulary, frame_s=1.0).text
