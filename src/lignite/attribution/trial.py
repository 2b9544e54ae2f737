"""The trial: one random target at one random node, by the definition, through the block as the model runs it."""

import random
from collections.abc import Collection
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from lignite.attribution.block import Block
from lignite.attribution.quadrature import Rule
from lignite.attribution.readout import ROUNDINGS, Readout

TRIAL_TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-4}
"""Largest difference of a row of scores from the definition, relative to its largest, by the coarsest precision in the
block: many float64 models compute norms or softmax in float32.

Two orders of summation differ by 1e-15 to 1e-13 in float64; float32 rounds to 6e-8, and Gram matrices and softmax lose
two to three digits. What a target's move loses by cancellation comes on top (`Truth.errors`).
"""


@dataclass(frozen=True)
class Draw:
    """Whom a trial looks at: one of the targets, by its place among them. `seed` draws the rest."""

    row: int
    seed: int


def draw(n_targets: int, seed: int, *, without: Collection[int] = ()) -> Draw:
    """A target by lot."""
    rows = [row for row in range(n_targets) if row not in without]
    return Draw(random.Random(seed).choice(rows), seed)


@dataclass(frozen=True, eq=False)
class Trial:
    """One target's scores at the nodes of a plan, held to the block as the model runs it.

    `seen` are the scores by map, at every node and weighted as the plan weights them; `path` and `heads_path` are the
    nodes of the paths through the states and through the target's own heads.
    """

    block: Block
    baseline: Float[Tensor, "token d"] | None
    target: int
    draw: Draw
    seen: dict[str, Float[Tensor, "node *head source"]]
    path: Rule
    heads_path: Rule
    heads_from_zero: bool
    readout: str

    def errors(self) -> Float[Tensor, "map 3"]:
        """For every map: how far it is off at one node, relative to its largest score, how far it may be, its size."""
        precision = self.block.states.dtype
        watch = _Coarsest() if precision == torch.float64 else None
        with torch.enable_grad(), watch or nullcontext():
            truth = _Run(self)
            truth.forward()
            rows = truth.rows()
        if watch is not None:
            precision = watch.found
        return torch.stack([self._error(name, truth, rows[name], precision) for name in self.seen])

    def _error(self, name: str, truth: "_Run", expected: Tensor, precision: torch.dtype) -> Float[Tensor, " 3"]:
        found = self.seen[name].index_select(0, truth.nodes[name])[0]
        if name == "attention":
            found = truth.factors @ found
        size = torch.maximum(expected.abs().max(), found.abs().max()).clamp_min(torch.finfo(expected.dtype).tiny)
        error = (found - expected).abs().max() / size
        rounding = ROUNDINGS * torch.finfo(precision).eps
        allowed = TRIAL_TOLERANCE[precision] + rounding * (truth.cancelled[name] + truth.mass[name] / size)
        return torch.stack([error, allowed, found.abs().max()])

    def node(self, name: str, lot: float) -> Int[Tensor, " 1"]:
        """One node of a map's path by lot, each by its share of the target's scores."""
        passed = torch.cumsum(self.seen[name].flatten(1).abs().sum(1), 0)
        return (passed < lot * passed[-1:]).sum(0, keepdim=True)

    def rule(self, name: str) -> Rule:
        return self.heads_path if name == "mlp" else self.path


