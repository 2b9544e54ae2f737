"""Relevance flow: the prediction's change, carried from the top to the input block by block, with nothing rescaled."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from lignite.attribution.axes import Nodes, PerPoint, PointRows, PointStates, RowStates
from lignite.attribution.black_box import map_to_output
from lignite.attribution.block import Block
from lignite.attribution.integrals import Bisecting, Integral, integrate
from lignite.attribution.layer_ig import Following
from lignite.attribution.lines import Layers, OfPoints, Points, every_row, gradient_of, powers_of
from lignite.attribution.panels import Goal, Precision, Scores
from lignite.attribution.plan import choose_chunking, choose_plan
from lignite.attribution.readout import Weighed
from lignite.attribution.rules import panel_rule
from lignite.tolerance import size_among_predictions, size_of_carried

NODES = 10
"""Gauss-Legendre nodes on the path of one block: most are then within the tolerance at once (of a trained encoder of
six layers; starting with six nodes, as a flow does, takes 77 of them, with ten 61)."""


@dataclass(frozen=True)
class Multipliers:
    """Multipliers are path-averaged gradients at every layer, last at the states that leave the last block.

    `relevance` is their product with how far the states moved; it adds up to the `displacement` of F at every layer,
    up to the `gap`, which may be as large as `allowed`.
    """

    vectors: list[RowStates]
    relevance: Float[Tensor, "row layer token"]
    displacement: Float[Tensor, " row"]
    gap: Float[Tensor, "row layer"]
    allowed: Float[Tensor, "row layer"]
    n_nodes: Int[Tensor, "row layer"]


def pull_back(
    layers: Layers, start: Sequence[RowStates], precision: Following, *, base: Float[Tensor, " row"] | None = None
) -> Multipliers:
    """Compute the multipliers of every layer, from the top down (docs/method.md, relevance flow).

    Parameters
    ----------
    start
        The baseline's own states at every layer: each block must map one to the next.
    base
        F where paths start, if the model itself has said; otherwise it is replayed.
    """
    n_layers, rows = layers.n_layers, every_row(layers)
    if base is None:
        with torch.no_grad():
            base = torch.cat([layers.run(n_layers, start[-1][some], some) for some in rows.split(precision.max_points)])
    displacement = layers.value - base
    size = size_among_predictions(displacement, layers.value, base)
    scale = torch.maximum(layers.value.abs(), base.abs())
    powers = powers_of(layers, range(n_layers + 1), start)
    vectors: list[Tensor] = []
    sums: list[Tensor] = []
    nodes: list[Tensor] = []
    ahead = _run_ahead(layers, start, powers, precision, displacement)
    change, moved, first = displacement, _answer(layers, base), None
    for layer in range(n_layers, -1, -1):
        if vectors:
            passed = layers.states[layer + 1] - start[layer + 1]
            change = ((vectors[0] * passed).sum(2) * layers.kept).sum(1)
            moved = _block(layers, layer, start[layer + 1], vectors[0])
            first = ahead.pop().pulled(vectors[0] * layers.kept[..., None]) if ahead else None
        left = size - (change - displacement).abs() / precision.tol  # gaps of the layers add up
        share = torch.maximum(left / (layer + 1), size / (n_layers + 1))
        goal = Goal(change, rows, share, precision, powers[layer], scale)
        path = _PullBack(start[layer], layers.states[layer], layers.kept, moved, precision.max_points, first)
        found = integrate(Bisecting(path, goal, NODES))
        vectors.insert(0, found.scores["vectors"])
        sums.insert(0, found.scores["scores"])
        nodes.insert(0, found.n_nodes)
    relevance = torch.stack(sums, 1)
    gap = relevance.sum(2) - displacement[:, None]
    allowed = (precision.tol * size)[:, None].expand_as(gap)
    return Multipliers(vectors, relevance, displacement, gap, allowed, torch.stack(nodes, 1))


def _answer(layers: Layers, base: Float[Tensor, " row"]) -> OfPoints:
    """Measure how far F has come from where a row starts; its multiplier is one."""
    return lambda states, index: layers.run(layers.n_layers, states, index) - base[index]


def _block(layers: Layers, layer: int, start_above: RowStates, above: RowStates) -> OfPoints:
    """Measure how far what leaves a block has come, along the multipliers above it."""

    def moved(states: PointStates, index: PointRows) -> PerPoint:
        change = layers.block(layer, states, index) - start_above[index]
        weighed = above[index] * layers.kept[index][..., None]
        return (weighed * change).sum((1, 2))

    return moved


@dataclass(frozen=True, eq=False)
class _Ahead:
    """What a block makes of the first nodes of its path is known before what it is weighed with."""

    nodes: Nodes
    states: PointStates
    made: PointStates

    def pulled(self, above: RowStates) -> tuple[Nodes, PointStates]:
        """Pull the multipliers above the block back to its states at these nodes."""
        weighed = above.repeat(len(self.nodes), 1, 1).to(self.made)
        (gradient,) = torch.autograd.grad(self.made, self.states, weighed)
        return self.nodes, gradient


def _run_ahead(
    layers: Layers, start: Sequence[RowStates], powers: Sequence[int], precision: Following, like: PerPoint
) -> list[_Ahead]:
    """Run every block on the first nodes of its path, all in one run of the model; none where they do not fit."""
    n_nodes = precision.n_steps or min(NODES, precision.max_steps)
    rows, n_layers = every_row(layers), layers.n_layers
    if precision.by_block or n_nodes * len(rows) > precision.max_points:
        return []
    nodes = [panel_rule(n_nodes, 0.0, 1.0, power, like.dtype, like.device)[0] for power in powers[:n_layers]]
    lines = [Points(one, other, precision.max_points) for one, other in zip(start, layers.states, strict=True)]
    with torch.enable_grad():
        states = [line.states(some, rows).detach().requires_grad_() for line, some in zip(lines, nodes, strict=False)]
        return list(map(_Ahead, nodes, states, layers.each_block(states, rows.repeat(n_nodes))))


class _PullBack(Points):
    """The pull-back of one block is integrated on the line between its inputs.

    Its scores are ``[row, token]``, and their vectors ``[row, token, d]``. The gradient at the `first` nodes may be
    known.
    """

    def __init__(
        self,
        start: RowStates,
        end: RowStates,
        kept: Bool[Tensor, "row token"],
        moved: OfPoints,
        max_points: int,
        first: tuple[Nodes, PointStates] | None = None,
    ):
        super().__init__(start, end, max_points)
        self.kept, self.moved, self.first = kept, moved, first

    def scores(self, nodes: Nodes, weights: Nodes, targets: Int[Tensor, " row"]) -> Scores:
        found = []
        for rows in self.pieces(len(nodes), targets):
            total = torch.zeros_like(self.start[rows])
            for first in range(0, len(nodes), self.max_points):
                some = slice(first, first + self.max_points)
                gradient = self._gradient(nodes[some], rows, nodes)
                along = gradient.unflatten(0, (-1, len(rows)))  # a block may compute in another precision
                total += torch.einsum("n,nrtd->rtd", weights[some].to(along), along)
            found.append(total * self.kept[rows][..., None])
        vectors = torch.cat(found)
        return {"scores": (vectors * self.slope[targets]).sum(2), "vectors": vectors}

    def _gradient(self, nodes: Nodes, rows: Int[Tensor, " row"], rule: Float[Tensor, " every"]) -> PointStates:
        if self.first is not None and self.first[0] is rule:
            return self.first[1]
        return gradient_of(self.moved, self.states(nodes, rows), rows.repeat(len(nodes)))

    def level(self, point: float, targets: Int[Tensor, " row"]) -> Float[Tensor, " row"]:
        return self.values(self.moved, point, targets)


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
    """Divide the relevance that arrives at each token of a block's output over the tokens it came from.

    `even` is what each token would carry if all carried the same; gaps of those that carry little are compared with it.

    Returns
    -------
    Scores ``[target, source]``, with `heads` also ``"heads" [target, head, source]`` and ``"residual" [target]``, and
    their certificate. Rows add up to the relevance above the block, columns to that below it.
    """
    targets = torch.arange(len(start), device=start.device)
    plan = choose_plan(block, start)
    readout = Weighed(start_above, block.output, above)
    chunking = choose_chunking(block, plan, "whole", len(targets), budget)
    detail = ("heads",) if heads and block.n_heads else ()
    moved = readout.displacement
    goal = Goal(moved, targets, size_of_carried(moved, moved.new_tensor(even)), precision, plan.power)
    return integrate(Bisecting(map_to_output(plan.path, readout, chunking, detail), goal))
