"""What a training is: the shape of the model, and how it learns.

Knows nothing of audio or texts.
"""

import math
from dataclasses import dataclass
from typing import Any

from pipeline.errors import UsageError

# Of 3 to 4 million weights each: small enough for two CPU cores and a night, and for a repository.
_LAYERS: dict[str, Any] = {
    "hidden_size": 192,
    "num_hidden_layers": 6,
    "num_attention_heads": 4,
    "intermediate_size": 768,
    "ctc_zero_infinity": True,
}
# Three convolutions, of which the first can be a bank of filters (`filters`): after three minutes on one core it had a
# quarter of the letters, where seven narrow ones with random weights still said nothing, and its steps are shorter.
_CONVOLUTIONS: dict[str, Any] = {
    "conv_dim": [96, 96, 128],
    "conv_kernel": [160, 5, 4],
    "conv_stride": [40, 4, 2],
    "num_feat_extract_layers": 3,
    "feat_extract_norm": "layer",
    "num_conv_pos_embeddings": 64,
    "num_conv_pos_embedding_groups": 8,
}
SHAPES: dict[str, dict[str, Any]] = {
    "wav2vec2": {**_LAYERS, **_CONVOLUTIONS, "do_stable_layer_norm": True},
    "wav2vec2-conformer": {**_LAYERS, **_CONVOLUTIONS, "num_hidden_layers": 4, "conv_depthwise_kernel_size": 15},
    "wav2vec2-bert": {**_LAYERS, "num_hidden_layers": 4, "conv_depthwise_kernel_size": 15},
}

FRAME = 320  # samples from one frame to the next, in every shape above
# Samples of which recordings are filled up to a multiple while learning: oneDNN makes itself ready anew for each length
# that it meets, and with all lengths different a step took 1.35 times as long. Not where features are normalised over
# the recording: silence would be part of it, and what was learnt so did not hold for recordings as they are.
STRIDES = {"wav2vec2": 8000, "wav2vec2-conformer": 8000, "wav2vec2-bert": 1}

MOST_PROCESSES = 2  # that learn together unless more are asked for: each has the smaller a share of a batch

_SAMPLES: dict[str, Any] = {
    "feature_extractor_type": "Wav2Vec2FeatureExtractor",
    "do_normalize": True,
    "feature_size": 1,
    "padding_value": 0.0,
    "return_attention_mask": True,
    "sampling_rate": 16_000,
}
_MEL: dict[str, Any] = {
    "feature_extractor_type": "SeamlessM4TFeatureExtractor",
    "feature_size": 80,
    "num_mel_bins": 80,
    "stride": 2,
    "padding_value": 0.0,
    "return_attention_mask": True,
    "sampling_rate": 16_000,
}
EXTRACTORS = {"wav2vec2": _SAMPLES, "wav2vec2-conformer": _SAMPLES, "wav2vec2-bert": _MEL}


@dataclass(frozen=True)
class Recipe:
    """How a model learns."""

    steps: int = 26_000
    batch_s: float = 48.0  # audio of one step
    learning_rate: float = 1e-3
    warm_up: int = 400  # steps in which the learning rate grows
    decay_share: float = 0.7  # of the steps, the last, in which it falls to nothing
    weight_decay: float = 0.01
    max_gradient: float = 1.0  # a longer one is shortened
    short_first: int = 1000  # steps until the longest recordings take part
    augment: bool = True  # noise, rooms, lines, formats, speed and level, drawn anew each time a recording is heard
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("steps", "batch_s", "learning_rate", "max_gradient"):
            if not 0 < getattr(self, name) < math.inf:
                raise UsageError(f"{name} of a training must be above zero, not {getattr(self, name)}")
        if self.seed < 0:
            raise UsageError(f"seed of a training must not be below zero, as {self.seed} is")
        if not 0 < self.decay_share <= 1:
            raise UsageError(f"decay_share is a share of the steps above 0, not {self.decay_share}")

    def rate(self, step: int) -> float:
        """The learning rate of a step: up, level, and down to zero. How long it stays level may be changed midway."""
        up = min(1.0, (step + 1) / max(1, self.warm_up))
        down = min(1.0, (self.steps - step) / (self.steps * self.decay_share))
        return self.learning_rate * min(up, down)
