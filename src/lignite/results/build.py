"""Arrays of scores and labels of tokens become one labelled Dataset."""

from collections.abc import Mapping, Sequence

import numpy as np
import xarray as xr

from lignite.errors import InputError
from lignite.results.schema import (
    CIRCUITS,
    EXPLAIN,
    EXPLAIN_ATTRS,
    FLOW,
    FLOW_ATTRS,
    OPTIONAL_CERTIFICATES,
    OPTIONAL_LABELS,
    PICTURE,
    STATISTICS,
    TOKEN_AXIS,
    Layout,
    along,
    validate,
)
from lignite.token_labels import TokenLabels

Coordinates = dict[str, tuple[str, np.ndarray]]


def build_flow(
    *,
    tokens: TokenLabels,
    layers: Sequence[int],
    targets: Sequence[int],
    variables: Mapping[str, np.ndarray],
    attrs: Mapping[str, str | int | float],
) -> xr.Dataset:
    """Label the scores of a flow.

    Parameters
    ----------
    tokens
        Labels of the sources, in the order of the arrays' last axis.
    layers, targets
        Block numbers, and positions (not places in the array) of the tokens on the target axis.
    variables
        Any of the layout's variables; a map needs its displacement and gap beside it.
    attrs
        Everything that `FLOW_ATTRS` names; `kind` is set here.
    """
    positions = _positions(tokens)
    strangers = [target for target in targets if target not in positions]
    if strangers:
        raise InputError(
            f"target {strangers[0]} is no kept position (these are {positions[0]} to {positions[-1]}): choose among "
            "them."
        )
    places = [positions.index(target) for target in targets]
    labels = _labels(tokens)
    coords: Coordinates = {"layer": ("layer", _whole_numbers(layers)), **_heads(FLOW, variables)}
    coords |= {"target": ("target", _whole_numbers(targets)), "source": ("source", _whole_numbers(positions))}
    coords |= along("source", labels) | along("target", {label: values[places] for label, values in labels.items()})
    if "whole_circuits" in variables:
        coords["circuit"] = ("circuit", np.asarray(CIRCUITS))
    if n_ranks := _size_of("rank", FLOW, variables):
        coords["rank"] = ("rank", np.arange(n_ranks, dtype=np.int64))
    if _size_of("statistic", FLOW, variables):
        coords["statistic"] = ("statistic", np.asarray(STATISTICS))
    return _assemble(FLOW, FLOW_ATTRS, coords, variables, attrs)


def build_explanation(
    *,
    tokens: TokenLabels,
    variables: Mapping[str, np.ndarray],
    attrs: Mapping[str, str | int | float],
    layers: Sequence[int] | None = None,
    classes: Sequence[str] | None = None,
) -> xr.Dataset:
    """Label the scores of an explanation.

    Parameters
    ----------
    tokens
        Labels of all kept tokens, in the order of the arrays' token axes; `target` and `source` are these tokens, too.
    variables
        `relevance`, and any other of the layout's variables with their certificates.
    attrs
        Everything that `EXPLAIN_ATTRS` names; `kind` is set here.
    layers
        Numbers of the layers; without them counted from 0.
    classes
        Names of the classes, for `probability` and `logit`.
    """
    if "relevance" not in variables:
        raise InputError("an explanation needs the variable 'relevance': hand it over with the others.")
    dims = {dim for name in variables for dim in EXPLAIN.variables.get(name, ())}
    coords: Coordinates = {}
    if "layer" in dims:
        counted = _size_of("layer", EXPLAIN, variables)
        coords["layer"] = ("layer", _whole_numbers(range(counted) if layers is None else layers))
    coords |= _heads(EXPLAIN, variables)
    positions, labels = _positions(tokens), _labels(tokens)
    coords["position"] = (TOKEN_AXIS, _whole_numbers(positions))
    for axis in EXPLAIN.token_axes:
        if axis in dims:
            coords |= along(axis, labels)
        if axis in dims and axis != TOKEN_AXIS:
            coords[axis] = (axis, _whole_numbers(positions))
    if "class" in dims:
        if classes is None:
            raise InputError("probabilities and logits need the names of their classes: pass classes=.")
        coords["class"] = ("class", np.asarray(list(classes), dtype=np.str_))
    return _assemble(EXPLAIN, EXPLAIN_ATTRS, coords, variables, attrs)


