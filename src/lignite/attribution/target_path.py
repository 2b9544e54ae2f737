"""Every target has its own path, from its own state to the sources'. Closed forms make all of them cheap.

The shapes of what is mixed, of all nodes n, heads h (1 where all heads have the same), targets j and sources i:

    own, other, and their slopes     [n, 1 or h, j, i]   coefficients of the target's and of the source's vector
    products: ⟨q_j, R_i k_j⟩          [h, j, 1], or [h, j, i] where a rotation R_i belongs to the source's position
              ⟨q_j, R_i k_i⟩          [h, j, i]
              ⟨q_j, R_i b⟩            [h, j, 1], or [h, j, i]
    values                           [h, i, d_value]
    directions                       [n, j, h, d_value], in `read` and `mix` turned to [n, h, j, d_value]
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lignite.attribution.attend import Point, repeat_groups
from lignite.attribution.axes import HeadVectors, Nodes, Pairs, Targets
from lignite.attribution.block import OpenBlock, Projections, Rotation
from lignite.attribution.panels import of_targets
from lignite.attribution.paths import Path, slope_of

Coefficients = Float[Tensor, "#node #head #target #source"]
"""Numbers that weigh one of two vectors in their mixture, for every target and source."""

Slopes = Float[Tensor, "*any"]
"""Derivatives of coefficients along the path: as many, or a single one where all are the same."""

Part = Float[Tensor, "*#node head target #source"]
"""What one of two vectors gives: of the target the same for every source, unless the source's position turns it."""


@dataclass(frozen=True)
class Norm:
    """A norm at the head of a pre-norm block decides the closed form by its kind and epsilon; its weights do not."""

    centred: bool
    eps: float

    def __str__(self) -> str:
        return "LayerNorm" if self.centred else "RMSNorm"


@dataclass(eq=False)
class Mixture:
    """A mixture is what mixed states become after `pre`: ``k(a; j, i) = own * (k_j - b) + other * (k_i - b) + b``.

    The slopes are derivatives of both along the path.
    """

    own: Coefficients
    other: Coefficients
    own_slope: Slopes
    other_slope: Slopes

    def values(self, own: Part, other: Part) -> Pairs:
        """Mix what two vectors give."""
        return torch.addcmul(self.own * own, self.other, other)

    def slopes(self, own: Part, other: Part) -> Float[Tensor, "*node head target source"]:
        """Differentiate `values` along the path."""
        return torch.addcmul(self.own_slope * own, self.other_slope, other)

    def normalised(self, spread: "Spread", targets: Targets) -> "Mixture":
        """Divide the mixture by its own size, in units of the sizes of its two parts: a norm that follows.

        square                  [node, 1 or head, target, source]   mean square of the mixture
        own_size, other_size    [1 or head, target, 1], [1 or head, 1, source]
        """
        square = spread.of(self, targets)
        size = square.sqrt()
        own_size, other_size = spread.size[..., targets, None], spread.size[..., None, :]
        square_slope = spread.slope(self, targets)
        shrink = -0.5 * square_slope / square
        own, other = self.own * own_size / size, self.other * other_size / size
        return Mixture(
            own,
            other,
            self.own_slope * own_size / size + own * shrink,
            self.other_slope * other_size / size + other * shrink,
        )


class Spread:
    """Spread is the mean square of mixtures of vectors, from the vectors' Gram matrix alone."""

    def __init__(self, vectors: Float[Tensor, "*head token d"], eps: float):
        self.gram = vectors @ vectors.mT / vectors.shape[-1]
        self.eps = eps
        self.square = self.gram.diagonal(dim1=-2, dim2=-1)
        self.size = (self.square + eps).sqrt()

    def of(self, mixture: Mixture, targets: Targets) -> Coefficients:
        own, other, cross = self.square[..., targets, None], self.square[..., None, :], self.gram[..., targets, :]
        return mixture.own**2 * own + 2 * mixture.own * mixture.other * cross + mixture.other**2 * other + self.eps

    def slope(self, mixture: Mixture, targets: Targets) -> Coefficients:
        own, other, cross = self.square[..., targets, None], self.square[..., None, :], self.gram[..., targets, :]
        return 2 * (
            mixture.own * mixture.own_slope * own
            + (mixture.own_slope * mixture.other + mixture.own * mixture.other_slope) * cross
            + mixture.other * mixture.other_slope * other
        )


