"""CTC prefix beam search with word language models, in plain Python: the reference that the compiled search is held to.

Also the backend named `kenlm`; at 100 beams it has a quarter of pyctcdecode's speed. Knows nothing of recordings.

A hypothesis is a text of finished words, the word being spelt, and the last label. Every frame, every hypothesis is
continued with every likely label; those that have become the same are merged, their probabilities added; the best are
kept. The algorithm, its prunings and its scores are pyctcdecode's, and `compat=True` gives its results bit for bit.
Otherwise its faults are corrected, each where the word `compat` stands below:

- the end of a text costs its </s>, not an unknown empty word after a trailing space;
- words keep the times of the most probable of their paths, not of the last one merged;
- a BPE token that ends a word ends it in its own hypothesis, not in whichever comes next;
- without unigrams the language model's own words are taken, so that a beginning of a word is no longer always unknown;
- nothing to decode is an empty text at no cost.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from pipeline.decode.alphabet import BLANK, SPACE, WORD_START, Alphabet
from pipeline.decode.fusion import HotwordScores, LmScores, TextScore, TextScores, join
from pipeline.decode.hypotheses import Beam, BeamChar, BeamWord, Decoded, WordModel
from pipeline.decode.options import FLOOR, NARROW_LABELS, NARROW_WIDTH, Hotwords, LmWeights, SearchOptions
from pipeline.errors import RecordingError, UsageError
from pipeline.records import FloatArray


class Span(NamedTuple):
    """Where a word lies on a path, and the path's log-probability before and after it."""

    start: int
    end: int
    before: float
    after: float


# A list that hypotheses share the beginnings of: the list without its last item, and that item.
Chain = tuple[Any, Any] | None


class Path(NamedTuple):
    """The one path through the frames that a hypothesis' times are taken from."""

    logp: float = 0.0
    words: Chain = None  # spans
    part: Span | None = None  # of the word being spelt
    chars: Chain = None


class _Hypothesis(NamedTuple):
    text: str  # finished words
    closed: str  # the word that has just been finished, which no score contains yet
    part: str  # the word being spelt
    last: int  # label of the last frame
    breaks: bool  # the next BPE token begins a word even if it does not say so
    logit: float  # log-probability of all paths merged
    path: Path


_START = _Hypothesis("", "", "", -1, False, 0.0, Path())


class PlainBeamSearch:
    def __init__(self, alphabet: Alphabet, models: Sequence[WordModel] = (), compat: bool = False) -> None:
        if not compat:
            alphabet.check()
        self.alphabet = alphabet
        self.compat = compat
        self._models = tuple(models)
        self._lm_scores = LmScores(models, compat)

    def reweighted(self, weights: Sequence[LmWeights]) -> "PlainBeamSearch":
        models = [replace(model, weights=new) for model, new in zip(self._models, weights, strict=True)]
        return PlainBeamSearch(self.alphabet, models, self.compat)

    def decode(
        self,
        emissions: Sequence[FloatArray],
        options: SearchOptions,
        hotwords: Hotwords | None = None,
        threads: int = 1,
        start: Sequence[Any] | None = None,
        with_chars: bool = False,
    ) -> list[Decoded | RecordingError]:
        """Log-probabilities (T, V) of every recording -> its hypotheses. More threads would not make Python faster.

        `start` holds one state per language model, from a hypothesis' `lm_state`.
        """
        results: list[Decoded | RecordingError] = []
        for frames in emissions:
            stream = self.stream(options, hotwords, with_chars, start)
            try:
                stream.feed(frames)
            except RecordingError as error:
                results.append(error)
            else:
                results.append(stream.result())
        return results

    def stream(
        self,
        options: SearchOptions,
        hotwords: Hotwords | None = None,
        with_chars: bool = False,
        start: Sequence[Any] | None = None,
    ) -> "PlainStream":
        """A search that is fed chunk by chunk and says what one over the whole would have said."""
        scores = TextScores(self._lm_scores, HotwordScores(hotwords), start)
        return PlainStream(self, options, scores, with_chars)


