"""An evaluation as a page, and the files that show it."""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd  # type: ignore[import-untyped]
from matplotlib.figure import Figure

from lignite.errors import FileError, InputError
from lignite.results.evaluation import Evaluation
from lignite.views.drawing import ENDINGS, STYLE, save_figure
from lignite.views.evaluation.facts import (
    SHARES,
    columns_of,
    facts,
    heading_of,
    limits_of,
    line_styles,
    reasons,
    shown_curves,
    written_number,
)
from lignite.views.labels import model_title
from lignite.views.markup import render, write_page
from lignite.wording import one_line, shorten

BANDS = 4  # more intervals over each other hide the lines


def draw_curves(evaluation: Evaluation, *, measure: str = "probability") -> Figure:
    """Deletion and insertion curves, a row per fill; intervals as bands where there are few methods."""
    some = shown_curves(evaluation.curves, measure)
    if not len(some):
        raise InputError("this evaluation has no curves: measure deletion, insertion or another metric that removes.")
    measures = {str(name): str(rows["measure"].iloc[0]) for name, rows in some.groupby("curve", sort=False)}
    fills, names = list(dict.fromkeys(some["fill"])), list(dict.fromkeys(some["curve"]))
    styles = line_styles(evaluation)
    with matplotlib.rc_context(STYLE):
        figure = Figure(
            figsize=(4.1 * len(names) + 2.6, 3.4 * len(fills) + 0.5), facecolor="white", layout="constrained"
        )
        axes = figure.subplots(len(fills), len(names), squeeze=False, sharex=True)
        for (row, column), panel in np.ndenumerate(axes):
            first = [measures[name] for name in names].index(measures[names[column]])
            if column > first:  # before anything is drawn: the scale then fits all that share it
                panel.sharey(axes[row, first])
                panel.tick_params(labelleft=False)
            else:
                panel.set_ylabel(measures[names[column]], fontsize=8)
            _draw_panel(panel, some[(some["fill"] == fills[row]) & (some["curve"] == names[column])], styles)
            panel.set_title(f"{names[column]} ({fills[row]})", fontsize=9, loc="left")
            if row == len(fills) - 1:
                panel.set_xlabel(_shares(str(names[column])), fontsize=8)
        handles, labels = axes[0, 0].get_legend_handles_labels()
        legend = figure.legend(handles, labels, loc="outside right upper", fontsize=7, frameon=False, handlelength=3)
        for label in legend.get_texts():
            label.set_parse_math(False)
        n = int(some["n"].max())
        title = (
            f"{model_title(str(evaluation.attrs['model']))}, {n} examples of {Path(str(evaluation.attrs['data'])).name}"
        )
        figure.suptitle(shorten(one_line(title), 90), fontsize=9, x=0.01, ha="left").set_parse_math(False)
    return figure


def _shares(curve: str) -> str:
    """What a curve's shares are shares of."""
    perturbed = curve.startswith(("positive", "negative"))
    what = "pixels" if curve.endswith("pixels") or (perturbed and not curve.endswith("patches")) else "tokens"
    there = "present" if curve.startswith("insertion") else "removed"
    return f"share of {what} {there}, {'least' if curve.startswith('negative') else 'most'} relevant first"


def _draw_panel(panel: Any, rows: pd.DataFrame, styles: Mapping[str, tuple[str, str]]) -> None:
    banded = len(styles) <= BANDS
    for method, line in rows.groupby("method", sort=False):
        colour, dashes = styles[str(method)]
        style = (0, tuple(float(length) / 2 for length in dashes.split())) if dashes else "-"
        share, mean = line["share"].to_numpy(), line["mean"].to_numpy()
        if banded:
            low, high = line["low"].to_numpy(), line["high"].to_numpy()
            panel.fill_between(share, low, high, color=colour, alpha=0.08, linewidth=0)
        panel.plot(share, mean, color=colour, linestyle=style, linewidth=1.4, label=shorten(one_line(str(method)), 44))
    panel.tick_params(labelsize=7, length=2)
    panel.grid(linewidth=0.3, alpha=0.5)
    panel.set_xlim(0, 1)
    for side in ("top", "right"):
        panel.spines[side].set_visible(False)


def save_evaluation(evaluation: Evaluation, path: str | os.PathLike[str]) -> None:
    """Write the page (.html) or the curves (.png, .svg, .pdf)."""
    path = Path(path)
    ending = path.suffix.lower()
    if ending in (".html", ".htm"):
        write_page(evaluation_html(evaluation), path)
    elif ending in ENDINGS:
        save_figure(draw_curves(evaluation), path, dpi=200)
    else:
        raise FileError(f"{path}: unknown ending {ending!r}; use .json, .csv, .html, {', '.join(ENDINGS)}.")


def evaluation_html(evaluation: Evaluation) -> str:
    """One page that needs nothing else: the table with its intervals, curves, tests, and what was left out."""
    columns = columns_of(evaluation)
    return render(
        "evaluate",
        title=shorten(f"{model_title(str(evaluation.attrs['model']))}: evaluation", 80),
        facts=facts(evaluation),
        percent=f"{100 * float(evaluation.attrs['confidence']):g} %",
        reference=one_line(str(evaluation.attrs["reference"])),
        heading_of=heading_of,
        shares=SHARES,
        sharing={column.fill: [name for name, cell in column.cells.items() if cell.shares] for column in columns},
        fills=list(dict.fromkeys(column.fill for column in columns)),
        columns=columns,
        methods=list(dict.fromkeys(str(name) for name in evaluation.table["method"])),
        number=written_number,
        plots=list(_plots(evaluation)),
        styles_of=line_styles(evaluation),
        tests=list(evaluation.tests.itertuples(index=False)),
        requests=evaluation.attrs["methods"],
        versions=evaluation.attrs["versions"],
        reasons=reasons(evaluation),
    )


@dataclass(frozen=True)
class _Plot:
    """One panel of the page: lines as points in a square of 100, y downwards, with its ticks."""

    title: str
    lines: dict[str, str]
    ticks: list[tuple[float, str]]


def _plots(evaluation: Evaluation) -> Iterator[_Plot]:
    curves = shown_curves(evaluation.curves)
    for (measured, fill), some in curves.groupby(["measure", "fill"], sort=False):
        least, largest = limits_of(str(measured), some["mean"].to_numpy())
        for curve, rows in some.groupby("curve", sort=False):
            lines = {
                str(method): " ".join(
                    f"{100 * share:.2f},{100 * (largest - mean) / (largest - least):.2f}"
                    for share, mean in zip(line["share"], line["mean"], strict=True)
                    if np.isfinite(mean)
                )
                for method, line in rows.groupby("method", sort=False)
            }
            ticks = [
                (100 * (1 - place), f"{least + place * (largest - least):.2g}") for place in (0.0, 0.25, 0.5, 0.75, 1.0)
            ]
            yield _Plot(f"{curve}, {measured}, {fill}", lines, ticks)
