"""`nightshift JOB ...` and `python -m jobs JOB ...`: the table of jobs, and what becomes of their errors.

Exit codes: 0 complete, 1 incomplete or over the failure limit, 2 a usage error.
"""

import argparse
import atexit
import contextlib
import importlib
import os
import signal
import sys
from types import FrameType
from typing import NoReturn

import pipeline
from jobs.errors import explain

JOBS = {
    "demo": "transcribe the bundled corpus, with the language model and without, and compare",
    "transcribe": "transcribe a corpus into a run directory, or a few files to the screen",
    "plan": "show what a transcription would do, and touch nothing",
    "status": "show how far a run is, from its files alone",
    "decode": "decode the kept emissions of a run again, without audio or a GPU",
    "evaluate": "error rates of runs with intervals, slices and comparisons, and a report",
    "tune": "find the decoding settings with the fewest word errors on kept emissions",
    "build-lm": "estimate a language model from text",
    "build-lexicon": "say how words sound, for models that write phones",
    "train": "train a small model on a corpus with texts",
    "bench": "measure speed",
}


def command() -> NoReturn:
    """The program. What C++ would clear up at its end is left out: Arrow's threads would abort the process where one of
    them is just starting, as in half of the quickest commands (pyarrow 26).
    """
    code = main()
    atexit._run_exitfuncs()
    with contextlib.suppress(BrokenPipeError, ValueError):  # a reader that has left; closed because of that
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="nightshift",
        description="Bulk speech transcription: audio shards in, scored Parquet out.",
        epilog="jobs:\n" + "\n".join(f"  {name:<15}{told}" for name, told in JOBS.items()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"nightshift {pipeline.__version__}")
    parser.add_argument("job", metavar="JOB", choices=JOBS, help="what to do; nightshift JOB --help tells more")
    parser.add_argument("arguments", metavar="...", nargs=argparse.REMAINDER, help="the job's own arguments")
    chosen = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        job = importlib.import_module(module_of(chosen.job))
        job_parser = argparse.ArgumentParser(prog=f"nightshift {chosen.job}", description=job.__doc__)
        job.add_arguments(job_parser)
        # Flags may stand between INPUT and OUTPUT, too.
        return int(job.run(job_parser.parse_intermixed_args(chosen.arguments)))
    except KeyboardInterrupt:
        print("nightshift: interrupted", file=sys.stderr)
        return 1
    except BrokenPipeError:
        sys.stderr.close()  # the reader of our output has left, as `head` does
        return 1
    except Exception as error:
        code, told = explain(error)
        print(told, file=sys.stderr)
        return code


def module_of(job: str) -> str:
    return f"jobs.{job.replace('-', '_')}"


def _interrupt(signum: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    command()
