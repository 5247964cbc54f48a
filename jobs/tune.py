"""`nightshift tune RUN`: alpha, beta, beam width and pruning with the fewest word errors on the emissions RUN has kept.

Prints TOML for --config, and above it, as comments, what was tried. Half of the recordings choose, the others tell.
"""

import argparse
import dataclasses
import json
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jobs import options as shared
from pipeline import store
from pipeline.config import DecodeConfig, ScoreConfig
from pipeline.errors import UsageError

if TYPE_CHECKING:
    from pipeline.run import Run
    from pipeline.tune import Plan, Setting, Trial, Tuned

NUM_SHOWN = 15  # settings in the table
LEAST = 4  # recordings, as pipeline.tune needs
FILES = ("lexicon", "phone_map", "unigrams", "hotwords")  # what a configuration of decoding names, beside models
FEW = 200  # recordings; fewer leave wide intervals


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", metavar="RUN", help="a complete run with references, made with --keep-emissions")
    shared.add_decode_arguments(parser)
    told = "drawn at random; default 1000"
    parser.add_argument("--num-recordings", type=_whole(LEAST), default=1000, metavar="N", help=told)
    parser.add_argument("--seed", type=_whole(0), default=0, metavar="N", help="of the drawing; default 0")
    parser.add_argument("--alphas", type=_list_of(_finite(least=0)), metavar="A,A,...", help="default 0.1 to 1.5")
    parser.add_argument("--betas", type=_list_of(_finite()), metavar="B,B,...", help="as in --betas=-1,0,1")
    parser.add_argument("--refinements", type=_whole(0), metavar="N", help="closer looks around the best; default 1")
    parser.add_argument("--beam-widths", type=_list_of(_whole(1)), metavar="W,W,...", help="default 25 to 400")
    parser.add_argument(
        "--prunings",
        type=_list_of(_pair),
        metavar="P:T,...",
        help="pairs of decode.beam_prune_logp and decode.token_min_logp, as in --prunings=-10:-5,-15:-7",
    )
    told = "audio seconds per core-second that the choice must reach"
    parser.add_argument("--min-speed", type=_finite(least=0), default=0.0, metavar="S", help=told)
    parser.add_argument("--out", metavar="FILE", help="write the chosen setting there, too")
    parser.add_argument("--plot", metavar="FILE", help="write a heat map of alpha and beta there, as SVG")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of TOML")


def run(options: argparse.Namespace) -> int:
    from pipeline import score
    from pipeline.decode.again import refuse_others, scored_as
    from pipeline.decode.backends import warm_up
    from pipeline.decode.settings import settle
    from pipeline.progress import Progress
    from pipeline.request import COMPILING, doubts, run_with_emissions
    from pipeline.run import vocabulary_of
    from pipeline.text.normalize import normalizer
    from pipeline.tune import sample, tune

    _check_target("--out", options.out)
    _check_target("--plot", options.plot)
    config = shared.config_of(options)
    kept = run_with_emissions(options.run)
    decode, scored = _with_language_model(config.decode, kept), scored_as(kept, config.score)
    vocabulary = vocabulary_of(kept)
    settings, scoring = settle(decode, vocabulary), score.settle(scored, vocabulary)
    refuse_others(kept, settings, config.decode)
    config = dataclasses.replace(config, decode=decode)
    settings = dataclasses.replace(settings, threads=settings.threads or len(os.sched_getaffinity(0)))
    with Progress(config.run.log_every_s) as progress:
        for warning in doubts(config, settings, scoring, vocabulary):
            progress.warn(warning)
        warm_up(settings, compiling=lambda: progress.phase(COMPILING))
        progress.phase("reading emissions")
        heard = sample(kept, options.num_recordings, options.seed)
        if len(heard) < FEW:
            progress.warn(f"only {len(heard)} recordings with references: the intervals will be wide")
        plan, normalize = _plan_of(options), normalizer(scoring.normalizer)
        tuned = tune(kept, settings, heard, plan, progress.step, normalize)
    toml = _toml(_placed(decode), scored, tuned.chosen)
    if options.json:
        print(json.dumps(_as_dict(tuned) | {"run": store.absolute(options.run)}))
    else:
        print("\n".join(f"# {line}".rstrip() for line in _report(tuned, options.min_speed)))
        print(f"\n{toml}", end="")
    if options.out:
        Path(options.out).write_text(toml, encoding="utf-8")
    if options.plot:
        Path(options.plot).write_text(_plot(tuned), encoding="utf-8")
    return 0


def _check_target(flag: str, path: str | None) -> None:
    """Before the search, which may take an hour."""
    if path is None:
        return
    folder = os.path.dirname(os.path.abspath(path))
    if not os.path.isdir(folder):
        raise UsageError(f"{flag} {path}: there is no folder {folder}")
    if os.path.isdir(path):
        raise UsageError(f"{flag} {path} is a folder: name a file in it")
    if not os.access(path if os.path.exists(path) else folder, os.W_OK):
        raise UsageError(f"{flag} {path}: permission denied")


def _with_language_model(config: DecodeConfig, kept: "Run") -> DecodeConfig:
    """The one that is configured, else the one that the run was decoded with."""
    from pipeline.decode.again import with_models_of

    if config.decoder not in ("auto", "native"):
        raise UsageError(f"decode.decoder = {config.decoder}: tuning is the native decoder's")
    config = with_models_of(kept, config)
    if not config.lm:
        raise UsageError("no language model: give --lm; the run was decoded without one")
    return config


