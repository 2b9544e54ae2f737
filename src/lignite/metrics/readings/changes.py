"""How far two flows of the same tokens differ: which share goes elsewhere, which heads carry it, how large it is."""

import numpy as np
import xarray as xr
from jaxtyping import Float

Scores = Float[np.ndarray, "*rest target source"]

MAPS = {
    "whole": ("layer", "target", "source"),
    "attention": ("layer", "head", "target", "source"),
    "mlp": ("layer", "target", "head"),
}


def shares(scores: Scores) -> Scores:
    """Divide the sizes of a target's scores by their sum; a target that gets nothing has no shares."""
    sizes = abs(scores)
    total = sizes.sum(-1, keepdims=True)
    return np.divide(sizes, total, out=np.full_like(sizes, np.nan), where=total > 0)


def difference(first: Scores, second: Scores) -> Float[np.ndarray, "*rest target"]:
    """Say which share would have to move to make one distribution of the other (total variation)."""
    total: np.ndarray = abs(first - second).sum(-1) / 2
    return total


def mean(values: Float[np.ndarray, "*any"], axis: int) -> Float[np.ndarray, "*left"]:
    """Average what is known; NaN where nothing is."""
    known = ~np.isnan(values)
    count = known.sum(axis)
    total = np.where(known, values, 0).sum(axis)
    return np.divide(total, count, out=np.full(np.shape(total), np.nan), where=count > 0)


def moved(before: xr.Dataset, after: xr.Dataset, map: str = "whole") -> Float[np.ndarray, "layer ..."]:
    """Say which share of a target's flow goes elsewhere, by layer and, where a map has them, head: mean over targets.

    Of `mlp`, whose sources are heads: which share of the heads' part in a target's output other heads have.
    """
    first, second = (shares(each[map].transpose(*MAPS[map]).values.astype(np.float64)) for each in (before, after))
    return mean(difference(first, second), -1)


def larger(before: xr.Dataset, after: xr.Dataset, map: str = "whole") -> Float[np.ndarray, " layer"]:
    """Say how much further targets move afterwards: logarithm (base 2) of the ratio, mean over targets."""
    name = f"{map}_displacement"
    first, second = (each[name].transpose("layer", "target").values.astype(np.float64) for each in (before, after))
    known = (first > 0) & (second > 0)
    ratio = np.divide(second, first, out=np.ones_like(first), where=known)
    return mean(np.where(known, np.log2(ratio), np.nan), -1)
