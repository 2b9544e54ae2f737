"""An evaluation in the terminal, as a page, as a table for other programs, and its curves as a picture."""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import matplotlib
import numpy as np
import pandas as pd  # type: ignore[import-untyped]
from matplotlib.figure import Figure
from rich.cells import cell_len
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from lignite.errors import FileError, InputError
from lignite.files import write_whole
from lignite.views.drawing import ENDINGS, STYLE, save_figure
from lignite.views.labels import model_title
from lignite.views.markup import render, write_page
from lignite.views.writer import Writer
from lignite.wording import one_line, shorten

METHOD_CELLS = 34
CELL = 15  # "0.573 ±0.021 +"
REASONS_SHOWN = 5

COLOURS = ("#c45d16", "#2a6fae", "#1f8a62", "#a0457f", "#8a6d00", "#5b9bcd", "#4f4f4f", "#d18b2c")
"""Told apart with most colour blindness; beyond eight, dashes tell the rest apart. `random` is a grey dotted line."""
DASHES = ("", "6 3", "2 2", "8 3 2 3")
GREY = "#8f8f8f"
BANDS = 4  # more intervals over each other hide the lines

ACCURACY = "accuracy"
WITHOUT_REMOVAL = "nothing removed: human evidence, completeness, cost"


@runtime_checkable
class Measured(Protocol):
    """What the views read of an evaluation; :class:`lignite.evaluations.Evaluation` offers it."""

    @property
    def table(self) -> pd.DataFrame: ...
    @property
    def curves(self) -> pd.DataFrame: ...
    @property
    def tests(self) -> pd.DataFrame: ...
    @property
    def skipped(self) -> pd.DataFrame: ...
    @property
    def attrs(self) -> dict[str, Any]: ...


@dataclass(frozen=True)
class Cell:
    """One mean. `best`: no other method's mean is better; `beside`: "+" or "-" where the reference is surely beaten, or
    surely beats; `bar`: where the interval lies between the least and the largest of its column, in [0, 1].
    """

    mean: float
    low: float
    high: float
    n: int
    best: bool
    beside: str
    bar: tuple[float, float, float]

    @property
    def half(self) -> float:
        """Half the width of the interval."""
        return (self.high - self.low) / 2


@dataclass(frozen=True)
class Column:
    """One metric under one fill, a cell per method."""

    metric: str
    fill: str
    better: str
    meaning: str
    cells: dict[str, Cell]

    @property
    def n(self) -> str:
        """Number of examples; the range where methods differ. Methods without any show it by an empty cell."""
        sizes = [cell.n for cell in self.cells.values() if cell.n] or [0]
        return str(max(sizes)) if min(sizes) == max(sizes) else f"{min(sizes)}-{max(sizes)}"


def save_evaluation(evaluation: Measured, path: str | os.PathLike[str]) -> None:
    """Write the table (.csv), the page (.html) or the curves (.png, .svg, .pdf)."""
    path = Path(path)
    ending = path.suffix.lower()
    if ending == ".csv":
        write_whole(path, _told(evaluation).to_csv(index=False).encode(errors="backslashreplace"))
    elif ending in (".html", ".htm"):
        write_page(evaluation_html(evaluation), path)
    elif ending in ENDINGS:
        save_figure(draw_curves(evaluation), path, dpi=200)
    else:
        raise FileError(f"{path}: unknown ending {ending!r}; use .json, .csv, .html, {', '.join(ENDINGS)}.")


def _told(evaluation: Measured) -> pd.DataFrame:
    """The table with what every number means, for it may be read far from here."""
    metrics = evaluation.attrs["metrics"]
    columns = {
        what: [metrics.get(name, {}).get(what, "") for name in evaluation.table["metric"]]
        for what in ("better", "meaning")
    }
    return evaluation.table.assign(**columns)


def columns_of(evaluation: Measured) -> list[Column]:
    """The table by fill and metric, with what a reader wants to know of every cell."""
    table, told = evaluation.table, evaluation.attrs["metrics"]
    columns = [
        _column(str(metric), str(fill), rows, told.get(metric, {}), _marks(evaluation, str(metric), str(fill)))
        for (metric, fill), rows in table.groupby(["metric", "fill"], sort=False)
    ]
    order = list(evaluation.attrs["fills"])
    return sorted(columns, key=lambda column: order.index(column.fill) if column.fill in order else len(order))


def _column(metric: str, fill: str, rows: pd.DataFrame, told: Mapping[str, str], marks: Mapping[str, str]) -> Column:
    better = told.get("better", "")
    means = rows["mean"].to_numpy()
    known = means[np.isfinite(means)]
    best = {"higher": np.max, "lower": np.min}.get(better)
    top = float(best(known)) if best is not None and len(known) else np.nan
    edges = rows[["low", "high", "mean"]].to_numpy(dtype=np.float64)
    edges = np.append(edges[np.isfinite(edges)], 0.0)
    least, size = float(edges.min()), float(np.ptp(edges)) or 1.0
    cells = {}
    for row in rows.itertuples(index=False):
        ends = [
            row.low if np.isfinite(row.low) else row.mean,
            row.mean,
            row.high if np.isfinite(row.high) else row.mean,
        ]
        low, middle, high = ((end - least) / size for end in ends)
        cells[str(row.method)] = Cell(
            mean=row.mean,
            low=row.low,
            high=row.high,
            n=int(row.n),
            best=bool(row.mean == top),
            beside=marks.get(str(row.method), ""),
            bar=(low, middle, high),
        )
    return Column(metric, fill, better, told.get("meaning", ""), cells)


