"""Does attention followed by the MLP tell the same as the whole layer, and under which baselines? (:arxiv:`2606.21564`)

A layer is explained twice: at once (`whole`), and in two steps whose scores are joined (`composed`). Both need a start,
and each step may have another. For every pairing of starts the two maps are compared, sentence by sentence.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import torch
import xarray as xr

from lignite.api.flow import flow
from lignite.attribution.maps import compose
from lignite.data.sentences import Sentence
from lignite.errors import OptionError
from lignite.metrics.readings.agreement import MEASURES, agree
from lignite.metrics.readings.pairings import DIAGONALS
from lignite.models.load import Model
from lignite.options import COST, option
from lignite.studies.study import Study
from lignite.views.study.consistency import report_consistency
from lignite.views.study.report import Report

WHOLE = ("zero", "target_token", "target_token/zero_ratio")
ATTENTION = ("zero", "target_token", "target_token/zero_ratio", "target_token/map_ratio")
"""Where the path starts, and behind the stroke what completes the diagonal, which is zero by construction under the
target-token baseline."""

MLP = ("zero", "attention_start")
COMPOSITIONS = ("product", "conserving")

DIMS = ("layer", "whole", "attention", "mlp", "composition", "diagonal")
AXES: tuple[Sequence[str], ...] = (WHOLE, ATTENTION, MLP, COMPOSITIONS, DIAGONALS)


@dataclass(frozen=True)
class Halves:
    """Maps of a layer's two steps, by the start of each; all of one sentence."""

    attention: dict[str, xr.DataArray]
    moved: dict[str, xr.DataArray]
    """How far each head moved, along the path that starts there."""
    mlp: dict[tuple[str, str], xr.DataArray]
    """By the baseline of the states, at whose start the heads' may begin, and by the heads' own."""


@dataclass(frozen=True, kw_only=True)
class Consistency(Study, name="consistency"):
    """Compare `composed` with `whole` over a corpus, under every pairing of their starts.

    Returns
    -------
    The measures of `lignite.agreement`, over sentence, layer, start of `whole`, of `attention` and of `mlp`,
    composition, and whether what a token gives itself takes part; `rank_pairings` ranks the pairings.
    """

    tol: float = option(1e-3, "Gap allowed per displacement, of each map.", panel=COST, metavar="SHARE")

    def answer(self, model: Model, sentence: Sentence, others: Mapping[str, Model]) -> xr.Dataset:
        """Compare the maps of one sentence."""
        return compare_pairings(model, sentence.input, tol=self.tol)

    @classmethod
    def report(cls, found: xr.Dataset) -> Report:
        """Where the paper's pairing stands among all."""
        return report_consistency(found)


def _labelled(values: dict[str, np.ndarray], layers: Sequence[int], skipped: Sequence[str]) -> xr.Dataset:
    coordinates = {"layer": list(layers), **{name: list(axis) for name, axis in zip(DIMS[1:], AXES, strict=True)}}
    return xr.Dataset({name: (DIMS, one) for name, one in values.items()}, coordinates, {"missing": list(skipped)})


def compare_pairings(model: Model, sentence: Any, *, tol: float = 1e-3) -> xr.Dataset:
    """Compare `composed` with `whole` under every pairing of their starts, in one sentence.

    Six flows serve all 96 pairings: what a step is under one start does not depend on the start of the other.

    Parameters
    ----------
    sentence
        A text or words, as `lignite.flow` takes them.
    tol
        Gap allowed per displacement, of each map.

    Returns
    -------
    The measures of `lignite.agreement`, each over layer, start of `whole`, of `attention` and of `mlp`, composition,
    and whether what a token gives itself takes part. A start that the model cannot offer (attention weights that its
    blocks do not show) is NaN everywhere, and named in the attribute `missing`.
    """
    wholes, halves, skipped = _maps(model, sentence, tol)
    first = next(iter(wholes.values()))
    others = first["target"].values[:, None] != first["source"].values
    parts = (np.ones_like(others), others)
    shape = (first.sizes["layer"], *map(len, AXES))
    found = {name: np.full(shape, np.nan) for name in MEASURES}
    steps = product(enumerate(ATTENTION), enumerate(MLP), enumerate(COMPOSITIONS))
    for (at_attention, attention), (at_mlp, mlp), (at_composition, composition) in steps:
        if attention not in halves.attention:
            continue
        joined = _joined(halves, attention, mlp, composition)
        for (at, whole), layer, (side, entries) in product(enumerate(WHOLE), range(shape[0]), enumerate(parts)):
            agreed = agree(joined[layer], wholes[whole].values[layer].astype(np.float64), entries)
            for name in MEASURES:
                found[name][layer, at, at_attention, at_mlp, at_composition, side] = agreed[name]
    return _labelled(found, first["layer"].values.tolist(), skipped)


def _maps(model: Model, sentence: Any, tol: float) -> tuple[dict[str, xr.DataArray], Halves, list[str]]:
    """Every map that some pairing needs, each once; and the starts that the model cannot offer."""
    wholes: dict[str, xr.DataArray] = {}
    skipped = []
    halves = Halves({}, {}, {})
    for start in ATTENTION:
        baseline, _, self_term = start.partition("/")
        maps = ("attention", "mlp", "whole") if not self_term else ("attention", "whole")
        try:
            found = flow(model, sentence, baseline=baseline, self_term=self_term or "measured", maps=maps, tol=tol)
        except OptionError as error:
            if self_term != "map_ratio":
                raise
            skipped.append(f"{start}: {error}")
            continue
        halves.attention[start] = found["attention"]
        halves.moved[start] = found["attention_displacement"]
        if start in WHOLE:
            wholes[start] = found["whole"]
        if not self_term:
            halves.mlp[baseline, "attention_start"] = found["mlp"]
            silent = flow(model, sentence, baseline=baseline, mlp_baseline="zero", maps="mlp", tol=tol)
            halves.mlp[baseline, "zero"] = silent["mlp"]
    return wholes, halves, skipped


def _joined(halves: Halves, attention: str, mlp: str, composition: str) -> np.ndarray:
    """`composed` of every layer, ``[layer, target, source]``."""
    maps, moved = halves.attention[attention], halves.moved[attention]
    after = halves.mlp[attention.partition("/")[0], mlp].transpose("layer", "target", "head")
    targets = torch.arange(maps.sizes["target"])
    return np.stack(
        [
            compose(
                torch.from_numpy(one.transpose("target", "head", "source").values.astype(np.float64)),
                torch.from_numpy(far.transpose("target", "head").values.astype(np.float64)),
                torch.from_numpy(given.values.astype(np.float64)),
                targets,
                composition=composition,
            )[0].numpy()
            for one, far, given in zip(maps, moved, after, strict=True)
        ]
    )
