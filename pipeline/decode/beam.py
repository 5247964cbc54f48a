"""The beam search as the rest of the project calls it: emissions in, hypotheses out, many recordings at once.

Prepares what is given to the compiled search and makes strings of what it found. Threads share the language models and
the lexicon; compiled code releases the interpreter's lock. Knows nothing of where emissions come from.
"""

import math
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from pipeline.compiled import one_at_a_time
from pipeline.decode import streams
from pipeline.decode.alphabet import WORD_START, Alphabet
from pipeline.decode.collect import collect
from pipeline.decode.hypotheses import Beam, Decoded, WordModel
from pipeline.decode.kernel import finish, run
from pipeline.decode.lexicon import ROOT, Lexicon, child_table
from pipeline.decode.likely import SparseEmissions, top_k
from pipeline.decode.options import Hotwords, LmWeights, SearchOptions
from pipeline.decode.readout import read_out
from pipeline.decode.streams import (
    Emissions,
    LmState,
    averaged,
    beams_of,
    begin,
    decode_all,
    tables_of,
    weights_of,
)
from pipeline.decode.work import NONE, Given, Hot, Settings, Weights, new_work
from pipeline.errors import RecordingError, UsageError

__all__ = ["BeamSearch", "Emissions", "LmState", "Stream", "warm_up"]

NO_HOTWORDS = Hot(np.full(1, -1, np.int64), np.zeros(1, np.int32), np.zeros(0, np.int32), np.zeros(0, np.uint8))


class BeamSearch:
    """A search over one alphabet with its language models, loaded once; any number of threads may call it."""

    def __init__(self, alphabet: Alphabet, models: Sequence[WordModel] = (), compat: bool = False) -> None:
        alphabet.check()
        if compat and (
            closing := [
                label for label in alphabet.labels if label[:1] != WORD_START and label[1:].endswith(WORD_START)
            ]
        ):
            raise UsageError(f"compat mode does not know labels that end in {WORD_START} alone, as {closing[0]} does")
        self.alphabet, self.models, self.compat = alphabet, tuple(models), compat
        self._lexicon = Lexicon(alphabet, [m.model for m in models], [m.unigrams for m in models], compat)
        self._weights = self._weights_of([m.weights for m in models])
        self._lms = tables_of(models)

    def reweighted(self, weights: Sequence[LmWeights]) -> "BeamSearch":
        """The same search with other weights; nothing is loaded or built again."""
        other = object.__new__(BeamSearch)
        other.__dict__.update(self.__dict__)
        other.models = tuple(replace(m, weights=w) for m, w in zip(self.models, weights, strict=True))
        other._weights = other._weights_of(weights)
        return other

    def decode(
        self,
        emissions: Sequence[Emissions],
        options: SearchOptions,
        hotwords: Hotwords | None = None,
        threads: int = 1,
        start: Sequence[LmState] | None = None,
        with_chars: bool = False,
    ) -> list[Decoded | RecordingError]:
        """The hypotheses of every recording, in order; a recording whose emissions are no numbers gets an error.

        `start` is a state per language model, from a hypothesis' `lm_state`.
        """
        hot = self._hot(hotwords)
        return decode_all(lambda: Stream(self, options, hot, start, with_chars), emissions, threads)

    def stream(
        self,
        options: SearchOptions,
        hotwords: Hotwords | None = None,
        with_chars: bool = False,
        start: Sequence[LmState] | None = None,
    ) -> "Stream":
        """A search that is fed chunk by chunk and says what one over the whole would have said."""
        return Stream(self, options, self._hot(hotwords), start, with_chars)

    def _weights_of(self, weights: Sequence[LmWeights]) -> Weights:
        return weights_of(self.models, weights, self._lexicon.part_penalties(averaged(weights)))

    def _hot(self, hotwords: Hotwords | None) -> tuple[Hot, float]:
        """The trie of the hotwords' words, each as far as labels spell it, and their weight."""
        words = [word for hotword in (hotwords.words if hotwords else ()) for word in hotword.split()]
        if hotwords is None or not words:
            return NO_HOTWORDS, 0.0
        children: dict[tuple[int, int], int] = {}
        shortest, is_word = [0], [False]
        for word in words:
            node = ROOT
            for place, char in enumerate(self._lexicon.numbers(word), 1):
                if char == 0:
                    break
                node = children.setdefault((node, int(char)), len(shortest))
                if node == len(shortest):
                    shortest.append(len(word))
                    is_word.append(False)
                shortest[node] = min(shortest[node], len(word))
                is_word[node] |= place == len(word)
        parents = np.array([ROOT, *(node for node, _ in children)], np.int32)
        chars = np.array([0, *(char for _, char in children)], np.int32)
        keys, nodes = child_table(parents, chars, self._lexicon.trie.num_chars)
        return Hot(keys, nodes, np.array(shortest, np.int32), np.array(is_word, np.uint8)), hotwords.weight


