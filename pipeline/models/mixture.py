"""A weighted sum of what enters a model's layers and what each of them gives, made while they run.

Knows neither the layers nor the head that reads the sum. Shapes: T frames, D hidden size.
"""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from pipeline.models.backbone import Trace
from pipeline.models.segments import Packed


@dataclass(kw_only=True)
class Mixing(Trace):
    """Adds states up as they come: of 10 minutes, 25 of a large model's would be 3 GB, and their sum is 123 MB."""

    weights: Tensor  # (layers + 1,)
    num_states: int = 0
    total: Tensor | None = None  # (T, D), of all states but the latest
    latest: Packed | None = None

    def state(self, x: Packed) -> None:
        super().state(x)
        if self.latest is not None:
            self._add(self.latest.data)
        self.latest = x

    def mixture(self, last_norm: Callable[[Tensor], Tensor]) -> Packed:
        assert self.latest is not None
        return self.latest.with_data(self._add(last_norm(self.latest.data)))

    def _add(self, state: Tensor) -> Tensor:
        weighted = self.weights[self.num_states] * state  # (T, D)
        self.total = weighted if self.total is None else self.total + weighted
        self.num_states += 1
        return self.total
