"""Paths through a block that can be taken apart: where they start, and the one that all its targets share."""

import warnings
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from functools import cache, cached_property
from typing import Any

import torch
import torch.autograd.forward_ad as forward
import torch.nn.functional as nnf
from jaxtyping import Bool, Float
from torch import Tensor
from torch.overrides import TorchFunctionMode

from lignite.attribution.attend import Point, repeat_groups
from lignite.attribution.axes import HeadVectors, Nodes, NodeStates, Pairs, PointStates, TargetHeads, Targets
from lignite.attribution.block import OpenBlock, Projections
from lignite.errors import OptionError


class Path(ABC):
    """A path evaluates nodes for some targets, where the block can be taken apart.

    `moves` tells whether targets' own states move along their path.
    """

    moves = False

    def __init__(self, block: OpenBlock):
        self.block = block

    @abstractmethod
    def at(self, nodes: Nodes, targets: Targets) -> Point:
        """Evaluate some nodes."""

    def heads_at_start(self, targets: Targets) -> TargetHeads:
        """Compute the heads of some targets where their path starts."""
        point = self.at(torch.zeros(1, dtype=self.block.states.dtype, device=self.block.states.device), targets)
        return point.attend(self.block.scoring, targets)[1][0]


class Remembering(Path):
    """A remembering path keeps the last nodes it was asked for: several maps ask for the same ones in turn."""

    def __init__(self, path: Path):
        super().__init__(path.block)
        self.path, self.moves = path, path.moves
        self.last: tuple[Tensor, Tensor, Point] | None = None

    def at(self, nodes: Nodes, targets: Targets) -> Point:
        if self.last is None or self.last[0] is not nodes or self.last[1] is not targets:
            self.last = nodes, targets, self.path.at(nodes, targets)
        return self.last[2]

    def heads_at_start(self, targets: Targets) -> TargetHeads:
        return self.path.heads_at_start(targets)


class SharedPoint(Point):
    """At this point every source moves the same way whatever the target."""

    def __init__(
        self,
        values: Projections,
        slopes: Projections,
        scale: float,
        targets: Targets,
        states: NodeStates,
        states_slope: Float[Tensor, "target d"],
    ):
        n_heads = values.query.shape[1]
        key, key_slope = repeat_groups(values.key, n_heads), repeat_groups(slopes.key, n_heads)
        self.value, self.value_slope = repeat_groups(values.value, n_heads), repeat_groups(slopes.value, n_heads)
        query = values.query[:, :, targets] * scale
        query_slope = slopes.query[:, :, targets] * scale
        super().__init__(query @ key.mT, query @ key_slope.mT, states, query_slope @ key.mT, states_slope)

    def mix(self, weights: Pairs) -> HeadVectors:
        return (weights @ self.value).transpose(1, 2)

    def read(self, directions: HeadVectors) -> tuple[Pairs, Pairs]:
        directions = directions.transpose(1, 2)
        return directions @ self.value.mT, directions @ self.value_slope.mT


class SharedPath(Path):
    """The shared path is the straight line from `baseline` to the states of a block."""

    moves = True

    def __init__(self, block: OpenBlock, baseline: Float[Tensor, "token d"]):
        super().__init__(block)
        self.baseline = baseline
        self.slope = block.states - baseline

    def states(self, nodes: Nodes) -> Float[Tensor, "node token d"]:
        return self.baseline + nodes[:, None, None] * self.slope

    def at(self, nodes: Nodes, targets: Targets) -> SharedPoint:
        states = self.states(nodes)
        values, slopes = slope_of(self.block, states, self.slope.expand_as(states))
        scale = self.block.scoring.scale
        return SharedPoint(values, slopes, scale, targets, states[:, targets], self.slope[targets])

    def heads_at_start(self, targets: Targets) -> TargetHeads:
        return self._start[targets]

    @cached_property
    def _start(self) -> Float[Tensor, "token head d_value"]:
        with torch.no_grad():
            return self.block.attention(self.baseline[None])[0]


def slope_of(block: OpenBlock, states: PointStates, slope: PointStates) -> tuple[Projections, Projections]:
    """Differentiate `pre` along `slope`, in forward mode: one pass, whatever the number of targets."""
    load_forward_mode()
    if torch._C._functorch.is_batchedtensor(states):
        with torch.no_grad(), LinearByItself():
            found = torch.func.jvp(block.pre, (states,), (slope,))
        return Projections(*found[0]), Projections(*found[1])
    with torch.no_grad(), forward.dual_level(), LinearByItself():
        duals = block.pre(forward.make_dual(states, slope))
        pairs = [forward.unpack_dual(dual) for dual in duals]
        primals = [pair.primal for pair in pairs]
        tangents = [torch.zeros_like(pair.primal) if pair.tangent is None else pair.tangent for pair in pairs]
    return Projections(*primals), Projections(*tangents)


class LinearByItself(TorchFunctionMode):
    """The derivative of a linear map is itself without its bias; torch would take the map apart in Python first."""

    def __torch_function__(
        self, function: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if function is nnf.linear and len(args) > 1 and not kwargs:
            (value, slope), *rest = (forward.unpack_dual(each) for each in args if each is not None)
            if slope is not None and all(each.tangent is None for each in rest):
                return forward.make_dual(function(value, *args[1:]), function(slope, args[1]))
        return function(*args, **(kwargs or {}))


@cache
def load_forward_mode() -> None:
    """Have torch load the rules of its forward mode, where it warns of a function that it uses itself."""
    with warnings.catch_warnings(), forward.dual_level():
        warnings.simplefilter("ignore", DeprecationWarning)
        forward.make_dual(torch.zeros(1), torch.ones(1))


def constant_baseline(
    name: str, states: Float[Tensor, "token d"], kept: Bool[Tensor, " token"]
) -> Float[Tensor, "token d"]:
    """Start at ``"zero"``, or at the ``"mean"`` of the states of all tokens that are no padding."""
    if name == "zero":
        return torch.zeros_like(states)
    return states[kept].mean(0).expand_as(states)


def given_baseline(
    tensor: Float[Tensor, "..."], states: Float[Tensor, "token d"], layer: int, n_layers: int
) -> Float[Tensor, "token d"]:
    """Start at a tensor of the user's: one vector, one per token, or one per layer and token.

    Raises
    ------
    OptionError
        If its shape is none of ``[d]``, ``[token, d]``, ``[layer, token, d]``, or it is not finite.
    """
    n_tokens, width = states.shape
    shapes = {(width,), (n_tokens, width), (n_layers, n_tokens, width)}
    if tuple(tensor.shape) not in shapes:
        raise OptionError(
            f"baseline has shape {list(tensor.shape)}; give [{width}] (all tokens), [{n_tokens}, {width}] (each token) "
            f"or [{n_layers}, {n_tokens}, {width}] (each layer and token)."
        )
    if not torch.isfinite(tensor).all():
        raise OptionError("baseline contains NaN or infinity; give finite numbers.")
    chosen = tensor[layer] if tensor.ndim == 3 else tensor
    return chosen.to(states).expand_as(states)
