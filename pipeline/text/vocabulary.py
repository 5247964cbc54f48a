"""The labels of a CTC model, from `vocab.json` and `tokenizer_config.json`: declared there, never guessed.

Knows nothing of decoding; says which label is the blank, which ends a word, and which never appear in a text.
"""

import difflib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.errors import UsageError
from pipeline.jsonfile import read_object
from pipeline.models.locate import checkpoint_directory
from pipeline.text import tokenizer_files
from pipeline.text.added_tokens import AddedToken


@dataclass(frozen=True)
class Vocabulary:
    """One label per column of the emissions."""

    labels: tuple[str, ...]
    blank: int  # the padding token is CTC's blank
    delimiter: int | None  # the label between words; None: a script without one
    silent: frozenset[int]  # sentence marks, unknown and blank: no part of any text
    lower_case: bool = False  # the texts' case, where the labels have the other
    phonemes: bool = False  # labels are sounds: a text is their row, a space between two, until a lexicon makes words

    @classmethod
    def of_model(cls, model: str, language: str = "") -> "Vocabulary":
        """Of a model by its name; one that writes nothing has no vocabulary to miss, and is told so."""
        directory = checkpoint_directory(model)
        if (directory / "config.json").exists():
            kinds = [str(kind) for kind in read_object(directory / "config.json").get("architectures") or ()]
            if kinds and not any("ForCTC" in kind for kind in kinds):
                raise UsageError(
                    f"model {model} has no CTC head (its config.json says {', '.join(kinds)}): "
                    "a model trained with one is needed"
                )
        return cls.from_pretrained(directory, language)

    @classmethod
    def from_pretrained(cls, directory: Path, language: str = "") -> "Vocabulary":
        """`language` counts where each has a vocabulary; empty, it is the one that the tokenizer was saved with."""
        ids = read_object(directory / "vocab.json")
        settings = tokenizer_files.settings(directory, {})
        foreign: set[str] = set()  # what other languages have, which may have been added for one of them
        if ids and all(isinstance(value, dict) for value in ids.values()):
            foreign = set().union(*ids.values())
            ids = _of_language(ids, language or str(settings.get("target_lang") or ""), directory)
        config = directory / tokenizer_files.CONFIG
        kind = str(read_object(config).get("tokenizer_class", _LETTERS[0])) if config.exists() else _LETTERS[0]
        if kind not in (*_LETTERS, _PHONEMES):
            raise UsageError(f"{directory}: tokenizer {kind} is not one of {', '.join((*_LETTERS, _PHONEMES))}")
        phonemes = kind == _PHONEMES
        added = tokenizer_files.added_tokens(settings["added_tokens_decoder"] or {}, directory)
        new = {token.content: number for number, token in added.items() if number not in ids.values()}
        ids = {**{token: number for token, number in new.items() if token not in foreign}, **ids}
        labels = _labels(ids, directory)
        named = {**settings, **(settings.get("model_specific_special_tokens") or {})}  # as transformers 5 has some
        blank = _token(named, "pad_token", "<pad>")
        if blank not in ids:
            raise UsageError(f"{directory}: the padding token {blank}, which is CTC's blank, is not in vocab.json")
        delimiter = _token(named, "word_delimiter_token", "" if phonemes else "|")  # of sounds only where one is named
        silent = {ids.get(_token(named, f"{name}_token", mark)) for name, mark in _MARKS.items()}
        return cls(
            labels=labels,
            blank=ids[blank],
            delimiter=ids.get(delimiter) if delimiter else None,
            silent=frozenset(number for number in silent if number is not None),
            lower_case=not phonemes and bool(settings.get("do_lower_case", False)),
            phonemes=phonemes,
        )

    def check_width(self, width: int, source: str | Path = "the model") -> None:
        """A vocabulary that does not fit the head would shift or lose letters silently.

        Sentence marks beyond the head do no harm: a tokenizer adds them where a vocabulary has none.
        """
        beyond = set(range(width, len(self.labels)))
        if width > len(self.labels) or not beyond <= self.silent - {self.blank}:
            raise UsageError(f"{source}: the head has {width} outputs, but the vocabulary {len(self.labels)} labels")


_LETTERS, _PHONEMES = ("Wav2Vec2CTCTokenizer", "Wav2Vec2Tokenizer"), "Wav2Vec2PhonemeCTCTokenizer"
_MARKS = {"pad": "<pad>", "bos": "<s>", "eos": "</s>", "unk": "<unk>"}


def _of_language(vocabularies: dict[str, Any], language: str, directory: Path) -> dict[str, Any]:
    if language in vocabularies:
        return dict(vocabularies[language])
    known = difflib.get_close_matches(language, vocabularies, n=5, cutoff=0.4) or sorted(vocabularies)[:5]
    among = f"{', '.join(known)}{', ...' if len(vocabularies) > len(known) else ''}"
    if not language:
        raise UsageError(f"{directory} has a vocabulary per language: give encode.language, one of {among}")
    raise UsageError(f"{directory}: no vocabulary for the language {language!r}; known: {among}")


def _labels(ids: dict[str, Any], directory: Path) -> tuple[str, ...]:
    by_id: dict[int, str] = {}
    for label, number in ids.items():
        if not isinstance(number, int):
            raise UsageError(f"{directory}/vocab.json: the id of {label!r} is not a number")
        if number in by_id:
            raise UsageError(f"{directory}/vocab.json: {by_id[number]!r} and {label!r} share the id {number}")
        by_id[number] = label
    if sorted(by_id) != list(range(len(by_id))):
        missing = next(number for number in range(len(by_id)) if number not in by_id)
        raise UsageError(f"{directory}/vocab.json: no label has the id {missing}")
    return tuple(by_id[number] for number in range(len(by_id)))


def _token(settings: dict[str, Any], name: str, default: str) -> str:
    """A special token, as text or as an object with its text in `content`."""
    return str(AddedToken.of(settings.get(name) or default))
