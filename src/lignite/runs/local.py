"""Run the units of some work here, one after the other, and keep what each brings."""

from collections.abc import Sequence
from typing import Any

from lignite.calls import Progress
from lignite.runs.journal import Journal
from lignite.runs.unit import Unit


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
