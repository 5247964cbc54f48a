"""Long recordings: windows that cover them, in bounded memory, and exact but for what attention would have seen.

Models whose attention is silenced see only their neighbourhood, so that windows must give what the whole gives: that
holds the front end, the normalisation, the positions, the adapters and the joints to the whole.
"""

from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from pipeline.models import windows as module
from pipeline.models.adapters import Spoken
from pipeline.models.backbone import Embedder, Trace
from pipeline.models.bert import Wav2Vec2BertConfig, Wav2Vec2BertForCTC
from pipeline.models.config import ModelConfig
from pipeline.models.conformer import Wav2Vec2ConformerConfig, Wav2Vec2ConformerForCTC
from pipeline.models.ctc import ForCTC
from pipeline.models.segments import Packed
from pipeline.models.wav2vec2 import Wav2Vec2Config, Wav2Vec2ForCTC
from pipeline.models.windows import Span, Windows, output_step, seam_error, spans, windowed_logits
from tests.models.oracle import GROUP, LAYER, SMALL, audio

ADAPTER = {"add_adapter": True}
ODD_ADAPTER = {"add_adapter": True, "num_adapter_layers": 2, "adapter_kernel_size": 4, "adapter_stride": 3}
CONFORMER = GROUP | {"feat_extract_norm": "layer"}
BERT = SMALL | {"feature_projection_input_dim": 12, "conv_depthwise_kernel_size": 5}
FAMILIES: dict[str, tuple[Any, Any, dict[str, Any]]] = {
    "group": (Wav2Vec2ForCTC, Wav2Vec2Config, GROUP),
    "layer": (Wav2Vec2ForCTC, Wav2Vec2Config, LAYER),
    "adapter": (Wav2Vec2ForCTC, Wav2Vec2Config, GROUP | ADAPTER),
    "odd adapter": (Wav2Vec2ForCTC, Wav2Vec2Config, LAYER | ODD_ADAPTER),
    "conformer": (Wav2Vec2ConformerForCTC, Wav2Vec2ConformerConfig, CONFORMER),
    "bert": (Wav2Vec2BertForCTC, Wav2Vec2BertConfig, BERT),
    "bert adapter": (Wav2Vec2BertForCTC, Wav2Vec2BertConfig, BERT | ADAPTER),
    "bert odd adapter": (Wav2Vec2BertForCTC, Wav2Vec2BertConfig, BERT | ODD_ADAPTER | {"adapter_kernel_size": 2}),
}


def model_of(family: str, silent: bool = True) -> ForCTC:
    """A seeded model; a silent one takes nothing from its attention."""
    model_class, config_class, values = FAMILIES[family]
    torch.manual_seed(0)
    known = {name: value for name, value in values.items() if name != "apply_spec_augment"}
    model: ForCTC = model_class(config_class.from_dict(known | {"model_type": config_class.model_type}))
    model.lm_head.weight.data.mul_(20)
    for name, weight in model.named_parameters():
        if silent and ("out_proj" in name or "linear_out" in name):
            weight.data.zero_()
    return model.requires_grad_(False).eval()


def inputs_of(family: str, num_rows: int) -> Tensor:
    if family.startswith("bert"):
        return torch.randn((num_rows, 12), generator=torch.Generator().manual_seed(1))
    return audio(1, 400 + 320 * (num_rows - 1) + 100)[0]


@given(
    num_rows=st.integers(1, 400),
    advance=st.integers(1, 30),
    overlap=st.integers(0, 20),
    step=st.sampled_from([1, 2, 8]),
)
def test_what_counts_of_the_windows_is_the_recording_and_has_its_margins(
    num_rows: int, advance: int, overlap: int, step: int
) -> None:
    windows = Windows((advance + 2 * overlap) * step, overlap * step)
    cut = list(spans(num_rows, windows, step))
    assert (cut[0].kept_start, cut[-1].kept_stop) == (0, num_rows)
    assert all(before.kept_stop == after.kept_start for before, after in pairwise(cut))
    for span in cut:
        assert 0 <= span.start <= span.kept_start < span.kept_stop <= span.stop <= num_rows
        assert span.stop - span.start <= windows.size
        assert span.start % step == span.kept_start % step == 0
        assert span.start == 0 or span.kept_start - span.start >= windows.overlap
        assert span.stop == num_rows or span.stop - span.kept_stop >= windows.overlap
    if num_rows >= windows.size:  # nobody sees less because the recording is about to end
        assert all(span.stop - span.start > windows.size - step for span in cut)


@pytest.mark.parametrize("family", FAMILIES)
def test_windows_give_the_whole_where_the_layers_see_no_further_than_the_margin(family: str) -> None:
    model = model_of(family)
    for num_rows in (9, 100, 101, 333):
        inputs = inputs_of(family, num_rows)
        whole = model.logits(Packed.of([inputs])).data
        for size, overlap in ((101, 50), (130, 45)):
            joined = torch.cat(list(windowed_logits(model, inputs, Windows(size, overlap))))
            assert joined.shape == whole.shape
            assert float((joined - whole).abs().max()) < 1e-5 * float(whole.std()) + 1e-6, (num_rows, size)


