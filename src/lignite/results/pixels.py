"""Scores of an image's patches on the pixels of its picture."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

SIDES = ("top", "left", "bottom", "right")
"""What a patch's box is given by, in pixels; the last two are excluded."""


def on_pixels(
    scores: Float[np.ndarray, " patch"],
    boxes: Int[np.ndarray, "patch side"],
    shape: Sequence[int],
    *,
    smooth: bool = False,
) -> Float[np.ndarray, "y x"]:
    """Give every pixel of a picture of this height and width the score of its patch, NaN where no patch lies.

    `smooth` mixes the scores of the four nearest centres instead (bilinear), of those that have a number; beyond the
    outermost centres nothing mixes. That looks finer than the model's patches are.

    Examples
    --------
    >>> boxes = np.array([[0, 0, 1, 2], [0, 2, 1, 4]])
    >>> on_pixels(np.array([1.0, 2.0]), boxes, (1, 5))
    array([[ 1.,  1.,  2.,  2., nan]])
    >>> on_pixels(np.array([1.0, 2.0]), boxes, (1, 5), smooth=True)
    array([[1.  , 1.25, 1.75, 2.  ,  nan]])
    """
    flat = np.full(tuple(shape), np.nan)
    for score, (top, left, bottom, right) in zip(scores, boxes.tolist(), strict=True):
        flat[top:bottom, left:right] = score
    if not smooth:
        return flat
    (down, row), (across, col) = (_mixing(boxes[:, [side, side + 2]], shape[side]) for side in (0, 1))
    known = np.zeros((down.shape[1], across.shape[1]))
    values = np.zeros_like(known)
    known[row, col] = np.isfinite(scores)
    values[row, col] = np.nan_to_num(scores)
    mixed = down @ values @ across.T
    if not known.all():
        weight = down @ known @ across.T
        mixed = np.divide(mixed, weight, out=np.full_like(flat, np.nan), where=weight > 0)
    return np.where(np.isnan(flat), np.nan, mixed)


def _mixing(
    edges: Int[np.ndarray, "patch 2"], n_pixels: int
) -> tuple[Float[np.ndarray, "pixel line"], Int[np.ndarray, " patch"]]:
    """How much of every line of patches a pixel takes, by its own centre, and which line each patch is in."""
    _, first, line = np.unique(edges[:, 0], return_index=True, return_inverse=True)
    centres = edges[first].mean(1)
    pixels = np.arange(n_pixels) + 0.5
    return np.stack([np.interp(pixels, centres, one) for one in np.eye(len(first))], axis=1), line.reshape(-1)
