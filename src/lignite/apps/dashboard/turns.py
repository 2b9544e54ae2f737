"""Who computes: one reader at a time, and only as long as somebody waits for it."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from lignite.models.hold import at_rest, before_each
from lignite.models.load import Model

TURN = threading.Lock()
"""Whoever holds it computes. Models are shared by all readers, and lignite holds one of them at a time anyway; a lock
of our own lets those who wait be told so, and give up."""
MEMORY = "64MiB"
"""For intermediate tensors: smaller batches, between which somebody can give up; results do not depend on it."""
PATIENCE = 0.2
"""Seconds between two looks at whether somebody still waits."""


@contextmanager
def turn(*models: Model, tick: Callable[[str], None]) -> Iterator[None]:
    """Wait for one's turn, and call `tick` with what is going on before every module of the models runs.

    What `tick` raises ends the computation; the models are as they were, as after Ctrl-C.
    """
    while not TURN.acquire(timeout=PATIENCE):
        tick("waiting for another reader's computation")
    try:
        with _watched(list(models), lambda *_: tick("")):
            yield
    finally:
        TURN.release()


@contextmanager
def _watched(models: list[Model], see: Callable[..., None]) -> Iterator[None]:
    if not models:
        yield
        return
    network = models[0].network
    with at_rest(network), before_each(list(network.modules()), see), _watched(models[1:], see):
        yield
