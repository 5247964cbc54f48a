"""`nightshift evaluate --suite FILE --out OUT`: what the file names, transcribed, decoded and evaluated as any run is.

Called by `jobs.evaluate`, whose flags come before what the file says.
"""

import argparse
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING

from jobs.errors import GO_ON
from pipeline.errors import UsageError

if TYPE_CHECKING:
    from pipeline.evaluation.evaluate import Asked
    from pipeline.suite.runs import Runs
    from pipeline.suite.settings import Suite
    from pipeline.summary import Summary


def run(options: argparse.Namespace) -> int:
    from jobs.evaluate import code_of, evaluated, show
    from pipeline.suite.runs import Runs

    suite = suite_of(options)
    try:
        with ExitStack() as held:
            runs = Runs(suite, options.out)
            asked = asked_for(suite, runs, options.out, options.overwrite)
            summaries = carried(suite, runs, asked, held)
            if not summaries[-1].complete:
                print(f"nightshift: {summaries[-1].run} is not complete; {GO_ON}", file=sys.stderr)
                return 1
            report = evaluated(asked)
    except KeyboardInterrupt:
        print(f"nightshift: interrupted; {GO_ON}", file=sys.stderr)
        return 1
    show(report, asked, options.json)
    return max(code_of(report), _code_of(summaries, suite.run.max_failed_share))


def suite_of(options: argparse.Namespace) -> "Suite":
    """What the file says, and where a flag says otherwise the flag."""
    from pipeline.suite.settings import load

    if options.runs:
        raise UsageError(f"{options.suite} says what is evaluated: leave out {' '.join(options.runs)}")
    if options.out is None:
        raise UsageError("say with --out where the runs of the suite and their evaluation go")
    if options.config or options.overrides:
        raise UsageError(f"--config and --set are not for suites: {options.suite} has sections for all of it")
    suite = load(options.suite)
    flags = {
        "references": options.references,
        "group": options.group,
        "slice": tuple(options.slices or ()) or None,
        "price": options.price,
        "worst": options.worst,
        "no_audio": options.no_audio or None,
    }
    evaluate = replace(suite.evaluate, **{name: value for name, value in flags.items() if value is not None})
    return replace(suite, evaluate=evaluate, run=replace(suite.run, address=options.address or suite.run.address))


def asked_for(suite: "Suite", runs: "Runs", out: str, overwrite: bool) -> "Asked":
    """The evaluation of its runs: the baseline comes first, and `dataset` is always looked at."""
    from pipeline.config import Config, ReadConfig
    from pipeline.evaluation.evaluate import Asked
    from pipeline.sources.joined import COLUMN

    how = suite.evaluate
    return Asked(
        runs=tuple(sorted(runs.named, key=lambda one: one.name != how.baseline)),
        out=out,
        config=Config(ReadConfig(storage_deadline_s=suite.read.storage_deadline_s), run=suite.run),
        references=how.references,
        group=how.group,
        slices=tuple(dict.fromkeys([COLUMN, *how.slice])) if how.slice else None,
        price_per_hour=how.price,
        num_worst=how.worst,
        with_audio=not how.no_audio,
        overwrite=overwrite,
        datasets=tuple(dataset.name for dataset in suite.datasets),
    )


def carried(suite: "Suite", runs: "Runs", asked: "Asked", held: ExitStack) -> "list[Summary]":
    """All runs, on one Ray, which stays for the evaluation. What is not to be is refused before hours of work."""
    from pipeline.evaluation.output import Output
    from pipeline.evaluation.reference_tables import Table
    from pipeline.progress import Progress
    from pipeline.session import ray_session

    with Progress(suite.run.log_every_s) as progress:
        progress.phase("checking the suite")
        Output(asked.out, asked.runs, suite.read.storage_deadline_s).check()
        is_left = runs.check()
        if is_left and asked.references is not None:
            _ = Table(asked.references, asked.config.read).read
        if is_left and suite.run.cluster != "here":
            progress.phase("starting Ray")
            held.enter_context(ray_session(suite.run))
        return list(runs.carried(progress))


def _code_of(summaries: "Sequence[Summary]", limit: float | None) -> int:
    from jobs.transcribe import has_failed_too_often

    return max(int(has_failed_too_often(one, limit)) for one in summaries)
