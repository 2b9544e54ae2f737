"""Flows of which less than every score is kept: what they can answer, and how they become flows like others."""

import json
from collections.abc import Sequence

import numpy as np
import xarray as xr

from lignite.errors import OptionError
from lignite.results.schema import FLOW, validate


def is_kept_in_part(dataset: xr.Dataset) -> bool:
    """Whether maps of a flow stand in their strongest sources, or in statistics, alone."""
    return any(str(name).endswith(("_top", "_stats")) for name in dataset.data_vars)


def keep_of(dataset: xr.Dataset) -> str:
    """What was asked to be kept."""
    return str(json.loads(str(dataset.attrs.get("request") or "{}")).get("keep", "full"))


def check_every_source(dataset: xr.Dataset, what: str) -> None:
    """Refuse a flow that does not hold every score.

    Raises
    ------
    OptionError
        With what to ask for instead.
    """
    if is_kept_in_part(dataset):
        filled = any(str(name).endswith("_top") for name in dataset.data_vars)
        other = ", or take result.lignite.fill(), where what was dropped is zero" if filled else " or 'top:64'"
        raise OptionError(
            f"this flow has keep={keep_of(dataset)!r}, and {what} every source of a target. Compute it with "
            f"keep='full'{other}."
        )


def fill(dataset: xr.Dataset) -> xr.Dataset:
    """The flow with every source of a target, what was dropped being zero."""
    named = [name for name in FLOW.maps if f"{name}_top" in dataset]
    if not named:
        raise OptionError("this flow keeps no strongest sources to fill in: compute it with keep='top:64' or the like.")
    filled = {name: _filled(dataset, name) for name in named}
    gone = {name: [f"{name}_{part}" for part in ("top", "top_source", "dropped", "dropped_mass")] for name in named}
    result = dataset.drop_vars([*(other for others in gone.values() for other in others), "rank"], errors="ignore")
    result = result.assign({name: (FLOW.variables[name], values) for name, values in filled.items()})
    result = result.assign_attrs(filled=1)
    validate(result)
    return result


def _filled(dataset: xr.Dataset, name: str) -> np.ndarray:
    scores, named = dataset[f"{name}_top"].values, dataset[f"{name}_top_source"].values
    positions = dataset["source"].values
    found = np.zeros((*scores.shape[:-1], len(positions)), scores.dtype)
    there = named >= 0
    places = np.searchsorted(positions, np.where(there, named, positions[0]))
    rows: Sequence[np.ndarray] = np.nonzero(there)
    found[(*rows[:-1], places[there])] = scores[there]
    return found
