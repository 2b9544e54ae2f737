"""The certificate of a result: what its scores miss, what they may miss, and whether they keep to it.

Engines store `gap` and `allowed` beside every sum that scores promise; warnings, views and metrics read them here, so
that they cannot disagree.
"""

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from lignite.results.classes import by_class, is_of_classes
from lignite.results.schema import EXPLAIN, layout_of
from lignite.tolerance import size_among_predictions, size_among_targets, size_of_carried

SUMS = {"": "layers", "output_": "output", "total_": "total", "relevance_flow_": "flow"}
"""Sums that an explanation promises: how their variables begin, and what they are called."""


@dataclass(frozen=True)
class Certificate:
    """One kind of sum that scores promise, over all axes that it has.

    `prefix` is how its variables begin; `relative` what is missed, as a share of what had to be explained. Where nodes
    are drawn at random no gap is `promised`: `layer_ig_error` says how sure the scores are.
    """

    prefix: str
    relative: xr.DataArray
    tol: float
    promised: bool

    @property
    def within(self) -> xr.DataArray:
        """Where no more is missed than the tolerance allows."""
        return self.relative <= self.tol

    @property
    def kept(self) -> bool:
        """Whether the promise, if there is one, is kept everywhere."""
        return not self.promised or bool((self.relative.values <= self.tol).all())

    @property
    def worst(self) -> xr.DataArray:
        """The largest share that is missed, with its place as coordinates."""
        if not self.relative.ndim:
            return self.relative
        place = np.unravel_index(int(self.relative.values.argmax()), self.relative.shape)
        return self.relative.isel(dict(zip(self.relative.dims, place, strict=True)))


def certificates(dataset: xr.Dataset) -> list[Certificate]:
    """Of every sum that the result keeps books of."""
    if is_of_classes(dataset):
        return [each for one in by_class(dataset).values() for each in certificates(one)]
    layout = layout_of(dataset)
    prefixes = SUMS if layout.kind == EXPLAIN.kind else [f"{name}_" for name in layout.maps]
    found = [certificate(dataset, prefix) for prefix in prefixes]
    return [each for each in found if each is not None]


def certificate(dataset: xr.Dataset, prefix: str) -> Certificate | None:
    """Of the sum whose variables begin so; None where the result has no gap of it.

    Results of earlier versions have no `allowed`: it is then computed from the displacements by the rule that their
    engine went by, as far as the result shows what the rule needs.
    """
    if f"{prefix}gap" not in dataset:
        return None
    tol, gap = float(dataset.attrs.get("tol", 1e-3)), dataset[f"{prefix}gap"]
    if f"{prefix}allowed" in dataset:
        allowed = dataset[f"{prefix}allowed"]
    else:
        size = _size(dataset, prefix)
        if size is None:
            return None
        allowed = tol * size
    relative = gap.copy(data=_relative(gap.values, allowed.transpose(*gap.dims).values, tol))
    return Certificate(prefix, relative, tol, _promised(dataset))


def _relative(gap: np.ndarray, allowed: np.ndarray, tol: float) -> np.ndarray:
    """Of plain arrays: labelled ones take thousands of times as long for a handful of numbers."""
    gap, allowed = abs(gap.astype(np.float64)), abs(allowed.astype(np.float64))
    found = np.full(gap.shape, np.inf)
    np.divide(tol * gap, allowed, out=found, where=allowed > 0)
    found[np.isnan(found)] = np.inf
    found[~(gap > 0)] = 0.0
    return found


def largest_gap(dataset: xr.Dataset) -> float:
    """The largest share that any sum misses of what it explains; not a number where no sum is promised."""
    return max((float(each.worst) for each in certificates(dataset)), default=float("nan"))


def _promised(dataset: xr.Dataset) -> bool:
    try:
        request = json.loads(str(dataset.attrs.get("request") or "{}"))
    except json.JSONDecodeError:
        return True
    return not (isinstance(request, dict) and request.get("nodes") == "stochastic")


def _size(dataset: xr.Dataset, prefix: str) -> xr.DataArray | None:
    """What `tol` is relative to, from what a result of an earlier version shows; None if that is not enough."""
    if prefix == "relevance_flow_":
        return _carried(dataset)
    if f"{prefix}displacement" not in dataset:
        return None
    displacement = dataset[f"{prefix}displacement"].astype(np.float64)
    if layout_of(dataset).kind == EXPLAIN.kind:
        value = displacement * 0 + float(dataset.attrs.get("value", 0.0))
        return _array(size_among_predictions(displacement, value, value - displacement))
    others = [dim for dim in displacement.dims if dim != "layer"]
    return _array(size_among_targets(displacement, abs(displacement).quantile(0.5, others, method="lower")))


def _carried(dataset: xr.Dataset) -> xr.DataArray | None:
    if "relevance_flow" not in dataset:
        return None
    carried = dataset["relevance_flow"].astype(np.float64).sum("source") - dataset["relevance_flow_gap"]
    return _array(size_of_carried(carried, carried.mean("target")))


def _array(found: Any) -> xr.DataArray:
    assert isinstance(found, xr.DataArray)
    return found
