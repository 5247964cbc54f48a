"""What runs are called beside each other: by what they were given as, or the last step to where they are.

Knows nothing of what is in them.
"""

import os
import posixpath
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from pipeline import store
from pipeline.errors import UsageError

RESERVED = ("evaluation.json", "report.html")  # which lie beside folders of these names


@dataclass(frozen=True)
class Named:
    """A run, and what it is called."""

    name: str
    url: str


def named(given: Sequence[str]) -> tuple[Named, ...]:
    """Each is `NAME=RUN` or RUN. Equal names of places get the steps before them, and numbers if that is not enough."""
    pairs = [_parted(one) for one in given]
    urls = [store.absolute(url) for _, url in pairs]
    for number, url in enumerate(urls):
        if any(store.same(url, before) for before in urls[:number]):
            raise UsageError(f"{url} is given twice")
    counts = Counter(name or _steps(url)[-1] for (name, _), url in zip(pairs, urls, strict=True))
    taken = [name for name, _ in pairs if name]
    if doubled := [name for name in taken if taken.count(name) > 1]:
        raise UsageError(f"two runs are called {doubled[0]}")
    found = []
    for (name, _), url in zip(pairs, urls, strict=True):
        *_, last = steps = _steps(url)
        if not name:
            name = _free("-".join(steps[-2:]) if counts[last] > 1 else last, taken)
            taken.append(name)
        found.append(Named(name, url))
    return tuple(found)


def _parted(given: str) -> tuple[str, str]:
    """An = in a path does not make a name of what is before it."""
    name, sign, url = given.partition("=")
    if not sign or "/" in name or ":" in name or os.path.exists(given):
        return "", given
    if not name or not url or name.startswith(".") or name in RESERVED:
        raise UsageError(f"{given}: give a run as RUN or NAME=RUN, where NAME will be a folder")
    return name, url


def _steps(url: str) -> list[str]:
    files, path = store.locate(url)
    path = os.path.abspath(path) if store.is_local(files) else posixpath.normpath(path)
    return [step for step in path.split("/") if step] or ["run"]


def _free(name: str, taken: Sequence[str]) -> str:
    number, made = 1, name
    while made in taken or made in RESERVED:
        number += 1
        made = f"{name}-{number}"
    return made
