"""Whether a path leaps where it starts: a norm makes a whole state out of one that barely is."""

from collections.abc import Sequence

import torch

from lignite.attribution.axes import RowStates
from lignite.blocks.answers import Start
from lignite.blocks.baselines import usual_baseline
from lignite.blocks.stack import Stack
from lignite.errors import BaselineWarning, warn
from lignite.models.notes import notes_on

EARLY = (0.001, 0.01)
"""Places on the path, from 0 to 1, by which little should have happened."""
LATER = (0.1, 0.5)
"""Places beside its end that say how far F moves at all: its two ends may agree by chance."""
LEAP = 0.2
"""Share by then of how far F moves that is a leap: post-norm encoders stay far below, blocks that begin with a norm are
far above (docs/method.md)."""


def warn_of_leaps(stack: Stack, names: Sequence[str], starts: Sequence[Start]) -> None:
    """Warn once per model if F moves far in the first hundredth of a path from zero; five points of a row are run.

    Blocks that begin with a norm see no size: a thousandth of a state is to them the state, until the norm's ε
    outweighs it. All that the path then integrates there is ε.
    """
    if "zero" not in names or "leap" in (notes := notes_on(stack.network)):
        return
    share = notes["leap"] = leap(stack, starts[list(names).index("zero")].states[0])
    if share > LEAP:
        warn(
            f"baseline='zero': the answer of {type(stack.network).__name__} moves by {share:.0%} of its range in the "
            "first hundredth of the path, where the ε of its norms decides. Such scores cost many nodes and mean "
            f"little; use baseline={usual_baseline(stack.model)!r}.",
            BaselineWarning,
        )


def leap(stack: Stack, start: RowStates) -> float:
    """Measure how far F of the first row has moved at the `EARLY` places, as a share of how far it moves along the
    path.
    """
    places = start.new_tensor([0, *EARLY, *LATER])[:, None, None]
    points = start[:1] + places * (stack.states[0][:1] - start[:1])
    with torch.no_grad():
        values = stack.run(0, points, torch.zeros(len(points), dtype=torch.long, device=points.device))
    moved = (torch.cat([values, stack.value[:1]]).double() - values[0]).abs()
    return float(moved[1 : 1 + len(EARLY)].max() / moved.max().clamp_min(torch.finfo(moved.dtype).tiny))
