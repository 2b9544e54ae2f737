"""A unit of a long run: what it brings under which keys, and what computes that."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lignite.calls import Progress
from lignite.runs.journal import Journal

Piece = Mapping[str, Any]
"""What is kept of one finished piece of work: whatever JSON can hold."""

Tick = Callable[[int], None]
"""Called with so many pieces more that are finished."""


@dataclass(frozen=True, eq=False)
class Done:
    """What came of a unit: pieces by their keys, and notes that are told at the end of the run, but not kept.

    A piece that could not be computed is missing; a later run tries it again.
    """

    pieces: Mapping[str, Piece] = field(default_factory=dict)
    notes: tuple[Any, ...] = ()


@dataclass(frozen=True, eq=False)
class Unit:
    """Work that is done in one go, and written in one go.

    Attributes
    ----------
    keys
        Of the pieces that it brings: the same for the same content and options, whatever the run.
    compute
        Takes the keys that are still missing, and is ticked for every piece that is finished or given up.
    """

    keys: tuple[str, ...]
    compute: Callable[[Collection[str], Tick], Done]


def run(units: Sequence[Unit], journal: Journal, progress: Progress | None = None) -> list[Any]:
    """Compute what the journal does not hold yet; afterwards it holds every piece that could be computed.

    A unit is written whole when it is finished, so that a run that is stopped at any unit, however, goes on to the same
    numbers: what is computed together is computed together again.

    Returns
    -------
    Notes of all units, in their order.
    """
    notes: list[Any] = []
    count = _Count(sum(len(unit.keys) for unit in units), progress)
    for unit in units:
        missing = [key for key in unit.keys if key not in journal.finished]
        count.tick(len(unit.keys) - len(missing))
        if missing:
            end = count.done + len(missing)
            done = unit.compute(missing, count.tick)
            journal.write(done.pieces)
            notes.extend(done.notes)
            count.tick(end - count.done)
    return notes


class _Count:
    def __init__(self, total: int, progress: Progress | None) -> None:
        self.total, self.done, self._progress = total, 0, progress

    def tick(self, pieces: int) -> None:
        self.done += pieces
        if pieces and self._progress is not None:
            self._progress(self.done, self.total)
