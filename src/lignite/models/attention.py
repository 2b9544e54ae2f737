"""One attention function, registered once with transformers, through which every block can be taken apart."""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.masking_utils import eager_mask

from lignite.attribution.attend import Scoring, heads_of
from lignite.attribution.block import Projections

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
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    bias = _additive(attention_mask, query.dtype)
    position_bias = options.get("position_bias")
    if position_bias is not None:
        bias = position_bias if bias is None else bias + position_bias
    if bias is not None:
        bias = bias[..., : key.shape[2]]
        bias = bias[0] if bias.ndim == 4 and bias.shape[0] == 1 else bias
    call = AttendCall(
        Projections(query, key, value),
        Scoring(scale=float(scale), bias=bias, softcap=options.get("softcap"), sinks=options.get("s_aux")),
    )
    handler = _handler.get()
    return (compute if handler is None else handler)(call), None


AttentionInterface.register(NAME, attention_function)
AttentionMaskInterface.register(NAME, eager_mask)


def _additive(mask: Tensor | None, dtype: torch.dtype) -> Tensor | None:
    if mask is None or mask.dtype.is_floating_point:
        return mask
    return torch.zeros_like(mask, dtype=dtype).masked_fill(~mask.bool(), torch.finfo(dtype).min)


def compute(call: AttendCall) -> Float[Tensor, "point token head d_value"]:
    """Attention as the definition has it, differentiable in everything."""
    return heads_of(*call.projections, call.scoring)


class Captured(BaseException):
    """Leaves a block as soon as the wanted tensors are known. Not an Exception, so that no block can catch it."""

    def __init__(self, content: Any):
        super().__init__()
        self.content = content


@contextmanager
def intercepted(configs: Sequence[Any], handler: Handler | None = None, *, every: bool = False) -> Iterator[None]:
    """Run modules with these `configurations` on `attention_function`; they are put back on the way out.

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

    implementations = [config.__dict__["_attn_implementation_internal"] for config in configs]
    token = _handler.set(handler if every else once)
    try:
        for config in configs:
            config.__dict__["_attn_implementation_internal"] = NAME
        yield
    finally:
        for config, implementation in zip(configs, implementations, strict=True):
            config.__dict__["_attn_implementation_internal"] = implementation
        _handler.reset(token)


def configurations(module: nn.Module) -> list[Any]:
    """Every configuration that parts of a module read their attention implementation from, once."""
    found: dict[int, Any] = {}
    for part in module.modules():
        config = getattr(part, "config", None)
        nested = [getattr(config, name, None) for name in getattr(config, "sub_configs", {})]
        for candidate in (config, *nested):
            if candidate is not None and "_attn_implementation_internal" in getattr(candidate, "__dict__", {}):
                found[id(candidate)] = candidate
    return list(found.values())


@contextmanager
def standing_in(name: str, others: Mapping[nn.Module, Any]) -> Iterator[None]:
    """Let each module answer to a method's name with another function; what somebody else had set is put back."""
    before = {module: module.__dict__[name] for module in others if name in module.__dict__}
    try:
        for module, other in others.items():
            module.__dict__[name] = other
        yield
    finally:
        for module in others:
            module.__dict__.pop(name, None)
            if module in before:
                module.__dict__[name] = before[module]


@contextmanager
def at_rest(network: nn.Module) -> Iterator[None]:
    """Hold a model in evaluation mode and without parameter gradients; one thread at a time.

    Masked autoencoders, which hide and shuffle most patches even then, see all of them in order.

    Training flags and requires_grad are put back on the way out, also after an exception or Ctrl-C. Inference mode and
    autocast of the caller do not reach inside: the one knows no gradients, the other rounds to half precision.
    """
    device = next((weight.device.type for weight in network.parameters()), "cpu")
    with _one_at_a_time, torch.inference_mode(False), torch.autocast(device, enabled=False):
        training = [(module, module.training) for module in network.modules()]
        gradients = [(weight, weight.requires_grad) for weight in network.parameters()]
        maskers = [module for module, _ in training if hasattr(type(module), "random_masking")]
        try:
            for module, _ in training:
                module.training = False
            for weight, _ in gradients:
                weight.requires_grad_(False)
            with standing_in("random_masking", dict.fromkeys(maskers, _everything_in_order)):
                yield
        finally:
            for weight, required in gradients:
                weight.requires_grad_(required)
            for module, flag in training:
                module.training = flag


def _everything_in_order(sequence: Tensor, noise: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
    """A masked autoencoder's masking, off: all patches, none of them masked, and the order that restores theirs."""
    n_rows, n_patches, _ = sequence.shape
    order = torch.arange(n_patches, device=sequence.device).expand(n_rows, -1)
    return sequence, torch.zeros(n_rows, n_patches, device=sequence.device), order
