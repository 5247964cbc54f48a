"""The commit of a unit: the small JSON that makes its part count, and all that progress and summary are made of.

Knows nothing of where it is kept.
"""

import dataclasses
import hashlib
import json
from collections import Counter
from dataclasses import dataclass, field

from pipeline.records import ErrorCounts, Recording


@dataclass(frozen=True)
class Tally:
    """What recordings came to. Tallies add, so a run's is the sum of its commits'."""

    num_recordings: int = 0
    num_ok: int = 0
    num_failed: int = 0
    failures: dict[str, int] = field(default_factory=dict)  # error -> how many
    audio_s: float = 0.0  # of the recordings that are ok
    num_scored: int = 0  # ok, and their words compared with a reference
    num_unscored: int = 0  # failed and with a reference: not in the error rates
    words: ErrorCounts = ErrorCounts()
    chars: ErrorCounts = ErrorCounts()
    num_phones_scored: int = 0  # ok, and compared with the phones of their reference
    phones: ErrorCounts = ErrorCounts()
    num_narrowed: int = 0  # ok, but the beam search ran into its limit of effort
    num_uncompared: int = 0  # ok and with a reference, but phones alone and no language to say it in

    @classmethod
    def of(cls, recordings: list[Recording]) -> "Tally":
        ok = [recording for recording in recordings if recording.status == "ok"]
        failed = [recording for recording in recordings if recording.status == "failed"]
        return cls(
            num_recordings=len(recordings),
            num_ok=len(ok),
            num_failed=len(failed),
            failures=dict(Counter(recording.error or "" for recording in failed)),
            audio_s=sum(recording.duration_s or 0.0 for recording in ok),
            num_scored=sum(recording.word_errors is not None for recording in ok),
            num_phones_scored=sum(recording.phone_errors is not None for recording in ok),
            num_unscored=sum(recording.reference is not None for recording in failed),
            num_uncompared=sum(r.reference is not None and r.word_errors is r.phone_errors is None for r in ok),
            num_narrowed=sum(bool(recording.narrowed) for recording in ok),
            words=sum((r.word_errors for r in ok if r.word_errors), ErrorCounts()),
            chars=sum((r.char_errors for r in ok if r.char_errors), ErrorCounts()),
            phones=sum((r.phone_errors for r in ok if r.phone_errors), ErrorCounts()),
        )

    def __add__(self, other: "Tally") -> "Tally":
        return Tally(
            num_recordings=self.num_recordings + other.num_recordings,
            num_ok=self.num_ok + other.num_ok,
            num_failed=self.num_failed + other.num_failed,
            failures=dict(Counter(self.failures) + Counter(other.failures)),
            audio_s=self.audio_s + other.audio_s,
            num_scored=self.num_scored + other.num_scored,
            num_unscored=self.num_unscored + other.num_unscored,
            num_uncompared=self.num_uncompared + other.num_uncompared,
            num_phones_scored=self.num_phones_scored + other.num_phones_scored,
            num_narrowed=self.num_narrowed + other.num_narrowed,
            words=self.words + other.words,
            chars=self.chars + other.chars,
            phones=self.phones + other.phones,
        )


@dataclass(frozen=True)
class Stored:
    """A file that a commit makes count, beside its part."""

    name: str
    size: int  # bytes
    sha256: str

    @classmethod
    def of(cls, name: str, data: bytes) -> "Stored":
        return cls(name, len(data), hashlib.sha256(data).hexdigest())

    @classmethod
    def named(cls, kind: str, unit: int, attempt: int, data: bytes) -> "Stored":
        """With a name of its own: two that did one unit, one of them thought dead, may differ in a last digit."""
        sha256 = hashlib.sha256(data).hexdigest()
        return cls(f"{kind}-{file_stem(unit, attempt)}-{sha256[:8]}.parquet", len(data), sha256)


@dataclass(frozen=True)
class Commit:
    """One unit, done."""

    unit: int
    part: str  # file name in data/
    size: int  # bytes of the part
    sha256: str  # of the part
    run: str  # the id of the run that it belongs to
    tally: Tally
    attempt: int = 0  # how often its failed recordings were tried again
    stage_s: dict[str, float] = field(default_factory=dict)  # wall seconds
    stage_cpu_s: dict[str, float] = field(default_factory=dict)
    written_at: float = 0.0  # seconds since 1970
    emissions: Stored | None = None  # in emissions/, where they are kept
    num_retried: int = 0  # requests to stores that were made again for it

    def to_json(self) -> bytes:
        return json.dumps(dataclasses.asdict(self), indent=1).encode()

    @classmethod
    def from_json(cls, data: bytes) -> "Commit":
        values = json.loads(data)
        tally = values.pop("tally")
        for name in {"words", "chars", "phones"} & tally.keys():  # older commits have no phones
            tally[name] = ErrorCounts(**tally[name])
        kept = values.pop("emissions", None)  # older commits have none
        return cls(
            **values,
            tally=Tally(**tally),
            emissions=None if kept is None else Stored(**kept),
        )


def file_stem(unit: int, attempt: int) -> str:
    """Another attempt is another file, so that the old part counts until the new commit is there."""
    return f"{unit:06d}" if attempt == 0 else f"{unit:06d}-retry{attempt}"


def file_name(unit: int, attempt: int) -> str:
    return f"{file_stem(unit, attempt)}.json"
