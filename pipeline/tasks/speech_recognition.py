"""`pipeline("automatic-speech-recognition")`: recordings to what is said in them, by a CTC model, with times if asked.

A recording is heard as the encode stage hears it, so its text does not depend on what else is in the list. Knows
nothing of where recordings and models come from.
"""

import inspect
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.config import EncodeConfig
from pipeline.encode import Emitter, Encoder
from pipeline.errors import RecordingError, UsageError
from pipeline.models.ctc import ForCTC
from pipeline.models.windows import output_step
from pipeline.records import SAMPLE_RATE, FloatArray, Recording
from pipeline.tasks.chunks import Chunk, Chunking, is_time
from pipeline.tasks.inputs import Heard, refusal
from pipeline.tasks.serve import Task, unknown
from pipeline.text.features import FeatureExtractor
from pipeline.unit import Unit

GENERATES = "a CTC model generates no text of its own; it takes return_timestamps, and a decoder takes decoder_kwargs"
TOLD = ("text", "chunks")
OF_WHISPER = "of these models none tells the language; Whisper does"


@dataclass(frozen=True)
class Recognition:
    """How a recording is heard, and what is told of it."""

    return_timestamps: str | None = None  # "char" or "word"
    chunk_length_s: float | None = None  # None or 0: whole, and in windows where it is longer than encode.whole_s
    stride_length_s: float | Sequence[float] | None = None  # of a chunk, at either end; None: a sixth of it
    decoder_kwargs: Mapping[str, Any] = field(default_factory=dict)  # of `decode_beams`


