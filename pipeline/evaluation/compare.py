"""Two runs beside each other, over the recordings that both have scored in words, or in phones.

Knows nothing of how rows are scored, or of where they lie.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.evaluation import mapsswe
from pipeline.evaluation.alignment import steps
from pipeline.evaluation.rates import error_rate, groups_by, rate_of
from pipeline.evaluation.results import RECORDINGS, Comparison, Difference, Example, Rate
from pipeline.evaluation.rows import SCHEMA, Level, is_scored
from pipeline.evaluation.scores import Scores, in_common
from pipeline.evaluation.worst import example
from pipeline.intervals import FEW_GROUPS, FEWEST_GROUPS, Groups, Numbers, p_value, resampled_rate

NUM_DIFFERENT = 20

Places = npt.NDArray[np.intp]


@dataclass(frozen=True)
class Scored:
    """A run that was scored."""

    name: str
    scores: Scores
    tables: Callable[[Sequence[str] | None], Iterator[pa.Table]]  # its rows, of some columns or all, in the same order


def compare(first: Scored, second: Scored, group: str | None = None) -> Comparison:
    """By the recordings, or by the values of a column that the first has passed through."""
    groups = groups_by(first.scores, group)
    level = in_common([first.scores, second.scores])
    texts, texts_second = _texts(first, level), _texts(second, level)
    places, places_second = (np.flatnonzero(texts.alignments.is_valid()) for texts in (texts, texts_second))
    at, at_second = common(first.scores.ids.take(places), second.scores.ids.take(places_second))
    at, at_second = places[at], places_second[at_second]
    same = texts.references[at] == texts_second.references[at_second]
    num_common = len(at)
    at, at_second = at[same], at_second[same]
    errors, errors_second = first.scores.of(level).at(at), second.scores.of(level).at(at_second)
    groups = groups.at(at)
    differences = errors_second.num_errors - errors.num_errors
    difference, p = _difference(differences, errors.num_reference, groups)
    matched = mapsswe.mapsswe(steps(texts.alignments.take(at)), steps(texts_second.alignments.take(at_second)))
    most = np.lexsort((np.arange(len(at)), -np.abs(differences)))[:NUM_DIFFERENT]
    most = most[differences[most] != 0]
    examples, examples_second = _examples(first, at[most], level), _examples(second, at_second[most], level)
    return Comparison(
        first=first.name,
        second=second.name,
        level=level,
        num_common=num_common,
        num_only_first=len(first.scores) - num_common,
        num_only_second=len(second.scores) - num_common,
        num_references_differ=num_common - len(at),
        first_rate=error_rate(errors, groups),
        second_rate=error_rate(errors_second, groups),
        difference=difference,
        resampled=group or RECORDINGS,
        p_bootstrap=p,
        p_mapsswe=matched.p,
        num_segments=matched.num_segments,
        most_different=tuple(map(Difference, examples, examples_second)),
    )


def common(ids: pa.Array, others: pa.Array) -> tuple[Places, Places]:
    """Where recordings are that both have, in the order of the first. An id is there once: a run sees to that."""
    found = pc.index_in(ids, others)
    return np.flatnonzero(found.is_valid()), found.drop_null().to_numpy().astype(np.intp)


def _difference(differences: Numbers, totals: Numbers, groups: Groups) -> tuple[Rate, float | None]:
    """And its p, from the same resamples. Both runs have the same references, so resamples are paired."""
    num = int(totals.sum())
    if not num:
        return Rate(None), None
    num_groups = groups.num_with(totals)
    draws = resampled_rate(differences, totals, groups) if num_groups >= FEWEST_GROUPS else None
    p = p_value(draws) if draws is not None and num_groups >= FEW_GROUPS else None
    return rate_of(int(differences.sum()) / num, draws), p


class _Texts(NamedTuple):
    """What the scores of N recordings lack."""

    references: npt.NDArray[np.int64]  # (N,) a number for each text, of this process: texts may not fit into memory
    alignments: pa.Array  # (N,)


def _texts(run: Scored, level: Level) -> _Texts:
    names = ["id", "status", "word_hits", "phone_hits", level.said, level.alignment]
    references, alignments = [np.empty(0, np.int64)], [pa.array([], pa.large_string())]
    num = 0
    for table in run.tables(names):
        table = table.filter(is_scored(table))
        ids = run.scores.ids[num : num + len(table)]
        num += len(table)
        if pa.chunked_array([ids]) != table["id"]:
            raise ValueError(f"{run.name}: its rows are not those of its scores")
        texts = table[level.said].to_pylist()
        references.append(np.fromiter(map(hash, texts), np.int64, len(texts)))
        alignments += table[level.alignment].cast(pa.large_string()).chunks
    return _Texts(np.concatenate(references), pa.concat_arrays(alignments))


def _examples(run: Scored, at: Places, level: Level) -> list[Example]:
    found: dict[int, Example] = {}
    num = 0
    for table in run.tables(None):
        table = table.filter(is_scored(table))
        here = at[(at >= num) & (at < num + len(table))]
        passed = [name for name in table.column_names if name not in SCHEMA.names]
        for place, row in zip(here.tolist(), table.take(pa.array(here - num)).to_pylist(), strict=True):
            found[place] = example(row, passed, level)
        num += len(table)
    return [found[place] for place in at.tolist()]
