"""What the jobs print on stdout for people: a run's summary, a plan, one recording."""

import dataclasses
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pipeline.progress import clock, hours
from pipeline.records import ErrorCounts, Recording
from pipeline.summary import Summary

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table


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
    if result.emissions_bytes and tally.audio_s:
        per_hour = result.emissions_bytes / 1e6 / (tally.audio_s / 3600)
        rows.append(("emissions kept", f"{result.emissions_bytes / 1e6:,.1f} MB, {per_hour:,.1f} MB per hour of audio"))
    if tally.num_scored:
        rows.append(("word error rate", _rate(tally.words)))
        rows.append(("character error rate", _rate(tally.chars)))
        how = "as they are" if result.normalizer == "none" else f"as {result.normalizer} makes them"
        rows.append(("  scored", f"{tally.num_scored:,} with a reference, texts compared {how}"))
    if tally.num_phones_scored:
        rows.append(("phone error rate", _rate(tally.phones)))
        rows.append(("  scored", f"{tally.num_phones_scored:,} with a reference, said in {result.language}"))
    if tally.num_unscored:
        rows.append(("  not scored", f"{tally.num_unscored:,} with a reference that failed"))
    if tally.num_uncompared:
        told = f"{tally.num_uncompared:,}: score.language, which says them, is not set (as in en-us)"
        rows.append(("references not compared", told))
    if tally.num_narrowed:
        rows.append(("searched less widely", f"{tally.num_narrowed:,}, which reached decode.max_effort"))
    if result.num_doubled_ids:
        rows.append(("ids made unique", f"{result.num_doubled_ids:,}, by a number after a #"))
    if result.num_retried:
        rows.append(("requests retried", f"{result.num_retried:,}, because a store had failed for the moment"))
    if (session := result.session) is not None:
        times = session.audio_s / session.wall_s
        speed = f"{times:,.{0 if times >= 10 else 1}f} times real time"
        rows.append(("time", f"{clock(session.wall_s)} for {hours(session.audio_s)} of audio, {speed}"))
    if result.stage_s:
        rows.append(("time in stages", ", ".join(f"{name} {clock(s)}" for name, s in result.stage_s.items())))
    table(rows)
    print(f"\nTranscripts: {result.run}/data (Parquet)")
    if result.complete:
        print(f"Summary:     {result.run}/summary.json")


def warnings(told: list[str]) -> None:
    """On stderr, where no progress is shown."""
    for warning in told:
        print(f"nightshift: warning: {warning}", file=sys.stderr)


def table(rows: Sequence[tuple[str, ...]]) -> None:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip())


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
        "words": _plain(recording.words),
        "phones": _plain(recording.phones),
        "score": recording.score,
        "nbest": _plain(recording.nbest),
        "narrowed": recording.narrowed,
    }


def _plain(items: Sequence[Any] | None) -> list[dict[str, Any]] | None:
    return None if items is None else [item._asdict() for item in items]


def _rate(counts: ErrorCounts) -> str:
    rate = "undefined: the references are empty" if counts.rate is None else f"{counts.rate:.2%}"
    parts = ", ".join(f"{count:,} {name}" for name, count in dataclasses.asdict(counts).items() if name != "hits")
    return f"{rate} ({parts} in {counts.num_reference:,})"


def console(quiet: bool) -> "Console":
    """Where a benchmark's tables go; where they do not go to a terminal, they are as wide as a page."""
    from rich.console import Console

    made = Console(quiet=quiet, highlight=False)
    if not made.is_terminal:
        made.width = 120
    return made


def figures(title: str, *columns: str) -> "Table":
    """A benchmark's table: names to the left, figures to the right."""
    from rich.table import Table

    made = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False, padding=(0, 1))
    for number, column in enumerate(columns):
        made.add_column(column, justify="left" if column == "" or number == 0 else "right")
    return made
