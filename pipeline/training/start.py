"""The model that a training begins with: a new one, or that of a checkpoint, which is to learn more.

Each leaves a checkpoint directory that is complete but for the weights. Knows nothing of recordings or of steps.
"""

import json
import shutil
from pathlib import Path

import torch

from pipeline.errors import UsageError
from pipeline.models.auto import AutoModelForCTC
from pipeline.models.backbone import SampleBackbone
from pipeline.models.ctc import ForCTC
from pipeline.models.locate import SETTING_FILES, checkpoint_directory
from pipeline.text.vocabulary import Vocabulary
from pipeline.training import filters, letters
from pipeline.training.recipe import EXTRACTORS, SHAPES


def new(family: str, labels: tuple[str, ...], seed: int, out: Path) -> ForCTC:
    torch.manual_seed(seed)
    shape = {"model_type": family, **SHAPES[family], "vocab_size": len(labels), "pad_token_id": 0}
    config = AutoModelForCTC.class_of(family, "the family asked for").config_class.from_dict(shape)
    model = AutoModelForCTC.from_config(config)
    if isinstance(model.backbone, SampleBackbone):
        filters.fill(model.backbone.feature_extractor.layers[0].conv)
    (out / "preprocessor_config.json").write_text(json.dumps(EXTRACTORS[family], indent=1) + "\n")
    letters.write(out, labels)
    return model


def known(checkpoint: str, family: str, out: Path) -> ForCTC:
    """With the checkpoint's own features and letters."""
    model = AutoModelForCTC.from_pretrained(checkpoint)
    if (there := model.config.model_type) != family:
        raise UsageError(f"{checkpoint} is of family {there}, not {family}: give --family {there}")
    directory = checkpoint_directory(checkpoint)
    for name in SETTING_FILES:
        if (directory / name).exists():
            shutil.copyfile(directory / name, out / name)
    return model


def labels_of(checkpoint: str) -> tuple[str, ...]:
    """As `letters.labels_of` has them: | ends a word."""
    vocabulary = Vocabulary.of_model(checkpoint)
    if vocabulary.phonemes or vocabulary.delimiter is None:
        raise UsageError(f"{checkpoint} has no letters with a mark between words, which texts are learnt as")
    labels = list(vocabulary.labels)
    labels[vocabulary.delimiter] = "|"
    return tuple(labels)
