"""The labels of a CTC model as a beam search reads them: which are silent, which end a word, which begin one.

Knows nothing of searching. `build` follows pyctcdecode's rules for lists of labels whose special marks have to be
recognised by their spelling; `of` takes what a checkpoint declares.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.errors import UsageError
from pipeline.text.vocabulary import Vocabulary

BLANK = ""
SPACE = " "
WORD_START = "▁"  # of SentencePiece: the token after it begins a word
UNKNOWN = "⁇"
UNKNOWN_WORD = f"{WORD_START}{UNKNOWN}{WORD_START}"  # a word of its own

_PAD_MARK = re.compile(r"[<\[]pad[>\]]", re.IGNORECASE)
_UNKNOWN_MARK = re.compile(r"[<\[]unk[>\]]", re.IGNORECASE)
_ANY_MARK = re.compile(r"[<\[].+[>\]]")


@dataclass(frozen=True)
class Alphabet:
    """One label per column of the emissions.

    Several labels may be blanks: a sentence mark or <unk> that a vocabulary declares silent adds nothing to a text and
    separates repeated letters, exactly as the blank does, so a search adds its probability to the blank's.
    """

    labels: tuple[str, ...]  # "" is a blank; " " ends a word; in a BPE alphabet "▁x" begins one
    is_bpe: bool

    @classmethod
    def build(cls, labels: Sequence[str]) -> "Alphabet":
        """From bare labels, by the rules of pyctcdecode, which decoder directories were written with."""
        if len(set(labels)) != len(labels):
            twice = next(label for number, label in enumerate(labels) if label in labels[:number])
            raise UsageError(f"the label {twice!r} occurs twice: every column of the logits needs its own")
        is_bpe = any(label.startswith(("##", WORD_START)) for label in labels)
        if is_bpe and any(SPACE in label for label in labels):
            raise UsageError(
                "some labels begin with ▁ or ##, as tokens of words do, and yet others contain a space: "
                "use either ▁ or the space for where words begin"
            )
        return cls(tuple(_normalised_tokens(labels) if is_bpe else _normalised_letters(labels)), is_bpe)

    @classmethod
    def of(cls, vocabulary: Vocabulary) -> "Alphabet":
        """What a checkpoint declares. Without a word delimiter, labels that begin with ▁ say where words begin."""
        silent = vocabulary.silent | {vocabulary.blank}

        def label_of(number: int, label: str) -> str:
            if number in silent:
                return BLANK
            if number == vocabulary.delimiter:
                return SPACE
            return label.lower() if vocabulary.lower_case else label

        labels = tuple(label_of(number, label) for number, label in enumerate(vocabulary.labels))
        return cls(labels, vocabulary.delimiter is None and any(label.startswith(WORD_START) for label in labels))

    def same(self, compat: bool = False) -> tuple[int, ...]:
        """Per column the first that is the same label: a repeat of it, without a blank between, is no new letter.

        All blanks are one label, and so are all spaces. Labels that differ in case only, in a vocabulary whose texts
        are lower case, stay two (greedy decoding keeps both letters); pyctcdecode goes by the text alone.
        """
        merged = set(self.labels) if compat else {BLANK, SPACE}
        return tuple(self.labels.index(label) if label in merged else at for at, label in enumerate(self.labels))

    def check(self) -> None:
        """Refuse what no text could be split into words again: white space inside a label."""
        for number, label in enumerate(self.labels):
            if (label != SPACE or self.is_bpe) and any(letter.isspace() for letter in label):
                raise UsageError(
                    f"label {number}, {label!r}, has white space inside: words could not be told apart; "
                    'only the label " " may be a space, where no labels begin with ▁'
                )

    def check_width(self, width: int) -> None:
        """Labels that do not fit would shift letters silently. Silent marks beyond the last column do no harm."""
        if width > len(self.labels) or any(self.labels[width:]) or BLANK not in self.labels[:width]:
            raise UsageError(
                f"the emissions have {width} columns but the alphabet {len(self.labels)} labels (a blank is "
                "added where none is among them): give one label per column, in the model's order"
            )


def _normalised_letters(labels: Sequence[str]) -> list[str]:
    letters = list(labels)
    if SPACE not in letters:
        letters = [SPACE if label == "|" else label for label in letters]
    letters = [BLANK if _PAD_MARK.fullmatch(label) else label for label in letters]
    if BLANK not in letters:
        letters = [BLANK if label == "_" else label for label in letters]
    return _with_blank([UNKNOWN if _UNKNOWN_MARK.fullmatch(label) else label for label in letters])


def _normalised_tokens(labels: Sequence[str]) -> list[str]:
    tokens = list(labels)
    if any(label.startswith("##") for label in tokens):
        tokens = [_from_wordpiece(label) for label in tokens]
    tokens = [BLANK if _PAD_MARK.fullmatch(label) else label for label in tokens]
    return _with_blank([UNKNOWN_WORD if _UNKNOWN_MARK.fullmatch(label) else label for label in tokens])


def _from_wordpiece(label: str) -> str:
    """BERT marks the tokens that go on with a word, SentencePiece those that begin one."""
    if label.startswith("##"):
        return label[2:]
    keeps = label in (BLANK, WORD_START, UNKNOWN_WORD) or _ANY_MARK.fullmatch(label)
    return label if keeps else WORD_START + label


def _with_blank(labels: list[str]) -> list[str]:
    return labels if BLANK in labels else [*labels, BLANK]
