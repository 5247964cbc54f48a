"""A run as it is asked for: of audio, or of the emissions that another run has kept.

Says what the run will be and what it is made from; the driver does it. Knows nothing of the command line.
"""

from collections import deque
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pipeline
from pipeline import plan, store
from pipeline import run as runs
from pipeline.carry import Stage
from pipeline.config import Config, ReadConfig
from pipeline.decode.fit import misfits
from pipeline.decode.settings import DecodeSettings, settle, without_effect
from pipeline.errors import UsageError
from pipeline.manifest import Manifest, units_of
from pipeline.models.locate import checkpoint_directory, checkpoint_hash
from pipeline.read.entries import Source
from pipeline.read.sources import open_source
from pipeline.resources import Pools
from pipeline.run import Input, Run
from pipeline.store import Folder
from pipeline.text.features import FeatureExtractor
from pipeline.text.vocabulary import Vocabulary


@dataclass(frozen=True)
class Request:
    """A transcription."""

    source: str  # folder, glob, Parquet or manifest, by path or URL
    target: str  # the run directory
    config: Config
    overwrite: bool = False
    retry_failed: bool = False

    doing = "transcribing"

    @property
    def folder(self) -> Folder:
        return Folder(store.absolute(self.target))

    @cached_property
    def decoding(self) -> DecodeSettings:
        return settle(self.config.decode)

    @property
    def vocabulary(self) -> Vocabulary:
        return Vocabulary.from_pretrained(checkpoint_directory(self.config.encode.model))

    def settings(self) -> dict[str, Any]:
        """What the results will depend on. Reads the model's files once, and so finds most of what they lack."""
        directory = checkpoint_directory(self.config.encode.model)
        FeatureExtractor.from_pretrained(directory)
        Vocabulary.from_pretrained(directory)
        source = store.absolute(self.source)
        return runs.settings_of(self.config, source, checkpoint_hash(directory), self.decoding)

    def warnings(self) -> list[str]:
        """What is probably not meant."""
        return [*without_effect(self.config.decode), *misfits(self.decoding, self.vocabulary)]

    def told(self) -> dict[str, Any]:
        """What run.json holds for those who read it later."""
        return {
            "config": self.config.as_dict(),
            "decoding": self.decoding.as_dict(),
            "vocabulary": runs.vocabulary_as_dict(self.vocabulary),
        }

    def open_source(self) -> Source:
        """The input, without the run directory where that lies in it."""
        return open_source(self.source, self.config.read, leave_out=self.folder.path())

    def open(self) -> Input:
        return Listing(self.open_source(), self.config.read)

    def stages(self, config: Config, run: Run, pools: Pools) -> list[Stage]:
        return plan.transcription(config, run, pools)


@dataclass(frozen=True)
class Listing:
    """Recordings with audio, as the input of a run."""

    source: Source
    config: ReadConfig

    @property
    def description(self) -> str:
        return self.source.description

    def check(self) -> None:
        deque(units_of(self.source, self.config), maxlen=0)

    def freeze(self, manifest: Manifest) -> int:
        return manifest.write(units_of(self.source, self.config), self.source.schema)


@dataclass(frozen=True)
class DecodeRequest(Request):
    """The emissions that the run `source` has kept, decoded again: without audio, models or a GPU."""

    doing = "decoding"

    @cached_property
    def kept(self) -> Run:
        return run_with_emissions(self.source)

    @property
    def vocabulary(self) -> Vocabulary:
        return runs.vocabulary_of(self.kept)

    def settings(self) -> dict[str, Any]:
        kept = self.kept
        return {
            "nightshift": pipeline.__version__,
            "input": kept.info()["settings"]["input"],
            "emissions": f"of run {kept.fingerprint}",
            **self.decoding.that_shape_results(),
        }

    def open(self) -> Input:
        if self.kept.folder == self.folder:
            raise UsageError(f"{self.folder.url} is the run to be decoded again: give another directory")
        return KeptRun(self.kept)

    def stages(self, config: Config, run: Run, pools: Pools) -> list[Stage]:
        return plan.decoding(config, self.kept, run, pools)


@dataclass(frozen=True)
class KeptRun:
    """A complete run with its emissions, as the input of another."""

    run: Run

    @property
    def description(self) -> str:
        return f"emissions of {self.run.folder.url}"

    def check(self) -> None:
        """Nothing is left to find out: `run_with_emissions` has looked at all of it."""

    def freeze(self, manifest: Manifest) -> int:
        manifest.copy(self.run.manifest)
        return int(self.run.info()["num_doubled_ids"])


def warnings(config: Config) -> list[str]:
    """What is probably not meant, of a transcription without a run."""
    return Request("", "", config).warnings()


def run_with_emissions(url: str) -> Run:
    """A run that can be decoded again: complete, and with emissions."""
    run = runs.find(store.absolute(url))
    commits, units = run.commits(), run.manifest.units()
    if missing := len(units) - len(commits):
        raise UsageError(
            f"{run.folder.url}: {missing:,} of its {len(units):,} units are not done; finish the run first"
        )
    if any(commit.emissions is None for commit in commits.values()):
        raise UsageError(f"{run.folder.url} has kept no emissions; transcribe with --keep-emissions")
    return run
