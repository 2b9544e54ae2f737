"""Explain transformers with exact, certified layer-wise integrated gradients."""

import importlib
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

try:
    __version__ = version("lignite")
except PackageNotFoundError:  # run from a source tree that is not installed
    __version__ = "0.0.0"

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
from lignite.request import Target
from lignite.results import open, save  # registers Dataset.lignite as well

if TYPE_CHECKING:
    from lignite.checks import CheckReport, LayerCheck, check
    from lignite.evaluations import Evaluation, evaluate
    from lignite.explanations import explain, fit_fusion
    from lignite.flows import flow
    from lignite.metrics.agreement import agreement, agreement_between
    from lignite.models.loading import Model, load, wrap

__all__ = [
    "CheckReport", "Evaluation", "FileError", "GapWarning", "GridError", "InputError", "LayerCheck", "LigniteError",
    "LigniteWarning", "Model", "ModelError", "NotFiniteError", "OptionError", "SplitError", "Target", "__version__",
    "agreement", "agreement_between", "check", "errors", "evaluate", "explain", "fit_fusion", "flow", "load", "open",
    "save", "wrap",
]  # fmt: skip

# torch and transformers take seconds to import; saved results and the command line's help need neither.
_IMPORTED_ON_USE = {
    "CheckReport": "lignite.checks",
    "Evaluation": "lignite.evaluations",
    "LayerCheck": "lignite.checks",
    "Model": "lignite.models.loading",
    "agreement": "lignite.metrics.agreement",
    "agreement_between": "lignite.metrics.agreement",
    "check": "lignite.checks",
    "evaluate": "lignite.evaluations",
    "explain": "lignite.explanations",
    "fit_fusion": "lignite.explanations",
    "flow": "lignite.flows",
    "load": "lignite.models.loading",
    "wrap": "lignite.models.loading",
}


def __getattr__(name: str) -> Any:
    if name not in _IMPORTED_ON_USE:
        raise AttributeError(f"module 'lignite' has no attribute {name!r}")
    value = getattr(importlib.import_module(_IMPORTED_ON_USE[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
