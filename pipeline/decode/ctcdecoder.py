"""pyctcdecode's face over our own search: code written for it needs only its import changed.

    from pipeline.decode.ctcdecoder import build_ctcdecoder

Results are corrected as `pipeline.decode.plain` says; with `compat=True` they are pyctcdecode 0.5.0's to the bit, as
it computes under the numpy below 2 that it asks for (from numpy 2 on it adds up float32 probabilities in float32).
Knows nothing of how the search works.
"""

import os
import warnings
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.decode.alphabet import Alphabet
from pipeline.decode.arguments import hot_words, lm_weights, search_options, whole
from pipeline.decode.directory import read_directory, write_directory
from pipeline.decode.hypotheses import Beam, Decoded, WordModel
from pipeline.decode.options import Hotwords, LmWeights, SearchOptions
from pipeline.decode.probabilities import log_probabilities
from pipeline.decode.unigrams import arpa_unigrams, misfits
from pipeline.errors import RecordingError, UsageError

Logits = Any  # (T, V): an array, or what numpy makes one of
LmState = Any  # opaque: from one decode to the next
WordFrames = tuple[str, tuple[int, int]]
OutputBeam = tuple[str, LmState, list[WordFrames], float, float]  # text, state, frames, logit_score, lm_score
OutputBeamMPSafe = tuple[str, list[WordFrames], float, float]


def build_ctcdecoder(
    labels: Sequence[str],
    kenlm_model_path: str | None = None,
    unigrams: Collection[str] | None = None,
    alpha: float = 0.5,
    beta: float = 1.5,
    unk_score_offset: float = -10.0,
    lm_score_boundary: bool = True,
    *,
    compat: bool = False,
) -> "BeamSearchDecoderCTC":
    """A decoder for a model's labels, with a word n-gram model if one is given (KenLM binary or ARPA, path or URL).

    Without unigrams the language model's own words are taken; in compat mode, as in pyctcdecode, only an ARPA's are.
    """
    alphabet = Alphabet.build(labels)
    if kenlm_model_path is None:
        return BeamSearchDecoderCTC(alphabet, compat=compat)
    if compat and unigrams is None and kenlm_model_path.endswith(".arpa"):
        unigrams = arpa_unigrams(kenlm_model_path)
    weights = LmWeights(**lm_weights(alpha, beta, unk_score_offset, lm_score_boundary))
    return BeamSearchDecoderCTC(alphabet, _word_model(kenlm_model_path, unigrams, weights, compat), compat=compat)


