"""The convolutional front end: samples of any number of recordings to frames, tile by tile, each as if it were alone.

Knows nothing of what comes after it, nor of sample rates; whoever calls it sees to it that each recording has a frame.

Convolutions are local, so a tile with the right margins is exact, and what a base model's first convolution writes
(6.5 MB for a second of audio) need never exist at once. A group norm is not local: it is over all of a recording. But
once its statistics are known it is linear, and becomes part of the first convolution, of each recording its own.

Shapes: N samples, T rows of a tile at some layer, C channels, K taps of the first convolution, B recordings.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import cast

import torch
from torch import Tensor, nn

from pipeline.models.config import ConvConfig
from pipeline.models.conv import exact
from pipeline.models.groupnorm import Moments, moments
from pipeline.models.linear import ACTIVATIONS, Linear
from pipeline.models.precision import Precision, prepare
from pipeline.models.segments import Packed, Segments

# On a CPU no tensor of a base model's tile exceeds 32 MB (the largest, fp32 windows, has 20), so that freed memory is
# used again. What is larger comes fresh from the kernel each time: 10 s in one piece took 30 % longer (with layer norms
# 60 %) by page faults alone. Where these are avoided otherwise, tiles of 50 to 500 frames are equally fast.
CPU_TILE_FRAMES = 100

# On a GPU a tile is to fill the chip: 8192 rows of 512 channels are one wave of an H200's multiprocessors in the last
# layer's product (reasoned, not measured).
GPU_TILE_FRAMES = 8192

WORKHORSES = (1, 2)  # of the layers of a base model these two do three quarters of the work

NORMALISE_EPS = 1e-7  # added to the variance of the samples, as feature extractors do
PCM_SCALE = 1 / 32768  # int16 to [-1, 1)


class Recorded(Packed):
    """Samples as they were recorded, each recording to be brought to mean 0 and variance 1, as extractors do it."""


@dataclass(frozen=True)
class Level:
    """What brings the samples of B recordings to mean 0 and variance 1; in fp64, for a large mean costs fp32 digits."""

    mean: Tensor  # (B,) is taken from each sample
    scale: Tensor  # (B,) is what that is multiplied by


@dataclass(frozen=True)
class Statistics:
    """What the frames of B recordings depend on beside the samples near them."""

    level: Level | None  # of the samples; None: they are taken as they are
    first: tuple[Linear, ...]  # B first convolutions with the group norms in them; none where there is no group norm

    def levelled(self, samples: Tensor, recording: int) -> Tensor:
        """Some of the recording's samples, as the first convolution is to have them."""
        if self.level is None:
            return samples.float() * _unit(samples)
        return ((samples.double() - self.level.mean[recording]) * self.level.scale[recording]).float()


@dataclass(frozen=True)
class Piece:
    """Frames of one recording that are made in one tile."""

    recording: int
    start: int
    stop: int

    @property
    def num_frames(self) -> int:
        return self.stop - self.start


class ConvLayer(nn.Module):
    """One step of the front end. Its norms keep torch's own eps: `layer_norm_eps` is not meant for them."""

    def __init__(self, config: ConvConfig, index: int) -> None:
        super().__init__()
        channels_in, channels = (1, *config.conv_dim)[index : index + 2]
        self.kernel, self.stride = config.conv_kernel[index], config.conv_stride[index]
        self.activation = config.feat_extract_activation
        self.conv = nn.Conv1d(channels_in, channels, self.kernel, self.stride, bias=config.conv_bias)
        self.layer_norm: nn.LayerNorm | nn.GroupNorm | None = None
        if config.feat_extract_norm == "layer":
            self.layer_norm = nn.LayerNorm(channels)
        elif index == 0:
            self.layer_norm = nn.GroupNorm(channels, channels)  # one group per channel: over all of time
        self.linear: Linear | None = None  # the convolution as a matrix product, once prepared

    def forward(self, x: Tensor) -> Tensor:
        """Rows (T, C) to rows (T', C'). Plain, they lie in memory channels first, as convolutions are fastest."""
        if self.linear is not None:
            x = self.linear(unrolled(x, self.kernel, self.stride))  # (T', C')
            return x if self.layer_norm is None else self._normed(x.float()).to(x.dtype)
        with exact(self.conv.weight):
            x = self.conv(x.T.unsqueeze(0))[0].T  # (T', C')
        return self._normed(x)

    def _normed(self, x: Tensor) -> Tensor:
        if isinstance(self.layer_norm, nn.GroupNorm):
            x = self.layer_norm(x.T.unsqueeze(0))[0].T
        elif self.layer_norm is not None:
            x = self.layer_norm(x)
        return ACTIVATIONS[self.activation](x)

    def prepare_linear(self, precision: Precision, exact: bool) -> None:
        """The same convolution for `unrolled` rows, with the activation in it unless a norm stands between the two."""
        weight = self.conv.weight.transpose(1, 2).flatten(1)  # (C', K C)
        self.linear = _linear(weight, self.conv.bias, self.activation if self.layer_norm is None else "", exact)
        prepare(self, precision)
        for name in ("weight", "bias"):
            self.conv.register_parameter(name, None)

    def with_norm(self, found: Moments, scale: Tensor) -> list[Linear]:
        """For each of B recordings of these moments: convolution of the samples times `scale`, group norm, activation.

        A bias of the convolution's own moves a channel's mean and nothing else: the norm takes it out again.
        """
        norm, weight = self.layer_norm, self.conv.weight.squeeze(1).double()  # (C, K)
        assert isinstance(norm, nn.GroupNorm)
        mean, variance = found.of_channels(weight)  # (B, C) each
        scale = scale.unsqueeze(1)  # (B, 1)
        gain = norm.weight * scale / torch.sqrt(variance * scale.square() + norm.eps)  # (B, C)
        weights = (gain.unsqueeze(2) * weight).float()  # (B, C, K)
        biases = (norm.bias - gain * mean).float()  # (B, C)
        return [_linear(one, bias, self.activation, exact=True) for one, bias in zip(weights, biases, strict=True)]


