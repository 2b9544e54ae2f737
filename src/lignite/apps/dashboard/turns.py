"""Who computes: one reader at a time, and only as long as somebody waits for it."""

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

TURN = threading.Lock()
"""Whoever holds it computes. Models are shared by all readers, and lignite holds one of them at a time anyway; a lock
of our own lets those who wait be told so, and give up."""
MEMORY = "64MiB"
"""For intermediate tensors: smaller batches, between which somebody can give up; results do not depend on it."""
PATIENCE = 0.2
"""Seconds between two looks at whether somebody still waits."""
_COMPUTE = tuple(
    place.replace("/", os.sep)
    for place in ("/torch/nn/modules/", "/captum/", "/lignite/attribution/", "/lignite/methods/")
)
"""Code that computes and cleans nothing up: it can be left at the beginning of any of its functions, as by Ctrl-C."""


@contextmanager
def turn(tick: Callable[[str], None]) -> Iterator[None]:
    """Wait for one's turn, and call `tick` now and then while this thread computes, with what it waits for.

    What `tick` raises ends the computation; models are left as they were.
    """
    while not TURN.acquire(timeout=PATIENCE):
        tick("waiting for another reader's computation")
    before = sys.getprofile()
    try:
        sys.setprofile(_looking(tick))
        yield
    finally:
        sys.setprofile(before)
        TURN.release()


def _looking(tick: Callable[[str], None]) -> Callable[[Any, str, Any], None]:
    """Python calls this whenever a function is called, in this thread alone: no hook on a model is called so often."""
    due = time.monotonic()

    def look(frame: Any, event: str, argument: object) -> None:
        nonlocal due
        if event != "call" or time.monotonic() < due:
            return
        file = frame.f_code.co_filename
        if any(place in file for place in _COMPUTE):
            due = time.monotonic() + PATIENCE
            tick("")

    return look
