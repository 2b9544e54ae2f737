"""Several classes of one input in one result: explanations joined along an axis of classes, and taken apart again."""

import json
from collections.abc import Sequence

import numpy as np
import xarray as xr

from lignite.errors import InputError
from lignite.results.schema import (
    CLASS_AXIS,
    CLASSES,
    EXPLAIN,
    OF_ALL_CLASSES,
    require_same_grid,
    validate,
    without_repeating_index,
)

OWN = "of_class"
"""The attribute that holds, as JSON, the attributes of every class in which the classes differ."""


def join_classes(results: Sequence[xr.Dataset], names: Sequence[str]) -> xr.Dataset:
    """Make one result of explanations of one input; `names` are those of their classes, in this order.

    Everything but what the model says of the input gains the axis `explained`. Attributes that differ, such as
    `target`, stand in the attribute `of_class`; `value` is a variable.
    """
    first, *others = results
    for other in others:
        if set(other.data_vars) != set(first.data_vars):
            raise InputError("the classes hold different variables: explain them by the same method and options.")
        require_same_grid(first, other)
    variables = {
        str(name): variable.variable
        if name in OF_ALL_CLASSES
        else xr.Variable(
            (CLASS_AXIS, *EXPLAIN.variables[str(name)]),
            np.stack([one[name].transpose(*EXPLAIN.variables[str(name)]).values for one in results]),
        )
        for name, variable in first.data_vars.items()
    }
    variables["value"] = xr.Variable((CLASS_AXIS,), np.array([float(one.attrs["value"]) for one in results]))
    attrs, own = _parted(results, names)
    coords = first.coords.assign({CLASS_AXIS: (CLASS_AXIS, np.asarray(list(names), dtype=np.str_))})
    joined = without_repeating_index(xr.Dataset(variables, coords))
    joined.attrs = {**attrs, "kind": CLASSES.kind, OWN: json.dumps(own)}
    validate(joined)
    return joined


def _parted(
    results: Sequence[xr.Dataset], names: Sequence[str]
) -> tuple[dict[str, object], dict[str, dict[str, object]]]:
    """The attributes that all results share, and by the name of its class each one's own."""
    apart = {"target", "value"} | {
        name
        for one in results
        for name in one.attrs
        if any(name not in other.attrs or other.attrs[name] != one.attrs[name] for other in results)
    }
    shared = {name: value for name, value in results[0].attrs.items() if name not in apart}
    own = {
        str(of): {name: one.attrs[name] for name in one.attrs if name in apart - {"value"}}
        for of, one in zip(names, results, strict=True)
    }
    return shared, own


def is_of_classes(dataset: xr.Dataset) -> bool:
    """Whether a result explains several classes."""
    return dataset.attrs.get("kind") == CLASSES.kind


def by_class(dataset: xr.Dataset) -> dict[str, xr.Dataset]:
    """Take the classes apart: each is the explanation of its class alone, by its name."""
    own = json.loads(str(dataset.attrs[OWN]))
    return {str(name): _one(dataset, at, own[str(name)]) for at, name in enumerate(dataset[CLASS_AXIS].values)}


def _one(dataset: xr.Dataset, at: int, own: dict[str, object]) -> xr.Dataset:
    one = without_repeating_index(dataset.drop_vars("value").isel({CLASS_AXIS: at}, drop=True))
    kept = {name: value for name, value in dataset.attrs.items() if name != OWN}
    one.attrs = {**kept, **own, "kind": EXPLAIN.kind, "value": float(dataset["value"].values[at])}
    return one


def each_class(results: Sequence[xr.Dataset]) -> list[xr.Dataset]:
    """Results in their order, those of several classes taken apart."""
    return [one for result in results for one in (by_class(result).values() if is_of_classes(result) else [result])]
