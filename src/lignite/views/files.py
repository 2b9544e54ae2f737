"""Results as files that people look at: the ending of a name says what is drawn."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import xarray as xr

from lignite.errors import FileError, OptionError
from lignite.results.classes import each_class, is_of_classes
from lignite.results.schema import COMPARISONS, REPORT, is_explanation
from lignite.views.comparison.page import comparison_html, save_comparison_page
from lignite.views.comparison.picture import save_comparison_picture
from lignite.views.drawing import ENDINGS as PICTURES
from lignite.views.explanation.page import explanation_html, save_explanation_page
from lignite.views.explanation.picture import save_explanation_picture
from lignite.views.flow.page import flow_html, save_page
from lignite.views.flow.picture import save_picture
from lignite.views.report.page import report_html, save_report_page

PAGES = (".html", ".htm")

OF_FLOW, OF_EXPLANATION = ("map", "head"), ("smooth",)
"""How only flows, and only explanations, are looked at."""


def write_view(results: xr.Dataset | Sequence[xr.Dataset], path: str | os.PathLike[str], **look: Any) -> Path:
    """Draw a flow, an explanation or several of them into a picture or a page, whole or not at all."""
    path, datasets = Path(path), each_class([results] if isinstance(results, xr.Dataset) else results)
    ending = path.suffix.lower()
    if ending not in (*PICTURES, *PAGES):
        raise FileError(f"{path}: unknown ending {ending!r}; use {', '.join((*PICTURES, PAGES[0]))}. Rename the file.")
    if is_report(datasets[0]):
        if ending in PICTURES:
            raise FileError(f"{path}: a report is a page of words; write it as {PAGES[0]}, or explain() for a picture.")
        return save_report_page(datasets[0], path)
    if is_comparison(datasets[0]):
        _looked_at({**look, "special": None}, refused=tuple(look), noun="a comparison")
        return (save_comparison_picture if ending in PICTURES else save_comparison_page)(datasets[0], path)
    if is_explanation(datasets[0]):
        chosen = _looked_at(look, refused=OF_FLOW, noun="an explanation")
        return (save_explanation_picture if ending in PICTURES else save_explanation_page)(datasets, path, **chosen)
    chosen = _looked_at(look, refused=OF_EXPLANATION, noun="a flow")
    if ending in PICTURES:
        return save_picture(datasets[0], path, **chosen)
    return save_page(datasets[0], path, **{name: value for name, value in chosen.items() if name not in OF_FLOW})


def page_of(dataset: xr.Dataset, *, tokens: bool, special: str) -> str:
    """The page of a result."""
    if is_report(dataset):
        return report_html(dataset)
    if is_comparison(dataset):
        return comparison_html(dataset)
    if is_explanation(dataset) or is_of_classes(dataset):
        return explanation_html(each_class([dataset]), tokens=tokens, special=special)
    return flow_html(dataset, tokens=tokens, special=special)


def is_comparison(dataset: xr.Dataset) -> bool:
    """Whether results stand side by side."""
    return dataset.attrs.get("kind") in COMPARISONS


def is_report(dataset: xr.Dataset) -> bool:
    """Whether a decision is told in plain words."""
    return dataset.attrs.get("kind") == REPORT.kind


def _looked_at(look: dict[str, Any], *, refused: Sequence[str], noun: str) -> dict[str, Any]:
    """What was asked for, without what nobody asked for; refused where a result of this kind has no such thing."""
    asked = {name: value for name, value in look.items() if value is not None and value is not False}
    for name in refused:
        if name in asked:
            raise OptionError(f"{name}={asked[name]!r}: {noun} has no such look; leave it out.")
    return asked
