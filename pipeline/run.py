"""The run directory: what a run is (run.json), what it will do (manifest/), what counts (commits/) and where it is.

Parts are in data/, and emissions, where they are kept, in emissions/. A part counts when its commit exists; the commit
is written after the part, whole or not at all, and never changed. Another attempt at a unit has a commit of its own,
and the last attempt counts. Resume is a set difference of unit ids. Knows nothing of stages.
"""

import contextlib
import dataclasses
import hashlib
import io
import itertools
import json
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.parquet as pq

import pipeline
from pipeline import emissions
from pipeline.commit import Commit, file_name
from pipeline.config import Config, ReadConfig
from pipeline.decode.settings import DecodeSettings
from pipeline.disk import is_half_written
from pipeline.errors import UsageError
from pipeline.lock import LOCK
from pipeline.manifest import Doubled, Manifest, UnitInfo
from pipeline.records import from_table, without_query
from pipeline.score import ScoreSettings
from pipeline.storage_errors import as_usage
from pipeline.store import DEADLINE_S, Folder
from pipeline.text.vocabulary import Vocabulary
from pipeline.unit import Unit

RUN, SUMMARY, EVALUATION = "run.json", "summary.json", "evaluation"
OURS = (RUN, SUMMARY, "commits", "data", emissions.FOLDER, "manifest", EVALUATION)  # what a run consists of


class Input(Protocol):
    """What a run is made from, when it is made."""

    @property
    def description(self) -> str: ...

    def check(self) -> None:
        """Raise what would keep `freeze` from listing all of it."""

    def freeze(self, manifest: Manifest) -> Doubled:
        """Write the manifest; tells which ids several recordings had."""

    def close(self) -> None:
        """Let go of what listing it has left on disk."""


