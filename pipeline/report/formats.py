"""Numbers as the pages show them. Knows nothing of HTML."""

import math

from pipeline.evaluation.results import Rate
from pipeline.intervals import Interval

NOTHING = "\u2013"  # where there is no number
SMALLEST_P = 0.001


def percent(share: float | None) -> str:
    return NOTHING if share is None else f"{share:.2%}"


def interval(found: Interval | None) -> str:
    return NOTHING if found is None else str(found)


def points(share: float | None) -> str:
    """A difference of two rates, with its sign, in percentage points."""
    if share is None:
        return NOTHING
    rounded = round(100 * share, 2)
    return f"{rounded:+.2f}".replace("-", "\u2212") if rounded else "0.00"


def points_between(found: Interval | None) -> str:
    return NOTHING if found is None else f"{points(found.low)} to {points(found.high)}"


def probability(p: float | None) -> str:
    if p is None:
        return NOTHING
    return f"< {SMALLEST_P:g}" if p < SMALLEST_P else f"{p:.3f}"


def shortened(text: str, most: int) -> str:
    """Of what may be of any length."""
    left = len(text) - most
    return text if left <= 0 else f"{text[:most]}\u2026 and {of(left, 'character')} more"


def count(number: int) -> str:
    return f"{number:,}"


def of(number: int, one: str, many: str = "") -> str:
    """1 word, 2 words."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def seconds(length_s: float | None) -> str:
    """Of a recording."""
    if length_s is None:
        return NOTHING
    return f"{length_s:.1f} s" if length_s < 60 else f"{int(length_s) // 60}:{int(length_s) % 60:02d} min"


def decimal(number: float | None, places: int = 2) -> str:
    return NOTHING if number is None or math.isnan(number) else f"{number:,.{places}f}"


def times(number: float) -> str:
    return f"{number:,.{0 if number >= 10 else 1}f}"


def sure(rate: Rate) -> str:
    """A rate and its interval in one line."""
    return percent(rate.value) + (f" ({rate.interval})" if rate.interval else "")
