"""A comparison as one page that needs nothing else, and no script: texts in colours, words, scatters, agreement."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from jaxtyping import Float

from lignite.views.comparison.facts import (
    MEANT,
    TITLES,
    answers,
    apart,
    differences,
    doubt,
    is_of_flows,
    limit_in,
    most_different,
    noun_of,
    of_example,
    others_of,
    pairs,
    reference_of,
    scores_of,
    settings,
    shared,
    sides_of,
    speaking,
    text_of,
    tokens_of,
    unit_of,
    verdict,
    writer_of,
    written,
)
from lignite.views.comparison.flows import MEASURED, edges, flow_verdict, head_grid, heads, means
from lignite.views.comparison.scatter import scatter_of
from lignite.views.labels import clipped_note, format_share
from lignite.views.markup import render, render_part, write_page
from lignite.views.patches.facts import PATCH_NAMES, enlarged, ground, laid_over, painted, patches, png
from lignite.views.tones import tone_of
from lignite.wording import listed, shorten

TEXTS, WORDS, LISTED = 12, 200, 12
"""Texts laid out one by one, words in the table of one, scores and heads in a list."""

WIDE = 224  # pixels of a picture


@dataclass(frozen=True)
class Line:
    """A side's text, or a difference, in colours: pieces with their tone and score; of an image its picture."""

    label: str
    pieces: list[tuple[str, str, str]]
    picture: str = ""


@dataclass(frozen=True)
class Cell:
    """A number with its bar, in per cent of the cell's width."""

    written: str
    left: float
    width: float
    sign: str


@dataclass(frozen=True)
class Word:
    """A row of the table of words."""

    token: str
    special: bool
    cells: list[Cell]
    differs: bool


def comparison_html(dataset: xr.Dataset) -> str:
    """The page as text."""
    return render("compare", title=shorten(listed(sides_of(dataset)), 120), **_told(dataset))


def comparison_card(dataset: xr.Dataset) -> str:
    """The comparison as a part of somebody else's document: a notebook's cell."""
    return render_part("compare_card.html.j2", **_told(dataset))


def _told(dataset: xr.Dataset) -> dict[str, Any]:
    """Everything that is said of a comparison."""
    names = sides_of(dataset)
    return {
        "names": names,
        "reference": names[reference_of(dataset)],
        "differences": differences(dataset),
        "settings": [(name, values) for name, values in settings(dataset) if values != names],
        "shared": shared(dataset),
        "n_texts": dataset.sizes["example"],
        "percent": f"{100 * float(dataset.attrs.get('confidence', 0.95)):g} %",
        "version": str(dataset.attrs.get("lignite_version", "")),
        **(_of_flows(dataset) if is_of_flows(dataset) else _of_explanations(dataset)),
    }


def save_comparison_page(dataset: xr.Dataset, path: str | Path) -> Path:
    """Write the page into a .html file."""
    return write_page(comparison_html(dataset), Path(path))


# Explanations


def _of_explanations(dataset: xr.Dataset) -> dict[str, Any]:
    order = most_different(dataset)
    shown, limit = [of_example(dataset, number) for number in order[:TEXTS]], limit_in(dataset)
    return {
        "flows": False,
        "pictured": True,
        "doubt": doubt(dataset),
        "verdict": verdict(dataset),
        "said": [*apart(dataset), *answers(dataset)],
        "noun": noun_of(dataset),
        "unit": unit_of(dataset),
        "reason": str(dataset.attrs.get("scale_reason", "")),
        "texts": [_text(one, number, len(order), limit) for number, one in zip(order, shown, strict=False)],
        "more": max(0, len(order) - TEXTS),
        "columns": _columns(dataset),
        "scatters": [scatter_of(dataset, side) for side in others_of(dataset)],
        "pairs": [
            (
                pair.first,
                pair.second,
                [(written(getattr(pair, name)), _share(getattr(pair, name)[0])) for name in TITLES],
            )
            for pair in pairs(dataset)
        ],
        "titles": [(TITLES[name], MEANT[name]) for name in TITLES],
        "chance": _chance(dataset),
    }


def _share(value: float) -> float:
    """How long a bar of a measure is, in per cent."""
    return 100 * float(np.clip(abs(np.nan_to_num(value)), 0, 1))


def _chance(dataset: xr.Dataset) -> str:
    found = float(np.nanmean(dataset["chance"].values)) if np.isfinite(dataset["chance"].values).any() else float("nan")
    return format_share(found) if np.isfinite(found) else ""


def _columns(dataset: xr.Dataset) -> list[str]:
    names, reference = sides_of(dataset), reference_of(dataset)
    less = [f"{names[side]} less {names[reference]}" for side in others_of(dataset)]
    return [*names, *(["difference"] if len(names) == 2 else less)]


def _all_scores(dataset: xr.Dataset) -> Float[np.ndarray, "column row"]:
    """Every side's scores, then the differences to the reference."""
    difference = dataset["difference"].transpose("side", "token").values.astype(np.float64)
    return np.concatenate([scores_of(dataset), difference[others_of(dataset)]])


