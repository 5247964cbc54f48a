"""Recordings one after the other in one tensor, without padding, and convolutions that keep them apart.

Knows nothing of what the rows are: samples, frames, features or hidden states.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, pairwise
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Segments:
    """Where each of several recordings begins and ends."""

    lengths: tuple[int, ...]  # rows of each recording

    def __post_init__(self) -> None:
        if not self.lengths or min(self.lengths) < 1:
            raise ValueError(f"every recording needs a row, not {self.lengths}")

    @cached_property
    def offsets(self) -> tuple[int, ...]:
        """Where each recording begins; the last is the number of all rows."""
        return tuple(accumulate(self.lengths, initial=0))

    @property
    def total(self) -> int:
        return self.offsets[-1]

    @property
    def longest(self) -> int:
        return max(self.lengths)

    def slices(self) -> Iterator[slice]:
        return (slice(start, stop) for start, stop in pairwise(self.offsets))

    def cumulative(self, device: torch.device) -> Tensor:
        """The offsets as int32 (B + 1,), as kernels for sequences of unlike lengths take them."""
        return self._on_device(str(device))

    def _on_device(self, device: str) -> Tensor:
        known: dict[str, Tensor] = self.__dict__.setdefault("_cumulative", {})
        if device not in known:
            known[device] = torch.tensor(self.offsets, dtype=torch.int32, device=device)  # (B + 1,)
        return known[device]


@dataclass(frozen=True)
class Packed:
    """Rows of several recordings, and which are whose."""

    data: Tensor  # (T, ...)
    segments: Segments

    def __post_init__(self) -> None:
        if len(self.data) != self.segments.total:
            raise ValueError(f"{len(self.data)} rows for recordings of {self.segments.total} in all")

    @classmethod
    def of(cls, recordings: Sequence[Tensor]) -> Self:
        data = recordings[0] if len(recordings) == 1 else torch.cat(list(recordings))  # (T, ...)
        return cls(data, Segments(tuple(len(one) for one in recordings)))

    def split(self) -> list[Tensor]:
        return [self.data[rows] for rows in self.segments.slices()]

    def with_data(self, data: Tensor) -> "Packed":
        """The same recordings with other contents, row by row."""
        return Packed(data, self.segments)

    def padded(self, value: float = 0.0) -> Tensor:
        """(B, longest, ...), each recording followed by `value`."""
        batch = self.data.new_full((len(self.segments.lengths), self.segments.longest, *self.data.shape[1:]), value)
        # By number: into the views that an iteration over a tensor gives, nothing may be written with gradients.
        for number, one in enumerate(self.split()):
            batch[number, : len(one)] = one
        return batch

    @classmethod
    def from_padded(cls, batch: Tensor, mask: Tensor | None = None) -> Self:
        """Of a batch (B, L, ...) what the mask (B, L) marks with ones; all of it where there is no mask."""
        if mask is None:
            return cls(batch.flatten(0, 1), Segments((batch.shape[1],) * batch.shape[0]))
        if mask.shape != batch.shape[:2]:
            raise ValueError(f"attention_mask is {tuple(mask.shape)}, the batch {tuple(batch.shape)}")
        real = mask.to(device=batch.device, dtype=torch.bool)  # (B, L)
        # One run of ones a row, at either end or in the middle: it begins once and ends once.
        steps = F.pad(real.to(torch.int8), (1, 1)).diff(dim=1)  # (B, L + 1)
        if bool(((steps == 1).sum(dim=1) > 1).any()):
            raise ValueError("attention_mask has gaps: each recording must be one run of ones")
        lengths = real.sum(dim=1).tolist()  # B
        if not all(lengths):
            raise ValueError(f"attention_mask hides all of recording {lengths.index(0)}")
        return cls(batch[real], Segments(tuple(lengths)))  # (T, ...)


@dataclass(frozen=True)
class Window:
    """What a convolution sees, in rows."""

    kernel: int
    stride: int = 1
    left: int = 0  # zeros before each recording
    right: int = 0  # zeros after it
    dilation: int = 1

    @property
    def span(self) -> int:
        return (self.kernel - 1) * self.dilation + 1

    def num_outputs(self, num_rows: int) -> int:
        return max(0, (num_rows + self.left + self.right - self.span) // self.stride + 1)


def convolve(x: Packed, conv: Callable[[Tensor], Tensor], window: Window) -> Packed:
    """Each recording convolved as if it were alone. `conv` takes (1, C, N) without padding of its own.

    Recordings are laid into one stream with their zeros between them, each beginning at a multiple of the stride, so
    that one convolution serves all of them; outputs that would mix two recordings are left out.
    """
    lengths = x.segments.lengths
    kept = [window.num_outputs(length) for length in lengths]
    # A slot holds the recording and its zeros, and at least what its outputs see. Two neighbours share no zeros.
    needed = [
        max(window.left + length + window.right, (outputs - 1) * window.stride + window.span)
        for length, outputs in zip(lengths, kept, strict=True)
    ]
    slots = [-(-rows // window.stride) * window.stride for rows in needed]
    stream = x.data.new_zeros(sum(slots) + window.span, x.data.shape[1])  # (N, C)
    begins = list(accumulate(slots, initial=0))
    for begin, length, rows in zip(begins, lengths, x.segments.slices(), strict=False):
        stream[begin + window.left : begin + window.left + length] = x.data[rows]
    y = conv(stream.T.unsqueeze(0))[0].T  # (N', C')
    firsts = [begin // window.stride for begin in begins[:-1]]
    pieces = [y[first : first + outputs] for first, outputs in zip(firsts, kept, strict=True)]
    return Packed.of(pieces)
