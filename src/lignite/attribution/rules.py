"""Rules: nodes on a path and their weights, alone, inside one another, or crowded where a path turns."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from lignite.attribution.axes import Nodes


@dataclass(frozen=True)
class Rule:
    """A rule is nodes in (0, 1) and their weights, which add up to one."""

    nodes: tuple[float, ...]
    weights: tuple[float, ...]


@lru_cache(maxsize=64)
def gauss_legendre(n_nodes: int) -> Rule:
    """Make Gauss-Legendre on [0, 1]: exact for polynomials of degree 2n - 1, and never at an end of the interval.

    Examples
    --------
    >>> gauss_legendre(1)
    Rule(nodes=(0.5,), weights=(1.0,))
    """
    nodes, weights = np.polynomial.legendre.leggauss(n_nodes)
    return Rule(tuple(((nodes + 1) / 2).tolist()), tuple((weights / 2).tolist()))


@lru_cache(maxsize=64)
def graded(n_nodes: int, power: int, start: float = 0.0, end: float = 1.0) -> Rule:
    """Grade Gauss-Legendre by a = t ** power, between two points of t: nodes crowd near a = 0, where a norm turns.

    Examples
    --------
    The change of variable leaves a constant exact as soon as n nodes reach degree power - 1:

    >>> round(sum(graded(4, 2).weights), 12)
    1.0
    """
    rule, length = gauss_legendre(n_nodes), end - start
    t = [node * length + start for node in rule.nodes]
    weights = (weight * length * power * at ** (power - 1) for weight, at in zip(rule.weights, t, strict=True))
    return Rule(tuple(at**power for at in t), tuple(weights))


@lru_cache(maxsize=64)
def panel_rule(
    n_nodes: int, start: float, end: float, power: int, dtype: torch.dtype, device: torch.device
) -> tuple[Nodes, Nodes]:
    """Make nodes and weights of `graded` tensors, the same ones for all who ask."""
    rule = graded(n_nodes, power, start, end)
    return torch.tensor(rule.nodes, dtype=dtype, device=device), torch.tensor(rule.weights, dtype=dtype, device=device)


@lru_cache(maxsize=64)
def halves_rule(
    n_nodes: int, start: float, end: float, power: int, dtype: torch.dtype, device: torch.device
) -> tuple[Nodes, Nodes]:
    """Make the nodes of both halves of a panel, one after the other, and last the point between: it weighs nothing."""
    middle = (start + end) / 2
    point = torch.full((1,), middle**power, dtype=dtype, device=device)
    halves = [panel_rule(n_nodes, *ends, power, dtype, device) for ends in ((start, middle), (middle, end))]
    nodes, weights = (torch.cat(parts) for parts in zip(*halves, (point, torch.zeros_like(point)), strict=True))
    return nodes, weights


@lru_cache(maxsize=64)
def foreseen_rule(n_nodes: int, power: int, dtype: torch.dtype, device: torch.device) -> tuple[Nodes, Nodes]:
    """Put the nodes of both halves of the first panel after those of `started_rule`."""
    rules = started_rule(n_nodes, power, dtype, device), halves_rule(n_nodes, 0.0, 1.0, power, dtype, device)
    nodes, weights = (torch.cat(parts) for parts in zip(*rules, strict=True))
    return nodes, weights


@lru_cache(maxsize=64)
def started_rule(n_nodes: int, power: int, dtype: torch.dtype, device: torch.device) -> tuple[Nodes, Nodes]:
    """Put a node at the start, which weighs nothing, before the rule of the first panel."""
    nodes, weights = panel_rule(n_nodes, 0.0, 1.0, power, dtype, device)
    nothing = torch.zeros_like(nodes[:1])
    return torch.cat([nothing, nodes]), torch.cat([nothing, weights])


NESTED = (1, 3, 5, 7, 11, 15, 23, 31, 47, 63)
"""Nodes of a panel, one rule inside the next."""

FIRST_NESTED = 15
"""Where nested rules begin: of thirty sentences on a trained classifier, none was content with fewer nodes."""


def angles(n_nodes: int) -> Float[np.ndarray, " node"]:
    """List the angles of Chebyshev's points in a nested rule, as shares of π, falling: the nodes rise.

    All multiples of 1 / N inside (0, 1) for N - 1 nodes, N a power of two. For 3 N / 4 - 1 nodes every second odd
    multiple is left out, counted from either end: those next to the ends, where polynomials swing widest, are there.

    Examples
    --------
    >>> angles(5) * 8
    array([7., 6., 4., 2., 1.])
    """
    every = _is_power_of_two(n_nodes + 1)
    parts, rest = (n_nodes + 1, 0) if every else divmod(4 * (n_nodes + 1), 3)
    multiple = np.arange(parts - 1, 0, -1)
    multiple = multiple[every | (multiple % 2 == 0) | (np.minimum(multiple, parts - multiple) % 4 == 1)]
    if rest or not _is_power_of_two(parts) or len(multiple) != n_nodes:
        raise ValueError(f"no nested rule has {n_nodes} nodes")
    return multiple / parts


def _is_power_of_two(number: int) -> bool:
    return number > 0 and number & (number - 1) == 0


def fresh(n_nodes: int, known: int) -> Bool[np.ndarray, " node"]:
    """Find the nodes of a nested rule that the smaller one does not have; none is known of a rule of 0 nodes.

    Examples
    --------
    >>> fresh(5, 3)
    array([ True, False, False, False,  True])
    """
    return ~np.isin(angles(n_nodes), angles(known))


@lru_cache(maxsize=64)
def fejer(n_nodes: int) -> Rule:
    """Interpolate at `angles` on [0, 1]: Fejér's second rule where no multiple is left out, and nested.

    Exact to degree n − 1, and in practice as good as Gauss-Legendre until rounding (Trefethen 2008, SIAM Review 50, 1).

    Examples
    --------
    >>> [round(node, 4) for node in fejer(3).nodes]
    [0.1464, 0.5, 0.8536]
    """
    angle = angles(n_nodes) * np.pi
    degree = np.arange(n_nodes)
    integrals = np.where(degree % 2 == 0, 2.0, 0.0) / (1 - degree**2 + (degree == 1))
    weights = np.linalg.solve(np.cos(np.outer(degree, angle)), integrals)
    return Rule(tuple(((np.cos(angle) + 1) / 2).tolist()), tuple((weights / 2).tolist()))


STRETCH = (40320, 6720, 3024, 1800, 1225)
"""Coefficients of s, s³, … s⁹ of the arcsine's series, times 40320: it undoes most of a cosine's crowding."""

LEAST_STRETCHED = 11
"""Rules of fewer nodes are polynomials in a: the stretched ones are no better there, and not exact for a constant."""


def stretch(s: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Map [0, 1] to itself so that nodes crowded at its ends spread out; also the map's derivative.

    The stretched variable of Hale and Trefethen (2008, SIAM Journal on Numerical Analysis 46, 2).
    """
    series = np.polynomial.Polynomial(np.kron(STRETCH, (0, 1)) / sum(STRETCH))
    return (series(2 * s - 1) + 1) / 2, series.deriv()(2 * s - 1)


