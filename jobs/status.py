"""`nightshift status OUTPUT`: how far a run is, from its files alone, also while it is running."""

import argparse
import json

from jobs import show
from pipeline import run as runs
from pipeline import store
from pipeline.lock import held_by
from pipeline.patience import telling
from pipeline.progress import hours
from pipeline.summary import summarise

PATIENCE_S = 20.0  # with a store that fails: somebody sits in front of it


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("output", metavar="OUTPUT", help="a run directory")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of a table")


def run(options: argparse.Namespace) -> int:
    with telling(lambda text: show.warnings([text])):
        return _status(options)


def _status(options: argparse.Namespace) -> int:
    found = runs.find(store.absolute(options.output), PATIENCE_S)
    result = summarise(found, found.manifest.units(), list(found.commits().values()))
    driver = held_by(found.folder)
    if options.json:
        print(json.dumps(result.as_dict() | {"driver": driver}))
        return 0 if result.complete else 1
    state = "complete" if result.complete else "running" if driver else "stopped; the same command goes on with it"
    rows = [("run", result.run), ("state", state)]
    if not result.complete:
        about = "" if result.seconds_known else "about "
        rows.append(("in the manifest", f"{about}{hours(result.seconds_total)} of audio"))
    show.table(rows)
    show.summary(result)
    return 0 if result.complete else 1
