"""The scored rows of a run, read again: part by part, or as the columns that every figure is derived from.

Knows nothing of figures, or of how rows are scored.
"""

import io
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.evaluation.rows import SCHEMA, is_scored
from pipeline.evaluation.scores import Coverage, Errors, Scores
from pipeline.records import COUNT_FIELDS
from pipeline.run import Run

THREADS = 4  # parts that are read ahead: of a store, and while others are looked at
Made = TypeVar("Made")
NUMBERS = ("duration_s", "confidence", "snr_estimate_db")
TOLD = ("status", "error", "normalized_reference")  # what coverage needs beside counts


def tables(run: Run, columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
    """The committed rows in the order of the run, a part at a time; of all columns, or of those alone."""
    yield from each(run, lambda table: table, columns)


def each(run: Run, make: Callable[[pa.Table], Made], columns: Sequence[str] | None = None) -> Iterator[Made]:
    """What is made of every part, likewise; of several at a time, in threads."""
    waiting: deque[Future[Made]] = deque()
    with ThreadPoolExecutor(THREADS, "part") as threads:
        for _, commit in sorted(run.commits().items()):
            waiting.append(threads.submit(lambda commit: make(run.read_part(commit, columns)), commit))
            if len(waiting) > THREADS:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def gather(run: Run) -> Scores:
    """Of the recordings that were scored, in words or in phones."""
    parts = list(each(run, _part, _wanted(run)))
    table = pa.concat_tables([part.rows for part in parts]) if parts else _empty()
    coverage = _sum([part.coverage for part in parts])
    passed = [name for name in table.column_names if name not in SCHEMA.names]
    return Scores(
        coverage=coverage,
        ids=_whole(table["id"]),
        words=_errors(table, "word"),
        chars=_errors(table, "char"),
        phones=_errors_if_any(table, "phone"),
        oracle=_errors_if_any(table, "oracle"),
        columns=table.select(passed),
        **{name: _floats(table[name]) for name in NUMBERS},
    )


class _Part(NamedTuple):
    rows: pa.Table  # that were scored
    coverage: Coverage


def _wanted(run: Run) -> list[str] | None:
    """Without most texts and the alignments, which are most of a part."""
    for _, commit in sorted(run.commits().items()):
        names: list[str] = pq.read_schema(io.BytesIO(run.folder.sub("data").read(commit.part))).names
        ours = ["id", *NUMBERS, *TOLD, *(name for name in SCHEMA.names if name.endswith(COUNT_FIELDS))]
        return [name for name in names if name in ours or name not in SCHEMA.names]
    return None


def _part(table: pa.Table) -> _Part:
    ok, scored = pc.equal(table["status"], "ok"), is_scored(table)
    has_reference = pc.is_valid(table["normalized_reference"])
    failed = table.filter(pc.invert(ok))
    failed_with = failed.filter(pc.is_valid(failed["normalized_reference"]))
    coverage = Coverage(
        num_recordings=len(table),
        num_scored=_count(scored),
        num_failed=len(failed),
        num_failed_with_reference=len(failed_with),
        num_words_failed=_num_words(failed_with["normalized_reference"]),
        num_without_reference=_count(pc.and_(ok, pc.invert(has_reference))),
        failures=_counts(failed["error"]),
        audio_s=pc.sum(table.filter(ok)["duration_s"]).as_py() or 0.0,
    )
    return _Part(table.filter(scored).drop_columns(list(TOLD)), coverage)


def _sum(parts: Sequence[Coverage]) -> Coverage:
    failures: Counter[str] = Counter()
    for part in parts:
        failures.update(part.failures)
    totals: dict[str, Any] = {
        name: sum(getattr(part, name) for part in parts) for name in Coverage.__dataclass_fields__ if name != "failures"
    }
    return Coverage(failures=dict(failures.most_common()), **totals)


def _errors(table: pa.Table, kind: str) -> Errors:
    """A recording without has zeros."""
    return Errors(*(_integers(table[f"{kind}_{name}"]) for name in COUNT_FIELDS))


def _errors_if_any(table: pa.Table, kind: str) -> Errors | None:
    return _errors(table, kind) if table[f"{kind}_hits"].null_count < len(table) else None


def _integers(column: pa.ChunkedArray) -> npt.NDArray[np.int64]:
    return _whole(column.fill_null(0)).to_numpy(zero_copy_only=False).astype(np.int64)  # type: ignore[no-any-return]


def _floats(column: pa.ChunkedArray) -> npt.NDArray[np.float64]:
    return _whole(column.cast(pa.float64())).to_numpy(zero_copy_only=False)  # type: ignore[no-any-return]


def _whole(column: pa.ChunkedArray) -> pa.Array:
    made = column.combine_chunks()
    return made.combine_chunks() if isinstance(made, pa.ChunkedArray) else made


def _count(mask: pa.ChunkedArray) -> int:
    return pc.sum(mask).as_py() or 0


def _counts(values: pa.ChunkedArray) -> dict[str, int]:
    return {one["values"] or "": one["counts"] for one in pc.value_counts(values).to_pylist()}


def _num_words(texts: pa.ChunkedArray) -> int:
    """Words are one space apart."""
    spoken = texts.filter(pc.not_equal(texts, ""))
    return (pc.sum(pc.count_substring(spoken, " ")).as_py() or 0) + len(spoken)


def _empty() -> pa.Table:
    return SCHEMA.empty_table().drop_columns(list(TOLD))