class BeamSearchDecoderCTC:
    """May be pickled: another process opens the language model again by its location, and shares its memory."""

    def __init__(
        self,
        alphabet: Alphabet,
        language_model: WordModel | Sequence[WordModel] | None = None,
        *,
        compat: bool = False,
    ) -> None:
        models = [] if language_model is None else language_model
        self._models = (models,) if isinstance(models, WordModel) else tuple(models)
        self._alphabet = alphabet
        self._compat = compat
        self._search = _new_search(alphabet, self._models, compat)
        for model in self._models:
            for misfit in misfits(alphabet, model, compat):
                warnings.warn(misfit, stacklevel=2)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_search"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._search = _new_search(self._alphabet, self._models, self._compat)

    @property
    def alphabet(self) -> Alphabet:
        return self._alphabet

    @property
    def language_models(self) -> tuple[WordModel, ...]:
        return self._models

    def reset_params(
        self,
        alpha: float | None = None,
        beta: float | None = None,
        unk_score_offset: float | None = None,
        lm_score_boundary: bool | None = None,
    ) -> None:
        """Other weights, for all language models; what is not given stays."""
        changes = lm_weights(alpha, beta, unk_score_offset, lm_score_boundary)
        if not changes:
            return
        self._models = tuple(replace(model, weights=replace(model.weights, **changes)) for model in self._models)
        self._search = self._search.reweighted([model.weights for model in self._models])

    def decode(
        self,
        logits: Logits,
        beam_width: int = 100,
        beam_prune_logp: float = -10.0,
        token_min_logp: float = -5.0,
        hotwords: Iterable[str] | None = None,
        hotword_weight: float = 10.0,
        lm_start_state: LmState = None,
    ) -> str:
        """The best text of logits, log-probabilities or probabilities (time, labels)."""
        options = search_options(beam_width, beam_prune_logp, token_min_logp, prune_history=True, num_best=1)
        found = self._decoded([logits], options, hot_words(hotwords, hotword_weight), start=lm_start_state)
        return found[0].beams[0].text

    def decode_beams(
        self,
        logits: Logits,
        beam_width: int = 100,
        beam_prune_logp: float = -10.0,
        token_min_logp: float = -5.0,
        prune_history: bool = False,
        hotwords: Iterable[str] | None = None,
        hotword_weight: float = 10.0,
        lm_start_state: LmState = None,
        *,
        num_best: int | None = None,
    ) -> list[OutputBeam]:
        """The best texts, best first: (text, state of the language model, words with frames, two scores).

        All that are in the beam, or `num_best` of them. The state can begin another decode. It holds what the model
        remembers of the words; a word that the end of the logits cuts in two is lost: `BeamSearch.stream` continues a
        search without that.
        """
        num_best = beam_width if num_best is None else num_best
        options = search_options(beam_width, beam_prune_logp, token_min_logp, prune_history, num_best)
        found = self._decoded([logits], options, hot_words(hotwords, hotword_weight), start=lm_start_state)
        return [(beam.text, beam.lm_state, _frames(beam), beam.logit_score, beam.score) for beam in found[0].beams]

    def decode_batch(
        self,
        pool: Any,
        logits_list: Iterable[Logits] | None = None,
        beam_width: int = 100,
        beam_prune_logp: float = -10.0,
        token_min_logp: float = -5.0,
        hotwords: Iterable[str] | None = None,
        hotword_weight: float = 10.0,
        *,
        threads: int | None = None,
    ) -> list[str]:
        """The best text of each. No pool is needed, and none is used: give None, or leave it out.

        `threads`: by default one per CPU that this process may use.
        """
        options = search_options(beam_width, beam_prune_logp, token_min_logp, prune_history=True, num_best=1)
        many = _logits_list(pool, logits_list)
        found = self._decoded(many, options, hot_words(hotwords, hotword_weight), threads)
        return [decoded.beams[0].text for decoded in found]

    def decode_beams_batch(
        self,
        pool: Any,
        logits_list: Iterable[Logits] | None = None,
        beam_width: int = 100,
        beam_prune_logp: float = -10.0,
        token_min_logp: float = -5.0,
        prune_history: bool = False,
        hotwords: Iterable[str] | None = None,
        hotword_weight: float = 10.0,
        *,
        threads: int | None = None,
        num_best: int | None = None,
    ) -> list[list[OutputBeamMPSafe]]:
        """The best texts of each, without states. No pool is needed, and none is used."""
        num_best = beam_width if num_best is None else num_best
        options = search_options(beam_width, beam_prune_logp, token_min_logp, prune_history, num_best)
        many = _logits_list(pool, logits_list)
        found = self._decoded(many, options, hot_words(hotwords, hotword_weight), threads)
        return [
            [(beam.text, _frames(beam), beam.logit_score, beam.score) for beam in decoded.beams] for decoded in found
        ]

    def save_to_dir(self, filepath: str) -> None:
        """As pyctcdecode writes it, and reads it."""
        if len(self._models) > 1:
            raise UsageError("a decoder directory holds one language model, and this decoder has several")
        write_directory(Path(filepath), self._alphabet, self._models[0] if self._models else None, self._compat)

    @classmethod
    def load_from_dir(
        cls, filepath: str, unigram_encoding: str | None = None, *, compat: bool = False
    ) -> "BeamSearchDecoderCTC":
        """From a directory that pyctcdecode or transformers wrote, by path or URL."""
        found = read_directory(str(filepath), unigram_encoding or "utf-8")
        if found.model is None:
            return cls(found.alphabet, compat=compat)
        return cls(found.alphabet, _word_model(found.model, found.unigrams, found.weights, compat), compat=compat)

    @classmethod
    def load_from_hf_hub(
        cls, model_id: str, cache_dir: str | None = None, *, compat: bool = False, **kwargs: Any
    ) -> "BeamSearchDecoderCTC":
        """From the Hugging Face hub; further arguments go to `huggingface_hub.snapshot_download`."""
        from huggingface_hub import snapshot_download

        return cls.load_from_dir(snapshot_download(model_id, cache_dir=cache_dir, **kwargs), compat=compat)

    def cleanup(self) -> None:
        """Nothing to do: the language model goes when its decoders go."""

    @classmethod
    def clear_class_models(cls) -> None:
        """Nothing to do: no language model is kept by the class."""

    def _decoded(
        self,
        many: Sequence[Logits],
        options: SearchOptions,
        hotwords: Hotwords,
        threads: int | None = 1,
        start: LmState = None,
    ) -> list[Decoded]:
        threads = None if threads is None else whole("threads", threads)
        emissions = [self._emissions(logits, number, len(many)) for number, logits in enumerate(many)]
        found = self._search.decode(emissions, options, hotwords, threads or _num_cpus(), start=start)
        results = []
        for number, result in enumerate(found):
            if isinstance(result, RecordingError):
                raise UsageError(
                    f"{_name(number, len(many))}: NaN or infinity ({result.reason}, {result.detail}); "
                    "the model or its input is broken there"
                )
            results.append(result)
        return results

    def _emissions(self, logits: Logits, number: int, count: int) -> npt.NDArray[np.float64]:
        name = _name(number, count)
        array = np.asarray(logits)
        if array.ndim != 2:
            hint = "; decode_batch takes several at once" if array.ndim == 3 else ""
            raise UsageError(f"{name}: the shape is {array.shape}, not one of two dimensions, time and labels{hint}")
        if array.dtype.kind not in "biuf":
            raise UsageError(f"{name}: they are of {array.dtype}, not numbers")
        try:
            self._alphabet.check_width(array.shape[1])
        except UsageError as error:
            raise UsageError(f"{name}: {error}") from error
        return log_probabilities(array, self._compat)


