"""Straight lines in the states of a model's layers: their points, what F is there, and how it turns."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from lignite.attribution.axes import Nodes, PerPoint, PointRows, PointStates, RowStates
from lignite.attribution.integrals import NODES_PER_PANEL, Samples
from lignite.attribution.panels import Scores, numbered
from lignite.attribution.plan import GRADED_POWER
from lignite.attribution.rules import Family


@runtime_checkable
class Layers(Protocol):
    """Layers are what the mathematics needs of a model on a batch of rows; a stack of replayed blocks offers it.

    `states` has one entry per layer, and last the states that leave the last block. Points never interact.
    """

    kept: Bool[Tensor, "row token"]
    states: list[Tensor]
    value: Float[Tensor, " row"]

    @property
    def n_layers(self) -> int: ...

    def run(self, layer: int, states: PointStates, index: PointRows) -> PerPoint: ...

    def run_entering(self, entry: Sequence[int], states: PointStates, index: PointRows) -> PerPoint: ...

    def trace(self, states: PointStates, index: PointRows) -> tuple[list[PointStates], PerPoint]: ...

    def trace_gradients(self, states: PointStates, index: PointRows) -> tuple[list[PointStates], list[PointStates]]: ...

    def trace_slopes(self, states: PointStates, slope: PointStates, index: PointRows) -> list[PointStates]: ...

    def block(self, layer: int, states: PointStates, index: PointRows) -> PointStates: ...

    def each_block(self, states: Sequence[PointStates], index: PointRows) -> list[PointStates]: ...


OfPoints = Callable[[PointStates, PointRows], PerPoint]
"""A number for each point, given its states and the line or row it belongs to."""


class Points:
    """Points are nodes on lines from `start` to `end`, of which at most `max_points` are run at once."""

    def __init__(self, start: Float[Tensor, "line token d"], end: Float[Tensor, "line token d"], max_points: int):
        self.start, self.slope, self.max_points = start, end - start, max_points

    def pieces(self, n_nodes: int, lines: Int[Tensor, " line"]) -> tuple[Int[Tensor, " some"], ...]:
        """Cut the lines into pieces, each with all its nodes as far as they fit."""
        return lines.split(max(1, self.max_points // n_nodes))

    def states(self, nodes: Nodes, lines: Int[Tensor, " line"]) -> PointStates:
        """Compute the states of all lines at the first node, of all at the second, and so on."""
        return (self.start[lines] + nodes[:, None, None, None] * self.slope[lines]).flatten(0, 1)

    def values(self, function: OfPoints, point: float, lines: Int[Tensor, " line"]) -> Float[Tensor, " line"]:
        """Evaluate a function of states and lines at one point of every line."""
        node = self.start.new_tensor([point])
        with torch.no_grad():
            return torch.cat([function(self.states(node, some), some) for some in self.pieces(1, lines)])


class Lines(Points):
    """Straight lines in the states of some layers, those of all rows: scores ``[line, 1, token]``.

    Lines of the first layer come first; line n is that of row ``n mod rows``. `base` is F where lines start, if the
    model itself has said; otherwise it is replayed. Of what a point of the first layer takes of memory, blocks take
    all but the share `above`.
    """

    n_nodes = NODES_PER_PANEL
    """Of one panel, where the path is bisected."""

    def __init__(
        self,
        layers: Layers,
        wanted: Sequence[int],
        start: Sequence[RowStates],
        base: Float[Tensor, " row"] | None,
        max_points: int,
        above: float = 0.0,
    ):
        first, last = (torch.cat([states[layer] for layer in wanted]) for states in (start, layers.states))
        super().__init__(first, last, max_points)
        self.layers = layers
        rows = every_row(layers)
        self.row = rows.repeat(len(wanted))
        self.entry = [layer for layer in wanted for _ in range(len(rows))]
        self.above = above
        self.value = layers.value[self.row]
        self.base = (
            self._values(0.0, torch.arange(len(self.row), device=rows.device)) if base is None else base[self.row]
        )
        self.displacement = (self.value - self.base)[:, None]

    def samples(self, targets: Int[Tensor, " line"], start: float, end: float, family: Family) -> "LineSamples":
        return LineSamples(self, targets)

    def scores(self, nodes: Nodes, weights: Nodes, targets: Int[Tensor, " line"]) -> Scores:
        rates = self.rates(nodes, targets)
        return {"scores": torch.einsum("n,nrlt->rlt", weights.to(rates), rates)}

    def rates(self, nodes: Nodes, lines: Int[Tensor, " line"]) -> Float[Tensor, "node line 1 token"]:
        """Compute scores per length of path at every node: points in the order of layers, as many at once as fit."""
        found, index, places = [], lines.repeat_interleave(len(nodes)), nodes.repeat(len(lines))
        entries = [entry for entry in self._entries(lines) for _ in range(len(nodes))]
        for some in self._sweeps(entries):
            own = index[some]
            row, slope = self.row[own], self.slope[own]
            states = torch.addcmul(self.start[own], places[some, None, None], slope)
            gradient = gradient_of(partial(self.layers.run_entering, entries[some]), states, row)
            found.append(torch.einsum("ptd,ptd->pt", gradient, slope) * self.layers.kept[row])
        return torch.cat(found).unflatten(0, (len(lines), len(nodes))).transpose(0, 1)[:, :, None]

    def _sweeps(self, entries: Sequence[int]) -> Iterator[slice]:
        """Cut points into pieces by what each takes: those above it of the L blocks, and as much as one for itself."""
        n_layers, start, taken = self.layers.n_layers, 0, 0.0
        for place, entry in enumerate(entries):
            cost = self.above + (1 - self.above) * (n_layers - entry + 1) / (n_layers + 1)
            if place > start and taken + cost > self.max_points:
                yield slice(start, place)
                start, taken = place, 0.0
            taken += cost
        yield slice(start, len(entries))

    def level(self, point: float, targets: Int[Tensor, " line"]) -> Float[Tensor, "line 1"]:
        return (self._values(point, targets) - self.base[targets])[:, None]

    def _values(self, point: float, lines: Int[Tensor, " line"]) -> Float[Tensor, " line"]:
        return self.values(
            lambda states, some: self.layers.run_entering(self._entries(some), states, self.row[some]), point, lines
        )

    def _entries(self, lines: Int[Tensor, " line"]) -> Sequence[int]:
        """List where lines enter; of all of them nothing is read of the device."""
        return self.entry if len(lines) == len(self.entry) else [self.entry[line] for line in lines.tolist()]


class LineSamples(Samples):
    """The samples of lines are their scores per length of path."""

    def __init__(self, path: Lines, lines: Int[Tensor, " line"]):
        super().__init__(lines)
        self.path = path

    def evaluate(self, nodes: Nodes) -> Iterator[Float[Tensor, "node line 1 token"]]:
        yield self.path.rates(nodes, self.targets)

    def scores(self, weights: Nodes) -> Float[Tensor, "line 1 token"]:
        (rates,) = self.known
        return torch.einsum("n,nrlt->rlt", weights.to(rates), rates)


def gradient_of(function: OfPoints, states: PointStates, index: PointRows) -> PointStates:
    """Differentiate a function with respect to each point's states."""
    with torch.enable_grad():
        leaf = states.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(function(leaf, index).sum(), leaf)
    return gradient


def gradient_at(layers: Layers, layer: int, states: PointStates, index: PointRows) -> PointStates:
    """Differentiate F with respect to the states that enter a layer."""
    return gradient_of(partial(layers.run, layer), states, index)


def powers_of(layers: Layers, wanted: Sequence[int], start: Sequence[RowStates]) -> list[int]:
    """Choose how paths of some layers are graded: those of tokens that start at nothing are; padding does not count."""
    from_nothing = [
        (~states.any(-1) & layers.states[layer].any(-1) & layers.kept).any()
        for layer, states in zip(wanted, start, strict=True)
    ]
    return [GRADED_POWER if graded else 1 for graded in torch.stack(from_nothing).tolist()]


def every_row(layers: Layers) -> Int[Tensor, " row"]:
    """Each row once, in order; the same tensor each time, and nobody writes into it."""
    return numbered(len(layers.kept), layers.kept.device)
