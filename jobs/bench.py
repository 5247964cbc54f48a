"""`nightshift bench run` and `nightshift bench decode`: measure speed, of a whole run or of the decoders."""

import argparse
from types import ModuleType

from jobs import bench_decode, bench_run
from pipeline.errors import UsageError

KINDS: dict[str, ModuleType] = {"run": bench_run, "decode": bench_decode}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    told = "run: a whole run through Ray; decode: the beam search beside pyctcdecode, and its search width"
    parser.add_argument("what", choices=KINDS, metavar="WHAT", help=told)
    parser.add_argument("--json", action="store_true", help="only the JSON object that is the last line anyway")
    for kind, module in KINDS.items():
        module.add_arguments(parser.add_argument_group(f"bench {kind}"))


def run(options: argparse.Namespace) -> int:
    for kind, module in KINDS.items():
        own = argparse.ArgumentParser()
        module.add_arguments(own)
        for name, default in vars(own.parse_args([])).items():
            if kind != options.what and getattr(options, name) != default:
                flag = "--set" if name == "overrides" else f"--{name.replace('_', '-')}"
                raise UsageError(f"{flag} is an option of `bench {kind}`, not of `bench {options.what}`")
    return int(KINDS[options.what].run(options))
