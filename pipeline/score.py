"""The score stage: word and character error counts against the reference, by jiwer.

Counts are stored because they add; rates are derived from their sums. Texts are compared as they are: knows nothing
of normalisation.
"""

from pipeline.records import ErrorCounts
from pipeline.unit import Unit


def score(unit: Unit) -> Unit:
    """Recordings with a reference get their counts; the others are left alone."""
    for recording in unit.pending():
        if recording.reference is not None and recording.text is not None:
            recording.word_errors = count_words(recording.reference, recording.text)
            recording.char_errors = count_characters(recording.reference, recording.text)
    return unit


def count_words(reference: str, hypothesis: str) -> ErrorCounts:
    """Words are what whitespace separates. An empty reference has no words: each word heard is an insertion."""
    import jiwer

    return _counts(jiwer.process_words(_spaced(reference), _spaced(hypothesis)))


def count_characters(reference: str, hypothesis: str) -> ErrorCounts:
    """Characters, one space between two words included."""
    import jiwer

    return _counts(jiwer.process_characters(_spaced(reference), _spaced(hypothesis)))


def _spaced(text: str) -> str:
    """Words one space apart: jiwer takes other white space for letters."""
    return " ".join(text.split())


def _counts(result: object) -> ErrorCounts:
    return ErrorCounts(
        hits=result.hits,  # type: ignore[attr-defined]
        substitutions=result.substitutions,  # type: ignore[attr-defined]
        deletions=result.deletions,  # type: ignore[attr-defined]
        insertions=result.insertions,  # type: ignore[attr-defined]
    )
