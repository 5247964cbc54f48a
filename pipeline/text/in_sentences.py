"""How words are said within sentences: espeak says `to` as t uː alone and as t ə before a word, and models learn that.

Knows nothing of files, and takes sentences apart only where it can tell whose phones are whose.
"""
# ruff: noqa: RUF002 - signs of the phonetic alphabet are what is meant

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pipeline.text.espeak import Phonemizer

LEAST_SHARE = 0.05  # of a word's occurrences; what is rarer is an accident of its neighbours
AT_ONCE = 2000  # parts of sentences between two reports of progress
_DELIMITER = "|"  # espeak has no such phone
_PAUSES = re.compile(r"(?<=[.,;:!?])\s+")  # espeak says what stands between them as if it stood alone
_AROUND = re.compile(r"^[\W_]+|[\W_]+$")

Phones = tuple[str, ...]


@dataclass(frozen=True)
class Heard:
    """What was said of words in the parts of sentences between pauses."""

    ways: dict[str, Counter[Phones]]  # of each word that occurred, and how often
    num_parts: int  # with one of the words
    num_unmatched: int  # of these: said as another number of words, as `of the` is said as one

    def said(self, word: str, alone: Phones) -> list[Phones]:
        """The ways to say it, the most frequent first; the one in which it is said alone is always among them."""
        ways = self.ways.get(word, Counter())
        least = LEAST_SHARE * ways.total()
        return list(dict.fromkeys([*(phones for phones, num in ways.most_common() if num >= least), alone]))


def in_capitals(words: Iterable[str]) -> bool:
    """Whether most are: espeak spells IT and US by letters, and is to be given their lower case."""
    return sum(word.isupper() - word.islower() for word in words) > 0


def heard(
    words: Collection[str], lines: Iterable[str], phonemizer: "Phonemizer", tell: Callable[[int, int], None]
) -> Heard:
    """How the words are said in the lines; `tell` gets how many parts of them are done, and of how many."""
    parts = [part for line in lines for part in _PAUSES.split(line)]
    if in_capitals(token for part in parts for token in part.split()):
        parts = [part.lower() for part in parts]
    known = frozenset(words)
    of_token = {token: _word(token, known) for token in {token for part in parts for token in part.split()}}
    parts = [part for part in parts if any(of_token[token] for token in part.split())]
    single = _in_words(list(dict.fromkeys(token for part in parts for token in part.split())), phonemizer)
    ways: dict[str, Counter[Phones]] = {}
    num_unmatched = 0
    for first in range(0, len(parts), AT_ONCE):
        tell(first, len(parts))
        batch = parts[first : first + AT_ONCE]
        for part, said in zip(batch, _said(batch, phonemizer), strict=True):
            spoken = [token for token in part.split() if single[token]]  # a dash says nothing
            if len(said) != len(spoken) or any(single[token] > 1 for token in spoken):
                num_unmatched += 1
                continue
            for token, phones in zip(spoken, said, strict=True):
                if phones and (word := of_token[token]):
                    ways.setdefault(word, Counter())[phones] += 1
    return Heard(ways, len(parts), num_unmatched)


def _word(token: str, known: frozenset[str]) -> str | None:
    """The word that a piece of a sentence is: without quotes and stops, in lower case where it begins a sentence."""
    bare = _AROUND.sub("", token)
    return next((word for word in (token, bare, bare.lower()) if word in known), None)


def _in_words(tokens: Sequence[str], phonemizer: "Phonemizer") -> dict[str, int]:
    """How many words each is said as: with a 21 that is two, `21 of the` would match in number and in nothing else."""
    return {token: len(said) for token, said in zip(tokens, _said(tokens, phonemizer), strict=True)}


def _said(texts: Sequence[str], phonemizer: "Phonemizer") -> list[list[Phones]]:
    """The phones of each word of each text."""
    said = phonemizer(texts, word_delimiter=_DELIMITER)
    return [[tuple(word.split()) for word in text.split(_DELIMITER)[:-1]] for text in said]