class Straight(Mixture):
    """A straight mixture is that of the states themselves: `own` falls as `other` rises, everywhere at one pace."""

    def __init__(self, nodes: Nodes):
        a = nodes.view(-1, 1, 1, 1)
        super().__init__(1 - a, a, _FALLING, _RISING)

    def values(self, own: Part, other: Part) -> Pairs:
        return torch.lerp(own, other, self.other)

    def slopes(self, own: Part, other: Part) -> Float[Tensor, "*node head target source"]:
        return other - own


_FALLING, _RISING = torch.tensor(-1.0), torch.tensor(1.0)
"""Numbers of no place, which multiply tensors of every device and precision."""


class PairPoint(Point):
    """At this point of every target's own path, in closed form, all terms are target-by-source matrices."""

    def __init__(self, form: "ClosedForm", keys: Mixture, values: Mixture, targets: Targets, n_nodes: int):
        states = of_targets(form.block.states, targets).expand(n_nodes, -1, -1)
        super().__init__(form.logits(keys, targets), keys.slopes(*form.products.of(targets)[:2]), states)
        self.form, self.mixture, self.targets = form, values, targets

    def mix(self, weights: Pairs) -> HeadVectors:
        if isinstance(self.mixture, Straight) and self.form.sums_to_one:
            heads = self.mixture.values(self.form.value_of(self.targets), weights @ self.form.value)
            return self._with_bias(heads, weights)
        own, other = self.mixture.own, self.mixture.other
        own_sum = (weights * own).sum(-1, keepdim=True) if own.shape[-1] > 1 else own * weights.sum(-1, keepdim=True)
        other_sum = (weights * other) @ self.form.value if other.shape[-1] > 1 else other * (weights @ self.form.value)
        return self._with_bias(torch.addcmul(other_sum, own_sum, self.form.value_of(self.targets)), weights)

    def _with_bias(self, heads: Float[Tensor, "node head target d_value"], weights: Pairs) -> HeadVectors:
        if self.form.value_bias is not None:
            heads = heads + weights.sum(-1, keepdim=True) * self.form.value_bias[:, None]
        return heads.transpose(1, 2)

    def read(self, directions: HeadVectors) -> tuple[Pairs, Pairs]:
        directions = directions.transpose(1, 2)
        own = (directions * self.form.value_of(self.targets)).sum(-1, keepdim=True)
        # head by head, so that no copy of the values is made for every node
        by_head = directions.transpose(0, 1)
        other = torch.bmm(by_head.flatten(1, 2), self.form.value.mT).unflatten(1, by_head.shape[1:3]).transpose(0, 1)
        along = self.mixture.values(own, other)
        if self.form.value_bias is not None:
            along += (directions * self.form.value_bias[:, None]).sum(-1, keepdim=True)
        return along, self.mixture.slopes(own, other)