@dataclass(frozen=True)
class Run:
    """A run directory that has been prepared. Travels to workers as its URL and id."""

    folder: Folder
    id: str  # another one for every run that was ever started, even of the same settings in the same place

    @property
    def manifest(self) -> Manifest:
        return Manifest(self.folder.sub("manifest"))

    def info(self) -> dict[str, Any]:
        return dict(json.loads(self.folder.read(RUN)))

    def load(self, unit: Unit) -> Unit:
        """A unit's recordings from the manifest; on another attempt, with what is finished taken from its part."""
        if unit.recordings:
            return unit
        loaded = self.manifest.unit(unit.id)
        loaded.attempt = unit.attempt
        if unit.attempt > 0:
            rows = from_table(self.read_part(self.commit_of(unit.id)))
            finished = {row.id: row for row in rows if row.status == "ok"}
            loaded.recordings = [finished.get(recording.id, recording) for recording in loaded.recordings]
        return loaded

    def write_part(self, name: str, part: bytes) -> None:
        """The data comes first; it does not count yet."""
        self.folder.sub("data").publish(name, part)

    def read_part(self, commit: Commit, columns: Sequence[str] | None = None) -> pa.Table:
        return pq.read_table(io.BytesIO(self.folder.sub("data").read(commit.part)), columns=columns)

    def write_emissions(self, name: str, data: bytes) -> None:
        """They come before the commit, too."""
        self.folder.sub(emissions.FOLDER).publish(name, data)

    def commit_of(self, unit: int) -> Commit:
        """The commit of a unit's last attempt."""
        folder, last = self.folder.sub("commits"), None
        with contextlib.suppress(FileNotFoundError):
            for attempt in itertools.count():
                last = folder.read(file_name(unit, attempt))
        if last is None:  # attempts that others have replaced are swept away, the first before all
            names = [name for name in folder.names() if name.startswith(f"{unit:06d}-retry")]
            last = folder.read(max(names, key=lambda name: (len(name), name), default=file_name(unit, 0)))
        return Commit.from_json(last)

    def done_before(self, unit: Unit) -> Commit | None:
        """The commit of this very attempt, if it is there and counts: of a task that is done a second time."""
        with contextlib.suppress(FileNotFoundError):
            there = self.folder.sub("commits").read(file_name(unit.id, unit.attempt))
            return self._counting(Commit.from_json(there) if there else None)
        return None

    def commit(self, commit: Commit) -> Commit:
        """The commit comes last, and its part counts. What counts is returned: of several the first."""
        folder, name = self.folder.sub("commits"), file_name(commit.unit, commit.attempt)
        if folder.create(name, commit.to_json()):
            return commit
        data = folder.read(name)
        there = Commit.from_json(data) if data else None  # empty: of a kill on a disk without hard links
        if there is not None and there.run != self.id:
            raise UsageError(
                f"{self.folder.url}: unit {commit.unit} is committed by another run: another driver is writing here, "
                f"or has started this run anew; stop all of them, then start one again"
            )
        if (counting := self._counting(there)) is not None:
            return counting
        folder.publish(name, commit.to_json())
        return commit

    def _counting(self, commit: Commit | None) -> Commit | None:
        """A commit of this run whose files are there, whole."""
        if commit is None or commit.run != self.id or self.folder.sub("data").size(commit.part) != commit.size:
            return None
        kept = commit.emissions
        return commit if kept is None or self.folder.sub(emissions.FOLDER).size(kept.name) == kept.size else None

    def commits(self) -> dict[int, Commit]:
        """What counts: of each unit the last attempt whose commit is of this run and whose files are there, whole."""
        folder = self.folder.sub("commits")
        names = [name for name in folder.names() if _is_commit(name)]
        sizes, kept_sizes = self.folder.sub("data").sizes(), self.folder.sub(emissions.FOLDER).sizes()

        def counts(commit: Commit) -> bool:
            kept = commit.emissions
            return (
                commit.run == self.id
                and sizes.get(commit.part) == commit.size
                and (kept is None or kept_sizes.get(kept.name) == kept.size)
            )

        commits = [Commit.from_json(data) for data in folder.read_all(names).values() if data]
        counted = [commit for commit in commits if counts(commit)]
        return {commit.unit: commit for commit in sorted(counted, key=lambda commit: commit.attempt)}

    def sweep(self, commits: dict[int, Commit]) -> None:
        """Remove what does not count: commits that others replaced or whose files are gone, parts without a commit,
        half-written temporary files."""
        folder = self.folder.sub("commits")
        committed = {file_name(commit.unit, commit.attempt) for commit in commits.values()}
        folder.delete([name for name in folder.names() if _is_commit(name) and name not in committed])
        counted = {commit.part for commit in commits.values()}
        counted |= {commit.emissions.name for commit in commits.values() if commit.emissions}
        for folder, ours in ((self.folder.sub("data"), "part-"), (self.folder.sub(emissions.FOLDER), "emissions-")):
            folder.delete([name for name in folder.names() if name.startswith(ours) and name not in counted])
        subs = [self.folder.sub(name) for name in ("data", "commits", "manifest", emissions.FOLDER)]
        for folder in (self.folder, *subs):
            folder.delete([name for name in folder.names() if is_half_written(name)])


def _is_commit(name: str) -> bool:
    return name.endswith(".json") and not name.startswith(".")


def find(url: str, deadline_s: float = DEADLINE_S) -> Run:
    """The run in a directory, for those who only read it."""
    folder = Folder(url, deadline_s)
    with as_usage(url):
        try:
            told = folder.read(RUN)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise UsageError(f"{url}: no run there (no {RUN})") from error
    try:
        return Run(folder, str(json.loads(told)["id"]))
    except (ValueError, TypeError, KeyError) as error:
        raise UsageError(f"{url}: its {RUN} is not that of a run, or of an early version") from error


def vocabulary_as_dict(vocabulary: Vocabulary) -> dict[str, Any]:
    return dataclasses.asdict(vocabulary) | {"silent": sorted(vocabulary.silent)}


def vocabulary_of(run: Run) -> Vocabulary:
    """The labels of the model that a run was made with; runs of earlier versions say less of them."""
    values = run.info()["vocabulary"]
    return Vocabulary(**values | {"labels": tuple(values["labels"]), "silent": frozenset(values["silent"])})


def reading_of(run: Run) -> ReadConfig:
    """How a run has read its audio; what runs of earlier versions do not say is as it was for them, too."""
    told = run.info()["config"]["read"]
    return ReadConfig(**{key.name: told[key.name] for key in dataclasses.fields(ReadConfig) if key.name in told})


