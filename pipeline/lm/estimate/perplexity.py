"""How well a model foretells a held-out text, with and without the words it does not know, as KenLM's `query` says it.

Knows nothing of how the model was made.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.compiled import entry
from pipeline.errors import UsageError
from pipeline.lm.estimate import text
from pipeline.lm.estimate.words import SPECIAL
from pipeline.lm.lookup import Tables, advance, begin, states
from pipeline.lm.model import LanguageModel


@dataclass(frozen=True)
class Perplexity:
    num_tokens: int  # words and sentence ends
    num_unknown: int
    with_unknown: float
    without_unknown: float | None  # None where all words are unknown


def perplexity(model: LanguageModel, locations: Sequence[str]) -> Perplexity:
    end = model.end_word
    sums = np.zeros(2)  # log10 of all probabilities, and of unknown words' alone
    counts = np.zeros(2, np.int64)
    state = states(2)
    begin(model.tables, *state, 0, True)
    for block in text.blocks(locations):
        *ended, rest = block.data.split(b"\n")
        words: list[str] = []
        ends: list[int] = []
        for number, line in enumerate([*ended, rest]):
            here = [word.decode() for word in line.split()]
            if not set(SPECIAL).isdisjoint(here):
                raise UsageError(
                    f"{block.location}: line {block.first_line + number} holds <s>, </s> or <unk>; remove it"
                )
            words += [*here, SPECIAL[2]]
            ends.append(len(words) - 1)
        ids = model.ids(words)
        ids[ends] = end
        _score(model.tables, ids[:-1], end, *state, sums, counts)  # what comes after the last line end has none yet
    if not counts[0]:
        raise UsageError(f"{', '.join(locations)}: no text to take the perplexity of")
    known = counts[0] - counts[1]
    return Perplexity(
        int(counts[0]),
        int(counts[1]),
        float(10.0 ** (-sums[0] / counts[0])),
        float(10.0 ** (-(sums[0] - sums[1]) / known)) if known else None,
    )


@entry
def _score(
    tables: Tables,
    ids: npt.NDArray[np.int64],
    end: int,
    words: npt.NDArray[np.uint32],
    backoffs: npt.NDArray[np.float32],
    lengths: npt.NDArray[np.int64],
    sums: npt.NDArray[np.float64],
    counts: npt.NDArray[np.int64],
) -> None:
    """Row 0 holds the state before the first word, and after the last."""
    for word in ids:
        log10 = advance(tables, words, backoffs, lengths, 0, word, 1)
        sums[0] += log10
        counts[0] += 1
        if word == 0:
            sums[1] += log10
            counts[1] += 1
        if word == end:
            begin(tables, words, backoffs, lengths, 0, True)
        else:
            words[0], backoffs[0], lengths[0] = words[1], backoffs[1], lengths[1]
