"""What a long run says of itself: what is planned, how long it will take, which rows are slow; and its log."""

import json
import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from lignite.api.shards import Timing
from lignite.data.corpus import Entry
from lignite.runs.unit import Done, Unit
from lignite.wording import counted, quoted

Say = Callable[[str], None]

SLOW = 10
"""Times the usual time, for their length, that rows take from which on they are named."""

MARGIN = 1.0
"""Seconds beyond it, too: the shortest rows waver by themselves."""

USUAL = 5
"""Calls after which it is known what is usual."""


PER_ROW = 20
"""Characters that a row is worth beside its own: an image has none but those of its name."""


def weight_of(entries: Iterable[Entry]) -> int:
    """How long a shard takes beside others: by the characters of its rows, as far as they can be read."""
    return sum(PER_ROW + len(entry.text) for entry in entries if not entry.failure)


class Teller:
    """Says what is planned and what is slow, and keeps times in a file of their own.

    Parameters
    ----------
    log
        A file of JSON lines, a line for each shard.
    say
        Called with a line of text.
    waiting
        Shards that this run has to compute by so many `workers`: of each, what it weighs.
    """

    def __init__(self, log: Path, say: Say | None, waiting: Mapping[str, int], workers: int) -> None:
        self._log, self._say = log, say or (lambda line: None)
        self._waiting, self._workers = waiting, workers
        self._estimated = len(waiting) < 2
        self._rates: list[float] = []

    def plan(self, rows: int, shards: int) -> None:
        """Say what there is to do."""
        finished = shards - len(self._waiting)
        before = f", {finished} of them finished before" if finished else ""
        by = f"{self._workers} workers" if self._workers > 1 else "1 worker"
        self._say(f"{counted(rows, 'row')} in {counted(shards, 'shard')}{before}; {by}")

    def tell(self, unit: Unit, done: Done) -> None:
        """Keep how long a shard took, and name rows that took unusually long."""
        timings = [note for note in done.notes if isinstance(note, Timing)]
        if timings and not self._estimated:
            self._estimated = True
            self._estimate(self._waiting[unit.keys[0]], sum(timing.seconds for timing in timings))
        slow = [timing for timing in timings if self._is_slow(timing)]
        for timing in slow:
            among = f" among {timing.rows} rows" if timing.rows > 1 else ""
            self._say(f"slow: {quoted(timing.longest)}{among} took {spoken(timing.seconds)}")
        with suppress(OSError):  # of all files, the one that can be missed
            self._keep(unit, done, timings, slow)

    def _estimate(self, weight: int, taken: float) -> None:
        """Say how long the others take by a shard that took so long, while all workers were at work."""
        left = taken * sum(self._waiting.values()) / max(1, weight) / self._workers - taken
        if left >= 1:
            self._say(f"after the first shard: about {spoken(left)} left")

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
