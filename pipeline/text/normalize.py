"""Normalisation of text before it is scored: what two texts may differ in and still say the same, as printable values.

Knows nothing of scores, runs or models.

    none     as it is
    basic    lower case; punctuation and symbols are spaces; words one space apart
    unicode  of any script: the same, and case, width, ligatures and whatever else compatibility folding evens out,
             without what only says how letters are drawn: joiners, direction, variants, tatweel, soft hyphens
    english  the rules of Whisper's normaliser by the library of that name: numbers, contractions, spelling, fillers

What basic and unicode keep: letters, digits, all marks (vowel signs, viramas, harakat, niqqud, accents), and the
punctuation that spells: an apostrophe, a Catalan middle dot or Hebrew gershayim within a word, `.` and `,` within a
number. Both leave alone what they have made. English does not always: it makes "10 th" of "ten th", and "10th" of that.
"""

import importlib
import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from importlib import metadata, util
from typing import Any

from pipeline.errors import UsageError

NONE = "none"
_LIBRARY = "whisper-normalizer"  # of the English rules; metadata knows it by this name, `import` by another


@dataclass(frozen=True)
class Normalizer:
    """Steps, one after the other. `normalizer(str(n))` is n; `first | second` composes."""

    steps: tuple[str, ...] = ()

    def __call__(self, text: str) -> str:
        for step in self.steps:
            text = _STEPS[step](text)
        return text

    def __or__(self, then: "Normalizer") -> "Normalizer":
        return Normalizer(self.steps + then.steps)

    def __str__(self) -> str:
        return " | ".join(self.steps) or NONE

    @property
    def version(self) -> str:
        """Of whatever else decides what comes out: Python's Unicode tables, and the library of the English rules."""
        decide = [f"unicode {unicodedata.unidata_version}"] if self.steps else []
        if "english" in self.steps:
            decide.append(f"{_LIBRARY} {metadata.version(_LIBRARY)}")
        return ", ".join(decide)


def normalizer(name: str) -> Normalizer:
    """By name: none, basic, english or unicode, or several of them joined by `|`."""
    steps = [step.strip() for step in name.split("|")]
    for step in steps:
        if step != NONE and step not in _STEPS:
            close = get_close_matches(step, (NONE, *_STEPS), n=1)
            hint = f"did you mean {close[0]}?" if close else f"known: {', '.join((NONE, *_STEPS))}"
            raise UsageError(f"no normalizer is called {step!r}; {hint}")
        if step == "english" and util.find_spec("whisper_normalizer") is None:
            raise UsageError(f"the normalizer english needs {_LIBRARY}, which is not installed: pip install {_LIBRARY}")
    return Normalizer(tuple(step for step in steps if step != NONE))


# ---- basic, and what unicode shares with it

_WITHIN_WORDS = "'·\N{HEBREW PUNCTUATION GERSHAYIM}"  # part of a word where one goes on behind it
_WITHIN_NUMBERS = ".,"  # part of a number where one goes on behind it
_WORD = rf"[^\s{_WITHIN_WORDS}{_WITHIN_NUMBERS}]"
_OUTSIDE = re.compile(
    rf"(?<!{_WORD})[{_WITHIN_WORDS}]|[{_WITHIN_WORDS}](?!{_WORD})|(?<!\d)[{_WITHIN_NUMBERS}]|[{_WITHIN_NUMBERS}](?!\d)"
)
_SAME = {
    "\N{LEFT SINGLE QUOTATION MARK}": "'",
    "\N{RIGHT SINGLE QUOTATION MARK}": "'",
    "\N{HEBREW PUNCTUATION GERESH}": "'",
    "\N{ARABIC DECIMAL SEPARATOR}": ".",
    "\N{ARABIC THOUSANDS SEPARATOR}": ",",
}


