"""The trial: one random target at one random node, by the definition, through the block as the model runs it."""

import random
from bisect import bisect_left
from collections.abc import Collection, Mapping, Sequence
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

from lignite.attribution.axes import PointHeads, PointStates
from lignite.attribution.block import Block, HeadedBlock
from lignite.attribution.maps import differentiated, is_abreast
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


@dataclass(frozen=True)
class Question:
    """What a trial asks of a block; layers that are asked the same differ in numbers alone.

    `names` are the maps. Points lie side by side in one pass of the block, unless memory asks for one after the other.
    """

    names: tuple[str, ...]
    heads_from_zero: bool
    readout: str
    side_by_side: bool = True


@dataclass(frozen=True, eq=False)
class Trial:
    """A trial holds one target's scores at one node of a plan's paths to the block as the model runs it.

    `seen` are its scores by map, at every node and weighted as the plan weights them, `nodes` say which is looked at;
    `path` and `heads_path` are the nodes of the paths through the states and through the target's own heads.
    """

    question: Question
    block: Block
    baseline: Float[Tensor, "token d"] | None
    target: int
    draw: Draw
    seen: dict[str, Float[Tensor, "..."]]
    nodes: Mapping[str, int]
    path: Rule
    heads_path: Rule

    @property
    def drawn(self) -> list[float]:
        """All that was drawn: the target, the node of each map, and factors for the heads of the `attention` map."""
        lot = random.Random(self.draw.seed)
        n_factors = self.block.n_heads if "attention" in self.seen else 0
        factors = [lot.choice((-1, 1)) * lot.uniform(0.5, 1.5) for _ in range(n_factors)]
        return [float(self.target), *(self._rule(name).nodes[self.nodes[name]] for name in self.seen), *factors]

    @property
    def numbers(self) -> Float[Tensor, " number"]:
        states = self.block.states
        return torch.tensor(self.drawn, dtype=states.dtype, device=states.device)

    @property
    def rows(self) -> list[Float[Tensor, "..."]]:
        """The plan's scores at the nodes that were drawn."""
        return [each[self.nodes[name]] for name, each in self.seen.items()]

    def weight(self, name: str) -> float:
        return self._rule(name).weights[self.nodes[name]]

    def _rule(self, name: str) -> Rule:
        return self.heads_path if name == "mlp" else self.path


class Measured:
    """A trial is measured by what its plan and the definition say of the target that was drawn.

    `rows` are every map's row by the plan and by the definition, still on the device, `precision` is the coarsest in
    the block. `found` and its precision are given where the definition was computed beside those of other layers.
    """

    def __init__(self, trial: Trial, found: dict[str, Any] | None = None, precision: torch.dtype | None = None):
        self.trial, self.is_abreast = trial, found is not None
        if found is None:
            with Coarsest(trial.block.states.dtype) as watch:
                found = Definition(trial.question, trial.block, trial.baseline, trial.numbers, trial.rows).found
            precision = watch.found
        self.found, self.precision = found, cast(torch.dtype, precision)
        self.rows: Float[Tensor, " number"] = found["rows"]

    def verdicts(self, rows: Sequence[float]) -> dict[str, Verdict]:
        """Judge every map, from the `rows` as they were read by the caller.

        The direction in which a target moves is as exact as the difference of two vectors that it is taken from.
        """
        found, rest = {}, np.asarray(rows)
        for name, seen in self.trial.seen.items():
            own, rest = np.split(rest, [2 * seen.shape[-1]])
            difference, expected, actual = _sizes(*np.split(own, 2), weight=self.trial.weight(name))
            size = max(expected, actual)
            error, allowed = difference / size if size else difference, TRIAL_TOLERANCE[self.precision]
            if not error <= allowed:
                allowed += ROUNDINGS * torch.finfo(self.precision).eps * self._cancelled(name, size)
            found[name] = Verdict(error, allowed, actual)
        return found

    def _cancelled(self, name: str, size: float) -> float:
        """Say by how much more a row rounds than its size: its target is a small difference, and so are its scores.

        A norm turns gradients square to its input: what is left of the product is as exact as its terms.
        """
        whole, moved = (float(torch.linalg.vector_norm(each)) for each in self.found["moves"][name])
        products = self.found["gradients"][name] * self.found["slopes"][name] * self.trial.weight(name)
        mass = float(torch.linalg.vector_norm(products, dim=-1).max())
        return (whole / moved if moved else 0.0) + (mass / size if size else 0.0)


