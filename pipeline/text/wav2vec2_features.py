"""What models that hear samples are given: recordings brought to zero mean and unit variance, and to one length.

Knows nothing of files, nor of models; `features.py` does the same, without padding, for whole corpora.
"""

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from pipeline.text.batch import Batch, as_array
from pipeline.text.extractor import SequenceFeatureExtractor, recordings

VARIANCE_FLOOR = 1e-7  # what the checkpoints were trained with; keeps silence finite


class Wav2Vec2FeatureExtractor(SequenceFeatureExtractor):
    """The ecosystem's, with its arguments, attributes and files.

    Without an attention mask, statistics are taken over the padding as well, as those of transformers are: a recording
    then depends on what is beside it. With one, each is as if it were alone, on whichever side its padding is; that of
    transformers erases the end of what is padded on the left.
    """

    model_input_names: ClassVar[list[str]] = ["input_values", "attention_mask"]

    def __init__(
        self,
        feature_size: int = 1,
        sampling_rate: int = 16000,
        padding_value: float | None = 0.0,
        return_attention_mask: bool = False,
        do_normalize: bool = True,
        **rest: Any,
    ) -> None:
        super().__init__(
            feature_size, sampling_rate, padding_value, return_attention_mask=return_attention_mask, **rest
        )
        self.do_normalize = do_normalize

    def __call__(
        self,
        raw_speech: Any,
        padding: Any = False,
        max_length: int | None = None,
        truncation: bool = False,
        pad_to_multiple_of: int | None = None,
        return_attention_mask: bool | None = None,
        return_tensors: str | None = None,
        sampling_rate: int | None = None,
        **unknown: Any,
    ) -> Batch:
        """One recording or several, of one channel, to `input_values` in fp32, and an `attention_mask` where asked."""
        self._check_call(sampling_rate, unknown)
        samples = [as_array(one).astype(np.float32, copy=False) for one in recordings(raw_speech)]  # (N,) each
        batch: Batch = self.pad(
            {"input_values": samples},
            padding=padding,
            max_length=max_length,
            truncation=truncation,
            pad_to_multiple_of=pad_to_multiple_of,
            return_attention_mask=return_attention_mask,
        )
        if "attention_mask" in batch:
            batch["attention_mask"] = list(batch["attention_mask"])
        if self.do_normalize:
            masks = batch.get("attention_mask")
            batch["input_values"] = self.zero_mean_unit_var_norm(
                batch["input_values"], masks, self.padding_value or 0.0
            )
        return batch.convert_to_tensors(return_tensors)

    @staticmethod
    def zero_mean_unit_var_norm(
        input_values: Sequence[Any], attention_mask: Sequence[Any] | None, padding_value: float = 0.0
    ) -> list[np.ndarray[Any, Any]]:
        """Each array over what its mask marks with ones; the rest of it becomes `padding_value`."""
        masks = [None] * len(input_values) if attention_mask is None else attention_mask
        pairs = zip(input_values, masks, strict=True)
        return [_normalised(np.asarray(samples), mask, padding_value) for samples, mask in pairs]


def _normalised(samples: np.ndarray[Any, Any], mask: Any, padding_value: float) -> np.ndarray[Any, Any]:
    real = np.ones(len(samples), bool) if mask is None else np.asarray(mask, dtype=bool)  # (N,)
    heard = samples if real.all() else samples[real]
    if not len(heard):
        return np.full(samples.shape, padding_value, np.float32)
    normal: np.ndarray[Any, Any] = (heard - heard.mean()) / np.sqrt(heard.var() + VARIANCE_FLOOR)
    if len(heard) == len(samples):
        return normal
    whole = np.full(samples.shape, padding_value, normal.dtype)
    whole[real] = normal
    return whole
