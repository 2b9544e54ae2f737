"""Attention-aware layer-wise relevance propagation: gradient × input under rules of its own."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from lignite.attribution.lines import every_row
from lignite.attribution.propagation import Propagation, of_activation
from lignite.blocks.baselines import hold_against_another_input
from lignite.blocks.stack import Stack
from lignite.errors import OptionError
from lignite.methods.gradients import AttnLRP
from lignite.methods.method import Explanation
from lignite.methods.scoring.gradients import is_activation
from lignite.methods.scoring.stacks import explain_stacks
from lignite.models.hold import after_each, modules_of
from lignite.models.load import Model
from lignite.targets.rows import Row

SAME_ANSWER = 1e-3
"""Largest relative change of F under the rules that still is rounding: they change how F is differentiated, not F."""


def attnlrp(options: AttnLRP, model: Model, rows: Sequence[Row], budget: float) -> list[Explanation]:
    """Gradient × input under AttnLRP's rules (Achtibat et al. 2024), at the states that enter the first block.

    Raises
    ------
    OptionError
        If rules do not reach inside a part of the model, or change its answer.
    """
    _check_reach(model.network)
    return explain_stacks(model, rows, budget, lambda stack: {"relevance": _relevance(stack)})


def _check_reach(network: nn.Module) -> None:
    if any(isinstance(part, nn.MultiheadAttention) for part in modules_of(network)):
        raise OptionError(
            f"method='attnlrp': {type(network).__name__} holds torch's MultiheadAttention, a single function inside "
            "which no product can be divided; use 'ig'."
        )


def _relevance(stack: Stack) -> Tensor:
    hold_against_another_input(stack, every_layer=False)
    with Propagation(), _activations_straight(stack.network), torch.enable_grad():
        states = stack.states[0].detach().requires_grad_()
        value = stack.run(0, states, every_row(stack))
        (gradient,) = torch.autograd.grad(value.sum(), states)
    if not torch.allclose(value, stack.value, rtol=SAME_ANSWER, atol=SAME_ANSWER):
        raise OptionError(
            f"method='attnlrp': under its rules {stack.name} answers {float(value[0]):.4g} instead of "
            f"{float(stack.value[0]):.4g}: it changes tensors in place; use 'ig'."
        )
    return (gradient * states.detach()).sum(-1)


@contextmanager
def _activations_straight(network: nn.Module) -> Iterator[None]:
    """Let activations of several steps, such as GPT-2's, be one function to the rules."""

    def straighten(module: nn.Module, args: tuple[Any, ...], value: Any) -> Tensor | None:
        (states,) = args
        return of_activation(module.forward, states, value) if states.requires_grad else None

    with after_each(filter(is_activation, modules_of(network)), straighten):
        yield