class _Run:
    """The points of a trial side by side: the start, the nodes, and the actual states with other heads.

    `factors` weigh the heads of the `attention` map, so that one pass serves all of them. `cancelled` says for each map
    how much larger the target is than its move, `mass` how large the factors of its scores are.
    """

    def __init__(self, trial: Trial):
        self.trial, self.block, self.target = trial, trial.block, trial.target
        lot = random.Random(trial.draw.seed)
        self.nodes = {name: trial.node(name, lot.random()) for name in trial.seen}
        states = self.block.states
        self.start = states[self.target].expand_as(states) if trial.baseline is None else trial.baseline
        self.slope = states - self.start
        points = {"start": self.start}
        for name in trial.seen:
            if name == "mlp":
                points |= {name: states, "mlp start": states}
            else:
                points[name] = self.start + self._node(name) * self.slope
        self.places = {name: place for place, name in enumerate(points)}
        self.states = torch.stack(list(points.values())).detach().requires_grad_()
        n_heads = self.block.n_heads
        factors = [lot.choice((-1, 1)) * lot.uniform(0.5, 1.5) for _ in range(n_heads)]
        self.factors = states.new_tensor(factors)
        self.cancelled: dict[str, Tensor] = {}
        self.mass: dict[str, Tensor] = {}

    def _node(self, name: str) -> Float[Tensor, " 1"]:
        return self._at(self.trial.rule(name).nodes, name)

    def _weight(self, name: str) -> Float[Tensor, " 1"]:
        return self._at(self.trial.rule(name).weights, name)

    def _at(self, values: tuple[float, ...], name: str) -> Float[Tensor, " 1"]:
        states = self.block.states
        return torch.tensor(values, dtype=states.dtype).to(states.device).index_select(0, self.nodes[name])

    def forward(self) -> None:
        try:
            self.heads, self.output = self.block.as_loaded(self.states, partial(self._change, first=0))
            return
        except (RuntimeError, ValueError, IndexError):
            pass  # its call is made for one input alone: the points are run one after the other
        heads: list[Tensor] = []
        outputs = []
        for place, point in enumerate(self.states.split(1)):
            seen, output = self.block.as_loaded(point, partial(self._change, first=place))
            heads += [] if seen is None else [seen]
            outputs.append(output)
        self.heads, self.output = torch.cat(heads) if heads else None, torch.cat(outputs)

    def _change(self, heads: Tensor, first: int) -> Tensor:
        """Give the target the heads of the `mlp` map's path, at the points that stand for it."""
        target, trial = self.target, self.trial
        if first == 0:
            zero = trial.heads_from_zero
            self.heads_start = (torch.zeros_like if zero else torch.clone)(heads[0, target].detach())
        here = {name: place - first for name, place in self.places.items() if 0 <= place - first < len(heads)}
        changed = heads
        if "mlp" in here:
            self.heads_slope = heads[here["mlp"], target].detach() - self.heads_start
            given = self.heads_start + self._node("mlp") * self.heads_slope
            self.given = given.requires_grad_()
            changed = changed.clone()
            changed[here["mlp"], target] = self.given
        if "mlp start" in here:
            changed = changed.clone() if changed is heads else changed
            changed[here["mlp start"], target] = self.heads_start
        return changed

    def rows(self) -> dict[str, Tensor]:
        trial, places = self.trial, self.places
        output, block = self.output[:, self.target], self.block
        objectives, directions, inputs = [], [], [self.states]
        if "whole" in places:
            objectives.append(output[places["whole"]])
            directions.append(self._direction("whole", objectives[-1], output[0], block.output))
        if "mlp" in places:
            inputs.append(self.given)
            objectives.append(output[places["mlp"]])
            directions.append(self._direction("mlp", objectives[-1], output[places["mlp start"]], block.output))
        if "attention" in places:
            assert self.heads is not None
            assert block.heads is not None
            objectives.append(self.heads[places["attention"], self.target])
            direction = self._direction("attention", objectives[-1], self.heads[0, self.target], block.heads)
            directions.append(self.factors[:, None] * direction)
        gradients = torch.autograd.grad(objectives, inputs, directions)
        rows = {name: self._row(name, gradients[0][places[name]], self.slope) for name in trial.seen if name != "mlp"}
        if "mlp" in places:
            rows["mlp"] = self._row("mlp", gradients[1], self.heads_slope)
        return rows

    def _row(self, name: str, gradient: Tensor, slope: Tensor) -> Tensor:
        gradient = gradient * self._weight(name)
        # a norm turns gradients square to its input: what is left of the product is as exact as its factors
        self.mass[name] = (torch.linalg.vector_norm(gradient, dim=-1) * torch.linalg.vector_norm(slope, dim=-1)).max()
        return (gradient * slope).sum(-1)

    def _direction(self, name: str, value: Tensor, start: Tensor, end: Tensor) -> Tensor:
        value, start = value.detach(), start.detach()
        moved = torch.linalg.vector_norm(value - start)
        self.cancelled[name] = torch.linalg.vector_norm(value) / moved.clamp_min(torch.finfo(moved.dtype).tiny)
        everyone = torch.zeros(1, dtype=torch.long, device=value.device)
        readout = Readout(self.trial.readout, start[None], end[self.target][None])
        return readout.gradient(value[None], everyone)[0]


class _Coarsest(TorchDispatchMode):
    """Notes the coarsest precision that anything under it is computed in."""

    found = torch.float64

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, tuple | list) else (result,):
            if isinstance(tensor, Tensor) and tensor.dtype in (torch.float32, torch.float16, torch.bfloat16):
                self.found = torch.float32
        return result