def _text(dataset: xr.Dataset, number: int, count: int, limit: float) -> dict[str, Any]:
    """One text: its lines, and its words in a table."""
    scores = _all_scores(dataset)
    sides = [*range(len(sides_of(dataset))), *others_of(dataset)]
    image = noun_of(dataset) == "patches"
    lines = [
        Line(label, [], _picture(dataset, values, limit)) if image else _line(dataset, label, side, values, limit)
        for label, side, values in zip(_columns(dataset), sides, scores, strict=True)
    ]
    words, total = _words(dataset, scores)
    kept = ~dataset.special.values
    return {
        "title": f"Text {number + 1} of {count}" if count > 1 else "",
        "lines": lines,
        "speaking": speaking(dataset),
        "ends": f"colours end at {writer_of(dataset)(limit).lstrip('+')}",
        "notes": [
            note
            for note in (
                clipped_note(scores_of(dataset)[:, kept] if kept.any() else scores_of(dataset)),
                PATCH_NAMES if image else "",
            )
            if note
        ],
        "words": words,
        "total": total,
        "image": image,
    }


def _line(dataset: xr.Dataset, label: str, side: int, values: Float[np.ndarray, " row"], limit: float) -> Line:
    write = writer_of(dataset)
    found = [
        (text, "", "") if value is None else (text, tone_of(value / limit), write(value))
        for text, value in text_of(dataset, side, np.nan_to_num(values))
    ]
    return Line(label, found)


def _picture(dataset: xr.Dataset, values: Float[np.ndarray, " row"], limit: float) -> str:
    """The picture under the colours of scores, on the scale that all sides share."""
    where = patches(dataset)
    drawn = laid_over(ground(dataset, where), painted(where, np.nan_to_num(values)[where.index] / limit))
    return base64.b64encode(png(enlarged(drawn, WIDE))).decode("ascii")


def _words(dataset: xr.Dataset, scores: Float[np.ndarray, "column row"]) -> tuple[list[Word], int]:
    """Rows in the order of the text; of a long one those that differ most."""
    write, tokens, n_sides = writer_of(dataset), tokens_of(dataset), len(sides_of(dataset))
    size = np.nan_to_num(np.abs(scores[n_sides:])).max(axis=0)
    rows = np.sort(np.argsort(-size, kind="stable")[:WORDS])
    most = float(np.nan_to_num(np.abs(scores)).max(initial=0.0)) or 1.0
    worst = float(size[~dataset.special.values].max(initial=0.0)) or 1.0
    found = [
        Word(
            tokens[at],
            bool(dataset.special.values[at]),
            [_cell(float(value), most, write) for value in scores[:, at]],
            bool(size[at] >= 0.5 * worst and not dataset.special.values[at]),
        )
        for at in rows
    ]
    return found, len(tokens)


def _cell(value: float, most: float, write: Any) -> Cell:
    share = 50 * float(np.clip(np.nan_to_num(value) / most, -1, 1))
    return Cell(write(value), 50 + min(0.0, share), abs(share), "f" if value > 0 else "a")


# Flows


def _of_flows(dataset: xr.Dataset) -> dict[str, Any]:
    names = sides_of(dataset)
    return {
        "flows": True,
        "doubt": "",
        "verdict": flow_verdict(dataset),
        "said": [],
        "map": str(dataset.attrs.get("map", "whole")),
        "measured": list(MEASURED.values()),
        "sides": [_side(dataset, side, names[side]) for side in others_of(dataset)],
    }


def _side(dataset: xr.Dataset, side: int, name: str) -> dict[str, Any]:
    held = {
        measure: np.stack([means(dataset, side, measure, bound) for bound in ("mean", "low", "high")], axis=1)
        for measure in MEASURED
    }
    layers = [
        (
            int(layer),
            [
                (written(tuple(values[at])), None if name == "larger" else _share(values[at, 0]))
                for name, values in held.items()
            ],
        )
        for at, layer in enumerate(dataset.layer.values)
    ]
    grid = head_grid(dataset, side)
    return {
        "name": name,
        "layers": layers,
        "edges": [
            (
                edge,
                format_share(edge.share),
                format_share(edge.beside),
                f"{100 * edge.difference:+.1f} %".replace("-", "−"),
            )
            for edge in edges(dataset, side, LISTED)
        ],
        "heads": [(head, format_share(head.changed)) for head in heads(dataset, side, LISTED)],
        "grid": [] if grid is None else _grid(grid, dataset.layer.values),
        "n_heads": 0 if grid is None else grid.shape[1],
    }


def _grid(grid: Float[np.ndarray, "layer head"], layers: Sequence[int]) -> list[tuple[int, list[tuple[str, str]]]]:
    """Cells of layers and heads, from none to all of their flow changed."""
    return [
        (
            int(layer),
            [
                (tone_of(float(np.nan_to_num(value))), f"{100 * value:.0f}" if np.isfinite(value) else "–")
                for value in row
            ],
        )
        for layer, row in zip(layers, grid, strict=True)
    ]
