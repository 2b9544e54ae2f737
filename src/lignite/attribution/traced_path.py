"""The image of a line: where the states of every layer go while those of the first go straight."""

import math
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from lignite.attribution.axes import Nodes, PerPoint, PointRows, PointStates, RowStates
from lignite.attribution.integrals import Samples
from lignite.attribution.lines import Layers, Points, gradient_at, gradient_of
from lignite.attribution.panels import Scores
from lignite.attribution.rules import Family, derivative_inside, differentiation
from lignite.spill import Spilled

NODES_TRACED = 12
"""Nodes of one panel where a path is followed through the layers: its direction there comes from a polynomial through
them, which needs more nodes than the integral."""

LONG = 128
"""Rows of more tokens keep the states and gradients of at most 31 nodes, others of 63. The row alone decides, since a
rule that depended on memory or on the batch would let results depend on them."""

MOST_OF_SHORT, MOST_OF_LONG = 63, 31

KEPT = 2
"""Times the memory allowed that states and gradients of nodes take in all layers, before they are kept in a file."""

LayerStates = Iterator[Float[Tensor, "known row token d"]]
"""States, or gradients with respect to them, at some nodes of the path, one layer after the other."""


class TracedPath(Points):
    """A traced path is the image of a line at the first layer, in all layers: scores ``[row, layer, token]``.

    The image bends, so its direction at every node is the derivative of the polynomial through the states at all nodes
    of a panel, and at its ends where these are known: as accurate as the panel's own rule, and nearly free
    (docs/method.md). Single nodes have no such polynomial; there the direction is computed in forward mode.

    `base` is F where the line starts, and `images` its states at every layer there, if the model itself has said;
    otherwise they are replayed. All nodes go through one block before they go through the next if they go `by_block`,
    which runs every block once more and keeps no graph of several. `memory` are the bytes allowed: states and gradients
    of nodes that take more than twice as much lie in a file, of which one layer's are read at a time.
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
        memory: float = math.inf,
    ):
        super().__init__(start, layers.states[0], max_points)
        self.by_block, self.memory = by_block, memory
        self.layers, self.power, self.images, self.value = layers, power, images, layers.value
        rows = torch.arange(len(self.value), device=self.value.device)
        self.base = self.values(self._run, 0.0, rows) if base is None else base
        self.displacement = (self.value - self.base)[:, None].expand(-1, layers.n_layers + 1).contiguous()

    def groups(self, rows: Int[Tensor, " row"]) -> Iterator[tuple[Int[Tensor, " some"], int]]:
        """Choose rows that are integrated together, and how many nodes a panel of theirs may keep."""
        long = self.layers.kept[rows].sum(1) > LONG
        of_node = 2 * (self.layers.n_layers + 1) * self.start[0].nbytes
        for some, most in ((rows[~long], MOST_OF_SHORT), (rows[long], MOST_OF_LONG)):
            at_once = int(min(len(rows), max(1.0, KEPT * self.memory / (of_node * most))))
            for part in some.split(at_once) if len(some) else ():
                yield part, most

    def scores(self, nodes: Nodes, weights: Nodes, targets: Int[Tensor, " row"]) -> Scores:
        found = [self._of_piece(nodes, weights, some) for some in self.pieces(len(nodes), targets)]
        return {"scores": torch.cat(found)}

    def _of_piece(self, nodes: Nodes, weights: Nodes, rows: Int[Tensor, " row"]) -> Float[Tensor, "row layer token"]:
        states, gradients = self.traced(nodes, rows)
        if len(nodes) > 1:
            return self.weighed(self._derivative(nodes), weights, rows, islice(states, 1, None), gradients)
        bent = self.layers.trace_slopes(self.states(nodes, rows), self.slope[rows], rows)
        scores = [self._of_line(weights, rows, next(gradients))]
        scores += [
            weights.to(slope) * (gradient[0] * slope).sum(2)
            for gradient, slope in zip(gradients, bent[1:], strict=True)
        ]
        return torch.stack(scores, 1) * self.layers.kept[rows][:, None]

    def weighed(
        self,
        derivative: Float[Tensor, "node known"],
        weights: Nodes,
        rows: Int[Tensor, " row"],
        states: Iterable[Float[Tensor, "known row token d"]],
        gradients: LayerStates,
    ) -> Float[Tensor, "row layer token"]:
        """Add up scores over the nodes, from gradients there and from the states above the first layer that are known.

        `derivative` takes known states to directions at the nodes. Its weighted transpose is laid on the gradients:

            along     [node, known]           weight of the node times the derivative's row
            pulled    [known, row, token, d]  gradients added up over the nodes, for each known state
            scores    [row, token]            ⟨pulled, states⟩ over known points and width, for one layer
        """
        first = next(gradients)
        along = (derivative * weights.to(derivative)[:, None]).to(first)
        scores = [self._of_line(weights, rows, first)]
        for gradient, known in zip(gradients, states, strict=True):
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
        """Follow nodes through all layers, as many at once as fit: states and gradients, a layer at a time."""
        if self.by_block:
            return self._traced_by_block(nodes, rows)
        states, gradients = self._spilled(), self._spilled()
        pieces = nodes.split(max(1, self.max_points // len(rows)))
        for some in pieces:
            found, parts = self.layers.trace_gradients(self.states(some, rows), rows.repeat(len(some)))
            for layer in range(len(found)):
                states.put(found[layer].unflatten(0, (len(some), len(rows))))
                gradients.put(parts[layer].unflatten(0, (len(some), len(rows))))
        return _by_layer(states, len(pieces)), _by_layer(gradients, len(pieces))

    def _traced_by_block(self, nodes: Nodes, rows: Int[Tensor, " row"]) -> tuple[LayerStates, LayerStates]:
        """Follow all nodes up through one block after the other, and their gradients down."""
        layers, index, shape = self.layers, rows.repeat(len(nodes)), (len(nodes), len(rows))
        pieces = torch.arange(len(index), device=index.device).split(self.max_points)
        entering = self.states(nodes, rows)
        states, gradients = self._spilled([entering]), self._spilled()
        with torch.no_grad():
            for layer in range(layers.n_layers):
                entering = torch.cat([layers.block(layer, entering[some], index[some]) for some in pieces])
                states.put(entering)
        above = torch.cat([gradient_at(layers, layers.n_layers, entering[some], index[some]) for some in pieces])
        gradients.put(above)
        for layer in range(layers.n_layers - 1, -1, -1):
            entering = states[layer]
            above = torch.cat([_pulled(layers, layer, entering[some], index[some], above[some]) for some in pieces])
            gradients.put(above)
        return (each.unflatten(0, shape) for each in states.taken()), (
            each.unflatten(0, shape) for each in gradients.taken(last_first=True)
        )

    def _spilled(self, tensors: Iterable[Tensor] = ()) -> Spilled:
        """Keep states or gradients of nodes until they are joined with those that are known."""
        return Spilled(tensors, room=KEPT * self.memory / 4)

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
        super().__init__(rows, KEPT * path.memory)
        self.path, self.length, self.family = path, end - start, family
        self.ends = [path.states_at(start, rows), path.states_at(end, rows)]

    def evaluate(self, nodes: Nodes) -> LayerStates:
        for parts in self.path.traced(nodes, self.targets):
            yield from parts

    def scores(self, weights: Nodes) -> Float[Tensor, "row layer token"]:
        derivative = torch.from_numpy(derivative_inside(len(weights), self.family) / self.length)
        gradients = (self.known[place] for place in range(len(self.known) // 2, len(self.known)))
        return self.path.weighed(derivative, weights, self.targets, self._states(), gradients)

    def _states(self) -> Iterator[Float[Tensor, "known row token d"]]:
        """Join what is known of the layers above the first, one at a time: joined, it is a copy."""
        first, last = self.ends
        for layer in range(1, len(first)):
            yield torch.cat([first[layer], self.known[layer], last[layer]])

    def keep(self, chosen: Bool[Tensor, " row"]) -> None:
        super().keep(chosen)
        self.ends = [[each[:, chosen] for each in end] for end in self.ends]


def _pulled(layers: Layers, layer: int, states: PointStates, index: PointRows, above: PointStates) -> PointStates:
    """Take the gradient with respect to what leaves a block to what enters it."""
    return gradient_of(lambda leaf, rows: (layers.block(layer, leaf, rows) * above).sum((1, 2)), states, index)


def _by_layer(parts: Spilled, n_pieces: int) -> LayerStates:
    """Lay the nodes of all pieces side by side, layer by layer; they were put in piece by piece."""
    n_layers = len(parts) // n_pieces
    for layer in range(n_layers):
        yield torch.cat([parts[piece * n_layers + layer] for piece in range(n_pieces)])
