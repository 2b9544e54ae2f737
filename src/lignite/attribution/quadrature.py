"""Integrate along a path, with a certificate: more nodes, or shorter panels, until what is missed is within bounds."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from lignite.attribution.refinement import Panel, Piece, Row, Scores, pieces, refine, replace_refined, within
from lignite.tolerance import size_among_targets

NODES_PER_PANEL = 6
"""Gauss-Legendre nodes of one panel: smooth paths end after one panel, and a bisection costs twelve nodes."""


@dataclass(frozen=True)
class Rule:
    """Nodes in (0, 1) and their weights, which add up to one."""

    nodes: tuple[float, ...]
    weights: tuple[float, ...]


@lru_cache(maxsize=64)
def gauss_legendre(n_nodes: int) -> Rule:
    """Gauss-Legendre on [0, 1]: exact for polynomials of degree 2n - 1, and never at an end of the interval.

    Examples
    --------
    >>> gauss_legendre(1)
    Rule(nodes=(0.5,), weights=(1.0,))
    """
    nodes, weights = np.polynomial.legendre.leggauss(n_nodes)
    return Rule(tuple(((nodes + 1) / 2).tolist()), tuple((weights / 2).tolist()))


@lru_cache(maxsize=64)
def graded(n_nodes: int, power: int) -> Rule:
    """Gauss-Legendre in t with a = t ** power, which crowds the nodes where a norm turns the path: near a = 0.

    Examples
    --------
    The change of variable leaves a constant exact as soon as n nodes reach degree power - 1:

    >>> round(sum(graded(4, 2).weights), 12)
    1.0
    """
    rule = gauss_legendre(n_nodes)
    nodes = tuple(t**power for t in rule.nodes)
    weights = tuple(w * power * t ** (power - 1) for t, w in zip(rule.nodes, rule.weights, strict=True))
    return Rule(nodes, weights)


NESTED = (1, 3, 5, 7, 11, 15, 23, 31, 47, 63)
"""Nodes of a panel, one rule inside the next."""

FIRST_NESTED = 15
"""Where nested rules begin: of thirty sentences on a trained classifier, none was content with fewer nodes."""


def angles(n_nodes: int) -> Float[np.ndarray, " node"]:
    """Angles of Chebyshev's points in a nested rule, as shares of π, falling: the nodes rise.

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
    """Nodes of a nested rule that the smaller one does not have; none is known of a rule of 0 nodes.

    Examples
    --------
    >>> fresh(5, 3)
    array([ True, False, False, False,  True])
    """
    return ~np.isin(angles(n_nodes), angles(known))


@lru_cache(maxsize=64)
def fejer(n_nodes: int) -> Rule:
    """Interpolation at `angles` on [0, 1]: Fejér's second rule where no multiple is left out, and nested.

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
    """Nodes of `fejer`, nested as they are, stretched: what they resolve is the same everywhere on [0, 1].

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


@runtime_checkable
class Integrand(Protocol):
    """What is integrated: a map's readout along its path, for many targets at once."""

    def scores(
        self, nodes: Float[Tensor, " node"], weights: Float[Tensor, " node"], targets: Int[Tensor, " target"]
    ) -> Scores:
        """Weighted sum over the nodes of every target's scores."""
        ...

    def level(self, point: float, targets: Int[Tensor, " target"]) -> Float[Tensor, " target *head"]:
        """The readout at one point of the path."""
        ...


@runtime_checkable
class Samples(Protocol):
    """What is known of one panel for some targets; more nodes may come in between."""

    def add(self, nodes: Float[Tensor, " new"], is_new: Bool[Tensor, " node"]) -> None:
        """Evaluate nodes that come in between those that are there; `is_new` has their places in the larger rule."""
        ...

    def scores(self, weights: Float[Tensor, " node"]) -> Float[Tensor, " target *head source"]:
        """Weighted sum over all nodes, in their order."""
        ...

    def keep(self, chosen: Bool[Tensor, " target"]) -> None:
        """Forget the other targets."""
        ...


