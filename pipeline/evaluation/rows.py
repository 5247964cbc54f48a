"""The row of an evaluation: a recording's texts side by side, and where they differ. What is stored; rates are not.

Behind these columns come those that the evaluated run passed through from its input.
"""

from enum import StrEnum

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.records import COUNT_FIELDS

COUNTED = ("word", "char", "phone", "oracle")  # oracle: words, of the one of the n best that has the fewest errors

# Runs of one kind, as in "12=1S3=2D1I": equal, substituted, deleted (said and not heard), inserted (heard, not said).
ALIGNMENT_SYMBOLS = "=SDI"

SCHEMA = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("uri", pa.string(), nullable=False),
        pa.field("status", pa.string(), nullable=False),
        pa.field("error", pa.string()),
        pa.field("duration_s", pa.float64()),
        pa.field("confidence", pa.float32()),
        pa.field("snr_estimate_db", pa.float32()),  # null of runs of earlier versions
        pa.field("reference", pa.string()),
        pa.field("text", pa.string()),
        pa.field("normalized_reference", pa.string()),  # as compared: words one space apart
        pa.field("normalized_text", pa.string()),
        pa.field("word_alignment", pa.string()),
        pa.field("char_alignment", pa.string()),
        pa.field("reference_phones", pa.string()),  # as compared: one space apart; so below
        pa.field("heard_phones", pa.string()),
        pa.field("phone_alignment", pa.string()),
        pa.field("word_confidences", pa.list_(pa.float32())),  # of the words of normalized_text; null where unknown
        *(pa.field(f"{kind}_{name}", pa.int32()) for kind in COUNTED for name in COUNT_FIELDS),
    ]
)


class Level(StrEnum):
    """What is compared one by one, where it stands in a row, and how it is called."""

    WORDS = "words"
    PHONES = "phones"

    @property
    def one(self) -> str:
        return self.value.removesuffix("s")

    @property
    def said(self) -> str:
        """The column of what was said; so below."""
        return "normalized_reference" if self is Level.WORDS else "reference_phones"

    @property
    def heard(self) -> str:
        return "normalized_text" if self is Level.WORDS else "heard_phones"

    @property
    def alignment(self) -> str:
        return f"{self.one}_alignment"

    @property
    def counts(self) -> tuple[str, ...]:
        return tuple(f"{self.one}_{name}" for name in COUNT_FIELDS)

    @property
    def rate(self) -> str:
        return f"{self.one} error rate"

    @property
    def short(self) -> str:
        return "WER" if self is Level.WORDS else "PER"


def is_scored(table: pa.Table) -> pa.ChunkedArray:
    """Of rows, which of them rates are of: transcribed, and compared with a reference in words or in phones."""
    compared = pc.or_(pc.is_valid(table["word_hits"]), pc.is_valid(table["phone_hits"]))
    return pc.and_(pc.equal(table["status"], "ok"), compared)