class ClosedForm(Path):
    """A closed form mixes keys and values from those captured, where `pre` is a norm, or none, and linear maps.

    Parameters
    ----------
    block
        Its states are the end of every path.
    norm
        The norm through which states pass first; None where `pre` is linear in the states (post-norm blocks).
    key_norm
        Epsilon and captured inputs ``[kv or 1, token, d]`` of a norm that keys pass through after their projection.
    projections
        Of the states.
    bias
        Of states that the norm sends to its bias: what is left of keys and values when their content is gone.
    rotation, bias_rotation
        The two captures again, before positions are rotated in; None where keys carry no rotary position.
    """

    def __init__(
        self,
        block: OpenBlock,
        *,
        norm: Norm | None,
        projections: Projections,
        bias: Projections | None,
        rotation: Rotation | None,
        bias_rotation: Rotation | None,
        key_norm: tuple[float, Float[Tensor, "group token d"]] | None = None,
    ):
        super().__init__(block)
        self.norm = norm
        self.sums_to_one = block.scoring.sinks is None
        n_heads = projections.query.shape[1]
        query = projections.query[0] * block.scoring.scale
        if rotation is None:
            bias_key = None if bias is None or key_norm is not None else bias.key
            self.products: Products = Products(query, projections.key, bias_key)
        else:
            self.products = RotatedProducts(query, rotation, bias_rotation if key_norm is None else None)
        value = repeat_groups(projections.value, n_heads)[0]
        self.value_bias = None if bias is None else repeat_groups(bias.value, n_heads)[0, :, 0]
        self.value = value if self.value_bias is None else value - self.value_bias[:, None]

        self.spread = None
        if norm is not None:
            states = block.states - block.states.mean(-1, keepdim=True) if norm.centred else block.states
            self.spread = Spread(states[None], norm.eps)
        self.key_spread = None
        if key_norm is not None:
            eps, inputs = key_norm
            groups = inputs if len(inputs) == 1 else repeat_groups(inputs[None], n_heads)[0]
            self.key_spread = Spread(groups, eps)

    def at(self, nodes: Nodes, targets: Targets) -> PairPoint:
        keys, values = self.mixtures(nodes, targets)
        return PairPoint(self, keys, values, targets, len(nodes))

    def mixtures(self, nodes: Nodes, targets: Targets) -> tuple[Mixture, Mixture]:
        """Mix keys, and values."""
        values: Mixture = Straight(nodes)
        if self.spread is not None:
            values = values.normalised(self.spread, targets)
        return values if self.key_spread is None else values.normalised(self.key_spread, targets), values

    def logits(self, keys: Mixture, targets: Targets) -> Float[Tensor, "node head target source"]:
        own, other, bias = self.products.of(targets)
        logits = keys.values(own, other)
        return logits if bias is None else logits + bias

    def value_of(self, targets: Targets) -> Float[Tensor, "head target d_value"]:
        return self.value if len(targets) == self.value.shape[1] else self.value[:, targets]

    def dealt(
        self, nodes: Nodes, targets: Targets, place: Int[Tensor, "node source"]
    ) -> tuple[Float[Tensor, "node head source d_value"], Float[Tensor, "node head source"]]:
        """Compute every source's value and logit at some nodes of the path of one target, whose `place` is told."""
        keys, mixture = self.mixtures(nodes, targets)
        shape = len(nodes), -1, len(targets), place.shape[1]
        own, other = (_of_dealt(each.expand(shape), place)[..., None] for each in (mixture.own, mixture.other))
        of_targets = self.value[:, targets[place]].transpose(0, 1)
        values = torch.addcmul(own * of_targets, other, self.value)
        if self.value_bias is not None:
            values = values + self.value_bias[:, None]
        return values, _of_dealt(self.logits(keys, targets), place)


def _of_dealt(
    pairs: Float[Tensor, "node head target source"], place: Int[Tensor, "node source"]
) -> Float[Tensor, "node head source"]:
    """Take the target that each source is dealt out to."""
    return pairs.gather(2, place[:, None, None].expand(-1, pairs.shape[1], 1, -1))[:, :, 0]


class Products:
    """Products are those of the targets' scaled queries with their own keys, with the sources' keys, and with the bias.

    They are as large as attention, so that only those of the targets last asked for are there.
    """

    last: tuple[Tensor, tuple[Part, Part, Part | None]] | None = None

    def __init__(
        self,
        query: Float[Tensor, "head token d_key"],
        key: Float[Tensor, "1 kv token d_key"],
        bias: Float[Tensor, "1 kv token d_key"] | None,
    ):
        n_heads = len(query)
        self.query, self.key = query, repeat_groups(key, n_heads)[0]
        self.bias = None if bias is None else repeat_groups(bias, n_heads)[0, :, :1]
        if self.bias is not None:
            self.key = self.key - self.bias

    def of(self, targets: Targets) -> tuple[Part, Part, Part | None]:
        if self.last is None or self.last[0] is not targets:
            self.last = None
            self.last = targets, self._of(targets)
        return self.last[1]

    def _of(self, targets: Targets) -> tuple[Part, Part, Part | None]:
        query, own = self._chosen(self.query, targets), self._chosen(self.key, targets)
        bias = None if self.bias is None else query @ self.bias.mT
        return (query * own).sum(-1, keepdim=True), torch.bmm(query, self.key.mT), bias

    def _chosen(self, by_head: Float[Tensor, "head token d"], targets: Targets) -> Float[Tensor, "head target d"]:
        return by_head if len(targets) == by_head.shape[1] else by_head[:, targets]


