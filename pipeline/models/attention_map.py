"""What each frame attends to, layer by layer, as numbers and as a drawing.

Knows no family: it looks on while a model's layers do their work.

    seen = attention_map(Wav2Vec2ForCTC.from_pretrained(path), samples, layers=[0, 5, 11])
    seen.weights[1, 3, 50]  # in layer 5, by head 3: what the frame at 1 s takes from each frame; sums to 1
    seen.save("attention.svg")  # a panel for each layer, the mean of its heads
    seen.save("head.svg", head=3)
    attention_map(model, samples, windows=Windows(size=1500, overlap=250)).save("windowed.svg")

Shapes: T frames of all that is drawn, H heads, n layers that are drawn.
"""

import math
from base64 import b64encode
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from pipeline.errors import UsageError
from pipeline.heatmap import png, text_at
from pipeline.models.attention import Attend
from pipeline.models.backbone import Backbone, Head, Trace
from pipeline.models.config import ConvConfig
from pipeline.models.segments import Packed
from pipeline.models.windows import Span, Windows, output_step, spans
from pipeline.records import SAMPLE_RATE

MEL_FRAME_S = 0.02  # of mel features as published models have them: two frames of 10 ms in one
LARGEST_BYTES = 4_000_000_000  # of weights; 10 s in all layers of a large model are a tenth of it

PANEL, LEFT, RIGHT, TOP, BOTTOM = 320, 52, 14, 30, 38  # pixels: a panel's side, and what is around it
MAX_COLUMNS = 4
TICKS_S = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600)
HATCHING = (
    '<pattern id="unseen" width="6" height="6" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">'
    '<rect width="6" height="6" fill="#eee"/><path d="M0 0v6" stroke="#aaa" stroke-width="2"/></pattern>'
)


class Block(NamedTuple):
    """Frames that see the same frames and no others: those of one recording, or of one window on it."""

    start: int
    stop: int
    seen_start: int
    seen_stop: int


