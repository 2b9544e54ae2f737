"""Explanations by gradients of F with respect to states: integrated or not, as they are, as secants, or by rules."""

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from lignite.attribution.axes import PointStates
from lignite.attribution.layer_ig import LayerIG, begin_each_layer
from lignite.attribution.lines import every_row, gradient_at
from lignite.attribution.propagation import Propagation, of_activation
from lignite.blocks.baselines import begin_at, hold_against_another_input, warn_of_leaps
from lignite.blocks.stack import Stack, Start
from lignite.errors import OptionError
from lignite.late import load_optional
from lignite.methods.gradients import AttnLRP, DeepLift, GradientTimesInput, IntegratedGradients, Saliency
from lignite.methods.method import Explanation
from lignite.methods.scoring.stacks import (
    NODES,
    averaged,
    by_stack,
    explain_stacks,
    of_rows,
    precision_of,
    start_of,
)
from lignite.models.hold import after_each, modules_of
from lignite.models.load import Model
from lignite.targets.rows import Row


@averaged
def ig(options: IntegratedGradients, model: Model, rows: Sequence[Row], budget: float) -> list[Explanation]:
    """Integrated gradients along a line in the states that enter the first block (Sundararajan et al. 2017)."""

    def along(stack: Stack) -> list[Explanation]:
        precision = precision_of(stack, options, budget)

        def begin(starts: Sequence[Start]) -> Callable[[], LayerIG]:
            (start,) = starts
            return begin_each_layer(stack, start.states, precision, wanted=[0], base=start.value)

        starts, end = begin_at(
            stack, options.baselines, begin, keep_special=options.keep_special, through=False, every_layer=False
        )
        warn_of_leaps(stack, options.baselines, starts)
        line = end()
        variables = {
            "relevance": line.scores[:, 0],
            "total_displacement": line.displacement[:, 0],
            "total_gap": line.gap[:, 0],
            "total_allowed": line.allowed[:, 0],
        }
        return of_rows(stack, variables, line.n_nodes[:, :1])

    return by_stack(model, rows, budget, along, points=float(NODES))


def gradient_x_input(
    options: GradientTimesInput, model: Model, rows: Sequence[Row], budget: float
) -> list[Explanation]:
    """Gradient of F times the states that enter the first block."""
    return explain_stacks(
        model, rows, budget, lambda stack: {"relevance": (_gradient(stack) * stack.states[0]).sum(-1)}
    )


def saliency(options: Saliency, model: Model, rows: Sequence[Row], budget: float) -> list[Explanation]:
    """Length of the gradient of F at the states that enter the first block. Unsigned: it tells no for from against."""
    return explain_stacks(model, rows, budget, lambda stack: {"relevance": _gradient(stack).norm(dim=-1)})


def _gradient(stack: Stack) -> Float[Tensor, "row token d"]:
    hold_against_another_input(stack, every_layer=False)
    return gradient_at(stack, 0, stack.states[0], every_row(stack))


@averaged
def deeplift(options: DeepLift, model: Model, rows: Sequence[Row], budget: float) -> list[Explanation]:
    """Differences from a baseline carried back by secants (Shrikumar et al. 2017), by captum.

    Element-wise activations follow the rescale rule. Softmax, norms and products are no modules that captum could
    change: they pass plain gradients, so that the scores do not add up to a difference of F.

    Raises
    ------
    OptionError
        If captum is not installed, or cannot follow the model's modules (one that is called more than once).
    """
    attr = load_optional("captum.attr", options.name, "install lignite[compare]")
    rules = load_optional("captum.attr._core.deep_lift", options.name, "install lignite[compare]")

    def compute(stack: Stack) -> dict[str, Tensor]:
        start = start_of(stack, options).states[0]
        explainer = attr.DeepLift(_FromStates(stack))
        states = stack.states[0].detach().clone().requires_grad_()
        index = every_row(stack)
        with _activations_known(rules, model.network), torch.enable_grad(), warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Setting forward, backward hooks", UserWarning)
            try:
                scores = explainer.attribute(states, start, additional_forward_args=(index,)).detach()
            except (RuntimeError, AssertionError) as error:
                raise OptionError(
                    f"method='deeplift' does not run on {type(model.network).__name__} (captum: {error}); use 'ig'."
                ) from error
        return {"relevance": scores.sum(-1)}

    return explain_stacks(model, rows, budget / 2, compute, shared=False)  # inputs and baselines run side by side


