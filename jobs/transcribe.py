"""`nightshift transcribe INPUT OUTPUT`: a run, or its resumption. `nightshift transcribe FILE...`: texts on stdout."""

import argparse
import json
import sys
from pathlib import Path

from jobs import options as shared
from jobs import show
from pipeline.config import Config
from pipeline.errors import UsageError
from pipeline.read.entries import is_audio


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "paths",
        nargs="+",
        metavar="INPUT",
        help="a folder, a glob, Parquet or a JSON-lines manifest, then the run directory; or audio files alone",
    )
    shared.add_config_arguments(parser)
    parser.add_argument("--overwrite", action="store_true", help="delete the run that is there and start afresh")
    parser.add_argument("--retry-failed", action="store_true", help="try the recordings that failed again")
    parser.add_argument("--json", action="store_true", help="results as JSON, the last line of stdout one object")


def run(options: argparse.Namespace) -> int:
    config = shared.config_of(options)
    if all(is_audio(path) for path in options.paths):
        return _print_texts(options.paths, config, options.json)
    if len(options.paths) != 2:
        raise UsageError(
            "give an input and a run directory (nightshift transcribe INPUT OUTPUT), or audio files alone; "
            f"got {' '.join(options.paths)}"
        )
    return _transcribe(options, config)


def _transcribe(options: argparse.Namespace, config: Config) -> int:
    from pipeline.drive import Request, drive
    from pipeline.progress import Progress

    source, target = options.paths
    request = Request(source, target, config, options.overwrite, options.retry_failed)
    with Progress(config.run.log_every_s) as progress:
        result = drive(request, progress)
    if options.json:
        print(json.dumps(result.as_dict()))
    else:
        show.summary(result)
    limit = config.run.max_failed_share
    if limit is not None and result.failed_share > limit:
        print(
            f"nightshift: {result.failed_share:.2%} of the recordings failed, more than run.max_failed_share={limit}",
            file=sys.stderr,
        )
        return 1
    return 0 if result.complete else 1


def _print_texts(paths: list[str], config: Config, as_json: bool) -> int:
    """In this process, without Ray: what one types first."""
    from pipeline.carry import in_process
    from pipeline.plan import texts
    from pipeline.records import Recording, Unit
    from pipeline.resources import plan_pools, this_machine

    units = [Unit(number, [Recording(id=path, uri=path)]) for number, path in enumerate(paths)]
    stages = texts(config, plan_pools(config, [this_machine()]), load=lambda unit: unit)
    num_failed = 0
    for unit in in_process(stages, units):
        unit.finish()
        (recording,) = unit.recordings
        num_failed += recording.status == "failed"
        if as_json:
            print(json.dumps(show.as_json(recording), ensure_ascii=False), flush=True)
        elif recording.status == "failed":
            print(f"nightshift: {recording.id}: {recording.error}", file=sys.stderr)
        else:
            name = f"{Path(recording.id).name}: " if len(paths) > 1 else ""
            print(f"{name}{recording.text}", flush=True)
    return 1 if num_failed else 0
