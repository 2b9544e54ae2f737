"""An explanation in a notebook that can be asked anew; it needs the extra `notebook`."""

from importlib import import_module
from importlib.util import find_spec
from typing import Any

from lignite.errors import OptionError


def widget(model: Any, inputs: Any, *, method: str = "relevance-flow", target: int | None = None) -> Any:
    """An explanation for a notebook that asks the model anew when another class, method or word is chosen.

    Parameters
    ----------
    model, inputs
        As `lignite.explain` takes them; one input.
    method, target
        What is shown first; a target is the number of a class.

    Returns
    -------
    A widget of anywidget, whose `result` is the Dataset that is shown.
    """
    if find_spec("anywidget") is None:
        raise OptionError("widget() runs on anywidget, which is not installed: install lignite[notebook].")
    if isinstance(inputs, list):
        raise OptionError("widget() shows one input; give it alone, or explain() the list.")
    return import_module("lignite.apps.widget.shown").ExplanationWidget(model, inputs, method=method, target=target)
