"""`nightshift JOB ...` and `python -m jobs JOB ...`: the table of jobs, and what becomes of their errors.

Exit codes: 0 complete, 1 incomplete or over the failure limit, 2 a usage error.
"""

import argparse
import importlib
import signal
import sys
from types import FrameType

import pipeline
from pipeline.errors import UsageError

JOBS = {
    "transcribe": "transcribe a corpus into a run directory, or a few files to the screen",
    "plan": "show what a transcription would do, and touch nothing",
    "status": "show how far a run is, from its files alone",
    "bench": "measure speed",
}


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="nightshift", description="Bulk speech transcription: audio shards in, scored Parquet out."
    )
    parser.add_argument("--version", action="version", version=f"nightshift {pipeline.__version__}")
    jobs = parser.add_subparsers(dest="job", metavar="JOB", required=True)
    chosen = _chosen(sys.argv[1:] if arguments is None else arguments)
    for name, help_text in JOBS.items():
        job_parser = jobs.add_parser(name, help=help_text, description=f"{help_text[0].upper()}{help_text[1:]}.")
        if name == chosen:  # the others are not imported: torch alone takes a second
            module = importlib.import_module(f"jobs.{name}")
            module.add_arguments(job_parser)
            job_parser.set_defaults(run=module.run)
    options = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        return int(options.run(options))
    except UsageError as error:
        print(f"nightshift: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("nightshift: interrupted; what is committed is kept, and the same command goes on", file=sys.stderr)
        return 1
    except BrokenPipeError:
        sys.stderr.close()  # the reader of our output has left, as `head` does
        return 1


def _chosen(arguments: list[str]) -> str | None:
    return next((argument for argument in arguments if not argument.startswith("-")), None)


def _interrupt(signum: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