def _assemble(
    layout: Layout,
    needed_attrs: Sequence[str],
    coords: Coordinates,
    variables: Mapping[str, np.ndarray],
    attrs: Mapping[str, str | int | float],
) -> xr.Dataset:
    sizes = {name: len(values) for name, (_, values) in coords.items()}
    for name, values in variables.items():
        _check_shape(layout, name, values, sizes)
        _check_certificates(layout, name, variables)
    unindexed = {name: coords.pop(name) for name in (TOKEN_AXIS,) if name in coords}
    dataset = xr.Dataset({name: (layout.variables[name], values) for name, values in variables.items()}, coords)
    dataset = dataset.assign_coords(xr.Coordinates(unindexed, indexes={}))
    dataset.attrs = {**attrs, "kind": layout.kind}
    missing = [name for name in needed_attrs if name not in dataset.attrs]
    if missing:
        raise InputError(f"{layout.noun} needs the attributes {', '.join(missing)} too: add them to attrs.")
    validate(dataset)
    return dataset


def _positions(tokens: TokenLabels) -> list[int]:
    return [int(value) for value in tokens.position]


def _size_of(dim: str, layout: Layout, variables: Mapping[str, np.ndarray]) -> int:
    """How long an axis is in the first variable that has it; `_check_shape` holds the others to it."""
    for name, values in variables.items():
        dims = layout.variables.get(name, ())
        if dim in dims and values.ndim == len(dims):
            return values.shape[dims.index(dim)]
    return 0


def _heads(layout: Layout, variables: Mapping[str, np.ndarray]) -> Coordinates:
    n_heads = _size_of("head", layout, variables)
    return {"head": ("head", np.arange(n_heads, dtype=np.int64))} if n_heads else {}


def _labels(tokens: TokenLabels) -> dict[str, np.ndarray]:
    labels = {
        "token": np.asarray(tokens.text, dtype=np.str_),
        "word": _whole_numbers(tokens.word),
        "special": np.asarray(tokens.special, dtype=np.bool_),
        "start": _whole_numbers(tokens.start),
        "stop": _whole_numbers(tokens.stop),
    }
    for name in sorted(OPTIONAL_LABELS):
        values: tuple[int, ...] | None = getattr(tokens, name)
        if values is not None:
            labels[name] = _whole_numbers(values)
    for name, column in labels.items():
        if len(column) != len(tokens.position):
            raise InputError(
                f"tokens have {len(tokens.position)} positions but {len(column)} entries of {name!r}: match them."
            )
    return labels


def _whole_numbers(values: Sequence[int]) -> np.ndarray:
    return np.asarray(list(values), dtype=np.int64)


def _check_shape(layout: Layout, name: str, values: np.ndarray, sizes: Mapping[str, int]) -> None:
    if name not in layout.variables:
        raise InputError(f"{layout.noun} has no variable {name!r}: use one of {', '.join(layout.variables)}.")
    if name == PICTURE:
        return  # as large as it is; `validate` looks at its channels
    expected = tuple(sizes.get(dim, -1) for dim in layout.variables[name])
    if values.shape != expected:
        axes = ", ".join(f"{dim} {sizes.get(dim, '?')}" for dim in layout.variables[name])
        raise InputError(f"{name!r} has shape {values.shape}, expected ({axes}): transpose or select it first.")


def _check_certificates(layout: Layout, name: str, variables: Mapping[str, np.ndarray]) -> None:
    """A map travels with what certifies it, and a displacement with its gap."""
    partner = name.replace("displacement", "gap") if "displacement" in name else name.replace("gap", "displacement")
    needed = [partner] if partner in layout.others else []
    if name in layout.maps:
        needed = [other for other in layout.maps[name].certificates if other not in OPTIONAL_CERTIFICATES]
        if f"{name}_source" in layout.positions:
            needed += [f"{name}_source", *(f"{layout.maps[name].part_of}_dropped{part}" for part in ("", "_mass"))]
    missing = [other for other in needed if other not in variables]
    if missing:
        raise InputError(f"{name!r} travels without {' and '.join(missing)}: hand them over with it.")
