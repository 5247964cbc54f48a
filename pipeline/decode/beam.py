"""The beam search as the rest of the project calls it: emissions in, hypotheses out, many recordings at once.

Prepares what the compiled `kernel` works on, lets its buffers grow, and reads what it found. Threads share the
language models and the lexicon; the kernel releases the interpreter's lock. Knows nothing of where emissions come from.
"""

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.decode import kernel
from pipeline.decode.alphabet import WORD_START, Alphabet
from pipeline.decode.hypotheses import Beam, BeamChar, BeamWord, Decoded, WordModel
from pipeline.decode.kernel import Hot, Settings, Weights, Work
from pipeline.decode.lexicon import ROOT, Lexicon, child_table
from pipeline.decode.options import Hotwords, LmWeights, SearchOptions
from pipeline.errors import RecordingError, UsageError
from pipeline.lm import lookup
from pipeline.lm.tables import STATE_WORDS, Tables

Emissions = npt.NDArray[Any]  # (T, V) log-probabilities, of any float type

FLOOR = float(np.log(1e-15))  # less probable than this is as if it were this
NO_HOTWORDS = Hot(np.full(1, -1, np.int64), np.zeros(1, np.int32), np.zeros(0, np.int32), np.zeros(0, np.uint8))


@dataclass(frozen=True)
class LmState:
    """A language model's memory of a text, to begin another with."""

    words: npt.NDArray[np.uint32]
    backoffs: npt.NDArray[np.float32]
    length: int


class BeamSearch:
    """A search over one alphabet with its language models, loaded once; any number of threads may call it."""

    def __init__(self, alphabet: Alphabet, models: Sequence[WordModel] = (), compat: bool = False) -> None:
        if not compat:
            alphabet.check()
        elif closing := [
            label for label in alphabet.labels if label[:1] != WORD_START and label[1:].endswith(WORD_START)
        ]:
            raise UsageError(f"compat mode does not know labels that end in {WORD_START} alone, as {closing[0]} does")
        self.alphabet, self.models, self.compat = alphabet, tuple(models), compat
        self._lexicon = Lexicon(alphabet, [m.model for m in models], [m.unigrams for m in models], compat)
        self._weights = self._weights_of([m.weights for m in models])
        self._lms = tuple(m.model.tables for m in models) or (_no_tables(),)

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
        longest_first = sorted(range(len(emissions)), key=lambda number: -len(emissions[number]))
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
        if not words:
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


