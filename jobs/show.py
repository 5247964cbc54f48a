"""What the jobs print on stdout for people: a run's summary, a plan, one recording."""

import dataclasses
from typing import Any

from rich.console import Console
from rich.table import Table

from pipeline.progress import clock, hours
from pipeline.records import ErrorCounts, Recording
from pipeline.summary import Summary


def summary(result: Summary) -> None:
    """The figures of summary.json as a table, and where to look next."""
    tally = result.tally
    rows = [
        ("recordings", f"{tally.num_recordings:,} of {result.num_recordings:,}"),
        ("transcribed", f"{tally.num_ok:,} ({hours(tally.audio_s)} of audio)"),
        ("failed", f"{tally.num_failed:,}"),
        *((f"  {reason}", f"{count:,}") for reason, count in sorted(tally.failures.items(), key=lambda i: -i[1])),
        ("units committed", f"{result.num_committed:,} of {result.num_units:,}"),
    ]
    if tally.num_scored:
        rows.append(("word error rate", _rate(tally.words)))
        rows.append(("character error rate", _rate(tally.chars)))
        rows.append(("  scored", f"{tally.num_scored:,} recordings with a reference, texts compared as they are"))
    if tally.num_unscored:
        rows.append(("  not scored", f"{tally.num_unscored:,} recordings with a reference that failed"))
    if result.wall_s is not None:
        speed = f", {tally.audio_s / result.wall_s:,.0f} times real time" if tally.audio_s and result.wall_s else ""
        rows.append(("time", f"{clock(result.wall_s)}{speed}"))
    if result.stage_s:
        rows.append(("time in stages", ", ".join(f"{name} {clock(s)}" for name, s in result.stage_s.items())))
    table(rows)
    print(f"\nTranscripts: {result.run}/data (Parquet)\nSummary:     {result.run}/summary.json")


def table(rows: list[tuple[str, str]]) -> None:
    grid = Table.grid(padding=(0, 2))
    for name, value in rows:
        grid.add_row(name, value)
    Console(highlight=False, markup=False).print(grid)


def as_json(recording: Recording) -> dict[str, Any]:
    """A recording without a run directory, for --json."""
    return {
        "id": recording.id,
        "status": recording.status,
        "error": recording.error,
        "error_detail": recording.error_detail,
        "duration_s": recording.duration_s,
        "text": recording.text,
        "confidence": recording.confidence,
        "words": None if recording.words is None else [word._asdict() for word in recording.words],
    }


def _rate(counts: ErrorCounts) -> str:
    rate = "undefined: the references are empty" if counts.rate is None else f"{counts.rate:.2%}"
    parts = ", ".join(f"{count:,} {name}" for name, count in dataclasses.asdict(counts).items() if name != "hits")
    return f"{rate} ({parts} in {counts.num_reference:,})"