@lru_cache(maxsize=64)
def spread(n_nodes: int) -> Rule:
    """Stretch `fejer`, whose nodes stay nested: what they resolve is the same everywhere on [0, 1].

    A path of a model turns anywhere, and nodes that crowd at its ends are missing in the middle (docs/method.md). Rules
    of few nodes are exact to degree n − 1, others to degree (n − 9) / 9 at least.

    Examples
    --------
    >>> [round(node, 4) for node in spread(3).nodes]
    [0.2021, 0.5, 0.7979]
    """
    rule = fejer(n_nodes)
    nodes, slope = stretch(np.asarray(rule.nodes))
    if n_nodes >= LEAST_STRETCHED:
        return Rule(tuple(nodes.tolist()), tuple((slope * rule.weights).tolist()))
    powers = np.polynomial.legendre.legvander(2 * nodes - 1, n_nodes - 1).T
    return Rule(tuple(nodes.tolist()), tuple(np.linalg.solve(powers, np.eye(n_nodes)[0]).tolist()))


Family = Callable[[int], Rule]
"""Nested rules by their number of nodes: `spread` for a whole path, `fejer` for its panels."""


@lru_cache(maxsize=64)
def coarse_weights(n_nodes: int, family: Family) -> Float[np.ndarray, " node"]:
    """Weigh the nodes of a nested rule by the rule before it; before the smallest there is none, and all weigh zero.

    Examples
    --------
    >>> coarse_weights(3, spread).tolist()
    [0.0, 1.0, 0.0]
    """
    smaller = max((n for n in NESTED if n < n_nodes), default=0)
    weights = np.zeros(n_nodes)
    if smaller:
        weights[~fresh(n_nodes, smaller)] = family(smaller).weights
    return weights


@lru_cache(maxsize=64)
def nested_rule(
    n_nodes: int,
    known: int,
    power: int,
    start: float,
    end: float,
    family: Family,
    dtype: torch.dtype,
    device: torch.device,
) -> tuple[Float[Tensor, " fresh"], Nodes, Nodes]:
    """Make a nested rule between two points of t, graded as in `graded`; the same tensors for all who ask.

    Returns
    -------
    Nodes that the rule of `known` nodes does not have, the weights of all, and those of the rule before.
    """
    rule, length = family(n_nodes), end - start
    t = torch.tensor(rule.nodes, dtype=torch.float64) * length + start
    speed = length * power * t ** (power - 1)
    new = torch.from_numpy(fresh(n_nodes, known))
    weights = torch.tensor(rule.weights, dtype=torch.float64), torch.from_numpy(coarse_weights(n_nodes, family))
    fine, coarse = ((each * speed).to(device, dtype) for each in weights)
    return (t**power)[new].to(device, dtype), fine, coarse


def interleaved(
    known: Float[Tensor, "known *any"], new: Float[Tensor, "new *any"], is_new: Bool[Tensor, " node"]
) -> Float[Tensor, "node *any"]:
    """Put the nodes of the larger rule in order, those that a smaller one had and those that it had not."""
    joined = new.new_empty(len(is_new), *new.shape[1:])
    joined[is_new], joined[~is_new] = new, known
    return joined


@lru_cache(maxsize=16)
def derivative_inside(n_nodes: int, family: Family = spread) -> np.ndarray:
    """Make the matrix from values at a nested rule's nodes, and at both ends of [0, 1], to derivatives at the nodes.

    Of a polynomial in the variable in which the rule is one. Its points are Chebyshev's, ends included, where such a
    derivative is stable; without the ends it would be extrapolated there.
    """
    s = np.asarray(fejer(n_nodes).nodes)
    if family is fejer or n_nodes < LEAST_STRETCHED:
        return differentiation((0.0, *family(n_nodes).nodes, 1.0))[1:-1]
    slope = stretch(s)[1]
    return np.asarray(differentiation((0.0, *s.tolist(), 1.0))[1:-1] / slope[:, None])


@lru_cache(maxsize=256)
def differentiation(nodes: tuple[float, ...]) -> np.ndarray:
    """Make the matrix from a polynomial's values at the nodes to its derivative there (Berrut and Trefethen 2004).

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
