"""The layout of results as data: which variables there are, over which axes, and what labels an axis carries."""

from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches

import numpy as np
import xarray as xr

from lignite.errors import GridError, InputError

CIRCUITS = ("value", "key", "query", "residual")

TOKEN_LABELS: Mapping[str, str] = {
    "token": "U",
    "word": "i",
    "special": "b",
    "start": "i",
    "stop": "i",
    "segment": "i",
    "row": "i",
    "col": "i",
}
"""What is known of a token, with the kind of its numpy type: a flow has `source_token`, `target_token`, and so on."""

OPTIONAL_LABELS = frozenset({"segment", "row", "col"})
"""Labels that only pairs of texts or images have."""

FLOW_ATTRS = ("lignite_version", "kind", "model", "revision", "text", "request", "plans", "versions", "tol")


@dataclass(frozen=True)
class Map:
    """One array of scores: its axes, and the axis whose scores add up to its displacement.

    A detail is a split of another map: it has no displacement of its own, and `part_of` names the map whose it shares.
    """

    dims: tuple[str, ...]
    adds_over: str | None
    part_of: str | None = None


@dataclass(frozen=True)
class Layout:
    """Everything that a result of one kind may hold.

    `others` are variables that are no map: the displacements, the gaps, single numbers.
    """

    kind: str
    index: Mapping[str, str]
    maps: Mapping[str, Map]
    others: Mapping[str, tuple[str, ...]]
    token_axes: tuple[str, ...]

    @property
    def variables(self) -> dict[str, tuple[str, ...]]:
        return {name: entry.dims for name, entry in self.maps.items()} | dict(self.others)


def _with_certificates(maps: Mapping[str, Map]) -> dict[str, tuple[str, ...]]:
    return {
        f"{name}_{suffix}": tuple(dim for dim in entry.dims if dim != entry.adds_over)
        for name, entry in maps.items()
        if entry.part_of is None
        for suffix in ("displacement", "gap")
    }


_FLOW_MAPS = {
    "attention": Map(("layer", "head", "target", "source"), adds_over="source"),
    "mlp": Map(("layer", "target", "head"), adds_over="head"),
    "whole": Map(("layer", "target", "source"), adds_over="source"),
    "composed": Map(("layer", "target", "source"), adds_over="source"),
    "whole_heads": Map(("layer", "head", "target", "source"), adds_over=None, part_of="whole"),
    "whole_residual": Map(("layer", "target"), adds_over=None, part_of="whole"),
    "whole_circuits": Map(("circuit", "layer", "target", "source"), adds_over=None, part_of="whole"),
}

FLOW = Layout(
    kind="flow",
    index={"layer": "i", "head": "i", "target": "i", "source": "i", "circuit": "U"},
    maps=_FLOW_MAPS,
    others=_with_certificates(_FLOW_MAPS),
    token_axes=("target", "source"),
)

EXPLAIN_VARIABLES: Mapping[str, tuple[str, ...]] = {
    "relevance": ("token",),
    "layer_relevance": ("layer", "token"),
    "layer_ig": ("layer", "token"),
    "attention_gradient": ("layer", "target", "source"),
    "displacement": ("layer",),
    "gap": ("layer",),
    "output_ig": ("token",),
    "relevance_flow": ("layer", "target", "source"),
    "probability": ("class",),
    "logit": ("class",),
}

LAYOUTS: Mapping[str, Layout] = {FLOW.kind: FLOW}


def layout_of(dataset: xr.Dataset) -> Layout:
    """The layout that the Dataset's attribute `kind` names."""
    kind = str(dataset.attrs.get("kind", ""))
    if kind not in LAYOUTS:
        given = f"kind {kind!r}" if kind else "no attribute 'kind'"
        raise InputError(
            f"the Dataset has {given}, expected one of: {', '.join(LAYOUTS)}. Pass a result of lignite; where an "
            "operation of xarray dropped its attrs, wrap it in xarray.set_options(keep_attrs=True)."
        )
    return LAYOUTS[kind]


def validate(dataset: object) -> None:
    """Raise InputError, naming the first offence, unless the Dataset keeps the layout of its kind.

    Any selection of layers, heads, targets, sources or variables is valid as long as its axes stay axes.
    """
    if not isinstance(dataset, xr.Dataset):
        raise InputError(f"a result is an xarray.Dataset, got {type(dataset).__name__}: pass one result of lignite.")
    layout = layout_of(dataset)
    if not any(name in layout.maps for name in dataset.data_vars):
        raise InputError(
            f"the {layout.kind} holds no scores (it has {_listed(dataset.data_vars)}): keep at least one of "
            f"{_listed(layout.maps)}."
        )
    for name in dataset.data_vars:
        _check_variable(str(name), dataset[name], layout)
    used = {dim for name in dataset.data_vars for dim in layout.variables[str(name)]}
    for dim, kind in layout.index.items():
        if dim in used:
            _check_index(dataset, dim, kind)
    for dim in layout.token_axes:
        if dim in used:
            _check_labels(dataset, dim)
    _check_attrs(dataset)


