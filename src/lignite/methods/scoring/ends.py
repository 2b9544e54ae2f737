"""What the model says of a few more inputs, beside a path: tokens alone and missing, tokens in order."""

from jaxtyping import Bool, Float
from torch import Tensor

from lignite.attribution.orders import at_both_ends, in_both_orders
from lignite.blocks.baselines import words_in
from lignite.blocks.stack import Stack
from lignite.methods.relevance_flow import RelevanceFlow
from lignite.methods.scoring.stacks import points_at_once
from lignite.methods.shared import FromBaseline
from lignite.models.facts import has_encoder_and_decoder

SHARE_OF_THE_PATH = 0.5
"""Weight of what is integrated along the path; the two ends, or orders, share the rest (docs/results)."""


def ends_of(
    stack: Stack, start: Float[Tensor, "row token d"], options: FromBaseline, budget: float
) -> dict[str, Float[Tensor, "row token"]]:
    """The variables `added` and `removed`, from the states of the blank input at the first layer."""
    moves = _moving(stack, options)
    added, removed = at_both_ends(stack, start, moves, points_at_once(stack, budget, gradient=False))
    return {"added": added, "removed": removed}


def orders_of(
    stack: Stack,
    start: Float[Tensor, "row token d"],
    relevance: Float[Tensor, "row token"],
    options: RelevanceFlow,
    budget: float,
) -> dict[str, Float[Tensor, "row token"]]:
    """The variables `falling` and `rising`, from the states of the blank input at the first layer."""
    room = points_at_once(stack, budget, gradient=False)
    falling, rising = in_both_orders(stack, start, _moving(stack, options), relevance, room, options.groups)
    return {"falling": falling, "rising": rising}


def _moving(stack: Stack, options: FromBaseline) -> Bool[Tensor, "row token"]:
    """Tokens that the baseline changes; behind the place of a next token nothing can matter, not even by rounding."""
    moves = words_in(stack, keep_special=options.keep_special)
    if has_encoder_and_decoder(stack.model.config):
        return moves
    for number, objective in enumerate(stack.objectives):
        if objective.kind == "next" and objective.position is not None:
            moves[number, objective.position + 1 :] = False
    return moves


def beside(
    path: Float[Tensor, "*row token"], one: Float[Tensor, "*row token"], other: Float[Tensor, "*row token"]
) -> Float[Tensor, "*row token"]:
    """Relevance along the path, averaged with what each token does at its two ends or in two orders.

    Examples
    --------
    >>> import torch
    >>> beside(torch.tensor([4.0]), torch.tensor([1.0]), torch.tensor([3.0]))
    tensor([3.])
    """
    return SHARE_OF_THE_PATH * path + (1 - SHARE_OF_THE_PATH) * (one + other) / 2
