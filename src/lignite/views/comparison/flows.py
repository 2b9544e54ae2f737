"""What every view says about a comparison of flows: which layers, heads and scores changed."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from lignite.views.comparison.sides import Sides
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


@dataclass(frozen=True)
class FlowSides(Sides):
    """The sides of a comparison of flows."""

    @property
    def map(self) -> str:
        """Which map of the flows is compared."""
        return str(self.dataset.attrs.get("map", "whole"))

    @property
    def layers(self) -> list[int]:
        return [int(layer) for layer in self.dataset.layer.values]

    @property
    def verdict(self) -> str:
        """The answer in one sentence: in which layer the flow differs most, and how far."""
        told = []
        for side in self.others:
            changed, alike = (self.means(side, name) for name in ("changed", "spearman"))
            if not np.isfinite(changed).any():
                continue
            most = int(np.nanargmax(changed))
            told.append(
                f"{self.names[side]} differs most from {self.names[self.reference]} in layer {self.layers[most]}: "
                f"{format_share(float(changed[most]))} of what its tokens receive comes from elsewhere (rank "
                f"correlation {alike[most]:.2f}); on average {format_share(float(np.nanmean(changed)))}."
            )
        return " ".join(told).replace("-0.", "−0.") or "Nothing of these flows can be compared."

    def means(self, side: int, measure: str, bound: str = "mean") -> Float[np.ndarray, " layer"]:
        """A measure of every layer of a side beside the reference, or a bound of its interval."""
        found = self.dataset[f"change_{bound}"].transpose("measure", "side", "layer").sel(measure=measure)
        return found.values[side].astype(np.float64)

    def intervals(self, side: int, measure: str) -> list[tuple[float, float, float]]:
        """A measure of every layer with the bounds of its interval."""
        bounds = (self.means(side, measure, bound).tolist() for bound in ("mean", "low", "high"))
        return list(zip(*bounds, strict=True))

    def edges(self, side: int, k: int) -> list[Edge]:
        """The `k` scores between two words that differ most from the reference, strongest change first."""
        found = self.dataset
        if "difference" not in found:
            return []
        order = ("side", "layer", "target", "source")
        size = np.abs(found["difference"].transpose(*order).values[side])
        size = np.where(np.eye(size.shape[-1], dtype=bool) | found["source_special"].values, 0, size)
        places = np.unravel_index(np.argsort(-size, axis=None, kind="stable")[:k], size.shape)
        return [self._edge(side, *map(int, place)) for place in zip(*places, strict=True) if size[place] > 0]

    def _edge(self, side: int, layer: int, target: int, source: int) -> Edge:
        share = self.dataset["share"].isel(layer=layer, target=target, source=source)
        return Edge(
            self.layers[layer],
            visible_token(str(self.dataset["source_token"].values[source])),
            visible_token(str(self.dataset["target_token"].values[target])),
            float(share.isel(side=side)),
            float(share.isel(side=self.reference)),
        )

    def head_grid(self, side: int) -> Float[np.ndarray, "layer head"] | None:
        """Of every layer and head how much changed, mean over texts; None where the sides have other heads."""
        if "head_change" not in self.dataset:
            return None
        found = self.dataset["head_change"].transpose("side", "layer", "head", "example").values[side]
        return np.nanmean(found, axis=-1)

    def heads(self, side: int, k: int) -> list[HeadChange]:
        """The `k` heads that changed most."""
        grid = self.head_grid(side)
        if grid is None:
            return []
        places = np.argsort(-np.nan_to_num(grid), axis=None, kind="stable")[:k]
        numbers = self.dataset["head"].values
        return [
            HeadChange(self.layers[layer], int(numbers[head]), float(grid[layer, head]))
            for layer, head in zip(*np.unravel_index(places, grid.shape), strict=True)
            if grid[layer, head] > 0
        ]
