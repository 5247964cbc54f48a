"""Decoding as a run was decoded: its decoder, lexicon, language models and weights, where nothing else is configured.

Knows nothing of how they decode, or of what is decoded.
"""

from dataclasses import replace

from pipeline.config import DecodeConfig
from pipeline.decode.options import WEIGHTS
from pipeline.decode.settings import DecodeSettings
from pipeline.errors import UsageError
from pipeline.run import Run


def goes_by_run(config: DecodeConfig) -> bool:
    """Whether nothing says what is to decode, so that what decoded before does it again."""
    return config.decoder == "auto" and not config.lm and not config.lexicon


def decoded_as(run: Run, config: DecodeConfig) -> DecodeConfig:
    """With the decoder, the lexicon, the language models and the weights of a run, where none of them is configured."""
    if not goes_by_run(config):
        return config
    there = run.info()["config"]["decode"]
    weights = {name: there[name] for name in WEIGHTS if getattr(config, name) is None}
    return replace(with_models_of(run, config), decoder=there["decoder"], **weights)


def with_models_of(run: Run, config: DecodeConfig) -> DecodeConfig:
    """With the language models and the lexicon that a run was decoded with, where none is configured."""
    info = run.info()
    models, lexicon = info["decoding"]["models"], info["decoding"].get("lexicon")  # of earlier versions none
    if config.lm or config.lexicon:
        return config
    if lexicon:
        mapped = config.phone_map or lexicon["phone_map"]
        config = replace(config, lexicon=lexicon["location"], phone_map=mapped)
    if not models:
        return config
    shares = tuple(model["weights"]["share"] for model in models)
    unigrams = {model["unigrams"] for model in models}  # several: of decoder directories, which bring their own
    return replace(
        config,
        lm=tuple(model["directory"] or model["location"] for model in models),
        lm_shares=shares if len(set(shares)) > 1 else (),
        unigrams=config.unigrams or (unigrams.pop() if len(unigrams) == 1 else None),
    )


def refuse_others(run: Run, settled: DecodeSettings, unigrams_too: bool) -> None:
    """The files that a run names must still be those that it was decoded with, where they are taken from it."""
    decoding = run.info()["decoding"]
    if (lexicon := settled.lexicon) is not None:
        before = decoding["lexicon"]
        other = lexicon.location if lexicon.content != before["content"] else None
        if lexicon.phone_map == before["phone_map"] and lexicon.phone_map_content != before["phone_map_content"]:
            other = other or lexicon.phone_map
        if other:
            raise UsageError(_no_longer(other, run, "--lexicon"))
    for now, then in zip(settled.models, decoding["models"], strict=True):
        other = now.location if now.content != then["content"] else None
        if unigrams_too and now.unigrams_content != then["unigrams_content"]:
            other = other or now.unigrams or now.location
        if other:
            raise UsageError(_no_longer(other, run, "--lm"))


def _no_longer(location: str, run: Run, flag: str) -> str:
    return f"{location} is no longer what {run.folder.url} was decoded with: say with {flag} what to take"
