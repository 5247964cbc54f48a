"""Decoding as a run was decoded: its decoder, its lexicon, its language models and how it was scored, each where no
other is configured.

Knows nothing of how they decode, or of what is decoded.
"""

from dataclasses import fields, replace

from pipeline.config import DecodeConfig, ScoreConfig
from pipeline.decode.options import WEIGHTS
from pipeline.decode.settings import DecodeSettings
from pipeline.errors import UsageError
from pipeline.run import Run
from pipeline.score import NONE


def decoded_as(run: Run, config: DecodeConfig) -> DecodeConfig:
    """With the run's decoder, its lexicon, and its language models and their weights, each where none is configured.

    Greedy decoding has no use for the rest, and so gives way to a lexicon or a language model that is configured.
    """
    if config.decoder == "greedy":
        return config
    there = run.info()["config"]["decode"]
    if config.decoder == "auto" and not (there["decoder"] == "greedy" and (config.lm or config.lexicon)):
        config = replace(config, decoder=there["decoder"])
    weights = {} if config.lm else {name: there[name] for name in WEIGHTS if getattr(config, name) is None}
    return replace(with_models_of(run, config), **weights)


def with_models_of(run: Run, config: DecodeConfig) -> DecodeConfig:
    """With the language models and the lexicon that a run was decoded with, each where none is configured."""
    decoding = run.info()["decoding"]
    models, lexicon = decoding["models"], decoding.get("lexicon")  # of earlier versions none
    if lexicon and not config.lexicon:
        mapped = config.phone_map or lexicon["phone_map"]
        config = replace(config, lexicon=lexicon["location"], phone_map=mapped)
    if config.lm or not models:
        return config
    shares = tuple(model["weights"]["share"] for model in models)
    unigrams = {model["unigrams"] for model in models}  # several: of decoder directories, which bring their own
    return replace(
        config,
        lm=tuple(model["directory"] or model["location"] for model in models),
        lm_shares=shares if len(set(shares)) > 1 else (),
        unigrams=config.unigrams or (unigrams.pop() if len(unigrams) == 1 else None),
    )


def scored_as(run: Run, config: ScoreConfig) -> ScoreConfig:
    """With the run's language and its normaliser, each where none is configured."""
    there = run.info().get("scoring", {})  # earlier versions compared texts as they are, and no phones
    names = [key.name for key in fields(config) if not getattr(config, key.name)]
    taken = {name: there[name] for name in names if there.get(name, NONE) != NONE}
    return replace(config, **taken)


def refuse_others(run: Run, settled: DecodeSettings, config: DecodeConfig) -> None:
    """What is taken from a run, as none is configured, must still be what the run was decoded with."""
    decoding = run.info()["decoding"]
    lexicon = None if config.lexicon else settled.lexicon
    if lexicon is not None:
        before = decoding["lexicon"]
        other = lexicon.location if lexicon.content != before["content"] else None
        if not config.phone_map and lexicon.phone_map_content != before["phone_map_content"]:
            other = other or lexicon.phone_map
        if other:
            raise UsageError(_no_longer(other, run, "--lexicon"))
    if config.lm or not settled.models:
        return
    for now, then in zip(settled.models, decoding["models"], strict=True):
        other = now.location if now.content != then["content"] else None
        if not config.unigrams and now.unigrams_content != then["unigrams_content"]:
            other = other or now.unigrams or now.location
        if other:
            raise UsageError(_no_longer(other, run, "--lm"))


def _no_longer(location: str, run: Run, flag: str) -> str:
    return f"{location} is no longer what {run.folder.url} was decoded with: say with {flag} what to take"
