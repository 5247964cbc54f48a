"""`nightshift bench run`: a whole run over made-up recordings, and how much of it is the framework's own."""

import argparse
import json
import os
import re
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from jobs import show
from pipeline import config as configuration
from pipeline.progress import clock

# What a run is for; the rest of its time is the framework's: starting, carrying, scoring, writing, waiting.
WORK = ("read", "encode", "decode")
SAMPLE_EVERY_S = 0.25
SHARED_MEMORY = "/dev/shm"  # where Ray keeps its object store


def add_arguments(parser: argparse._ActionsContainer) -> None:
    parser.add_argument("--num-recordings", type=int, default=2000, metavar="N", help="default 2000")
    parser.add_argument("--seconds", type=float, default=5.0, metavar="S", help="of each recording; default 5")
    parser.add_argument("--model", metavar="DIR", help="default: a small model with random weights")
    parser.add_argument("--set", metavar="KEY=VALUE", action="append", default=[], dest="overrides")


def run(options: argparse.Namespace) -> int:
    from pipeline.drive import drive
    from pipeline.progress import Progress
    from pipeline.request import Request

    with tempfile.TemporaryDirectory(prefix="nightshift-bench-") as folder:
        corpus, model = Path(folder) / "corpus", Path(options.model or f"{folder}/model")
        _make(corpus, model, options)
        config = configuration.load(None, [f'encode.model="{model}"', *options.overrides])
        _forget_peak()
        began = time.monotonic()
        with _peak_of_object_store() as store_bytes, Progress(config.run.log_every_s) as progress:
            result = drive(Request(str(corpus), f"{folder}/run", config), progress)
        wall_s = time.monotonic() - began
        figures = {
            "recordings": result.tally.num_ok,
            "audio_s": result.tally.audio_s,
            "cpus": config.run.cpus or len(os.sched_getaffinity(0)),
            "wall_s": wall_s,
            "stage_s": result.stage_s,
            "stage_cpu_s": result.stage_cpu_s,
            "driver_peak_bytes": _peak_bytes(),
            "object_store_peak_bytes": max(store_bytes),
        }
    figures |= _framework_shares(figures)
    if not options.json:
        _print(figures)
    print(json.dumps(figures))
    return 0 if result.complete else 1


def _make(corpus: Path, model: Path, options: argparse.Namespace) -> None:
    """Fifty different recordings, copied until there are enough."""
    import numpy as np
    import soundfile

    from pipeline.demo.sample import babble, write_model

    if options.model is None:
        write_model(model)
    corpus.mkdir()
    rng = np.random.default_rng(0)
    for number in range(options.num_recordings):
        path = corpus / f"{number:06d}.flac"
        if number < 50:
            soundfile.write(path, babble(rng, options.seconds, 16_000), 16_000)
        else:
            path.write_bytes((corpus / f"{number % 50:06d}.flac").read_bytes())


def _framework_shares(figures: dict[str, Any]) -> dict[str, float]:
    """What is not reading, encoding or decoding, as a share of the wall time and of the time of all CPUs.

    The first takes the stages to run side by side on all CPUs, and is what a run takes longer for being carried; the
    second counts every CPU that idles, starts processes or waits as overhead.
    """
    available_s = figures["wall_s"] * figures["cpus"]
    wall_s, cpu_s = (sum(figures[kind].get(stage, 0.0) for stage in WORK) for kind in ("stage_s", "stage_cpu_s"))
    return {"framework_share_of_wall": 1 - wall_s / available_s, "framework_share_of_cpus": 1 - cpu_s / available_s}


def _print(figures: dict[str, Any]) -> None:
    wall_s = figures["wall_s"]
    rows = [
        ("recordings", f"{figures['recordings']:,}, {figures['audio_s'] / 3600:.2f} h of audio"),
        (
            "time in all",
            f"{clock(wall_s)} on {figures['cpus']} CPUs, {figures['audio_s'] / wall_s:,.0f} times real time",
        ),
    ]
    for stage, seconds in figures["stage_s"].items():
        rows.append((f"  {stage}", f"{seconds:.1f} s, of them {figures['stage_cpu_s'][stage]:.1f} s of CPU"))
    rows += [
        (
            "framework's own share",
            f"{figures['framework_share_of_wall']:.0%} of the wall time, "
            f"{figures['framework_share_of_cpus']:.0%} of the CPUs'",
        ),
        ("driver, peak memory", f"{figures['driver_peak_bytes'] / 2**20:,.0f} MiB"),
        ("object store, peak", f"{figures['object_store_peak_bytes'] / 2**20:,.0f} MiB"),
    ]
    show.table(rows)


@contextmanager
def _peak_of_object_store() -> Iterator[list[int]]:
    """Samples of the shared memory that Ray's object store has touched since the block began."""
    before, samples, done = shutil.disk_usage(SHARED_MEMORY).used, [0], threading.Event()

    def sample() -> None:
        while not done.wait(SAMPLE_EVERY_S):
            samples.append(shutil.disk_usage(SHARED_MEMORY).used - before)

    thread = threading.Thread(target=sample, daemon=True)
    thread.start()
    yield samples
    done.set()
    thread.join()


def _forget_peak() -> None:
    """Start the peak memory of this process afresh (Linux)."""
    Path("/proc/self/clear_refs").write_text("5")


def _peak_bytes() -> int:
    match = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return int(match[1]) * 1024 if match else 0