class Stream(streams.Stream):
    """A search for letters in progress."""

    def __init__(
        self,
        search: BeamSearch,
        options: SearchOptions,
        hot: tuple[Hot, float],
        start: Sequence[LmState] | None,
        with_chars: bool,
    ) -> None:
        self._start = start
        num_models = len(search.models)
        if start is not None and [type(state) for state in _listed(start)] != [LmState] * num_models:
            raise UsageError(f"to start from, {num_models} states of this decoder are needed, one per language model")
        lexicon, orders = search._lexicon, [model.model.order for model in search.models]
        self._codes = np.array([0, *map(ord, lexicon.chars)], np.uint32)
        settings = Settings(  # in these very types: the search would be compiled again for others
            beam_width=int(options.beam_width),
            beam_prune_logp=float(options.beam_prune_logp),
            prune_history=bool(options.prune_history),
            history=max([1, *(order - 1 for order in orders)]),
            compat=search.compat,
            is_bpe=search.alphabet.is_bpe,
            max_effort=float(options.max_effort),
            keep_chars=bool(with_chars),
            num_models=len(orders),
            longest=int(np.diff(lexicon.labels.first).max(initial=1)),
            hot_weight=float(hot[1]),
        )
        given = Given(lexicon.trie, lexicon.labels, search._lms, search._weights, hot[0], settings)
        super().__init__(search, options, given, new_work(options.beam_width, len(orders)))

    def restart(self) -> None:
        first = begin(self._work, self._search.models, self._start)
        first["breaks"], first["hot"] = 0, ROOT if len(self._given.hot.is_word) else NONE

    def _run(self, likely: SparseEmissions, first: int) -> int:
        return run(self._work, self._given, *likely, first)

    def _best(self) -> list[Beam]:
        in_order, num = finish(self._work, self._given)
        found = read_out(self._work, self._given, self._codes, in_order, min(num, self._options.num_best))
        said = found.texts.tobytes().decode("utf-32-le", "surrogatepass").split("\n")[:-1]
        texts = [text.split(" ") if text else [] for text in said]
        return beams_of(found, texts, self._search._lexicon.spelled, self._given.settings.keep_chars)


def _listed(states: Any) -> list[Any]:
    return list(states) if isinstance(states, list | tuple) else [states]


def warm_up(search: BeamSearch | None = None) -> float:
    """Compile what a search needs, or load what another process of this node has compiled; the seconds that took."""
    began = time.perf_counter()
    search = search or BeamSearch(Alphabet(("", " ", "a"), is_bpe=False))
    num_labels = len(search.alphabet.labels)
    with one_at_a_time():
        for dtype in (np.float32, np.float64):
            stream = search.stream(SearchOptions())
            stream.feed(np.full((2, num_labels), -math.log(num_labels), dtype))
            stream.result()
        stream.feed(top_k(np.zeros((1, num_labels)), 1))
        collect(stream._work, stream._given)
        stream._grow(1 << 13)
    return time.perf_counter() - began
