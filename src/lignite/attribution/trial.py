"""The trial: one random target at one random node, by the definition, through the block as the model runs it."""

import random
from bisect import bisect_left
from collections.abc import Collection, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from itertools import accumulate
from math import isfinite
from typing import Any, cast

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from lignite.attribution.axes import PointHeads
from lignite.attribution.block import Block, HeadedBlock
from lignite.attribution.readout import ROUNDINGS, length, unit
from lignite.attribution.rules import Rule

TRIAL_TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-4}
"""Largest difference of a row of scores from the definition, relative to its largest, by the coarsest precision in the
block: many float64 models compute norms or softmax in float32.

Two orders of summation differ by 1e-15 to 1e-13 in float64; float32 rounds to 6e-8, and Gram matrices and softmax lose
two to three digits. What a target's move loses by cancellation comes on top (`Measured.verdicts`).
"""


@dataclass(frozen=True)
class Draw:
    """A draw says whom a trial looks at: one of the targets, by its place among them. `seed` draws the rest."""

    row: int
    seed: int


def draw(n_targets: int, seed: int, *, without: Collection[int] = ()) -> Draw:
    """Draw a target, later ones more often: in a decoder they see more, and the first sees nothing but itself."""
    rows = [row for row in range(n_targets) if row not in without]
    return Draw(random.Random(seed).choices(rows, [row + 1 for row in rows])[0], seed)


def draw_nodes(shares: Mapping[str, Sequence[float]], seed: int) -> dict[str, int]:
    """Draw one node of every map's path, each by its share of the target's scores."""
    lot = random.Random(seed)
    nodes = {}
    for name, some in shares.items():
        passed = list(accumulate(some))
        nodes[name] = bisect_left(passed, lot.random() * passed[-1]) if isfinite(passed[-1]) else 0
    return nodes


@dataclass(frozen=True)
class Verdict:
    """A verdict says how far a row is from the definition, relative to its largest, how far it may be, its size."""

    error: float
    allowed: float
    size: float

    @property
    def holds(self) -> bool:
        return self.error <= self.allowed


@dataclass(frozen=True, eq=False)
class Trial:
    """A trial holds one target's scores at one node of a plan's paths to the block as the model runs it.

    `seen` are its scores by map, at every node and weighted as the plan weights them, `nodes` say which is looked at;
    `path` and `heads_path` are the nodes of the paths through the states and through the target's own heads. Points lie
    side by side in one pass of the block, unless memory asks for one after the other.
    """

    block: Block
    baseline: Float[Tensor, "token d"] | None
    target: int
    draw: Draw
    seen: dict[str, Float[Tensor, "node *head source"]]
    nodes: Mapping[str, int]
    path: Rule
    heads_path: Rule
    heads_from_zero: bool
    readout: str
    side_by_side: bool = True

    def rule(self, name: str) -> Rule:
        return self.heads_path if name == "mlp" else self.path


