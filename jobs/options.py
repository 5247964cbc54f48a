"""The flags that several jobs share, and the configuration they amount to."""

import argparse
import json
import typing

from pipeline import config as configuration
from pipeline.config import Config, DecodeConfig, SourceKind

# Flags that are short for a configuration key.
SHORTHANDS = {
    "model": "encode.model",
    "source": "read.source",
    "address": "run.address",
    "limit": "read.limit",
    "device": "encode.device",
    "lm": "decode.lm",
    "lexicon": "decode.lexicon",
    "phone_map": "decode.phone_map",
    "decoder": "decode.decoder",
    "keep_emissions": "encode.keep_emissions",
}
INPUT = "audio in a folder or glob, shards, a table, or a corpus of another kind that --source names; by path or URL"
DECODERS = typing.get_args(typing.get_type_hints(DecodeConfig)["decoder"])


def add_config_arguments(parser: argparse.ArgumentParser) -> None:
    """For jobs that start from audio."""
    parser.add_argument("--model", metavar="M", help="checkpoint directory, its URL, or a name on the Hugging Face hub")
    parser.add_argument("--source", choices=typing.get_args(SourceKind), help="what INPUT is, where it is not seen")
    parser.add_argument("--limit", metavar="N", type=int, help="only the first N recordings")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), help="where the encoder runs")
    parser.add_argument(
        "--keep-emissions",
        action="store_const",
        const=True,
        help="write the log-probabilities beside the parts, for nightshift decode and tune",
    )
    add_decode_arguments(parser)
    add_address_argument(parser)


def add_decode_arguments(parser: argparse.ArgumentParser) -> None:
    """For jobs that start from emissions."""
    parser.add_argument(
        "--lm",
        metavar="L",
        action="append",
        help="a KenLM binary, an ARPA file or a decoder directory, by path or URL; may be repeated",
    )
    parser.add_argument(
        "--lexicon",
        metavar="FILE",
        help="words and how they are said, as CMUdict or MFA write it: makes words of a phoneme model's phones",
    )
    parser.add_argument("--phone-map", metavar="FILE", help="which of the model's phones stand for the lexicon's")
    told = "default: native with a language model or a lexicon, else greedy"
    parser.add_argument("--decoder", choices=DECODERS, help=told)
    add_settings_arguments(parser, "decode.beam_width=64")


def add_settings_arguments(parser: argparse.ArgumentParser, example: str) -> None:
    parser.add_argument("--config", metavar="FILE", help="a TOML file with the configuration")
    parser.add_argument(
        "--set",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        dest="overrides",
        help=f"set one configuration key, for example --set {example}; may be repeated",
    )


def add_address_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--address",
        metavar="A",
        help="the Ray cluster: local (default, unless RAY_ADDRESS is set), auto, HOST:PORT, or here for this process",
    )


def config_of(options: argparse.Namespace) -> Config:
    """The file, then --set, then the shorthand flags: the later wins."""
    given = {key: getattr(options, flag, None) for flag, key in SHORTHANDS.items()}
    flags = {key: value for key, value in given.items() if value is not None}
    as_toml = [f"{key}={json.dumps(value, ensure_ascii=False)}" for key, value in flags.items()]
    return configuration.load(options.config, [*options.overrides, *as_toml])
