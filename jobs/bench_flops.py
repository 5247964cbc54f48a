"""The arithmetic that encoding a recording takes, by formula, and the most that a chip does of it in a second.

A multiplication and the addition that follows count as two. Norms, activations and softmax are left out, as is usual,
and so is what a batch's recordings share: the projections of relative positions. Knows nothing of how it is computed.
"""

from collections.abc import Callable
from dataclasses import replace

import torch

from pipeline.models.bert import Wav2Vec2BertConfig
from pipeline.models.config import ConvConfig, ModelConfig
from pipeline.models.conformer import Wav2Vec2ConformerConfig
from pipeline.models.wav2vec2 import Wav2Vec2Config
from pipeline.records import SAMPLE_RATE

MEL_WINDOW, MEL_STEP, MEL_STACK = SAMPLE_RATE // 40, SAMPLE_RATE // 100, 2  # 25 ms every 10 ms, two at a time
PEAK_SIZES = {"cuda": 8192, "cpu": 1024}  # of the matrices: so large that every multiprocessor is busy
PEAK_REPEATS = {"cuda": 50, "cpu": 5}


def num_inputs(config: ModelConfig, num_samples: int) -> int:
    """Frames of one recording that enter the layers."""
    if isinstance(config, ConvConfig):
        return config.num_frames(num_samples)
    return ((num_samples - MEL_WINDOW) // MEL_STEP + 1) // MEL_STACK


def num_flops(config: ModelConfig, num_samples: int) -> float:
    """Of one recording alone, from samples, or from mel features, to logits."""
    frames, size = num_inputs(config, num_samples), config.hidden_size
    flops = 0.0
    if isinstance(config, ConvConfig):
        rows, channels = num_samples, (1, *config.conv_dim)
        for index, (kernel, stride) in enumerate(zip(config.conv_kernel, config.conv_stride, strict=True)):
            rows = (rows - kernel) // stride + 1
            flops += 2 * rows * kernel * channels[index] * channels[index + 1]
        flops += 2 * frames * config.conv_dim[-1] * size
    if isinstance(config, Wav2Vec2BertConfig):
        flops += 2 * frames * config.feature_projection_input_dim * size
    if isinstance(config, Wav2Vec2Config):
        per_group = size // config.num_conv_pos_embedding_groups
        flops += 2 * frames * size * per_group * config.num_conv_pos_embeddings
    flops += config.num_hidden_layers * _layer(config, frames)
    return flops + _adapter(config, frames) + 2 * config.num_adapted(frames) * config.output_size * config.vocab_size


def peak_flops(device: torch.device, clock: Callable[[], float], dtype: torch.dtype = torch.bfloat16) -> float:
    """The most a second of the clock that a large matrix product makes of the chip."""
    size, repeats = PEAK_SIZES[device.type], PEAK_REPEATS[device.type]
    a, b = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    fastest = float("inf")
    for _ in range(3):  # the first warms up
        began = clock()
        for _ in range(repeats):
            torch.mm(a, b)
        fastest = min(fastest, (clock() - began) / repeats)
    return float(2 * size**3 / fastest)


def _layer(config: ModelConfig, frames: int) -> float:
    size, inner = config.hidden_size, config.intermediate_size
    attention = _attention(size, frames)
    feed_forward = 4 * frames * size * inner
    if isinstance(config, Wav2Vec2Config):
        adapted = config.adapter_attn_dim if config.do_stable_layer_norm else None
        return attention + feed_forward + 4 * frames * size * (adapted or 0)
    assert isinstance(config, Wav2Vec2ConformerConfig | Wav2Vec2BertConfig)
    convolution = 2 * frames * size * (3 * size + config.conv_depthwise_kernel_size)
    positions = 0
    if config.position_embeddings_type == "relative":
        positions = 2 * frames * (2 * frames - 1) * size
    elif isinstance(config, Wav2Vec2BertConfig) and config.position_embeddings_type == "relative_key":
        positions = 2 * frames * (sum(config.reach) + 1) * size
    return attention + positions + 2 * feed_forward + convolution


def _adapter(config: ModelConfig, frames: int) -> float:
    if not config.add_adapter:
        return 0.0
    size, flops = config.output_size, 0.0
    if size != config.hidden_size:
        flops += 2 * frames * config.hidden_size * size
    if isinstance(config, Wav2Vec2BertConfig) and config.use_intermediate_ffn_before_adapter:
        flops += 4 * frames * config.hidden_size * config.intermediate_size
    for layer in range(config.num_adapter_layers):
        rows = replace(config, num_adapter_layers=layer + 1).num_adapted(frames)
        convolution = 2 * rows * config.adapter_kernel_size * size * 2 * size
        if isinstance(config, Wav2Vec2BertConfig):
            flops += 2 * convolution + _attention(size, rows) + 4 * rows * size * config.intermediate_size
        else:
            flops += convolution
    return flops


def _attention(size: int, frames: int) -> float:
    """Four projections, scores, and what is summed by them."""
    return 8 * frames * size**2 + 4 * frames**2 * size
