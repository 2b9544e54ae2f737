"""Whether relevance lies on the object that people outlined in an image.

That it lies there does not make an explanation true of the model, which may well look at the background; see
faithfulness for that. Relevances of patches are first enlarged to the pixels of the picture that the model
sees (`lignite.results.pixels`). Pixels that no patch covers are not read by the model and take no part.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from lignite.errors import InputError, NotFiniteError, OptionError
from lignite.metrics.metric import Case, Found, Reading, relevance_by_pixel
from lignite.metrics.readings.plausibility import areas_of_precision
from lignite.wording import sides

MEASURES = (
    "pointing_game", "relevance_mass", "relevance_rank", "pixel_accuracy", "iou", "mean_iou", "average_precision",
    "average_precision_both",
)  # fmt: skip


def localization(
    relevance: Float[np.ndarray, "y x"],
    mask: np.ndarray,
    *,
    distractor: np.ndarray | None = None,
    tolerance: float | int = 0,
) -> dict[str, float]:
    """Compare the relevances of one picture's pixels with the outline of its object.

    Parameters
    ----------
    relevance
        From `lignite.results.pixels`; signed, NaN for pixels that take no part. Explain the class of the object.
    mask
        Flags ``[y, x]`` of the object's pixels; with several objects of the class, of all of them.
    distractor
        Pixels of something else that the relevance should not lie on.
    tolerance
        Pixels that a hit of the pointing game may lie beside the object (published: 15 of some hundred).

    Returns
    -------
    - `pointing_game`: 1 if the pixel of largest relevance lies on the object, else 0; of several such pixels (a whole
      patch, without `smooth`) the share that does, which is the chance that one drawn from them hits.
    - `relevance_mass`: share of the positive relevance that lies on the object; NaN if nothing is positive.
    - `relevance_rank`: with K the number of the object's pixels, share of it among the K pixels with the largest
      positive relevance; of pixels of equal relevance at the edge, their expected number.
    - `pixel_accuracy`, `iou`, `mean_iou`: of the pixels above the mean relevance, read as the object: share of all
      pixels that are rightly in or out; intersection over union with the object; mean of it and of that of the others.
    - `average_precision`: area under precision over recall of the object's pixels, by steps, equal relevances together.
      `average_precision_both`: the same over object and background in one list, as published for segmentation: a
      pixel's score for the object is its relevance scaled to [0, 1], for the background one minus that.
    - with `distractor`: `distractor_mass`, share of the positive relevance on it and not on the object;
      `object_share`, the object's part of what lies on either, NaN if nothing does.

    References
    ----------
    Pointing game: Zhang et al. (2018), :doi:`10.1007/s11263-017-1059-x`. Mass and rank: Arras et al. (2022), CLEVR-XAI,
    :arxiv:`2003.07258`. Threshold at the mean: Chefer et al. (2021), :arxiv:`2012.09838`, section 4.
    """
    if isinstance(tolerance, bool) or not isinstance(tolerance, int | float) or not 0 <= tolerance < math.inf:
        raise OptionError(f"tolerance={tolerance!r} must be a number of pixels, at least 0.")
    scores, there = _scores(relevance)
    inside = _outline("mask", mask, there)
    near = _within(inside, tolerance) if tolerance else inside
    values, found = scores[there], inside[there]
    above = values > _mean(values)
    iou, iou_of_others = _iou(above, found), _iou(~above, ~found)
    measures = (
        near[there][values == values.max()].mean(),
        _mass(values, found),
        _rank(np.maximum(values, 0), found),
        (above == found).mean(),
        iou,
        np.nanmean([iou, iou_of_others]),  # NaN where the object fills the picture: then there are no others
        areas_of_precision(values, found)[1],
        _average_precision_both(values, found),
    )
    told = dict(zip(MEASURES, map(float, measures), strict=True))
    if distractor is not None:
        other = _outline("distractor", distractor, there)
        told |= _distracted(values, found, other[there])
    return told


def grid_pointing_game(relevance: Float[np.ndarray, "y x"], cells: Sequence[Any], explained: Any) -> float:
    """Share of the positive relevance that lies in the cells of a mosaic that show the explained class.

    Parameters
    ----------
    cells
        Classes of the cells in reading order: four of a mosaic of two by two, nine of three by three. A pixel belongs
        to the cell that its centre lies in.
    explained
        The explained class, one of `cells`.

    Returns
    -------
    A share; chance is that of the cells. NaN if nothing is positive.

    References
    ----------
    Böhle, Fritz, Schiele (2021), :arxiv:`2104.00032`, section 4.
    """
    side = math.isqrt(len(cells))
    if side < 2 or side * side != len(cells):
        raise InputError(f"a mosaic has {len(cells)} cells: give 4 (two by two), 9 or another square of them.")
    if explained not in cells:
        raise InputError(
            f"the explained class {explained!r} is in no cell of the mosaic ({', '.join(map(str, cells))})."
        )
    scores, there = _scores(relevance)
    y, x = (((np.arange(length) + 0.5) * side / length).astype(int) for length in scores.shape)
    shows = np.array([cell == explained for cell in cells]).reshape(side, side)
    return _mass(scores[there], shows[y[:, None], x][there])


def mask_from_boxes(boxes: Sequence[Sequence[int]], shape: Sequence[int]) -> Bool[np.ndarray, "y x"]:
    """Pixels of rectangles ``[top, left, bottom, right]``, the last two excluded, in a picture of this height, width.

    Examples
    --------
    >>> mask_from_boxes([[0, 1, 2, 3]], (2, 4)).astype(int)
    array([[0, 1, 1, 0],
           [0, 1, 1, 0]])
    """
    if not len(boxes):
        raise InputError("there are no boxes: give at least one [top, left, bottom, right].")
    mask = np.zeros(tuple(shape), dtype=bool)
    for box in boxes:
        whole = len(box) == 4 and all(isinstance(side, int | np.integer) for side in box)
        if not whole or isinstance(box, str):
            raise InputError(f"a box is {box!r}; expected [top, left, bottom, right] in whole pixels.")
        top, left, bottom, right = (int(side) for side in box)
        if not (0 <= top < bottom <= shape[0] and 0 <= left < right <= shape[1]):
            raise InputError(
                f"the box {[top, left, bottom, right]} does not fit a picture of {shape[0]} × {shape[1]} pixels; "
                "expected [top, left, bottom, right], 0 <= top < bottom <= height and 0 <= left < right <= width."
            )
        mask[top:bottom, left:right] = True
    return mask


def _scores(relevance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    scores = np.asarray(relevance, dtype=np.float64)
    there = ~np.isnan(scores)
    if scores.ndim != 2 or not there.any():
        raise InputError(f"relevances of shape {scores.shape}: give one number per pixel, [y, x], not all of them NaN.")
    if np.isinf(scores).any():
        raise NotFiniteError("the relevance of a pixel is infinite.")
    return scores, there


def _within(inside: Bool[np.ndarray, "y x"], distance: int | float) -> Bool[np.ndarray, "y x"]:
    """Pixels that are at most so far from an object."""
    from scipy import ndimage  # takes longer to import than all that lists of metrics need

    return np.asarray(ndimage.distance_transform_edt(~inside) <= distance)


def _outline(what: str, mask: np.ndarray, there: np.ndarray) -> np.ndarray:
    outline = np.asarray(mask).astype(bool)
    if outline.shape != there.shape:
        raise InputError(
            f"the {what} has {sides(outline.shape)} pixels, the picture that the model sees {sides(there.shape)}: give "
            f"one flag per pixel of that picture."
        )
    if not (outline & there).any():
        raise InputError(f"the {what} is empty: no pixel of the picture that the model reads is marked.")
    return outline


def _mean(values: np.ndarray) -> float:
    """Of equal numbers that number itself: rounding of their sum must not put all of them above it."""
    return float(values[0] if np.ptp(values) == 0 else values.mean())


def _iou(one: np.ndarray, other: np.ndarray) -> float:
    union = int((one | other).sum())
    return float((one & other).sum() / union) if union else math.nan


def _mass(values: np.ndarray, inside: np.ndarray) -> float:
    positive = np.maximum(values, 0)
    # As shares of the largest one: sums of very large numbers overflow, quotients of very small ones underflow.
    largest = positive.max()
    if largest == 0:
        return math.nan
    shares = positive / largest
    return float(shares[inside].sum() / shares.sum())


def _distracted(values: np.ndarray, found: np.ndarray, other: np.ndarray) -> dict[str, float]:
    of_object, of_other = _mass(values, found), _mass(values, other & ~found)
    both = of_object + of_other
    return {"distractor_mass": of_other, "object_share": of_object / both if both > 0 else math.nan}


def _rank(values: np.ndarray, inside: np.ndarray) -> float:
    size = int(inside.sum())
    edge = np.partition(values, -size)[-size]
    above, at = values > edge, values == edge
    hits = inside[above].sum() + (size - above.sum()) * inside[at].mean()
    return float(hits / size)


def _average_precision_both(values: np.ndarray, inside: np.ndarray) -> float:
    spread = np.ptp(values)
    scaled = (values - values.min()) / spread if spread > 0 else np.zeros_like(values)
    return areas_of_precision(np.concatenate([1 - scaled, scaled]), np.concatenate([~inside, inside]))[1]


def _beside_outline(case: Case) -> dict[str, float]:
    assert case.evidence.mask is not None
    return localization(case.once(relevance_by_pixel), case.evidence.mask, distractor=case.evidence.distractor)


_localized = partial(Found, find=_beside_outline, needs=("mask",), reads="image")


@dataclass(frozen=True, kw_only=True)
class GridPointing(Reading):
    """`grid_pointing_game` of a mosaic; where the explained class is in no cell of it, no share is right."""

    better: str = "higher"
    needs: tuple[str, ...] = ("cells",)
    reads: str = "image"

    def read(self, case: Case) -> float:
        cells, explained = case.evidence.cells, case.evidence.explained
        relevance = case.once(relevance_by_pixel)
        return grid_pointing_game(relevance, cells, explained) if cells and explained in cells else math.nan


LOCALIZATION = (
    _localized("pointing-game", "share of images whose most relevant pixel lies on the object"),
    _localized("relevance-mass", "share of the positive relevance on the object"),
    _localized("relevance-rank", "share of the object among as many most relevant pixels"),
    _localized("pixel-accuracy", "share of pixels on the right side of the mean relevance"),
    _localized("iou", "intersection over union of the object and the pixels above the mean relevance"),
    _localized("mean-iou", "mean of iou and that of the background", default=False),
    _localized(
        "pixel-average-precision", "area under precision over recall of the object's pixels", number="average_precision"
    ),
    _localized(
        "pixel-average-precision-both",
        "the same over object and background in one list",
        default=False,
        number="average_precision_both",
    ),
    _localized(
        "distractor-mass",
        "share of the positive relevance on the distractor",
        better="lower",
        needs=("mask", "distractor"),
    ),
    _localized(
        "object-share", "the object's part of the relevance on object and distractor", needs=("mask", "distractor")
    ),
    GridPointing("grid-pointing-game", "share of the positive relevance in the explained class's cells of a mosaic"),
)