class Stream:
    """One search in progress: its hypotheses, unfinished words and last labels carry on from chunk to chunk."""

    def __init__(
        self,
        search: BeamSearch,
        options: SearchOptions,
        hot: tuple[Hot, float],
        start: Sequence[LmState] | None,
        with_chars: bool,
    ) -> None:
        self._search, self._options, self._start = search, options, start
        self._trie, self._labels = search._lexicon.trie, search._lexicon.labels
        self._codes = np.array([0, *map(ord, search._lexicon.chars)], np.uint32)
        self._hot = hot[0]
        orders = [model.model.order for model in search.models]
        self._settings = Settings(
            beam_width=options.beam_width,
            beam_prune_logp=options.beam_prune_logp,
            prune_history=options.prune_history,
            history=max([1, *(order - 1 for order in orders)]),
            compat=search.compat,
            is_bpe=search.alphabet.is_bpe,
            max_effort=options.max_effort,
            keep_chars=with_chars,
            num_models=len(orders),
            longest=int(np.diff(self._labels.first).max(initial=1)),
            hot_weight=hot[1],
        )
        self._work = _new_work(options.beam_width, len(orders))
        self.restart()

    def restart(self) -> None:
        """Forget everything heard so far."""
        work = self._work
        epoch = work.counts[kernel.EPOCH] + 1
        stamp = work.counts[kernel.STAMP]
        work.counts[:] = 0
        work.counts[kernel.EPOCH], work.counts[kernel.STAMP] = epoch, stamp
        work.counts[kernel.BEAMS] = work.counts[kernel.TEXTS] = 1
        first = work.beams[0, 0]
        for name in kernel.BEAM.names or ():
            first[name] = 0 if kernel.BEAM[name].kind == "f" else kernel.NONE
        first["text"], first["part"], first["breaks"] = 0, ROOT, 0
        first["hot"] = ROOT if len(self._hot.is_word) else kernel.NONE
        work.texts[0] = np.zeros((), kernel.TEXT)
        for row, model in enumerate(self._search.models):
            if self._start is None:
                boundary = model.weights.score_boundary
                lookup.begin(
                    model.model.tables, work.state_words, work.state_backoffs, work.state_lengths, row, boundary
                )
            else:
                state = self._start[row]
                work.state_words[row], work.state_backoffs[row] = state.words, state.backoffs
                work.state_lengths[row] = state.length

    def feed(self, emissions: Emissions) -> None:
        """The next frames."""
        offsets, labels, logps = self._likely_labels(emissions)
        at = 0
        while True:
            at = kernel.run(
                self._work, self._trie, self._labels, self._search._lms, self._search._weights, self._hot,
                self._settings, offsets, labels, logps, at,
            )  # fmt: skip
            if at == len(offsets) - 1:
                break
            self._grow(int(offsets[at + 1] - offsets[at]))

    def result(self) -> Decoded:
        """What has been said so far, as if it ended here; the search can go on."""
        self._grow(1)
        work, search = self._work, self._search
        if work.counts[kernel.FRAME] == 0 and not search.compat:
            num_models = len(search.models)
            states = work.state_words, work.state_backoffs, work.state_lengths
            return Decoded([Beam("", [], 0.0, 0.0, [], _lm_states(*(a[:num_models].copy() for a in states)))], False)
        in_order, num = kernel.finish(
            work, self._trie, self._labels, search._lms, search._weights, self._hot, self._settings
        )
        num = min(num, self._options.num_best)
        found = kernel.read_out(work, self._trie, search._lms, self._settings, self._codes, in_order, num)
        return Decoded(self._beams(*found), bool(work.counts[kernel.NARROWED]))

    def _likely_labels(
        self, emissions: Emissions
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int32], npt.NDArray[np.float64]]:
        if emissions.ndim != 2:
            raise UsageError(f"emissions have two dimensions, frames and labels, not the shape {emissions.shape}")
        self._search.alphabet.check_width(emissions.shape[1])
        if emissions.dtype == np.float16:
            emissions = emissions.astype(np.float32)
        emissions = np.ascontiguousarray(emissions)
        ceiling = np.inf if self._search.compat else 0.0
        offsets, labels, logps, bad = kernel.sparse(emissions, self._options.token_min_logp, FLOOR, ceiling)
        if bad >= 0:
            raise RecordingError("emissions that are not numbers", f"first in frame {bad}")
        if self._search.compat:
            _reorder_as_set(offsets, labels, logps)
        return offsets, labels, logps

    def _beams(self, texts: Any, sums: Any, words: Any, labels: Any, states: Any) -> list[Beam]:
        """Strings and times from the kernel's arrays; words and labels come last first."""
        said = texts.tobytes().decode("utf-32-le", "surrogatepass").split("\n")
        confidences = np.minimum(np.exp(words["logp"] / np.maximum(words["end"] - words["start"], 1)), 1.0).tolist()
        starts, ends = words["start"].tolist(), words["end"].tolist()
        num_models, beams, w, c = len(self._search.models), [], 0, 0
        for number, (logit, score, num_words, num_labels) in enumerate(sums.tolist()):
            spoken = said[number].split(" ") if said[number] else []
            w, c = w + int(num_words), c + int(num_labels)
            beams.append(
                Beam(
                    said[number],
                    [
                        BeamWord(word, starts[w - i], ends[w - i], confidences[w - i])
                        for i, word in enumerate(spoken, 1)
                    ],
                    logit,
                    score,
                    self._chars(labels[c - int(num_labels) : c][::-1]) if self._settings.keep_chars else [],
                    _lm_states(*(array[number * num_models : (number + 1) * num_models] for array in states)),
                )
            )
        return beams

    def _chars(self, spans: Any) -> list[BeamChar]:
        chars = self._search._lexicon.spelled
        return [
            BeamChar(chars[label], start, end)
            for label, start, end in zip(*(spans[name].tolist() for name in ("label", "start", "end")), strict=True)
            if chars[label]
        ]

    def _grow(self, num_tokens: int) -> None:
        """Room for a frame of so many labels, and for `finish`."""
        self._work = _grown(self._work, self._settings, num_tokens)


def _lm_states(words: Any, backoffs: Any, lengths: Any) -> tuple[LmState, ...] | None:
    """A state per language model, None where there is none."""
    return tuple(map(LmState, words, backoffs, lengths.tolist())) or None


def _no_tables() -> Tables:
    """What stands in a language model's place where there is none, so that no other code has to be compiled."""
    return Tables(0, 1, 0, 0, 0)


