"""What Wav2Vec2-BERT is given: mel features of recordings, stacked and brought to one length.

Knows nothing of files, models or how features are computed, which `mel.py` does. It computes where the audio is.
"""

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from pipeline.text.batch import Batch, as_tensor, is_tensor
from pipeline.text.extractor import SequenceFeatureExtractor, recordings
from pipeline.text.padding import Padding

if TYPE_CHECKING:  # importing torch takes a second
    from torch import Tensor


class SeamlessM4TFeatureExtractor(SequenceFeatureExtractor):
    """The ecosystem's, with its arguments, attributes and files.

    An odd last frame is heard in the statistics, stacked with padding and masked. A recording that is too short for a
    row comes out masked as a whole, in zeros; transformers makes NaN of it, or an error.
    """

    model_input_names: ClassVar[list[str]] = ["input_features", "attention_mask"]

    def __init__(
        self,
        feature_size: int = 80,
        sampling_rate: int = 16000,
        num_mel_bins: int = 80,
        padding_value: float | None = 0.0,
        stride: int = 2,
        **rest: Any,
    ) -> None:
        super().__init__(feature_size, sampling_rate, padding_value, **rest)
        self.num_mel_bins = num_mel_bins
        self.stride = stride

    def __call__(
        self,
        raw_speech: Any,
        padding: Any = True,
        pad_to_multiple_of: int | None = 2,
        max_length: int | None = None,
        truncation: bool = False,
        return_tensors: str | None = None,
        sampling_rate: int | None = None,
        return_attention_mask: bool | None = None,
        do_normalize_per_mel_bins: bool | None = True,
        device: Any = None,
        **unknown: Any,
    ) -> Batch:
        """One recording or several to `input_features` (B, T, bins * stride) in fp32, and an `attention_mask` (B, T).

        Of several channels, (channels, samples), the first is heard. It is computed on `device`, or else where a
        tensor is; return_tensors="pt" leaves it there. `max_length` and `pad_to_multiple_of` count mel frames.
        """
        import torch

        self._check_call(sampling_rate, unknown)
        how = self._padding(padding, max_length, truncation, pad_to_multiple_of)
        masked = self.return_attention_mask if return_attention_mask is None else return_attention_mask
        with torch.no_grad():
            audio = _channels(recordings(raw_speech, most_dims=2), device)
            features, mask = self._stacked(self._frames(audio, bool(do_normalize_per_mel_bins)), how)
        batch = {"input_features": features, **({"attention_mask": mask} if masked else {})}
        return Batch(batch, return_tensors or "np")

    def _frames(self, audio: "list[Tensor]", normalise: bool) -> "list[Tensor]":
        """The mel frames of each recording. (F, M) each"""
        from pipeline.models.segments import Packed
        from pipeline.text.mel import MelFeatures

        none = audio[0].new_empty(0, self.num_mel_bins)  # (0, M)
        heard = [one for one in audio if len(one)]
        mel = MelFeatures(self.num_mel_bins, self.stride, self.sampling_rate)
        made = iter(mel.frames(Packed.of(heard), normalise) if heard else ())
        return [next(made) if len(one) else none for one in audio]

    def _stacked(self, frames: "list[Tensor]", padding: Padding) -> tuple[Any, Any]:
        """Rows (B, T, M * stride) of frames (F, M), and which are a recording's (B, T); lists, where T differs."""
        import torch

        kept = [padding.kept(len(own)) for own in frames]
        widths = padding.widths(kept)
        places = [padding.place(num, width) for num, width in zip(kept, widths, strict=True)]
        rows = max(widths) // self.stride  # T
        batch = frames[0].new_full((len(frames), max(widths), self.num_mel_bins), padding.value or 0.0)  # (B, F, M)
        for number, (own, num, place) in enumerate(zip(frames, kept, places, strict=True)):
            batch[number, place] = own[:num]
        batch = batch[:, : rows * self.stride].reshape(len(frames), rows, self.num_mel_bins * self.stride)
        # A row counts as heard when its second frame is: then only padding on the left can be in it.
        seconds = torch.arange(rows, device=batch.device) * self.stride + min(1, self.stride - 1)  # (T,)
        bounds = torch.tensor([(place.start, place.stop) for place in places], device=batch.device)  # (B, 2)
        mask = ((seconds >= bounds[:, :1]) & (seconds < bounds[:, 1:])).to(torch.int32)  # (B, T)
        if len(set(widths)) == 1:
            return batch, mask
        own_rows = [width // self.stride for width in widths]
        features, masks = ([one[:num] for one, num in zip(many, own_rows, strict=True)] for many in (batch, mask))
        return features, masks


def _channels(audio: list[Any], device: Any) -> "list[Tensor]":
    """One channel of each, in fp32, all of them where they are to be computed. (N,) each"""
    import torch

    if device is None:
        device = next((one.device for one in audio if is_tensor(one)), torch.device("cpu"))
    firsts = [one[0] if one.ndim == 2 else one for one in audio]
    tensors = [one if is_tensor(one) else as_tensor(np.asarray(one, dtype=np.float32)) for one in firsts]
    return [one.detach().to(device=device, dtype=torch.float32) for one in tensors]
