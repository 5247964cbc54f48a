"""A lexicon in a model's labels, and what of it the model cannot emit: told before a run starts, with what would help.

Knows nothing of files or of searching.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from pipeline.decode.options import MARKS
from pipeline.decode.phones.pronunciation import Pronunciation
from pipeline.errors import UsageError
from pipeline.text.phone_map import PhoneMap, map_lines, untouched
from pipeline.text.phone_spellings import Spellings
from pipeline.text.pronunciations import Entry
from pipeline.text.vocabulary import Vocabulary

NUM_EXAMPLES = 3  # words
NUM_TOLD = 6  # phones that a warning names
NUM_LINES = 12  # of a phone map that a warning holds
MOST_GUESSED = 300  # missing phones, at up to two milliseconds each; who has more has given another kind of file


@dataclass(frozen=True)
class MissingPhone:
    """A phone of the lexicon that the model has no label for."""

    phone: str
    num_words: int  # with a pronunciation that has it
    example: str  # one of them
    nearest: tuple[str, ...] | None  # labels that may stand for it: a guess, where few are missing


@dataclass(frozen=True)
class Fitted:
    """What the model can emit of a lexicon."""

    lexicon: tuple[Pronunciation, ...]  # each once
    num_words: int  # of the lexicon
    num_phones: int  # different ones
    missing: tuple[MissingPhone, ...]  # of most words first
    num_unreachable: int  # words that have no pronunciation left
    unreachable: tuple[str, ...]  # some of them
    num_narrowed: int  # words that have fewer pronunciations left
    num_mended: int  # unreachable words that would be reachable with the nearest labels
    num_widened: int  # narrowed words that would have more pronunciations left
    map_fault: str | None  # what is wrong with the phone map

    def warnings(self) -> list[str]:
        """One line each; nothing where all of the lexicon fits."""
        told = [self.map_fault] if self.map_fault else []
        if not self.num_unreachable and not self.num_narrowed:
            return told
        told.append(" ".join(filter(None, (self._fault(), self._harm()))))
        if self.num_mended or self.num_widened:
            told.append(self._advice())
        return told

    @property
    def suggestion(self) -> PhoneMap:
        """What to add to the phone map, as far as there is a guess."""
        return {one.phone: one.nearest for one in self.missing if one.nearest}

    def _fault(self) -> str:
        if not self.missing:
            return "the phone map leaves nothing of some words;"
        named = [f"{one.phone} (in {_words(one.num_words)}, as {one.example})" for one in self.missing[:NUM_TOLD]]
        more = len(self.missing) - len(named)
        told = f"{', '.join(named)}{f' and {more:,} more' if more else ''}"
        return f"of {self.num_phones:,} phones of the lexicon the model has no label for {len(self.missing):,}: {told};"

    def _harm(self) -> str:
        told = []
        if self.num_unreachable:
            share = self.num_unreachable / self.num_words
            examples = f"{', '.join(self.unreachable)}{', ...' if self.num_unreachable > len(self.unreachable) else ''}"
            told.append(
                f"{self.num_unreachable:,} of {self.num_words:,} words ({share:.2%}) can never be found: {examples}"
            )
        if self.num_narrowed:
            told.append(f"{_words(self.num_narrowed)} with fewer ways to be said")
        return "; ".join(told)

    def _advice(self) -> str:
        lines = map_lines(self.suggestion)
        more = len(lines) - NUM_LINES
        told = f"{' | '.join(lines[:NUM_LINES])}{f' and {more:,} more' if more > 0 else ''}"
        found = f"{self.num_mended:,} of them could be found" if self.num_mended else None
        widened = f"{_words(self.num_widened)} could be said in more ways" if self.num_widened else None
        does = " and ".join(filter(None, (found, widened)))
        return (
            f"with these lines in a phone map (decode.phone_map; | ends a line) {does}, if they are right: {told}; "
            "nightshift build-lexicon LEXICON OUT --model M --write-phone-map FILE writes them all"
        )


def _words(num: int) -> str:
    return f"{num:,} word{'s' * (num != 1)}"


def fitted(pronunciations: Sequence[Entry], vocabulary: Vocabulary, phone_map: PhoneMap | None = None) -> Fitted:
    """The lexicon by labels; a UsageError where no word of it can be found."""
    result = examined(pronunciations, vocabulary, phone_map)
    if not result.lexicon:
        raise UsageError(f"no word of the lexicon can be found with this model: {'; '.join(result.warnings())}")
    return result


def examined(pronunciations: Sequence[Entry], vocabulary: Vocabulary, phone_map: PhoneMap | None = None) -> Fitted:
    """The same of whatever fits, even where nothing does. Sentence marks are no words."""
    entries = [entry for entry in pronunciations if entry.word not in MARKS]
    if not entries:
        raise UsageError("the lexicon is empty: there is no word in it")
    silent = {vocabulary.blank, vocabulary.delimiter} | vocabulary.silent
    labels = {label: number for number, label in enumerate(vocabulary.labels) if number not in silent}
    spellings = Spellings(labels)
    spelt = _spelt({phone for entry in entries for phone in entry.phones}, spellings, phone_map or {})
    in_labels = {phone: None if to is None else tuple(labels[one] for one in to) for phone, to in spelt.items()}
    found, lost = _said(entries, in_labels)
    left = {one.word for one in found}
    missing = _missing(lost, [phone for phone, to in spelt.items() if to is None], spellings)
    guessed = spelt | {one.phone: one.nearest for one in missing}
    narrowed = {entry.word for entry in lost} & left
    unreachable = dict.fromkeys(entry.word for entry in lost if entry.word not in left)
    mended = {word for word, phones in lost if None not in (made := [guessed[phone] for phone in phones]) and any(made)}
    return Fitted(
        lexicon=tuple(found),
        num_words=len(left) + len(unreachable),
        num_phones=len(spelt),
        missing=missing,
        num_unreachable=len(unreachable),
        unreachable=tuple(unreachable)[:NUM_EXAMPLES],
        num_narrowed=len(narrowed),
        num_mended=len(mended & unreachable.keys()),
        num_widened=len(mended & narrowed),
        map_fault=untouched(phone_map or {}, spelt),
    )


def _spelt(phones: Iterable[str], spellings: Spellings, phone_map: PhoneMap) -> dict[str, tuple[str, ...] | None]:
    """Each phone by labels, as the map says or as it is; None where the model cannot emit it."""
    spelt: dict[str, tuple[str, ...] | None] = {}
    for phone in sorted(phones):
        mapped = phone_map.get(phone)
        labels = [spellings.exact(one) for one in ((phone,) if mapped is None else mapped)]
        known = tuple(label for label in labels if label is not None)
        if mapped is not None and len(known) < len(labels):
            strange = mapped[labels.index(None)]
            raise UsageError(
                f"the phone map makes {strange} of {phone}, for which the model has no label{_near(strange, spellings)}"
            )
        spelt[phone] = known if len(known) == len(labels) else None
    return spelt


def _near(phone: str, spellings: Spellings) -> str:
    nearest = spellings.nearest(phone)
    return f"; near it: {' '.join(nearest)}" if nearest else ""


def _said(
    entries: Iterable[Entry], in_labels: Mapping[str, tuple[int, ...] | None]
) -> tuple[dict[Pronunciation, None], list[Entry]]:
    """The pronunciations that the model can emit, by labels, and those that it cannot."""
    found: dict[Pronunciation, None] = {}
    lost: list[Entry] = []
    for entry in entries:
        parts = [in_labels[phone] for phone in entry.phones]
        labels = tuple(label for part in parts if part is not None for label in part)
        if None in parts or not labels:
            lost.append(entry)
        else:
            found[Pronunciation(entry.word, labels)] = None
    return found, lost


def _missing(lost: Sequence[Entry], phones: Sequence[str], spellings: Spellings) -> tuple[MissingPhone, ...]:
    words: dict[str, dict[str, None]] = {phone: {} for phone in phones}
    for entry in lost:
        for phone in words.keys() & entry.phones:
            words[phone][entry.word] = None
    guessed = {one: spellings.nearest(one) for one in words} if len(words) <= MOST_GUESSED else {}
    missing = [MissingPhone(one, len(of), next(iter(of)), guessed.get(one)) for one, of in words.items()]
    return tuple(sorted(missing, key=lambda one: (-one.num_words, one.phone)))