def check_emissions(emissions: FloatArray, alphabet: Alphabet) -> None:
    if emissions.ndim != 2:
        raise UsageError(f"emissions have two dimensions, frames and labels, not the shape {emissions.shape}")
    alphabet.check_width(emissions.shape[1])
    # A row's sum would hide infinities of both signs.
    bad = np.isnan(emissions).any(axis=1) | np.isposinf(emissions).any(axis=1) | np.isneginf(emissions).all(axis=1)
    if bad.any():
        where = f"first in frame {int(bad.argmax())} of {len(emissions)}"
        raise RecordingError("emissions that are not numbers", where)


class PlainStream:
    """The search through one recording."""

    def __init__(self, search: PlainBeamSearch, options: SearchOptions, scores: TextScores, with_chars: bool) -> None:
        self._alphabet = search.alphabet
        self._same = search.alphabet.same(search.compat)
        self._compat = search.compat
        self._options = options
        self._scores = scores
        self._with_chars = with_chars
        self._beams = [_START]  # best first
        self._frame = 0
        self._tried = 0
        self._narrowed = False
        self._any_breaks = False  # compat: one flag for all hypotheses

    def feed(self, emissions: FloatArray) -> None:
        """More frames: log-probabilities (T, V)."""
        check_emissions(emissions, self._alphabet)
        values = emissions.astype(np.float64)
        if self._compat:
            values[np.isneginf(values)] = FLOOR
        else:
            values = np.clip(values, FLOOR, 0.0)
        for row in values.tolist():
            self._step(row)

    def result(self) -> Decoded:
        """What has been said so far, as if it ended here; the search can go on."""
        if self._frame == 0 and not self._compat:
            return Decoded([Beam("", [], 0.0, 0.0, [], self._states(self._scores.text("", "")))], False)
        ended = [
            (beam, self._scores.ended(beam.text, beam.closed, self._compat))
            for beam in self._merge(map(_ended, self._beams))
        ]
        best = self._best([(beam.logit + text.both, (beam, text)) for beam, text in ended], self._options.beam_width)
        beams = [self._output(beam, text, score) for score, (beam, text) in best]
        return Decoded(beams[: self._options.num_best], self._narrowed)

    def _step(self, row: list[float]) -> None:
        """One frame (V,): continue, merge, score, prune."""
        width = self._options.beam_width
        labels = self._likely(row)
        if not self._compat and self._tried > self._options.max_effort * (self._frame + 1):
            self._narrowed = True
            width = min(width, NARROW_WIDTH)
            self._beams = self._beams[:width]
            labels = sorted(sorted(labels, key=lambda label: (-row[label], label))[:NARROW_LABELS])
        self._tried += len(labels) * len(self._beams)
        tried = [self._continued(beam, label, row[label]) for label in labels for beam in self._beams]
        scored = [
            (self._scores.total(beam.logit, beam.text, beam.closed, beam.part), beam) for beam in self._merge(tried)
        ]
        kept = [_scored(beam) for _, beam in self._best(scored, width)]
        self._beams = self._without_history(kept) if self._options.prune_history else kept
        self._frame += 1

    def _likely(self, row: list[float]) -> list[int]:
        likely = [label for label, logp in enumerate(row) if logp >= self._options.token_min_logp]
        best = row.index(max(row))
        # The order decides between exact ties; pyctcdecode's is that of a set.
        return list(set(likely) | {best}) if self._compat else likely or [best]

    def _continued(self, beam: _Hypothesis, label: int, logp: float) -> _Hypothesis:
        text, last = self._alphabet.labels[label], self._same[label]
        closed, part, breaks, path = "", beam.part, beam.breaks, beam.path
        after = path.logp + logp
        if text == BLANK:
            path = Path(after, path.words, path.part, path.chars)
        elif last == beam.last:
            path = self._longer(path, after)
        elif self._alphabet.is_bpe and (text.startswith(WORD_START) or self._breaks(beam)):
            # Of the lone mark, which both begins and ends a word, nothing is left.
            closed, part = part, text.removeprefix(WORD_START).removesuffix(WORD_START)
            path = self._spelt(_word_ended(path, path.logp, closed), after, part)
            self._any_breaks = text.endswith(WORD_START)
            breaks = self._any_breaks and not self._compat
        elif not self._alphabet.is_bpe and text == SPACE:
            closed, part = part, ""
            path = _word_ended(path, after, closed)
        else:
            if self._alphabet.is_bpe and not self._compat:
                breaks, text = text.endswith(WORD_START), text.removesuffix(WORD_START)
            part += text
            path = self._spelt(path, after, text)
        return _Hypothesis(beam.text, closed, part, last, breaks, beam.logit + logp, path)

    def _breaks(self, beam: _Hypothesis) -> bool:
        return self._any_breaks if self._compat else beam.breaks

    def _spelt(self, path: Path, after: float, text: str) -> Path:
        """The path with one more label's text; `after` is its log-probability then."""
        at, part = self._frame, path.part
        new = Span(at, at + 1, path.logp, after) if part is None else Span(part.start, at + 1, part.before, after)
        chars = (path.chars, BeamChar(text, at, at + 1)) if text and self._with_chars else path.chars
        return Path(after, path.words, new, chars)

    def _longer(self, path: Path, after: float) -> Path:
        """The path whose last label, not a blank, lasts one frame longer."""
        part, chars = path.part, path.chars
        if part is not None:  # else it is a space
            part = Span(part.start, self._frame + 1, part.before, after)
            if chars is not None and chars[1].end == self._frame:
                chars = (chars[0], chars[1]._replace(end=self._frame + 1))
        return Path(after, path.words, part, chars)

    def _merge(self, hypotheses: Iterable[_Hypothesis]) -> list[_Hypothesis]:
        merged: dict[tuple[str, str, int, bool], _Hypothesis] = {}
        for new in hypotheses:
            key = (join(new.text, new.closed), new.part, new.last, new.breaks)
            old = merged.get(key)
            if old is None:
                merged[key] = new
            else:
                keeps_old = old.path.logp >= new.path.logp and not self._compat
                merged[key] = (old if keeps_old else new)._replace(logit=log_add(old.logit, new.logit))
        return list(merged.values())

    def _best(self, scored: list[tuple[float, Any]], width: int) -> list[tuple[float, Any]]:
        """Best first; ties in the order they came in."""
        least = max(score for score, _ in scored) + self._options.beam_prune_logp
        near = [item for item in scored if item[0] >= least]
        return sorted(near, key=lambda item: item[0], reverse=True)[:width]

    def _without_history(self, beams: list[_Hypothesis]) -> list[_Hypothesis]:
        """Of hypotheses that differ only in words too old for the language model, the best."""
        seen: dict[tuple[tuple[str, ...], str, int, bool], _Hypothesis] = {}
        for beam in beams:
            words = tuple(beam.text.split()[-max(1, self._scores.models.order - 1) :])
            seen.setdefault((words, beam.part, beam.last, beam.breaks), beam)
        return list(seen.values())

    def _output(self, beam: _Hypothesis, text: TextScore, score: float) -> Beam:
        words = join(beam.text, beam.closed).split()
        spans = items(beam.path.words)
        return Beam(
            text=" ".join(words),
            words=[
                BeamWord(word, span.start, span.end, math.exp((span.after - span.before) / (span.end - span.start)))
                for word, span in zip(words, spans, strict=not self._compat)
            ],
            logit_score=beam.logit,
            score=score,
            chars=items(beam.path.chars) if self._with_chars else [],
            lm_state=self._states(text),
        )

    def _states(self, text: TextScore) -> tuple[Any, ...] | None:
        return text.states if self._scores.models else None


def _scored(beam: _Hypothesis) -> _Hypothesis:
    """The word just finished is in the scores now."""
    return beam._replace(text=join(beam.text, beam.closed), closed="") if beam.closed else beam


def _ended(beam: _Hypothesis) -> _Hypothesis:
    """The word being spelt is its last."""
    path = _word_ended(beam.path, beam.path.logp, beam.part)
    return _Hypothesis(beam.text, beam.part, "", -1, False, beam.logit, path)


def _word_ended(path: Path, after: float, word: str) -> Path:
    return Path(after, (path.words, path.part) if word else path.words, None, path.chars)


def items(chain: Chain) -> list[Any]:
    backwards = []
    while chain is not None:
        chain, item = chain
        backwards.append(item)
    return backwards[::-1]


def log_add(a: float, b: float) -> float:
    high, low = (a, b) if a >= b else (b, a)
    return high + math.log(1 + math.exp(low - high))
