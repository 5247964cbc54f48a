"""What calls of a decoder say, in pyctcdecode's words: as what a search works with, or refused by the argument's name.

Knows nothing of searching; whether a number makes sense is for `options.py` to say.
"""

import operator
import sys
from collections.abc import Iterable
from typing import Any

import numpy as np

from pipeline.decode.options import Hotwords, SearchOptions
from pipeline.text.batch import ArgumentError


def search_options(
    beam_width: Any, beam_prune_logp: Any, token_min_logp: Any, prune_history: Any, num_best: Any
) -> SearchOptions:
    """Without a limit of effort: pyctcdecode's results have no place to say that one was reached."""
    return SearchOptions(
        whole("beam_width", beam_width),
        number("beam_prune_logp", beam_prune_logp),
        number("token_min_logp", token_min_logp),
        bool(prune_history),
        whole("num_best", num_best),
        max_effort=sys.float_info.max,
    )


def hot_words(words: Iterable[str] | None, weight: Any) -> Hotwords:
    given = tuple(word for word in _texts("hotwords", words) if word.strip())
    return Hotwords(given, number("hotword_weight", weight))


def lm_weights(alpha: Any, beta: Any, unk_score_offset: Any, lm_score_boundary: Any) -> dict[str, Any]:
    """Those that are given, by their names in `LmWeights`."""
    numbers = {"alpha": alpha, "beta": beta, "unk_score_offset": unk_score_offset}
    given: dict[str, Any] = {name: number(name, value) for name, value in numbers.items() if value is not None}
    if lm_score_boundary is not None:
        if not isinstance(lm_score_boundary, bool | np.bool_):
            raise ArgumentError(f"lm_score_boundary is True or False, not {lm_score_boundary!r:.100}")
        given["score_boundary"] = bool(lm_score_boundary)
    return given


def whole(name: str, value: Any) -> int:
    """Of any library's integers. 100.0 is refused, as pyctcdecode refuses it: it may come of a slip in a division."""
    try:
        return operator.index(value)
    except TypeError as error:
        raise ArgumentError(f"{name} is a whole number, not {value!r:.100}") from error


def number(name: str, value: Any) -> float:
    try:
        if isinstance(value, str | bytes):  # which float() would read
            raise TypeError
        return float(value)
    except (TypeError, ValueError, OverflowError) as error:
        raise ArgumentError(f"{name} is a number, not {value!r:.100}") from error


def _texts(name: str, values: Iterable[str] | None) -> tuple[str, ...]:
    if isinstance(values, str):
        raise ArgumentError(f"{name} are a list of words, not one text: give [{values!r}]")
    try:
        found = tuple(values or ())
    except TypeError as error:
        raise ArgumentError(f"{name} are a list of words, not {values!r:.100}") from error
    for one in found:
        if not isinstance(one, str):
            raise ArgumentError(f"{name} are words, and one is {one!r:.100}")
    return found
