"""Explanations for their page: every score, of tokens and of words, and what the page's module is given of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from jaxtyping import Float

from lignite.calls import check_choice
from lignite.errors import OptionError
from lignite.results.schema import EXPLAIN
from lignite.views.explanation.facts import SPECIAL, arrange, check_explanation, question, relative_layer_gaps
from lignite.views.labels import named_token
from lignite.views.patches.facts import grid_of, is_image
from lignite.views.payload import MAX_BYTES, Payload

LAYER_TITLES = {"layer_relevance": "layer relevance", "layer_ig": "layer IG"}


@dataclass(frozen=True)
class Map:
    """Which rows of a view's scores belong to a map: one for each layer, from `first` on."""

    name: str
    title: str
    first: int
    rows: tuple[str, ...]


@dataclass(frozen=True)
class View:
    """An explanation by words or by tokens; a row of `scores` is the relevance, or a layer of a map.

    `shared` are the scores with those of special tokens shared among the others; None where there are none to share.
    """

    name: str
    dataset: xr.Dataset
    scores: Float[np.ndarray, "row token"]
    shared: Float[np.ndarray, "row token"] | None

    def seen(self, special: str) -> Float[np.ndarray, "row token"]:
        """The scores as they are looked at."""
        return self.shared if special == "share" and self.shared is not None else self.scores


def views_of(dataset: xr.Dataset) -> list[View]:
    """By words, where these are not its tokens anyway, and by tokens."""
    merged = arrange(dataset)
    if merged.sizes["token"] == dataset.sizes["token"]:
        return [_view("tokens", merged)]
    return [_view("words", merged), _view("tokens", arrange(dataset, tokens=True))]


def _view(name: str, dataset: xr.Dataset) -> View:
    special, scores = dataset.special.values, _rows(dataset)
    if not special.any() or special.all():
        return View(name, dataset, scores, None)
    shared = np.zeros_like(scores)
    shared[:, ~special] = _rows(dataset.lignite.drop_special(redistribute=True))
    return View(name, dataset, scores, shared)


def _rows(dataset: xr.Dataset) -> Float[np.ndarray, "row token"]:
    rows = [dataset.relevance.values[None]]
    for name in LAYER_TITLES:
        if name in dataset:
            rows.append(dataset[name].transpose(*EXPLAIN.variables[name]).values)
            if name == "layer_ig" and "output_ig" in dataset:
                rows.append(dataset.output_ig.values[None])
    return np.concatenate([np.asarray(row, dtype=np.float64) for row in rows])


def maps_of(dataset: xr.Dataset) -> list[Map]:
    """The maps that have layers, in the order of a view's rows; row 0 is the relevance."""
    found: list[Map] = []
    first = 1
    for name, title in LAYER_TITLES.items():
        if name in dataset:
            rows = [str(layer) for layer in dataset.layer.values]
            rows += ["out"] if name == "layer_ig" and "output_ig" in dataset else []
            found.append(Map(name, title, first, tuple(rows)))
            first += len(rows)
    return found


def check_explanations(datasets: Sequence[xr.Dataset], special: str) -> None:
    """Refuse what no page can show."""
    if not datasets:
        raise OptionError("there is no explanation to lay out: give at least one.")
    check_choice("special", special, SPECIAL)
    for dataset in datasets:
        check_explanation(dataset)


def pack_explanations(
    views: Sequence[Sequence[View]],
    *,
    tokens: bool = False,
    special: str = "show",
    smooth: bool = False,
    max_bytes: int = MAX_BYTES,
) -> Payload:
    """All scores; relevance flows, one matrix per layer, unless all of them would take more than `max_bytes`."""
    payload, with_flow = Payload(), sum(_flow_bytes(each[-1].dataset) for each in views) <= max_bytes
    if not with_flow:
        payload.notes.append(f"Relevance flows are left out: they would take more than {max_bytes / 1e6:,.0f} MB.")
    entries = [_entry(each, str(number), payload, with_flow=with_flow) for number, each in enumerate(views)]
    payload.meta |= {"entries": entries, "words": not tokens, "special": special, "smooth": smooth}
    return payload


def _entry(views: Sequence[View], key: str, payload: Payload, *, with_flow: bool) -> dict[str, Any]:
    dataset = views[-1].dataset
    asked, gaps = question(dataset), relative_layer_gaps(dataset)
    return {
        "name": asked.name,
        "unit": asked.unit,
        "layers": [int(layer) for layer in dataset.layer.values] if "layer" in dataset.coords else [],
        "gaps": [] if gaps is None else [_number(gap) for gap in gaps],
        "maps": [vars(each) for each in maps_of(dataset)],
        "grid": grid_of(dataset, payload.pictures),
        "views": {view.name: _pack(view, f"{key}-{view.name}", payload, with_flow=with_flow) for view in views},
    }


def _number(value: float) -> float | None:
    """JSON knows no NaN."""
    return float(value) if np.isfinite(value) else None


def _pack(view: View, key: str, payload: Payload, *, with_flow: bool) -> dict[str, Any]:
    dataset = view.dataset
    payload.put(f"{key}-show", view.scores)
    if view.shared is not None:
        payload.put(f"{key}-share", view.shared)
    has_flow = with_flow and "relevance_flow" in dataset
    if has_flow:
        payload.put_rows(f"{key}-flow", dataset.relevance_flow.transpose(*EXPLAIN.variables["relevance_flow"]).values)
    return {
        "key": key,
        "tokens": [named_token(str(token)) for token in dataset.token.values],
        "positions": [int(position) for position in dataset.position.values],
        "special": [bool(flag) for flag in dataset.special.values],
        "shared": view.shared is not None,
        "flow": has_flow,
        "image": is_image(dataset),
    }


def _flow_bytes(dataset: xr.Dataset) -> int:
    """Of the flow over tokens and over words together, at most."""
    return int(2 * dataset.relevance_flow.size * 4 // 3) if "relevance_flow" in dataset else 0
