"""How long calls take, and how much memory the process has held."""

import resource
import statistics
import time
from collections.abc import Callable

import torch


def seconds_of(run: Callable[[], object], repetitions: int = 1) -> float:
    """Shortest CPU time of a call: whatever else the machine does only adds to it."""
    return min(_seconds(run, repetitions))


def usual_seconds(run: Callable[[], object], repetitions: int = 5) -> float:
    """Median CPU time of a call after one that is not counted."""
    run()
    return statistics.median(_seconds(run, repetitions))


def wall_seconds(run: Callable[[], object], repetitions: int = 5, warm_up: int = 2) -> float:
    """Median wall time of a call, its work on the device finished, after some that are not counted."""
    for _ in range(warm_up):
        run()
    return statistics.median(_seconds(run, repetitions, clock=_wall))


def peak_memory() -> float:
    """The most this process ever held, in GiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def _wall() -> float:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def _seconds(
    run: Callable[[], object], repetitions: int, clock: Callable[[], float] = time.process_time
) -> list[float]:
    found = []
    for _ in range(repetitions):
        start = clock()
        run()
        found.append(clock() - start)
    return found
