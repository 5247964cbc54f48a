"""Decoder directories as pyctcdecode and transformers write them: an alphabet, and a language model with its weights.

    alphabet.json                    {"labels": [...], "is_bpe": false}
    language_model/attrs.json        alpha, beta, unk_score_offset, score_boundary
    language_model/unigrams.txt      a word per line; may be empty
    language_model/ANY.arpa          or .bin, .binary: one file

Reads them by path or fsspec URL. Knows nothing of decoding.
"""

import json
import math
import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pipeline.decode.alphabet import BLANK, Alphabet
from pipeline.decode.hypotheses import WordModel
from pipeline.decode.options import MARKS, WEIGHTS, LmWeights
from pipeline.decode.unigrams import words_of
from pipeline.errors import UsageError
from pipeline.models.locate import checkpoint_directory
from pipeline.store import Folder

ALPHABET = "alphabet.json"
LANGUAGE_MODEL = "language_model"
ATTRIBUTES = "attrs.json"
UNIGRAMS = "unigrams.txt"
MODEL_SUFFIXES = (".arpa", ".bin", ".binary")
BESIDE = (".json", ".md", ".safetensors")  # of a model and its processor, which may be in the same place


@dataclass(frozen=True)
class DecoderDirectory:
    alphabet: Alphabet
    model: str | None  # location of the language model; None: there is none
    unigrams: tuple[str, ...]  # may be empty: pyctcdecode then takes every word for unknown, we the model's own words
    weights: LmWeights


def decoder_directory(name: str | os.PathLike[str], hub: Mapping[str, Any]) -> str:
    """Where the decoder of a checkpoint is, for `read_directory`: a URL as it is, else a directory of this machine.

    `hub`: the options of the hub, from which a decoder that is on it is brought here.
    """
    place = os.fspath(name)
    return place if "://" in place else str(checkpoint_directory(place, (ALPHABET, f"{LANGUAGE_MODEL}/*"), hub))


def read_directory(url: str, encoding: str = "utf-8") -> DecoderDirectory:
    """`encoding` is that of unigrams.txt, which older programs wrote in whatever the machine's was."""
    folder = Folder(url)
    names = _visible(folder)
    if ALPHABET not in names:
        found = f"found {', '.join(names)}" if names else "it is empty or not there"
        raise UsageError(f"decoder directory {url}: no {ALPHABET}; {found}")
    alphabet = _alphabet(folder)
    if LANGUAGE_MODEL not in names:
        # A name that was misspelt would otherwise cost the language model in silence.
        if others := [name for name in names if not name.endswith(BESIDE)]:
            raise UsageError(f"decoder directory {url}: {', '.join(others)}, but no {LANGUAGE_MODEL}/")
        return DecoderDirectory(alphabet, None, (), LmWeights())
    folder = folder.sub(LANGUAGE_MODEL)
    names = _visible(folder)
    models = [name for name in names if name not in (ATTRIBUTES, UNIGRAMS)]
    if len(names) != 3 or len(models) != 1 or not models[0].endswith(MODEL_SUFFIXES):
        raise UsageError(
            f"{folder.url}: holds {', '.join(names) or 'nothing'}; it should hold {ATTRIBUTES}, {UNIGRAMS} and one "
            f"language model ending in {', '.join(MODEL_SUFFIXES)}"
        )
    unigrams = words_of(_text(folder, UNIGRAMS, encoding))
    return DecoderDirectory(alphabet, f"{folder.url}/{models[0]}", unigrams, _weights(folder))


