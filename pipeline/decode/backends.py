"""The decode stage by name: our compiled searches, for letters and for words from phones, the plain twin of the first
over the kenlm package, or pyctcdecode.

Fills the rows from what any of them finds; knows nothing of how they search. Built inside the process that decodes,
because language models are opened and code is compiled here.
"""

import math
import os
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from pipeline.decode.alphabet import Alphabet
from pipeline.decode.hypotheses import Beam, BeamWord, Decoded, WordModel
from pipeline.decode.options import Hotwords, SearchOptions
from pipeline.decode.probabilities import log_probabilities
from pipeline.decode.settings import DecodeSettings, LmSettings, check_same, lexicon_of, unigrams_of
from pipeline.errors import RecordingError, UsageError
from pipeline.records import Alternative, FloatArray, Phone, Recording, Word
from pipeline.text.vocabulary import Vocabulary
from pipeline.unit import Unit

if TYPE_CHECKING:
    from pipeline.decode.beam import BeamSearch
    from pipeline.decode.phones.search import WordSearch

WARM_UP = "warm up"  # seconds of compiling and of opening language models, apart from those of decoding


class Search(Protocol):
    def decode(
        self, emissions: Sequence[FloatArray], options: SearchOptions, hotwords: Hotwords | None, threads: int
    ) -> Sequence[Decoded | RecordingError]: ...


class BeamDecoder:
    """The decode stage: all recordings of a unit at once -> text, words, phones where a lexicon says them, n best."""

    def __init__(self, settings: DecodeSettings, vocabulary: Vocabulary) -> None:
        wall, cpu = time.perf_counter(), time.process_time()
        self._settings, self._vocabulary = settings, vocabulary
        of: Any = search(settings, vocabulary)
        # The characters of a search for words in phones are the phones.
        self._decode = partial(of.decode, with_chars=True) if settings.lexicon else of.decode
        self._threads = settings.threads or len(os.sched_getaffinity(0))
        if settings.decoder == "native":
            warm_up(settings, of)
        # Until a unit carries it away.
        self._warm_up_s: tuple[float, float] | None = time.perf_counter() - wall, time.process_time() - cpu

    def __call__(self, unit: Unit) -> Unit:
        if self._warm_up_s is not None:
            unit.stage_s[WARM_UP], unit.stage_cpu_s[WARM_UP] = self._warm_up_s
            self._warm_up_s = None
        pending = unit.pending()
        emissions: list[Any] = [recording.emissions for recording in pending if recording.emissions is not None]
        assert len(emissions) == len(pending)
        options = self._settings.search
        if options.compat and self._settings.decoder != "pyctcdecode":
            # What is normalised already is normalised once more, as pyctcdecode does it.
            emissions = [log_probabilities(one, compat=True) for one in emissions]
        found = self._decode(emissions, options, self._settings.hotwords, self._threads)
        for recording, decoded in zip(pending, found, strict=True):
            if isinstance(decoded, RecordingError):
                recording.fail("decode", decoded)
            else:
                if self._settings.lexicon is not None:
                    recording.phones = _phones(recording, decoded.beams[0], self._vocabulary)
                _fill(recording, decoded, options.num_best > 1)
                recording.narrowed = None if self._settings.decoder == "pyctcdecode" else decoded.narrowed
            recording.emissions = recording.frame_s = None
        return unit


def search(settings: DecodeSettings, vocabulary: Vocabulary) -> Search:
    """What searches, with its language models loaded."""
    for model in settings.models:
        _check_content(model)
    if settings.decoder == "native":
        return native_search(settings, vocabulary)
    alphabet = Alphabet.of(vocabulary)
    if settings.decoder == "kenlm":
        return _plain_search(settings, alphabet)
    return _PyctcdecodeSearch(settings, alphabet)


def native_search(settings: DecodeSettings, vocabulary: Vocabulary) -> "BeamSearch | WordSearch":
    from pipeline.compiled import one_at_a_time
    from pipeline.lm.model import LanguageModel

    models = [
        WordModel(LanguageModel.open(m.location), unigrams_of(m, settings.as_pyctcdecode), m.weights)
        for m in settings.models
    ]
    with one_at_a_time():
        if settings.lexicon is not None:
            from pipeline.decode.phones.search import WordSearch

            return WordSearch(vocabulary, lexicon_of(settings.lexicon, vocabulary).lexicon, models)
        from pipeline.decode.beam import BeamSearch

        return BeamSearch(Alphabet.of(vocabulary), models, settings.search.compat)


def warm_up(settings: DecodeSettings, search: Any = None, compiling: Callable[[], None] | None = None) -> None:
    """Compile what the native search needs, or load what another process of this node has compiled.

    `compiling` is called as the first of it begins to be compiled, which is not where all of it is loaded.
    """
    with _told_of_compiling(compiling) if compiling else nullcontext():
        if settings.lexicon is not None:
            from pipeline.decode.phones.search import warm_up as of_phones

            of_phones(search)
        else:
            from pipeline.decode.beam import warm_up as of_letters

            of_letters(search)


@contextmanager
def _told_of_compiling(tell: Callable[[], None]) -> Iterator[None]:
    """At the first function that no cache has."""
    from numba.core import event

    class Listener(event.Listener):
        told = False

        def on_start(self, event: object) -> None:
            if not self.told:
                self.told = True
                tell()

        def on_end(self, event: object) -> None:
            """Nothing is left to tell."""

    with event.install_listener("numba:compile", Listener()):
        yield


