"""Turn the vector by which a target has moved into one number, and say in which direction that number grows."""

from typing import Protocol, final, runtime_checkable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from lignite.attribution.axes import PerTarget, Targets
from lignite.attribution.panels import of_targets

ROUNDINGS = 64
"""A change of a vector by less than so many roundings of its size is none: who sees itself alone stays where it is."""


@runtime_checkable
class Readout(Protocol):
    """A readout says how far targets, or their heads, have moved from where their path starts: one number each."""

    @property
    def displacement(self) -> PerTarget:
        """Give the readout at the end of the path."""

    def level(self, values: Float[Tensor, "*any d"], targets: Targets) -> Float[Tensor, "*any"]:
        """Read ``values [..., target, (head,) d]`` somewhere on the path."""

    def gradient(self, values: Float[Tensor, "*any d"], targets: Targets) -> Float[Tensor, "*any d"]:
        """Differentiate `level` with respect to `values`."""


@final
class Distance:
    """The distance is the length of the change (``"displacement"``). At the start of the path it has no gradient."""

    def __init__(self, start: Float[Tensor, "token *head d"], end: Float[Tensor, "token *head d"]):
        self.moves, total = _change(start, end)
        self.start, self.displacement = start, torch.linalg.vector_norm(total, dim=-1)

    def level(self, values: Float[Tensor, "*any d"], targets: Targets) -> Float[Tensor, "*any"]:
        moved = values - of_targets(self.start, targets)
        return torch.linalg.vector_norm(moved * of_targets(self.moves, targets), dim=-1)

    def gradient(self, values: Float[Tensor, "*any d"], targets: Targets) -> Float[Tensor, "*any d"]:
        return unit((values - of_targets(self.start, targets)) * of_targets(self.moves, targets))


@final
class Projection:
    """The projection is the component of the change along the total one; its displacement is the same.

    It is smooth at the start of the path, and may pass below zero.
    """

    def __init__(self, start: Float[Tensor, "token *head d"], end: Float[Tensor, "token *head d"]):
        _, total = _change(start, end)
        self.start, self.direction = start, unit(total)
        self.displacement = torch.linalg.vector_norm(total, dim=-1)

    def level(self, values: Float[Tensor, "*any d"], targets: Targets) -> Float[Tensor, "*any"]:
        moved = values - of_targets(self.start, targets)
        return (moved * of_targets(self.direction, targets)).sum(-1)

    def gradient(self, values: Float[Tensor, "*any d"], targets: Targets) -> Float[Tensor, "*any d"]:
        return of_targets(self.direction, targets).expand_as(values)


READOUTS: dict[str, type[Distance] | type[Projection]] = {"displacement": Distance, "projection": Projection}


@final
class Weighed:
    """The weighed change is that along a vector of each token's own, such as its multiplier: signed, in F's unit."""

    def __init__(
        self, start: Float[Tensor, "token d"], end: Float[Tensor, "token d"], vectors: Float[Tensor, "token d"]
    ):
        self.start, self.vectors = start, vectors
        self.displacement: Float[Tensor, " token"] = ((end - start) * vectors).sum(-1)

    def level(self, values: Float[Tensor, "*any d"], targets: Targets) -> Float[Tensor, "*any"]:
        return ((values - of_targets(self.start, targets)) * of_targets(self.vectors, targets)).sum(-1)

    def gradient(self, values: Float[Tensor, "*any d"], targets: Targets) -> Float[Tensor, "*any d"]:
        return of_targets(self.vectors, targets).expand_as(values)


def unit(vectors: Float[Tensor, "*any d"]) -> Float[Tensor, "*any d"]:
    """Scale vectors to length one; a vector that has not moved stays zero, so it explains nothing."""
    return vectors / length(vectors).clamp_min(1e-30)


def length(vectors: Float[Tensor, "*any d"]) -> Float[Tensor, "*any 1"]:
    return torch.linalg.vector_norm(vectors, dim=-1, keepdim=True)


def _change(
    start: Float[Tensor, "token *head d"], end: Float[Tensor, "token *head d"]
) -> tuple[Bool[Tensor, "token *head 1"], Float[Tensor, "token *head d"]]:
    """Say which vectors move, and by how much.

    A target that ends where it started explains nothing: along its path there is rounding to be found, no direction.
    """
    change = end - start
    moves = length(change) > ROUNDINGS * torch.finfo(change.dtype).eps * torch.maximum(length(start), length(end))
    return moves, change * moves
