"""Killing parts of a run: which processes it consists of, what each of them is, and when to kill which.

Knows nothing of what the run does; a process is told by its place below the driver and by its title.
"""

import contextlib
import os
import random
import signal
import subprocess
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

# What a title holds -> what that process is. Ray calls its workers by what they do just now.
TITLES = (
    ("pipeline.read.child", "audio decoder"),
    ("ray::_Steps", "isolating actor"),
    ("ray::MapWorker", "actor"),
    ("ray::MapBatches", "task"),
    ("ray::IDLE", "idle worker"),
    ("ray::_", "actor of Ray's own"),
    ("ray::ActorLocationTracker", "actor of Ray's own"),
    ("raylet/raylet", "node"),
)
NODE, GROUP = "node", "driver and all"  # with these the run ends; the same command goes on
ENDS_S = 240.0  # for a run that is left alone, or whose node is gone: longer is a hang


def descendants(process: int) -> list[int]:
    """All that it started, and what these started; what has lost its parent is no longer among them."""
    children: dict[int, list[int]] = defaultdict(list)
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                parent = (entry / "stat").read_text().rpartition(")")[2].split()[1]
                children[int(parent)].append(int(entry.name))
    found, left = [], [process]
    while left:
        below = children[left.pop()]
        found += below
        left += below
    return found


def parts(driver: int) -> dict[int, str]:
    """The processes below a driver that are worth killing -> what they are."""
    found = {}
    for process in descendants(driver):
        with contextlib.suppress(OSError):
            title = Path(f"/proc/{process}/cmdline").read_text()
            kind = next((kind for sign, kind in TITLES if sign in title), None)
            if kind is not None:
                found[process] = kind
    return found


@dataclass
class Killer:
    """Kills at moments and picks victims that a seed decides, as far as a machine's speed lets it; counts them."""

    seed: int
    share_of_ends: float = 0.15  # of kills that end the run: of the driver with all its processes, or of a node
    share_of_nodes: float = 0.3  # of these; their drivers take some 15 s to notice
    kills: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)

    def accompany(self, run: "subprocess.Popen[bytes]", num_commits: Callable[[], int], up_to: int) -> int | None:
        """Until so many were killed in all. The exit code of a run that came to its own end, else None."""
        try:
            while self.kills.total() < up_to and self._wait(run, num_commits):
                if self._random.random() < self.share_of_ends:
                    self._end(run)
                    return None
                self._kill_a_part(run)
            return run.wait(ENDS_S)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(run.pid, signal.SIGKILL)
            run.wait()

    def _wait(self, run: "subprocess.Popen[bytes]", num_commits: Callable[[], int]) -> bool:
        """Anything from at once to some seconds, or until shortly after one more commit; whether the run goes on."""
        goal = num_commits() + self._random.randint(1, 2) if self._random.random() < 0.5 else None
        until = time.monotonic() + (10.0 if goal is not None else self._random.uniform(0.2, 3.0))
        while time.monotonic() < until and run.poll() is None:
            if goal is not None and num_commits() >= goal:
                time.sleep(self._random.uniform(0, 0.1))
                break
            time.sleep(0.02)
        return run.poll() is None

    def _end(self, run: "subprocess.Popen[bytes]") -> None:
        nodes = [process for process, kind in parts(run.pid).items() if kind == NODE]
        if nodes and self._random.random() < self.share_of_nodes:
            os.kill(nodes[0], signal.SIGKILL)
            self.kills[NODE] += 1
            run.wait(ENDS_S)
        else:
            os.killpg(run.pid, signal.SIGKILL)
            self.kills[GROUP] += 1

    def _kill_a_part(self, run: "subprocess.Popen[bytes]") -> None:
        """One of a kind that is drawn first, so that the few actors are hit as often as the many idle workers."""
        by_kind: dict[str, list[int]] = defaultdict(list)
        for process, kind in parts(run.pid).items():
            if kind != NODE:
                by_kind[kind].append(process)
        if by_kind:
            kind = self._random.choice(sorted(by_kind))
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._random.choice(sorted(by_kind[kind])), signal.SIGKILL)
                self.kills[kind] += 1
