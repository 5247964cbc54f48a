"""Discounts from counts of counts, as Chen and Goodman (1998) derive them; knows nothing of n-grams."""

from collections.abc import Sequence
from fractions import Fraction

from pipeline.errors import UsageError
from pipeline.lm.estimate.options import WHEN_DEGENERATE, Discounts


def estimate_discounts(order: int, num_with_count: Sequence[int], fallback: bool) -> Discounts:
    """`num_with_count[k]`: how many n-grams of this order have the adjusted count k, for k up to four."""
    fault = None
    for count in (1, 2, 3):
        if not num_with_count[count]:
            fault = f"no {order}-gram has the adjusted count {count}"
            break
    if fault is None:
        # Exact, because zero is a discount and the least bit below it is none.
        base = Fraction(num_with_count[1], num_with_count[1] + 2 * num_with_count[2])
        amounts = [k - (k + 1) * base * Fraction(num_with_count[k + 1], num_with_count[k]) for k in (1, 2, 3)]
        for count, amount in zip((1, 2, 3), amounts, strict=True):
            if not 0 <= amount <= count:
                fault = f"{float(amount):.3f} would be taken from {order}-grams with the adjusted count {count}"
                break
        else:
            one, two, more = map(float, amounts)
            return Discounts(one, two, more)
    if fallback:
        return Discounts(*WHEN_DEGENERATE, fallback=True)
    raise UsageError(
        f"the text is too small, or too repetitive, for Kneser-Ney discounts: {fault}. Give more text, remove repeated "
        f"lines, or set --discount-fallback to take {', '.join(map(str, WHEN_DEGENERATE))} for that order"
    )
