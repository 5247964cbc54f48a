"""`nightshift train INPUT OUT`: a small model learns a corpus with texts. It made the bundled one."""

import argparse
import json
import sys
import time
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

from jobs import options as shared
from jobs.errors import GO_ON
from pipeline import config as configuration
from pipeline.errors import UsageError
from pipeline.progress import clock, hours
from pipeline.training.recipe import MOST_PROCESSES, SHAPES, Recipe

if TYPE_CHECKING:
    from pipeline.training.train import Stand

DEFAULTS = Recipe()
TOLD_EVERY_S = 30.0  # where stderr is no terminal


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "input",
        metavar="INPUT",
        help=f"with texts: {shared.INPUT.replace('--source names', '--set read.source=KIND names')}",
    )
    parser.add_argument("output", metavar="OUT", help="the checkpoint directory")
    parser.add_argument("--family", choices=SHAPES, default="wav2vec2", help="default: %(default)s")
    parser.add_argument(
        "--start",
        default="",
        metavar="MODEL",
        help="a checkpoint of this family that is to learn more: a directory, a URL or a name on the Hugging Face hub; "
        "its letters must be those of the texts",
    )
    parser.add_argument("--steps", type=int, default=DEFAULTS.steps, metavar="N", help="default: %(default)s")
    parser.add_argument(
        "--batch-s", type=float, default=DEFAULTS.batch_s, metavar="S", help="audio of one step; default: %(default)s"
    )
    parser.add_argument(
        "--learning-rate", type=float, default=DEFAULTS.learning_rate, metavar="R", help="default: %(default)s"
    )
    parser.add_argument(
        "--decay-share",
        type=float,
        default=DEFAULTS.decay_share,
        metavar="SHARE",
        help="of the steps, the last, in which the learning rate falls to nothing; default: %(default)s",
    )
    parser.add_argument("--seed", type=int, default=DEFAULTS.seed, metavar="N", help="default: %(default)s")
    parser.add_argument(
        "--no-augment",
        action="store_false",
        dest="augment",
        help="recordings as they are, without noise, rooms, lines, lossy formats, and changes of speed and level",
    )
    parser.add_argument(
        "--processes",
        type=int,
        default=0,
        metavar="N",
        help="that learn together on a CPU, each with its share of the cores and of every batch; default: "
        f"{MOST_PROCESSES}, where there are as many cores",
    )
    parser.add_argument("--half", action="store_true", help="the checkpoint's weights in 16 bits")
    parser.add_argument("--overwrite", action="store_true", help="delete the training that is there and start afresh")
    parser.add_argument(
        "--set",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        dest="overrides",
        help="a key of [read], as read.limit=500",
    )
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout when all is done")


def run(options: argparse.Namespace) -> int:
    from pipeline.training.train import Asked, train

    if strange := [override for override in options.overrides if not override.startswith("read.")]:
        raise UsageError(f"--set {strange[0]}: a training heeds the keys of [read] alone")
    given = {key.name: getattr(options, key.name) for key in fields(Recipe) if hasattr(options, key.name)}
    read = configuration.load(None, options.overrides).read
    out = Path(options.output)
    asked = Asked(
        source=options.input,
        out=out,
        family=options.family,
        recipe=Recipe(**given),
        read=read,
        start=options.start,
        processes=options.processes,
        half=options.half,
        overwrite=options.overwrite,
    )
    try:
        with Screen() as screen:
            trial = train(asked, screen)
    except KeyboardInterrupt:
        print(f"nightshift: interrupted; {GO_ON}", file=sys.stderr)
        return 1
    if options.json:
        print(json.dumps({"output": str(out), **trial.as_dict()}))
    else:
        print(f"{out}: held-out recordings as the model hears them: {trial}")
    return 0


class Screen:
    """Progress on stderr: one line that changes on a terminal, a line now and then elsewhere."""

    def __init__(self) -> None:
        from rich.console import Console

        self._console = Console(stderr=True, highlight=False, markup=False)
        self._status = self._console.status("")
        self._told = 0.0

    def __enter__(self) -> "Screen":
        self._status.start() if self._console.is_terminal else None
        return self

    def __exit__(self, *_: object) -> None:
        self._status.stop()

    def note(self, text: str) -> None:
        self._console.print(f"{time.strftime('%H:%M:%S')} {text}", soft_wrap=True)

    def phase(self, text: str) -> None:
        if self._console.is_terminal:
            self._status.update(text)
        elif time.monotonic() - self._told > TOLD_EVERY_S:
            self._told = time.monotonic()
            self.note(text)

    def stand(self, stand: "Stand") -> None:
        self.phase(
            f"step {stand.step:,} of {stand.steps:,}: loss {stand.loss:.3f}, heard {hours(stand.heard_s)} "
            f"at {stand.speed:.0f} x real time, {clock(stand.left_s)} left"
        )
