"""The layout of results as data: which variables there are, over which axes, and what labels an axis carries."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import xarray as xr

from lignite.errors import GridError, InputError
from lignite.wording import did_you_mean

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
    "top": "i",
    "left": "i",
    "bottom": "i",
    "right": "i",
}
"""What is known of a token, with the kind of its numpy type; see `label_name` for what the coordinates are called."""

TOKEN_AXIS = "token"
"""The axis of an explanation's relevance. Its strings repeat, so it has no index: select on it with `isel`."""

OPTIONAL_LABELS = frozenset({"segment", "row", "col", "top", "left", "bottom", "right"})
"""Labels that only pairs of texts or images have."""

PICTURE = "image"
"""The picture that a model of images saw, whole numbers from 0 to 255; patches are `image[top:bottom, left:right]`."""

FLOW_ATTRS = ("lignite_version", "kind", "model", "revision", "text", "request", "plans", "versions", "tol")

EXPLAIN_ATTRS = (*FLOW_ATTRS, "target", "method", "prediction", "value")


@dataclass(frozen=True)
class Map:
    """One array of scores: its axes, and the axis whose scores add up to its displacement.

    A detail is a split of another map: it has no displacement of its own, and `part_of` names the map whose it shares.
    `certificates` are the variables that say what a map explains and what it misses, in the unit of its scores.
    """

    dims: tuple[str, ...]
    adds_over: str | None
    part_of: str | None = None
    certificates: tuple[str, ...] = ()


@dataclass(frozen=True)
class Layout:
    """Everything that a result of one kind may hold.

    `others` are variables that are no map: the displacements, the gaps, single numbers. `default_map` is the one that
    questions are about where none is named.
    """

    kind: str
    noun: str
    default_map: str
    index: Mapping[str, str]
    maps: Mapping[str, Map]
    others: Mapping[str, tuple[str, ...]]
    token_axes: tuple[str, ...]
    positions: frozenset[str] = frozenset()
    """Variables that hold whole numbers: positions of tokens."""

    @cached_property
    def variables(self) -> dict[str, tuple[str, ...]]:
        return {name: entry.dims for name, entry in self.maps.items()} | dict(self.others)


def _certified(maps: Mapping[str, Map]) -> dict[str, Map]:
    """Every map of a flow, but no detail, has its displacement, its gap and the largest gap that is allowed."""
    return {
        name: entry
        if entry.part_of
        else replace(entry, certificates=(f"{name}_displacement", f"{name}_gap", f"{name}_allowed"))
        for name, entry in maps.items()
    }


def _certificates(maps: Mapping[str, Map]) -> dict[str, tuple[str, ...]]:
    """Every certificate and its axes: one number for all scores that add up."""
    return {
        certificate: tuple(dim for dim in entry.dims if dim != entry.adds_over)
        for entry in maps.values()
        for certificate in entry.certificates
    }


STATISTICS = ("positive", "negative", "own", "strongest", "sources", "distance")
"""What is told of a target whose scores are not kept: the sums of what is above and below zero, its own score, the
one of largest magnitude; how many equal ones would be as concentrated; the mean distance, weighed by magnitude."""


def kept_apart(maps: Mapping[str, Map]) -> dict[str, Map]:
    """Of maps with sources, what stands in their place where less than all is kept."""
    found: dict[str, Map] = {}
    for name, entry in maps.items():
        if "source" in entry.dims and not entry.part_of:
            for ending, axis in (("top", "rank"), ("stats", "statistic")):
                found[f"{name}_{ending}"] = Map((*entry.dims[:-1], axis), adds_over=None, part_of=name)
    return found


_SCORED = _certified(
    {
        "attention": Map(("layer", "head", "target", "source"), adds_over="source"),
        "mlp": Map(("layer", "target", "head"), adds_over="head"),
        "whole": Map(("layer", "target", "source"), adds_over="source"),
        "composed": Map(("layer", "target", "source"), adds_over="source"),
        "attention_sum": Map(("layer", "target", "source"), adds_over="source"),
        "whole_heads": Map(("layer", "head", "target", "source"), adds_over=None, part_of="whole"),
        "whole_residual": Map(("layer", "target"), adds_over=None, part_of="whole"),
        "whole_circuits": Map(("circuit", "layer", "target", "source"), adds_over=None, part_of="whole"),
    }
)
_FLOW_MAPS = _SCORED | kept_apart({name: _SCORED[name] for name in ("attention", "whole", "composed")})
_BESIDE_TOP = {name.removesuffix("_top"): entry.dims for name, entry in _FLOW_MAPS.items() if name.endswith("_top")}

