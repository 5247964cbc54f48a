"""Decoders by one face, and how fast they are side by side: in CPU seconds of one core, block after block in turn.

Knows nothing of how what is measured is shown, nor of how it was simulated.
"""

import importlib.util
import logging
import os
import re
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy.typing as npt

from jobs.bench_material import Sample, sample, say, seconds
from pipeline.decode.hypotheses import Decoded, WordModel
from pipeline.decode.options import AS_PYCTCDECODE, SearchOptions
from pipeline.demo.emissions import FRAME_S, LABELS, VOCABULARY
from pipeline.errors import RecordingError
from pipeline.records import ErrorCounts, FloatArray

BLOCK = 20  # utterances that one decoder decodes before it is another's turn
SOAK_BLOCK = 100
RIVAL, COMPAT = "pyctcdecode", "native, compat"
NOT_WORDS = {"<unk>", "<s>", "</s>"}


class Said(NamedTuple):
    text: str
    scores: tuple[float, float] | None  # of the emissions, and with the language model


Emissions = npt.NDArray[Any]  # (T, V)
Decode = Callable[[Sequence[FloatArray]], list[Said]]


@dataclass(frozen=True)
class Spread:
    """A figure of several paired measurements."""

    median: float
    least: float
    most: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        return cls(statistics.median(values), min(values), max(values))


@dataclass(frozen=True)
class Speed:
    """One decoder on one difficulty."""

    decoder: str
    audio_s_per_cpu_s: float
    wer: float
    times_rival: Spread | None  # speed over pyctcdecode's, over blocks
    same_texts: float | None  # share that equals pyctcdecode's
    same_scores: float | None  # both scores, to the bit; in compat mode, which alone claims it


@dataclass(frozen=True)
class Threads:
    one_audio_s_per_s: float  # by the clock on the wall
    two_audio_s_per_s: float
    ratio: Spread


@dataclass(frozen=True)
class Soak:
    """Memory over many utterances, at the start and after each tenth."""

    num_utterances: int
    audio_s: float
    cpu_s: float  # of decoding alone
    resident_bytes: list[int]

    @property
    def growth_bytes(self) -> int:
        """After the first tenth, in which buffers find their size."""
        return self.resident_bytes[-1] - self.resident_bytes[1]


class Searches:
    """The decoders with one language model, loaded once."""

    def __init__(self, lm: str) -> None:
        from pipeline.decode.alphabet import Alphabet
        from pipeline.decode.beam import BeamSearch
        from pipeline.lm.model import LanguageModel

        model = LanguageModel.open(lm)
        self.file = model.path
        self.unigrams = [word for word in model.words() if word not in NOT_WORDS]
        self.default = BeamSearch(Alphabet.of(VOCABULARY), [WordModel(model)])
        self.compat = BeamSearch(Alphabet.build(LABELS), [WordModel(model, self.unigrams)], compat=True)


def missing() -> list[str]:
    """The packages that a comparison with pyctcdecode needs and that are not installed."""
    return [name for name in ("pyctcdecode", "pygtrie", "kenlm") if importlib.util.find_spec(name) is None]


def decoders(searches: Searches) -> dict[str, Decode]:
    """By the names that the table shows; pyctcdecode where it is installed."""
    named: dict[str, Decode] = {
        "greedy": _greedy,
        COMPAT: lambda block: _compat(searches.compat, block),
        "native": lambda block: native(searches.default, block, AS_PYCTCDECODE),
        "native, as wide as by default": lambda block: native(searches.default, block, SearchOptions()),
    }
    return named if missing() else {RIVAL: _rival(searches.file, searches.unigrams), **named}


def native(search: Any, block: Sequence[Emissions], options: SearchOptions, threads: int = 1) -> list[Said]:
    return [said_by(decoded) for decoded in search.decode(block, options, threads=threads)]


def prepare(sample: Sample, named: dict[str, Decode]) -> None:
    """A first block by each, not measured: it loads what it needs, and its buffers grow."""
    for decode in named.values():
        decode(sample.emissions[:BLOCK])


@contextmanager
def compiled_meanwhile() -> Iterator[list[str]]:
    """The functions that numba compiled inside the block, which should have been compiled before; filled at its end."""
    from numba.core import event

    names: list[str] = []
    with event.install_recorder("numba:compile") as recorder:
        yield names
    found = (happened.data["dispatcher"].py_func.__name__ for _, happened in recorder.buffer if happened.is_start)
    names += dict.fromkeys(found)


def in_turn(sample: Sample, named: dict[str, Decode]) -> tuple[dict[str, list[Said]], dict[str, list[float]]]:
    """Each block of utterances by every decoder in turn, so that a busy machine slows all of them alike.

    What each said, and the CPU seconds of each of its blocks.
    """
    blocks = [slice(first, first + BLOCK) for first in range(0, len(sample.texts), BLOCK)]
    said: dict[str, list[Said]] = {name: [] for name in named}
    cpu_s: dict[str, list[float]] = {name: [] for name in named}
    for number, block in enumerate(blocks):
        turn = list(named)[number % len(named) :] + list(named)[: number % len(named)]
        for name in turn:
            began = time.process_time()
            said[name] += named[name](sample.emissions[block])
            cpu_s[name].append(time.process_time() - began)
    return said, cpu_s


