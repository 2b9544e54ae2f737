"""Refine the panels of a path, each row for itself: the worst first, as far as rounding, never to something worse."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor

from lignite.attribution.axes import PerTarget, Targets

Scores = dict[str, Tensor]
"""Additive parts of the scores by name, each ``[target, ...]``; ``"scores"`` is the map itself, ``[..., source]``."""

ALIKE = 4
"""Panels whose errors are within this factor of the row's worst are halved in the same round as it."""

EXACT = 4
"""An error of so few roundings of what is integrated is none: no rule does better."""

NEARLY_EXACT = 64
"""An error of so many roundings is rounding if halves with as many nodes each are no better."""

DEEPEST = 40
"""Panels are halved so many times at most: those that begin at 0 stay wide, compared with rounding, for ever."""


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

    def whole(self) -> "Span":
        """Take the whole path of every target; its readout is zero at the start."""
        rows, nothing = _every_row(len(self.targets), self.targets.device), constant(0, self.displacement)
        return Span(0.0, 1.0, rows, nothing, self.displacement)


@dataclass(frozen=True, eq=False)
class Span:
    """A span is a part of the path of some rows, with the readout at both ends, which are in the graded variable t."""

    start: float
    end: float
    rows: Targets
    level_start: PerTarget
    level_end: PerTarget


@dataclass(frozen=True, eq=False)
class Panel:
    """A panel is a span that is evaluated.

    Of nested rules, `moved` is how far the scores are from those of the rule before, summed over sources. On the whole
    path, `mass` is what that is compared with: the size of the scores, or of what they must add up to.
    """

    span: Span
    n_nodes: int
    scores: Scores
    moved: PerTarget | None = None
    mass: PerTarget | None = None

    def error(self) -> PerTarget:
        """Say what the scores of the panel miss of the change of the readout over it."""
        return self.scores["scores"].sum(-1) - (self.span.level_end - self.span.level_start)


class Way(ABC):
    """A way to refine a path evaluates panels of it; `n_nodes` are those of every half.

    `level` is the readout at a point of the path, of some targets.
    """

    def __init__(self, goal: Goal, level: Callable[[float, Targets], PerTarget], n_nodes: int):
        self.goal, self.n_nodes, self._level = goal, n_nodes, level

    @abstractmethod
    def whole(self) -> Panel:
        """Evaluate the whole path by the first rule, for all rows."""

    @abstractmethod
    def nest(self, numbers: Sequence[int]) -> Panel | None:
        """Evaluate the whole path by the next rule, for these rows of the last one; None when there is none."""

    @abstractmethod
    def panel(self, span: Span) -> Panel:
        """Evaluate a part of the path."""

    def level(self, point: float, rows: Targets) -> PerTarget:
        """Give the readout of some rows at one point t of the path."""
        return self._level(point**self.goal.power, of_targets(self.goal.targets, rows))


@dataclass(eq=False)
class Piece:
    """A piece is one panel of one row, which misses `own` by itself, and `least` by itself or by its halves.

    Both are ``[2, head]``: the error, and how far the scores have moved since the rule before, by a `mass` of theirs.
    """

    panel: Panel
    place: int
    own: Float[np.ndarray, "2 head"]
    mass: Float[np.ndarray, " head"] | None = None
    depth: int = 0
    above: "Piece | None" = None
    halves: tuple["Piece", "Piece"] | None = None
    split: bool = False
    ended: bool = False
    least: Float[np.ndarray, "2 head"] = field(init=False)

    def __post_init__(self) -> None:
        self.least = self.own

    def chosen(self) -> "list[Piece]":
        """Choose the pieces that answer for this one: itself, or those of its halves where they are better."""
        if not self.split or self.halves is None:
            return [self]
        return [piece for half in self.halves for piece in half.chosen()]

    def leaves(self) -> "list[Piece]":
        """Find the pieces in this one that can still be halved."""
        if self.halves is None:
            return [] if self.ended else [self]
        return [] if self.ended else [piece for half in self.halves for piece in half.leaves()]


def pieces(panel: Panel) -> list[Piece]:
    """Take every row of a panel by itself."""
    error = on_host(panel.error())
    moved = np.zeros_like(error) if panel.moved is None else on_host(panel.moved)
    masses = [None] * len(error) if panel.mass is None else on_host(panel.mass)
    own = [np.stack(each) for each in zip(abs(error), moved, strict=True)]
    return [Piece(panel, place, *each) for place, each in enumerate(zip(own, masses, strict=True))]


