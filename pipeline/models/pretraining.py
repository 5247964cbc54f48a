"""The head of self-supervised training: frames to code vectors, and the loss of telling the right one from others.

Knows neither the family beneath it nor how masks and negatives are drawn. Shapes: B recordings, T frames of all of
them, G groups of V code vectors each, M masked frames, K negatives for each, P proj_codevector_dim.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.models import conformer, wav2vec2
from pipeline.models.backbone import Head, SampleBackbone, padded_trace, returned
from pipeline.models.config import ConvConfig
from pipeline.models.linear import Linear
from pipeline.models.outputs import PreTrainingOutput
from pipeline.models.segments import Packed, Segments


@dataclass(frozen=True)
class Codes:
    """What a quantiser makes of T frames."""

    ids: Tensor  # (T, G): of each group, the code vector that was taken
    vectors: Tensor  # (T, codevector_dim): the groups' code vectors, one after the other
    probabilities: Tensor  # (T, G, V): certain in evaluation, softmax in training

    def perplexity(self, masked: Tensor | None) -> Tensor:
        """How many code vectors are in use, over all groups, by the masked frames (T,) or all."""
        used = self.probabilities if masked is None else self.probabilities[masked]  # (M, G, V)
        share = used.mean(dim=0)  # (G, V)
        return torch.exp(-torch.xlogy(share, share).sum(dim=-1)).sum()


class GumbelVectorQuantizer(nn.Module):
    """Frames to one code vector of each group: the best in evaluation, one drawn by Gumbel softmax in training.

    Jang et al. 2017, arXiv 1611.01144.
    """

    def __init__(self, config: ConvConfig) -> None:
        super().__init__()
        self.num_groups, self.num_codes = config.num_codevector_groups, config.num_codevectors_per_group
        if config.codevector_dim % self.num_groups:
            raise ValueError(f"codevector_dim must be a multiple of num_codevector_groups, not {config.codevector_dim}")
        num_vectors = self.num_groups * self.num_codes
        self.codevectors = nn.Parameter(torch.rand(1, num_vectors, config.codevector_dim // self.num_groups))
        self.weight_proj = Linear(config.conv_dim[-1], num_vectors)
        # Of size 1, so that code vectors are told apart from the first step on: with less, training uses only a few.
        nn.init.normal_(self.weight_proj.weight)
        nn.init.zeros_(self.weight_proj.bias)
        self.temperature = 2.0

    def scores(self, features: Tensor) -> Tensor:
        """How well each code vector would do: (T, G, V), in fp32."""
        scores: Tensor = self.weight_proj(features).float().view(-1, self.num_groups, self.num_codes)
        return scores

    def forward(self, features: Tensor) -> Codes:
        scores = self.scores(features)  # (T, G, V)
        vectors = self.codevectors.view(self.num_groups, self.num_codes, -1)  # (G, V, codevector_dim / G)
        if self.training:
            # One-hot forwards, with the gradients of the softmax.
            drawn = F.gumbel_softmax(scores, tau=self.temperature, hard=True)  # (T, G, V)
            taken = torch.einsum("tgv,gvd->tgd", drawn, vectors)  # (T, G, codevector_dim / G)
            return Codes(drawn.argmax(dim=-1), taken.flatten(1), scores.softmax(dim=-1))
        ids = scores.argmax(dim=-1)  # (T, G)
        taken = vectors[torch.arange(self.num_groups, device=ids.device), ids]  # (T, G, codevector_dim / G)
        return Codes(ids, taken.flatten(1), F.one_hot(ids, self.num_codes).float())


class ForPreTraining(Head):
    """An encoder that predicts the code vectors of hidden frames, and the quantiser that they come from.

    As the same model of transformers, but for two things: recordings in a batch are as they are alone, so that padding
    counts in no figure; and there is no dropout.
    """

    head_meaning = "pre-training head"
    backbone_class: ClassVar[type[SampleBackbone]]

    config: ConvConfig

    def __init__(self, config: ConvConfig) -> None:
        if config.add_adapter:
            raise ValueError("add_adapter must be false: pre-training compares each frame with its own features")
        super().__init__(config)
        # Checkpoints have this vector where their config asks for masks. The defaults are the config's own.
        if config.said("mask_time_prob", 0.05) > 0 or config.said("mask_feature_prob", 0.0) > 0:
            # One that lacks it all the same is given a new one, to be trained, as transformers does.
            hidden = torch.rand(config.hidden_size, device="cpu")
            self.backbone.register_parameter("masked_spec_embed", nn.Parameter(hidden))
        self.quantizer = GumbelVectorQuantizer(config)
        self.project_hid = Linear(config.hidden_size, config.proj_codevector_dim)
        self.project_q = Linear(config.codevector_dim, config.proj_codevector_dim)

    @property
    def backbone(self) -> SampleBackbone:
        backbone: SampleBackbone = getattr(self, self.backbone_name)
        return backbone

    def set_gumbel_temperature(self, temperature: float) -> None:
        """Of the softmax that gradients flow through: the lower, the nearer to the choice that was made."""
        if not temperature > 0:
            raise ValueError(f"a temperature must be positive, not {temperature}")
        self.quantizer.temperature = temperature

    def codevector_ids(self, inputs: Packed) -> Packed:
        """The best code vector of each group for each frame (T, G). Only the front end runs."""
        _, features = self._features(inputs)
        return features.with_data(self.quantizer.scores(features.data).argmax(dim=-1))

    def forward(
        self,
        input_values: Tensor | None = None,
        attention_mask: Tensor | None = None,
        mask_time_indices: Tensor | None = None,
        sampled_negative_indices: Tensor | None = None,
        *,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
        **named: Any,
    ) -> Any:
        """A padded batch. `mask_time_indices` (B, T) hides frames from the layers.

        With `sampled_negative_indices` (B, T, K) as well there is a loss. They count the frames of the padded batch
        from its first on, row by row; those of frames that are not hidden are not read. A mask that hides nothing
        leaves no frames for the perplexity, which then is not a number. Else as `Backbone.forward`.
        """
        trace = self.trace(output_hidden_states, output_attentions)
        x, features = self._features(self.backbone.pack(input_values, attention_mask, named))  # (T, D), (T, C)
        masked = None if mask_time_indices is None else _masked_rows(mask_time_indices, x)  # (T,)
        x = x if masked is None else self._hide(x, masked)
        x = self.backbone.encoded(self.backbone.position(x), trace)
        codes = self.quantizer(features.data)
        predicted, quantized = self.project_hid(x.data).float(), self.project_q(codes.vectors).float()  # (T, P) each
        perplexity = codes.perplexity(masked)
        output = PreTrainingOutput(
            projected_states=x.with_data(predicted).padded(),
            projected_quantized_states=x.with_data(quantized).padded(),
            codevector_perplexity=perplexity,
            codevector_ids=x.with_data(codes.ids).padded(-1),
        )
        if sampled_negative_indices is not None:
            if masked is None:
                raise ValueError("sampled_negative_indices need mask_time_indices: the loss is of the hidden frames")
            at = masked.nonzero().squeeze(1)  # (M,)
            if not len(at):
                raise ValueError("mask_time_indices hides no frame: there is nothing to have a loss of")
            negatives = _negative_rows(sampled_negative_indices, x, at)  # (M, K)
            output.contrastive_loss = self._contrastive_loss(predicted[at], quantized, codes.ids, (at, negatives))
            num_vectors = codes.probabilities[0].numel()
            output.diversity_loss = (num_vectors - perplexity) / num_vectors * len(at)
            output.loss = output.contrastive_loss + self.config.diversity_loss_weight * output.diversity_loss
        output.hidden_states, output.attentions = padded_trace(trace)
        return returned(output, return_dict)

    def _features(self, inputs: Packed) -> tuple[Packed, Packed]:
        self.backbone.check_inputs(inputs)
        return self.backbone.project(self.backbone.feature_extractor(inputs))

    def _hide(self, x: Packed, masked: Tensor) -> Packed:
        if not self.config.rest.get("apply_spec_augment", True):  # frames are then shown, as in the reference
            return x
        embed = getattr(self.backbone, "masked_spec_embed", None)
        if embed is None:
            raise ValueError("mask_time_indices need masked_spec_embed, which is not there where mask_time_prob is 0")
        return x.with_data(torch.where(masked.unsqueeze(1), embed, x.data))  # (T, D)

    def _contrastive_loss(
        self, predicted: Tensor, quantized: Tensor, ids: Tensor, rows: tuple[Tensor, Tensor]
    ) -> Tensor:
        """Of M predictions: how far each is from choosing its own frame's vector among those of the negatives."""
        at, negatives = rows  # (M,), (M, K)
        candidates = quantized[torch.cat([at.unsqueeze(1), negatives], dim=1)]  # (M, 1 + K, P)
        similarities = F.cosine_similarity(predicted.unsqueeze(1), candidates, dim=-1)  # (M, 1 + K)
        # A negative of the right code vectors is none. By number, so that no rounding of a product has a say.
        same = (ids[negatives] == ids[at].unsqueeze(1)).all(dim=-1)  # (M, K)
        logits = similarities / self.config.contrastive_logits_temperature
        logits = logits.masked_fill(F.pad(same, (1, 0)), float("-inf"))
        return -logits.log_softmax(dim=-1)[:, 0].sum()


