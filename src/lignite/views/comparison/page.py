"""A comparison as one page that needs nothing else, and no script: texts in colours, words, scatters, agreement."""

import base64
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from jaxtyping import Float

from lignite.views.comparison.facts import MEANT, TITLES, ExplanationSides, Line
from lignite.views.comparison.flows import MEASURED, FlowSides
from lignite.views.comparison.scatter import scatter_of
from lignite.views.comparison.sides import Sides, is_of_flows, written
from lignite.views.labels import clipped_note, format_share
from lignite.views.markup import render, render_part, write_page
from lignite.views.patches.facts import PATCH_NAMES, enlarged, ground, laid_over, painted, patches, png
from lignite.views.tones import tone_of
from lignite.wording import listed, shorten

TEXTS, WORDS, LISTED = 12, 200, 12
"""Texts laid out one by one, words in the table of one, scores and heads in a list."""

WIDE = 224  # pixels of a picture


@dataclass(frozen=True)
class Coloured:
    """A line in colours: pieces with their tone and score; of an image its picture."""

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
    return render("compare", title=shorten(listed(Sides(dataset).names), 120), **_told(dataset))


def comparison_card(dataset: xr.Dataset) -> str:
    """The comparison as a part of somebody else's document: a notebook's cell."""
    return render_part("compare_card.html.j2", **_told(dataset))


def _told(dataset: xr.Dataset) -> dict[str, Any]:
    """Everything that is said of a comparison."""
    sides = Sides(dataset)
    return {
        "names": sides.names,
        "reference": sides.names[sides.reference],
        "differences": sides.differences,
        "settings": [(name, values) for name, values in sides.settings if values != sides.names],
        "shared": sides.shared,
        "n_texts": sides.n_texts,
        "percent": sides.percent,
        "version": str(dataset.attrs.get("lignite_version", "")),
        **(_of_flows(FlowSides(dataset)) if is_of_flows(dataset) else _of_explanations(ExplanationSides(dataset))),
    }


def save_comparison_page(dataset: xr.Dataset, path: str | Path) -> Path:
    """Write the page into a .html file."""
    return write_page(comparison_html(dataset), Path(path))


# Explanations


def _of_explanations(sides: ExplanationSides) -> dict[str, Any]:
    order = sides.most_different
    return {
        "flows": False,
        "pictured": True,
        "doubt": sides.doubt,
        "verdict": sides.verdict,
        "said": [*sides.apart, *sides.answers],
        "noun": sides.noun,
        "unit": sides.unit,
        "reason": sides.scale_reason,
        "texts": [_text(sides, number) for number in order[:TEXTS]],
        "more": max(0, len(order) - TEXTS),
        "columns": [line.column for line in sides.lines],
        "scatters": [scatter_of(sides, side) for side in sides.others],
        "pairs": [
            (pair.first, pair.second, [(written(each), _share(each[0])) for each in pair.measured.values()])
            for pair in sides.pairs
        ],
        "titles": [(TITLES[name], MEANT[name]) for name in TITLES],
        "chance": format_share(sides.chance) if np.isfinite(sides.chance) else "",
    }


def _share(value: float) -> float:
    """How long a bar of a measure is, in per cent."""
    return 100 * float(np.clip(abs(np.nan_to_num(value)), 0, 1))


def _text(sides: ExplanationSides, number: int) -> dict[str, Any]:
    """One text: its lines, on the scale of all texts, and its words in a table."""
    text = sides.of_text(number)
    draw = _pictured if text.are_patches else _coloured
    notes = (clipped_note(text.shown_scores), PATCH_NAMES if text.are_patches else "")
    return {
        "title": f"Text {number + 1} of {sides.n_texts}" if sides.n_texts > 1 else "",
        "lines": [draw(text, line, sides.limit) for line in text.lines],
        "speaking": text.speaking,
        "ends": sides.ends,
        "notes": [note for note in notes if note],
        "words": _words(text),
        "total": len(text.tokens),
        "image": text.are_patches,
    }


def _coloured(text: ExplanationSides, line: Line, limit: float) -> Coloured:
    found = [
        (piece, "", "") if score is None else (piece, tone_of(score / limit), text.write(score))
        for piece, score in text.read(line)
    ]
    return Coloured(line.column, found)


def _pictured(text: ExplanationSides, line: Line, limit: float) -> Coloured:
    """The picture under the colours of scores."""
    where = patches(text.dataset)
    drawn = laid_over(ground(text.dataset, where), painted(where, np.nan_to_num(line.scores)[where.index] / limit))
    return Coloured(line.column, [], base64.b64encode(png(enlarged(drawn, WIDE))).decode("ascii"))


def _words(text: ExplanationSides) -> list[Word]:
    """Rows in the order of the text; of a long one those that differ most."""
    most = float(np.nan_to_num(np.abs([line.scores for line in text.lines])).max(initial=0.0)) or 1.0
    worst = float(text.sizes[~text.special].max(initial=0.0)) or 1.0
    return [
        Word(
            text.tokens[at],
            bool(text.special[at]),
            [_cell(float(line.scores[at]), most, text.write) for line in text.lines],
            bool(text.sizes[at] >= 0.5 * worst and not text.special[at]),
        )
        for at in text.most(WORDS)
    ]


def _cell(value: float, most: float, write: Callable[[float], str]) -> Cell:
    share = 50 * float(np.clip(np.nan_to_num(value) / most, -1, 1))
    return Cell(write(value), 50 + min(0.0, share), abs(share), "f" if value > 0 else "a")


# Flows


def _of_flows(sides: FlowSides) -> dict[str, Any]:
    return {
        "flows": True,
        "doubt": "",
        "verdict": sides.verdict,
        "said": [],
        "map": sides.map,
        "measured": list(MEASURED.values()),
        "sides": [_side(sides, side) for side in sides.others],
    }


def _side(sides: FlowSides, side: int) -> dict[str, Any]:
    held = {measure: sides.intervals(side, measure) for measure in MEASURED}
    grid = sides.head_grid(side)
    return {
        "name": sides.names[side],
        "layers": [
            (
                layer,
                [
                    (written(found[at]), None if measure == "larger" else _share(found[at][0]))
                    for measure, found in held.items()
                ],
            )
            for at, layer in enumerate(sides.layers)
        ],
        "edges": [
            (
                edge,
                format_share(edge.share),
                format_share(edge.beside),
                f"{100 * edge.difference:+.1f} %".replace("-", "−"),
            )
            for edge in sides.edges(side, LISTED)
        ],
        "heads": [(head, format_share(head.changed)) for head in sides.heads(side, LISTED)],
        "grid": [] if grid is None else _grid(grid, sides.layers),
        "n_heads": 0 if grid is None else grid.shape[1],
    }


def _grid(grid: Float[np.ndarray, "layer head"], layers: Sequence[int]) -> list[tuple[int, list[tuple[str, str]]]]:
    """Cells of layers and heads, from none to all of their flow changed."""
    return [
        (
            layer,
            [
                (tone_of(float(np.nan_to_num(value))), f"{100 * value:.0f}" if np.isfinite(value) else "–")
                for value in row
            ],
        )
        for layer, row in zip(layers, grid, strict=True)
    ]
