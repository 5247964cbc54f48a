"""The call itself: a task and a model's name, or the model, to something that recordings are given to.

    from pipeline import pipeline

    transcribe = pipeline("automatic-speech-recognition", model="facebook/wav2vec2-base-960h")
    transcribe("speech.flac")                               # {"text": "..."}
    transcribe("speech.flac", return_timestamps="word")     # {"text": "...", "chunks": [{"text", "timestamp"}, ...]}
    for answer in transcribe(paths):  # of any iterable, one after the other

Knows which classes there are for a task, and nothing of what they do.
"""

import inspect
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.errors import UsageError
from pipeline.models.auto import Auto, AutoConfig, AutoModelForAudioClassification, AutoModelForCTC
from pipeline.models.ctc import ForCTC
from pipeline.models.heads import ForSequenceClassification
from pipeline.models.linear import DTYPES
from pipeline.models.locate import HUB_OPTIONS
from pipeline.models.options import device_of, precision_of
from pipeline.models.pretrained import Pretrained
from pipeline.tasks.audio_classification import AudioClassificationPipeline, Classification
from pipeline.tasks.serve import Task, updated
from pipeline.tasks.speech_recognition import AutomaticSpeechRecognitionPipeline, Recognition


@dataclass(frozen=True)
class _Kind:
    """What a task is done by."""

    does: type[Task[Any]]
    options: Any  # as they are where nothing is asked for
    model: type[Pretrained]
    auto: type[Auto[Any]]
    head: str  # as the `architectures` of a config.json end


KINDS = {
    "automatic-speech-recognition": _Kind(
        AutomaticSpeechRecognitionPipeline, Recognition(), ForCTC, AutoModelForCTC, "ForCTC"
    ),
    "audio-classification": _Kind(
        AudioClassificationPipeline,
        Classification(),
        ForSequenceClassification,
        AutoModelForAudioClassification,
        "ForSequenceClassification",
    ),
}


def pipeline(
    task: str | None = None,
    model: Any = None,
    config: Any = None,
    tokenizer: Any = None,
    feature_extractor: Any = None,
    *,
    processor: Any = None,
    decoder: Any = None,
    device: Any = None,
    device_map: Any = None,
    dtype: Any = None,
    torch_dtype: Any = None,
    model_kwargs: Mapping[str, Any] | None = None,
    batch_size: int | None = None,
    trust_remote_code: bool | None = None,
    **options: Any,
) -> Any:
    """An `AutomaticSpeechRecognitionPipeline` or an `AudioClassificationPipeline`, by the task or else by the model.

    `model` is a directory, a URL, a name on the Hugging Face hub, or a model of ours. What else is needed is taken from
    where the model is; tokenizer, feature extractor or processor may be given, as objects or by name, and so may
    `decoder`, a `BeamSearchDecoderCTC` or its directory. The device is a GPU where there is one; `dtype` is fp32. The
    hub's `revision`, `token`, `cache_dir` and `local_files_only` are options here, `model_kwargs` are for the model's
    `from_pretrained`, and whatever the pipeline takes at a call may be said once and for all.
    """
    if model is None:
        raise UsageError("give a model: a directory, a URL, a name on the Hugging Face hub, or one of pipeline.models")
    if trust_remote_code:
        raise UsageError("trust_remote_code is not supported: no code of a checkpoint is ever run")
    hub = {name: options.pop(name) for name in HUB_OPTIONS if name in options}
    model_kwargs = {**hub, **(model_kwargs or {})}
    hub = {name: model_kwargs[name] for name in HUB_OPTIONS if name in model_kwargs}
    kind = _kind(task, model, hub)
    chosen = updated(kind.options, options, kind.does.refused, _arguments())
    if _is_name(config):
        config = AutoConfig.from_pretrained(config, **hub)
    model_kwargs |= {} if config is None else {"config": config}
    wanted = (_device(device, device_map), dtype if dtype is not None else torch_dtype)
    loaded = _loaded(kind, model, *wanted, model_kwargs)
    spoken = getattr(loaded, "target_lang", None)  # of a model with language adapters, and so of its tokenizer
    language = {"target_lang": spoken} if spoken else {}
    parts = _Parts(loaded.name_or_path, {**(hub or loaded.hub), **language}, processor)
    extractor = parts.part("feature_extractor", feature_extractor)
    if kind.does is AudioClassificationPipeline:
        return AudioClassificationPipeline(loaded, extractor, chosen, batch_size)
    tokenizer, decoder = parts.part("tokenizer", tokenizer), parts.decoder(decoder)
    return AutomaticSpeechRecognitionPipeline(loaded, tokenizer, extractor, decoder, chosen, batch_size)


