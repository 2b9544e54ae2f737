"""A flow for the module of its page: as much of it as fits, and what a reader needs to know of it."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from jaxtyping import Bool, Float

from lignite.results.accessor import STILL, moved
from lignite.results.schema import FLOW
from lignite.views.flow.facts import (
    QUANTILE,
    SPLITS,
    TITLES,
    choose_map,
    displacement_of,
    maps_in,
    one_part,
    own_cells,
    token_axis,
)
from lignite.views.labels import visible_token
from lignite.views.patches.facts import grid_of
from lignite.views.payload import MAX_BYTES, Payload

SAMPLED = 50_000  # cells per layer and part that decide where colours end
ENCODINGS = {"float32": "<f4", "float16": "<f2"}


def pack_flow(dataset: xr.Dataset, *, max_bytes: int = MAX_BYTES) -> Payload:
    """Scores in float32, and where they would take more than `max_bytes` in float16, added up, or left out."""
    choose_map(dataset, None)  # refuses a result without a map
    payload, axis = Payload(), token_axis(dataset)
    sources = [int(position) for position in dataset[axis].values]
    chosen, payload.notes = _choose_plans(dataset, max_bytes)
    payload.meta |= {
        "layers": [int(layer) for layer in dataset.layer.values],
        "tokens": [visible_token(str(token)) for token in dataset[f"{axis}_token"].values],
        "positions": sources,
        "special": [bool(flag) for flag in dataset[f"{axis}_special"].values],
        "targets": [sources.index(int(position)) for position in dataset.target.values],
        "heads": [int(head) for head in dataset["head"].values] if "head" in dataset.coords else [],
        "quantile": QUANTILE,
        "still": STILL,
        "maps": [_pack_map(dataset, plan, payload) for plan in chosen],
        "grid": grid_of(dataset, payload.pictures, axis=axis),
    }
    return payload


@dataclass(frozen=True)
class _Plan:
    """How one map enters the page."""

    map: str
    added_up: bool
    encoding: str

    def size(self, dataset: xr.Dataset) -> int:
        scores = dataset[self.map]
        n_values = scores.size // (dataset.sizes[SPLITS[self.map]] if self.added_up else 1)
        return n_values * (4 if self.encoding == "float32" else 2) * 4 // 3


def _choose_plans(dataset: xr.Dataset, max_bytes: int) -> tuple[list[_Plan], list[str]]:
    """The richest content that fits: precision goes first, then heads, then whole maps."""

    def fits(plans: list[_Plan]) -> bool:
        return sum(plan.size(dataset) for plan in plans) <= max_bytes

    present = maps_in(dataset)
    notes: list[str] = []
    chosen = [_Plan(name, added_up=False, encoding="float32") for name in present]
    if fits(chosen):
        return chosen, notes
    chosen = [_Plan(name, added_up=False, encoding="float16") for name in present]
    notes.append("Scores are rounded to three digits (float16) to keep the page small; the saved result has them all.")
    while len(chosen) > 1 and not fits(chosen):
        last = max(chosen, key=lambda plan: plan.size(dataset))
        size = f"{last.size(dataset) / 1e6:,.0f} MB"
        at = chosen.index(last)
        if last.map == "attention" and not last.added_up:
            chosen[at] = _Plan(last.map, added_up=True, encoding="float16")
            notes.append(f"The heads of attention are added up: one by one they would take {size}.")
        elif at > 0:
            del chosen[at]
            notes.append(f"The map {last.map} is left out: it would take {size}.")
        else:
            del chosen[-1]
            notes.append(f"The map {last.map} is so large that the maps after it are left out.")
    if len(notes) > 1:
        notes.append("Ask for fewer layers, targets or maps to see what is left out.")
    return chosen, notes


def _pack_map(dataset: xr.Dataset, plan: _Plan, payload: Payload) -> dict[str, Any]:
    map = plan.map
    split = SPLITS.get(map)
    dims = FLOW.variables[map]
    first = ("layer",) if split is None else ("layer", split)
    scores = dataset[map].transpose(*first, *(dim for dim in dims if dim not in first))
    if plan.added_up and split is not None:
        scores = scores.sum(split)
    has_parts = split is not None and not plan.added_up
    exponents: list[list[int]] = []
    for index in range(scores.sizes["layer"]):
        layer = scores.isel(layer=index).values
        exponents.append([])
        for part, values in enumerate(layer if has_parts else layer[None]):
            exponent = 0 if plan.encoding == "float32" else _exponent(values)
            shifted = np.ldexp(values.astype("float64"), exponent) if exponent else values
            payload.put(f"{map}-{index}-{part}", shifted, ENCODINGS[plan.encoding])
            exponents[-1].append(exponent)
    displacement = displacement_of(dataset, map)
    gap = dataset.get(f"{map}_gap")
    for name, values in (("displacement", displacement), ("gap", gap)):
        if values is not None:
            laid_out = values.transpose(*FLOW.variables[str(values.name)])
            payload.put(f"{map}-{name}", laid_out.values)
    return {
        "name": map,
        "title": TITLES[map],
        "split": split,
        "parts": [str(part) for part in dataset[split].values] if has_parts and split is not None else [],
        "addedUp": plan.added_up,
        "columns": "source" if "source" in scores.dims else "head",
        "encoding": plan.encoding,
        "exponents": exponents,
        "hasDisplacement": displacement is not None,
        "hasGap": gap is not None,
        "displacementBySplit": displacement is not None and "head" in displacement.dims,
        "limits": _limits(dataset, map),
    }


def _exponent(values: Float[np.ndarray, "target column"]) -> int:
    """Of the power of two that keeps float16 clear of both ends of its range."""
    largest = float(np.abs(values[np.isfinite(values)]).max(initial=0))
    return int(np.floor(np.log2(32768 / largest))) if largest > 0 else 0


def _limits(dataset: xr.Dataset, map: str) -> dict[str, Any]:
    """Where colours end: for scores and shares, for parts and their sum, with and without special tokens, per layer."""
    own, special = _cells(dataset, map)
    samples: dict[str, list[np.ndarray]] = {}
    for layer in range(dataset.sizes["layer"]):
        for name, hidden in (("all", own), ("plain", own | special)):
            for kind, values in _samples(dataset.isel(layer=[layer]), map, ~hidden).items():
                samples.setdefault(f"{kind}-{name}", []).append(values)
    return {
        key: {"shared": _quantile(np.concatenate(found)), "layers": [_quantile(values) for values in found]}
        for key, found in samples.items()
    }


def _samples(layer: xr.Dataset, map: str, compared: Bool[np.ndarray, "target column"]) -> dict[str, np.ndarray]:
    """Magnitudes of one layer at cells drawn at random (evenly spaced ones would follow rows and columns)."""
    cells = np.flatnonzero(compared)
    if cells.size > SAMPLED:
        cells = np.random.default_rng(0).choice(cells, SAMPLED)
    rows = cells // compared.shape[1]
    split = SPLITS.get(map)
    parts = [None] if split is None else [None, *layer[split].values.tolist()]
    magnitudes: dict[str, list[np.ndarray]] = {}
    for part in parts:
        scores, displacement = one_part(layer, map, part)
        values = np.abs(scores.values.reshape(-1)[cells])
        group = "sum" if part is None else "parts"
        magnitudes.setdefault(f"score-{group}", []).append(values)
        if displacement is not None:
            share = values / np.abs(moved(displacement).values.reshape(-1)[rows])
            magnitudes.setdefault(f"share-{group}", []).append(share)
    return {kind: _some(np.concatenate(values)) for kind, values in magnitudes.items()}


def _some(magnitude: np.ndarray) -> np.ndarray:
    return magnitude[np.isfinite(magnitude) & (magnitude > 0)]  # a causal mask's zeros say nothing about size


def _quantile(magnitude: np.ndarray) -> float:
    return float(np.quantile(magnitude, QUANTILE)) if magnitude.size else 0.0


def _cells(
    dataset: xr.Dataset, map: str
) -> tuple[Bool[np.ndarray, "target column"], Bool[np.ndarray, "target column"]]:
    """Which cells lie on the diagonal, and which belong to special tokens."""
    special = dataset.target_special.values[:, None]
    if "source" not in dataset[map].dims:
        cells = np.broadcast_to(special, (dataset.sizes["target"], dataset.sizes["head"]))
        return np.zeros(cells.shape, dtype=bool), np.array(cells)
    return own_cells(dataset), special | dataset.source_special.values[None, :]
