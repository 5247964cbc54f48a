"""What the compiled search for words works on, beside what it shares with the search of letters."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.decode.phones.tree import Ahead, PhoneTrie
from pipeline.decode.work import Hot, Settings, Weights

# A hypothesis. Its names are those of `pipeline.decode.work.BEAM`.
BEAM = np.dtype(
    [
        ("text", "i4"),  # row of texts: the finished words
        ("part", "i4"),  # node of the trie: the unfinished word, the root after a word's end
        ("last", "i4"),  # label of the last frame
        ("words", "i4"),
        ("chars", "i4"),
        ("label", "i4"),
        ("label_start", "i4"),
        ("label_end", "i4"),
        ("word_start", "i4"),  # of the word begun last, finished or not
        ("word_end", "i4"),
        ("logit", "f8"),
        ("rest", "f8"),  # the text's score and what is expected of the unfinished word
        ("path", "f8"),
        ("path_start", "f8"),
        ("path_end", "f8"),
    ],
    align=True,
)
CANDIDATE = np.dtype(
    [
        ("text", "i4"),
        ("part", "i4"),
        ("last", "i4"),
        ("parent", "i4"),  # the beam it continues
        ("how", "i4"),
        ("logit", "f8"),
        ("rest", "f8"),
        ("path", "f8"),
        ("score", "f8"),  # logit and rest
    ],
    align=True,
)


class Given(NamedTuple):
    """What does not change during a search. Its names are those of `pipeline.decode.work.Given`."""

    trie: PhoneTrie
    ahead: Ahead
    same: npt.NDArray[np.int32]  # (V,) each label, or the blank for all that are silent
    blank: int
    lms: npt.NDArray[np.int64]
    weights: Weights
    hot: Hot
    settings: Settings
