"""Integrated gradients of the prediction at every layer: along a line in each layer, or along the image of one line."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lignite.attribution.axes import RowStates
from lignite.attribution.integrals import Bisecting, Integral, Nesting, Opened, integrate
from lignite.attribution.lines import Layers, Lines, powers_of
from lignite.attribution.panels import Goal, Precision, numbered
from lignite.attribution.traced_path import TracedPath
from lignite.tolerance import size_among_predictions


@dataclass(frozen=True)
class LayerIG:
    """Layer IG is scores of every layer, last those of the states that leave the last block, with their certificate.

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
class Following(Precision):
    """A batch is followed with a precision, and `max_points` copies of its rows are run at once.

    What stands above the last block takes the share `above` of a copy's memory. Where it is `stochastic`, `n_steps`
    nodes are drawn at random, from `seed`. With `by_block` all points go through one block before they go through the
    next, where that can be. `memory` are the bytes that intermediate tensors may take.
    """

    max_points: int = 64
    memory: float = math.inf
    above: float = 0.0
    stochastic: bool = False
    seed: int = 0
    by_block: bool = False


def along_each_layer(
    layers: Layers,
    start: Sequence[RowStates],
    precision: Following,
    *,
    wanted: Sequence[int],
    base: Float[Tensor, " row"] | None = None,
) -> LayerIG:
    """Integrate along a line in each layer's states (``path="layer"``), from `start[layer]`; only blocks above are run.

    Points of all layers are run in one sweep, each entering at its own. `base` is F where paths start, if the model
    itself has said; otherwise it is replayed.
    """
    return begin_each_layer(layers, start, precision, wanted=wanted, base=base)()


def begin_each_layer(
    layers: Layers,
    start: Sequence[RowStates],
    precision: Following,
    *,
    wanted: Sequence[int],
    base: Float[Tensor, " row"] | None = None,
) -> Callable[[], LayerIG]:
    """Begin what `along_each_layer` does, and return what ends it.

    In between nothing is read of the device: what else the model is asked meanwhile is prepared while it computes.
    """
    by_power: dict[int, list[int]] = {}
    for layer, power in zip(wanted, powers_of(layers, wanted, [start[layer] for layer in wanted]), strict=True):
        by_power.setdefault(power, []).append(layer)
    begun = [
        (some, _begun(Lines(layers, some, start, base, precision.max_points, precision.above), precision, power))
        for power, some in by_power.items()
    ]

    def end() -> LayerIG:
        found: dict[int, LayerIG] = {}
        for some, together in begun:
            found |= dict(zip(some, _by_layer(together(), len(layers.value)), strict=True))
        return _joined([found[layer] for layer in wanted], dim=1)

    return end


def along_input(
    layers: Layers,
    start: RowStates,
    precision: Following,
    *,
    base: Float[Tensor, " row"] | None = None,
    images: Sequence[RowStates] | None = None,
) -> LayerIG:
    """Integrate along one line at the first layer (``path="input"``), whose image is followed through all the others.

    `base` is F where it starts, and `images` its states at every layer there, if the model itself has said; otherwise
    they are replayed.
    """
    (power,) = powers_of(layers, [0], [start])
    path = TracedPath(layers, start, base, precision.max_points, power, images, precision.by_block, precision.memory)
    if precision.stochastic or _bisects(precision, power):
        return _begun(path, precision, power)()
    order, parts = [], []
    for some, most in path.groups(_every_line(path)):
        order.append(some)
        parts.append(_of_integral(integrate(Nesting(path, _goal_of(path, some, precision, power), most))))
    return _taken(_joined(parts), torch.cat(order).argsort())


def _begun(path: Lines | TracedPath, precision: Following, power: int) -> Callable[[], LayerIG]:
    """Evaluate the first nodes of all paths; what is returned reads the verdict, and goes on where it must."""
    goal = _goal_of(path, _every_line(path), precision, power)
    if precision.stochastic:
        return partial(_by_chance, path, goal, precision)
    if _bisects(precision, power):
        opened = Opened(Bisecting(path, goal, path.n_nodes))
    else:
        opened = Opened(Nesting(path, goal))
    return lambda: _of_integral(opened.close(opened.failing.tolist()))


def _bisects(precision: Following, power: int) -> bool:
    return precision.n_steps is not None or power != 1


def _every_line(path: Lines | TracedPath) -> Int[Tensor, " line"]:
    return numbered(len(path.value), path.value.device)


def _goal_of(path: Lines | TracedPath, lines: Int[Tensor, " line"], precision: Following, power: int) -> Goal:
    """State what is integrated along some lines."""
    displacement = path.displacement[lines]
    ends = [of_lines[lines, None].expand_as(displacement) for of_lines in (path.value, path.base)]
    size, scale = size_among_predictions(displacement, *ends), torch.maximum(ends[0].abs(), ends[1].abs())
    return Goal(displacement, lines, size, precision, power, scale)


def _by_chance(path: Lines | TracedPath, goal: Goal, precision: Following) -> LayerIG:
    """Draw two random nodes in each part of the path: unbiased, and their differences measure the error."""
    assert precision.n_steps is not None
    generator = torch.Generator().manual_seed(precision.seed)
    n_parts, displacement = precision.n_steps // 2, path.displacement
    parts: list[Tensor] = []
    spreads: list[Tensor] = []
    for part in range(n_parts):
        nodes = (torch.rand(2, generator=generator, dtype=torch.float64) + part) / n_parts
        weight = displacement.new_tensor([1 / n_parts])
        first, second = (path.scores(node.reshape(1).to(weight), weight, goal.targets)["scores"] for node in nodes)
        parts.append((first + second) / 2)
        spreads.append((first - second) ** 2 / 4)
    total = torch.stack(parts).sum(0)
    gap = total.sum(-1) - displacement
    n_nodes = torch.full_like(gap, precision.n_steps, dtype=torch.long)
    return LayerIG(total, displacement, gap, precision.tol * goal.size, n_nodes, torch.stack(spreads).sum(0).sqrt())


def _of_integral(found: Integral) -> LayerIG:
    n_nodes = found.n_nodes[:, None].expand_as(found.gap)
    return LayerIG(found.scores["scores"], found.displacement, found.gap, found.allowed, n_nodes)


def _by_layer(found: LayerIG, n_rows: int) -> list[LayerIG]:
    """Part the lines of the layers, ``[row, 1]`` each."""
    return [_taken(found, slice(first, first + n_rows)) for first in range(0, len(found.gap), n_rows)]


def _taken(found: LayerIG, lines: Int[Tensor, " line"] | slice) -> LayerIG:
    return _changed([found], lambda parts: parts[0][lines])


def _joined(found: Sequence[LayerIG], dim: int = 0) -> LayerIG:
    """Lay rows, or layers, side by side."""
    return _changed(found, lambda parts: torch.cat(parts, dim))


def _changed(found: Sequence[LayerIG], change: Callable[[list[Tensor]], Tensor]) -> LayerIG:
    """Make every field of the same field of others."""

    def field(name: str) -> Tensor:
        return change([getattr(one, name) for one in found])

    error = None if found[0].error is None else field("error")
    return LayerIG(field("scores"), field("displacement"), field("gap"), field("allowed"), field("n_nodes"), error)
