"""What `bench encode` works on: a checkpoint with seeded weights, and recordings as long as those of speech corpora.

Knows nothing of who encodes them, nor of how that is measured.
"""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from pipeline.demo.sample import LABELS, babble
from pipeline.models.auto import AutoModelForCTC
from pipeline.models.config import ModelConfig
from pipeline.records import SAMPLE_RATE, FloatArray

SEED = 20260101
SHORTEST_S, LONGEST_S = 1.0, 35.0
# A distribution with these two shapes has its mean at 12 s: (12 - 1) / (35 - 1) of the way.
SHAPES = (1.3, 3.02)
CONV_GAIN, LINEAR_GAIN, OFF = 2**0.5, 0.02 * 768**0.5, 0.05  # of weights, by the root of their inputs; of the rest
NUM_VOICES = 8  # different ones; recordings are pieces of them


class Sound(NamedTuple):
    """A recording, 16 kHz mono, in the form that each side takes."""

    pcm: npt.NDArray[np.int16]  # (N,), as files hold it: ours
    samples: FloatArray  # (N,), the same in [-1, 1): the rival's

    @property
    def seconds(self) -> float:
        return len(self.pcm) / SAMPLE_RATE


# Of the base models of each family, and of those pre-trained on the most audio, which are large.
FAMILIES: dict[str, dict[str, Any]] = {
    "wav2vec2": {"model_type": "wav2vec2"},
    "conformer": {"model_type": "wav2vec2-conformer", "feat_extract_norm": "layer", "conv_bias": True},
    "bert": {"model_type": "wav2vec2-bert", "position_embeddings_type": "relative_key"},
}
SIZES: dict[str, dict[str, Any]] = {
    "base": {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 3072},
    "large": {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "intermediate_size": 4096},
    "tiny": {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 128},
}
LARGE_WAV2VEC2 = {"feat_extract_norm": "layer", "conv_bias": True, "do_stable_layer_norm": True}
TINY_CONVS = {"conv_dim": [32] * 7, "num_conv_pos_embeddings": 32, "num_conv_pos_embedding_groups": 4}


def config_of(family: str, size: str) -> dict[str, Any]:
    """The content of a config.json."""
    config = FAMILIES[family] | SIZES[size] | {"vocab_size": len(LABELS), "pad_token_id": 0, "mask_time_prob": 0.0}
    if family == "wav2vec2" and size == "large":
        config |= LARGE_WAV2VEC2
    if family != "bert" and size == "tiny":
        config |= TINY_CONVS
    return config


def write_checkpoint(directory: Path, family: str, size: str) -> None:
    """A checkpoint that both sides load: seeded weights, a vocabulary, and how it wants its audio."""
    config = config_of(family, size)
    directory.mkdir(parents=True, exist_ok=True)
    kind = AutoModelForCTC.class_of(config["model_type"], family)
    model = kind(kind.config_class.from_dict(config))
    draw(model)
    model.save_pretrained(directory)
    _write(directory / "vocab.json", {label: number for number, label in enumerate(LABELS)})
    _write(directory / "tokenizer_config.json", {"tokenizer_class": "Wav2Vec2CTCTokenizer"})
    masked = config.get("feat_extract_norm", "group") != "group"  # as the published checkpoints have it
    samples = {"feature_extractor_type": "Wav2Vec2FeatureExtractor", "do_normalize": True, "feature_size": 1}
    mel = {"feature_extractor_type": "SeamlessM4TFeatureExtractor", "num_mel_bins": 80, "stride": 2}
    features = mel | {"feature_size": 80} if family == "bert" else samples | {"return_attention_mask": masked}
    _write(directory / "preprocessor_config.json", features | {"sampling_rate": SAMPLE_RATE, "padding_value": 0.0})


def num_parameters(config: ModelConfig) -> int:
    with torch.device("meta"):
        return sum(weight.numel() for weight in AutoModelForCTC.from_config(config).parameters())


def draw(model: nn.Module, seed: int = SEED) -> None:
    """Weights as large as these models' initial ones in base dimensions, and norms and biases a little off theirs.

    With linear weights of 1 / sqrt(inputs), twelve layers would make all frames alike: what errors are measured by
    would then be the same number in every frame, and no best label would ever change.
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            noise = torch.randn(weight.shape, generator=generator)
            if weight.ndim > 1:
                gain = CONV_GAIN if "conv_layers" in name else LINEAR_GAIN
                weight.copy_(noise * gain / math.sqrt(weight[0].numel()))
            else:
                weight.copy_(name.endswith("norm.weight") + OFF * noise)
        for name, buffer in model.named_buffers():  # a batch norm's
            if name.endswith("running_mean"):
                buffer.copy_(OFF * torch.randn(buffer.shape, generator=generator))


def lengths_s(num_recordings: int, each_s: float | None = None) -> list[float]:
    """How long each is, in an order of no meaning: 1 to 35 s, 12 on average however few there are, unless told."""
    if each_s is not None:
        return [each_s] * num_recordings
    evenly = (np.arange(num_recordings) + 0.5) / num_recordings  # quantiles, not draws
    spread = (1 - (1 - evenly) ** (1 / SHAPES[1])) ** (1 / SHAPES[0])  # Kumaraswamy's distribution, inverted
    lengths = SHORTEST_S + (LONGEST_S - SHORTEST_S) * spread
    return [float(length) for length in np.random.default_rng(SEED).permutation(lengths)]


def sounds(lengths: Sequence[float]) -> list[Sound]:
    """Speech-like, of these lengths."""
    rng = np.random.default_rng(SEED)
    voices = [babble(rng, max(lengths) + 1, SAMPLE_RATE) for _ in range(min(NUM_VOICES, len(lengths)))]
    cut = []
    for number, length in enumerate(lengths):
        voice, num_samples = voices[number % len(voices)], int(length * SAMPLE_RATE)
        start = int(rng.integers(0, len(voice) - num_samples + 1))
        pcm = np.rint(voice[start : start + num_samples] * rng.uniform(6_000, 32_000)).astype(np.int16)  # (N,)
        cut.append(Sound(pcm, (pcm / 32_768).astype(np.float32)))
    return cut


def _write(path: Path, content: object) -> None:
    path.write_text(json.dumps(content, indent=1))
