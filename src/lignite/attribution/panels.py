"""Panels of a path, and what they must add up to: goals, spans, and the ways to evaluate them."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor

from lignite.attribution.axes import PerTarget, Targets

Scores = dict[str, Tensor]
"""Additive parts of the scores by name, each ``[target, ...]``; ``"scores"`` is the map itself, ``[..., source]``."""


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
        rows, nothing = numbered(len(self.targets), self.targets.device), constant(0, self.displacement)
        return Span(0.0, 1.0, rows, nothing, self.displacement)


@dataclass(frozen=True, eq=False)
class Span:
    """A span is a part of the path of some rows, with the readout at both ends, which are in the graded variable t."""

    start: float
    end: float
    rows: Targets
    level_start: PerTarget
    level_end: PerTarget

    @property
    def middle(self) -> float:
        return (self.start + self.end) / 2

    def cut(self, level: PerTarget) -> "tuple[Span, Span]":
        """Cut the span in the middle, where the readout has this level."""
        return replace(self, end=self.middle, level_end=level), replace(self, start=self.middle, level_start=level)


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
    """A way to refine a path evaluates panels of it; `n_nodes` are those of every half."""

    def __init__(self, goal: Goal, n_nodes: int):
        self.goal, self.n_nodes = goal, n_nodes

    @abstractmethod
    def whole(self) -> Panel:
        """Evaluate the whole path by the first rule, for all rows."""

    @abstractmethod
    def nest(self, numbers: Sequence[int]) -> Panel | None:
        """Evaluate the whole path by the next rule, for these rows of the last one; None when there is none."""

    @abstractmethod
    def halves(self, span: Span, numbers: Int[np.ndarray, " row"]) -> tuple[Panel, Panel]:
        """Evaluate both halves of a part of the path, and the readout between them; `numbers` are its rows, as read."""


class ByPanels(Way):
    """A path is refined panel by panel; `level` is the readout at a point of it, of some targets."""

    def __init__(self, goal: Goal, level: Callable[[float, Targets], PerTarget], n_nodes: int):
        super().__init__(goal, n_nodes)
        self._level = level

    @abstractmethod
    def panel(self, span: Span) -> Panel:
        """Evaluate a part of the path."""

    def halves(self, span: Span, numbers: Int[np.ndarray, " row"]) -> tuple[Panel, Panel]:
        first, second = span.cut(self.level(span.middle, span.rows))
        return self.panel(first), self.panel(second)

    def level(self, point: float, rows: Targets) -> PerTarget:
        """Give the readout of some rows at one point t of the path."""
        return self._level(point**self.goal.power, of_targets(self.goal.targets, rows))


def on_host(*values: Float[Tensor, "..."]) -> list[Float[np.ndarray, "_ _"]]:
    """Read the numbers of every head, a single one where there are no heads, in double precision; all at once."""
    flat = [each.detach().reshape(len(each), -1) for each in values]
    read = torch.cat([each.flatten() for each in flat]).double().cpu().numpy()
    parts = np.split(read, np.cumsum([each.numel() for each in flat])[:-1])
    return [part.reshape(each.shape) for part, each in zip(parts, flat, strict=True)]


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
def numbered(count: int, device: torch.device) -> Int[Tensor, " number"]:
    """Count from 0; the same tensor is given again, and nobody writes into it."""
    return torch.arange(count, device=device)
