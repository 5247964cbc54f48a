"""A run as it is asked for: of audio, or of the emissions that another run has kept.

Says what the run will be and what it is made from; the driver does it. Knows nothing of the command line.
"""

from dataclasses import dataclass, fields, replace
from functools import cached_property
from posixpath import basename
from typing import Any

import pipeline
from pipeline import plan, score, store
from pipeline import run as runs
from pipeline.carry import Stage
from pipeline.config import Config, EncodeConfig
from pipeline.decode.again import decoded_as, refuse_others, scored_as
from pipeline.decode.fit import misfits
from pipeline.decode.settings import DecodeSettings, settle, without_effect
from pipeline.errors import UsageError
from pipeline.manifest import Doubled, Manifest
from pipeline.models.locate import checkpoint_directory, model_hash
from pipeline.records import without_query
from pipeline.resources import Pools
from pipeline.run import Input, Run
from pipeline.score import ScoreSettings
from pipeline.sources.found import Tell
from pipeline.sources.recognise import open_source
from pipeline.sources.spool import Listing
from pipeline.store import Folder
from pipeline.text.features import FeatureExtractor
from pipeline.text.vocabulary import Vocabulary

COMPILING = "compiling the decoder (once per machine, about half a minute)"
NUM_LOOKED_AT = 100  # references
NOT_COMPARED = (
    "references are not compared: the model writes phonemes, and score.language, which says them, is not set "
    "(as in --set score.language=en-us)"
)


@dataclass(frozen=True)
class Request:
    """A transcription."""

    source: str  # folder, glob, Parquet or manifest, by path or URL
    target: str  # the run directory
    config: Config
    overwrite: bool = False
    retry_failed: bool = False

    finding = "listing the input"

    @property
    def doing(self) -> str:
        return "transcribing"

    def check(self) -> None:
        """Refuse what must not even be looked at further."""

    @property
    def effective(self) -> Config:
        """The configuration as this request takes it."""
        return self.config

    @property
    def folder(self) -> Folder:
        return Folder(store.absolute(self.target), self.config.read.storage_deadline_s)

    @property
    def input(self) -> str:
        """Where its input is, whatever the working directory."""
        return self.source if self.config.read.source == "hub" else store.absolute(self.source)

    @cached_property
    def decoding(self) -> DecodeSettings:
        return settle(self.effective.decode, self.vocabulary)

    @cached_property
    def scoring(self) -> ScoreSettings:
        return score.settle(self.effective.score, self.vocabulary)

    @cached_property
    def vocabulary(self) -> Vocabulary:
        return Vocabulary.of_model(self.config.encode.model, self.config.encode.language)

    def settings(self) -> dict[str, Any]:
        """What the results will depend on. Reads the model's files once, and so finds most of what they lack."""
        from pipeline.models.auto import AutoConfig  # and torch with it, which decoding again does without

        model, language = self.config.encode.model, self.config.encode.language
        directory = checkpoint_directory(model)
        FeatureExtractor.from_pretrained(directory)
        vocabulary = self.vocabulary
        shape = AutoConfig.from_pretrained(directory)
        if not language:  # whose head is another
            vocabulary.check_width(shape.vocab_size, directory)
        return runs.settings_of(self.config, self.input, model_hash(model, language), self.decoding, self.scoring)

    def warnings(self) -> list[str]:
        """What is probably not meant."""
        asked = replace(self.effective, score=self.config.score)
        return doubts(asked, self.decoding, self.scoring, self.vocabulary)

    def doubts_of(self, run: Run, unit: int) -> list[str]:
        """What is probably not meant, as far as some recordings of a unit can tell."""
        recordings = run.manifest.unit(unit).recordings
        references = [one.reference for one in recordings if one.reference is not None]
        if references and not self.scoring.language and not has_words(self.decoding, self.vocabulary):
            return [NOT_COMPARED]
        return score.unheard(self.scoring, self.vocabulary, references[:NUM_LOOKED_AT])

    def told(self) -> dict[str, Any]:
        """What run.json holds for those who read it later."""
        return {
            "config": self.effective.as_dict(),
            "decoding": self.decoding.as_dict(),
            "scoring": self.scoring.as_dict(),
            "vocabulary": runs.vocabulary_as_dict(self.vocabulary),
        }

    def open(self, tell: Tell) -> Input:
        return listing(self, tell)

    def taken_for(self, source: Input) -> str:
        """What its input was recognised as."""
        doubt = " (--source says otherwise)" if self.config.read.source == "auto" else ""
        return f"{without_query(self.input)}: {source.description}{doubt}"

    def warm_up(self, tell: Tell) -> None:
        """Compile what is not in this machine's cache."""
        if self.decoding.decoder == "native":
            from pipeline.decode.backends import warm_up

            warm_up(self.decoding, compiling=lambda: tell(COMPILING))

    def stages(self, config: Config, run: Run, pools: Pools) -> list[Stage]:
        return plan.transcription(config, self.decoding, self.scoring, run, pools)

    def give_up(self, units: list[int]) -> None:
        """Raise what is to be said of units that killed their processes, unless their recordings can be tried alone."""


