"""`nightshift bench encode`: our encoder beside transformers, on the same weights and the same recordings.

From audio arrays to logits, features and normalisation included: in CPU seconds on a CPU, in wall seconds on a GPU.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jobs.bench_machine import machine
from pipeline.errors import UsageError

if TYPE_CHECKING:  # they import torch
    from jobs.bench_encode_contestants import Setting
    from jobs.bench_encode_material import Sound
    from jobs.bench_encode_rounds import Clock, Work
    from pipeline.models.config import ModelConfig
    from pipeline.models.precision import Precision
    from pipeline.text.vocabulary import Vocabulary

FAMILIES = ("wav2vec2", "conformer", "bert")
SIZES = ("base", "large", "tiny")
PRECISIONS = ("fp32", "bf16", "fp16", "int8")
BY_DEFAULT: "dict[str, tuple[Precision, ...]]" = {"cpu": ("fp32", "bf16", "int8"), "cuda": ("fp32", "bf16", "fp16")}
# On a CPU, so many that all of it takes about six minutes of one core; on a GPU, some seconds a round.
NUM_RECORDINGS = {"cpu": 6, "cuda": 1000}
ROUNDS = 3


def add_arguments(parser: argparse._ActionsContainer) -> None:
    parser.add_argument("--model", metavar="DIR", help="a CTC checkpoint; default: one with seeded weights is made")
    parser.add_argument("--family", choices=FAMILIES, help="of the model that is made; default wav2vec2")
    parser.add_argument("--size", choices=SIZES, help="of the model that is made; default base")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="default cpu")
    told = f"{', '.join(PRECISIONS)}; may be repeated; default: fp32, bf16, and int8 on a CPU, fp16 on a GPU"
    parser.add_argument("--precision", action="append", choices=PRECISIONS, metavar="P", help=told)
    parser.add_argument("--threads", type=int, default=1, metavar="N", help="that torch may use on a CPU; default 1")
    told = f"default {NUM_RECORDINGS['cpu']}, on a GPU {NUM_RECORDINGS['cuda']:,}"
    parser.add_argument("--num-recordings", type=int, metavar="N", help=told)
    told = "of each recording; default: 1 to 35, as in corpora of speech, 12 on average"
    parser.add_argument("--seconds", type=float, metavar="S", help=told)
    parser.add_argument("--rounds", type=int, default=ROUNDS, metavar="N", help=f"default {ROUNDS}")
    told = "audio seconds computed at once, by either side; default: as the encode stage has it"
    parser.add_argument("--batch-s", type=float, metavar="S", help=told)
    parser.add_argument("--no-rival", action="store_true", help="measure ours alone; transformers need not be there")
    parser.add_argument("--seams", action="store_true", help="then measure what windows change in a long recording")


def run(options: argparse.Namespace) -> int:
    _check(options)
    with tempfile.TemporaryDirectory(prefix="nightshift-bench-") as folder:
        figures = _measure(options, Path(folder))
    print(json.dumps(figures))
    return 0


def _check(options: argparse.Namespace) -> None:
    for name, least in (("threads", 1), ("num_recordings", 1), ("seconds", 0.1), ("rounds", 1), ("batch_s", 0.1)):
        if (value := getattr(options, name)) is not None and not value >= least:
            raise UsageError(f"--{name.replace('_', '-')} must be at least {least}, not {value}")
    if options.model and (options.family or options.size):
        raise UsageError("--family and --size are for the model that is made where there is no --model")


def _measure(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """All figures; each part is shown as it is there."""
    import torch

    from jobs import bench_encode_contestants as contestants
    from jobs import bench_encode_parts as parts
    from jobs.bench_encode_rounds import OURS, RIVAL, Clock, Judge, race, results
    from jobs.bench_encode_tables import Tables
    from jobs.bench_material import say

    began = time.monotonic()
    torch.set_num_threads(options.threads)
    torch.backends.cudnn.allow_tf32 = False  # torch's default for convolutions: on either side fp32 means fp32
    setting = _setting(options, folder)
    say("loading and preparing")
    precisions = list(dict.fromkeys(options.precision or BY_DEFAULT[options.device]))
    rivals = [] if options.no_rival else contestants.rivals(setting, precisions)
    entered = [*rivals, *(contestants.ours(setting, precision) for precision in precisions)]
    tables, clock, audio = Tables(quiet=options.json), Clock(torch.device(options.device)), _sounds(options)
    work, figures = _about(options, setting, audio, clock)
    tables.setting(figures)

    say(f"{options.rounds} rounds of {work.audio_s:,.0f} s of audio, by {len(entered)} ways")
    measured = race(entered, audio, options.rounds, clock)
    alone = measured.alone()
    reference = contestants.alone(setting, audio) if alone is None else measured.logits[alone]
    figures["reference"] = OURS if alone is None else RIVAL
    told = results(measured, work, Judge(reference, _lengths(setting.config, audio), _vocabulary(setting)))
    figures |= {"results": [asdict(one) for one in told], "compiled_late": measured.compiled_late}
    tables.speeds(told, figures)
    tables.errors(told, figures["reference"])
    if figures["model"]["family"] == "wav2vec2-bert":
        mel = parts.mel(setting, audio, options.rounds, clock, bool(rivals))
        figures["mel"] = asdict(mel)
        tables.mel(mel, clock.unit)
    if options.seams:
        say("windows")
        seams = list(parts.seams(setting, parts.LONG_S))
        figures["seams"] = [asdict(one) for one in seams]
        tables.seams(seams)
    figures["wall_s"] = time.monotonic() - began
    return figures


def _setting(options: argparse.Namespace, folder: Path) -> "Setting":
    from jobs.bench_encode_contestants import Setting
    from jobs.bench_encode_material import write_checkpoint
    from pipeline.encode import BATCH_S
    from pipeline.models.auto import AutoConfig
    from pipeline.models.locate import checkpoint_directory

    if options.device == "cuda":
        _check_cuda()
    if not options.model:
        write_checkpoint(folder, options.family or FAMILIES[0], options.size or SIZES[0])
    directory = checkpoint_directory(options.model) if options.model else folder
    config: ModelConfig = AutoConfig.from_pretrained(directory)
    return Setting(directory, config, options.device, options.batch_s or BATCH_S[options.device])


def _check_cuda() -> None:
    import torch

    if not torch.cuda.is_available():
        raise UsageError("--device cuda, but torch finds no GPU here")


def _sounds(options: argparse.Namespace) -> "list[Sound]":
    from jobs.bench_encode_material import lengths_s, sounds

    return sounds(lengths_s(options.num_recordings or NUM_RECORDINGS[options.device], options.seconds))


def _lengths(config: "ModelConfig", audio: "Sequence[Sound]") -> list[int]:
    """The frames of each recording alone."""
    from jobs.bench_flops import num_inputs

    return [config.num_adapted(num_inputs(config, len(one.pcm))) for one in audio]


def _vocabulary(setting: "Setting") -> "Vocabulary | None":
    """Of the checkpoint, if it has one: without, nothing is said of texts."""
    from pipeline.text.vocabulary import Vocabulary

    if not (setting.model / "vocab.json").exists():
        return None
    vocabulary = Vocabulary.from_pretrained(setting.model)
    vocabulary.check_width(setting.config.vocab_size)
    return vocabulary


def _about(
    options: argparse.Namespace, setting: "Setting", audio: "Sequence[Sound]", clock: "Clock"
) -> "tuple[Work, dict[str, Any]]":
    """What every contestant is to do, and the figures that say on what and how."""
    import torch

    from jobs.bench_encode_material import num_parameters
    from jobs.bench_encode_rounds import Work
    from jobs.bench_flops import num_flops, peak_flops

    config, device, lengths_s = setting.config, torch.device(options.device), [one.seconds for one in audio]
    flops = sum(num_flops(config, len(one.pcm)) for one in audio)
    work = Work(sum(lengths_s), flops, peak_flops(device, clock))
    gpu = torch.cuda.get_device_name() if device.type == "cuda" else None
    packages = ("torch", "numpy") if options.no_rival else ("torch", "transformers", "numpy")
    model = {"directory": options.model, "size": None if options.model else options.size or SIZES[0]}
    figures = {
        "machine": machine(packages) | {"gpu": gpu, "capability": torch.backends.cpu.get_cpu_capability()},
        "model": model | {"family": config.model_type, "num_parameters": num_parameters(config)},
        "recordings": {
            "num": len(audio),
            "audio_s": work.audio_s,
            "least_s": min(lengths_s),
            "most_s": max(lengths_s),
        },
        "device": options.device,
        "threads": options.threads if device.type == "cpu" else None,
        "rounds": options.rounds,
        "batch_s": setting.batch_s,
        "clock": clock.unit,
        "flops_per_audio_s": flops / work.audio_s,
        "peak_bf16_flops": work.peak,
    }
    return work, figures
