"""A command in a process of its own: how long it takes, what it says when, and the memory of it and its children.

Knows nothing of what the command does.
"""

import os
import re
import subprocess
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import StageError

FIRST_AFTER_S = 0.05  # then ever more seldom
SAMPLE_EVERY_S = 0.5  # at last: to add up the pages of a process takes some hundredths of a second for each GB
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Measured:
    wall_s: float
    cpu_s: float  # of all its processes
    peak_bytes: int  # of all its processes at a time; what they share counts once
    out: str
    told: tuple[tuple[float, str], ...]  # lines on stderr, and the seconds after which they came


def measured(command: Sequence[str]) -> Measured:
    began = time.perf_counter()
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert child.stdout is not None and child.stderr is not None
    told: list[tuple[float, str]] = []
    out: list[str] = []
    tree = _Tree(child.pid)
    errors = child.stderr
    threads = (
        threading.Thread(target=lambda: told.extend((time.perf_counter() - began, line.rstrip()) for line in errors)),
        threading.Thread(target=lambda: out.extend(child.stdout or ())),
        threading.Thread(target=tree.watch),
    )
    for thread in threads:
        thread.start()
    _, status, used = os.wait4(child.pid, 0)
    wall_s = time.perf_counter() - began
    child.returncode = os.waitstatus_to_exitcode(status)
    tree.done.set()
    for thread in threads:
        thread.join()
    if child.returncode:
        raise StageError(f"{' '.join(command)}: exit {child.returncode}", "\n".join(line for _, line in told))
    cpu_s = max(used.ru_utime + used.ru_stime, sum(tree.cpu_s.values()))
    return Measured(wall_s, cpu_s, tree.peak_bytes, "".join(out), tuple(told))


class _Tree:
    """A process and all that it has started, looked at now and then."""

    def __init__(self, root: int) -> None:
        self._root = root
        self.done = threading.Event()
        self.peak_bytes = 0
        self.cpu_s: dict[int, float] = {}  # by process, when last seen

    def watch(self) -> None:
        wait_s = FIRST_AFTER_S
        while not self.done.wait(wait_s):
            wait_s = min(1.5 * wait_s, SAMPLE_EVERY_S)
            found = self._processes()
            # Not `ru_maxrss`: a process has that from whoever started it, too.
            self.peak_bytes = max(self.peak_bytes, sum(map(_bytes, found)), *map(_peak_bytes, found))

    def _processes(self) -> list[int]:
        parents = {}
        for path in Path("/proc").glob("[0-9]*/stat"):
            try:
                fields = path.read_text().rpartition(")")[2].split()
            except (FileNotFoundError, ProcessLookupError):
                continue
            parents[int(path.parent.name)] = int(fields[1]), (int(fields[11]) + int(fields[12])) / TICKS
        found = [self._root] if self._root in parents else []
        for one in found:  # it grows meanwhile
            found += [pid for pid, (parent, _) in parents.items() if parent == one]
            self.cpu_s[one] = parents[one][1]
        return found


def _bytes(pid: int) -> int:
    """Its own pages, and of those that it shares its share."""
    return _told(pid, "smaps_rollup", "Pss")


def _peak_bytes(pid: int) -> int:
    """The most that it held so far, which a look now and then could miss."""
    return _told(pid, "status", "VmHWM")


def _told(pid: int, file: str, name: str) -> int:
    try:
        match = re.search(rf"^{name}:\s+(\d+) kB", Path(f"/proc/{pid}/{file}").read_text(), re.MULTILINE)
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return int(match[1]) * 1024 if match else 0
