"""An endless synthetic English corpus: sentences drawn from a feature grammar, the same ones for the same seed.

Knows nothing of speech or language models.
"""

import functools
import hashlib
import itertools
import re
from bisect import bisect
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.demo import words
from pipeline.demo.phrases import NOUN_PHRASES, NUMBERS_AND_TIMES, PLACES
from pipeline.demo.templates import FEATURES, SENTENCES, VERB_PHRASES, WEIGHTS

RULES = (SENTENCES, VERB_PHRASES, NOUN_PHRASES, NUMBERS_AND_TIMES, PLACES)

HELD_OUT_SHARE = 0.05
MIN_WORDS, MAX_WORDS = 3, 25
ZIPF_OFFSET = 3  # a word's weight is 1 / (rank + offset): of 60, the first comes 21 times as often as the last
AT_ONCE = 4096  # random numbers

_FEATURE = re.compile(r"\{(\w)\}")
_VOWEL_SOUND = re.compile(r"(?!ONE|ONCE|USE|UNI|EURO)([AEIOU]|HOUR|HONEST|HEIR)")


@dataclass(frozen=True)
class _Choice:
    """What a name stands for: alternatives of tokens, those in lower case names in turn."""

    alternatives: tuple[tuple[str, ...], ...]
    bounds: tuple[float, ...]  # cumulative shares, up to 1


def sentences(seed: int) -> Iterator[str]:
    """Endless: upper-case words of 3 to 25, one space apart; now and then one comes again."""
    rng = np.random.default_rng(seed)
    chances = itertools.chain.from_iterable(rng.random(AT_ONCE).tolist() for _ in itertools.count())
    grammar = _grammar()
    while True:
        drawn = _agreed(_expanded(grammar, chances))
        if MIN_WORDS <= len(drawn) <= MAX_WORDS:
            yield " ".join(drawn)


def is_held_out(sentence: str) -> bool:
    """By the sentence alone, whatever the seed; the model and the language model never see one."""
    digest = hashlib.blake2b(sentence.encode(), digest_size=8, person=b"nightshift").digest()
    return int.from_bytes(digest, "big") < HELD_OUT_SHARE * 2**64


@functools.cache
def vocabulary() -> frozenset[str]:
    """Every word that can occur: what can be reached from the first rule."""
    grammar = _grammar()
    reached, left, found = {"sentence"}, ["sentence"], {"AN"}
    while left:
        for token in itertools.chain.from_iterable(grammar[left.pop()].alternatives):
            if token not in grammar:
                found.add(token)
            elif token not in reached:
                reached.add(token)
                left.append(token)
    return frozenset(found)


def _expanded(grammar: Mapping[str, _Choice], chances: Iterator[float]) -> list[str]:
    left, said = ["sentence"], []
    while left:
        token = left.pop()
        choice = grammar.get(token)
        if choice is None:
            said.append(token)
        else:
            left.extend(reversed(choice.alternatives[bisect(choice.bounds, next(chances))]))
    return said


def _agreed(said: Sequence[str]) -> list[str]:
    """With AN before the sound of a vowel."""
    following = itertools.chain(said[1:], [""])
    pairs = zip(said, following, strict=True)
    return ["AN" if word == "A" and _VOWEL_SOUND.match(after) else word for word, after in pairs]


@functools.cache
def _grammar() -> dict[str, _Choice]:
    weighed: dict[str, list[tuple[float, tuple[str, ...]]]] = {}
    for name, entries in _lists().items():
        spoken = [tuple(words.spoken(entry).split()) for entry in entries]
        weighed[name] = [(1 / (rank + ZIPF_OFFSET), tokens) for rank, tokens in enumerate(spoken)]
    features = {**FEATURES, "v": tuple(words.VERBS)}
    for head, alternative in _alternatives("\n".join(RULES)):
        weight, _, body = alternative.rpartition(": ")
        for bound, _ in _bindings(head, features, {}):
            rule = weighed.setdefault(_filled(head, bound), [])
            for way, share in _bindings(body, features, bound):
                rule.append((float(weight or 1) * share, tuple(_filled(body, way).split())))
    return {name: _choice(alternatives) for name, alternatives in weighed.items()}


def _alternatives(rules: str) -> Iterator[tuple[str, str]]:
    head = ""
    for line in filter(None, rules.splitlines()):
        if not line.startswith(" "):
            head, _, line = line.partition(" =")
        for alternative in filter(None, (part.strip() for part in line.split("|"))):
            yield head, alternative


def _bindings(
    text: str, features: Mapping[str, Sequence[str]], bound: Mapping[str, str]
) -> Iterator[tuple[dict[str, str], float]]:
    """Every way to fill in the features that are not bound yet, and its share of all ways."""
    free = [name for name in dict.fromkeys(_FEATURE.findall(text)) if name not in bound]
    for values in itertools.product(*(range(len(features[name])) for name in free)):
        share = 1.0
        for name, value in zip(free, values, strict=True):
            weights = WEIGHTS.get(name, (1,) * len(features[name]))
            share *= weights[value] / sum(weights)
        yield {**bound, **{name: features[name][value] for name, value in zip(free, values, strict=True)}}, share


def _filled(text: str, bound: Mapping[str, str]) -> str:
    return _FEATURE.sub(lambda match: bound[match[1]], text)


def _choice(weighed: Sequence[tuple[float, tuple[str, ...]]]) -> _Choice:
    bounds = np.cumsum([weight for weight, _ in weighed])
    return _Choice(tuple(tokens for _, tokens in weighed), tuple((bounds / bounds[-1])[:-1].tolist()))


def _lists() -> dict[str, list[str]]:
    """The word lists by the names that templates give them: food.sg, food.past, food.mass, he'S."""
    lists: dict[str, list[str]] = {}
    for kind, text in words.NOUNS.items():
        lists[f"{kind}.sg"], lists[f"{kind}.pl"] = map(list, zip(*map(words.noun, text.split()), strict=True))
    for kind, text in words.VERBS.items():
        for form, inflected in words.conjugated(text.split()).items():
            lists[f"{kind}{form}"] = inflected
    lists |= {f"{kind}.mass": text.split() for kind, text in words.MASS.items()}
    lists |= {f"{kind}.part": text.split() for kind, text in words.COLLECTIONS.items()}
    lists |= {f"adj.{kind}": text.split() for kind, text in words.ADJECTIVES.items()}
    lists |= {kind: text.split() for kind, text in [*words.NAMES.items(), *words.PLAIN.items(), *words.ADVERBS.items()]}
    lists |= {f"{kind}'S": [f"{entry}'S" for entry in lists[kind]] for kind in ("he", "she", "person.sg", "kin.sg")}
    return lists
