"""The encode stage: 16 kHz mono audio to log-probabilities per frame, on a GPU or a CPU.

Every recording is run alone, so that its emissions cannot depend on what else is in its unit. Knows nothing of text
beyond the number of labels.
"""

import socket

import torch

from pipeline.config import EncodeConfig
from pipeline.errors import RecordingError, UsageError
from pipeline.models.locate import checkpoint_directory, checkpoint_hash
from pipeline.models.wav2vec2 import Wav2Vec2ForCTC
from pipeline.records import SAMPLE_RATE, FloatArray, Recording
from pipeline.text.features import FeatureExtractor
from pipeline.text.vocabulary import Vocabulary
from pipeline.unit import Unit


class Encoder:
    """A model, loaded once and kept; called with units."""

    def __init__(self, config: EncodeConfig, model_hash: str) -> None:
        directory = checkpoint_directory(config.model)
        if checkpoint_hash(directory) != model_hash:
            raise UsageError(f"{directory} on {socket.gethostname()} is not the model that the run was started with")
        if config.threads is not None:
            torch.set_num_threads(config.threads)
        self._device = torch.device(device(config))
        torch.backends.cudnn.allow_tf32 = False  # torch's default for convolutions; fp32 is the reference here
        self._features = FeatureExtractor.from_pretrained(directory)
        self._model = Wav2Vec2ForCTC.from_pretrained(directory).to(self._device)
        Vocabulary.from_pretrained(directory).check_width(self._model.config.vocab_size)
        self._frame_s = self._model.config.samples_per_frame / SAMPLE_RATE

    def __call__(self, unit: Unit) -> Unit:
        for recording in unit.pending():
            try:
                recording.emissions = self._emissions(recording)
                recording.frame_s = self._frame_s
            except RecordingError as error:
                recording.fail("encode", error)
            except torch.OutOfMemoryError as error:
                recording.fail("encode", RecordingError("out of GPU memory", str(error).splitlines()[0]))
            recording.audio = None
        return unit

    @torch.inference_mode()
    def _emissions(self, recording: Recording) -> FloatArray:
        assert recording.audio is not None
        if len(recording.audio) < self._model.config.min_samples:
            shortest_ms = 1000 * self._model.config.min_samples / SAMPLE_RATE
            raise RecordingError(f"shorter than {shortest_ms:g} ms", f"{len(recording.audio)} samples")
        samples = torch.tensor(self._features(recording.audio), device=self._device)
        logits = self._model(samples.unsqueeze(0))[0]  # (T, V)
        emissions = logits.float().log_softmax(dim=-1)  # (T, V)
        if not emissions.isfinite().all():
            raise RecordingError("emissions that are not numbers")
        return emissions.cpu().numpy()  # type: ignore[no-any-return]


def device(config: EncodeConfig) -> str:
    """The device that `encode.device` means in this process."""
    available = torch.cuda.is_available()
    if config.device == "cuda" and not available:
        raise UsageError("encode.device = cuda, but torch finds no GPU here")
    return "cuda" if available and config.device != "cpu" else "cpu"
