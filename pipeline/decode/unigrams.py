"""The list of known words that a decoder is given: where it comes from, and what is wrong with it.

Knows nothing of searching. What does not fit is a warning, because the decoder works, only badly.
"""

import os
from collections.abc import Callable, Collection
from itertools import islice

import fsspec

from pipeline.decode.alphabet import WORD_START, Alphabet
from pipeline.decode.hypotheses import WordModel
from pipeline.decode.options import MARKS
from pipeline.errors import UsageError

MOST_STRANGE_LETTERS = 0.2  # of all the letters in unigrams; and of unigrams that no label spells
LEAST_KNOWN = 0.1  # of unigrams that the language model has
MOST_UNKNOWN = 0.01  # of a lexicon's words, before it is told
MOST_UNSAID = 0.05  # of a language model's words, likewise: the rare ones of a large one are in few lexicons
NUM_EXAMPLES = 3
SAMPLE = 100_000  # words looked at


def arpa_unigrams(location: str) -> frozenset[str]:
    """The words of an ARPA file as pyctcdecode finds them: those whose lines have a back-off weight."""
    words, inside = set(), False
    with fsspec.open(os.path.expanduser(location), "rt", encoding="utf-8") as lines:
        for line in map(str.strip, lines):
            if line == "\\1-grams:":
                inside = True
            elif line == "\\2-grams:":
                break
            elif inside and line.count("\t") == 2:
                words.add(line.split("\t")[1])
    if not words:
        raise UsageError(f"{location}: no 1-gram has a back-off weight: give the unigrams, or leave compat mode")
    return frozenset(words)


def words_of(text: str) -> tuple[str, ...]:
    """A file of words, one a line."""
    return tuple(line for line in text.splitlines() if line)


def misfits(alphabet: Alphabet, model: WordModel, compat: bool) -> list[str]:
    """Warnings with the likely fix where words are spelt otherwise than the labels, or than in the language model."""
    given = model.unigrams
    if given is None and compat:
        return []
    words = list(model.model.words() if given is None else given)[:SAMPLE]
    words = [word for word in words if word not in MARKS]
    if not words:
        return []
    told = []
    what = f"the words of {model.model.location}" if given is None else "the unigrams"
    letters = set("".join(alphabet.labels)) - {WORD_START}
    if _strange(words, letters) > MOST_STRANGE_LETTERS:
        case = _better_case(lambda change: -_strange([change(word) for word in words], letters))
        fault = f"{what} have letters that no label has, such as {_example(words, letters)!r}"
        told.append(f"{fault}; {_fix(case, given is not None)}")
    if given is not None:
        known = _known(words, model)
        if known < LEAST_KNOWN:
            case = _better_case(lambda change: _known([change(word) for word in words], model))
            told.append(f"only {known:.1%} of the unigrams are in {model.model.location}; {_fix(case, True)}")
    return told


def unknown(words: Collection[str], model: WordModel) -> list[str]:
    """Warnings, with the likely fix, where a language model lacks words of a lexicon: they are charged as unknown."""
    some = list(words)[:SAMPLE]
    share = 1 - _known(some, model)
    if share <= MOST_UNKNOWN:
        return _unsaid(words, model)
    told = f"{share:.1%} of the lexicon's words are not in {model.model.location}, and count as unknown there"
    case = _better_case(lambda change: _known([change(word) for word in some], model))
    if case is None:
        return [told, *_unsaid(words, model)]
    return [f"{told}; in {case} case more would fit: give the lexicon so"]


def _unsaid(words: Collection[str], model: WordModel) -> list[str]:
    """A warning where a lexicon lacks words of a language model, which no recording can then be heard to have."""
    found, where = model.model.ids(list(words)), model.model.location
    num_words = model.model.num_words - len({*model.model.ids(sorted(MARKS)).tolist(), 0})
    num_unsaid = num_words - len(set(found.tolist()) - {0})
    if num_unsaid <= MOST_UNSAID * num_words:
        return []
    try:
        every = model.model.words()
    except UsageError:  # a binary without its words, which finding words in phones does not need
        every = []
    some = list(islice((word for word in every if word not in words and word not in MARKS), NUM_EXAMPLES))
    return [
        f"{num_unsaid:,} of the {num_words:,} words of {where} ({num_unsaid / num_words:.1%}) are not in the lexicon"
        f"{', such as ' * bool(some)}{', '.join(some)}, and cannot be found; nightshift build-lexicon says them"
    ]


def _fix(case: str | None, are_given: bool) -> str:
    if case is None:
        return "are they of another language, or for another model?"
    if are_given:
        return f"in {case} case they would fit: give them so"
    return f"in {case} case they would fit: build the language model from text in {case} case"


def _better_case(fit: Callable[[Callable[[str], str]], float]) -> str | None:
    """The case in which words fit better than as they are."""
    fits = {"lower": fit(str.lower), "upper": fit(str.upper)}
    best = max(fits, key=lambda case: fits[case])
    return best if fits[best] > fit(str) else None


def _strange(words: Collection[str], letters: set[str]) -> float:
    found = set("".join(words))
    return len(found - letters) / len(found) if found else 0.0


def _example(words: Collection[str], letters: set[str]) -> str:
    return min(word for word in words if not set(word) <= letters)


def _known(words: list[str], model: WordModel) -> float:
    return float((model.model.ids(words) != 0).mean())
