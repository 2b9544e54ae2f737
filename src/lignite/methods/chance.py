"""Scores that know nothing: the row of a table that every method must beat."""

from dataclasses import dataclass

from lignite.methods.shared import Seeded


@dataclass(frozen=True, kw_only=True)
class Random(Seeded, name="random", scored_by="chance.random"):
    """Uniform numbers from -1 to 1, the same ones for the same input and seed."""