def _placed(config: DecodeConfig) -> DecodeConfig:
    """With files named so that it holds in every working directory."""

    def place(location: str) -> str:
        return store.absolute(os.path.expanduser(location))

    placed: dict[str, Any] = {name: place(where) for name in FILES if (where := getattr(config, name))}
    return dataclasses.replace(config, lm=tuple(map(place, config.lm)), **placed)


def _plan_of(options: argparse.Namespace) -> "Plan":
    from pipeline.tune import Plan

    names = [key.name for key in dataclasses.fields(Plan)]
    return Plan(**{name: getattr(options, name) for name in names if getattr(options, name) is not None})


def _report(tuned: "Tuned", min_speed: float) -> list[str]:
    before, after = tuned.before, tuned.after
    num = len(tuned.trials[0].errors)
    lines = [
        f"{len(tuned.trials)} settings on {num:,} recordings, the best {min(NUM_SHOWN, len(tuned.trials))} of them;",
        "speed in audio seconds per second of one core.",
        "",
        "   WER   95 % interval     alpha   beta  width  beam_prune  token_min    speed",
        *map(_line, tuned.trials[:NUM_SHOWN]),
        "",
        f"On {len(after.errors):,} other recordings, which chose nothing:",
        f"as configured  {before.rate:.2%} ({before.interval}), speed {before.speed:,.0f}",
        f"the choice     {after.rate:.2%} ({after.interval}), speed {after.speed:,.0f}",
        f"lower by       {before.rate - after.rate:.2%} ({tuned.gain})",
    ]
    if not tuned.is_better:
        then = "keep it" if before.speed >= min_speed else "but that is slower than --min-speed"
        lines += ["", f"no better than what is configured, as far as {len(after.errors):,} recordings can tell: {then}"]
    for name in ("alpha", "beta"):
        values = sorted({getattr(trial.setting, name) for trial in tuned.trials})
        chosen = getattr(tuned.chosen, name)
        if len(values) > 1 and chosen in (values[0], values[-1]) and (name, chosen) != ("alpha", 0):
            lines.append(f"{name} = {chosen:g} is at the edge of what was tried: go further with --{name}s")
    return lines


def _line(trial: "Trial") -> str:
    setting, interval = trial.setting, trial.interval
    return (
        f"{trial.rate:6.2%}  {interval.low:6.2%} to {interval.high:6.2%}  {setting.alpha:6g} {setting.beta:6g} "
        f"{setting.beam_width:6d} {setting.beam_prune_logp:11g} {setting.token_min_logp:10g} {trial.speed:8,.0f}"
    )


def _toml(decode: DecodeConfig, score: ScoreConfig, chosen: "Setting") -> str:
    """Everything that decoding and scoring as tuned needs, and nothing that is the default anyway."""
    values = _made(decode) | {"decoder": "native"} | dataclasses.asdict(chosen)
    lines = ["[decode]", *(f"{name} = {_literal(value)}" for name, value in values.items())]
    if scored := _made(score):
        lines += ["", "[score]", *(f"{name} = {_literal(value)}" for name, value in scored.items())]
    return "\n".join([*lines, ""])


def _made(config: DecodeConfig | ScoreConfig) -> dict[str, Any]:
    return {
        key.name: getattr(config, key.name)
        for key in dataclasses.fields(config)
        if getattr(config, key.name) != key.default and not key.metadata.get("tuning")
    }


def _literal(value: Any) -> str:
    """TOML writes infinity as Python does, and the rest as JSON does."""
    return repr(value) if isinstance(value, float) else json.dumps(value, ensure_ascii=False)


def _plot(tuned: "Tuned") -> str:
    from pipeline.heatmap import heat_map

    rates = {(trial.setting.alpha, trial.setting.beta): trial.rate for trial in tuned.grid}
    best = min(rates, key=lambda place: rates[place])
    return heat_map(rates, ("alpha", "beta"), "word error rate", best)


def _as_dict(tuned: "Tuned") -> dict[str, Any]:
    def told(trial: "Trial") -> dict[str, Any]:
        figures = {"wer": trial.rate, "interval": trial.interval, "speed": trial.speed}
        return dataclasses.asdict(trial.setting) | figures | {"num_recordings": len(trial.errors)}

    return {
        "chosen": dataclasses.asdict(tuned.chosen),
        "before": told(tuned.before),
        "after": told(tuned.after),
        "gain": tuned.gain,
        "is_better": tuned.is_better,
        "trials": [told(trial) for trial in tuned.trials],
    }


def _list_of(kind: Callable[[str], Any]) -> Callable[[str], tuple[Any, ...]]:
    return lambda text: tuple(dict.fromkeys(kind(one) for one in text.split(",")))


def _pair(text: str) -> tuple[float, float]:
    if text.count(":") != 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no pair: write it as in -10:-5")
    beam_prune, token_min = map(_finite(most=0), text.split(":"))
    return beam_prune, token_min


def _whole(least: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            number = least - 1
        if number < least:
            raise argparse.ArgumentTypeError(f"{text!r} is no whole number from {least} on")
        return number

    return parse


def _finite(least: float = -math.inf, most: float = math.inf) -> Callable[[str], float]:
    def parse(text: str) -> float:
        try:
            number = float(text)
        except ValueError:
            number = math.nan
        if not math.isfinite(number):
            raise argparse.ArgumentTypeError(f"{text!r} is no finite number")
        if not least <= number <= most:
            raise argparse.ArgumentTypeError(f"{text!r} is {'below' if number < least else 'above'} 0")
        return number

    return parse
