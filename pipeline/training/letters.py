"""The letters of a model, from the texts that it is to learn, and texts as their numbers.

Knows nothing of audio.
"""

import json
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pipeline.errors import UsageError

MARKS = ("<pad>", "<s>", "</s>", "<unk>", "|")
MOST_LETTERS = 4000  # with more, texts are most likely not what they should be
KEPT = ("L", "M", "N")  # of Unicode: letters, their marks, digits; and the apostrophe
UNSEEN = "Cf"  # joiners within words, soft hyphens


def spelled(text: str) -> str:
    """In capitals, without punctuation, words one space apart: what can be heard."""
    capitals = unicodedata.normalize("NFC", text.replace("\u2019", "'").upper())
    return " ".join("".join(map(_sound, capitals)).split())


def labels_of(texts: Iterable[str]) -> tuple[str, ...]:
    """Of spelled texts: the marks that every vocabulary has, then each letter that occurs."""
    letters = sorted(set().union(*texts) - {" "})
    if not 0 < len(letters) <= MOST_LETTERS:
        raise UsageError(f"the texts have {len(letters):,} different letters, not 1 to {MOST_LETTERS:,}")
    return (*MARKS, *letters)


def numbered(texts: Sequence[str], labels: tuple[str, ...]) -> list[npt.NDArray[np.int64]]:
    """Spelled texts as labels, words delimited; where all of the labels' letters are small ones, in those."""
    ids = {label: number for number, label in enumerate(labels)}
    ids[" "] = ids["|"]
    letters = {label for label in labels if len(label) == 1}
    if letters == {letter.lower() for letter in letters}:
        texts = [text.lower() for text in texts]
    if strange := sorted(set().union(*texts) - ids.keys()):
        raise UsageError(f"the texts have letters that the model to start from does not: {' '.join(strange[:20])}")
    return [np.array([ids[letter] for letter in text], np.int64) for text in texts]


def least_frames(labels: npt.NDArray[np.int64]) -> int:
    """CTC needs one for every label, and one between two that are the same."""
    return len(labels) + int((labels[1:] == labels[:-1]).sum())


def write(directory: Path, labels: tuple[str, ...]) -> None:
    """The vocabulary as transformers' tokenizer reads it, and ours."""
    ids = {label: number for number, label in enumerate(labels)}
    settings = {"tokenizer_class": "Wav2Vec2CTCTokenizer", "pad_token": "<pad>", "word_delimiter_token": "|"}
    for name, content in (("vocab.json", ids), ("tokenizer_config.json", settings)):
        (directory / name).write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _sound(character: str) -> str:
    category = unicodedata.category(character)
    if character == "'" or category[0] in KEPT:
        return character
    return "" if category == UNSEEN else " "
