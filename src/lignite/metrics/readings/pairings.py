"""Pairings of starts, ranked by how well two ways to tell a layer agree under them."""

import numpy as np
import pandas as pd  # type: ignore[import-untyped]
import xarray as xr

from lignite.calls import check_choice
from lignite.metrics.readings.agreement import MEASURES
from lignite.metrics.readings.statistics import interval

DIAGONALS = ("with", "without")
PAIRING = ("whole", "attention", "mlp", "composition")
CORRELATIONS = ("pearson", "spearman")
"""Measures of which more is better; distances are better small."""


def rank_pairings(
    compared: xr.Dataset,
    measure: str = "spearman",
    *,
    diagonal: str = "without",
    layer: int | None = None,
    seed: int = 0,
) -> pd.DataFrame:
    """Rank all pairings by one measure: its mean over layers (or in one of them), with an interval over sentences.

    Parameters
    ----------
    compared
        From `consistency`: the measures of `compare_pairings`, over sentences.
    measure
        One of the measures of `lignite.agreement`; correlations are best first, distances smallest first.

    Returns
    -------
    A row for each pairing: its starts and composition, `mean`, `low`, `high` (95 %), `n` sentences, and `behind`,
    `behind_low`, `behind_high`: by how much it agrees less than the best one in the same sentences. `behind` of a
    distance is in its own unit.
    """
    check_choice("measure", measure, MEASURES)
    check_choice("diagonal", diagonal, DIAGONALS)
    flat = _by_pairing(compared, measure, diagonal, layer)
    sign = 1 if measure in CORRELATIONS else -1
    order = np.argsort(-sign * np.nanmean(flat.values, 1), kind="stable").tolist()
    rows = [
        {
            **dict(zip(PAIRING, flat["pairing"].values[place], strict=True)),
            **_summary(flat.values, place, order[0], sign, seed),
        }
        for place in order
    ]
    return pd.DataFrame(rows)


def _by_pairing(compared: xr.Dataset, measure: str, diagonal: str, layer: int | None) -> xr.DataArray:
    """Scores ``[pairing, sentence]`` of the pairings that were computed."""
    found = compared[measure].sel(diagonal=diagonal)
    found = found.mean("layer", skipna=False) if layer is None else found.sel(layer=layer)
    flat = found.stack(pairing=PAIRING).transpose("pairing", "sentence")
    return flat[flat.notnull().any("sentence").values]


def _summary(scores: np.ndarray, place: int, best: int, sign: int, seed: int) -> dict[str, float]:
    mean, behind = interval(scores[place], seed=seed), interval(sign * (scores[best] - scores[place]), seed=seed)
    return {
        "mean": mean.mean,
        "low": mean.low,
        "high": mean.high,
        "n": mean.n,
        "behind": behind.mean,
        "behind_low": behind.low,
        "behind_high": behind.high,
    }