class Definition:
    """The definition of the maps at the points that were drawn, through the block as the model runs it.

    Points lie side by side: the start, the nodes, the states with other heads. `numbers` and `rows` are those of a
    `Trial`, as tensors: torch may put the definitions of several layers side by side (`torch.vmap`).

    `found` has every map's row by the plan, and by the definition before it is weighted (`rows`); for each map the
    target's vector at the node and by how much it has moved (`moves`), what comes back to the states or the heads
    (`gradients`) and along what these go (`slopes`); the points at which the block ran on states alone (`states`), and
    what left it there for the target (`output`).
    """

    def __init__(
        self,
        question: Question,
        block: Block,
        baseline: Float[Tensor, "token d"] | None,
        numbers: Float[Tensor, " number"],
        seen: Sequence[Float[Tensor, "..."]],
    ):
        self.question, self.block, names = question, block, question.names
        states = block.states
        self.target, drawn = numbers[:1].long(), numbers[1:]
        self.alphas = dict(zip(names, drawn[: len(names)].unbind(), strict=True))
        self.factors = drawn[len(names) :, None]  # one pass serves all heads of the `attention` map
        self.moves: dict[str, tuple[Tensor, Tensor]] = {}
        self.gradients: dict[str, Tensor] = {}
        self.output = dict[int, Tensor]()
        with torch.no_grad():
            self.start = self._own(states).expand_as(states) if baseline is None else baseline
            self.slope = states - self.start
            self.places = {name: place for place, name in enumerate(self._points)}
            self.states = torch.stack([self._point(name) for name in self.places])
        with torch.enable_grad():
            self._differentiate_all()
        plain = [place for name, place in self.places.items() if not name.startswith("mlp")]
        with torch.no_grad():
            slopes = {name: self.heads_slope if name == "mlp" else self.slope for name in names}
            returned = {name: (self.gradients[name] * slopes[name]).sum(-1) for name in names}
            rows = [(self._alone(name, own), returned[name]) for name, own in zip(names, seen, strict=True)]
            self.found: dict[str, Any] = {
                "rows": torch.cat([each for pair in rows for each in pair]),
                "moves": self.moves,
                "gradients": self.gradients,
                "slopes": slopes,
                "states": [self.states[place] for place in plain],
                "output": [self.output[place] for place in plain if place in self.output],
            }

    def _own(self, tensor: Float[Tensor, "*any"], dim: int = 0) -> Float[Tensor, "*rest"]:
        """Take what is the target's."""
        return tensor.index_select(dim, self.target).squeeze(dim)

    @property
    def _points(self) -> list[str]:
        """Order the points: those that end at the block's output last, their starts first, in the same order."""
        names = self.question.names
        starts = ["start", *(["mlp start"] if "mlp" in names else [])]
        return starts + [name for name in ("attention", "whole", "mlp") if name in names]

    def _point(self, name: str) -> Float[Tensor, "token d"]:
        if name == "start":
            return self.start
        if name in ("mlp", "mlp start"):
            return self.block.states
        return torch.addcmul(self.start, self.slope, self.alphas[name])

    def _differentiate_all(self) -> None:
        """Find what comes back to states and heads, for all points side by side or, to save memory, one by one."""
        if self.question.side_by_side:
            try:
                self._differentiate()
                return
            except (RuntimeError, ValueError, IndexError):
                if is_abreast(self.states):
                    raise
        self._one_by_one()  # else its call is made for one input alone

    def _one_by_one(self) -> None:
        block = self.block
        with torch.no_grad():
            heads_start, output_start = self._row(*block.as_loaded(self.states[:1]))
        for name in self.question.names:
            leaf = self.states[self.places[name], None].clone()
            if name == "mlp":
                with torch.no_grad():
                    own = self._row(*block.as_loaded(leaf))[0]
                    self._move_heads(heads_start, own)
                    start = self._row(*block.as_loaded(leaf, partial(self._given_to, self.heads_start)))[1]
                    given = torch.addcmul(self.heads_start, self.heads_slope, self.alphas[name])
                value = self._row(*block.as_loaded(leaf, partial(self._given_to, given.requires_grad_())))[1]
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
        return self._own(heads[0]), self._own(output[0])

    def _given_to(self, given: Float[Tensor, "*point head d_value"], heads: PointHeads) -> PointHeads:
        """Give the target other heads, at one point or at each its own."""
        its_own = torch.arange(heads.shape[1], device=heads.device) == self.target
        return torch.where(its_own[:, None, None], given.unsqueeze(-3), heads)

    def _move_heads(self, start: Float[Tensor, "head d_value"], end: Float[Tensor, "head d_value"]) -> None:
        """Say where the path of the `mlp` map starts, and along which heads it goes."""
        self.heads_start = torch.zeros_like(end) if self.question.heads_from_zero else start
        self.heads_slope = end - self.heads_start

    def _objectives(
        self, states: PointStates, added: Float[Tensor, "2 head d_value"] | None = None
    ) -> tuple[tuple[Tensor, ...], tuple[Tensor, Tensor]]:
        """Run all points: what readouts are made of, and the target's heads and output at every point.

        The target has the heads of the `mlp` map's path at the points that stand for it, and what is `added` to them.
        """
        places = self.places

        def change(heads: PointHeads) -> PointHeads:
            own = list(self._own(heads, 1).unbind())
            first, last = places["mlp start"], places["mlp"]
            self._move_heads(own[0].detach(), own[last].detach())
            moved = torch.addcmul(self.heads_start, self.heads_slope, self.alphas["mlp"])
            own[first], own[last] = (torch.stack([self.heads_start, moved]) + cast(Tensor, added)).unbind()
            return self._given_to(torch.stack(own), heads)

        heads, output = self.block.as_loaded(states, None if added is None else change)
        own_heads, own_output = self._own(heads, 1), self._own(output, 1)
        objectives = [own_output[-len(self._through) :]] if self._through else []
        objectives += [own_heads[places["attention"]]] if "attention" in places else []
        return tuple(objectives), (own_heads.detach(), own_output.detach())

    @property
    def _through(self) -> list[str]:
        """The maps that end at the block's output, in the order of their points."""
        return [name for name in ("whole", "mlp") if name in self.question.names]

    def _differentiate(self) -> None:
        """Pull the readouts of all maps back through the block in one pass."""
        places, block, through = self.places, self.block, self._through
        inputs = [self.states]
        if "mlp" in places:
            inputs.append(torch.zeros_like(cast(HeadedBlock, block).heads[:2]))
        values, pull, (heads, output) = differentiated(self._objectives, inputs, has_aux=True)
        self.output = dict(enumerate(output.unbind()))
        directions = []
        if through:
            first = 0 if "whole" in places else 1
            starts = output[first : first + len(through)]
            directions.append(self._direction(through, values[0], starts, block.output))
        if "attention" in places:
            directions.append(self._direction(["attention"], values[-1], heads[0], cast(HeadedBlock, block).heads))
        if "mlp" in places:
            self._move_heads(heads[0], heads[places["mlp"]])
        to_states, *to_heads = pull(tuple(directions))
        self.gradients = {
            name: to_heads[0][1] if name == "mlp" else to_states[places[name]] for name in self.question.names
        }

    def _direction(
        self,
        names: Sequence[str],
        value: Float[Tensor, "*vector d"],
        start: Float[Tensor, "*vector d"],
        end: Float[Tensor, "token *any"],
    ) -> Float[Tensor, "*vector d"]:
        """Find in which direction readouts grow: of one map, or of several whose vectors lie side by side."""
        several, projection = len(names) > 1, self.question.readout == "projection"
        with torch.no_grad():
            moved, end = value - start, self._own(end)
            self.moves |= {
                name: (value[place], moved[place]) if several else (value, moved) for place, name in enumerate(names)
            }
            total = end - start if projection or "attention" in names else moved
            direction = unit(total if projection else moved)
            if "attention" in names:  # heads that stand still have no direction, only rounding
                least = ROUNDINGS * torch.finfo(total.dtype).eps * length(end)
                direction = direction * (length(total) > least) * self.factors
        return direction

    def _alone(self, name: str, seen: Float[Tensor, "*head source"]) -> Float[Tensor, " source"]:
        """Give the plan's row: of `attention`, of all heads as they are weighed."""
        return (self.factors * seen).sum(0) if name == "attention" else seen


def _sizes(actual: np.ndarray, expected: np.ndarray, *, weight: float) -> tuple[float, float, float]:
    """Give the largest difference of two rows, the second of which is not weighted yet, and the largest of each."""
    expected = expected * weight
    with np.errstate(invalid="ignore"):  # what is not a number says so below
        rows = (actual - expected, expected, actual)
    first, second, third = (float(np.abs(row).max()) for row in rows)
    return first, second, third


class Coarsest(TorchDispatchMode):
    """The mode notes the coarsest precision that anything under it is computed in, where that may differ."""

    def __init__(self, dtype: torch.dtype):
        super().__init__()
        self.found, self.idle = dtype, dtype != torch.float64

    def __enter__(self) -> "Coarsest":
        return self if self.idle else super().__enter__()

    def __exit__(self, *given: Any) -> None:
        if not self.idle:
            super().__exit__(*given)

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, tuple | list) else (result,):
            if isinstance(tensor, Tensor) and tensor.dtype in (torch.float32, torch.float16, torch.bfloat16):
                self.found = torch.float32
        return result
