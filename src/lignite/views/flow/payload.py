"""A flow for the module of its page: as much of it as fits, by tokens, and which of them make a word."""

from dataclasses import dataclass
from typing import Any

import xarray as xr

from lignite.results.accessor import STILL
from lignite.results.schema import FLOW
from lignite.views.flow.facts import SPLITS, TITLES, choose_map, maps_in, token_axis
from lignite.views.labels import named_token
from lignite.views.patches.facts import grid_of
from lignite.views.payload import EXACT, LEVELS, MAX_BYTES, Payload

SMALL = 2_700_000
"""Bytes that a page of 128 tokens may take: scores split by head are rounded more coarsely where that keeps to it."""

COARSER = (63, 31)


def pack_flow(dataset: xr.Dataset, words: xr.Dataset, *, max_bytes: int = MAX_BYTES) -> Payload:
    """All maps, and where they would take more than `max_bytes` heads added up, or maps left out.

    `dataset` is the flow by tokens, `words` the same with its sub-words added up, as the page adds them, too.
    """
    choose_map(dataset, None)  # refuses a result without a map
    chosen, notes = _choose_plans(dataset, max_bytes)
    for levels in (LEVELS, *COARSER):
        payload = _packed(dataset, words, chosen, notes, levels)
        if payload.size() <= SMALL or sum(map(len, payload.blocks.values())) > 2 * SMALL:
            break
    return payload


def _packed(dataset: xr.Dataset, words: xr.Dataset, chosen: list["_Plan"], notes: list[str], levels: int) -> Payload:
    payload, axis = Payload(), token_axis(dataset)
    payload.notes += notes
    payload.meta |= {
        "layers": [int(layer) for layer in dataset.layer.values],
        "heads": [int(head) for head in dataset["head"].values] if "head" in dataset.coords else [],
        "still": STILL,
        "maps": [_pack_map(dataset, plan, payload, levels) for plan in chosen],
        "grid": grid_of(dataset, payload.pictures, axis=axis),
        "views": {"tokens": _view(dataset, dataset)} | ({} if words is dataset else {"words": _view(dataset, words)}),
    }
    return payload


def _view(tokens: xr.Dataset, view: xr.Dataset) -> dict[str, Any]:
    """Tokens or words: what they are called, and which each token belongs to, as a source and as a target."""
    axis = token_axis(view)
    sources = [int(position) for position in view[axis].values]
    return {
        "tokens": [named_token(str(token)) for token in view[f"{axis}_token"].values],
        "positions": sources,
        "special": [bool(flag) for flag in view[f"{axis}_special"].values],
        "targets": [sources.index(int(position)) for position in view.target.values],
        "source_of": _places(tokens, view, axis),
        "target_of": _places(tokens, view, "target"),
    }


def _places(tokens: xr.Dataset, view: xr.Dataset, axis: str) -> list[int]:
    """For every token the place of the word that it belongs to, words being in the order of their first tokens."""
    if view is tokens:
        return list(range(tokens.sizes[axis]))
    known: dict[Any, int] = {}
    segment = f"{axis}_segment"
    columns = [tokens[f"{axis}_word"].values, tokens[segment if segment in tokens.coords else f"{axis}_word"].values]
    special = tokens[f"{axis}_special"].values
    keys = [
        ("alone", at) if special[at] or word < 0 else (int(word), int(part))
        for at, (word, part) in enumerate(zip(*columns, strict=True))
    ]
    return [known.setdefault(key, len(known)) for key in keys]


@dataclass(frozen=True)
class _Plan:
    """How one map enters the page."""

    map: str
    added_up: bool = False

    def size(self, dataset: xr.Dataset) -> int:
        """Characters that it takes, at most."""
        n_values = dataset[self.map].size // (dataset.sizes[SPLITS[self.map]] if self.added_up else 1)
        return n_values * (4 if 4 * n_values <= EXACT else 1) * 4 // 3


def _choose_plans(dataset: xr.Dataset, max_bytes: int) -> tuple[list[_Plan], list[str]]:
    """The richest content that fits: heads go first, then whole maps."""
    notes: list[str] = []
    chosen = [_Plan(name) for name in maps_in(dataset)]
    while len(chosen) > 1 and sum(plan.size(dataset) for plan in chosen) > max_bytes:
        last = max(chosen, key=lambda plan: plan.size(dataset))
        size = f"{last.size(dataset) / 1e6:,.0f} MB"
        at = chosen.index(last)
        if last.map == "attention" and not last.added_up:
            chosen[at] = _Plan(last.map, added_up=True)
            notes.append(f"The heads of attention are added up: one by one they would take {size}.")
        elif at > 0:
            del chosen[at]
            notes.append(f"The map {last.map} is left out: it would take {size}.")
        else:
            del chosen[-1]
            notes.append(f"The map {last.map} is so large that the maps after it are left out.")
    if notes:
        notes.append("Ask for fewer layers, targets or maps to see what is left out.")
    return chosen, notes


def _pack_map(dataset: xr.Dataset, plan: _Plan, payload: Payload, levels: int) -> dict[str, Any]:
    map, split = plan.map, SPLITS.get(plan.map)
    first = ("layer",) if split is None else ("layer", split)
    scores = dataset[map].transpose(*first, *(dim for dim in FLOW.variables[map] if dim not in first))
    if plan.added_up and split is not None:
        scores, split = scores.sum(split), None
    payload.put_rows(map, scores.values, levels=levels if split else LEVELS)
    return {
        "name": map,
        "title": TITLES[map] + (", heads added up" if plan.added_up else ""),
        "split": split,
        "parts": [str(part) for part in dataset[split].values] if split else [],
        "columns": "source" if "source" in scores.dims else "head",
    }
