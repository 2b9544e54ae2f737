"""What a long flow will take, found by computing a few targets of its first layer."""

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass

from torch import Tensor

from lignite.attribution.layer_scores import LayerScores

LONG = 2**27
"""Scores, heads each for themselves, from which on a run is long: 32 layers of 16 heads at 512 tokens."""

PROBED = (2, 10)
"""Targets that are computed first: what both take is that of the layer, and the difference that of the others."""


@dataclass(frozen=True)
class Estimate:
    """A run is expected to take so many `seconds`, bytes of `memory` beside the model, and `size` for its result.

    That is its size on disk, too, where it is not compressed.
    """

    seconds: int
    memory: int
    size: int

    def __str__(self) -> str:
        time_taken = f"{self.seconds} s" if self.seconds < 120 else f"{self.seconds / 60:.0f} min"
        memory, size = (f"{each / 2**20:,.0f} MiB" for each in (self.memory, self.size))
        return f"This will take about {time_taken}, {memory} of memory beside the model, and {size} for its result."

    def to_json(self) -> str:
        """Every number by its name, as text."""
        return json.dumps(asdict(self))


def is_long(n_layers: int, n_targets: int, n_sources: int, n_heads: int) -> bool:
    """Whether a flow of this size is worth an estimate, which takes a few targets' time."""
    return n_targets > 4 * PROBED[-1] and n_layers * n_targets * n_sources * (1 + n_heads) >= LONG


def estimate(compute: Callable[[Tensor], LayerScores], targets: Tensor, n_layers: int, budget: float) -> Estimate:
    """Estimate a run from what some of its targets take in one layer."""
    seconds, n_targets = [], len(targets)
    for n_probed in PROBED:
        some = targets[:: n_targets // n_probed][:n_probed]
        start = time.perf_counter()
        scores = compute(some)
        seconds.append(time.perf_counter() - start)
    each = max(0.0, seconds[1] - seconds[0]) / (PROBED[1] - PROBED[0])
    size = sum(part.nbytes for part in scores.variables.values()) / PROBED[1] * n_targets * n_layers
    layer = seconds[1] + each * (n_targets - PROBED[1])
    return Estimate(round(n_layers * layer), round(max(budget, scores.memory) + size), round(size))
