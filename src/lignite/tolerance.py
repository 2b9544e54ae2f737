"""What a gap is compared with: one rule for each kind of sum that scores promise (docs/method.md, section 9).

Written for whatever has `abs` and `clip`: the tensors of the engines, and the labelled arrays of results.
"""

from typing import Any

SMALL_SHARE = 1e-3
"""Displacements below this share of the layer's median are held to the median's tolerance: their own is rounding."""

ROUNDED_SHARE = 1e-2
"""Displacements below this share of the prediction are held to the tolerance of that share: what is left of a
difference of two logits that nearly agree is rounding."""

CARRIED_SHARE = SMALL_SHARE**0.5
"""Targets that carry less than this part of an even share of the relevance are held to the tolerance of that part."""

NOTHING = 1e-30
"""Of nothing, nothing may be missed; a division by it would have no result."""


def size_among_targets(displacement: Any, median: Any) -> Any:
    """Of a flow: how far the target moved, or a small share of how far the median target of the layer did."""
    return abs(displacement).clip(min=SMALL_SHARE * median)


def size_among_predictions(displacement: Any, one: Any, other: Any) -> Any:
    """Of an explanation: the displacement, or a small share of the larger of the predictions it is between."""
    return abs(displacement).clip(min=ROUNDED_SHARE * abs(one).clip(min=abs(other))).clip(min=NOTHING)


def size_of_carried(carried: Any, even: Any) -> Any:
    """Of relevance divided over its sources: what the target carries, or a part of an even share of it all."""
    return abs(carried).clip(min=CARRIED_SHARE * abs(even)).clip(min=NOTHING)
