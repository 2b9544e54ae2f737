"""One attention function, registered once with transformers, through which every block can be taken apart."""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.masking_utils import eager_mask

from lignite.attribution.attend import Scoring, heads_of
from lignite.attribution.block import Projections
from lignite.models.failures import named_failures

NAME = "lignite"


@dataclass(frozen=True, eq=False)
class AttendCall:
    """What a block hands to attention: after position codes and query or key norms, before the softmax."""

    projections: Projections
    scoring: Scoring


Handler = Callable[[AttendCall], Float[Tensor, "point token head d_value"]]

_handler: ContextVar[Handler | None] = ContextVar("lignite_attention_handler", default=None)
_one_at_a_time = threading.RLock()


def attention_function(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    **options: Any,
) -> tuple[Tensor, None]:
    """Plain softmax attention, unless a handler captures the call or answers it with heads of its own."""
    call = attend_call(module, query, key, value, attention_mask, scaling, dropout, **options)
    handler = _handler.get()
    return (compute if handler is None else handler)(call).contiguous(), None  # as transformers' own are: some view it


def attend_call(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    **options: Any,
) -> AttendCall:
    """What an attention function is handed, in the words of the mathematics."""
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


def _additive(mask: Tensor | None, dtype: torch.dtype) -> Tensor | None:
    if mask is None or mask.dtype.is_floating_point:
        return mask
    return torch.zeros_like(mask, dtype=dtype).masked_fill(~mask.bool(), torch.finfo(dtype).min)


def compute(call: AttendCall) -> Float[Tensor, "point token head d_value"]:
    """Attention as the definition has it, differentiable in everything."""
    return heads_of(*call.projections, call.scoring)


_onlooker: ContextVar["Callable[[OwnCall], Tensor] | None"] = ContextVar("lignite_attention_onlooker", default=None)

READABLE = ("eager", "sdpa")
"""Attention functions of transformers whose masks are understood as they are handed over."""


@dataclass(frozen=True, eq=False)
class OwnCall:
    """A block's call of the attention function that its model chose by name."""

    name: str
    function: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]

    def heads(self) -> Float[Tensor, "point token head d_value"]:
        """What the function answers."""
        return self.function(*self.args, **self.kwargs)[0]

    def attended(self) -> AttendCall:
        """What it was handed; `sdpa` makes a causal mask by itself where it is given none."""
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


