"""HTML from Python: elements with children, of which every string is text.

Knows nothing of what is shown. There is no other way into a page: what is not `Html` is escaped, here alone.
"""

import re
from collections.abc import Iterable
from html import escape
from typing import TypeAlias

VOID = frozenset({"br", "input", "link", "meta"})  # elements that have no end

# What no page may hold, or would hide what it does: shown by its symbol where it has one. Bidirectional controls stay,
# since texts that are written from right to left need them; `of_data` keeps what they do to themselves.
_UNFIT = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]")


class Html(str):
    """Markup, which goes into a page as it is."""

    __slots__ = ()


Child: TypeAlias = str | int | Iterable["Child"] | None
Value: TypeAlias = str | int | float | bool | None


def fit(text: str) -> str:
    """The text with what has no place in a page as a symbol: U+0000 as \u2400, half a surrogate pair as \ufffd."""
    return _UNFIT.sub(_symbol, text)


def _symbol(found: re.Match[str]) -> str:
    code = ord(found[0])
    return "\u2421" if code == 0x7F else chr(0x2400 + code) if code < 0x20 else "\ufffd"


def markup(*children: Child) -> Html:
    """Children one after the other: markup as it is, all else as text; None is nothing."""
    return Html("".join(_pieces(children)))


def _pieces(children: Iterable[Child]) -> Iterable[str]:
    for child in children:
        if isinstance(child, Html):
            yield child
        elif isinstance(child, str):
            yield escape(fit(child))
        elif isinstance(child, int):
            yield str(child)
        elif child is not None:
            yield from _pieces(child)


def element(name: str, /, *children: Child, **attributes: Value) -> Html:
    """`class_` is the attribute class, `data_value` is data-value; None and False leave an attribute out."""
    told = "".join(_attribute(key, value) for key, value in attributes.items() if value is not None)
    start = f"<{name}{told}>"
    return Html(start) if name in VOID else Html(f"{start}{markup(*children)}</{name}>")


def _attribute(key: str, value: str | float) -> str:
    if value is False:
        return ""
    name = key.rstrip("_").replace("_", "-")
    return f" {name}" if value is True else f' {name}="{escape(fit(str(value)))}"'


def of_data(text: str) -> Html:
    """Text from outside: its direction is its own and touches nothing around it."""
    return element("bdi", text)