def _masked_rows(mask: Tensor, x: Packed) -> Tensor:
    """Of a padded batch's mask (B, T), what is of the frames (T,) that there are."""
    _check_batch("mask_time_indices", mask, 2, x.segments)
    mask = mask.to(x.data.device, torch.bool)
    for number, (row, length) in enumerate(zip(mask, x.segments.lengths, strict=True)):
        if bool(row[length:].any()):
            raise ValueError(f"mask_time_indices hides padding: recording {number} has {length} frames")
    return torch.cat([row[:length] for row, length in zip(mask, x.segments.lengths, strict=True)])  # (T,)


def _negative_rows(indices: Tensor, x: Packed, at: Tensor) -> Tensor:
    """Positions (M, K) among the packed frames, from positions (B, T, K) in the padded batch."""
    _check_batch("sampled_negative_indices", indices, 3, x.segments)
    width, device = indices.shape[1], x.data.device
    rows = [row[:length] for row, length in zip(indices.to(device), x.segments.lengths, strict=True)]
    real = torch.cat(rows)[at].long()  # (M, K)
    lengths, offsets = torch.tensor([x.segments.lengths, x.segments.offsets[:-1]], device=device)  # (B,) each
    recording, frame = real // width, real % width  # (M, K) each
    outside = (recording < 0) | (recording >= len(lengths))
    if bool(outside.any()) or bool((frame >= lengths[recording]).any()):
        raise ValueError("sampled_negative_indices name frames that are not there, or are padding")
    positions: Tensor = offsets[recording] + frame
    return positions


def _check_batch(name: str, batch: Tensor, num_dims: int, segments: Segments) -> None:
    num_recordings = len(segments.lengths)
    if batch.ndim != num_dims or len(batch) != num_recordings or batch.shape[1] < segments.longest:
        shape = tuple(batch.shape)
        raise ValueError(f"{name} are {shape}, for {num_recordings} recordings of up to {segments.longest} frames")


# ---- the families


class Wav2Vec2ForPreTraining(ForPreTraining):
    config_class = wav2vec2.Wav2Vec2Config
    names = wav2vec2.NAMES
    backbone_class = wav2vec2.Wav2Vec2Model
    backbone_name = "wav2vec2"


class Wav2Vec2ConformerForPreTraining(ForPreTraining):
    config_class = conformer.Wav2Vec2ConformerConfig
    names = conformer.NAMES
    backbone_class = conformer.Wav2Vec2ConformerModel
    backbone_name = "wav2vec2_conformer"
