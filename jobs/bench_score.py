"""`nightshift bench score`: the evaluation of a million recordings, beside a plain loop over them with jiwer.

The run that is evaluated is made up, once. Each side is a process of its own: here the command as users give it, from
its start to its report; there a script that reads the same files and counts words and characters of one recording
after the other, and then resamples and slices them by numpy and dictionaries. Ours as a whole is compared with that
script as a whole, which writes no report, and with its loop alone.
"""

import argparse
import json
import shutil
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from jobs import show
from jobs.bench_machine import machine
from pipeline.errors import StageError, UsageError
from pipeline.records import COUNT_FIELDS
from pipeline.run import SUMMARY

if TYPE_CHECKING:
    from jobs.bench_score_measure import Measured
    from pipeline.run import Run

NUM, NUM_WORDS = 1_000_000, 20
# Recordings in a part: what a transcription makes of a large corpus, ten minutes of audio, and much larger ones.
PER_PART = (70, 2000)
WARM_UP = 10_000  # recordings: enough that all is compiled that will be
TARGET_TIMES, TARGET_BYTES = 5.0, 4 * 2**30
PACKAGES = ("jiwer", "rapidfuzz", "numba", "pyarrow", "ray")
# How a phase begins that the command tells of, and what it is here.
PHASES = {
    "checking the settings": "settings",
    "reading what is to be compared": "units",
    "starting Ray": "starting Ray",
    "scoring ": "scoring",
    "run: reading what was counted": "gathering",
    "run: rates and their intervals": "intervals",
    "run: slices": "slices",
    "run: confusions and recordings": "confusions",
    "writing the report": "report",
}
START, LOOP = "start", "loop"


@dataclass(frozen=True)
class Side:
    """Seconds are wall seconds."""

    name: str
    wall_s: float  # of the process
    cpu_s: float  # of all its processes
    peak_bytes: int
    seconds: dict[str, float]  # by part
    cpu_seconds: dict[str, float]  # of some parts
    words: dict[str, int]  # counts of errors; so below
    chars: dict[str, int]


def add_arguments(parser: argparse._ActionsContainer) -> None:
    parser.add_argument("--num", type=int, default=NUM, metavar="N", help=f"recordings; default {NUM:,}")
    told = f"recordings in a part of the run; may be repeated; default {' and '.join(map(str, PER_PART))}"
    parser.add_argument("--per-part", type=int, action="append", metavar="N", help=told)
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="of what is made up; default 0")
    told = "of `nightshift evaluate`, such as local for Ray; default: none, as it sees fit"
    parser.add_argument("--address", metavar="A", help=told)
    parser.add_argument("--work", metavar="DIR", default="build/bench-score", help="where runs are kept")


def run(options: argparse.Namespace) -> int:
    from jobs.bench_material import say
    from jobs.bench_score_material import Wanted, run_of

    per_part = list(dict.fromkeys(options.per_part or PER_PART))
    for name, value in [("num", options.num), *(("per-part", value) for value in per_part)]:
        if value < 1:
            raise UsageError(f"--{name} must be at least 1, not {value}")
    work = Path(options.work).absolute()
    few = Wanted(min(options.num, WARM_UP), NUM_WORDS, WARM_UP, options.seed)
    warm_up = run_of(work / "warm-up", few)
    made = [run_of(work / str(num), Wanted(options.num, NUM_WORDS, num, options.seed)) for num in per_part]
    say("compiling, or loading what was compiled before")
    _here(warm_up, work / "evaluation", "here")
    about = machine(PACKAGES)
    sides = []
    for one in made:
        say(f"nightshift evaluate {one.folder.url}")
        sides.append(_here(one, work / "evaluation", options.address))
    say("jiwer")
    rival = _there(made[-1])
    if unequal := [one.name for one in sides if (one.words, one.chars) != (rival.words, rival.chars)]:
        raise StageError(f"{', '.join(unequal)}: other counts than jiwer's")
    figures = {"machine": about, "num": options.num, "num_words": NUM_WORDS, "seed": options.seed}
    figures |= {"here": [asdict(one) | {"times": _times(one, rival)._asdict()} for one in sides]}
    figures["jiwer"] = asdict(rival)
    if not options.json:
        _print(figures, sides, rival)
    print(json.dumps(figures))
    return 0


# ---- the sides