class _FromStates(nn.Module):
    """F as a module of the states that enter the first block; captum finds the activations in the network inside."""

    def __init__(self, stack: Stack):
        super().__init__()
        self.network = stack.network
        self.stack = stack

    def forward(self, states: Float[Tensor, "point token d"], index: Int[Tensor, " point"]) -> Float[Tensor, " point"]:
        return self.stack.run(0, states, index)


@contextmanager
def _activations_known(rules: Any, network: nn.Module) -> Iterator[None]:
    """Let captum's rescale rule hold for every activation module: its table knows torch's own of long ago.

    Whatever stops captum, no note of its stays on a module.
    """
    table = rules.SUPPORTED_NON_LINEAR
    modules = list(network.modules())
    known = {type(module) for module in modules if is_activation(module)} - table.keys()
    notes = [(module, name) for module in modules for name in ("input", "output") if name not in module.__dict__]
    table.update(dict.fromkeys(known, rules.nonlinear))
    try:
        yield
    finally:
        for kind in known:
            del table[kind]
        for module, name in notes:
            module.__dict__.pop(name, None)


def is_activation(module: nn.Module) -> bool:
    """Whether a module is one of the activations that transformers and its models use."""
    home = type(module).__module__
    return home == "transformers.activations" or type(module) in (nn.GELU, nn.SiLU, nn.Mish, nn.Hardswish)


SAME_ANSWER = 1e-3
"""Largest relative change of F under the rules that still is rounding: they change how F is differentiated, not F."""


def attnlrp(options: AttnLRP, model: Model, rows: Sequence[Row], budget: float) -> list[Explanation]:
    """Gradient × input under AttnLRP's rules (Achtibat et al. 2024), at the states that enter the first block.

    Raises
    ------
    OptionError
        If rules do not reach inside a part of the model, or change its answer.
    """
    if any(isinstance(part, nn.MultiheadAttention) for part in modules_of(model.network)):
        raise OptionError(
            f"method='attnlrp': {type(model.network).__name__} holds torch's MultiheadAttention, a single function "
            "inside which no product can be divided; use 'ig'."
        )
    return explain_stacks(model, rows, budget, lambda stack: {"relevance": _relevance(stack)})


def _relevance(stack: Stack) -> Tensor:
    hold_against_another_input(stack, every_layer=False)
    gradient = torch.ones_like(stack.value)
    with Propagation(), _activations_straight(stack.network), torch.enable_grad():
        for function, states, made in _parts_from_the_top(stack):
            entering = states.detach().requires_grad_()
            value = function(entering)
            _check_answer(stack, value, made)
            (gradient,) = torch.autograd.grad(value, entering, gradient)
    return (gradient * stack.states[0]).sum(-1)


def _parts_from_the_top(stack: Stack) -> Iterator[tuple[Callable[[PointStates], Tensor], PointStates, Tensor]]:
    """List functions whose chain is F of the first states, each with what enters it and what it makes of that.

    They are one; where blocks are run again on the way down, one for each block: rules of one that is run again would
    not be met, since torch lets go of whoever looks on while it runs backwards.
    """
    rows, top = every_row(stack), stack.n_layers
    if not stack.again:
        yield lambda states: stack.run(0, states, rows), stack.states[0], stack.value
        return
    yield lambda states: stack.run(top, states, rows), stack.states[top], stack.value
    for layer in range(top - 1, -1, -1):
        block = partial(stack.block, layer, index=rows)
        yield block, stack.states[layer], stack.states[layer + 1]


def _check_answer(stack: Stack, value: Tensor, made: Tensor) -> None:
    if value.ndim > 1:
        value, made = value[stack.kept], made[stack.kept]
    if not torch.allclose(value, made, rtol=SAME_ANSWER, atol=SAME_ANSWER):
        raise OptionError(
            f"method='attnlrp': under its rules {stack.name} answers {float(value.flatten()[0]):.4g} instead of "
            f"{float(made.flatten()[0]):.4g}: it changes tensors in place; use 'ig'."
        )


@contextmanager
def _activations_straight(network: nn.Module) -> Iterator[None]:
    """Let activations of several steps, such as GPT-2's, be one function to the rules."""

    def straighten(module: nn.Module, args: tuple[Any, ...], value: Any) -> Tensor | None:
        (states,) = args
        return of_activation(module.forward, states, value) if states.requires_grad else None

    with after_each(filter(is_activation, modules_of(network)), straighten):
        yield
