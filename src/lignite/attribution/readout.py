"""Turn the vector by which a target has moved into one number, and say in which direction that number grows."""

import torch
from jaxtyping import Float
from torch import Tensor

ROUNDINGS = 64
"""A change of a vector by less than so many roundings of its size is none: who sees itself alone stays where it is."""


def unit(vectors: Float[Tensor, "*any d"]) -> Float[Tensor, "*any d"]:
    """Vectors of length one; a vector that has not moved stays zero, so it explains nothing."""
    length = _length(vectors)
    return torch.where(length > torch.finfo(vectors.dtype).tiny, vectors / length.clamp_min(1e-30), 0.0)


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
        self.start = start
        self.total = _beyond_rounding(end - start, torch.maximum(_length(start), _length(end)))
        self.direction = unit(self.total)
        self.moves = _length(self.total) > 0

    @property
    def displacement(self) -> Float[Tensor, "target *head"]:
        return torch.linalg.vector_norm(self.total, dim=-1)

    def level(self, values: Tensor, targets: Tensor) -> Tensor:
        """The readout of ``values [..., target, (head,) d]``."""
        moved = values - self.start[targets]
        if self.kind == "projection":
            return (moved * self.direction[targets]).sum(-1)
        return torch.linalg.vector_norm(moved * self.moves[targets], dim=-1)

    def gradient(self, values: Tensor, targets: Tensor) -> Tensor:
        """Derivative of `level` with respect to `values`, of the same shape."""
        if self.kind == "projection":
            return self.direction[targets].expand_as(values)
        return unit((values - self.start[targets]) * self.moves[targets])


def _length(vectors: Float[Tensor, "*any d"]) -> Float[Tensor, "*any 1"]:
    return torch.linalg.vector_norm(vectors, dim=-1, keepdim=True)


def _beyond_rounding(change: Float[Tensor, "*any d"], size: Float[Tensor, "*any 1"]) -> Float[Tensor, "*any d"]:
    moved = _length(change) > ROUNDINGS * torch.finfo(change.dtype).eps * size
    return torch.where(moved, change, torch.zeros_like(change))
