"""Runs whose recordings are made up: listed, scored and written by the stages of a transcription, heard by nobody."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from pipeline import config as configuration
from pipeline import run as runs
from pipeline.carry import in_process
from pipeline.config import Config, ReadConfig, ScoreConfig
from pipeline.evaluation.reference_tables import Table
from pipeline.evaluation.request import Evaluated, EvaluationRequest
from pipeline.manifest import Doubled, Manifest
from pipeline.records import Phone, Recording, Word
from pipeline.resources import one_process
from pipeline.run import Run, vocabulary_as_dict
from pipeline.score import Scorer, count_words, settle
from pipeline.sources.entries import Entry, Piece
from pipeline.sources.spool import Spool
from pipeline.store import Folder
from pipeline.text.vocabulary import Vocabulary
from pipeline.unit import Unit
from pipeline.write import Writer, read_parts

LETTERS = Vocabulary(("<pad>", "|", "A"), 0, 1, frozenset({0}))
PHONEMES = Vocabulary(("<pad>", "h", "ə", "l", "oʊ"), 0, None, frozenset({0}), phonemes=True)
GREEDY: dict[str, Any] = {"decoder": "greedy", "models": [], "lexicon": None}


class Listed:
    """Recordings that need no files, as an input."""

    description = "a list"

    def __init__(self, recordings: Sequence[Recording], columns: dict[str, Sequence[Any]], unit_s: float) -> None:
        self._recordings, self._columns, self._unit_s = recordings, columns, unit_s
        self.schema = pa.table(columns).schema if columns else pa.schema([])

    def check(self) -> None:
        pass

    def close(self) -> None:
        pass

    def freeze(self, manifest: Manifest) -> Doubled:
        with Spool(self, ReadConfig(unit_s=self._unit_s)) as listed:
            return listed.freeze(manifest)

    def pieces(self) -> Iterator[Piece]:
        for number, one in enumerate(self._recordings):
            columns = {name: values[number] for name, values in self._columns.items()}
            yield Piece([Entry(one.id, one.uri, duration_s=10.0, reference=one.reference, columns=columns)])


def heard(name: str, reference: str | None, text: str, **fields: Any) -> Recording:
    """A recording that a model of letters has transcribed."""
    words = [Word(word, 0.0, 0.1, 0.5 + number / 100) for number, word in enumerate(text.split())]
    known = {"confidence": 0.5, "duration_s": 10.0, "words": words, **fields}
    return Recording(name, f"/audio/{name}.wav", reference=reference, text=text, **known)


def failed(name: str, reference: str | None, error: str = "read: not audio") -> Recording:
    return Recording(name, f"/audio/{name}.wav", reference=reference, status="failed", error=error)


def in_phones(name: str, reference: str | None, phones: str, words: str | None = None) -> Recording:
    """What a model of phonemes makes of it, with a lexicon if there are words."""
    said = [Phone(phone, 0.0, 0.1, 0.9) for phone in phones.split()]
    made = heard(name, reference, phones if words is None else words, phones=said)
    return made if words is not None else replace(made, words=None)


def said_and_heard(name: str, said: str, phones: str, **fields: Any) -> Recording:
    """What a model of phonemes makes of it, and the score stage, whoever has said the reference."""
    scored = {"reference_phones": said, "phone_errors": count_words(said, phones)}
    return replace(in_phones(name, f"{name}, as it is spelt", phones), **scored, **fields)


def made(
    path: Path | str,
    recordings: Sequence[Recording],
    *,
    score: ScoreConfig | None = None,
    vocabulary: Vocabulary = LETTERS,
    columns: dict[str, Sequence[Any]] | None = None,
    unit_s: float = 20.0,
    done: Callable[[int], bool] = lambda unit: True,
) -> Run:
    """A run of these recordings; of units that are not done nothing is written."""
    config = Config(score=score or ScoreConfig())
    scoring = settle(config.score, vocabulary)
    told = {
        "config": config.as_dict(),
        "decoding": GREEDY,
        "scoring": scoring.as_dict(),
        "vocabulary": vocabulary_as_dict(vocabulary),
    }
    run = runs.prepare(Folder(str(path)), {"input": str(path)}, Listed(recordings, columns or {}, unit_s), told)
    results = {one.id: one for one in recordings}
    for info in run.manifest.units():
        if done(info.id):
            unit = run.load(Unit(info.id))
            unit.recordings = [replace(results[one.id]) for one in unit.recordings]
            Writer(run)(Scorer(scoring)(unit))
    return run


def request_of(run: Run, out: Path | str, *overrides: str, references: Path | str | None = None) -> EvaluationRequest:
    config = configuration.load(None, ["run.address=here", *overrides])
    table = Table(str(references), config.read) if references else None
    return EvaluationRequest(run.folder.url, str(out), config, evaluated=Evaluated.of(run), table=table)


def scored(request: EvaluationRequest) -> list[dict[str, Any]]:
    """The rows, by the stages alone."""
    request.check()
    run = runs.prepare(request.folder, request.settings(), request.open(lambda text: None), request.told())
    stages = request.stages(request.effective, run, one_process(request.effective))
    for _ in in_process(stages, [Unit(info.id) for info in run.manifest.units()]):
        pass
    return list(read_parts(run).to_pylist())
