"""The matched-pairs test of two systems' errors, by sentence segments (MAPSSWE: Gillick and Cox 1989).

A segment is a stretch of a recording with an error of either system in it, between stretches of at least two words
that both have right, or the recording's ends: errors that are further apart are taken for independent. Of the
difference of the two systems' errors in each, is the mean zero? Knows nothing of rates.
"""

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.compiled import entry, one_at_a_time
from pipeline.evaluation.rows import ALIGNMENT_SYMBOLS
from pipeline.intervals import Numbers

NUM_BOUNDARY = 2  # words that both have right between two segments, as NIST's sc_stats has it
FEWEST_SEGMENTS = 30  # the test takes their mean for normally distributed: from here on its 5 % are 6 % at most
RIGHT, INSERTED = ALIGNMENT_SYMBOLS.index("="), ALIGNMENT_SYMBOLS.index("I")

Codes = npt.NDArray[np.uint8]
Steps = tuple[Numbers, Codes]  # of N recordings, as `alignment.steps` gives them


class MatchedPairs(NamedTuple):
    num_segments: int
    mean: float  # of the difference of errors in a segment
    deviation: float
    z: float
    p: float | None  # two-tailed; None: too little to tell


def mapsswe(first: Steps, second: Steps) -> MatchedPairs:
    """Of two alignments of each of N recordings with the same words."""
    differences = segments(first, second)
    num = len(differences)
    if not differences.any():
        return MatchedPairs(num, 0.0, 0.0, 0.0, 1.0 if len(first[1]) else None)
    mean = float(differences.mean())
    deviation = float(differences.std(ddof=1)) if num > 1 else 0.0
    z = mean / (deviation / math.sqrt(num)) if deviation else math.copysign(math.inf, mean)
    p = math.erfc(abs(z) / math.sqrt(2)) if num >= FEWEST_SEGMENTS else None
    return MatchedPairs(num, mean, deviation, z, p)


def segments(first: Steps, second: Steps) -> Numbers:
    """Of each segment the second's errors less the first's."""
    most = sum(int(np.count_nonzero(codes != RIGHT)) for _, codes in (first, second))
    found = np.empty(most, np.int64)
    with one_at_a_time():
        num = _find(*first, *second, found)
    if num < 0:
        raise ValueError("two alignments of a recording are of different words")
    return found[:num]


@entry
def _find(offsets: Numbers, codes: Codes, other_offsets: Numbers, others: Codes, found: Numbers) -> int:
    num_found = 0
    for recording in range(len(offsets) - 1):
        i, end = offsets[recording], offsets[recording + 1]
        j, other_end = other_offsets[recording], other_offsets[recording + 1]
        is_open, difference, num_right = False, 0, 0
        while True:
            while i < end and codes[i] == INSERTED:
                is_open, num_right = True, 0
                difference -= 1
                i += 1
            while j < other_end and others[j] == INSERTED:
                is_open, num_right = True, 0
                difference += 1
                j += 1
            if i == end or j == other_end:
                break
            is_wrong, is_other_wrong = codes[i] != RIGHT, others[j] != RIGHT
            i, j = i + 1, j + 1
            if is_wrong or is_other_wrong:
                is_open, num_right = True, 0
                difference += is_other_wrong - is_wrong
            elif is_open:
                num_right += 1
                if num_right == NUM_BOUNDARY:
                    found[num_found] = difference
                    num_found += 1
                    is_open, difference = False, 0
        if i < end or j < other_end:
            return -1
        if is_open:
            found[num_found] = difference
            num_found += 1
    return num_found
