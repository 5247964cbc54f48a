"""Processors: what a model hears and what its labels mean in one object, as code for these models calls it.

Knows neither of the two: it finds them in a checkpoint and tells each what is meant for it.
"""

import functools
import inspect
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from pipeline.errors import UsageError
from pipeline.jsonfile import read_object
from pipeline.models.locate import SETTINGS, checkpoint_directory
from pipeline.text.advice import meant, warn_user
from pipeline.text.batch import ArgumentError
from pipeline.text.features import extractor_settings
from pipeline.text.from_hub import check_no_push, hub_and_rest
from pipeline.text.saved_tokens import SavedTokens

PREPROCESSOR, PROCESSOR, TOKENIZER = "preprocessor_config.json", "processor_config.json", "tokenizer_config.json"
STATING = (PROCESSOR, PREPROCESSOR, TOKENIZER, "config.json")  # files that may name a class of processor, by rank
MODALITIES = ("audio_kwargs", "text_kwargs")  # options for one of the two alone


class Processor:
    """A feature extractor and a tokenizer, of any of their kinds."""

    feature_extractor: Any
    tokenizer: Any

    def __init__(self, feature_extractor: Any, tokenizer: Any) -> None:
        for name, part, method in (
            ("feature_extractor", feature_extractor, "sampling_rate"),
            ("tokenizer", tokenizer, "batch_decode"),
        ):
            if not hasattr(part, method):
                raise UsageError(f"{type(self).__name__}: a {type(part).__name__} is no {name}")
        self.feature_extractor = feature_extractor
        self.tokenizer = tokenizer

    def __call__(self, audio: Any = None, text: Any = None, **options: Any) -> Any:
        """What a model takes of recordings, what labels texts have, or both: then the latter are the `labels`.

        The options are those of the feature extractor's call and of the tokenizer's; what both have, such as `padding`
        and `return_tensors`, both are told. `audio_kwargs` and `text_kwargs` hold options for one of them alone.
        """
        if audio is None and text is None:
            raise ArgumentError(f"{type(self).__name__}: give audio, text, or both")
        for_audio, for_text = self._sorted_out(options)
        if audio is None:
            return self.tokenizer(text, **for_text)
        inputs = self.feature_extractor(audio, **for_audio)
        if text is not None:
            inputs["labels"] = self.tokenizer(text, **for_text)["input_ids"]
        return inputs

    def pad(self, input_features: Any = None, labels: Any = None, **options: Any) -> Any:
        """Inputs that a feature extractor made, labels that a tokenizer made, or both, to one length each."""
        if input_features is None and labels is None:
            raise ArgumentError(f"{type(self).__name__}.pad: give input_features, labels, or both")
        if input_features is None:
            return self.tokenizer.pad(labels, **options)
        inputs = self.feature_extractor.pad(input_features, **options)
        if labels is not None:
            inputs["labels"] = self.tokenizer.pad(labels, **options)["input_ids"]
        return inputs

    def decode(self, *args: Any, **options: Any) -> Any:
        """The tokenizer's."""
        return self.tokenizer.decode(*args, **options)

    def batch_decode(self, *args: Any, **options: Any) -> Any:
        """The tokenizer's."""
        return self.tokenizer.batch_decode(*args, **options)

    @property
    def model_input_names(self) -> list[str]:
        return [*self.feature_extractor.model_input_names, "labels"]

    @classmethod
    def from_pretrained(cls, name: str | os.PathLike[str], **options: Any) -> Self:
        """Of a checkpoint: a directory, a URL, or a name on the Hugging Face hub, as any version of transformers saved.

        Beside the options of the hub it takes settings of the feature extractor and of the tokenizer, to override
        those in the files.
        """
        directory, rest = located(name, options)
        return cls(*parts(directory, rest))

    def save_pretrained(
        self, directory: str | os.PathLike[str], push_to_hub: bool = False, legacy_format: bool | None = None
    ) -> None:
        """In the files of transformers 4, which all its versions read; there is no other format."""
        check_no_push(push_to_hub)
        folder = Path(directory)
        folder.mkdir(parents=True, exist_ok=True)
        # Without a feature extractor in it, as version 5 writes it: one from an earlier save would have precedence.
        stated = {"processor_class": type(self).__name__}
        (folder / PROCESSOR).write_text(json.dumps(stated), encoding="utf-8")
        self.feature_extractor.save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)
        for name in (PREPROCESSOR, TOKENIZER):
            content = json.dumps(read_object(folder / name) | stated, indent=2, sort_keys=True, ensure_ascii=False)
            (folder / name).write_text(content + "\n", encoding="utf-8")

    def to_dict(self) -> dict[str, Any]:
        """Its class and its feature extractor's settings, as transformers has it; a tokenizer's are too many."""
        return {"feature_extractor": self.feature_extractor.to_dict(), "processor_class": type(self).__name__}

    def to_json_string(self) -> str:
        return json.dumps(self.to_dict(), indent=2, sort_keys=True, default=np.ndarray.tolist) + "\n"

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}:\n- feature_extractor: {self.feature_extractor!r}\n- tokenizer: {self.tokenizer!r}"
        )

    def _sorted_out(self, options: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        """What the feature extractor is told, and what the tokenizer."""
        told = dict[str, dict[str, Any]]()
        classes: list[Any] = [type(self.feature_extractor), type(self.tokenizer)]
        known = dict(zip(MODALITIES, map(_options_of, classes), strict=True))
        shared = options.get("common_kwargs") or {}
        # Old tokenizer files hold `return_attention_mask`, which both are to follow.
        own = isinstance(self.tokenizer, SavedTokens)
        settings = self.tokenizer.settings if own else getattr(self.tokenizer, "init_kwargs", {})
        for modality, names in known.items():
            alone = options.get(modality) or {}
            if twice := [name for name in alone if name in options]:
                raise ArgumentError(f"{twice[0]} is given twice, in {modality} and by itself")
            kept = {name: getattr(self.tokenizer, name, settings[name]) for name in names if name in settings}
            asked = {name: value for name, value in options.items() if name in names}
            told[modality] = kept | dict(shared) | dict(alone) | asked
        every = set().union(*known.values(), MODALITIES, ("common_kwargs",))
        for name in options:
            if name not in every:
                warn_user(f"{type(self).__name__} has no option {name}, and ignores it{meant(name, every)}")
        return told["audio_kwargs"], told["text_kwargs"]


class Wav2Vec2Processor(Processor):
    """Of models that hear samples."""


class Wav2Vec2BertProcessor(Processor):
    """Of models that hear mel features."""


class AutoProcessor:
    """The processor of a checkpoint, whichever class it says that it is of."""

    classes: ClassVar[tuple[type[Processor], ...]] = (Wav2Vec2Processor, Wav2Vec2BertProcessor)

    def __init__(self) -> None:
        raise TypeError("AutoProcessor only chooses a class: use AutoProcessor.from_pretrained")

    @classmethod
    def from_pretrained(cls, name: str | os.PathLike[str], **options: Any) -> Any:
        """With the options of the class's own `from_pretrained`.

        A checkpoint that has no tokenizer, as those that classify have none, gives its feature extractor, and one of a
        tokenizer alone that.
        """
        directory, rest = located(name, options)
        hears, spells = hears_audio(directory), has_tokenizer(directory)
        if not hears and not spells:
            raise UsageError(f"{directory}: neither a feature extractor ({PREPROCESSOR}) nor a tokenizer is there")
        if not hears:
            return tokenizer_class(directory).from_pretrained(directory, **rest)
        if not spells and not _is_ctc(directory):
            return feature_extractor_class(directory).from_pretrained(directory, **rest)
        return _class_of(directory).from_pretrained(name, **options)


def located(name: str | os.PathLike[str], options: Mapping[str, Any]) -> tuple[Path, dict[str, Any]]:
    """The settings of a checkpoint as a local directory, and the options that are not the hub's.

    A model's config, by which transformers may choose a class, is not needed.
    """
    hub, rest = hub_and_rest(options)
    return checkpoint_directory(os.fspath(name), SETTINGS, hub), rest


def parts(directory: Path, options: Mapping[str, Any]) -> tuple[Any, Any]:
    """The feature extractor and the tokenizer, each with those options that are settings of it."""
    extractor, unused = feature_extractor_class(directory).from_pretrained(
        directory, return_unused_kwargs=True, **options
    )
    tokenizer = tokenizer_class(directory)
    own = tokenizer.settings_among(options, directory)
    for name in unused.keys() - own.keys():
        hint = meant(name, {*vars(extractor), *inspect.signature(tokenizer).parameters})
        warn_user(f"{name} is a setting of neither {type(extractor).__name__} nor {tokenizer.__name__}{hint}")
    return extractor, tokenizer.from_pretrained(directory, **own)


def feature_extractor_class(directory: Path) -> Any:
    kind = str(extractor_settings(directory).get("feature_extractor_type", "Wav2Vec2FeatureExtractor"))
    if kind == "Wav2Vec2FeatureExtractor":
        from pipeline.text.wav2vec2_features import Wav2Vec2FeatureExtractor

        return Wav2Vec2FeatureExtractor
    if kind == "SeamlessM4TFeatureExtractor":
        from pipeline.text.seamless_features import SeamlessM4TFeatureExtractor

        return SeamlessM4TFeatureExtractor
    raise UsageError(f"{directory}: feature extractor {kind} is not supported")


def tokenizer_class(directory: Path) -> Any:
    stated = _optional(directory / TOKENIZER).get("tokenizer_class") or _optional(directory / "config.json").get(
        "tokenizer_class"
    )
    kind = str(stated or "Wav2Vec2CTCTokenizer")
    if kind in ("Wav2Vec2CTCTokenizer", "Wav2Vec2Tokenizer"):  # the latter's files are the same
        from pipeline.text.ctc_tokenizer import Wav2Vec2CTCTokenizer

        return Wav2Vec2CTCTokenizer
    if kind == "Wav2Vec2PhonemeCTCTokenizer":
        from pipeline.text.phoneme_tokenizer import Wav2Vec2PhonemeCTCTokenizer

        return Wav2Vec2PhonemeCTCTokenizer
    raise UsageError(f"{directory}: tokenizer {kind} is not supported")


def has_tokenizer(directory: Path) -> bool:
    return (directory / "vocab.json").exists() or (directory / TOKENIZER).exists()


def hears_audio(directory: Path) -> bool:
    return (directory / PREPROCESSOR).exists() or "feature_extractor" in _optional(directory / PROCESSOR)


def _class_of(directory: Path) -> type[Processor]:
    """The one that the files name; else by what else is there."""
    from pipeline.decode.directory import ALPHABET
    from pipeline.text.lm_processor import Wav2Vec2ProcessorWithLM

    classes = {found.__name__: found for found in (*AutoProcessor.classes, Wav2Vec2ProcessorWithLM)}
    for file in STATING:
        if stated := _optional(directory / file).get("processor_class"):
            if stated not in classes:
                raise UsageError(f"{directory / file}: processor {stated} is not supported, only {', '.join(classes)}")
            return classes[stated]
    if (directory / ALPHABET).exists():
        return Wav2Vec2ProcessorWithLM
    kind = feature_extractor_class(directory).__name__
    return Wav2Vec2BertProcessor if kind == "SeamlessM4TFeatureExtractor" else Wav2Vec2Processor


def _is_ctc(directory: Path) -> bool:
    """Then a tokenizer that is missing is missed."""
    architectures = _optional(directory / "config.json").get("architectures") or ()
    return any(str(name).endswith("ForCTC") for name in architectures)


@functools.cache
def _options_of(part: Any) -> frozenset[str]:
    """What calls of these can be told by name, beside what they are called with."""
    _, _, *others = inspect.signature(part.__call__).parameters.values()
    return frozenset(other.name for other in others if other.kind in (other.POSITIONAL_OR_KEYWORD, other.KEYWORD_ONLY))


def _optional(path: Path) -> dict[str, Any]:
    return read_object(path) if path.exists() else {}
