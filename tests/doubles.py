"""Stages for tests: they fill units without files, add up audio without a model, and die on request; and an input that
is a list.
"""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa

from pipeline.config import ReadConfig
from pipeline.manifest import Doubled, Manifest
from pipeline.records import Recording
from pipeline.sources.entries import Entry, Piece
from pipeline.sources.spool import Spool
from pipeline.unit import Unit


class Made:
    """The input of a run whose emissions are made: recordings without files."""

    description = "made"
    schema = pa.schema([])

    def __init__(self, entries: list[Entry], unit_s: float) -> None:
        self._entries, self._unit_s = entries, unit_s

    def check(self) -> None:
        """Nothing is left to find out."""

    def pieces(self) -> Iterator[Piece]:
        return (Piece([entry]) for entry in self._entries)

    def freeze(self, manifest: Manifest) -> Doubled:
        with Spool(self, ReadConfig(unit_s=self._unit_s)) as listed:
            return listed.freeze(manifest)

    def close(self) -> None:
        """Nothing is held."""


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
