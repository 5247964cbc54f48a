"""The map of attention against transformers' weights, and its drawing against the map.

It does not know whether attention explains anything.
"""

import base64
import zlib
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import torch
from torch import Tensor, nn

from pipeline.errors import UsageError
from pipeline.models import attention_map as module
from pipeline.models.attention_map import AttentionMap, Block, attention_map
from pipeline.models.bert import Wav2Vec2BertForCTC
from pipeline.models.conformer import Wav2Vec2ConformerForCTC
from pipeline.models.ctc import ForCTC
from pipeline.models.segments import Packed
from pipeline.models.wav2vec2 import Wav2Vec2ForCTC
from pipeline.models.windows import Windows
from tests.models.oracle import GROUP, LAYER, SECOND, SMALL, audio, oracle_model, saved

FAMILIES: dict[str, tuple[type[ForCTC], dict[str, Any]]] = {
    "Wav2Vec2": (Wav2Vec2ForCTC, LAYER),
    "Wav2Vec2Conformer": (Wav2Vec2ConformerForCTC, GROUP | {"position_embeddings_type": "relative"}),
    "Wav2Vec2Bert": (Wav2Vec2BertForCTC, SMALL | {"position_embeddings_type": "relative_key"}),
}
SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Both models of a family, each made once."""
    made: dict[str, tuple[nn.Module, ForCTC]] = {}

    def both(family: str) -> tuple[nn.Module, ForCTC]:
        if family not in made:
            model_class, config = FAMILIES[family]
            oracle = oracle_model(config, f"{family}ForCTC")
            made[family] = oracle, model_class.from_pretrained(saved(oracle, tmp_path_factory.mktemp(family)))
        return made[family]

    return both


def recording(family: str, seconds: float = 2) -> Tensor:
    if family != "Wav2Vec2Bert":
        return audio(1, round(seconds * SECOND))[0]  # (N,)
    generator = torch.Generator().manual_seed(3)
    return torch.randn((round(50 * seconds), 160), generator=generator)  # (T, C)


@pytest.mark.parametrize("family", FAMILIES)
def test_weights_are_those_of_transformers(family: str, models: Any) -> None:
    """The risk: weights of another layer, of before the softmax, or without what positions add."""
    oracle, ours = models(family)
    one = recording(family)
    with torch.inference_mode():
        expected = oracle(one[None], output_attentions=True).attentions  # 3 of (1, H, T, T)
    for model in (ours, ours.backbone):
        seen = attention_map(model, one)
        assert seen.layers == (0, 1, 2)
        torch.testing.assert_close(seen.weights, torch.cat(expected), atol=1e-5, rtol=0)
    assert bool(seen.visible.all())
    assert seen.times_s[-1] == pytest.approx(2, abs=0.05)
    thirds = attention_map(ours, one, mel_frame_s=0.03)  # rows of three mel frames; samples tell their own rate
    assert thirds.frame_s == pytest.approx(0.03 if family == "Wav2Vec2Bert" else 0.02)
    chosen = attention_map(ours, one, layers=[2, 0])
    assert chosen.layers == (0, 2)
    torch.testing.assert_close(chosen.weights, seen.weights[[0, 2]])


@pytest.mark.parametrize("family", FAMILIES)
def test_a_windowed_map_is_that_of_each_window_and_zero_elsewhere(family: str, models: Any) -> None:
    """The risk: a map that shows frames what the windowed path hides from them, or the margins in a frame's place."""
    _, ours = models(family)
    seen = attention_map(ours, recording(family, 4), windows=Windows(size=80, overlap=15))
    kept = [row for block in seen.blocks for row in range(block.start, block.stop)]
    assert kept == list(range(seen.weights.shape[2]))
    assert len(seen.blocks) > 2
    torch.testing.assert_close(seen.weights.sum(dim=3), torch.ones(seen.weights.shape[:3]))
    assert not seen.weights[:, :, ~seen.visible].any()
    with torch.inference_mode():
        x, _ = ours.backbone.embed(Packed.of([recording(family, 4)]))  # (T, D)
    for block in seen.blocks:
        trace = module._LayersTrace(wants_states=False, wants_attentions=True, layers=(0, 1, 2))
        with torch.inference_mode():
            ours.backbone.transform(Packed.of([x.data[block.seen_start : block.seen_stop]]), trace)
        rows = slice(block.start - block.seen_start, block.stop - block.seen_start)
        for weights, (of_window,) in zip(seen.weights, trace.attentions, strict=True):
            found = weights[:, block.start : block.stop, block.seen_start : block.seen_stop]
            torch.testing.assert_close(found, of_window[:, rows], atol=1e-5, rtol=0)


@pytest.mark.parametrize("family", FAMILIES)
def test_recordings_of_one_batch_see_themselves_alone(family: str, models: Any) -> None:
    """The risk: attention across the bounds of packed recordings, which a map is there to rule out."""
    _, ours = models(family)
    recordings = [recording(family, seconds) for seconds in (1, 0.3, 2)]
    seen = attention_map(ours, recordings)
    for block, one in zip(seen.blocks, recordings, strict=True):
        assert block[:2] == block[2:]
        rows = slice(block.start, block.stop)
        torch.testing.assert_close(seen.weights[:, :, rows, rows], attention_map(ours, one).weights, atol=1e-5, rtol=0)
    assert not seen.weights[:, :, ~seen.visible].any()