def listing(request: Request, tell: Tell) -> Listing:
    """The input of a transcription, without the run directory where that lies in it."""
    config = request.config.read
    return Listing(open_source(request.source, config, leave_out=request.folder.path(), tell=tell), config, tell)


@dataclass(frozen=True)
class DecodeRequest(Request):
    """The emissions that the run `source` has kept, decoded again: without audio, models or a GPU."""

    finding = "reading the run's manifest"

    @property
    def doing(self) -> str:
        return f"decoding ({described(self.decoding)})"

    def check(self) -> None:
        """That OUT and RUN have nothing in common: what --overwrite deletes would be what is decoded."""
        kept, out = Folder(store.absolute(self.source), self.folder.deadline_s), self.folder
        if store.overlap(kept.url, out.url) or same_run(kept, out):
            raise UsageError(
                f"{out.url} is the run to be decoded again, holds it or lies in it ({kept.url}): "
                f"give another directory for the new run"
            )

    @cached_property
    def kept(self) -> Run:
        return run_with_emissions(self.source)

    @cached_property
    def decoding(self) -> DecodeSettings:
        settled = settle(self.effective.decode, self.vocabulary)
        refuse_others(self.kept, settled, self.config.decode)
        return settled

    @cached_property
    def effective(self) -> Config:
        """What a configuration says of audio and encoders is a transcription's; it must not ask for a GPU here. How the
        audio was read stays known to whoever wants to hear it.
        """
        decode, scoring = decoded_as(self.kept, self.config.decode), scored_as(self.kept, self.config.score)
        read, encode = runs.reading_of(self.kept), EncodeConfig(device="cpu")
        return replace(self.config, read=read, encode=encode, decode=decode, score=scoring)

    @cached_property
    def vocabulary(self) -> Vocabulary:
        return runs.vocabulary_of(self.kept)

    def settings(self) -> dict[str, Any]:
        kept = self.kept
        return {
            "nightshift": pipeline.__version__,
            "input": kept.info()["settings"]["input"],
            "emissions": f"of run {kept.id}",
            **self.decoding.that_shape_results(),
            **self.scoring.that_shape_results(),
        }

    def warnings(self) -> list[str]:
        return [*self._ignored(), *super().warnings()]

    def _ignored(self) -> list[str]:
        names = [name for name in configured(self.config) if name.startswith(("read.", "encode."))]
        return [f"{', '.join(names)} without effect: decoding again reads no audio and encodes nothing"] * bool(names)

    def told(self) -> dict[str, Any]:
        """With the model whose emissions they are, which no configuration of this run names."""
        info = self.kept.info()
        return super().told() | {"model": info["config"]["encode"]["model"] or info.get("model")}

    def open(self, tell: Tell) -> Input:
        return KeptRun(self.kept)

    def taken_for(self, source: Input) -> str:
        return source.description

    def stages(self, config: Config, run: Run, pools: Pools) -> list[Stage]:
        return plan.decoding(self.decoding, self.scoring, self.kept, run, pools)


def configured(config: Config) -> list[str]:
    """The keys that somebody has set to something else than what they are anyway."""
    return [
        f"{section.name}.{key.name}"
        for section in fields(config)
        for key in fields(getattr(config, section.name))
        if getattr(getattr(config, section.name), key.name) != key.default
    ]


def same_run(one: Folder, other: Folder) -> bool:
    """However they are reached: no two runs have the same run.json, which has the time in it."""
    if not (one.exists(runs.RUN) and other.exists(runs.RUN)):
        return False
    return one.read(runs.RUN) == other.read(runs.RUN)


@dataclass(frozen=True)
class KeptRun:
    """A complete run with its emissions, as the input of another."""

    run: Run

    @property
    def description(self) -> str:
        return f"emissions of {self.run.folder.url}"

    def check(self) -> None:
        """Nothing is left to find out: `run_with_emissions` has looked at all of it."""

    def freeze(self, manifest: Manifest) -> Doubled:
        manifest.copy(self.run.manifest)
        info = self.run.info()
        return Doubled(info["num_doubled_ids"], info.get("doubled_ids", []))

    def close(self) -> None:
        """Nothing is held."""


def doubts(config: Config, settled: DecodeSettings, scoring: ScoreSettings, vocabulary: Vocabulary) -> list[str]:
    """What is probably not meant of decoding and scoring."""
    return [
        *without_effect(config.decode, vocabulary),
        *misfits(settled, vocabulary),
        *score.without_effect(scoring, config.score, vocabulary, has_words(settled, vocabulary)),
    ]


def has_words(settled: DecodeSettings, vocabulary: Vocabulary) -> bool:
    """Whether texts are words, and not phones."""
    return settled.lexicon is not None or not vocabulary.phonemes


def described(settled: DecodeSettings) -> str:
    """The decoder, its lexicon and its language models, in a few words."""
    lexicon = [settled.lexicon.location] if settled.lexicon else []
    models = [model.directory or model.location for model in settled.models]
    return ", ".join([settled.decoder, *map(basename, lexicon + models)])


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
