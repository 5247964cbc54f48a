"""The files of a tokenizer: what they say, of this version of transformers and of earlier ones, and what we write.

Knows neither texts nor labels.
"""

import difflib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.errors import UsageError
from pipeline.jsonfile import read_object
from pipeline.text.added_tokens import AddedToken
from pipeline.text.batch import ArgumentError

VOCABULARY, CONFIG = "vocab.json", "tokenizer_config.json"
ADDED, SPECIAL = "added_tokens.json", "special_tokens_map.json"  # both as version 4 and earlier had them
# Decoding has a table with a place for every id up to the highest: far more than the labels of any model.
HIGHEST_ID = 1_000_000
EXTRA = ("extra_special_tokens", "additional_special_tokens")  # as it is called now, and as it was
# What a file says of how it was written, or of where; no setting of a tokenizer.
ABOUT_FILES = ("tokenizer_class", "special_tokens_map_file", "tokenizer_file", "init_inputs", "vocab_file", "is_local")


def settings(directory: Path, changes: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments that the tokenizer of this directory is made with, `changes` first."""
    found = stated(directory)
    found = {name: value for name, value in found.items() if name not in ABOUT_FILES} | dict(changes)
    if "added_tokens_decoder" in found:  # since 4.34 one file has all of it
        return found
    for name, value in _optional(directory / SPECIAL).items():
        if not changes.get(name) and not (name in EXTRA and any(found.get(one) for one in EXTRA)):
            found[name] = value
    added = _optional(directory / ADDED)
    check_ids(added, str(directory / ADDED))
    found["added_tokens_decoder"] = {number: AddedToken(token, normalized=False) for token, number in added.items()}
    return found


def stated(directory: Path) -> dict[str, Any]:
    return _optional(directory / CONFIG)


def vocabulary(path: Path) -> dict[str, Any]:
    """Label -> id, or such a dictionary for each of several languages."""
    found = read_object(path)
    languages = [name for name, value in found.items() if isinstance(value, dict)]
    if languages and len(languages) < len(found):
        odd = next(name for name in found if name not in languages)
        raise UsageError(f"{path}: {odd!r} is no vocabulary, as {languages[0]!r} and others are")
    for name in languages:
        check_ids(found[name], f"{path}, language {name!r}")
    if not languages:
        check_ids(found, str(path))
    return found


def spoken(vocabulary: dict[str, Any], language: str | None, path: Path) -> dict[str, int]:
    """The vocabulary of the language, or the only one there is."""
    nested = isinstance(next(iter(vocabulary.values()), None), dict)
    if not nested and language is None:
        return vocabulary
    if not nested:
        raise ArgumentError(f"{path} has one vocabulary, not one per language: target_lang {language!r} is not in it")
    if language in vocabulary:
        return dict(vocabulary[language])
    near = difflib.get_close_matches(language or "", vocabulary, n=5, cutoff=0.4) or sorted(vocabulary)[:5]
    among = f"{', '.join(near)}{', ...' if len(vocabulary) > len(near) else ''}"
    if language is None:
        raise ArgumentError(f"{path} has a vocabulary per language: give target_lang, one of {among}")
    raise ArgumentError(f"{path} has no vocabulary for the language {language!r}; known: {among}")


def check_ids(ids: Mapping[str, Any], source: str) -> None:
    by_id = dict[int, str]()
    for label, number in ids.items():
        if type(number) is not int or number < 0:
            raise UsageError(f"{source}: the id of {label!r} is {number!r}, not a number from 0 up")
        if number > HIGHEST_ID:
            raise UsageError(f"{source}: the id of {label!r} is {number}, above {HIGHEST_ID}: number labels from 0 up")
        if number in by_id:
            raise UsageError(f"{source}: {by_id[number]!r} and {label!r} share the id {number}")
        by_id[number] = label


def added_tokens(told: Mapping[Any, Any], source: Path) -> dict[int, AddedToken]:
    """By id; the ids of JSON are strings."""
    if not isinstance(told, Mapping):
        raise UsageError(f"{source}: added_tokens_decoder is not a JSON object beside it")
    found = dict[int, AddedToken]()
    for number, token in told.items():
        if not str(number).isdecimal():
            raise UsageError(
                f"{source}: the id of the added token {str(token)!r} is {number!r}, not a number from 0 up"
            )
        if len(str(number)) > len(str(HIGHEST_ID)) or int(number) > HIGHEST_ID:
            raise UsageError(
                f"{source}: the id of the added token {str(token)!r} is above {HIGHEST_ID}: {number!s:.20}"
            )
        if int(number) in found:
            raise UsageError(f"{source}: {found[int(number)].content!r} and {str(token)!r} share the id {number}")
        found[int(number)] = AddedToken.of(token)
    return found


def write(directory: str | os.PathLike[str], file: str, content: Any, prefix: str | None = None) -> str:
    path = Path(directory) / f"{prefix + '-' if prefix else ''}{file}"
    path.write_text(json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")
    return str(path)


def _optional(path: Path) -> dict[str, Any]:
    return read_object(path) if path.exists() else {}