class Row:
    """A row is the path of one target, cut into pieces; what it decides depends on its own numbers alone.

    The order in which pieces are halved does not depend on a tolerance, which only ends it, and the best state so far
    is kept: so a smaller tolerance cannot give a larger bound on the gap.

    Parameters
    ----------
    number
        Place of the target among those integrated.
    root
        The whole path by its first rule; a movement of its scores is compared with its mass, or with `size`.
    size
        What an error is compared with, per head.
    rounding
        One rounding of what is integrated, per head.
    """

    def __init__(
        self, number: int, root: Piece, size: Float[np.ndarray, " head"], rounding: Float[np.ndarray, " head"]
    ):
        self.number, self.root, self.used = number, root, root.panel.n_nodes
        self.size, self.rounding = size, rounding
        self.mass = size if root.mass is None else root.mass
        self.best = [root]
        self.missed = self.measure(root.least)

    def measure(self, bound: Float[np.ndarray, "2 head"]) -> float:
        """Give the smallest `tol` that these errors and movements would satisfy."""
        error, moved = bound
        worst = np.maximum(_share(error, self.size), _share(moved, self.mass) ** 2).max()
        return float(worst) if np.isfinite(worst) else np.inf

    def offer(self, root: Piece) -> None:
        """Take the whole path by a rule of more nodes, if that is better than what is there."""
        before, self.used = self.mass, root.panel.n_nodes
        self.mass = self.size if root.mass is None else root.mass
        missed = self.measure(root.own)
        if missed <= self.missed:
            self.root, self.best, self.missed = root, [root], missed
        else:
            self.mass = before
            self.root.ended = self.root.ended or self._is_rounding(self.root.own, NEARLY_EXACT)

    def wants_nodes(self, tol: float) -> bool:
        """Say whether a rule of more nodes could do better: what is missed is too much, and no rounding."""
        return self.missed > tol and not (self.root.ended or self._is_rounding(self.root.own, EXACT))

    def wanted(self, tol: float, most: int) -> list[Piece]:
        """Choose the pieces to be halved next, at most so many, the worst first; none when all is within `tol`."""
        if self.missed <= tol or most < 1:
            return []
        open_ = [(self.measure(piece.least), piece, leaves) for piece, leaves in self._open() if leaves]
        if not open_:
            return []
        worst = max(missed for missed, _, _ in open_)
        found = []
        for missed, _, leaves in open_:
            if missed * ALIKE >= worst:
                by_leaf = [(self.measure(leaf.own), leaf) for leaf in leaves]
                largest = max(each for each, _ in by_leaf)
                found += [(missed, each, leaf) for each, leaf in by_leaf if each * ALIKE >= largest]
        found.sort(key=lambda entry: entry[:2], reverse=True)
        return [leaf for _, _, leaf in found[:most]]

    def _open(self) -> Iterable[tuple[Piece, list[Piece]]]:
        for piece in self.root.chosen():
            if self._may_gain(piece):
                yield piece, [leaf for leaf in piece.leaves() if self._may_gain(leaf)]

    def _may_gain(self, piece: Piece) -> bool:
        if piece.ended:
            return False
        if piece.halves is None and (self._is_rounding(piece.own, EXACT) or not _can_halve(piece)):
            piece.ended = True
        return not piece.ended

    def _is_rounding(self, bound: Float[np.ndarray, "2 head"], roundings: int) -> bool:
        error, moved = bound
        settled = _share(moved, self.mass) ** 2 <= np.finfo(np.float32).eps
        return bool(((error <= roundings * self.rounding) & settled).all())

    def attach(self, piece: Piece, first: Piece, second: Piece) -> None:
        """Give a piece its halves: pieces above that are worse than what is in them give way."""
        for half in (first, second):
            half.above, half.depth = piece, piece.depth + 1
        piece.halves = first, second
        self.used += first.panel.n_nodes + second.panel.n_nodes
        above: Piece | None = piece
        while above is not None and above.halves is not None:
            together = above.halves[0].least + above.halves[1].least
            above.split = self.measure(together) < self.measure(above.own)
            above.least = together if above.split else above.own
            above = above.above
        fair = first.panel.n_nodes >= piece.panel.n_nodes
        if fair and not piece.split and self._is_rounding(piece.own, NEARLY_EXACT):
            piece.ended = True
        missed = self.measure(self.root.least)
        if missed <= self.missed:
            self.best, self.missed = self.root.chosen(), missed


