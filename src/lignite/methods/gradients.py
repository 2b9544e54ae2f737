"""Explanations by gradients of F with respect to states: integrated or not, as they are or as secants."""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from lignite.attribution.layer_ig import along_each_layer
from lignite.attribution.lines import gradient_at
from lignite.blocks.baselines import hold_against_another_input
from lignite.blocks.leap import warn_of_leaps
from lignite.blocks.stack import Stack
from lignite.errors import OptionError
from lignite.methods.ca_lig import precision_of
from lignite.methods.optional import load_optional
from lignite.methods.stacks import Scores, averaged, every_row, explain_stacks, start_of
from lignite.models.load import Model
from lignite.request import ExplainRequest
from lignite.targets.rows import Row


@averaged
def ig(model: Model, rows: Sequence[Row], request: ExplainRequest, budget: float) -> list[Scores]:
    """Integrated gradients along a line in the states that enter the first block (Sundararajan et al. 2017)."""

    def compute(stack: Stack, _: Sequence[Row]) -> dict[str, Tensor]:
        start = start_of(stack, request)
        warn_of_leaps(stack, request.baseline, [start])
        found = along_each_layer(
            stack, start.states, precision_of(stack, request, budget), wanted=[0], base=start.value
        )
        return {
            "relevance": found.scores[:, 0],
            "total_displacement": found.displacement[:, 0],
            "total_gap": found.gap[:, 0],
            "total_allowed": found.allowed[:, 0],
            "_n_nodes": found.n_nodes[:, :1],
        }

    return explain_stacks(model, rows, budget, compute)


def gradient_x_input(model: Model, rows: Sequence[Row], request: ExplainRequest, budget: float) -> list[Scores]:
    """Gradient of F times the states that enter the first block."""
    return explain_stacks(
        model, rows, budget, lambda stack, _: {"relevance": (_gradient(stack) * stack.states[0]).sum(-1)}
    )


def saliency(model: Model, rows: Sequence[Row], request: ExplainRequest, budget: float) -> list[Scores]:
    """Length of the gradient of F at the states that enter the first block. Unsigned: it tells no for from against."""
    return explain_stacks(model, rows, budget, lambda stack, _: {"relevance": _gradient(stack).norm(dim=-1)})


def _gradient(stack: Stack) -> Float[Tensor, "row token d"]:
    hold_against_another_input(stack, every_layer=False)
    return gradient_at(stack, 0, stack.states[0], every_row(stack))


def grad_cam(model: Model, rows: Sequence[Row], request: ExplainRequest, budget: float) -> list[Scores]:
    """States weighted by F's gradient, averaged over tokens (Selvaraju et al. 2017), as they enter each block.

    The relevance is that at the last block. What leaves it has a gradient only where the head reads, which would make
    the average that one token's. Signed; the usual form keeps the positive part alone.
    """

    def compute(stack: Stack, _: Sequence[Row]) -> dict[str, Tensor]:
        hold_against_another_input(stack)
        states = stack.states[0].detach().clone().requires_grad_()
        with torch.enable_grad():
            layers, value = stack.trace(states, every_row(stack))
        entering = layers[: stack.n_layers]
        gradients = torch.autograd.grad(value.sum(), entering)
        kept = stack.kept[..., None].to(states.dtype)
        by_layer = []
        for gradient, each in zip(gradients, entering, strict=True):
            mean = (gradient * kept).sum(1, keepdim=True) / kept.sum(1, keepdim=True)
            seen = (gradient != 0).any(-1)  # what follows the answer in a causal model has a state, but no say
            by_layer.append(torch.where(seen, (mean * each.detach()).sum(-1), 0))
        return {"relevance": by_layer[-1], "layer_relevance": torch.stack(by_layer, dim=1)}

    return explain_stacks(model, rows, budget, compute)


@averaged
def deeplift(model: Model, rows: Sequence[Row], request: ExplainRequest, budget: float) -> list[Scores]:
    """Differences from a baseline carried back by secants (Shrikumar et al. 2017), by captum.

    Element-wise activations follow the rescale rule. Softmax, norms and products are no modules that captum could
    change: they pass plain gradients, so that the scores do not add up to a difference of F.

    Raises
    ------
    OptionError
        If captum is not installed, or cannot follow the model's modules (one that is called more than once).
    """
    attr = load_optional("captum.attr", request.method, "install lignite[compare]")
    rules = load_optional("captum.attr._core.deep_lift", request.method, "install lignite[compare]")

    def compute(stack: Stack, _: Sequence[Row]) -> dict[str, Tensor]:
        start = start_of(stack, request).states[0]
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

    return explain_stacks(model, rows, budget / 2, compute)  # inputs and baselines run side by side


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
    known = {type(module) for module in modules if _is_activation(module)} - table.keys()
    notes = [(module, name) for module in modules for name in ("input", "output") if name not in module.__dict__]
    table.update(dict.fromkeys(known, rules.nonlinear))
    try:
        yield
    finally:
        for kind in known:
            del table[kind]
        for module, name in notes:
            module.__dict__.pop(name, None)


def _is_activation(module: nn.Module) -> bool:
    home = type(module).__module__
    return home == "transformers.activations" or type(module) in (nn.GELU, nn.SiLU, nn.Mish, nn.Hardswish)