def side_by_side(sample: Sample, named: dict[str, Decode]) -> list[Speed]:
    said, cpu_s = in_turn(sample, named)
    theirs, their_cpu_s = said.get(RIVAL), cpu_s.get(RIVAL)
    return [
        Speed(
            name,
            sample.audio_s / sum(cpu_s[name]),
            error_rate(sample.texts, said[name]),
            ratios(their_cpu_s, cpu_s[name]) if their_cpu_s and name != RIVAL else None,
            _share(said[name], theirs, lambda one: one.text) if theirs and name != RIVAL else None,
            _share(said[name], theirs, lambda one: one.scores) if theirs and name == COMPAT else None,
        )
        for name in named
    ]


def error_rate(texts: Sequence[str], said: Sequence[Said]) -> float:
    return sum(word_errors(texts, said), ErrorCounts()).rate or 0.0


def word_errors(texts: Sequence[str], said: Sequence[Said]) -> list[ErrorCounts]:
    from pipeline.score import count_words

    return [count_words(text, one.text) for text, one in zip(texts, said, strict=True)]


def two_threads(search: Any, emissions: Sequence[FloatArray], repeats: int = 5) -> Threads | None:
    """One thread and two in turn; None where there is one CPU."""
    if len(os.sched_getaffinity(0)) < 2:
        return None
    wall_s: dict[int, list[float]] = {1: [], 2: []}
    for repeat in range(repeats):
        for threads in (1, 2) if repeat % 2 else (2, 1):
            began = time.perf_counter()
            native(search, emissions, AS_PYCTCDECODE, threads)
            wall_s[threads].append(time.perf_counter() - began)
    audio_s = seconds(list(emissions))
    return Threads(
        audio_s / statistics.median(wall_s[1]),
        audio_s / statistics.median(wall_s[2]),
        ratios(wall_s[1], wall_s[2]),
    )


def soak(search: Any, difficulties: Sequence[str], texts: Sequence[str], num_utterances: int) -> Soak:
    """Ever new emissions of one text after the other, the difficulties in turn; memory after each tenth."""
    resident, audio_s, cpu_s = [resident_bytes()], 0.0, 0.0
    for first, last in _blocks(num_utterances):
        lines = [texts[number % len(texts)] for number in range(first, last)]
        difficulty = difficulties[first // SOAK_BLOCK % len(difficulties)]
        block = sample(difficulty, lines, seed=10_000_000 + first).emissions
        began = time.process_time()
        native(search, block, AS_PYCTCDECODE)
        cpu_s += time.process_time() - began
        audio_s += seconds(block)
        if last * 10 // num_utterances > first * 10 // num_utterances:
            resident += [resident_bytes()] * (last * 10 // num_utterances - first * 10 // num_utterances)
            say(f"soak: {last:,} of {num_utterances:,} utterances, {resident[-1] / 2**20:,.1f} MiB")
    return Soak(num_utterances, audio_s, cpu_s, resident)


def resident_bytes() -> int:
    """Memory of this process that is its own: the mapped language model comes and goes as the system likes (Linux)."""
    match = re.search(r"RssAnon:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return int(match[1]) * 1024 if match else 0


def _blocks(num_utterances: int) -> Iterator[tuple[int, int]]:
    for first in range(0, num_utterances, SOAK_BLOCK):
        yield first, min(first + SOAK_BLOCK, num_utterances)


def _greedy(block: Sequence[FloatArray]) -> list[Said]:
    from pipeline.decode.greedy import greedy

    return [Said(greedy(emissions, VOCABULARY, FRAME_S).text, None) for emissions in block]


def _compat(search: Any, block: Sequence[FloatArray]) -> list[Said]:
    """As the drop-in decoder does it: like pyctcdecode, it does not take for granted what it is given."""
    from pipeline.decode.probabilities import log_probabilities

    logps = [log_probabilities(emissions, compat=True) for emissions in block]
    return native(search, logps, AS_PYCTCDECODE)


def _rival(file: Path, unigrams: Sequence[str]) -> Decode:
    """pyctcdecode as its `decode` works, which keeps the best of equal histories, and with its scores."""
    logging.getLogger("pyctcdecode").setLevel(logging.ERROR)  # it finds <unk> and <s> odd
    from pyctcdecode.decoder import build_ctcdecoder

    decoder: Any = build_ctcdecoder(list(LABELS), str(file), unigrams)

    def decode(block: Sequence[FloatArray]) -> list[Said]:
        best = [decoder.decode_beams(emissions, prune_history=True)[0] for emissions in block]
        return [Said(text, (float(logit), float(score))) for text, _, _, logit, score in best]

    return decode


def said_by(decoded: Decoded | RecordingError) -> Said:
    if isinstance(decoded, RecordingError):
        raise decoded
    best = decoded.beams[0]
    return Said(best.text, (best.logit_score, best.score))


def ratios(theirs: Sequence[float], ours: Sequence[float]) -> Spread:
    return Spread.of([one / other for one, other in zip(theirs, ours, strict=True)])


def _share(ours: Sequence[Said], theirs: Sequence[Said], of: Callable[[Said], object]) -> float:
    return sum(of(one) == of(other) for one, other in zip(ours, theirs, strict=True)) / len(ours)
