"""Progress on stderr: one live panel on a terminal, plain lines elsewhere. Hours, speed, time left, failures.

Knows nothing of the run but the commits it is told of.
"""

import time
from types import TracebackType

from rich.console import Console, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from pipeline.commit import Commit, Tally
from pipeline.manifest import UnitInfo
from pipeline.patience import num_retried

MAX_REASONS = 4  # failure reasons in the panel; all of them are in the summary


class Progress:
    """Told of phases and commits; shows them inside a `with` block."""

    def __init__(self, log_every_s: float, console: Console | None = None) -> None:
        self._console = console or Console(stderr=True, highlight=False)
        self._log_every_s = log_every_s
        self._live: Live | None = None
        self._phase = ""
        self._tally = Tally()
        self._seconds: dict[int, float] = {}  # audio seconds by unit, as the manifest has them
        self._seconds_known = True
        self._num_recordings = 0
        self._retried: dict[int, Commit] = {}
        self._requests_before, self._requests_elsewhere = num_retried(), 0
        self._listed_s = 0.0  # what the manifest says of what is done
        self._done_s = self._done_before_s = 0.0
        self._start = self._last_line = time.monotonic()

    def __enter__(self) -> "Progress":
        if self._console.is_terminal:
            self._live = Live(get_renderable=self._panel, console=self._console, refresh_per_second=2, transient=True)
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def phase(self, text: str) -> None:
        """What is going on from now on; the clock counts from here."""
        self._phase, self._start = text, time.monotonic()
        self._done_before_s = self._done_s
        if self._live is None:
            self._line(text)
        else:
            self._live.refresh()  # at once: what follows may hold stderr back

    def step(self, text: str) -> None:
        """How far the phase is: in the panel at its own pace, and where there is no terminal only now and then."""
        if self._live is not None:
            self._phase = text
        elif time.monotonic() - self._last_line >= self._log_every_s:
            self._line(text)

    def note(self, text: str) -> None:
        """A line that stays."""
        if self._live is None:
            self._line(text)
        else:
            self._console.print(text, soft_wrap=True, markup=False)

    def warn(self, text: str) -> None:
        """Likewise, of what is probably not meant."""
        self._console.print(f"nightshift: warning: {text}", soft_wrap=True, markup=False)

    def begin(self, units: list[UnitInfo], done: list[Commit], retried: dict[int, Commit] | None = None) -> None:
        """What there is to do in all. What is done already counts, but not towards the speed, in retried units too."""
        self._tally, self._listed_s, self._done_s = Tally(), 0.0, 0.0
        self._retried = retried or {}
        self._seconds = {unit.id: unit.seconds for unit in units}
        self._seconds_known = all(unit.seconds_known for unit in units)
        self._num_recordings = sum(unit.num_recordings for unit in units)
        for commit in done:
            self._count(commit)
        self._done_before_s = self._done_s

    def end(self) -> None:
        """What follows is not measured in hours."""
        self._seconds = {}

    @property
    def num_retried(self) -> int:
        """Requests to stores that were made again since the start, by this process and those it is told of."""
        return num_retried() - self._requests_before + self._requests_elsewhere

    def add(self, commit: Commit, elsewhere: bool = True) -> None:
        """One more unit is done, by other processes or by this one."""
        self._requests_elsewhere += commit.num_retried if elsewhere else 0
        self._count(commit)
        if (before := self._retried.get(commit.unit)) is not None:
            self._done_before_s += before.tally.audio_s
        if self._live is None and time.monotonic() - self._last_line >= self._log_every_s:
            self._line(self._sentence())

    def _count(self, commit: Commit) -> None:
        self._tally += commit.tally
        self._listed_s += self._seconds[commit.unit]
        # Where durations are estimates, what was done tells the truth; a recording that failed has only its estimate.
        share_ok = commit.tally.num_ok / max(commit.tally.num_recordings, 1)
        estimate_stands = self._seconds_known or not share_ok
        self._done_s += self._seconds[commit.unit] if estimate_stands else commit.tally.audio_s / share_ok

    def _total_s(self) -> float:
        """What is done, and what is left by the estimates, corrected by how far off they were so far."""
        left_s = sum(self._seconds.values()) - self._listed_s
        return self._done_s + left_s * (self._done_s / self._listed_s if self._listed_s else 1.0)

    def _line(self, text: str) -> None:
        self._last_line = time.monotonic()
        self._console.print(f"{time.strftime('%H:%M:%S')} {text}", soft_wrap=True, markup=False)

    def _sentence(self) -> str:
        tally, about = self._tally, "" if self._seconds_known else "about "
        total_s = self._total_s()
        elapsed_s = time.monotonic() - self._start
        speed = (self._done_s - self._done_before_s) / elapsed_s if elapsed_s > 0 else 0.0
        parts = [f"{hours(self._done_s)} of {about}{hours(total_s)} of audio"]
        parts.append(f"{tally.num_recordings:,} of {self._num_recordings:,} recordings")
        if speed > 0:
            parts.append(f"{speed:,.0f} h of audio per hour")
            parts.append(f"{clock((total_s - self._done_s) / speed)} left")
        if tally.num_failed:
            reasons = sorted(tally.failures.items(), key=lambda item: -item[1])
            told = ", ".join(f"{reason} {count}" for reason, count in reasons[:MAX_REASONS])
            parts.append(f"{tally.num_failed} failed ({told}{', ...' if len(reasons) > MAX_REASONS else ''})")
        if self.num_retried:
            parts.append(f"{self.num_retried:,} requests retried")
        return " | ".join(parts)

    def _panel(self) -> RenderableType:
        elapsed = clock(time.monotonic() - self._start)
        if not self._seconds:
            retried = f", {self.num_retried:,} requests retried" if self.num_retried else ""
            return Text(f"{self._phase} ({elapsed}{retried})")
        panel = Table.grid()
        panel.add_row(ProgressBar(total=max(self._total_s(), 1e-9), completed=self._done_s, width=40))
        panel.add_row(Text(f"{self._phase} {elapsed} | {self._sentence()}"))
        return panel


def hours(seconds: float) -> str:
    """3,725 s -> 1.03 h; what is under an hour in minutes or seconds, so that small runs show something."""
    if seconds >= 3600:
        return f"{seconds / 3600:,.2f} h"
    return f"{seconds / 60:.1f} min" if seconds >= 60 else f"{seconds:.0f} s"


def clock(seconds: float) -> str:
    whole = int(seconds + 0.5)
    if whole >= 3600:
        return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
    return f"{whole // 60} min {whole % 60:02d} s" if whole >= 60 else f"{whole} s"