def _new_search(alphabet: Alphabet, models: Sequence[WordModel], compat: bool) -> Any:
    from pipeline.decode.beam import BeamSearch

    return BeamSearch(alphabet, models, compat)


def _word_model(location: str, unigrams: Collection[str] | None, weights: LmWeights, compat: bool) -> WordModel:
    from pipeline.lm.model import LanguageModel

    if unigrams is not None:
        # An empty list makes every word unknown to pyctcdecode; nobody has asked for that.
        unigrams = frozenset(unigrams) if unigrams or compat else None
    elif compat:
        warnings.warn(
            f"{location}: without unigrams pyctcdecode takes every beginning of a word for an unknown one, which "
            "costs accuracy; give unigrams, or leave compat mode, which takes the language model's own words",
            stacklevel=3,
        )
    return WordModel(LanguageModel.open(location), unigrams, weights)


def _logits_list(pool: Any, logits_list: Iterable[Logits] | None) -> list[Logits]:
    """pyctcdecode's first argument is a pool of processes, for which there is no need here."""
    return list(pool if logits_list is None else logits_list)


def _frames(beam: Beam) -> list[WordFrames]:
    return [(word.word, (word.start, word.end)) for word in beam.words]


def _name(number: int, count: int) -> str:
    return f"logits {number + 1} of {count}" if count > 1 else "the logits"


def _num_cpus() -> int:
    affinity = getattr(os, "sched_getaffinity", None)  # not on macOS
    return len(affinity(0)) if affinity else os.cpu_count() or 1
