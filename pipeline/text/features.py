"""What a model wants its audio to look like, from `preprocessor_config.json`.

Knows nothing of files other than that one; audio comes in as 16 kHz mono.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.errors import UsageError
from pipeline.jsonfile import read_object
from pipeline.records import SAMPLE_RATE, FloatArray

VARIANCE_FLOOR = 1e-7  # what the checkpoints were trained with; keeps silence finite


@dataclass(frozen=True)
class FeatureExtractor:
    """Per-recording normalisation, as the checkpoint was trained."""

    do_normalize: bool = True  # to zero mean and unit variance

    @classmethod
    def from_pretrained(cls, directory: Path) -> "FeatureExtractor":
        settings = _settings(directory)
        kind = settings.get("feature_extractor_type", "Wav2Vec2FeatureExtractor")
        if kind != "Wav2Vec2FeatureExtractor":
            raise UsageError(f"{directory}: feature extractor {kind} is not supported yet")
        if (rate := settings.get("sampling_rate", SAMPLE_RATE)) != SAMPLE_RATE:
            raise UsageError(f"{directory}: the model wants {rate} Hz; only {SAMPLE_RATE} Hz is supported")
        return cls(bool(settings.get("do_normalize", True)))

    def __call__(self, audio: FloatArray) -> FloatArray:
        if not self.do_normalize:
            return audio  # (num_samples,)
        normal: FloatArray = (audio - audio.mean()) / np.sqrt(audio.var() + np.float32(VARIANCE_FLOOR))
        return normal  # (num_samples,)


def _settings(directory: Path) -> dict[str, Any]:
    """From the file of its own, or from the processor's, where newer versions of transformers put it."""
    for name, key in (("preprocessor_config.json", None), ("processor_config.json", "feature_extractor")):
        path = directory / name
        if not path.exists():
            continue
        content = read_object(path)
        settings = content if key is None else content.get(key)
        if isinstance(settings, dict):
            return settings
    raise UsageError(f"{directory}: no preprocessor_config.json, so it is unknown how the model wants its audio")
