"""Models of any family, by the `model_type` in a checkpoint's config.json.

Knows which classes there are, and nothing of what is in them.
"""

import os
from typing import Any, ClassVar, Generic, TypeVar

from pipeline.models import bert, conformer, heads, pretraining, wav2vec2
from pipeline.models.backbone import Backbone
from pipeline.models.config import ModelConfig
from pipeline.models.ctc import ForCTC
from pipeline.models.locate import SETTINGS, Hub, checkpoint_directory
from pipeline.models.options import sorted_out
from pipeline.models.pretrained import Pretrained
from pipeline.models.weight_files import CheckpointError, read_config

M = TypeVar("M", bound=Pretrained)


class Auto(Generic[M]):
    """One kind of model, whatever the family."""

    classes: ClassVar[tuple[type[Any], ...]]  # each an M

    def __init__(self) -> None:
        raise TypeError(f"{type(self).__name__} only chooses a class: use {type(self).__name__}.from_pretrained")

    @classmethod
    def from_pretrained(cls, name: str | os.PathLike[str], **options: Any) -> M:
        """The model of a checkpoint, with the options of `Pretrained.from_pretrained`."""
        config = options.get("config")
        if config is None:
            model_type, source = _model_type(name, sorted_out(options)[1])
        else:
            model_type, source = str(getattr(config, "model_type", type(config).__name__)), "the config"
        return cls.class_of(model_type, source).from_pretrained(name, **options)

    @classmethod
    def from_config(cls, config: ModelConfig) -> M:
        """A model with random weights."""
        return cls.class_of(config.model_type, "the config")(config)

    @classmethod
    def class_of(cls, model_type: str, source: str) -> type[M]:
        known = {model.config_class.model_type: model for model in cls.classes}
        if model_type not in known:
            raise CheckpointError(
                f"{source} is of model_type {model_type!r}; {cls.__name__} reads {', '.join(sorted(known))}"
            )
        return known[model_type]


class AutoModel(Auto[Backbone]):
    classes = (wav2vec2.Wav2Vec2Model, conformer.Wav2Vec2ConformerModel, bert.Wav2Vec2BertModel)


class AutoModelForCTC(Auto[ForCTC]):
    classes = (wav2vec2.Wav2Vec2ForCTC, conformer.Wav2Vec2ConformerForCTC, bert.Wav2Vec2BertForCTC)


class AutoModelForAudioClassification(Auto[heads.ForSequenceClassification]):
    classes = (
        heads.Wav2Vec2ForSequenceClassification,
        heads.Wav2Vec2ConformerForSequenceClassification,
        heads.Wav2Vec2BertForSequenceClassification,
    )


class AutoModelForAudioFrameClassification(Auto[heads.ForAudioFrameClassification]):
    classes = (
        heads.Wav2Vec2ForAudioFrameClassification,
        heads.Wav2Vec2ConformerForAudioFrameClassification,
        heads.Wav2Vec2BertForAudioFrameClassification,
    )


class AutoModelForAudioXVector(Auto[heads.ForXVector]):
    classes = (heads.Wav2Vec2ForXVector, heads.Wav2Vec2ConformerForXVector, heads.Wav2Vec2BertForXVector)


class AutoModelForPreTraining(Auto[pretraining.ForPreTraining]):
    classes = (pretraining.Wav2Vec2ForPreTraining, pretraining.Wav2Vec2ConformerForPreTraining)


AUTOS: tuple[type[Auto[Any]], ...] = (
    *(AutoModel, AutoModelForCTC, AutoModelForAudioClassification),
    *(AutoModelForAudioFrameClassification, AutoModelForAudioXVector, AutoModelForPreTraining),
)


class AutoConfig:
    """The config of a checkpoint of any family."""

    @classmethod
    def from_pretrained(cls, name: str | os.PathLike[str], **options: Any) -> ModelConfig:
        """With the options of `ModelConfig.from_pretrained`."""
        model_type, source = _model_type(name, sorted_out(options)[1])
        return AutoModel.class_of(model_type, source).config_class.from_pretrained(name, **options)


def _model_type(name: str | os.PathLike[str], hub: Hub) -> tuple[str, str]:
    """What the checkpoint says that it is, and where."""
    directory = checkpoint_directory(os.fspath(name), SETTINGS, hub)
    return str(read_config(directory).get("model_type")), f"{directory}/config.json"


def advice(model_type: str, kind: type[Pretrained]) -> str:
    """Which class to take for a checkpoint of this type instead of one of this kind."""
    for auto in AUTOS:
        known = {model.config_class.model_type: model for model in auto.classes}
        if any(issubclass(kind, model) for model in known.values()):
            if model_type in known:
                return f"use {known[model_type].__name__} or {auto.__name__}"
            return f"there is nothing of this kind for it, only for {', '.join(sorted(known))}"
    return "use the class of that family"
