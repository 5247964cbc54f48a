"""What the searches of letters and of phones do with candidates, compiled: add probabilities, put the best first."""

import math

from pipeline.compiled import inner
from pipeline.decode.work import Work


@inner
def log_add(a: float, b: float) -> float:
    if a >= b:
        return a + math.log(1.0 + math.exp(b - a))
    return b + math.log(1.0 + math.exp(a - b))


@inner
def best_first(work: Work, num: int, floor: float, width: int) -> tuple[int, int]:
    """Candidates not below the floor, the best first, ties as they came: which row of work.order, and how many."""
    order, candidates = work.order, work.candidates
    kept = 0
    for c in range(num):
        if candidates[c].score >= floor:
            order[0, kept] = c
            kept += 1
    # Runs of eight by insertion, then merged: what comes is nearly sorted, being last frame's order label by label.
    for first in range(0, kept, 8):
        for i in range(first + 1, min(first + 8, kept)):
            c, j = order[0, i], i - 1
            while j >= first and candidates[order[0, j]].score < candidates[c].score:
                order[0, j + 1] = order[0, j]
                j -= 1
            order[0, j + 1] = c
    side, run_length = 0, 8
    while run_length < kept:
        for first in range(0, kept, 2 * run_length):
            middle, end = min(first + run_length, kept), min(first + 2 * run_length, kept)
            i, j = first, middle
            for place in range(first, end):
                if j >= end or (i < middle and candidates[order[side, i]].score >= candidates[order[side, j]].score):
                    order[1 - side, place] = order[side, i]
                    i += 1
                else:
                    order[1 - side, place] = order[side, j]
                    j += 1
        side, run_length = 1 - side, 2 * run_length
    return side, min(kept, width)
