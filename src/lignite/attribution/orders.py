"""What every token adds: alone and last of all, or when tokens arrive in the order of their relevance."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from lignite.attribution.axes import RowStates
from lignite.attribution.lines import Layers, every_row


def at_both_ends(
    layers: Layers, start: RowStates, moves: Bool[Tensor, "row token"], max_points: int
) -> tuple[Float[Tensor, "row token"], Float[Tensor, "row token"]]:
    """Measure what each token does alone: added to an input where all others are blank, removed from the full one.

    These are the ends of the integral over contexts whose middle integrated gradients sample (docs/method.md).

    Parameters
    ----------
    start
        States of the blank input at the first layer.
    moves
        Tokens that are not the same in both.

    Returns
    -------
    F with the token alone − F of the blank input; F − F without the token.
    """
    added, removed = torch.zeros_like(moves, dtype=start.dtype), torch.zeros_like(moves, dtype=start.dtype)
    rows, places = moves.nonzero(as_tuple=True)
    with torch.no_grad():
        blank = _blank(layers, start, max_points)
        for some in range(0, len(rows), max_points):
            row, place = rows[some : some + max_points], places[some : some + max_points]
            points = torch.arange(len(row), device=row.device)
            alone, missing = start[row], layers.states[0][row]
            alone[points, place], missing[points, place] = missing[points, place], alone[points, place]
            added[row, place] = layers.run(0, alone, row) - blank[row]
            removed[row, place] = layers.value[row] - layers.run(0, missing, row)
    return added, removed


def in_both_orders(
    layers: Layers,
    start: RowStates,
    moves: Bool[Tensor, "row token"],
    relevance: Float[Tensor, "row token"],
    max_points: int,
) -> tuple[Float[Tensor, "row token"], Float[Tensor, "row token"]]:
    """Follow F from the blank input to the full one, the most relevant token first, then the least relevant first.

    What a token adds depends on those that are there before it: the first finds nobody, the last everybody. The two
    orders give each token one context and its opposite. Equal relevances arrive in the order of the text.

    Parameters
    ----------
    start
        States of the blank input at the first layer.
    moves
        Tokens that are not the same in both.

    Returns
    -------
    Change of F when the token arrives, by falling and by rising relevance; each adds up to F − F of the blank input.
    """
    falling, rising = torch.zeros_like(relevance), torch.zeros_like(relevance)
    with torch.no_grad():
        blank = _blank(layers, start, max_points)
        for row in moves.any(1).nonzero()[:, 0].tolist():
            places = moves[row].nonzero()[:, 0]
            order = places[relevance[row, places].argsort(descending=True, stable=True)]
            for found, arriving in ((falling, order), (rising, order.flip(0))):
                levels = _levels(layers, start, row, arriving, max_points)
                levels = torch.cat([blank[row : row + 1], levels, layers.value[row : row + 1]])
                found[row, arriving] = levels.diff().to(found)
    return falling, rising


def _blank(layers: Layers, start: RowStates, max_points: int) -> Float[Tensor, " row"]:
    """Compute F of the blank input."""
    pieces = every_row(layers).split(max_points)
    return torch.cat([layers.run(0, start[some], some) for some in pieces])


def _levels(
    layers: Layers, start: RowStates, row: int, arriving: Int[Tensor, " place"], max_points: int
) -> Float[Tensor, " level"]:
    """Compute F with the first one of these places filled, with the first two, and so on up to all but the last."""
    full = layers.states[0][row]
    found = [layers.value.new_zeros(0)]
    between = torch.arange(1, len(arriving), device=arriving.device)
    for counts in between.split(max_points) if len(between) else ():  # a single word has nothing between the ends
        there = torch.zeros(len(counts), len(full), dtype=torch.bool, device=arriving.device)
        there[:, arriving] = torch.arange(len(arriving), device=arriving.device) < counts[:, None]
        points = torch.where(there[..., None], full, start[row])
        found.append(layers.run(0, points, torch.full_like(counts, row)))
    return torch.cat(found)
