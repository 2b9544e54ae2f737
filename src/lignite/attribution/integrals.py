"""Integrate along a path, with a certificate: more nodes, or shorter panels, until what is missed is within bounds."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor

from lignite.attribution.axes import Nodes, PerTarget, Targets
from lignite.attribution.panels import Panel, Row, Scores, on_host, pieces, refine, replace_refined, within
from lignite.attribution.rules import FIRST_NESTED, NESTED, Family, coarse_weights, fejer, fresh, panel_rule, spread

NODES_PER_PANEL = 6
"""Gauss-Legendre nodes of one panel: smooth paths end after one panel, and a bisection costs twelve nodes."""


@dataclass(frozen=True)
class Precision:
    """A precision says how exactly paths are followed.

    `tol` is the largest gap that is accepted, relative to what it is compared with; a target takes `max_steps` nodes
    at most. With `n_steps` it takes one graded rule of so many, and `tol` decides nothing but what is within it.
    """

    tol: float = 1e-3
    max_steps: int = 256
    n_steps: int | None = None


@dataclass(frozen=True, eq=False)
class Goal:
    """A goal says what integrals must add up to, and how exactly.

    `displacement` is the readout at a = 1 of every target (and head), `targets` are the tokens that are targets. `tol`
    is relative to `size`; where what the readout is a difference of is larger than the difference, its magnitude is
    `scale`, and it rounds accordingly. Panels are cut in t, with a = t ** `power`.
    """

    displacement: PerTarget
    targets: Targets
    size: PerTarget
    precision: Precision
    power: int = 1
    scale: PerTarget | None = None


@runtime_checkable
class Integrand(Protocol):
    """An integrand is a map's readout along its path, for many targets at once.

    The readout is zero at a = 0, where no node is ever placed: the length of a change has no gradient there.
    """

    def scores(self, nodes: Nodes, weights: Nodes, targets: Targets) -> Scores:
        """Add up every target's scores over the nodes, weighted."""
        ...

    def level(self, point: float, targets: Targets) -> PerTarget:
        """Give the readout at one point of the path."""
        ...


@runtime_checkable
class Samples(Protocol):
    """Samples keep what is known of one panel for some targets; more nodes may come in between."""

    def add(self, nodes: Float[Tensor, " new"], is_new: Bool[Tensor, " node"]) -> None:
        """Evaluate nodes that come in between those that are there; `is_new` has their places in the larger rule."""
        ...

    def scores(self, weights: Nodes) -> Float[Tensor, " target *head source"]:
        """Add up the scores over all nodes, which are weighted in their order."""
        ...

    def keep(self, chosen: Bool[Tensor, " target"]) -> None:
        """Forget the other targets."""
        ...


@runtime_checkable
class Sampled(Protocol):
    """A sampled integrand keeps its nodes, so that they can be weighed anew."""

    def samples(self, targets: Targets, start: float, end: float, family: Family) -> Samples:
        """Begin a panel between these points of the path, whose nodes will be of this family; none is evaluated yet."""
        ...

    def level(self, point: float, targets: Targets) -> PerTarget:
        """Give the readout at one point of the path."""
        ...


class Bisecting:
    """Bisecting refines a path by halving: a Gauss-Legendre rule on the whole, then on its halves; no node is kept.

    Every panel has an exact error for free: the sum of its scores against the change of the readout over it
    (completeness holds on each panel, see docs/method.md). With a fixed number of nodes the rule has so many.
    """

    def __init__(self, integrand: Integrand, goal: Goal, n_nodes: int = NODES_PER_PANEL):
        self.integrand, self.goal = integrand, goal
        self.n_nodes = goal.precision.n_steps or min(n_nodes, goal.precision.max_steps)

    def whole(self) -> Panel:
        goal = self.goal
        rule = panel_rule(self.n_nodes, 0.0, 1.0, goal.power, goal.displacement.dtype, goal.targets.device)
        rows, start = _every_row(len(goal.targets), goal.targets.device), _constant(0, goal.displacement)
        scores = self.integrand.scores(*rule, goal.targets)
        return Panel(0.0, 1.0, self.n_nodes, rows, start, goal.displacement, scores)

    def nest(self, numbers: Sequence[int]) -> None:
        """No rule of Gauss and Legendre is inside another."""

    def panel(self, start: float, end: float, rows: Targets, level_start: PerTarget, level_end: PerTarget) -> Panel:
        rule = panel_rule(self.n_nodes, start, end, self.goal.power, level_end.dtype, level_end.device)
        scores = self.integrand.scores(*rule, self.goal.targets[rows])
        return Panel(start, end, self.n_nodes, rows, level_start, level_end, scores)

    def level(self, point: float, rows: Targets) -> PerTarget:
        return self.integrand.level(point**self.goal.power, self.goal.targets[rows])


