"""Ways to take a block apart into pre, attend and post: each is built verified against the block, or not at all.

A route is taken as soon as the block can be run by it; whether what comes out is right is for the trial of every layer
and map to say (`lignite.attribution.trial`), which `retreat`s where it is not. Use routes inside `at_rest`.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import cache, cached_property, partial
from typing import Any, ClassVar, cast

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from lignite.attribution.attend import Scoring, heads_of
from lignite.attribution.axes import PointHeads, PointStates, TargetPointHeads, Targets, TargetStates
from lignite.attribution.block import Projections, Rotation
from lignite.blocks.attention import AttendCall, observed
from lignite.blocks.norms import find_rotation, list_epsilons, see_key_norm
from lignite.blocks.record import BlockCall
from lignite.blocks.replay import (
    HALF,
    Replay,
    at_projection,
    capture_call,
    capture_projected,
    in_full,
    largest_difference,
    linear_inputs,
    move_first,
    norms_noted,
    others_than_first,
    read_call_and_heads,
    read_projections,
    replay,
    run_attended,
    run_projected,
    saved_bytes,
    tells_points_apart,
)
from lignite.errors import SplitError
from lignite.memory import is_out_of_memory
from lignite.models.facts import number_of_heads
from lignite.models.hold import FOREIGN, first_line, named_tensors, with_tensors
from lignite.models.load import Model

Watch = Callable[[PointHeads], Tensor]
"""Sees heads on their way through the block, and says which go on in their place."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Route(ABC):
    """A route runs a block, on the input it was recorded with, as a function of its states: attribution's `Block`.

    Attributes
    ----------
    route
        ``"interface"``: split at transformers' attention interface. ``"projection"``: split at the input of the output
        projection, for blocks with attention of their own. ``"definition"``: no split, `whole` alone.
    output
        What left the block, in the precision that paths are followed in.
    refused
        Why better routes were refused, one line each.
    norms_first
        Whether a norm runs before attention, as far as is known.
    """

    route: ClassVar[str]
    replay: Replay
    output: Float[Tensor, "token d"]
    refused: tuple[str, ...] = ()
    norms_first: bool = True

    @cached_property
    def layer(self) -> int:
        return self.replay.call.layer

    @cached_property
    def name(self) -> str:
        return self.replay.call.name

    @cached_property
    def module(self) -> nn.Module:
        return self.replay.module

    @cached_property
    def states(self) -> Float[Tensor, "token d"]:
        return self.replay.states

    @cached_property
    def n_heads(self) -> int:
        return 0

    @property
    def error(self) -> float:
        """Largest relative difference between the split and the model's own output, over tokens."""
        with torch.no_grad():
            output, kept = self._reassembled(), self.replay.kept
        return largest_difference(*((output, self.output) if kept is None else (output[kept], self.output[kept])))

    def retreat(self, reason: str) -> "Route":
        """Take the same block by the next route, since this one was found wrong.

        Raises
        ------
        SplitError
            If no route is left.
        """
        refused = (*self.refused, f"{self.route}: {reason}")
        return _build(replace(self.replay, is_tiled=False), refused, after=self.route)

    def whole(self, states: PointStates) -> PointStates:
        """Run the block itself, as the model does."""
        return self.replay.as_loaded(states)

    def as_loaded(self, states: PointStates, change: Watch | None = None) -> tuple[PointHeads, PointStates]:
        """Run the block as the model does, nothing captured: its heads and output; `change` may give it other heads."""
        seen: list[Tensor] = []

        def see(heads: PointHeads) -> Tensor:
            seen.append(heads)
            return heads if change is None else change(heads)

        with self._watched(states.shape[0], see):
            output = self.whole(states)
        if self.n_heads and (not seen or seen[0].shape[:2] != states.shape[:2] or seen[0].ndim != 4):
            raise SplitError("its heads are not seen while the model runs")
        return seen[0] if seen else states.new_zeros(*states.shape[:2], 0, 0), output

    # Memory

    def post_bound(self) -> int:
        """Bound the memory that one target's `post` keeps: what enters and leaves linear maps, and as much beside."""
        return self._post_bound

    @cached_property
    def _post_bound(self) -> int:
        widths = sum(sum(weight.shape) for weight in self.module.parameters() if weight.ndim == 2)
        stacked = sum(len(weight) * sum(weight.shape[1:]) for weight in self.module.parameters() if weight.ndim > 2)
        return 2 * (widths + stacked) * self.states.element_size()

    def path_bytes(self) -> int:
        """Measure the memory that one run of the block on all tokens keeps for its backward pass."""
        states = self.states[None].clone().requires_grad_()
        return saved_bytes(lambda: self.whole(states), self.module)

    @abstractmethod
    def _reassembled(self) -> Float[Tensor, "token d"]:
        """Compute the output from the route's parts."""

    @abstractmethod
    def _watched(self, n_points: int, see: Watch) -> AbstractContextManager[None]:
        """Let `see` answer for the heads while the model runs the block."""


