"""How sure a rate is: bootstrap intervals over recordings, because the words of one recording fail together.

Knows nothing of what is counted.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[np.int64]

NUM_RESAMPLES = 2000  # the ends move by about 2 % of the interval's width from one seed to the next
CHUNK = 4_000_000  # drawn counts in memory at a time


class Interval(NamedTuple):
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.low:.2%} to {self.high:.2%}"


def bootstrap(errors: Numbers, totals: Numbers, level: float = 0.95, seed: int = 0) -> Interval:
    """Of sum(errors) / sum(totals), by resampling recordings: the percentile interval.

    For the difference of two rates over the same recordings give the difference of their errors.
    """
    num, rng, rates = len(errors), np.random.default_rng(seed), []
    per_chunk = max(1, CHUNK // num)
    for done in range(0, NUM_RESAMPLES, per_chunk):
        # How often each recording is drawn: (B, N), instead of which are: the sums are then one product.
        drawn = rng.multinomial(num, np.full(num, 1 / num), size=min(per_chunk, NUM_RESAMPLES - done))
        rates.append((drawn @ errors) / np.maximum(drawn @ totals, 1))
    tail = 100 * (1 - level) / 2
    low, high = np.percentile(np.concatenate(rates), [tail, 100 - tail])
    return Interval(float(low), float(high))
