"""The scored recordings of a run in memory, a column each: what every figure is derived from.

Knows nothing of files, or of what is derived.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.evaluation.rows import Level
from pipeline.intervals import Numbers
from pipeline.records import ErrorCounts


class Errors(NamedTuple):
    """The error counts of N recordings, a column each (N,)."""

    hits: Numbers
    substitutions: Numbers
    deletions: Numbers
    insertions: Numbers

    @property
    def num_errors(self) -> Numbers:
        return self.substitutions + self.deletions + self.insertions

    @property
    def num_reference(self) -> Numbers:
        return self.hits + self.substitutions + self.deletions

    @property
    def num_heard(self) -> Numbers:
        return self.hits + self.substitutions + self.insertions

    def at(self, chosen: npt.NDArray[np.bool_] | npt.NDArray[np.intp]) -> "Errors":
        return Errors(*(column[chosen] for column in self))

    def sum(self) -> ErrorCounts:
        return ErrorCounts(*(int(column.sum()) for column in self))


@dataclass(frozen=True)
class Coverage:
    """What of a run is in its rates, and what is not."""

    num_recordings: int = 0
    num_scored: int = 0  # with a reference and a transcript: what rates are of
    num_failed: int = 0
    num_failed_with_reference: int = 0  # in no rate but `failed_as_empty`
    num_words_failed: int = 0  # of the references of those
    num_without_reference: int = 0  # transcribed
    failures: Mapping[str, int] = field(default_factory=dict)  # error -> recordings
    audio_s: float = 0.0  # of what was transcribed


@dataclass(frozen=True)
class Scores:
    """N recordings that were scored, in the order of the run."""

    coverage: Coverage
    ids: pa.Array  # (N,) strings
    words: Errors
    chars: Errors
    phones: Errors | None  # None: of no recording; a recording without has zeros, and so no part in the rate
    oracle: Errors | None  # likewise
    duration_s: npt.NDArray[np.float64]  # (N,) NaN: unknown; so below
    confidence: npt.NDArray[np.float64]
    snr_estimate_db: npt.NDArray[np.float64]
    columns: pa.Table  # (N rows) the columns that were passed through

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def has_words(self) -> bool:
        """In a reference; a run of phones has none to compare."""
        return bool(self.words.num_reference.any())

    @property
    def judged_by(self) -> Level:
        """Phones where there is nothing else."""
        return Level.PHONES if self.phones is not None and not self.has_words else Level.WORDS

    @property
    def errors(self) -> Errors:
        """Of what the run is judged by."""
        return self.of(self.judged_by)

    def of(self, level: Level) -> Errors:
        errors = self.words if level is Level.WORDS else self.phones
        return Errors(*np.zeros((len(Errors._fields), len(self)), np.int64)) if errors is None else errors


def in_common(runs: Sequence[Scores]) -> Level:
    """What runs beside each other are judged by: phones where one has nothing else and none has words alone."""
    in_phones = any(one.judged_by is Level.PHONES for one in runs)
    in_words = any(one.has_words and one.phones is None for one in runs)
    return Level.PHONES if in_phones and not in_words else Level.WORDS
