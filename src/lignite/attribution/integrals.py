"""Integrate along a path, with a certificate: more nodes, or shorter panels, until what is missed is within bounds."""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from lignite.attribution.axes import Nodes, PerTarget, Targets
from lignite.attribution.panels import (
    ByPanels,
    Goal,
    Panel,
    Scores,
    Span,
    Way,
    constant,
    of_targets,
    within,
)
from lignite.attribution.refinement import Rows, refine
from lignite.attribution.rules import (
    FIRST_NESTED,
    NESTED,
    Family,
    fejer,
    fresh,
    halves_rule,
    interleaved,
    nested_rule,
    panel_rule,
    spread,
)
from lignite.spill import Spilled

NODES_PER_PANEL = 6
"""Gauss-Legendre nodes of one panel: smooth paths end after one panel, and a bisection costs twelve nodes."""


@runtime_checkable
class Integrand(Protocol):
    """An integrand is a map's readout along its path, for many targets at once.

    The readout is zero at a = 0, where no node is ever placed: the length of a change has no gradient there.
    """

    def scores(self, nodes: Nodes, weights: Nodes, targets: Targets) -> Scores:
        """Add up every target's scores over the nodes, weighted."""

    def level(self, point: float, targets: Targets) -> PerTarget:
        """Give the readout at one point of the path."""


@runtime_checkable
class Halving(Protocol):
    """A halving integrand evaluates both halves of a panel as one, where they fit."""

    def halves(self, nodes: Nodes, weights: Nodes, targets: Targets) -> tuple[Scores, Scores, PerTarget] | None:
        """Add up the nodes of each half, and give the readout at the last node, which is the point between them."""


class Samples(ABC):
    """Samples keep what is known of one panel for some targets; more nodes may come in between.

    `known` are tensors ``[node, target, ...]``, whatever `scores` needs of the nodes: as many as the memory allowed has
    `room` for, the others in a file.
    """

    def __init__(self, targets: Targets, room: float = math.inf):
        self.targets, self.room = targets, room
        self.known = Spilled(room=room)

    def add(self, nodes: Float[Tensor, " new"], is_new: Bool[Tensor, " node"]) -> None:
        """Evaluate nodes that come in between those that are there; `is_new` has their places in the larger rule."""
        new: Iterable[Tensor] = self.evaluate(nodes)
        if len(self.known):
            new = (interleaved(*pair, is_new) for pair in zip(self.known.taken(), new, strict=True))
        self.known = Spilled(new, room=self.room)

    def keep(self, chosen: Bool[Tensor, " target"]) -> None:
        """Forget the other targets."""
        self.targets = self.targets[chosen]
        self.known = Spilled((each[:, chosen] for each in self.known.taken()), room=self.room)

    @abstractmethod
    def evaluate(self, nodes: Float[Tensor, " new"]) -> Iterator[Float[Tensor, "new target *any"]]:
        """Find what is to be known of some nodes, one after the other."""

    @abstractmethod
    def scores(self, weights: Nodes) -> Float[Tensor, " target *head source"]:
        """Add up the scores over all nodes, which are weighted in their order."""


@runtime_checkable
class Sampled(Protocol):
    """A sampled integrand keeps its nodes, so that they can be weighed anew."""

    def samples(self, targets: Targets, start: float, end: float, family: Family) -> Samples:
        """Begin a panel between these points of the path, whose nodes will be of this family; none is evaluated yet."""

    def level(self, point: float, targets: Targets) -> PerTarget:
        """Give the readout at one point of the path."""


class Bisecting(ByPanels):
    """Bisecting refines a path by halving: a Gauss-Legendre rule on the whole, then on its halves; no node is kept.

    Every panel has an exact error for free: the sum of its scores against the change of the readout over it
    (completeness holds on each panel, see docs/method.md). With a fixed number of nodes the rule has so many.
    """

    def __init__(self, integrand: Integrand, goal: Goal, n_nodes: int = NODES_PER_PANEL):
        super().__init__(goal, integrand.level, goal.precision.n_steps or min(n_nodes, goal.precision.max_steps))
        self.integrand = integrand

    def whole(self) -> Panel:
        return self.panel(self.goal.whole())

    def nest(self, numbers: Sequence[int]) -> None:
        """No rule of Gauss and Legendre is inside another."""

    def panel(self, span: Span) -> Panel:
        like = span.level_end
        rule = panel_rule(self.n_nodes, span.start, span.end, self.goal.power, like.dtype, like.device)
        return Panel(span, self.n_nodes, self.integrand.scores(*rule, of_targets(self.goal.targets, span.rows)))

    def halves(self, span: Span, numbers: Int[np.ndarray, " row"]) -> tuple[Panel, Panel]:
        like, targets = span.level_end, of_targets(self.goal.targets, span.rows)
        rule = halves_rule(self.n_nodes, span.start, span.end, self.goal.power, like.dtype, like.device)
        found = self.integrand.halves(*rule, targets) if isinstance(self.integrand, Halving) else None
        if found is None:
            return super().halves(span, numbers)
        first, second = span.cut(found[2])
        return Panel(first, self.n_nodes, found[0]), Panel(second, self.n_nodes, found[1])


