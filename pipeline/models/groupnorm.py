"""What whole recordings say about their samples, in one pass: mean and variance, and those of every channel that a
first convolution would make of them, without making it.

Knows no model: samples, and one convolution's width and step.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from pipeline.models.segments import Packed

MAX_PADDING = 2.0  # recordings are measured together where padding does not do more than double their samples


@dataclass(frozen=True)
class Moments:
    """Of B recordings, in fp64."""

    mean: Tensor  # (B,) of the samples
    variance: Tensor  # (B,) of the samples, dividing by their number
    window_mean: Tensor  # (B, K) of the windows that the convolution sees, tap by tap
    window_covariance: Tensor  # (B, K, K)

    def standardised(self, scale: Tensor) -> "Moments":
        """Of the same samples less their mean and times `scale` (B,)."""
        window_mean = (self.window_mean - self.mean.unsqueeze(1)) * scale.unsqueeze(1)  # (B, K)
        factor = scale.square()  # (B,)
        covariance = self.window_covariance * factor[:, None, None]  # (B, K, K)
        return Moments(torch.zeros_like(self.mean), self.variance * factor, window_mean, covariance)

    def of_channels(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and variance (B, C) of each channel that a convolution (C, K) without a bias makes.

        A channel is a sum over taps, so its mean follows from the taps' means and its variance from their covariances:
        100 numbers for a base model, where a pass over the channels would read 16 million for ten seconds of audio.
        """
        weight = weight.double()
        mean = self.window_mean @ weight.T  # (B, C)
        variance = torch.einsum("ck,bkl,cl->bc", weight, self.window_covariance, weight)  # (B, C)
        return mean, variance.clamp_min(0.0)


def moments(audio: Packed, kernel: int, stride: int, block: int) -> Moments:
    """Sums in fp64, which leave ten digits even at an offset of 1000 deviations; of `block` windows at a time."""
    lengths = audio.segments.lengths
    if len(lengths) == 1:
        return _together(audio.data.unsqueeze(0), lengths, (kernel, stride), block)
    if len(lengths) * audio.segments.longest <= MAX_PADDING * audio.segments.total:
        return _together(audio.padded(), lengths, (kernel, stride), max(1, block // len(lengths)))
    parts = [moments(Packed.of([one]), kernel, stride, block) for one in audio.split()]
    columns = ("mean", "variance", "window_mean", "window_covariance")
    return Moments(*(torch.cat([getattr(part, column) for part in parts]) for column in columns))


def _together(samples: Tensor, lengths: tuple[int, ...], window: tuple[int, int], block: int) -> Moments:
    """Of recordings (B, N) that are followed by zeros, which add nothing to a sum."""
    (kernel, stride), device = window, samples.device
    kept = [(length - kernel) // stride + 1 for length in lengths]
    totals = torch.tensor([lengths, kept], dtype=torch.float64, device=device)  # (2, B)
    sums = torch.zeros(2, len(lengths), dtype=torch.float64, device=device)  # of samples and of their squares
    window_sum = sums.new_zeros(len(lengths), kernel)  # (B, K)
    products = sums.new_zeros(len(lengths), kernel, kernel)  # (B, K, K)
    for first in range(0, max(kept), block):
        last = min(first + block, max(kept))
        x = samples[:, first * stride : (last - 1) * stride + kernel].double()  # (B, n)
        windows = x.unfold(1, kernel, stride)  # (B, M, K)
        if min(kept) < last:  # those that reach into the padding of a shorter recording are not counted
            position = torch.arange(first, last, device=device)  # (M,)
            windows = windows * (position < totals[1].unsqueeze(1)).unsqueeze(2)
        window_sum += windows.sum(dim=1)
        products += windows.transpose(1, 2) @ windows
    for first in range(0, samples.shape[1], block * stride):
        x = samples[:, first : first + block * stride].double()  # (B, n)
        sums += torch.stack((x.sum(dim=1), x.square().sum(dim=1)))
    mean, square = sums / totals[0]  # (B,) each
    window_mean = window_sum / totals[1].unsqueeze(1)  # (B, K)
    covariance = products / totals[1][:, None, None] - window_mean.unsqueeze(2) * window_mean.unsqueeze(1)
    return Moments(mean, (square - mean.square()).clamp_min(0.0), window_mean, covariance)
