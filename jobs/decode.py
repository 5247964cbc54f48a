"""`nightshift decode RUN OUTPUT`: the emissions that RUN has kept, decoded again under other settings, as a new run."""

import argparse

from jobs import options as shared
from jobs.transcribe import drive_and_show


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", metavar="RUN", help="a complete run that was made with --keep-emissions")
    parser.add_argument("output", metavar="OUTPUT", help="the new run directory")
    shared.add_decode_arguments(parser)
    shared.add_address_argument(parser)
    parser.add_argument("--overwrite", action="store_true", help="delete the run that is there and start afresh")
    parser.add_argument("--retry-failed", action="store_true", help="try the recordings that failed again")
    parser.add_argument("--json", action="store_true", help="results as JSON, the last line of stdout one object")


def run(options: argparse.Namespace) -> int:
    from pipeline.request import DecodeRequest

    config = shared.config_of(options)
    request = DecodeRequest(options.run, options.output, config, options.overwrite, options.retry_failed)
    return drive_and_show(request, options.json)