FLOW = Layout(
    kind="flow",
    noun="a flow",
    default_map="whole",
    index={
        "layer": "i",
        "head": "i",
        "target": "i",
        "source": "i",
        "circuit": "U",
        "rank": "i",
        "statistic": "U",
    },
    maps=_FLOW_MAPS,
    others={PICTURE: ("y", "x", "channel")}
    | _certificates(_FLOW_MAPS)
    | {f"{name}_top_source": dims for name, dims in _BESIDE_TOP.items()}
    | {f"{name}_dropped{ending}": dims[:-1] for name, dims in _BESIDE_TOP.items() for ending in ("", "_mass")},
    token_axes=("target", "source"),
    positions=frozenset(f"{name}_top_source" for name in _BESIDE_TOP),
)

_EXPLAIN_MAPS = {
    "relevance": Map(("token",), adds_over="token", certificates=("total_displacement", "total_gap", "total_allowed")),
    "layer_relevance": Map(("layer", "token"), adds_over=None),
    "layer_ig": Map(
        ("layer", "token"), adds_over="token", certificates=("displacement", "gap", "allowed", "layer_ig_error")
    ),
    "output_ig": Map(
        ("token",), adds_over="token", certificates=("output_displacement", "output_gap", "output_allowed")
    ),
    "attention_gradient": Map(("layer", "target", "source"), adds_over=None),
    "attention_gradient_heads": Map(
        ("layer", "head", "target", "source"), adds_over=None, part_of="attention_gradient"
    ),
    "added": Map(("token",), adds_over=None),
    "removed": Map(("token",), adds_over=None),
    "falling": Map(("token",), adds_over=None),
    "rising": Map(("token",), adds_over=None),
    "relevance_flow": Map(
        ("layer", "target", "source"),
        adds_over="source",
        certificates=("relevance_flow_gap", "relevance_flow_allowed"),
    ),
    "relevance_flow_heads": Map(("layer", "head", "target", "source"), adds_over=None, part_of="relevance_flow"),
    "relevance_residual": Map(("layer", "target"), adds_over=None, part_of="relevance_flow"),
}

EXPLAIN = Layout(
    kind="explain",
    noun="an explanation",
    default_map="relevance",
    index={"layer": "i", "head": "i", "target": "i", "source": "i", "class": "U"},
    maps=_EXPLAIN_MAPS,
    others=_certificates(_EXPLAIN_MAPS)
    | {
        "layer_ig_error": ("layer", "token"),  # of every score
        "probability": ("class",),
        "logit": ("class",),
        "start_probability": ("class",),
        "start_logit": ("class",),
        PICTURE: ("y", "x", "channel"),
    },
    token_axes=("token", "target", "source"),
)

CLASS_AXIS = "explained"
"""The axis of several explained classes, labelled by their names in `class`."""

OF_ALL_CLASSES = ("probability", "logit", "start_probability", "start_logit", PICTURE)
"""Variables that say the same whichever class is explained."""

CLASSES = Layout(
    kind="classes",
    noun="an explanation of several classes",
    default_map=EXPLAIN.default_map,
    index={CLASS_AXIS: "U", **EXPLAIN.index},
    maps={name: replace(entry, dims=(CLASS_AXIS, *entry.dims)) for name, entry in EXPLAIN.maps.items()},
    others={
        **{name: dims if name in OF_ALL_CLASSES else (CLASS_AXIS, *dims) for name, dims in EXPLAIN.others.items()},
        "value": (CLASS_AXIS,),
    },
    token_axes=EXPLAIN.token_axes,
)
"""Explanations of one input that differ in the class they are of alone: each, and all it holds, along `explained`."""

OPTIONAL_CERTIFICATES = frozenset({"total_displacement", "total_gap", "layer_ig_error"}) | {
    name for layout in (FLOW, EXPLAIN) for name in layout.others if name.endswith("allowed")
}
"""Only methods whose scores promise completeness have the first two, only those that draw their nodes the third; what
gaps are allowed is missing from files of earlier versions."""

_SIDES = ("side", "against", "example")