def _marks(evaluation: Measured, metric: str, fill: str) -> dict[str, str]:
    """Methods that differ from the reference by more than chance, corrected for the number compared."""
    tests, better = evaluation.tests, evaluation.attrs["metrics"].get(metric, {}).get("better", "")
    if not better:
        return {}
    sign = 1 if better == "higher" else -1
    level = 1 - float(evaluation.attrs["confidence"])
    some = tests[(tests["metric"] == metric) & (tests["fill"] == fill) & (tests["p_holm"] < level)]
    return {str(row.method): "+" if sign * row.difference > 0 else "-" for row in some.itertuples(index=False)}


def facts(evaluation: Measured) -> dict[str, str]:
    """What was measured on what, in words."""
    attrs = evaluation.attrs
    model = one_line(str(attrs["model"])) + (f" @ {attrs['revision']}" if attrs["revision"] else "")
    told = {
        "model": model,
        "weights": f"sha256 {attrs['model_sha256']}",
        "data": f"{one_line(str(attrs['data']))}, {attrs['n_examples']} examples",
    }
    if np.isfinite(attrs["accuracy"]):
        told["accuracy"] = f"{attrs['accuracy']:.3f} on these examples"
    told |= {
        "explained": str(attrs["target"]),
        "removed tokens": " and ".join(attrs["fills"]) + f", curves of {attrs['steps']} steps",
        "seed": str(attrs["seed"]),
        "lignite": str(attrs["lignite_version"]),
    }
    if attrs.get("command"):
        told["command"] = one_line(str(attrs["command"]))
    return told


def reasons(evaluation: Measured) -> list[tuple[int, str, str]]:
    """Why examples are missing: how many, under which method (all where empty), and the reason of the first."""
    skipped = evaluation.skipped
    if not len(skipped):
        return []
    found = []
    for method, rows in skipped.groupby("method", sort=False):
        first = rows.iloc[0]
        found.append((len(rows), str(method), f"example {first['id']}: {first['reason']}"))
    return found


# Terminal


def print_evaluation(evaluation: Measured, *, console: Console | None = None) -> None:
    """Print means with half the width of their intervals, the best of each column, and what could not be computed."""
    console = console or Console()
    writer = Writer(console)
    console.print(_facts(evaluation, writer))
    console.print()
    for some in _fitting(columns_of(evaluation), evaluation, console.width):
        console.print(_block(some, writer))
        console.print()
    console.print(_legend(evaluation, writer))
    if len(evaluation.skipped):
        console.print()
        console.print(_skipped(evaluation, writer))


def _facts(evaluation: Measured, writer: Writer) -> RenderableType:
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    for name, value in facts(evaluation).items():
        grid.add_row(name, Text(writer.plain(value)))
    return grid


def _fitting(columns: Sequence[Column], evaluation: Measured, width: int) -> Iterator[list[Column]]:
    """As many columns side by side as there is room for, those of one fill together."""
    names = max(cell_len(name) for name in evaluation.table["method"].unique()) if len(evaluation.table) else 0
    room = width - min(names, METHOD_CELLS)
    some: list[Column] = []
    for column in columns:
        taken = sum(2 + _width(other) for other in [*some, column])
        if some and (taken > room or column.fill != some[0].fill):
            yield some
            some = []
        some.append(column)
    if some:
        yield some


def _width(column: Column) -> int:
    return max(CELL, len(column.metric) + 2)


def _block(columns: Sequence[Column], writer: Writer) -> RenderableType:
    fill = columns[0].fill
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")
    table.add_column("method", overflow="fold", max_width=METHOD_CELLS)
    up, down = writer.encodable("↑", "(high)"), writer.encodable("↓", "(low)")
    for column in columns:
        arrow = {"higher": f" {up}", "lower": f" {down}"}.get(column.better, "")
        table.add_column(
            Text(f"{column.metric}{arrow}\nn={column.n}", justify="right"), justify="right", min_width=CELL
        )
    for method in columns[0].cells:
        cells = [_cell(column.cells[method], writer) for column in columns]
        table.add_row(Text(writer.plain(one_line(method))), *cells, style="dim" if method == "random" else "")
    title = Text(f"removed tokens: {fill}" if fill else WITHOUT_REMOVAL, style="bold")
    return Group(title, table)


