"""How much memory a run may take for intermediate tensors."""

import ctypes
import gc
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

import psutil
import torch

from lignite.errors import OptionError

FREE_SHARE = 0.1
"""Share of the free memory used by default: the rest is the user's."""

MOST = {"cpu": 2**28, "cuda": 2**32}
"""Bytes used by default however much is free. Larger pieces are not computed faster; on a CPU they are computed slower,
since tensors too large to be reused are mapped anew each time (bench/README.md)."""

_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "ki": 2**10, "mi": 2**20, "gi": 2**30, "t": 10**12, "ti": 2**40}


def memory_budget(device: torch.device, wanted: int | float | str | None = None) -> float:
    """Bytes for intermediate tensors: as wanted, else a tenth of what is free, with a ceiling.

    Examples
    --------
    >>> memory_budget(torch.device("cpu"), "500 MB")
    500000000.0
    >>> memory_budget(torch.device("cpu"), "1.5 TiB") == 1.5 * 2**40
    True
    """
    if wanted is None:
        wanted = _held.get()
    if wanted is not None:
        return _parse(wanted)
    return float(min(usual_budget(device), FREE_SHARE * free_memory(device)))


def free_memory(device: torch.device) -> int:
    """Bytes that are free on a device now."""
    return torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else psutil.virtual_memory().available


_held: ContextVar[int | float | str | None] = ContextVar("budget", default=None)


@contextmanager
def budget_held(wanted: int | float | str) -> Iterator[None]:
    """Within, the budget is so large wherever nothing else is wanted, however much is free.

    What is computed together rounds together: numbers that shall be the same to the last bit need the same budget.
    """
    before = _held.set(wanted)
    try:
        yield
    finally:
        _held.reset(before)


Found = TypeVar("Found")

LEAST = 2**16
"""Bytes below which a budget is not halved any more: what did not fit was something else."""


def is_out_of_memory(error: BaseException) -> bool:
    """Say whether an error is that memory ran out: on a device torch has a class for it, on the CPU words alone."""
    return isinstance(error, (MemoryError, torch.OutOfMemoryError)) or (
        isinstance(error, RuntimeError) and "DefaultCPUAllocator" in str(error)
    )


def let_go() -> None:
    """Give back what a failed piece of work held."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def hand_back() -> None:
    """Give freed pages back to the system, which glibc keeps where small results lie between what was freed."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:
        trim(0)


def halving(compute: Callable[[float], Found], budget: float) -> Found:
    """Compute within a budget; where memory runs out, within half of it, and so on: results do not depend on it.

    Examples
    --------
    >>> def fit(budget):
    ...     if budget > 2**20:
    ...         raise MemoryError
    ...     return budget
    >>> halving(fit, 2**22) == 2**20
    True
    """
    while True:
        try:
            return compute(budget)
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error) or budget < LEAST:
                raise
        let_go()
        budget /= 2


def usual_budget(device: torch.device) -> int:
    """The ceiling of what is used by default."""
    return MOST.get(device.type, 2**30)


def _parse(wanted: int | float | str) -> float:
    match = re.fullmatch(r"\s*([0-9.]+)\s*([kmgt]i?)?b?\s*", str(wanted).lower())
    try:
        size = float(match[1]) * _UNITS[match[2] or ""] if match else 0.0
    except ValueError:
        size = 0.0
    if not size > 0:
        raise OptionError(f"memory={wanted!r} is not a size; give bytes or a text such as '2 GiB'.")
    return size
