"""What every view of an evaluation shows: its columns, its facts in words, its curves and their colours."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd  # type: ignore[import-untyped]

from lignite.results.evaluation import MEAN, Evaluation
from lignite.views.labels import model_title, without_folders
from lignite.views.palette import COLD, WARM
from lignite.wording import counted

COLOURS = (WARM[3], COLD[3], "#1f8a62", "#a0457f", "#8a6d00", "#5b9bcd", "#4f4f4f", "#d18b2c")
"""Told apart with most colour blindness; beyond eight, dashes tell the rest apart. `random` is a grey dotted line."""
DASHES = ("", "6 3", "2 2", "8 3 2 3")
GREY = "#8f8f8f"
RANDOM = "random"

ACCURACY = "accuracy"
WITHOUT_REMOVAL = "nothing removed: human evidence, completeness, cost"


@dataclass(frozen=True)
class Cell:
    """One mean. `best`: no other method's mean is better; `beside`: "+" or "-" where the reference is surely beaten, or
    surely beats; `shares`: whether the method starts from the fill that it is judged by. `bar`: where
    the interval lies between the least and the largest of its column, in [0, 1].
    """

    mean: float
    low: float
    high: float
    n: int
    best: bool
    beside: str
    shares: bool
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


def columns_of(evaluation: Evaluation) -> list[Column]:
    """The table by fill and metric, with what a reader wants to know of every cell."""
    table, told = evaluation.table, evaluation.attrs["metrics"]
    columns = [
        _column(evaluation, str(metric), str(fill), rows, told.get(metric, {}))
        for (metric, fill), rows in table.groupby(["metric", "fill"], sort=False)
    ]
    order = [MEAN, *evaluation.attrs["fills"]]
    return sorted(columns, key=lambda column: order.index(column.fill) if column.fill in order else len(order))


def _column(evaluation: Evaluation, metric: str, fill: str, rows: pd.DataFrame, told: Mapping[str, str]) -> Column:
    marks = _marks(evaluation, metric, fill)
    better = told.get("better", "")
    means = rows["mean"].where(rows["method"] != RANDOM).to_numpy()  # chance, quick as it is, is best at nothing
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
            best=bool(row.mean == top and row.method != RANDOM),
            beside=marks.get(str(row.method), ""),
            shares=evaluation.shares_baseline(str(row.method), fill),
            bar=(low, middle, high),
        )
    return Column(metric, fill, better, told.get("meaning", ""), cells)


def _marks(evaluation: Evaluation, metric: str, fill: str) -> dict[str, str]:
    """Methods that differ from the reference by more than chance, corrected for the number compared."""
    tests, better = evaluation.tests, evaluation.attrs["metrics"].get(metric, {}).get("better", "")
    if not better:
        return {}
    sign = 1 if better == "higher" else -1
    level = 1 - float(evaluation.attrs["confidence"])
    some = tests[(tests["metric"] == metric) & (tests["fill"] == fill) & (tests["p_holm"] < level)]
    return {str(row.method): "+" if sign * row.difference > 0 else "-" for row in some.itertuples(index=False)}


def facts(evaluation: Evaluation) -> dict[str, str]:
    """What was measured on what, in words."""
    attrs = evaluation.attrs
    model = model_title(str(attrs["model"])) + (f" @ {attrs['revision']}" if attrs["revision"] else "")
    told = {
        "model": model,
        "weights": f"sha256 {attrs['model_sha256']}",
        "data": f"{without_folders(str(attrs['data']))}, {counted(attrs['n_examples'], 'example')}",
    }
    if attrs.get("coverage"):
        told["scores"] = f"known for {attrs['coverage']} examples, on which all rows are compared"
    if np.isfinite(attrs["accuracy"]):
        told["accuracy"] = f"{attrs['accuracy']:.3f} on these examples"
    told |= {
        "explained": str(attrs["target"]),
        "removed tokens": _removed(attrs),
        "seed": str(attrs["seed"]),
        "lignite": str(attrs["lignite_version"]),
    }
    if attrs.get("command"):
        told["command"] = without_folders(str(attrs["command"]))
    return told


def _removed(attrs: Mapping[str, Any]) -> str:
    """What stands in the place of removed tokens."""
    drawn = {fill: f"{fill} ({attrs['draws']} draws)" for fill in ("unigram", "others")}
    neutral = attrs.get("neutral", [])
    return "; ".join(
        [
            ", ".join(drawn.get(fill, fill) for fill in attrs["fills"]),
            *([f"{MEAN} is the mean of {', '.join(neutral)}"] if neutral else []),
            f"curves of {attrs['steps']} steps",
        ]
    )


def heading_of(fill: str) -> str:
    """The heading over the columns of a fill."""
    if not fill:
        return WITHOUT_REMOVAL
    return "removed tokens: neutral, the mean over the neutral fills" if fill == MEAN else f"removed tokens: {fill}"


def answer_of(columns: Sequence[Column]) -> str:
    """What every view of an evaluation says first: who is best on the first measures, and what chance would give."""
    told = []
    for column in columns[:FIRST]:
        best = [(method, cell) for method, cell in column.cells.items() if cell.best]
        chance = column.cells.get(RANDOM)
        if best:
            beside = f", chance {written_number(chance.mean)}" if chance and chance.n and column.fill else ""
            where = f" ({column.fill})" if column.fill and column.fill != MEAN else ""
            named = " and ".join(method for method, _ in best)
            told.append(f"{column.metric}{where}: {named} {written_number(best[0][1].mean)}{beside}")
    return f"Best on {'; '.join(told)}." if told else "Nothing was measured."


FIRST = 3
"""Measures that the first sentence names."""

SHARES = "its baseline is this fill, or one of those averaged"
"""What a dagger behind a method says."""


def reasons(evaluation: Evaluation) -> list[tuple[int, str, str]]:
    """Why examples are missing: how many, under which method (all where empty), and the reason of the first."""
    skipped = evaluation.skipped
    if not len(skipped):
        return []
    found = []
    for method, rows in skipped.groupby("method", sort=False):
        first = rows.iloc[0]
        found.append((len(rows), str(method), f"example {first['id']}: {first['reason']}"))
    return found


def written_number(value: float) -> str:
    """Three digits after the point where that tells something.

    Examples
    --------
    >>> written_number(0.5731), written_number(12.34), written_number(0.00041), written_number(0.0)
    ('0.573', '12.3', '4.1e-04', '0.000')
    """
    if not np.isfinite(value):
        return "-"
    if value != 0 and abs(value) < 5e-4:
        return f"{value:.1e}"
    return f"{value:.3f}" if abs(value) < 10 else f"{value:.3g}"


def shown_curves(curves: pd.DataFrame, measure: str = "probability") -> pd.DataFrame:
    """The curves of one measure; of another where there is none, as of a regression, which has no probability.

    Accuracies of images stand beside them.
    """
    present = [name for name in dict.fromkeys(curves["measure"]) if name != ACCURACY] or [ACCURACY]
    chosen = measure if measure in present else present[0]
    return curves[curves["measure"].isin([chosen, ACCURACY])]


def limits_of(measured: str, means: np.ndarray) -> tuple[float, float]:
    """Least and largest value that the axis of a curve shows."""
    if measured in ("probability", ACCURACY):
        return 0.0, 1.0
    known = means[np.isfinite(means)]
    least, largest = (float(known.min()), float(known.max())) if len(known) else (0.0, 1.0)
    return (least, largest) if largest > least else (least - 0.5, least + 0.5)


def line_styles(evaluation: Evaluation) -> dict[str, tuple[str, str]]:
    """Colour and dashes of each method's line."""
    styles, number = {}, 0
    for method in dict.fromkeys(str(name) for name in evaluation.table["method"]):
        if method == RANDOM:
            styles[method] = (GREY, "1 3")
            continue
        styles[method] = (COLOURS[number % len(COLOURS)], DASHES[number // len(COLOURS) % len(DASHES)])
        number += 1
    return styles
