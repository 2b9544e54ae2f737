"""How much of a difference may be rounding, in every comparison of a replayed block with the model itself."""

from typing import NamedTuple

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

HALF = (torch.float16, torch.bfloat16)
"""Precisions that record states but are too coarse to integrate in: their blocks are worked on in float32."""


class Rounding(NamedTuple):
    """These relative differences, and smaller ones, are put down to rounding.

    Attributes
    ----------
    block
        Of a token's output, between a split or replayed block and the recorded one, in the precision the model ran in.
        float32 is the promise; float64 models keep norms and softmax that compute in float32, whose rounding is 6e-8
        per operation; the half precisions carry 11 and 8 bits, and a block adds up some tens of roundings.
    answer
        Of the number that is explained, between its replay from states and the model: sums in another order; float64
        models, too, may compute rotary angles and softmax in float32. What bypasses the states misses by parts in ten.
    again
        Between two answers to the same question, put in another shape (padded, or in float32): sums in another order.
    """

    block: float
    answer: float
    again: float


ROUNDING = {
    torch.float64: Rounding(block=1e-6, answer=1e-7, again=1e-9),
    torch.float32: Rounding(block=1e-5, answer=1e-5, again=1e-4),
    torch.float16: Rounding(block=2e-2, answer=1e-5, again=2e-2),
    torch.bfloat16: Rounding(block=1e-1, answer=1e-5, again=1e-1),
}


def in_full(tensor: Shaped[Tensor, "*any"]) -> Shaped[Tensor, "*any"]:
    """Widen numbers to a precision that can be integrated in."""
    return tensor.float() if tensor.dtype in HALF else tensor


def largest_difference(actual: Float[Tensor, "*any token d"], expected: Float[Tensor, "*any token d"]) -> float:
    """Measure how far tokens' vectors are apart at most, relative to their length; infinite where one is not finite.

    Examples
    --------
    >>> largest_difference(torch.tensor([[3.0, 4.0], [0.0, 2.0]]), torch.tensor([[3.0, 4.0], [0.0, 1.0]]))
    1.0
    """
    actual, expected = actual.flatten(0, -2), expected.flatten(0, -2)
    size = torch.linalg.vector_norm(expected, dim=-1)
    error = torch.linalg.vector_norm(actual - expected, dim=-1) / torch.maximum(size, 1e-3 * size.max())
    return float(error.max()) if torch.isfinite(error).all() else float("inf")