class Nesting:
    """Nesting refines a path by rules inside one another, of `most` nodes at most, and by halving after that.

    Paths of a whole model are long but smooth, so that more nodes on one panel pay more than shorter panels, and no
    evaluation is thrown away on the way. The rules are those of `spread`; halves take the first of Fejér's, which gain
    with every halving as polynomials do, and keep nothing. A sum can be right by chance while its parts are wrong; so
    the scores must also have settled since the rule before (docs/method.md), unless `max_steps` ends the search.
    """

    def __init__(self, integrand: Sampled, goal: Goal, most: int = NESTED[-1]):
        self.integrand, self.goal = integrand, goal
        rules = [n_nodes for n_nodes in NESTED if n_nodes <= min(most, goal.precision.max_steps)]
        self.n_nodes = min(FIRST_NESTED, rules[-1])
        self.left = [n_nodes for n_nodes in rules if n_nodes >= self.n_nodes]

    def whole(self) -> Panel:
        targets = self.goal.targets
        self.samples = self.integrand.samples(targets, 0.0, 1.0, spread)
        return self._next(_every_row(len(targets), targets.device), 0, None)

    def nest(self, numbers: Sequence[int]) -> Panel | None:
        if not self.left:
            del self.samples  # halves are evaluated afresh
            return None
        last, wanted = self.last, set(numbers)
        chosen = torch.tensor([number in wanted for number in last.rows.tolist()], device=last.rows.device)
        self.samples.keep(chosen)
        return self._next(last.rows[chosen], last.n_nodes, last.scores["scores"][chosen])

    def _next(self, rows: Targets, known: int, before: Float[Tensor, " target *head source"] | None) -> Panel:
        end = self.goal.displacement[rows]
        rules = known, self.left.pop(0)
        panel = self._sampled(self.samples, spread, rules, before, (0.0, 1.0), rows, (torch.zeros_like(end), end))
        mass = torch.maximum(panel.scores["scores"].abs().sum(-1), self.goal.size[rows])
        self.last = replace(panel, mass=mass)
        return self.last

    def panel(self, start: float, end: float, rows: Targets, level_start: PerTarget, level_end: PerTarget) -> Panel:
        power, ends = self.goal.power, (start, end)
        samples = self.integrand.samples(self.goal.targets[rows], start**power, end**power, fejer)
        return self._sampled(samples, fejer, (0, self.n_nodes), None, ends, rows, (level_start, level_end))

    def level(self, point: float, rows: Targets) -> PerTarget:
        return self.integrand.level(point**self.goal.power, self.goal.targets[rows])

    def _sampled(
        self,
        samples: Samples,
        family: Family,
        rules: tuple[int, int],
        before: Float[Tensor, " target *head source"] | None,
        ends: tuple[float, float],
        rows: Targets,
        levels: tuple[PerTarget, PerTarget],
    ) -> Panel:
        """Evaluate a panel by the second of two nested rules; the first is evaluated, and gave the scores `before`.

        Where nothing is evaluated, the scores are compared with those of the next smaller rule: its nodes are among
        them.
        """
        known, n_nodes = rules
        power, start, length = self.goal.power, ends[0], ends[1] - ends[0]
        rule = family(n_nodes)
        t = torch.tensor(rule.nodes, dtype=torch.float64) * length + start
        speed = length * power * t ** (power - 1)
        new = torch.from_numpy(fresh(n_nodes, known))
        samples.add((t**power)[new].to(levels[1]), new)
        sums = samples.scores((torch.tensor(rule.weights, dtype=torch.float64) * speed).to(levels[1]))
        if before is None:
            before = samples.scores((torch.from_numpy(coarse_weights(n_nodes, family)) * speed).to(levels[1]))
        return Panel(*ends, n_nodes, rows, *levels, {"scores": sums}, (sums - before).abs().sum(-1))


