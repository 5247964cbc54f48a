"""What a model gets wrong in a batch, by CTC. Knows nothing of steps, of optimisers, or of who else hears the rest."""

import torch
import torch.nn.functional as F
from torch import Tensor

from pipeline.models.ctc import ForCTC
from pipeline.models.segments import Packed, Segments
from pipeline.text.features import FeatureExtractor
from pipeline.training.batches import Batch


def loss_of(batch: Batch, model: ForCTC, features: FeatureExtractor) -> Tensor:
    """The sum over its texts."""
    logits = logits_of(batch, model, features)
    log_probs = logits.data.float().log_softmax(dim=-1)  # (T of all, V)
    return F.ctc_loss(
        logits.with_data(log_probs).padded().transpose(0, 1),  # (T, B, V)
        batch.labels,
        torch.tensor(logits.segments.lengths),
        torch.tensor(batch.num_labels),
        blank=model.blank,
        reduction="sum",
        zero_infinity=True,  # where speed has left fewer frames than labels
    )


def logits_of(batch: Batch, model: ForCTC, features: FeatureExtractor) -> Packed:
    """In bf16 where products are faster so."""
    audio = Packed(batch.samples.to(model.device), Segments(batch.num_samples))
    with torch.autocast(model.device.type, torch.bfloat16, enabled=_has_bf16(model.device)):
        return model.logits(features(audio))


def _has_bf16(device: torch.device) -> bool:
    return device.type == "cuda" or torch.cpu._is_avx512_bf16_supported()
