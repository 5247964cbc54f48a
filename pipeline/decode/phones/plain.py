"""The search for words in phones in plain Python: the reference that the compiled search is held to.

A hypothesis is a text of finished words, the phones of the word being said, and the last label. Every frame, every
hypothesis is continued with every likely label; what falls behind the best is not taken up, hypotheses that have become
the same are merged, their probabilities added; the best are kept. What a text scores is what its words do in the
language models; what it is expected to score with its unfinished word is what all words that begin so do, without
context. Knows nothing of recordings.
"""

import math
from collections import defaultdict
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from pipeline.decode.alphabet import Alphabet
from pipeline.decode.fusion import HotwordScores, LmScores, TextScores, join
from pipeline.decode.hypotheses import Beam, BeamChar, BeamWord, Decoded, WordModel
from pipeline.decode.options import BURST, FLOOR, NARROW_LABELS, NARROW_WIDTH, Hotwords, SearchOptions
from pipeline.decode.phones.pronunciation import Pronunciation
from pipeline.decode.plain import Path, Span, check_emissions, items, log_add
from pipeline.errors import RecordingError
from pipeline.records import FloatArray

Phones = tuple[int, ...]


class _Hypothesis(NamedTuple):
    text: str  # finished words
    part: Phones  # of the word being said
    last: int  # label of the last frame
    logit: float  # log-probability of all paths merged
    rest: float  # the text's score, and what is expected of the unfinished word
    path: Path

    @property
    def score(self) -> float:
        return self.logit + self.rest


class PlainWordSearch:
    def __init__(self, alphabet: Alphabet, lexicon: Sequence[Pronunciation], models: Sequence[WordModel] = ()) -> None:
        self.alphabet, self.lexicon = alphabet, lexicon
        self.models = LmScores(models, compat=False)
        self.order = {word: place for place, (word, _) in reversed(list(enumerate(lexicon)))}
        self.words: dict[Phones, list[str]] = defaultdict(list)  # that are said so
        self.onwards: dict[Phones, list[str]] = defaultdict(list)  # that begin so and go on, once per pronunciation
        for word, labels in lexicon:
            if word not in self.words[labels]:
                self.words[labels].append(word)
            for place in range(len(labels)):
                self.onwards[labels[:place]].append(word)
        for homophones in self.words.values():
            homophones.sort(key=self.order.__getitem__)
        self.whole = {labels: [word for word, said in lexicon if said == labels] for labels in self.words}

    def decode(
        self,
        emissions: Sequence[FloatArray],
        options: SearchOptions,
        hotwords: Hotwords | None = None,
        threads: int = 1,
        with_chars: bool = False,
    ) -> list[Decoded | RecordingError]:
        """Log-probabilities (T, V) of every recording -> its hypotheses. More threads would not make Python faster."""
        results: list[Decoded | RecordingError] = []
        for frames in emissions:
            try:
                results.append(_PlainStream(self, options, hotwords, with_chars).decoded(frames))
            except RecordingError as error:
                results.append(error)
        return results


class _Expected:
    """What is expected of a word of which some phones have been said."""

    def __init__(self, search: PlainWordSearch, hotwords: Hotwords | None) -> None:
        self._search = search
        self._hot = {word for phrase in (hotwords.words if hotwords else ()) for word in phrase.split()}
        self._weight = hotwords.weight if hotwords else 0.0
        self._known: dict[tuple[Phones, bool], float] = {}

    def __call__(self, part: Phones, entered: bool) -> float:
        """`entered`: words that end here are among those expected, too."""
        if (part, entered) not in self._known:
            words = self._search.onwards.get(part, []) + (self._search.whole.get(part, []) if entered else [])
            hot = [
                len(part) / len(labels)
                for word, labels in self._search.lexicon
                if word in self._hot and labels[: len(part)] == part and (entered or labels != part)
            ]
            expected = self._search.models.any_of(words) if words else 0.0
            self._known[part, entered] = expected + self._weight * max(hot, default=0.0)
        return self._known[part, entered]