class WholeRoute(Route):
    """The block is not taken apart."""

    route = "definition"

    def _reassembled(self) -> Float[Tensor, "token d"]:
        return self.whole(self.states[None])[0]

    def _watched(self, n_points: int, see: Watch) -> AbstractContextManager[None]:
        return nullcontext()


@dataclass(frozen=True, eq=False, kw_only=True)
class _HeadedRoute(Route):
    """The block can be given heads. `takes_some` tells whether it answers for some tokens alone as for all.

    That is found out when it is first asked, once: most runs have all tokens at once.
    """

    heads: Float[Tensor, "token head d_value"]
    takes_some: Callable[[], bool]

    @cached_property
    def n_heads(self) -> int:
        return self.heads.shape[1]

    def post(self, states: TargetStates, heads: TargetPointHeads, targets: Targets) -> TargetStates:
        """Run the rest of the block, for some of its tokens."""
        if len(targets) == len(self.states):
            return self._with_heads(states, heads)
        if self.takes_some():
            return self._with_heads(states, heads, targets)
        all_states = self.states.expand(len(states), -1, -1).clone()
        all_states[:, targets] = states
        all_heads = self.heads.expand(len(heads), -1, -1, -1).clone()
        all_heads[:, targets] = heads
        return self._with_heads(all_states, all_heads)[:, targets]

    def post_bytes(self) -> int:
        """Measure the memory that one target's `post` keeps for its backward pass."""
        n_rows = min(2, len(self.states))
        targets = torch.arange(n_rows, device=self.states.device)
        states = self.states[None, :n_rows].clone().requires_grad_()
        heads = self.heads[None, :n_rows].clone().requires_grad_()
        return saved_bytes(lambda: self.post(states, heads, targets), self.module) // n_rows

    def _reassembled(self) -> Float[Tensor, "token d"]:
        everyone = torch.arange(len(self.states), device=self.states.device)
        return self.post(self.states[None], self.heads[None], everyone)[0]

    @abstractmethod
    def _with_heads(
        self, states: TargetStates, heads: TargetPointHeads, targets: Targets | None = None
    ) -> TargetStates:
        """Run the block with its heads given, for all tokens or some."""


