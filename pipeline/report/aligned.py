"""What was said above what was heard, word by word or phone by phone, of one run or of several.

Differences are marked by how words are written, too, and not by their colour alone. Knows nothing of rates.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, zip_longest
from typing import NamedTuple

from pipeline.evaluation.alignment import runs
from pipeline.evaluation.results import Example
from pipeline.evaluation.rows import Level
from pipeline.report.formats import of, shortened
from pipeline.report.html import Html, element, markup, of_data
from pipeline.report.tables import facts

MOST_COLUMNS = 150  # of a recording that are shown; an hour has 10,000 words
AROUND = 4  # words that are shown on either side of what is left out
MOST_OF_WORD = 200  # characters; in some languages a sentence is one word
MOST_CHARACTERS = 2_000  # of a text as it was written

EQUAL, SUBSTITUTED, DELETED, INSERTED = "=SDI"


class Heard(NamedTuple):
    """What became of a word, or of a phone; so below."""

    symbol: str
    word: str  # what was heard, if anything was


@dataclass(frozen=True)
class Place:
    """A word that was said, or a gap between two, and what was heard there."""

    said: str  # empty: a gap
    heard: tuple[Heard | None, ...]  # by each of the runs; None: nothing in this gap

    @property
    def is_equal(self) -> bool:
        return all(one is not None and one.symbol == EQUAL for one in self.heard)


def places(examples: Sequence[Example]) -> list[Place]:
    """Of the same recording, heard by several runs, with the same reference."""
    said = examples[0].said.split()
    each = [_by_word(example, len(said)) for example in examples]
    found = []
    for number, word in enumerate([*said, ""]):
        gaps = [[Heard(INSERTED, heard) for heard in inserted[number]] for _, inserted in each]
        found += [Place("", together) for together in zip_longest(*gaps)]
        if number < len(said):
            found.append(Place(word, tuple(words[number] for words, _ in each)))
    return found


def _by_word(example: Example, num_said: int) -> tuple[list[Heard], list[list[str]]]:
    """What was heard of each word that was said, and what before each, and after the last."""
    heard = iter(example.heard.split())
    words: list[Heard] = []
    inserted: list[list[str]] = [[] for _ in range(num_said + 1)]
    for symbol, num in runs(example.alignment):
        for _ in range(num):
            if symbol == INSERTED:
                inserted[len(words)].append(next(heard))
            else:
                words.append(Heard(symbol, "" if symbol == DELETED else next(heard)))
    return words, inserted


def alignment(examples: Sequence[Example], level: Level, names: Sequence[str] = ()) -> Html:
    """All places in a row that wraps, its lines with these names; what was heard alike is written once and shown in
    every line."""
    found = places(examples)
    if not found:
        return element("p", "Nothing was said, and nothing heard.", class_="note")
    lines = [element("span", of_data(name)) for name in names]
    told = element("span", lines, class_="lines", aria_hidden="true") if lines else None
    shown = [[piece, " "] for piece in _pieces(found, level)]
    return element("p", told, shown, class_=f"aligned of{len(examples)}", dir="auto")


def _pieces(found: Sequence[Place], level: Level) -> Iterator[Html]:
    shown = _shown(found)
    for is_shown, group in groupby(range(len(found)), shown.__contains__):
        there = [found[number] for number in group]
        yield from map(_piece, there) if is_shown else [_left_out(there, level)]


def _shown(found: Sequence[Place]) -> Collection[int]:
    """Of a long recording the neighbourhood of differences."""
    if len(found) <= MOST_COLUMNS:
        return range(len(found))
    wrong = (number for number, place in enumerate(found) if not place.is_equal)
    near = {at for number in wrong for at in range(max(number - AROUND, 0), number + AROUND + 1)}
    return set(sorted(near)[:MOST_COLUMNS])


def _left_out(left: Sequence[Place], level: Level) -> Html:
    num_wrong = sum(not place.is_equal for place in left)
    told = f", {num_wrong:,} of them wrong" if num_wrong else " alike"
    return element("span", f"[{of(len(left), level.one)}{told}]", class_="left")


def _piece(place: Place) -> Html:
    if place.is_equal:
        word = _word(place.said)
        return element("span", word, class_="t", data_word=word)
    said = element("span", _word(place.said), class_="said")
    return element("span", said, [_heard(place, one) for one in place.heard], class_="t")


def _heard(place: Place, one: Heard | None) -> Html:
    if one is None:
        return element("span", class_="none")
    if one.symbol == DELETED:
        return element("del", _word(place.said))
    if one.symbol == EQUAL:
        return element("span", _word(one.word), class_="same")
    return element("ins", _word(one.word), class_="s" if one.symbol == SUBSTITUTED else "i")


def _word(word: str) -> str:
    return shortened(word, MOST_OF_WORD)


def legend(level: Level, names: Sequence[str] = ()) -> Html:
    """What lines and marks mean, the marks in their own hand."""
    order = (
        ["below what was heard"]
        if not names
        else ["below what was heard by ", of_data(names[0]), ", then by ", of_data(names[1])]
    )
    shown = [
        (element("span", "said", class_="said"), element("ins", "heard", class_="s"), f"another {level.one} was heard"),
        (element("span", "said", class_="said"), element("del", "said"), "it was not heard"),
        (element("span", class_="said"), element("ins", "heard", class_="i"), "it was not said"),
    ]
    marks = [element("span", element("span", said, heard, class_="t"), " ", told) for said, heard, told in shown]
    return markup(
        element("p", "Above what was said, ", order, ":", class_="note"),
        element("p", [[mark, " "] for mark in marks], class_="legend aligned of1"),
    )


def as_written(texts: Sequence[tuple[str, str]]) -> Html:
    """The texts before they were normalised."""
    pairs = [(of_data(name), of_data(shortened(text, MOST_CHARACTERS))) for name, text in texts]
    return element("details", element("summary", "As written"), facts(pairs))
