"""Refine the panels of a path, each row for itself: the worst first, as far as rounding, never to something worse.

What is decided of one row depends on its own numbers alone. All rows are decided at once, in arrays on the host:
``[row]``, or ``[2, row, head]`` where an error stands beside how far the scores have moved since the rule before.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor

from lignite.attribution.axes import PerTarget, Targets
from lignite.attribution.panels import Panel, Scores, Span, Way, on_host

ALIKE = 4
"""Panels whose errors are within this factor of the row's worst are halved in the same round as it."""

EXACT = 4
"""An error of so few roundings of what is integrated is none: no rule does better."""

NEARLY_EXACT = 64
"""An error of so many roundings is rounding if halves with as many nodes each are no better."""

DEEPEST = 40
"""Panels are halved so many times at most: those that begin at 0 stay wide, compared with rounding, for ever."""

Places = Int[np.ndarray, " some"]
"""Places of some rows among those that are refined."""

SomePlaces = Int[np.ndarray, "..."]
"""Places of one of several pieces, each of which has as many as it has."""

Flags = Bool[np.ndarray, " row"]
PerHead = Float[np.ndarray, "some head"]
Bound = Float[np.ndarray, "2 some head"]


class Piece:
    """A piece is one part of the path, in the rows that have evaluated it.

    A row misses `own` by the piece itself, and `least` by that or by its halves; `alone` and `missed` measure these.
    `panel` says which of `panels` is a row's, and `place` where it stands there. `levels` are the readout at both ends,
    `exact` and `nearly_exact` say where `own` is rounding, `ended` where nothing is to be gained.
    """

    def __init__(
        self, start: float, end: float, levels: tuple[PerTarget, PerTarget], n_heads: int, above: "Piece | None" = None
    ):
        self.start, self.end, self.levels, self.above = start, end, levels, above
        n_rows = len(levels[0])
        self.depth: int = 0 if above is None else above.depth + 1
        self.panels: list[Panel] = []
        self.panel, self.place, self.n_nodes = np.full(n_rows, -1), np.zeros(n_rows, int), np.zeros(n_rows, int)
        self.own, self.least = np.zeros((2, n_rows, n_heads)), np.zeros((2, n_rows, n_heads))
        self.alone, self.missed = np.zeros(n_rows), np.zeros(n_rows)
        self.halves: tuple[Piece, Piece] | None = None
        self.split, self.halved, self.ended = (np.zeros(n_rows, bool) for _ in range(3))
        self.exact, self.nearly_exact = np.zeros(n_rows, bool), np.zeros(n_rows, bool)

    def cut(self, rows: Places, first: Span) -> None:
        """Make room for the halves of some rows, the first of which has this span."""
        start, end = self.levels
        if self.halves is None:
            middle = first.level_end if len(rows) == len(self.panel) else torch.zeros_like(end)
            n_heads = self.own.shape[2]
            self.halves = (
                Piece(self.start, first.end, (start, middle), n_heads, self),
                Piece(first.end, self.end, (middle, end), n_heads, self),
            )
        index = _index(rows, len(self.panel), end.device)
        if index is not None:
            self.halves[0].levels[1][index] = first.level_end

    def chosen(self, rows: Flags) -> "Iterator[tuple[Piece, Flags]]":
        """Choose the pieces that answer for this one: itself, or those of its halves where they are better."""
        through = rows & self.split
        if (here := rows & ~through).any():
            yield self, here
        if self.halves is not None and through.any():
            for half in self.halves:
                yield from half.chosen(through)

    def leaves(self, rows: Flags) -> "Iterator[tuple[Piece, Flags]]":
        """Find the pieces in this one that can still be halved."""
        going_on = rows & ~self.ended
        if (here := going_on & ~self.halved).any():
            yield self, here
        if self.halves is not None and (below := going_on & self.halved).any():
            for half in self.halves:
                yield from half.leaves(below)

    @property
    def can_halve(self) -> bool:
        """Whether nodes of the halves could still be told apart in the precision of the path."""
        eps = torch.finfo(self.levels[1].dtype).eps
        return self.depth < DEEPEST and self.end - self.start > 1024 * eps * self.end