@runtime_checkable
class Sampled(Protocol):
    """An integrand whose nodes are kept, so that they can be weighed anew. `most` is how many fit on a panel."""

    most: int

    def samples(self, targets: Int[Tensor, " target"], start: float, end: float, family: "Family") -> Samples:
        """Nothing yet is known of the panel between these points of the path; its nodes will be of this family."""
        ...

    def level(self, point: float, targets: Int[Tensor, " target"]) -> Float[Tensor, " target *head"]:
        """The readout at one point of the path."""
        ...


@dataclass(frozen=True)
class Integral:
    """Scores with their certificate.

    `displacement` is the number the scores explain, `gap` what they miss of it (their sum minus `displacement`),
    `allowed` the largest gap within the tolerance, `n_nodes` how many nodes each target needed. `reached` is the
    smallest tolerance that would have been content: with what panels miss, added without their signs.
    """

    scores: Scores
    displacement: Float[Tensor, " target *head"]
    gap: Float[Tensor, " target *head"]
    n_nodes: Int[Tensor, " target"]
    allowed: Float[Tensor, " target *head"]
    tol: float
    most: Float[Tensor, " target"] | None = None

    @property
    def reached(self) -> Float[Tensor, " target"]:
        if self.most is not None:
            return self.most
        share = self.gap.abs() / (self.allowed / self.tol)
        return share.nan_to_num(nan=0.0).reshape(len(share), -1).amax(1)

    @property
    def converged(self) -> Bool[Tensor, " target"]:
        """Whether the gaps of all heads of a target are within what is allowed."""
        return within(self.gap, self.allowed)


def integrate(
    integrand: Integrand,
    displacement: Float[Tensor, " target *head"],
    targets: Int[Tensor, " target"],
    *,
    tol: float,
    max_steps: int,
    n_steps: int | None = None,
    power: int = 1,
    size: Float[Tensor, "target *head"] | None = None,
    scale: Float[Tensor, "target *head"] | None = None,
    panel: int = NODES_PER_PANEL,
) -> Integral:
    """Integrate until every target's gap is within `tol` of its displacement.

    Every panel has an exact error for free: the sum of its scores against the change of the readout over it
    (completeness holds on each panel, see docs/method.md). Panels that miss most are halved, for the targets that miss.

    Parameters
    ----------
    integrand
        The readout is zero at a = 0, where no node is ever placed: an L2 readout has no gradient there.
    displacement, targets
        The readout at a = 1 of every target (and head), and the tokens that are targets.
    tol, max_steps
        Largest accepted gap relative to the displacement, and the most nodes a target may take.
    n_steps
        A fixed graded rule of so many nodes instead; then `tol` only decides `converged`.
    power
        Panels are cut in t, with a = t ** power.
    size
        What `tol` is relative to; by default that of a flow, `size_among_targets`.
    scale
        Magnitude of what the readout is a difference of, if that is larger: it rounds accordingly.
    panel
        Nodes of one panel.

    Returns
    -------
    Scores whose sums differ from `displacement` by `gap`. A target that reaches `max_steps`, or the rounding of its
    precision, keeps its best scores and may not be `converged`.
    """
    opened = Opened(
        integrand, displacement, targets, tol=tol, max_steps=max_steps, n_steps=n_steps, power=power, size=size,
        scale=scale, panel=panel,
    )  # fmt: skip
    return opened.close(opened.failing.tolist())