class AutomaticSpeechRecognitionPipeline(Task[Recognition]):
    """`{"text": ...}` of each recording; with `return_timestamps`, its "chunks" with their seconds too.

    What else was in a recording's dictionary comes back as a list with one entry per chunk, save what is named "text"
    or "chunks" there: a data set's own text is not what was heard.
    """

    task = "automatic-speech-recognition"
    max_channels = 2
    refused = dict.fromkeys(("generate_kwargs", "max_new_tokens", "num_beams", "generation_config"), GENERATES) | {
        "return_language": OF_WHISPER
    }

    model: ForCTC

    def __init__(
        self,
        model: ForCTC,
        tokenizer: Any,
        feature_extractor: Any,
        decoder: Any = None,
        options: Recognition | None = None,
        batch_size: int | None = None,
    ) -> None:
        super().__init__(model, options or Recognition(), batch_size)
        self.tokenizer, self.feature_extractor, self.decoder = tokenizer, feature_extractor, decoder
        self._emitter = Emitter.of(model, FeatureExtractor.from_settings(feature_extractor.to_dict()))
        self._encode = Encoder.of(self._emitter, EncodeConfig(batch_s=self.at_once_s))
        self.samples_per_frame = self._emitter.samples_per_row * output_step(model.config)
        if len(tokenizer) < self._emitter.num_labels:
            raise UsageError(
                f"the model has {self._emitter.num_labels} outputs, but its tokenizer knows {len(tokenizer)} tokens: "
                "give the tokenizer that the model was trained with"
            )
        self.check(self._options)

    def check(self, options: Recognition) -> None:
        wanted = options.return_timestamps
        if wanted and wanted not in ("char", "word"):
            raise UsageError(f"return_timestamps is 'char' or 'word' for a CTC model, not {wanted!r}")
        if wanted == "char" and self.decoder is not None:
            raise UsageError("with a language model there are times of words alone: return_timestamps='word'")
        if wanted == "word" and self.decoder is None and hasattr(self.tokenizer, "phonemize"):
            raise UsageError("a phoneme model knows no words: return_timestamps='char' tells the times of its phones")
        if options.decoder_kwargs and self.decoder is None:
            raise UsageError("decoder_kwargs are for a decoder, and there is none: give decoder=")
        if self.decoder is not None:
            _check_arguments(self.decoder.decode_beams, options.decoder_kwargs)
        self._chunking(options)

    @property
    def type(self) -> str:
        """As transformers calls it."""
        return "ctc" if self.decoder is None else "ctc_with_lm"

    def answers(self, heard: list[Heard], options: Recognition) -> Iterator[dict[str, Any]]:
        chunks = [self._chunks(one, options) for one in heard]
        parts = [
            [Recording(one.name, "", audio=one.audio[chunk.start : chunk.stop]) for chunk in some]
            for one, some in zip(heard, chunks, strict=True)
        ]
        self._encode(Unit(0, [part for some in parts for part in some]))
        whole = next((number for number, some in enumerate(parts) if any(part.error for part in some)), len(heard))
        emissions = [self._joined(*one) for one in zip(parts[:whole], chunks, strict=False)]
        for one, some, (text, told) in zip(heard, chunks, self._decoded(emissions, options), strict=False):
            answer: dict[str, Any] = {"text": text}
            if options.return_timestamps:
                answer["chunks"] = [self._timed(offset, options.return_timestamps) for offset in told]
            rest = {name: [value] * len(some) for name, value in one.rest.items() if name not in TOLD}
            yield answer | rest
        for part in parts[whole] if whole < len(heard) else ():
            if part.error:
                reason = RecordingError(part.error.removeprefix("encode: "), part.error_detail)
                raise refusal(heard[whole].name, reason)

    def _chunking(self, options: Recognition) -> Chunking | None:
        chunk_s = options.chunk_length_s
        if chunk_s is None or (is_time(chunk_s) and not chunk_s):
            return None
        return Chunking.of(chunk_s, options.stride_length_s, self.samples_per_frame)

    def _chunks(self, heard: Heard, options: Recognition) -> list[Chunk]:
        if (chunking := self._chunking(options)) is not None:
            return list(chunking.chunks(len(heard.audio), self._emitter.min_samples))
        return [Chunk(0, len(heard.audio), *(heard.stride or ()))]

    def _joined(self, parts: list[Recording], chunks: list[Chunk]) -> FloatArray:
        """Emissions (T, V) of what counts of a recording's chunks."""
        pieces = []
        for part, chunk in zip(parts, chunks, strict=True):
            assert part.emissions is not None
            is_all = not chunk.left and not chunk.right
            pieces.append(part.emissions if is_all else part.emissions[chunk.kept(self.samples_per_frame)])
        return np.concatenate(pieces)

    def _decoded(self, emissions: list[FloatArray], options: Recognition) -> Iterator[tuple[str, list[dict[str, Any]]]]:
        """Texts, and their parts with the frames where they are, where that is asked for."""
        wanted = options.return_timestamps
        if not emissions:
            return
        if self.decoder is not None:
            for text, words in self._searched(emissions, options.decoder_kwargs):
                yield text, [{"word": word, "start_offset": start, "end_offset": end} for word, (start, end) in words]
            return
        best: list[npt.NDArray[np.int64]] = [one.argmax(axis=1) for one in emissions]  # (T,) each
        # With special tokens, as transformers has it: what else a model says is not hidden.
        asked = {f"output_{wanted}_offsets": True} if wanted else {}
        found = self.tokenizer.batch_decode(best, skip_special_tokens=False, **asked)
        if wanted:
            yield from zip(found["text"], found[f"{wanted}_offsets"], strict=True)
        else:
            yield from ((text, []) for text in found)

    def _searched(self, emissions: list[FloatArray], asked: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
        """Texts, and their words with frames. All at once where the decoder can, which then uses every core."""
        at_once = getattr(self.decoder, "decode_beams_batch", None)
        if at_once is not None and asked.keys() <= set(_options_of(at_once)):
            for (text, words, *_), *_ in at_once(None, emissions, **asked):
                yield text, words
        else:  # with a state of the language model to begin with, too
            for one in emissions:
                text, _, words, *_ = self.decoder.decode_beams(one, **asked)[0]
                yield text, words

    def _timed(self, offset: Mapping[str, Any], kind: str) -> dict[str, Any]:
        start, end = (offset[f"{side}_offset"] * self.samples_per_frame / SAMPLE_RATE for side in ("start", "end"))
        return {"text": offset[kind], "timestamp": (start, end)}


def _check_arguments(decode: Any, asked: Any) -> None:
    if not isinstance(asked, Mapping):
        raise UsageError(f"decoder_kwargs is a dictionary of arguments of decode_beams, not {asked!r}")
    if any(one.kind is one.VAR_KEYWORD for one in inspect.signature(decode).parameters.values()):
        return  # somebody's own, which takes what it is given
    known = _options_of(decode)
    for name in asked:
        if name not in known:
            raise UsageError(f"decoder_kwargs: {unknown(name, known)}")


def _options_of(decode: Any) -> list[str]:
    """All but what is decoded, and the pool of processes that nobody here has."""
    return [name for name in inspect.signature(decode).parameters if name not in ("logits", "logits_list", "pool")]
