"""A study as files: its numbers, tables for papers and spreadsheets, figures, and a page that explains itself."""

import io
import os
import re
from collections.abc import Mapping
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd  # type: ignore[import-untyped]
import xarray as xr
from markupsafe import Markup
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from lignite.errors import FileError
from lignite.files import write_whole
from lignite.results.io import as_netcdf
from lignite.views.attributes import from_json, options
from lignite.views.drawing import STYLE, save_figure
from lignite.views.labels import model_title, typeset, without_folders
from lignite.views.markup import render, write_page
from lignite.views.study.report import Report, Table


def write_study(found: xr.Dataset, report: Report, folder: str | os.PathLike[str]) -> list[Path]:
    """Write all files of a study into a folder, which is made where it is missing; each is whole or not there.

    Returns
    -------
    `index.html`, the numbers as NetCDF, every table as CSV and LaTeX, every figure as PNG and PDF.

    Raises
    ------
    FileError
        If a file cannot be written.
    """
    folder = make_folder(folder)
    written = [write_page(study_html(found, report), folder / "index.html")]
    numbers = folder / f"{found.attrs['study']}.nc"
    write_whole(numbers, as_netcdf(found, numbers))
    written.append(numbers)
    for name, table in report.tables.items():
        for ending, content in ((".csv", table.frame.to_csv(index=False)), (".tex", latex(table))):
            path = folder / f"{name}{ending}"
            write_whole(path, content.encode())
            written.append(path)
    for name, figure in report.figures.items():
        written += [save_figure(figure, folder / f"{name}{ending}", dpi=200) for ending in (".png", ".pdf")]
    return written


def make_folder(folder: str | os.PathLike[str]) -> Path:
    """Make a folder where it is missing."""
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FileError(f"{folder}: cannot be made a folder ({error.strerror or error}). Name another one.") from error
    return folder


def study_html(found: xr.Dataset, report: Report) -> str:
    """One page that needs nothing else, for a study with its settings."""
    facts = {
        "model": model_title(str(found.attrs["model"])),
        "sentences": str(found.sizes["sentence"]),
        "left out": str(len(from_json(found, "skipped").get("skipped", []))),
    }
    settings = {**options(found), **_provenance(found), **from_json(found, "versions")}
    return report_html(report, facts, settings)


def report_html(report: Report, facts: Mapping[str, str], settings: Mapping[str, str]) -> str:
    """One page that needs nothing else: question, findings, figures, tables with their intervals, settings."""
    return render(
        "study",
        title=report.title,
        question=report.question,
        facts=facts,
        findings=report.findings,
        figures={name: Markup(_svg(figure)) for name, figure in report.figures.items()},  # ours: text is escaped in it
        tables=[(table.title, table.note, *_set(table.frame)) for table in report.tables.values()],
        settings=settings,
    )


def _provenance(found: xr.Dataset) -> dict[str, str]:
    """Which weights were asked about which sentences, as the first digits of their sha256, and how."""
    digests = {"weights": found.attrs["weights"], **from_json(found, "others"), "sentences": found.attrs["asked"]}
    shown = {name: str(digest)[:16] for name, digest in digests.items()}
    given = {name: without_folders(str(found.attrs[name])) for name in ("corpus", "command") if found.attrs.get(name)}
    return {**given, **shown}


def latex(table: Table) -> str:
    """A table for a paper: three digits, booktabs rules, names set as text."""
    frame = pd.DataFrame(_rows(table.frame), columns=table.frame.columns)
    shown: str = frame.to_latex(index=False, escape=True, caption=table.title, position="t")
    return shown


def _svg(figure: Figure) -> str:
    drawn = io.StringIO()
    with matplotlib.rc_context(STYLE):
        FigureCanvasSVG(figure).print_svg(drawn, metadata={"Date": None, "Creator": "lignite"})
    return drawn.getvalue().partition("<svg")[2].join(("<svg", ""))


def _rows(frame: pd.DataFrame) -> list[list[str]]:
    return [[_written(value) for value in row] for row in frame.itertuples(index=False)]


_NUMBER = re.compile(r"-?[\d.]+( \[.+\])?|–")
"""A number, with its interval where it has one, or the dash of one that is not known."""


def _set(frame: pd.DataFrame) -> tuple[list[tuple[str, bool]], list[list[str]]]:
    """Columns with whether they hold numbers alone, and rows: numbers as pages set them, words as they are."""
    rows = _rows(frame)
    numbers = [all(map(_NUMBER.fullmatch, cells)) for cells in zip(*rows, strict=True)] or [False] * frame.shape[1]
    shown = [[typeset(cell) if number else cell for cell, number in zip(row, numbers, strict=True)] for row in rows]
    return list(zip(map(str, frame.columns), numbers, strict=True)), shown


def _written(value: object) -> str:
    if not isinstance(value, float):
        return str(value)
    return "–" if np.isnan(value) else f"{value + 0.0:.3f}".replace("-0.000", "0.000")
