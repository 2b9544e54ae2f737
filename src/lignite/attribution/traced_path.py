"""The image of a line: where the states of every layer go while those of the first go straight."""

from collections.abc import Iterable, Iterator, Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from lignite.attribution.axes import Nodes, PerPoint, PointRows, PointStates, RowStates
from lignite.attribution.integrals import Samples
from lignite.attribution.lines import Layers, Points, gradient_at, gradient_of
from lignite.attribution.panels import Scores
from lignite.attribution.rules import Family, derivative_inside, differentiation

NODES_TRACED = 12
"""Nodes of one panel where a path is followed through the layers: its direction there comes from a polynomial through
them, which needs more nodes than the integral."""

LONG = 128
"""Rows of more tokens keep the states and gradients of at most 31 nodes, others of 63. The row alone decides, since a
rule that depended on memory or on the batch would let results depend on them."""

MOST_OF_SHORT, MOST_OF_LONG = 63, 31

KEPT_NODES = 24
"""How many nodes may keep their states and gradients of all layers, for each point whose graph fits into memory. A
block's graph keeps some 24 vectors of its width for each token, a node two, and twice the budget may be used."""

LayerStates = Sequence[Float[Tensor, "known row token d"]]
"""States, or gradients with respect to them, at some nodes of the path: an entry for each layer."""