COMPARISON = Layout(
    kind="comparison",
    noun="a comparison",
    default_map="relevance",
    index={"side": "U", "against": "U", "measure": "U", "example": "i"},
    maps={name: Map(("side", "token"), adds_over=None) for name in ("relevance", "share", "difference")},
    others={
        "agreement": ("measure", *_SIDES),
        **{f"agreement_{bound}": ("measure", *_SIDES[:2]) for bound in ("mean", "low", "high")},
        **dict.fromkeys(("value", "start_value", "probability", "predicted", "largest_gap"), ("side", "example")),
        "chance": ("example",),
        PICTURE: ("y", "x", "channel"),
    },
    token_axes=(TOKEN_AXIS,),
)
"""Explanations side by side: along `token` the rows that they have in common, text after text (`example`)."""

_CHANGE = ("measure", "side", "layer")

FLOW_COMPARISON = Layout(
    kind="flow-comparison",
    noun="a comparison of flows",
    default_map="change",
    index={"side": "U", "measure": "U", "example": "i", **FLOW.index},
    maps={
        **{name: Map(("side", "layer", "target", "source"), adds_over=None) for name in ("share", "difference")},
        "change": Map((*_CHANGE, "example"), adds_over=None),
        "head_change": Map(("side", "layer", "head", "example"), adds_over=None),
    },
    others={f"change_{bound}": _CHANGE for bound in ("mean", "low", "high")},
    token_axes=FLOW.token_axes,
)

REPORT = Layout(
    kind="report",
    noun="a report",
    default_map="relevance",
    index={"class": "U", "change": "i"},
    maps={name: Map((TOKEN_AXIS,), adds_over=None) for name in ("relevance", "second", "alone")},
    others={
        **dict.fromkeys(("probability_after", "probability_left"), ("change",)),
        **dict.fromkeys(
            ("spearman", "overlap", "chance", "largest_gap", "without_all", "without_strongest", "without_others"), ()
        ),
        "probability": ("class",),
        PICTURE: ("y", "x", "channel"),
    },
    token_axes=(TOKEN_AXIS,),
)
"""A decision in plain words: what speaks for it, and along `change` what would have changed it."""

LAYOUTS: Mapping[str, Layout] = {
    each.kind: each for each in (FLOW, EXPLAIN, CLASSES, COMPARISON, FLOW_COMPARISON, REPORT)
}
COMPARISONS = (COMPARISON.kind, FLOW_COMPARISON.kind)


def label_name(axis: str, label: str) -> str:
    """The coordinate that holds a label: `source_word` along `source`, plainly `word` along `token`."""
    return label if axis == TOKEN_AXIS else f"{axis}_{label}"


def along(axis: str, labels: Mapping[str, np.ndarray]) -> dict[str, tuple[str, np.ndarray]]:
    """Labels as the coordinates of an axis of tokens."""
    return {label_name(axis, label): (axis, values) for label, values in labels.items()}


def position_name(axis: str) -> str:
    """The coordinate that holds the places in the model's input; for all axes but `token` it is their index."""
    return "position" if axis == TOKEN_AXIS else axis


def without_repeating_index(dataset: xr.Dataset) -> xr.Dataset:
    """Xarray indexes a coordinate named like its axis; one of strings that repeat would break every alignment."""
    return dataset.drop_indexes(TOKEN_AXIS) if TOKEN_AXIS in dataset.indexes else dataset


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


def is_explanation(dataset: xr.Dataset) -> bool:
    """Whether a result answers why, or is a flow."""
    return dataset.attrs.get("kind") == EXPLAIN.kind


def validate(dataset: object) -> None:
    """Raise InputError, naming the first offence, unless the Dataset keeps the layout of its kind.

    Any selection of layers, heads, targets, sources or variables is valid as long as its axes stay axes.
    """
    if not isinstance(dataset, xr.Dataset):
        raise InputError(f"a result is an xarray.Dataset, got {type(dataset).__name__}: pass one result of lignite.")
    layout = layout_of(dataset)
    if not any(name in layout.maps for name in dataset.data_vars):
        raise InputError(
            f"the Dataset holds no scores of {layout.noun} (it has {_listed(dataset.data_vars)}): keep at least one of "
            f"{_listed(layout.maps)}."
        )
    for name in dataset.data_vars:
        _check_variable(str(name), dataset.variables[name], layout)
    used = {dim for name in dataset.data_vars for dim in layout.variables[str(name)]}
    for dim, kind in layout.index.items():
        if dim in used:
            _check_index(dataset, dim, kind)
    if TOKEN_AXIS in used:
        _check_token_axis(dataset)
    for dim in layout.token_axes:
        if dim in used:
            _check_labels(dataset, dim)
    _check_attrs(dataset)


