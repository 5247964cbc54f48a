"""What stages work on: the recordings of a unit, with what each stage spent on them.

Knows nothing of how it is carried from stage to stage.
"""

from dataclasses import dataclass, field

import pyarrow as pa

from pipeline.commit import Commit
from pipeline.records import Recording


@dataclass(slots=True)
class Unit:
    """The recordings of one task: one part, one commit. The manifest fixes which they are; stages fill them in."""

    id: int
    recordings: list[Recording] = field(default_factory=list)
    attempt: int = 0  # above 0, only what failed before is tried again
    columns: pa.Table | None = None  # passed-through columns of the input, a row per recording
    stage_s: dict[str, float] = field(default_factory=dict)  # wall seconds by stage
    stage_cpu_s: dict[str, float] = field(default_factory=dict)  # CPU seconds of the stage's own process
    num_retried: int = 0  # requests to a store that were made again
    commit: Commit | None = None  # what write left behind

    def pending(self) -> list[Recording]:
        """The recordings still to be worked on: neither failed nor finished by an earlier attempt."""
        return [recording for recording in self.recordings if recording.status == "pending"]

    def finish(self) -> None:
        """What has come through every stage without failing is done."""
        for recording in self.pending():
            recording.status = "ok"
