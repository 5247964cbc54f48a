"""`nightshift demo [OUT]`: the bundled corpus, transcribed by the bundled model, with its language model and without.

Each folder of the corpus becomes an ordinary run below OUT, and a second one, decoded greedily from what the first has
kept. A demo that is there already starts afresh.
"""

import argparse
import dataclasses
import json
import os
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jobs import demo_show
from jobs import options as shared
from pipeline import run as runs
from pipeline import store
from pipeline.commit import Tally
from pipeline.config import Config, DecodeConfig, EncodeConfig, RunConfig
from pipeline.demo import bundled
from pipeline.demo.outcome import Outcome, both_ways, outcome
from pipeline.errors import UsageError
from pipeline.lock import LOCK
from pipeline.storage_errors import as_usage
from pipeline.store import Folder
from pipeline.summary import Summary

if TYPE_CHECKING:
    from pipeline.request import Request

OUT = "build/demo"
MAX_THREADS = 4  # of the encoder, whose work more would not divide well


@dataclass(frozen=True)
class Material:
    """What is transcribed with what."""

    model: Path
    lm: Path
    inputs: tuple[Path, ...]  # folders

    def check(self) -> None:
        for path in (self.model, self.lm, *self.inputs):
            if not path.exists():
                raise UsageError(
                    f"{path} is not there: this nightshift was installed without the demo's model and corpus, which "
                    f"its repository has; run make demo there"
                )


@dataclass(frozen=True)
class Pair:
    """The two runs of an input."""

    name: str
    with_lm: Summary
    greedy: Summary


@dataclass(frozen=True)
class Demo:
    """All that is shown."""

    pairs: list[Pair]
    outcome: Outcome | None  # None: nothing was transcribed that has a reference
    wall_s: float  # from start to end

    @property
    def tally(self) -> Tally:
        return sum((pair.with_lm.tally for pair in self.pairs), Tally())

    @property
    def with_lm_s(self) -> float:
        return sum(pair.with_lm.session.wall_s for pair in self.pairs if pair.with_lm.session)

    @property
    def greedy_s(self) -> float:
        return sum(pair.greedy.session.wall_s for pair in self.pairs if pair.greedy.session)

    def as_dict(self) -> dict[str, Any]:
        return {
            "outcome": dataclasses.asdict(self.outcome) if self.outcome else None,
            "tally": dataclasses.asdict(self.tally),
            "with_lm_s": self.with_lm_s,
            "greedy_s": self.greedy_s,
            "wall_s": self.wall_s,
            "runs": [
                {"input": p.name, "with_lm": p.with_lm.as_dict(), "greedy": p.greedy.as_dict()} for p in self.pairs
            ],
        }


def add_arguments(parser: argparse.ArgumentParser) -> None:
    told = "where the runs go: a folder that is empty, or an earlier demo's, which is deleted; default: %(default)s"
    parser.add_argument("output", metavar="OUT", nargs="?", default=OUT, help=told)
    shared.add_address_argument(parser)
    parser.add_argument("--json", action="store_true", help="one JSON object instead of tables")


def run(options: argparse.Namespace) -> int:
    material = Material(bundled.MODEL, bundled.LM, bundled.INPUTS)
    try:
        shown = demo(material, options.output, RunConfig(address=options.address))
    except KeyboardInterrupt:
        print("nightshift: interrupted; the same command starts afresh", file=sys.stderr)
        return 1
    print(json.dumps(shown.as_dict())) if options.json else demo_show.demo(shown)
    if shown.outcome is None:
        print("nightshift: not one recording with a reference was transcribed", file=sys.stderr)
        return 1
    return 0


def demo(material: Material, out: str, how: RunConfig) -> Demo:
    """Every input transcribed, on one Ray, and decoded again in this process."""
    from pipeline.progress import Progress
    from pipeline.session import ray_session

    began = time.monotonic()
    material.check()
    out = store.absolute(out)
    check_target(Folder(out), material.inputs)
    with ExitStack() as held:
        if how.cluster != "here":
            with Progress(how.log_every_s) as progress:
                progress.phase("starting Ray")
                held.enter_context(ray_session(how))
        with_lm = [_driven(_transcription(material, source, out, how)) for source in material.inputs]
    greedy = [_driven(_decoding(source, out, how)) for source in material.inputs]
    pairs = [Pair(names(source)[0], *both) for source, *both in zip(material.inputs, with_lm, greedy, strict=True)]
    heard = [
        one for pair in pairs for one in both_ways(pair.name, runs.find(pair.with_lm.run), runs.find(pair.greedy.run))
    ]
    return Demo(pairs, outcome(heard) if heard else None, time.monotonic() - began)


def check_target(folder: Folder, inputs: Sequence[Path]) -> None:
    """Refuse what is not an earlier demo's: what is there will be deleted."""
    ours = {name: store.absolute(str(path)) for path in inputs for name in names(path)}
    with as_usage(folder.url):
        for name in _visible(folder):
            if name not in ours or not _is_run_of(folder.sub(name), ours[name]):
                raise UsageError(
                    f"{folder.url} is not empty and not this demo's (it holds {name}): give another directory, as in "
                    f"nightshift demo OUT, or delete it"
                )


def names(folder: Path) -> tuple[str, str]:
    """Of the two runs of an input below OUT: with the language model, and greedy."""
    return folder.name, f"{folder.name}-greedy"


def _is_run_of(folder: Folder, source: str) -> bool:
    """Or what a start that was killed leaves of one."""
    if folder.exists(runs.RUN):
        return bool(json.loads(folder.read(runs.RUN))["settings"]["input"] == source)
    return folder.files.isdir(folder.path()) and set(_visible(folder)) <= {LOCK, *runs.OURS}


def _visible(folder: Folder) -> list[str]:
    return [name for name in folder.names() if not name.startswith(".")]


def _transcription(material: Material, source: Path, out: str, how: RunConfig) -> "Request":
    from pipeline.request import Request

    threads = min(MAX_THREADS, len(os.sched_getaffinity(0)))
    # One encoder: a second takes 3 s of CPU to start, for each input, and most of them are encoded in less than that.
    encode = EncodeConfig(model=str(material.model), keep_emissions=True, actors=1, threads=threads)
    config = Config(encode=encode, decode=DecodeConfig(lm=(str(material.lm),)), run=how)
    return Request(str(source), f"{out}/{names(source)[0]}", config, overwrite=True)


def _decoding(source: Path, out: str, how: RunConfig) -> "Request":
    """In this process: it takes less than starting others would."""
    from pipeline.request import DecodeRequest

    with_lm, greedy = (f"{out}/{name}" for name in names(source))
    config = Config(decode=DecodeConfig(decoder="greedy"), run=dataclasses.replace(how, address="here"))
    return DecodeRequest(with_lm, greedy, config, overwrite=True)


def _driven(request: "Request") -> Summary:
    from pipeline.drive import drive
    from pipeline.progress import Progress

    with Progress(request.config.run.log_every_s) as progress:
        return drive(request, progress)
