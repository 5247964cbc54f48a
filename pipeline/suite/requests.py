"""The runs of a suite as they are asked for: of all datasets together by one model, and of what that kept by another
decoder.

Knows nothing of which there are, or of suite.toml.
"""

from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any

from pipeline import run as runs
from pipeline import store
from pipeline.config import Config, EncodeConfig, ReadConfig
from pipeline.decode.settings import DecodeSettings, settle
from pipeline.records import without_query
from pipeline.request import DecodeRequest, KeptRun, Request, run_with_emissions
from pipeline.run import Input, Run
from pipeline.sources.found import Tell
from pipeline.sources.joined import Dataset, open_joined
from pipeline.sources.spool import Listing

WHOLE = "read.unit_s"  # of `read`, what all datasets have in common


@dataclass(frozen=True)
class Transcription(Request):
    """All datasets by one model. `source` is what they are called; `config.read` holds for all."""

    datasets: tuple[Dataset, ...] = ()
    leave_out: str | None = None  # a path: what lies below is no part of a dataset
    like: Run | None = None  # another model's, over the same recordings

    finding = "finding the datasets"

    @property
    def input(self) -> str:
        return self.source

    def settings(self) -> dict[str, Any]:
        whole = {name: value for name, value in super().settings().items() if not _of_reading(name)}
        return whole | {f"datasets.{dataset.name}": described(dataset) for dataset in self.datasets}

    def open(self, tell: Tell) -> Input:
        if self.like is not None:
            return SameRecordings(self.like)
        return Listing(open_joined(self.datasets, self.leave_out, tell), self.config.read, tell)

    def taken_for(self, source: Input) -> str:
        return source.description if self.like is None else f"the recordings of {self.like.folder.url}"


def _of_reading(name: str) -> bool:
    return name.startswith("read.") and name != WHOLE


def described(dataset: Dataset) -> str:
    """Where it is, and what is set of how it is read, limits aside."""
    told = [without_query(dataset.input)]
    for key in fields(ReadConfig):
        value = getattr(dataset.read, key.name)
        if not key.metadata.get("tuning") and f"read.{key.name}" != WHOLE and value != key.default:
            told.append(f"{key.name} = {value}")
    return ", ".join(told)


class SameRecordings(KeptRun):
    """The recordings of another run: each dataset is listed once, and all models hear the same."""

    @property
    def description(self) -> str:
        return str(self.run.info()["source"])


@dataclass(frozen=True)
class Decoding(DecodeRequest):
    """What a transcription has kept, by another decoder: by what is configured, and nothing of the first's."""

    def check(self) -> None:
        super().check()
        run_with_emissions(self.source)

    @cached_property
    def kept(self) -> Run:
        """Which may still be at work, when it is first asked for."""
        return runs.find(store.absolute(self.source))

    @cached_property
    def effective(self) -> Config:
        return replace(self.config, encode=EncodeConfig(device="cpu"))

    @cached_property
    def decoding(self) -> DecodeSettings:
        return settle(self.effective.decode, self.vocabulary)

    def _ignored(self) -> list[str]:
        return []  # the limits of reading are the suite's
