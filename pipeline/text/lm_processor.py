"""The processor that decodes with a language model: a feature extractor, a tokenizer and our own beam search in one.

Knows nothing of how the search works. Results are corrected as `pipeline.decode.plain` says; of a decoder with
`compat=True` (an option of `from_pretrained`, too) they are those of pyctcdecode 0.5.0 to the bit. Frames that are
padding are never decoded: those whose values are all -100, and those beyond the `lengths`.
"""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy.typing as npt

from pipeline.decode.arguments import whole
from pipeline.decode.ctcdecoder import BeamSearchDecoderCTC
from pipeline.decode.directory import decoder_directory
from pipeline.decode.options import WEIGHTS
from pipeline.errors import UsageError
from pipeline.outputs import ModelOutput
from pipeline.text.alphabet_fit import check_fit, missing_tokens
from pipeline.text.batch import ArgumentError, as_array
from pipeline.text.collapse import as_counts
from pipeline.text.from_hub import check_no_push, hub_and_rest
from pipeline.text.processors import Processor, located, parts

Logits = Any  # (T, V): an array, a tensor, or what numpy makes an array of
WordOffsets = list[dict[str, int | str]]  # "word", "start_offset" and "end_offset", in frames, the latter exclusive

PADDING = -100.0  # what a padded frame is filled with, as transformers' trainer fills it


@dataclass
class Wav2Vec2DecoderWithLMOutput(ModelOutput):
    """Of `decode` one of each; of `batch_decode` a list with one per recording. With `n_best` above one each of these
    is a list, best first.

    A frame lasts `model.config.inputs_to_logits_ratio / processor.feature_extractor.sampling_rate` seconds.
    """

    text: list[list[str]] | list[str] | str
    logit_score: list[list[float]] | list[float] | float | None = None  # natural logarithm of its probability
    lm_score: list[list[float]] | list[float] | float | None = None  # with language model and hotwords, ranked by
    word_offsets: list[list[WordOffsets]] | list[WordOffsets] | WordOffsets | None = None


class Wav2Vec2ProcessorWithLM(Processor):
    """Transcribes logits (T, V) with a language model. May be pickled: another process opens the model's file again."""

    decoder: BeamSearchDecoderCTC

    def __init__(self, feature_extractor: Any, tokenizer: Any, decoder: BeamSearchDecoderCTC) -> None:
        super().__init__(feature_extractor, tokenizer)
        if not isinstance(decoder, BeamSearchDecoderCTC):
            kind = f"{type(decoder).__module__}.{type(decoder).__qualname__}"
            raise UsageError(f"the decoder is a {kind}: make one with pipeline.decode.ctcdecoder.build_ctcdecoder")
        check_fit(tokenizer, decoder.alphabet)
        self.decoder = decoder

    @classmethod
    def from_pretrained(
        cls, name: str | os.PathLike[str], *, compat: bool = False, unigram_encoding: str = "utf-8", **options: Any
    ) -> Self:
        """Of a checkpoint with a decoder: `alphabet.json` and `language_model/` beside the processor's other files.

        `alpha`, `beta`, `unk_score_offset` and `score_boundary` override the weights that were saved. With `compat` it
        decodes as pyctcdecode does. The other options are those of a processor without a decoder.
        """
        weights = {option: options.pop(option) for option in WEIGHTS if option in options}
        directory, rest = located(name, options)
        place = decoder_directory(name, hub_and_rest(options)[0])
        decoder = BeamSearchDecoderCTC.load_from_dir(place, unigram_encoding, compat=compat)
        decoder.reset_params(lm_score_boundary=weights.pop("score_boundary", None), **weights)
        return cls(*parts(directory, rest), decoder)

    def save_pretrained(
        self, directory: str | os.PathLike[str], push_to_hub: bool = False, legacy_format: bool | None = None
    ) -> None:
        """With the language model, a copy of whose file is made; there must be none in the directory yet."""
        check_no_push(push_to_hub)
        self.decoder.save_to_dir(os.fspath(directory))
        super().save_pretrained(directory)

    @property
    def language_model(self) -> "LanguageModel":
        """Its weights can be read and set."""
        if not self.decoder.language_models:
            raise UsageError("this processor's decoder has no language model")
        return LanguageModel(self.decoder)

    def decode(
        self,
        logits: Logits,
        beam_width: int | None = None,
        beam_prune_logp: float | None = None,
        token_min_logp: float | None = None,
        hotwords: Iterable[str] | None = None,
        hotword_weight: float | None = None,
        alpha: float | None = None,
        beta: float | None = None,
        unk_score_offset: float | None = None,
        lm_score_boundary: bool | None = None,
        output_word_offsets: bool = False,
        n_best: int = 1,
    ) -> Wav2Vec2DecoderWithLMOutput:
        """The `n_best` likeliest texts of one recording's logits (T, V).

        The search is pyctcdecode's in width unless told otherwise: 100 hypotheses, those 10 below the best dropped,
        labels below -5 skipped, hotwords of weight 10. `alpha`, `beta`, `unk_score_offset` and `lm_score_boundary` stay
        for later calls.
        """
        given = _given(beam_width, beam_prune_logp, token_min_logp, hotwords, hotword_weight, n_best)
        self.decoder.reset_params(alpha, beta, unk_score_offset, lm_score_boundary)
        array = as_array(logits)
        if array.ndim == 3:
            raise ArgumentError(
                f"the logits are of {len(array)} recordings: batch_decode takes these, decode takes one"
            )
        beams = self.decoder.decode_beams(_unpadded(array), **given)
        return Wav2Vec2DecoderWithLMOutput(*_fields(beams, n_best, output_word_offsets))

    def batch_decode(
        self,
        logits: Logits | Sequence[Logits],
        pool: Any = None,
        num_processes: int | None = None,
        beam_width: int | None = None,
        beam_prune_logp: float | None = None,
        token_min_logp: float | None = None,
        hotwords: Iterable[str] | None = None,
        hotword_weight: float | None = None,
        alpha: float | None = None,
        beta: float | None = None,
        unk_score_offset: float | None = None,
        lm_score_boundary: bool | None = None,
        output_word_offsets: bool = False,
        n_best: int = 1,
        *,
        lengths: Iterable[int] | None = None,
    ) -> Wav2Vec2DecoderWithLMOutput:
        """The same of many recordings: logits (B, T, V), or a list of (T, V).

        `pool` is not needed, and not used: threads search, which share the language model. `num_processes` is their
        number; by default there is one per CPU that this process may use. `lengths` are the recordings' numbers of
        frames: `model._get_feat_extract_output_lengths(attention_mask.sum(-1))`. The frames beyond are padding.
        """
        given = _given(beam_width, beam_prune_logp, token_min_logp, hotwords, hotword_weight, n_best)
        self.decoder.reset_params(alpha, beta, unk_score_offset, lm_score_boundary)
        threads = None if num_processes is None else whole("num_processes", num_processes)
        many = [_unpadded(array) for array in _cut(_arrays(logits), lengths)]
        found = self.decoder.decode_beams_batch(None, many, **given, threads=threads)
        each = [_fields(beams, n_best, output_word_offsets) for beams in found]
        texts, logit_scores, lm_scores, offsets = ([fields[at] for fields in each] for at in range(4))
        return Wav2Vec2DecoderWithLMOutput(texts, logit_scores, lm_scores, offsets if output_word_offsets else None)

    @staticmethod
    def get_missing_alphabet_tokens(decoder: BeamSearchDecoderCTC, tokenizer: Any) -> set[str]:
        """Tokens of the tokenizer that no label of the decoder stands for."""
        return set(missing_tokens(tokenizer, decoder.alphabet))


