"""transformers' models as oracles: seeded, with no weight at its initial value, and audio to try them on."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

TOLERANCE = 1e-4  # on logits of size 1
SECOND = 16_000

# Small, and as the families' checkpoints are: a group norm with norms after, a layer norm with norms before.
SMALL: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "vocab_size": 11,
    "apply_spec_augment": False,
}
GROUP = SMALL | {"conv_dim": [16] * 7, "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 4}
LAYER = GROUP | {"feat_extract_norm": "layer", "do_stable_layer_norm": True, "conv_bias": True}


def oracle_model(config: dict[str, Any], name: str = "Wav2Vec2ForCTC", seed: int = 0) -> nn.Module:
    """transformers' model of that class; activations stay near size 1, and no norm or bias is at its default."""
    transformers = pytest.importorskip("transformers")
    model_class = getattr(transformers, name)
    oracle: nn.Module = model_class._from_config(model_class.config_class(**config), attn_implementation="eager")
    generator = torch.Generator().manual_seed(seed)
    for weight_name, weight in oracle.named_parameters():
        noise = torch.randn(weight.shape, generator=generator)
        if weight_name.endswith("weight.original0"):  # the positional convolution's gain, one per tap
            size, width = oracle.config.hidden_size, weight.shape[-1]
            weight.data = math.sqrt(size / width) * (1 + 0.3 * noise)
        elif weight.ndim > 1:
            weight.data = noise / math.sqrt(weight[0].numel())
        elif weight_name.endswith("norm.weight"):
            weight.data = 1 + 0.3 * noise
        else:
            weight.data = 0.3 * noise
    for buffer_name, buffer in oracle.named_buffers():  # a batch norm's running statistics
        if buffer_name.endswith("running_mean"):
            buffer.copy_(0.3 * torch.randn(buffer.shape, generator=generator))
        elif buffer_name.endswith("running_var"):
            buffer.copy_(0.5 + torch.rand(buffer.shape, generator=generator))
    return oracle.eval()


def audio(batch: int, num_samples: int, seed: int = 1) -> Tensor:
    """Noise with a slow swell and an offset, so that statistics over time matter. (batch, num_samples)"""
    generator = torch.Generator().manual_seed(seed)
    swell = 0.2 + torch.linspace(0, 6, num_samples).sin().abs()
    return torch.randn((batch, num_samples), generator=generator) * swell + 0.1


def largest_difference(oracle: nn.Module, ours: nn.Module, inputs: Tensor) -> float:
    """Between the logits of recordings of one length, which are alone in both."""
    with torch.inference_mode():
        expected = oracle(inputs).logits
        logits = ours(inputs).logits
    assert logits.shape == expected.shape
    assert 0.2 < expected.std() < 10, "logits that are all alike would prove nothing"
    return float((logits - expected).abs().max())


def saved(oracle: nn.Module, directory: Path, **options: Any) -> Path:
    oracle.save_pretrained(directory, **options)  # type: ignore[operator]
    return directory
