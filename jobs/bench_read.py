"""`nightshift bench read`: audio files to 16 kHz mono, through the guarded process, beside the bare decoders.

One core, in CPU seconds of both processes together, over files that are made here. Files in memory: what a disk or a
store adds is not in it.
"""

import argparse
import json
import re
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table

from jobs import show
from jobs.bench_machine import machine
from pipeline.errors import UsageError

if TYPE_CHECKING:
    from jobs.bench_read_material import Format
    from pipeline.read.guard import Guard

ROUNDS = 3
LONG_S, SHORT_S, SEGMENT_S = 600.0, 6.0, 10.0
NUM_SHORT = 20  # clips a round
PACKAGES = ("soundfile", "soxr", "av", "numpy")


@dataclass(frozen=True)
class Result:
    """Of one format. Speeds are audio seconds per CPU second."""

    format: str
    decoder: str  # the bare one
    file_bytes: int
    here: float
    bare: float
    ratios: list[float]  # here over bare, round by round
    short_ms: float  # CPU time of a short clip, here
    bare_short_ms: float
    segment_ms: float  # of a segment near the end of the long file, here
    child_peak_bytes: int  # of the guarded process, the interpreter included


def add_arguments(parser: argparse._ActionsContainer) -> None:
    parser.add_argument("--seconds", type=float, default=LONG_S, metavar="S", help=f"of each file; default {LONG_S:g}")
    parser.add_argument("--rounds", type=int, default=ROUNDS, metavar="N", help=f"default {ROUNDS}")
    parser.add_argument(
        "--format", action="append", metavar="F", help="for example flac-16k; may be repeated; default: all"
    )


def run(options: argparse.Namespace) -> int:
    from jobs.bench_read_material import FORMATS

    if options.rounds < 1 or not options.seconds >= 2 * SEGMENT_S:
        raise UsageError(f"--rounds must be at least 1, and --seconds at least {2 * SEGMENT_S:g}")
    if unknown := set(options.format or ()) - {known.name for known in FORMATS}:
        raise UsageError(f"--format {min(unknown)}: one of {', '.join(known.name for known in FORMATS)}")
    wanted = [known for known in FORMATS if not options.format or known.name in options.format]
    about = machine(PACKAGES)
    if not options.json:
        _print_setting(about, options)
    results = [_measure(one, options.seconds, options.rounds) for one in wanted]
    if not options.json:
        _print_results(results)
    print(json.dumps({"machine": about, "seconds": options.seconds, "results": [asdict(one) for one in results]}))
    return 0


def _measure(form: "Format", seconds: float, rounds: int) -> Result:
    from jobs.bench_read_material import bare, encoded
    from pipeline.config import ReadConfig
    from pipeline.read.guard import Guard, Limits
    from pipeline.records import Cut

    long, short = encoded(form, seconds), encoded(form, SHORT_S)
    guard = Guard(Limits.of(ReadConfig()))
    pid = guard.start().pid
    try:
        guard.decode(short)  # what it imports is no decoding
        bare(form, short)
        here_s: list[float] = []
        bare_s: list[float] = []
        for _ in range(rounds):
            here_s.append(_here_s(guard, lambda: guard.decode(long)))
            bare_s.append(_cpu_s(lambda: bare(form, long)))
        peak = _peak_bytes(pid)
        short_s = statistics.median(_here_s(guard, lambda: guard.decode(short)) for _ in range(NUM_SHORT))
        bare_short_s = statistics.median(_cpu_s(lambda: bare(form, short)) for _ in range(NUM_SHORT))
        cut = Cut(seconds - 1.5 * SEGMENT_S, SEGMENT_S)
        segment_s = statistics.median(_here_s(guard, lambda: guard.decode(long, cut)) for _ in range(NUM_SHORT))
    finally:
        guard.stop()
    return Result(
        form.name,
        form.decoder,
        len(long),
        here=seconds / statistics.median(here_s),
        bare=seconds / statistics.median(bare_s),
        ratios=[theirs / ours for ours, theirs in zip(here_s, bare_s, strict=True)],
        short_ms=1000 * short_s,
        bare_short_ms=1000 * bare_short_s,
        segment_ms=1000 * segment_s,
        child_peak_bytes=peak,
    )


def _cpu_s(work: Callable[[], object]) -> float:
    before = time.process_time()
    work()
    return time.process_time() - before


def _here_s(guard: "Guard", work: Callable[[], object]) -> float:
    """Of this process and of the guarded one."""
    before = guard.cpu_s
    return _cpu_s(work) + guard.cpu_s - before


def _peak_bytes(pid: int) -> int:
    match = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    return int(match[1]) * 1024 if match else 0


def _print_setting(about: dict[str, Any], options: argparse.Namespace) -> None:
    packages = ", ".join(f"{name} {told}" for name, told in about["packages"].items())
    show.table(
        [
            ("machine", f"{about['processor']}, {about['cpus']} CPUs, load {about['load']:.1f}"),
            ("software", f"Python {about['python']}, {packages}"),
            ("files", f"{options.seconds:g} s of made-up speech; clips of {SHORT_S:g} s; {options.rounds} rounds"),
        ]
    )


def _print_results(results: Sequence[Result]) -> None:
    table = Table(title="Audio seconds per CPU second, one core", title_justify="left")
    for name in ("format", "bare decoder"):
        table.add_column(name, no_wrap=True)
    for name in ("MB", "here", "bare", "here / bare", "clip, ms", "bare", "segment", "peak"):
        table.add_column(name, justify="right", no_wrap=True)
    for one in results:
        ratios = f"{one.here / one.bare:.2f} ({min(one.ratios):.2f}-{max(one.ratios):.2f})"
        table.add_row(
            one.format,
            one.decoder,
            f"{one.file_bytes / 1e6:.1f}",
            f"{one.here:,.0f}",
            f"{one.bare:,.0f}",
            ratios,
            f"{one.short_ms:.1f}",
            f"{one.bare_short_ms:.1f}",
            f"{one.segment_ms:.1f}",
            f"{one.child_peak_bytes / 1e6:,.0f}",
        )
    show.console(quiet=False).print(table)
    print(
        f"clip: {SHORT_S:g} s; segment: ms for {SEGMENT_S:g} s near the end of the long file, by seeking; "
        "peak: MB of the guarded process.\n"
        "The bare decoder takes the whole file into memory, has no limits, and reports no damage."
    )
