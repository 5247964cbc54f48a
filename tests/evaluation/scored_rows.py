"""Scored rows of pairs of texts, made by jiwer alone: what the statistics are tested on."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import jiwer
import numpy as np
import pyarrow as pa

from pipeline.evaluation.rows import COUNTED, SCHEMA, Level
from pipeline.evaluation.scores import Coverage, Errors, Scores
from pipeline.records import COUNT_FIELDS

SYMBOLS = {"equal": "=", "substitute": "S", "delete": "D", "insert": "I"}


@dataclass(frozen=True)
class Pair:
    id: str
    reference: str
    text: str | None  # None: failed
    confidence: float | None = None
    word_confidences: list[float | None] | None = None
    columns: dict[str, Any] = field(default_factory=dict)


def counts(found: Any) -> tuple[int, ...]:
    return tuple(getattr(found, name) for name in COUNT_FIELDS)


def alignment(found: Any) -> str:
    told = ""
    for chunk in found.alignments[0]:
        num = max(chunk.ref_end_idx - chunk.ref_start_idx, chunk.hyp_end_idx - chunk.hyp_start_idx)
        told += f"{num}{SYMBOLS[chunk.type]}"
    return told


def row(pair: Pair, level: Level = Level.WORDS) -> dict[str, Any]:
    """In phones its texts are those, and no words were compared."""
    made: dict[str, Any] = dict.fromkeys(SCHEMA.names)
    made |= {"id": pair.id, "uri": f"/{pair.id}.wav", "status": "failed", "error": "too long", "duration_s": 1.0}
    made |= {"reference": pair.reference, "normalized_reference": pair.reference, "confidence": pair.confidence}
    if pair.text is not None:
        words = jiwer.process_words(pair.reference, pair.text)
        chars = jiwer.process_characters(pair.reference, pair.text)
        made |= {"status": "ok", "error": None, "text": pair.text, "word_confidences": pair.word_confidences}
        made |= {level.said: pair.reference, level.heard: pair.text, level.alignment: alignment(words)}
        made |= dict(zip(level.counts, counts(words), strict=True))
        if level is Level.WORDS:
            made |= {f"char_{name}": count for name, count in zip(COUNT_FIELDS, counts(chars), strict=True)}
            made["char_alignment"] = alignment(chars)
        else:
            made["normalized_reference"] = "as it is spelt"
    return made | pair.columns


def table(pairs: Sequence[Pair], level: Level = Level.WORDS) -> pa.Table:
    rows = [row(pair, level) for pair in pairs]
    passed = sorted({name for pair in pairs for name in pair.columns})
    arrays = {field.name: pa.array([one[field.name] for one in rows], field.type) for field in SCHEMA}
    return pa.table(arrays | {name: pa.array([one[name] for one in rows]) for name in passed})


def parts(table: pa.Table, size: int) -> Iterator[pa.Table]:
    for start in range(0, len(table), size):
        yield table.slice(start, size)


def scores(table: pa.Table) -> Scores:
    """Of those that were transcribed."""
    ok = table.filter([status == "ok" for status in table["status"].to_pylist()]) if len(table) else table
    failed = [row["reference"] for row in table.to_pylist() if row["status"] != "ok"]
    nothing, no_errors = np.full(len(ok), np.nan), Errors(*np.zeros((4, len(ok)), np.int64))
    kinds = {kind: [ok[f"{kind}_{name}"].to_pylist() for name in COUNT_FIELDS] for kind in COUNTED}
    found = {
        kind: None if None in columns[0] else Errors(*np.array(columns, np.int64)) for kind, columns in kinds.items()
    }
    return Scores(
        coverage=Coverage(
            num_recordings=len(table),
            num_scored=len(ok),
            num_failed=len(failed),
            num_failed_with_reference=len(failed),
            num_words_failed=sum(len(reference.split()) for reference in failed),
        ),
        ids=pa.array(ok["id"].to_pylist(), pa.string()),
        words=found["word"] or no_errors,
        chars=found["char"] or no_errors,
        phones=found["phone"] if len(ok) else None,
        oracle=found["oracle"] if len(ok) else None,
        duration_s=np.ones(len(ok)),
        confidence=nothing,
        snr_estimate_db=nothing,
        columns=ok.select([name for name in ok.column_names if name not in SCHEMA.names]),
    )
