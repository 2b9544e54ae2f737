"""What the model says of a few more inputs, beside a path: tokens alone and missing, tokens in order."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from lignite.attribution.orders import Arrival, arrivals, at_both_ends, in_both_orders
from lignite.blocks.baselines import words_in
from lignite.blocks.stack import Stack, Start, points_at_once
from lignite.errors import InputError, LigniteError
from lignite.methods.method import FromBaseline
from lignite.methods.relevance_flow import RelevanceFlow
from lignite.methods.scoring.presence import Game, games_of, values_of_edits
from lignite.models.facts import has_encoder_and_decoder
from lignite.models.load import Model
from lignite.targets.edits import remove_tokens
from lignite.targets.rows import Row

SHARE_OF_THE_PATH = 0.5
"""Weight of what is integrated along the path; the two ends, or orders, share the rest (docs/results)."""


def ends_of(stack: Stack, start: Start, options: FromBaseline, budget: float) -> dict[str, Float[Tensor, "row token"]]:
    """The variables `added` and `removed`, from the states of the blank input at the first layer."""
    moves, room = _moving(stack, options), points_at_once(stack, budget, gradient=False)
    added, removed = at_both_ends(stack, start.states[0], moves, room, base=start.value)
    return {"added": added, "removed": removed}


def orders_of(
    stack: Stack, start: Start, relevance: Float[Tensor, "row token"], options: RelevanceFlow, budget: float
) -> dict[str, Float[Tensor, "row token"]]:
    """The variables `falling` and `rising`, from the states of the blank input at the first layer."""
    moves, room = _moving(stack, options), points_at_once(stack, budget, gradient=False)
    falling, rising = in_both_orders(stack, start.states[0], moves, relevance, room, options.groups, base=start.value)
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


@dataclass(frozen=True)
class Deletion:
    """What tokens add where absent ones are deleted; `displacement` is F less F of the special tokens alone.

    `unasked` says why the model was not asked, if it was not.
    """

    falling: np.ndarray
    rising: np.ndarray
    displacement: float
    unasked: str = ""


def in_both_orders_of_deletion(
    model: Model, rows: Sequence[Row], relevances: Sequence[np.ndarray], options: RelevanceFlow, budget: float
) -> list[Deletion]:
    """Follow F from texts without words to the whole ones, by falling and by rising relevance.

    All rows, orders and levels are asked together; where that fails, each row alone, and one that cannot be asked says
    why.
    """
    try:
        games = games_of(model, rows, options)
        orders = [_orders(game, one, options.groups) for game, one in zip(games, relevances, strict=True)]
        values = values_of_edits(model, games, list(map(_levels, games, orders)), budget, remove_tokens)
        return list(map(_divided, games, orders, values, relevances))
    except LigniteError as error:
        if len(rows) == 1:
            nothing = np.zeros_like(relevances[0])
            return [Deletion(nothing, nothing, 0.0, str(error))]
    apart = zip(rows, relevances, strict=True)
    return [in_both_orders_of_deletion(model, [row], [one], options, budget)[0] for row, one in apart]


def _orders(game: Game, relevance: np.ndarray, n_groups: int) -> tuple[Arrival, Arrival]:
    """Orders in which the words of a text arrive, all but the one at which the model answers."""
    if game.row.objective.function is not None:
        raise InputError("a function of the output may read it at places that a shorter text moves.")
    if not game.players:
        raise InputError("no word of the input can be deleted.")
    everywhere = torch.zeros(game.row.n_tokens, dtype=torch.float64)
    everywhere[~torch.tensor(game.row.encoded.tokens.padding)] = torch.from_numpy(relevance).double()
    return arrivals(everywhere, torch.tensor(game.players), n_groups)


def _levels(game: Game, orders: tuple[Arrival, Arrival]) -> np.ndarray:
    """Who is there: nobody, some by falling relevance, some by rising relevance, everybody."""
    falling, rising = (order.between()[:, list(game.players)].numpy() for order in orders)
    ends = np.array([[False], [True]]).repeat(game.n_players, 1)
    return np.concatenate([ends[:1], falling, rising, ends[1:]])


def _divided(game: Game, orders: tuple[Arrival, Arrival], values: np.ndarray, relevance: np.ndarray) -> Deletion:
    first, last = values[:1], values[-1:]
    if not np.isfinite(values).all():
        raise InputError("the model's answer to the text without some of its words is not finite.")
    kept = ~np.array(game.row.encoded.tokens.padding)
    falling, rising = (
        order.shares(torch.from_numpy(np.concatenate([first, between, last]))).numpy()[kept].astype(relevance.dtype)
        for order, between in zip(orders, np.split(values[1:-1], 2), strict=True)
    )
    return Deletion(falling, rising, float(last[0] - first[0]))
