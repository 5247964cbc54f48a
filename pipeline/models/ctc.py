"""The CTC head of every family: recordings to logits over labels, frame by frame, and the loss.

Knows neither the family beneath it nor what the labels mean.
"""

from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from pipeline.errors import UsageError
from pipeline.models.adapters import Languages, Multilingual, Spoken
from pipeline.models.backbone import Head, Trace, padded_trace, returned
from pipeline.models.linear import Linear
from pipeline.models.outputs import CausalLMOutput
from pipeline.models.segments import Packed

# What every label but the blank has in a padded frame: exactly zero probability in fp32, and a number in fp16.
PADDED_LOGIT = -1e4


class ForCTC(Multilingual, Head):
    """An encoder of any family with a linear layer on top."""

    head_meaning = "CTC head"

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        if config.pad_token_id is None or not 0 <= config.pad_token_id < config.vocab_size:
            raise UsageError(f"pad_token_id {config.pad_token_id} is not in a vocabulary of {config.vocab_size}")
        self.blank: int = config.pad_token_id
        self.lm_head = Linear(config.output_size, config.vocab_size, exact=True)

    def logits(self, inputs: Packed, trace: Trace | None = None, languages: Languages = None) -> Packed:
        """Logits (T', V) of recordings of any lengths, each as it would be alone, each in its language if given."""
        self.ready()
        spoken = self.spoken(languages)
        trace = replace(trace or Trace(wants_states=False), spoken=spoken)  # with the same lists, of the caller's trace
        return self.classify(self.backbone.packed(inputs, trace), spoken)

    def classify(self, x: Packed, spoken: Spoken | None = None) -> Packed:
        """Logits, in fp32, of what the encoder gave."""
        return x.with_data(self.heads(x, spoken, PADDED_LOGIT).float())  # (T', V)

    def forward(
        self,
        input_values: Tensor | None = None,
        attention_mask: Tensor | None = None,
        labels: Tensor | None = None,
        *,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
        languages: Languages = None,
        **named: Any,
    ) -> Any:
        """A padded batch, as a `CausalLMOutput`; `labels` (B, S) give a loss, and -100 in them is padding.

        `languages` are of adapters that are loaded: one for each recording, or one for all. Else as `Backbone.forward`.
        """
        trace = self.trace(output_hidden_states, output_attentions)
        logits = self.logits(self.backbone.pack(input_values, attention_mask, named), trace, languages)
        loss = None if labels is None else self._loss(logits, labels)
        return returned(CausalLMOutput(loss, self._padded(logits), *padded_trace(trace)), return_dict)

    def _padded(self, logits: Packed) -> Tensor:
        batch = logits.padded(PADDED_LOGIT)  # (B, T', V)
        for number, length in enumerate(logits.segments.lengths):
            batch[number, length:, self.blank] = 0.0
        return batch

    def _loss(self, logits: Packed, labels: Tensor) -> Tensor:
        if labels.ndim != 2 or len(labels) != len(logits.segments.lengths):
            raise ValueError(f"labels must be a row for each recording, not {tuple(labels.shape)}")
        if int(labels.max()) >= (num_labels := logits.data.shape[1]):
            raise ValueError(f"label {int(labels.max())} is not in a vocabulary of {num_labels}")
        real = labels >= 0  # (B, S)
        log_probs = logits.data.log_softmax(dim=-1)  # (T', V)
        with torch.backends.cudnn.flags(enabled=False):  # cuDNN's loss refuses some lengths and is not deterministic
            return F.ctc_loss(
                logits.with_data(log_probs).padded().transpose(0, 1),  # (T', B, V)
                labels[real],
                torch.tensor(logits.segments.lengths),
                real.sum(dim=1),
                blank=self.blank,
                reduction=self.config.ctc_loss_reduction,
                zero_infinity=self.config.ctc_zero_infinity,
            )
