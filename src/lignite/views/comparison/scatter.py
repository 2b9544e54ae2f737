"""The scatter of a comparison: what one side says of a word against what the reference says, outliers by name."""

from dataclasses import dataclass

import numpy as np
from rich.cells import cell_len

from lignite.views.comparison.facts import LABELLED, ExplanationSides
from lignite.views.labels import limit_of
from lignite.wording import shorten

MOST_POINTS = 2000
GAP = 5.2  # from one label to the next, in hundredths of the square
CHARACTER = 2.5  # width of a character
ROOM = 60  # a label stands on the right of a point up to here


@dataclass(frozen=True)
class Label:
    """A named point: where it is, and where its name stands."""

    text: str
    x: float
    y: float
    at_x: float
    at_y: float
    anchor: str


@dataclass(frozen=True)
class Scatter:
    """Points in a square of 100, y downwards; `zero` is where both axes cross, the diagonal is agreement."""

    across: str
    up: str
    points: list[tuple[float, float, bool]]
    labels: list[Label]
    zero: float
    low: str
    high: str


def scatter_of(sides: ExplanationSides, side: int) -> Scatter:
    """A side against the reference, over the words that both have; special tokens are left out."""
    scores, reference, write = sides.scores, sides.reference, sides.write
    kept = np.isfinite(scores[[side, reference]]).all(0) & ~sides.special
    found = np.flatnonzero(kept)
    limit = max(limit_of(scores[:, kept]), float(np.abs(scores[[side, reference]][:, kept]).max(initial=0.0))) or 1.0
    far = np.argsort(-np.abs(scores[side] - scores[reference])[found], kind="stable")[:MOST_POINTS]

    def place(index: int) -> tuple[float, float]:
        return _along(float(scores[reference, index]), limit), 100 - _along(float(scores[side, index]), limit)

    named = [each for each in sides.outliers(side, LABELLED) if kept[each.index]]
    chosen = {each.index for each in named}
    return Scatter(
        across=sides.names[reference],
        up=sides.names[side],
        points=[(*place(int(at)), int(at) in chosen) for at in found[far]],
        labels=_spread([(shorten(each.token, 18), *place(each.index)) for each in named]),
        zero=50.0,
        low=write(-limit),
        high=write(limit),
    )


def _along(value: float, limit: float) -> float:
    """Where a score stands on an axis from −limit to limit, with some room at both ends."""
    return 50 + 46 * value / limit


def _spread(named: list[tuple[str, float, float]]) -> list[Label]:
    """Names beside their points, none over another."""
    labels: list[Label] = []
    taken: list[tuple[float, float, float]] = []
    for text, x, y in sorted(named, key=lambda each: each[2]):
        anchor, width = ("start" if x < ROOM else "end"), CHARACTER * cell_len(text)
        at_x = x + (2.2 if anchor == "start" else -2.2)
        left, right = (at_x, at_x + width) if anchor == "start" else (at_x - width, at_x)
        at_y = y
        for low, high, height in sorted(taken, key=lambda each: each[2]):
            if low < right and left < high and abs(height - at_y) < GAP:
                at_y = height + GAP
        taken.append((left, right, at_y))
        labels.append(Label(text, x, y, at_x, at_y, anchor))
    return labels
