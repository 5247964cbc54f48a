"""Words from simulated phones by our search and by flashlight-text's lexicon decoder: what each finds, and how fast.

Both have one lexicon, one language model, one core and the same emissions. What is free to choose (weights, whether
flashlight sums, which width of ours stands beside which of its) is chosen on other utterances than those that are
measured. Knows nothing of how it is shown.
"""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from jobs.bench_material import Sample, say
from jobs.bench_measure import BLOCK, Decode, Said, Spread, error_rate, in_turn, ratios, word_errors
from jobs.bench_search import bootstrap, middle
from jobs.bench_words_sides import (
    MIDDLING,
    OUR_WIDTHS,
    OURS,
    RIVALS,
    THEIR_WIDTHS,
    Flashlight,
    Lexicon,
    our_decoder,
    told,
)
from pipeline.decode.greedy import greedy
from pipeline.decode.options import FOR_PHONES, LmWeights
from pipeline.demo.emissions import FRAME_S
from pipeline.demo.phones import LABELS, VOCABULARY

ALPHAS, BETAS = (0.5, 0.8, 1.1, 1.4, 1.7), (-1.5, 0.0, 1.5, 3.0)  # of the language model, tried for each side

Named = dict[str, Decode]  # by the decoder and its width


@dataclass(frozen=True)
class Row:
    """One decoder at one width."""

    decoder: str
    width: str
    audio_s_per_cpu_s: float
    wer: float
    interval: tuple[float, float]  # 95 %, over resampled utterances


@dataclass(frozen=True)
class Pair:
    """One of flashlight's widths, and what stands beside it: the fastest of ours with no more errors."""

    theirs: str
    ours: str | None  # None: every one of ours has more


@dataclass(frozen=True)
class Comparison:
    """A pair on utterances by which it was not chosen."""

    theirs: str
    ours: str
    times: Spread  # ours is as fast, over blocks
    difference: float  # of the word error rate, ours less theirs
    interval: tuple[float, float]  # of that, 95 %


@dataclass(frozen=True)
class Measured:
    """Both sides on one difficulty."""

    rows: list[Row]
    comparisons: list[Comparison]
    unmatched: list[str]  # widths of flashlight's beside which there is none of ours


def tuned(samples: Sequence[Sample], ours: Any, theirs: Flashlight | None) -> dict[str, LmWeights]:
    """By decoder, the weights with the fewest word errors on all samples, at a middling width; one grid for all."""
    weights = {OURS: _best(OURS, samples, lambda one: our_decoder(ours, FOR_PHONES, one))}
    if theirs is not None:
        for name, log_add in RIVALS.items():
            weights[name] = _best(name, samples, partial(theirs.decoder, MIDDLING, log_add))
    return weights


def decoders(weights: dict[str, LmWeights], ours: Any, theirs: Flashlight | None) -> Named:
    """Every width of both."""
    named = {f"{OURS} {told(width)}": our_decoder(ours, width, weights[OURS]) for width in OUR_WIDTHS}
    if theirs is not None:
        for width, (name, log_add) in itertools.product(THEIR_WIDTHS, RIVALS.items()):
            named[f"{name} {width}"] = theirs.decoder(width, log_add, weights[name])
    return named


def pairs(sample: Sample, named: Named) -> list[Pair]:
    """Chosen on a sample: of each width of flashlight's whichever has fewer errors, summing or not, and ours for it."""
    errors, cpu_s = _decoded("choosing widths", sample, named)
    num_errors = {name: int(of.sum()) for name, of in errors.items()}
    spent_s = {name: sum(of) for name, of in cpu_s.items()}
    found = []
    for width in THEIR_WIDTHS:
        if not (both := [f"{name} {width}" for name in RIVALS if f"{name} {width}" in named]):
            continue
        their = min(both, key=lambda name: (num_errors[name], spent_s[name]))
        able = [name for name in named if _is_ours(name) and num_errors[name] <= num_errors[their]]
        found.append(Pair(their, min(able, key=lambda name: spent_s[name], default=None)))
    return found


def measure(sample: Sample, named: Named, paired: Sequence[Pair]) -> Measured:
    """Another sample by every width of ours and those of flashlight's that were chosen, in turn."""
    chosen = {pair.theirs for pair in paired}
    named = {name: decode for name, decode in named.items() if _is_ours(name) or name in chosen}
    errors, cpu_s = _decoded("measuring", sample, named)
    names = list(named)
    rates, resampled = bootstrap(
        np.array([errors[name] for name in names]), np.array([text.count(" ") + 1 for text in sample.texts])
    )
    rows = []
    for at, name in enumerate(names):
        decoder, _, width = name.rpartition(" ")
        speed = sample.audio_s / sum(cpu_s[name])
        rows.append(Row(decoder, width, speed, float(rates[at]), middle(resampled[at])))
    comparisons = []
    for pair in paired:
        if pair.ours is not None:
            their, our = names.index(pair.theirs), names.index(pair.ours)
            times = ratios(cpu_s[pair.theirs], cpu_s[pair.ours])
            interval = middle(resampled[our] - resampled[their])
            comparisons.append(Comparison(pair.theirs, pair.ours, times, float(rates[our] - rates[their]), interval))
    return Measured(rows, comparisons, [pair.theirs for pair in paired if pair.ours is None])


def greedy_errors(sample: Sample, lexicon: Lexicon) -> float:
    """The error rate, in phones, of the best path."""
    spoken, heard = [], []
    for text, emissions in zip(sample.texts, sample.emissions, strict=True):
        spoken.append(" ".join(LABELS[label] for word in text.split() for label in lexicon.spoken[word]))
        heard.append(Said(greedy(emissions, VOCABULARY, FRAME_S).text, None))
    return error_rate(spoken, heard)


def _is_ours(name: str) -> bool:
    return name.startswith(f"{OURS} ")


def _decoded(
    what: str, sample: Sample, named: Named
) -> tuple[dict[str, npt.NDArray[np.int64]], dict[str, list[float]]]:
    """The word errors of each utterance by each decoder, and the CPU seconds of each block."""
    told = f"{len(sample.texts):,} utterances, {sample.audio_s:,.0f} s of audio"
    say(f"{sample.difficulty}: {what} by {told}, {len(named)} decoders")
    for decode in named.values():
        decode(sample.emissions[: BLOCK // 4])
    said, cpu_s = in_turn(sample, named)
    errors = {name: np.array([one.num_errors for one in word_errors(sample.texts, of)]) for name, of in said.items()}
    return errors, cpu_s


def _best(name: str, samples: Sequence[Sample], decoder: Callable[[LmWeights], Decode]) -> LmWeights:
    texts = [text for sample in samples for text in sample.texts]
    emissions = [one for sample in samples for one in sample.emissions]
    say(f"tuning {name} on {len(texts):,} other utterances")
    found = []
    for alpha in ALPHAS:
        for beta in BETAS:
            weights = replace(LmWeights(), alpha=alpha, beta=beta)
            found.append((error_rate(texts, decoder(weights)(emissions)), weights))
    return min(found, key=lambda one: one[0])[1]