class _Characters(dict[int, str]):
    """What becomes of a character, by its number; worked out when one is first met, as there are a million of them."""

    def __init__(self, rule: Callable[[str], str]) -> None:
        self.rule = rule

    def __missing__(self, number: int) -> str:
        made = self[number] = self.rule(chr(number))
        return made


def _without_punctuation(char: str) -> str:
    kept = char in _WITHIN_WORDS or char in _WITHIN_NUMBERS or unicodedata.category(char)[0] not in "PS"
    return _SAME.get(char, char if kept else " ")


_PLAIN = _Characters(_without_punctuation)


def _basic(text: str) -> str:
    return _spaced(text.lower())


def _spaced(text: str) -> str:
    """Words one space apart, without punctuation and symbols but for those that spell."""
    return " ".join(_OUTSIDE.sub(" ", text.translate(_PLAIN)).split())


# ---- unicode

# Seen by nobody, or only as an ornament: they say how letters are drawn, not which these are. All other marks stay.
_DRAWING = re.compile(
    "[\N{COMBINING GRAPHEME JOINER}\N{ARABIC TATWEEL}\u115f\u1160\u17b4\u17b5\u180b-\u180f\u3164\ufe00-\ufe0f\uffa0"
    "\U000e0100-\U000e01ef]"
)
# As often typed with quotation marks. Marks of vowels may follow a letter.
_GERSHAYIM = re.compile('(?<=[\u0591-\u05ea])["\N{RIGHT DOUBLE QUOTATION MARK}](?=[\u05d0-\u05ea])')
_MODIFIER_APOSTROPHE = re.compile(r"(?<=[^\s])\N{MODIFIER LETTER APOSTROPHE}(?=[^\s])")
_DOTTED_I = "i\N{COMBINING DOT ABOVE}"  # what case folding makes of a Turkish capital


def _drawn(char: str) -> str:
    category = unicodedata.category(char)
    if char == "\N{ZERO WIDTH SPACE}" or category in ("Sk", "Cc", "Cs"):  # Sk: NFKC makes a mark without a letter of it
        return " "
    if unicodedata.decomposition(char).startswith("<fraction>"):
        return f" {char}"  # one and a half is not 11 halves
    return "" if category in ("Cf", "Me") or _DRAWING.match(char) else char


_DRAWN = _Characters(_drawn)


def _unicode(text: str) -> str:
    text = _GERSHAYIM.sub("\N{HEBREW PUNCTUATION GERSHAYIM}", text.translate(_DRAWN))
    # Unicode's compatibility caseless match (D146), and once more, as NFKC brings up characters to be left out.
    folded = unicodedata.normalize("NFKD", unicodedata.normalize("NFD", text).casefold()).casefold()
    text = unicodedata.normalize("NFKC", folded.translate(_DRAWN).replace(_DOTTED_I, "i"))
    return _spaced(_MODIFIER_APOSTROPHE.sub("'", text))


# ---- english

# The library's numbers end where Python's do, at 4300 digits, with an error.
_ENDLESS = re.compile(r"[\d,.]{1000}")


@cache
def _english_rules() -> Callable[[str], str]:
    """Once per process: to import and to build them takes 0.1 s."""
    rules: Any = importlib.import_module("whisper_normalizer.english").EnglishTextNormalizer()
    return lambda text: str(rules(text))


def _english(text: str) -> str:
    text = _ENDLESS.sub(r"\g<0> ", " ".join(text.split()))
    # The rules look from each opening bracket for one that closes it: 100,000 without one take them 30 s. They make
    # spaces of those, as of any other punctuation that they do not know.
    for opening, closing in (("<[", ">]"), ("(", ")")):
        end = 1 + max(text.rfind(bracket) for bracket in closing)
        text = text[:end] + text[end:].translate(dict.fromkeys(map(ord, opening), "{"))
    return " ".join(_english_rules()(text).split())


_STEPS: dict[str, Callable[[str], str]] = {"basic": _basic, "english": _english, "unicode": _unicode}
