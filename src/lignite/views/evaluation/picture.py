"""Deletion and insertion curves of an evaluation as a picture."""

import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd  # type: ignore[import-untyped]
from matplotlib.figure import Figure

from lignite.errors import InputError
from lignite.results.evaluation import Evaluation
from lignite.views.drawing import STYLE
from lignite.views.evaluation.facts import answer_of, columns_of, line_styles, shown_curves
from lignite.views.labels import model_title, with_minus
from lignite.wording import counted, one_line, shorten

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
            figsize=(4.1 * len(names) + 0.4, 2.9 * len(fills) + 1.0), facecolor="white", layout="constrained"
        )
        axes = figure.subplots(len(fills), len(names), squeeze=False, sharex=True)
        for (row, column), panel in np.ndenumerate(axes):
            first = [measures[name] for name in names].index(measures[names[column]])
            if (row, column) != (0, first):  # before anything is drawn: the scale then fits all that share it
                panel.sharey(axes[0, first])
            if column > first:
                panel.tick_params(labelleft=False)
            else:
                panel.set_ylabel(measures[names[column]], fontsize=8)
            draw_panel(panel, some[(some["fill"] == fills[row]) & (some["curve"] == names[column])], styles)
            panel.set_title(f"{names[column]} ({fills[row]})", fontsize=9, loc="left")
            if row == len(fills) - 1:
                panel.set_xlabel(share_label(str(names[column])), fontsize=8)
        handles, labels = axes[0, 0].get_legend_handles_labels()
        n = int(some["n"].max())
        model, data = model_title(str(evaluation.attrs["model"])), Path(str(evaluation.attrs["data"])).name
        told = f"{model}, {counted(n, 'example')} of {data}"
        bands = "; bands: intervals over examples" if len(styles) <= BANDS else ""
        where: dict[str, Any] = {"loc": "outside lower left", "ncols": 4, "frameon": False, "alignment": "left"}
        title: dict[str, Any] = {"title": f"{shorten(one_line(told), 90)}{bands}", "title_fontsize": 7.5}
        legend = figure.legend(handles, labels, fontsize=7.5, handlelength=3, **title, **where)
        for label in (*legend.get_texts(), legend.get_title()):
            label.set_parse_math(False)
        _inscribe(figure, answer_of(columns_of(evaluation)))
    return figure


def _inscribe(figure: Figure, answer: str) -> None:
    """The answer above the panels, where the legend below them begins, too."""
    figure.set_layout_engine("constrained", w_pad=0.12, h_pad=0.1)
    left = 0.12 / figure.get_figwidth()
    width = max(36, int(11.5 * figure.get_figwidth()))
    title: dict[str, Any] = {"fontsize": 10, "weight": "bold", "x": left, "ha": "left"}
    figure.suptitle(textwrap.fill(with_minus(answer), width), **title).set_parse_math(False)


def share_label(curve: str) -> str:
    """What a curve's shares are shares of."""
    perturbed = curve.startswith(("positive", "negative"))
    what = "pixels" if curve.endswith("pixels") or (perturbed and not curve.endswith("patches")) else "tokens"
    there = "present" if curve.startswith("insertion") else "removed"
    return f"share of {what} {there}, {'least' if curve.startswith('negative') else 'most'} relevant first"


def draw_panel(panel: Any, rows: pd.DataFrame, styles: Mapping[str, tuple[str, str]]) -> None:
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
