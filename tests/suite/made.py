"""A small suite for tests: three inputs of different kinds, two models of letters and one of phonemes, a language
model of words.
"""

import io
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from pipeline.demo.sample import babble, write_model
from tests.sources.shard_files import write_tar

RATE = 8_000
SMALL = {
    "conv_dim": [16] * 7,
    "hidden_size": 32,
    "intermediate_size": 32,
    "num_attention_heads": 2,
    "num_conv_pos_embeddings": 16,
}
WORDS = ("A", "SHORT", "ONE", "THE", "NIGHT")
# The first is broken at its second recording, and has a column by the name of ours; `take` is a number in one, text in
# another; the third has two channels and no reference.
NUM_RECORDINGS = {"clean": 4, "shards": 3, "stereo": 2}


def sound(number: int, num_channels: int = 1) -> bytes:
    rng, file = np.random.default_rng(number), io.BytesIO()
    samples = np.stack([babble(rng, 1.0 + number / 8, RATE) for _ in range(num_channels)], axis=1)
    soundfile.write(file, samples, RATE, format="WAV")
    return file.getvalue()


def write_inputs(folder: Path) -> None:
    (folder / "clean").mkdir(parents=True)
    lines = []
    for number in range(NUM_RECORDINGS["clean"]):
        name = f"{number}.wav"
        (folder / "clean" / name).write_bytes(b"" if number == 1 else sound(number))
        told = {"text": "THE NIGHT", "sentence": "A SHORT ONE", "speaker": f"s{number % 2}", "take": number}
        lines.append({"audio_filepath": name, **told, "dataset": "theirs"})
    (folder / "clean" / "manifest.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    files = []
    for number in range(NUM_RECORDINGS["shards"]):
        told = json.dumps({"text": "NIGHT ONE", "speaker": "s2", "take": "first"}).encode()
        files += [(f"{number}.wav", sound(10 + number)), (f"{number}.json", told)]
    write_tar(folder / "shards" / "a.tar", *files)
    (folder / "stereo").mkdir()
    (folder / "stereo" / "two.wav").write_bytes(sound(20, num_channels=2))


def write_models(folder: Path) -> None:
    write_base(folder)
    write_model(folder / "large", SMALL | {"num_hidden_layers": 3})
    shutil.copytree(folder / "base", folder / "phones")
    (folder / "phones" / "tokenizer_config.json").write_text('{"tokenizer_class": "Wav2Vec2PhonemeCTCTokenizer"}')


def write_base(folder: Path) -> None:
    write_model(folder / "base", SMALL)


def write_lm(path: Path) -> None:
    words = "".join(f"-1\t{word}\t0\n" for word in WORDS)
    path.write_text(
        f"\\data\\\nngram 1={len(WORDS) + 3}\nngram 2=1\n\n\\1-grams:\n-2\t<unk>\n-99\t<s>\t0\n-1\t</s>\n{words}\n"
        "\\2-grams:\n-0.5\tA SHORT\n\n\\end\\\n"
    )


def write_suite(path: Path, **changes: Any) -> Path:
    """The suite of all of it; a section that is given takes the place of its own, and None leaves it out."""
    sections: dict[str, Any] = {
        "datasets": {
            "clean": {"input": "clean/manifest.jsonl", "reference_column": "sentence"},
            "shards": {"input": "shards"},
            "stereo": {"input": "stereo", "channels": "each"},
        },
        "models": {"base": {"model": "models/base"}, "large": {"model": "models/large"}},
        "decoders": {"greedy": {"decoder": "greedy"}, "lm": {"lm": "lm.arpa", "beam_width": 8}},
        "read": {"unit_s": 2.0},
        "run": {"address": "here"},
    }
    sections = {name: values for name, values in (sections | changes).items() if values is not None}
    values = [f"{name} = {json.dumps(value)}" for name, value in sections.items() if not isinstance(value, Mapping)]
    tables = [_toml(_quoted(name), value) for name, value in sections.items() if isinstance(value, Mapping)]
    path.write_text("\n".join([*values, *tables]))
    return path


def _toml(name: str, values: Mapping[str, Any]) -> str:
    own = [f"{key} = {json.dumps(value)}" for key, value in values.items() if not isinstance(value, Mapping)]
    below = [_toml(f"{name}.{_quoted(key)}", value) for key, value in values.items() if isinstance(value, Mapping)]
    return "\n".join([f"[{name}]", *own, *below])


def _quoted(key: str) -> str:
    return json.dumps(key)
