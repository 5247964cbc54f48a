"""`nightshift demo [OUT]`: the bundled suite, which transcribes a corpus with a language model, and decodes it without.

OUT then holds what `nightshift evaluate --suite` leaves. A demo that is there already starts afresh.
"""

import argparse
import json
import os
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from jobs import demo_show, evaluate_suite
from jobs import options as shared
from jobs.evaluate import code_of, evaluated
from pipeline import run as runs
from pipeline import store
from pipeline.demo import bundled
from pipeline.demo.samples import Sample, samples, scored
from pipeline.errors import UsageError
from pipeline.evaluation.output import FIGURES, PAGE, Output, plain
from pipeline.evaluation.request import told_in
from pipeline.evaluation.results import Report
from pipeline.lock import LOCK
from pipeline.storage_errors import as_usage
from pipeline.store import Folder
from pipeline.suite.requests import described
from pipeline.suite.settings import FOLDER, Suite, load

if TYPE_CHECKING:
    from pipeline.evaluation.evaluate import Asked

OUT = "build/demo"
MAX_THREADS = 4  # of the encoder, whose work more would not divide well


@dataclass(frozen=True)
class Demo:
    """All that is shown."""

    report: Report
    page: str  # where it is
    samples: list[Sample]
    wall_s: float  # from start to end

    def as_dict(self) -> dict[str, Any]:
        """What `nightshift evaluate --json` tells, and more."""
        told: dict[str, Any] = plain(self.report)
        return told | {"report": self.page, "samples": plain(self.samples), "wall_s": self.wall_s}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    told = "where it goes: a folder that is empty, or an earlier demo's, which is deleted; default: %(default)s"
    parser.add_argument("output", metavar="OUT", nargs="?", default=OUT, help=told)
    shared.add_address_argument(parser)
    parser.add_argument("--json", action="store_true", help="one JSON object instead of tables")


def run(options: argparse.Namespace) -> int:
    try:
        shown = demo(suite(options.address), options.output)
    except KeyboardInterrupt:
        print("nightshift: interrupted; the same command starts afresh", file=sys.stderr)
        return 1
    print(json.dumps(shown.as_dict())) if options.json else demo_show.demo(shown)
    return code_of(shown.report)


def suite(address: str | None) -> Suite:
    """What is bundled, as this machine does it best."""
    bundle, threads = load(str(bundled.SUITE)), min(MAX_THREADS, len(os.sched_getaffinity(0)))
    models = {name: replace(model, threads=threads) for name, model in bundle.models.items()}
    return replace(bundle, models=models, run=replace(bundle.run, address=address))


def demo(suite: Suite, out: str) -> Demo:
    from pipeline.suite.runs import Runs

    began = time.monotonic()
    out = store.absolute(out)
    check_target(Folder(out), suite)
    afresh = Runs(suite, out, overwrite=True)
    asked = evaluate_suite.asked_for(suite, afresh, out, overwrite=True)
    with ExitStack() as held:
        last = evaluate_suite.carried(suite, afresh, asked, held)[-1]
        if not last.complete:
            raise UsageError(f"{last.run} is not complete; the same command starts afresh")
        report = evaluated(asked)
    return Demo(report, f"{out}/{PAGE}", _samples(asked), time.monotonic() - began)


def check_target(folder: Folder, suite: Suite) -> None:
    """Refuse what is not an earlier demo's: what is there will be deleted."""
    cells = set(suite.names.values())
    with as_usage(folder.url):
        names = set(_visible(folder))
        below = set(_visible(folder.sub(FOLDER))) if FOLDER in names else set()
        foreign = (names - cells - {FOLDER, FIGURES, PAGE}) | (below - cells - set(suite.models))
        if names and not all(_is_run_of(suite, folder.sub(FOLDER).sub(model)) for model in suite.models):
            foreign |= names
    if foreign:
        raise UsageError(
            f"{folder.url} is not empty and not this demo's (it holds {min(foreign)}): give another directory, as in "
            f"nightshift demo OUT, or delete it"
        )


def _is_run_of(suite: Suite, folder: Folder) -> bool:
    """Of its datasets; or what a start that was killed leaves of one."""
    if (told := told_in(folder)) is None:
        return folder.exists() and set(_visible(folder)) <= {LOCK, *runs.OURS}
    settings = told.get("settings", {})
    return all(settings.get(dataset.section) == described(dataset) for dataset in suite.datasets)


def _visible(folder: Folder) -> list[str]:
    return [name for name in folder.names() if not name.startswith(".")]


def _samples(asked: "Asked") -> list[Sample]:
    """Of the first two runs."""
    output = Output(asked.out, asked.runs)
    return samples(*(scored(runs.find(output.rows_of(one))) for one in asked.runs[:2]))
