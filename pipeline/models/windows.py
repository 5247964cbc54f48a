"""Long recordings: only the layers are windowed; what comes before them is exact for the whole recording.

The front end and every normalisation see all of the recording, a piece at a time (`Backbone.embedder`). The layers,
whose attention grows with the square of the length, see windows. The margins of a window are context alone: there a
neighbour, which sees more on that side, has the say. Knows no family, and nothing of seconds.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from pipeline.models.backbone import Embedder, Trace
from pipeline.models.config import ModelConfig
from pipeline.models.ctc import ForCTC
from pipeline.models.segments import Packed

PIECE_ROWS = 10_000  # embedded at a time: 30 MB in base dimensions, and the margins between pieces cost nothing


@dataclass(frozen=True)
class Windows:
    """In rows, as the layers have them: most models have 50 a second."""

    size: int  # seen at once, margins included
    overlap: int  # the margin on either side
    at_once: int = 1  # windows that are computed together

    def __post_init__(self) -> None:
        if not 0 <= 2 * self.overlap < self.size or self.at_once < 1:
            raise ValueError(f"windows of {self.size} rows with margins of {self.overlap}, {self.at_once} at once")

    def fitted(self, config: ModelConfig) -> "Windows":
        """Widened to multiples of the adapter's stride, and to margins that cover what its convolutions see."""
        step, sees = output_step(config), 0
        if config.add_adapter:
            strides = [config.adapter_stride**layer for layer in range(config.num_adapter_layers)]
            sees = max(config.adapter_kernel_size, config.adapter_stride) * sum(strides)
        overlap = _multiple(max(self.overlap, sees), step)
        advance = _multiple(max(self.size - 2 * self.overlap, 1), step)
        return Windows(advance + 2 * overlap, overlap, self.at_once)


class Span(NamedTuple):
    """One window: the rows that the layers see, and those of them that count."""

    start: int
    stop: int
    kept_start: int
    kept_stop: int


class SeamError(NamedTuple):
    """How far windows are from the whole, by the standard deviation of the logits."""

    rms: float
    worst: float
    changed: float  # share of the frames with another best label


def output_step(config: ModelConfig) -> int:
    """Rows of the layers for each frame that leaves the adapter; 1 without one."""
    return config.adapter_stride**config.num_adapter_layers if config.add_adapter else 1


def spans(num_rows: int, windows: Windows, step: int = 1) -> Iterator[Span]:
    """Windows whose kept parts are the whole, in order; each begins at a multiple of the step.

    The last is as wide as the others: it begins earlier instead, and so sees more than its margin.
    """
    advance = windows.size - 2 * windows.overlap
    assert advance % step == windows.overlap % step == 0
    kept = 0
    for start in range(0, num_rows - windows.size, advance):
        yield Span(start, start + windows.size, kept, start + windows.size - windows.overlap)
        kept = start + windows.size - windows.overlap
    yield Span(_multiple(max(0, num_rows - windows.size), step), num_rows, kept, num_rows)


def windowed_logits(
    model: ForCTC, recording: Packed | Tensor, windows: Windows, language: str | None = None
) -> Iterator[Tensor]:
    """The logits (T', V) of one recording in pieces, from its beginning to its end: joined, they are all of them."""
    model.ready()
    backbone, step = model.backbone, output_step(model.config)
    windows, spoken = windows.fitted(model.config), model.spoken(language)
    reel = _Reel(backbone.embedder(_packed(recording)))
    waiting: list[Span] = []
    for span in spans(reel.num_rows, windows, step):
        waiting.append(span)
        if len(waiting) < windows.at_once and span.stop < reel.num_rows:
            continue
        x = Packed.of([reel.rows(one.start, one.stop) for one in waiting])  # (T of the windows, D)
        x = backbone.finish(backbone.transform(x, Trace(wants_states=False, spoken=spoken)))  # (T' of the windows, D')
        logits = model.classify(x, spoken)  # (T' of the windows, V)
        for one, rows in zip(waiting, logits.split(), strict=True):
            first = (one.kept_start - one.start) // step
            # An adapter's last frame may see fewer rows than its stride, so the end is not counted but left open.
            last = (one.kept_stop - one.start) // step if one.kept_stop < reel.num_rows else None
            yield rows[first:last]
        waiting = []


def seam_error(model: ForCTC, recording: Packed | Tensor, windows: Windows, language: str | None = None) -> SeamError:
    """What windowing changes in a recording that can also be computed whole."""
    with torch.inference_mode():
        whole = model.logits(_packed(recording), languages=language).data  # (T', V)
        difference = torch.cat(list(windowed_logits(model, recording, windows, language))) - whole  # (T', V)
        changed = (whole + difference).argmax(dim=1) != whole.argmax(dim=1)  # (T')
    std = float(whole.std())
    return SeamError(
        rms=float(difference.square().mean().sqrt()) / std,
        worst=float(difference.abs().max()) / std,
        changed=float(changed.float().mean()),
    )


class _Reel:
    """The rows of a recording, embedded once each as the windows move over it, and let go behind them."""

    def __init__(self, embedder: Embedder) -> None:
        self.num_rows = embedder.num_frames
        self._embed = embedder.rows
        self._first = 0  # the row that `_held` begins with
        self._held: Tensor | None = None  # (rows held, D)

    def rows(self, start: int, stop: int) -> Tensor:
        """(stop - start, D). Starts must not go back."""
        held = [] if self._held is None else [self._held[start - self._first :]]
        ready = start + sum(map(len, held))
        while ready < stop:
            held.append(self._embed(ready, min(ready + PIECE_ROWS, self.num_rows)))
            ready += len(held[-1])
        self._held = torch.cat(held) if len(held) > 1 else held[0]
        self._first = start
        return self._held[: stop - start]


def _packed(recording: Packed | Tensor) -> Packed:
    return recording if isinstance(recording, Packed) else Packed.of([recording])


def _multiple(number: int, step: int) -> int:
    """The next multiple of the step."""
    return -(-number // step) * step
