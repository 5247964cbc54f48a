"""The encoders, one file per family: audio in, logits per frame out. Names are imported when they are first used."""

from typing import TYPE_CHECKING

from pipeline.lazy import lazy

if TYPE_CHECKING:
    from pipeline.models.auto import (
        AutoConfig,
        AutoModel,
        AutoModelForAudioClassification,
        AutoModelForAudioFrameClassification,
        AutoModelForAudioXVector,
        AutoModelForCTC,
        AutoModelForPreTraining,
    )
    from pipeline.models.bert import Wav2Vec2BertConfig, Wav2Vec2BertForCTC, Wav2Vec2BertModel
    from pipeline.models.conformer import Wav2Vec2ConformerConfig, Wav2Vec2ConformerForCTC, Wav2Vec2ConformerModel
    from pipeline.models.heads import (
        Wav2Vec2BertForAudioFrameClassification,
        Wav2Vec2BertForSequenceClassification,
        Wav2Vec2BertForXVector,
        Wav2Vec2ConformerForAudioFrameClassification,
        Wav2Vec2ConformerForSequenceClassification,
        Wav2Vec2ConformerForXVector,
        Wav2Vec2ForAudioFrameClassification,
        Wav2Vec2ForSequenceClassification,
        Wav2Vec2ForXVector,
    )
    from pipeline.models.pretraining import Wav2Vec2ConformerForPreTraining, Wav2Vec2ForPreTraining
    from pipeline.models.wav2vec2 import Wav2Vec2Config, Wav2Vec2ForCTC, Wav2Vec2Model

__all__ = [
    "AutoConfig",
    "AutoModel",
    "AutoModelForAudioClassification",
    "AutoModelForAudioFrameClassification",
    "AutoModelForAudioXVector",
    "AutoModelForCTC",
    "AutoModelForPreTraining",
    "Wav2Vec2BertConfig",
    "Wav2Vec2BertForAudioFrameClassification",
    "Wav2Vec2BertForCTC",
    "Wav2Vec2BertForSequenceClassification",
    "Wav2Vec2BertForXVector",
    "Wav2Vec2BertModel",
    "Wav2Vec2Config",
    "Wav2Vec2ConformerConfig",
    "Wav2Vec2ConformerForAudioFrameClassification",
    "Wav2Vec2ConformerForCTC",
    "Wav2Vec2ConformerForPreTraining",
    "Wav2Vec2ConformerForSequenceClassification",
    "Wav2Vec2ConformerForXVector",
    "Wav2Vec2ConformerModel",
    "Wav2Vec2ForAudioFrameClassification",
    "Wav2Vec2ForCTC",
    "Wav2Vec2ForPreTraining",
    "Wav2Vec2ForSequenceClassification",
    "Wav2Vec2ForXVector",
    "Wav2Vec2Model",
]


# Where each name is. By hand, as only importing a module would tell, and torch comes with any of them.
_HOMES = {
    "AutoConfig": "auto",
    "AutoModel": "auto",
    "AutoModelForAudioClassification": "auto",
    "AutoModelForAudioFrameClassification": "auto",
    "AutoModelForAudioXVector": "auto",
    "AutoModelForCTC": "auto",
    "AutoModelForPreTraining": "auto",
    "Wav2Vec2BertConfig": "bert",
    "Wav2Vec2BertForAudioFrameClassification": "heads",
    "Wav2Vec2BertForCTC": "bert",
    "Wav2Vec2BertForSequenceClassification": "heads",
    "Wav2Vec2BertForXVector": "heads",
    "Wav2Vec2BertModel": "bert",
    "Wav2Vec2Config": "wav2vec2",
    "Wav2Vec2ConformerConfig": "conformer",
    "Wav2Vec2ConformerForAudioFrameClassification": "heads",
    "Wav2Vec2ConformerForCTC": "conformer",
    "Wav2Vec2ConformerForPreTraining": "pretraining",
    "Wav2Vec2ConformerForSequenceClassification": "heads",
    "Wav2Vec2ConformerForXVector": "heads",
    "Wav2Vec2ConformerModel": "conformer",
    "Wav2Vec2ForAudioFrameClassification": "heads",
    "Wav2Vec2ForCTC": "wav2vec2",
    "Wav2Vec2ForPreTraining": "pretraining",
    "Wav2Vec2ForSequenceClassification": "heads",
    "Wav2Vec2ForXVector": "heads",
    "Wav2Vec2Model": "wav2vec2",
}

__getattr__, __dir__ = lazy(__name__, _HOMES)
