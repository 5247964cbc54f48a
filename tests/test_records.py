"""The row on its way to a part and back: an attempt that keeps what an earlier one finished must not change it."""

import pickle
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import RecordingError
from pipeline.records import (
    SCHEMA,
    Alternative,
    Cut,
    ErrorCounts,
    Phone,
    Recording,
    Span,
    Word,
    from_table,
    to_table,
    without_query,
)
from pipeline.unit import Unit

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
SINGLE = st.floats(0, 1e6, width=32)  # what the schema keeps of times and confidences
COUNTS = st.builds(ErrorCounts, *[st.integers(0, 2**31 - 1)] * 4)
RECORDINGS = st.builds(
    Recording,
    id=TEXT,
    uri=TEXT,
    row=st.none() | st.integers(0, 2**63 - 1),
    reference=st.none() | TEXT,
    span=st.none() | st.builds(Span, TEXT, st.just(0)),  # the first byte is not written
    duration_s=st.none() | st.floats(0, 1e9),
    truncated=st.none() | st.booleans(),
    snr_estimate_db=st.none() | st.floats(-10, 60, width=32),
    text=st.none() | TEXT,
    words=st.none()
    | st.lists(st.builds(Word, TEXT, SINGLE, SINGLE, st.none() | SINGLE, st.none() | SINGLE), max_size=3),
    phones=st.none() | st.lists(st.builds(Phone, TEXT, SINGLE, SINGLE, st.none() | SINGLE), max_size=3),
    confidence=st.none() | SINGLE,
    score=st.none() | st.floats(-1e9, 0),
    nbest=st.none() | st.lists(st.builds(Alternative, TEXT, st.floats(-1e9, 0), st.floats(-1e9, 0)), max_size=2),
    narrowed=st.none() | st.booleans(),
    word_errors=st.none() | COUNTS,
    char_errors=st.none() | COUNTS,
    reference_phones=st.none() | TEXT,
    phone_errors=st.none() | COUNTS,
    status=st.sampled_from(["ok", "failed"]),
    error=st.none() | TEXT,
    error_detail=st.none() | TEXT,
)


def cut(recording: Recording, offset_s: float | None, channel: int | None) -> Recording:
    """A recording that is part of a file: as long as it came out."""
    length_s = None if offset_s is None else recording.duration_s
    return replace(recording, cut=Cut(offset_s or 0.0, length_s, channel))


PLACED = st.builds(cut, RECORDINGS, st.none() | st.floats(1e-3, 1e6), st.none() | st.integers(0, 63))


@given(st.lists(PLACED, max_size=4))
def test_what_is_written_is_what_comes_back(recordings: list[Recording]) -> None:
    assert from_table(to_table(recordings)) == recordings


@given(st.lists(PLACED, max_size=2))
def test_of_an_earlier_version_s_part_what_it_has_comes_back(recordings: list[Recording]) -> None:
    """Else emissions that were kept before there were phones, or an estimate of noise, could not be decoded again."""
    new = [name for name in SCHEMA.names if name.startswith(("phone", "snr")) or name == "reference_phones"]
    nothing = dict.fromkeys(("phones", "reference_phones", "phone_errors", "snr_estimate_db"))
    without = [replace(one, **nothing) for one in recordings]
    assert len(new) == 7
    assert from_table(to_table(recordings).drop_columns(new)) == without


@given(COUNTS, COUNTS)
def test_counts_of_parts_add_up_to_counts_of_the_whole(one: ErrorCounts, other: ErrorCounts) -> None:
    both = one + other
    assert both.num_errors == one.num_errors + other.num_errors
    assert both.num_reference == one.num_reference + other.num_reference
    assert (both.rate is None) == (both.num_reference == 0)


def test_a_failure_row_holds_nothing_half_done() -> None:
    """A text beside status failed would be counted by whoever reads the column alone."""
    row = Recording("a", "a.wav", reference="HELLO", audio=np.zeros(1, np.float32), duration_s=1.0)
    row.truncated, row.snr_estimate_db = True, 20.0
    row.text, row.words, row.confidence, row.frame_s = "HELLO", [Word("HELLO", 0, 1, 1)], 0.5, 0.02
    row.score, row.nbest, row.narrowed = -1.0, [Alternative("HELLO", -1.0, -2.0)], True
    row.word_errors = row.char_errors = row.phone_errors = ErrorCounts(1)
    row.phones, row.reference_phones = [Phone("h", 0, 1, 1)], "h ə l oʊ"
    row.fail("decode", RecordingError("a reason", "a detail"))
    assert row == Recording(
        *("a", "a.wav"),
        reference="HELLO",
        duration_s=1.0,
        status="failed",
        error="decode: a reason",
        error_detail="a detail",
    )


def test_finishing_a_unit_leaves_its_failures_failed() -> None:
    unit = Unit(0, [Recording("a", "a"), Recording("b", "b", status="failed"), Recording("c", "c", status="ok")])
    assert [recording.id for recording in unit.pending()] == ["a"]
    unit.finish()
    assert [recording.status for recording in unit.recordings] == ["ok", "failed", "ok"]


def test_a_reason_survives_the_way_between_processes() -> None:
    error = pickle.loads(pickle.dumps(RecordingError("a reason", "a detail")))
    assert (error.reason, error.detail) == ("a reason", "a detail")


@pytest.mark.parametrize(
    ("uri", "told"),
    [
        ("https://h/a.wav?sig=x", "https://h/a.wav"),
        ("HTTPS://h/a.wav?sig=x", "HTTPS://h/a.wav"),
        ("simplecache::https://h/a.wav?sig=x", "simplecache::https://h/a.wav"),
        (" Http://h/a.wav?sig=x?y", " Http://h/a.wav"),
        ("s3://b/what?.wav", "s3://b/what?.wav"),
        ("/data/what?.wav", "/data/what?.wav"),
    ],
)
def test_a_uri_in_results_has_no_query_however_it_is_spelt(uri: str, told: str) -> None:
    """It is as good as a password where it is signed, and part of a name elsewhere."""
    assert without_query(uri) == told
