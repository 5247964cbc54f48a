"""Every class of model, with a small config and an input: for what must hold of all of them."""

from typing import Any

import torch
from torch import Tensor

from pipeline.models import auto
from pipeline.models.pretrained import Pretrained
from tests.models.oracle import LAYER, SMALL, audio

HEADS: dict[str, Any] = {
    **{"num_labels": 3, "classifier_proj_size": 7, "xvector_output_dim": 6, "tdnn_dim": [8, 8, 8, 8, 12]},
    **{"num_codevectors_per_group": 6, "codevector_dim": 8, "proj_codevector_dim": 10},
}
CONFIGS = {
    "wav2vec2": LAYER | HEADS,
    "wav2vec2-conformer": LAYER | HEADS | {"conv_depthwise_kernel_size": 5},
    "wav2vec2-bert": SMALL | HEADS | {"feature_projection_input_dim": 160},
}
CLASSES: list[type[Pretrained]] = [model for kind in auto.AUTOS for model in kind.classes]
KINDS = {model: kind for kind in auto.AUTOS for model in kind.classes}


def inputs_of(model: type[Pretrained]) -> Tensor:
    if model.config_class.model_type == "wav2vec2-bert":
        return torch.randn((1, 60, 160), generator=torch.Generator().manual_seed(1))
    return audio(1, 20_000)