class Measured:
    """A trial is measured by running its points side by side: the start, the nodes, the states with other heads.

    `rows` are every map's row by the plan and by the definition, still on the device, `precision` is the coarsest in
    the block. `factors` weigh the heads of the `attention` map, so that one pass serves all of them. `moves` are for
    each map the target's vector at the node and by how much it has moved, `gradients` what comes back to the states or
    the heads.
    """

    def __init__(self, trial: Trial):
        self.trial, self.block, self.target = trial, trial.block, trial.target
        states = self.block.states
        watch = _Coarsest() if states.dtype == torch.float64 else None
        with torch.enable_grad(), watch or nullcontext():
            self.start = states[self.target].expand_as(states) if trial.baseline is None else trial.baseline
            self.slope = states - self.start
            self.places = {name: place for place, name in enumerate(self._points)}
            self.states = torch.stack([self._point(name) for name in self.places]).requires_grad_()
            lot = random.Random(trial.draw.seed)
            factors = [lot.choice((-1, 1)) * lot.uniform(0.5, 1.5) for _ in range(self.block.n_heads)]
            if "attention" in trial.seen:
                self.factors = torch.tensor(factors, dtype=states.dtype, device=states.device)[:, None]
            self.moves: dict[str, tuple[Tensor, Tensor]] = {}
            self.gradients: dict[str, Tensor] = {}
            self._differentiate_all()
        self.precision = states.dtype if watch is None else watch.found
        self.rows = torch.cat([part for name in trial.seen for part in self._rows(name)])

    def verdicts(self, rows: Sequence[float]) -> dict[str, Verdict]:
        """Judge every map, from the `rows` as they were read by the caller.

        The direction in which a target moves is as exact as the difference of two vectors that it is taken from.
        """
        found, rest = {}, np.asarray(rows)
        for name, seen in self.trial.seen.items():
            own, rest = np.split(rest, [2 * seen.shape[-1]])
            difference, expected, actual = _sizes(*np.split(own, 2), weight=self._weight(name))
            size = max(expected, actual)
            error, allowed = difference / size if size else difference, TRIAL_TOLERANCE[self.precision]
            if not error <= allowed:
                allowed += ROUNDINGS * torch.finfo(self.precision).eps * self._cancelled(name, size)
            found[name] = Verdict(error, allowed, actual)
        return found

    @property
    def _points(self) -> list[str]:
        """Order the points: those that end at the block's output last, their starts first, in the same order."""
        seen = self.trial.seen
        starts = ["start", *(["mlp start"] if "mlp" in seen else [])]
        return starts + [name for name in ("attention", "whole", "mlp") if name in seen]

    def _point(self, name: str) -> Float[Tensor, "token d"]:
        if name == "start":
            return self.start
        if name in ("mlp", "mlp start"):
            return self.block.states
        return torch.add(self.start, self.slope, alpha=self._node(name))

    def _node(self, name: str) -> float:
        return self.trial.rule(name).nodes[self.trial.nodes[name]]

    def _differentiate_all(self) -> None:
        """Find what comes back to states and heads, for all points side by side or, to save memory, one by one."""
        if self.trial.side_by_side:
            try:
                self.heads, self.output = self.block.as_loaded(self.states, self._change)
                self._differentiate()
                return
            except (RuntimeError, ValueError, IndexError):
                pass  # its call is made for one input alone
        self._one_by_one()

    def _one_by_one(self) -> None:
        block = self.block
        with torch.no_grad():
            heads_start, output_start = self._row(*block.as_loaded(self.states[:1].detach()))
        for name in self.trial.seen:
            leaf = self.states[self.places[name], None].detach()
            if name == "mlp":
                with torch.no_grad():
                    own = self._row(*block.as_loaded(leaf))[0]
                    self.heads_start = torch.zeros_like(own) if self.trial.heads_from_zero else heads_start
                    self.heads_slope = own - self.heads_start
                    start = self._row(*block.as_loaded(leaf, partial(self._given_to, self.heads_start)))[1]
                given = torch.add(self.heads_start, self.heads_slope, alpha=self._node(name)).requires_grad_()
                value = self._row(*block.as_loaded(leaf, partial(self._given_to, given)))[1]
                direction = self._direction([name], value, start, block.output)
                self.gradients[name] = torch.autograd.grad(value, given, direction, materialize_grads=True)[0]
                continue
            heads, output = self._row(*block.as_loaded(leaf.requires_grad_()))
            if name == "attention":
                end = cast(HeadedBlock, block).heads
                value, direction = heads, self._direction([name], heads, heads_start, end)
            else:
                value, direction = output, self._direction([name], output, output_start, block.output)
            self.gradients[name] = torch.autograd.grad(value, leaf, direction, materialize_grads=True)[0][0]

    def _row(
        self, heads: Float[Tensor, "1 token head d_value"], output: Float[Tensor, "1 token d"]
    ) -> tuple[Float[Tensor, "head d_value"], Float[Tensor, " d"]]:
        return heads[0, self.target], output[0, self.target]

    def _given_to(
        self, given: Float[Tensor, "head d_value"], heads: Float[Tensor, "1 token head d_value"]
    ) -> Float[Tensor, "1 token head d_value"]:
        changed = heads.clone()
        changed[0, self.target] = given
        return changed

    def _change(self, heads: PointHeads) -> PointHeads:
        """Give the target the heads of the `mlp` map's path, at the points that stand for it."""
        if "mlp" not in self.places:
            return heads
        own, n_tokens = heads.detach()[:, self.target], heads.shape[1]
        first, last = self.places["mlp start"], self.places["mlp"]
        self.heads_start = torch.zeros_like(own[0]) if self.trial.heads_from_zero else own[0]
        self.heads_slope = own[last] - self.heads_start
        moved = torch.add(self.heads_start, self.heads_slope, alpha=self._node("mlp"))
        self.given = torch.stack([self.heads_start, moved]).requires_grad_()
        rows = [place * n_tokens + self.target for place in (first, last)]
        both = torch.arange(rows[0], rows[1] + 1, rows[1] - rows[0], device=heads.device)  # no copy from the host
        return heads.flatten(0, 1).index_copy(0, both, self.given).view_as(heads)

    def _differentiate(self) -> None:
        """Pull the readouts of all maps back through the block in one pass."""
        places, block = self.places, self.block
        objectives, directions, inputs = [], [], [self.states]
        through = [name for name in places if name in ("whole", "mlp")]
        if through:
            output, first = self.output[:, self.target], 0 if "whole" in places else 1
            objectives.append(output[-len(through) :])
            with torch.no_grad():
                starts = output[first : first + len(through)]
            directions.append(self._direction(through, objectives[-1], starts, block.output))
        if "mlp" in places:
            inputs.append(self.given)
        if "attention" in places:
            own, end = self.heads[:, self.target], cast(HeadedBlock, block).heads
            objectives.append(own[places["attention"]])
            directions.append(self._direction(["attention"], objectives[-1], own[0], end))
        to_states, *to_heads = torch.autograd.grad(objectives, inputs, directions, materialize_grads=True)
        self.gradients = {
            name: to_heads[0][1] if name == "mlp" else to_states[places[name]] for name in self.trial.seen
        }

    def _direction(
        self,
        names: Sequence[str],
        value: Float[Tensor, "*vector d"],
        start: Float[Tensor, "*vector d"],
        end: Float[Tensor, "token *any"],
    ) -> Float[Tensor, "*vector d"]:
        """Find in which direction readouts grow: of one map, or of several whose vectors lie side by side."""
        several, projection = len(names) > 1, self.trial.readout == "projection"
        with torch.no_grad():
            moved = value - start
            self.moves |= {
                name: (value[place], moved[place]) if several else (value, moved) for place, name in enumerate(names)
            }
            total = end[self.target] - start if projection or "attention" in names else moved
            direction = unit(total if projection else moved)
            if "attention" in names:  # heads that stand still have no direction, only rounding
                least = ROUNDINGS * torch.finfo(total.dtype).eps * length(end[self.target])
                direction = direction * (length(total) > least) * self.factors
        return direction

    def _rows(self, name: str) -> tuple[Float[Tensor, " source"], Float[Tensor, " source"]]:
        """Give the plan's row, and the definition's before it is weighted."""
        found = self.trial.seen[name][self.trial.nodes[name]]
        if name == "attention":
            found = (self.factors * found).sum(0)
        return found, (self.gradients[name] * self._slope(name)).sum(-1)

    def _cancelled(self, name: str, size: float) -> float:
        """Say by how much more a row rounds than its size: its target is a small difference, and so are its scores.

        A norm turns gradients square to its input: what is left of the product is as exact as its terms.
        """
        whole, moved = (float(torch.linalg.vector_norm(each.detach())) for each in self.moves[name])
        products = self.gradients[name] * self._slope(name) * self._weight(name)
        mass = float(torch.linalg.vector_norm(products, dim=-1).max())
        return (whole / moved if moved else 0.0) + (mass / size if size else 0.0)

    def _slope(self, name: str) -> Float[Tensor, "*source d"]:
        return self.heads_slope if name == "mlp" else self.slope

    def _weight(self, name: str) -> float:
        return self.trial.rule(name).weights[self.trial.nodes[name]]


def _sizes(actual: np.ndarray, expected: np.ndarray, *, weight: float) -> tuple[float, float, float]:
    """Give the largest difference of two rows, the second of which is not weighted yet, and the largest of each."""
    expected = expected * weight
    with np.errstate(invalid="ignore"):  # what is not a number says so below
        rows = (actual - expected, expected, actual)
    first, second, third = (float(np.abs(row).max()) for row in rows)
    return first, second, third


class _Coarsest(TorchDispatchMode):
    """The mode notes the coarsest precision that anything under it is computed in."""

    found = torch.float64

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, tuple | list) else (result,):
            if isinstance(tensor, Tensor) and tensor.dtype in (torch.float32, torch.float16, torch.bfloat16):
                self.found = torch.float32
        return result