def write_directory(path: Path, alphabet: Alphabet, model: WordModel | None, compat: bool) -> None:
    """In UTF-8, whatever the machine's encoding. Of the unigrams those are kept that the language model knows.

    Where none were given these are its own words, unless in compat mode, which then has none.
    """
    path.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"labels": list(alphabet.labels), "is_bpe": alphabet.is_bpe})
    (path / ALPHABET).write_text(text, encoding="utf-8")
    if model is None:
        return
    folder = path / LANGUAGE_MODEL
    if folder.exists() and any(folder.iterdir()):
        raise UsageError(f"{folder} is not empty; a second language model in it would make it unreadable")
    folder.mkdir(exist_ok=True)
    weights = {name: value for name, value in asdict(model.weights).items() if name in WEIGHTS}
    (folder / ATTRIBUTES).write_text(json.dumps(weights), encoding="utf-8")
    given = () if compat else set(model.model.words()) - MARKS
    words = sorted(given if model.unigrams is None else set(model.unigrams))
    known = [word for word, number in zip(words, model.model.ids(words), strict=True) if number]
    (folder / UNIGRAMS).write_text("".join(f"{word}\n" for word in known), encoding="utf-8")
    source, name = _model_file(model.model)
    shutil.copy2(source, folder / name)


def _model_file(model: Any) -> tuple[Path, str]:
    """The file to copy, and a name that pyctcdecode reads it by. Of a gzipped ARPA the binary made of it is taken."""
    from pipeline.lm.cache import local_copy

    name = model.location.rstrip("/").rpartition("/")[2]
    if name.endswith(MODEL_SUFFIXES):
        return local_copy(model.location), name
    return model.path, f"{name.removesuffix('.gz').removesuffix('.arpa')}.binary"


def _visible(folder: Folder) -> list[str]:
    """Without hidden files and Python's caches."""
    try:
        return [name for name in folder.names() if not name.startswith((".", "__"))]
    except OSError as error:
        raise UsageError(f"decoder directory {folder.url}: {error.strerror or error}") from error


def _alphabet(folder: Folder) -> Alphabet:
    place = f"{folder.url}/{ALPHABET}"
    content = _object(folder, ALPHABET)
    if set(content) != {"labels", "is_bpe"}:
        raise UsageError(f"{place}: should have the keys labels and is_bpe, and has {', '.join(sorted(content))}")
    labels, is_bpe = content["labels"], content["is_bpe"]
    if not isinstance(labels, list) or not all(isinstance(label, str) for label in labels):
        raise UsageError(f"{place}: labels should be a list of texts")
    if not isinstance(is_bpe, bool):
        raise UsageError(f"{place}: is_bpe should be true or false, not {is_bpe!r}")
    if BLANK not in labels:
        raise UsageError(f'{place}: no label is "", the blank of CTC')
    return Alphabet(tuple(labels), is_bpe)


def _weights(folder: Folder) -> LmWeights:
    place = f"{folder.url}/{ATTRIBUTES}"
    content = _object(folder, ATTRIBUTES)
    if set(content) != set(WEIGHTS):
        raise UsageError(f"{place}: should have the keys {', '.join(WEIGHTS)}, and has {', '.join(sorted(content))}")
    boundary = content.pop("score_boundary")
    if not isinstance(boundary, bool):
        raise UsageError(f"{place}: score_boundary should be true or false, not {boundary!r}")
    for name, value in content.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise UsageError(f"{place}: {name} should be a number, not {value!r}")
    return LmWeights(score_boundary=boundary, **{name: float(value) for name, value in content.items()})


def _object(folder: Folder, name: str) -> dict[str, Any]:
    try:
        content = json.loads(_text(folder, name, "utf-8"))
    except ValueError as error:
        raise UsageError(f"{folder.url}/{name}: not JSON ({error})") from error
    if not isinstance(content, dict):
        raise UsageError(f"{folder.url}/{name}: not a JSON object")
    return content


def _text(folder: Folder, name: str, encoding: str) -> str:
    try:
        return folder.read(name).decode(encoding)
    except UnicodeDecodeError as error:
        raise UsageError(
            f"{folder.url}/{name}: not {encoding} (byte {error.start}); "
            + ("say which encoding it has (unigram_encoding)" if name == UNIGRAMS else "write it again as UTF-8")
        ) from error
    except LookupError as error:
        raise UsageError(f"{encoding}: no such encoding") from error
    except OSError as error:
        raise UsageError(f"{folder.url}/{name}: {error.strerror or error}") from error
