"""A unit of a long run: what it brings under which keys, and what computes that."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

Piece = Mapping[str, Any]
"""What is kept of one finished piece of work: whatever JSON can hold."""

Tick = Callable[[int], None]
"""Called with so many pieces more that are finished."""


@dataclass(frozen=True, eq=False)
class Done:
    """What came of a unit: pieces by their keys, and notes that are told at the end of the run, but not kept.

    A piece that could not be computed is missing; a later run tries it again.
    """

    pieces: Mapping[str, Piece] = field(default_factory=dict)
    notes: tuple[Any, ...] = ()


@dataclass(frozen=True, eq=False)
class Unit:
    """Work that is done in one go, and written in one go.

    Attributes
    ----------
    keys
        Of the pieces that it brings: the same for the same content and options, whatever the run.
    compute
        Takes the keys that are still missing, and is ticked for every piece that is finished or given up.
    """

    keys: tuple[str, ...]
    compute: Callable[[Collection[str], Tick], Done]
