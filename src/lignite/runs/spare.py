"""Work that ends its process: made alone, and where it does so again, without the parts that do it."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol, TypeVar, runtime_checkable

from lignite.errors import LigniteError, warn

Brought = TypeVar("Brought")
Call = Callable[[], Brought]

DEATHS = 2
"""A call that was under way so often when a process died is made alone."""


class Died(Exception):
    """The process that made a call ended before it was done; `under_way` are the places of calls that this concerns."""

    def __init__(self, under_way: Sequence[int] = ()) -> None:
        self.under_way = under_way


@runtime_checkable
class Divisible(Protocol):
    """A call whose parts can be made alone."""

    def divide(self) -> Sequence["Divisible"]:
        """Its halves; nothing where it is one part."""

    def leave_out(self, parts: Sequence[Any]) -> "Divisible":
        """The same call without these parts, which are told in what it brings."""

    def __call__(self) -> Any:
        """Compute all parts together."""


def make_alone(call: Call[Brought], make: Callable[[Call[Brought]], Brought], number: int) -> Brought:
    """What a call brings, made alone; without those of its parts that end a process even then.

    Parameters
    ----------
    make
        Makes a call in a process that has nothing else to do; raises `Died` where that ends.
    number
        Names the call in an error.

    Raises
    ------
    LigniteError
        If it cannot be divided, or no part of it ends a process alone.
    """
    try:
        return make(call)
    except Died as died:
        deadly = list(_deadly(call, lambda part: _dies(part, make))) if isinstance(call, Divisible) else []
        if not (deadly and isinstance(call, Divisible)):
            raise LigniteError(
                f"a worker died every time over the same piece of work (number {number + 1}), perhaps for lack of "
                "memory. Give a lower memory or smaller shards; what is finished is kept."
            ) from died
        warn(f"{len(deadly)} parts of piece {number + 1} end every worker that computes them; they are left out.")
        return make(call.leave_out(deadly))


def _dies(call: Any, make: Callable[[Any], Any]) -> bool:
    try:
        make(call)
    except Died:
        return True
    return False


def _deadly(call: Divisible, dies: Callable[[Divisible], bool]) -> Iterator[Divisible]:
    """Parts that end a process alone, of a call that does."""
    halves = call.divide()
    if not halves:
        yield call
    for half in halves:
        if dies(half):
            yield from _deadly(half, dies)