def _new_work(beam_width: int, num_models: int) -> Work:
    rows = 1 << 12
    return Work(
        counts=np.zeros(kernel.EPOCH + 1, np.int64),
        beams=np.zeros((2, beam_width), kernel.BEAM),
        candidates=np.zeros(rows, kernel.CANDIDATE),
        order=np.zeros((2, rows), np.int32),
        slots=np.zeros(2 * rows, np.int32),
        slot_stamps=np.zeros(2 * rows, np.int64),
        texts=np.zeros(rows, kernel.TEXT),
        text_slots=np.zeros(2 * rows, np.int32),
        text_stamps=np.zeros(2 * rows, np.int64),
        state_words=np.zeros((rows * num_models + 1, STATE_WORDS), np.uint32),
        state_backoffs=np.zeros((rows * num_models + 1, STATE_WORDS), np.float32),
        state_lengths=np.zeros(rows * num_models + 1, np.int64),
        nodes=np.zeros(rows, kernel.NODE),
        node_slots=np.zeros(2 * rows, np.int32),
        node_stamps=np.zeros(2 * rows, np.int64),
        words=np.zeros(rows, kernel.SPAN),
        chars=np.zeros(rows, kernel.SPAN),
    )


def _grown(work: Work, settings: Settings, num_tokens: int) -> Work:
    """With room for a frame of so many labels: up to twice what is needed."""
    counts, num_beams = work.counts, int(work.counts[kernel.BEAMS])
    num = num_beams * num_tokens
    grown: dict[str, Any] = {}
    if num > len(work.candidates):
        rows = _power(num)
        grown["candidates"], grown["order"] = np.zeros(rows, kernel.CANDIDATE), np.zeros((2, rows), np.int32)
        grown["slots"], grown["slot_stamps"] = np.zeros(2 * rows, np.int32), np.zeros(2 * rows, np.int64)
    if (needed := counts[kernel.TEXTS] + max(num, num_beams) + 2) > len(work.texts):
        rows, states = _power(needed), _power(needed) * settings.num_models + 1
        grown["texts"] = _longer(work.texts, rows)
        grown["text_slots"], grown["text_stamps"] = np.zeros(2 * rows, np.int32), np.zeros(2 * rows, np.int64)
        for name in ("state_words", "state_backoffs", "state_lengths"):
            grown[name] = _longer(getattr(work, name), states)
    if (needed := counts[kernel.NODES] + num * settings.longest) > len(work.nodes):
        rows = _power(needed)
        grown["nodes"] = _longer(work.nodes, rows)
        grown["node_slots"], grown["node_stamps"] = np.zeros(2 * rows, np.int32), np.zeros(2 * rows, np.int64)
    for name, count in (("words", kernel.WORDS), ("chars", kernel.CHARS)):
        if (needed := counts[count] + 2 * num_beams) > len(getattr(work, name)):
            grown[name] = _longer(getattr(work, name), _power(needed))
    larger = work._replace(**grown)
    if "texts" in grown:
        kernel.enter_texts(larger)
    if "nodes" in grown:
        kernel.enter_nodes(larger)
    return larger


def _power(needed: int) -> int:
    """The power of two above."""
    return 1 << int(needed).bit_length()


def _longer(array: npt.NDArray[Any], rows: int) -> npt.NDArray[Any]:
    longer = np.zeros((rows, *array.shape[1:]), array.dtype)
    longer[: len(array)] = array
    return longer


def _reorder_as_set(
    offsets: npt.NDArray[np.int64], labels: npt.NDArray[np.int32], logps: npt.NDArray[np.float64]
) -> None:
    """pyctcdecode tries a frame's labels in the order of a Python set, which decides between equal scores."""
    bounds = offsets.tolist()
    for frame in np.flatnonzero(np.diff(offsets) > 1).tolist():
        here = slice(bounds[frame], bounds[frame + 1])
        likely = labels[here].tolist()
        order = list(set(likely) | {likely[int(logps[here].argmax())]})
        if order != likely:
            places = [likely.index(label) for label in order]
            labels[here], logps[here] = labels[here][places], logps[here][places]


def warm_up() -> float:
    """Compile, or load what an earlier process of this node has compiled; the seconds that took."""
    began = time.perf_counter()
    labels = ("", " ", "a")
    for dtype in (np.float16, np.float32, np.float64):
        BeamSearch(Alphabet(labels, is_bpe=False)).decode([np.full((2, 3), np.log(1 / 3), dtype)], SearchOptions())
    return time.perf_counter() - began
