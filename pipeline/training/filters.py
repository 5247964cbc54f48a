"""A first convolution that begins as an ear would: as a bank of band filters, each in two phases.

Knows nothing of training.
"""

import numpy as np
import torch
from torch import nn

from pipeline.records import SAMPLE_RATE

LOWEST_HZ, HIGHEST_HZ = 60.0, 7500.0


def fill(conv: nn.Conv1d) -> None:
    """Weights (C, 1, K): of C / 2 centre frequencies, as far apart as hearing tells them (mel), cosines then sines."""
    num_channels, _, width = conv.weight.shape
    bands = _hertz(np.linspace(_mel(LOWEST_HZ), _mel(HIGHEST_HZ), -(-num_channels // 2)))  # (C / 2,)
    phase = 2 * np.pi * bands[:, None] * (np.arange(width) - width / 2) / SAMPLE_RATE  # (C / 2, K)
    filters = np.concatenate([np.cos(phase), np.sin(phase)])[:num_channels] * np.hanning(width)  # (C, K)
    filters /= np.linalg.norm(filters, axis=1, keepdims=True)
    with torch.no_grad():
        conv.weight.copy_(torch.from_numpy(filters).unsqueeze(1))


def _mel(hertz: float) -> float:
    return float(2595 * np.log10(1 + hertz / 700))


def _hertz(mel: np.ndarray) -> np.ndarray:
    return 700 * (10 ** (mel / 2595) - 1)
