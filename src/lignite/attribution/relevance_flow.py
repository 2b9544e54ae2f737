"""Relevance flow: the prediction's change, carried from the top to the input block by block, with nothing rescaled."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lignite.attribution.block import Block
from lignite.attribution.layer_ig import Layers, PointsOfRows, Precision, power_of
from lignite.attribution.maps import WholeByPaths, WholeMap
from lignite.attribution.plan import choose_plan, make_room
from lignite.attribution.quadrature import Integral, integrate
from lignite.attribution.readout import Readout
from lignite.attribution.refinement import Scores
from lignite.tolerance import size_beside_predictions, size_of_carried


@dataclass(frozen=True)
class Multipliers:
    """Path-averaged gradients at every layer, last at the states that leave the last block.

    `relevance` is their product with how far the states moved; it adds up to the `displacement` of F at every layer,
    up to the `gap`, which may be as large as `allowed`.
    """

    vectors: list[Float[Tensor, "row token d"]]
    relevance: Float[Tensor, "row layer token"]
    displacement: Float[Tensor, " row"]
    gap: Float[Tensor, "row layer"]
    allowed: Float[Tensor, "row layer"]
    n_nodes: Int[Tensor, "row layer"]


def pull_back(
    layers: Layers,
    start: Sequence[Float[Tensor, "row token d"]],
    precision: Precision,
    *,
    base: Float[Tensor, " row"] | None = None,
) -> Multipliers:
    """Multipliers of every layer, from the top down (docs/method.md, relevance flow).

    Parameters
    ----------
    start
        The baseline's own states at every layer: each block must map one to the next.
    base
        F where paths start, if the model itself has said; otherwise it is replayed.
    """
    n_layers = layers.n_layers
    rows = torch.arange(len(layers.value), device=layers.value.device)
    if base is None:
        with torch.no_grad():
            base = torch.cat([layers.run(n_layers, start[-1][some], some) for some in rows.split(precision.max_points)])
    displacement = layers.value - base
    size = size_beside_predictions(displacement, layers.value, base)
    scale = torch.maximum(layers.value.abs(), base.abs())
    share = Precision(
        precision.tol / (n_layers + 1), precision.max_steps, precision.n_steps, precision.max_points
    )  # gaps of the layers add up
    vectors: list[Tensor] = []
    sums: list[Tensor] = []
    nodes: list[Tensor] = []
    below: Tensor | None = None
    for layer in range(n_layers, -1, -1):
        path = _PullBack(layers, layer, start, below, base, share.max_points)
        change = displacement if below is None else _relevance(layers, layer + 1, start, below).sum(1)
        found = integrate(
            path, change, rows, tol=share.tol, max_steps=share.max_steps, n_steps=share.n_steps, size=size,
            scale=scale, power=power_of(layers, layer, start[layer]),
        )  # fmt: skip
        below = found.scores["vectors"]
        vectors.insert(0, below)
        sums.insert(0, found.scores["scores"])
        nodes.insert(0, found.n_nodes)
    relevance = torch.stack(sums, 1)
    gap = relevance.sum(2) - displacement[:, None]
    allowed = (precision.tol * size)[:, None].expand_as(gap)
    return Multipliers(vectors, relevance, displacement, gap, allowed, torch.stack(nodes, 1))


def _relevance(layers: Layers, layer: int, start: Sequence[Tensor], vectors: Tensor) -> Float[Tensor, "row token"]:
    return (vectors * (layers.states[layer] - start[layer])).sum(2) * layers.kept


class _PullBack(PointsOfRows):
    """One block, from the line between its two inputs; for the top layer the head, whose multiplier is one."""

    def __init__(
        self,
        layers: Layers,
        layer: int,
        start: Sequence[Tensor],
        above: Float[Tensor, "row token d"] | None,
        base: Float[Tensor, " row"],
        max_points: int,
    ):
        super().__init__(layers, start[layer], max_points, layer)
        self.layer, self.above, self.base = layer, above, base
        self.start_above = None if above is None else start[layer + 1]

    def scores(self, nodes: Tensor, weights: Tensor, targets: Tensor) -> Scores:
        found = []
        for rows in self.pieces(len(nodes), targets):
            total = torch.zeros_like(self.start[rows])
            for some in range(0, len(nodes), self.max_points):
                part = slice(some, some + self.max_points)
                with torch.enable_grad():
                    leaf = self.states(nodes[part], rows).requires_grad_()
                    value = self._value(leaf, rows.repeat(len(nodes[part])))
                    (gradient,) = torch.autograd.grad(value.sum(), leaf)
                total += torch.einsum("n,nrtd->rtd", weights[part], gradient.unflatten(0, (-1, len(rows))))
            found.append(total * self.layers.kept[rows][..., None])
        vectors = torch.cat(found)
        return {"scores": (vectors * self.slope[targets]).sum(2), "vectors": vectors}

    def level(self, point: float, targets: Tensor) -> Tensor:
        node = self.start.new_tensor([point])
        with torch.no_grad():
            levels = [self._value(self.states(node, rows), rows) for rows in self.pieces(1, targets)]
        return torch.cat(levels)

    def _value(self, states: Tensor, index: Tensor) -> Float[Tensor, " point"]:
        """How far the path has come: 0 at its start."""
        if self.above is None:
            return self.layers.run(self.layer, states, index) - self.base[index]
        assert self.start_above is not None
        moved = self.layers.block(self.layer, states, index) - self.start_above[index]
        weighed = self.above[index] * self.layers.kept[index][..., None]
        return (weighed * moved).sum((1, 2))


class Weighed(Readout):
    """Readout of each target along its multiplier: signed, in the unit of F."""

    def __init__(
        self, start: Float[Tensor, "target d"], end: Float[Tensor, "target d"], vectors: Float[Tensor, "target d"]
    ):
        self.kind, self.start, self.vectors = "weighed", start, vectors
        self.total = end - start

    @property
    def displacement(self) -> Float[Tensor, " target"]:
        return (self.total * self.vectors).sum(-1)

    def level(self, values: Tensor, targets: Tensor) -> Tensor:
        return ((values - self.start[targets]) * self.vectors[targets]).sum(-1)

    def gradient(self, values: Tensor, targets: Tensor) -> Tensor:
        return self.vectors[targets].expand_as(values)


def split_by_source(
    block: Block,
    start: Float[Tensor, "token d"],
    start_above: Float[Tensor, "token d"],
    above: Float[Tensor, "token d"],
    precision: Precision,
    *,
    even: float,
    heads: bool,
    budget: float,
) -> Integral:
    """Relevance that arrives at each token of a block's output, divided over the tokens it came from.

    `even` is what each token would carry if all carried the same; gaps of those that carry little are compared with it.

    Returns
    -------
    Scores ``[target, source]``, with `heads` also ``"heads" [target, head, source]`` and ``"residual" [target]``, and
    their certificate. Rows add up to the relevance above the block, columns to that below it.
    """
    targets = torch.arange(len(start), device=start.device)
    plan = choose_plan(block, start)
    readout = Weighed(start_above, block.output, above)
    room = make_room(block, plan, "whole", len(targets), budget)
    detail = ("heads",) if heads and block.n_heads else ()
    if plan.path is not None:
        integrand: WholeMap | WholeByPaths = WholeMap(block, plan.path, readout, room, detail)
    else:
        assert plan.paths is not None
        integrand = WholeByPaths(block, plan.paths, readout, room, detail)
    found = integrate(
        integrand, readout.displacement, targets, tol=precision.tol, max_steps=precision.max_steps,
        n_steps=precision.n_steps, power=plan.power,
        size=size_of_carried(readout.displacement, readout.displacement.new_tensor(even)),
    )  # fmt: skip
    return found
