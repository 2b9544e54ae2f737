"""How far two maps of the same tokens agree, layer by layer.

A target's scores are compared as one vector over sources. Two things decide such numbers before any method does, and
are therefore never left open: a token's share of itself, which dominates under some baselines and is zero under others
(every measure comes with and without the diagonal), and the token grid (results on different grids are refused).
"""

import numpy as np
import xarray as xr
from scipy.stats import rankdata

from lignite.calls import public
from lignite.errors import OptionError
from lignite.results.accessor import STILL
from lignite.results.schema import layout_of, require_same_grid, validate

MEASURES = ("l2", "l2_relative", "l2_relative_median", "pearson", "spearman")


@public
def agreement(
    dataset: xr.Dataset, *, first: str = "composed", second: str = "whole", diagonal: bool | None = None
) -> xr.Dataset:
    """Compare two maps of one result.

    Parameters
    ----------
    first, second
        Maps over layer, target and source; `second` is what relative distances are relative to.
    diagonal
        Whether what a token gives itself takes part; by default both, along the dimension `diagonal`.

    Returns
    -------
    For each layer, and as `mean_…` over layers:

    - `l2`: L2 norm of the difference of a target's scores, mean over targets. A product such as `composed` has another
      unit than `whole`; compare it by the correlations.
    - `l2_relative`, `l2_relative_median`: the same divided by the norm of the target's scores in `second`, mean and
      median over the targets where that norm is more than rounding (`STILL`); `n_relative` counts these.
    - `pearson`, `spearman`: correlation of values and of ranks (ties share their mean rank) over all entries of the
      layer. NaN where one map is constant, or fewer than two entries are left; the mean over layers is NaN then, too.
    """
    validate(dataset)
    return _compare(
        _scores(dataset, first), _scores(dataset, second), dataset, names=(first, second), diagonal=diagonal
    )


@public
def agreement_between(
    a: xr.Dataset, b: xr.Dataset, *, map: str = "whole", b_map: str | None = None, diagonal: bool | None = None
) -> xr.Dataset:
    """Compare the map of one result with that of another, as `agreement` does; distances are relative to `b`.

    Raises GridError, naming the first difference, unless both results have the same layers, positions and tokens.
    `b_map` names the map of `b` where it is another one.
    """
    validate(a)
    validate(b)
    b_map = b_map or map
    first, second = _scores(a, map), _scores(b, b_map)
    require_same_grid(a, b)
    return _compare(first, second, a, names=(map, b_map), diagonal=diagonal)


def _scores(dataset: xr.Dataset, name: str) -> np.ndarray:
    comparable = [
        known
        for known, entry in layout_of(dataset).maps.items()
        if known in dataset and entry.dims == ("layer", "target", "source")
    ]
    if name not in comparable:
        raise OptionError(
            f"no map {name!r} over layer, target and source in this result, it has {', '.join(comparable) or 'none'}: "
            f"choose among them, or compute it with maps=({name!r}, …)."
        )
    return dataset[name].values.astype(np.float64)


def _compare(
    first: np.ndarray, second: np.ndarray, grid: xr.Dataset, *, names: tuple[str, str], diagonal: bool | None
) -> xr.Dataset:
    everything = np.ones(first.shape[1:], dtype=bool)
    others = grid["target"].values[:, None] != grid["source"].values
    parts = {"with": everything, "without": others}
    if diagonal is not None:
        parts = {"with": everything} if diagonal else {"without": others}
    cells = [[agree(a, b, entries) for entries in parts.values()] for a, b in zip(first, second, strict=True)]
    measures = {
        name: (("layer", "diagonal"), np.array([[cell[name] for cell in row] for row in cells]))
        for name in (*MEASURES, "n_relative")
    }
    result = xr.Dataset(
        measures,
        {"layer": grid["layer"].values, "diagonal": list(parts)},
        {"kind": "agreement", "first": names[0], "second": names[1]},
    )
    return result.assign({f"mean_{name}": result[name].mean("layer", skipna=False) for name in MEASURES})


def agree(first: np.ndarray, second: np.ndarray, entries: np.ndarray) -> dict[str, float | int]:
    """Every measure of `agreement` for one layer: maps ``[target, source]``, and which of their entries take part."""
    difference = np.linalg.norm(np.where(entries, first - second, 0.0), axis=-1)
    size = np.linalg.norm(np.where(entries, second, 0.0), axis=-1)
    moved = size > STILL * np.median(size)
    relative = difference[moved] / size[moved]
    x, y = first[entries], second[entries]
    return {
        "l2": difference.mean(),
        "l2_relative": relative.mean() if len(relative) else np.nan,
        "l2_relative_median": np.median(relative) if len(relative) else np.nan,
        "pearson": _correlation(x, y),
        "spearman": _correlation(rankdata(x), rankdata(y)) if len(x) else np.nan,
        "n_relative": len(relative),
    }


def _correlation(x: np.ndarray, y: np.ndarray) -> float:
    # Constancy is asked of the values: after centring, rounding would make a direction out of nothing.
    if len(x) < 2 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return np.nan
    x, y = x - x.mean(), y - y.mean()
    return float(np.clip(x @ y / (np.linalg.norm(x) * np.linalg.norm(y)), -1, 1))
