"""suite.toml: which datasets, models and decoders are evaluated, each with the settings it has of its own.

Knows nothing of runs. As strict as any configuration; what it names by a relative path lies beside it.
"""

import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from pipeline.config import (
    DecodeConfig,
    EncodeConfig,
    ReadConfig,
    RunConfig,
    ScoreConfig,
    read_toml,
    suggestion,
    typed,
)
from pipeline.errors import UsageError, naming
from pipeline.evaluation import names
from pipeline.sources.joined import Dataset

NAMED = ("datasets", "models", "decoders")  # sections of sections
SECTIONS = (*NAMED, "read", "encode", "decode", "score", "run", "evaluate")
NAME = re.compile(r"\w[\w.+-]{0,63}")  # of a folder on any file system, and a part of ids
FOLDER = "runs"  # where those of a suite lie below OUT, beside their evaluations
RESERVED = (FOLDER, *names.RESERVED)
OF_DECODER = ("lexicon", "phone_map", "unigrams", "hotwords")  # and `lm`: what they name are files


@dataclass(frozen=True)
class EvaluateConfig:
    """The flags of `nightshift evaluate`, by their names, and one that it has no need of."""

    references: str | None = None
    group: str | None = None
    slice: tuple[str, ...] = ()
    price: float | None = None
    worst: int = 20
    no_audio: bool = False
    baseline: str | None = None  # the model and decoder that the others are compared with; None: the first

    def __post_init__(self) -> None:
        if self.price is not None and not 0 <= self.price < math.inf:
            raise UsageError(f"evaluate.price must be zero or above and finite, not {self.price}")
        if self.worst < 0:
            raise UsageError(f"evaluate.worst must be zero or above, not {self.worst}")


@dataclass(frozen=True)
class Suite:
    """Everything that is asked for. Each of `datasets`, `models` and `decoders` is in the order of the file."""

    datasets: tuple[Dataset, ...]
    models: Mapping[str, EncodeConfig]
    decoders: Mapping[str, DecodeConfig]  # of one alone, which has no name, that is empty
    read: ReadConfig  # what holds for all datasets
    score: ScoreConfig
    run: RunConfig
    evaluate: EvaluateConfig

    @property
    def names(self) -> dict[tuple[str, str], str]:
        """Of a model and a decoder: what the two are called together."""
        return {(model, decoder): cell_name(model, decoder) for model in self.models for decoder in self.decoders}


def cell_name(model: str, decoder: str) -> str:
    return f"{model}-{decoder}" if decoder else model


def load(path: str) -> Suite:
    """The suite of a file."""
    sections = read_toml(path, "suite")
    for name in sections:
        if name not in SECTIONS:
            raise UsageError(f"{path}: unknown section {name}{suggestion(name, SECTIONS)}")
    with naming(path):
        for name in NAMED:
            _check_names(name, sections.get(name, {}))
        return _suite(sections, Path(path).absolute().parent)


def _suite(sections: Mapping[str, Any], folder: Path) -> Suite:
    given = {name: sections.get(name, {}) for name in SECTIONS}
    read = typed(ReadConfig, "read", given["read"])
    decoders = given["decoders"] or {"": {}}
    suite = Suite(
        datasets=tuple(_dataset(name, values, read, folder) for name, values in given["datasets"].items()),
        models={name: _model(name, values, given["encode"], folder) for name, values in given["models"].items()},
        decoders={name: _decoder(name, values, given["decode"], folder) for name, values in decoders.items()},
        read=ReadConfig(**{key: value for key, value in read.items() if key in _of_all()}),
        score=ScoreConfig(**typed(ScoreConfig, "score", given["score"])),
        run=RunConfig(**typed(RunConfig, "run", given["run"])),
        evaluate=_evaluate(given["evaluate"], folder),
    )
    for name, missing in (("datasets", "input"), ("models", "model")):
        if not given[name]:
            raise UsageError(f"no {name}: give one or more, as [{name}.NAME] with {missing} = ...")
    _check_folders(suite)
    _check_emissions(suite)
    baseline, known = suite.evaluate.baseline, list(suite.names.values())
    if baseline is not None and baseline not in known:
        raise UsageError(f"evaluate.baseline = {baseline}: nothing has that name{suggestion(baseline, known)}")
    return suite


def _of_all() -> list[str]:
    """The keys of `read` that hold for all datasets: limits, and how long units are, which together make one run."""
    return [key.name for key in fields(ReadConfig) if key.metadata.get("tuning") or key.name == "unit_s"]


