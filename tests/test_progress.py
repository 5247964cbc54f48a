"""What a person sees while a run is going on, and the sums behind it."""

import dataclasses
import io
import re

import pytest
from rich.console import Console

from pipeline.commit import Commit, Tally
from pipeline.manifest import UnitInfo
from pipeline.patience import count_retried
from pipeline.progress import Progress, clock, hours
from pipeline.records import ErrorCounts

UNITS = [UnitInfo(number, 10, 3600.0, True) for number in range(4)]


def commit(unit: int, **tally) -> Commit:
    values = {"num_recordings": 10, "num_ok": 10, "audio_s": 3600.0, **tally}
    return Commit(unit, "", 0, "", "", Tally(**values))


def shown(is_terminal: bool, log_every_s: float = 0.0) -> tuple[Progress, io.StringIO]:
    screen = io.StringIO()
    return Progress(log_every_s, Console(file=screen, force_terminal=is_terminal, width=200)), screen


def test_lines_tell_hours_recordings_speed_rest_and_failures():
    progress, screen = shown(is_terminal=False)
    with progress:
        progress.begin(UNITS, [commit(0)])
        progress.phase("transcribing")
        progress.add(commit(1, num_ok=8, num_failed=2, failures={"read: not audio": 2}))
    line = screen.getvalue().splitlines()[-1]
    assert "2.00 h of 4.00 h of audio" in line
    assert "20 of 40 recordings" in line
    assert re.search(r"[\d,]+ h of audio per hour", line)
    assert " left" in line
    assert "2 failed (read: not audio 2)" in line


@pytest.mark.parametrize("is_terminal", [True, False])
def test_requests_that_were_made_again_are_told_once(is_terminal):
    """Of other processes as their commits have it, of this one as it counts itself."""
    progress, screen = shown(is_terminal)
    with progress:
        progress.phase("listing")
        assert progress.num_retried == 0
        count_retried(2)
        progress.begin(UNITS, [dataclasses.replace(commit(0), num_retried=1000)])
        progress.add(dataclasses.replace(commit(1), num_retried=10))
        progress.add(dataclasses.replace(commit(2), num_retried=2), elsewhere=False)
        if is_terminal:
            progress._live.refresh()
        assert progress.num_retried == 12
    assert "12 requests retried" in screen.getvalue()


def test_what_was_done_before_does_not_count_towards_the_speed():
    progress, screen = shown(is_terminal=False)
    with progress:
        progress.begin(UNITS, [commit(n) for n in range(3)])
        progress.phase("transcribing")
    assert "per hour" not in screen.getvalue()


def test_what_comes_after_another_run_is_counted_by_itself():
    """Of several runs that are scored one after the other."""
    progress, screen = shown(is_terminal=False)
    with progress:
        progress.begin(UNITS, [commit(0), commit(1, num_ok=8, num_failed=2, failures={"read: not audio": 2})])
        progress.end()
        progress.begin(UNITS[:2], [commit(0)])
        progress.add(commit(1))
    line = screen.getvalue().splitlines()[-1]
    assert "2.00 h of 2.00 h of audio" in line
    assert "20 of 20 recordings" in line
    assert "failed" not in line


@pytest.mark.parametrize("is_terminal", [True, False])
def test_an_ended_run_is_no_bar_over_what_follows(is_terminal):
    progress, screen = shown(is_terminal)
    with progress:
        progress.begin(UNITS, [commit(0)])
        progress.end()
        before = len(screen.getvalue())
        progress.phase("writing the report")
    assert "writing the report" in screen.getvalue()[before:]
    assert "of audio" not in screen.getvalue()[before:]


def test_lines_come_no_more_often_than_asked():
    progress, screen = shown(is_terminal=False, log_every_s=1000)
    with progress:
        progress.begin(UNITS, [])
        for number in range(4):
            progress.add(commit(number))
    assert screen.getvalue() == ""


def test_a_terminal_gets_a_panel_that_leaves_nothing_behind():
    progress, screen = shown(is_terminal=True)
    with progress:
        progress.phase("starting Ray")
        progress.begin(UNITS, [])
        progress.phase("transcribing")
        progress.add(commit(0))
        progress._live.refresh()
    assert "1.00 h of 4.00 h of audio" in screen.getvalue()
    assert "transcribing" not in screen.getvalue().split("\x1b")[-1]


def test_estimated_hours_are_called_so():
    progress, screen = shown(is_terminal=False)
    with progress:
        progress.begin([UnitInfo(0, 10, 3600.0, False)], [])
        progress.add(commit(0))
    assert "of about 1.00 h" in screen.getvalue()


@pytest.mark.parametrize(
    ("seconds", "told"),
    [(0, "0 s"), (59.4, "59 s"), (59.6, "1 min 00 s"), (3599.6, "1 h 00 min"), (90061, "25 h 01 min")],
)
def test_times_are_rounded_once(seconds, told):
    """Rounding each part by itself gives 1 min 60 s."""
    assert clock(seconds) == told


def test_small_runs_show_something():
    assert hours(59) == "59 s"
    assert hours(90) == "1.5 min"
    assert hours(5400) == "1.50 h"


def test_tallies_add_and_keep_every_reason():
    one = Tally(2, 1, 1, {"read: not audio": 1}, 5.0, 1, 0, ErrorCounts(1, 1, 1, 1))
    two = Tally(3, 1, 2, {"read: not audio": 1, "read: empty file": 1}, 6.0, 1, 1, ErrorCounts(2, 0, 0, 0))
    both = one + two
    assert (both.num_recordings, both.num_ok, both.num_failed, both.audio_s) == (5, 2, 3, 11.0)
    assert both.failures == {"read: not audio": 2, "read: empty file": 1}
    assert both.words == ErrorCounts(3, 1, 1, 1)
    assert both.words.rate == 3 / 5
