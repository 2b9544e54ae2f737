"""What a long run says of itself: what is planned, how long it will take, which rows are slow; and its log."""

import json
import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from lignite.api.shards import Timing
from lignite.runs.unit import Done, Unit
from lignite.wording import counted, quoted

Say = Callable[[str], None]

SLOW = 10
"""Times the usual time, for their length, that rows take from which on they are named."""

MARGIN = 1.0
"""Seconds beyond it, too: the shortest rows waver by themselves."""

USUAL = 5
"""Calls after which it is known what is usual."""


class Teller:
    """Says what is planned and what is slow, and keeps times in a file of their own.

    Parameters
    ----------
    log
        A file of JSON lines, a line for each shard.
    say
        Called with a line of text.
    waiting
        Units that this run has to compute, by so many `workers`.
    """

    def __init__(self, log: Path, say: Say | None, waiting: Sequence[Unit], workers: int) -> None:
        self._log, self._say = log, say or (lambda line: None)
        self._units, self._rows, self._workers = len(waiting), sum(unit.size or 0 for unit in waiting), workers
        self._rates: list[float] = []
        self._start, self._done = time.monotonic(), 0

    def plan(self, rows: int, shards: int) -> None:
        """Say what there is to do."""
        before = f", {shards - self._units} of them finished before" if self._units < shards else ""
        by = f"{self._workers} workers" if self._workers > 1 else "1 worker"
        self._say(f"{counted(rows, 'row')} in {counted(shards, 'shard')}{before}; {by}")

    def begin(self) -> None:
        """From now on shards are computed."""
        self._start = time.monotonic()

    def tell(self, unit: Unit, done: Done) -> None:
        """Keep how long a shard took, and name rows that took unusually long."""
        timings = [note for note in done.notes if isinstance(note, Timing)]
        self._done += unit.size or 0
        if self._done == unit.size and self._rows > self._done:
            passed = time.monotonic() - self._start
            self._say(f"after the first shard: about {spoken(passed * (self._rows / self._done - 1))} left")
        slow = [timing for timing in timings if self._is_slow(timing)]
        for timing in slow:
            among = f" among {timing.rows} rows" if timing.rows > 1 else ""
            self._say(f"slow: {quoted(timing.longest)}{among} took {spoken(timing.seconds)}")
        with suppress(OSError):  # of all files, the one that can be missed
            self._keep(unit, done, timings, slow)

    def _is_slow(self, timing: Timing) -> bool:
        size = timing.rows * max(1, timing.characters)
        usual = statistics.median(self._rates) * size if len(self._rates) >= USUAL else float("inf")
        self._rates.append(timing.seconds / size)
        return timing.seconds > max(SLOW * usual, usual + MARGIN)

    def _keep(self, unit: Unit, done: Done, timings: Sequence[Timing], slow: Sequence[Timing]) -> None:
        (piece,) = done.pieces.values()
        line = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "shard": unit.keys[0],
            "rows": piece["rows"],
            "failures": piece["failures"],
            "seconds": round(sum(timing.seconds for timing in timings), 3),
            "slow": [timing.longest for timing in slow],
        }
        with self._log.open("a", encoding="utf-8", errors="backslashreplace") as file:
            file.write(json.dumps(line) + "\n")


def spoken(seconds: float) -> str:
    """A time as people say it.

    Examples
    --------
    >>> spoken(3.2), spoken(200), spoken(9000)
    ('3.2 s', '3 min', '2.5 h')
    """
    if seconds < 60:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
