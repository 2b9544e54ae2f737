"""The one place where tokens meet: softmax attention, and its derivative along a path."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from lignite.attribution.axes import HeadVectors, NodeStates, Pairs, TargetPointHeads, Targets

WEIGHTS_AT_ONCE = 2**27
"""Bytes of attention weights made at once where nothing is differentiated: those of 1,448 tokens and 16 heads."""


@dataclass(frozen=True, eq=False)
class Scoring:
    """A scoring says how a block turns queries and keys into attention: everything but the vectors themselves.

    `bias` is added after the soft cap: masks (very negative where a target may not look) and position biases.
    `sinks` are logits that take part in each head's softmax and carry no value.
    """

    scale: float
    bias: Float[Tensor, "*#point #head target source"] | None = None
    softcap: float | None = None
    sinks: Float[Tensor, " head"] | None = None

    def cap(self, logits: Float[Tensor, "*any"]) -> Float[Tensor, "*any"]:
        return logits if self.softcap is None else self.softcap * torch.tanh(logits / self.softcap)

    def cap_slope(self, logits: Float[Tensor, "*any"]) -> Float[Tensor, "*any"] | float:
        return 1.0 if self.softcap is None else 1 - torch.tanh(logits / self.softcap) ** 2

    def weights(
        self, logits: Float[Tensor, "*any head target source"], targets: Targets | None = None
    ) -> Float[Tensor, "*any head target source"]:
        """Turn scaled logits into attention; rows add up to one, or to less where a head has a sink."""
        logits = self.cap(logits)
        if self.bias is not None:
            logits = logits + (
                self.bias if targets is None or len(targets) == self.bias.shape[1] else self.bias[:, targets]
            )
        if self.sinks is None:
            return torch.softmax(logits, dim=-1)
        sink = self.sinks[:, None, None].expand(*logits.shape[:-1], 1)
        return torch.softmax(torch.cat([logits, sink], dim=-1), dim=-1)[..., :-1]


def heads_of(
    query: Float[Tensor, "point head target d_key"],
    key: Float[Tensor, "point kv source d_key"],
    value: Float[Tensor, "point kv source d_value"],
    scoring: Scoring,
) -> TargetPointHeads:
    """Compute every head's output before the output projection; of long inputs, some targets after others."""
    key, value = repeat_groups(key, query.shape[1]), repeat_groups(value, query.shape[1])
    row = query.shape[:2].numel() * key.shape[2] * query.element_size()
    at_once = max(1, WEIGHTS_AT_ONCE // row)
    shared = scoring.bias is None or scoring.bias.ndim == 3
    if torch.is_grad_enabled() or at_once >= query.shape[2] or not shared:
        weights = scoring.weights(query @ key.mT * scoring.scale)
        return (weights @ value).transpose(1, 2)
    everyone = torch.arange(query.shape[2], device=query.device)
    pieces = [
        scoring.weights(query[:, :, some] @ key.mT * scoring.scale, some) @ value for some in everyone.split(at_once)
    ]
    return torch.cat(pieces, 2).transpose(1, 2)


def repeat_groups(tensor: Float[Tensor, "point kv *any"], n_heads: int) -> Float[Tensor, "point head *any"]:
    """Give every query head its own key or value head."""
    return tensor if tensor.shape[1] == n_heads else tensor.repeat_interleave(n_heads // tensor.shape[1], dim=1)


class Point(ABC):
    """A point holds what the derivative of attention needs at some nodes of a path, for some targets.

    Subclasses know where the numbers come from.

    Parameters
    ----------
    logits
        Scaled products of queries and keys, before soft cap and bias.
    key_slope, query_slope
        Derivatives of `logits` along the path: through the source's key, and through the target's own query, which is
        None where the target stands still.
    states, states_slope
        The targets' own states and their derivative along the path, None where the target stands still.
    """

    def __init__(
        self,
        logits: Pairs,
        key_slope: Float[Tensor, "*#node head target source"],
        states: NodeStates,
        query_slope: Pairs | None = None,
        states_slope: Float[Tensor, "target d"] | None = None,
    ):
        self.logits, self.key_slope, self.query_slope = logits, key_slope, query_slope
        self.states, self.states_slope = states, states_slope
        self._attended: tuple[Tensor, Tensor] | None = None

    def attend(self, scoring: Scoring, targets: Targets) -> tuple[Pairs, HeadVectors]:
        """Compute attention weights and heads, once."""
        if self._attended is None:
            weights = scoring.weights(self.logits, targets)
            self._attended = weights, self.mix(weights)
        return self._attended

    @abstractmethod
    def mix(self, weights: Pairs) -> HeadVectors:
        """Average the values with these weights: that makes heads."""

    @abstractmethod
    def read(self, directions: HeadVectors) -> tuple[Pairs, Pairs]:
        """Read the sources' values along each target's direction: components, and their derivatives along the path."""


@dataclass(frozen=True)
class Circuits:
    """Circuits split what each source gives a target's directions per unit of path, by the way it takes; exactly.

    `query` stands on the diagonal; None where the target's own query does not move.
    """

    value: Pairs
    key: Pairs
    query: Float[Tensor, "node head target"] | None


def differentiate(point: Point, weights: Pairs, directions: HeadVectors, scoring: Scoring) -> Circuits:
    """Differentiate ⟨heads, directions⟩ along the path, divided among the sources (docs/method.md, "Shared path")."""
    along, along_slope = point.read(directions)
    through = _through_logits(point, weights, along, scoring)
    query = None if point.query_slope is None else (through * point.query_slope).sum(-1)
    return Circuits(weights * along_slope, through * point.key_slope, query)


def differentiate_total(
    point: Point, weights: Pairs, directions: HeadVectors, scoring: Scoring, targets: Targets
) -> Pairs:
    """Add up all circuits of `differentiate` at once, in fewer passes over memory."""
    along, along_slope = point.read(directions)
    total = _through_logits(point, weights, along, scoring)
    query = None if point.query_slope is None else (total * point.query_slope).sum(-1)
    total = _with_product(total.mul_(point.key_slope), weights, along_slope)
    if query is not None:
        total[:, :, torch.arange(len(targets), device=targets.device), targets] += query
    return total


def _through_logits(point: Point, weights: Pairs, along: Pairs, scoring: Scoring) -> Pairs:
    """Differentiate ⟨heads, directions⟩ with respect to the logits before their cap."""
    through = weights * along
    through = _with_product(through, weights, through.sum(-1, keepdim=True), -1)
    return through if scoring.softcap is None else through * scoring.cap_slope(point.logits)


def _with_product(total: Pairs, one: Pairs, other: Float[Tensor, "node head target #source"], sign: int = 1) -> Pairs:
    """Add a product in place; torch cannot where it puts layers side by side itself."""
    add = torch.addcmul if torch._C._functorch.is_batchedtensor(total) else Tensor.addcmul_
    found: Tensor = add(total, one, other, value=sign)
    return found