class _PlainStream:
    """The search through one recording."""

    def __init__(
        self, search: PlainWordSearch, options: SearchOptions, hotwords: Hotwords | None, with_chars: bool
    ) -> None:
        self._search, self._options, self._with_chars = search, options, with_chars
        self._same = search.alphabet.same()
        self._blank = self._same[search.alphabet.labels.index("")]
        self._scores = TextScores(search.models, HotwordScores(hotwords), None)
        self._expected = _Expected(search, hotwords)
        self._beams = [_Hypothesis("", (), -1, 0.0, self._expected((), entered=False), Path())]
        self._frame = 0
        self._tried = 0
        self._narrowed = False
        # Of the frame being worked on.
        self._merged: dict[Any, _Hypothesis] = {}
        self._highest = -math.inf
        self._limit = math.inf  # of what has been tried

    def decoded(self, emissions: FloatArray) -> Decoded:
        check_emissions(emissions, self._search.alphabet)
        for row in np.clip(emissions.astype(np.float64), FLOOR, 0.0).tolist():
            self._step(row)
        if not len(emissions):
            return Decoded([Beam("", [], 0.0, 0.0, [])], narrowed=False)
        ended = [beam for beam in self._beams if not beam.part] or self._beams  # else without the unfinished word
        self._merged, self._highest = {}, -math.inf
        for beam in ended:
            text = self._scores.ended(beam.text, "", compat=False)
            self._offer(beam.text, beam._replace(rest=text.both))
        best = sorted(self._near(), key=lambda beam: beam.score, reverse=True)
        return Decoded([self._output(beam) for beam in best[: self._options.num_best]], self._narrowed)

    def _step(self, row: list[float]) -> None:
        """One frame (V,): continue, merge, prune."""
        width = self._options.beam_width
        labels = [label for label, logp in enumerate(row) if logp >= self._options.token_min_logp]
        labels = sorted(labels or [row.index(max(row))], key=lambda label: -row[label])
        if self._tried > self._options.max_effort * (self._frame + 1):
            self._narrowed = True
            width, labels = min(width, NARROW_WIDTH), labels[:NARROW_LABELS]
        self._limit = self._tried + BURST * self._options.max_effort
        self._tried += len(labels) * len(self._beams)
        self._merged, self._highest = {}, -math.inf
        for label in labels:
            for beam in self._beams:
                self._continue(beam, self._same[label], row[label])
        if not self._merged:  # no word goes on as this frame says, and it is no blank: take it for one
            for beam in self._beams:
                self._continue(beam, self._blank, FLOOR)
        self._narrowed |= self._tried > self._limit
        kept = self._best_of_alike() if self._options.prune_history else self._near()
        chosen = sorted(range(len(kept)), key=lambda place: -kept[place].score)[:width]
        self._beams = [kept[place] for place in sorted(chosen)]
        self._frame += 1

    def _continue(self, beam: _Hypothesis, label: int, logp: float) -> None:
        logit, after = beam.logit + logp, beam.path.logp + logp
        if logit + beam.rest < self._least():
            return
        if label == self._blank:
            self._take_up(beam._replace(last=label, logit=logit, path=beam.path._replace(logp=after)))
            return
        if label == beam.last:
            self._take_up(beam._replace(logit=logit, path=self._longer(beam.path, after)))
            return
        part = (*beam.part, label)
        words, goes_on = self._search.words.get(part, []), part in self._search.onwards
        before = self._scores.text(beam.text, "").both
        if not (words or goes_on) or logit + (before + self._expected(part, entered=True)) < self._least():
            return
        words = words[:1] if self._tried > self._limit else words
        self._tried += len(words)
        path = self._said(beam, label, after)
        if goes_on:
            rest = before + self._expected(part, entered=False)
            self._take_up(_Hypothesis(beam.text, part, label, logit, rest, path))
        for word in words:
            rest = self._scores.text(beam.text, word).both + self._expected((), entered=False)
            self._take_up(_Hypothesis(join(beam.text, word), (), label, logit, rest, path))

    def _least(self) -> float:
        """The score below which nothing is taken up."""
        return self._highest + self._options.beam_prune_logp

    def _take_up(self, new: _Hypothesis) -> None:
        if new.score >= self._least():
            self._offer((new.text, new.part, new.last), new)

    def _offer(self, key: Any, new: _Hypothesis) -> None:
        self._highest = max(self._highest, new.score)
        if old := self._merged.get(key):
            path = new.path if new.path.logp > old.path.logp else old.path
            new = old._replace(logit=log_add(old.logit, new.logit), path=path)
        self._merged[key] = new

    def _near(self) -> list[_Hypothesis]:
        least = max(beam.score for beam in self._merged.values()) + self._options.beam_prune_logp
        return [beam for beam in self._merged.values() if beam.score >= least]

    def _best_of_alike(self) -> list[_Hypothesis]:
        """Of hypotheses of which the language models remember the same, the best."""
        best: dict[Any, _Hypothesis] = {}
        for beam in self._near():
            remembered = tuple(state.words for state in self._scores.text(beam.text, "").states)
            key = (remembered, beam.part, beam.last)
            best[key] = max(best.get(key, beam), beam, key=lambda one: one.score)
        return list(best.values())

    def _said(self, beam: _Hypothesis, label: int, after: float) -> Path:
        """The path with one more phone; the first of a word completes the times of the word before."""
        at, path = self._frame, beam.path
        words, span = path.words, path.part
        if not beam.part:
            words, span = (words, span) if span else words, None
        new = Span(at, at + 1, path.logp, after) if span is None else Span(span.start, at + 1, span.before, after)
        phone = BeamChar(self._search.alphabet.labels[label], at, at + 1)
        return Path(after, words, new, (path.chars, phone) if self._with_chars else None)

    def _longer(self, path: Path, after: float) -> Path:
        """The path whose last phone lasts one frame longer."""
        assert path.part is not None
        end = self._frame + 1
        chars = (path.chars[0], path.chars[1]._replace(end=end)) if path.chars else None
        return path._replace(logp=after, part=path.part._replace(end=end, after=after), chars=chars)

    def _output(self, beam: _Hypothesis) -> Beam:
        path = beam.path
        spans = items(path.words) + ([path.part] if path.part and not beam.part else [])
        words = [
            BeamWord(word, span.start, span.end, math.exp((span.after - span.before) / (span.end - span.start)))
            for word, span in zip(beam.text.split(), spans, strict=True)
        ]
        return Beam(beam.text, words, beam.logit, beam.score, items(path.chars))
