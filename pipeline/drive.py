"""The driver: a run from start to summary. Locks the directory, freezes or resumes, carries the units, sums up.

Knows nothing of the command line; `request` says what a run is asked to be, `plan` what happens to a unit.
"""

import time
from collections.abc import Callable, Generator
from contextlib import ExitStack, closing

from pipeline import run as runs
from pipeline.carry import Stage, in_process, on_ray
from pipeline.config import Config
from pipeline.isolate import isolate
from pipeline.lock import Lock
from pipeline.patience import telling
from pipeline.progress import Progress
from pipeline.request import Request
from pipeline.resources import Pools, one_process, plan_pools
from pipeline.run import Input, Run
from pipeline.session import ray_session
from pipeline.summary import Session, Summary, summarise, summary_json
from pipeline.unit import Unit

PASSES = 2  # over units that did not come back, before their recordings are tried one by one

MakeStages = Callable[[Config, Run, Pools], list[Stage]]


def drive(request: Request, progress: Progress, make_stages: MakeStages | None = None) -> Summary:
    """Do, or finish, a run, by the request's own plan unless another is given."""
    began, retried_before = time.monotonic(), progress.num_retried
    folder = request.folder
    progress.phase("checking the settings")
    request.check()  # first of all: what would be deleted, or refused, may be what is to be read
    settings = request.settings()
    for warning in request.warnings():
        progress.warn(warning)
    with ExitStack() as held:
        held.enter_context(telling(progress.warn))
        source = None
        if request.overwrite or runs.check_target(folder, settings) is None:
            source = _opened(request, progress, held)  # before the directory is touched: the input may not be there
        lock = held.enter_context(Lock(folder))
        run = None if request.overwrite else runs.check_target(folder, settings)
        if run is None:
            source = source or _opened(request, progress, held)
            source.check()  # all of it is readable, or nothing is deleted
            lock.check()
            if request.overwrite:
                runs.clear(folder)
            told = source.description
            run = runs.prepare(folder, settings, source, request.told())
            if source.description != told:  # what a format leaves out by its own rules is known at the end of its list
                progress.note(request.taken_for(source))
            source.close()
            _tell_doubled(run, progress)
        units, commits = run.manifest.units(), run.commits()
        lock.check()
        run.sweep(commits)
        pending = runs.pending_units(units, commits, request.retry_failed)
        session = None
        if pending:
            for warning in request.doubts_of(run, pending[0].id):
                progress.warn(warning)
            folder.delete([runs.SUMMARY])
            before = {unit.id: commits[unit.id] for unit in pending if unit.id in commits}
            progress.begin(units, done=[c for c in commits.values() if c.unit not in before], retried=before)
            compiling_s = _warmed_up(request, progress)
            with closing(_carried(run, request, pending, make_stages or request.stages, progress)) as written:
                for unit in written:
                    assert unit.commit is not None
                    progress.add(unit.commit, elsewhere=request.config.run.cluster != "here")
                    commits[unit.id] = unit.commit
                    lock.check()
            run.sweep(commits)  # of parts that a retry replaced
            audio_s = sum(commits[unit.id].tally.audio_s for unit in pending)
            audio_s -= sum(commit.tally.audio_s for commit in before.values())
            retried = progress.num_retried - retried_before - sum(commits[unit.id].num_retried for unit in pending)
            session = Session(time.monotonic() - began - compiling_s, audio_s, max(retried, 0))
        result = summarise(run, units, list(commits.values()), session)
        if pending or not folder.exists(runs.SUMMARY):
            folder.publish(runs.SUMMARY, summary_json(result))
    progress.end()
    return result


def _opened(request: Request, progress: Progress, held: ExitStack) -> Input:
    """The input, recognised, and said what it was taken for."""
    progress.phase(request.finding)
    source = held.enter_context(closing(request.open(progress.step)))
    progress.note(request.taken_for(source))
    return source


def _tell_doubled(run: Run, progress: Progress) -> None:
    info = run.info()
    if num := info["num_doubled_ids"]:
        some = ", ".join(info["doubled_ids"])
        progress.warn(f"ids that another recording has, too, got a number after a #: {num:,} ({some})")


def _warmed_up(request: Request, progress: Progress) -> float:
    """What is compiled, here, so that one process fills the cache of this machine; the seconds are no part of the work.

    Not where other machines do it: each process there compiles at its first unit.
    """
    if request.config.run.cluster not in ("here", "local"):
        return 0.0
    began = time.monotonic()
    request.warm_up(progress.phase)
    return time.monotonic() - began


def _carried(
    run: Run, request: Request, pending: list[Unit], make_stages: MakeStages, progress: Progress
) -> Generator[Unit, None, None]:
    """Every pending unit, written, in the order they are done."""
    config = request.effective
    if config.run.cluster == "here":
        progress.phase(request.doing)
        yield from in_process(make_stages(config, run, one_process(config)), pending)
        return
    progress.phase("starting Ray")
    with ray_session(config.run) as nodes:
        stages = make_stages(config, run, plan_pools(config, nodes))
        progress.phase(request.doing)
        left = {unit.id: unit for unit in pending}
        for _ in range(PASSES):
            num_left = len(left)
            if left:
                for unit in on_ray(stages, list(left.values())):
                    left.pop(unit.id)
                    yield unit
            if len(left) == num_left:
                break  # nothing came back: another pass would not help
        request.give_up(list(left))
        for number, unit in enumerate(left.values(), 1):
            progress.phase(
                f"unit {unit.id} killed its processes: trying its recordings one by one ({number}/{len(left)})"
            )
            yield isolate(stages, run.load(unit))
