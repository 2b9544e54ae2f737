"""Rounds abreast: what the first panels of layers do not settle is refined in all of them at once, round after round.

A row is a target of a layer, those of one layer after those of another; which panels it is cut into is its own affair.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, cast

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.utils import _pytree as pytree

from lignite.attribution.axes import Nodes, PerTarget, TargetHeads, Targets
from lignite.attribution.integrals import Integral, Opened
from lignite.attribution.layer_work import LayerWork
from lignite.attribution.maps import AtNodes
from lignite.attribution.panels import Goal, Panel, Scores, Span, Way, numbered, within
from lignite.attribution.refinement import some_of
from lignite.attribution.rules import halves_rule

Halved = tuple[Scores, Scores, Float[Tensor, "layer target *head"]]
"""Scores of both halves of a panel, ``[layer, target, ...]``, and the readout between them."""

Halve = Callable[[tuple[Nodes, Nodes], Sequence[int], Sequence[int]], Halved]
"""Computes both halves, by a rule of nodes and weights, for some of the targets in some of the layers."""


class Beside(Way):
    """Layers beside one another are halved as one: of the layers and targets that want a half, each with each."""

    def __init__(self, goal: Goal, first: Panel, halve: Halve, n_targets: int):
        super().__init__(goal, first.n_nodes)
        self.first, self.halve, self.n_targets = first, halve, n_targets

    def whole(self) -> Panel:
        return self.first

    def nest(self, numbers: Sequence[int]) -> None:
        """No rule of Gauss and Legendre is inside another."""

    def halves(self, span: Span, numbers: Int[np.ndarray, " row"]) -> tuple[Panel, Panel]:
        like, of_layer, of_target = span.level_end, numbers // self.n_targets, numbers % self.n_targets
        layers = _most(of_layer, len(self.goal.targets) // self.n_targets)
        targets = _most(of_target, self.n_targets)
        rule = halves_rule(self.n_nodes, span.start, span.end, self.goal.power, like.dtype, like.device)
        *scores, level = self.halve(rule, layers.tolist(), targets.tolist())
        places = np.searchsorted(layers, of_layer) * len(targets) + np.searchsorted(targets, of_target)
        spans = span.cut(some_of(level.flatten(0, 1), places))
        first, second = (
            Panel(half, self.n_nodes, {name: some_of(part.flatten(0, 1), places) for name, part in each.items()})
            for half, each in zip(spans, scores, strict=True)
        )
        return first, second


def halves_of(
    work: LayerWork,
    name: str,
    start: tuple[TargetHeads, Float[Tensor, "target *head d"]],
    rule: tuple[Nodes, Nodes],
    some: Targets,
) -> tuple[Scores, Scores, PerTarget]:
    """Compute both halves of a panel of one layer, for some targets, from all heads and outputs where paths start."""
    work.begin(*start)
    found = cast(AtNodes, work.map(name)[0]).halves(*rule, some)
    assert found is not None  # first panels are as large
    return found


def _most(wanted: Int[np.ndarray, " row"], n_every: int) -> Int[np.ndarray, " some"]:
    """Choose what is wanted, or all if that is half of them at least: choosing costs launches, too."""
    some = np.unique(wanted)
    return some if 2 * len(some) < n_every else np.arange(n_every)


def refine_layers(
    work: LayerWork, found: dict[str, Any], failing: Sequence[Sequence[bool]], halve: Callable[..., Halved]
) -> list[tuple[list[bool], dict[str, float]]]:
    """Refine all maps of layers in `found`, where their rows are `failing`: targets, map after map.

    Says of each layer which rows still fail, and how many nodes a target of each map took. `halve` is told the name of
    the map first.
    """
    n_layers, n_targets, parts = len(failing), len(work.targets), dict[str, dict[str, Tensor]]()
    for place, name in enumerate(work.needed):
        rows = [row for own in failing for row in own[place * n_targets :][:n_targets]]
        integral = _refined(work, name, found, rows, partial(halve, name))
        parts[name] = pytree.tree_map(lambda each: each.unflatten(0, (n_layers, n_targets)), vars(integral))
    with torch.no_grad():
        found["found"] = torch.vmap(partial(_collected, work))(parts)
        close = [within(one["gap"].flatten(0, 1), one["allowed"].flatten(0, 1)) for one in parts.values()]
        missing = [~each.unflatten(0, (n_layers, n_targets)) for each in close]
        taken = [one["n_nodes"].double().mean(1, keepdim=True) for one in parts.values()]
    read = torch.cat([*missing, *taken], 1).tolist()
    flags, nodes = ([own[some] for own in read] for some in (slice(-len(parts)), slice(-len(parts), None)))
    return [
        ([bool(each) for each in own], dict(zip(parts, n_nodes, strict=True)))
        for own, n_nodes in zip(flags, nodes, strict=True)
    ]


def _collected(work: LayerWork, parts: dict[str, Any]) -> dict[str, Tensor]:
    """Take what is kept of the maps of one layer."""
    return work.collect({name: Integral(**each) for name, each in parts.items()}, work.targets)


def _refined(work: LayerWork, name: str, found: dict[str, Any], failing: Sequence[bool], halve: Halve) -> Integral:
    """Refine one map of all layers, from its first panels, where rows are `failing`."""
    displacement, size = (each.flatten(0, 1) for each in found["goals"][name])
    power = work.heads_power if name == "mlp" else work.plan.power
    goal = Goal(displacement, numbered(len(failing), displacement.device), size, work.precision, power)
    scores = {part: each.flatten(0, 1) for part, each in found["scores"][name].items()}
    first = Panel(goal.whole(), work.n_nodes, scores)
    return Opened(Beside(goal, first, halve, len(work.targets))).close(failing)
