"""Heads that say what a recording is: its class, the classes of each frame, or a vector for who speaks.

Knows neither the families beneath them nor what the classes mean. Shapes: B recordings, T frames, D hidden size.
"""

from abc import ABC, abstractmethod
from bisect import bisect_left
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.models import bert, conformer, wav2vec2
from pipeline.models.backbone import Head, Trace, padded_trace, returned
from pipeline.models.config import ConvConfig, ModelConfig
from pipeline.models.linear import Linear
from pipeline.models.mixture import Mixing
from pipeline.models.outputs import SequenceClassifierOutput, TokenClassifierOutput, XVectorOutput
from pipeline.models.segments import Packed, Window, convolve

# Of the additive-margin softmax (Wang et al. 2018, arXiv 1801.05599), as these models were trained.
SCALE, MARGIN = 30.0, 0.4


class LayerReader(Head, ABC):
    """A head that reads what the encoder gives, or, with `use_weighted_layer_sum`, a mixture of all its layers.

    The mixture is of the input of the first layer and the outputs of all, the last of them after the encoder's last
    norm, as transformers 4 had it and as checkpoints were trained. transformers 5 takes the last one before that norm,
    which gives other results for models with norms first and for conformers, and the same for all others.
    It holds the encoder's own frames: an adapter takes no part in it.
    """

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        if config.use_weighted_layer_sum:
            num_states = config.num_hidden_layers + 1
            self.layer_weights = nn.Parameter(torch.full((num_states,), 1 / num_states))

    def frames(self, inputs: Packed, trace: Trace | None = None) -> Packed:
        """Of recordings of any lengths, the frames (T, D) that the head reads, each recording as it would be alone."""
        trace = trace or Trace(wants_states=False)
        if not self.config.use_weighted_layer_sum:
            return self.backbone.packed(inputs, trace)
        mixing = Mixing(**vars(trace), weights=self.layer_weights.float().softmax(dim=0))
        self.backbone.packed(inputs, mixing)
        return mixing.mixture(self.backbone.last_norm)

    def forward(
        self,
        input_values: Tensor | None = None,
        attention_mask: Tensor | None = None,
        labels: Tensor | None = None,
        *,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
        **named: Any,
    ) -> Any:
        """A padded batch; `labels` give a loss. Else as `Backbone.forward`."""
        trace = self.trace(output_hidden_states, output_attentions)
        output = self.answer(self.frames(self.backbone.pack(input_values, attention_mask, named), trace), labels)
        output.hidden_states, output.attentions = padded_trace(trace)
        return returned(output, return_dict)

    @abstractmethod
    def answer(
        self, x: Packed, labels: Tensor | None
    ) -> SequenceClassifierOutput | TokenClassifierOutput | XVectorOutput:
        """What the head says of the frames, and how far that is from the labels."""


class ForSequenceClassification(LayerReader):
    """One of several classes for each recording: a keyword, a language, a mood."""

    head_meaning = "sequence classification head"

    def __init__(self, config: Any) -> None:
        _refuse_adapter(config)
        super().__init__(config)
        self.projector = Linear(config.hidden_size, config.classifier_proj_size)
        self.classifier = Linear(config.classifier_proj_size, config.num_classes)

    def classify(self, x: Packed) -> Tensor:
        """Logits (B, classes), in fp32, of what `frames` gave."""
        # The projection is linear, so that it may follow the mean: then it has one row for each recording.
        means = torch.stack([one.mean(dim=0) for one in x.split()])  # (B, D)
        logits: Tensor = self.classifier(self.projector(means)).float()  # (B, classes)
        return logits

    def answer(self, x: Packed, labels: Tensor | None) -> SequenceClassifierOutput:
        """`labels` (B,) are numbers of classes."""
        logits = self.classify(x)
        loss = None if labels is None else F.cross_entropy(logits, _one_each(labels, x, self.config))
        return SequenceClassifierOutput(loss, logits)


