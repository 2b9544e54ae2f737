"""Explain transformers with exact, certified layer-wise integrated gradients."""

import importlib
from typing import TYPE_CHECKING, Any

from lignite import errors
from lignite.errors import (
    FileError,
    GapWarning,
    GridError,
    InputError,
    LigniteError,
    LigniteWarning,
    ModelError,
    NotFiniteError,
    OptionError,
    SplitError,
)
from lignite.late import import_after
from lignite.version import VERSION as __version__

if TYPE_CHECKING:
    from lignite import methods
    from lignite.api.callback import ExplainCallback
    from lignite.api.check import CheckReport, LayerCheck, check
    from lignite.api.compare import compare
    from lignite.api.evaluate import evaluate
    from lignite.api.explain import explain
    from lignite.api.flow import flow
    from lignite.api.report import report
    from lignite.api.run import run
    from lignite.apps.widget import widget
    from lignite.methods.scoring.ca_lig import fit_fusion
    from lignite.metrics.readings.agreement import agreement, agreement_between
    from lignite.models.load import Model, load, wrap
    from lignite.results.evaluation import Evaluation
    from lignite.results.io import open, save
    from lignite.studies import asking as study
    from lignite.targets.target import Target
    from lignite.views.tracking import log

__all__ = [
    "CheckReport", "Evaluation", "ExplainCallback", "FileError", "GapWarning", "GridError", "InputError", "LayerCheck",
    "LigniteError", "LigniteWarning", "Model", "ModelError", "NotFiniteError", "OptionError", "SplitError", "Target",
    "__version__", "agreement", "agreement_between", "check", "compare", "errors", "evaluate", "explain", "fit_fusion",
    "flow", "load", "log", "methods", "open", "report", "run", "save", "study", "widget", "wrap",
]  # fmt: skip

# torch and transformers take seconds to import, xarray and pandas one; the command line's help needs none of them.
_IMPORTED_ON_USE = {
    "CheckReport": "lignite.api.check",
    "Evaluation": "lignite.results.evaluation",
    "LayerCheck": "lignite.api.check",
    "Model": "lignite.models.load",
    "agreement": "lignite.metrics.readings.agreement",
    "agreement_between": "lignite.metrics.readings.agreement",
    "check": "lignite.api.check",
    "compare": "lignite.api.compare",
    "evaluate": "lignite.api.evaluate",
    "ExplainCallback": "lignite.api.callback",
    "explain": "lignite.api.explain",
    "fit_fusion": "lignite.methods.scoring.ca_lig",
    "flow": "lignite.api.flow",
    "load": "lignite.models.load",
    "log": "lignite.views.tracking",
    "open": "lignite.results",
    "report": "lignite.api.report",
    "run": "lignite.api.run",
    "save": "lignite.results",
    "Target": "lignite.targets.target",
    "methods": "lignite.methods",
    "study": "lignite.studies.asking",
    "widget": "lignite.apps.widget",
    "wrap": "lignite.models.load",
}

import_after("xarray", "lignite.results")  # registers Dataset.lignite


def __getattr__(name: str) -> Any:
    if name not in _IMPORTED_ON_USE:
        raise AttributeError(f"module 'lignite' has no attribute {name!r}")
    module = importlib.import_module(_IMPORTED_ON_USE[name])
    value = module if name in ("methods", "study") else getattr(module, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
