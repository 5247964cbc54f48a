"""Lexicon files: words and how they are said, in the styles of CMUdict, the Montreal Forced Aligner and Kaldi.

Knows nothing of a model's labels: phones are what stands in the file, stress digits included.
"""

import gzip
import re
from collections.abc import Iterable
from typing import NamedTuple

from pipeline.errors import UsageError
from pipeline.text.foreign import LANGUAGE_MODEL, foreign
from pipeline.text.lines import BYTE_ORDER_MARK, SPACES, numbered, pieces, unpacked

COMMENTS = ("#", ";;;")
_COMMENT = re.compile(r"(?<=[ \t])#.*")
_VARIANT = re.compile(r"(.+)\(\d+\)")  # CMUdict numbers the ways to say a word, from the second on
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_PROBABILITY = re.compile(r"(\d*\.\d+|\d+\.)([eE][+-]?\d+)?")  # among blanks: a bare 1 may be a phone


class Entry(NamedTuple):
    """One way to say a word."""

    word: str
    phones: tuple[str, ...]


def parse_lexicon(data: bytes, name: str) -> list[Entry]:
    """The entries in a file's contents, plain or gzip, each once, in its order; `name` is what messages call it."""
    data = unpacked(data, name)
    if foreign(data) == LANGUAGE_MODEL:
        raise UsageError(f"{name}: a language model, not a lexicon; {_advice(name)}")
    lines = {number: text for number, line in numbered(data, name) if (text := uncommented(line))}
    if lines and all(len(pieces(line)) == 1 for line in lines.values()):
        raise UsageError(f"{name}: words without phones, not a lexicon; {_advice(name)}")
    entries = dict.fromkeys(_entry(line, f"{name} line {number}") for number, line in lines.items())
    if not entries:
        raise UsageError(
            f"{name}: no word in it; a line of a lexicon is a word and its phones, as in HELLO  HH AH L OW"
        )
    return list(entries)


def _advice(name: str) -> str:
    return f"nightshift build-lexicon {name} OUT --language L has espeak say how its words sound"


def uncommented(line: str) -> str:
    """Without a comment, which begins a line or stands after white space."""
    text = line.strip(SPACES.replace("\t", "")) if line.strip(SPACES) else ""
    return "" if text.startswith(COMMENTS) else _COMMENT.sub("", text)


def lexicon_text(entries: Iterable[Entry]) -> bytes:
    """A file's contents: a word, a tab, its phones, one line for each way to say it."""
    return "".join(f"{word}\t{' '.join(phones)}\n" for word, phones in entries).encode()


def packed(data: bytes, location: str) -> bytes:
    """Gzipped where the file's name says so, the same for the same contents."""
    return gzip.compress(data, mtime=0) if location.endswith(".gz") else data


def is_writable(word: str) -> bool:
    """Whether a line of a lexicon that begins with this word would be read as it."""
    if word.split() != [word] or word.startswith((*COMMENTS, BYTE_ORDER_MARK)) or _VARIANT.fullmatch(word):
        return False
    return not any(sign == "\0" or "\ud800" <= sign <= "\udfff" for sign in word)  # the latter: bytes that are no UTF-8


def _entry(line: str, where: str) -> Entry:
    word, tab, rest = line.partition("\t")
    if tab:
        word = word.rstrip(SPACES)
        phones = _after_columns(rest)
    else:
        word, *phones = pieces(word)
        if len(phones) > 1 and _PROBABILITY.fullmatch(phones[0]):
            phones = phones[1:]
    if variant := _VARIANT.fullmatch(word):
        word = variant[1]
    if word.split() != [word]:  # of any script, for texts are split at it
        told = f"a word with white space in it, {word!r}" if word else "no word before the tab"
        raise UsageError(f"{where}: {told}; a line is one word and its phones")
    if not phones:
        raise UsageError(f"{where}: {word!r} has no phones; give them, or remove the line")
    return Entry(word, tuple(phones))


def _after_columns(rest: str) -> list[str]:
    """The phones after a tab; the aligner has up to four columns of probabilities before them."""
    columns = rest.split("\t")
    while len(columns) > 1 and _NUMBER.fullmatch(columns[0].strip(SPACES)):
        columns = columns[1:]
    return pieces(" ".join(columns))
