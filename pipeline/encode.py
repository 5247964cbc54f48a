"""The encode stage: 16 kHz mono audio to log-probabilities per frame, on a GPU or a CPU.

Recordings are computed many at a time, packed, each as if it were alone: batches are budgets of audio, filled from the
unit. What is too long for one piece passes through the transformer in windows. Knows nothing of text beyond the number
of labels.
"""

import socket
from collections.abc import Callable, Iterator
from functools import partial
from itertools import count
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
import torch

from pipeline.batching import Budget, Queue
from pipeline.config import EncodeConfig
from pipeline.errors import RecordingError, UsageError
from pipeline.models.auto import AutoModelForCTC
from pipeline.models.ctc import ForCTC
from pipeline.models.locate import checkpoint_directory, model_hash
from pipeline.models.precision import Precision, prepare
from pipeline.models.segments import Packed, Segments
from pipeline.models.windows import Windows, output_step, windowed_logits
from pipeline.records import SAMPLE_RATE, AudioArray, FloatArray, Recording
from pipeline.text.features import FeatureExtractor
from pipeline.text.vocabulary import Vocabulary
from pipeline.unit import Unit

# Audio seconds computed at once where encode.batch_s does not say. On a GPU, enough to fill it. On a CPU, 40 s at once
# are 4 % faster in bf16 than one by one for recordings of 2 to 30 s, 20 % for those of 0.5 to 4 s, and 80 s no faster.
BATCH_S = {"cuda": 600.0, "cpu": 40.0}

LOUDEST = 1e12  # beyond it squares of samples come near the end of single precision; full scale is 1

R = TypeVar("R")


class Emitter:
    """A model and what it takes: audio to emissions, in one precision."""

    def __init__(self, model: str | Path, config: EncodeConfig, precision: Precision) -> None:
        features = FeatureExtractor.from_pretrained(checkpoint_directory(str(model)))
        loaded = AutoModelForCTC.from_pretrained(model, target_lang=config.language or None)
        self._take(loaded, features)
        loaded.to(device(config))
        prepare(loaded, precision)

    @classmethod
    def of(cls, model: ForCTC, features: FeatureExtractor) -> "Emitter":
        """With a model that is loaded already, which stays what and where it is."""
        emitter = cls.__new__(cls)
        emitter._take(model, features)
        return emitter

    def _take(self, model: ForCTC, features: FeatureExtractor) -> None:
        framing = features.framing(model)
        self._model, self._features = model, features
        shape = model.config
        self.num_labels = shape.vocab_size
        self.samples_per_row = framing.samples_per_frame  # of the layers
        self.frame_s = self.samples_per_row * output_step(shape) / SAMPLE_RATE
        min_rows = next(rows for rows in count(1) if shape.num_adapted(rows) > 0)
        self.min_samples = framing.min_samples + (min_rows - 1) * self.samples_per_row

    def logits(self, audios: list[AudioArray]) -> Packed:
        """Of each recording, computed together in one piece each; on the device. (T of all, V)"""
        return self._model.logits(self._features(self._uploaded(audios)))

    def whole(self, audios: list[AudioArray]) -> list[FloatArray]:
        """Emissions (T, V) of each recording."""
        logits = self.logits(audios)  # (T of all, V)
        emissions: FloatArray = logits.data.log_softmax(dim=-1).cpu().numpy()  # (T of all, V)
        return [emissions[rows] for rows in logits.segments.slices()]

    def windowed(self, audio: AudioArray, windows: Windows) -> FloatArray:
        """Emissions (T, V) of a recording of any length."""
        pieces = windowed_logits(self._model, self._features(self._uploaded([audio])), windows)
        return np.concatenate([piece.log_softmax(dim=-1).cpu().numpy() for piece in pieces])  # (T, V)

    def _uploaded(self, audios: list[AudioArray]) -> Packed:
        """The samples on the device: int16 goes there as it is, half as large, and is made into numbers there."""
        if any(audio.dtype != np.int16 for audio in audios):
            audios = [_as_float(audio) for audio in audios]
        joined = np.concatenate(audios) if len(audios) > 1 else np.require(audios[0], requirements="W")  # (N,)
        samples = torch.from_numpy(joined).to(self._model.device)  # (N,)
        return Packed(samples, Segments(tuple(map(len, audios))))


class TooMuch(NamedTuple):
    """What there is instead of a result where the GPU's memory did not carry it."""

    detail: str


