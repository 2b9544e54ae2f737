"""Integrated gradients of the prediction at every layer: along a line in each layer, or along the image of one line."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from lignite.attribution.plan import GRADED_POWER
from lignite.attribution.quadrature import (
    LEAST_STRETCHED,
    NODES_PER_PANEL,
    Family,
    Integral,
    fejer,
    integrate,
    integrate_nested,
    interleaved,
    spread,
    stretch,
)
from lignite.attribution.refinement import Scores
from lignite.tolerance import size_beside_predictions

NODES_ON_AN_IMAGE = 12
"""Nodes of one panel where a path is followed through the layers: its direction there comes from a polynomial through
them, which needs more nodes than the integral."""


LONG = 128
"""Rows of more tokens keep the states and gradients of at most 31 nodes, others of 63. The row alone decides, since a
rule that depended on memory or on the batch would let results depend on them."""

MOST_OF_SHORT, MOST_OF_LONG = 63, 31

KEPT_NODES = 24
"""Nodes whose states and gradients of all layers may be kept, per point whose graph fits into memory: for each token a
block keeps some 24 vectors of its width, a node two, and twice the budget may be used."""


@runtime_checkable
class Layers(Protocol):
    """What the mathematics needs of a model on a batch of rows; `lignite.blocks.stack.Stack` offers it.

    `states` has one entry per layer, and last the states that leave the last block. Points never interact.
    """

    kept: Bool[Tensor, "row token"]
    states: list[Tensor]
    value: Float[Tensor, " row"]

    @property
    def n_layers(self) -> int: ...

    def run(
        self, layer: int, states: Float[Tensor, "point token d"], index: Int[Tensor, " point"]
    ) -> Float[Tensor, " point"]: ...

    def run_entering(
        self, entry: Int[Tensor, " point"], states: Float[Tensor, "point token d"], index: Int[Tensor, " point"]
    ) -> Float[Tensor, " point"]: ...

    def trace(
        self, states: Float[Tensor, "point token d"], index: Int[Tensor, " point"]
    ) -> tuple[list[Float[Tensor, "point token d"]], Float[Tensor, " point"]]: ...

    def trace_slopes(
        self,
        states: Float[Tensor, "point token d"],
        slope: Float[Tensor, "point token d"],
        index: Int[Tensor, " point"],
    ) -> list[Float[Tensor, "point token d"]]: ...

    def block(
        self, layer: int, states: Float[Tensor, "point token d"], index: Int[Tensor, " point"]
    ) -> Float[Tensor, "point token d"]: ...


@dataclass(frozen=True)
class LayerIG:
    """Scores of every layer, last those of the states that leave the last block, with their certificate.

    `allowed` is the largest gap within the tolerance.
    `error` is the standard error of every score where the nodes were drawn at random.
    """

    scores: Float[Tensor, "row layer token"]
    displacement: Float[Tensor, "row layer"]
    gap: Float[Tensor, "row layer"]
    allowed: Float[Tensor, "row layer"]
    n_nodes: Int[Tensor, "row layer"]
    error: Float[Tensor, "row layer token"] | None = None


@dataclass(frozen=True)
class Precision:
    """How finely paths are followed; see `lignite.attribution.quadrature.integrate`.

    `max_points` is how many copies of a row are run at once.
    """

    tol: float = 1e-3
    max_steps: int = 256
    n_steps: int | None = None
    max_points: int = 64
    stochastic: bool = False
    seed: int = 0


def along_each_layer(
    layers: Layers,
    start: Sequence[Float[Tensor, "row token d"]],
    precision: Precision,
    *,
    wanted: Sequence[int],
    base: Float[Tensor, " row"] | None = None,
) -> LayerIG:
    """``path="layer"``: a straight line in each layer's states, from `start[layer]`; only blocks above it are run.

    Points of all layers are run in one sweep, each entering at its own. `base` is F where paths start, if the model
    itself has said; otherwise it is replayed.
    """
    by_power: dict[int, list[int]] = {}
    for layer in wanted:
        by_power.setdefault(power_of(layers, layer, start[layer]), []).append(layer)
    found: dict[int, LayerIG] = {}
    for power, some in by_power.items():
        lines = _Lines(layers, some, start, base, precision.max_points)
        together = _integrated(lines, lines.displacement, lines.value, lines.base, precision, power)
        found |= dict(zip(some, lines.by_layer(together), strict=True))
    return _joined([found[layer] for layer in wanted])


def along_input(
    layers: Layers,
    start: Float[Tensor, "row token d"],
    precision: Precision,
    *,
    base: Float[Tensor, " row"] | None = None,
    images: Sequence[Float[Tensor, "row token d"]] | None = None,
) -> LayerIG:
    """``path="input"``: one straight line at the first layer, its image followed through all the others.

    `base` is F where it starts, and `images` its states at every layer there, if the model itself has said; otherwise
    they are replayed.
    """
    if base is None:
        with torch.no_grad():
            run = lambda some: layers.run(0, start[some], some)  # noqa: E731
            base = _in_pieces(run, _rows(layers), precision.max_points)
    displacement = (layers.value - base)[:, None].expand(-1, layers.n_layers + 1).contiguous()
    power = power_of(layers, 0, start)
    path = _InputPath(layers, start, base, precision.max_points, power, images)
    return _integrated(path, displacement, layers.value, base, precision, power)


def _integrated(
    path: "_Lines | _InputPath", displacement: Tensor, value: Tensor, base: Tensor, precision: Precision, power: int
) -> LayerIG:
    rows = torch.arange(len(value), device=value.device)
    if precision.stochastic:
        return _by_chance(path, displacement, rows, precision, value, base)
    return _certified(path, displacement, rows, precision, value, base, power)


def _certified(
    path: "_Lines | _InputPath",
    displacement: Tensor,
    rows: Tensor,
    precision: Precision,
    value: Tensor,
    base: Tensor,
    power: int,
) -> LayerIG:
    ends = _for_each_layer(value, displacement), _for_each_layer(base, displacement)
    size, scale = size_beside_predictions(displacement, *ends), torch.maximum(ends[0].abs(), ends[1].abs())
    if precision.n_steps is None and power == 1:
        parts = []
        for some, most in path.groups(rows, precision.max_points):
            path.most = most
            part = integrate_nested(
                path, displacement[some], some, tol=precision.tol, size=size[some], max_steps=precision.max_steps,
                scale=scale[some],
            )  # fmt: skip
            parts.append((some, part))
        return _of_integrals(parts, displacement.shape[1])
    whole = integrate(
        path, displacement, rows, tol=precision.tol, max_steps=precision.max_steps, n_steps=precision.n_steps,
        power=power, size=size, scale=scale,
        panel=NODES_ON_AN_IMAGE if isinstance(path, _InputPath) else NODES_PER_PANEL,
    )  # fmt: skip
    return _of_integrals([(rows, whole)], displacement.shape[1])


def _of_integrals(found: Sequence[tuple[Tensor, Integral]], n_layers: int) -> LayerIG:
    """Rows in their order again."""
    order = torch.cat([rows for rows, _ in found]).argsort()
    parts = [part for _, part in found]
    return LayerIG(
        torch.cat([part.scores["scores"] for part in parts])[order],
        torch.cat([part.displacement for part in parts])[order],
        torch.cat([part.gap for part in parts])[order],
        torch.cat([part.allowed for part in parts])[order],
        torch.cat([part.n_nodes for part in parts])[order][:, None].expand(-1, n_layers),
    )


def _for_each_layer(of_rows: Float[Tensor, " row"], like: Float[Tensor, "row layer"]) -> Float[Tensor, "row layer"]:
    return of_rows[:, None].expand_as(like)


def _by_chance(
    path: "_Lines | _InputPath", displacement: Tensor, rows: Tensor, precision: Precision, value: Tensor, base: Tensor
) -> LayerIG:
    """Two random nodes in each part of the path: unbiased, and their differences measure the error."""
    assert precision.n_steps is not None
    generator = torch.Generator().manual_seed(precision.seed)
    n_parts = precision.n_steps // 2
    parts: list[Tensor] = []
    spreads: list[Tensor] = []
    for part in range(n_parts):
        nodes = (torch.rand(2, generator=generator, dtype=torch.float64) + part) / n_parts
        weight = displacement.new_tensor([1 / n_parts])
        first, second = (path.scores(node.reshape(1).to(weight), weight, rows)["scores"] for node in nodes)
        parts.append((first + second) / 2)
        spreads.append((first - second) ** 2 / 4)
    total = torch.stack(parts).sum(0)
    gap = total.sum(-1) - displacement
    nodes_used = torch.full_like(gap, precision.n_steps, dtype=torch.long)
    ends = _for_each_layer(value, displacement), _for_each_layer(base, displacement)
    allowed = precision.tol * size_beside_predictions(displacement, *ends)
    return LayerIG(total, displacement, gap, allowed, nodes_used, torch.stack(spreads).sum(0).sqrt())


class PointsOfRows:
    """Nodes times rows, in pieces of at most `max_points`."""

    def __init__(self, layers: Layers, start: Tensor, max_points: int, layer: int):
        self.layers, self.start, self.max_points = layers, start, max_points
        self.slope = layers.states[layer] - start

    def pieces(self, n_nodes: int, rows: Tensor) -> tuple[Tensor, ...]:
        """Rows in pieces, each with all its nodes as far as they fit."""
        return rows.split(max(1, self.max_points // n_nodes))

    def states(self, nodes: Tensor, rows: Tensor) -> Float[Tensor, "point token d"]:
        return (self.start[rows] + nodes[:, None, None, None] * self.slope[rows]).flatten(0, 1)


class _Lines:
    """Straight lines in the states of some layers, those of all rows: scores ``[line, 1, token]``.

    Lines of the first layer come first; line n is that of row ``n mod rows``.
    """

    most = MOST_OF_SHORT

    def __init__(
        self,
        layers: Layers,
        wanted: Sequence[int],
        start: Sequence[Float[Tensor, "row token d"]],
        base: Float[Tensor, " row"] | None,
        max_points: int,
    ):
        self.layers, self.wanted, self.max_points = layers, list(wanted), max_points
        rows = _rows(layers)
        self.row = rows.repeat(len(wanted))
        self.entry = torch.tensor(self.wanted, device=rows.device).repeat_interleave(len(rows))
        self.start = torch.cat([start[layer] for layer in wanted])
        self.slope = torch.cat([layers.states[layer] for layer in wanted]) - self.start
        self.value = layers.value[self.row]
        lines = torch.arange(len(self.row), device=rows.device)
        self.base = self._values(0.0, lines) if base is None else base[self.row]
        self.displacement = (self.value - self.base)[:, None]

    def by_layer(self, found: LayerIG) -> list[LayerIG]:
        """The lines of each layer by themselves."""
        n_rows = len(self.layers.value)
        parts = (found.scores, found.displacement, found.gap, found.allowed, found.n_nodes, found.error)
        split = [[None] * len(self.wanted) if part is None else part.split(n_rows) for part in parts]
        return [LayerIG(*each) for each in zip(*split, strict=True)]

    def groups(self, rows: Tensor, max_points: int) -> Iterator[tuple[Tensor, int]]:
        """Lines that are integrated together, and the nodes that a panel of theirs may keep."""
        yield rows, self.most

    def samples(self, targets: Tensor, start: float, end: float, family: Family) -> "_LineSamples":
        return _LineSamples(self, targets)

    def scores(self, nodes: Tensor, weights: Tensor, targets: Tensor) -> Scores:
        rates = self.rates(nodes, targets)
        return {"scores": torch.einsum("n,nrlt->rlt", weights.to(rates), rates)}

    def rates(self, nodes: Tensor, targets: Tensor) -> Float[Tensor, "node line one token"]:
        """Scores per length of path at every node."""
        found = []
        for lines in targets.split(max(1, self.max_points // len(nodes))):
            parts = []
            for some in nodes.split(max(1, self.max_points // len(lines))):
                gradient = self._gradient(some, lines).unflatten(0, (len(some), len(lines)))
                kept = self.layers.kept[self.row[lines]]
                parts.append(torch.einsum("nrtd,rtd->nrt", gradient, self.slope[lines]) * kept)
            found.append(torch.cat(parts))
        return torch.cat(found, 1)[:, :, None]

    def level(self, point: float, targets: Tensor) -> Tensor:
        return (self._values(point, targets) - self.base[targets])[:, None]

    def _values(self, point: float, targets: Tensor) -> Float[Tensor, " line"]:
        """F at one point of every line."""
        node = self.start.new_tensor([point])
        with torch.no_grad():
            return _in_pieces(lambda lines: self._run(self._states(node, lines), lines), targets, self.max_points)

    def _gradient(self, nodes: Tensor, lines: Tensor) -> Float[Tensor, "point token d"]:
        with torch.enable_grad():
            leaf = self._states(nodes, lines).requires_grad_()
            value = self._run(leaf, lines.repeat(len(nodes)))
            (gradient,) = torch.autograd.grad(value.sum(), leaf)
        return gradient

    def _states(self, nodes: Tensor, lines: Tensor) -> Float[Tensor, "point token d"]:
        return (self.start[lines] + nodes[:, None, None, None] * self.slope[lines]).flatten(0, 1)

    def _run(self, states: Tensor, lines: Tensor) -> Float[Tensor, " point"]:
        return self.layers.run_entering(self.entry[lines], states, self.row[lines])


class _LineSamples:
    """Scores per length of path at the nodes of one panel."""

    def __init__(self, path: _Lines, rows: Tensor):
        self.path, self.rows = path, rows
        self.rates: Tensor | None = None

    def add(self, nodes: Tensor, is_new: Tensor) -> None:
        self.rates = interleaved(self.rates, self.path.rates(nodes, self.rows), is_new)

    def scores(self, weights: Tensor) -> Tensor:
        assert self.rates is not None
        return torch.einsum("n,nrlt->rlt", weights.to(self.rates), self.rates)

    def keep(self, chosen: Tensor) -> None:
        assert self.rates is not None
        self.rows, self.rates = self.rows[chosen], self.rates[:, chosen]


class _InputPath(PointsOfRows):
    """The image of a line at the first layer: scores ``[row, layer, token]``.

    The image bends, so its direction at every node is the derivative of the polynomial through the states at all nodes
    of a panel, and at its ends where these are known: as accurate as the panel's own rule, and nearly free
    (docs/method.md). Single nodes have no such polynomial; there the direction is computed in forward mode.
    """

    def __init__(
        self,
        layers: Layers,
        start: Tensor,
        base: Tensor,
        max_points: int,
        power: int,
        images: Sequence[Tensor] | None = None,
    ):
        super().__init__(layers, start, max_points, 0)
        self.base, self.power, self.images = base, power, images

    def scores(self, nodes: Tensor, weights: Tensor, targets: Tensor) -> Scores:
        found = [self._of_piece(nodes, weights, some) for some in self.pieces(len(nodes), targets)]
        return {"scores": torch.cat(found)}

    def _of_piece(self, nodes: Tensor, weights: Tensor, rows: Tensor) -> Tensor:
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
        weights: Float[Tensor, " node"],
        rows: Tensor,
        states: Iterable[Float[Tensor, "known row token d"]],
        gradients: Sequence[Float[Tensor, "node row token d"]],
    ) -> Float[Tensor, "row layer token"]:
        """Sum over the nodes, from gradients at them and from the states above the first layer where these are known.

        `derivative` takes known states to directions at the nodes.
        """
        along = (derivative * weights.to(derivative)[:, None]).to(gradients[0])
        scores = [self._of_line(weights, rows, gradients[0])]
        for gradient, known in zip(gradients[1:], states, strict=True):
            pulled = torch.einsum("nm,nrtd->mrtd", along, gradient)
            scores.append((pulled * known).sum((0, 3)))
        return torch.stack(scores, 1) * self.layers.kept[rows][:, None]

    def _of_line(self, weights: Tensor, rows: Tensor, gradients: Tensor) -> Float[Tensor, "row token"]:
        """At the first layer the path is straight; a head may answer in another precision than its blocks compute."""
        return torch.einsum("n,nrtd,rtd->rt", weights.to(gradients), gradients, self.slope[rows])

    most = MOST_OF_SHORT

    def groups(self, rows: Tensor, max_points: int) -> Iterator[tuple[Tensor, int]]:
        """Rows that are integrated together, and the nodes that a panel of theirs may keep."""
        long = self.layers.kept[rows].sum(1) > LONG
        for some, most in ((rows[~long], MOST_OF_SHORT), (rows[long], MOST_OF_LONG)):
            at_once = max(1, KEPT_NODES * max_points // most)
            for part in some.split(at_once) if len(some) else ():
                yield part, most

    def samples(self, targets: Tensor, start: float, end: float, family: Family) -> "_InputSamples":
        assert self.power == 1
        return _InputSamples(self, targets, start, end, family)

    def states_at(self, point: float, rows: Tensor) -> list[Float[Tensor, "one row token d"]]:
        """States of every layer at one point of the path; at its end they are those of the input."""
        known = {0.0: self.images, 1.0: self.layers.states}.get(point)
        if known is not None:
            return [states[rows][None] for states in known]
        node = self.start.new_tensor([point])
        with torch.no_grad():
            parts = [self.layers.trace(self.states(node, some), some)[0] for some in self.pieces(1, rows)]
        return [torch.cat(same)[None] for same in zip(*parts, strict=True)]

    def traced(self, nodes: Tensor, rows: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """States and gradients at every layer, ``[node, row, token, d]``, as many nodes at once as fit."""
        states: list[list[Tensor]] = []
        gradients: list[list[Tensor]] = []
        for some in nodes.split(max(1, self.max_points // len(rows))):
            with torch.enable_grad():
                leaf = self.states(some, rows).requires_grad_()
                found, value = self.layers.trace(leaf, rows.repeat(len(some)))
                parts = torch.autograd.grad(value.sum(), found, materialize_grads=True)
            states.append([each.detach().unflatten(0, (len(some), len(rows))) for each in found])
            gradients.append([each.unflatten(0, (len(some), len(rows))) for each in parts])
        return [torch.cat(each) for each in zip(*states, strict=True)], [
            torch.cat(each) for each in zip(*gradients, strict=True)
        ]

    def _derivative(self, nodes: Tensor) -> Tensor:
        """d/da at the nodes of a polynomial in t, where a = t ** power."""
        t = nodes.double().cpu().numpy() ** (1 / self.power)
        speed = self.power * t ** (self.power - 1)
        return torch.from_numpy(differentiation(tuple(t.tolist())) / speed[:, None])

    def level(self, point: float, targets: Tensor) -> Tensor:
        node = self.start.new_tensor([point])
        with torch.no_grad():
            levels = [self.layers.run(0, self.states(node, some), some) for some in self.pieces(1, targets)]
        return (torch.cat(levels) - self.base[targets])[:, None].expand(-1, self.layers.n_layers + 1)


class _InputSamples:
    """States and gradients of every layer at the nodes of one panel, and states at its ends."""

    def __init__(self, path: _InputPath, rows: Tensor, start: float, end: float, family: Family):
        self.path, self.rows, self.length, self.family = path, rows, end - start, family
        self.ends = [path.states_at(start, rows), path.states_at(end, rows)]
        self.states: list[Tensor] = []
        self.gradients: list[Tensor] = []

    def add(self, nodes: Tensor, is_new: Tensor) -> None:
        states, gradients = self.path.traced(nodes, self.rows)
        if self.states:
            states = [interleaved(*pair, is_new) for pair in zip(self.states, states, strict=True)]
            gradients = [interleaved(*pair, is_new) for pair in zip(self.gradients, gradients, strict=True)]
        self.states, self.gradients = states, gradients

    def scores(self, weights: Tensor) -> Tensor:
        derivative = torch.from_numpy(derivative_inside(len(weights), self.family) / self.length)
        return self.path.weighed(derivative, weights, self.rows, self._known(), self.gradients)

    def _known(self) -> Iterator[Tensor]:
        """Of one layer above the first at a time: joined, they are a copy."""
        first, last = self.ends
        for parts in zip(first[1:], self.states[1:], last[1:], strict=True):
            yield torch.cat(parts)

    def keep(self, chosen: Tensor) -> None:
        if bool(chosen.all()):
            return
        self.rows = self.rows[chosen]
        self.states = [each[:, chosen] for each in self.states]
        self.gradients = [each[:, chosen] for each in self.gradients]
        self.ends = [[each[:, chosen] for each in end] for end in self.ends]


@lru_cache(maxsize=16)
def derivative_inside(n_nodes: int, family: Family = spread) -> np.ndarray:
    """Derivative at the nodes of a nested rule on [0, 1], from values at the nodes and at both ends.

    Of a polynomial in the variable in which the rule is one. Its points are Chebyshev's, ends included, where such a
    derivative is stable; without the ends it would be extrapolated there.
    """
    s = np.asarray(fejer(n_nodes).nodes)
    if family is fejer or n_nodes < LEAST_STRETCHED:
        return differentiation((0.0, *family(n_nodes).nodes, 1.0))[1:-1]
    slope = stretch(s)[1]
    inside: np.ndarray = differentiation((0.0, *s.tolist(), 1.0))[1:-1] / slope[:, None]
    return inside


@lru_cache(maxsize=256)
def differentiation(nodes: tuple[float, ...]) -> np.ndarray:
    """Matrix that takes a polynomial's values at the nodes to its derivative there (Berrut and Trefethen 2004).

    Examples
    --------
    The derivative of t squared at 0, 1 and 3:

    >>> (differentiation((0.0, 1.0, 3.0)) @ [0.0, 1.0, 9.0]).round(12).tolist()
    [0.0, 2.0, 6.0]
    """
    t = np.asarray(nodes)
    difference = t[:, None] - t[None, :]
    np.fill_diagonal(difference, 1.0)
    # Distances are measured in quarters of the panel: their product then neither overflows nor vanishes.
    weight = 1 / np.prod(difference * 4 / (np.ptp(t) or 1.0), axis=1)
    matrix = weight[None, :] / weight[:, None] / difference
    np.fill_diagonal(matrix, 0.0)
    np.fill_diagonal(matrix, -matrix.sum(1))
    return matrix


def at_both_ends(
    layers: Layers, start: Float[Tensor, "row token d"], moves: Bool[Tensor, "row token"], max_points: int
) -> tuple[Float[Tensor, "row token"], Float[Tensor, "row token"]]:
    """What each token does alone: added to an input where all others are blank, removed from the full one.

    These are the ends of the integral over contexts whose middle integrated gradients sample (docs/method.md).

    Parameters
    ----------
    start
        States of the blank input at the first layer.
    moves
        Tokens that are not the same in both.

    Returns
    -------
    F with the token alone − F of the blank input; F − F without the token.
    """
    added, removed = torch.zeros_like(moves, dtype=start.dtype), torch.zeros_like(moves, dtype=start.dtype)
    rows, places = moves.nonzero(as_tuple=True)
    with torch.no_grad():
        blank = _in_pieces(lambda some: layers.run(0, start[some], some), _rows(layers), max_points)
        for some in range(0, len(rows), max_points):
            row, place = rows[some : some + max_points], places[some : some + max_points]
            points = torch.arange(len(row), device=row.device)
            alone, missing = start[row], layers.states[0][row]
            alone[points, place], missing[points, place] = missing[points, place], alone[points, place]
            added[row, place] = layers.run(0, alone, row) - blank[row]
            removed[row, place] = layers.value[row] - layers.run(0, missing, row)
    return added, removed


def gradient_at(
    layers: Layers, layer: int, states: Float[Tensor, "point token d"], index: Int[Tensor, " point"]
) -> Float[Tensor, "point token d"]:
    """Derivative of F with respect to the states that enter a layer."""
    with torch.enable_grad():
        leaf = states.detach().requires_grad_()
        value = layers.run(layer, leaf, index)
        (gradient,) = torch.autograd.grad(value.sum(), leaf)
    return gradient


def power_of(layers: Layers, layer: int, start: Tensor) -> int:
    """Paths are graded where tokens start at nothing; those of padding do not count."""
    from_nothing = ~start.any(-1) & layers.states[layer].any(-1) & layers.kept
    return GRADED_POWER if bool(from_nothing.any()) else 1


def _rows(layers: Layers) -> Tensor:
    return torch.arange(len(layers.value), device=layers.value.device)


def _in_pieces(function: Callable[[Tensor], Tensor], rows: Tensor, size: int) -> Tensor:
    return torch.cat([function(some) for some in rows.split(max(1, size))])


def _joined(parts: Sequence[LayerIG]) -> LayerIG:
    errors = [part.error for part in parts if part.error is not None]
    return LayerIG(
        torch.cat([part.scores for part in parts], 1),
        torch.cat([part.displacement for part in parts], 1),
        torch.cat([part.gap for part in parts], 1),
        torch.cat([part.allowed for part in parts], 1),
        torch.cat([part.n_nodes for part in parts], 1),
        torch.cat(errors, 1) if errors else None,
    )
