"""A run for `bench score`, as a transcription would have left it: said by the demo's grammar, heard with errors.

Columns throughout: a million recordings one by one would take minutes. Knows nothing of how they are scored.
"""

import json
import shutil
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from jobs.bench_material import say
from pipeline import run as runs
from pipeline.commit import Commit, Stored, file_name
from pipeline.config import Config, EncodeConfig
from pipeline.decode.settings import DecodeSettings
from pipeline.demo.emissions import VOCABULARY, WORDS_PER_S
from pipeline.demo.grammar import MIN_WORDS, sentences, vocabulary
from pipeline.evaluation.alignment import align
from pipeline.evaluation.scoring import tally_of
from pipeline.manifest import Doubled, Manifest
from pipeline.records import COUNT_FIELDS, SCHEMA
from pipeline.run import Run
from pipeline.score import ScoreSettings
from pipeline.sources.entries import Entry
from pipeline.store import Folder
from pipeline.write import DISTINCT, parquet

MADE = "made.json"
MOST_STREAMED = 2_000_000  # words that the grammar says in a row; a recording begins at any of them
NUM_ALIKE = 5  # words that one is taken for, those spelt most like it
ERRORS, SUBSTITUTED, DELETED = 0.12, 0.7, 0.2  # by words, and shares of these; the rest is words that nobody said
NOISES = {"none": 0.6, "office": 0.8, "car": 1.0, "street": 1.1, "babble": 1.5}  # how many times as many errors
LOUDEST_SNR_DB = 30.0
RECORDINGS_PER_SPEAKER, SPREAD = 1000, 0.3  # of speakers' errors, and of how fast they talk half as much
RIGHT, WRONG = (8.0, 1.2), (3.0, 2.0)  # shapes of the confidences' distributions
FAILED, WHY = 0.001, "read: not audio"  # of recordings
AT_ONCE = 50_000  # recordings in memory; no part has any of two such blocks
THREADS = 2
PASSED = pa.schema([pa.field("speaker", pa.string()), pa.field("noise", pa.string())])

Ids = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Wanted:
    num: int  # recordings
    num_words: int  # of each
    num_per_part: int
    seed: int


def run_of(work: Path, wanted: Wanted) -> Run:
    """The run in the folder; made first where there is none or another."""
    folder, told = Folder(str((work / "run").absolute())), work / MADE
    if not told.exists() or json.loads(told.read_text()) != asdict(wanted):
        say(f"making {wanted.num:,} recordings (once)")
        work.mkdir(parents=True, exist_ok=True)
        told.unlink(missing_ok=True)
        shutil.rmtree(folder.path(), ignore_errors=True)
        _make(folder, wanted)
        told.write_text(json.dumps(asdict(wanted)))
    return runs.find(folder.url)


def _make(folder: Folder, wanted: Wanted) -> None:
    data, commits = (Path(folder.path(name)) for name in ("data", "commits"))
    data.mkdir(parents=True)
    commits.mkdir()
    made = _Transcribed(wanted, data)
    told = {
        "config": Config(encode=EncodeConfig(model="made up")).as_dict(),
        "decoding": DecodeSettings().as_dict(),
        "scoring": ScoreSettings().as_dict(),
        "vocabulary": runs.vocabulary_as_dict(VOCABULARY),
    }
    run = runs.prepare(folder, {"input": made.description, **asdict(wanted)}, made, told)
    for commit in made.commits:
        (commits / file_name(commit.unit, 0)).write_bytes(replace(commit, run=run.id).to_json())


class _Transcribed:
    """An input that has been transcribed when it is listed: its parts are written on the way, each drawn once."""

    description = "recordings that are made up"

    def __init__(self, wanted: Wanted, data: Path) -> None:
        self._wanted, self._data = wanted, data
        self.commits: list[Commit] = []

    def check(self) -> None:
        """There is nothing to be read."""

    def close(self) -> None:
        """Nothing is held."""

    def freeze(self, manifest: Manifest) -> Doubled:
        manifest.write(self._units(), PASSED)
        return Doubled()

    def _units(self) -> Iterator[list[Entry]]:
        with ThreadPoolExecutor(THREADS) as threads:
            for table in drawn(self._wanted):
                starts = range(0, len(table), self._wanted.num_per_part)
                parts = [table.slice(start, self._wanted.num_per_part) for start in starts]
                first = len(self.commits)
                self.commits += threads.map(self._written, range(first, first + len(parts)), parts)
                yield from map(_entries, parts)

    def _written(self, unit: int, table: pa.Table) -> Commit:
        """As the write stage does, but that it does not wait for the disk."""
        data = parquet(table, DISTINCT)
        part = Stored.named("part", unit, 0, data)
        (self._data / part.name).write_bytes(data)
        return Commit(unit, part.name, part.size, part.sha256, "", tally_of(table), written_at=time.time())


