"""Audio to the mel features that Wav2Vec2-BERT hears: normalised log energies in bands, two frames a row.

Knows nothing of models, files or batches padded to a length. It computes on the device where the audio is.

A mel frame is made every 10 ms from 25 ms, as Kaldi does (Povey et al. 2011): 16-bit scale, offset removed,
pre-emphasis, window, power spectrum, triangular filters, logarithm. Each band is then brought to zero mean and unit
variance over the recording, and neighbouring frames are stacked. Shapes: N samples, F mel frames, M bands, T rows.
"""

import math
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from itertools import accumulate
from typing import Any, Self

import torch
from torch import Tensor

from pipeline.errors import UsageError
from pipeline.models.segments import Packed
from pipeline.records import SAMPLE_RATE

WIDTH = 400  # samples that a mel frame sees
HOP = 160  # samples from one mel frame to the next
FFT_SIZE = 512
PRE_EMPHASIS = 0.97
LOWEST_HZ = 20.0
SAMPLE_SCALE = 2.0**15  # energies are those of 16-bit samples
ENERGY_FLOOR = 2.0**-23  # under any that such samples have; keeps silence finite
VARIANCE_FLOOR = 1e-7  # what the checkpoints were trained with; keeps silence finite

# Mel frames at a time. On a CPU what is in hand should fit its cache: one Zen 5 core makes 6,200 audio seconds a second
# of them by 256, 4,700 by 64 and 1,300 by 1,200. A GPU wants more to do at once.
CPU_TILE, GPU_TILE = 256, 4096
CPU_ROWS = 64  # that a product has, so that short recordings do not pay for a whole tile
STATISTICS_TILE = 4096


