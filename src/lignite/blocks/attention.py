"""One attention function, registered once with transformers, through which every block can be taken apart."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.masking_utils import eager_mask

from lignite.attribution.attend import Scoring, heads_of
from lignite.attribution.axes import PointHeads
from lignite.attribution.block import Projections
from lignite.blocks.functions import Function, functions_met
from lignite.blocks.hooked import hooked_attention, hooks_met
from lignite.models.bare import Bare
from lignite.models.facts import nested_configs
from lignite.models.hold import modules_of, seen_as

NAME = "lignite"


@dataclass(frozen=True, eq=False)
class AttendCall:
    """A call holds what a block hands to attention: after position codes and query or key norms, before the softmax."""

    projections: Projections
    scoring: Scoring


Handler = Callable[[AttendCall], PointHeads]

_handler: ContextVar[Handler | None] = ContextVar("lignite_attention_handler", default=None)


def attention_function(*handed: Any, **options: Any) -> tuple[Tensor, None]:
    """Compute plain softmax attention, unless a handler captures the call or answers it with heads of its own."""
    call = attend_call(*handed, **options)
    handler = _handler.get()
    return (compute if handler is None else handler)(call).contiguous(), None  # as transformers' own are: some view it


def attend_call(
    module: nn.Module,
    query: Float[Tensor, "point head token d_key"],
    key: Float[Tensor, "point kv source d_key"],
    value: Float[Tensor, "point kv source d_value"],
    attention_mask: Shaped[Tensor, "*mask"] | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    **options: Any,
) -> AttendCall:
    """Say what an attention function is handed, in the words of the mathematics."""
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    bias = _additive(attention_mask, query.dtype)
    position_bias = options.get("position_bias")
    if position_bias is not None:
        bias = position_bias if bias is None else bias + position_bias
    if bias is not None:
        bias = bias[..., : key.shape[2]]
        bias = bias[0] if bias.ndim == 4 and bias.shape[0] == 1 else bias
    return AttendCall(
        Projections(query, key, value),
        Scoring(scale=float(scale), bias=bias, softcap=options.get("softcap"), sinks=options.get("s_aux")),
    )


AttentionInterface.register(NAME, attention_function)
AttentionMaskInterface.register(NAME, eager_mask)


def _additive(mask: Shaped[Tensor, "*mask"] | None, dtype: torch.dtype) -> Tensor | None:
    if mask is None or mask.dtype.is_floating_point:
        return mask
    return torch.zeros_like(mask, dtype=dtype).masked_fill(~mask.bool(), torch.finfo(dtype).min)


def compute(call: AttendCall) -> PointHeads:
    """Compute attention as the definition has it, differentiable in everything."""
    return heads_of(*call.projections, call.scoring)


_onlooker: ContextVar["Callable[[OwnCall], Tensor] | None"] = ContextVar("lignite_attention_onlooker", default=None)

READABLE = ("eager", "sdpa")
"""Attention functions of transformers whose masks are understood as they are handed over."""


@dataclass(frozen=True, eq=False)
class OwnCall:
    """A block calls the attention function that its model chose by name, with these arguments."""

    name: str
    function: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]

    def heads(self) -> PointHeads:
        """Ask the function."""
        return self.function(*self.args, **self.kwargs)[0]

    def attended(self) -> AttendCall:
        """Say what it was handed; `sdpa` makes a causal mask by itself where it is given none."""
        call = attend_call(*self.args, **self.kwargs)
        query, key, _ = call.projections
        causal = self.kwargs.get("is_causal")
        causal = getattr(self.args[0], "is_causal", True) if causal is None else causal
        mask = self.args[4] if len(self.args) > 4 else self.kwargs.get("attention_mask")
        if self.name != "sdpa" or mask is not None or not causal or query.shape[2] == 1:
            return call
        later = query.new_full((1, query.shape[2], key.shape[2]), torch.finfo(query.dtype).min).triu(1)
        bias = later if call.scoring.bias is None else call.scoring.bias + later
        return replace(call, scoring=replace(call.scoring, bias=bias))


def observed(module: nn.Module, see: Callable[[OwnCall], Tensor]) -> AbstractContextManager[None]:
    """Let `see` answer a block's first call of its own attention function; it can ask that function itself."""
    return _asked_for(see) if configurations(module) else _called(module, see)


def _called(
    module: nn.Module, see: Callable[[OwnCall], Tensor], *, every: bool = False
) -> AbstractContextManager[None]:
    """Let `see` answer for torch's own attention function, or at hooked points, in modules that ask no table."""

    def answer(function: Function, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
        return see(OwnCall("sdpa", function, args, kwargs))

    return hooks_met(module, answer, every=every) if hooked_attention(module) else functions_met(answer, every=every)


@contextmanager
def _asked_for(see: Callable[[OwnCall], Tensor]) -> Iterator[None]:
    """Let `see` answer where transformers' table is asked for an attention function.

    Nothing is put in the place of that function, whichever it is: transformers' table is asked for it as ever, and what
    the table answers is called. Other threads' calls pass through untouched.
    """
    ask, met = AttentionInterface.get_interface, False
    token = _onlooker.set(see)

    def answer(table: AttentionInterface, name: str, *default: Any, **options: Any) -> Callable[..., Any]:
        own: Callable[..., Any] = ask(table, name, *default, **options)
        watch = _onlooker.get()
        if watch is None:
            return own

        def call(*args: Any, **kwargs: Any) -> Any:
            nonlocal met
            if met:
                return own(*args, **kwargs)
            met = True
            return watch(OwnCall(name, own, args, kwargs)).contiguous(), None

        return call

    AttentionInterface.get_interface = answer
    try:
        yield
    finally:
        AttentionInterface.get_interface = ask
        _onlooker.reset(token)


@contextmanager
def intercepted(module: nn.Module, handler: Handler | None = None, *, every: bool = False) -> Iterator[None]:
    """Run a module on `attention_function`, for this thread alone.

    `handler` answers the first attention call of a block; later ones (cross-attention) are computed as usual. With
    `every` it answers all of them.
    """
    configs = configurations(module)
    if not configs:
        with _called(module, lambda own: (handler or compute)(own.attended()), every=every):
            yield
        return
    answered = False

    def once(call: AttendCall) -> Tensor:
        nonlocal answered
        if answered or handler is None:
            return compute(call)
        answered = True
        return handler(call)

    token = _handler.set(handler if every else once)
    try:
        with seen_as("_attn_implementation_internal", configs, NAME):
            yield
    finally:
        _handler.reset(token)


def configurations(module: nn.Module) -> list[Any]:
    """List every configuration that parts of a module read their attention implementation from, once."""
    found: dict[int, Any] = {}
    for part in modules_of(module):
        if isinstance(part, Bare):  # its own configuration chooses nothing
            continue
        for candidate in nested_configs(getattr(part, "config", None)):
            if "_attn_implementation_internal" in getattr(candidate, "__dict__", {}):
                found[id(candidate)] = candidate
    return list(found.values())