def _entries(table: pa.Table) -> list[Entry]:
    own = zip(*(table[name].to_pylist() for name in ("id", "uri", "duration_s", "reference")), strict=True)
    passed = table.select(PASSED.names).to_pylist()
    return [
        Entry(name, uri, duration_s=seconds, reference=reference, columns=columns)
        for (name, uri, seconds, reference), columns in zip(own, passed, strict=True)
    ]


# ---- what was said and heard


def drawn(wanted: Wanted) -> Iterator[pa.Table]:
    """Rows of a transcription, many at a time; the same whatever parts they will lie in."""
    rng = np.random.default_rng(wanted.seed)
    language = _Language.of(min(MOST_STREAMED, wanted.num * wanted.num_words), wanted.seed)
    speakers = _Speakers.of(-(-wanted.num // RECORDINGS_PER_SPEAKER), rng)
    for first in range(0, wanted.num, AT_ONCE):
        yield _rows(rng, language, speakers, first, min(AT_ONCE, wanted.num - first), wanted.num_words)


@dataclass(frozen=True)
class _Language:
    words: pa.Array  # (V,) strings
    stream: Ids  # of words
    alike: Ids  # (V, NUM_ALIKE) of each word those that it is taken for

    @classmethod
    def of(cls, num_streamed: int, seed: int) -> "_Language":
        from rapidfuzz.distance import Levenshtein
        from rapidfuzz.process import cdist

        words = sorted(vocabulary())
        place = {word: number for number, word in enumerate(words)}
        lines = islice(sentences(seed), num_streamed // MIN_WORDS + 1)
        said = (place[word] for line in lines for word in line.split())
        distances = cdist(words, words, scorer=Levenshtein.distance, dtype=np.uint8)
        np.fill_diagonal(distances, 255)
        alike = np.argsort(distances, axis=1, kind="stable")[:, :NUM_ALIKE]
        return cls(pa.array(words), np.fromiter(islice(said, num_streamed), np.int64, num_streamed), alike)

    def texts(self, spoken: Ids, nums: Ids) -> pa.Array:
        """Words one after the other, so many to a text."""
        lists = pa.ListArray.from_arrays(pa.array(_offsets(nums)), self.words.take(pa.array(spoken)))
        return pc.binary_join(lists, " ")


@dataclass(frozen=True)
class _Speakers:
    names: pa.Array
    errors: Floats  # how many times as many as others make
    words_per_s: Floats

    @classmethod
    def of(cls, num: int, rng: np.random.Generator) -> "_Speakers":
        errors, pace = rng.lognormal(0, SPREAD, num), rng.lognormal(0, SPREAD / 2, num)
        return cls(pa.array([f"speaker-{number:04d}" for number in range(num)]), errors, WORDS_PER_S * pace)


@dataclass(frozen=True)
class _Heard:
    """Of N recordings."""

    nums: Ids  # (N,) words
    words: Ids  # (sum of those,) one recording after the other; so below
    confidences: npt.NDArray[np.float32]

    @classmethod
    def of(cls, said: Ids, errors: Floats, language: _Language, rng: np.random.Generator) -> "_Heard":
        """Of what was said (N, W), with so many errors by words (N,)."""
        kind = rng.random(said.shape) / errors[:, None]  # from 1: no error
        is_wrong, is_deleted = kind < SUBSTITUTED, (kind >= SUBSTITUTED) & (kind < SUBSTITUTED + DELETED)
        is_followed = (kind >= SUBSTITUTED + DELETED) & (kind < 1)
        taken_for = language.alike[said, rng.integers(NUM_ALIKE, size=said.shape)]
        inserted = rng.choice(language.stream, said.shape)
        is_there = np.stack([~is_deleted, is_followed], axis=2)  # (N, W, 2)
        words = np.stack([np.where(is_wrong, taken_for, said), inserted], axis=2)[is_there]
        is_right = np.stack([~is_wrong, np.zeros_like(is_wrong)], axis=2)[is_there]
        confidences = np.where(is_right, *(rng.beta(*shape, size=len(words)) for shape in (RIGHT, WRONG)))
        return cls(is_there.sum(axis=(1, 2)), words, confidences.astype(np.float32))

    @property
    def of_recordings(self) -> Floats:
        """The mean confidence of each."""
        rows = np.repeat(np.arange(len(self.nums)), self.nums)
        return np.bincount(rows, self.confidences, len(self.nums)) / np.maximum(self.nums, 1)

    def column(self, language: _Language, seconds: Floats, mask: pa.Array) -> pa.Array:
        """As `records.SCHEMA` has words; each takes as long as any other of its recording."""
        offsets, each_s = _offsets(self.nums), np.repeat(seconds / np.maximum(self.nums, 1), self.nums)
        starts = (np.arange(len(self.words)) - np.repeat(offsets[:-1], self.nums)) * each_s
        fields = {
            "word": language.words.take(pa.array(self.words)),
            "start_s": pa.array(starts.astype(np.float32)),
            "end_s": pa.array((starts + each_s).astype(np.float32)),
            "confidence": pa.array(self.confidences),
            "posterior": pa.nulls(len(self.words), pa.float32()),
        }
        kind = SCHEMA.field("words").type.value_type
        values = pa.StructArray.from_arrays(list(fields.values()), fields=[kind.field(name) for name in fields])
        return pa.ListArray.from_arrays(pa.array(offsets), values, mask=mask)


def _rows(
    rng: np.random.Generator, language: _Language, speakers: _Speakers, first: int, num: int, num_words: int
) -> pa.Table:
    starts = rng.integers(len(language.stream) - num_words + 1, size=num)
    speaker, noise = rng.integers(len(speakers.names), size=num), rng.integers(len(NOISES), size=num)
    times = np.array(list(NOISES.values()))[noise]
    said = language.stream[starts[:, None] + np.arange(num_words)]  # (N, W)
    heard = _Heard.of(said, np.minimum(ERRORS * times * speakers.errors[speaker], 1.0), language, rng)
    seconds = num_words / speakers.words_per_s[speaker] * rng.lognormal(0, SPREAD / 4, num)
    snr_db = LOUDEST_SNR_DB - 20 * (times - min(NOISES.values())) + rng.normal(0, 3, num)
    failed = rng.random(num) < FAILED
    mask = pa.array(failed)
    reference = language.texts(said.ravel(), np.full(num, num_words))
    text = pc.if_else(mask, None, language.texts(heard.words, heard.nums))
    names = [f"{number:07d}" for number in range(first, first + num)]
    columns: dict[str, Any] = {
        "id": pa.array(names),
        "uri": pa.array([f"/corpus/{name}.flac" for name in names]),
        "status": pc.if_else(mask, "failed", "ok"),
        "error": pc.if_else(mask, WHY, pa.scalar(None, pa.string())),
        "duration_s": pa.array(seconds, mask=failed),
        "snr_estimate_db": pa.array(snr_db.astype(np.float32), mask=failed),
        "text": text,
        "confidence": pa.array(heard.of_recordings.astype(np.float32), mask=failed),
        "words": heard.column(language, seconds, mask),
        "reference": reference,
        **_counts(reference, text, failed),
        "speaker": speakers.names.take(pa.array(speaker)),
        "noise": pa.array(list(NOISES)).take(pa.array(noise)),
    }
    schema = pa.schema([*SCHEMA, *PASSED])
    return pa.table([columns.get(field.name, pa.nulls(num, field.type)) for field in schema], schema=schema)


def _counts(reference: pa.Array, text: pa.Array, failed: npt.NDArray[np.bool_]) -> dict[str, pa.Array]:
    """What the run has counted, which an evaluation does not look at."""
    aligned = align(reference, text)
    return {
        f"{kind}_{name}": pa.array(column.astype(np.int32), mask=failed)
        for kind, errors in (("word", aligned.words), ("char", aligned.chars))
        for name, column in zip(COUNT_FIELDS, errors, strict=True)
    }


def _offsets(nums: Ids) -> npt.NDArray[np.int32]:
    return np.concatenate([[0], np.cumsum(nums)]).astype(np.int32)
