"""Stages for tests: they fill units without files, add up audio without a model, and die on request."""

import os
import signal
from pathlib import Path

import numpy as np

from pipeline.records import Recording
from pipeline.unit import Unit


def listed(unit: Unit) -> Unit:
    """A stage that fills a unit with recordings, some of audio."""
    if not unit.recordings:
        unit.recordings = [Recording(f"{unit.id}-{n}", "", audio=np.full(n, unit.id, np.float32)) for n in range(4)]
    return unit


def finish(unit: Unit) -> Unit:
    unit.finish()
    return unit


class Sum:
    """A stage with state, for an actor: the text is the sum of the samples."""

    def __call__(self, unit: Unit) -> Unit:
        for recording in unit.pending():
            recording.text = str(float(recording.audio.sum()))
        return unit


class Deadly:
    """Dies of one recording; leaves a mark each time, so that the deaths can be counted."""

    def __init__(self, victim: str, marks: Path) -> None:
        self.victim, self.marks = victim, marks

    def __call__(self, unit: Unit) -> Unit:
        if any(recording.id == self.victim for recording in unit.pending()):
            (self.marks / f"death-{len(list(self.marks.glob('death-*')))}").touch()
            os.kill(os.getpid(), signal.SIGSEGV)
        return unit