@dataclass(frozen=True)
class MelFeatures:
    """Packed audio (N,) to packed features (T, `size`), each recording as if it were alone.

    Frames that do not fill a row are heard in the statistics and otherwise left out: transformers pads and masks them.
    """

    num_mel_bins: int = 80
    stride: int = 2  # mel frames in a row
    sampling_rate: int = SAMPLE_RATE  # of the audio; frames are of as many samples at any

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any]) -> Self:
        """What a preprocessor_config.json says."""
        found = cls(_count(settings, "num_mel_bins", 80), _count(settings, "stride", 2))
        if _count(settings, "feature_size", found.num_mel_bins) != found.num_mel_bins:
            raise UsageError(f"feature_size is {settings['feature_size']}, but num_mel_bins is {found.num_mel_bins}")
        if (rate := settings.get("sampling_rate", SAMPLE_RATE)) != SAMPLE_RATE:
            raise UsageError(f"the model wants {rate} Hz; only {SAMPLE_RATE} Hz is supported")
        if found.stride < 2:
            raise UsageError(f"stride is {found.stride}; at least 2 mel frames make a row")
        return found

    @property
    def size(self) -> int:
        """The width of a row."""
        return self.num_mel_bins * self.stride

    @property
    def samples_per_frame(self) -> int:
        """Samples from one row to the next."""
        return HOP * self.stride

    @property
    def min_samples(self) -> int:
        """Of the shortest recording that has a row."""
        return WIDTH + HOP * (self.stride - 1)

    def num_frames(self, num_samples: int) -> int:
        """The rows of a recording; 0 for one shorter than `min_samples`."""
        return num_mel_frames(num_samples) // self.stride

    def __call__(self, audio: Packed) -> Packed:
        """Samples are floats from -1 to 1, or int16."""
        if (shortest := min(audio.segments.lengths)) < self.min_samples:
            raise ValueError(f"a recording of {shortest} samples is too short: one row takes {self.min_samples}")
        used = [self.num_frames(num_samples) * self.stride for num_samples in audio.segments.lengths]
        frames = self.frames(audio)
        return Packed.of([own[:num].view(-1, self.size) for own, num in zip(frames, used, strict=True)])  # (T, size)

    def frames(self, audio: Packed, normalise: bool = True) -> list[Tensor]:
        """The mel frames of each recording (F, M), also where there are too few for a row, or none."""
        self._check(audio)
        stream, begins = _laid_out(audio)
        energies = self._log_energies(stream)  # (F, M), with frames between recordings that belong to none
        counts = map(num_mel_frames, audio.segments.lengths)
        found = [energies[begin // HOP :][:count] for begin, count in zip(begins, counts, strict=True)]  # (F, M) each
        for own in found if normalise else ():
            _normalise(own)
        return found

    def _check(self, audio: Packed) -> None:
        if audio.data.ndim != 1:
            shape = ("samples", *audio.data.shape[1:])
            raise ValueError(f"mel features are made of one channel, not of audio of {shape}")
        if not audio.data.is_floating_point() and audio.data.dtype != torch.int16:
            raise ValueError(f"mel features are made of floats from -1 to 1 or of int16, not of {audio.data.dtype}")

    def _log_energies(self, stream: Tensor) -> Tensor:
        """Logarithms of the energies in each band of every frame of a stream of samples (N,). (F, M)"""
        num_frames, device = num_mel_frames(len(stream)), stream.device
        window = _window(device) * (1.0 if stream.dtype == torch.int16 else SAMPLE_SCALE)  # (WIDTH,)
        filters = _filters(self.num_mel_bins, device, self.sampling_rate)  # (FFT_SIZE // 2, M)
        room = _room(device)
        tile, rows = len(room.frames), CPU_ROWS if device.type == "cpu" else GPU_TILE
        bands = torch.empty(tile, self.num_mel_bins, device=device)  # (tile, M)
        energies = torch.empty(num_frames, self.num_mel_bins, device=device)  # (F, M)
        for start in range(0, num_frames, tile):
            stop = min(start + tile, num_frames)
            _power_spectra(stream[start * HOP : (stop - 1) * HOP + WIDTH], window, room)
            # Always of as many rows, though the last be stale: products of other shapes are rounded otherwise, and
            # then a recording's features would depend, in their last bits, on what is beside it.
            for some in range(0, stop - start, rows):
                torch.mm(room.powers[some : some + rows], filters, out=bands[some : some + rows])
            torch.log(bands[: stop - start].clamp_(min=ENERGY_FLOOR), out=energies[start:stop])
        return energies


def num_mel_frames(num_samples: int) -> int:
    """Those that lie in the recording as a whole."""
    return max(0, (num_samples - WIDTH) // HOP + 1)


def _laid_out(audio: Packed) -> tuple[Tensor, list[int]]:
    """The recordings in one stream, each beginning with a frame, and where they begin."""
    lengths = audio.segments.lengths
    if len(lengths) == 1:
        return audio.data, [0]
    begins = list(accumulate((-(-length // HOP) * HOP for length in lengths), initial=0))
    stream = audio.data.new_zeros(begins[-1])  # (N,)
    for begin, one in zip(begins, audio.split(), strict=False):
        stream[begin : begin + len(one)] = one
    return stream, begins[:-1]


class _Room:
    """Where a tile of frames is worked on."""

    def __init__(self, tile: int, device: torch.device) -> None:
        with torch.inference_mode(False):  # else it could not be written to outside
            samples = (tile - 1) * HOP + WIDTH
            self.samples = torch.empty(2, samples, dtype=torch.float64, device=device)
            self.frames = torch.zeros(tile, FFT_SIZE, dtype=torch.float64, device=device)
            self.spectra = torch.empty(tile, FFT_SIZE // 2 + 1, dtype=torch.complex128, device=device)
            self.rounded = torch.empty_like(self.spectra, dtype=torch.complex64)
            self.powers = torch.zeros(tile, FFT_SIZE // 2, device=device)


_KEPT = threading.local()


def _room(device: torch.device) -> _Room:
    """On a CPU a thread keeps its own: memory that is given back comes again page by page, which takes a recording of
    five seconds as long as its features do."""
    if device.type != "cpu":
        return _Room(GPU_TILE, device)
    if getattr(_KEPT, "tile", None) != CPU_TILE:
        _KEPT.tile, _KEPT.room = CPU_TILE, _Room(CPU_TILE, device)
    found: _Room = _KEPT.room
    return found


def _power_spectra(stream: Tensor, window: Tensor, room: _Room) -> None:
    """Of each frame of a few samples (N,), into `room.powers`.

    In fp64 as far as the spectrum: where speech has little power, as all 8 kHz recordings have above 4 kHz, an fp32
    spectrum holds the rounding errors of where it has much. From there on all is positive, and fp32 does.
    """
    samples, emphasised = room.samples[:, : len(stream)]  # (N,) each
    samples.copy_(stream)
    blocks = samples.view(-1, WIDTH // 5).sum(dim=1)  # a frame is five of them, and begins at every other one
    offsets = blocks.unfold(0, 5, 2).sum(dim=1) / WIDTH  # (F,)
    torch.sub(samples[1:], samples[:-1], alpha=PRE_EMPHASIS, out=emphasised[1:])
    emphasised[0] = 0.0  # the window begins with zero, so a frame's first sample does not matter
    # Pre-emphasis of what is left without the offset: the offset itself comes through it as (1 - 0.97) of its size.
    num_frames = len(offsets)
    seen = room.frames[:num_frames, :WIDTH]  # what is behind the window stays zero
    torch.mul(emphasised.unfold(0, WIDTH, HOP), window, out=seen)
    seen.addcmul_(offsets[:, None], window, value=PRE_EMPHASIS - 1.0)
    spectra = torch.fft.rfft(room.frames[:num_frames], out=room.spectra[:num_frames])  # (F, FFT_SIZE // 2 + 1)
    parts = torch.view_as_real(room.rounded[:num_frames].copy_(spectra)).square_()  # (F, FFT_SIZE // 2 + 1, 2)
    torch.add(parts[:, :-1, 0], parts[:, :-1, 1], out=room.powers[:num_frames])


def _normalise(energies: Tensor) -> None:
    """To zero mean and unit variance in each band, in place. (F, M)"""
    num_frames = len(energies)
    if num_frames == 0:
        return
    total, squares = torch.zeros(2, energies.shape[1], dtype=torch.float64, device=energies.device)  # (M,) each
    for some in torch.split(energies, STATISTICS_TILE):
        part = some.double()
        total += part.sum(dim=0)
        squares += part.square().sum(dim=0)
    mean = total / num_frames
    variance = ((squares - total * mean) / max(num_frames - 1, 1)).clamp_(min=0.0)  # one frame does not vary
    energies.sub_(mean.float()).mul_((variance + VARIANCE_FLOOR).rsqrt_().float())


@cache
def _window(device: torch.device) -> Tensor:
    """Povey's: a Hann window to the power of 0.85. (WIDTH,)"""
    turn = torch.arange(WIDTH, dtype=torch.float64) * (2.0 * math.pi / (WIDTH - 1))
    return ((0.5 - 0.5 * torch.cos(turn)) ** 0.85).to(device)


@cache
def _filters(num_mel_bins: int, device: torch.device, sampling_rate: int = SAMPLE_RATE) -> Tensor:
    """What each band takes of each frequency: triangles of equal width in mel. (FFT_SIZE // 2, M)

    The highest frequency is left out: it is where the last triangle ends.
    """
    places = torch.linspace(_mel(LOWEST_HZ), _mel(sampling_rate / 2), num_mel_bins + 2, dtype=torch.float64)
    begin, middle, end = places[:-2], places[1:-1], places[2:]  # (M,) each
    heard = [[_mel(place * sampling_rate / FFT_SIZE)] for place in range(FFT_SIZE // 2)]
    mels = torch.tensor(heard, dtype=torch.float64)  # (FFT_SIZE // 2, 1)
    rising, falling = (mels - begin) / (middle - begin), (end - mels) / (end - middle)  # (FFT_SIZE // 2, M) each
    return torch.minimum(rising, falling).clamp(min=0.0).float().to(device)


def _mel(hertz: float) -> float:
    return 1127.0 * math.log1p(hertz / 700.0)


def _count(settings: Mapping[str, Any], name: str, default: int) -> int:
    value = settings.get(name, default)
    if type(value) is not int or value < 1:
        raise UsageError(f"{name} must be a positive whole number, not {value!r}")
    return value
