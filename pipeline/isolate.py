"""Finding the recording that kills its process: a unit that was lost is run again, one recording at a time.

Knows nothing of why a process dies; a crash in native code and the kernel's memory killer look alike from here.
"""

from typing import Any

from pipeline.carry import RunStage, Stage, StageError, timed
from pipeline.errors import RecordingError
from pipeline.records import Recording, Unit

STRIKES = 2  # a node may die by itself under an innocent recording; twice in a row is no accident


def isolate(stages: list[Stage], unit: Unit) -> Unit:
    """A unit with its recordings listed -> the same unit written, the killers in it failed and the others done."""
    *steps, write = stages
    room = _Room(steps)
    try:
        for number, recording in enumerate(unit.recordings):
            if recording.status == "pending":
                unit.recordings[number] = room.run(recording)
    finally:
        room.close()
    return timed(write.name, write.make(), unit)


class _Room:
    """An actor that may die; the next recording then gets a new one."""

    def __init__(self, steps: list[Stage]) -> None:
        self._steps = steps
        self._actor: Any = None

    def run(self, recording: Recording) -> Recording:
        for _ in range(STRIKES):
            survived, stage = self._attempt(recording)
            if survived is not None:
                return survived
        recording.fail(stage, RecordingError("killed its process"))
        return recording

    def close(self) -> None:
        if self._actor is not None:
            import ray

            ray.kill(self._actor)
            self._actor = None

    def _attempt(self, recording: Recording) -> tuple[Recording | None, str]:
        """The recording after every step, or the name of the step that did not come back."""
        import ray
        from ray.exceptions import RayError, RayTaskError

        if self._actor is None:
            gpus = max(step.pool.gpus for step in self._steps)
            self._actor = ray.remote(_Steps).options(num_cpus=0, num_gpus=gpus, max_restarts=0).remote(self._steps)
        step_name = self._steps[0].name
        try:
            ray.get(self._actor.begin.remote(recording))
            for step_name in (step.name for step in self._steps):
                ray.get(self._actor.run.remote(step_name))
            return ray.get(self._actor.end.remote()), step_name
        except RayTaskError as error:
            raise StageError(f"{step_name} failed with {error}") from error
        except RayError:
            self._actor = None
            return None, step_name


class _Steps:
    """The stages in one process, each built when it is first needed, and the recording that is passing through."""

    def __init__(self, steps: list[Stage]) -> None:
        self._steps = {step.name: step for step in steps}
        self._made: dict[str, RunStage] = {}
        self._unit = Unit(0)

    def begin(self, recording: Recording) -> None:
        self._unit = Unit(0, [recording])

    def run(self, name: str) -> None:
        if name not in self._made:
            self._made[name] = self._steps[name].make()
        self._unit = timed(name, self._made[name], self._unit)

    def end(self) -> Recording:
        return self._unit.recordings[0]
