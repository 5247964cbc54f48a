"""What the searches of letters and of phones share around their compiled loops: threads, language models, results.

Knows nothing of how either searches.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.decode import work as rows
from pipeline.decode.collect import collect
from pipeline.decode.hypotheses import Beam, BeamChar, BeamWord, Decoded, WordModel
from pipeline.decode.lexicon import ROOT
from pipeline.decode.likely import SparseEmissions, likely_labels
from pipeline.decode.options import LmWeights, SearchOptions
from pipeline.decode.work import NONE, Weights, Work, grown, refill_tables
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


COLLECT_FROM = 1 << 16  # rows of a search; an hour of clear speech has some 10,000 words and 60,000 labels


class Stream(ABC):
    """One search in progress: its hypotheses, unfinished words and last labels carry on from chunk to chunk.

    Memory grows with what its hypotheses say, not with all that was tried.
    """

    def __init__(self, search: Any, options: SearchOptions, given: Any, work: Work) -> None:
        self._search, self._options, self._given, self._work = search, options, given, work
        self.restart()

    @abstractmethod
    def restart(self) -> None:
        """Forget everything heard so far."""

    @abstractmethod
    def _run(self, likely: SparseEmissions, first: int) -> int:
        """Frames from `first` on; the frame it stopped at for want of room."""

    @abstractmethod
    def _best(self) -> list[Beam]:
        """The hypotheses, their sentences ended, as many as were asked for."""

    def feed(self, emissions: Emissions) -> None:
        """The next frames."""
        settings = self._given.settings
        likely = likely_labels(emissions, self._search.alphabet, self._options.token_min_logp, settings.compat)
        at = self._run(likely, 0)
        while at < likely.num_frames:
            self._grow(int(likely.offsets[at + 1] - likely.offsets[at]))
            at = self._run(likely, at)

    def result(self) -> Decoded:
        """What has been said so far, as if it ended here; the search can go on."""
        self._grow(1)
        settings = self._given.settings
        if self._work.counts[rows.FRAME] == 0 and not settings.compat:
            return Decoded([Beam("", [], 0.0, 0.0, [], states_of(self._work, settings.num_models))], narrowed=False)
        return Decoded(self._best(), bool(self._work.counts[rows.NARROWED]))

    def _grow(self, num_labels: int) -> None:
        """Room for another frame: what nobody says any more is forgotten first, if that may be much."""
        if self._work.counts[[rows.TEXTS, rows.NODES, rows.WORDS, rows.CHARS]].max() >= COLLECT_FROM:
            collect(self._work, self._given)
            refill_tables(self._work)
        self._work = grown(self._work, self._given.settings, num_labels)


def decode_all(
    new_stream: Callable[[], Stream], emissions: Sequence[Emissions], threads: int
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


def beams_of(found: Any, texts: Sequence[Sequence[str]], spelled: Sequence[str], with_chars: bool) -> list[Beam]:
    """What was found, as hypotheses; `texts` are their words and `spelled` the labels' texts."""
    times, num_models = _times_of(found.words), len(found.states[0]) // max(len(texts), 1)
    beams, word, label = [], 0, 0
    for number, (spoken, (logit, score)) in enumerate(zip(texts, found.scores.tolist(), strict=True)):
        next_word, next_label = word + int(found.num_words[number]), label + int(found.num_labels[number])
        words = [BeamWord(text, *time) for text, time in zip(spoken, reversed(times[word:next_word]), strict=True)]
        chars = _chars_of(found.labels[label:next_label][::-1], spelled) if with_chars else []
        of_models = slice(number * num_models, (number + 1) * num_models)
        states = lm_states(*(array[of_models] for array in found.states))
        beams.append(Beam(" ".join(spoken), words, logit, score, chars, states))
        word, label = next_word, next_label
    return beams


def _times_of(words: Any) -> list[tuple[int, int, float]]:
    """First frame, the frame after the last, and confidence, of word spans."""
    starts, ends = words["start"], words["end"]
    confidences = np.minimum(np.exp(words["logp"] / np.maximum(ends - starts, 1)), 1.0)
    return list(zip(starts.tolist(), ends.tolist(), confidences.tolist(), strict=True))


def _chars_of(spans: Any, spelled: Sequence[str]) -> list[BeamChar]:
    """Label spans with the labels' texts; those of no text are left out."""
    chars = zip(*(spans[name].tolist() for name in ("label", "start", "end")), strict=True)
    return [BeamChar(spelled[label], start, end) for label, start, end in chars if spelled[label]]