@dataclass(frozen=True)
class Integral:
    """An integral is scores with their certificate.

    `displacement` is the number the scores explain, `gap` what they miss of it (their sum minus `displacement`),
    `allowed` the largest gap within the tolerance, `n_nodes` how many nodes each target needed. A target that reaches
    `max_steps`, or the rounding of its precision, keeps its best scores and may not be `converged`.
    """

    scores: Scores
    displacement: PerTarget
    gap: PerTarget
    n_nodes: Int[Tensor, " target"]
    allowed: PerTarget

    @property
    def converged(self) -> Bool[Tensor, " target"]:
        """Whether the gaps of all heads of a target are within what is allowed."""
        return within(self.gap, self.allowed)


def integrate(way: Bisecting | Nesting) -> Integral:
    """Integrate until every target's gap is within the tolerance of its displacement."""
    opened = Opened(way)
    return opened.close(opened.failing.tolist())


class Opened:
    """An opened integral has its first panel: `content` says which targets it suffices for, `failing` the others.

    Reading that off a device waits for it, so that several integrals are better asked at once.
    """

    def __init__(self, way: Bisecting | Nesting):
        self.way, self.goal = way, way.goal
        self.first = way.whole()
        self.allowed = self.goal.precision.tol * self.goal.size
        self.gap = self.first.scores["scores"].sum(-1) - self.goal.displacement
        self.refines = self.goal.precision.n_steps is None
        self.content: Bool[Tensor, " target"] = within(self.gap, self.allowed)
        if self.first.moved is not None:  # a sum that is right says nothing of scores that have not settled
            self.content = torch.zeros_like(self.content)

    @property
    def failing(self) -> Bool[Tensor, " target"]:
        return ~self.content

    def close(self, failing: Sequence[bool | float]) -> Integral:
        """Refine the targets that are `failing`, which was read by the caller."""
        goal, totals, gap = self.goal, self.first.scores, self.gap
        used = _constant(self.first.n_nodes, goal.targets)
        numbers = [number for number, missing in enumerate(failing) if missing] if self.refines else []
        if numbers:
            rows = self.rows(numbers)
            refine(rows, self.way, tol=goal.precision.tol, max_steps=goal.precision.max_steps)
            totals, used = {name: part.clone() for name, part in totals.items()}, used.clone()
            replace_refined(totals, rows)
            used[numbers] = used.new_tensor([row.used for row in rows])
            gap = totals["scores"].sum(-1) - goal.displacement
        return Integral(totals, goal.displacement, gap, used, self.allowed)

    def rows(self, numbers: Sequence[int]) -> list[Row]:
        """Take the paths of some targets, each by itself."""
        goal, roots = self.goal, pieces(self.first)
        moved = goal.displacement.abs()
        largest = moved if goal.scale is None else torch.maximum(moved, goal.scale)
        size, rounding = on_host(goal.size), on_host(largest) * torch.finfo(moved.dtype).eps
        return [Row(number, roots[number], size[number], rounding[number]) for number in numbers]


def _constant(value: int, like: Shaped[Tensor, "*any"]) -> Shaped[Tensor, "*any"]:
    return _filled(value, like.shape, like.dtype, like.device)


@lru_cache(maxsize=64)
def _filled(value: int, shape: torch.Size, dtype: torch.dtype, device: torch.device) -> Shaped[Tensor, "*any"]:
    """Fill a tensor with one number; the same tensor is given again, and nobody writes into it."""
    return torch.full(shape, value, dtype=dtype, device=device)


@lru_cache(maxsize=64)
def _every_row(n_targets: int, device: torch.device) -> Targets:
    """Count the targets; the same tensor is given again, and nobody writes into it."""
    return torch.arange(n_targets, device=device)
