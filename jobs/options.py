"""The flags that several jobs share, and the configuration they amount to."""

import argparse
import json

from pipeline import config as configuration
from pipeline.config import Config

# Flags that are short for a configuration key.
SHORTHANDS = {"model": "encode.model", "address": "run.address", "limit": "read.limit", "device": "encode.device"}


def add_config_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", metavar="M", help="checkpoint directory, its URL, or a name on the Hugging Face hub")
    parser.add_argument("--config", metavar="FILE", help="a TOML file with the configuration")
    parser.add_argument(
        "--set",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        dest="overrides",
        help="set one configuration key, for example --set encode.actors=2; may be repeated",
    )
    parser.add_argument("--limit", metavar="N", type=int, help="only the first N recordings")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), help="where the encoder runs")
    parser.add_argument(
        "--address",
        metavar="A",
        help="the Ray cluster: local (default, unless RAY_ADDRESS is set), auto, HOST:PORT, or here for this process",
    )


def config_of(options: argparse.Namespace) -> Config:
    """The file, then --set, then the shorthand flags: the later wins."""
    flags = {key: getattr(options, flag) for flag, key in SHORTHANDS.items() if getattr(options, flag) is not None}
    as_toml = [f"{key}={json.dumps(value, ensure_ascii=False)}" for key, value in flags.items()]
    return configuration.load(options.config, [*options.overrides, *as_toml])
