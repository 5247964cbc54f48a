"""What a run took: seconds, throughput and cost, from its commits and the session that its summary tells of.

Knows nothing of rows, or of which machines did it: a price is that of all of them for an hour.
"""

import json
from collections import Counter
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from pipeline.commit import Commit
from pipeline.evaluation.results import Speed
from pipeline.run import SUMMARY, Run

PAUSE_S = 60.0  # without any unit at work: nobody ran it, or it was starting; what is shorter is the framework's
MAX_POINTS = 100
COMMITS_PER_POINT = 3  # fewer would show how long a unit takes, not how fast the run is
MAX_RETRIED = 0.05  # of the audio in units that were tried again, whose first attempts nothing tells of any more

Seconds = npt.NDArray[np.float64]


def speed(run: Run, price_per_hour: float | None = None, committed: Sequence[Commit] | None = None) -> Speed:
    """Of what is committed, where that is not told as it is now. Compiling, and commits that another attempt has
    replaced, are in no figure.
    """
    counted = run.commits().values() if committed is None else committed
    commits = sorted(counted, key=lambda commit: commit.written_at)
    stage_s: Counter[str] = Counter()
    for commit in commits:
        stage_s.update(commit.stage_s)
    audio_s = sum(commit.tally.audio_s for commit in commits)
    retried_s = sum(commit.tally.audio_s for commit in commits if commit.attempt)
    session_s = _session_s(run, audio_s)
    at_work_s, over_time = _at_work(commits) if retried_s <= MAX_RETRIED * audio_s else (None, ())
    wall_s = at_work_s if session_s is None else session_s
    cost = None if price_per_hour is None or wall_s is None else price_per_hour * wall_s / 3600
    return Speed(
        audio_s=audio_s,
        wall_s=wall_s,
        stage_s=dict(stage_s),
        over_time=over_time,
        price_per_hour=price_per_hour,
        cost=cost,
        cost_per_audio_hour=cost / (audio_s / 3600) if cost is not None and audio_s else None,
        has_start=session_s is not None,
    )


def _session_s(run: Run, audio_s: float) -> float | None:
    """From the command to its end, if one session did it all: the only one that is told of is the last."""
    try:
        session = json.loads(run.folder.read(SUMMARY)).get("session")
    except FileNotFoundError:  # not complete
        return None
    did_all = session is not None and np.isclose(session["audio_s"], audio_s, rtol=1e-6)
    return float(session["wall_s"]) if did_all else None


def _at_work(commits: Sequence[Commit]) -> tuple[float | None, tuple[tuple[float, float], ...]]:
    """Seconds from the first unit's beginning to the last one's end, without pauses; and the throughput on the way.

    A unit is at work for as long before its commit as its stages took, though in between it may have waited.
    """
    if not commits or not commits[0].written_at:  # of a version that did not tell
        return None, ()
    ends = np.array([commit.written_at for commit in commits])
    starts = ends - np.array([sum(commit.stage_s.values()) for commit in commits])
    order = np.argsort(starts, kind="stable")
    idle_from, idle_to = np.maximum.accumulate(ends[order])[:-1], starts[order][1:]
    idle_s = idle_to - idle_from
    is_pause = idle_s > PAUSE_S
    pauses_before = np.append(0.0, np.cumsum(idle_s[is_pause]))
    at_work = ends - pauses_before[np.searchsorted(idle_to[is_pause], ends, side="right")] - starts.min()
    return float(at_work[-1]), _over_time(commits, at_work - at_work[0])


def _over_time(commits: Sequence[Commit], seconds: Seconds) -> tuple[tuple[float, float], ...]:
    """From one point to the next, by the commits between; the first commit is where time begins.

    Units that were tried again are left out: most of their audio came with an earlier commit.
    """
    num_points = min(MAX_POINTS, (len(commits) - 1) // COMMITS_PER_POINT)
    if num_points < 1 or seconds[-1] <= 0:
        return ()
    audio_s = [0.0 if commit.attempt else commit.tally.audio_s for commit in commits]
    ends = np.linspace(0.0, seconds[-1], num_points + 1)[1:]
    sums = np.bincount(np.searchsorted(ends, seconds[1:]), weights=audio_s[1:], minlength=num_points)
    return tuple(zip(ends.tolist(), (sums / ends[0]).tolist(), strict=True))