@dataclass(frozen=True)
class AttentionMap:
    weights: Tensor  # (n, H, T, T), on the CPU: what a frame (third) takes from another (fourth); 0 where it cannot see
    layers: tuple[int, ...]  # which those n are
    blocks: tuple[Block, ...]  # what frames can see
    frame_s: float  # from one frame to the next

    @property
    def times_s(self) -> Tensor:
        """When each frame begins, in seconds of the recording, or of several one after the other. (T,)"""
        return torch.arange(self.weights.shape[2]) * self.frame_s

    @property
    def visible(self) -> Tensor:
        """Which frames each frame can see. (T, T)"""
        visible = torch.zeros(self.weights.shape[2:], dtype=torch.bool)
        for block in self.blocks:
            visible[block.start : block.stop, block.seen_start : block.seen_stop] = True
        return visible

    def save(self, path: str | PathLike[str], head: int | None = None) -> None:
        """Draws a panel for each layer, of one head or of the mean of all, as SVG."""
        if Path(path).suffix != ".svg":
            raise UsageError(f"{path}: an attention map is drawn as SVG; give it a name that ends in .svg")
        Path(path).write_text(self.svg(head))

    def svg(self, head: int | None = None) -> str:
        num_heads = self.weights.shape[1]
        if head is not None and not 0 <= head < num_heads:
            raise UsageError(f"there is no head {head}: the model has heads 0 to {num_heads - 1}")
        num_columns = min(MAX_COLUMNS, math.ceil(math.sqrt(len(self.layers))))
        width = num_columns * (LEFT + PANEL + RIGHT)
        row_height = TOP + PANEL + BOTTOM
        height = -(-len(self.layers) // num_columns) * row_height + 40
        parts = [f'<rect width="{width}" height="{height}" fill="#fff"/>', HATCHING]
        for number, layer in enumerate(self.layers):
            weights = self.weights[number].mean(dim=0) if head is None else self.weights[number, head]  # (T, T)
            name = f"layer {layer}, " + (f"mean of {num_heads} heads" if head is None else f"head {head}")
            x, y = number % num_columns * (LEFT + PANEL + RIGHT) + LEFT, number // num_columns * row_height + TOP
            parts.append(f'<g transform="translate({x} {y})">{self._panel(weights, name)}</g>')
        parts.append(text_at(width / 2, height - 24, "row: a frame; column: a frame that it takes from"))
        if len(self.blocks) > 1:
            parts.append(text_at(width / 2, height - 8, "hatched: outside its window, or in another recording"))
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
            f'viewBox="0 0 {width} {height}" font-family="sans-serif">\n' + "\n".join(parts) + "\n</svg>\n"
        )

    def _panel(self, weights: Tensor, name: str) -> str:
        darkest, num_shared = float(weights.max()), -(-len(weights) // PANEL)
        # Where frames share a pixel it shows their largest weight; and roots, as most weights are small.
        largest = F.max_pool2d(weights[None], num_shared, ceil_mode=True)[0]  # (pixels, pixels)
        shades = (255 * (largest / darkest).sqrt()).round().to(torch.uint8)
        image = b64encode(png([bytes(line) for line in shades.tolist()])).decode()
        side = PANEL * len(shades) * num_shared / len(weights)  # the last pixel may stand for fewer frames
        parts = [
            text_at(PANEL / 2, -10, f"{name} (darkest: {darkest:.2g})"),
            f'<image width="{side:.2f}" height="{side:.2f}" style="image-rendering:pixelated" '
            f'href="data:image/png;base64,{image}"/>',
        ]
        pixels = PANEL / len(weights)  # of a frame
        for block in self.blocks:
            top, height = block.start * pixels, (block.stop - block.start) * pixels
            for left, right in ((0, block.seen_start), (block.seen_stop, len(weights))):
                if left < right:
                    parts.append(
                        f'<rect x="{left * pixels:.2f}" y="{top:.2f}" width="{(right - left) * pixels:.2f}" '
                        f'height="{height:.2f}" fill="url(#unseen)"/>'
                    )
        return "\n".join([*parts, *_axes(len(weights) * self.frame_s)])


def attention_map(
    model: Head | Backbone,
    recordings: Tensor | Sequence[Tensor],
    layers: Sequence[int] | None = None,
    windows: Windows | None = None,
    mel_frame_s: float = MEL_FRAME_S,
) -> AttentionMap:
    """What each frame of a recording attends to, or of several in one batch.

    A recording is as the model takes it: its samples (N,), normalised, or its mel features (T, C). `layers`: None is
    all of them. `windows`: as the layers would see a long recording; None is all of it at once. `mel_frame_s`: from one
    row of mel features to the next, which no model knows: 0.01 times the extractor's `stride`.
    """
    model.ready()
    backbone = model.backbone if isinstance(model, Head) else model
    config = backbone.config
    chosen = tuple(sorted(range(config.num_hidden_layers) if layers is None else set(layers)))
    if not chosen or not 0 <= chosen[0] <= chosen[-1] < config.num_hidden_layers:
        raise UsageError(f"layers {chosen} are not to be had: the model has layers 0 to {config.num_hidden_layers - 1}")
    several = [recordings] if isinstance(recordings, Tensor) else recordings
    inputs = Packed.of([one.to(backbone.device) for one in several])
    backbone.check_inputs(inputs)
    with torch.inference_mode():
        x, _ = backbone.embed(inputs)  # (T, D)
        num_frames = len(x.data)
        if (size := 4 * len(chosen) * config.num_attention_heads * num_frames**2) > LARGEST_BYTES:
            raise UsageError(f"{size / 1e9:.1f} GB for the attention of {num_frames} frames; choose fewer layers")
        views = [
            Span(*(begin + row for row in span))
            for begin, length in zip(x.segments.offsets, x.segments.lengths, strict=False)
            for span in _cut(length, windows, backbone)
        ]
        trace = _LayersTrace(wants_states=False, wants_attentions=True, layers=chosen)
        backbone.transform(Packed.of([x.data[view.start : view.stop] for view in views]), trace)
        weights = torch.zeros(len(chosen), config.num_attention_heads, num_frames, num_frames)
        for layer, attentions in zip(weights, trace.attentions, strict=True):
            for view, one in zip(views, attentions, strict=True):
                kept = one[:, view.kept_start - view.start : view.kept_stop - view.start]  # (H, kept, L)
                layer[:, view.kept_start : view.kept_stop, view.start : view.stop] = kept
    frame_s = config.samples_per_frame / SAMPLE_RATE if isinstance(config, ConvConfig) else mel_frame_s
    blocks = tuple(Block(view.kept_start, view.kept_stop, view.start, view.stop) for view in views)
    return AttentionMap(weights, chosen, blocks, frame_s)


@dataclass
class _LayersTrace(Trace):
    """Keeps the attention of some layers only: that of all can be too large."""

    layers: tuple[int, ...] = ()
    num_begun: int = 0

    def attend(self, implementation: str) -> Attend:
        self.num_begun += 1
        return super().attend(implementation) if self.num_begun - 1 in self.layers else Attend(implementation)


def _cut(length: int, windows: Windows | None, backbone: Backbone) -> Iterator[Span]:
    if windows is None:
        return iter([Span(0, length, 0, length)])
    return spans(length, windows.fitted(backbone.config), output_step(backbone.config))


def _axes(length_s: float) -> list[str]:
    """A frame with the seconds at its left and below it."""
    step_s = next((tick for tick in TICKS_S if length_s / tick <= 6), length_s)
    parts = [f'<rect width="{PANEL}" height="{PANEL}" fill="none" stroke="#222"/>']
    for number in range(int(length_s / step_s) + 1):
        place, label = number * step_s / length_s * PANEL, f"{number * step_s:g}"
        parts.append(f'<path d="M{place:.2f} {PANEL}v5M0 {place:.2f}h-5" stroke="#222"/>')
        parts += [text_at(place, PANEL + 18, label), text_at(-20, place + 4, label)]
    return [*parts, text_at(PANEL / 2, PANEL + 33, "seconds")]
