"""Attention weights of every layer, and the derivative of what is explained with respect to them."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as nnf
from jaxtyping import Float
from torch import Tensor, nn

from lignite.attribution.attend import WEIGHTS_AT_ONCE, Scoring, repeat_groups
from lignite.attribution.block import Projections
from lignite.attribution.lines import every_row, gradient_at
from lignite.blocks.attention import AttendCall, Handler, compute, intercepted
from lignite.blocks.stack import EVERYONE, Stack
from lignite.errors import OptionError
from lignite.memory import hand_back
from lignite.models.hold import standing_in
from lignite.models.outputs import part_of
from lignite.targets.rows import run

Heads = Float[Tensor, "row head target source"]

Combine = Callable[[Heads, Heads], Float[Tensor, "row head target source"]]
"""Something made of attention weights and the derivative of F with respect to them, entry by entry."""

UNREAD = (LookupError, ValueError, NotImplementedError)
"""What models raise that look attention up in tables of their own."""


@dataclass(frozen=True, eq=False)
class LayerAttention:
    """A layer's attention at the input itself, and the derivative of F with respect to it; some heads at a time.

    Attributes
    ----------
    at_once
        How many heads' weights are made together.
    of_heads
        Makes the weights and derivatives of some heads.
    """

    n_heads: int
    at_once: int
    of_heads: Callable[[slice], tuple[Heads, Heads]]

    def mean(self, combine: Combine) -> Float[Tensor, "row target source"]:
        """Average over heads what is made of their weights and derivatives."""
        parts = [slice(first, first + self.at_once) for first in range(0, self.n_heads, self.at_once)]
        if len(parts) == 1:
            return combine(*self.of_heads(parts[0])).mean(1)
        total = combine(*self.of_heads(parts[0])).sum(1)
        for some in parts[1:]:
            total += combine(*self.of_heads(some)).sum(1)
        return total / self.n_heads

    def each(self, combine: Combine) -> Heads:
        """Make it of every head."""
        return combine(*self.of_heads(slice(None)))


def differentiate_attention(stack: Stack) -> Iterator[LayerAttention]:
    """Go down through the layers' attention weights and the derivative of F with respect to them, at the input itself.

    Whatever attention the model was loaded with: heads are A V with weights A computed by the definition, so that ∂F/∂A
    is (∂F/∂heads) Vᵀ. Models that do not run on the attention interface are asked for the weights they return. No more
    than some heads of one layer have weights at a time; where blocks are run again on the way down, one layer alone has
    a graph.

    Raises
    ------
    OptionError
        If the model has no attention weights that its answer depends on.
    """
    single = len(stack.structure.streams) == 1
    found = (_on_the_interface(stack) or _returned(stack)) if single else None
    if found is None:
        raise _without_attention(stack)
    return found


def _without_attention(stack: Stack) -> OptionError:
    return OptionError(
        f"{stack.name} shows no attention weights that its answer depends on; use a method without attention gradients."
    )


# Models that run on the attention interface


@dataclass(frozen=True, eq=False)
class _Attended:
    """A block's heads came of this call, in the graph of what is differentiated."""

    call: AttendCall
    heads: Float[Tensor, "row target head d_value"]


def _on_the_interface(stack: Stack) -> Iterator[LayerAttention] | None:
    if not stack.again:
        return _of_all_blocks(stack)
    layers = _block_by_block(stack)
    try:
        top = next(layers)
    except (*UNREAD, _Unmet):
        return None

    def every() -> Iterator[LayerAttention]:
        yield top
        try:
            yield from layers
        except _Unmet as error:
            raise _without_attention(stack) from error

    return every()


class _Unmet(Exception):
    """A block has no attention that is understood."""


def _of_all_blocks(stack: Stack) -> Iterator[LayerAttention] | None:
    """Differentiate one graph of all blocks."""
    inside: list[int] = []
    found: dict[int, _Attended] = {}

    def answer(number: int, module: nn.Module, forward: Any, args: Any, kwargs: Any) -> Any:
        inside.append(number)
        try:
            return forward(*args, **kwargs)
        finally:
            inside.pop()

    with torch.enable_grad():
        try:
            met = _noting(lambda: inside[-1] if inside else None, found)
            with intercepted(stack.network, met, every=True), stack.answering(answer):
                value = stack.questions.values(run(stack.network, stack.tensors))
        except UNREAD:
            return None
    if sorted(found) != list(range(stack.n_layers)) or not value.requires_grad:
        return None
    if not all(_is_understood(stack, each.call) for each in found.values()):
        return None
    down = range(stack.n_layers - 1, -1, -1)
    gradients = torch.autograd.grad(value.sum(), [found[layer].heads for layer in down], allow_unused=True)
    return map(_attention, [found[layer].call for layer in down], gradients)  # without the graph of the heads


def _block_by_block(stack: Stack) -> Iterator[LayerAttention]:
    """Pull the gradient of F down through one block after the other, from the states that the model has there."""
    rows = every_row(stack)
    above = gradient_at(stack, stack.n_layers, stack.states[-1], rows)
    for layer in range(stack.n_layers - 1, -1, -1):
        found: dict[int, _Attended] = {}
        with torch.enable_grad(), _watched(stack, layer, found):
            states = stack.states[layer].detach().requires_grad_()
            made = stack.block(layer, states, rows)
        if layer not in found or not _is_understood(stack, found[layer].call):
            raise _Unmet
        gradient, above = torch.autograd.grad(
            made, [found[layer].heads, states], above, allow_unused=True, materialize_grads=True
        )
        del made
        hand_back()
        yield _attention(found[layer].call, gradient)


