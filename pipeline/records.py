"""The row: one recording from read to write, and the one Arrow schema of the output.

Knows nothing of where recordings come from, of Ray, or of files.
"""

import re
from dataclasses import dataclass, fields
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.errors import RecordingError

FloatArray = npt.NDArray[np.float32]
AudioArray = npt.NDArray[np.float32] | npt.NDArray[np.int16]  # samples in [-1, 1), or as 16-bit files hold them

SAMPLE_RATE = 16_000  # Hz; what every model of the family was trained on


class Span(NamedTuple):
    """A file within a shard of many; how long it is the recording's `size` says."""

    member: str  # its name there
    start: int  # its first byte in the shard; of a compressed shard, in what it unpacks to


class Cut(NamedTuple):
    """What of a file's audio a recording is."""

    offset_s: float = 0.0
    length_s: float | None = None  # None: to the end
    channel: int | None = None  # counted from 0; None: the mean of all


WHOLE = Cut()


class Word(NamedTuple):
    """A word of a hypothesis with its place in the recording."""

    word: str
    start_s: float
    end_s: float
    confidence: float | None  # None: the decoder does not tell
    posterior: float | None = None  # the share of the n-best's probability that has it there


class Phone(NamedTuple):
    """A sound of a hypothesis with its place in the recording."""

    phone: str  # as the model's labels write it
    start_s: float
    end_s: float
    confidence: float | None  # geometric mean of its label's probabilities over its frames


class Alternative(NamedTuple):
    """One of the n best hypotheses. Scores are natural logarithms."""

    text: str
    score: float  # of the emissions, the language model and hotwords together
    logit_score: float  # of the emissions alone


@dataclass(slots=True, frozen=True)
class ErrorCounts:
    """Word, character or phone errors against the reference: counts, because counts add and rates do not."""

    hits: int = 0
    substitutions: int = 0
    deletions: int = 0
    insertions: int = 0

    def __add__(self, other: "ErrorCounts") -> "ErrorCounts":
        return ErrorCounts(
            self.hits + other.hits,
            self.substitutions + other.substitutions,
            self.deletions + other.deletions,
            self.insertions + other.insertions,
        )

    @property
    def num_errors(self) -> int:
        return self.substitutions + self.deletions + self.insertions

    @property
    def num_reference(self) -> int:
        return self.hits + self.substitutions + self.deletions

    @property
    def rate(self) -> float | None:
        """Errors per reference item; undefined (None) where there is nothing in the reference."""
        return self.num_errors / self.num_reference if self.num_reference else None


@dataclass(slots=True)
class Recording:
    """One row. Fields are filled from top to bottom as the recording passes the stages."""

    id: str
    uri: str  # the file, or the shard that holds it
    row: int | None = None  # row in a Parquet or Arrow shard
    reference: str | None = None  # what was said, where known
    span: Span | None = None  # where in a tar shard
    size: int | None = None  # bytes, where the listing told
    version: str | None = None  # of the file or shard when it was listed, as `store.version_of` has it
    cut: Cut = WHOLE
    declared_s: float | None = None  # its duration as the input has it

    audio: AudioArray | None = None  # (num_samples,) 16 kHz mono; read fills it, encode clears it
    duration_s: float | None = None
    truncated: bool | None = None  # whether it ends before its header or its manifest says; None: neither says
    snr_estimate_db: float | None = None  # as `read.snr` has it; None: too short, or of an earlier version

    emissions: FloatArray | None = None  # (T, V) log-probabilities; encode fills it, decode clears it
    frame_s: float | None = None  # seconds from one frame of the emissions to the next

    text: str | None = None
    words: list[Word] | None = None  # None of an ok recording: its text is phones, which no lexicon made words of
    phones: list[Phone] | None = None  # of a model of phonemes
    confidence: float | None = None
    score: float | None = None  # of the best hypothesis, as an alternative's; None: a greedy decoder has none
    nbest: list[Alternative] | None = None  # best first, where more than one was asked for
    narrowed: bool | None = None  # whether the beam search ran into its limit of effort; None: it has none

    word_errors: ErrorCounts | None = None
    char_errors: ErrorCounts | None = None
    reference_phones: str | None = None  # the reference as the phonemiser says it, a space between two
    phone_errors: ErrorCounts | None = None

    status: Literal["pending", "ok", "failed"] = "pending"
    error: str | None = None  # "stage: reason", short and stable
    error_detail: str | None = None  # what the library underneath said

    def fail(self, stage: str, error: RecordingError) -> None:
        """Become a failure row: whatever a stage had filled in is dropped."""
        self.status, self.error, self.error_detail = "failed", f"{stage}: {error.reason}", error.detail
        self.audio = self.emissions = self.frame_s = self.truncated = self.snr_estimate_db = None
        self.text = self.words = self.phones = self.confidence = self.score = self.nbest = self.narrowed = None
        self.word_errors = self.char_errors = self.phone_errors = self.reference_phones = None


_WEB = re.compile("https?://", re.IGNORECASE)


