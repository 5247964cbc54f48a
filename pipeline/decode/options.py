"""What a beam search can be told: how wide it looks, how a language model counts, which words are hot."""

import math
from dataclasses import dataclass

from pipeline.errors import UsageError


@dataclass(frozen=True)
class SearchOptions:
    beam_width: int = 100  # hypotheses kept after every frame
    beam_prune_logp: float = -10.0  # drop hypotheses this far below the best (natural log)
    token_min_logp: float = -5.0  # skip labels less likely than this, unless they are a frame's best
    prune_history: bool = True  # of hypotheses that the language model can no longer tell apart keep the best
    num_best: int = 1  # hypotheses returned at most
    max_effort: float = 20_000.0  # hypotheses tried per frame, on average so far; beyond it the beam narrows
    compat: bool = False  # pyctcdecode 0.5.0's results bit for bit, its faults included

    def __post_init__(self) -> None:
        for name in ("beam_width", "num_best", "max_effort"):
            if not 0 < getattr(self, name) < math.inf:
                raise UsageError(f"{name} must be above zero and finite, not {getattr(self, name)}")
        for name in ("beam_prune_logp", "token_min_logp"):
            if not getattr(self, name) <= 0:
                raise UsageError(f"{name} is a natural logarithm, at most 0, not {getattr(self, name)}")


@dataclass(frozen=True)
class LmWeights:
    """How a language model's score of a word enters: alpha * (log p + unknown words' offset) + beta."""

    alpha: float = 0.5
    beta: float = 1.5
    unk_score_offset: float = -10.0  # log10, for words that are not among the unigrams
    score_boundary: bool = True  # begin with <s> and end with </s>
    share: float = 1.0  # of this model among several


@dataclass(frozen=True)
class Hotwords:
    words: tuple[str, ...] = ()
    weight: float = 10.0
