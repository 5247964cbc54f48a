"""`nightshift plan INPUT OUTPUT`: stages, resources and counts of a transcription; starts nothing, touches nothing."""

import argparse
import json

from jobs import options as shared
from jobs import show
from pipeline import run as runs
from pipeline import store
from pipeline.config import Config
from pipeline.manifest import cut, limited, unit_seconds
from pipeline.progress import hours
from pipeline.read.sources import open_source
from pipeline.resources import Node, this_machine


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("input", metavar="INPUT", help="a folder, a glob, Parquet or a JSON-lines manifest")
    parser.add_argument("output", metavar="OUTPUT", help="the run directory")
    shared.add_config_arguments(parser)
    parser.add_argument("--json", action="store_true", help="one JSON object instead of a table")


def run(options: argparse.Namespace) -> int:
    from pipeline.drive import Request, settings_of
    from pipeline.plan import transcription
    from pipeline.resources import plan_pools

    config = shared.config_of(options)
    folder = store.Folder(store.absolute(options.output))
    settings = settings_of(Request(options.input, options.output, config))
    there = runs.check_target(folder, settings)
    counts = _committed(there) if there else _counted(options.input, config)
    pools = plan_pools(config, _nodes(config))
    stages = transcription(config, there or runs.Run(folder, ""), pools)
    if options.json:
        print(json.dumps(counts | {"stages": {stage.name: str(stage.pool) for stage in stages}}))
        return 0
    show.table(
        [(name.replace("_", " "), value if isinstance(value, str) else f"{value:,}") for name, value in counts.items()]
    )
    print()
    show.table([(stage.name, str(stage.pool)) for stage in stages])
    print("\nNothing was started or written.")
    return 0


def _committed(there: runs.Run) -> dict[str, str | int]:
    units, commits, info = there.manifest.units(), there.commits(), there.info()
    return {
        "input": info["settings"]["input"],
        "taken_for": info["source"],
        "output": there.folder.url,
        "recordings": info["num_recordings"],
        "units": len(units),
        "committed": len(commits),
        "audio": _audio(sum(u.seconds for u in units), all(u.seconds_known for u in units)),
    }


def _counted(url: str, config: Config) -> dict[str, str | int]:
    source = open_source(url, config.read)
    pieces = list(limited(source.pieces(), config.read.limit))
    entries = [entry for piece in pieces for entry in piece.entries]
    total_s = sum(entry.seconds for entry in entries)
    return {
        "input": store.absolute(url),
        "taken_for": source.description,
        "recordings": len(entries),
        "units": sum(1 for _ in cut(pieces, config.read.unit_s or unit_seconds(total_s))),
        "committed": 0,
        "audio": _audio(total_s, all(entry.duration_s is not None for entry in entries)),
    }


def _audio(seconds: float, known: bool) -> str:
    return hours(seconds) if known else f"about {hours(seconds)}, estimated from file sizes"


def _nodes(config: Config) -> list[Node]:
    """Those of the cluster, where there is one; a local one has not started, and is this machine."""
    if config.run.address in ("local", "none"):
        return [this_machine(config.run.cpus)]
    from pipeline.session import ray_session

    with ray_session(config.run) as nodes:
        return nodes