def _cell(cell: Cell, writer: Writer) -> Text:
    if not np.isfinite(cell.mean):
        return Text("-  ")
    half = f" {writer.encodable('±', '+-')}{_number(cell.half)}" if np.isfinite(cell.half) else ""
    return Text.assemble(
        ("*" if cell.best else "", "bold"),
        (_number(cell.mean), "bold" if cell.best else ""),
        (half, "dim"),
        f" {cell.beside or ' '}",
    )


def _number(value: float) -> str:
    """Three digits after the point where that tells something.

    Examples
    --------
    >>> _number(0.5731), _number(12.34), _number(0.00041), _number(0.0)
    ('0.573', '12.3', '4.1e-04', '0.000')
    """
    if not np.isfinite(value):
        return "-"
    if value != 0 and abs(value) < 5e-4:
        return f"{value:.1e}"
    return f"{value:.3f}" if abs(value) < 10 else f"{value:.3g}"


def _legend(evaluation: Measured, writer: Writer) -> RenderableType:
    attrs = evaluation.attrs
    percent = f"{100 * float(attrs['confidence']):g} %"
    text = (
        f"*: best mean of its column; ±: half the width of the {percent} bootstrap interval; + and -: better and worse "
        f"than {attrs['reference']} in a paired bootstrap, corrected for the number of methods (Holm)."
    )
    return Text(writer.plain(one_line(text if writer.encodable("±", "") else text.replace("±", "+-"))), style="dim")


def _skipped(evaluation: Measured, writer: Writer) -> RenderableType:
    found = reasons(evaluation)
    lines = [Text("not computed", style="bold")]
    for count, method, reason in found[:REASONS_SHOWN]:
        what = f"{method}: {count} explanations" if method else f"{count} examples, under every method"
        lines.append(Text(writer.plain(one_line(f"{what}; first, {reason}"))))
    if len(found) > REASONS_SHOWN:
        lines.append(Text(f"and {len(found) - REASONS_SHOWN} more methods; the .json lists all"))
    return Group(*lines)


# Page


def evaluation_html(evaluation: Measured) -> str:
    """One page that needs nothing else: the table with its intervals, curves, tests, and what was left out."""
    columns = columns_of(evaluation)
    return render(
        "evaluate.html.j2",
        styles=("base.css", "evaluate.css"),
        scripts=(),
        title=shorten(f"{model_title(str(evaluation.attrs['model']))}: evaluation", 80),
        facts=facts(evaluation),
        percent=f"{100 * float(evaluation.attrs['confidence']):g} %",
        reference=one_line(str(evaluation.attrs["reference"])),
        without_removal=WITHOUT_REMOVAL,
        fills=list(dict.fromkeys(column.fill for column in columns)),
        columns=columns,
        methods=list(dict.fromkeys(str(name) for name in evaluation.table["method"])),
        number=_number,
        plots=list(_plots(evaluation)),
        styles_of=_line_styles(evaluation),
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


def _plots(evaluation: Measured) -> Iterator[_Plot]:
    curves = _shown(evaluation.curves)
    for (measured, fill), some in curves.groupby(["measure", "fill"], sort=False):
        least, largest = _limits(str(measured), some["mean"].to_numpy())
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


def _shown(curves: pd.DataFrame, measure: str = "probability") -> pd.DataFrame:
    """The curves of one measure; of another where there is none, as of a regression, which has no probability.

    Accuracies of images stand beside them.
    """
    present = [name for name in dict.fromkeys(curves["measure"]) if name != ACCURACY] or [ACCURACY]
    chosen = measure if measure in present else present[0]
    return curves[curves["measure"].isin([chosen, ACCURACY])]


def _limits(measured: str, means: np.ndarray) -> tuple[float, float]:
    if measured in ("probability", ACCURACY):
        return 0.0, 1.0
    known = means[np.isfinite(means)]
    least, largest = (float(known.min()), float(known.max())) if len(known) else (0.0, 1.0)
    return (least, largest) if largest > least else (least - 0.5, least + 0.5)


def _line_styles(evaluation: Measured) -> dict[str, tuple[str, str]]:
    """Colour and dashes of each method's line."""
    styles, number = {}, 0
    for method in dict.fromkeys(str(name) for name in evaluation.table["method"]):
        if method == "random":
            styles[method] = (GREY, "1 3")
            continue
        styles[method] = (COLOURS[number % len(COLOURS)], DASHES[number // len(COLOURS) % len(DASHES)])
        number += 1
    return styles


# Picture


def draw_curves(evaluation: Measured, *, measure: str = "probability") -> Figure:
    """Deletion and insertion curves, a row per fill; intervals as bands where there are few methods."""
    some = _shown(evaluation.curves, measure)
    if not len(some):
        raise InputError("this evaluation has no curves: measure deletion, insertion or another metric that removes.")
    measures = {str(name): str(rows["measure"].iloc[0]) for name, rows in some.groupby("curve", sort=False)}
    fills, names = list(dict.fromkeys(some["fill"])), list(dict.fromkeys(some["curve"]))
    styles = _line_styles(evaluation)
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
