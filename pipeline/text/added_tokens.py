"""Tokens that a text is split on before it is spelt out, and what becomes of the space around each.

Knows no vocabulary.
"""

import re
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from pipeline.errors import UsageError


@dataclass(frozen=True)
class AddedToken:
    """As tokenizer files keep them, and as code for these tokenizers makes them."""

    content: str
    single_word: bool = False  # only where no letter touches it
    lstrip: bool = False  # it swallows the space before it
    rstrip: bool = False  # and the space after it
    special: bool = False
    normalized: bool | None = None  # a tokenizer of lower case puts it into lower case; None: unless it is special

    def __post_init__(self) -> None:
        if self.normalized is None:
            object.__setattr__(self, "normalized", not self.special)

    def __str__(self) -> str:
        return self.content

    @classmethod
    def of(cls, token: Any, **unless_told: bool) -> "AddedToken":
        """From a string, from what a file has for it, or from another library's object of this shape."""
        if isinstance(token, str):
            return cls(token, **unless_told)
        known = [field.name for field in fields(cls)]
        found = token if isinstance(token, Mapping) else {name: getattr(token, name, None) for name in known}
        if not isinstance(found.get("content"), str):
            raise UsageError(f"a token is text, or an object whose `content` is, not {token!r}")
        told: dict[str, Any] = {name: found[name] for name in known if found.get(name) is not None}
        return cls(**{**unless_told, **told})

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def cutter(tokens: Collection[str]) -> re.Pattern[str] | None:
    """Finds the first of these tokens in a text, and the longest that begins there."""
    rest = dict[str, list[str]]()  # by first letter: only those of the letter at hand are tried
    for token in sorted((token for token in tokens if token), key=len, reverse=True):
        rest.setdefault(token[0], []).append(re.escape(token[1:]))
    parts = [f"{re.escape(first)}(?:{'|'.join(others)})" for first, others in rest.items()]
    return re.compile("|".join(parts)) if parts else None


def pieces(text: str, cut: re.Pattern[str] | None, tokens: Mapping[str, AddedToken]) -> list[str]:
    """The text, cut at its tokens, less the space that these swallow. What is empty then is left out."""
    if cut is None:
        return [text] if text else []
    found, end = list[str](), 0
    for match in cut.finditer(text):
        found += [text[end : match.start()], match[0]]
        end = match.end()
    found = [piece for piece in (*found, text[end:]) if piece]
    for number, piece in enumerate(found):
        if (token := tokens.get(piece)) is not None:
            _make_room(found, number, token)
    return [piece for piece in found if piece]


def _make_room(found: list[str], number: int, token: AddedToken) -> None:
    before = found[number - 1] if number else ""
    after = found[number + 1] if number + 1 < len(found) else ""
    if token.rstrip and after:
        found[number + 1] = after.lstrip()
    if token.lstrip and before:
        found[number - 1] = before.rstrip()
    if not token.single_word:
        return
    if before and before[-1] != " ":
        found[number - 1] += token.content
        found[number] = ""
    elif after and after[0] != " ":
        found[number + 1] = token.content + found[number + 1]
        found[number] = ""
