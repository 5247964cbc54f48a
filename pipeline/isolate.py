"""Finding the recording that kills its process: a unit that was lost is run again, one recording at a time.

Knows nothing of why a process dies; a crash in native code and the kernel's memory killer look alike from here.
"""

from typing import Any

from pipeline.carry import Fault, RunStage, Stage, timed
from pipeline.errors import RecordingError, StageError
from pipeline.records import Recording
from pipeline.unit import Unit

STRIKES = 3  # processes also die of what others do: a node is lost, the memory runs out; thrice in a row is no accident


def isolate(stages: list[Stage], unit: Unit) -> Unit:
    """A unit with its recordings listed -> the same unit written, the killers in it failed and the others done."""
    *steps, write = stages
    room = _Room(steps)
    try:
        for number, recording in enumerate(unit.recordings):
            if recording.status == "pending":
                unit.recordings[number] = room.run(Unit(unit.id, [recording]))
    finally:
        room.close()
    return timed(write.name, write.make(), unit)


class _Room:
    """An actor that may die; the next recording then gets a new one."""

    def __init__(self, steps: list[Stage]) -> None:
        self._steps = steps
        self._actor: Any = None

    def run(self, unit: Unit) -> Recording:
        """What becomes of the one recording of this unit."""
        for _ in range(STRIKES):
            survived, stage = self._attempt(unit)
            if survived is not None:
                return survived.recordings[0]
        (recording,) = unit.recordings
        recording.fail(stage, RecordingError("killed its process"))
        return recording

    def close(self) -> None:
        if self._actor is not None:
            import ray

            ray.kill(self._actor)
            self._actor = None

    def _attempt(self, unit: Unit) -> tuple[Unit | None, str]:
        """The unit after every step, or the name of the step that did not come back."""
        import ray
        from ray.exceptions import OutOfMemoryError, RayActorError

        if self._actor is None:
            self._actor = self._new_actor()
        for step in self._steps:
            try:
                passed: Unit | Fault = ray.get(self._actor.run.remote(step.name, unit))
            except (RayActorError, OutOfMemoryError):
                self.close()  # "unavailable" may only mean that the news of its death is late
                return None, step.name
            if isinstance(passed, Fault):
                raise passed.error
            unit = passed
        return unit, ""

    def _new_actor(self) -> Any:
        """With every stage built, before any recording can be blamed."""
        import ray
        from ray.exceptions import RayError

        gpus = max(step.pool.gpus for step in self._steps)
        remote: Any = ray.remote(_Steps)
        died: RayError | None = None
        for _ in range(STRIKES):
            actor = remote.options(num_cpus=0, num_gpus=gpus, max_restarts=0).remote(self._steps)
            try:
                fault: Fault | None = ray.get(actor.build.remote())
            except RayError as error:
                ray.kill(actor)
                died = error
                continue
            if fault is not None:
                raise fault.error
            return actor
        raise StageError(f"a process died {STRIKES} times before it had seen a recording: {died}") from died


class _Steps:
    """The stages in one process. A recording's audio travels between its driver and here, which its rarity excuses."""

    def __init__(self, steps: list[Stage]) -> None:
        self._steps = steps
        self._made: dict[str, RunStage] = {}

    def build(self) -> Fault | None:
        for step in self._steps:
            try:
                self._made[step.name] = step.make()
            except Exception as error:
                return Fault.of(step.name, error)
        return None

    def run(self, name: str, unit: Unit) -> Unit | Fault:
        try:
            return timed(name, self._made[name], unit)
        except Exception as error:
            return Fault.of(name, error)