@dataclass(frozen=True, eq=False, kw_only=True)
class InterfaceRoute(_HeadedRoute):
    """The block is split at transformers' attention interface."""

    route = "interface"

    projections: Projections
    scoring: Scoring
    drift: Float[Tensor, ""] | None = None
    """How far the block, run again, is from what was recorded, where that is not read yet: above one it is another."""

    def attention(self, states: PointStates) -> PointHeads:
        """Compute every head's output before the output projection."""
        return heads_of(*self.pre(states), self.scoring)

    def pre(self, states: PointStates, **overrides: Any) -> Projections:
        """Compute queries, keys and values; `overrides` replace recorded keyword arguments of the block."""
        return cast(Projections, capture_call(self.replay, states, read_projections, overrides))

    def rotation(self, states: PointStates) -> Rotation | None:
        """Find keys before positions are rotated in; None where nothing is known of them."""
        embeddings = self.replay.arguments(states, masked=True)[1].get("position_embeddings")
        return find_rotation(embeddings, lambda cos, sin: self.pre(states, position_embeddings=(cos, sin)).key)

    def key_norm_input(self) -> tuple[float, Float[Tensor, "group token d"]] | None:
        """See epsilon and input of the norm that keys pass through after their projection; None where none is known."""
        return see_key_norm(self.module, lambda: self.pre(self.states[None]))

    def norm_epsilons(self) -> list[float]:
        """List epsilons of the norms in the block, and the two usual ones."""
        return list_epsilons(self.module)

    def beside(self, recorded: BlockCall) -> Replay:
        """Make another call of a block again as this one is made."""
        states, output, module = in_full(recorded.states), in_full(recorded.output), recorded.module
        if self.replay.model_dtype in HALF:
            module = with_tensors(module, {name: in_full(weight) for name, weight in named_tensors(module)})
        return replace(self.replay, call=recorded, module=module, states=states, output=output)

    def parts(self, recorded: BlockCall) -> dict[str, Any] | None:
        """List all that another call's block is made of; None where weights are no plain tensors beside its states."""
        call, module = recorded.masked or recorded, recorded.module
        weights = dict(named_tensors(module))
        plain = all(
            type(each) in (Tensor, nn.Parameter) and each.device == self.states.device for each in weights.values()
        )
        if not plain or any(hasattr(part, "_hf_hook") for part in module.modules()):
            return None
        return {
            "kind": (type(module), recorded.masked is None, call.states_at, call.layout),
            "call": (call.args, call.kwargs),
            "weights": weights,
            "ends": (in_full(recorded.states), in_full(recorded.output)),
        }

    def made_of(self, parts: dict[str, Any]) -> "InterfaceRoute":
        """Make the block that has these parts in the place of its own, half-precision weights widened."""
        (states, output), (args, kwargs) = parts["ends"], parts["call"]
        call, is_half = self.replay.call, self.replay.model_dtype in HALF
        if call.masked is None:
            call = replace(call, args=args, kwargs=kwargs)
        else:
            call = replace(call, masked=replace(call.masked, args=args, kwargs=kwargs))
        module = with_tensors(self.module, {name: in_full(weight) for name, weight in parts["weights"].items()})
        found = replace(self.replay, call=call, module=module, states=states, output=output)
        attended, heads = capture_call(found, states[None], read_call_and_heads, {})
        again = found.as_loaded(states[None])[0] if is_half else output
        return replace(
            self, replay=found, output=again, heads=heads[0], projections=attended.projections,
            scoring=_own_scoring(attended, len(states)), drift=found.drift(again) if is_half else None,
        )  # fmt: skip

    def _with_heads(self, states: TargetStates, heads: TargetPointHeads, targets: Targets | None = None) -> Tensor:
        return run_attended(self.replay, states, heads, targets)

    def _watched(self, n_points: int, see: Watch) -> AbstractContextManager[None]:
        return observed(self.module, lambda own: see(own.heads()))


@dataclass(frozen=True, eq=False, kw_only=True)
class ProjectionRoute(_HeadedRoute):
    """The block is split at the input of its output projection."""

    route = "projection"
    projection: nn.Module

    def attention(self, states: PointStates) -> PointHeads:
        """Compute every head's output before the output projection."""
        return capture_projected(self.replay, self.projection, states)

    def _with_heads(self, states: TargetStates, heads: TargetPointHeads, targets: Targets | None = None) -> Tensor:
        return run_projected(self.replay, self.projection, states, heads, targets)

    def _watched(self, n_points: int, see: Watch) -> AbstractContextManager[None]:
        shape = (n_points, len(self.states), self.replay.n_heads or 1, -1)
        return at_projection(self.projection, shape[:2], lambda heads: see(heads.reshape(shape)))


# Building them


def split_block(model: Model, call: BlockCall, kept: Bool[Tensor, " token"] | None = None) -> Route:
    """Make of a recorded call a block that the engine can take apart, by the first route that can be built.

    Raises
    ------
    SplitError
        If the block, run again, does not say what it said.
    """
    with torch.no_grad():
        found, refused = replay(call, number_of_heads(model.config), kept)
    return _build(found, refused)


def _build(found: Replay, refused: tuple[str, ...], after: str | None = None) -> Route:
    names = list(BUILDERS)
    with torch.no_grad():
        for name in names[names.index(after) + 1 :] if after else names:
            try:
                return BUILDERS[name](found, refused)
            except (SplitError, *FOREIGN) as why:
                if is_out_of_memory(why):
                    raise
                refused = (*refused, f"{name}: {first_line(why)}")
    raise SplitError(
        f"Layer {found.call.layer} ({found.call.name}) cannot be replayed, so nothing said about it could be trusted. "
        f"{'; '.join(refused)}. Its call depends on something lignite does not record; please report it."
    )


