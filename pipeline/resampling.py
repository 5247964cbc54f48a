"""The inner loop of the bootstrap, compiled: items drawn with replacement, many to a block, and added up.

Knows nothing of what the items are, or of what is made of the sums.
"""

import numpy as np
import numpy.typing as npt

from pipeline.compiled import entry

BLOCK = (
    4096  # items whose counts, and a column of which, stay in the first caches: out of memory a draw takes six times
)


@entry
def add_drawn(
    items: npt.NDArray[np.int64],
    drawn: npt.NDArray[np.int64],
    seeds: npt.NDArray[np.uint64],
    sums: npt.NDArray[np.int64],
) -> None:
    """Of items (K, N): to the b-th of the sums (B, K), `drawn[b, j]` draws from the j-th block of `BLOCK` items.

    Random numbers are those of SplitMix64, from a seed for each b. The upper half of one chooses among n items by
    multiplication: of 4,096 items some are drawn more often than others by a millionth.
    """
    num_columns, num_items = items.shape
    times = np.zeros(BLOCK, np.int64)
    for b in range(len(drawn)):
        state = seeds[b]
        for j in range(drawn.shape[1]):
            start = j * BLOCK
            num = min(BLOCK, num_items - start)
            times[:] = 0
            for _ in range(drawn[b, j]):
                state += np.uint64(0x9E3779B97F4A7C15)
                mixed = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
                mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
                mixed ^= mixed >> np.uint64(31)
                times[((mixed >> np.uint64(32)) * np.uint64(num)) >> np.uint64(32)] += 1
            for k in range(num_columns):
                total = np.int64(0)
                for i in range(num):
                    total += times[i] * items[k, start + i]
                sums[b, k] += total
