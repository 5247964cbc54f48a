"""What a beam search can be told: how wide it looks, how a language model counts, which words are hot."""

import math
from dataclasses import dataclass

from pipeline.errors import UsageError

# What is fixed, in pyctcdecode and here.
LN10 = 1.0 / math.log10(math.e)  # language models count in log10, emissions in natural logarithms
USUAL_LENGTH = 6  # characters; a beginning of an unknown word is penalised more beyond it
FLOOR = math.log(1e-15)  # a label that is less likely than this is as if it were this
MARKS = frozenset({"<unk>", "<s>", "</s>"})  # of a language model's words those that are none
WEIGHTS = ("alpha", "beta", "unk_score_offset", "score_boundary")  # of a language model alone, as directories have them

# Of the beam and of a frame's labels, beyond `SearchOptions.max_effort`; how often that a single frame may try before
# it takes of words that are said alike the first alone.
NARROW_WIDTH, NARROW_LABELS, BURST = 8, 4, 10


@dataclass(frozen=True)
class SearchOptions:
    """How wide to look. The defaults have the fewest word errors of `nightshift bench decode --search` at 2,000 audio
    seconds per core second, on its simulated emissions of middling difficulty.
    """

    beam_width: int = 100  # hypotheses kept after every frame
    beam_prune_logp: float = -15.0  # drop hypotheses this far below the best (natural log)
    token_min_logp: float = -12.0  # skip labels less likely than this, unless they are a frame's best
    prune_history: bool = True  # of hypotheses that the language model can no longer tell apart keep the best
    num_best: int = 1  # hypotheses returned at most
    max_effort: float = 20_000.0  # hypotheses tried per frame, on average so far; beyond it the beam narrows
    compat: bool = False  # pyctcdecode 0.5.0's results bit for bit, faults included; of a run: a search is made for one

    def __post_init__(self) -> None:
        for name in ("beam_width", "num_best", "max_effort"):
            if not 0 < getattr(self, name) < math.inf:
                raise UsageError(f"{name} must be above zero and finite, not {getattr(self, name)}")
        for name in ("beam_prune_logp", "token_min_logp"):
            if not getattr(self, name) <= 0:
                raise UsageError(f"{name} is a natural logarithm, at most 0, not {getattr(self, name)}")


# Of the search for words in phones. `nightshift bench words` has, on its harder emissions, 4.4 % word errors at 4,500
# audio seconds per core second with it, 4.9 % at 11,800 with 100/-14/-12.5, and 4.1 % at 2,000 with 200/-22/-13.
FOR_PHONES = SearchOptions(beam_prune_logp=-18.0, token_min_logp=-13.0)

AS_PYCTCDECODE = SearchOptions(beam_width=100, beam_prune_logp=-10.0, token_min_logp=-5.0)  # its defaults


@dataclass(frozen=True)
class LmWeights:
    """How a language model's score of a word enters: alpha * (log p + unknown words' offset) + beta."""

    alpha: float = 0.5
    beta: float = 1.5
    unk_score_offset: float = -10.0  # log10, for words that are not among the unigrams
    score_boundary: bool = True  # begin with <s> and end with </s>
    share: float = 1.0  # of this model among several

    def __post_init__(self) -> None:
        for name in ("alpha", "beta", "unk_score_offset"):
            if not math.isfinite(getattr(self, name)):
                raise UsageError(f"{name} must be a finite number, not {getattr(self, name)}")
        if not 0 <= self.share < math.inf:
            raise UsageError(f"the share of a language model must be finite and not below zero, as {self.share} is")


# Of a language model beside a phone model: in the middle of what is flat between alpha 0.8 and 1.6 and beta 0 and 2 on
# simulated utterances. There the defaults above, which are for letters, had nearly twice the word errors.
PHONE_WEIGHTS = LmWeights(alpha=1.2, beta=1.0)


@dataclass(frozen=True)
class Hotwords:
    words: tuple[str, ...] = ()
    weight: float = 10.0

    def __post_init__(self) -> None:
        if not math.isfinite(self.weight):
            raise UsageError(f"the weight of hotwords must be a finite number, not {self.weight}")
