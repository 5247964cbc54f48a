"""What the tests of sources that are tables share: an input of a few files, and what a source makes of it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline.config import ReadConfig
from pipeline.errors import UsageError
from pipeline.sources import found as inputs
from pipeline.sources.entries import Entry, Source
from pipeline.sources.found import Found

CONFIG = ReadConfig()

Make = Callable[[Found, ReadConfig], Source]


def write(root: Path, files: dict[str, str | bytes]) -> Path:
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content.encode() if isinstance(content, str) else content)
    return root


def json_lines(*records: Any) -> str:
    return "".join(f"{record if isinstance(record, str) else json.dumps(record)}\n" for record in records)


def walked(make: Make, url: Path | str, config: ReadConfig = CONFIG) -> tuple[Source, list[Entry]]:
    source = make(inputs.find(str(url)), config)
    return source, [entry for piece in source.pieces() for entry in piece.entries]


def entries(make: Make, url: Path | str, config: ReadConfig = CONFIG) -> list[Entry]:
    return walked(make, url, config)[1]


def refusal(make: Make, url: Path | str, config: ReadConfig = CONFIG) -> str:
    with pytest.raises(UsageError) as caught:
        entries(make, url, config)
    return str(caught.value)


def entries_or_refusal(make: Make, url: Path | str, config: ReadConfig = CONFIG) -> list[Entry] | str:
    try:
        return entries(make, url, config)
    except UsageError as error:
        return str(error)


def reasons(found: list[Entry]) -> list[str | None]:
    return [entry.error and entry.error.reason for entry in found]