class Opened:
    """An integral whose first panel is evaluated: `content` tells which targets it suffices for, `failing` the others.

    Reading that off a device waits for it, so that several integrals are better asked at once. Options are those of
    `integrate`.
    """

    def __init__(
        self,
        integrand: Integrand,
        displacement: Float[Tensor, " target *head"],
        targets: Int[Tensor, " target"],
        *,
        tol: float,
        max_steps: int,
        n_steps: int | None = None,
        power: int = 1,
        size: Float[Tensor, "target *head"] | None = None,
        scale: Float[Tensor, "target *head"] | None = None,
        panel: int = NODES_PER_PANEL,
    ):
        self.displacement, self.scale, self.tol, self.max_steps = displacement, scale, tol, max_steps
        self.size = size_among_targets(displacement, displacement.abs().median()) if size is None else size
        self.allowed = tol * self.size
        self.n_nodes = n_steps or min(panel, max_steps)
        self.evaluation = _Gauss(integrand, targets, power, self.n_nodes)
        self.n_targets = len(targets)
        self.totals = self.evaluation.first(displacement.dtype)
        self.gap = self.totals["scores"].sum(-1) - displacement
        self.refines = n_steps is None
        self.content: Bool[Tensor, " target"] = within(self.gap, self.allowed)

    @property
    def failing(self) -> Bool[Tensor, " target"]:
        return ~self.content

    def close(self, failing: Sequence[bool | float]) -> Integral:
        """Refine the targets that are `failing`, which was read by the caller."""
        used = as_many(self.n_targets, self.n_nodes, self.gap.device)
        numbers = [number for number, missing in enumerate(failing) if missing] if self.refines else []
        if not numbers:
            return Integral(self.totals, self.displacement, self.gap, used, self.allowed, self.tol)
        reached = Integral(self.totals, self.displacement, self.gap, used, self.allowed, self.tol).reached
        whole = self.evaluation.whole(self.totals, self.displacement)
        roots, limits = pieces(whole), _Limits(self.size, self.displacement, self.scale)
        refined = [limits.row(number, roots[number], self.n_nodes) for number in numbers]
        refine(refined, self.evaluation, tol=self.tol, max_steps=self.max_steps)
        totals, used = {name: part.clone() for name, part in self.totals.items()}, used.clone()
        _finish(totals, used, reached, refined)
        return Integral(
            totals,
            self.displacement,
            totals["scores"].sum(-1) - self.displacement,
            used,
            self.allowed,
            self.tol,
            reached,
        )


def integrate_nested(
    integrand: Sampled,
    displacement: Float[Tensor, " target *head"],
    targets: Int[Tensor, " target"],
    *,
    tol: float,
    size: Float[Tensor, " target *head"],
    max_steps: int,
    power: int = 1,
    scale: Float[Tensor, " target *head"] | None = None,
) -> Integral:
    """As `integrate`, with rules inside one another: the path takes more nodes first, and is halved after that.

    Paths of a whole model are long but smooth, so that more nodes on one panel pay more than shorter panels, and no
    evaluation is thrown away on the way. The rules are those of `spread`. A sum can be right by chance while its parts
    are wrong; so the scores must also have settled since the rule before (docs/method.md), unless `max_steps` ends the
    search.
    """
    rules = [n_nodes for n_nodes in NESTED if n_nodes <= min(integrand.most, max_steps)]
    first = min(FIRST_NESTED, rules[-1])
    grown, totals = _grow(integrand, displacement, targets, [n for n in rules if n >= first], tol, size, power, scale)
    evaluation = _Nested(integrand, targets, power, first)
    refine([row for row in grown if not row.is_exact()], evaluation, tol=tol, max_steps=max_steps)
    used = torch.zeros(len(targets), dtype=torch.long, device=targets.device)
    reached = torch.zeros_like(size).reshape(len(targets), -1).amax(1)
    _finish(totals, used, reached, grown)
    return Integral(totals, displacement, totals["scores"].sum(-1) - displacement, used, tol * size, tol, reached)


