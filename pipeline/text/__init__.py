"""Between arrays and strings, by the names the ecosystem knows: what models hear (feature extractors), what their
labels mean (tokenizers), and both in one (processors). Names are imported when they are first used.
"""

from typing import TYPE_CHECKING

from pipeline.lazy import lazy

if TYPE_CHECKING:
    from pipeline.text.ctc_tokenizer import Wav2Vec2CTCTokenizer
    from pipeline.text.lm_processor import Wav2Vec2ProcessorWithLM
    from pipeline.text.phoneme_tokenizer import Wav2Vec2PhonemeCTCTokenizer
    from pipeline.text.processors import AutoProcessor, Wav2Vec2BertProcessor, Wav2Vec2Processor
    from pipeline.text.seamless_features import SeamlessM4TFeatureExtractor
    from pipeline.text.wav2vec2_features import Wav2Vec2FeatureExtractor

__all__ = [
    "AutoProcessor",
    "SeamlessM4TFeatureExtractor",
    "Wav2Vec2BertProcessor",
    "Wav2Vec2CTCTokenizer",
    "Wav2Vec2FeatureExtractor",
    "Wav2Vec2PhonemeCTCTokenizer",
    "Wav2Vec2Processor",
    "Wav2Vec2ProcessorWithLM",
]

_HOMES = {
    "AutoProcessor": "processors",
    "SeamlessM4TFeatureExtractor": "seamless_features",
    "Wav2Vec2BertProcessor": "processors",
    "Wav2Vec2CTCTokenizer": "ctc_tokenizer",
    "Wav2Vec2FeatureExtractor": "wav2vec2_features",
    "Wav2Vec2PhonemeCTCTokenizer": "phoneme_tokenizer",
    "Wav2Vec2Processor": "processors",
    "Wav2Vec2ProcessorWithLM": "lm_processor",
}

__getattr__, __dir__ = lazy(__name__, _HOMES)
