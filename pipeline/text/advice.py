"""Warnings that point at the line of a user's program, however deep in this package the reason shows.

Knows nothing of what is warned of, but for names that were misspelt.
"""

import difflib
import sys
import warnings
from collections.abc import Iterable

PACKAGE = __name__.partition(".")[0]


def warn_user(message: str) -> None:
    frame, level = sys._getframe(1), 2
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] == PACKAGE:
        frame, level = frame.f_back, level + 1
    warnings.warn(message, stacklevel=level)


def meant(name: str, known: Iterable[str]) -> str:
    """What to add to a message about a name that nobody knows: the one like it, if there is one."""
    return "".join(f"; is {one} meant?" for one in difflib.get_close_matches(name, known, n=1))
