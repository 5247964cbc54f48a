"""What one would write with jiwer to evaluate a run: the rival of `bench score`, one process, one recording at a time.

Started by itself, `python -m jobs.bench_score_jiwer RUN`; prints what it found and the seconds of each part as JSON.
Knows nothing of nightshift but where a run's Parquet files are.
"""

import json
import sys
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import jiwer
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

RESAMPLES = 1000
SLICED = ("speaker", "noise")
COLUMNS = ("status", "reference", "text", *SLICED)
PARTS = ("read", "loop", "bootstrap", "slices")
KINDS = ("hits", "substitutions", "deletions", "insertions")

Counts = npt.NDArray[np.int64]  # (N, 4), as KINDS are


def main(folder: str) -> dict[str, Any]:
    clocks = [_now()]
    rows = _read(Path(folder))
    clocks.append(_now())
    words, chars = _counted(rows["reference"], rows["text"])
    clocks.append(_now())
    intervals = {"wer": _interval(words), "cer": _interval(chars)}
    clocks.append(_now())
    slices = {name: _by_value(rows[name], words) for name in SLICED}
    clocks.append(_now())
    wall_s, cpu_s = np.diff(clocks, axis=0).T.tolist()
    return {
        "num": len(words),
        "words": dict(zip(KINDS, words.sum(axis=0).tolist(), strict=True)),
        "chars": dict(zip(KINDS, chars.sum(axis=0).tolist(), strict=True)),
        "intervals": intervals,
        "slices": slices,
        "seconds": dict(zip(PARTS, wall_s, strict=True)),
        "cpu_seconds": dict(zip(PARTS, cpu_s, strict=True)),
    }


def _now() -> tuple[float, float]:
    """By the clock on the wall, and of this process's CPU."""
    return time.perf_counter(), time.process_time()


def _read(folder: Path) -> dict[str, list[str]]:
    """Of what was transcribed and has a reference."""
    files = sorted(folder.glob("data/part-*.parquet"))
    table = pa.concat_tables(pq.read_table(file, columns=list(COLUMNS)) for file in files)
    rows: dict[str, list[str]] = {name: table[name].to_pylist() for name in COLUMNS}
    told = zip(rows["status"], rows["reference"], strict=True)
    compared = [status == "ok" and reference is not None for status, reference in told]
    return {name: [one for one, chosen in zip(rows[name], compared, strict=True) if chosen] for name in COLUMNS}


def _counted(references: list[str], texts: list[str]) -> tuple[Counts, Counts]:
    """The loop itself."""
    words, chars = [], []
    for reference, text in zip(references, texts, strict=True):
        one = jiwer.process_words(reference, text)
        words.append((one.hits, one.substitutions, one.deletions, one.insertions))
        other = jiwer.process_characters(reference, text)
        chars.append((other.hits, other.substitutions, other.deletions, other.insertions))
    return np.array(words, np.int64), np.array(chars, np.int64)


def _interval(counts: Counts) -> list[float]:
    rng = np.random.default_rng(0)
    errors, totals = counts[:, 1:].sum(axis=1), counts[:, :3].sum(axis=1)
    rates = []
    for _ in range(RESAMPLES):
        chosen = rng.integers(len(counts), size=len(counts))
        rates.append(errors[chosen].sum() / totals[chosen].sum())
    return [float(end) for end in np.percentile(rates, [2.5, 97.5])]


def _by_value(values: list[str], counts: Counts) -> dict[str, float]:
    sums: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for value, (hits, substitutions, deletions, insertions) in zip(values, counts.tolist(), strict=True):
        sums[value][0] += substitutions + deletions + insertions
        sums[value][1] += hits + substitutions + deletions
    return {value: errors / max(total, 1) for value, (errors, total) in sums.items()}


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1])))
