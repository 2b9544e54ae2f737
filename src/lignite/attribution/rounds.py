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

from lignite.attribution.axes import Nodes
from lignite.attribution.integrals import Integral, Opened
from lignite.attribution.layer_work import LayerWork, sizes_of
from lignite.attribution.maps import AtNodes, Halves
from lignite.attribution.panels import Goal, Panel, Scores, Span, Way, numbered, within
from lignite.attribution.paths import Path
from lignite.attribution.plan import GRADED_POWER
from lignite.attribution.refinement import some_of
from lignite.attribution.rules import halves_rule

Halved = tuple[Scores, Scores, Float[Tensor, "layer target *head"]]
"""Scores of both halves of a panel, ``[layer, target, ...]``, and the readout between them."""

Halve = Callable[[tuple[Nodes, Nodes], Sequence[int], Sequence[int]], Halved]
"""Computes both halves, by a rule of nodes and weights, for some of the targets in some of the layers."""


class Beside(Way):
    """Layers beside one another are halved as one: of the layers and targets that want a half, each with each."""

    def __init__(self, goal: Goal, first: Panel, halve: Halve, n_targets: int, foreseen: Halved | None):
        super().__init__(goal, first.n_nodes)
        self.first, self.halve, self.n_targets, self.foreseen = first, halve, n_targets, foreseen

    def whole(self) -> Panel:
        return self.first

    def nest(self, numbers: Sequence[int]) -> None:
        """No rule of Gauss and Legendre is inside another."""

    def halves(self, span: Span, numbers: Int[np.ndarray, " row"]) -> tuple[Panel, Panel]:
        of_layer, of_target = numbers // self.n_targets, numbers % self.n_targets
        layers, targets = np.arange(len(self.goal.targets) // self.n_targets), np.arange(self.n_targets)
        if self.foreseen is not None and (span.start, span.end) == (0.0, 1.0):
            *scores, level = self.foreseen
        else:
            like, layers, targets = span.level_end, _most(of_layer, len(layers)), _most(of_target, len(targets))
            rule = halves_rule(self.n_nodes, span.start, span.end, self.goal.power, like.dtype, like.device)
            *scores, level = self.halve(rule, layers.tolist(), targets.tolist())
        places = np.searchsorted(layers, of_layer) * len(targets) + np.searchsorted(targets, of_target)
        spans = span.cut(some_of(level.flatten(0, 1), places))
        first, second = (
            Panel(half, self.n_nodes, {name: some_of(part.flatten(0, 1), places) for name, part in each.items()})
            for half, each in zip(spans, scores, strict=True)
        )
        return first, second


FORESEEN = 1e-3
"""Paths that start at nothing turn there: where such a gap is too much, the first panel suffices for few targets."""


def foresees(work: LayerWork) -> bool:
    """Whether it can be foreseen that first panels do not suffice."""
    precision = work.precision
    cut = work.plan.power == GRADED_POWER and precision.n_steps is None and precision.tol <= FORESEEN
    return cut and 3 * work.n_nodes <= precision.max_steps


def first_of(work: LayerWork, row: Int[Tensor, "1"]) -> dict[str, Any]:
    """Compute the first panels of all maps, and what becomes of them where they suffice; nothing is read.

    `seen` are the scores of the target in this `row`.
    """
    ready, everyone = work.first_panels(cast(Path, work.plan.path), slice(None)), slice(0, len(work.targets))
    opened = {name: work.open(*each, everyone, work.targets) for name, each in ready.items()}
    integrals = {name: one.close([]) for name, one in opened.items()}
    seen = {name: torch.cat(each[0].seen).index_select(1, row).squeeze(1) for name, each in ready.items()}
    heads = work.heads_at_start
    return {
        "heads": heads,
        "output": work.output_at_start() if "whole" in ready or "mlp" in ready else heads,
        "scores": {name: one.first.scores for name, one in opened.items()},
        "halves": work.halves,
        "goals": {name: (one.goal.displacement, one.goal.size) for name, one in opened.items()},
        "seen": seen,
        "found": work.collect(integrals, work.targets),
        "content": torch.cat([one.content for one in opened.values()]),
        "shares": torch.cat([sizes_of(each) for each in seen.values()]),
        "sums": torch.stack([each.gap.sum() for each in integrals.values()]),
    }


def first_bytes(work: LayerWork, *, foreseen: bool = False) -> int:
    """Count bytes that `first_of` takes: the largest chunk, scores of every node once more, and what is kept.

    With `foreseen` halves, those are in the chunk.
    """
    block, n_nodes, n_targets = work.block, work.n_nodes, len(work.targets)
    at_once = 3 * n_nodes + 2 if foreseen else 2 * n_nodes + 1
    seen = 2 * n_nodes * block.n_heads * n_targets * len(block.states) * block.states.element_size()
    chunks = [work.chunking(name).taken(at_once, n_targets) for name in work.needed]
    return int(max(chunks) + seen + n_targets * work.held)


def halves_of(
    work: LayerWork,
    name: str,
    start: tuple[Float[Tensor, "every head d_value"], Float[Tensor, "every *vector"]],
    rule: tuple[Nodes, Nodes],
    some: Int[Tensor, " some"],
) -> Halves:
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
    return Opened(Beside(goal, first, halve, len(work.targets), found["halves"].get(name))).close(failing)
