"""What is shown of a study: findings in words, tables and pictures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd  # type: ignore[import-untyped]
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lignite.metrics.readings.statistics import interval

RESAMPLES = 1999
"""Of every interval of a long table: its bounds then move by a hundredth of its width or two."""

COLOURS = ("#33608c", "#b5651d", "#4c8a52", "#8a4c7d", "#777777")
"""Of lines, in their order; told apart by people who see no red or no green, and in grey."""


@dataclass(frozen=True, eq=False)
class Table:
    """Rows of a study, with what their columns mean.

    `frame` may have the columns `mean`, `low` and `high`, which are drawn as an interval.
    """

    title: str
    note: str
    frame: pd.DataFrame


@dataclass(frozen=True, eq=False)
class Report:
    """A study as it is shown; tables and figures by the names of their files."""

    title: str
    question: str
    findings: tuple[str, ...]
    tables: Mapping[str, Table]
    figures: Mapping[str, Figure]


def spoken(found: Any) -> str:
    """A mean with its interval, where it has one: a single sentence has none.

    Examples
    --------
    >>> spoken({"mean": 0.5, "low": 0.25, "high": 0.75}), spoken({"mean": 0.5, "low": np.nan, "high": np.nan})
    ('0.500 [0.250, 0.750]', '0.500')
    """
    return f"{found['mean']:.3f}" + (f" [{found['low']:.3f}, {found['high']:.3f}]" if np.isfinite(found["low"]) else "")


def spoken_change(found: Any) -> str:
    """How a mean grew or shrank, with its interval: no sentence has something larger by less than nothing.

    Examples
    --------
    >>> spoken_change({"mean": -0.5, "low": -0.75, "high": 0.25}), spoken_change({"mean": 0.5, "low": 0.25, "high": 1})
    ('smaller by 0.500 [-0.250, 0.750]', 'larger by 0.500 [0.250, 1.000]')
    """
    if found["mean"] >= 0:
        return f"larger by {spoken(found)}"
    return f"smaller by {spoken({'mean': -found['mean'], 'low': -found['high'], 'high': -found['low']})}"


def summarize(values: xr.DataArray, *, seed: int = 0) -> pd.DataFrame:
    """Tabulate means over sentences with their intervals: a row for each place along the other axes."""
    axes = [str(dim) for dim in values.dims if dim != "sentence"]
    flat = values.transpose(*axes, "sentence")
    rows = []
    for place in np.ndindex(*flat.shape[:-1]):
        found = interval(flat.values[place], n_resamples=RESAMPLES, seed=seed)
        named = {axis: flat[axis].values[number].item() for axis, number in zip(axes, place, strict=True)}
        rows.append({**named, "mean": found.mean, "low": found.low, "high": found.high, "n": found.n})
    return pd.DataFrame(rows)


def draw_line(panel: Axes, found: pd.DataFrame, along: str, name: str, colour: str, style: str = "-") -> None:
    """Draw means along a column of a table, with their intervals."""
    x, mean, low, high = (found[key].to_numpy() for key in (along, "mean", "low", "high"))
    panel.fill_between(x, low, high, color=colour, alpha=0.15, linewidth=0)
    panel.plot(x, mean, color=colour, linewidth=1.4, linestyle=style, marker="o", markersize=3, label=name)


def draw_interval(panel: Axes, row: Any, at: int | float, colour: str, label: str = "_") -> None:
    """Draw a mean with its interval, lying at this height; a label that begins with a stroke is in no legend."""
    panel.plot([row["low"], row["high"]], [at, at], color=colour, linewidth=1.2)
    panel.plot([row["mean"]], [at], "o", color=colour, markersize=3.5, label=label)


def tabulate(ranked: Mapping[str, pd.DataFrame], keys: Sequence[str]) -> pd.DataFrame:
    """Lay tables of means side by side, a column for each: rows are told apart by `keys`."""
    rows: dict[tuple[str, ...], dict[str, str]] = {}
    for name, table in ranked.items():
        for _, row in table.iterrows():
            rows.setdefault(tuple(row[key] for key in keys), {})[name] = spoken(row)
    frame = pd.DataFrame([{**dict(zip(keys, named, strict=True)), **said} for named, said in rows.items()])
    return frame.fillna("–")


def set_panel(panel: Axes, title: str, x: str, y: str) -> None:
    """Give a panel its words, and no more ink than it needs."""
    panel.set_title(title, fontsize=8, loc="left")
    panel.set_xlabel(x, fontsize=7)
    panel.set_ylabel(y, fontsize=7)
    panel.tick_params(labelsize=7, length=2)
    panel.grid(linewidth=0.3, alpha=0.5)
    panel.set_axisbelow(True)
    panel.spines[["top", "right"]].set_visible(False)


def draw_bar(figure: Figure, drawn: Any, panels: Any) -> None:
    """Draw the scale of some cells beside them, as lines: a page shows no pictures inside a drawing."""
    bar = figure.colorbar(drawn, ax=panels, shrink=0.85)
    assert bar.solids is not None
    bar.solids.set_rasterized(False)
    bar.solids.set_edgecolor("face")  # no white seams between its colours
    bar.ax.tick_params(labelsize=6, length=2)
    bar.outline.set_visible(False)  # type: ignore[operator]
