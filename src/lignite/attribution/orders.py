"""What every token adds: alone and last of all, or when tokens arrive in the order of their relevance."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from lignite.attribution.axes import RowStates
from lignite.attribution.lines import Layers, every_row


def at_both_ends(
    layers: Layers,
    start: RowStates,
    moves: Bool[Tensor, "row token"],
    max_points: int,
    *,
    base: Float[Tensor, " row"] | None = None,
) -> tuple[Float[Tensor, "row token"], Float[Tensor, "row token"]]:
    """Measure what each token does alone: added to an input where all others are blank, removed from the full one.

    These are the ends of the integral over contexts whose middle integrated gradients sample (docs/method.md).

    Parameters
    ----------
    start
        States of the blank input at the first layer.
    moves
        Tokens that are not the same in both.
    base
        F of the blank input, if the model itself has said; otherwise it is replayed.

    Returns
    -------
    F with the token alone − F of the blank input; F − F without the token.
    """
    added, removed = torch.zeros_like(moves, dtype=start.dtype), torch.zeros_like(moves, dtype=start.dtype)
    rows, places = moves.nonzero(as_tuple=True)
    with torch.no_grad():
        blank = _blank(layers, start, max_points) if base is None else base
        for some in range(0, len(rows), max_points):
            row, place = rows[some : some + max_points], places[some : some + max_points]
            points = torch.arange(len(row), device=row.device)
            alone, missing = start[row], layers.states[0][row]
            alone[points, place], missing[points, place] = missing[points, place], alone[points, place]
            added[row, place] = layers.run(0, alone, row) - blank[row]
            removed[row, place] = layers.value[row] - layers.run(0, missing, row)
    return added, removed


@dataclass(frozen=True, eq=False)
class Arrival:
    """Tokens arrive group after group: places of a row of `n_tokens`, each in one group; all others never move."""

    groups: Sequence[Int[Tensor, " _"]]
    n_tokens: int

    def between(self) -> Bool[Tensor, "level token"]:
        """Tell who has arrived with the first group, with the first two, and so on up to all but the last."""
        arrived = torch.zeros(len(self.groups) - 1, self.n_tokens, dtype=torch.bool, device=self.groups[0].device)
        for level, group in enumerate(self.groups[:-1]):
            arrived[level:, group] = True
        return arrived

    def shares(self, values: Float[Tensor, " level"]) -> Float[Tensor, " token"]:
        """Divide each change of F, from nobody there to all, evenly among the tokens of the group that made it."""
        shares = values.new_zeros(self.n_tokens)
        for group, change in zip(self.groups, values.diff(), strict=True):
            shares[group] = change / len(group)
        return shares


def arrivals(
    relevance: Float[Tensor, " token"], places: Int[Tensor, " place"], n_groups: int
) -> tuple[Arrival, Arrival]:
    """Let the tokens at some places arrive, the most relevant first, and the least relevant first.

    They come in `n_groups` of nearly equal size, or one by one where they are no more. Equal relevances arrive in the
    order of the text.

    Examples
    --------
    >>> falling, rising = arrivals(torch.tensor([0.0, 3.0, 1.0, 2.0]), torch.tensor([1, 2, 3]), 2)
    >>> [group.tolist() for group in falling.groups], [group.tolist() for group in rising.groups]
    ([[1, 3], [2]], [[2], [1, 3]])
    """
    order = places[relevance[places].argsort(descending=True, stable=True)]
    groups = order.tensor_split(min(len(order), n_groups))
    return Arrival(groups, len(relevance)), Arrival(groups[::-1], len(relevance))


def in_both_orders(
    layers: Layers,
    start: RowStates,
    moves: Bool[Tensor, "row token"],
    relevance: Float[Tensor, "row token"],
    max_points: int,
    n_groups: int,
    *,
    base: Float[Tensor, " row"] | None = None,
) -> tuple[Float[Tensor, "row token"], Float[Tensor, "row token"]]:
    """Follow F from the blank input to the full one, the most relevant token first, then the least relevant first.

    What a token adds depends on those that are there before it: the first finds nobody, the last everybody. The two
    orders give each token one context and its opposite. All rows, orders and levels are asked together.

    Parameters
    ----------
    start
        States of the blank input at the first layer.
    moves
        Tokens that are not the same in both.
    base
        F of the blank input, if the model itself has said; otherwise it is replayed.

    Returns
    -------
    Change of F when the token arrives, by falling and by rising relevance; each adds up to F − F of the blank input.
    """
    found = torch.zeros(2, *relevance.shape, dtype=relevance.dtype)
    known, places = relevance.cpu(), moves.cpu()  # who arrives when is settled on the host, for all rows at once
    arriving = [
        (which, row, arrival)
        for row in places.any(1).nonzero()[:, 0].tolist()
        for which, arrival in enumerate(arrivals(known[row], places[row].nonzero()[:, 0], n_groups))
    ]
    levels = [arrival.between() for _, _, arrival in arriving]
    rows = [row for (_, row, _), some in zip(arriving, levels, strict=True) for _ in some]
    with torch.no_grad():
        blank = (_blank(layers, start, max_points) if base is None else base).cpu()
        values = _values(layers, start, levels, rows, max_points) if arriving else []
    full = layers.value.cpu()
    for (which, row, arrival), between in zip(arriving, values, strict=True):
        found[which, row] = arrival.shares(torch.cat([blank[[row]], between, full[[row]]])).to(found)
    falling, rising = found.to(relevance.device)
    return falling, rising


def _blank(layers: Layers, start: RowStates, max_points: int) -> Float[Tensor, " row"]:
    """Compute F of the blank input."""
    pieces = every_row(layers).split(max_points)
    return torch.cat([layers.run(0, start[some], some) for some in pieces])


def _values(
    layers: Layers,
    start: RowStates,
    present: Sequence[Bool[Tensor, "_ token"]],
    rows: Sequence[int],
    max_points: int,
) -> list[Float[Tensor, " _"]]:
    """Compute F with these tokens present, the others blank, for several sets of levels; known to the host."""
    there, index = torch.cat(list(present)).to(start.device), torch.tensor(rows, dtype=torch.long).to(start.device)
    found = [
        layers.run(0, torch.where(some[..., None], layers.states[0][row], start[row]), row)
        for some, row in zip(there.split(max_points), index.split(max_points), strict=True)
        if len(row)  # a single word has nothing between the ends
    ]
    known = torch.cat(found) if found else layers.value.new_zeros(0)
    return list(known.cpu().split([len(some) for some in present]))
