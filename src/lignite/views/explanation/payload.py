"""Explanations for the module of their page: every score, of tokens and of words, and what is said of each."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import xarray as xr
from jaxtyping import Float

from lignite.calls import check_choice
from lignite.errors import OptionError
from lignite.results.certificate import certificates
from lignite.results.schema import EXPLAIN
from lignite.views.explanation.facts import (
    SPECIAL,
    arrange,
    certificate_text,
    check_explanation,
    explained_options,
    likeliest,
    pieces,
    plan_lines,
    question,
    relative_layer_gaps,
    seams,
    settings,
)
from lignite.views.explanation.message import message
from lignite.views.labels import visible_token
from lignite.views.patches.facts import grid_of, is_image
from lignite.views.payload import MAX_BYTES, Payload
from lignite.wording import one_line, shorten

LAYER_TITLES = {"layer_relevance": "layer relevance", "layer_ig": "layer IG"}
SENTENCE = 120


def pack_explanations(
    datasets: Sequence[xr.Dataset],
    *,
    tokens: bool = False,
    special: str = "show",
    smooth: bool = False,
    max_bytes: int = MAX_BYTES,
) -> Payload:
    """All scores; relevance flows, one matrix per layer, unless all of them would take more than `max_bytes`."""
    if not datasets:
        raise OptionError("there is no explanation to lay out: give at least one.")
    check_choice("special", special, SPECIAL)
    for dataset in datasets:
        check_explanation(dataset)
    payload, with_flow = Payload(), sum(map(_flow_bytes, datasets)) <= max_bytes
    if not with_flow:
        payload.notes.append(f"Relevance flows are left out: they would take more than {max_bytes / 1e6:,.0f} MB.")
    entries = [_entry(dataset, str(number), payload, with_flow=with_flow) for number, dataset in enumerate(datasets)]
    payload.meta |= {"entries": entries, "words": not tokens, "special": special, "smooth": smooth}
    return payload


def _entry(dataset: xr.Dataset, key: str, payload: Payload, *, with_flow: bool) -> dict[str, Any]:
    asked = question(dataset)
    gaps = relative_layer_gaps(dataset)
    certified = certificates(dataset)
    merged = arrange(dataset)
    split = merged.sizes["token"] != dataset.sizes["token"]
    alone = arrange(dataset, tokens=True) if split else merged
    views = {"tokens": _view(alone, f"{key}-tokens", payload, with_flow=with_flow)}
    if split:
        views["words"] = _view(merged, f"{key}-words", payload, with_flow=with_flow)
    return {
        "model": one_line(str(dataset.attrs.get("model", ""))),
        "text": shorten(one_line(str(dataset.attrs.get("text", ""))), SENTENCE),
        "name": asked.name,
        "unit": asked.unit,
        "value": _number(asked.value),
        "prediction": asked.prediction,
        "probability": _number(asked.probability),
        "targetProbability": _number(asked.target_probability),
        "classes": [[name, _number(share)] for name, share in likeliest(dataset, 8)],
        "settings": [[name, value] for name, value in settings(dataset).items()],
        "request": explained_options(dataset),
        "plans": [[name, value] for name, value in plan_lines(dataset).items()],
        "windows": seams(dataset),
        "version": str(dataset.attrs.get("lignite_version", "")),
        "certificate": certificate_text(dataset),
        "certified": bool(certified),
        "kept": all(item.kept for item in certified),
        "layers": [int(layer) for layer in dataset.layer.values] if "layer" in dataset.coords else [],
        "gaps": [] if gaps is None else [_number(gap) for gap in gaps],
        "maps": _maps(dataset),
        "grid": grid_of(dataset, payload.pictures),
        "views": views,
    }  # fmt: skip


def _number(value: float) -> float | None:
    """JSON knows no NaN."""
    return float(value) if np.isfinite(value) else None


def _maps(dataset: xr.Dataset) -> list[dict[str, Any]]:
    """Which rows of a view's block hold which scores: relevance first, then every layer of every map."""
    found = [{"name": "relevance", "title": "relevance", "first": 0, "rows": ["all"]}]
    first = 1
    for name, title in LAYER_TITLES.items():
        if name in dataset:
            rows = [str(layer) for layer in dataset.layer.values]
            rows += ["out"] if name == "layer_ig" and "output_ig" in dataset else []
            found.append({"name": name, "title": title, "first": first, "rows": rows})
            first += len(rows)
    return found


def _rows(dataset: xr.Dataset) -> Float[np.ndarray, "row token"]:
    rows = [dataset.relevance.values[None]]
    for name in LAYER_TITLES:
        if name in dataset:
            rows.append(dataset[name].transpose(*EXPLAIN.variables[name]).values)
            if name == "layer_ig" and "output_ig" in dataset:
                rows.append(dataset.output_ig.values[None])
    return np.concatenate([np.asarray(row, dtype=np.float64) for row in rows])


def _view(dataset: xr.Dataset, key: str, payload: Payload, *, with_flow: bool) -> dict[str, Any]:
    special = dataset.special.values
    shown = _rows(dataset)
    payload.put(f"{key}-show", shown)
    shared = bool(special.any()) and not bool(special.all())
    if shared:
        spread = np.zeros_like(shown)
        spread[:, ~special] = _rows(dataset.lignite.drop_special(redistribute=True))
        payload.put(f"{key}-share", spread)
    has_flow = with_flow and "relevance_flow" in dataset
    if has_flow:
        flow = dataset.relevance_flow.transpose(*EXPLAIN.variables["relevance_flow"]).values
        payload.put(f"{key}-flow", flow)
    return {
        "key": key,
        "tokens": [visible_token(str(token)) for token in dataset.token.values],
        "positions": [int(position) for position in dataset.position.values],
        "special": [bool(flag) for flag in special],
        "pieces": [] if is_image(dataset) else _pieces(dataset),
        "messages": [_message(dataset, special=special) for special in (False, True)],
        "shared": shared,
        "flow": has_flow,
    }


def _message(dataset: xr.Dataset, *, special: bool) -> dict[str, Any]:
    said = message(dataset, special=special)
    steps = [asdict(step) for step in said.steps]
    return {"doubt": said.doubt, "verdict": said.verdict, "sides": said.sides, "unit": said.unit, "steps": steps}


def _pieces(dataset: xr.Dataset) -> list[list[Any]]:
    return [[piece.text, -1 if piece.index is None else piece.index] for piece in pieces(dataset)]


def _flow_bytes(dataset: xr.Dataset) -> int:
    """Of the flow over tokens and over words together, at most."""
    return int(2 * dataset.relevance_flow.size * 4 * 4 // 3) if "relevance_flow" in dataset else 0
