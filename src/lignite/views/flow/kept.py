"""What can be said of a flow of which less than every score is kept."""

import numpy as np
import xarray as xr

from lignite.errors import OptionError
from lignite.results.kept import keep_of
from lignite.views.flow.facts import Score, displacement_of, shares

MAPS = ("whole", "composed", "attention")


def choose_kept(dataset: xr.Dataset, map: str | None) -> str:
    """`map` if something is kept of it; the first map of which something is, if none is asked for."""
    present = [name for name in MAPS if f"{name}_top" in dataset or f"{name}_stats" in dataset]
    if map is None and present:
        return present[0]
    if map not in present:
        keep = keep_of(dataset)
        raise OptionError(f"map={map!r}: keep={keep!r} tells of {', '.join(present)}; choose one of them.")
    return map


def strongest_kept(dataset: xr.Dataset, map: str, layer: int, k: int) -> list[Score]:
    """The k largest scores of one layer by magnitude, between different tokens, special ones left out."""
    scores = dataset[f"{map}_top"].sel(layer=layer).values
    named = dataset[f"{map}_top_source"].sel(layer=layer).values
    sources, targets = dataset["source"].values, dataset["target"].values
    places = np.searchsorted(sources, np.where(named >= 0, named, sources[0]))
    out = (named < 0) | (named == targets[:, None]) | dataset["source_special"].values[places]
    size = np.where(out | dataset["target_special"].values[:, None], -1.0, np.abs(scores))
    order = np.argsort(-size, axis=None, kind="stable")[:k]
    by_target = displacement_of(dataset, map)
    share = None
    if by_target is not None:
        share = shares(dataset[f"{map}_top"].sel(layer=layer), by_target.sel(layer=layer)).values
    found = []
    for flat in order[size.ravel()[order] > 0]:
        at = np.unravel_index(flat, scores.shape)
        head = int(dataset["head"].values[at[0]]) if len(at) > 2 else None
        found.append(
            Score(
                layer, int(targets[at[-2]]), int(named[at]), str(dataset["target_token"].values[at[-2]]),
                str(dataset["source_token"].values[places[at]]), head, None, float(scores[at]),
                float("nan") if share is None else float(share[at]),
            )
        )  # fmt: skip
    return found


def share_kept(dataset: xr.Dataset, map: str) -> xr.DataArray:
    """Which share of the magnitude of all scores the kept ones have, by layer."""
    others = [dim for dim in dataset[f"{map}_dropped_mass"].dims if dim != "layer"]
    kept = abs(dataset[f"{map}_top"].astype(np.float64)).sum([*others, "rank"])
    return kept / (kept + dataset[f"{map}_dropped_mass"].astype(np.float64).sum(others))
