"""What an evaluation came to: figures alone, ready to be printed, kept as JSON and shown on a page.

Knows nothing of how they are found.
"""

from dataclasses import dataclass
from typing import Any

from pipeline.evaluation.rows import Level
from pipeline.evaluation.scores import Coverage
from pipeline.intervals import Interval
from pipeline.records import ErrorCounts

RECORDINGS = "recordings"  # what is resampled, unless it is a column


@dataclass(frozen=True)
class Rate:
    value: float | None  # None: nothing to divide by
    interval: Interval | None = None  # of 95 %; None: too few to resample

    def __str__(self) -> str:
        if self.value is None:
            return "none"
        return f"{self.value:.2%}" + (f" ({self.interval})" if self.interval else "")


@dataclass(frozen=True)
class Rates:
    """Of all scored recordings together."""

    wer: Rate
    cer: Rate
    mer: Rate  # errors among all words aligned
    wil: Rate  # word information lost
    per: Rate | None  # phones; None: not compared
    oracle_wer: Rate | None  # of the best among the n best; None: none were kept
    empty: Rate  # share of recordings with words in the reference and none heard
    failed_as_empty: Rate | None  # WER as if nothing had been heard of failed recordings; None: none failed, or no WER

    def of(self, level: Level) -> Rate:
        """That of errors."""
        return self.wer if level is Level.WORDS else self.per or Rate(None)


@dataclass(frozen=True)
class Slice:
    """The recordings that have one value in a column."""

    column: str
    value: str  # of a column of numbers a range, as in "5 to 10 s"
    num_recordings: int
    audio_s: float
    errors: ErrorCounts  # of what the run is judged by
    chars: ErrorCounts
    rate: Rate  # of errors
    cer: Rate
    excess: float | None  # the rate less that of all other recordings
    p: float | None  # of that or more by chance, by the units that were resampled; None: too few
    p_corrected: float | None  # for how many slices were looked at (Holm)


@dataclass(frozen=True)
class Confusion:
    said: str  # empty: inserted
    heard: str  # empty: deleted
    count: int


@dataclass(frozen=True)
class Confusions:
    """The most frequent first."""

    substitutions: tuple[Confusion, ...]
    deletions: tuple[Confusion, ...]
    insertions: tuple[Confusion, ...]


@dataclass(frozen=True)
class Bin:
    """Things whose confidence lies between two values."""

    low: float
    high: float
    num: int
    confidence: float  # mean; of an empty bin the middle
    correct: float  # share


@dataclass(frozen=True)
class Calibration:
    """Whether confidences are what they say."""

    of: str  # "words" or "recordings", of whose words or phones the share that is right is compared
    bins: tuple[Bin, ...]
    error: float  # expected calibration error


@dataclass(frozen=True)
class Speed:
    """What the run took, from its commits."""

    audio_s: float
    wall_s: float | None  # pauses between its sessions left out; None: its commits do not tell
    stage_s: dict[str, float]  # of all workers together
    over_time: tuple[tuple[float, float], ...]  # seconds since the first commit, pauses left out, and audio seconds
    # a second from the point before to this one
    price_per_hour: float | None = None
    cost: float | None = None  # of wall_s
    cost_per_audio_hour: float | None = None
    has_start: bool = False  # whether wall_s begins with the command, or, of several sessions, with their first units

    @property
    def times_real_time(self) -> float | None:
        return self.audio_s / self.wall_s if self.wall_s else None

    @property
    def audio_hours_per_compute_hour(self) -> float | None:
        """Of all workers together, however many there were."""
        worked_s = sum(self.stage_s.values())
        return self.audio_s / worked_s if worked_s else None

    @property
    def is_of_decoding(self) -> bool:
        """Alone: of a run that decoded what another had encoded, whose time and cost are in no figure."""
        return bool(self.stage_s) and "encode" not in self.stage_s


@dataclass(frozen=True)
class Point:
    """One of a sample of recordings, for plots."""

    duration_s: float | None
    confidence: float | None
    rate: float  # of errors, of what the run is judged by


@dataclass(frozen=True)
class Example:
    """A recording worth looking at, in words or in phones."""

    id: str
    uri: str
    reference: str  # as it is; so below
    text: str
    said: str  # as compared; so below
    heard: str
    alignment: str  # see `rows.ALIGNMENT_SYMBOLS`
    errors: ErrorCounts
    duration_s: float | None
    confidence: float | None
    columns: dict[str, Any]  # that were passed through


@dataclass(frozen=True)
class Evaluation:
    """One run."""

    name: str
    run: str  # where it is
    model: str
    decoder: str  # in a few words
    normalizer: str  # name and version
    references: str  # "of the run", or the file they were joined from
    resampled: str  # what intervals are by: `RECORDINGS`, or the name of a column
    num_resampled: int  # how many of them
    judged_by: Level  # what slices, confusions, the histogram, points and the worst are of
    coverage: Coverage
    rates: Rates
    words: ErrorCounts
    chars: ErrorCounts
    slices: tuple[Slice, ...]  # by column, then as values go
    worst_slices: tuple[Slice, ...]  # that are worse than the rest and probably not by chance, the worst first
    confusions: Confusions
    char_confusions: Confusions
    calibration: Calibration | None  # None: no confidences
    speed: Speed
    histogram: tuple[tuple[float, float, int], ...]  # of recordings' rates: from, to, how many; the last is open
    points: tuple[Point, ...]
    worst: tuple[Example, ...]
    warnings: tuple[str, ...] = ()  # what of the input was odd: doubled ids, references without a recording, ...
    is_complete: bool = True  # whether the run was
    phones: ErrorCounts | None = None  # None: not compared

    @property
    def rate(self) -> Rate:
        """What it is judged by; of these errors."""
        return self.rates.of(self.judged_by)

    @property
    def errors(self) -> ErrorCounts:
        return self.words if self.judged_by is Level.WORDS else self.phones or ErrorCounts()


@dataclass(frozen=True)
class Difference:
    """A recording that two runs have heard differently."""

    first: Example
    second: Example


@dataclass(frozen=True)
class Comparison:
    """A run beside the first, over the recordings that both have scored."""

    first: str  # names
    second: str
    level: Level  # what was compared
    num_common: int  # recordings that both have scored, in that
    num_only_first: int  # the rest of what that has scored
    num_only_second: int
    num_references_differ: int  # of those that both have: scored against other references, and left out
    first_rate: Rate
    second_rate: Rate
    difference: Rate  # second less first
    resampled: str  # as of the first's evaluation; segments are not
    p_bootstrap: float | None  # two-sided; None: too few, see `intervals.FEW_GROUPS`
    p_mapsswe: float | None  # matched pairs of sentence segments
    num_segments: int
    most_different: tuple[Difference, ...]

    @property
    def num_compared(self) -> int:
        return self.num_common - self.num_references_differ


@dataclass(frozen=True)
class Report:
    """All of it: what evaluation.json holds and the page shows."""

    evaluations: tuple[Evaluation, ...]
    comparisons: tuple[Comparison, ...]  # each of the others with the first
    by_dataset: dict[str, dict[str, Rate]] | None = None  # of a suite: dataset -> run's name -> rate
    judged_by: Level = Level.WORDS  # beside each other