def _check_variable(name: str, variable: xr.DataArray, layout: Layout) -> None:
    if name not in layout.variables:
        close = get_close_matches(name, layout.variables, n=1)
        raise InputError(
            f"a {layout.kind} has no variable {name!r}{f'; closest: {close[0]!r}' if close else ''}. "
            f"Known: {_listed(layout.variables)}. Remove it with drop_vars({name!r})."
        )
    dims = layout.variables[name]
    if variable.dims != dims:
        remedy = (
            f"use .transpose({', '.join(map(repr, dims))})"
            if set(variable.dims) == set(dims)
            else "select with lists, .sel(layer=[3]), so that every axis stays"
        )
        raise InputError(f"{name!r} has the axes {_listed(variable.dims)}, expected {_listed(dims)}: {remedy}.")
    if variable.dtype.kind != "f":
        raise InputError(f"{name!r} holds {variable.dtype}, expected floating-point scores: convert it with .astype.")


def _check_index(dataset: xr.Dataset, dim: str, kind: str) -> None:
    if dim not in dataset.indexes:
        raise InputError(f"the axis {dim!r} has no labels: restore the coordinate {dim!r} with assign_coords.")
    values = dataset[dim].values
    if not len(values):
        raise InputError(f"the axis {dim!r} is empty: select at least one {dim}.")
    _check_kind(dim, values, kind)
    if len(np.unique(values)) != len(values):
        doubled = next(value for i, value in enumerate(values) if value in values[:i])
        raise InputError(f"the axis {dim!r} names {doubled!s} twice: select every label once.")
    if dim == "circuit" and not set(values) <= set(CIRCUITS):
        raise InputError(f"the axis 'circuit' is labelled {_listed(values)}, expected {_listed(CIRCUITS)}: rename it.")


def _check_labels(dataset: xr.Dataset, axis: str) -> None:
    for label, kind in TOKEN_LABELS.items():
        name = f"{axis}_{label}"
        if name not in dataset.coords:
            if label in OPTIONAL_LABELS:
                continue
            raise InputError(f"the axis {axis!r} lacks the coordinate {name!r}: restore it with assign_coords.")
        if dataset[name].dims != (axis,):
            raise InputError(f"{name!r} lies along {_listed(dataset[name].dims)}, expected {axis!r}: rebuild it.")
        _check_kind(name, dataset[name].values, kind)


def _check_kind(name: str, values: np.ndarray, kind: str) -> None:
    words = {"U": "strings", "i": "whole numbers", "b": "true or false"}
    if values.dtype.kind != kind:
        raise InputError(f"coordinate {name!r} holds {values.dtype}, expected {words[kind]}: convert it with .astype.")


def _check_attrs(dataset: xr.Dataset) -> None:
    for name, value in dataset.attrs.items():
        if isinstance(value, bool) or not isinstance(value, (str, int, float)):
            raise InputError(
                f"attribute {name!r} is a {type(value).__name__}, expected text or a number: store it as a JSON string."
            )


def require_same_grid(a: xr.Dataset, b: xr.Dataset) -> None:
    """Raise GridError, naming the first difference, unless both speak about the same layers and tokens.

    Tokens are the same when position, string and, for pairs of texts, segment agree on both token axes.
    """
    for dim in ("layer", "target", "source"):
        _require_equal(a, b, dim, what=f"{dim}s")
    for axis in ("target", "source"):
        _require_equal(a, b, f"{axis}_token", what=f"the tokens of the {axis} axis")
        segment = f"{axis}_segment"
        if (segment in a.coords) != (segment in b.coords):
            raise GridError(f"only one result has {segment!r}: compare a pair of texts with a pair of texts.")
        if segment in a.coords:
            _require_equal(a, b, segment, what=f"the segments of the {axis} axis")


def _require_equal(a: xr.Dataset, b: xr.Dataset, name: str, *, what: str) -> None:
    first, second = a[name].values.tolist(), b[name].values.tolist()
    if len(first) != len(second):
        raise GridError(
            f"the results differ in {what}: {len(first)} ({_shortened(first)}) and {len(second)} "
            f"({_shortened(second)}). Compare results of the same text, tokenizer and layers."
        )
    for place, (mine, other) in enumerate(zip(first, second, strict=True)):
        if mine != other:
            raise GridError(
                f"the results differ in {what}: entry {place} is {mine!r} in the first and {other!r} in the second. "
                "Compare results of the same text, tokenizer and layers."
            )


def _shortened(values: list[object]) -> str:
    shown = ", ".join(map(str, values[:5]))
    return f"{shown}, …" if len(values) > 5 else shown


def _listed(names: object) -> str:
    return ", ".join(map(str, names)) or "none"  # type: ignore[call-overload]