class TracedPath(Points):
    """A traced path is the image of a line at the first layer, in all layers: scores ``[row, layer, token]``.

    The image bends, so its direction at every node is the derivative of the polynomial through the states at all nodes
    of a panel, and at its ends where these are known: as accurate as the panel's own rule, and nearly free
    (docs/method.md). Single nodes have no such polynomial; there the direction is computed in forward mode.

    `base` is F where the line starts, and `images` its states at every layer there, if the model itself has said;
    otherwise they are replayed. All nodes go through one block before they go through the next if they go `by_block`,
    which runs every block once more and keeps no graph of several.
    """

    n_nodes = NODES_TRACED

    def __init__(
        self,
        layers: Layers,
        start: RowStates,
        base: Float[Tensor, " row"] | None,
        max_points: int,
        power: int,
        images: Sequence[RowStates] | None = None,
        by_block: bool = False,
    ):
        super().__init__(start, layers.states[0], max_points)
        self.by_block = by_block
        self.layers, self.power, self.images, self.value = layers, power, images, layers.value
        rows = torch.arange(len(self.value), device=self.value.device)
        self.base = self.values(self._run, 0.0, rows) if base is None else base
        self.displacement = (self.value - self.base)[:, None].expand(-1, layers.n_layers + 1).contiguous()

    def groups(self, rows: Int[Tensor, " row"]) -> Iterator[tuple[Int[Tensor, " some"], int]]:
        """Choose rows that are integrated together, and how many nodes a panel of theirs may keep."""
        long = self.layers.kept[rows].sum(1) > LONG
        for some, most in ((rows[~long], MOST_OF_SHORT), (rows[long], MOST_OF_LONG)):
            at_once = max(1, KEPT_NODES * self.max_points // most)
            for part in some.split(at_once) if len(some) else ():
                yield part, most

    def scores(self, nodes: Nodes, weights: Nodes, targets: Int[Tensor, " row"]) -> Scores:
        found = [self._of_piece(nodes, weights, some) for some in self.pieces(len(nodes), targets)]
        return {"scores": torch.cat(found)}

    def _of_piece(self, nodes: Nodes, weights: Nodes, rows: Int[Tensor, " row"]) -> Float[Tensor, "row layer token"]:
        states, gradients = self.traced(nodes, rows)
        if len(nodes) > 1:
            return self.weighed(self._derivative(nodes), weights, rows, states[1:], gradients)
        bent = self.layers.trace_slopes(self.states(nodes, rows), self.slope[rows], rows)
        layers = range(1, self.layers.n_layers + 1)
        scores = [self._of_line(weights, rows, gradients[0])]
        scores += [weights.to(bent[0]) * (gradients[layer][0] * bent[layer]).sum(2) for layer in layers]
        return torch.stack(scores, 1) * self.layers.kept[rows][:, None]

    def weighed(
        self,
        derivative: Float[Tensor, "node known"],
        weights: Nodes,
        rows: Int[Tensor, " row"],
        states: Iterable[Float[Tensor, "known row token d"]],
        gradients: Sequence[Float[Tensor, "node row token d"]],
    ) -> Float[Tensor, "row layer token"]:
        """Add up scores over the nodes, from gradients there and from the states above the first layer that are known.

        `derivative` takes known states to directions at the nodes. Its weighted transpose is laid on the gradients:

            along     [node, known]           weight of the node times the derivative's row
            pulled    [known, row, token, d]  gradients added up over the nodes, for each known state
            scores    [row, token]            ⟨pulled, states⟩ over known points and width, for one layer
        """
        along = (derivative * weights.to(derivative)[:, None]).to(gradients[0])
        scores = [self._of_line(weights, rows, gradients[0])]
        for gradient, known in zip(gradients[1:], states, strict=True):
            pulled = torch.einsum("nm,nrtd->mrtd", along, gradient)
            scores.append((pulled * known).sum((0, 3)))
        return torch.stack(scores, 1) * self.layers.kept[rows][:, None]

    def _of_line(
        self, weights: Nodes, rows: Int[Tensor, " row"], gradients: Float[Tensor, "node row token d"]
    ) -> Float[Tensor, "row token"]:
        """Add up scores of the first layer, where the path is straight; F may come in another precision."""
        return torch.einsum("n,nrtd,rtd->rt", weights.to(gradients), gradients, self.slope[rows])

    def samples(self, targets: Int[Tensor, " row"], start: float, end: float, family: Family) -> "TracedSamples":
        assert self.power == 1
        return TracedSamples(self, targets, start, end, family)

    def states_at(self, point: float, rows: Int[Tensor, " row"]) -> list[Float[Tensor, "1 row token d"]]:
        """Follow one point of the path through all layers; at its end the states are those of the input."""
        known = {0.0: self.images, 1.0: self.layers.states}.get(point)
        if known is not None:
            return [states[rows][None] for states in known]
        node = self.start.new_tensor([point])
        with torch.no_grad():
            parts = [self.layers.trace(self.states(node, some), some)[0] for some in self.pieces(1, rows)]
        return [torch.cat(same)[None] for same in zip(*parts, strict=True)]

    def traced(self, nodes: Nodes, rows: Int[Tensor, " row"]) -> tuple[LayerStates, LayerStates]:
        """Follow nodes through all layers, as many at once as fit: states and gradients of each layer."""
        if self.by_block:
            return self._traced_by_block(nodes, rows)
        states: list[list[Tensor]] = []
        gradients: list[list[Tensor]] = []
        for some in nodes.split(max(1, self.max_points // len(rows))):
            found, parts = self.layers.trace_gradients(self.states(some, rows), rows.repeat(len(some)))
            states.append([each.unflatten(0, (len(some), len(rows))) for each in found])
            gradients.append([each.unflatten(0, (len(some), len(rows))) for each in parts])
        return _joined(states), _joined(gradients)

    def _traced_by_block(self, nodes: Nodes, rows: Int[Tensor, " row"]) -> tuple[LayerStates, LayerStates]:
        """Follow all nodes up through one block after the other, and their gradients down."""
        layers, index = self.layers, rows.repeat(len(nodes))
        pieces = torch.arange(len(index), device=index.device).split(self.max_points)
        states = [self.states(nodes, rows)]
        with torch.no_grad():
            for layer in range(layers.n_layers):
                states.append(torch.cat([layers.block(layer, states[-1][some], index[some]) for some in pieces]))
        ends = [gradient_at(layers, layers.n_layers, states[-1][some], index[some]) for some in pieces]
        gradients = [torch.cat(ends)]
        for layer in range(layers.n_layers - 1, -1, -1):
            below = [_pulled(layers, layer, states[layer][some], index[some], gradients[0][some]) for some in pieces]
            gradients.insert(0, torch.cat(below))
        shape = (len(nodes), len(rows))
        return [each.unflatten(0, shape) for each in states], [each.unflatten(0, shape) for each in gradients]

    def _derivative(self, nodes: Nodes) -> Float[Tensor, "node node"]:
        """Make the matrix of d/da at the nodes, of a polynomial in t, where a = t ** power."""
        t = nodes.double().cpu().numpy() ** (1 / self.power)
        speed = self.power * t ** (self.power - 1)
        return torch.from_numpy(differentiation(tuple(t.tolist())) / speed[:, None])

    def level(self, point: float, targets: Int[Tensor, " row"]) -> Float[Tensor, "row layer"]:
        moved = self.values(self._run, point, targets) - self.base[targets]
        return moved[:, None].expand(-1, self.layers.n_layers + 1)

    def _run(self, states: PointStates, rows: PointRows) -> PerPoint:
        return self.layers.run(0, states, rows)


class TracedSamples(Samples):
    """The samples of a traced path are the states and gradients of every layer, and the states at the panel's ends."""

    def __init__(self, path: TracedPath, rows: Int[Tensor, " row"], start: float, end: float, family: Family):
        super().__init__(rows)
        self.path, self.length, self.family = path, end - start, family
        self.ends = [path.states_at(start, rows), path.states_at(end, rows)]

    def evaluate(self, nodes: Nodes) -> LayerStates:
        states, gradients = self.path.traced(nodes, self.targets)
        return [*states, *gradients]

    def scores(self, weights: Nodes) -> Float[Tensor, "row layer token"]:
        derivative = torch.from_numpy(derivative_inside(len(weights), self.family) / self.length)
        gradients = self.known[len(self.known) // 2 :]
        return self.path.weighed(derivative, weights, self.targets, self._states(), gradients)

    def _states(self) -> Iterator[Float[Tensor, "known row token d"]]:
        """Join what is known of the layers above the first, one at a time: joined, it is a copy."""
        first, last = self.ends
        for parts in zip(first[1:], self.known[1 : len(first)], last[1:], strict=True):
            yield torch.cat(parts)

    def keep(self, chosen: Bool[Tensor, " row"]) -> None:
        super().keep(chosen)
        self.ends = [[each[:, chosen] for each in end] for end in self.ends]


def _pulled(layers: Layers, layer: int, states: PointStates, index: PointRows, above: PointStates) -> PointStates:
    """Take the gradient with respect to what leaves a block to what enters it."""
    return gradient_of(lambda leaf, rows: (layers.block(layer, leaf, rows) * above).sum((1, 2)), states, index)


def _joined(parts: Sequence[Sequence[Tensor]]) -> list[Float[Tensor, "node row token d"]]:
    """Lay the nodes of all parts side by side, layer by layer."""
    return [torch.cat(each) for each in zip(*parts, strict=True)]
