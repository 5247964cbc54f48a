"""The driver: a run from start to summary. Locks the directory, freezes or resumes, carries the units, sums up.

Knows nothing of the command line; `plan` says what happens to a unit.
"""

import time
from collections import deque
from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from pipeline import run as runs
from pipeline import store
from pipeline.carry import Stage, in_process, on_ray
from pipeline.config import Config
from pipeline.errors import UsageError
from pipeline.isolate import isolate
from pipeline.lock import Lock
from pipeline.manifest import units_of
from pipeline.models.locate import checkpoint_directory, checkpoint_hash
from pipeline.plan import transcription
from pipeline.progress import Progress
from pipeline.read.entries import Source
from pipeline.read.sources import open_source
from pipeline.resources import Pools, one_process, plan_pools
from pipeline.run import Run
from pipeline.session import ray_session
from pipeline.store import Folder
from pipeline.summary import Session, Summary, summarise, summary_json
from pipeline.text.features import FeatureExtractor
from pipeline.text.vocabulary import Vocabulary
from pipeline.unit import Unit

PASSES = 2  # over units that did not come back, before their recordings are tried one by one

MakeStages = Callable[[Config, Run, Pools], list[Stage]]


@dataclass(frozen=True)
class Request:
    """A run as it is asked for."""

    source: str  # folder, glob, Parquet or manifest, by path or URL
    target: str  # the run directory
    config: Config
    overwrite: bool = False
    retry_failed: bool = False

    @property
    def folder(self) -> Folder:
        return Folder(store.absolute(self.target))

    def settings(self) -> dict[str, Any]:
        """What the results will depend on. Reads the model's files once, and so finds most of what they lack."""
        directory = checkpoint_directory(self.config.encode.model)
        FeatureExtractor.from_pretrained(directory)
        Vocabulary.from_pretrained(directory)
        return runs.settings_of(self.config, store.absolute(self.source), checkpoint_hash(directory))

    def open_source(self) -> Source:
        """The input, without the run directory where that lies in it."""
        return open_source(self.source, self.config.read, leave_out=self.folder.path())


def drive(request: Request, progress: Progress, make_stages: MakeStages = transcription) -> Summary:
    """Do, or finish, a run."""
    began = time.monotonic()
    folder = request.folder
    progress.phase("checking the model")
    settings = request.settings()
    source = None
    if request.overwrite or runs.check_target(folder, settings) is None:
        progress.phase("listing the input")
        source = request.open_source()  # before the directory is touched: the input may not be there
    with Lock(folder) as lock:
        run = None if request.overwrite else runs.check_target(folder, settings)
        if run is None:
            source = source or request.open_source()
            if request.overwrite:
                deque(units_of(source, request.config.read), maxlen=0)  # all of it is readable, or nothing is deleted
                runs.clear(folder)
            run = runs.prepare(folder, settings, request.config, source)
        units, commits = run.manifest.units(), run.commits()
        run.sweep(commits)
        pending = runs.pending_units(units, commits, request.retry_failed)
        session = None
        if pending:
            folder.delete([runs.SUMMARY])
            before = {unit.id: commits[unit.id] for unit in pending if unit.id in commits}
            progress.begin(units, done=[c for c in commits.values() if c.unit not in before], retried=before)
            with closing(_carried(run, request.config, pending, make_stages, progress)) as written:
                for unit in written:
                    assert unit.commit is not None
                    progress.add(unit.commit)
                    commits[unit.id] = unit.commit
                    if lock.lost is not None:
                        raise UsageError(f"{folder.url}: {lock.lost}")
            run.sweep(commits)  # of parts that a retry replaced
            audio_s = sum(commits[unit.id].tally.audio_s for unit in pending)
            audio_s -= sum(commit.tally.audio_s for commit in before.values())
            session = Session(time.monotonic() - began, audio_s)
        result = summarise(run, units, list(commits.values()), session)
        if pending or not folder.exists(runs.SUMMARY):
            folder.publish(runs.SUMMARY, summary_json(result))
    return result


def _carried(
    run: Run, config: Config, pending: list[Unit], make_stages: MakeStages, progress: Progress
) -> Generator[Unit, None, None]:
    """Every pending unit, written, in the order they are done."""
    if config.run.cluster == "here":
        progress.phase("transcribing")
        yield from in_process(make_stages(config, run, one_process(config)), pending)
        return
    progress.phase("starting Ray")
    with ray_session(config.run) as nodes:
        stages = make_stages(config, run, plan_pools(config, nodes))
        progress.phase("transcribing")
        left = {unit.id: unit for unit in pending}
        for _ in range(PASSES):
            num_left = len(left)
            if left:
                for unit in on_ray(stages, list(left.values())):
                    left.pop(unit.id)
                    yield unit
            if len(left) == num_left:
                break  # nothing came back: another pass would not help
        for number, unit in enumerate(left.values(), 1):
            progress.phase(
                f"unit {unit.id} killed its processes: trying its recordings one by one ({number}/{len(left)})"
            )
            yield isolate(stages, run.load(unit))
