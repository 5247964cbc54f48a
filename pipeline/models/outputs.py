"""What the models return: named fields that can also be had by position, as code for these models expects.

Knows nothing of how they are computed.
"""

from dataclasses import dataclass

from torch import Tensor

from pipeline.outputs import ModelOutput


@dataclass
class BaseModelOutput(ModelOutput):
    """Of a bare encoder. Padded frames are zeros.

    Hidden states are what enters the first layer and what each layer gives, the last of them after the encoder's last
    norm: it is `last_hidden_state` where there is no adapter. So transformers 4 had it; version 5 gives the last one
    before that norm, which differs in models whose norms come first and in conformers. It holds for all outputs below.
    """

    last_hidden_state: Tensor  # (B, T', output size)
    extract_features: Tensor  # (B, T, C), normed, before the projection
    hidden_states: tuple[Tensor, ...] | None = None  # (B, T, D) each
    attentions: tuple[Tensor, ...] | None = None  # (B, H, T, T) each


@dataclass
class CausalLMOutput(ModelOutput):
    """Of a CTC head."""

    loss: Tensor | None = None
    logits: Tensor | None = None  # (B, T', V); a padded frame is a certain blank
    hidden_states: tuple[Tensor, ...] | None = None
    attentions: tuple[Tensor, ...] | None = None


@dataclass
class SequenceClassifierOutput(ModelOutput):
    loss: Tensor | None = None
    logits: Tensor | None = None  # (B, classes)
    hidden_states: tuple[Tensor, ...] | None = None
    attentions: tuple[Tensor, ...] | None = None


@dataclass
class TokenClassifierOutput(ModelOutput):
    loss: Tensor | None = None
    logits: Tensor | None = None  # (B, T', classes)
    hidden_states: tuple[Tensor, ...] | None = None
    attentions: tuple[Tensor, ...] | None = None


@dataclass
class XVectorOutput(ModelOutput):
    loss: Tensor | None = None
    logits: Tensor | None = None  # (B, xvector_output_dim)
    embeddings: Tensor | None = None  # (B, xvector_output_dim)
    hidden_states: tuple[Tensor, ...] | None = None
    attentions: tuple[Tensor, ...] | None = None


@dataclass
class PreTrainingOutput(ModelOutput):
    loss: Tensor | None = None
    projected_states: Tensor | None = None  # (B, T, proj_codevector_dim)
    projected_quantized_states: Tensor | None = None  # (B, T, proj_codevector_dim)
    codevector_perplexity: Tensor | None = None
    hidden_states: tuple[Tensor, ...] | None = None
    attentions: tuple[Tensor, ...] | None = None
    contrastive_loss: Tensor | None = None
    diversity_loss: Tensor | None = None
    codevector_ids: Tensor | None = None  # (B, T, groups); -1 where there is no frame
