"""`nightshift plan INPUT OUTPUT`: stages, resources and counts of a transcription; starts nothing, touches nothing."""

import argparse
import json
from contextlib import closing

from jobs import options as shared
from jobs import show
from pipeline import run as runs
from pipeline.config import Config
from pipeline.manifest import UnitInfo, unit_info
from pipeline.progress import Progress, hours
from pipeline.records import without_query
from pipeline.request import Request, described, listing
from pipeline.resources import Node, one_process, plan_pools, this_machine


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("input", metavar="INPUT", help=shared.INPUT)
    parser.add_argument("output", metavar="OUTPUT", help="the run directory")
    shared.add_config_arguments(parser)
    parser.add_argument("--json", action="store_true", help="one JSON object instead of a table")


def run(options: argparse.Namespace) -> int:
    config = shared.config_of(options)
    request = Request(options.input, options.output, config)
    there = runs.check_target(request.folder, request.settings())
    show.warnings(request.warnings())
    counts = _committed(there) if there else _counted(request)
    pools = one_process(config) if config.run.cluster == "here" else plan_pools(config, _nodes(config))
    stages = request.stages(config, there or runs.Run(request.folder, ""), pools)
    if options.json:
        settled = {
            "decoding": request.decoding.as_dict(),
            "scoring": request.scoring.as_dict(),
            "keep_emissions": config.encode.keep_emissions,
        }
        print(json.dumps(counts | settled | {"stages": {stage.name: str(stage.pool) for stage in stages}}))
        return 0
    about, scoring = "" if counts["audio_s_known"] else "about ", request.scoring
    show.table(
        [
            ("input", f"{counts['input']}, {counts['taken_for']}"),
            ("output", str(counts["output"])),
            ("recordings", f"{counts['recordings']:,}"),
            ("audio", f"{about}{hours(float(counts['audio_s']))}"),
            ("units", f"{counts['units']:,}"),
            ("committed", f"{counts['committed']:,}"),
            ("decoder", described(request.decoding)),
            *([("texts compared", f"as {scoring.normalizer} makes them")] * (scoring.normalizer != "none")),
            *([("phones compared", f"with references said in {scoring.language}")] * bool(scoring.language)),
            ("emissions", "kept" if config.encode.keep_emissions else "not kept"),
        ]
    )
    print()
    if counts["committed"] == counts["units"]:
        print("Nothing is left to do.")
    else:
        show.table([(stage.name, str(stage.pool)) for stage in stages])
    print("\nNothing was started or written.")
    return 0


def _committed(there: runs.Run) -> dict[str, str | float]:
    info = there.info()
    counts = {"input": info["settings"]["input"], "taken_for": info["source"], "output": there.folder.url}
    return counts | _counts(there.manifest.units()) | {"committed": len(there.commits())}


def _counted(request: Request) -> dict[str, str | float]:
    with Progress(request.config.run.log_every_s) as progress:
        progress.phase(request.finding)
        with closing(listing(request, progress.step)) as found:
            units = [unit_info(number, unit) for number, unit in enumerate(found.spool().units())]
    counts = {"input": without_query(request.input), "taken_for": found.description, "output": request.folder.url}
    return counts | _counts(units) | {"committed": 0}


def _counts(units: list[UnitInfo]) -> dict[str, str | float]:
    return {
        "recordings": sum(unit.num_recordings for unit in units),
        "audio_s": sum(unit.seconds for unit in units),
        "audio_s_known": all(unit.seconds_known for unit in units),
        "units": len(units),
    }


def _nodes(config: Config) -> list[Node]:
    """Those of the cluster, where there is one; a local one has not started, and is this machine."""
    if config.run.cluster == "local":
        return [this_machine(config.run.cpus)]
    from pipeline.session import ray_session

    with ray_session(config.run) as nodes:
        return nodes