class Encoder:
    """A model, loaded once and kept; called with units."""

    def __init__(self, config: EncodeConfig, expected_hash: str) -> None:
        directory = checkpoint_directory(config.model)
        if model_hash(config.model, config.language) != expected_hash:
            raise UsageError(f"{directory} on {socket.gethostname()} is not the model that the run was started with")
        if config.threads is not None:
            torch.set_num_threads(config.threads)
        self._take(Emitter(config.model, config, config.precision), config)
        vocabulary = Vocabulary.from_pretrained(directory, config.language)
        vocabulary.check_width(self._emitter.num_labels, directory)

    @classmethod
    def of(cls, emitter: Emitter, config: EncodeConfig) -> "Encoder":
        """With a model that is loaded already: of the config only what it says of time counts."""
        encoder = cls.__new__(cls)
        encoder._take(emitter, config)
        return encoder

    def _take(self, emitter: Emitter, config: EncodeConfig) -> None:
        self._config, self._emitter = config, emitter
        self._wider: Emitter | None = None
        batch_s = config.batch_s or BATCH_S[device(config)]
        self._budget = Budget(max(1, round(batch_s * SAMPLE_RATE)))

    def __call__(self, unit: Unit) -> Unit:
        short: list[Recording] = []
        long: list[Recording] = []
        for recording in self._checked(unit):
            (long if self._is_long(recording) else short).append(recording)
        queue = Queue(short, _num_samples)
        for batch in queue.batches(self._budget):
            found = _attempt(partial(self._emitter.whole, [_audio(one) for one in batch]))
            if isinstance(found, TooMuch) and len(batch) > 1:
                self._budget.halve(sum(map(_num_samples, batch)))
                queue.put_back(batch)
            elif isinstance(found, TooMuch):
                self._alone(batch[0], in_windows=True)
            else:
                for recording, emissions in zip(batch, found, strict=True):
                    if not self._kept(recording, emissions):
                        self._alone(recording)
        for recording in long:
            self._alone(recording, in_windows=True)
        return unit

    def _checked(self, unit: Unit) -> Iterator[Recording]:
        """The recordings that can be computed. The others fail before they can do harm to anything."""
        for recording in unit.pending():
            try:
                check(_audio(recording), self._emitter.min_samples)
            except RecordingError as error:
                recording.fail("encode", error)
            else:
                yield recording

    def _is_long(self, recording: Recording) -> bool:
        return _num_samples(recording) > self._config.whole_s * SAMPLE_RATE

    def _alone(self, recording: Recording, in_windows: bool = False) -> None:
        """A recording by itself: because it is long, or because its batch gave no numbers or found no room."""
        try:
            for emitter in self._emitters():
                if self._kept(recording, self._emissions(emitter, recording, in_windows)):
                    return
            raise RecordingError("emissions that are not numbers")
        except RecordingError as error:
            recording.fail("encode", error)

    def _emitters(self) -> Iterator[Emitter]:
        """The model; then, because half precision ends at 65504, the same with bf16's range, loaded on first need."""
        yield self._emitter
        if self._config.precision == "fp16":
            if self._wider is None:
                wider = _attempt(partial(Emitter, self._config.model, self._config, "bf16"))
                if isinstance(wider, TooMuch):
                    raise RecordingError("out of GPU memory", f"for a second model, in bf16: {wider.detail}")
                self._wider = wider
            yield self._wider

    def _emissions(self, emitter: Emitter, recording: Recording, in_windows: bool) -> FloatArray:
        """In one piece where that is asked for and the GPU's memory carries it, else in windows."""
        audio, window_s, overlap_s = _audio(recording), self._config.window_s, self._config.overlap_s
        if not in_windows:
            whole = _attempt(partial(emitter.whole, [audio]))
            if not isinstance(whole, TooMuch):
                return whole[0]
        if not self._is_long(recording):  # it was too much as it is, so a window must be less
            window_s = min(window_s, len(audio) / SAMPLE_RATE / 2)
            overlap_s = min(overlap_s, window_s / 4)
        rows_per_s = SAMPLE_RATE / emitter.samples_per_row
        overlap = int(overlap_s * rows_per_s)
        size = max(2 * overlap + 1, round(window_s * rows_per_s))
        while True:
            at_once = max(1, self._budget.size // (size * emitter.samples_per_row))
            found = _attempt(partial(emitter.windowed, audio, Windows(size, overlap, at_once)))
            if not isinstance(found, TooMuch):
                return found
            if at_once == 1:
                raise RecordingError("out of GPU memory (encode.window_s)", found.detail)
            self._budget.halve(at_once * size * emitter.samples_per_row)

    def _kept(self, recording: Recording, emissions: FloatArray) -> bool:
        """Whether they are numbers; only then is the recording done."""
        if not np.isfinite(emissions).all():
            return False
        recording.emissions, recording.frame_s, recording.audio = emissions, self._emitter.frame_s, None
        return True


def check(audio: AudioArray, min_samples: int) -> None:
    """A `RecordingError` for what no model can hear."""
    if audio.ndim != 1 or audio.dtype not in (np.float32, np.int16):
        raise RecordingError("not mono samples", f"shape {audio.shape} of {audio.dtype}")
    if len(audio) < min_samples:
        raise RecordingError(f"shorter than {1000 * min_samples / SAMPLE_RATE:g} ms", f"{len(audio)} samples")
    least, most = float(audio.min()), float(audio.max())  # NaN if there is one; no array of hours of booleans
    if not -LOUDEST < least <= most < LOUDEST:
        raise RecordingError("samples that are not numbers", f"from {least:g} to {most:g}")


def _attempt(compute: Callable[[], R]) -> R | TooMuch:
    try:
        with torch.inference_mode():
            return compute()
    except torch.OutOfMemoryError as error:
        refused = TooMuch(str(error).partition("\n")[0])
    # Only here, past the handler, is everything let go that the error had hold of.
    torch.cuda.empty_cache()
    return refused


def _audio(recording: Recording) -> AudioArray:
    assert recording.audio is not None
    return recording.audio


def _num_samples(recording: Recording) -> int:
    return len(_audio(recording))


def _as_float(audio: AudioArray) -> FloatArray:
    """Exactly what a device makes of int16."""
    scale = np.float32(1 / 32768) if audio.dtype == np.int16 else np.float32(1)
    return (audio * scale).astype(np.float32, copy=False)


def device(config: EncodeConfig) -> str:
    """The device that `encode.device` means in this process."""
    available = torch.cuda.is_available()
    if config.device == "cuda" and not available:
        raise UsageError("encode.device = cuda, but torch finds no GPU here")
    return "cuda" if available and config.device != "cpu" else "cpu"
