"""Integrate along a path, with a certificate: panels whose exact integral is known are bisected until they fit."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

NODES_PER_PANEL = 6
"""Gauss-Legendre nodes of one panel: smooth paths end after one panel, and a bisection costs twelve nodes."""

SMALL_SHARE = 1e-3
"""Displacements below this share of the layer's median are held to the median's tolerance: their own is rounding."""


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


NESTED = (3, 5, 7, 11, 15, 23, 31, 47, 63)
"""Nodes of a panel, one rule inside the next."""


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


Scores = dict[str, Tensor]
"""Additive parts of the scores by name, each ``[target, ...]``; ``"scores"`` is the map itself, ``[..., source]``."""


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

    def samples(self, targets: Int[Tensor, " target"], start: float, end: float) -> Samples:
        """Nothing yet is known of the panel between these points of the path."""
        ...

    def level(self, point: float, targets: Int[Tensor, " target"]) -> Float[Tensor, " target *head"]:
        """The readout at one point of the path."""
        ...


@dataclass(frozen=True)
class Integral:
    """Scores with their certificate.

    `displacement` is the number the scores explain, `gap` what they miss of it (their sum minus `displacement`),
    `n_nodes` how many nodes each target needed, `converged` whether its gap is within the tolerance.
    """

    scores: Scores
    displacement: Float[Tensor, " target *head"]
    gap: Float[Tensor, " target *head"]
    n_nodes: Int[Tensor, " target"]
    converged: Bool[Tensor, " target"]


@dataclass
class _Panel:
    """One piece of the path for some rows of the targets; start and end are in the graded variable t."""

    start: float
    end: float
    rows: Int[Tensor, " target"]
    level_start: Tensor
    level_end: Tensor
    scores: Scores
    error: Tensor


def tolerances(displacement: Float[Tensor, " target *head"], tol: float) -> Float[Tensor, " target *head"]:
    """The gap each target may have: `tol` of its displacement, floored at a small share of the median one."""
    size = displacement.abs()
    return tol * torch.maximum(size, SMALL_SHARE * size.median())


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
    panel: int = NODES_PER_PANEL,
) -> Integral:
    """Integrate until every target's gap is within `tol` of its displacement.

    Every panel has an exact error for free: the sum of its scores against the change of the readout over it
    (completeness holds on each panel, see docs/method.md). Panels that miss are bisected, for the targets that miss.

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
        What `tol` is relative to, where it is not the displacement itself, floored as in `tolerances`.
    panel
        Nodes of one panel.

    Returns
    -------
    Scores whose sums differ from `displacement` by `gap`. A target that reaches `max_steps` keeps its best scores and
    is not `converged`.
    """
    allowed = tolerances(displacement, tol) if size is None else tol * size
    evaluate = _Evaluation(integrand, targets, power)
    n_nodes = n_steps or min(panel, max_steps)
    rows = torch.arange(len(targets), device=targets.device)
    whole_path = evaluate.panel(0.0, 1.0, rows, torch.zeros_like(displacement), displacement, n_nodes=n_nodes)
    totals = {name: part.clone() for name, part in whole_path.scores.items()}
    used = torch.full_like(rows, n_nodes)
    panels = [] if n_steps else [whole_path]

    while panels:
        missing = _errors(panels, displacement)
        n_panels = _count(panels, len(rows), rows.device)
        failing = _per_target(missing > allowed).any(1)
        # Leaving alone every panel below half an even share bounds what is left alone by half the tolerance.
        shares = allowed / (2 * n_panels).reshape(-1, *[1] * (allowed.ndim - 1))
        refined: list[_Panel] = []
        bisected = False
        for piece in sorted(panels, key=lambda piece: float(piece.error.abs().max()), reverse=True):
            affordable = used[piece.rows] + 2 * panel <= max_steps
            split = failing[piece.rows] & affordable & _per_target(piece.error.abs() > shares[piece.rows]).any(1)
            if split.any():
                bisected = True
                halves = evaluate.halves(piece, split, n_nodes=panel)
                chosen = piece.rows[split]
                for name, part in piece.scores.items():
                    totals[name][chosen] += sum(half.scores[name] for half in halves) - part[split]
                used[chosen] += 2 * panel
                refined.extend(halves)
            if not split.all():
                refined.append(_select(piece, ~split))
        panels = refined
        if not bisected:
            break

    gap = totals["scores"].sum(-1) - displacement
    converged = ~_per_target(gap.abs() > allowed).any(1)
    return Integral(totals, displacement, gap, used, converged)


def integrate_nested(
    integrand: Sampled,
    displacement: Float[Tensor, " target *head"],
    targets: Int[Tensor, " target"],
    *,
    tol: float,
    size: Float[Tensor, " target *head"],
    max_steps: int,
    power: int = 1,
) -> Integral:
    """As `integrate`, with rules inside one another: a panel takes more nodes first, and is bisected after that.

    Paths of a whole model are long but smooth, so that more nodes on one panel pay more than shorter panels, and no
    evaluation is thrown away on the way. Halves inherit half of what their panel may miss. The rules
    are those of `spread`. A sum can be right by chance while its parts are wrong; so the scores must also have settled
    since the rule before (docs/method.md), unless `max_steps` ends the search.
    """
    total = displacement.new_zeros(())
    used = torch.zeros(len(targets), dtype=torch.long, device=targets.device)
    rows = torch.arange(len(targets), device=targets.device)
    waiting = [_Nested(0.0, 1.0, rows, torch.zeros_like(displacement), displacement, tol * size)]
    rules = [n_nodes for n_nodes in NESTED if n_nodes <= max(NESTED[0], integrand.most)]
    while waiting:
        panel = waiting.pop()
        samples = integrand.samples(targets[panel.rows], panel.start**power, panel.end**power)
        before: Tensor | None = None
        for known, n_nodes, more in zip([0, *rules], rules, [*rules[1:], None], strict=False):
            nodes, weights = panel.rule(n_nodes, power)
            new = torch.from_numpy(fresh(n_nodes, known))
            samples.add(nodes[new].to(displacement), new)
            used[panel.rows] += n_nodes - known
            sums = samples.scores(weights.to(displacement))
            error = sums.sum(-1) - (panel.level_end - panel.level_start)
            done = ~_per_target((error.abs() > panel.allowed) | ~panel.settled(sums, before, tol)).any(1)
            # Halves replace their panel's scores, so they must be able to become as good: by the same rule.
            done |= used[panel.rows] + (2 * n_nodes if more is None else more - n_nodes) > max_steps
            if total.ndim == 0:
                total = sums.new_zeros(len(targets), *sums.shape[1:])
            total[panel.rows[done]] += sums[done]
            if done.all():
                break
            panel, before = panel.select(~done), sums[~done]
            samples.keep(~done)
            if more is None:
                waiting.extend(panel.halves(integrand, targets, power))
    gap = total.sum(-1) - displacement
    converged = ~_per_target(gap.abs() > tol * size).any(1)
    return Integral({"scores": total}, displacement, gap, used, converged)


@dataclass(frozen=True)
class _Nested:
    """One piece of the path for some rows of the targets, and how much it may miss."""

    start: float
    end: float
    rows: Int[Tensor, " target"]
    level_start: Tensor
    level_end: Tensor
    allowed: Tensor

    def rule(self, n_nodes: int, power: int) -> tuple[Tensor, Tensor]:
        """Nodes and weights in a, for panels that are cut in t with a = t ** power."""
        rule, length = spread(n_nodes), self.end - self.start
        t = torch.tensor(rule.nodes, dtype=torch.float64) * length + self.start
        return t**power, torch.tensor(rule.weights, dtype=torch.float64) * length * power * t ** (power - 1)

    def settled(self, scores: Tensor, before: Tensor | None, tol: float) -> Bool[Tensor, " target *head"]:
        """Whether the scores moved by less than √tol of their mass, or of the panel's share of the displacement.

        The error of a rule falls with its nodes as a power does, so that the next one misses about as much as the last
        one's error to the power 4/3 or 3/2: of the order of `tol`.
        """
        if before is None:
            return torch.zeros_like(self.allowed, dtype=torch.bool)
        mass = torch.maximum(scores.abs().sum(-1), self.allowed / tol)
        return (scores - before).abs().sum(-1) <= tol**0.5 * mass

    def select(self, chosen: Tensor) -> "_Nested":
        parts = (part[chosen] for part in (self.rows, self.level_start, self.level_end, self.allowed))
        return _Nested(self.start, self.end, *parts)

    def halves(self, integrand: Sampled, targets: Tensor, power: int) -> "list[_Nested]":
        middle = (self.start + self.end) / 2
        level = integrand.level(middle**power, targets[self.rows])
        return [
            _Nested(self.start, middle, self.rows, self.level_start, level, self.allowed / 2),
            _Nested(middle, self.end, self.rows, level, self.level_end, self.allowed / 2),
        ]


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
class _Evaluation:
    integrand: Integrand
    targets: Int[Tensor, " target"]
    power: int

    def panel(
        self, start: float, end: float, rows: Tensor, level_start: Tensor, level_end: Tensor, *, n_nodes: int
    ) -> _Panel:
        rule = gauss_legendre(n_nodes)
        t = torch.tensor(rule.nodes, dtype=torch.float64) * (end - start) + start
        weights = torch.tensor(rule.weights, dtype=torch.float64) * (end - start) * self.power * t ** (self.power - 1)
        scores = self.integrand.scores((t**self.power).to(level_end), weights.to(level_end), self.targets[rows])
        error = scores["scores"].sum(-1) - (level_end - level_start)
        return _Panel(start, end, rows, level_start, level_end, scores, error)

    def halves(self, panel: _Panel, split: Tensor, *, n_nodes: int) -> list[_Panel]:
        middle = (panel.start + panel.end) / 2
        rows = panel.rows[split]
        level = self.integrand.level(middle**self.power, self.targets[rows])
        ends = (panel.level_start[split], level), (level, panel.level_end[split])
        return [
            self.panel(panel.start, middle, rows, *ends[0], n_nodes=n_nodes),
            self.panel(middle, panel.end, rows, *ends[1], n_nodes=n_nodes),
        ]


def _select(panel: _Panel, chosen: Tensor) -> _Panel:
    if chosen.all():
        return panel
    scores = {name: part[chosen] for name, part in panel.scores.items()}
    levels = panel.level_start[chosen], panel.level_end[chosen]
    return _Panel(panel.start, panel.end, panel.rows[chosen], *levels, scores, panel.error[chosen])


def _errors(panels: list[_Panel], displacement: Tensor) -> Tensor:
    """Sum of the panels' absolute errors for every target: errors of opposite sign do not excuse each other."""
    missing = torch.zeros_like(displacement)
    for panel in panels:
        missing[panel.rows] += panel.error.abs()
    return missing


def _count(panels: list[_Panel], n_targets: int, device: torch.device) -> Tensor:
    count = torch.zeros(n_targets, dtype=torch.long, device=device)
    for panel in panels:
        count[panel.rows] += 1
    return count


def _per_target(flags: Tensor) -> Bool[Tensor, "target any"]:
    return flags.reshape(len(flags), -1)
