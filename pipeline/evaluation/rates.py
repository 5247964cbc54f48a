"""The error rates of scored recordings, each with its interval.

Knows nothing of slices, or of other runs.
"""

import numpy as np
import pyarrow as pa

from pipeline.errors import UsageError
from pipeline.evaluation.results import Rate, Rates
from pipeline.evaluation.scores import Coverage, Errors, Scores
from pipeline.intervals import FEWEST_GROUPS, Floats, Groups, Numbers, interval, ratio, resampled, resampled_rate


def groups_by(scores: Scores, column: str | None) -> Groups:
    """The recordings in groups of equal value in a column, or each for itself."""
    if column is None:
        return Groups.each(len(scores))
    if column not in scores.columns.column_names:
        known = ", ".join(scores.columns.column_names) or "no column at all"
        raise UsageError(f"resampling by {column}: there is no such column; the run has passed through {known}")
    try:
        return Groups.of(scores.columns[column])
    except pa.ArrowNotImplementedError as error:
        kind = scores.columns.schema.field(column).type
        raise UsageError(f"resampling by {column}: it holds {kind}, not values that can be equal") from error


def rates(scores: Scores, groups: Groups) -> Rates:
    words = scores.words
    return Rates(
        wer=error_rate(words, groups),
        cer=error_rate(scores.chars, groups),
        mer=_match_error_rate(words, groups),
        wil=_information_lost(words, groups),
        per=error_rate(scores.phones, groups) if scores.phones else None,
        oracle_wer=error_rate(scores.oracle, groups) if scores.oracle else None,
        empty=_empty_share(words, groups),
        failed_as_empty=_with_failed(words, scores.coverage),
    )


def rate(errors: Numbers, totals: Numbers, groups: Groups) -> Rate:
    """sum(errors) / sum(totals)."""
    num = int(totals.sum())
    if not num:
        return Rate(None)
    draws = resampled_rate(errors, totals, groups) if groups.num_with(totals) >= FEWEST_GROUPS else None
    return rate_of(int(errors.sum()) / num, draws)


def error_rate(errors: Errors, groups: Groups) -> Rate:
    return rate(errors.num_errors, errors.num_reference, groups)


def rate_of(value: float, draws: Floats | None) -> Rate:
    """With the interval of what came out of resamples; None: too few groups."""
    return Rate(value, interval(draws) if draws is not None else None)


def _match_error_rate(words: Errors, groups: Groups) -> Rate:
    """Errors among all places of the alignments; like every rate none where references have no words."""
    if not words.num_reference.any():
        return Rate(None)
    return rate(words.num_errors, words.num_reference + words.insertions, groups)


def _information_lost(words: Errors, groups: Groups) -> Rate:
    """All but the share of what was said that was heard, times the share of what was heard that was said."""

    def lost(sums: Floats) -> Floats:
        hits, said, heard = sums.T
        return 1 - ratio(hits * hits, said * np.maximum(heard, 1))

    if not words.num_reference.any():
        return Rate(None)
    columns = np.stack([words.hits, words.num_reference, words.num_heard], axis=1)
    value = float(lost(columns.sum(axis=0, keepdims=True).astype(np.float64))[0])
    are_enough = groups.num_with(words.num_reference) >= FEWEST_GROUPS
    return rate_of(value, lost(resampled(columns, groups)) if are_enough else None)


def _empty_share(words: Errors, groups: Groups) -> Rate:
    has_words = words.num_reference > 0
    return rate((has_words & (words.num_heard == 0)).astype(np.int64), has_words.astype(np.int64), groups)


def _with_failed(words: Errors, coverage: Coverage) -> Rate | None:
    """Without an interval: which group a failed recording belongs to is not known here. And none where no words were
    compared, as of phones: of failed recordings alone, whose references are counted in words, it would be 100 %.
    """
    if not coverage.num_failed_with_reference or not words.num_reference.any():
        return None
    num = int(words.num_reference.sum()) + coverage.num_words_failed
    return Rate((int(words.num_errors.sum()) + coverage.num_words_failed) / num)
