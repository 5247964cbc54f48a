"""Language models as the plain search asks them, one word after the other: through `kenlm`, or through our own reader.

Knows nothing of weights or of what a decoder does with a score.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

from pipeline.errors import UsageError


@runtime_checkable
class WordScorer(Protocol):
    """A word n-gram model. States are opaque and never change."""

    @property
    def order(self) -> int: ...

    def start(self, boundary: bool) -> Any:
        """The state after <s>, or without any context."""

    def score(self, state: Any, word: str) -> tuple[float, Any]:
        """log10 p(word | state), and the state after the word."""

    def __contains__(self, word: str) -> bool: ...

    def words(self) -> Sequence[str]: ...


class KenlmScorer:
    """A file KenLM reads, read by KenLM. Its package cannot list a model's words: our own reader does."""

    def __init__(self, location: str) -> None:
        try:
            import kenlm
        except ImportError as error:
            raise UsageError("the kenlm decoder needs the kenlm package: pip install 'nightshift[kenlm]'") from error
        self._kenlm = kenlm
        self._location = location
        settings = kenlm.Config()
        settings.show_progress, settings.arpa_complain = False, kenlm.ARPALoadComplain.NONE
        try:
            self._model = kenlm.Model(location, settings)
        except OSError as error:
            raise UsageError(f"{location}: KenLM cannot read this language model: {error}") from error

    @property
    def order(self) -> int:
        return int(self._model.order)

    def start(self, boundary: bool) -> Any:
        state = self._kenlm.State()
        (self._model.BeginSentenceWrite if boundary else self._model.NullContextWrite)(state)
        return state

    def score(self, state: Any, word: str) -> tuple[float, Any]:
        after = self._kenlm.State()
        return float(self._model.BaseScore(state, word, after)), after

    def __contains__(self, word: str) -> bool:
        return word in self._model

    def words(self) -> Sequence[str]:
        from pipeline.lm.model import LanguageModel

        return list(LanguageModel.open(self._location).words())


class NativeState(NamedTuple):
    """The words a model still remembers, newest first, and their back-off weights."""

    words: tuple[int, ...]
    backoffs: tuple[float, ...]


class NativeScorer:
    """A pipeline.lm.model.LanguageModel."""

    def __init__(self, model: Any) -> None:
        from pipeline.lm import lookup

        self._model = model
        self._lookup = lookup
        self._ids: dict[str, int] = {}  # of the words asked for
        self._words, self._backoffs, self._lengths = lookup.states(2)

    @property
    def order(self) -> int:
        return int(self._model.order)

    def start(self, boundary: bool) -> NativeState:
        self._lookup.begin(self._model.tables, self._words, self._backoffs, self._lengths, 1, boundary)
        return self._state()

    def score(self, state: NativeState, word: str) -> tuple[float, NativeState]:
        count = len(state.words)
        self._words[0, :count], self._backoffs[0, :count], self._lengths[0] = state.words, state.backoffs, count
        arrays = self._words, self._backoffs, self._lengths
        log10 = self._lookup.advance(self._model.tables, *arrays, 0, self._id(word), 1)
        return float(log10), self._state()

    def __contains__(self, word: str) -> bool:
        return self._id(word) != 0

    def words(self) -> Sequence[str]:
        return list(self._model.words())

    def _id(self, word: str) -> int:
        if word not in self._ids:
            self._ids[word] = int(self._model.ids([word])[0])
        return self._ids[word]

    def _state(self) -> NativeState:
        count = int(self._lengths[1])
        return NativeState(tuple(self._words[1, :count].tolist()), tuple(self._backoffs[1, :count].tolist()))
