"""What every view says about a comparison of flows: which layers, heads and scores changed."""

from dataclasses import dataclass

import numpy as np
import xarray as xr

from lignite.views.comparison.facts import others_of, reference_of, sides_of
from lignite.views.labels import format_share, visible_token

MEASURED = {
    "spearman": ("rank correlation", "of the scores between different tokens, from −1 to 1"),
    "changed": ("comes from elsewhere", "share of what a target receives, mean over targets"),
    "larger": ("moves further", "logarithm (base 2) of how much further targets move, mean over targets"),
    "reweighed": ("other heads", "share of the heads' part in a target's output that other heads have"),
}
"""What is measured of a layer: its title, and what it means."""


@dataclass(frozen=True)
class Edge:
    """A score between two tokens, as shares of all that its target receives on a side and on the reference."""

    layer: int
    source: str
    target: str
    share: float
    beside: float

    @property
    def difference(self) -> float:
        return self.share - self.beside


@dataclass(frozen=True)
class HeadChange:
    """Which share of a head's flow comes from elsewhere than on the reference."""

    layer: int
    head: int
    changed: float


def flow_verdict(dataset: xr.Dataset) -> str:
    """The answer in one sentence: in which layer the flow differs most, and how far."""
    names, reference = sides_of(dataset), reference_of(dataset)
    told = []
    for side in others_of(dataset):
        changed, alike = (means(dataset, side, name) for name in ("changed", "spearman"))
        if not np.isfinite(changed).any():
            continue
        most = int(np.nanargmax(changed))
        told.append(
            f"{names[side]} differs most from {names[reference]} in layer {int(dataset.layer.values[most])}: "
            f"{format_share(float(changed[most]))} of what its tokens receive comes from elsewhere (rank correlation "
            f"{alike[most]:.2f}); on average {format_share(float(np.nanmean(changed)))}.".replace("-0.", "−0.")
        )
    return " ".join(told) or "Nothing of these flows can be compared."


def means(dataset: xr.Dataset, side: int, measure: str, bound: str = "mean") -> np.ndarray:
    """A measure of every layer of a side beside the reference, or a bound of its interval."""
    found = dataset[f"change_{bound}"].transpose("measure", "side", "layer").sel(measure=measure)
    return found.values[side].astype(np.float64)


def edges(dataset: xr.Dataset, side: int, k: int) -> list[Edge]:
    """The `k` scores between two words that differ most from the reference, strongest change first."""
    if "difference" not in dataset:
        return []
    order = ("side", "layer", "target", "source")
    difference = dataset["difference"].transpose(*order).values[side]
    share = dataset["share"].transpose(*order).values
    size = np.abs(difference)
    size = np.where(np.eye(size.shape[-1], dtype=bool) | dataset["source_special"].values, 0, size)
    places = np.argsort(-size, axis=None, kind="stable")[:k]
    sources, targets = (
        [visible_token(str(token)) for token in dataset[f"{axis}_token"].values] for axis in ("source", "target")
    )
    return [
        Edge(
            int(dataset.layer.values[layer]),
            sources[source],
            targets[target],
            float(share[side, layer, target, source]),
            float(share[reference_of(dataset), layer, target, source]),
        )
        for layer, target, source in zip(*np.unravel_index(places, size.shape), strict=True)
        if size[layer, target, source] > 0
    ]


def head_grid(dataset: xr.Dataset, side: int) -> np.ndarray | None:
    """Of every layer and head how much changed, mean over texts; None where the sides have other heads."""
    if "head_change" not in dataset:
        return None
    found = dataset["head_change"].transpose("side", "layer", "head", "example").values[side]
    return np.nanmean(found, axis=-1)


def heads(dataset: xr.Dataset, side: int, k: int) -> list[HeadChange]:
    """The `k` heads that changed most."""
    grid = head_grid(dataset, side)
    if grid is None:
        return []
    places = np.argsort(-np.nan_to_num(grid), axis=None, kind="stable")[:k]
    return [
        HeadChange(int(dataset.layer.values[layer]), int(dataset["head"].values[head]), float(grid[layer, head]))
        for layer, head in zip(*np.unravel_index(places, grid.shape), strict=True)
        if grid[layer, head] > 0
    ]
