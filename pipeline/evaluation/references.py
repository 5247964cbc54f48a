"""References by id: what is odd about them told or refused, and joined to the recordings of a run.

Knows nothing of where they come from, or of what is done with them.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.errors import UsageError

FEW = 3  # ids in a sentence
COLUMN = "column."  # before the names of columns that are neither id nor reference


@dataclass(frozen=True)
class References:
    """Of a table, a row for each id."""

    name: str  # of the table, for messages
    table: pa.Table  # (M rows) id; reference, null where there is none; the others behind `COLUMN`
    odd: tuple[str, ...] = ()  # what is strange about it, in sentences

    @property
    def ids(self) -> pa.ChunkedArray:
        return self.table["id"]

    @property
    def texts(self) -> pa.ChunkedArray:
        return self.table["reference"]


@dataclass(frozen=True)
class Joined:
    """References in the order of recordings."""

    table: pa.Table  # (N rows) the ids of the recordings, and of `References` what there is of them
    odd: tuple[str, ...]


def checked(name: str, table: pa.Table) -> References:
    """Each id once, as far as that can be."""
    named = _without_unnamed(References(name, table))
    if not len(named.table):
        raise UsageError(f"{name}: none of its {len(table):,} rows has an id")
    return _without_doubles(named)


def join(references: References, ids: pa.ChunkedArray) -> Joined:
    """The references of recordings with these ids; a refusal where there is none at all."""
    at = pc.index_in(ids, value_set=references.ids)
    left = references.ids.filter(pc.invert(pc.is_in(references.ids, value_set=ids)))
    missing = ids.filter(pc.is_null(at))
    if len(missing) == len(ids):
        raise UsageError(
            f"{references.name}: none of its {len(references.ids):,} ids is that of a recording. It has "
            f"{_few(references.ids)}, the run {_few(ids)}; read.id_column says which column holds the ids, as in "
            f"--set read.id_column=..., and beside it there are {', '.join(_others(references.table)) or 'none'}"
        )
    odd = list(references.odd)
    if len(left):
        some = f"{len(left):,} of its {len(references.ids):,} references"
        odd.append(f"{references.name}: {some} have no recording in the run ({_few(left)})")
    if len(missing):
        some = f"{len(missing):,} of {len(ids):,} recordings"
        odd.append(f"{references.name}: {some} have no reference in it and are in no rate ({_few(missing)})")
    return Joined(references.table.take(at).set_column(0, "id", ids), tuple(odd))


# ---- what is strange


def _without_unnamed(references: References) -> References:
    named = pc.fill_null(pc.not_equal(references.ids, ""), False)
    num = len(references.ids) - pc.sum(named).as_py()
    if not num:
        return references
    return _some(references, named, f"{references.name}: {num:,} of its rows have no id and are left out")


def _without_doubles(references: References) -> References:
    """The first of rows with one id, which must say the same; and a word on those that say nothing."""
    codes = references.ids.combine_chunks().dictionary_encode().indices.to_numpy(zero_copy_only=False)
    first = np.unique(codes, return_index=True)[1][codes]  # (M,) where the id of each row is met first
    is_again = pa.array(first != np.arange(len(codes)))
    if pc.any(is_again).as_py():
        before = references.texts.take(pa.array(first))
        differ = pc.and_(is_again, pc.invert(_same(before, references.texts)))
        if pc.any(differ).as_py():
            _refuse_differing(references, before, differ)
        doubled = references.ids.filter(is_again).unique()
        told = f"{references.name}: {len(doubled):,} ids are there more than once, with the same text ({_few(doubled)})"
        references = _some(references, pc.invert(is_again), told)
    silent = references.ids.filter(pc.is_null(references.texts))
    if len(silent):
        told = f"{references.name}: {len(silent):,} of its ids have no text and count as without ({_few(silent)})"
        references = replace(references, odd=(*references.odd, told))
    return references


def _same(some: pa.ChunkedArray, others: pa.ChunkedArray) -> pa.ChunkedArray:
    """Two without a text are the same, too."""
    equal = pc.fill_null(pc.equal(some, others), False)
    return pc.or_(equal, pc.and_(pc.is_null(some), pc.is_null(others)))


def _refuse_differing(references: References, before: pa.ChunkedArray, differ: pa.ChunkedArray) -> None:
    ids = references.ids.filter(differ)
    one, other = (texts.filter(differ)[0].as_py() for texts in (before, references.texts))
    raise UsageError(
        f"{references.name}: references differ for {len(ids.unique()):,} of its ids ({_few(ids.unique())}); of "
        f"{ids[0].as_py()} there are {_shown(one)} and {_shown(other)}: leave one of each"
    )


def _some(references: References, chosen: Any, told: str) -> References:
    return References(references.name, references.table.filter(chosen), (*references.odd, told))


def _others(table: pa.Table) -> list[str]:
    return [name.removeprefix(COLUMN) for name in table.column_names if name.startswith(COLUMN)]


def _shown(text: str | None) -> str:
    return "nothing" if text is None else repr(text[:60])


def _few(ids: pa.Array | pa.ChunkedArray) -> str:
    return ", ".join(ids[:FEW].to_pylist()) + ", ..." * (len(ids) > FEW)
