"""A flow as one HTML page that needs nothing else: no network, no server, no other file."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from jaxtyping import Bool, Float

from lignite.metrics.readings.agreement import agreement
from lignite.results.accessor import STILL, moved
from lignite.results.schema import FLOW
from lignite.views.attributes import options
from lignite.views.flow.facts import (
    QUANTILE,
    SPLITS,
    TITLES,
    choose_map,
    displacement_of,
    maps_in,
    one_part,
    own_cells,
    plans,
    token_axis,
    worst_gaps,
)
from lignite.views.labels import model_title, visible_token
from lignite.views.markup import MAX_BYTES, frame, in_base64, render, write_page
from lignite.views.palette import diverging
from lignite.views.patches.facts import grid_of, overlay_colours
from lignite.wording import one_line, shorten

SAMPLED = 50_000  # cells per layer and part that decide where colours end


def flow_html(dataset: xr.Dataset, *, max_bytes: int = MAX_BYTES) -> str:
    """The page as text.

    Scores are stored as float32. Where they would take more than `max_bytes`, they are rounded to float16 (three
    digits); then the heads of `attention` are added up, and the maps at the end of whole, composed, attention, mlp,
    whole_heads, whole_circuits left out. The page says which of these happened.
    """
    choose_map(dataset, None)  # refuses a result without a map
    packed = _pack(dataset, max_bytes)
    pictures: list[str] = []
    grid = grid_of(dataset, pictures, axis=token_axis(dataset))
    text = one_line(str(dataset.attrs.get("text", "")))
    model = one_line(str(dataset.attrs.get("model", "")))
    return render(
        "flow",
        title=shorten(f"{model_title(model)}: {text}" if text else model_title(model), 80),
        model=model,
        revision=str(dataset.attrs.get("revision", "")),
        text=text,
        long=len(text) > 240,
        version=str(dataset.attrs.get("lignite_version", "")),
        sizes=dict(dataset.sizes),
        options=options(dataset),
        plans=plans(dataset),
        tol=float(dataset.attrs.get("tol", 1e-3)),
        gaps=worst_gaps(dataset),
        agreement=_agreement_rows(dataset),
        notes=packed.notes,
        blocks=packed.blocks,
        meta=_meta(dataset, packed) | {"grid": grid, "pictures": pictures, "overlay": overlay_colours()},
        styles=("base.css", "flow.css", "picture.css"),
        script="flow",
    )


def save_page(dataset: xr.Dataset, path: str | Path, **how: Any) -> Path:
    """Write the page of `flow_html`, with `how` as there, into a .html file."""
    return write_page(flow_html(dataset, **how), Path(path))


def flow_frame(dataset: xr.Dataset, *, height: int = 900, **how: Any) -> str:
    """The page inside an iframe, for a notebook; `how` as in `flow_html`."""
    return frame(flow_html(dataset, **how), height=height, title="lignite flow")


@dataclass(frozen=True)
class _Packed:
    """Scores as base64 text blocks, keyed by the id of the element that will hold them."""

    blocks: dict[str, str]
    maps: list[dict[str, Any]]
    notes: list[str]


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
        notes.append("Raise max_bytes, or ask for fewer layers or targets, to see what is left out.")
    return chosen, notes


def _pack(dataset: xr.Dataset, max_bytes: int) -> _Packed:
    chosen, notes = _choose_plans(dataset, max_bytes)
    blocks: dict[str, str] = {}
    maps = [_pack_map(dataset, plan, blocks) for plan in chosen]
    return _Packed(blocks=blocks, maps=maps, notes=notes)


def _pack_map(dataset: xr.Dataset, plan: _Plan, blocks: dict[str, str]) -> dict[str, Any]:
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
            encoded, exponent = _encode(values, plan.encoding)
            blocks[f"{map}-{index}-{part}"] = encoded
            exponents[-1].append(exponent)
    displacement = displacement_of(dataset, map)
    gap = dataset.get(f"{map}_gap")
    for name, values in (("displacement", displacement), ("gap", gap)):
        if values is not None:
            laid_out = values.transpose(*FLOW.variables[str(values.name)])
            blocks[f"{map}-{name}"] = in_base64(laid_out.values.astype("<f4"))
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


def _encode(values: Float[np.ndarray, "target column"], encoding: str) -> tuple[str, int]:
    """Base64 of the values times a power of two, which keeps float16 clear of both ends of its range."""
    if encoding == "float32":
        return in_base64(values.astype("<f4")), 0
    largest = float(np.abs(values[np.isfinite(values)]).max(initial=0))
    exponent = int(np.floor(np.log2(32768 / largest))) if largest > 0 else 0
    return in_base64(np.ldexp(values.astype("float64"), exponent).astype("<f2")), exponent


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


def _meta(dataset: xr.Dataset, packed: _Packed) -> dict[str, Any]:
    axis = token_axis(dataset)
    sources = [int(position) for position in dataset[axis].values]
    return {
        "layers": [int(layer) for layer in dataset.layer.values],
        "tokens": [visible_token(str(token)) for token in dataset[f"{axis}_token"].values],
        "positions": sources,
        "special": [bool(flag) for flag in dataset[f"{axis}_special"].values],
        "targets": [sources.index(int(position)) for position in dataset.target.values],
        "heads": [int(head) for head in dataset["head"].values] if "head" in dataset.coords else [],
        "quantile": QUANTILE,
        "still": STILL,
        "maps": packed.maps,
        "palette": {"light": diverging(), "dark": diverging(dark=True)},
    }


def _agreement_rows(dataset: xr.Dataset) -> list[dict[str, Any]]:
    if not {"composed", "whole"} <= set(dataset.data_vars):
        return []
    compared = agreement(dataset, first="composed", second="whole")
    names = ("pearson", "spearman", "l2", "l2_relative")
    rows = [("", str(layer), compared.sel(layer=layer)) for layer in dataset.layer.values]
    rows.append(("mean_", "mean", compared))
    return [
        {"layer": title}
        | {
            f"{name}_{d}": float(cells[f"{prefix}{name}"].sel(diagonal=d))
            for name in names
            for d in ("with", "without")
        }
        for prefix, title, cells in rows
    ]