def _can_halve(piece: Piece) -> bool:
    """Say whether nodes of the halves could still be told apart in the precision of the path."""
    span = piece.panel.span
    eps = torch.finfo(span.level_end.dtype).eps
    return piece.depth < DEEPEST and span.end - span.start > 1024 * eps * span.end


def refine(rows: Sequence[Row], way: Way) -> None:
    """Refine the path of every row until it is within the tolerance, has no panel that could gain, or no nodes left.

    The whole path takes the rules inside one another first, and its panels are halved after that. Rows that want the
    same panel are evaluated together.
    """
    waiting, tol, max_steps = list(rows), way.goal.precision.tol, way.goal.precision.max_steps
    while waiting := [row for row in waiting if row.wants_nodes(tol)]:
        panel = way.nest([row.number for row in waiting])
        if panel is None:
            break
        for row, root in zip(waiting, pieces(panel), strict=True):
            row.offer(root)
    waiting = list(rows)
    while waiting:
        together: dict[tuple[float, float], list[tuple[Row, Piece]]] = {}
        going_on = []
        for row in waiting:
            wanted = row.wanted(tol, (max_steps - row.used) // (2 * way.n_nodes))
            for piece in wanted:
                together.setdefault((piece.panel.span.start, piece.panel.span.end), []).append((row, piece))
            if wanted:
                going_on.append(row)
        for place in sorted(together):
            _halve(together[place], way)
        waiting = going_on


def _halve(wanted: Sequence[tuple[Row, Piece]], way: Way) -> None:
    parts = [(piece.panel.span, piece.place) for _, piece in wanted]
    rows, start, end = (
        torch.stack([getattr(span, name)[place] for span, place in parts])
        for name in ("rows", "level_start", "level_end")
    )
    span = parts[0][0]
    middle = (span.start + span.end) / 2
    level = way.level(middle, rows)
    first = way.panel(Span(span.start, middle, rows, start, level))
    second = way.panel(Span(middle, span.end, rows, level, end))
    for (row, piece), *halves in zip(wanted, pieces(first), pieces(second), strict=True):
        row.attach(piece, *halves)


def replace_refined(totals: Scores, rows: Iterable[Row]) -> None:
    """Write the best state of these rows over what stands in the totals."""
    by_panel: dict[int, tuple[Panel, list[int], list[int]]] = {}
    numbers: list[int] = []
    for row in rows:
        numbers.append(row.number)
        for piece in row.best:
            _, to, of = by_panel.setdefault(id(piece.panel), (piece.panel, [], []))
            to.append(row.number)
            of.append(piece.place)
    for part in totals.values():
        part[numbers] = 0
    for panel, to, of in by_panel.values():
        for name, part in panel.scores.items():
            totals[name][to] += part[of]


def _share(part: Float[np.ndarray, " head"], whole: Float[np.ndarray, " head"]) -> Float[np.ndarray, " head"]:
    """Divide a part by its whole; of nothing, nothing is no share, and anything else is all of it."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(part == 0, 0.0, part / whole)


def on_host(values: PerTarget) -> Float[np.ndarray, "target head"]:
    """Read the numbers of every head, a single one where there are no heads, in double precision."""
    return values.detach().reshape(len(values), -1).double().cpu().numpy()


def within(values: PerTarget, limits: PerTarget) -> Bool[Tensor, " target"]:
    """Say whether the magnitudes of all heads of a target are within their limits; what is not a number is not."""
    close = values.abs() <= limits
    return close if close.ndim == 1 else close.flatten(1).all(1)


def of_targets(tensor: Shaped[Tensor, "token *any"], targets: Targets) -> Shaped[Tensor, "target *any"]:
    """Take the rows of some tokens; targets rise and are distinct: as many as there are tokens are all of them."""
    return tensor if len(targets) == len(tensor) else tensor[targets]


def constant(value: int, like: Shaped[Tensor, "*any"]) -> Shaped[Tensor, "*any"]:
    return _filled(value, like.shape, like.dtype, like.device)


@lru_cache(maxsize=64)
def _filled(value: int, shape: torch.Size, dtype: torch.dtype, device: torch.device) -> Shaped[Tensor, "*any"]:
    """Fill a tensor with one number; the same tensor is given again, and nobody writes into it."""
    return torch.full(shape, value, dtype=dtype, device=device)


@lru_cache(maxsize=64)
def _every_row(n_targets: int, device: torch.device) -> Targets:
    """Count the targets; the same tensor is given again, and nobody writes into it."""
    return torch.arange(n_targets, device=device)
