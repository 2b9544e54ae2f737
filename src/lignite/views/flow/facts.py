"""What every view says about a flow: its maps, options, strongest scores and how far they can be trusted."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import xarray as xr
from jaxtyping import Bool

from lignite.calls import check_choice
from lignite.errors import OptionError
from lignite.results.accessor import moved
from lignite.results.certificate import Certificate, certificate
from lignite.results.kept import check_every_source
from lignite.results.spelling import readable
from lignite.views.attributes import from_json
from lignite.views.labels import format_score, format_share, token_in_words
from lignite.views.patches.facts import is_image
from lignite.wording import counted

MAPS = ("whole", "composed", "attention", "attention_sum", "mlp", "whole_heads", "whole_circuits")
TITLES = {
    "whole": "whole block: states to states",
    "composed": "composed: attention then mlp",
    "attention": "attention: states to heads",
    "attention_sum": "attention, heads added up: states to heads",
    "mlp": "mlp: heads to states",
    "whole_heads": "whole block, split by head",
    "whole_circuits": "whole block, split by circuit",
}
QUANTILE = 0.995
"""Colours end at this quantile of magnitudes off the diagonal: what a token keeps for itself would drown the rest."""

SPLITS = {"attention": "head", "whole_heads": "head", "whole_circuits": "circuit"}


@dataclass(frozen=True)
class Score:
    """One entry of a map. `source` is None in `mlp`, where a head is the source."""

    layer: int
    target: int
    source: int | None
    target_token: str
    source_token: str | None
    head: int | None
    circuit: str | None
    score: float
    share: float  # of the target's displacement; NaN where that is unknown or zero


@dataclass(frozen=True)
class WorstGap:
    """The target that a map explains worst, and how many are explained within the tolerance."""

    map: str
    relative: float
    layer: int
    head: int | None
    target: int
    target_token: str
    within: int
    total: int


SPECIAL = ("show", "rank", "hide")


def arrange(dataset: xr.Dataset, *, tokens: bool = False, special: str = "show") -> xr.Dataset:
    """The flow as it is looked at: sub-words added up unless `tokens` asks for them, special tokens shown or hidden."""
    choose_map(dataset, None)  # refuses a result without a map
    check_choice("special", special, SPECIAL)
    axis = token_axis(dataset)
    dataset = readable(dataset) if tokens or is_image(dataset, axis) else dataset.lignite.merge_words()
    return dataset.lignite.drop_special() if special == "hide" else dataset


def answer(dataset: xr.Dataset, map: str, *, special: bool = False) -> str:
    """What every view of a flow says first: its strongest score between two tokens, or that none stands out."""
    best = [found[0] for layer in dataset.layer.values if (found := strongest(
        dataset, map=map, layer=int(layer), k=1, special=special))]  # fmt: skip
    if not best:
        return "No token gives anything to another one."
    score = max(best, key=lambda found: abs(found.score))
    given = f"head {score.head}" if score.source is None else token_in_words(score.source_token or "")
    share = f", {format_share(score.share)} of what moves it" if np.isfinite(score.share) else ""
    counts = np.abs(dataset[map].values[np.isfinite(dataset[map].values)])
    if counts.size >= 64 and abs(score.score) < 2 * counts[counts > 0].mean():
        return f"Spread evenly over {counted(dataset.sizes[token_axis(dataset)], 'token')}: no score stands out."
    return (
        f"Strongest: {given} → {token_in_words(score.target_token)} in layer {score.layer}, "
        f"{format_score(score.score)}{share}."
    )


def doubt(dataset: xr.Dataset) -> str:
    """What has to be said before anything else of a flow outside its tolerance; empty inside it."""
    missing = [gap for gap in worst_gaps(dataset) if gap.within < gap.total]
    if not missing:
        return ""
    worst = max(missing, key=lambda gap: gap.relative)
    return (
        f"Not settled: {sum(gap.total - gap.within for gap in missing):,} of "
        f"{sum(gap.total for gap in worst_gaps(dataset)):,} targets miss more than they may, {worst.map} up to "
        f"{format_share(worst.relative)}."
    )


def maps_in(dataset: xr.Dataset) -> tuple[str, ...]:
    """The maps this result holds, the most informative first."""
    return tuple(name for name in MAPS if name in dataset)


def token_axis(dataset: xr.Dataset) -> str:
    """The axis that names all tokens; a result of `mlp` alone may have lost its sources."""
    return "source" if "source" in dataset.coords else "target"


def choose_map(dataset: xr.Dataset, map: str | None) -> str:
    """`map` if the result holds it; its first map if none is asked for."""
    present = maps_in(dataset)
    check_every_source(dataset, "views show")
    if not present:
        raise OptionError(f"This result holds no flow map (expected one of {', '.join(MAPS)}): compute it with flow().")
    if map is None:
        return present[0]
    if map not in present:
        raise OptionError(f"map={map!r}: this result holds {', '.join(present)}; choose one of them, or compute it.")
    return map


def reader_of(dataset: xr.Dataset) -> int:
    """The place on the target axis from which the answer is read: a class token in front, or the last token."""
    return 0 if bool(dataset.target_special.values[0]) else dataset.sizes["target"] - 1


def displacement_of(dataset: xr.Dataset, map: str) -> xr.DataArray | None:
    """What the scores of each target should add up to; a split of the whole block shares that of `whole`."""
    whole = "whole" if map.startswith("whole_") else map
    return dataset.get(f"{whole}_displacement")


def one_part(dataset: xr.Dataset, map: str, part: int | str | None = None) -> tuple[xr.DataArray, xr.DataArray | None]:
    """Scores `layer, target, column` of one head or circuit, or of all added up, and their displacement."""
    scores, displacement = dataset[map], displacement_of(dataset, map)
    split = SPLITS.get(map)
    if split is not None:
        scores = scores.sum(split, skipna=False) if part is None else scores.sel({split: part})
        if displacement is not None and split in displacement.dims:
            displacement = displacement.sum(split, skipna=False) if part is None else displacement.sel({split: part})
    return scores.transpose("layer", "target", ...), displacement


def shares(scores: xr.DataArray, displacement: xr.DataArray | None) -> xr.DataArray:
    """Scores divided by their target's displacement; NaN where that is missing, or the target moved nowhere."""
    if displacement is None:
        return xr.full_like(scores, np.nan)
    return (scores / moved(displacement)).transpose(*scores.dims)


