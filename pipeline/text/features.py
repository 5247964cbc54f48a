"""What a model is given of a recording, from `preprocessor_config.json`: its samples, or mel features of them.

Knows nothing of files other than that one; audio comes in as 16 kHz mono. It is computed where the audio is: on the GPU
of the model that is to hear it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from pipeline.errors import UsageError
from pipeline.jsonfile import read_object
from pipeline.records import SAMPLE_RATE

if TYPE_CHECKING:  # importing torch takes a second, and a driver only looks whether it can follow the settings
    from pipeline.models.backbone import Head
    from pipeline.models.segments import Packed
    from pipeline.text.mel import MelFeatures


class Framing(Protocol):
    """How samples become the rows that enter a model's layers."""

    @property
    def samples_per_frame(self) -> int: ...

    @property
    def min_samples(self) -> int: ...

    def num_frames(self, num_samples: int) -> int: ...


@dataclass(frozen=True)
class FeatureExtractor:
    """Packed recordings to what a model takes, each as if it were alone."""

    do_normalize: bool = True  # samples to zero mean and unit variance, which models fold into their first convolution
    mel: "MelFeatures | None" = None  # what is made of the samples; None: they are what the model takes

    @classmethod
    def from_pretrained(cls, directory: Path) -> "FeatureExtractor":
        settings = extractor_settings(directory)
        try:
            return cls.from_settings(settings)
        except UsageError as error:
            raise UsageError(f"{directory}: {error}") from error

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any]) -> "FeatureExtractor":
        """What a preprocessor_config.json says, or the `to_dict()` of an extractor."""
        kind = settings.get("feature_extractor_type", "Wav2Vec2FeatureExtractor")
        if (rate := settings.get("sampling_rate", SAMPLE_RATE)) != SAMPLE_RATE:
            raise UsageError(f"the model wants {rate} Hz; only {SAMPLE_RATE} Hz is supported")
        if kind == "Wav2Vec2FeatureExtractor":
            return cls(bool(settings.get("do_normalize", True)))
        if kind != "SeamlessM4TFeatureExtractor":
            raise UsageError(f"feature extractor {kind} is not supported")
        from pipeline.text.mel import MelFeatures

        return cls(mel=MelFeatures.from_settings(settings))

    def __call__(self, audio: "Packed") -> "Packed":
        """Samples (N,), float or int16, to the model's inputs."""
        if self.mel is not None:
            return self.mel(audio)
        from pipeline.models.frontend import Recorded

        return Recorded(audio.data, audio.segments) if self.do_normalize else audio

    def framing(self, model: "Head") -> Framing:
        """How samples become the rows of this model's layers. A UsageError where the two do not belong together."""
        from pipeline.models.backbone import SampleBackbone

        backbone: Any = model.backbone
        wanted = "samples" if isinstance(backbone, SampleBackbone) else backbone.config.feature_projection_input_dim
        if wanted != (made := "samples" if self.mel is None else self.mel.size):
            raise UsageError(
                f"the model hears {_told(wanted)}, but its preprocessor_config.json makes {_told(made)} of the audio"
            )
        return backbone.config if self.mel is None else self.mel


def _told(wanted: str | int) -> str:
    return wanted if isinstance(wanted, str) else f"rows of {wanted} mel features"


def extractor_settings(directory: Path) -> dict[str, Any]:
    """From the processor's file, where newer versions of transformers put it, or else from the file of its own."""
    for name, key in (("processor_config.json", "feature_extractor"), ("preprocessor_config.json", None)):
        path = directory / name
        if not path.exists():
            continue
        content = read_object(path)
        settings = content if key is None else content.get(key)
        if isinstance(settings, dict):
            return settings
    raise UsageError(f"{directory}: no preprocessor_config.json, so it is unknown how the model wants its audio")