def _kind(task: str | None, model: Any, hub: Mapping[str, Any]) -> _Kind:
    if task is not None and task not in KINDS:
        raise UsageError(f"there is no task {task!r} here; there are {' and '.join(KINDS)}")
    if task is not None:
        return KINDS[task]
    if _is_name(model):
        architectures = AutoConfig.from_pretrained(model, **hub).rest.get("architectures") or ()
        found = [kind for kind in KINDS.values() if any(str(name).endswith(kind.head) for name in architectures)]
    else:
        found = [kind for kind in KINDS.values() if isinstance(model, kind.model)]
    if len(found) != 1:
        raise UsageError(f"the model does not tell what it is for: give a task, {' or '.join(KINDS)}")
    return found[0]


def _arguments() -> list[str]:
    named = [name for name, value in inspect.signature(pipeline).parameters.items() if value.kind != value.VAR_KEYWORD]
    return [*named, *HUB_OPTIONS]


def _device(device: Any, device_map: Any) -> Any:
    """None: as it comes."""
    if device is not None and device_map is not None:
        raise UsageError("device and device_map mean the same here: give one of them")
    wanted = device if device is not None else device_map
    return None if wanted is None else device_of("cpu" if wanted == -1 else wanted)


def _loaded(kind: _Kind, model: Any, device: Any, dtype: Any, options: Mapping[str, Any]) -> Any:
    """The model, ready; one that was given stays where and what it is unless something else is asked for."""
    if _is_name(model):
        said = {"device_map": device, "dtype": dtype}
        told = {"device_map": "auto", **options, **{name: value for name, value in said.items() if value is not None}}
        loaded = kind.auto.from_pretrained(model, **told)
        loaded.prepare(loaded.precision)  # a base model is then 2.4 times as fast on a CPU, in fp32 too
        return loaded
    if not isinstance(model, kind.model):
        raise UsageError(
            f"for {kind.does.task} a model of {kind.auto.__name__} is needed, of pipeline.models or by its name; "
            f"this is a {type(model).__module__}.{type(model).__qualname__}"
        )
    if device is not None:
        model.to(device)
    if dtype not in (None, "auto"):
        model.to(DTYPES[precision_of(dtype)])
    return model.eval()


KNOWN_BY = {"tokenizer": "batch_decode", "feature_extractor": "sampling_rate"}


class _Parts:
    """What belongs to a model, from what is given or else from where the model is."""

    def __init__(self, name: str, options: Mapping[str, Any], processor: Any) -> None:
        self._name = name  # of the checkpoint; empty: the model was made in code
        self._options = options
        self._hub = {name: options[name] for name in HUB_OPTIONS if name in options}
        self._processor = self._read(processor, "processor") if _is_name(processor) else processor

    def part(self, kind: str, given: Any) -> Any:
        """The tokenizer or the feature extractor."""
        place = str(given if given is not None else self._name)
        if _is_name(given):
            given = self._read(given, kind)
        if given is None and self._processor is None:
            if not self._name:
                raise UsageError(f"the model was made in code: give its {kind} too")
            self._processor = self._read(self._name, kind)
        found = self._processor if given is None else given
        part = getattr(found, kind, found)
        if not hasattr(part, KNOWN_BY[kind]):
            raise UsageError(f"{place}: there is no {kind}; give one, or the name of a checkpoint with one, as {kind}=")
        return part

    def decoder(self, given: Any) -> Any:
        """Without one that is given, that of the processor, if it has one."""
        if _is_name(given):
            return _decoder(given, self._hub)
        decoder = getattr(self._processor, "decoder", None) if given is None else given
        if decoder is not None and not hasattr(decoder, "decode_beams"):
            raise UsageError(f"a {type(decoder).__name__} is no decoder: it has no decode_beams")
        return decoder

    def _read(self, name: str | os.PathLike[str], kind: str) -> Any:
        """A processor, or what there is of one."""
        from pipeline.text.processors import AutoProcessor, feature_extractor_class, has_tokenizer, located

        directory, _ = located(name, self._hub)
        if kind == "feature_extractor" and not has_tokenizer(directory):
            return feature_extractor_class(directory).from_pretrained(directory)
        return AutoProcessor.from_pretrained(name, **self._options)


def _is_name(given: Any) -> bool:
    return isinstance(given, str | os.PathLike)


def _decoder(name: str | os.PathLike[str], hub: Mapping[str, Any]) -> Any:
    from pipeline.decode.ctcdecoder import BeamSearchDecoderCTC
    from pipeline.decode.directory import decoder_directory

    if os.path.isfile(name):
        raise UsageError(
            f"decoder = {os.fspath(name)} is a file: give a directory with alphabet.json and language_model/, or what "
            "pipeline.decode.ctcdecoder.build_ctcdecoder makes of the labels and a language model"
        )
    return BeamSearchDecoderCTC.load_from_dir(decoder_directory(name, hub))
