"""Arrays of scores and labels of tokens become one labelled Dataset."""

from collections.abc import Mapping, Sequence
from typing import Protocol, runtime_checkable

import numpy as np
import xarray as xr

from lignite.errors import InputError
from lignite.results.schema import CIRCUITS, FLOW, FLOW_ATTRS, validate


@runtime_checkable
class TokenLabels(Protocol):
    """What a result says of the tokens on its axes, one entry per kept token.

    `position` is the place in the model's input. Numbers are −1 where there is nothing to say; `segment` is None
    unless two texts were given, `row` and `col` unless the tokens are image patches.
    """

    @property
    def text(self) -> tuple[str, ...]: ...
    @property
    def position(self) -> tuple[int, ...]: ...
    @property
    def word(self) -> tuple[int, ...]: ...
    @property
    def special(self) -> tuple[bool, ...]: ...
    @property
    def start(self) -> tuple[int, ...]: ...
    @property
    def stop(self) -> tuple[int, ...]: ...
    @property
    def segment(self) -> tuple[int, ...] | None: ...
    @property
    def row(self) -> tuple[int, ...] | None: ...
    @property
    def col(self) -> tuple[int, ...] | None: ...


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
    coords = _coordinates(tokens, layers=layers, targets=targets, variables=variables)
    sizes = {name: len(values) for name, (_, values) in coords.items()}
    for name, values in variables.items():
        _check_shape(name, values, sizes, variables)
    dataset = xr.Dataset({name: (FLOW.variables[name], values) for name, values in variables.items()}, coords)
    dataset.attrs = {**attrs, "kind": FLOW.kind}
    missing = [name for name in FLOW_ATTRS if name not in dataset.attrs]
    if missing:
        raise InputError(f"a flow needs the attributes {', '.join(missing)} too: add them to attrs.")
    validate(dataset)
    return dataset


def _coordinates(
    tokens: TokenLabels, *, layers: Sequence[int], targets: Sequence[int], variables: Mapping[str, np.ndarray]
) -> dict[str, tuple[str, np.ndarray]]:
    position = [int(value) for value in tokens.position]
    strangers = [target for target in targets if target not in position]
    if strangers:
        raise InputError(
            f"target {strangers[0]} is no kept position (these are {position[0]} to {position[-1]}): choose among them."
        )
    places = [position.index(target) for target in targets]
    coords: dict[str, tuple[str, np.ndarray]] = {"layer": ("layer", _whole_numbers(layers))}
    for name, values in variables.items():
        dims = FLOW.variables.get(name, ())
        if "head" in dims and values.ndim == len(dims):
            coords.setdefault("head", ("head", np.arange(values.shape[dims.index("head")], dtype=np.int64)))
    coords["target"] = ("target", _whole_numbers(targets))
    coords["source"] = ("source", _whole_numbers(position))
    for label, labels in _labels(tokens).items():
        if len(labels) != len(position):
            raise InputError(
                f"tokens have {len(position)} positions but {len(labels)} entries of {label!r}: match them."
            )
        coords[f"source_{label}"] = ("source", labels)
        coords[f"target_{label}"] = ("target", labels[places])
    if "whole_circuits" in variables:
        coords["circuit"] = ("circuit", np.asarray(CIRCUITS))
    return coords


def _labels(tokens: TokenLabels) -> dict[str, np.ndarray]:
    labels = {
        "token": np.asarray(tokens.text, dtype=np.str_),
        "word": _whole_numbers(tokens.word),
        "special": np.asarray(tokens.special, dtype=np.bool_),
        "start": _whole_numbers(tokens.start),
        "stop": _whole_numbers(tokens.stop),
    }
    for name in ("segment", "row", "col"):
        values: tuple[int, ...] | None = getattr(tokens, name)
        if values is not None:
            labels[name] = _whole_numbers(values)
    return labels


def _whole_numbers(values: Sequence[int]) -> np.ndarray:
    return np.asarray(list(values), dtype=np.int64)


def _check_shape(name: str, values: np.ndarray, sizes: Mapping[str, int], variables: Mapping[str, np.ndarray]) -> None:
    if name not in FLOW.variables:
        raise InputError(f"a flow has no variable {name!r}: use one of {', '.join(FLOW.variables)}.")
    expected = tuple(sizes.get(dim, -1) for dim in FLOW.variables[name])
    if values.shape != expected:
        axes = ", ".join(f"{dim} {sizes.get(dim, '?')}" for dim in FLOW.variables[name])
        raise InputError(f"{name!r} has shape {values.shape}, expected ({axes}): transpose or select it first.")
    entry = FLOW.maps.get(name)
    if entry is not None and entry.part_of is None:
        missing = [f"{name}_{suffix}" for suffix in ("displacement", "gap") if f"{name}_{suffix}" not in variables]
        if missing:
            raise InputError(f"{name!r} travels without {' and '.join(missing)}: hand them over with it.")
