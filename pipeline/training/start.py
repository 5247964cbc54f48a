"""The model that a training begins with: a new one, or that of a checkpoint, which is to learn more.

Knows nothing of recordings or of steps.
"""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import torch

from pipeline.errors import UsageError
from pipeline.models.auto import AutoConfig, AutoModelForCTC
from pipeline.models.backbone import SampleBackbone
from pipeline.models.ctc import ForCTC
from pipeline.models.locate import SETTING_FILES, checkpoint_directory
from pipeline.models.windows import output_step
from pipeline.text.features import FeatureExtractor
from pipeline.text.vocabulary import Vocabulary
from pipeline.training import filters, letters
from pipeline.training.recipe import EXTRACTORS, SHAPES, STRIDES


@dataclass(frozen=True)
class Start:
    model: ForCTC
    directory: Path  # where its settings are
    labels: tuple[str, ...]  # | ends a word

    @classmethod
    def new(cls, family: str, labels: tuple[str, ...], seed: int, out: Path) -> Self:
        """Whose settings are written."""
        torch.manual_seed(seed)
        shape = {"model_type": family, **SHAPES[family], "vocab_size": len(labels), "pad_token_id": 0}
        config = AutoModelForCTC.class_of(family, "the family asked for").config_class.from_dict(shape)
        model = AutoModelForCTC.from_config(config)
        if isinstance(model.backbone, SampleBackbone):
            filters.fill(model.backbone.feature_extractor.layers[0].conv)
        (out / "preprocessor_config.json").write_text(json.dumps(EXTRACTORS[family], indent=1) + "\n")
        letters.write(out, labels)
        return cls(model, out, labels)

    @classmethod
    def of(cls, checkpoint: str, family: str, weights: bool = True) -> Self:
        """With the checkpoint's letters; without its weights where others are to come."""
        config = AutoConfig.from_pretrained(checkpoint)
        if (there := config.model_type) != family:
            raise UsageError(f"{checkpoint} is of family {there}, not {family}: give --family {there}")
        vocabulary = Vocabulary.of_model(checkpoint)
        if vocabulary.phonemes or vocabulary.delimiter is None:
            raise UsageError(f"{checkpoint} has no letters with a mark between words, which texts are learnt as")
        model = AutoModelForCTC.from_pretrained(checkpoint) if weights else AutoModelForCTC.from_config(config)
        vocabulary.check_width(model.lm_head.out_features, checkpoint)
        if vocabulary.blank != model.blank:
            raise UsageError(
                f"{checkpoint}: the padding token is label {vocabulary.blank}, but config.json says {model.blank}"
            )
        labels = list(vocabulary.labels[: model.lm_head.out_features])
        labels[vocabulary.delimiter] = "|"
        return cls(model, checkpoint_directory(checkpoint), tuple(labels))

    def settle(self, out: Path) -> None:
        """A directory that lacks no more than weights."""
        for name in SETTING_FILES:
            if self.directory != out.resolve() and (self.directory / name).exists():
                shutil.copyfile(self.directory / name, out / name)

    @property
    def frame(self) -> int:
        """Samples from one frame to the next."""
        framing = FeatureExtractor.from_pretrained(self.directory).framing(self.model)
        return framing.samples_per_frame * output_step(self.model.config)

    @property
    def stride(self) -> int:
        """Samples of which a recording is filled up to a multiple; no silence where norms are over all of it."""
        by_recording = getattr(self.model.config, "feat_extract_norm", "") == "group"
        return 1 if by_recording else STRIDES[self.model.config.model_type]