def _dataset(name: str, values: Mapping[str, Any], common: Mapping[str, Any], folder: Path) -> Dataset:
    section, own = f"datasets.{name}", dict(values)
    location = own.pop("input", None)
    if not isinstance(location, str) or not location:
        raise UsageError(f"{section}: no input: give where it is, as input = ... in [{section}]")
    if shared := [key for key in own if key in _of_all()]:
        raise UsageError(f"{section}.{shared[0]}: holds for all datasets alike; set it in [read]")
    known = [key.name for key in fields(ReadConfig) if key.name not in _of_all()]
    if unknown := [key for key in own if key not in known]:
        close = suggestion(unknown[0], ["input", *known])
        raise UsageError(f"unknown configuration key {section}.{unknown[0]}{close}")
    own = typed(ReadConfig, section, own)
    with naming(section):
        read = ReadConfig(**{**common, **own})
    return Dataset(name, location if read.source == "hub" else _beside(folder, location), read)


def _model(name: str, values: Mapping[str, Any], common: Mapping[str, Any], folder: Path) -> EncodeConfig:
    """Its emissions are kept, unless that is denied: what is decoded later by other settings is not encoded again."""
    section = f"models.{name}"
    both = {**typed(EncodeConfig, "encode", common), **typed(EncodeConfig, section, values)}
    if not both.get("model"):
        raise UsageError(f"{section}: no model: give a checkpoint, as model = ... in [{section}]")
    with naming(section):
        config = EncodeConfig(**{"keep_emissions": True, **both})
        return replace(config, model=_checkpoint(folder, config.model))


def _decoder(name: str, values: Mapping[str, Any], common: Mapping[str, Any], folder: Path) -> DecodeConfig:
    section = f"decoders.{name}"
    both = {**typed(DecodeConfig, "decode", common), **typed(DecodeConfig, section, values)}
    with naming(section):
        config = DecodeConfig(**both)
    files: dict[str, Any] = {key: _beside(folder, getattr(config, key)) for key in OF_DECODER if getattr(config, key)}
    return replace(config, lm=tuple(_beside(folder, location) for location in config.lm), **files)


def _evaluate(values: Mapping[str, Any], folder: Path) -> EvaluateConfig:
    config = EvaluateConfig(**typed(EvaluateConfig, "evaluate", values))
    return replace(config, references=_beside(folder, config.references)) if config.references else config


def _beside(folder: Path, location: str) -> str:
    """A path as it is meant in a file of this folder; a URL is what it is."""
    return location if "://" in location else str(folder / Path(location).expanduser())


def _checkpoint(folder: Path, name: str) -> str:
    """Where it is no directory and may be the name of one on the hub, it is left to be that."""
    path = _beside(folder, name)
    if "://" in name or os.path.isdir(path) or name.startswith((".", "/", "~")) or name.count("/") > 1:
        return path
    if os.path.isdir(name):  # which a name on the hub would be taken for
        raise UsageError(f"model = {name} lies in the working directory; relative paths begin at {folder}")
    return name


def _check_names(section: str, values: Any) -> None:
    if not isinstance(values, Mapping):
        raise UsageError(f"{section} holds sections, as [{section}.NAME]")
    for name, own in values.items():
        if not isinstance(own, Mapping):
            raise UsageError(f"{section}.{name} is a section, not a value: [{section}.{name}]")
        if not NAME.fullmatch(name) or name.endswith("."):
            raise UsageError(
                f"{section}.{name}: folders are called by that name: letters, digits, _, -, + and ., at most 64, the "
                f"first of them a letter, a digit or _"
            )


def _check_folders(suite: Suite) -> None:
    """Two names may not be one, as of `a` and `b-c`, and `a-b` and `c`; on some disks case makes no difference."""
    taken = dict.fromkeys(RESERVED, "what lies beside them")
    folders = [(model, f"model {model}") for model in suite.models]
    if "" not in suite.decoders:
        folders += [(name, f"model {model} with decoder {decoder}") for (model, decoder), name in suite.names.items()]
    for name, what in folders:
        other = taken.setdefault(name.casefold(), what)
        if other != what:
            raise UsageError(f"{what} and {other} are both called {name}: call one of them otherwise")


def _check_emissions(suite: Suite) -> None:
    for name, model in suite.models.items():
        if not model.keep_emissions and len(suite.decoders) > 1:
            raise UsageError(
                f"models.{name}: keep_emissions = false, but of {len(suite.decoders)} decoders all but the first "
                f"decode what is kept: leave it out"
            )