@contextmanager
def observed(see: Callable[[OwnCall], Tensor]) -> Iterator[None]:
    """Let `see` answer a block's first call of its own attention function; it can ask that function itself.

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


class Captured(BaseException):
    """Leaves a block as soon as the wanted tensors are known. Not an Exception, so that no block can catch it."""

    def __init__(self, content: Any):
        super().__init__()
        self.content = content


@contextmanager
def intercepted(configs: Sequence[Any], handler: Handler | None = None, *, every: bool = False) -> Iterator[None]:
    """Run modules with these `configurations` on `attention_function`, for this thread alone.

    `handler` answers the first attention call of a block; later ones (cross-attention) are computed as usual. With
    `every` it answers all of them.
    """
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
    """Every configuration that parts of a module read their attention implementation from, once."""
    found: dict[int, Any] = {}
    for part in modules_of(module):
        config = getattr(part, "config", None)
        nested = [getattr(config, name, None) for name in getattr(config, "sub_configs", {})]
        for candidate in (config, *nested):
            if candidate is not None and "_attn_implementation_internal" in getattr(candidate, "__dict__", {}):
                found[id(candidate)] = candidate
    return list(found.values())


_NOTHING = object()


class _Seen:
    """An attribute that one thread sees with another value, on some objects; everybody else sees what they hold."""

    def __init__(self, name: str, owner: type, things: Sequence[Any], value: Any):
        self.name, self.value, self.thread = name, value, threading.get_ident()
        self.things = frozenset(map(id, things))
        found = (parent.__dict__[name] for parent in owner.__mro__ if name in parent.__dict__)
        self.before = next(found, _NOTHING)  # a default of the class, or another such view

    def __get__(self, thing: Any, owner: type | None = None) -> Any:
        if thing is not None and threading.get_ident() == self.thread and id(thing) in self.things:
            return self.value
        if isinstance(self.before, _Seen):
            return self.before.__get__(thing, owner)
        if thing is not None and self.name in thing.__dict__:
            return thing.__dict__[self.name]
        if self.before is _NOTHING:
            raise AttributeError(self.name)
        return self.before

    def __set__(self, thing: Any, value: Any) -> None:
        thing.__dict__[self.name] = value

    def __delete__(self, thing: Any) -> None:
        del thing.__dict__[self.name]


@contextmanager
def seen_as(name: str, things: Sequence[Any], value: Any) -> Iterator[None]:
    """Let this thread read another value of an attribute; the objects are not touched, other threads see what is there.

    A model is often in use by others while it is explained: a configuration that changed under their eyes would give
    them half of one attention and half of another.
    """
    by_class: dict[type, list[Any]] = {}
    for thing in things:
        by_class.setdefault(type(thing), []).append(thing)
    with ExitStack() as restored:
        for owner, some in by_class.items():
            view = _Seen(name, owner, some, value)
            restored.callback(_put_back, owner, name, owner.__dict__.get(name, _NOTHING))
            setattr(owner, name, view)
        yield


def _put_back(owner: type, name: str, before: Any) -> None:
    if before is _NOTHING:
        delattr(owner, name)
    else:
        setattr(owner, name, before)


def own_calls(function: Callable[..., Any]) -> Callable[..., Any]:
    """A hook that answers in this thread alone: others may be running the same module."""
    thread = threading.get_ident()

    def called(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs) if threading.get_ident() == thread else None

    return called


@contextmanager
def standing_in(name: str, others: Mapping[nn.Module, Any]) -> Iterator[None]:
    """Let each module answer to a method's name with another function, in this thread; others call its own.

    What somebody else had set is put back.
    """
    thread = threading.get_ident()
    before = {module: module.__dict__[name] for module in others if name in module.__dict__}

    def instead_of(own: Any, other: Any) -> Any:
        def answer(*args: Any, **kwargs: Any) -> Any:
            return (other if threading.get_ident() == thread else own)(*args, **kwargs)

        return answer

    try:
        for module, other in others.items():
            module.__dict__[name] = instead_of(getattr(module, name), other)
        yield
    finally:
        for module in others:
            module.__dict__.pop(name, None)
            if module in before:
                module.__dict__[name] = before[module]


_at_rest: list[tuple[nn.Module, list[nn.Module]]] = []
"""Models that are held, innermost last."""


@contextmanager
def at_rest(network: nn.Module) -> Iterator[None]:
    """Hold a model in evaluation mode and without parameter gradients; one thread at a time.

    Masked autoencoders, which hide and shuffle most patches even then, see all of them in order.

    Evaluation mode is this thread's alone. requires_grad is put back on the way out, also after an exception or Ctrl-C.
    Inference mode and autocast of the caller do not reach inside: the one knows no gradients, the other rounds to half
    precision. What the model itself raises leaves as one `ModelError`.
    """
    device = next((weight.device.type for weight in network.parameters()), "cpu")
    quiet = torch.autocast(device, enabled=False)
    with _one_at_a_time, named_failures(network), torch.inference_mode(False), quiet:
        if any(held is network for held, _ in _at_rest):
            yield
            return
        modules = list(network.modules())
        held = network, modules
        trained = [module for module in modules if module.training]
        compiled = [module for module in modules if module._compiled_call_impl is not None]  # blind to stand-ins
        learning = [weight for weight in network.parameters() if weight.requires_grad]
        maskers = [module for module in modules if hasattr(type(module), "random_masking")]
        _at_rest.append(held)
        try:
            for weight in learning:
                weight.requires_grad_(False)
            with (
                seen_as("training", trained, False),
                seen_as("_compiled_call_impl", compiled, None),
                standing_in("random_masking", dict.fromkeys(maskers, _everything_in_order)),
            ):
                yield
        finally:
            for weight in learning:
                weight.requires_grad_(True)
            _at_rest.remove(held)


def modules_of(network: nn.Module) -> list[nn.Module]:
    """Every module of a network; of one that is at rest those it came with, which are looked for once."""
    for held, modules in _at_rest:
        if held is network:
            return modules
    return list(network.modules())


@contextmanager
def switches_undone(network: nn.Module) -> Iterator[None]:
    """Put back the attention that a model exchanges for another one by itself, for good, where an input is short.

    BigBird does so; what it says of the next, longer input would otherwise depend on who came before.
    """
    changing = [part for part in modules_of(network) if hasattr(type(part), "set_attention_type")]
    within = {id(part): part for parent in changing for part in parent.modules()}.values()
    before = [(part, part.__dict__.get("attention_type", _NOTHING), dict(part._modules)) for part in within]
    try:
        yield
    finally:
        for part, kind, parts in before:
            if kind is not _NOTHING:
                part.__dict__["attention_type"] = kind
            part._modules.update(parts)


def _everything_in_order(sequence: Tensor, noise: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
    """A masked autoencoder's masking, off: all patches, none of them masked, and the order that restores theirs."""
    n_rows, n_patches, _ = sequence.shape
    order = torch.arange(n_patches, device=sequence.device).expand(n_rows, -1)
    return sequence, torch.zeros(n_rows, n_patches, device=sequence.device), order