@settings(max_examples=15)
@given(
    family=st.sampled_from(sorted(FAMILIES)),
    num_rows=st.integers(9, 150),
    size=st.integers(1, 60),
    overlap=st.integers(0, 30),
)
def test_any_windows_give_as_many_frames_as_the_whole_and_finite_ones(
    family: str, num_rows: int, size: int, overlap: int
) -> None:
    model, inputs = model_of(family, silent=False), inputs_of(family, num_rows)
    windows = Windows(size + 2 * overlap, overlap, at_once=3)
    joined = torch.cat(list(windowed_logits(model, inputs, windows)))
    assert joined.shape == model.logits(Packed.of([inputs])).data.shape
    assert bool(joined.isfinite().all())


@pytest.mark.parametrize("family", FAMILIES)
def test_windows_computed_together_give_what_they_give_one_by_one(family: str) -> None:
    model, inputs = model_of(family, silent=False), inputs_of(family, 300)
    alone = torch.cat(list(windowed_logits(model, inputs, Windows(60, 16))))
    for at_once in (2, 100):
        together = torch.cat(list(windowed_logits(model, inputs, Windows(60, 16, at_once))))
        assert float((together - alone).abs().max()) < 1e-5 * float(alone.std())


class Counting:
    """An encoder that changes nothing and notes how many rows it has seen at once."""

    def __init__(self, num_rows: int) -> None:
        self.config, self.num_rows = ModelConfig(), num_rows
        self.asked: list[tuple[int, int]] = []
        self.seen: list[int] = []
        self.backbone = self

    def ready(self) -> None:
        pass

    def spoken(self, languages: str | None) -> Spoken:
        return Spoken(languages)

    def embedder(self, recording: Packed) -> Embedder:
        def rows(start: int, stop: int) -> Tensor:
            self.asked.append((start, stop))
            return torch.arange(start, stop).unsqueeze(1)

        return Embedder(self.num_rows, rows)

    def transform(self, x: Packed, trace: Trace) -> Packed:
        self.seen.append(len(x.data))
        return x

    def finish(self, x: Packed) -> Packed:
        return x

    def classify(self, x: Packed, spoken: Spoken) -> Packed:
        return x


@pytest.mark.parametrize(("piece", "at_once"), [(10_000, 1), (10_000, 4), (700, 1), (10, 2)])
def test_three_hours_are_embedded_once_and_never_seen_at_once(
    monkeypatch: pytest.MonkeyPatch, piece: int, at_once: int
) -> None:
    """The memory of three hours is that of a piece, of the windows computed together, and of the result."""
    monkeypatch.setattr(module, "PIECE_ROWS", piece)
    num_rows = 540_000 if piece > 10 else 9_000
    model: Any = Counting(num_rows)
    held = 0
    reel = module._Reel(model.embedder(None))
    for span in spans(num_rows, Windows(3_000, 250)):
        reel.rows(span.start, span.stop)
        assert reel._held is not None
        held = max(held, len(reel._held))
    assert held <= 3_000 + piece
    model.asked.clear()
    joined = torch.cat(list(windowed_logits(model, torch.empty(1), Windows(3_000, 250, at_once))))
    assert torch.equal(joined[:, 0], torch.arange(num_rows))
    assert max(model.seen) == 3_000 * at_once
    assert model.asked[0][0] == 0
    assert model.asked[-1][1] == num_rows
    assert all(before[1] == after[0] for before, after in pairwise(model.asked))
    assert max(stop - start for start, stop in model.asked) <= piece


@pytest.mark.parametrize("family", ["group", "conformer", "bert adapter"])
def test_the_seam_error_is_the_difference_to_the_whole_and_nothing_where_there_is_no_seam(family: str) -> None:
    model, inputs = model_of(family, silent=False), inputs_of(family, 200)
    assert max(seam_error(model, inputs, Windows(200, 10))) < 1e-5
    found = seam_error(model, inputs, Windows(60, 16))
    whole = model.logits(Packed.of([inputs])).data
    difference = torch.cat(list(windowed_logits(model, inputs, Windows(60, 16)))) - whole
    assert found.worst == pytest.approx(float(difference.abs().max() / whole.std()), rel=1e-4)
    assert found.rms == pytest.approx(float(difference.square().mean().sqrt() / whole.std()), rel=1e-4)
    assert 0 < found.rms < found.worst
    assert 0 <= found.changed < 1


def test_margins_are_widened_to_what_an_adapter_sees() -> None:
    config: Any = SimpleNamespace(add_adapter=True, num_adapter_layers=3, adapter_stride=2, adapter_kernel_size=3)
    assert output_step(config) == 8
    assert Windows(100, 0).fitted(config) == Windows(104 + 2 * 24, 24)
    assert list(spans(152, Windows(100, 0).fitted(config), 8)) == [Span(0, 152, 0, 152)]


@pytest.mark.parametrize(("size", "overlap", "at_once"), [(10, 5, 1), (0, 0, 1), (10, -1, 1), (10, 2, 0)])
def test_windows_of_nothing_are_refused(size: int, overlap: int, at_once: int) -> None:
    with pytest.raises(ValueError, match=f"windows of {size} rows"):
        Windows(size, overlap, at_once)