class _Weight:
    """A weight of a decoder's language model, as an attribute."""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, model: "LanguageModel | None", owner: type) -> Any:
        if model is None:
            return self
        return getattr(model.decoder.language_models[0].weights, self._name)

    def __set__(self, model: "LanguageModel", value: Any) -> None:
        name = "lm_score_boundary" if self._name == "score_boundary" else self._name
        model.decoder.reset_params(**{name: value})


class LanguageModel:
    """A decoder's language model, with its weights as attributes that can be set."""

    def __init__(self, decoder: BeamSearchDecoderCTC) -> None:
        self.decoder = decoder

    alpha = _Weight()
    beta = _Weight()
    unk_score_offset = _Weight()
    score_boundary = _Weight()

    @property
    def order(self) -> int:
        return int(self.decoder.language_models[0].model.order)


def _given(
    beam_width: int | None,
    beam_prune_logp: float | None,
    token_min_logp: float | None,
    hotwords: Iterable[str] | None,
    hotword_weight: float | None,
    n_best: int,
) -> dict[str, Any]:
    """For the decoder, which has defaults for what is not."""
    if whole("n_best", n_best) < 1:
        raise ArgumentError(f"n_best must be at least 1, not {n_best}")
    options = {
        "beam_width": beam_width,
        "beam_prune_logp": beam_prune_logp,
        "token_min_logp": token_min_logp,
        "hotwords": hotwords,
        "hotword_weight": hotword_weight,
        "num_best": n_best,
    }
    return {name: value for name, value in options.items() if value is not None}


def _arrays(logits: Logits | Sequence[Logits]) -> list[npt.NDArray[Any]]:
    if not hasattr(logits, "ndim"):
        return [as_array(one) for one in _listed(logits)]
    array = as_array(logits)
    if array.ndim != 3:
        raise ArgumentError(
            f"the logits have the shape {array.shape}: batch_decode takes recordings, frames and labels, or a list "
            "with an array for each recording; decode takes one"
        )
    return list(array)


def _listed(logits: Any) -> list[Any]:
    try:
        return list(logits)
    except TypeError as error:
        raise ArgumentError(f"logits are an array, a tensor, or a list of these, not {logits!r:.100}") from error


def _cut(arrays: list[npt.NDArray[Any]], lengths: Iterable[int] | None) -> list[npt.NDArray[Any]]:
    """Each to as many frames as it has."""
    if lengths is None:
        return arrays
    counts = as_counts(lengths)
    if len(counts) != len(arrays):
        raise ArgumentError(f"there are {len(counts)} lengths, and logits of {len(arrays)} recordings")
    for number, (array, count) in enumerate(zip(arrays, counts, strict=True), 1):
        if not 0 <= count <= len(array):
            raise ArgumentError(
                f"logits {number} of {len(arrays)}: the length is {count}, and they have {len(array)} frames"
            )
    return [array[:count] for array, count in zip(arrays, counts, strict=True)]


def _unpadded(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Of (T, V), the frames that are not padding; of any other shape the decoder will say what is wrong with it."""
    if array.ndim != 2:
        return array
    padded = (array == PADDING).all(axis=1)
    return array[~padded] if padded.any() else array


def _fields(beams: Sequence[tuple[Any, ...]], n_best: int, with_offsets: bool) -> tuple[Any, Any, Any, Any]:
    """Text, two scores and offsets: of the best, or a list of each of the `n_best`."""
    each = [
        (
            beam[0],
            *beam[-2:],
            [{"word": word, "start_offset": start, "end_offset": end} for word, (start, end) in beam[-3]],
        )
        for beam in beams
    ]
    texts, logit_scores, lm_scores, offsets = each[0] if n_best == 1 else map(list, zip(*each, strict=True))
    return texts, logit_scores, lm_scores, offsets if with_offsets else None
