"""Calls in several processes: what each brings as it comes, and a process that dies takes nothing along."""

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context, parent_process
from typing import TypeVar

from lignite.errors import warn
from lignite.runs.spare import DEATHS, Died, make_alone

Brought = TypeVar("Brought")

WAITING = 2
"""Calls handed out for each process: one that it works on and one that it finds when it is done with it."""


def in_processes(
    calls: Sequence[Callable[[], Brought]], workers: int, begin: Callable[[], None] | None = None
) -> Iterator[tuple[int, Brought]]:
    """What calls bring, each behind its place, as they are finished, computed in so many processes.

    Processes begin anew, each with the call `begin`, so that all calls must be picklable. When one dies, others take
    its place and all calls that were under way are made again, those that were so twice alone, and without the parts
    that end every process. No process outlives this one, however it ends.

    Raises
    ------
    LigniteError
        If a call ends every process and has no part that is to blame; whatever a call raises.
    """
    left, deaths = list(range(len(calls))), [0] * len(calls)

    def make(call: Callable[[], Brought]) -> Brought:
        ((_, brought),) = _until_one_dies([call], [0], 1, begin)
        return brought

    while left:
        try:
            for place, brought in _until_one_dies(calls, left, workers, begin):
                left.remove(place)
                yield place, brought
        except Died as died:
            warn("a worker died; another one takes its place, and what it was working on is computed again.")
            for place in died.under_way:
                deaths[place] += 1
                if deaths[place] >= DEATHS:
                    left.remove(place)
                    yield place, make_alone(calls[place], make, place)


def _until_one_dies(
    calls: Sequence[Callable[[], Brought]], places: Sequence[int], workers: int, begin: Callable[[], None] | None
) -> Iterator[tuple[int, Brought]]:
    waiting, under_way = iter(list(places)), dict[Future[Brought], int]()
    pool = ProcessPoolExecutor(min(workers, len(places)), get_context("spawn"), initializer=_begin, initargs=(begin,))
    try:
        while True:
            while len(under_way) < workers * WAITING and (place := next(waiting, None)) is not None:
                under_way[pool.submit(calls[place])] = place
            if not under_way:
                return
            for future in wait(under_way, return_when=FIRST_COMPLETED).done:
                brought = future.result()
                yield under_way.pop(future), brought
    except BrokenProcessPool as error:
        raise Died(list(under_way.values())) from error
    finally:
        for process in (pool._processes or {}).values():  # what they work on is not wanted any more
            process.kill()
        pool.shutdown(cancel_futures=True)


def _begin(begin: Callable[[], None] | None) -> None:
    """An interruption is for the first process to answer, and its end is everybody's."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    if begin is not None:
        begin()


def _end_with_parent() -> None:
    first = parent_process()
    if first is not None:
        with contextlib.suppress(OSError):
            first.join()
        os._exit(1)
