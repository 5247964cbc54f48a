"""Error counts against jiwer and rapidfuzz, on texts with every kind of white space."""

import jiwer
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rapidfuzz.distance import Levenshtein

from pipeline.errors import RecordingError
from pipeline.records import ErrorCounts, Recording
from pipeline.score import count_characters, count_words, score
from pipeline.unit import Unit

WORDS = st.lists(st.sampled_from(["A", "I", "THE", "THERE", "é", "e\u0301", "中文", "I'M"]), max_size=8)
SPACE = st.sampled_from([" ", "  ", "\t", "\n", "\u00a0", "\u2003", "\u3000", "\r\n"])


@st.composite
def spaced(draw: st.DrawFn) -> tuple[list[str], str]:
    """Words, and a text of them with white space of any kind and number around them."""
    words = draw(WORDS)
    return words, draw(SPACE) + "".join(word + draw(SPACE) for word in words)


@given(spaced(), spaced())
def test_words_are_counted_as_jiwer_counts_them_one_space_apart(
    reference: tuple[list[str], str], hypothesis: tuple[list[str], str]
) -> None:
    (reference_words, reference_text), (hypothesis_words, hypothesis_text) = reference, hypothesis
    counts = count_words(reference_text, hypothesis_text)
    jiwers = jiwer.process_words(" ".join(reference_words), " ".join(hypothesis_words))
    assert counts == ErrorCounts(jiwers.hits, jiwers.substitutions, jiwers.deletions, jiwers.insertions)
    assert counts.num_errors == Levenshtein.distance(reference_words, hypothesis_words)
    assert counts.num_reference == len(reference_words)
    assert counts.hits + counts.substitutions + counts.insertions == len(hypothesis_words)


@given(spaced(), spaced())
def test_characters_are_counted_with_one_space_between_words(
    reference: tuple[list[str], str], hypothesis: tuple[list[str], str]
) -> None:
    wanted, heard = " ".join(reference[0]), " ".join(hypothesis[0])
    counts = count_characters(reference[1], hypothesis[1])
    assert counts.num_errors == Levenshtein.distance(wanted, heard)
    assert counts.num_reference == len(wanted)
    assert counts.hits + counts.substitutions + counts.insertions == len(heard)


@pytest.mark.parametrize(
    ("reference", "hypothesis", "expected"),
    [
        ("", "", ErrorCounts()),
        ("", "A B", ErrorCounts(insertions=2)),
        ("A B", "", ErrorCounts(deletions=2)),
        (" \u3000\n", "A", ErrorCounts(insertions=1)),
        ("A", "A", ErrorCounts(hits=1)),  # jiwer's command line drops lines of one letter
        ("I", "A", ErrorCounts(substitutions=1)),
    ],
)
def test_nothing_and_next_to_nothing_are_counted(reference: str, hypothesis: str, expected: ErrorCounts) -> None:
    assert count_words(reference, hypothesis) == expected


def test_only_what_was_heard_and_has_a_reference_is_scored() -> None:
    failed = Recording("failed", "x", reference="A")
    failed.fail("read", RecordingError("not audio"))
    heard, unknown = Recording("heard", "x", reference="A B", text="A"), Recording("unknown", "x", text="A")
    silent = Recording("silent", "x", reference="A", text="")
    score(Unit(0, [failed, heard, unknown, silent]))
    assert (failed.word_errors, unknown.word_errors, unknown.char_errors) == (None, None, None)
    assert heard.word_errors == ErrorCounts(hits=1, deletions=1)
    assert heard.char_errors == ErrorCounts(hits=1, deletions=2)
    assert silent.word_errors == ErrorCounts(deletions=1)  # hearing nothing is an error, not an absence