class RotatedProducts(Products):
    """These products are ⟨q_j, R_i k_j⟩, ⟨q_j, R_i k_i⟩ and ⟨q_j, R_i b⟩, where R_i turns a key to position i.

    A rotation is linear in its cosines and sines, so the first needs two matrix products instead of T² rotations.
    """

    def __init__(self, query: Float[Tensor, "head token d_key"], content: Rotation, bias: Rotation | None):
        parts = [repeat_groups(part, len(query))[0] for part in content[:3]]
        self.query, self.cos, self.sin, self.at_source = query, content.cos, content.sin, None
        if bias is not None:
            constant = [repeat_groups(part, len(query))[0, :, :1] for part in bias[:3]]
            parts = [whole - part for whole, part in zip(parts, constant, strict=True)]
            self.at_source = constant[0] * content.cos + constant[1] * content.sin + constant[2]
        self.unrotated, self.turned, self.passed = parts
        self.key = self.unrotated * content.cos + self.turned * content.sin + self.passed

    def _of(self, targets: Targets) -> tuple[Part, Part, Part | None]:
        query = self._chosen(self.query, targets)
        own = (query * self._chosen(self.unrotated, targets)) @ self.cos.mT
        own = own + (query * self._chosen(self.turned, targets)) @ self.sin.mT
        own = own + (query * self._chosen(self.passed, targets)).sum(-1, keepdim=True)
        return own, torch.bmm(query, self.key.mT), None if self.at_source is None else query @ self.at_source.mT


class BatchPoint(Point):
    """At this point every target's own path is computed next to the others: ``[node * target]`` runs of `pre`.

    states             [node, target, source, d]         flattened to [node * target, source, d] for `pre`
    query              [node, head, target, 1, d_key]    each target's own, of its own path
    keys and values    [node, head, target, source, d]   every source's, on each target's path
    """

    def __init__(self, block: OpenBlock, nodes: Nodes, targets: Targets):
        n_nodes, n_targets = len(nodes), len(targets)
        own = block.states[targets]
        slope = block.states - own[:, None]
        states = own[None, :, None] + nodes[:, None, None, None] * slope
        values, slopes = slope_of(block, states.flatten(0, 1), slope.expand_as(states).flatten(0, 1))
        n_heads = values.query.shape[1]

        def by_head(tensor: Float[Tensor, "path kv source d"]) -> Float[Tensor, "node head target source d"]:
            tensor = tensor.unflatten(0, (n_nodes, n_targets)).transpose(1, 2)
            return tensor.repeat_interleave(n_heads // tensor.shape[1], dim=1)

        rows = targets.repeat(n_nodes)
        own_query = values.query[torch.arange(len(rows), device=rows.device), :, rows]
        query = own_query.unflatten(0, (n_nodes, n_targets)).transpose(1, 2)[..., None, :] * block.scoring.scale
        logits, key_slope = ((query @ by_head(each.key).mT).squeeze(-2) for each in (values, slopes))
        super().__init__(logits, key_slope, own.expand(n_nodes, -1, -1))
        self.value, self.value_slope = by_head(values.value), by_head(slopes.value)

    def mix(self, weights: Pairs) -> HeadVectors:
        return (weights[..., None, :] @ self.value).squeeze(-2).transpose(1, 2)

    def read(self, directions: HeadVectors) -> tuple[Pairs, Pairs]:
        directions = directions.transpose(1, 2)[..., None]
        return (self.value @ directions).squeeze(-1), (self.value_slope @ directions).squeeze(-1)


class TargetBatches(Path):
    """Target batches run every target's path by itself where no closed form holds: exact, T times dearer in `pre`."""

    def at(self, nodes: Nodes, targets: Targets) -> BatchPoint:
        return BatchPoint(self.block, nodes, targets)
