"""Calls on the workers of a Ray cluster, which replaces those that are lost and makes their calls again.

They are plain actors, not Ray Data's: those make a call that ends its worker again without end, and would have all
calls in the cluster's memory before the first is made.
"""

import os
import pickle
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from lignite.errors import warn
from lignite.late import import_extra
from lignite.runs.spare import DEATHS, Died, make_alone

Brought = TypeVar("Brought")
Begin = Callable[[], None] | None

WAITING = 2
"""Calls handed out for each actor: one that it works on and one that it finds when it is done with it."""

load = partial(import_extra, extra="ray", what="runs on a cluster")


def on_ray(
    calls: Sequence[Callable[[], Brought]], workers: int, begin: Begin = None, *, gpus: float = 0
) -> Iterator[tuple[int, Brought]]:
    """What calls bring, each behind its place, as they are finished, computed by so many actors.

    Ray places the actors, restarts those that are lost, and makes their calls again. A call whose actor was lost twice
    is made alone, and without the parts that end every process. The cluster is the one that this process belongs to, or
    that `RAY_ADDRESS` names, or one on this machine that ends with the run.

    Parameters
    ----------
    begin
        The first call of every actor.
    gpus
        Of each actor.

    Raises
    ------
    LigniteError
        If a call ends every process and has no part that is to blame; whatever a call raises.
    """
    ray = load("ray")
    with _cluster(ray):
        given, lost = (pickle.dumps(begin), str(Path.cwd())), list[int]()

        def actor(deaths: int) -> Any:
            """One that is restarted, and whose calls are made again, after all deaths but the last of so many."""
            again = {"max_restarts": -1 if deaths > 1 else 0, "max_task_retries": deaths - 1}
            return ray.remote(num_cpus=1, num_gpus=gpus, **again)(_Worker).remote(*given)

        yield from _shared(ray, [actor(DEATHS) for _ in range(min(workers, len(calls)))], calls, lost)

        def make(call: Callable[[], Brought]) -> Brought:
            alone = actor(1)
            try:
                return _opened(ray.get(alone.make.remote(pickle.dumps(call))))
            except _ends(ray) as error:
                raise Died from error
            finally:
                ray.kill(alone)

        for place in sorted(lost):
            warn(f"piece {place + 1} lost its worker {DEATHS} times; it is computed alone.")
            yield place, make_alone(calls[place], make, place)


def _shared(ray: Any, actors: Sequence[Any], calls: Sequence[Any], lost: list[int]) -> Iterator[tuple[int, Any]]:
    """What calls bring whose actor is not lost again and again; places of the others go into `lost`."""
    waiting, under_way = iter(range(len(calls))), dict[Any, tuple[int, Any]]()

    def send(actor: Any) -> None:
        if (place := next(waiting, None)) is not None:
            under_way[actor.make.remote(pickle.dumps(calls[place]))] = place, actor

    for actor in [*actors] * WAITING:
        send(actor)
    while under_way:
        (ready,), _ = ray.wait(list(under_way), num_returns=1)
        place, actor = under_way.pop(ready)
        send(actor)
        try:
            answer = ray.get(ready)
        except _ends(ray):
            lost.append(place)
        else:
            yield place, _opened(answer)
    for actor in actors:
        ray.kill(actor)  # a restart is not wanted any more, and what is lost needs the room


def _ends(ray: Any) -> tuple[type[Exception], ...]:
    """How Ray says that a process, or its machine, is gone."""
    known = ray.exceptions
    return known.RayActorError, known.OutOfMemoryError, known.NodeDiedError, known.WorkerCrashedError


class _Worker:
    """Makes calls in a process of the cluster, in the folder of the first process where there is one of that name."""

    def __init__(self, begin: bytes, home: str) -> None:
        self.begin, self.home, self.begun = begin, home, False

    def make(self, call: bytes) -> tuple[bool, bytes]:
        """Make a call; what it brings, or raises, goes to the first process, behind whether it is an error."""
        try:
            if not self.begun:
                self._begin()
            return False, pickle.dumps(pickle.loads(call)())
        except Exception as error:
            return True, pickle.dumps(error)

    def _begin(self) -> None:
        with suppress(OSError):
            os.chdir(self.home)
        begin: Begin = pickle.loads(self.begin)
        if begin is not None:
            begin()
        self.begun = True


def _opened(answer: tuple[bool, bytes]) -> Any:
    failed, brought = answer
    found = pickle.loads(brought)
    if failed:
        raise found
    return found


@contextmanager
def _cluster(ray: Any) -> Iterator[None]:
    """The cluster at hand; one that is begun here ends here."""
    began = not ray.is_initialized()
    if began:
        ray.init(log_to_driver=False, logging_level="ERROR")
    try:
        yield
    finally:
        if began:
            ray.shutdown()
