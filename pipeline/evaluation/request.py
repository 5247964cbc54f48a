"""The scoring of a run's rows as it is asked for: what is compared with what, and what makes it another scoring.

Says what the scored rows will be and what they are made from; the driver makes them. Knows nothing of figures.
"""

import hashlib
import json
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import pipeline
from pipeline import plan, score
from pipeline import run as runs
from pipeline.carry import Stage
from pipeline.commit import Commit, Tally
from pipeline.config import Config, DecodeConfig, EncodeConfig
from pipeline.decode.again import scored_as
from pipeline.errors import StageError, UsageError
from pipeline.evaluation.reference_tables import Table
from pipeline.evaluation.references import Joined, join
from pipeline.evaluation.scoring import How
from pipeline.evaluation.units import CommittedRows, ids_of, references_of
from pipeline.request import NOT_COMPARED, NUM_LOOKED_AT, Request, configured
from pipeline.resources import Pools
from pipeline.run import Input, Run
from pipeline.score import NONE, ScoreSettings
from pipeline.sources.found import NothingThere, Tell
from pipeline.storage_errors import as_usage
from pipeline.store import Folder
from pipeline.text.vocabulary import Vocabulary

COMPILING = "compiling the alignment (once per machine)"
SCORED = "scored"  # the setting that no other run has: which run's rows it is about
USED = ("read.id_column", "read.reference_column", "read.source", "read.storage_deadline_s")


def told_in(folder: Folder) -> dict[str, Any] | None:
    """What a folder's run.json says; None where there is none."""
    with as_usage(folder.url):
        if not folder.exists(runs.RUN):
            return None
        try:
            told = json.loads(folder.read(runs.RUN))
        except ValueError:  # somebody else's
            return {}
    return told if isinstance(told, dict) else {}


def is_scoring(info: dict[str, Any]) -> bool:
    """Whether a run.json is that of scored rows."""
    return SCORED in info.get("settings", {})


@dataclass(frozen=True)
class Evaluated:
    """A run and what counts of it."""

    run: Run
    info: dict[str, Any]
    commits: tuple[Commit, ...]  # in the order of its units

    @classmethod
    def of(cls, run: Run) -> "Evaluated":
        return cls(run, run.info(), tuple(commit for _, commit in sorted(run.commits().items())))

    @property
    def url(self) -> str:
        return self.run.folder.url

    @cached_property
    def tally(self) -> Tally:
        return sum((commit.tally for commit in self.commits), Tally())

    @property
    def is_complete(self) -> bool:
        return len(self.commits) == int(self.info["num_units"])

    @property
    def digest(self) -> str:
        """Of all its rows."""
        told = "".join(f"{commit.unit} {commit.sha256}\n" for commit in self.commits)
        return hashlib.sha256(told.encode()).hexdigest()[:16]