class ForAudioFrameClassification(LayerReader):
    """Any of several classes for each frame: which speakers are talking."""

    head_meaning = "frame classification head"

    def __init__(self, config: Any) -> None:
        _refuse_adapter(config)
        super().__init__(config)
        self.classifier = Linear(config.hidden_size, config.num_classes)

    def classify(self, x: Packed) -> Packed:
        """Logits (T, classes), in fp32, of what `frames` gave."""
        return x.with_data(self.classifier(x.data).float())

    def answer(self, x: Packed, labels: Tensor | None) -> TokenClassifierOutput:
        """`labels` (B, T, classes) are one-hot. Padded frames have logits of zero, and no part in the loss."""
        logits = self.classify(x)
        loss = None if labels is None else self._loss(logits, labels)
        return TokenClassifierOutput(loss, logits.padded())

    def _loss(self, logits: Packed, labels: Tensor) -> Tensor:
        lengths, num_classes = logits.segments.lengths, self.config.num_classes
        if labels.ndim != 3 or len(labels) != len(lengths) or labels.shape[2] != num_classes:
            raise ValueError(f"labels must be (recordings, frames, {num_classes}), not {tuple(labels.shape)}")
        if labels.shape[1] < max(lengths):
            raise ValueError(f"labels are of {labels.shape[1]} frames, and a recording has {max(lengths)}")
        real = torch.cat([one[:length] for one, length in zip(labels, lengths, strict=True)])  # (T, classes)
        return F.cross_entropy(logits.data, real.to(logits.data.device).argmax(dim=1))


class TDNNLayer(nn.Module):
    """A dilated convolution over frames, as one matrix product: so its weight is stored."""

    def __init__(self, config: ModelConfig, number: int) -> None:
        super().__init__()
        width, size = config.tdnn_dim[max(number - 1, 0)], config.tdnn_dim[number]
        self.window = Window(config.tdnn_kernel[number], dilation=config.tdnn_dilation[number])
        self.kernel = Linear(width * self.window.kernel, size, activation="relu")

    def forward(self, x: Packed) -> Packed:
        return convolve(x, self._run, self.window)  # (T', size)

    def _run(self, stream: Tensor) -> Tensor:
        seen = stream[0].unfold(1, self.window.span, 1)[..., :: self.window.dilation]  # (width, N', kernel)
        y = self.kernel(seen.permute(1, 2, 0).flatten(1))  # (N', size)
        return y.T.unsqueeze(0)  # type: ignore[no-any-return]  # (1, size, N')


class AMSoftmaxLoss(nn.Module):
    """Of vectors by the angles to a direction for each speaker, with a margin to be kept."""

    def __init__(self, size: int, num_classes: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(size, num_classes))

    def forward(self, x: Tensor, labels: Tensor) -> Tensor:
        cosines = F.normalize(x, dim=1) @ F.normalize(self.weight, dim=0)  # (B, classes)
        margins = MARGIN * F.one_hot(labels, self.weight.shape[1])
        return F.cross_entropy(SCALE * (cosines - margins), labels)


