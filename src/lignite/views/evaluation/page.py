"""An evaluation as a page, and the files that show it."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lignite.errors import FileError
from lignite.results.evaluation import Evaluation
from lignite.views.drawing import ENDINGS, save_figure
from lignite.views.evaluation.facts import (
    SHARES,
    answer_of,
    columns_of,
    facts,
    heading_of,
    limits_of,
    line_styles,
    reasons,
    shown_curves,
    written_number,
)
from lignite.views.evaluation.picture import draw_curves
from lignite.views.labels import model_title, typeset
from lignite.views.markup import render, write_page
from lignite.wording import one_line, shorten


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
        answer=answer_of(columns),
        facts=facts(evaluation),
        percent=f"{100 * float(evaluation.attrs['confidence']):g} %",
        reference=one_line(str(evaluation.attrs["reference"])),
        heading_of=heading_of,
        shares=SHARES,
        sharing={column.fill: [name for name, cell in column.cells.items() if cell.shares] for column in columns},
        fills=list(dict.fromkeys(column.fill for column in columns)),
        columns=columns,
        methods=list(dict.fromkeys(str(name) for name in evaluation.table["method"])),
        number=_number,
        plots=list(_plots(evaluation)),
        styles_of=line_styles(evaluation),
        tests=list(evaluation.tests.itertuples(index=False)),
        requests=evaluation.attrs["methods"],
        versions=evaluation.attrs["versions"],
        reasons=reasons(evaluation),
    )


def _number(value: float) -> str:
    """A number as pages set it."""
    return typeset(written_number(value)) if np.isfinite(value) else "–"


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
                (100 * (1 - place), typeset(f"{least + place * (largest - least):.2g}"))
                for place in (0.0, 0.25, 0.5, 0.75, 1.0)
            ]
            yield _Plot(f"{curve}, {measured}, {fill}", lines, ticks)
