"""Where along its path attribution accrues: early, late or all along, and whether it turns back on itself."""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import xarray as xr
from jaxtyping import Float

from lignite.api.flow import flow, flow_along
from lignite.data.sentences import Sentence
from lignite.errors import GapWarning
from lignite.metrics.readings.agreement import agreement
from lignite.metrics.readings.changes import mean
from lignite.models.load import Model
from lignite.options import option
from lignite.studies.study import Study
from lignite.views.study.paths import report_paths
from lignite.views.study.report import Report

MAPS = ("attention", "mlp", "whole")
NODES = (2, 4, 8, 16, 32)
"""Of the fixed rules whose gaps are measured."""

NEGLIGIBLE = 0.01
"""A part of a source's score changes sign only if it is more than so much of the target's largest."""

Parts = Float[np.ndarray, "part target *head source"]


@dataclass(frozen=True, kw_only=True)
class Paths(Study, name="paths"):
    """Measure the shape of paths: where attribution accrues on the way from the start to the input.

    Returns
    -------
    Over sentence, layer and map: `accrued` by the place on the path (`end`), the share of the sizes of all that is
    added up to there; `half`, the smallest share of the path on which half of it accrues (0.5 where it accrues evenly);
    `turns`, how often a source's score changes sign along the path, and `cancelled`, the share of sizes that is taken
    back again; `missed`, the gap of a rule of so many `nodes` per displacement. And over sentence and layer
    `agreement` of `composed` with `whole`, by rank and without the diagonal.
    """

    baseline: Literal["target_token", "zero", "mean", "pad", "mask"] = option(
        "target_token", "Start of the path.", metavar="NAME"
    )
    parts: int = option(16, "Equal parts of the path.", metavar="N", most=256)

    def answer(self, model: Model, sentence: Sentence, others: Mapping[str, Model]) -> xr.Dataset:
        """Measure one sentence."""
        cuts = [part / self.parts for part in range(1, self.parts)]
        along = flow_along(model, sentence.input, cuts, baseline=self.baseline)
        both = flow(model, sentence.input, baseline=self.baseline, composition="conserving", tol=1e-2)
        agreed = agreement(both, diagonal=False)["spearman"].values.reshape(-1)
        shaped = [xr.concat([shape(each) for each in along[name].values], "layer") for name in MAPS]
        found = xr.concat(shaped, "map", join="exact").assign_coords(
            map=list(MAPS), layer=along["layer"].values, end=along["end"].values
        )
        missed = xr.concat([self._missed(model, sentence, nodes) for nodes in NODES], "nodes")
        return found.assign(agreement=("layer", agreed), missed=missed.assign_coords(nodes=list(NODES)))

    def _missed(self, model: Model, sentence: Sentence, nodes: int) -> xr.DataArray:
        """Measure the gap of a fixed rule, as a share of the displacement; mean over targets and heads."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", GapWarning)  # it is what is measured
            found = flow(model, sentence.input, baseline=self.baseline, maps=MAPS, n_steps=nodes)
        shares = [abs(found[f"{name}_gap"]) / found[f"{name}_displacement"] for name in MAPS]
        means = [
            share.where(np.isfinite(share)).mean([dim for dim in share.dims if dim != "layer"]) for share in shares
        ]
        return xr.concat(means, "map", coords="minimal", compat="override").assign_coords(map=list(MAPS))

    @classmethod
    def report(cls, found: xr.Dataset) -> Report:
        """Where scores accrue, and what turns cost."""
        return report_paths(found)


def shape(parts: Parts) -> xr.Dataset:
    """Measure how the scores of one map come about from its parts; of `mlp` the heads are the sources."""
    rows = np.moveaxis(parts, 0, -2).astype(np.float64)  # [target, *head, part, source]
    rows = rows.reshape(-1, *rows.shape[-2:])
    sizes = abs(rows).sum(-1)
    total = sizes.sum(-1, keepdims=True)
    density = np.divide(sizes, total, out=np.full_like(sizes, np.nan), where=total > 0)
    kept = abs(rows.sum(1)).sum(-1)
    back = 1 - np.divide(kept, total[:, 0], out=np.full_like(kept, np.nan), where=total[:, 0] > 0)
    return xr.Dataset(
        {
            "accrued": ("end", mean(density.cumsum(-1), 0)),
            "half": mean(shortest_half(density), 0),
            "turns": mean(count_turns(rows), 0),
            "cancelled": mean(back, 0),
        }
    )


def shortest_half(density: Float[np.ndarray, "row part"]) -> Float[np.ndarray, " row"]:
    """Find the smallest share of the path, in pieces, on which half of everything accrues."""
    falling = -np.sort(-density, axis=-1)
    reached = np.concatenate([np.zeros((len(falling), 1)), falling.cumsum(-1)], -1)
    places = np.arange(reached.shape[-1]) / density.shape[-1]
    return np.array([np.nan if np.isnan(row).any() else np.interp(0.5, row, places) for row in reached])


def count_turns(rows: Float[np.ndarray, "row part source"]) -> Float[np.ndarray, " row"]:
    """Count how often a source's parts change sign, those that are next to nothing left out; mean over its sources."""
    largest = abs(rows).max((1, 2), keepdims=True)
    signs = np.where(abs(rows) > NEGLIGIBLE * largest, np.sign(rows), 0)
    found = []
    for row in signs:
        seen = [source[source != 0] for source in row.T]
        counts = [float((each[1:] != each[:-1]).sum()) for each in seen if len(each)]
        found.append(np.mean(counts) if counts else np.nan)
    return np.array(found)
