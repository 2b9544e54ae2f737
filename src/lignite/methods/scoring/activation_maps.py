"""Explanations by what the attention of a block reads, weighted by the gradient of F there."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from lignite.attribution.axes import PerPoint, PointRows, PointStates
from lignite.attribution.lines import every_row
from lignite.blocks.baselines import hold_against_another_input
from lignite.blocks.norms import norms_in
from lignite.blocks.stack import Stack
from lignite.methods.gradients import ActivationMap, GradCam, HiResCam, LayerCam
from lignite.methods.method import Explanation
from lignite.methods.scoring.stacks import explain_stacks
from lignite.models.hold import after_each, before_each
from lignite.models.load import Model
from lignite.targets.rows import Row

Channels = Float[Tensor, "row token d"]
Weigh = Callable[[Channels, Channels, Bool[Tensor, "row token"]], Float[Tensor, "row token"]]
"""Scores of one layer, from the gradient of F, what is read there, and which tokens are patches or words."""


def grad_cam(options: GradCam, model: Model, rows: Sequence[Row], budget: float) -> list[Explanation]:
    """Channels that the last block's attention reads, weighted by F's mean gradient (Selvaraju et al. 2017).

    The mean is over patches or words: the gradient at a class token is another thing, and often many times as large.
    """

    def weigh(gradient: Channels, states: Channels, content: Bool[Tensor, "row token"]) -> Tensor:
        counted = torch.where(content[..., None], gradient, 0)  # padding may hold anything
        mean = counted.sum(1, keepdim=True) / content.sum(1)[:, None, None].clamp_min(1)
        seen = (gradient != 0).any(-1)  # what follows the answer in a causal model has a state, but no say
        return torch.where(seen, (mean * states).sum(-1), 0)

    return _mapped(options, model, rows, budget, weigh)


def hirescam(options: HiResCam, model: Model, rows: Sequence[Row], budget: float) -> list[Explanation]:
    """Gradient of F times what the last block's attention reads, summed over channels (Draelos and Carin 2020)."""
    return _mapped(options, model, rows, budget, lambda gradient, states, _: (gradient * states).sum(-1))


def layercam(options: LayerCam, model: Model, rows: Sequence[Row], budget: float) -> list[Explanation]:
    """Positive part of F's gradient times what the last block's attention reads (Jiang et al. 2021)."""
    return _mapped(options, model, rows, budget, lambda gradient, states, _: (gradient.clamp_min(0) * states).sum(-1))


def _mapped(
    options: ActivationMap, model: Model, rows: Sequence[Row], budget: float, weigh: Weigh
) -> list[Explanation]:
    """Scores of every layer; the relevance is that of the last block.

    What leaves that block has a gradient only where the head reads.
    """

    def compute(stack: Stack) -> dict[str, Tensor]:
        hold_against_another_input(stack)
        states = stack.states[0].detach().clone().requires_grad_()
        with torch.enable_grad():
            read, value = trace_normed(stack, states, every_row(stack))
        gradients = torch.autograd.grad(value.sum(), read)
        content = _content(stack)
        by_layer = [weigh(gradient, each.detach(), content) for gradient, each in zip(gradients, read, strict=True)]
        layers = torch.stack(by_layer, dim=1)
        layers = layers if options.signed else layers.clamp_min(0)
        return {"relevance": layers[:, -1], "layer_relevance": layers}

    return explain_stacks(model, rows, budget, compute)


def _content(stack: Stack) -> Bool[Tensor, "row token"]:
    """Flag patches and words: no padding, and no token that tokenizer or model adds."""
    content = stack.kept.clone()
    for number, row in enumerate(stack.rows):
        special = torch.tensor(row.encoded.tokens.special, device=content.device)
        content[number, : row.n_tokens] &= ~special
    return content


Passed = tuple[Tensor, Tensor]
"""What a norm is given, and what it makes of that."""


def trace_normed(stack: Stack, states: PointStates, index: PointRows) -> tuple[list[PointStates], PerPoint]:
    """Follow other states from the first layer on: what the attention of each block reads, and F; differentiable.

    That is what the first norm to run in a block makes of the states that enter it. Where none reads them (norms that
    stand behind attention, states of several streams), it is these states.
    """
    with _first_norms(stack) as passed:
        layers, value = stack.trace(states, index)
    return [_behind(passed[number], layers[number]) for number in range(stack.n_layers)], value


def _behind(passed: Passed | None, entering: PointStates) -> PointStates:
    if passed is None or passed[0].shape != entering.shape or not torch.equal(passed[0], entering):
        return entering
    return passed[1]


@contextmanager
def _first_norms(stack: Stack) -> Iterator[list[Passed | None]]:
    """Note for every call of a block the norm that runs first in it."""
    seen: list[Passed | None] = []

    def begin(_module: nn.Module, _args: Any) -> None:
        seen.append(None)

    def note(_module: nn.Module, args: Any, output: Any) -> None:
        if seen and seen[-1] is None and args:
            seen[-1] = args[0], output

    modules = dict.fromkeys(stack.blocks)  # one that is shared stands there several times
    norms = dict.fromkeys(norm for block in modules for norm in norms_in(block))
    with before_each(modules, begin), after_each(norms, note):
        yield seen