def _grow(
    integrand: Sampled,
    displacement: Float[Tensor, " target *head"],
    targets: Int[Tensor, " target"],
    rules: Sequence[int],
    tol: float,
    size: Float[Tensor, " target *head"],
    power: int,
    scale: Float[Tensor, " target *head"] | None,
) -> tuple[list[Row], Scores]:
    """The whole path by one rule after the other, for the targets that miss; and scores to be replaced by theirs."""
    limits = _Limits(size, displacement, scale)
    rows = torch.arange(len(targets), device=targets.device)
    samples = integrand.samples(targets, 0.0, 1.0, spread)
    found: list[Row] = []
    totals: Scores = {}
    known, before = 0, None
    for n_nodes in rules:
        levels = torch.zeros_like(displacement[rows]), displacement[rows]
        panel = _sampled(samples, spread, (known, n_nodes), before, (0.0, 1.0), rows, levels, power)
        roots, masses = pieces(panel), limits.mass(panel, rows)
        if not found:
            found = [limits.row(number, root, n_nodes, masses[number]) for number, root in enumerate(roots)]
            totals = {name: torch.zeros_like(part) for name, part in panel.scores.items()}
        else:
            for number, root, mass in zip(rows.tolist(), roots, masses, strict=True):
                found[number].used = n_nodes
                found[number].offer(root, mass)
        going_on = [found[number].missed > tol and not found[number].is_exact() for number in rows.tolist()]
        if not any(going_on):
            break
        chosen = torch.tensor(going_on, device=rows.device)
        rows, known, before = rows[chosen], n_nodes, panel.scores["scores"][chosen]
        samples.keep(chosen)
    return found, totals


def _sampled(
    samples: Samples,
    family: Family,
    rules: tuple[int, int],
    before: Float[Tensor, " target *head source"] | None,
    ends: tuple[float, float],
    rows: Int[Tensor, " target"],
    levels: tuple[Tensor, Tensor],
    power: int,
) -> Panel:
    """A panel by the second of two nested rules, the first of which is evaluated and gave the scores `before`.

    Where nothing is evaluated, the scores are compared with those of the next smaller rule: its nodes are among them.
    """
    known, n_nodes = rules
    start, length = ends[0], ends[1] - ends[0]
    rule = family(n_nodes)
    t = torch.tensor(rule.nodes, dtype=torch.float64) * length + start
    speed = length * power * t ** (power - 1)
    new = torch.from_numpy(fresh(n_nodes, known))
    samples.add((t**power)[new].to(levels[1]), new)
    sums = samples.scores((torch.tensor(rule.weights, dtype=torch.float64) * speed).to(levels[1]))
    if before is None:
        before = samples.scores((torch.from_numpy(coarse_weights(n_nodes, family)) * speed).to(levels[1]))
    return Panel(*ends, n_nodes, rows, *levels, {"scores": sums}, (sums - before).abs().sum(-1))