def _here(run: "Run", out: Path, address: str | None) -> Side:
    from jobs.bench_score_measure import measured

    shutil.rmtree(out, ignore_errors=True)
    command = ["-m", "jobs", "evaluate", run.folder.url, "--out", str(out), "--json"]
    command += [] if address is None else ["--address", address]
    name = f"nightshift, {len(run.commits()):,} parts" + (f", {address}" if address else "")
    done = measured([sys.executable, *command])
    (found,) = json.loads(done.out.splitlines()[-1])["evaluations"]
    stages = json.loads((out / "run" / SUMMARY).read_text())["stage_cpu_s"]
    words, chars = ({kind: found[level][kind] for kind in COUNT_FIELDS} for level in ("words", "chars"))
    return Side(name, *_used(done), by_phase(done.told, done.wall_s), stages, words, chars)


def _there(run: "Run") -> Side:
    from jobs.bench_score_measure import measured

    done = measured([sys.executable, "-m", "jobs.bench_score_jiwer", run.folder.path()])
    found = json.loads(done.out)
    parts = (found[name] for name in ("seconds", "cpu_seconds", "words", "chars"))
    return Side("jiwer, the whole script", *_used(done), *parts)


def _used(done: "Measured") -> tuple[float, float, int]:
    return done.wall_s, done.cpu_s, done.peak_bytes


def by_phase(told: Sequence[tuple[float, str]], wall_s: float) -> dict[str, float]:
    """Seconds from where each phase is told to where the next one is; one that comes twice is added up."""
    begun = [(0.0, START)]
    for second, line in told:
        text = line.partition(" ")[2]  # behind the time of day
        begun += [(second, name) for beginning, name in PHASES.items() if text.startswith(beginning)]
    seconds: dict[str, float] = {}
    for (first, name), (last, _) in zip(begun, [*begun[1:], (wall_s, "")], strict=True):
        seconds[name] = seconds.get(name, 0.0) + last - first
    return seconds


class Times(NamedTuple):
    """How many times as long as all of ours."""

    loop: float  # the rival's loop alone
    script: float


def _times(one: Side, rival: Side) -> Times:
    return Times(rival.seconds[LOOP] / one.wall_s, rival.wall_s / one.wall_s)


# ---- tables for people


def _print(figures: dict[str, Any], sides: Sequence[Side], rival: Side) -> None:
    about = figures["machine"]
    packages = ", ".join(f"{name} {told}" for name, told in about["packages"].items())
    num_words, num_errors = (sum(rival.words[name] for name in kinds) for kinds in (COUNT_FIELDS[:3], COUNT_FIELDS[1:]))
    wrong = f"{num_errors / num_words:.2%} of words wrong"
    show.table(
        [
            ("machine", f"{about['processor']}, {about['cpus']} CPUs, load {about['load']:.1f}"),
            ("software", f"Python {about['python']}, {packages}"),
            ("texts", f"{figures['num']:,} recordings of {figures['num_words']} words, {wrong}"),
        ]
    )
    columns = ("seconds", "CPU seconds", "peak, GiB", "jiwer takes", "its loop takes")
    table = show.figures("In all", "", *columns)
    for one in [*sides, rival]:
        found = _times(one, rival)
        times = () if one is rival else (f"{found.script:.1f} times", f"{found.loop:.1f} times")
        table.add_row(one.name, f"{one.wall_s:,.1f}", f"{one.cpu_s:,.1f}", f"{one.peak_bytes / 2**30:.2f}", *times)
    table.add_row("jiwer, its loop alone", f"{rival.seconds[LOOP]:,.1f}", f"{rival.cpu_seconds[LOOP]:,.1f}")
    table.add_row("nightshift, normalising and aligning alone", "", f"{sides[-1].cpu_seconds['align']:,.1f}")
    console = show.console(quiet=False)
    console.print(table)
    for one in [*sides, rival]:
        parts = ", ".join(f"{name} {seconds:,.1f}" for name, seconds in one.seconds.items())
        console.print(f"{one.name}: {parts}", soft_wrap=True)
    aims = f"{TARGET_TIMES:g} times as fast as jiwer, and under {TARGET_BYTES / 2**30:g} GiB"
    console.print(f"Aims: {aims}. All counted the same errors of words and of characters.", soft_wrap=True)