# ---- the drawing


@pytest.mark.parametrize("num_frames", [3, 320, 321, 1000])
def test_a_pixel_is_as_dark_as_the_weight_it_stands_for(num_frames: int) -> None:
    """The risk: an image that is transposed, stretched, or has lost the one weight that matters."""
    weights = torch.full((1, 2, num_frames, num_frames), 1e-4)
    row, column = num_frames // 3, num_frames - 1
    weights[0, 1, row, column] = 0.64
    weights[0, 1, column, row] = 0.16
    seen = AttentionMap(weights, (5,), (Block(0, num_frames, 0, num_frames),), 0.02)
    (image,) = ElementTree.fromstring(seen.svg(head=1)).iter(f"{SVG}image")
    pixels = shades(image)  # (side, side)
    step = -(-num_frames // 320)
    assert pixels.shape == (-(-num_frames // step),) * 2
    assert pixels[row // step, column // step] == 255
    assert pixels[column // step, row // step] == pytest.approx(255 / 2, abs=1)
    assert int((pixels > 10).sum()) == 2
    # A pixel is as large on the panel as its frames are.
    assert float(image.attrib["width"]) == pytest.approx(len(pixels) * step * 320 / num_frames, abs=0.01)


def test_what_is_hatched_is_what_cannot_be_seen(models: Any, tmp_path: Path) -> None:
    """The risk: a mask drawn in another place than it has in the weights."""
    _, ours = models("Wav2Vec2")
    recordings = [recording("Wav2Vec2", 2), recording("Wav2Vec2", 1)]
    seen = attention_map(ours, recordings, layers=[1, 2], windows=Windows(size=60, overlap=10))
    seen.save(tmp_path / "map.svg")
    drawing = ElementTree.fromstring((tmp_path / "map.svg").read_text())
    panels = [group for group in drawing.iter(f"{SVG}g") if group.find(f"{SVG}image") is not None]
    assert len(panels) == 2
    num_frames = seen.weights.shape[2]
    for panel in panels:
        visible = torch.ones(num_frames, num_frames, dtype=torch.bool)
        for rect in panel.iter(f"{SVG}rect"):
            if rect.attrib["fill"] == "url(#unseen)":
                x, y, width, height = (
                    round(float(rect.attrib[name]) * num_frames / 320) for name in ("x", "y", "width", "height")
                )
                assert bool(visible[y : y + height, x : x + width].all()), "hatched twice"
                visible[y : y + height, x : x + width] = False
        assert torch.equal(visible, seen.visible)
    words = [element.text for element in drawing.iter(f"{SVG}text")]
    assert any("layer 1, mean of 4 heads" in (word or "") for word in words)
    assert {"0", "1", "2", "seconds"} <= set(words)


def shades(image: ElementTree.Element) -> Tensor:
    """The bytes of an embedded PNG, read by its specification. (height, width)"""
    data = base64.b64decode(image.attrib["href"].removeprefix("data:image/png;base64,"))
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    chunks: dict[bytes, bytes] = {}
    at = 8
    while at < len(data):
        length = int.from_bytes(data[at : at + 4], "big")
        kind, content = data[at + 4 : at + 8], data[at + 8 : at + 8 + length]
        assert int.from_bytes(data[at + 8 + length : at + 12 + length], "big") == zlib.crc32(kind + content)
        chunks[kind] = content
        at += 12 + length
    assert len(chunks[b"PLTE"]) == 3 * 256
    width, height = (int.from_bytes(chunks[b"IHDR"][at : at + 4], "big") for at in (0, 4))
    lines = torch.frombuffer(bytearray(zlib.decompress(chunks[b"IDAT"])), dtype=torch.uint8).view(height, width + 1)
    assert not lines[:, 0].any()
    return lines[:, 1:]


# ---- what a user can do wrong


def test_what_cannot_be_drawn_is_refused_by_name(models: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The risk: an index error, or a machine out of memory over an hour of audio."""
    _, ours = models("Wav2Vec2")
    one = recording("Wav2Vec2")
    for layers in ([3], [-1], []):
        with pytest.raises(UsageError, match="layers 0 to 2"):
            attention_map(ours, one, layers=layers)
    seen = attention_map(ours, one, layers=[0])
    with pytest.raises(UsageError, match=r"no head 4.*0 to 3"):
        seen.svg(head=4)
    with pytest.raises(UsageError, match=r"map\.png.*\.svg"):
        seen.save(tmp_path / "map.png")
    with pytest.raises(ValueError, match="too short"):
        attention_map(ours, torch.zeros(399))
    monkeypatch.setattr(module, "LARGEST_BYTES", 1000)
    with pytest.raises(UsageError, match=r"99 frames.*fewer layers"):
        attention_map(ours, one)
