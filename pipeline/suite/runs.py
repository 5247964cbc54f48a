"""The runs of a suite: one transcription of all datasets for each model, and of what it keeps one run for each further
decoder.

A decoder or a model that comes later is a run of its own, and what is done stays. Knows nothing of error rates.
"""

import json
from collections.abc import Iterator

from pipeline import run as runs
from pipeline import store
from pipeline.config import Config
from pipeline.decode.settings import settle
from pipeline.drive import drive
from pipeline.errors import naming
from pipeline.evaluation.names import Named
from pipeline.progress import Progress
from pipeline.run import Run
from pipeline.store import Folder
from pipeline.suite.requests import Decoding, Transcription
from pipeline.suite.settings import FOLDER, Suite
from pipeline.summary import Summary
from pipeline.text.vocabulary import Vocabulary

REMEDY = "give another directory by --out, or delete that one"


class Runs:
    """Those of a suite below OUT."""

    def __init__(self, suite: Suite, out: str, overwrite: bool = False) -> None:
        """Refuse models that are none, and decoders that make no sense for one of them.

        `overwrite`: each run begins by deleting the one that is there.
        """
        self._suite, self._out, self._overwrite = suite, store.absolute(out), overwrite
        self._decoders = {model: self._in_order(model) for model in suite.models}

    def check(self) -> bool:
        """Refuse what is there of another suite before anything is done; tells whether anything is left to do."""
        if self._overwrite:
            return True
        complete = True
        for model, (_, *others) in self._decoders.items():
            with naming(f"models.{model}"):
                transcription = self._transcription(model)
                settings = transcription.settings()
            there = runs.check_target(transcription.folder, settings, REMEDY)
            complete = complete and _is_complete(there)
            for decoder in others if there else ():
                decoding = self._decoding(model, decoder)
                there = runs.check_target(decoding.folder, decoding.settings(), REMEDY)
                complete = complete and _is_complete(there)
        return not complete

    @property
    def named(self) -> list[Named]:
        """What each is called, in the order of the file, and where it is."""
        return [
            Named(name, self._folder(model if decoder == self._decoders[model][0] else name).url)
            for (model, decoder), name in self._suite.names.items()
        ]

    def carried(self, progress: Progress) -> Iterator[Summary]:
        """After `check`: each of them, done or finished. One that is still not complete is the last."""
        listed = self._listed()
        requests = [(model, decoder) for model, decoders in self._decoders.items() for decoder in decoders]
        for number, (model, decoder) in enumerate(requests, 1):
            is_first = decoder == self._decoders[model][0]
            request = self._transcription(model, listed) if is_first else self._decoding(model, decoder)
            name = self._suite.names[model, decoder]
            progress.note(f"{name}: {number} of {len(requests)}")
            summary = drive(request, progress)
            yield summary
            if not summary.complete:
                return
            listed = listed or runs.find(request.folder.url)

    def _in_order(self, model: str) -> list[str]:
        """The decoders of a model: first that of its transcription, where one is there already, whatever came since."""
        config = self._suite.models[model]
        with naming(f"models.{model}"):
            vocabulary = Vocabulary.of_model(config.model, config.language)
        shaping = {}
        for decoder, settings in self._suite.decoders.items():
            with naming(f"models.{model} with decoders.{decoder}" if decoder else f"models.{model}"):
                shaping[decoder] = settle(settings, vocabulary).that_shape_results()
        there = self._there(model)
        known = there.info()["settings"] if there else {}
        before = {name: value for name, value in known.items() if name.startswith("decode.")}
        first = next((decoder for decoder, shape in shaping.items() if shape == before), None)
        return sorted(shaping, key=lambda decoder: decoder != first)

    def _listed(self) -> Run | None:
        """A transcription that is there: what it has listed the other models hear, too."""
        return next((there for model in self._suite.models if (there := self._there(model)) is not None), None)

    def _there(self, model: str) -> Run | None:
        folder = self._folder(model)
        is_there = not self._overwrite and folder.exists(runs.RUN)
        return Run(folder, json.loads(folder.read(runs.RUN))["id"]) if is_there else None

    def _transcription(self, model: str, like: Run | None = None) -> Transcription:
        """By the first decoder, keeping what the others decode."""
        suite = self._suite
        decode = suite.decoders[self._decoders[model][0]]
        return Transcription(
            ", ".join(sorted(dataset.name for dataset in suite.datasets)),
            self._folder(model).url,
            Config(suite.read, suite.models[model], decode, suite.score, suite.run),
            self._overwrite,
            datasets=suite.datasets,
            leave_out=Folder(self._out).path(),
            like=like,
        )

    def _decoding(self, model: str, decoder: str) -> Decoding:
        suite = self._suite
        config = Config(suite.read, decode=suite.decoders[decoder], score=suite.score, run=suite.run)
        target = self._folder(suite.names[model, decoder])
        return Decoding(self._folder(model).url, target.url, config, self._overwrite)

    def _folder(self, name: str) -> Folder:
        return Folder(f"{self._out}/{FOLDER}/{name}", self._suite.read.storage_deadline_s)


def _is_complete(run: Run | None) -> bool:
    return run is not None and len(run.commits()) == len(run.manifest.units())
