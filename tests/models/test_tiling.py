"""Tiles must give what the whole gives: at their seams, at the end, and in the statistics over all of time."""

import pytest
import torch

from pipeline.models.tiling import tiled
from pipeline.models.wav2vec2 import FrontEnd, Wav2Vec2Config


@pytest.mark.parametrize("norm", ["group", "layer"])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize(
    ("kernels", "strides"), [((10, 3, 3, 3, 3, 2, 2), (5, 2, 2, 2, 2, 2, 2)), ((7, 5, 4), (3, 3, 1))]
)
@pytest.mark.parametrize("num_frames", [7, 8, 9, 50])
def test_tiles_equal_the_whole(norm, bias, kernels, strides, num_frames):
    torch.manual_seed(num_frames)
    config = Wav2Vec2Config(
        conv_dim=(16,) * len(kernels),
        conv_kernel=kernels,
        conv_stride=strides,
        conv_bias=bias,
        feat_extract_norm=norm,
    )
    front_end = FrontEnd(config).eval()
    for layer in front_end.conv_layers:
        for parameter in layer.layer_norm.parameters():
            torch.nn.init.normal_(parameter, mean=1.0)
    extra = num_frames % config.samples_per_frame  # samples after the last frame that belong to no frame
    samples = config.min_samples + (num_frames - 1) * config.samples_per_frame + extra
    assert config.num_frames(samples) == num_frames
    audio = torch.randn(2, samples) + 0.5
    with torch.inference_mode():
        whole, tiles = front_end(audio), tiled(front_end, audio, tile_frames=8)
    assert whole.shape == tiles.shape
    assert (whole - tiles).abs().max() < 1e-5 * max(1.0, float(whole.std()))
