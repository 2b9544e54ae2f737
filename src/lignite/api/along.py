"""Flow along its path: what every part of the way from the start to the input adds to the scores."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import xarray as xr

from lignite.api.flow import prepare
from lignite.api.flow_options import FlowOptions
from lignite.attribution.layer import MapOptions, follow_layer
from lignite.blocks.fitting import chance_named
from lignite.inputs.encode import encode
from lignite.memory import memory_budget
from lignite.models.hold import at_rest, switches_undone
from lignite.models.load import Model

AXES = {
    "attention": ("layer", "part", "target", "head", "source"),
    "mlp": ("layer", "part", "target", "head"),
    "whole": ("layer", "part", "target", "source"),
}


def flow_along(model: Model, given: Any, cuts: Sequence[float], *, baseline: str = "target_token") -> xr.Dataset:
    """Compute the maps of a flow in parts, each what the path adds between two cuts.

    Every part is integrated by one rule of its own, so that a path which turns is followed the closer, the more parts
    there are. Without a certificate: the parts of `lignite.flow`'s scores add up to these within its tolerance.

    Parameters
    ----------
    cuts
        Rising numbers between 0, the start of the path, and 1, the input.

    Returns
    -------
    `attention`, `mlp` and `whole` over the axes of a flow and `part`; `end` is where a part ends.
    """
    options = FlowOptions(baseline=baseline, maps=("attention", "mlp", "whole"))
    maps = MapOptions(maps=tuple(options.maps))
    budget = memory_budget(model.device, None)
    (encoded,) = encode(model, given)
    found = []
    with at_rest(model.network), switches_undone(model.network), chance_named(model, encoded):
        prepared = prepare(model, encoded, options, None)
        targets = torch.tensor(prepared.targets, device=model.device)
        for layer in prepared.layers:
            scores = follow_layer(*prepared.split(layer), targets, maps, cuts, budget)
            found.append({name: scores[name].cpu().numpy() for name in AXES})
    return xr.Dataset(
        {name: (axes, np.stack([one[name] for one in found])) for name, axes in AXES.items()},
        {"layer": prepared.layers, "end": ("part", [*cuts, 1.0])},
    )