class Rows:
    """Rows are the paths of some targets, each cut into pieces.

    The order in which pieces are halved does not depend on a tolerance, which only ends it, and the best state so far
    is kept: so a smaller tolerance cannot give a larger bound on the gap. `missed` is that bound, `used` counts nodes.

    Parameters
    ----------
    numbers
        Places of the targets among those integrated.
    first
        The whole path of all targets by its first rule; a movement of scores is compared with its mass, or with `size`.
    size
        What an error is compared with, per head.
    largest
        How large what is integrated gets, and rounds accordingly.
    """

    def __init__(self, numbers: Sequence[int], first: Panel, size: PerTarget, largest: PerTarget):
        self.numbers, self.everyone = np.asarray(numbers), np.arange(len(numbers))
        every = (first.span.rows, first.span.level_start, first.span.level_end)
        self.rows, *levels = (some_of(each, self.numbers) for each in every)
        ((bound, mass),), sizes = _read([first], [size, largest])
        self.size, largest_read = (each[self.numbers] for each in sizes)
        self.rounding = largest_read * torch.finfo(size.dtype).eps
        self.mass = self.size if mass is None else mass[self.numbers]
        self.root = Piece(0.0, 1.0, (levels[0], levels[1]), self.size.shape[1])
        self._put(self.root, self.everyone, first, self.numbers, bound[:, self.numbers])
        self.used, self.missed = self.root.n_nodes.copy(), self.root.missed.copy()
        self.best = {self.root: np.ones(len(numbers), bool)}

    def measure(self, bound: Bound, rows: Places) -> Float[np.ndarray, " some"]:
        """Give the smallest `tol` that these errors and movements of some rows would satisfy."""
        error, moved = bound
        worst = np.maximum(_share(error, self.size[rows]), _share(moved, self.mass[rows]) ** 2).max(-1)
        return np.where(np.isfinite(worst), worst, np.inf)

    def _is_rounding(self, bound: Bound, rows: Places, roundings: int) -> Bool[np.ndarray, " some"]:
        error, moved = bound
        settled = _share(moved, self.mass[rows]) ** 2 <= np.finfo(np.float32).eps
        close: Bool[np.ndarray, " some"] = ((error <= roundings * self.rounding[rows]) & settled).all(-1)
        return close

    def _put(self, piece: Piece, rows: Places, panel: Panel, places: Places, own: Bound) -> None:
        """Let a panel answer for a piece of some rows, which miss `own` by it."""
        piece.panels.append(panel)
        piece.panel[rows], piece.place[rows], piece.n_nodes[rows] = len(piece.panels) - 1, places, panel.n_nodes
        piece.own[:, rows] = piece.least[:, rows] = own
        piece.alone[rows] = piece.missed[rows] = self.measure(own, rows)
        piece.exact[rows] = self._is_rounding(own, rows, EXACT)
        piece.nearly_exact[rows] = self._is_rounding(own, rows, NEARLY_EXACT)

    def wanting_nodes(self, tol: float) -> Places:
        """Find the rows in which a rule of more nodes could do better: what is missed is too much, and no rounding."""
        return np.flatnonzero((self.missed > tol) & ~(self.root.ended | self.root.exact))

    def offer(self, rows: Places, panel: Panel) -> None:
        """Take the whole path of some rows by a rule of more nodes, where that is better than what is there."""
        ((own, mass),), _ = _read([panel], [])
        self.used[rows], before = panel.n_nodes, self.mass.copy()
        self.mass = before.copy()
        self.mass[rows] = self.size[rows] if mass is None else mass
        better = self.measure(own, rows) <= self.missed[rows]
        worse, taken = rows[~better], rows[better]
        self.mass[worse] = before[worse]
        self.root.ended[worse] |= self.root.nearly_exact[worse]
        self._put(self.root, taken, panel, np.flatnonzero(better), own[:, better])
        self.missed[taken] = self.root.missed[taken]

    def wanted(self, tol: float, most: Int[np.ndarray, " row"]) -> list[tuple[Piece, SomePlaces]]:
        """Choose the pieces of every row to be halved next, at most so many, the worst first.

        Of a row that is within `tol`, or has none that could gain, there are none.
        """
        going_on = (self.missed > tol) & (most >= 1)
        if not going_on.any():
            return []
        for piece in self._pieces():
            piece.ended |= ~piece.halved & (piece.exact | (not piece.can_halve))
        owners = list(self.root.chosen(going_on))
        found = [(owner, *leaf) for owner, here in owners for leaf in owner.leaves(here)]
        if not found:
            return []
        chosen = _worst(found, most)
        by_leaf: dict[Piece, Flags] = {}
        for (_, leaf, _), rows in zip(found, chosen, strict=True):
            by_leaf[leaf] = by_leaf[leaf] | rows if leaf in by_leaf else rows
        places = [(leaf, np.flatnonzero(rows)) for leaf, rows in by_leaf.items() if rows.any()]
        return sorted(places, key=lambda place: (place[0].start, place[0].end))

    def _pieces(self) -> Iterator[Piece]:
        waiting = [self.root]
        while waiting:
            yield (piece := waiting.pop())
            waiting.extend(piece.halves or ())

    def halve(self, wanted: Sequence[tuple[Piece, SomePlaces]], way: Way) -> None:
        """Evaluate the halves of some pieces, each in some rows; all of them are read at once."""
        found = [(piece, rows, way.halves(self._span(piece, rows), self.numbers[rows])) for piece, rows in wanted]
        bounds = iter(_read([panel for _, _, halves in found for panel in halves], [])[0])
        for piece, rows, halves in found:
            self.attach(piece, rows, halves, (next(bounds)[0], next(bounds)[0]))

    def _span(self, piece: Piece, rows: Places) -> Span:
        return Span(piece.start, piece.end, *(some_of(each, rows) for each in (self.rows, *piece.levels)))

    def attach(self, piece: Piece, rows: Places, halves: tuple[Panel, Panel], bounds: tuple[Bound, Bound]) -> None:
        """Give a piece its halves in some rows: pieces above that are worse than what is in them give way."""
        piece.cut(rows, halves[0].span)
        assert piece.halves is not None
        for half, panel, own in zip(piece.halves, halves, bounds, strict=True):
            self._put(half, rows, panel, np.arange(len(rows)), own)
            self.used[rows] += panel.n_nodes
        piece.halved[rows] = True
        above: Piece | None = piece
        while above is not None and above.halves is not None:
            together = above.halves[0].least[:, rows] + above.halves[1].least[:, rows]
            missed, alone = self.measure(together, rows), above.alone[rows]
            above.split[rows] = split = missed < alone
            above.least[:, rows] = np.where(split[None, :, None], together, above.own[:, rows])
            above.missed[rows] = np.where(split, missed, alone)
            above = above.above
        fair = halves[0].n_nodes >= piece.n_nodes[rows]
        piece.ended[rows] |= fair & ~piece.split[rows] & piece.nearly_exact[rows]
        self._keep_best(rows)

    def _keep_best(self, rows: Places) -> None:
        """Remember what answers for some rows where that is better than what did."""
        better = np.zeros(len(self.used), bool)
        better[rows] = self.root.missed[rows] <= self.missed[rows]
        self.missed = np.where(better, self.root.missed, self.missed)
        for part in self.best.values():
            part &= ~better
        for piece, here in self.root.chosen(better):
            self.best[piece] = self.best[piece] | here if piece in self.best else here

    def used_among(self, targets: Targets, others: int) -> Int[Tensor, " target"]:
        """Say how many nodes each of all targets took: `others` than these rows so many."""
        used = np.full(len(targets), others)
        used[self.numbers] = self.used
        return torch.from_numpy(used).to(targets.device, non_blocking=True)

    def replace_in(self, totals: Scores) -> None:
        """Write the best state of these rows over what stands in the totals."""
        n_targets, device = len(totals["scores"]), self.rows.device
        numbers = _index(self.numbers, n_targets, device)
        for part in totals.values():
            part[slice(None) if numbers is None else numbers] = 0
        for piece, best in self.best.items():
            for number, panel in enumerate(piece.panels):
                rows = np.flatnonzero(best & (piece.panel == number))
                if not len(rows):
                    continue
                to, of = _index(self.numbers[rows], n_targets, device), piece.place[rows]
                for name, part in panel.scores.items():
                    totals[name][slice(None) if to is None else to] += some_of(part, of)


