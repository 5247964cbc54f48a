"""`nightshift bench text`: features of arrays and texts of labels, beside transformers.

One core, in CPU seconds, on sound and labels that are made here: both sides get the same, one after the other.
"""

import argparse
import importlib
import importlib.util
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table

from jobs import show
from jobs.bench_machine import machine
from pipeline.errors import UsageError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Labels = npt.NDArray[np.int64]  # (B, T)

ROUNDS = 7
LEAST_S = 0.2  # of CPU that a side works for in a round: a shorter time is not to be measured
SEED = 7
LENGTHS_S = (15.0, 12.5, 11.0, 9.0, 8.0, 6.5, 5.0, 3.0)  # of the recordings in a batch
NUM_SEQUENCES, NUM_FRAMES = 256, 500
PACKAGES = ("transformers", "torch", "numpy")
MISSING = (
    "transformers, which features and texts are compared with, is not installed: "
    "`pip install --editable '.[dev]'` does it"
)
# Phones of one to three characters: 384 of them, as many as multilingual models have.
PHONES = [chr(base) + mark for mark in ("", "\u02d0", "\u02b0", "\u0303\u02d0") for base in range(0x250, 0x2B0)]


@dataclass(frozen=True)
class Part:
    """What both sides do."""

    name: str
    unit: str
    amount: float  # of units that one call is about
    here: Callable[[], Any]
    there: Callable[[], Any]
    difference: Callable[[Any, Any], float]
    target: float | None = None  # how many times as fast ours is to be


@dataclass(frozen=True)
class Result:
    """Speeds are units per CPU second."""

    part: str
    unit: str
    here: float
    transformers: float
    ratios: list[float]  # round by round
    target: float | None
    difference: float  # of features, the greatest; of texts and offsets, the share that differs


def add_arguments(parser: argparse._ActionsContainer) -> None:
    parser.add_argument("--rounds", type=int, default=ROUNDS, metavar="N", help=f"default {ROUNDS}")
    parser.add_argument("--part", action="append", metavar="P", help="those with this in their name; may be repeated")


def run(options: argparse.Namespace) -> int:
    if options.rounds < 1:
        raise UsageError(f"--rounds must be at least 1, not {options.rounds}")
    if importlib.util.find_spec("transformers") is None:
        raise UsageError(MISSING)
    import torch

    torch.set_num_threads(1)
    about = machine(PACKAGES)
    with tempfile.TemporaryDirectory() as folder:
        parts = list(_parts(Path(folder)))
        wanted = [one for one in parts if any(asked in one.name for asked in options.part or ("",))]
        if not wanted:
            raise UsageError(f"--part {options.part[0]}: there are {'; '.join(one.name for one in parts)}")
        if not options.json:
            _print_setting(about, options.rounds)
        results = [_measured(one, options.rounds) for one in wanted]
    if not options.json:
        _print_results(results)
    print(json.dumps({"machine": about, "rounds": options.rounds, "results": [asdict(one) for one in results]}))
    return 0


def _measured(part: Part, rounds: int) -> Result:
    difference = part.difference(part.here(), part.there())  # the first calls, which are not measured
    cpu_s: dict[Callable[[], Any], list[float]] = {part.here: [], part.there: []}
    times = {side: max(1, round(LEAST_S / max(_cpu_s(side), 1e-6))) for side in cpu_s}
    for number in range(rounds):
        for side in list(cpu_s)[:: 1 if number % 2 else -1]:
            cpu_s[side].append(_cpu_s(side, times[side]))
    here, there = cpu_s[part.here], cpu_s[part.there]
    return Result(
        part.name,
        part.unit,
        here=part.amount / statistics.median(here),
        transformers=part.amount / statistics.median(there),
        ratios=[theirs / ours for ours, theirs in zip(here, there, strict=True)],
        target=part.target,
        difference=difference,
    )


def _cpu_s(work: Callable[[], object], times: int = 1) -> float:
    before = time.process_time()
    for _ in range(times):
        work()
    return (time.process_time() - before) / times


# ---- what is measured


def _parts(folder: Path) -> Iterator[Part]:
    import numpy as np

    rival: Any = importlib.import_module("transformers")
    rng = np.random.default_rng(SEED)
    yield from _feature_parts(rival, [rng.normal(0, 0.1, int(16_000 * s)).astype(np.float32) for s in LENGTHS_S])

    from pipeline.demo.emissions import LABELS

    said = _said(rng, len(LABELS))
    dense = rng.integers(0, len(LABELS), said.shape)
    yield from _text_parts("CTC", "Wav2Vec2CTCTokenizer", rival, folder, LABELS, said, dense)
    labels = (*LABELS[:4], *PHONES)
    said = _said(rng, len(labels))
    yield from _text_parts("phonemes", "Wav2Vec2PhonemeCTCTokenizer", rival, folder, labels, said)


