"""The sample: a small corpus in several containers, some of it broken, and a small model with seeded random weights.

Made anew from one seed, so that nothing binary lies in the repository. The model has learnt nothing and its texts
mean nothing; the sample shows the run, not the recognition. `python -m pipeline.demo.sample DIRECTORY` writes both.
"""

import json
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt

SEED = 20260101
LABELS = ("<pad>", "<s>", "</s>", "<unk>", "|", *"ETAOINHSRDLCUMWFGYPBVK'XJQZ")
SENTENCES = (
    "THE NIGHT SHIFT BEGINS AT TEN",
    "ALL LETTERS ARE KEPT IN HELLO AND COFFEE",
    "A SHORT ONE",
    "NOBODY ASKED WHO LEFT THE LIGHT ON",
    "EVERY RECORDING IS ONE ROW",
    "TEN TRUCKS CAME AND NINE WENT HOME",
)
CONTAINERS = (  # extension, sample rate, channels
    ("flac", 16_000, 1),
    ("wav", 8_000, 1),
    ("mp3", 44_100, 2),
    ("ogg", 22_050, 1),
    ("wav", 48_000, 2),
    ("opus", 48_000, 1),
)
MODEL = {
    "model_type": "wav2vec2",
    "conv_dim": [64] * 7,
    "feat_extract_norm": "layer",
    "do_stable_layer_norm": True,
    "hidden_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 192,
    "num_conv_pos_embeddings": 32,
    "num_conv_pos_embedding_groups": 4,
    "vocab_size": len(LABELS),
    "pad_token_id": 0,
}


def write_model(directory: Path, config: dict[str, object] | None = None) -> None:
    """A checkpoint directory as transformers would write it, with random weights."""
    import torch

    from pipeline.models.wav2vec2 import Wav2Vec2Config, Wav2Vec2ForCTC

    with torch.random.fork_rng(devices=[]):  # the caller's own random numbers stay as they are
        torch.manual_seed(SEED)
        model = Wav2Vec2ForCTC(Wav2Vec2Config.from_dict({**MODEL, **(config or {})}))
    with torch.no_grad():
        # Random logits are nearly flat, and one label would win every frame.
        model.lm_head.weight.mul_(20)
    model.save_pretrained(directory)
    _write_json(directory / "vocab.json", {label: number for number, label in enumerate(LABELS)})
    _write_json(directory / "tokenizer_config.json", {"tokenizer_class": "Wav2Vec2CTCTokenizer"})
    _write_json(
        directory / "preprocessor_config.json",
        {
            "feature_extractor_type": "Wav2Vec2FeatureExtractor",
            "do_normalize": True,
            "return_attention_mask": True,
            "sampling_rate": 16_000,
        },
    )


def write_corpus(directory: Path, num_recordings: int = 48) -> None:
    """Recordings with a JSON-lines manifest beside them; the last few cannot be read."""
    import soundfile

    rng = np.random.default_rng(SEED)
    directory.mkdir(parents=True, exist_ok=True)
    lines = []
    for number in range(num_recordings):
        extension, rate, channels = CONTAINERS[number % len(CONTAINERS)]
        seconds = round(float(rng.uniform(2, 8)), 2)
        name = f"{number:03d}.{extension}"
        sound = np.repeat(babble(rng, seconds, rate)[:, None], channels, axis=1)  # (num_samples, channels)
        opus = {"format": "OGG", "subtype": "OPUS"} if extension == "opus" else {}  # the one that needs telling
        soundfile.write(directory / name, sound, rate, **opus)
        lines.append(
            {
                "audio_filepath": name,
                "duration": seconds,
                "text": SENTENCES[number % len(SENTENCES)],
                "speaker": f"voice-{number % 4}",
            }
        )
    (directory / "notes.wav").write_text("this is a text file that somebody named .wav")
    (directory / "empty.flac").write_bytes(b"")
    whole = (directory / "000.flac").read_bytes()
    (directory / "truncated.flac").write_bytes(whole[: len(whole) // 2])
    lines += [{"audio_filepath": name} for name in ("notes.wav", "empty.flac", "truncated.flac", "missing.flac")]
    (directory / "manifest.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def babble(rng: np.random.Generator, seconds: float, rate: int) -> npt.NDArray[np.float32]:
    """Syllable-like sounds: a buzzing tone through changing resonances, five a second, with some noise."""
    num_samples = int(seconds * rate)
    syllable = np.arange(num_samples) * 5 // rate
    pitch = rng.uniform(90, 220, syllable[-1] + 1)[syllable]
    phase = 2 * np.pi * np.cumsum(pitch) / rate
    formants = rng.uniform([300, 900], [800, 2400], (syllable[-1] + 1, 2))[syllable]
    tones = sum(np.sin(k * phase) / k for k in range(1, 6))
    carried = tones * (1 + np.sin(2 * np.pi * np.cumsum(formants[:, 0]) / rate)) + np.sin(
        2 * np.pi * np.cumsum(formants[:, 1]) / rate
    )
    envelope = np.abs(np.sin(np.pi * 5 * np.arange(num_samples) / rate))
    noise = rng.normal(0, 0.02, num_samples)
    return (0.15 * carried * envelope + noise).clip(-1, 1).astype(np.float32)


def _write_json(path: Path, content: object) -> None:
    path.write_text(json.dumps(content, indent=1))


if __name__ == "__main__":
    target = Path(sys.argv[1])
    write_model(target / "model")
    write_corpus(target / "corpus")
