"""Turn the vector by which a target has moved into one number, and say in which direction that number grows."""

from functools import cached_property
from typing import NamedTuple

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from lignite.tolerance import size_among_targets

ROUNDINGS = 64
"""A change of a vector by less than so many roundings of its size is none: who sees itself alone stays where it is."""


def unit(vectors: Float[Tensor, "*any d"]) -> Float[Tensor, "*any d"]:
    """Vectors of length one; a vector that has not moved stays zero, so it explains nothing."""
    return vectors / _length(vectors).clamp_min(1e-30)


class Displacement(NamedTuple):
    """How far every target moves, and the size by which a gap in that is measured."""

    length: Float[Tensor, "target *head"]
    size: Float[Tensor, "target *head"]


class Readout:
    """How far targets have moved from where their path starts.

    ``"displacement"`` is the length of the change, ``"projection"`` its component along the total change. Both grow
    from 0 to the same displacement; the second is smooth at the start of the path and may pass below zero. A target
    that ends where it started explains nothing in either: along its path there is rounding to be found, no direction.

    Parameters
    ----------
    start, end
        Every target's vector at a = 0 and a = 1, ``[target, ..., d]``.
    """

    def __init__(self, kind: str, start: Float[Tensor, "target *head d"], end: Float[Tensor, "target *head d"]):
        self.kind = kind
        self._of: tuple[Tensor, Displacement] | None = None
        self.start = start
        change = end - start
        self.moves = _length(change) > ROUNDINGS * torch.finfo(change.dtype).eps * torch.maximum(
            _length(start), _length(end)
        )
        self.total = change * self.moves

    @cached_property
    def direction(self) -> Float[Tensor, "target *head d"]:
        return unit(self.total)

    @cached_property
    def displacement(self) -> Float[Tensor, "target *head"]:
        return torch.linalg.vector_norm(self.total, dim=-1)

    def displacement_of(self, targets: Int[Tensor, " target"]) -> "Displacement":
        """How far some targets move, and what that is measured by; kept for maps that share a readout."""
        if self._of is None or self._of[0] is not targets:
            moved = of_targets(self.displacement, targets)
            self._of = targets, Displacement(moved, size_among_targets(moved, moved.median()))
        return self._of[1]

    def level(self, values: Tensor, targets: Tensor) -> Tensor:
        """The readout of ``values [..., target, (head,) d]``."""
        moved = values - of_targets(self.start, targets)
        if self.kind == "projection":
            return (moved * of_targets(self.direction, targets)).sum(-1)
        return torch.linalg.vector_norm(moved * of_targets(self.moves, targets), dim=-1)

    def gradient(self, values: Tensor, targets: Tensor) -> Tensor:
        """Derivative of `level` with respect to `values`, of the same shape."""
        if self.kind == "projection":
            return of_targets(self.direction, targets).expand_as(values)
        return unit((values - of_targets(self.start, targets)) * of_targets(self.moves, targets))


def _length(vectors: Float[Tensor, "*any d"]) -> Float[Tensor, "*any 1"]:
    return torch.linalg.vector_norm(vectors, dim=-1, keepdim=True)


def of_targets(tensor: Shaped[Tensor, "token *any"], targets: Int[Tensor, " target"]) -> Shaped[Tensor, "target *any"]:
    """Rows of some tokens; targets rise and are distinct, so that as many as there are tokens are all of them."""
    return tensor if len(targets) == len(tensor) else tensor[targets]
