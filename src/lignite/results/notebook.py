"""IPython shows results as their answer, and all other Datasets as xarray does."""

import sys
from typing import Any

import xarray as xr

from lignite.errors import LigniteError
from lignite.late import find_late
from lignite.results.schema import LAYOUTS, validate


def register() -> None:
    """From now on, where this runs inside IPython; nothing happens elsewhere."""
    shell = running_shell()
    if shell is not None:
        formatter = shell.display_formatter.formatters["text/html"]
        formatter.for_type(xr.Dataset, html_of)
        formatter.for_type(list, html_of_several)


def running_shell() -> Any:
    """The IPython that this runs in; None where it is not loaded, or loaded without running."""
    ipython = sys.modules.get("IPython")
    return ipython.get_ipython() if ipython is not None else None


def html_of(dataset: xr.Dataset) -> str:
    """The answer of a result in HTML that needs no script; xarray's own of what is no result, or no whole one."""
    if dataset.attrs.get("kind") in LAYOUTS:
        try:
            validate(dataset)
            return find_late("lignite.views.notebook.card_of")(dataset)
        except LigniteError:
            pass  # a selection or a sum may have left too little to tell of
    return dataset._repr_html_()


def html_of_several(listed: list[Any]) -> str | None:
    """A list of results, as of a continuation, as their answers; None, which leaves it to Python, of any other list."""
    known = [each for each in listed if isinstance(each, xr.Dataset) and each.attrs.get("kind") in LAYOUTS]
    if not known or len(known) < len(listed):
        return None
    try:
        for each in known:
            validate(each)
        return find_late("lignite.views.notebook.cards_of")(known)
    except LigniteError:
        return None