@contextmanager
def _watched(stack: Stack, layer: int, found: dict[int, _Attended]) -> Iterator[None]:
    """Note the attention of the block that is run; what stands in for the others has none."""
    running = False
    module = stack.blocks[layer]
    own = module.forward

    def forward(*args: Any, **kwargs: Any) -> Any:
        nonlocal running
        running = True
        try:
            return own(*args, **kwargs)
        finally:
            running = False

    met = _noting(lambda: layer if running else None, found)
    with intercepted(stack.network, met, every=True), standing_in("forward", {module: forward}):
        yield


def _noting(place: Callable[[], int | None], found: dict[int, _Attended]) -> Handler:
    """Note the first attention of every block; others (cross-attention, outside the stack) are computed as usual."""

    def handler(call: AttendCall) -> Tensor:
        layer = place()
        if layer is None or layer in found:
            return compute(call)
        heads = _heads(call)
        if not heads.requires_grad:
            heads.requires_grad_()
        found[layer] = _Attended(
            replace(call, projections=Projections(*(each.detach() for each in call.projections))), heads
        )
        return heads

    return handler


def _heads(call: AttendCall) -> Float[Tensor, "row target head d_value"]:
    """Compute heads without keeping weights for the way down, where torch's own function can."""
    scoring = call.scoring
    if scoring.softcap is not None or scoring.sinks is not None:
        return compute(call)
    query, key, value = call.projections
    key, value = repeat_groups(key, query.shape[1]), repeat_groups(value, query.shape[1])
    bias = None if scoring.bias is None else scoring.bias.to(query)
    if bias is not None and bias.ndim == 3:
        bias = bias[None]
    return nnf.scaled_dot_product_attention(query, key, value, bias, scale=scoring.scale).transpose(1, 2)


def _attention(call: AttendCall, gradient: Float[Tensor, "row target head d_value"] | None) -> LayerAttention:
    query, key, value = call.projections
    key, value = repeat_groups(key, query.shape[1]), repeat_groups(value, query.shape[1])

    def of_heads(some: slice) -> tuple[Heads, Heads]:
        logits = query[:, some] @ key[:, some].mT * call.scoring.scale
        weights = _of_heads(call.scoring, some).weights(logits)
        if gradient is None:
            return weights, torch.zeros_like(weights)
        return weights, gradient[:, :, some].transpose(1, 2) @ value[:, some].mT

    row = query.shape[0] * query.shape[2] * key.shape[2] * query.element_size()
    return LayerAttention(query.shape[1], max(1, WEIGHTS_AT_ONCE // row), of_heads)


def _of_heads(scoring: Scoring, some: slice) -> Scoring:
    bias, sinks = scoring.bias, scoring.sinks
    own = bias if bias is None or bias.shape[-3] == 1 else bias[..., some, :, :]
    return replace(scoring, bias=own, sinks=None if sinks is None else sinks[some])


def _is_understood(stack: Stack, call: AttendCall) -> bool:
    """Tell whether every token of a row meets every other: DeepSeek V4 compresses its sources."""
    n_rows, n_tokens = stack.kept.shape
    query, key, _ = call.projections
    return (query.shape[0], query.shape[2], key.shape[2]) == (n_rows, n_tokens, n_tokens)


# Others


def _returned(stack: Stack) -> Iterator[LayerAttention] | None:
    """Read what the model itself returns as attention, if it is weights of every token by every token."""
    with torch.enable_grad():
        states = stack.states[0].detach().requires_grad_()
        carried = [states]

        def answer(number: int, module: nn.Module, forward: Any, args: Any, kwargs: Any) -> Any:
            args, kwargs = stack.handed(number, carried, args, kwargs, lambda _: EVERYONE)
            return stack.lightly(forward)(*args, **kwargs)

        with stack.answering(answer):
            outputs = run(stack.network, stack.tensors, output_attentions=True)
        value = stack.questions.values(outputs)
    found = part_of(outputs, "attentions") or part_of(outputs, "encoder_attentions") or ()
    if len(found) != stack.n_layers or not all(_are_weights(stack, each) for each in found):
        return None
    gradients = torch.autograd.grad(value.sum(), list(found), allow_unused=True)
    if all(part is None for part in gradients):
        return None
    return (_given(*each) for each in zip(reversed(found), reversed(gradients), strict=True))


def _given(weights: Heads, gradient: Heads | None) -> LayerAttention:
    weights = weights.detach()
    slope = torch.zeros_like(weights) if gradient is None else gradient
    return LayerAttention(weights.shape[1], weights.shape[1], lambda some: (weights[:, some], slope[:, some]))


def _are_weights(stack: Stack, found: Any) -> bool:
    """Tell whether something is attention of every row, head, target and source, through which gradients pass."""
    if not isinstance(found, Tensor) or not found.requires_grad:
        return False
    n_rows, n_tokens = stack.kept.shape
    return (found.shape[0], *found.shape[2:]) == (n_rows, n_tokens, n_tokens)