def _plain_search(settings: DecodeSettings, alphabet: Alphabet) -> Search:
    from pipeline.decode.plain import PlainBeamSearch
    from pipeline.decode.scorers import KenlmScorer

    models = [
        WordModel(KenlmScorer(_file_for_kenlm(m)), unigrams_of(m, settings.as_pyctcdecode), m.weights)
        for m in settings.models
    ]
    return PlainBeamSearch(alphabet, models, settings.search.compat)


class _PyctcdecodeSearch:
    """The package itself, faults included; it tells no confidence of words and has no limit of effort."""

    def __init__(self, settings: DecodeSettings, alphabet: Alphabet) -> None:
        from pyctcdecode.alphabet import Alphabet as TheirAlphabet
        from pyctcdecode.decoder import BeamSearchDecoderCTC
        from pyctcdecode.language_model import LanguageModel as TheirModel

        model = None
        for of in settings.models:
            import kenlm

            weights = of.weights
            model = TheirModel(
                kenlm.Model(_file_for_kenlm(of)),
                unigrams_of(of, as_pyctcdecode=True),
                alpha=weights.alpha,
                beta=weights.beta,
                unk_score_offset=weights.unk_score_offset,
                score_boundary=weights.score_boundary,
            )
        self._decoder: Any = BeamSearchDecoderCTC(TheirAlphabet(list(alphabet.labels), alphabet.is_bpe), model)

    def decode(
        self, emissions: Sequence[FloatArray], options: SearchOptions, hotwords: Hotwords | None, threads: int
    ) -> list[Decoded | RecordingError]:
        return [self._one(one, options, hotwords or Hotwords()) for one in emissions]

    def _one(self, emissions: FloatArray, options: SearchOptions, hotwords: Hotwords) -> Decoded | RecordingError:
        # Where these would raise inside the package, the trace would name neither the recording nor the reason.
        if np.isnan(emissions).any() or np.isposinf(emissions).any() or np.isneginf(emissions).all(axis=1).any():
            return RecordingError("emissions that are not numbers")
        found = self._decoder.decode_beams(
            emissions,
            beam_width=options.beam_width,
            beam_prune_logp=options.beam_prune_logp,
            token_min_logp=options.token_min_logp,
            prune_history=options.prune_history,
            hotwords=list(hotwords.words) or None,
            hotword_weight=hotwords.weight,
        )
        beams = [
            Beam(text, [BeamWord(word, start, end, math.nan) for word, (start, end) in frames], logit, score)
            for text, _, frames, logit, score in found[: options.num_best]
        ]
        return Decoded(beams, narrowed=False)


def _fill(recording: Recording, decoded: Decoded, with_alternatives: bool) -> None:
    assert recording.emissions is not None and recording.frame_s is not None
    best, frame_s, num_frames = decoded.beams[0], recording.frame_s, len(recording.emissions)
    posteriors: list[float] | list[None] = decoded.word_posteriors() if with_alternatives else [None] * len(best.words)
    recording.text = best.text
    recording.words = [
        Word(w.word, w.start * frame_s, w.end * frame_s, None if math.isnan(w.confidence) else w.confidence, posterior)
        for w, posterior in zip(best.words, posteriors, strict=True)
    ]
    recording.confidence = min(1.0, math.exp(best.logit_score / num_frames)) if num_frames else 0.0
    recording.score = best.score
    if with_alternatives:
        recording.nbest = [Alternative(beam.text, beam.score, beam.logit_score) for beam in decoded.beams]


def _phones(recording: Recording, beam: Beam, vocabulary: Vocabulary) -> list[Phone]:
    """The phones of a hypothesis, each as sure as its label was over its frames."""
    assert recording.emissions is not None and recording.frame_s is not None
    frame_s, emissions = recording.frame_s, recording.emissions
    if not beam.chars:
        return []
    column = {label: number for number, label in enumerate(vocabulary.labels)}
    phones, starts, ends = (list(of) for of in zip(*beam.chars, strict=True))
    lengths = np.subtract(ends, starts)
    first = np.cumsum(lengths) - lengths  # of each phone's frames among those of all
    frames = np.arange(lengths.sum()) + np.repeat(starts - first, lengths)
    along = emissions[frames, np.repeat([column[phone] for phone in phones], lengths)]
    sure = np.exp(np.add.reduceat(along, first, dtype=np.float64) / lengths).tolist()
    times = zip(np.multiply(starts, frame_s).tolist(), np.multiply(ends, frame_s).tolist(), strict=True)
    return [Phone(phone, *time, one) for phone, time, one in zip(phones, times, sure, strict=True)]


def _check_content(model: LmSettings) -> None:
    from pipeline.lm.model import lm_hash

    try:
        content = lm_hash(model.location)
    except UsageError as error:
        raise UsageError(f"on {socket.gethostname()}: {error}") from error
    check_same(model.location, content, model.content)


def _file_for_kenlm(model: LmSettings) -> str:
    """A file that the kenlm package reads, on this node's disk."""
    from pipeline.lm.model import LanguageModel

    return str(LanguageModel.open(model.location).path)
