"""Recordings that kill what touches them, through Ray: each is a row with its reason, and costs no other anything."""

import os
import signal
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import pytest

from pipeline import config as configuration
from pipeline.carry import RunStage, Stage
from pipeline.config import Config
from pipeline.drive import PASSES, drive
from pipeline.isolate import STRIKES
from pipeline.progress import Progress
from pipeline.read import reader
from pipeline.read.guard import Guard, Limits
from pipeline.request import Request
from pipeline.resources import Pools
from pipeline.run import Run
from pipeline.unit import Unit
from tests import corpora
from tests.faults.runs import rows

pytestmark = [pytest.mark.faults, pytest.mark.ray]

DECODER = "tests.faults.deadly_decoder:decode"
LIMITS = ("read.max_memory_gb=1", "read.decode_timeout_s=3")  # of this test alone: a worker keeps its decoders by them


def run(source: Path, out: Path, sample: Path, *settings: str, **how: Any):
    keys = [f'encode.model="{sample / "model"}"', "read.unit_s=5", *LIMITS, *settings]
    with Progress(log_every_s=1000) as progress:
        return drive(Request(str(source), str(out), configuration.load(None, keys)), progress, **how)


def with_deadly_decoder(config: Config, run: Run, pools: Pools) -> list[Stage]:
    _, *rest = Request("", "", config).stages(config, run, pools)
    return [Stage("read", partial(read_deadly, config, run), pools.tasks), *rest]


def read_deadly(config: Config, run: Run) -> RunStage:
    limits = Limits.of(config.read)
    reader._guards.setdefault(limits, Guard(limits, DECODER))
    return reader.Reader(config.read, run.load)


def test_a_decoder_that_crashes_eats_memory_or_never_ends_costs_its_recording_alone(sample, tmp_path, ray_here):
    source = corpora.write("files", tmp_path / "corpus", corpora.clips()[:8])
    run(source, tmp_path / "calm", sample, "run.address=here")
    for number, order in enumerate((b"segfault", b"hog", b"endless")):
        (source / f"clip-0{2 * number}-and-a-half.flac").write_bytes(order)
    result = run(source, tmp_path / "out", sample, "run.address=local", make_stages=with_deadly_decoder)
    found = {row["id"]: row for row in rows(tmp_path / "out")}
    assert result.complete
    assert {name: (row["error"], row["error_detail"]) for name, row in found.items() if row["status"] == "failed"} == {
        "clip-00-and-a-half.flac": ("read: crashed the audio decoder", "SIGSEGV"),
        "clip-02-and-a-half.flac": ("read: needs too much memory (read.max_memory_gb)", None),
        "clip-04-and-a-half.flac": ("read: decoding took over 3 s (read.decode_timeout_s)", None),
    }
    assert [row for row in found.values() if row["status"] == "ok"] == rows(tmp_path / "calm")


class Deaths:
    """A stage in whose process some recordings are the death of it, each of a kind; every death leaves a mark."""

    ways: ClassVar = {"clip-01.flac": signal.SIGSEGV, "clip-02.flac": signal.SIGKILL, "clip-06.flac": signal.SIGABRT}

    def __init__(self, marks: Path) -> None:
        self._marks = marks

    def __call__(self, unit: Unit) -> Unit:
        for recording in unit.pending():
            if (way := self.ways.get(recording.id)) is not None:
                with (self._marks / recording.id).open("a") as marks:
                    marks.write("died\n")
                os.kill(os.getpid(), way)
        return unit


@pytest.mark.slow  # the fast one is in tests/test_end_to_end.py
def test_what_kills_its_worker_is_tried_a_bounded_number_of_times_and_told(sample, tmp_path, ray_here):
    """In a model, a language model or a library, where no guard stands; SIGKILL is how the kernel takes memory back."""
    source = corpora.write("files", tmp_path / "corpus", corpora.clips()[:8])
    run(source, tmp_path / "calm", sample, "run.address=here")
    expected = {row["id"]: row for row in rows(tmp_path / "calm")}
    marks = tmp_path / "marks"
    marks.mkdir()

    def with_deaths(config: Config, run: Run, pools: Pools) -> list[Stage]:
        read, *rest = Request("", "", config).stages(config, run, pools)
        return [read, Stage("deadly", partial(Deaths, marks), pools.encode), *rest]

    result = run(source, tmp_path / "out", sample, "run.address=local", make_stages=with_deaths)
    found = {row["id"]: row for row in rows(tmp_path / "out")}
    assert result.complete
    assert Counter(row["error"] for row in found.values()) == {None: 5, "deadly: killed its process": 3}
    assert {name: row for name, row in found.items() if name not in Deaths.ways} == {
        name: row for name, row in expected.items() if name not in Deaths.ways
    }
    for name in Deaths.ways:
        assert STRIKES <= len((marks / name).read_text().splitlines()) <= 2 * PASSES + STRIKES
