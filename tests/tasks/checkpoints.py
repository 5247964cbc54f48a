"""Small checkpoints as transformers writes them, whose models say something else in every other frame."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import transformers
from transformers import (
    SeamlessM4TFeatureExtractor,
    Wav2Vec2BertProcessor,
    Wav2Vec2CTCTokenizer,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2PhonemeCTCTokenizer,
    Wav2Vec2Processor,
)

from pipeline import pipeline
from tests.models.oracle import GROUP, LAYER, SMALL, audio, oracle_model

Samples = npt.NDArray[np.float32]

CONFORMER = {"conv_depthwise_kernel_size": 7}
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "group": ("Wav2Vec2", GROUP),
    "layer": ("Wav2Vec2", LAYER),
    "conformer": ("Wav2Vec2Conformer", LAYER | CONFORMER),
    "bert": ("Wav2Vec2Bert", SMALL | CONFORMER),
}
SPEECH = "automatic-speech-recognition"
LABELS = ("<pad>", "<s>", "</s>", "<unk>", "|", *"ETAOINSH'")
PHONES = ("<pad>", "<s>", "</s>", "<unk>", "a", "ə", "b", "tʃ", "ŋ", "ɔ̃", "i")
LENGTHS = (16_000, 40_079, 9_601, 24_033, 5_440)  # samples; of whole rows of mel frames, so that bert pads none

Checkpoint = Callable[[str], Path]


def recording(num_samples: int) -> Samples:
    samples: Samples = audio(1, num_samples, seed=num_samples)[0].numpy()
    return samples


def recordings() -> list[Samples]:
    return [recording(length) for length in LENGTHS]


def extractor(family: str) -> Any:
    if family == "bert":
        return SeamlessM4TFeatureExtractor()
    return Wav2Vec2FeatureExtractor(return_attention_mask=family != "group")


def speech_model(directory: Path, family: str, labels: tuple[str, ...] = LABELS, **options: Any) -> Any:
    """A CTC model, saved, whose labels are all as likely; else one of them would be the best of every frame."""
    prefix, config = FAMILIES[family]
    model: Any = oracle_model(config | {"vocab_size": len(labels)} | options, f"{prefix}ForCTC")
    heard = extractor(family)(recording(64_000), sampling_rate=16_000, return_tensors="pt")
    with torch.no_grad():
        logits = model(**{model.main_input_name: heard[model.main_input_name]}).logits[0]  # (T, V)
        mean, deviation = logits.mean(dim=0), logits.std(dim=0)  # (V,) each
        model.lm_head.weight /= deviation[:, None]
        model.lm_head.bias.sub_(mean).div_(deviation)
    model.save_pretrained(directory)
    return model


def speech_checkpoint(directory: Path, family: str) -> Path:
    speech_model(directory, family)
    processor_class = Wav2Vec2BertProcessor if family == "bert" else Wav2Vec2Processor
    processor_class(extractor(family), Wav2Vec2CTCTokenizer(vocabulary(directory, LABELS))).save_pretrained(directory)
    return directory


def phoneme_checkpoint(directory: Path) -> Path:
    speech_model(directory, "layer", PHONES)
    tokenizer = Wav2Vec2PhonemeCTCTokenizer(vocabulary(directory, PHONES), do_phonemize=False)
    Wav2Vec2Processor(extractor("layer"), tokenizer).save_pretrained(directory)
    return directory


def class_checkpoint(directory: Path, family: str, **options: Any) -> Path:
    prefix, config = FAMILIES[family]
    labels = dict(enumerate(("yes", "no", "up", "down", "left", "right", "stop")))
    shape = config | {"id2label": labels, "label2id": {name: number for number, name in labels.items()}}
    model: Any = oracle_model(shape | {"classifier_proj_size": 24} | options, f"{prefix}ForSequenceClassification")
    model.save_pretrained(directory)
    extractor(family).save_pretrained(directory)
    return directory


def vocabulary(directory: Path, labels: tuple[str, ...]) -> str:
    path = directory / "vocab.json"
    path.write_text(json.dumps({label: number for number, label in enumerate(labels)}), encoding="utf-8")
    return str(path)


def oracle(model: Path, **options: Any) -> Any:
    return transformers.pipeline(SPEECH, model=str(model), device="cpu", **options)


def ours(model: Any, **options: Any) -> Any:
    return pipeline(SPEECH, model=model, device="cpu", **options)