def _check_variable(name: str, variable: xr.Variable, layout: Layout) -> None:
    if name not in layout.variables:
        raise InputError(
            f"{layout.noun} has no variable {name!r}.{did_you_mean(name, layout.variables)} "
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
    if name == PICTURE:
        if variable.dtype != np.uint8 or variable.sizes["channel"] != 3:
            raise InputError(
                f"{name!r} holds {variable.dtype} of shape {variable.shape}, expected uint8 [y, x, 3]: keep it whole."
            )
    elif name in layout.positions:
        if variable.dtype.kind != "i":
            raise InputError(f"{name!r} holds {variable.dtype}, expected positions of tokens: convert it with .astype.")
    elif variable.dtype.kind != "f":
        raise InputError(f"{name!r} holds {variable.dtype}, expected floating-point scores: convert it with .astype.")


def _check_index(dataset: xr.Dataset, dim: str, kind: str) -> None:
    if dim not in dataset.xindexes:
        raise InputError(f"the axis {dim!r} has no labels: restore the coordinate {dim!r} with assign_coords.")
    values = dataset.variables[dim].values
    if not len(values):
        raise InputError(f"the axis {dim!r} is empty: select at least one {dim}.")
    _check_kind(dim, values, kind)
    _check_once(dim, values)
    if dim == "circuit" and not set(values) <= set(CIRCUITS):
        raise InputError(f"the axis 'circuit' is labelled {_listed(values)}, expected {_listed(CIRCUITS)}: rename it.")


def _check_token_axis(dataset: xr.Dataset) -> None:
    if not dataset.sizes[TOKEN_AXIS]:
        raise InputError("the axis 'token' is empty: keep at least one token.")
    if TOKEN_AXIS in dataset.xindexes:
        raise InputError("the axis 'token' is indexed by strings, which repeat: use .drop_indexes('token').")
    if "position" not in dataset.coords:
        raise InputError("the axis 'token' lacks the coordinate 'position': restore it with assign_coords.")
    position = dataset.variables["position"]
    if position.dims != (TOKEN_AXIS,):
        raise InputError(f"'position' lies along {_listed(position.dims)}, expected 'token': rebuild it.")
    _check_kind("position", position.values, "i")
    _check_once(TOKEN_AXIS, position.values)


def _check_once(dim: str, values: np.ndarray) -> None:
    if len(np.unique(values)) != len(values):
        doubled = next(value for i, value in enumerate(values) if value in values[:i])
        raise InputError(f"the axis {dim!r} names {doubled!s} twice: select every label once.")


def _check_labels(dataset: xr.Dataset, axis: str) -> None:
    for label, kind in TOKEN_LABELS.items():
        name = label_name(axis, label)
        if name not in dataset.coords:
            if label in OPTIONAL_LABELS:
                continue
            raise InputError(f"the axis {axis!r} lacks the coordinate {name!r}: restore it with assign_coords.")
        labels = dataset.variables[name]
        if labels.dims != (axis,):
            raise InputError(f"{name!r} lies along {_listed(labels.dims)}, expected {axis!r}: rebuild it.")
        _check_kind(name, labels.values, kind)


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

    Tokens are the same when position, string and, for pairs of texts, segment agree on every token axis. Methods of
    explanation differ in the axes they need: of two explanations, the axes that both have must agree.
    """
    layout, other = layout_of(a), layout_of(b)
    if layout.kind != other.kind:
        raise GridError(f"one result is {layout.noun}, the other {other.noun}: compare results of one kind.")
    dims, axes = ("layer", *layout.token_axes), layout.token_axes
    if layout.kind == EXPLAIN.kind:
        dims, axes = (tuple(dim for dim in names if dim in a.dims and dim in b.dims) for names in (dims, axes))
    for dim in dims:
        _require_equal(a, b, position_name(dim), what=f"{dim}s")
    for axis in axes:
        _require_equal(a, b, label_name(axis, "token"), what=f"the tokens of the {axis} axis")
        segment = label_name(axis, "segment")
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