def settings_of(
    config: Config, source_url: str, model_hash: str, decoding: DecodeSettings, scoring: ScoreSettings
) -> dict[str, Any]:
    """Everything that a run's results depend on: two runs with equal settings may share a directory."""
    given, settled = config.that_shape_results(), ("decode.", "score.")
    return {
        "nightshift": pipeline.__version__,
        "input": without_query(source_url),
        **{name: value for name, value in given.items() if not name.startswith(settled)},
        **decoding.that_shape_results(),
        **scoring.that_shape_results(),
        "encode.model": f"contents {model_hash}",  # not its name: a copy of a checkpoint is the same model
    }


def fingerprint_of(settings: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16]


ANOTHER = "give another directory, or --overwrite to delete it"


def check_target(folder: Folder, settings: dict[str, Any], remedy: str = ANOTHER) -> Run | None:
    """The run that is there already, if it is this one. Another run, or another's files, are refused."""
    with as_usage(folder.url):
        names = {name for name in folder.names() if not name.startswith(".")}
        there = json.loads(folder.read(RUN)) if RUN in names else None
    if there is not None:
        _refuse_difference(folder, there["settings"], settings, remedy)
        return Run(folder, there["id"])
    if foreign := sorted(names - {LOCK, "manifest"}):  # those two are what a start that was killed leaves
        raise UsageError(f"{folder.url} is not a run and not empty (it holds {foreign[0]}): give another directory")
    return None


def prepare(folder: Folder, settings: dict[str, Any], source: Input, told: Mapping[str, Any]) -> Run:
    """Freeze the manifest of a new run; run.json comes last, with all that is `told`, and with it the run is there."""
    run = Run(folder, uuid.uuid4().hex)
    doubled = source.freeze(run.manifest)
    infos = run.manifest.units()
    info = {
        "id": run.id,
        "fingerprint": fingerprint_of(settings),
        "settings": settings,
        **told,
        "versions": _versions(),
        "source": source.description,
        "num_units": len(infos),
        "num_recordings": sum(unit.num_recordings for unit in infos),
        "num_doubled_ids": doubled.num,
        "doubled_ids": doubled.ids,
        "created_at": time.time(),
    }
    folder.publish(RUN, json.dumps(info, indent=1).encode())
    return run


def clear(folder: Folder) -> None:
    """Delete a run, run.json first, so that a kill half-way leaves no run with parts missing; foreign files stay."""
    names = folder.names()
    if RUN not in names and (foreign := [n for n in names if n not in (*OURS, LOCK) and not n.startswith(".")]):
        raise UsageError(f"--overwrite: {folder.url} is not a run (it holds {foreign[0]}); nothing was deleted")
    folder.delete([name for name in OURS if name in names])


def pending_units(units: list[UnitInfo], commits: dict[int, Commit], retry_failed: bool) -> list[Unit]:
    """What is left to do: units without a commit, and, if asked, the failed recordings of those with one."""
    pending = []
    for unit in units:
        commit = commits.get(unit.id)
        if commit is None:
            pending.append(Unit(unit.id))
        elif retry_failed and commit.tally.num_failed:
            pending.append(Unit(unit.id, attempt=commit.attempt + 1))
    return pending


def _refuse_difference(folder: Folder, there: dict[str, Any], wanted: dict[str, Any], remedy: str) -> None:
    names = sorted({*there, *wanted})
    if there.get("decode.decoder") != wanted.get("decode.decoder"):
        # What only one of the decoders has follows from that, but for the files.
        shared, files = there.keys() & wanted.keys(), ("decode.lm", "decode.lexicon")
        names = [name for name in names if name in shared or name in files or not name.startswith("decode.")]
    changed = [f"{n}: {_shown(there, n)} -> {_shown(wanted, n)}" for n in names if there.get(n) != wanted.get(n)]
    if changed:
        raise UsageError(f"{folder.url} is another run ({'; '.join(changed)}); {remedy}")


def _shown(settings: dict[str, Any], name: str) -> str:
    """A setting that another decoder has, or another version, is not one that says none."""
    value = settings.get(name, "unset")
    return "none" if value is None else str(value)


def _versions() -> dict[str, str]:
    names = ("ray", "torch", "numpy", "pyarrow", "soundfile", "soxr", "jiwer")
    return {"nightshift": pipeline.__version__, **{name: metadata.version(name) for name in names}}
