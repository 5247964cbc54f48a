"""What a run came to, from its manifest and commits alone: the same figures while it runs, at its end, and later.

Knows nothing of how they are shown.
"""

import dataclasses
import json
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from pipeline.commit import Commit, Tally
from pipeline.manifest import UnitInfo
from pipeline.run import Run


@dataclass(frozen=True)
class Session:
    """One driver's work on a run, from its start to its end."""

    wall_s: float
    audio_s: float  # of the units it committed
    num_retried: int = 0  # requests to stores that the driver itself made again


@dataclass(frozen=True)
class Summary:
    run: str  # where it is
    num_units: int
    num_committed: int
    num_recordings: int
    num_doubled_ids: int  # recordings whose id another had already
    tally: Tally  # of what is committed
    seconds_total: float  # of all audio: as the manifest knows it, as it was read, or else estimated from sizes
    seconds_known: bool  # nothing of it is an estimate
    normalizer: str = "none"  # of texts, before they are compared
    language: str = ""  # in which references are said, to compare phones
    emissions_bytes: int = 0  # kept
    num_retried: int = 0  # requests to stores that were made again, by what was committed and by the session's driver
    stage_s: dict[str, float] = field(default_factory=dict)  # wall seconds of all workers together
    stage_cpu_s: dict[str, float] = field(default_factory=dict)
    session: Session | None = None  # the last that did something; None where the run is only looked at

    @property
    def complete(self) -> bool:
        return self.num_committed == self.num_units

    @property
    def failed_share(self) -> float:
        return self.tally.num_failed / self.tally.num_recordings if self.tally.num_recordings else 0.0

    def as_dict(self) -> dict[str, Any]:
        """For summary.json and --json: nested plain values, the derived ones included."""
        values = dataclasses.asdict(self)
        tally = self.tally
        rates = {"wer": tally.words.rate, "cer": tally.chars.rate, "per": tally.phones.rate}
        return values | {"complete": self.complete} | rates


def summarise(run: Run, units: list[UnitInfo], commits: list[Commit], session: Session | None = None) -> Summary:
    stage_s: Counter[str] = Counter()
    stage_cpu_s: Counter[str] = Counter()
    for commit in commits:
        stage_s.update(commit.stage_s)
        stage_cpu_s.update(commit.stage_cpu_s)
    info = run.info()
    seconds, known = _all_audio(units, commits)
    scoring = info.get("scoring", {})  # runs of earlier versions compared texts as they are
    return Summary(
        run=run.folder.url,
        num_units=len(units),
        num_committed=len(commits),
        num_recordings=sum(unit.num_recordings for unit in units),
        num_doubled_ids=info["num_doubled_ids"],
        tally=sum((commit.tally for commit in commits), Tally()),
        seconds_total=seconds,
        seconds_known=known,
        normalizer=scoring.get("normalizer", "none"),
        language=scoring.get("language", ""),
        emissions_bytes=sum(commit.emissions.size for commit in commits if commit.emissions),
        num_retried=sum(commit.num_retried for commit in commits) + (session.num_retried if session else 0),
        stage_s=dict(stage_s),
        stage_cpu_s=dict(stage_cpu_s),
        session=session,
    )


def _all_audio(units: list[UnitInfo], commits: list[Commit]) -> tuple[float, bool]:
    """Its seconds, and whether they are known: a recording that could not be read is taken to be as long as others."""
    done = {commit.unit: commit.tally for commit in commits}
    seconds, known = 0.0, True
    for unit in units:
        tally = Tally() if unit.seconds_known else done.get(unit.id, Tally())
        share_ok = tally.num_ok / max(tally.num_recordings, 1)
        seconds += tally.audio_s / share_ok if share_ok else unit.seconds
        known = known and (unit.seconds_known or share_ok == 1)
    return seconds, known


def summary_json(summary: Summary) -> bytes:
    return json.dumps(summary.as_dict(), indent=1).encode()
