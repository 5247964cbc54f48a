"""What the searches of letters and of phones share around their compiled loops: threads, language models, results.

Knows nothing of how either searches.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from pipeline.decode import work as rows
from pipeline.decode.hypotheses import BeamChar, Decoded, WordModel
from pipeline.decode.lexicon import ROOT
from pipeline.decode.likely import SparseEmissions
from pipeline.decode.options import LmWeights
from pipeline.decode.work import NONE, Weights, Work
from pipeline.errors import RecordingError, UsageError
from pipeline.lm import lookup
from pipeline.lm.tables import Tables

Emissions = npt.NDArray[Any] | SparseEmissions  # (T, V) log-probabilities, of any float type


@dataclass(frozen=True, eq=False)
class LmState:
    """A language model's memory of a text, to begin another with."""

    words: npt.NDArray[np.uint32]
    backoffs: npt.NDArray[np.float32]
    length: int


class Fed(Protocol):
    """One search in progress."""

    def restart(self) -> None: ...
    def feed(self, emissions: Emissions) -> None: ...
    def result(self) -> Decoded: ...


def decode_all(
    new_stream: Callable[[], Fed], emissions: Sequence[Emissions], threads: int
) -> list[Decoded | RecordingError]:
    """The hypotheses of every recording, in order; a recording whose emissions are no numbers gets an error."""
    if threads < 1:
        raise UsageError(f"threads must be at least 1, not {threads}")
    longest_first = sorted(range(len(emissions)), key=lambda number: -num_frames(emissions[number]))
    results: list[Decoded | RecordingError] = [RecordingError("not decoded")] * len(emissions)
    waiting = iter(longest_first)

    def work_off() -> None:
        stream = new_stream()
        for number in waiting:  # of a list's iterator each thread takes what comes next
            try:
                stream.restart()
                stream.feed(emissions[number])
                results[number] = stream.result()
            except RecordingError as error:
                results[number] = error

    if threads == 1 or len(emissions) < 2:
        work_off()
    else:
        with ThreadPoolExecutor(threads) as pool:
            for done in [pool.submit(work_off) for _ in range(min(threads, len(emissions)))]:
                done.result()
    return results


def num_frames(emissions: Emissions) -> int:
    return emissions.num_frames if isinstance(emissions, SparseEmissions) else len(emissions)


def tables_of(models: Sequence[WordModel]) -> npt.NDArray[np.int64]:
    """(num_models, 5) for `Given.lms`."""
    return np.array([m.model.tables for m in models], np.int64).reshape(-1, len(Tables._fields))


def weights_of(
    models: Sequence[WordModel], weights: Sequence[LmWeights], penalties: npt.NDArray[np.float64]
) -> Weights:
    """In arrays, for the compiled search; `penalties` are those of unfinished words."""
    weights = averaged(weights)
    return Weights(
        alpha=np.array([w.alpha for w in weights], np.float64),
        beta=np.array([w.beta for w in weights], np.float64),
        unknown=np.array([w.unk_score_offset for w in weights], np.float64),
        boundary=np.array([w.score_boundary for w in weights], np.bool_),
        share=np.array([w.share for w in weights], np.float64),
        total=float(sum(w.share for w in weights)) or 1.0,
        end_ids=np.array([m.model.ids(["</s>"])[0] for m in models], np.int64),
        penalties=penalties,
    )


def averaged(weights: Sequence[LmWeights]) -> Sequence[LmWeights]:
    if weights and not sum(w.share for w in weights) > 0:
        raise UsageError("the shares of the language models add up to nothing")
    if len({w.share for w in weights}) == 1:  # a plain mean, to the bit
        return [replace(w, share=1.0) for w in weights]
    return weights


def begin(work: Work, models: Sequence[WordModel], start: Sequence[LmState] | None = None) -> Any:
    """Forget everything heard so far; the one hypothesis, which says nothing."""
    epoch, stamp = work.counts[rows.EPOCH] + 1, work.counts[rows.STAMP]
    work.counts[:] = 0
    work.counts[rows.EPOCH], work.counts[rows.STAMP] = epoch, stamp
    work.counts[rows.BEAMS] = work.counts[rows.TEXTS] = 1
    work.texts[0] = np.zeros((), rows.TEXT)
    first = work.beams[0, 0]
    for name in first.dtype.names or ():
        first[name] = 0 if first.dtype[name].kind == "f" else NONE
    first["text"], first["part"] = 0, ROOT
    states = work.state_words, work.state_backoffs, work.state_lengths
    for row, model in enumerate(models):
        if start is None:
            lookup.begin(model.model.tables, *states, row, model.weights.score_boundary)
        else:
            work.state_words[row], work.state_backoffs[row] = start[row].words, start[row].backoffs
            work.state_lengths[row] = start[row].length
    return first


def states_of(work: Work, num_models: int) -> tuple[LmState, ...] | None:
    """The state after nothing."""
    arrays = work.state_words, work.state_backoffs, work.state_lengths
    return lm_states(*(array[:num_models].copy() for array in arrays))


def lm_states(words: Any, backoffs: Any, lengths: Any) -> tuple[LmState, ...] | None:
    """A state per language model, None where there is none."""
    return tuple(map(LmState, words, backoffs, lengths.tolist())) or None


def times_of(words: Any) -> list[tuple[int, int, float]]:
    """First frame, the frame after the last, and confidence, of word spans."""
    starts, ends = words["start"], words["end"]
    confidences = np.minimum(np.exp(words["logp"] / np.maximum(ends - starts, 1)), 1.0)
    return list(zip(starts.tolist(), ends.tolist(), confidences.tolist(), strict=True))


def chars_of(spans: Any, spelled: Sequence[str]) -> list[BeamChar]:
    """Label spans with the labels' texts; those of no text are left out."""
    chars = zip(*(spans[name].tolist() for name in ("label", "start", "end")), strict=True)
    return [BeamChar(spelled[label], start, end) for label, start, end in chars if spelled[label]]