@lru_cache(maxsize=64)
def coarse_weights(n_nodes: int, family: Family) -> Float[np.ndarray, " node"]:
    """Weights of the nested rule before, at the nodes of this one; the smallest has nothing before it, and weighs zero.

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
def panel_rule(
    n_nodes: int, start: float, end: float, power: int, dtype: torch.dtype, device: torch.device
) -> tuple[Float[Tensor, " node"], Float[Tensor, " node"]]:
    """Nodes and weights of a panel that is cut in t, with a = t ** power; the same tensors for all who ask."""
    rule, length = gauss_legendre(n_nodes), end - start
    t = [node * length + start for node in rule.nodes]
    weights = [weight * length * power * each ** (power - 1) for weight, each in zip(rule.weights, t, strict=True)]
    nodes = [each**power for each in t]
    return torch.tensor(nodes, dtype=dtype, device=device), torch.tensor(weights, dtype=dtype, device=device)


@lru_cache(maxsize=64)
def started_rule(
    n_nodes: int, power: int, dtype: torch.dtype, device: torch.device
) -> tuple[Float[Tensor, " node"], Float[Tensor, " node"]]:
    """The rule of the first panel, after a node at the start that weighs nothing."""
    nodes, weights = panel_rule(n_nodes, 0.0, 1.0, power, dtype, device)
    nothing = torch.zeros_like(nodes[:1])
    return torch.cat([nothing, nodes]), torch.cat([nothing, weights])


@lru_cache(maxsize=64)
def as_many(n_targets: int, n_nodes: int, device: torch.device) -> Int[Tensor, " target"]:
    """The same number of nodes for every target; nobody writes into it."""
    return torch.full((n_targets,), n_nodes, device=device)


class _Limits:
    """What the errors of every target are compared with."""

    def __init__(self, size: Tensor, displacement: Tensor, scale: Tensor | None):
        largest = displacement.abs() if scale is None else torch.maximum(displacement.abs(), scale)
        self.size_of = size
        self.size = _flat(size)
        self.rounding = _flat(largest) * torch.finfo(displacement.dtype).eps

    def mass(self, panel: Panel, rows: Tensor) -> Float[np.ndarray, "target head"]:
        """Magnitude of the scores, or what their sum is compared with where that is more."""
        return _flat(torch.maximum(panel.scores["scores"].abs().sum(-1), self.size_of[rows]))

    def row(self, number: int, root: Piece, used: int, mass: Float[np.ndarray, " head"] | None = None) -> Row:
        size = self.size[number]
        return Row(number, root, size, size if mass is None else mass, self.rounding[number], used)


def _flat(values: Float[Tensor, " target *head"]) -> Float[np.ndarray, "target head"]:
    return values.detach().reshape(len(values), -1).double().cpu().numpy()


def _finish(totals: Scores, used: Tensor, reached: Tensor, rows: Sequence[Row]) -> None:
    replace_refined(totals, rows)
    numbers = [row.number for row in rows]
    used[numbers] = used.new_tensor([row.used for row in rows])
    reached[numbers] = reached.new_tensor([row.missed for row in rows])


def interleaved(
    known: Float[Tensor, "known *any"] | None, new: Float[Tensor, "new *any"], is_new: Bool[Tensor, " node"]
) -> Float[Tensor, "node *any"]:
    """Nodes of the larger rule in order, from those that a smaller one had and those that it had not."""
    if known is None:
        return new
    joined = new.new_empty(len(is_new), *new.shape[1:])
    joined[is_new], joined[~is_new] = new, known
    return joined


@dataclass(frozen=True)
class _Gauss:
    """Panels by a Gauss-Legendre rule, added up as they are evaluated."""

    integrand: Integrand
    targets: Int[Tensor, " target"]
    power: int
    n_nodes: int

    def first(self, dtype: torch.dtype) -> Scores:
        """Scores of the whole path, for every target."""
        rule = panel_rule(self.n_nodes, 0.0, 1.0, self.power, dtype, self.targets.device)
        return self.integrand.scores(*rule, self.targets)

    def whole(self, scores: Scores, displacement: Tensor) -> Panel:
        """The panel that was `first`."""
        rows = torch.arange(len(self.targets), device=self.targets.device)
        return Panel(0.0, 1.0, self.n_nodes, rows, torch.zeros_like(displacement), displacement, scores)

    def panel(self, start: float, end: float, rows: Tensor, level_start: Tensor, level_end: Tensor) -> Panel:
        nodes, weights = panel_rule(self.n_nodes, start, end, self.power, level_end.dtype, level_end.device)
        scores = self.integrand.scores(nodes, weights, self.targets[rows])
        return Panel(start, end, self.n_nodes, rows, level_start, level_end, scores)

    def level(self, point: float, rows: Tensor) -> Tensor:
        return self.integrand.level(point**self.power, self.targets[rows])


@dataclass(frozen=True)
class _Nested:
    """Panels by one of Fejér's rules, which gain with every halving as polynomials do; nothing evaluated is kept."""

    integrand: Sampled
    targets: Int[Tensor, " target"]
    power: int
    n_nodes: int

    def panel(self, start: float, end: float, rows: Tensor, level_start: Tensor, level_end: Tensor) -> Panel:
        samples = self.integrand.samples(self.targets[rows], start**self.power, end**self.power, fejer)
        levels = level_start, level_end
        return _sampled(samples, fejer, (0, self.n_nodes), None, (start, end), rows, levels, self.power)

    def level(self, point: float, rows: Tensor) -> Tensor:
        return self.integrand.level(point**self.power, self.targets[rows])
