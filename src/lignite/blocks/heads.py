"""Where a block's heads are seen and given: at the attention interface, or at the input of its output projection."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lignite.attribution.attend import heads_of
from lignite.attribution.axes import PointHeads, PointStates, TargetPointHeads, Targets, TargetStates
from lignite.attribution.block import Projections
from lignite.blocks.arguments import read_states
from lignite.blocks.attention import READABLE, AttendCall, OwnCall, configurations, intercepted, observed
from lignite.blocks.replay import Replay
from lignite.errors import SplitError
from lignite.models.hold import Captured, before_each

# At the attention interface


@contextmanager
def attending(found: Replay, answer: Callable[[OwnCall | AttendCall], Tensor]) -> Iterator[None]:
    """Let `answer` stand for attention: the model's own where its masks are understood, else lignite's."""
    with observed(answer) if found.call.masked is None else intercepted(configurations(found.module), answer):
        yield


def capture_call(found: Replay, states: PointStates, read: Callable[[Any], Any], overrides: dict[str, Any]) -> Any:
    """Return what `read` makes of the block's call of attention; the block is left there."""

    def leave(call: Any) -> Tensor:
        raise Captured(read(call))

    args, kwargs = found.arguments(states, masked=True)
    try:
        with attending(found, leave):
            found.module(*args, **(kwargs | overrides))
    except Captured as captured:
        return captured.content
    raise SplitError("it does not use transformers' attention interface")


def run_attended(
    found: Replay, states: TargetStates, heads: TargetPointHeads, targets: Targets | None = None
) -> TargetStates:
    args, kwargs = found.arguments(states, targets, masked=True)
    with attending(found, lambda _: heads):
        return read_states(found.module(*args, **kwargs))


def read_projections(call: OwnCall | AttendCall) -> Projections:
    return call.projections if isinstance(call, AttendCall) else Projections(*call.args[1:4])


def read_call_and_heads(call: OwnCall | AttendCall) -> tuple[AttendCall, Tensor]:
    if isinstance(call, AttendCall):
        return call, heads_of(*call.projections, call.scoring)
    if call.name not in READABLE:
        raise SplitError(
            f"its model runs on the attention function {call.name!r} alone, whose masks are not understood"
        )
    return call.attended(), call.heads()


# At the output projection


def capture_projected(found: Replay, module: nn.Module, states: PointStates) -> PointHeads:
    """Return the input of a linear map, as heads; the block is left there."""

    def leave(heads: Float[Tensor, "*row any"]) -> Tensor:
        raise Captured(heads)

    args, kwargs = found.arguments(states)
    try:
        with at_projection(module, states.shape[:2], leave):
            found.module(*args, **kwargs)
    except Captured as captured:
        return captured.content.reshape(*states.shape[:2], found.n_heads, -1)
    raise SplitError("its output projection is not run")


def run_projected(
    found: Replay, module: nn.Module, states: TargetStates, heads: TargetPointHeads, targets: Targets | None = None
) -> TargetStates:
    args, kwargs = found.arguments(states, targets)
    with at_projection(module, states.shape[:2], lambda _: heads):
        return read_states(found.module(*args, **kwargs))


@contextmanager
def at_projection(module: nn.Module, shape: Sequence[int], see: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """Replace the input of a linear map by what `see` makes of it.

    A map that also serves something else (shared relative embeddings) is met at its first call with one row per token.
    """
    n_rows, met = torch.Size(shape).numel(), False

    def meet(_: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...] | None:
        nonlocal met
        if met or inputs[0].shape[:-1].numel() != n_rows:
            return None
        met = True
        return see(inputs[0]).reshape(inputs[0].shape), *inputs[1:]

    with before_each([module], meet):
        yield
