"""The beam search as the rest of the project calls it: emissions in, hypotheses out, many recordings at once.

Prepares what is given to the compiled search and makes strings of what it found. Threads share the language models and
the lexicon; compiled code releases the interpreter's lock. Knows nothing of where emissions come from.
"""

import math
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.compiled import one_at_a_time
from pipeline.decode import work as rows
from pipeline.decode.alphabet import WORD_START, Alphabet
from pipeline.decode.collect import collect
from pipeline.decode.hypotheses import Beam, BeamChar, BeamWord, Decoded, WordModel
from pipeline.decode.kernel import finish, run
from pipeline.decode.lexicon import ROOT, Lexicon, child_table
from pipeline.decode.likely import SparseEmissions, likely_labels, top_k
from pipeline.decode.options import Hotwords, LmWeights, SearchOptions
from pipeline.decode.readout import Found, read_out
from pipeline.decode.work import NONE, Given, Hot, Settings, Weights, grown, new_work, refill_tables
from pipeline.errors import RecordingError, UsageError
from pipeline.lm import lookup
from pipeline.lm.tables import Tables

Emissions = npt.NDArray[Any] | SparseEmissions  # (T, V) log-probabilities, of any float type

NO_HOTWORDS = Hot(np.full(1, -1, np.int64), np.zeros(1, np.int32), np.zeros(0, np.int32), np.zeros(0, np.uint8))


@dataclass(frozen=True, eq=False)
class LmState:
    """A language model's memory of a text, to begin another with."""

    words: npt.NDArray[np.uint32]
    backoffs: npt.NDArray[np.float32]
    length: int


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
        self._lms = np.array([m.model.tables for m in models], np.int64).reshape(-1, len(Tables._fields))

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
        if threads < 1:
            raise UsageError(f"threads must be at least 1, not {threads}")
        hot = self._hot(hotwords)
        longest_first = sorted(range(len(emissions)), key=lambda number: -num_frames(emissions[number]))
        results: list[Decoded | RecordingError] = [RecordingError("not decoded")] * len(emissions)
        waiting = iter(longest_first)

        def work_off() -> None:
            stream = Stream(self, options, hot, start, with_chars)
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
        if self.models and not sum(w.share for w in weights) > 0:
            raise UsageError("the shares of the language models add up to nothing")
        if len({w.share for w in weights}) == 1:  # a plain mean, to the bit
            weights = [replace(w, share=1.0) for w in weights]
        return Weights(
            alpha=np.array([w.alpha for w in weights], np.float64),
            beta=np.array([w.beta for w in weights], np.float64),
            unknown=np.array([w.unk_score_offset for w in weights], np.float64),
            boundary=np.array([w.score_boundary for w in weights], np.bool_),
            share=np.array([w.share for w in weights], np.float64),
            total=float(sum(w.share for w in weights)) or 1.0,
            end_ids=np.array([m.model.ids(["</s>"])[0] for m in self.models], np.int64),
            penalties=self._lexicon.part_penalties(weights),
        )

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


COLLECT_FROM = 1 << 16  # rows of a search; an hour of clear speech has some 10,000 words and 60,000 labels


