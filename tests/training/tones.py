"""A language of tones: each letter of its words is a pitch, so that a small model learns it within seconds."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from pipeline.records import SAMPLE_RATE
from pipeline.training import recipe

HERTZ = {"A": 350, "B": 600, "C": 950, "D": 1500}
WORDS = ("AB", "CAD", "BD", "DC")
LETTER_S, PAUSE_S = 0.1, 0.15

SMALL: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
}
SMALL_CONVOLUTIONS = {"conv_dim": [32, 16, 16], "num_conv_pos_embeddings": 8, "num_conv_pos_embedding_groups": 2}


def small_shapes(patch: pytest.MonkeyPatch) -> None:
    """Of all families, layers and all, but quick."""
    for family, shape in recipe.SHAPES.items():
        small = SMALL | (SMALL_CONVOLUTIONS if "conv_dim" in shape else {})
        patch.setitem(recipe.SHAPES, family, {**shape, **small})


def spoken(words: Sequence[str], rng: np.random.Generator) -> np.ndarray:
    """Samples in 16 bits."""
    pause = np.zeros(round(PAUSE_S * SAMPLE_RATE))
    time_s = np.arange(round(LETTER_S * SAMPLE_RATE)) / SAMPLE_RATE
    parts = [pause]
    for word in words:
        parts += [0.3 * np.sin(2 * np.pi * HERTZ[letter] * time_s) for letter in word] + [pause]
    sound = np.concatenate(parts)
    sound += 0.001 * rng.standard_normal(len(sound))
    return np.round(sound * 32767).astype(np.int16)


def write_corpus(directory: Path, num_recordings: int = 24, seed: int = 0) -> Path:
    """The manifest, of texts in lower case."""
    directory.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    rows = []
    for number in range(num_recordings):
        words = rng.choice(WORDS, rng.integers(1, 4))
        sound = spoken(words, rng)
        soundfile.write(directory / f"{number:03}.wav", sound, SAMPLE_RATE)
        text = " ".join(words).lower()
        rows.append({"audio_filepath": f"{number:03}.wav", "duration": len(sound) / SAMPLE_RATE, "text": text})
    return write_manifest(directory, rows)


def write_manifest(directory: Path, rows: Sequence[dict[str, Any]]) -> Path:
    path = directory / "manifest.jsonl"
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path
