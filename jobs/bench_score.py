"""`nightshift bench score`: the evaluation of a million recordings, beside a plain loop over them with jiwer.

The run that is evaluated is made up, once. Each side is a process of its own: here the command as users give it, from
its start to its report; there a script that reads the same files and counts words and characters of one recording
after the other. What the script does beside that loop is shown and not counted.
"""

import argparse
import json
import shutil
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jobs import show
from jobs.bench_machine import machine
from pipeline.errors import StageError, UsageError
from pipeline.records import COUNT_FIELDS

if TYPE_CHECKING:
    from jobs.bench_score_measure import Measured
    from pipeline.run import Run

NUM, NUM_WORDS = 1_000_000, 20
PER_PART = 70  # recordings of 8.5 s, ten minutes of audio: what a transcription makes of a large corpus
WARM_UP = 10_000  # recordings: enough that all is compiled that will be
TARGET_TIMES, TARGET_BYTES = 5.0, 4 * 2**30
ADDRESSES = ("local", "here")
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
    words: dict[str, int]  # counts of errors; so below
    chars: dict[str, int]


def add_arguments(parser: argparse._ActionsContainer) -> None:
    parser.add_argument("--num", type=int, default=NUM, metavar="N", help=f"recordings; default {NUM:,}")
    told = f"recordings in a part of the run; default {PER_PART}, ten minutes of audio"
    parser.add_argument("--per-part", type=int, default=PER_PART, metavar="N", help=told)
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="of what is made up; default 0")
    told = "where it is scored: in a local Ray or in one process; may be repeated; default: both"
    parser.add_argument("--address", action="append", choices=ADDRESSES, metavar="A", help=told)
    parser.add_argument("--work", metavar="DIR", default="build/bench-score", help="where the run is kept")


def run(options: argparse.Namespace) -> int:
    from jobs import bench_score_material as material
    from jobs.bench_material import say

    for name in ("num", "per_part"):
        if getattr(options, name) < 1:
            raise UsageError(f"--{name.replace('_', '-')} must be at least 1, not {getattr(options, name)}")
    work = Path(options.work).absolute()
    wanted = material.Wanted(options.num, NUM_WORDS, options.per_part, options.seed)
    few = material.Wanted(min(options.num, WARM_UP), NUM_WORDS, WARM_UP, options.seed)
    say("compiling, or loading what was compiled before")
    _here(material.run_of(work / "warm-up", few), work / "warm-up" / "evaluation", "here")
    found = material.run_of(work, wanted)
    about = machine(PACKAGES)
    sides = []
    for address in options.address or ADDRESSES:
        say(f"nightshift evaluate --address {address}")
        sides.append(_here(found, work / "evaluation", address))
    say("jiwer")
    rival = _there(found)
    if unequal := [one.name for one in sides if (one.words, one.chars) != (rival.words, rival.chars)]:
        raise StageError(f"{', '.join(unequal)}: other counts than jiwer's")
    figures = {"machine": about, "wanted": asdict(wanted), "num_parts": len(found.commits())}
    figures |= {"here": [asdict(one) | _beside(one, rival) for one in sides], "jiwer": asdict(rival)}
    if not options.json:
        _print(figures, sides, rival)
    print(json.dumps(figures))
    return 0


# ---- the sides


def _here(run: "Run", out: Path, address: str) -> Side:
    from jobs.bench_score_measure import measured

    shutil.rmtree(out, ignore_errors=True)
    command = ["-m", "jobs", "evaluate", run.folder.url, "--out", str(out), "--address", address, "--json"]
    done = measured([sys.executable, *command])
    (found,) = json.loads(done.out.splitlines()[-1])["evaluations"]
    return Side(f"nightshift, {address}", *_used(done), _by_phase(done), found["words"], found["chars"])


def _there(run: "Run") -> Side:
    from jobs.bench_score_measure import measured

    done = measured([sys.executable, "-m", "jobs.bench_score_jiwer", run.folder.path()])
    found = json.loads(done.out)
    return Side("jiwer", *_used(done), found["seconds"], found["words"], found["chars"])


def _used(done: "Measured") -> tuple[float, float, int]:
    return done.wall_s, done.cpu_s, done.peak_bytes


def _by_phase(done: "Measured") -> dict[str, float]:
    """Seconds from where each phase is told to where the next one is; one that comes twice is added up."""
    begun = [(0.0, START)]
    for second, line in done.told:
        text = line.partition(" ")[2]  # behind the time of day
        begun += [(second, name) for beginning, name in PHASES.items() if text.startswith(beginning)]
    seconds: dict[str, float] = {}
    for (first, name), (last, _) in zip(begun, [*begun[1:], (done.wall_s, "")], strict=True):
        seconds[name] = seconds.get(name, 0.0) + last - first
    return seconds


def _beside(one: Side, rival: Side) -> dict[str, float]:
    """The rival's loop alone against all of ours; and likewise the rival's script as a whole."""
    loop_s = rival.seconds[LOOP]
    return {"times_loop": loop_s / one.wall_s, "times_script": rival.wall_s / one.wall_s}


# ---- tables for people


def _print(figures: dict[str, Any], sides: Sequence[Side], rival: Side) -> None:
    about, wanted = figures["machine"], figures["wanted"]
    packages = ", ".join(f"{name} {told}" for name, told in about["packages"].items())
    num_words, num_errors = (sum(rival.words[name] for name in kinds) for kinds in (COUNT_FIELDS[:3], COUNT_FIELDS[1:]))
    texts = f"{wanted['num']:,} recordings of {wanted['num_words']} words in {figures['num_parts']:,} parts"
    show.table(
        [
            ("machine", f"{about['processor']}, {about['cpus']} CPUs, load {about['load']:.1f}"),
            ("software", f"Python {about['python']}, {packages}"),
            ("texts", f"{texts}, {num_errors / num_words:.2%} of words wrong"),
        ]
    )
    columns = ["", "seconds", "CPU seconds", "peak, GiB", "jiwer's loop takes times", "its script"]
    table = show.figures("From the command to its end", *columns)
    for one in [*sides, rival]:
        ours = [] if one is rival else [f"{times:.1f}" for times in _beside(one, rival).values()]
        table.add_row(one.name, f"{one.wall_s:,.1f}", f"{one.cpu_s:,.1f}", f"{one.peak_bytes / 2**30:.2f}", *ours)
    console = show.console(quiet=False)
    console.print(table)
    for one in [*sides, rival]:
        parts = ", ".join(f"{name} {seconds:,.1f}" for name, seconds in one.seconds.items())
        console.print(f"{one.name}, seconds: {parts}", soft_wrap=True)
    console.print(
        f"Aims: {TARGET_TIMES:g} times as fast as jiwer's loop alone, and under {TARGET_BYTES / 2**30:g} GiB. "
        "All sides counted the same errors of words and of characters.",
        soft_wrap=True,
    )
