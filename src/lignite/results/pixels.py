"""Scores of an image's patches on the pixels of its picture."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from lignite.errors import InputError, NotFiniteError

SIDES = ("top", "left", "bottom", "right")
"""What a patch's box is given by, in pixels; the last two are excluded."""


def spread_on_pixels(
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
    >>> spread_on_pixels(np.array([1.0, 2.0]), boxes, (1, 5))
    array([[ 1.,  1.,  2.,  2., nan]])
    >>> spread_on_pixels(np.array([1.0, 2.0]), boxes, (1, 5), smooth=True)
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


def boxes_of(labels: Mapping[str, Any]) -> Int[np.ndarray, "token side"] | None:
    """The box of every token, by the labels of its sides; None where they are not known."""
    if any(side not in labels for side in SIDES):
        return None
    return np.stack([np.asarray(labels[side]) for side in SIDES], axis=1)


def enlarge(
    relevance: np.ndarray, boxes: np.ndarray, shape: Sequence[int], *, smooth: bool = False
) -> Float[np.ndarray, "y x"]:
    """Give every pixel the relevance of its patch.

    Parameters
    ----------
    relevance
        One number per token.
    boxes
        Of each token ``[top, left, bottom, right]`` in pixels, the last two excluded; −1 for a token without a place,
        such as the class token, whose relevance lies nowhere in the picture.
    shape
        Height and width of the picture.
    smooth
        Draw straight lines between the patches' centres (bilinear) instead of edges around them; beyond the outermost
        centres the patch's own number goes on.

    Returns
    -------
    Relevances of pixels, NaN where there is no patch.

    Examples
    --------
    >>> enlarge(np.array([9.0, 1.0, 2.0]), np.array([[-1] * 4, [0, 0, 1, 2], [0, 2, 1, 4]]), (1, 5))
    array([[ 1.,  1.,  2.,  2., nan]])
    """
    scores, places = np.asarray(relevance, dtype=np.float64), np.asarray(boxes)
    if scores.ndim != 1 or places.shape != (len(scores), 4):
        raise InputError(
            f"{scores.shape} relevances and boxes of shape {places.shape}: give one number and one box "
            "[top, left, bottom, right] per token."
        )
    if not np.isfinite(scores).all():
        raise NotFiniteError(f"the relevance of token {int((~np.isfinite(scores)).argmax())} is NaN or infinite.")
    there = (places >= 0).all(axis=1)
    if not there.any():
        raise InputError("no token has a place in the picture, so its relevance cannot be compared with an outline.")
    scores, places = scores[there], places[there]
    if (places[:, 2:] > np.asarray(shape)).any():
        raise InputError(
            f"a patch reaches to {places[:, 2].max()} × {places[:, 3].max()} pixels, but the picture has "
            f"{shape[0]} × {shape[1]}: give the picture that the model sees."
        )
    rows, cols = (len(np.unique(places[:, side])) for side in (0, 1))
    if smooth and len(scores) != rows * cols:
        raise InputError(
            f"{len(scores)} patches do not fill a grid of {rows} × {cols}, and lines can be drawn between the patches "
            "of a whole grid alone: leave smooth=False."
        )
    return spread_on_pixels(scores, places, shape, smooth=smooth)
