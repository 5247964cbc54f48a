"""Several inputs as one: datasets whose recordings are transcribed together, each in units of its own.

Knows nothing of what an input is, or of why they are joined.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa

from pipeline import store
from pipeline.config import ReadConfig
from pipeline.errors import naming
from pipeline.sources.entries import Entry, Piece, Source
from pipeline.sources.found import Tell
from pipeline.sources.recognise import open_source
from pipeline.sources.spool import asked_for

COLUMN = "dataset"  # says which one a recording is of


@dataclass(frozen=True)
class Dataset:
    """An input with a name, and how it is read."""

    name: str
    location: str  # as INPUT of `nightshift transcribe`
    read: ReadConfig

    @property
    def input(self) -> str:
        """Where it is, whatever the working directory."""
        return self.location if self.read.source == "hub" else store.absolute(self.location)

    @property
    def section(self) -> str:
        """What its settings are called."""
        return f"datasets.{self.name}"


def open_joined(datasets: Sequence[Dataset], leave_out: str | None, tell: Tell) -> "Joined":
    """All of them, recognised."""
    opened = []
    for dataset in datasets:
        with naming(dataset.section):
            opened.append(open_source(dataset.location, dataset.read, leave_out, tell))
    return Joined(datasets, opened)


class Joined:
    """One source after the other. `a` of the dataset `clean` is `clean/a`, and has `clean` in the column `dataset`."""

    def __init__(self, datasets: Sequence[Dataset], sources: Sequence[Source]) -> None:
        self._members = list(zip(datasets, sources, strict=True))

    @property
    def description(self) -> str:
        return "; ".join(f"{dataset.name}: {source.description}" for dataset, source in self._members)

    @property
    def schema(self) -> pa.Schema:
        """The columns of all. Those of one name and of types that no number's type can hold both become text."""
        types = {COLUMN: pa.string()}
        for _, source in self._members:
            for column in source.schema:
                name = _passed(column.name)
                types[name] = _common(types[name], column.type) if name in types else column.type
        return pa.schema(list(types.items()))

    def pieces(self) -> Iterator[Piece]:
        for dataset, source in self._members:
            with naming(dataset.section):
                for piece in asked_for(source, dataset.read):
                    entries = [_of(dataset, entry) for entry in piece.entries]
                    yield Piece(entries, f"{dataset.name}:{piece.shard or ''}")  # so that no unit mixes datasets


def _of(dataset: Dataset, entry: Entry) -> Entry:
    entry.id = f"{dataset.name}/{entry.id}"
    entry.columns = {COLUMN: dataset.name, **{_passed(name): value for name, value in entry.columns.items()}}
    channel = dataset.read.channels
    if isinstance(channel, int) and entry.cut.channel is None:  # who reads it knows one setting for all datasets
        entry.cut = entry.cut._replace(channel=channel)
    return entry


def _passed(name: str) -> str:
    """What a column is called: `dataset` is ours, so that one of an input's own becomes `input_dataset`, and what it
    would then be taken for `input_input_dataset`; before all columns are known nothing else is safe.
    """
    return f"input_{name}" if re.fullmatch(f"(input_)*{COLUMN}", name) else name


def _common(one: pa.DataType, other: pa.DataType) -> pa.DataType:
    if one == other or pa.types.is_null(other):
        return one
    if pa.types.is_null(one):
        return other
    both = (one, other)
    if all(pa.types.is_signed_integer(kind) for kind in both):
        return pa.int64()
    if all(pa.types.is_integer(kind) or pa.types.is_floating(kind) for kind in both):
        return pa.float64() if any(pa.types.is_floating(kind) for kind in both) else pa.string()
    return pa.string()