def without_query(uri: str) -> str:
    """A URI fit for results: a presigned URL's query is as good as a password. Elsewhere a ? is part of a name."""
    web = _WEB.search(uri)  # not at its beginning alone: `simplecache::https://...`, or a space before it
    return uri[: web.end()] + uri[web.end() :].partition("?")[0] if web else uri


PLACE_FIELDS = ("member", "offset_s", "channel")  # of the output; `Span` and `Cut` tell them
COUNT_FIELDS = tuple(count.name for count in fields(ErrorCounts))
COUNTED = ("word", "char", "phone")  # what errors are counted in
LISTS = {"words": Word, "phones": Phone, "nbest": Alternative}

SCHEMA = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("uri", pa.string(), nullable=False),
        pa.field("row", pa.int64()),
        pa.field("member", pa.string()),
        pa.field("offset_s", pa.float64()),
        pa.field("channel", pa.int32()),
        pa.field("status", pa.string(), nullable=False),
        pa.field("error", pa.string()),
        pa.field("error_detail", pa.string()),
        pa.field("duration_s", pa.float64()),
        pa.field("truncated", pa.bool_()),
        pa.field("snr_estimate_db", pa.float32()),
        pa.field("text", pa.string()),
        pa.field("confidence", pa.float32()),
        pa.field(
            "words",
            pa.list_(
                pa.struct(
                    [
                        pa.field("word", pa.string()),
                        pa.field("start_s", pa.float32()),
                        pa.field("end_s", pa.float32()),
                        pa.field("confidence", pa.float32()),
                        pa.field("posterior", pa.float32()),
                    ]
                )
            ),
        ),
        pa.field(
            "phones",
            pa.list_(
                pa.struct(
                    [
                        pa.field("phone", pa.string()),
                        pa.field("start_s", pa.float32()),
                        pa.field("end_s", pa.float32()),
                        pa.field("confidence", pa.float32()),
                    ]
                )
            ),
        ),
        pa.field("score", pa.float64()),
        pa.field(
            "nbest",
            pa.list_(
                pa.struct(
                    [
                        pa.field("text", pa.string()),
                        pa.field("score", pa.float64()),
                        pa.field("logit_score", pa.float64()),
                    ]
                )
            ),
        ),
        pa.field("narrowed", pa.bool_()),
        pa.field("reference", pa.string()),
        pa.field("reference_phones", pa.string()),
        *(pa.field(f"{kind}_{name}", pa.int32()) for kind in COUNTED for name in COUNT_FIELDS),
    ]
)


def to_table(recordings: list[Recording]) -> pa.Table:
    """Finished recordings as a table of `SCHEMA`; audio and emissions are not part of it."""
    return pa.Table.from_pylist([_row(recording) for recording in recordings], schema=SCHEMA)


def from_table(table: pa.Table) -> list[Recording]:
    """The inverse of `to_table`, for rows that an earlier attempt or run finished; columns that it lacks are null."""
    for column in SCHEMA:
        if column.name not in table.schema.names:  # a run of an earlier version, whose emissions are decoded again
            table = table.append_column(column, pa.nulls(len(table), column.type))
    return [_recording(row) for row in table.select(SCHEMA.names).to_pylist()]


def _row(recording: Recording) -> dict[str, object]:
    row: dict[str, object] = {
        name: getattr(recording, name)
        for name in SCHEMA.names
        if name not in (*LISTS, *PLACE_FIELDS) and not name.startswith(tuple(f"{kind}_" for kind in COUNTED))
    }
    row["uri"] = without_query(recording.uri)
    row["member"] = recording.span.member if recording.span else None
    row["offset_s"] = recording.cut.offset_s if recording.cut[:2] != WHOLE[:2] else None
    row["channel"] = recording.cut.channel
    for name in LISTS:
        items = getattr(recording, name)
        row[name] = None if items is None else [item._asdict() for item in items]
    for kind in COUNTED:
        counts = getattr(recording, f"{kind}_errors")
        for name in COUNT_FIELDS:
            row[f"{kind}_{name}"] = None if counts is None else getattr(counts, name)
    return row


def _recording(row: dict[str, object]) -> Recording:
    filled: dict[str, object] = {}
    for kind in COUNTED:
        values = {name: row.pop(f"{kind}_{name}") for name in COUNT_FIELDS}
        filled[f"{kind}_errors"] = None if values["hits"] is None else ErrorCounts(**values)  # type: ignore[arg-type]
    for name, kind_of in LISTS.items():
        items = row.pop(name)
        filled[name] = None if items is None else [kind_of(**item) for item in items]  # type: ignore[attr-defined]
    member, offset_s, channel = (row.pop(name) for name in PLACE_FIELDS)
    recording = Recording(**row, **filled)  # type: ignore[arg-type]
    recording.span = None if member is None else Span(member, 0)  # type: ignore[arg-type]  # it will not be read again
    length_s = None if offset_s is None else recording.duration_s
    recording.cut = Cut(offset_s or 0.0, length_s, channel)  # type: ignore[arg-type]
    return recording
