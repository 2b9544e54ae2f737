"""Attention weights of every layer, and the derivative of what is explained with respect to them."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lignite.attribution.attend import repeat_groups
from lignite.blocks.attention import AttendCall, compute, intercepted
from lignite.blocks.stack import EVERYONE, Stack
from lignite.errors import OptionError
from lignite.models.outputs import part_of
from lignite.targets.rows import run


def differentiate_attention(
    stack: Stack,
) -> tuple[list[Float[Tensor, "row head target source"]], list[Float[Tensor, "row head target source"]]]:
    """Return attention weights of every layer, and the derivative of F with respect to them, at the input itself.

    Whatever attention the model was loaded with: weights are computed by the definition, in the graph. Models that
    do not run on the attention interface are asked for the weights they return.

    Raises
    ------
    OptionError
        If the model has no attention weights that its answer depends on.
    """
    single = len(stack.structure.streams) == 1
    weights = (_weights_on_the_interface(stack) or _weights_returned(stack)) if single else None
    if weights is None:
        raise OptionError(
            f"{stack.name} shows no attention weights that its answer depends on; use a method without attention "
            "gradients."
        )
    found, value = weights
    gradients = torch.autograd.grad(value.sum(), found, allow_unused=True)
    zero = [torch.zeros_like(each) if part is None else part for each, part in zip(found, gradients, strict=True)]
    return [each.detach() for each in found], zero


def _weights_on_the_interface(stack: Stack) -> tuple[list[Tensor], Tensor] | None:
    inside: list[int] = []
    found: dict[int, Tensor] = {}

    def handler(call: AttendCall) -> Tensor:
        if not inside or inside[-1] in found:  # cross-attention, or attention outside the stack
            return compute(call)
        query, key, value = call.projections
        key, value = repeat_groups(key, query.shape[1]), repeat_groups(value, query.shape[1])
        weights = call.scoring.weights(query @ key.mT * call.scoring.scale).requires_grad_()
        found[inside[-1]] = weights
        return (weights @ value).transpose(1, 2)

    def answer(number: int, module: nn.Module, forward: Any, args: Any, kwargs: Any) -> Any:
        inside.append(number)
        try:
            return forward(*args, **kwargs)
        finally:
            inside.pop()

    with torch.enable_grad():
        try:
            with intercepted(stack.network, handler, every=True), stack.answering(answer):
                value = stack.questions.values(run(stack.network, stack.tensors))
        except (LookupError, ValueError, NotImplementedError):
            return None  # some look attention up in tables of their own
    if sorted(found) != list(range(stack.n_layers)) or not value.requires_grad:
        return None
    if not all(_are_weights(stack, each) for each in found.values()):
        return None  # sources that are no tokens (DeepSeek V4 compresses them)
    return [found[layer] for layer in range(stack.n_layers)], value


def _weights_returned(stack: Stack) -> tuple[list[Tensor], Tensor] | None:
    """Read what the model itself returns as attention, if it is weights of every token by every token."""
    with torch.enable_grad():
        states = stack.states[0].detach().requires_grad_()
        carried = [states]

        def answer(number: int, module: nn.Module, forward: Any, args: Any, kwargs: Any) -> Any:
            args, kwargs = stack.handed(number, carried, args, kwargs, lambda _: EVERYONE)
            return forward(*args, **kwargs)

        with stack.answering(answer):
            outputs = run(stack.network, stack.tensors, output_attentions=True)
        value = stack.questions.values(outputs)
    found = part_of(outputs, "attentions") or part_of(outputs, "encoder_attentions") or ()
    usable = len(found) == stack.n_layers and all(_are_weights(stack, each) for each in found)
    if not usable or all(
        part is None for part in torch.autograd.grad(value.sum(), list(found), allow_unused=True, retain_graph=True)
    ):
        return None
    return list(found), value


def _are_weights(stack: Stack, found: Any) -> bool:
    """Tell whether something is attention of every row, head, target and source, through which gradients pass."""
    if not isinstance(found, Tensor) or not found.requires_grad:
        return False
    n_rows, n_tokens = stack.kept.shape
    return (found.shape[0], *found.shape[2:]) == (n_rows, n_tokens, n_tokens)