def build_interface(found: Replay, refused: tuple[str, ...]) -> InterfaceRoute:
    """Split a block at transformers' attention interface; SplitError where it does not use that."""
    with norms_noted(found.module) as norms:
        call, heads = capture_call(found, found.states[None], read_call_and_heads, {})
    scoring = _own_scoring(call, len(found.states))
    output = found.verify() if found.model_dtype in HALF else found.output
    if tells_points_apart(found.call):
        alone = _by_token(call.projections.key)[0]
        pair = torch.cat([move_first(found.states, found.kept), found.states[None]])
        found = found.tile_if_needed(
            lambda tried: _by_token(capture_call(tried, pair, read_projections, {}).key)[1], alone
        )
    heads = heads[0]
    takes_some = cache(partial(_takes_some, partial(run_attended, found), found, heads, output))
    return InterfaceRoute(
        replay=found, output=output, refused=refused, norms_first=bool(norms), heads=heads,
        projections=call.projections, scoring=scoring, takes_some=takes_some,
    )  # fmt: skip


def _own_scoring(call: AttendCall, n_tokens: int) -> Scoring:
    bias = call.scoring.bias
    if call.projections.key.shape[2] != n_tokens or call.projections.query.shape[2] != n_tokens:
        raise SplitError("its attention looks at other tokens than those of its states")
    if bias is not None:
        if bias.ndim != 3:
            raise SplitError(f"its attention bias has shape {list(bias.shape)}, not [1, head, target, source]")
        bias = bias.expand(-1, n_tokens, n_tokens)
    return replace(call.scoring, bias=bias)


def build_projection(found: Replay, refused: tuple[str, ...]) -> ProjectionRoute:
    """Split a block at the first linear map behind which each token is treated alone; SplitError if there is none."""
    if not found.n_heads:
        raise SplitError("the configuration does not say how many heads it has")
    if not found.call.layout.is_plain:
        raise SplitError(f"its states lie on other axes than [row, token, d] ({found.call.layout})")
    if len(found.states) < 2:
        raise SplitError("one token alone does not show where tokens meet")
    output, moved = found.verify(), move_first(found.states, found.kept)
    others = others_than_first(found.states, found.kept)

    def stay(actual: Float[Tensor, "token *vector"], expected: Float[Tensor, "token *vector"]) -> bool:
        return largest_difference(actual[others], expected[others]) <= found.allowed

    if stay(found.as_loaded(moved)[0], output):
        raise SplitError("its tokens never meet")
    maps = linear_inputs(found.module, lambda: found.as_loaded(found.states[None]), len(found.states))
    for module in (module for module, width in maps if width % found.n_heads == 0):
        held = capture_projected(found, module, found.states[None])
        if stay(capture_projected(found, module, moved)[0], held[0]):
            continue  # tokens have not met yet
        if stay(run_projected(found, module, moved, held)[0], output):
            break
    else:
        raise SplitError("no linear map was found after which each token is treated alone")
    found = found.batched(lambda tried, states: capture_projected(tried, module, states))
    takes_some = cache(partial(_takes_some, partial(run_projected, found, module), found, held[0], output))
    return ProjectionRoute(
        replay=found, output=output, refused=refused, heads=held[0], projection=module, takes_some=takes_some
    )


def build_whole(found: Replay, refused: tuple[str, ...]) -> WholeRoute:
    """Take a block as it is; SplitError where it does not say the same again."""
    return WholeRoute(output=found.verify(), replay=found.batched(Replay.as_loaded), refused=refused)


BUILDERS: dict[str, Callable[[Replay, tuple[str, ...]], Route]] = {
    "interface": build_interface,
    "projection": build_projection,
    "definition": build_whole,
}
"""Routes from the best to the last."""


def _by_token(projected: Float[Tensor, "point head token d"]) -> Float[Tensor, "point token any"]:
    return projected.transpose(1, 2).flatten(2)


def _takes_some(
    run: Callable[[Tensor, Tensor, Tensor], Tensor],
    found: Replay,
    heads: Float[Tensor, "token head d_value"],
    output: Float[Tensor, "token d"],
) -> bool:
    """Tell whether `run` answers for the last and the first token alone as the block does for all; else all are run."""
    kept = range(len(found.states)) if found.kept is None else found.kept.nonzero()[:, 0].tolist()
    some = torch.tensor([kept[-1], kept[0]], device=found.states.device)
    with torch.no_grad():
        try:
            answer = run(found.states[some].expand(2, -1, -1), heads[some].expand(2, -1, -1, -1), some)
            return largest_difference(answer.flatten(0, 1), output[some].repeat(2, 1)) <= found.allowed
        except FOREIGN:
            return False