def _feature_parts(rival: Any, sounds: Sequence[Any]) -> Iterator[Part]:
    from pipeline import text

    for name, main, target in (
        ("Wav2Vec2FeatureExtractor", "input_values", None),
        ("SeamlessM4TFeatureExtractor", "input_features", 4.0),
    ):
        here, there = (
            partial(getattr(package, name)(), sounds, sampling_rate=16_000, padding=True, return_tensors="np")
            for package in (text, rival)
        )
        yield Part(name, "audio s", sum(LENGTHS_S), here, there, partial(_distance, main), target)


def _text_parts(
    title: str, name: str, rival: Any, folder: Path, labels: Sequence[str], *frames: "Labels"
) -> Iterator[Part]:
    """With the frames as a model says them and, where they are there, with as many labels as can be."""
    from pipeline import text

    file = folder / f"{name}.json"
    file.write_text(json.dumps({label: number for number, label in enumerate(labels)}), encoding="utf-8")
    more = {"do_phonemize": False} if title == "phonemes" else {}
    tokenizers = [getattr(package, name)(str(file), **more) for package in (text, rival)]
    offsets = {"output_char_offsets": True}
    for said, kind in zip(frames, ("", ", dense"), strict=False):
        for how, sequences, options, target in (
            ("", said, {}, 20.0),
            (", of lists", said.tolist(), {}, 20.0),
            (", offsets", said, offsets, None),
            *([(", word offsets", said, {"output_word_offsets": True}, None)] if title == "CTC" else []),
        ):
            here, there = (partial(one.batch_decode, sequences, **options) for one in tokenizers)
            yield Part(f"{title}{kind}{how}", "labels", said.size, here, there, _share, target)


def _said(rng: "np.random.Generator", num_labels: int) -> "Labels":
    """As a model has it: labels of a frame or two, and blanks between them; the first of all is the blank."""
    import numpy as np

    rows = []
    for _ in range(NUM_SEQUENCES):
        labels = rng.integers(4, num_labels, NUM_FRAMES)  # without the sentence marks
        lengths = np.stack([rng.integers(1, 3, NUM_FRAMES), rng.integers(1, 7, NUM_FRAMES)], 1)
        rows.append(np.repeat(np.stack([labels, np.zeros_like(labels)], 1).ravel(), lengths.ravel())[:NUM_FRAMES])
    return np.stack(rows)  # (B, T)


def _distance(main: str, ours: Any, theirs: Any) -> float:
    import numpy as np

    if ours[main].shape != theirs[main].shape:
        return float("inf")
    return float(np.abs(ours[main] - theirs[main]).max())


def _share(ours: Any, theirs: Any) -> float:
    """Of sequences that are not the same in all that was asked for."""
    told = [[one] if isinstance(one, list) else list(one.values()) for one in (ours, theirs)]
    mine, other = (list(zip(*columns, strict=True)) for columns in told)
    return sum(one != same for one, same in zip(mine, other, strict=True)) / len(mine)


# ---- tables for people


def _print_setting(about: dict[str, Any], rounds: int) -> None:
    packages = ", ".join(f"{name} {told}" for name, told in about["packages"].items())
    show.table(
        [
            ("machine", f"{about['processor']}, {about['cpus']} CPUs, load {about['load']:.1f}"),
            ("software", f"Python {about['python']}, {packages}"),
            ("sound", f"{len(LENGTHS_S)} recordings of {min(LENGTHS_S):g} to {max(LENGTHS_S):g} s, as one batch"),
            ("labels", f"{NUM_SEQUENCES} sequences of {NUM_FRAMES} frames, as one batch; {rounds} rounds"),
        ]
    )


def _print_results(results: Sequence[Result]) -> None:
    table = Table(title="Units per CPU second, one core", title_justify="left")
    for name in ("", "unit"):
        table.add_column(name, no_wrap=True)
    for name in ("here", "transformers", "times as fast", "aim", "differ by"):
        table.add_column(name, justify="right", no_wrap=True)
    for one in results:
        table.add_row(
            one.part,
            one.unit,
            f"{one.here:,.0f}",
            f"{one.transformers:,.0f}",
            f"{statistics.median(one.ratios):.1f} ({min(one.ratios):.1f}-{max(one.ratios):.1f})",
            "" if one.target is None else f"{one.target:g}",
            "nothing" if one.difference == 0 else f"{one.difference:.1e}",
        )
    show.console(quiet=False).print(table)
    print("Labels as a model says them are three quarters blank; dense ones are any of 32, frame by frame.")
