"""The one place where tokens meet: softmax attention, and its derivative along a path."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Scoring:
    """How a block turns queries and keys into attention: everything but the vectors themselves.

    `bias` is added after the soft cap: masks (very negative where a target may not look) and position biases.
    `sinks` are logits that take part in each head's softmax and carry no value.
    """

    scale: float
    bias: Float[Tensor, "*#point #head target source"] | None = None
    softcap: float | None = None
    sinks: Float[Tensor, " head"] | None = None

    def cap(self, logits: Tensor) -> Tensor:
        return logits if self.softcap is None else self.softcap * torch.tanh(logits / self.softcap)

    def cap_slope(self, logits: Tensor) -> Tensor | float:
        return 1.0 if self.softcap is None else 1 - torch.tanh(logits / self.softcap) ** 2

    def weights(
        self, logits: Float[Tensor, "*any head target source"], targets: Int[Tensor, " target"] | None = None
    ) -> Float[Tensor, "*any head target source"]:
        """Attention of scaled logits; rows add up to one, or to less where a head has a sink."""
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
) -> Float[Tensor, "point target head d_value"]:
    """Every head's output before the output projection."""
    key, value = repeat_groups(key, query.shape[1]), repeat_groups(value, query.shape[1])
    weights = scoring.weights(query @ key.mT * scoring.scale)
    return (weights @ value).transpose(1, 2)


def repeat_groups(tensor: Tensor, n_heads: int) -> Tensor:
    """Give every query head its own key or value head: ``[point, kv, ...]`` to ``[point, head, ...]``."""
    return tensor if tensor.shape[1] == n_heads else tensor.repeat_interleave(n_heads // tensor.shape[1], dim=1)


class Point:
    """Nodes of a path, seen by some targets: what the derivative of attention along the path needs.

    Subclasses know where the numbers come from; all tensors are ``[node, head, target, source]`` unless said otherwise.
    """

    logits: Float[Tensor, "node head target source"]
    """Scaled products of queries and keys, before soft cap and bias."""

    key_slope: Float[Tensor, "node head target source"]
    """Derivative of `logits` along the path through the source's key."""

    query_slope: Float[Tensor, "node head target source"] | None
    """Derivative of `logits` through the target's own query; None where the target stands still."""

    states: Float[Tensor, "node target d"]
    """The targets' own states."""

    states_slope: Float[Tensor, "target d"] | None
    """Derivative of `states` along the path; None where the target stands still."""

    attended: tuple[Tensor, Tensor] | None = None

    def attend(self, scoring: Scoring, targets: Int[Tensor, " target"]) -> tuple[Tensor, Tensor]:
        """Attention weights ``[node, head, target, source]`` and heads ``[node, target, head, d_value]``."""
        if self.attended is None:
            weights = scoring.weights(self.logits, targets)
            self.attended = weights, self.mix(weights)
        return self.attended

    def mix(self, weights: Float[Tensor, "node head target source"]) -> Float[Tensor, "node target head d_value"]:
        """Heads: values averaged with these weights."""
        raise NotImplementedError

    def read(self, directions: Float[Tensor, "node target head d_value"]) -> tuple[Tensor, Tensor]:
        """Components of the sources' values along each target's direction, and their derivatives along the path."""
        raise NotImplementedError


@dataclass(frozen=True)
class Circuits:
    """What each source gives a target's directions per unit of path, by the way it takes. Exact and additive.

    `query` stands on the diagonal; None where the target's own query does not move.
    """

    value: Float[Tensor, "node head target source"]
    key: Float[Tensor, "node head target source"]
    query: Float[Tensor, "node head target"] | None


def differentiate(
    point: Point, weights: Tensor, directions: Float[Tensor, "node target head d_value"], scoring: Scoring
) -> Circuits:
    """Derivative of ⟨heads, directions⟩ along the path, divided among the sources (docs/method.md, "Shared path")."""
    along, along_slope = point.read(directions)
    through = _through_logits(point, weights, along, scoring)
    query = None if point.query_slope is None else (through * point.query_slope).sum(-1)
    return Circuits(weights * along_slope, through * point.key_slope, query)


def differentiate_total(
    point: Point, weights: Tensor, directions: Tensor, scoring: Scoring, targets: Int[Tensor, " target"]
) -> Float[Tensor, "node head target source"]:
    """All circuits of `differentiate` at once, in fewer passes over memory."""
    along, along_slope = point.read(directions)
    total = _through_logits(point, weights, along, scoring)
    query = None if point.query_slope is None else (total * point.query_slope).sum(-1)
    total.mul_(point.key_slope).addcmul_(weights, along_slope)
    if query is not None:
        total[:, :, torch.arange(len(targets), device=targets.device), targets] += query
    return total


def _through_logits(point: Point, weights: Tensor, along: Tensor, scoring: Scoring) -> Tensor:
    """Derivative of ⟨heads, directions⟩ with respect to the logits before their cap."""
    through = weights * along
    through.addcmul_(weights, through.sum(-1, keepdim=True), value=-1)
    return through if scoring.softcap is None else through * scoring.cap_slope(point.logits)