class Stream:
    """One search in progress: its hypotheses, unfinished words and last labels carry on from chunk to chunk.

    Memory grows with what its hypotheses say, not with all that was tried.
    """

    def __init__(
        self,
        search: BeamSearch,
        options: SearchOptions,
        hot: tuple[Hot, float],
        start: Sequence[LmState] | None,
        with_chars: bool,
    ) -> None:
        self._search, self._options, self._start = search, options, start
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
        self._given = Given(lexicon.trie, lexicon.labels, search._lms, search._weights, hot[0], settings)
        self._work = new_work(options.beam_width, len(orders))
        self.restart()

    def restart(self) -> None:
        """Forget everything heard so far."""
        work = self._work
        epoch, stamp = work.counts[rows.EPOCH] + 1, work.counts[rows.STAMP]
        work.counts[:] = 0
        work.counts[rows.EPOCH], work.counts[rows.STAMP] = epoch, stamp
        work.counts[rows.BEAMS] = work.counts[rows.TEXTS] = 1
        work.texts[0] = np.zeros((), rows.TEXT)
        first = work.beams[0, 0]
        for name in rows.BEAM.names or ():
            first[name] = 0 if rows.BEAM[name].kind == "f" else NONE
        first["text"], first["part"], first["breaks"] = 0, ROOT, 0
        first["hot"] = ROOT if len(self._given.hot.is_word) else NONE
        states = work.state_words, work.state_backoffs, work.state_lengths
        for row, model in enumerate(self._search.models):
            if self._start is None:
                lookup.begin(model.model.tables, *states, row, model.weights.score_boundary)
            else:
                state = self._start[row]
                work.state_words[row], work.state_backoffs[row] = state.words, state.backoffs
                work.state_lengths[row] = state.length

    def feed(self, emissions: Emissions) -> None:
        """The next frames."""
        likely = likely_labels(emissions, self._search.alphabet, self._options.token_min_logp, self._search.compat)
        at = run(self._work, self._given, *likely, 0)
        while at < likely.num_frames:
            self._grow(int(likely.offsets[at + 1] - likely.offsets[at]))
            at = run(self._work, self._given, *likely, at)

    def result(self) -> Decoded:
        """What has been said so far, as if it ended here; the search can go on."""
        self._grow(1)
        work = self._work
        if work.counts[rows.FRAME] == 0 and not self._search.compat:
            states = (
                a[: len(self._search.models)].copy()
                for a in (work.state_words, work.state_backoffs, work.state_lengths)
            )
            return Decoded([Beam("", [], 0.0, 0.0, [], _lm_states(*states))], narrowed=False)
        in_order, num = finish(work, self._given)
        found = read_out(work, self._given, self._codes, in_order, min(num, self._options.num_best))
        return Decoded(self._beams(found), bool(work.counts[rows.NARROWED]))

    def _grow(self, num_labels: int) -> None:
        """Room for another frame: what nobody says any more is forgotten first, if that may be much."""
        if self._work.counts[[rows.TEXTS, rows.NODES, rows.WORDS, rows.CHARS]].max() >= COLLECT_FROM:
            collect(self._work, self._given)
            refill_tables(self._work)
        self._work = grown(self._work, self._given.settings, num_labels)

    def _beams(self, found: Found) -> list[Beam]:
        said = found.texts.tobytes().decode("utf-32-le", "surrogatepass").split("\n")
        starts, ends = found.words["start"], found.words["end"]
        confidences = np.minimum(np.exp(found.words["logp"] / np.maximum(ends - starts, 1)), 1.0)
        times = list(zip(starts.tolist(), ends.tolist(), confidences.tolist(), strict=True))
        num_models, beams, word, label = len(self._search.models), [], 0, 0
        for number, (logit, score) in enumerate(found.scores.tolist()):
            next_word, next_label = word + int(found.num_words[number]), label + int(found.num_labels[number])
            spoken = said[number].split(" ") if said[number] else []
            words = [BeamWord(text, *time) for text, time in zip(spoken, reversed(times[word:next_word]), strict=True)]
            chars = self._chars(found.labels[label:next_label][::-1]) if self._given.settings.keep_chars else []
            of_models = slice(number * num_models, (number + 1) * num_models)
            states = _lm_states(*(array[of_models] for array in found.states))
            beams.append(Beam(said[number], words, logit, score, chars, states))
            word, label = next_word, next_label
        return beams

    def _chars(self, spans: Any) -> list[BeamChar]:
        spelled = self._search._lexicon.spelled
        chars = zip(*(spans[name].tolist() for name in ("label", "start", "end")), strict=True)
        return [BeamChar(spelled[label], start, end) for label, start, end in chars if spelled[label]]


def _listed(states: Any) -> list[Any]:
    return list(states) if isinstance(states, list | tuple) else [states]


def num_frames(emissions: Emissions) -> int:
    return emissions.num_frames if isinstance(emissions, SparseEmissions) else len(emissions)


def _lm_states(words: Any, backoffs: Any, lengths: Any) -> tuple[LmState, ...] | None:
    """A state per language model, None where there is none."""
    return tuple(map(LmState, words, backoffs, lengths.tolist())) or None


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