class FrontEnd(nn.Module):
    """Samples to frames, by strided convolutions."""

    def __init__(self, config: ConvConfig) -> None:
        super().__init__()
        self.config = config
        self.conv_layers = nn.ModuleList(ConvLayer(config, index) for index in range(len(config.conv_dim)))
        self.first_precision: Precision | None = None  # of the first convolution, once prepared
        self.tile_frames: int | None = None  # None: as the device likes it

    @property
    def layers(self) -> list[ConvLayer]:
        return cast(list[ConvLayer], list(self.conv_layers))

    def forward(self, audio: Packed) -> Packed:
        """Samples (N,), float or int16, to frames (T, C) in fp32."""
        normalise = isinstance(audio, Recorded)
        learning = any(tensor.requires_grad for tensor in (audio.data, *self.parameters()))
        if learning and torch.is_grad_enabled():
            return Packed.of([self.whole(samples, normalise) for samples in audio.split()])
        lengths = tuple(self.config.num_frames(length) for length in audio.segments.lengths)
        pieces = [Piece(recording, 0, length) for recording, length in enumerate(lengths)]
        frames = self._tiled(audio, pieces, self._statistics(audio, normalise))  # (T, C)
        return Packed(frames, Segments(lengths))

    def whole(self, samples: Tensor, normalise: bool = False) -> Tensor:
        """One recording (N,) by the definition, in one go: for training, and what tiles must equal. (T, C)"""
        x = samples.float() * _unit(samples)
        if normalise:
            x = (x - x.mean()) / torch.sqrt(x.var(correction=0) + NORMALISE_EPS)
        x = x.unsqueeze(1)  # (N, 1)
        for layer in self.layers:
            x = layer(x)  # (T', C) with T' shrinking to T
        return x

    def statistics(self, samples: Tensor, normalise: bool = False) -> Statistics:
        """Of one whole recording (N,), in one pass."""
        return self._statistics(Packed.of([samples]), normalise)

    def frames(self, samples: Tensor, start: int, stop: int, statistics: Statistics) -> Tensor:
        """Any frames of the recording (N,) that the statistics are of. (stop - start, C)"""
        return self._tiled(Packed.of([samples]), [Piece(0, start, stop)], statistics)

    def prepare(self, precision: Precision) -> None:
        self.requires_grad_(False)
        # All frames feel its errors: so no int8 here, and on a CPU fp32 where that costs little. In int8 throughout,
        # 2.5 % of the frames of a base model changed their best label, not 0.9 %.
        precision = "bf16" if precision == "int8" else precision
        self.first_precision = precision
        for index, layer in enumerate(self.layers):
            # With a group norm, the first is made anew for each recording.
            if index > 0 or self.config.feat_extract_norm == "layer":
                layer.prepare_linear(precision, exact=index not in WORKHORSES)

    @torch.no_grad()
    def _statistics(self, audio: Packed, normalise: bool) -> Statistics:
        unit, first = _unit(audio.data), self.layers[0]
        group_norm = self.config.feat_extract_norm == "group"
        if not normalise and not group_norm:
            return Statistics(None, ())
        block = self._tile_size(audio) * self.config.samples_per_frame // first.stride
        found = moments(audio, first.kernel, first.stride, block)
        deviation = torch.sqrt(found.variance * unit**2 + NORMALISE_EPS)  # (B,)
        scale = unit / deviation  # (B,)
        linears = []
        if group_norm:
            # Samples are normalised even if that is not asked for: the weights can multiply the deviation in again, and
            # the norm removes the offset. So faint recordings and those with an offset lose no digits, even in bf16.
            linears = first.with_norm(found.standardised(scale), torch.ones_like(scale) if normalise else deviation)
        for linear in linears:
            if self.first_precision is not None:
                linear.prepare(self.first_precision)
        return Statistics(Level(found.mean, scale), tuple(linears))

    @torch.no_grad()
    def _tiled(self, audio: Packed, pieces: list[Piece], statistics: Statistics) -> Tensor:
        tiles = [self._tile(audio, some, statistics) for some in _cut(pieces, self._tile_size(audio))]
        return tiles[0] if len(tiles) == 1 else torch.cat(tiles)  # (T, C)

    def _tile(self, audio: Packed, pieces: list[Piece], statistics: Statistics) -> Tensor:
        """The frames of the pieces, whose samples lie in one stream, each in a slot of whole frames. (T, C)"""
        hop, field = self.config.samples_per_frame, self.config.min_samples
        margin = -(-max(0, field - hop) // hop)  # frames of a slot that would mix two pieces
        begins = list(accumulate((piece.num_frames + margin for piece in pieces[:-1]), initial=0))
        parts: list[Tensor] = []
        for piece, begin in zip(pieces, begins, strict=True):
            parts.append(audio.data.new_zeros(begin * hop - sum(len(part) for part in parts), dtype=torch.float32))
            origin = audio.segments.offsets[piece.recording] + piece.start * hop
            samples = audio.data[origin : origin + (piece.num_frames - 1) * hop + field]  # (n,)
            parts.append(statistics.levelled(samples, piece.recording))
        stream = torch.cat(parts).unsqueeze(1)  # (N, 1)
        if statistics.first:
            firsts = [statistics.first[piece.recording] for piece in pieces]
            x = self._first_of_each(stream, firsts, [begin * hop for begin in begins])  # (T', C)
        else:
            x = self.layers[0](stream)  # (T', C)
        del parts, stream
        for layer in self.layers[1:]:
            x = layer(x)  # (T', C) with T' shrinking to that of frames
        kept = [x[begin : begin + piece.num_frames] for begin, piece in zip(begins, pieces, strict=True)]
        return torch.cat(kept).float()

    def _first_of_each(self, stream: Tensor, firsts: list[Linear], begins: list[int]) -> Tensor:
        """Each part of the stream (N, 1), from where it begins to the next, through its own convolution. (T, C)"""
        kernel, stride = self.layers[0].kernel, self.layers[0].stride
        x = unrolled(stream, kernel, stride)  # (T, K)
        bounds = pairwise([*(begin // stride for begin in begins), len(x)])
        done = [linear(x[first:last]) for linear, (first, last) in zip(firsts, bounds, strict=True)]
        return done[0] if len(done) == 1 else torch.cat(done)

    def _tile_size(self, audio: Packed) -> int:
        by_device = CPU_TILE_FRAMES if audio.data.device.type == "cpu" else GPU_TILE_FRAMES
        return by_device if self.tile_frames is None else self.tile_frames


def unrolled(x: Tensor, kernel: int, stride: int) -> Tensor:
    """What a convolution sees of rows (T, C), tap by tap: (T', kernel * C). A copy only where windows overlap."""
    num_rows, channels = (len(x) - kernel) // stride + 1, x.shape[1]
    view = x.contiguous().as_strided((num_rows, kernel * channels), (stride * channels, 1))  # (T', kernel * C)
    return view.contiguous()


def _cut(pieces: list[Piece], size: int) -> Iterator[list[Piece]]:
    """All the frames of the pieces, in their order, in parts of one number of frames, which is at most `size`."""
    total = sum(piece.num_frames for piece in pieces)
    num_parts = -(-total // size)
    offsets = list(accumulate((piece.num_frames for piece in pieces), initial=0))
    for first, last in pairwise(part * total // num_parts for part in range(num_parts + 1)):
        yield [
            Piece(piece.recording, piece.start + max(0, first - offset), min(piece.stop, piece.start + last - offset))
            for piece, offset in zip(pieces, offsets, strict=False)
            if offset < last and offset + piece.num_frames > first
        ]


def _linear(weight: Tensor, bias: Tensor | None, activation: str, exact: bool) -> Linear:
    """A bias of zeros costs nothing, and a GPU's products take an activation along only with a bias."""
    with torch.device("meta"):  # no time for initial values
        linear = Linear(weight.shape[1], weight.shape[0], activation=activation, exact=exact)
    bias = weight.new_zeros(len(weight)) if bias is None else bias.detach()
    linear.weight = nn.Parameter(weight.detach(), requires_grad=False)
    linear.bias = nn.Parameter(bias, requires_grad=False)
    return linear


def _unit(samples: Tensor) -> float:
    """What a sample is worth."""
    if samples.dtype == torch.int16:
        return PCM_SCALE
    if not samples.is_floating_point():
        raise ValueError(f"samples are float, or int16 as recorded, not {samples.dtype}")
    return 1.0