class Nesting(ByPanels):
    """Nesting refines a path by rules inside one another, of `most` nodes at most, and by halving after that.

    Paths of a whole model are long but smooth, so that more nodes on one panel pay more than shorter panels, and no
    evaluation is thrown away on the way. The rules are those of `spread`; halves take the first of Fejér's, which gain
    with every halving as polynomials do, and keep nothing. A sum can be right by chance while its parts are wrong; so
    the scores must also have settled since the rule before (docs/method.md), unless `max_steps` ends the search.
    """

    def __init__(self, integrand: Sampled, goal: Goal, most: int = NESTED[-1]):
        rules = [n_nodes for n_nodes in NESTED if n_nodes <= min(most, goal.precision.max_steps)]
        super().__init__(goal, integrand.level, min(FIRST_NESTED, rules[-1]))
        self.integrand, self.left = integrand, [n_nodes for n_nodes in rules if n_nodes >= self.n_nodes]

    def whole(self) -> Panel:
        self.samples = self.integrand.samples(self.goal.targets, 0.0, 1.0, spread)
        return self._next(self.goal.whole(), 0, None)

    def nest(self, numbers: Sequence[int]) -> Panel | None:
        if not self.left:
            del self.samples  # halves are evaluated afresh
            return None
        last, wanted = self.last.span, set(numbers)
        chosen = torch.tensor([number in wanted for number in last.rows.tolist()], device=last.rows.device)
        if len(wanted) < len(chosen):
            self.samples.keep(chosen)
        span = Span(0.0, 1.0, last.rows[chosen], last.level_start[chosen], last.level_end[chosen])
        return self._next(span, self.last.n_nodes, self.last.scores["scores"][chosen])

    def _next(self, span: Span, known: int, before: Float[Tensor, " target *head source"] | None) -> Panel:
        panel = self._sampled(self.samples, spread, (known, self.left.pop(0)), before, span)
        mass = torch.maximum(panel.scores["scores"].abs().sum(-1), self.goal.size[span.rows])
        self.last = replace(panel, mass=mass)
        return self.last

    def panel(self, span: Span) -> Panel:
        start, end = (point**self.goal.power for point in (span.start, span.end))
        samples = self.integrand.samples(of_targets(self.goal.targets, span.rows), start, end, fejer)
        return self._sampled(samples, fejer, (0, self.n_nodes), None, span)

    def _sampled(
        self,
        samples: Samples,
        family: Family,
        rules: tuple[int, int],
        before: Float[Tensor, " target *head source"] | None,
        span: Span,
    ) -> Panel:
        """Evaluate a span by the second of two nested rules; the first is evaluated, and gave the scores `before`.

        Where nothing is evaluated, the scores are compared with those of the next smaller rule: its nodes are among
        them.
        """
        known, n_nodes = rules
        like = span.level_end
        nodes, weights, coarse = nested_rule(
            n_nodes, known, self.goal.power, span.start, span.end, family, like.dtype, like.device
        )
        samples.add(nodes, torch.from_numpy(fresh(n_nodes, known)))
        sums = samples.scores(weights)
        if before is None:
            before = samples.scores(coarse)
        return Panel(span, n_nodes, {"scores": sums}, (sums - before).abs().sum(-1))


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


def integrate(way: Way) -> Integral:
    """Integrate until every target's gap is within the tolerance of its displacement."""
    opened = Opened(way)
    return opened.close(opened.failing.tolist())


class Opened:
    """An opened integral has its first panel: `content` says which targets it suffices for, `failing` the others.

    Reading that off a device waits for it, so that several integrals are better asked at once.
    """

    def __init__(self, way: Way):
        self.way, self.goal = way, way.goal
        self.first = way.whole()
        self.allowed = self.goal.precision.tol * self.goal.size
        self.gap = self.first.scores["scores"].sum(-1) - self.goal.displacement
        self.refines = self.goal.precision.n_steps is None
        self.content: Bool[Tensor, " target"] = within(self.gap, self.allowed)
        if self.first.moved is not None:  # a sum that is right says nothing of scores that have not settled
            mass = self.goal.size if self.first.mass is None else self.first.mass
            self.content &= within(self.first.moved, self.goal.precision.tol**0.5 * mass)

    @property
    def failing(self) -> Bool[Tensor, " target"]:
        return ~self.content

    def close(self, failing: Sequence[bool | float]) -> Integral:
        """Refine the targets that are `failing`, which was read by the caller."""
        goal, totals, gap = self.goal, self.first.scores, self.gap
        used = constant(self.first.n_nodes, goal.targets)
        numbers = [number for number, missing in enumerate(failing) if missing] if self.refines else []
        if numbers:
            rows = self.rows(numbers)
            refine(rows, self.way)
            totals = {name: part.clone() for name, part in totals.items()}
            rows.replace_in(totals)
            used = rows.used_among(goal.targets, self.first.n_nodes)
            gap = totals["scores"].sum(-1) - goal.displacement
        return Integral(totals, goal.displacement, gap, used, self.allowed)

    def rows(self, numbers: Sequence[int]) -> Rows:
        """Take the paths of some targets, to be refined."""
        moved = self.goal.displacement.abs()
        largest = moved if self.goal.scale is None else torch.maximum(moved, self.goal.scale)
        return Rows(numbers, self.first, self.goal.size, largest)
