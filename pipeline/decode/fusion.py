"""The scores that enter a hypothesis of the plain search beside its emissions': language models' and hotwords'.

Knows nothing of emissions or times, and of a language model only that it can score a word after a state.
"""

import bisect
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from pipeline.decode.hypotheses import WordModel
from pipeline.decode.options import LN10, MARKS, USUAL_LENGTH, Hotwords
from pipeline.decode.scorers import NativeScorer, WordScorer


class _Prefixes:
    """Which beginnings of words there are."""

    def __init__(self, words: Sequence[str]) -> None:
        self._sorted = sorted(words)

    def __contains__(self, beginning: str) -> bool:
        at = bisect.bisect_left(self._sorted, beginning)
        return at < len(self._sorted) and self._sorted[at].startswith(beginning)


class _OneModel:
    """A language model with its weights and its unigrams, the words that are no surprise."""

    def __init__(self, model: WordModel, compat: bool) -> None:
        self.scorer = model.model if isinstance(model.model, WordScorer) else NativeScorer(model.model)
        self.weights = model.weights
        unigrams = model.unigrams
        if unigrams is None and not compat:
            unigrams = set(self.scorer.words()) - MARKS
        self._unigrams = frozenset(word for word in unigrams or () if word in self.scorer)
        self._prefixes = None if unigrams is None else _Prefixes(list(self._unigrams))

    def word(self, state: Any, word: str, is_last: bool) -> tuple[float, Any]:
        log10, after = self._log10(state, word)
        if is_last and self.weights.score_boundary:
            log10 += self.scorer.score(after, "</s>")[0]
        return self.weights.alpha * log10 * LN10 + self.weights.beta, after

    def end(self, state: Any) -> float:
        return self.weights.alpha * self.scorer.score(state, "</s>")[0] * LN10 if self.weights.score_boundary else 0.0

    def any_of(self, words: Sequence[str]) -> float:
        """Of words without context, added up."""
        start = self.scorer.start(False)
        total = math.fsum(10.0 ** self._log10(start, word)[0] for word in words)
        return self.weights.alpha * math.log(total) + self.weights.beta

    def _log10(self, state: Any, word: str) -> tuple[float, Any]:
        log10, after = self.scorer.score(state, word)
        if (self._unigrams and word not in self._unigrams) or word not in self.scorer:
            log10 += self.weights.unk_score_offset
        return log10, after

    def beginning(self, part: str) -> float:
        """What a beginning of a word costs, until the word is known: nothing if any unigram begins so."""
        if self._prefixes is not None and part in self._prefixes:
            return 0.0
        cost = self.weights.unk_score_offset
        return cost * len(part) / USUAL_LENGTH if len(part) > USUAL_LENGTH else cost


class LmScores:
    """One or several language models, whose scores are averaged by their shares."""

    def __init__(self, models: Sequence[WordModel], compat: bool) -> None:
        self._models = [_OneModel(model, compat) for model in models]
        shares = [model.weights.share for model in models]
        self._shares = [1.0] * len(shares) if len(set(shares)) == 1 else shares  # equal: the plain mean, to the bit
        self.order = max((model.scorer.order for model in self._models), default=1)

    def __len__(self) -> int:
        return len(self._models)

    def start(self) -> tuple[Any, ...]:
        return tuple(model.scorer.start(model.weights.score_boundary) for model in self._models)

    def word(self, states: Sequence[Any], word: str, is_last: bool = False) -> tuple[float, tuple[Any, ...]]:
        scored = [model.word(state, word, is_last) for model, state in zip(self._models, states, strict=True)]
        return self._mean([score for score, _ in scored]), tuple(after for _, after in scored)

    def end(self, states: Sequence[Any]) -> float:
        return self._mean([model.end(state) for model, state in zip(self._models, states, strict=True)])

    def any_of(self, words: Sequence[str]) -> float:
        return self._mean([model.any_of(words) for model in self._models]) if self._models else 0.0

    def beginning(self, part: str) -> float:
        return self._mean([model.beginning(part) for model in self._models])

    def _mean(self, scores: list[float]) -> float:
        total, shares = 0.0, 0.0  # added up in order: sum() rounds otherwise from Python 3.12 on
        for share, score in zip(self._shares, scores, strict=True):
            total += share * score
            shares += share
        return total / shares


class HotwordScores:
    """Words that the user expects: each one in a text counts, and so does the beginning of one."""

    def __init__(self, hotwords: Hotwords | None) -> None:
        hotwords = hotwords or Hotwords()
        self._words = frozenset(word for phrase in hotwords.words for word in phrase.split())
        self._prefixes = _Prefixes(list(self._words))
        self._weight = hotwords.weight

    def text(self, text: str) -> float:
        return self._weight * len([word for word in text.split() if word in self._words])

    def has_beginning(self, part: str) -> bool:
        return part in self._prefixes

    def beginning(self, part: str) -> float:
        """The part of a hotword's weight that its beginning earns: of the shortest that begins so."""
        lengths = [len(word) for word in self._words if word.startswith(part)]
        return self._weight * len(part) / min(lengths) if lengths else 0.0


class TextScore(NamedTuple):
    models: float
    states: tuple[Any, ...]
    both: float  # with hotwords


class TextScores:
    """What models and hotwords say of the texts of one recording, each asked once."""

    def __init__(self, models: LmScores, hotwords: HotwordScores, start: Sequence[Any] | None) -> None:
        self.models = models
        self._hotwords = hotwords
        self._texts = {"": TextScore(0.0, tuple(start or models.start()), 0.0)}
        self._parts: dict[str, float] = {}

    def total(self, logit: float, text: str, closed: str, part: str) -> float:
        """Of a hypothesis: finished words, one just finished, and one being spelt."""
        both = self.text(text, closed).both
        if not self.models:
            return logit + both + self._part(part)
        return logit + (both + self._part(part))

    def text(self, text: str, closed: str) -> TextScore:
        whole = join(text, closed)
        if whole not in self._texts:
            self._texts[whole] = self._word(text, closed, is_last=False)
        return self._texts[whole]

    def ended(self, text: str, closed: str, compat: bool) -> TextScore:
        """The whole text's, with </s>; the states are those before it."""
        if compat:  # also where the last word is empty, which is then an unknown word
            return self._word(text, closed, is_last=True)
        score = self.text(text, closed)
        if not self.models:
            return score
        models = score.models + self.models.end(score.states)
        return TextScore(models, score.states, models + self._hotwords.text(join(text, closed)))

    def _word(self, text: str, word: str, is_last: bool) -> TextScore:
        hot = self._hotwords.text(join(text, word))
        if not self.models:
            return TextScore(0.0, (), hot)
        before = self._texts[text]
        score, states = self.models.word(before.states, word, is_last)
        return TextScore(before.models + score, states, before.models + score + hot)

    def _part(self, part: str) -> float:
        if not part:
            return 0.0
        if part not in self._parts:
            hot = not self.models or self._hotwords.has_beginning(part)
            self._parts[part] = self._hotwords.beginning(part) if hot else self.models.beginning(part)
        return self._parts[part]


def join(text: str, word: str) -> str:
    return f"{text} {word}" if text and word else text or word
