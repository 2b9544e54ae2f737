"""What tokens add when they arrive in a text from which all others are deleted."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from lignite.attribution.orders import Arrival, arrivals
from lignite.errors import InputError, LigniteError
from lignite.methods.relevance_flow import RelevanceFlow
from lignite.methods.scoring.presence import Game, games_of, values_of_edits
from lignite.models.load import Model
from lignite.targets.edits import remove_tokens
from lignite.targets.rows import Row


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
        return _asked(model, rows, relevances, options, budget)
    except LigniteError as error:
        if len(rows) == 1:
            nothing = np.zeros_like(relevances[0])
            return [Deletion(nothing, nothing, 0.0, str(error))]
    apart = zip(rows, relevances, strict=True)
    return [in_both_orders_of_deletion(model, [row], [one], options, budget)[0] for row, one in apart]


def _asked(
    model: Model, rows: Sequence[Row], relevances: Sequence[np.ndarray], options: RelevanceFlow, budget: float
) -> list[Deletion]:
    games = games_of(model, rows, options)
    orders = [_orders(game, one, options.groups) for game, one in zip(games, relevances, strict=True)]
    values = values_of_edits(model, games, list(map(_levels, games, orders)), budget, remove_tokens)
    return list(map(_divided, games, orders, values, relevances))


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
