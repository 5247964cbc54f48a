"""`nightshift evaluate RUN...`: error rates of finished runs with intervals, slices, comparisons, and a report."""

import argparse
import json
import math
import sys
from typing import TYPE_CHECKING

from jobs import options as shared
from jobs.errors import GO_ON
from pipeline import run as runs
from pipeline.errors import UsageError

if TYPE_CHECKING:
    from pipeline.evaluation.evaluate import Asked
    from pipeline.evaluation.results import Report


NUM_WORST = 20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("runs", nargs="*", metavar="RUN", help="run directories by path or URL, or NAME=RUN")
    parser.add_argument("--out", metavar="OUT", help="where the evaluation goes; default: evaluation/ in the one RUN")
    parser.add_argument(
        "--references",
        metavar="FILE",
        help="a Parquet, CSV, TSV or JSON-lines file of ids and texts; default: those of the runs",
    )
    parser.add_argument("--group", metavar="COLUMN", help="resample by its values, such as speaker, not by recordings")
    told = "rates by its values or ranges; may be repeated; default: all columns with few values"
    parser.add_argument("--slice", metavar="COLUMN", action="append", dest="slices", help=told)
    parser.add_argument("--price", metavar="P", type=float, help="of an hour of the machines that the runs took")
    parser.add_argument("--worst", metavar="N", type=int, help=f"recordings to look at; default: {NUM_WORST}")
    parser.add_argument("--no-audio", action="store_true", help="a report without sound")
    parser.add_argument("--suite", metavar="FILE", help="transcribe and evaluate what this TOML file names, into OUT")
    shared.add_settings_arguments(parser, "score.normalizer=english")
    shared.add_address_argument(parser)
    parser.add_argument("--overwrite", action="store_true", help="score anew what has been scored")
    parser.add_argument("--json", action="store_true", help="results as JSON, the last line of stdout one object")


def run(options: argparse.Namespace) -> int:
    for flag in ("out", "references", "group"):
        if getattr(options, flag) == "":  # as of a variable that is not set; it would count as not given
            raise UsageError(f"--{flag} is empty")
    if options.suite is not None:
        from jobs import evaluate_suite

        return evaluate_suite.run(options)
    asked = asked_for(options)
    try:
        report = evaluated(asked)
    except KeyboardInterrupt:
        print(f"nightshift: interrupted; {GO_ON}", file=sys.stderr)
        return 1
    show(report, asked, options.json)
    return code_of(report)


def asked_for(options: argparse.Namespace) -> "Asked":
    from pipeline.evaluation.evaluate import Asked
    from pipeline.evaluation.names import named

    if not options.runs:
        raise UsageError("give one run or several (nightshift evaluate RUN...), or --suite FILE")
    if options.out is None and len(options.runs) > 1:
        raise UsageError(f"say with --out where the evaluation of {len(options.runs)} runs goes")
    if options.price is not None and not 0 <= options.price < math.inf:
        raise UsageError(f"--price must be zero or above and finite, not {options.price}")
    if options.worst is not None and options.worst < 0:
        raise UsageError(f"--worst must be zero or above, not {options.worst}")
    found = named(options.runs)
    return Asked(
        runs=found,
        out=options.out or f"{found[0].url}/{runs.EVALUATION}",
        config=shared.config_of(options),
        references=options.references,
        group=options.group,
        slices=tuple(options.slices) if options.slices else None,
        price_per_hour=options.price,
        num_worst=NUM_WORST if options.worst is None else options.worst,
        with_audio=not options.no_audio,
        overwrite=options.overwrite,
    )


def evaluated(asked: "Asked") -> "Report":
    """All figures, written down."""
    from pipeline.evaluation.evaluate import evaluate
    from pipeline.progress import Progress

    with Progress(asked.config.run.log_every_s) as progress:
        return evaluate(asked, progress)


def show(report: "Report", asked: "Asked", as_json: bool) -> None:
    """On stdout, which within a session of Ray is not what it is outside."""
    from jobs import evaluate_show
    from pipeline.evaluation.output import Output, plain

    print(json.dumps(plain(report))) if as_json else evaluate_show.report(report, Output(asked.out, asked.runs))


def code_of(report: "Report") -> int:
    """Nothing scored, or not all of a run, is no success."""
    if silent := [one.name for one in report.evaluations if not one.coverage.num_scored]:
        print(f"nightshift: {', '.join(silent)}: not one recording was scored", file=sys.stderr)
        return 1
    if begun := [one.name for one in report.evaluations if not one.is_complete]:
        print(f"nightshift: {', '.join(begun)}: not complete, and these are the figures of a part", file=sys.stderr)
        return 1
    return 0
