"""What is kept of the scores of a map: all of them, or as much as grows with the number of targets alone.

A map of T tokens has T² scores, and of H heads H T². Nothing here touches a certificate: that is of all scores.
"""

from dataclasses import dataclass
from typing import Protocol, final, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lignite.attribution.axes import PerTarget, Targets
from lignite.attribution.self_term import own_share

Kept = dict[str, Tensor]
"""What is kept of a map, target first, by what is added to the map's name."""

NOBODY = -1
"""Stands for a source where a target has fewer than are kept."""


@runtime_checkable
class Keep(Protocol):
    """A keep makes of a map's scores what is kept of them.

    `sources` are the positions of the last axis, and `targets` those of the first.
    """

    def kept(
        self,
        scores: Float[Tensor, "target *head source"],
        targets: Targets,
        sources: Int[Tensor, " source"],
    ) -> Kept: ...


@final
class Full:
    """Everything is kept."""

    def kept(
        self, scores: Float[Tensor, "target *head source"], targets: Targets, sources: Int[Tensor, " source"]
    ) -> Kept:
        return {"": scores}


@final
class Own:
    """The share that a target gives itself is kept, which completes the diagonal of another map."""

    def kept(
        self, scores: Float[Tensor, "target *head source"], targets: Targets, sources: Int[Tensor, " source"]
    ) -> Kept:
        return {"_own": own_share(scores, targets)}


@final
class Sum:
    """The sum over heads is kept; a map without heads is kept as it is.

    Examples
    --------
    >>> heads = torch.tensor([[[1.0, 2.0], [0.5, -2.0]]])
    >>> Sum().kept(heads, torch.tensor([0]), torch.arange(2))["_sum"]
    tensor([[1.5000, 0.0000]])
    """

    def kept(
        self, scores: Float[Tensor, "target *head source"], targets: Targets, sources: Int[Tensor, " source"]
    ) -> Kept:
        return {"_sum": scores.sum(1)} if scores.ndim > 2 else {"": scores}


@final
@dataclass(frozen=True)
class Strongest:
    """The `most` sources of largest magnitude are kept of every target and head, and the sums of all others.

    Scores kept and `dropped` add up to all scores; `dropped_mass` is the sum of magnitudes, which bounds what any sum
    over sources misses (docs/method.md).

    Examples
    --------
    >>> found = Strongest(1).kept(torch.tensor([[0.5, -2.0, 1.0]]), torch.tensor([2]), torch.arange(3))
    >>> {name: part.tolist() for name, part in found.items()}
    {'_top': [[-2.0]], '_top_source': [[1]], '_dropped': [1.5], '_dropped_mass': [1.5]}
    """

    most: int

    def kept(
        self, scores: Float[Tensor, "target *head source"], targets: Targets, sources: Int[Tensor, " source"]
    ) -> Kept:
        places = scores.abs().topk(min(self.most, len(sources)), dim=-1).indices
        found = scores.gather(-1, places)
        rest = scores.scatter(-1, places, 0)
        named = torch.where(found == 0, NOBODY, sources[places]).int()
        return {
            "_top": found,
            "_top_source": named,
            "_dropped": rest.sum(-1),
            "_dropped_mass": rest.abs_().sum(-1),
        }


@final
class Statistics:
    """Six numbers are kept of every target's and head's scores, in the order of the result layout's `STATISTICS`.

    Examples
    --------
    >>> Statistics().kept(torch.tensor([[3.0, -1.0, 0.0]]), torch.tensor([1]), torch.arange(3))["_stats"].tolist()
    [[3.0, -1.0, -1.0, 3.0, 1.600000023841858, 0.75]]
    """

    def kept(
        self, scores: Float[Tensor, "target *head source"], targets: Targets, sources: Int[Tensor, " source"]
    ) -> Kept:
        size = scores.abs()
        mass = size.sum(-1)
        rows = torch.arange(len(targets), device=targets.device)
        own = torch.searchsorted(sources, targets)
        away = (sources - targets[:, None]).abs().to(scores)
        away = away[:, None] if scores.ndim > 2 else away
        found = (
            scores.clamp_min(0).sum(-1),
            scores.clamp_max(0).sum(-1),
            scores[rows, ..., own],
            scores.gather(-1, size.argmax(-1, keepdim=True))[..., 0],
            _over(mass**2, size.square().sum(-1)),
            _over((size * away).sum(-1), mass),
        )
        return {"_stats": torch.stack(found, -1)}


def _over(part: PerTarget, whole: PerTarget) -> PerTarget:
    """Divide; nothing by nothing is nothing."""
    return torch.where(whole > 0, part / whole, torch.zeros_like(part))


def keep_named(name: str) -> Keep:
    """Make the keep of a name: ``full``, ``sum``, ``stats`` or ``top:K``; ``own`` is for the engine."""
    plain: dict[str, Keep] = {"full": Full(), "sum": Sum(), "stats": Statistics(), "own": Own()}
    return plain[name] if name in plain else Strongest(int(name.removeprefix("top:")))