def refine(rows: Rows, way: Way) -> None:
    """Refine the path of every row until it is within the tolerance, has no panel that could gain, or no nodes left.

    The whole path takes the rules inside one another first, and its panels are halved after that. Rows that want the
    same panel are evaluated together, and devices are waited for once a round.
    """
    tol, max_steps = way.goal.precision.tol, way.goal.precision.max_steps
    while len(waiting := rows.wanting_nodes(tol)):
        panel = way.nest(rows.numbers[waiting].tolist())
        if panel is None:
            break
        rows.offer(waiting, panel)
    while wanted := rows.wanted(tol, (max_steps - rows.used) // (2 * way.n_nodes)):
        rows.halve(wanted, way)


def _worst(found: Sequence[tuple[Piece, Piece, Flags]], most: Int[np.ndarray, " row"]) -> Bool[np.ndarray, "leaf row"]:
    """Choose, in every row, the worst leaves of the worst pieces: of each there are its owner, itself, and its rows."""
    owner = [id(each) for each, _, _ in found]
    valid = np.stack([rows for _, _, rows in found])
    missed = np.stack([each.missed for each, _, _ in found])
    alone = np.stack([leaf.alone for _, leaf, _ in found])
    worst = np.where(valid, missed, -1).max(0)
    largest = {
        each: np.where(valid & (np.array(owner) == each)[:, None], alone, -1).max(0) for each in dict.fromkeys(owner)
    }
    chosen = valid & (missed * ALIKE >= worst) & (alone * ALIKE >= np.stack([largest[each] for each in owner]))
    order = np.lexsort((-alone, -missed, ~chosen), axis=0)
    rank = np.empty_like(order)
    np.put_along_axis(rank, order, np.arange(len(order))[:, None], 0)
    return chosen & (rank < most)


def _share(
    part: Float[np.ndarray, "*any head"], whole: Float[np.ndarray, "*any head"]
) -> Float[np.ndarray, "*any head"]:
    """Divide a part by its whole; of nothing, nothing is no share, and anything else is all of it."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(part == 0, 0.0, part / whole)


def _read(
    panels: Sequence[Panel], beside: Sequence[PerTarget]
) -> tuple[list[tuple[Bound, PerHead | None]], list[PerHead]]:
    """Read what panels miss, how far they moved and of what mass; and some values beside them. Devices wait once."""
    parts = [part for each in panels for part in (each.error(), each.moved, each.mass) if part is not None]
    read = iter(on_host(*parts, *beside))
    found = []
    for each in panels:
        error = abs(next(read))
        moved = np.zeros_like(error) if each.moved is None else next(read)
        found.append((np.stack([error, moved]), None if each.mass is None else next(read)))
    return found, list(read)


def some_of(values: Shaped[Tensor, "every *any"], places: Places) -> Shaped[Tensor, "some *any"]:
    """Take some rows of a tensor; where these are all, itself."""
    index = _index(places, len(values), values.device)
    return values if index is None else values[index]


def _index(places: Places, n_every: int, device: torch.device) -> Int[Tensor, " some"] | None:
    """Make an index on a device, without waiting for it; None for all places, which rise."""
    if len(places) == n_every:
        return None
    return torch.from_numpy(np.ascontiguousarray(places)).to(device, non_blocking=True)