def plans(dataset: xr.Dataset) -> dict[str, list[int]]:
    """The names of the plans, each with the layers that used it."""
    layers_of: dict[str, list[int]] = {}
    for layer, names in from_json(dataset, "plans").items():
        named = names.items() if isinstance(names, dict) else ((None, names),)
        for key, value in named:
            for plan in value if isinstance(value, list) else [value]:
                layers_of.setdefault(f"{key}: {plan}" if key else str(plan), []).append(int(layer))
    return layers_of


def worst_gaps(dataset: xr.Dataset) -> list[WorstGap]:
    """Per map, the largest gap relative to its displacement: the certificate of the result."""
    found = (certificate(dataset, f"{name}_") for name in MAPS)
    return [_worst_gap(dataset, each) for each in found if each is not None]


def relative_gaps(dataset: xr.Dataset, map: str) -> xr.DataArray | None:
    """What the scores of every target miss, as a share of what they explain; None where the result stores no gaps."""
    found = certificate(dataset, f"{map}_")
    return None if found is None else found.relative


def _worst_gap(dataset: xr.Dataset, found: Certificate) -> WorstGap:
    worst, within = found.worst, found.within
    token = dataset["target_token"].values[dataset["target"].values == int(worst.target)]
    return WorstGap(
        map=found.prefix[:-1],
        relative=float(worst),
        layer=int(worst.layer),
        head=int(worst["head"]) if "head" in worst.coords else None,
        target=int(worst.target),
        target_token=str(token[0]),
        within=int(within.sum()),
        total=within.size,
    )


def strongest(
    dataset: xr.Dataset, *, map: str, layer: int, k: int, diagonal: bool = False, special: bool = False
) -> list[Score]:
    """The k largest scores of one layer by magnitude; without `diagonal`, between different tokens only.

    What `special` tokens give and receive is ranked only where they are asked for, or where there is nothing else.
    """
    scores = dataset[map].sel(layer=layer)
    magnitude = np.abs(np.nan_to_num(scores.values.astype("float64")))
    if not diagonal and "source" in scores.dims:
        magnitude[np.broadcast_to(own_cells(dataset), magnitude.shape)] = -1
    if not special and "source" in scores.dims:
        magnitude[..., dataset.source_special.values] = -1
        if not dataset.target_special.values.all():
            magnitude[..., dataset.target_special.values, :] = -1
    order = np.argsort(-magnitude, axis=None, kind="stable")[:k]
    return list(_entries(dataset, map=map, layer=layer, flat=order[magnitude.ravel()[order] > 0]))


def _entries(dataset: xr.Dataset, *, map: str, layer: int, flat: np.ndarray) -> Iterator[Score]:
    scores = dataset[map].sel(layer=layer)
    displacement = displacement_of(dataset, map)
    share = shares(scores, displacement.sel(layer=layer) if displacement is not None else None).values
    for place in zip(*np.unravel_index(flat, scores.shape), strict=True):
        at = dict(zip(scores.dims, (int(index) for index in place), strict=True))
        yield Score(
            layer=layer,
            target=int(dataset.target[at["target"]]),
            source=int(dataset.source[at["source"]]) if "source" in at else None,
            target_token=str(dataset.target_token.values[at["target"]]),
            source_token=str(dataset.source_token.values[at["source"]]) if "source" in at else None,
            head=int(dataset["head"][at["head"]]) if "head" in at else None,
            circuit=str(dataset.circuit.values[at["circuit"]]) if "circuit" in at else None,
            score=float(scores.values[place]),
            share=float(share[place]),
        )


def own_cells(dataset: xr.Dataset) -> Bool[np.ndarray, "target source"]:
    """Where a token gives to itself."""
    return dataset.target.values[:, None] == dataset.source.values[None, :]


def own_share(dataset: xr.Dataset, map: str) -> xr.DataArray | None:
    """Per layer, how much of all score magnitude a token keeps for itself; None for `mlp`."""
    scores = dataset[map]
    if "source" not in scores.dims:
        return None
    magnitude = abs(scores)
    dims = [dim for dim in scores.dims if dim != "layer"]
    total = magnitude.sum(dims)
    own = magnitude.where(xr.DataArray(own_cells(dataset), dims=("target", "source")), 0).sum(dims)
    return own / total.where(total > 0)
