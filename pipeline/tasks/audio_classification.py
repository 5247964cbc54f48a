"""`pipeline("audio-classification")`: recordings to the classes they are of, best first.

Recordings are computed many at a time, packed, each as if it were alone. Knows nothing of where recordings and models
come from.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pipeline.encode import check
from pipeline.errors import RecordingError, UsageError
from pipeline.models.heads import ForSequenceClassification
from pipeline.models.segments import Packed
from pipeline.tasks.inputs import Heard, refusal
from pipeline.tasks.serve import Task
from pipeline.text.features import FeatureExtractor

FUNCTIONS = ("softmax", "sigmoid", "none")
BY_PROBLEM = {"regression": "none", "multi_label_classification": "sigmoid"}


@dataclass(frozen=True)
class Classification:
    """What is told of a recording."""

    top_k: int | None = None  # classes; None: all
    function_to_apply: str | None = None  # of FUNCTIONS; None: by the problem_type in config.json, else softmax


class AudioClassificationPipeline(Task[Classification]):
    """`[{"score": ..., "label": ...}, ...]` of each recording."""

    task = "audio-classification"
    max_channels = 1

    model: ForSequenceClassification

    def __init__(
        self,
        model: ForSequenceClassification,
        feature_extractor: Any,
        options: Classification | None = None,
        batch_size: int | None = None,
    ) -> None:
        super().__init__(model, options or Classification(), batch_size)
        self.feature_extractor = feature_extractor
        self._features = FeatureExtractor.from_settings(feature_extractor.to_dict())
        self._min_samples = self._features.framing(model).min_samples
        self.check(self._options)

    def check(self, options: Classification) -> None:
        if options.top_k is not None and (type(options.top_k) is not int or options.top_k < 1):
            raise UsageError(f"top_k is a whole number from 1 on, not {options.top_k!r}")
        if options.function_to_apply not in (None, *FUNCTIONS):
            raise UsageError(f"function_to_apply is {', '.join(FUNCTIONS)}, not {options.function_to_apply!r}")

    def answers(self, heard: list[Heard], options: Classification) -> Iterator[list[dict[str, Any]]]:
        sound: list[Heard] = []
        for one in heard:
            try:
                check(one.audio, self._min_samples)
            except RecordingError as error:
                yield from self._classes(sound, options)
                raise refusal(one.name, error) from error
            sound.append(one)
        yield from self._classes(sound, options)

    def _classes(self, heard: list[Heard], options: Classification) -> Iterator[list[dict[str, Any]]]:
        labels = self.model.config.id2label or {}
        for logits in self._logits(heard) if heard else ():
            scores, numbers = self._applied(logits, options).topk(min(options.top_k or len(labels), len(labels)))
            found = zip(scores.tolist(), numbers.tolist(), strict=True)
            yield [{"score": score, "label": labels[number]} for score, number in found]

    def _logits(self, heard: list[Heard]) -> Tensor:
        """(B, classes)"""
        with torch.inference_mode():
            self.model.ready()
            audio = Packed.of([torch.from_numpy(one.audio) for one in heard])  # (N,)
            inputs = self._features(audio.with_data(audio.data.to(self.device)))
            return self.model.classify(self.model.frames(inputs)).cpu()

    def _applied(self, logits: Tensor, options: Classification) -> Tensor:
        problem = str(self.model.config.rest.get("problem_type"))
        function = options.function_to_apply or BY_PROBLEM.get(problem, "softmax")
        return {"softmax": logits.softmax(dim=-1), "sigmoid": logits.sigmoid(), "none": logits}[function]
