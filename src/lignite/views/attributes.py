"""What a result's attributes say, in words: the model, the options of the request."""

import json
from typing import Any

import xarray as xr

from lignite.views.labels import model_title, without_folders
from lignite.wording import one_line


def from_json(dataset: xr.Dataset, name: str) -> dict[str, Any]:
    """An attribute that holds JSON; what is no object stands under its own name, a view never hides what it finds."""
    try:
        parsed = json.loads(str(dataset.attrs.get(name) or "{}"))
    except json.JSONDecodeError:
        return {name: str(dataset.attrs[name])}
    return parsed if isinstance(parsed, dict) else {name: parsed}


def written(value: object) -> str:
    """A value of the request as text.

    Examples
    --------
    >>> written(["whole", "mlp"]), written(True), written(False), written(0.70001), written("mask")
    ('whole, mlp', 'yes', 'no', '0.7', 'mask')
    """
    if isinstance(value, list):
        return ", ".join(map(written, value))
    if isinstance(value, bool):
        return "yes" if value else "no"
    return without_folders(f"{value:.4g}" if isinstance(value, float) else str(value))


def options(dataset: xr.Dataset) -> dict[str, str]:
    """The options of the request as they were given, those that ask for nothing omitted."""
    request = from_json(dataset, "request")
    return {name: written(value) for name, value in request.items() if value not in (None, "", [])}


def model_name(dataset: xr.Dataset) -> str:
    """The model with its revision, where one is known."""
    revision = dataset.attrs.get("revision")
    return model_title(str(dataset.attrs.get("model", ""))) + (f" @ {one_line(str(revision))}" if revision else "")
