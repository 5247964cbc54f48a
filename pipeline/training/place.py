"""The directory of a training: the checkpoint, and beside it, in a folder, all that is needed to go on.

Knows nothing of what is in these files.
"""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline import disk
from pipeline.errors import UsageError
from pipeline.jsonfile import read_object
from pipeline.lock import LOCK
from pipeline.models.locate import SETTING_FILES
from pipeline.training.material import TABLE

WORK, SETTINGS = "training", "settings.json"
CHECKPOINT = (*SETTING_FILES, "model.safetensors")
MAY_CHANGE = ("steps", "decay_share")  # of the settings, while a training lasts


@dataclass(frozen=True)
class Place:
    checkpoint: Path

    @property
    def work(self) -> Path:
        return self.checkpoint / WORK

    @property
    def material(self) -> Path:
        return self.work / "material"

    @property
    def state(self) -> Path:
        return self.work / "state.pt"

    @property
    def log(self) -> Path:
        return self.work / "log.jsonl"

    def check(self, start: str = "") -> None:
        """That nothing is there which is not ours, nor the checkpoint to start from."""
        started = Path(start).expanduser().resolve()
        if start and (started == self.checkpoint.resolve() or started.is_relative_to(self.work.resolve())):
            raise UsageError(f"{self.checkpoint} is where the training starts from; name another directory to write to")
        if self.work.is_dir() and {path.name for path in self.work.iterdir()} - {LOCK}:
            if not (self.work / SETTINGS).exists():
                raise UsageError(f"{self.work} is not of a training; name another directory")
        elif found := [name for name in CHECKPOINT if (self.checkpoint / name).exists()]:
            raise UsageError(
                f"{self.checkpoint} holds another checkpoint ({found[0]}), of no training here; name another directory"
            )

    def clear(self) -> None:
        """Delete the checkpoint, whose letters may be others, and what led to it; what else is there stays."""
        for name in CHECKPOINT:
            (self.checkpoint / name).unlink(missing_ok=True)
        for path in self.work.iterdir():
            if path.is_dir():
                shutil.rmtree(path)
            elif path.name != LOCK:
                path.unlink()

    def settle(self, now: dict[str, Any]) -> None:
        """A training goes on as it began: only how long it takes may change."""
        path = self.work / SETTINGS
        if path.exists() and (self.material / TABLE).exists():  # else nothing is learnt or even read as yet
            then = read_object(path)
            changed = [name for name in now if name not in MAY_CHANGE and then.get(name, now[name]) != now[name]]
            if changed:
                told = ", ".join(f"{name} was {_said(then[name])}, is {_said(now[name])}" for name in changed)
                raise UsageError(
                    f"{self.checkpoint} holds a training that began otherwise ({told}); --overwrite starts afresh"
                )
        disk.publish(str(path), f"{json.dumps(now, indent=1)}\n".encode())


def _said(value: Any) -> Any:
    return "none" if value == "" else value