class ForXVector(LayerReader):
    """A vector for each recording, near those of the same speaker (Snyder et al. 2018).

    Of padded batches with a mask, transformers 5 pools frames that reach into the padding: it leaves the dilations out
    when it counts the frames of a recording. Here each recording is pooled as if it were alone.
    """

    head_meaning = "x-vector head"

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.projector = Linear(self._in_size, config.tdnn_dim[0])
        layers = [TDNNLayer(config, number) for number in range(len(config.tdnn_dim))]
        self.tdnn = nn.ModuleList(layers)
        self.needed = sum(layer.window.span - 1 for layer in layers) + 2  # frames: a deviation takes two that are left
        self.feature_extractor = Linear(config.tdnn_dim[-1] * 2, config.xvector_output_dim)
        self.classifier = Linear(config.xvector_output_dim, config.xvector_output_dim)
        self.objective = AMSoftmaxLoss(config.xvector_output_dim, config.num_classes)

    @property
    def _in_size(self) -> int:
        size: int = self.config.hidden_size if self.config.use_weighted_layer_sum else self.config.output_size
        return size

    def embeddings(self, x: Packed) -> Tensor:
        """Vectors (B, xvector_output_dim), in fp32, of what `frames` gave."""
        self._check_lengths(x)
        x = x.with_data(self.projector(x.data))  # (T, tdnn_dim[0])
        for layer in self.tdnn:
            x = layer(x)  # (T', tdnn_dim[number])
        recordings = [one.float() for one in x.split()]
        pooled = torch.stack([torch.cat([one.mean(dim=0), one.std(dim=0)]) for one in recordings])  # (B, 2 of the last)
        vectors: Tensor = self.feature_extractor(pooled).float()
        return vectors

    def answer(self, x: Packed, labels: Tensor | None) -> XVectorOutput:
        """`labels` (B,) are numbers of speakers."""
        embeddings = self.embeddings(x)
        logits = self.classifier(embeddings).float()  # (B, xvector_output_dim)
        loss = None if labels is None else self.objective(logits, _one_each(labels, x, self.config))
        return XVectorOutput(loss, logits, embeddings)

    def _check_lengths(self, x: Packed) -> None:
        if (shortest := min(x.segments.lengths)) < self.needed:
            unit = "samples" if isinstance(self.config, ConvConfig) else "feature frames"
            num_inputs = bisect_left(range(1 << 40), self.needed, key=self._num_frames)
            raise ValueError(
                f"a recording is too short for an x-vector: it has {shortest} frames, and {self.needed} are needed, "
                f"which {num_inputs} {unit} give"
            )

    def _num_frames(self, num_inputs: int) -> int:
        num_frames = self.config.num_frames(num_inputs) if isinstance(self.config, ConvConfig) else num_inputs
        return num_frames if self.config.use_weighted_layer_sum else self.config.num_adapted(num_frames)


def _refuse_adapter(config: ModelConfig) -> None:
    if config.add_adapter:
        raise ValueError("add_adapter must be false: this head reads the frames of the encoder itself")


def _one_each(labels: Tensor, x: Packed, config: ModelConfig) -> Tensor:
    """The labels, checked: the number of a class for each recording."""
    labels = labels.flatten().to(x.data.device)  # (B,)
    if len(labels) != len(x.segments.lengths):
        raise ValueError(f"{len(labels)} labels for {len(x.segments.lengths)} recordings")
    if not 0 <= int(labels.min()) <= int(labels.max()) < config.num_classes:
        raise ValueError(f"labels must be from 0 to {config.num_classes - 1}, not {labels.tolist()}")
    return labels


# ---- the families


class _Wav2Vec2(Head):
    config_class = wav2vec2.Wav2Vec2Config
    names = wav2vec2.NAMES
    backbone_class = wav2vec2.Wav2Vec2Model
    backbone_name = "wav2vec2"


class Wav2Vec2ForSequenceClassification(_Wav2Vec2, ForSequenceClassification):
    pass


class Wav2Vec2ForAudioFrameClassification(_Wav2Vec2, ForAudioFrameClassification):
    pass


class Wav2Vec2ForXVector(_Wav2Vec2, ForXVector):
    pass


class _Wav2Vec2Conformer(Head):
    config_class = conformer.Wav2Vec2ConformerConfig
    names = conformer.NAMES
    backbone_class = conformer.Wav2Vec2ConformerModel
    backbone_name = "wav2vec2_conformer"


class Wav2Vec2ConformerForSequenceClassification(_Wav2Vec2Conformer, ForSequenceClassification):
    pass


class Wav2Vec2ConformerForAudioFrameClassification(_Wav2Vec2Conformer, ForAudioFrameClassification):
    pass


class Wav2Vec2ConformerForXVector(_Wav2Vec2Conformer, ForXVector):
    pass


class Wav2Vec2BertForSequenceClassification(bert.Wav2Vec2BertHead, ForSequenceClassification):  # type: ignore[misc]
    pass


class Wav2Vec2BertForAudioFrameClassification(bert.Wav2Vec2BertHead, ForAudioFrameClassification):  # type: ignore[misc]
    pass


class Wav2Vec2BertForXVector(bert.Wav2Vec2BertHead, ForXVector):  # type: ignore[misc]
    pass