@dataclass(frozen=True, kw_only=True)
class EvaluationRequest(Request):
    """The rows of the run at `source`, scored into `target`."""

    evaluated: Evaluated
    table: Table | None  # of references; None: those that the run has

    finding = "reading what is to be compared"

    @property
    def doing(self) -> str:
        return f"scoring {self.evaluated.url}"

    def check(self) -> None:
        """That there is something to compare, and nothing but an evaluation in the way."""
        url, tally = self.evaluated.url, self.evaluated.tally
        if is_scoring(self.evaluated.info):
            raise UsageError(f"{url} is the scored rows of a run: give the run itself")
        if not self.evaluated.commits:
            raise UsageError(f"{url}: nothing of it is done yet; go on with the run first")
        num_with = tally.num_scored + tally.num_phones_scored + tally.num_uncompared + tally.num_unscored
        if self.table is None and not num_with:
            raise UsageError(
                f"{url}: not one of its {tally.num_recordings:,} recordings has a reference: give a table of ids and "
                f"texts by --references FILE (Parquet, CSV, TSV or JSON lines)"
            )
        there = self._there()
        if there is not None and not is_scoring(there):
            raise UsageError(f"{self.folder.url} is a run, and not its evaluation: give another directory by --out")

    def changed(self) -> list[str]:
        """In what the evaluation that is there is another; nothing where there is none."""
        there, wanted = self._there(), self.settings()
        if there is None:
            return []
        return sorted(n for n in {*there["settings"], *wanted} if there["settings"].get(n) != wanted.get(n))

    def check_references(self) -> None:
        """That they can be joined, before anything is deleted for them; of rows that were begun they have been."""
        if self.overwrite or self._there() is None:
            _ = self._joined

    def is_done(self) -> bool:
        """Whether all rows are scored, as they are asked for."""
        return not self.overwrite and self.folder.exists(runs.SUMMARY) and not self.changed()

    def _there(self) -> dict[str, Any] | None:
        return told_in(self.folder)

    @cached_property
    def effective(self) -> Config:
        """Without what a configuration says of encoders and decoders; it must not ask for a GPU here."""
        scoring = scored_as(self.evaluated.run, self.config.score)
        return replace(self.config, encode=EncodeConfig(device="cpu"), decode=DecodeConfig(), score=scoring)

    @cached_property
    def vocabulary(self) -> Vocabulary:
        return runs.vocabulary_of(self.evaluated.run)

    @cached_property
    def scoring(self) -> ScoreSettings:
        """As a transcription would; a phonemiser only where the phones that the run has do not stand."""
        language = NONE if self._takes_phones else self.effective.score.language
        return score.settle(replace(self.effective.score, language=language), self.vocabulary)

    @property
    def _takes_phones(self) -> bool:
        before = self.evaluated.info.get("scoring", {}).get("language", "")
        return self.table is None and self.effective.score.language == before

    @property
    def _language(self) -> str:
        """Of the references' phones."""
        return self.effective.score.language if self._takes_phones else self.scoring.language

    def settings(self) -> dict[str, Any]:
        shaping, columns = self.scoring.that_shape_results(), self.config.read
        return {
            "nightshift": pipeline.__version__,
            SCORED: f"run {self.evaluated.run.id}, rows {self.evaluated.digest}",
            "references": self._content,
            "read.id_column": columns.id_column if self.table else None,
            "read.reference_column": columns.reference_column if self.table else None,
            "score.language": "as the run" if self._takes_phones else shaping["score.language"],
            "score.normalizer": shaping["score.normalizer"],
        }

    @property
    def _content(self) -> str | None:
        """Of the table; of one that is gone since it was joined, what it was then."""
        if self.table is None:
            return None
        gone = self._joined_before
        return gone["settings"]["references"] if gone else f"contents {self.table.content}"

    @cached_property
    def _joined_before(self) -> dict[str, Any] | None:
        """The evaluation that has the references of a table that is gone."""
        assert self.table is not None
        try:
            _ = self.table.content
        except NothingThere:
            there = self._there()
            if there is None or there.get("references") != self.table.place:
                raise
            return there
        return None

    def warnings(self) -> list[str]:
        used = USED if self.table else ()
        reading = [name for name in configured(self.config) if name.startswith(("read.", "encode.", "decode."))]
        idle = [name for name in reading if name not in used and name != "read.storage_deadline_s"]
        told = [f"{', '.join(idle)} without effect: an evaluation compares texts that are there"] * bool(idle)
        if self.table and self._joined_before:
            told.append(f"{self.table.place} is gone: references are what was in it when it was joined")
        return [*told, *score.without_effect(self.scoring, self.config.score, self.vocabulary, self._has_words)]

    @property
    def _has_words(self) -> bool:
        return not self.vocabulary.phonemes or bool(self.evaluated.info["decoding"].get("lexicon"))

    def doubts_of(self, run: Run, unit: int) -> list[str]:
        if self.table is None or not self.scoring.language:
            return []
        joined = references_of(run.manifest, unit)["reference"].drop_null()
        return score.unheard(self.scoring, self.vocabulary, joined[:NUM_LOOKED_AT].to_pylist())

    def told(self) -> dict[str, Any]:
        return {
            "config": self.effective.as_dict(),
            "scoring": replace(self.scoring, language=self._language).as_dict(),
            "evaluated": self.evaluated.url,
            "references": self.table.place if self.table else None,
            "odd": self._odd(),
        }

    def _odd(self) -> list[str]:
        """What whoever reads the figures must know of what they are from."""
        url, info, num_doubled = self.evaluated.url, self.evaluated.info, self.evaluated.info["num_doubled_ids"]
        odd = []
        if not self.evaluated.is_complete:
            num = f"{len(self.evaluated.commits):,} of its {info['num_units']:,} units"
            odd.append(f"{url} is not complete: {num} are done, and only those are evaluated")
        if num_doubled:
            some = ", ".join(info.get("doubled_ids", []))
            odd.append(f"{url}: {num_doubled:,} recordings have the id of another, and a number behind it ({some})")
        if not self._has_words and not self._language:
            odd.append(NOT_COMPARED)
        return odd + list(self._joined.odd if self._joined else ())

    @cached_property
    def _joined(self) -> Joined | None:
        if self.table is None:
            return None
        return join(self.table.read, ids_of(self.evaluated.run, self.evaluated.commits))

    def open(self, tell: Tell) -> Input:
        return CommittedRows(self.evaluated.run, self.evaluated.commits, self._joined)

    def taken_for(self, source: Input) -> str:
        own = "with its own references"
        return f"{source.description}, {f'with the references of {self.table.place}' if self.table else own}"

    def warm_up(self, tell: Tell) -> None:
        """Aligning needs no more than some seconds, once; each process sees to it by itself."""

    def stages(self, config: Config, run: Run, pools: Pools) -> list[Stage]:
        how = How(self.scoring, self.vocabulary.phonemes, self._takes_phones, self.table is not None)
        return plan.evaluation(how, self.evaluated.run, run, pools)

    def give_up(self, units: list[int]) -> None:
        if units:
            some = f"unit {units[0]}" + f" and {len(units) - 1:,} others" * (len(units) > 1)
            raise StageError(
                f"scoring {some} killed its processes whenever it was tried, as a want of memory does: give it more, "
                f"or fewer processes at a time (--set run.cpus=1)"
            )
