"""What is learnt and what is tried on: a corpus' texts as labels, and some of its recordings held out.

Knows nothing of models.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.errors import UsageError
from pipeline.progress import hours
from pipeline.training import letters
from pipeline.training.material import Material
from pipeline.training.recipe import FRAME
from pipeline.training.start import Start

Numbers = npt.NDArray[np.int64]

HELD_OUT_SHARE, MOST_HELD_OUT = 0.02, 100


@dataclass(frozen=True)
class Lesson:
    material: Material
    labels: tuple[str, ...]
    texts: list[Numbers]  # labels of each recording
    learnt: Numbers  # recordings, the shortest first
    held_out: Numbers

    @classmethod
    def of(cls, material: Material, seed: int, known: Start | None = None) -> "Lesson":
        """Without the recordings that are too short for their texts; some are held out, whatever their source.

        The labels are those of a model that is known already, or else those that the texts need.
        """
        spelled = [letters.spelled(text) for text in material.texts]
        labels = known.labels if known else letters.labels_of(spelled)
        texts = letters.numbered(spelled, labels)
        least = np.array([letters.least_frames(text) for text in texts]) * (known.frame if known else FRAME)
        fit = np.flatnonzero((least > 0) & (least < material.lengths))
        if len(fit) < 2:
            raise UsageError(f"{material.source}: only {len(fit)} of its recordings can be learnt from")
        shuffled = np.random.default_rng(seed).permutation(fit)
        num_held_out = min(MOST_HELD_OUT, max(1, round(HELD_OUT_SHARE * len(fit))))
        learnt = shuffled[num_held_out:]
        return cls(material, labels, texts, learnt[np.argsort(material.lengths[learnt])], shuffled[:num_held_out])

    def __str__(self) -> str:
        left_out = self.material.left_out
        parts = [
            f"{hours(self.material.seconds)} in {len(self.material):,} recordings, {len(self.held_out):,} held out"
        ]
        if left_out:
            reasons = "; ".join(f"{num:,} {reason}" for reason, num in left_out.items())
            parts.append(f"{sum(left_out.values()):,} left out ({reasons})")
        if too_short := len(self.material) - len(self.learnt) - len(self.held_out):
            parts.append(f"{too_short:,} too short for their texts")
        return "; ".join(parts)
